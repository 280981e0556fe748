"""Outputs that are compared with some versions only: a changed number is caught where it belongs, and only there."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import nbformat
import pytest
from running import PICTURE, STRICT, check, code, run, show, shown, stream, write

from nbval_tolerance.plugin import NOT_COMPARED
from nbval_tolerance.versions import parts

pytest_plugins = ["pytester"]

HERE = {"lme4": "1.1-37", "R": "4.5.0"}
WHY = "it stops elsewhere since"
TABLE = "model a: agree 0.5\nmodel b: r imprecise 0.25\nmodel c: agree 0.125\n"


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with a function to which a range is the one version that it takes."""
    module = ModuleType("versions_here")
    module.outside = lambda ranges: [f"{name} {HERE[name]}" for name, given in ranges.items() if given != HERE[name]]
    monkeypatch.setitem(sys.modules, module.__name__, module)


OPTIONS = (*STRICT, "-o", "nbval_versions=versions_here:outside")


def cell(new: str, old: str, lme4: str, text: str | None = None, **more: Any) -> nbformat.NotebookNode:
    """A cell that prints `new` where `old` was committed, and is compared with one version of lme4 only."""
    made = code(f"print({new!r}, end='')", stream(old))
    part = {"versions": {"lme4": lme4}, "reason": WHY} | ({"text": text} if text else {}) | more
    made.metadata["compared_with"] = [part]
    return made


OTHER_ROW = TABLE.replace("r imprecise 0.25", "agree 1e-7")
ROW = "^model b.*"
HELD, LEFT = "1.1-37", "1.1-31"
CASES = [
    ("the row there, changed", cell(OTHER_ROW, TABLE, HELD, ROW), "text 'r' became 'agree'"),
    ("the row elsewhere, changed", cell(OTHER_ROW, TABLE, LEFT, ROW), ""),
    ("a number of the row there", cell(TABLE.replace("0.25", "0.26"), TABLE, HELD, ROW), "0.25 became 0.26"),
    ("a number beside it there", cell(TABLE.replace("0.125", "0.126"), TABLE, HELD, ROW), "0.125 became 0.126"),
    ("a number beside it elsewhere", cell(TABLE.replace("0.125", "0.126"), TABLE, LEFT, ROW), "0.125 became 0.126"),
    (
        "a verdict beside it elsewhere",
        cell(TABLE.replace("c: agree", "c: short"), TABLE, LEFT, ROW),
        "text 'agree' became 'short'",
    ),
    ("within tolerance elsewhere", cell(OTHER_ROW.replace("0.125", "0.12500001"), TABLE, LEFT, ROW), ""),
    ("all there", cell("1.5", "0.5", HELD), "0.5 became 1.5"),
    ("all elsewhere", cell("1.5", "0.5", LEFT), ""),
    ("the row is gone elsewhere", cell("model a: agree 0.5\n\nmodel c: agree 0.125\n", TABLE, LEFT, ROW), ""),
    ("one more row elsewhere", cell(TABLE + "model d\n", TABLE, LEFT, ROW), "4 lines became 5"),
    ("nothing matches there", cell(TABLE, TABLE, HELD, "^model d"), "'^model d' matches nothing that is committed"),
    ("nothing matches elsewhere", cell(TABLE, TABLE, LEFT, "^model d"), "'^model d' matches nothing that is committed"),
    ("no reason", cell(TABLE, TABLE, LEFT, ROW, reason=" "), "it wants a reason"),
    ("no versions", cell(TABLE, TABLE, LEFT, ROW, versions={}), "it wants versions"),
    ("misspelt", cell(TABLE, TABLE, LEFT, ROW, why="w"), "it takes text, versions and reason"),
    ("unknown package", cell(TABLE, TABLE, LEFT, ROW, versions={"lme5": "1"}), "lme5"),
]


def in_two_types(now: str) -> nbformat.NotebookNode:
    old = {"text_plain": TABLE, "text_html": f"<pre>{TABLE}</pre>"}
    made = code(show(**{kind: text.replace(TABLE, now) for kind, text in old.items()}), shown(**old))
    made.metadata["compared_with"] = [{"text": "model b.*", "versions": {"lme4": LEFT}, "reason": WHY}]
    return made


