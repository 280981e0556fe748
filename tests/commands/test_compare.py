"""The compare command, as a shell and a CI job run it: verdicts, files, exit statuses, and one line for bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from concord.data import datasets
from concord.display import records
from concord.display.records import ESTIMATES_COLUMNS, FITS_COLUMNS
from concord.models import model
from concord.reference import reference
from support.mutant_process import ENDLESS, ENDLESS_TUNED, WRONG, changed, environment
from support.paths import ROOT
from support.processes import session, until

SLOPE = "Reaction ~ Days + (1 + Days | Subject)"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CONCORD")}


def compare(*words: str | Path, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The command in a folder of its own, as a shell runs it."""
    command = [sys.executable, "-m", "concord", "compare", *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT | more, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    datasets.load("sleepstudy").frame.to_csv(folder / "sleep.csv", index=False)
    datasets.load("dietox").frame.to_csv(folder / "dietox.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def agreeing(place):
    """Both methods, certified."""
    return compare(
        "sleep.csv",
        SLOPE,
        "--method",
        "both",
        "--certify",
        "--sweep",
        "0",
        "--details",
        "0",
        "--output",
        "out",
        folder=place,
    )


@pytest.fixture(scope="module")
def disagreeing(place):
    """With the sweep."""
    limits = ("--sweep", "0", "--details", "0")
    return compare("dietox.csv", "Weight ~ Time + (1 + Time | Pig)", *limits, "--output", "short", folder=place)


def test_agreement_ends_with_status_0_and_the_verdicts_on_stdout(agreeing):
    assert agreeing.returncode == 0, agreeing.stderr
    for method in ("REML", "ML"):
        assert f"sleep-model, {method}, default settings: agree\n{SLOPE}\n" in agreeing.stdout
        assert f"sleep-model, {method}, tuned settings: agree\n{SLOPE}\n" in agreeing.stdout
    assert "251.4051" in agreeing.stdout and "the global optimum (proved)" in agreeing.stdout
    assert agreeing.stderr == ""
    # Left out as asked, it is named: the status is by the verdicts alone.
    assert agreeing.stdout.count("Left out of the verdict: standard errors, tests of fixed effects, intervals, ") == 2
    assert "nothing explains: " not in agreeing.stdout
    told = agreeing.stdout.splitlines()
    assert told[-1].startswith("report: ") and told[-1].endswith("sleep-ML.html")
    assert sum(line.startswith("Everything else that the fits say") for line in told) == 2


def test_what_to_write_instead_is_told_below_a_verdict_that_is_not_agreement(agreeing, disagreeing, place):
    """On the terminal and on the page: the gain, and whole code; the page has the default code after it, marked."""
    said = disagreeing.stdout
    assert said.index("python short") < said.index("MixedLM (statsmodels): do this instead") < said.index("tuned")
    assert "+3.34 log-likelihood units" in said and ": then the default call reaches the optimum." in said
    assert 'dietox = pd.read_csv("dietox.csv")' in said and "print(fit.summary())" in said
    assert "do this instead" not in agreeing.stdout and "Nothing needs to change" not in agreeing.stdout
    page = (place / "short" / "dietox-REML.html").read_text()
    marked = "# The default call: it stops 3.34 log-likelihood units below the optimum."
    assert page.index("do this instead") < page.index(marked)


def test_everything_is_written(agreeing, place):
    written = sorted(path.name for path in (place / "out").iterdir())
    pages = [f"sleep-{method}.{suffix}" for method in ("ML", "REML") for suffix in ("html", "ipynb")]
    assert written == sorted(["estimates.csv", "fits.csv", "quantities.csv", "reference.json", *pages])
    fits = pd.read_csv(place / "out" / "fits.csv")
    assert list(fits.columns) == list(FITS_COLUMNS) and set(fits["verdict"]) == {"agree"}
    assert len(fits) == 2 * 2 * 3 and set(fits["engine"]) == {"statsmodels", "lme4", "nlme"}
    estimates = pd.read_csv(place / "out" / "estimates.csv", keep_default_na=False)
    assert list(estimates.columns) == list(ESTIMATES_COLUMNS)
    wanted = reference.of(model.get("sleepstudy-random_slope")).estimates
    tuned = estimates.query("engine == 'lme4' and settings == 'tuned' and method == 'REML'")
    np.testing.assert_allclose(sorted(tuned["estimate"].astype(float)), sorted(wanted["estimate"]), rtol=1e-4)


def test_the_certificate_is_the_one_of_the_catalogue(agreeing, place):
    """Proved anew from the user's table, the optimum has the digits of the dataset's own reference.json."""
    mine = json.loads((place / "out" / "reference.json").read_text())["model"]
    theirs = json.loads((ROOT / "datasets" / "sleepstudy" / "reference.json").read_text())["random_slope"]
    for method in ("REML", "ML"):
        assert mine[method]["loglik"][:24] == theirs[method]["loglik"][:24]


def test_the_report_shows_the_code_of_both_languages_and_no_error(agreeing, place):
    page = (place / "out" / "sleep-REML.html").read_text()
    assert "smf.mixedlm" in page and "lmer(Reaction ~ Days" in page and "library(lme4)" in page
    assert page.count("data:image/png") >= 3  # estimates, residuals, profiles; packages that agree need no more
    notebook = nbformat.read(place / "out" / "sleep-REML.ipynb", 4)
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if output.output_type == "error"
    ]


def test_every_link_of_the_page_leads_somewhere(agreeing, place):
    page = (place / "out" / "sleep-REML.html").read_text()
    links = [link for link in re.findall(r'<a[^>]* href="([^"]*)"', page) if not re.match("https?:|#", link)]
    assert {"sleep-REML.ipynb", "sleep-ML.html"} <= set(links) and all(
        (place / "out" / link).is_file() for link in links
    )


def test_disagreement_ends_with_status_1_and_says_who_and_why(disagreeing, place):
    assert disagreeing.returncode == 1
    assert "dietox-model, REML, default settings: python short" in disagreeing.stdout
    assert re.search(
        r"MixedLM \(statsmodels\) is short: it stopped 3\.34 log-likelihood units below", disagreeing.stdout
    )
    assert "dietox-model, REML, tuned settings: agree" in disagreeing.stdout
    assert {path.name for path in (place / "short").iterdir()} >= {"dietox-REML.html", "fits.csv", "estimates.csv"}
    fits = pd.read_csv(place / "short" / "fits.csv")
    assert set(fits.query("settings == 'default'")["verdict"]) == {"python short"}


def _lines_named(stdout: str) -> list[str]:
    return re.findall(r"^nothing explains: REML, tuned settings: (.*)$", stdout, re.MULTILINE)


# All in one run; each in one of its own by `make mutate`.
ALONE = list(WRONG) if os.environ.get("CONCORD_MUTATE") == "all" else []


@pytest.mark.parametrize("wrong", [list(WRONG), *([each] for each in ALONE)], ids=lambda each: f"{len(each)}-{each[0]}")
def test_a_line_that_nothing_explains_ends_with_status_1_and_is_named(wrong, place, tmp_path):
    """What packages say beyond their estimates is wrong, and the command says so, with the name of every line."""
    given = ("sleep.csv", "Reaction ~ Days + (1 | Subject)", "--sweep", "0", "--output", tmp_path / "out")
    done = compare(*given, folder=place, **environment(tmp_path / "wrong", wrong))
    assert done.returncode == 1, done.stderr
    named = _lines_named(done.stdout)
    for each in wrong:
        for words in WRONG[each][2]:
            assert [line for line in named if line.startswith(words)], (each, named)
    assert re.search(r"tuned settings: differ, \d+ lines, [1-9]\d* that nothing explains$", done.stdout, re.MULTILINE)
    written = pd.read_csv(tmp_path / "out" / "quantities.csv", keep_default_na=False)
    assert len(records.unexplained(written)) == len(named)
    assert "differ: " in (tmp_path / "out" / "sleep-REML.html").read_text()


def test_nothing_of_this_machine_is_in_what_is_printed(agreeing, place):
    assert str(ROOT) not in agreeing.stdout


BAD = {
    "no variable": (("sleep.csv", "Reaction ~ day + (1 | Subject)"), "did you mean 'Days'?"),
    "constant response": (("constant.csv", "y ~ x + (1 | g)"), "the response 'y' is 1 in all 12 rows"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_with_status_2_and_nothing_is_written(case, place):
    given, what = BAD[case]
    (place / "constant.csv").write_text("y,x,g\n" + "".join(f"1,{i},{i % 3}\n" for i in range(12)))
    done = compare(*given, "--output", f"bad-{case}", folder=place)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("concord: ") and what in done.stderr
    assert "Traceback" not in done.stderr and not (place / f"bad-{case}").exists()


def test_a_missing_r_is_one_line_with_status_2_too(place):
    done = compare("sleep.csv", SLOPE, "--output", "no-r", folder=place, R_HOME=str(place / "none"))
    assert done.returncode == 2 and done.stdout == "" and not (place / "no-r").exists()
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("concord: R does not start")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("sleep.csv",), "FORMULA"),
        (("sleep.csv", SLOPE, "--method", "reml"), "--method"),
        (("sleep.csv", SLOPE, "--engine-timeout", "-1"), "--engine-timeout"),
        (("sleep.csv", SLOPE, "--sweep", "-1"), "--sweep"),
        (("sleep.csv", SLOPE, "--settings", "tuned"), "--settings"),
        (("sleep.csv", SLOPE, "--output", "sleep.csv"), "sleep.csv: is not a folder"),
    ],
)
def test_bad_options_are_one_line_too(words, what, place):
    done = compare(*words, folder=place)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and what in done.stderr


