"""What is said of a finding is read strictly, run in a process of its own, and red where it is not so any more."""

from __future__ import annotations

import json
import os
import re
import time

import pytest

from concord.display.media import FINDINGS_TYPE
from concord.errors import InputError
from concord.findings import Shelf, Unrecorded, read, reproduction, shelf
from concord.findings.record import within
from concord.findings.reproduction import ReproductionError, Run
from support.paths import ROOT

RECORD = """
[wrong_sum]
title = "sum() of two is three"
package = "adder"
function = "adder.sum"
affects = "Everybody."
says_so = "no"
words = "It says nothing."
cause = "It counts from one."
remedy = "Use +."
mend = "Count from zero."
holds = { adder = ">=2" }
defect = { sum = "> 2.5, < 3.5" }
mended = { right = ">= 2, <= 2" }
tried = [{ versions = { adder = "2.1" }, on = 2026-11-28, came = "Holds." }]
links = { "an issue" = "https://example.org/adder/1" }
"""
HOLDS = {"sum": 3.0, "right": 2.0}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "findings.toml").write_text(RECORD)
    (tmp_path / "wrong_sum.py").write_text("print(3)\n")
    return tmp_path


def shelf_of(folder, numbers, version="2.1"):
    """A shelf whose reproductions print these numbers."""
    return Shelf(
        read(folder), lambda paths: {path.stem: Run("1 + 1 is 3", numbers) for path in paths}, lambda _: version
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[wrong_sum]", "[Wrong-sum]", "Wrong-sum: must be a table"),
        ('cause = "It counts from one."\n', "", "wrong_sum.cause: this key is missing"),
        ("says_so", "said_so", "wrong_sum.said_so: unknown key|wrong_sum.says_so: this key is missing"),
        ('"no"', '"perhaps"', "wrong_sum.says_so: "),
        ('"Use +."', '""', "wrong_sum.remedy: must be words on one line"),
        ("> 2.5, < 3.5", "more than 2", "wrong_sum.defect.sum: 'more than 2' is no bound"),
        ('{ sum = "> 2.5, < 3.5" }', "{}", "wrong_sum.defect: "),
        ("> 2.5, < 3.5", "> 2.5.1", "wrong_sum.defect.sum: '> 2.5.1' is no bound"),
        ("> 2.5, < 3.5", "> .", "wrong_sum.defect.sum: '> .' is no bound"),
        (">=2", "since 2", "wrong_sum.holds.adder: 'since 2' is no range of versions"),
        ("https://example", "example", "wrong_sum.links.an issue: must be an address"),
        ("https://example", "http://example", "wrong_sum.links.an issue: must be an address"),
        ("2026-11-28", '"yesterday"', "wrong_sum.tried.0.on: "),
        (
            'tried = [{ versions = { adder = "2.1" }, on = 2026-11-28, came = "Holds." }]',
            "tried = []",
            "wrong_sum.tried: ",
        ),
        ("holds = ", "holds ", "not valid TOML: "),
        ("[wrong_sum]", "[no_file]", "no_file: must have one reproduction, no_file.py or no_file.R; it has 0"),
    ],
)
def test_what_is_written_otherwise_is_refused_in_one_line(folder, old, new, told):
    assert old in RECORD
    (folder / "findings.toml").write_text(RECORD.replace(old, new))
    with pytest.raises(InputError, match=told) as refused:
        read(folder)
    assert str(folder / "findings.toml") in str(refused.value) and "\n" not in str(refused.value)


def test_a_reproduction_belongs_to_one_finding_and_a_finding_to_one_reproduction(folder):
    (folder / "wrong_sum.R").write_text("1\n")
    with pytest.raises(InputError, match="it has 2"):
        read(folder)
    (folder / "wrong_sum.R").rename(folder / "other.R")
    with pytest.raises(InputError, match="no finding is reproduced by other.R"):
        read(folder)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        ("> 1", [1.1, float("inf")], [1.0, float("nan")]),
        (">= 16, <= 16", [16], [15, 17]),
        ("> -1e-3,< 1e-3", [0], [-1, 1e-3]),
    ],
)
def test_a_number_lies_between_its_bounds_or_not(bounds, inside, outside):
    assert all(within(bounds, number) for number in inside)
    assert not any(within(bounds, number) for number in outside)


