"""The check command, as a CI job and a commit hook run it: a team's models, what is expected of them, what changed."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from concord.commands import baseline, checked_model, junit, markdown, team_file
from concord.commands.baseline import Baseline
from concord.commands.cli import main, parser
from concord.data import datasets
from concord.engines import remote
from concord.engines.answers import Answer
from concord.errors import InputError
from concord.session import Inquiry
from support.paths import CASES, ROOT
from support.processes import session, until
from support.team import GROWTH

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CONCORD")}
MISSING = """
[[models]]
name = "lost"
data = "data/slep.csv"
formula = "Reaction ~ Days + (1 | Subject)"

[[models]]
name = "folder"
data = "data"
formula = "Reaction ~ Days + (1 | Subject)"
"""
UNUSABLE = """
[[models]]
name = "typo"
data = "data/sleep.csv"
formula = "Reaction ~ Day + (1 | Subject)"
"""


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "concord", "check", *map(str, words)]


def check(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command in a folder, as a shell runs it."""
    return subprocess.run(
        command(*words), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="module")
def first(place):
    """All three models; nobody has said yet that MixedLM's default stops short on one of them."""
    return check("--junit-xml", "out/junit.xml", "--summary", "s.md", "--record", "baseline.json", folder=place)


@pytest.fixture(scope="module")
def recorded(first, place) -> Baseline:
    return baseline.read(place / "baseline.json")


@pytest.fixture
def kept_processes(monkeypatch):
    """The engines' processes go on where the command, called here, would end them: the next call needs no new ones."""
    monkeypatch.setattr(checked_model, "stop_workers", lambda: None)


# ---- one model's failure is its own


def test_a_model_that_is_refused_is_one_line_and_the_next_one_is_judged_on_its_own_fits(tmp_path):
    (tmp_path / "concord.toml").write_text("details = false\n" + (CASES / "peer-concord.toml").read_text())
    shutil.copy(CASES / "peer-stale.csv", tmp_path / "stale.csv")
    done = check(folder=tmp_path)
    refused, judged, headline = done.stdout.splitlines()
    assert done.returncode == 2 and done.stderr == ""
    assert refused.startswith("[1/2] a, REML: error: ") and "variances" in refused
    assert judged.startswith("[2/2] b, REML: as expected: default agree, tuned agree: all quantities within tolerance")
    assert headline == "1 of 2 comparisons as expected, 1 without a verdict"


# ---- verdicts and files


def test_a_line_for_each_model_says_verdict_and_reason(first):
    lines = first.stdout.splitlines()
    assert first.returncode == 1 and first.stderr == "" and len(lines) == 4
    assert lines[0].startswith("[1/3] growth, REML: as expected: default agree, tuned agree: all quantities within")
    assert lines[1].startswith("[2/3] pigs, REML: not as expected: default python short (expected agree), tuned agree")
    assert re.search(r"MixedLM \(statsmodels\) is short: it stopped 3\.34 log-likelihood units below", lines[1])
    assert "[3/3] crossed, REML: as expected: default cannot express, tuned cannot express (correlated" in lines[2]
    assert lines[3] == "2 of 3 comparisons as expected, 1 not"
    # Where nobody has looked at more than the estimates, it says so.
    assert [line.endswith("; details left out, as concord.toml says") for line in lines[:3]] == [False, False, True]


def test_the_junit_xml_has_a_case_for_each_model_and_the_failure_with_its_reason(first, place):
    root = ElementTree.parse(place / "out" / "junit.xml").getroot()
    (suite,) = root.findall("testsuite")
    assert root.tag == "testsuites"
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["3", "1", "0", "0"]
    cases = suite.findall("testcase")
    assert [(each.get("classname"), each.get("name")) for each in cases] == [
        ("concord.growth", "REML"),
        ("concord.pigs", "REML"),
        ("concord.crossed", "REML"),
    ]
    assert float(suite.get("time")) == pytest.approx(sum(float(each.get("time")) for each in cases), abs=0.01)
    assert [len(each.findall("failure")) for each in cases] == [0, 1, 0]
    failure = cases[1].find("failure")
    assert failure.get("message") == "default python short (expected agree)" and "stopped 3.34" in failure.text
    versions = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert {"statsmodels", "lme4", "R"} <= versions.keys() and all(versions.values())
    assert "var__Time" in cases[1].find("system-out").text
    assert datetime.fromisoformat(suite.get("timestamp")).tzinfo == UTC