def test_an_engine_that_would_not_finish_is_stopped_and_the_other_is_reported(place, tmp_path):
    """MixedLM does not end, and is stopped after a two-hundredth of the time that all others have."""
    given = ("sleep.csv", SLOPE, "--engine-timeout", "100", "--sweep", "0", "--output", "endless")
    done = compare(*given, folder=place, **changed(tmp_path, ENDLESS))
    assert done.returncode == 1, done.stderr
    assert "sleep-model, REML, default settings: no fit" in done.stdout
    assert "stopped after 0.5 s" in done.stdout
    fits = pd.read_csv(place / "endless" / "fits.csv").set_index(["settings", "engine"])
    assert abs(fits.loc[("default", "lme4"), "gap"]) < 1e-5 and np.isnan(fits.loc[("default", "statsmodels"), "gap"])
    # Nor is it asked again for what is beyond the estimates.
    assert re.search("^Left out of the verdict: .*intervals", done.stdout, re.MULTILINE)
    assert "Left out: intervals would fit again what an engine did not end" in done.stdout


def test_ctrl_c_ends_all_and_keeps_what_is_there_and_the_same_command_goes_on(place, tmp_path):
    """It comes while the tuned fits run, which would not end."""
    given = ("sleep.csv", "Reaction ~ Days + (1 | Subject)", "--output", "interrupted")
    process = subprocess.Popen(
        [sys.executable, "-m", "concord", "compare", *given],
        cwd=place,
        env=ENVIRONMENT | changed(tmp_path, ENDLESS_TUNED),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    process.stdout.readline()  # the first verdict: engines have run, the rest is running
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.strip().endswith("concord: interrupted")
    assert "what was done is in interrupted; not yet: " in said and "Verdicts" in said
    until(lambda: not session(process.pid), 15)
    folder = place / "interrupted"
    page = (folder / "sleep-REML.html").read_text(encoding="utf-8")
    assert "This notebook is not finished" in page and "default settings" in page
    before = pd.read_csv(folder / "fits.csv").set_index(["settings", "engine"])["seconds"]
    assert set(before.index.get_level_values("settings")) == {"default"}
    compare(*given, "--settings", "default", "--sweep", "0", "--details", "0", folder=place)
    after = pd.read_csv(folder / "fits.csv").set_index(["settings", "engine"])["seconds"]
    # To the digit: they were not fitted again.
    pd.testing.assert_series_equal(after, before)
    assert "not finished" not in (folder / "sleep-REML.html").read_text(encoding="utf-8")
    assert not (folder / ".unfinished").exists()