def without_part(source: str) -> nbformat.NotebookNode:
    made = code(source, stream("0.5"))
    made.metadata["compared_with"] = [{"versions": {"lme4": LEFT}, "reason": WHY}]
    return made


def pictured(source: str) -> nbformat.NotebookNode:
    made = code(source, shown(text_plain="model b", image_png=PICTURE))
    made.metadata["compared_with"] = [{"text": "model b", "versions": {"lme4": LEFT}, "reason": WHY}]
    return made


CASES += [
    ("two types elsewhere", in_two_types(OTHER_ROW), ""),
    ("two types elsewhere, beside it", in_two_types(TABLE.replace("0.125", "0.126")), "text/html"),
    ("an error elsewhere", without_part("raise ValueError('boom')"), "boom"),
    ("no output elsewhere", without_part("pass"), "and this run gives none"),
    ("a picture gone elsewhere", pictured(show(text_plain="model x")), "1 image/png committed, 0 in this run"),
]


def test_outputs_that_are_compared_with_some_versions_only(pytester: pytest.Pytester) -> None:
    write(pytester, *(each for _, each, _ in CASES))
    check(run(pytester, *OPTIONS), CASES)


def test_without_strict_too(pytester: pytest.Pytester) -> None:
    chosen = [each for each in CASES if "gone elsewhere" not in each[0] and "no output" not in each[0]]
    write(pytester, *(each for _, each, _ in chosen))
    options = [each for each in OPTIONS if each not in ("nbval_strict=true",)]
    options = [a for a, b in zip(options, [*options[1:], ""], strict=True) if (a, b[:1]) != ("-o", "-")]
    check(run(pytester, *options), chosen)


def test_what_is_not_compared_is_told_with_its_reason(pytester: pytest.Pytester) -> None:
    write(pytester, cell(OTHER_ROW, TABLE, LEFT, ROW), cell(TABLE, TABLE, HELD, ROW), cell("2", "1", LEFT))
    record = pytester.inline_run("--nbval", "-p", "no:cacheprovider", *OPTIONS)
    told = [dict(each.user_properties) for each in record.getreports("pytest_runtest_logreport") if each.when == "call"]
    first = f"here lme4 1.1-37; '{ROW}' is compared with lme4 1.1-31 only: {WHY}"
    assert told == [{NOT_COMPARED: first}, {}, {NOT_COMPARED: first.replace(repr(ROW), "all output")}]


def test_the_summary_has_it_once(pytester: pytest.Pytester) -> None:
    write(pytester, cell(OTHER_ROW, TABLE, LEFT, ROW), cell(TABLE, TABLE, HELD, ROW))
    lines = pytester.runpytest_inprocess("--nbval", "-p", "no:cacheprovider", *OPTIONS).outlines
    where = [number for number, line in enumerate(lines) if "not compared with these versions" in line]
    assert len(where) == 1 and [WHY in line for line in filter(None, lines[where[0] + 1 : where[0] + 4])] == [
        True,
        False,
    ]


def test_without_a_function_that_knows_versions_it_is_an_error(pytester: pytest.Pytester) -> None:
    write(pytester, cell(TABLE, TABLE, HELD, ROW))
    outcome, report = run(pytester, *STRICT)[0]
    assert outcome == "failed" and "nbval_versions must name a function" in report


@pytest.mark.parametrize(
    "given", [{}, "text", [1], [{"text": "(", "versions": {"R": "1"}, "reason": WHY}], [{"reason": WHY}]]
)
def test_what_is_written_otherwise_is_an_error(given: Any) -> None:
    with pytest.raises(ValueError, match="it wants|must be a list|unterminated|it takes"):
        parts(given)


def test_a_text_that_matches_nothing_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="matches the empty text"):
        parts([{"text": "x*", "versions": {"R": "1"}, "reason": WHY}])