def test_the_summary_is_a_table_with_what_is_not_as_expected(first, place):
    text = (place / "s.md").read_text()
    assert text.startswith("## Concord: 2 of 3 comparisons as expected, 1 not\n")
    row = next(line for line in text.splitlines() if "| pigs |" in line)
    assert (
        row
        == "| ✗ | pigs | REML | **python short** | agree | agree | {} 3.34 (short, warned), lme4 &lt; 1e-06 |".format(
            "MixedLM (statsmodels)"
        )
    )
    columns = {line.count("|") - line.count(r"\|") for line in text.splitlines() if line.startswith("| ")}
    assert columns == {8}
    assert re.search(r"- \*\*pigs, REML\*\*: default python short \(expected agree\): MixedLM .* it stopped 3.34", text)
    assert "- crossed, REML: correlated slopes of two crossed factors" in text
    assert re.search(r"Versions: Python 3\.\d+\.\d+, .*statsmodels .*R \d", text)


def test_what_was_declared_passes_and_what_is_better_than_declared_does_not(place, capsys, kept_processes):
    """Dyestuff2's variance of zero: MixedLM's default stops 5.6e-5 below it by ML, and reaches it by REML.

    A file that was written before there was the word imprecise says short of it; only strictly is that another one.
    """
    datasets.load("dyestuff2").frame.to_csv(place / "data" / "dye.csv", index=False)
    dye = '[[models]]\nname = "{}"\ndata = "data/dye.csv"\nformula = "Yield ~ 1 + (1 | Batch)"\nmethod = "{}"\n'
    declared = 'reason = "it stops near zero"\nexpect = {{{} = "python short"}}\n'
    right = dye.format("dye", "both") + declared.format("ML")
    wrong = dye.format("ink", "REML") + declared.format("REML")
    (place / "declared.toml").write_text("details = false\n" + right + wrong)
    assert main(["check", str(place / "declared.toml"), "--summary", str(place / "d.md")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "dye, REML: as expected: default agree, tuned agree" in lines[0]
    assert lines[0].endswith("; details left out, as concord.toml says")
    said = "dye, ML: as expected: default python imprecise, tuned agree (it stops near zero): MixedLM (statsmodels) is"
    assert said in lines[1] and "stopped 5.64e-05" in lines[1]
    assert "ink, REML: not as expected: default agree (expected python short), tuned agree: better than" in lines[2]
    assert "take expect out" in lines[2] and "it stops near zero" in lines[2]
    assert "2 of 3 comparisons as expected, 1 not" in (place / "d.md").read_text()


def test_a_line_that_nothing_explains_is_not_as_expected(place, capsys, monkeypatch, kept_processes):
    """lme4's random effects a tenth off, where a table or a picture would show them: the verdicts agree, and it is not
    all well. Without details nobody looks, and says so.
    """
    answers = Inquiry.answers

    def off(self, *given: object) -> tuple[Answer, ...]:
        mixedlm, lme4, nlme = answers(self, *given)
        effects = lme4.random_effects.assign(estimate=1.1 * lme4.random_effects["estimate"])
        return mixedlm, replace(lme4, predict=lambda: effects), nlme

    monkeypatch.setattr(Inquiry, "answers", off)
    (place / "off.toml").write_text(GROWTH.replace("Days |", "1 |"))
    files = ["--junit-xml", str(place / "off.xml"), "--summary", str(place / "off.md")]
    assert main(["check", str(place / "off.toml"), *files]) == 1
    lines = capsys.readouterr().out.splitlines()
    told = "growth, REML: not as expected: default agree, tuned agree, 1 line that nothing explains: random effects, "
    assert told + "predicted effects Subject (Intercept): lme4 is" in lines[0]
    assert lines[1] == "0 of 1 comparisons as expected, 1 not"
    failure = ElementTree.parse(place / "off.xml").getroot().find("testsuite/testcase/failure")
    assert failure.get("type") == "unexplained" and failure.get("message") == "1 line that nothing explains"
    assert "predicted effects Subject" in failure.text and "predicted effects" in (place / "off.md").read_text()
    (place / "off.toml").write_text("details = false\n" + GROWTH.replace("Days |", "1 |"))
    assert main(["check", str(place / "off.toml"), *files[2:]]) == 0
    assert "; details left out, as concord.toml says" in capsys.readouterr().out
    assert "### Not looked at\n\n- growth, REML: details left out" in (place / "off.md").read_text()
    (place / "off.toml").write_text("details = false\n" + GROWTH.replace("Days |", "1 |") + "details = true\n")
    assert team_file.read(place / "off.toml")[0].details


def test_a_want_of_precision_fails_only_strictly_and_is_never_hidden(place, capsys, kept_processes):
    datasets.load("dyestuff2").frame.to_csv(place / "data" / "dye.csv", index=False)
    model = '[[models]]\nname = "dye"\ndata = "data/dye.csv"\nformula = "Yield ~ 1 + (1 | Batch)"\nmethod = "ML"\n'
    (place / "mild.toml").write_text("details = false\n" + model)
    for words, status in ((), 0), (("--strict",), 1):
        assert main(["check", str(place / "mild.toml"), "--summary", str(place / "m.md"), *words]) == status
        out, summary = capsys.readouterr().out, (place / "m.md").read_text()
        assert "default python imprecise" in out and "5.64e-05 (imprecise, warned)" in summary
    (place / "exact.toml").write_text(
        "details = false\n" + model + 'expect = "python imprecise"\nreason = "it stops near zero"\n'
    )
    assert main(["check", str(place / "exact.toml"), "--strict"]) == 0


def test_one_model_that_cannot_be_used_is_an_error_and_stops_no_other(place, recorded, capsys):
    doctored = copy.deepcopy(recorded)
    doctored.versions["statsmodels"] = "0.0.1"
    growth = next(each for each in doctored.entries if (each["name"], each["settings"]) == ("growth", "default"))
    growth["verdict"] = "r short"
    slope = next(row for row in growth["quantities"] if row["term"] == "var__Days")
    slope["lme4"] *= 1.01
    (place / "then.json").write_text(doctored.text())
    (place / "typo.toml").write_text("details = false\n" + UNUSABLE + MISSING + GROWTH)
    files = ["--junit-xml", place / "t.xml", "--summary", place / "t.md", "--baseline", place / "then.json"]
    assert main(["check", str(place / "typo.toml"), *map(str, files)]) == 2
    assert not remote._workers
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/4] typo, REML: error: ") and "did you mean 'Days'?" in lines[0]
    assert lines[1] == (
        f"[2/4] lost, REML: error: {place}/data/slep.csv: there is no such file; did you mean {place}/data/sleep.csv?"
    )
    assert lines[2].startswith(f"[3/4] folder, REML: error: {place}/data: it is a folder")
    assert lines[3].startswith("[4/4] growth, REML: as expected")
    assert re.match(r"since the baseline, statsmodels 0\.0\.1 to [\d.]+: 2 changes$", lines[4])
    assert lines[5].startswith("  growth, REML, default: was r short, is agree: ")
    assert re.match(
        r"  growth, REML, default: lme4: moved beyond tolerance: Subject var__Days, from 35\.4224\d+ to ", lines[6]
    )
    assert lines[-1] == "1 of 4 comparisons as expected, 3 without a verdict"
    suite = ElementTree.parse(place / "t.xml").getroot().find("testsuite")
    assert (suite.get("errors"), suite.get("failures")) == ("3", "0")
    typo, lost, _ = suite.findall("testcase/error")
    assert "did you mean" in typo.get("message") and "there is no such file" in lost.get("message")
    assert lost.get("type") == "unusable input"
    text = (place / "t.md").read_text()
    assert "- **lost, REML**: error: " in text and "there is no such file" in text
    assert "| statsmodels | 0.0.1 | " in text and "**Verdicts** (1)" in text
    assert "**Estimates beyond tolerance** (1)" in text


def test_a_crash_of_concord_itself_is_an_error_with_its_traceback(place, capsys, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(checked_model, "Inquiry", broken)
    assert main(["check", str(place / "concord.toml"), "--junit-xml", str(place / "crash.xml")]) == 1
    assert capsys.readouterr().out.count("error: ZeroDivisionError: a bug") == 3
    error = ElementTree.parse(place / "crash.xml").getroot().find("testsuite/testcase/error")
    assert error.get("type") == "crash" and "Traceback" in error.text


def test_what_no_xml_can_hold_and_what_markdown_would_take_for_its_own_is_made_safe():
    model = team_file.TeamModel(
        "a|b<i>", Path("a.csv"), "a.csv", "y ~ x", "REML", {"default": "agree", "tuned": "agree"}, ""
    )
    case = checked_model.CheckedModel(model, error="bad \x00 \x1b[31m & | `x`\nand more", seconds=1.0)
    text = junit.junit_xml([case], {"R": "4"}, datetime.now(UTC))
    assert ElementTree.fromstring(text).find("testsuite/testcase").get("classname") == "concord.a|b<i>"
    row = markdown.summary([case], Baseline({"R": "4"}, ())).splitlines()[4]
    assert row == r"| error | a\|b&lt;i&gt; | REML |  |  | agree |  |"


def test_ctrl_c_ends_all_and_leaves_no_file(place):
    (place / "stop.toml").write_text("details = false\n" + (place / "concord.toml").read_text())
    given = command("stop.toml", "--junit-xml", "stop/j.xml", "--summary", "stop/s.md", "--record", "stop/b.json")
    process = subprocess.Popen(
        given,
        cwd=place,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline().startswith("[1/3] growth")
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.strip().endswith("concord: interrupted")
    assert not (place / "stop").exists()
    until(lambda: not session(process.pid), 15)


def test_an_interruption_that_r_swallows_comes_again():
    """R calls back into Python while it works; what a signal raises there reaches nobody."""
    code = """
import time
import concord.commands.cli as command
from concord import r

def told(given):
    print("began", flush=True)
    r.call("eval", r.call("parse", text="end <- proc.time()[3] + 2; while (proc.time()[3] < end) i <- 1"))
    time.sleep(60)

r.call("Sys.sleep", 0)
command._told = told
raise SystemExit(command.main(["check"]))
"""
    process = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "began\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130


# ---- concord.toml, read strictly


def test_files_that_are_not_there_or_are_no_baseline_are_one_line(place, recorded, tmp_path, capsys):
    def told(*words: str | Path) -> str:
        assert main(["check", *map(str, words)]) == 2
        out, said = capsys.readouterr()
        assert out == "" and said.count("\n") == 1
        return said

    file = place / "concord.toml"
    assert "nothing.toml: there is no such file" in told(place / "nothing.toml")
    assert "cannot be read: Is a directory" in told(place)
    given = tmp_path / "b.json"
    assert "b.json: cannot be read: there is no such file" in told(file, "--baseline", given)
    for content, what in {
        "{": "b.json: not valid JSON",
        "[]": "is not a baseline: record one",
        '{"format": 2, "versions": {}, "comparisons": []}': "of format 2, not 1",
        '{"format": 1, "versions": {}, "comparisons": [{"name": "a"}]}': "is a damaged baseline",
        recorded.text()[:-3]: "not valid JSON",
    }.items():
        given.write_text(content)
        assert what in told(file, "--baseline", given)
    assert "is a folder: name a file" in told(file, "--summary", tmp_path)
    pigs = place / "data" / "pigs.csv"
    assert "a baseline holds all models" in told(file, "--record", given, "--changed", pigs)


# ---- baselines


def changed(recorded: Baseline, doctor) -> list[tuple[str, str]]:
    """The changes since a copy that was doctored, each as its kind and sentence."""
    then = copy.deepcopy(recorded)
    doctor({(each["name"], each["settings"]): each for each in then.entries}, then)
    return [(each.kind, str(each)) for each in baseline.changes(then, recorded)]


def test_a_baseline_reads_back_as_it_was_written_and_nothing_has_changed(recorded, place, first):
    assert recorded.text() == (place / "baseline.json").read_text()
    assert json.loads(recorded.text())["versions"]["R"] == recorded.versions["R"]
    assert baseline.changes(recorded, recorded) == []
    count, share, _ = baseline.nearest(recorded, recorded)
    # 9 quantities of growth and pigs in three engines, 12 of crossed in two, since MixedLM has no fit; two settings.
    assert (count, share) == (2 * (9 * 3 + 9 * 3 + crossed_values(recorded)), 0.0)


def test_a_baseline_from_when_statsmodels_engine_had_another_name_is_read(recorded, tmp_path):
    """As ``mixedlm``, both where its fits are kept and where its estimates are."""

    def older(values: dict) -> dict:
        return {"mixedlm" if name == "statsmodels" else name: value for name, value in values.items()}

    content = json.loads(recorded.text())
    for entry in content["comparisons"]:
        entry["fits"], entry["quantities"] = older(entry["fits"]), [older(row) for row in entry["quantities"]]
    file = tmp_path / "older.json"
    file.write_text(json.dumps(content))
    assert '"mixedlm": ' in file.read_text()
    assert baseline.changes(baseline.read(file), recorded) == []


def crossed_values(recorded: Baseline) -> int:
    entry = next(each for each in recorded.entries if each["name"] == "crossed")
    return len(entry["quantities"]) * sum(fit["absent"] is None for fit in entry["fits"].values())


def test_a_gap_is_told_once_and_estimates_by_the_one_that_moved_most(recorded):
    def doctor(entries, _):
        pigs = entries["pigs", "default"]
        pigs["fits"]["statsmodels"]["gap"] -= 1
        rows = {row["term"]: row for row in pigs["quantities"]}
        rows["logLik"]["statsmodels"] += 1
        rows["var__Time"]["statsmodels"] += 2 * rows["var__Time"]["allowed"]
        rows["var__(Intercept)"]["statsmodels"] += 3 * rows["var__(Intercept)"]["allowed"]
        rows["var__Observation"]["statsmodels"] += 0.9 * rows["var__Observation"]["allowed"]

    gap, estimate = changed(recorded, doctor)
    what = "was 2.34 log-likelihood units below the optimum, is 3.34 log-likelihood units below the optimum"
    assert gap == ("gap", f"pigs, REML, default: MixedLM (statsmodels): {what}")
    assert estimate[0] == "estimate" and "2 of 9 quantities moved beyond tolerance" in estimate[1]
    assert "most of all Pig var__(Intercept), from " in estimate[1]


def test_another_table_or_formula_is_told_in_place_of_all_that_follows_from_it(recorded):
    def doctor(entries, _):
        entries["growth", "default"] |= {"data": "0" * 64, "verdict": "differ"}
        entries["pigs", "default"] |= {"formula": "Weight ~ 1 + (1 | Pig)", "verdict": "differ"}

    found = changed(recorded, doctor)
    assert [kind for kind, _ in found] == ["input", "input"]
    assert "another table than then" in found[0][1] and "then, Weight ~ 1 + (1 | Pig)" in found[1][1]


def test_a_fit_or_a_value_that_came_or_went_and_a_model_that_is_new_or_gone(recorded):
    def doctor(entries, then):
        entries["growth", "default"]["fits"]["statsmodels"] |= {"absent": "a crash", "gap": None}
        entries["growth", "tuned"]["quantities"][0]["nlme"] = None
        entries["crossed", "default"]["name"] = "elsewhere"

    assert changed(recorded, doctor) == [
        ("estimate", "growth, REML, default: MixedLM (statsmodels): gave none: a crash, gives a fit"),
        ("estimate", f"growth, REML, tuned: nlme: moved beyond tolerance: {loglik(recorded)}"),
        ("new", "crossed, REML, default: is new: cannot express"),
        ("gone", "elsewhere, REML, default: is gone; it was cannot express"),
    ]


def loglik(recorded: Baseline) -> str:
    row = next(each for each in recorded.entries if each["settings"] == "tuned")["quantities"][0]
    return f"log-likelihood logLik, from none to {row['nlme']:.8g} ({row['allowed']:.2g} allowed)"


def test_a_baseline_by_another_format_is_refused(recorded, tmp_path):
    file = tmp_path / "b.json"
    file.write_text(recorded.text().replace('"format": 1', '"format": 7'))
    with pytest.raises(InputError, match="format 7, not 1"):
        baseline.read(file)


# ---- the hook and the workflow call the command as it is


def test_the_hook_compares_what_it_is_given(place):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    # Whoever commits chooses the names: none of them is an option.
    evil = "--junit-xml=evil/report.csv"
    words = [*shlex.split(hook["entry"]), *hook["args"], "README", "data/other.csv", evil, "--record", "evil"]
    assert words[0] == "concord" and hook["language"] == "system" and hook["require_serial"]
    there = set(place.rglob("*"))
    done = subprocess.run(
        [Path(sys.executable).with_name("concord"), *words[1:]],
        cwd=place,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert set(place.rglob("*")) == there
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "no model's table is among the changed files: nothing to compare\n"
    for name in (evil, "-", "--record", "--strict"):
        said = subprocess.run(
            [sys.executable, "-m", "concord", "check", "--changed", "a.csv", name],
            cwd=place,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        assert said.returncode == 2 and "names after `--changed --`" in said.stderr and set(place.rglob("*")) == there
    for name in ("concord.toml", "study/concord.toml", "a.csv", "data/a.csv.gz", "a.rds", "a.parquet"):
        assert re.search(hook["files"], name), name
    for name in ("README.md", "concord.toml.bak", "a.csv.zip", "acsv", "notconcord.toml", "a.rds.gz"):
        assert not re.search(hook["files"], name), name


def test_the_workflow_calls_the_command_with_options_that_there_are():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text())
    inputs = workflow[True]["workflow_call"]["inputs"]  # YAML 1.1 takes the key `on` for true
    assert {"repository", "config", "statsmodels", "lane"} <= inputs.keys()
    (job,) = workflow["jobs"].values()
    (step,) = (step for step in job["steps"] if step.get("name") == "Compare")
    line = step["run"].replace("$CONFIG", "my models.toml").replace('${BASELINE:+--baseline "$BASELINE"}', "")
    words = shlex.split(line)
    assert words[0] == ".concord/.venv/bin/concord"  # which imports nothing from the folder that it runs in
    given = parser().parse_args(words[1:])
    assert given.file == Path("my models.toml") and not given.changed and given.names is None
    assert {given.junit_xml.parent, given.summary.parent, given.record.parent} == {Path("concord")}
    used = set(re.findall(r"inputs\.(\w+)", (ROOT / ".github" / "workflows" / "check.yml").read_text()))
    assert used == inputs.keys()


def test_every_call_of_the_workflow_in_one_run_has_an_artifact_of_its_own_name(tmp_path):
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text())
    for job in workflow["jobs"].values():
        (step,) = (step for step in job["steps"] if step.get("id") == "artifact")
        (upload,) = (step for step in job["steps"] if step.get("uses", "").startswith("actions/upload-artifact"))
        assert upload["with"]["name"].startswith("${{ steps.artifact.outputs.name }}-${{ inputs.lane }}-")
        assert step["env"] == {"INPUTS": "${{ toJSON(inputs) }}"}
        names = []
        for config in (
            "concord.toml",
            "a/concord.toml",
            "a-concord.toml",
            'a: "b"\\c|d*?<e>\n$(exit 1).toml',
            "é" * 99,
        ):
            output = tmp_path / "output"
            output.write_text("")
            given = {"CONFIG": config, "INPUTS": json.dumps({"config": config}), "GITHUB_OUTPUT": str(output)}
            subprocess.run(["bash", "-e", "-c", step["run"]], env={**ENVIRONMENT, **given}, check=True)
            names += re.fullmatch(r"name=(concord-[\w.-]{1,110})\n", output.read_text(), re.ASCII).groups()
        assert names[0].startswith("concord-concord.toml-") and len(set(names)) == 5