def test_a_finding_that_holds_is_shown_with_its_evidence(folder):
    found = shelf_of(folder, HOLDS)
    assert found.state("wrong_sum").word == shelf.HOLDS
    shown = found["wrong_sum"]._repr_mimebundle_()
    for part in (
        "Everybody.",
        "1 + 1 is 3",
        "print(3)",
        "Use +.",
        "an issue",
        "https://example.org/adder/1",
        "adder 2.1",
    ):
        assert part in shown["text/plain"] and part in shown["text/html"]
    assert "<details><summary>" in shown["text/html"]
    assert "| [sum() of two is three](#wrong_sum) (adder) | no | holds |" in str(found.table)
    (record,) = found.table._repr_mimebundle_()[FINDINGS_TYPE]
    assert (record["id"], record["state"], record["card"]) == ("wrong_sum", "holds", False)
    found.check()


@pytest.mark.parametrize(
    ("numbers", "word", "told"),
    [
        ({"sum": 2.0, "right": 2.0}, shelf.MENDED, "Mended in adder 2.1: sum is 2, not > 2.5, < 3.5. To be recorded"),
        ({"sum": float("nan"), "right": 2.0}, shelf.MENDED, "sum is nan"),
        ({"sum": 2.0, "right": 4.0}, shelf.MENDED, "Mended in adder 2.1: sum is 2"),
        ({"sum": 3.0, "right": 4.0}, shelf.UNMENDED, "the mend does not work: right is 4, not >= 2, <= 2"),
    ],
)
def test_a_finding_that_holds_no_more_or_is_not_mended_is_red(folder, numbers, word, told):
    found = shelf_of(folder, numbers)
    assert found.state("wrong_sum").word == word and f"| {word} |" in str(found.table)
    with pytest.raises(Unrecorded, match=re.escape(told)):
        found.check()


def test_a_number_that_is_not_printed_is_no_success(folder):
    with pytest.raises(ReproductionError, match="wrong_sum.py prints no number sum"):
        shelf_of(folder, {"right": 2.0}).check()


def test_with_other_versions_a_finding_is_not_run(folder):
    """So a release that mended it is recorded: by a range that ends before it."""
    found = Shelf(read(folder), lambda paths: {path.stem: 1 / 0 for path in paths}, lambda _: "1.9")
    assert found.state("wrong_sum").word == shelf.ELSEWHERE and "print(3)" in str(found["wrong_sum"])
    found.check()


SCRIPTS = {
    "python.py": "import os\nprint('of Python')\nprint('{\"pid\": %d}' % os.getpid())",
    "other.py": "import os\nleft = 'left' in globals()\nprint('{\"pid\": %d, \"left\": %d}' % (os.getpid(), left))",
    "rlang.R": "x <- 1\nmessage('aside')\ncat('of R\\n')\ncat(sprintf('{\"left\": %d}\\n', 0L))",
    "rother.R": "cat(sprintf('{\"left\": %d}\\n', length(ls()) + exists('x')))",
    "rspace.R": "here <- 0L\ncat(sprintf('{\"left\": %d}\\n', get('here', globalenv()) + length(ls()) - 1L))",
}


def test_a_reproduction_has_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduction, "_IN_PYTHON", ())
    for name, code in SCRIPTS.items():
        (tmp_path / name).write_text(code)
    runs = reproduction.run(tmp_path / name for name in SCRIPTS)
    assert [run.printed for run in runs.values()] == ["of Python", "", "of R", "", ""]
    assert runs["python"].numbers["pid"] != runs["other"].numbers["pid"]
    assert [runs[name].numbers["left"] for name in ("other", "rlang", "rother", "rspace")] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("fails.py", "print('{}')\nraise ValueError('gone wrong')", "fails.py failed: .*gone wrong"),
        ("silent.py", "print('no numbers')", "silent.py: its last line is no line of numbers: 'no numbers'"),
        ("huge.py", "print('{\"a\": 1' + 400 * '0' + '}')", "huge.py: its last line is no line of numbers"),
        ("deep.py", "print(100000 * '[')", "deep.py: its last line is no line of numbers"),
        ("fails.R", "cat('{}\\n')\nstop('gone wrong')", "fails.R failed: .*gone wrong"),
    ],
)
def test_a_reproduction_that_fails_says_so(tmp_path, monkeypatch, name, code, told):
    monkeypatch.setattr(reproduction, "_IN_PYTHON", ())
    (tmp_path / name).write_text(code)
    with pytest.raises(ReproductionError, match=told):
        reproduction.run([tmp_path / name])


@pytest.mark.parametrize(
    ("name", "code"), [("hangs.py", "import time; time.sleep(99)"), ("hangs.R", "repeat Sys.sleep(1)")]
)
def test_a_reproduction_that_hangs_is_stopped(tmp_path, monkeypatch, name, code):
    """Its process too."""
    monkeypatch.setattr(reproduction, "_IN_PYTHON", ())
    monkeypatch.setattr(reproduction, "_IN_R", re.sub(r'c\("lme4".*?\)', "NULL", reproduction._IN_R))
    monkeypatch.setattr(reproduction, "TIMEOUT", 6.0)  # a process on a busy machine takes seconds to begin
    path = tmp_path / name
    said = tmp_path / "pid"
    write = (
        "import os; open({!r}, 'w').write(str(os.getpid()))\n"
        if name.endswith(".py")
        else "cat(Sys.getpid(), file = {!r})\n"
    )
    path.write_text(write.format(str(said)) + code)
    with pytest.raises(ReproductionError, match=f"{name}: it was stopped after 6 s"):
        reproduction.run([path])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(int(said.read_text()), 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("it still runs")


def test_what_a_record_says_is_text_on_the_page(folder):
    """Also in addresses."""
    hostile = RECORD.replace("adder/1", '\\"><script>alert(1)</script>').replace(
        "Everybody.", "<img src=x onerror=alert(1)>"
    )
    (folder / "findings.toml").write_text(hostile)
    page = shelf_of(folder, HOLDS)["wrong_sum"]._repr_mimebundle_()["text/html"]
    assert "<script" not in page and "<img" not in page and "&lt;script&gt;" in page


def test_every_finding_of_the_workbook_has_its_section_under_its_title():
    notebook = json.loads((ROOT / "notebooks" / "findings.ipynb").read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    findings = read()
    assert sum(finding.card for finding in findings.values()) == 5
    shown = [source for source in sources if source.startswith(("<a id=", "shelf["))]
    expected = [
        text
        for id, finding in findings.items()
        for text in (f'<a id="{id}"></a>\n\n### {finding.title}', f'shelf["{id}"]')
    ]
    assert shown == expected
    assert sources[-3] == "shelf.check()"
    for finding in findings.values():
        code = finding.code
        assert "concord" not in code.lower() and "$" not in code.replace("'$'", "")


def test_a_finding_of_some_versions_is_compared_with_those_in_its_cell_and_its_line():
    """Elsewhere it is not looked for, and its cell and its line of the table say so: not what is committed."""
    notebook = json.loads((ROOT / "notebooks" / "findings.ipynb").read_text(encoding="utf-8"))
    cells = {"".join(cell["source"]): cell["metadata"].get("compared_with", []) for cell in notebook["cells"]}
    table = next(rules for source, rules in cells.items() if source.endswith("shelf.table"))
    for id, finding in read().items():
        line = f"| [{finding.title}](#{id})"
        rules = [
            *(rule for rule in cells[f'shelf["{id}"]'] if "text" not in rule),
            *(rule for rule in table if re.match(rule["text"], line)),
        ]
        assert [set(rule["versions"]) for rule in rules] == 2 * [set(finding.holds)] * bool(finding.holds), id
