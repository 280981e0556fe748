"""nbval with a tolerance: what counts as a difference, and each hole of nbval, open without the plugin, closed with it.

A kernel takes a second or two to start, so one notebook carries many cells. When a test says that nbval alone passes
and it no longer does, upstream has closed the hole and the plugin may shrink.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest

from concord.nbval_tolerance import differences, reason_not_compared, tolerance, tolerances
from concord.records import MEDIA_TYPE, PICTURE_TYPE

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "concord.nbval_tolerance")


# --- Two texts -------------------------------------------------------------------------------------------------------


def table(*estimates: float) -> str:
    """As pandas prints it, each number with the digits that it has."""
    frame = pd.DataFrame({"term": ["a", "intercept", "b"], "estimate": estimates, "n": [1, 20, 3]})
    return frame.to_string(float_format=lambda number: repr(float(number)))


PADDED = table(0.5, float("nan"), -1.25)
SUMMARY = """\
       Results
=====================
          Coef.     z
---------------------
(Intercept)  0.123456 x
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.5000005"),
        ("-0.12", "-0.12000012"),
        ("loglik:-1234.5", "loglik:-1234.5001"),
        ("p = 1e-05", "p = 1.000001e-05"),
        ("1e-05", "0.00001"),
        ("1.5E+10 %", "15000000000.0 %"),
        ("12.5%", "12.50001%"),
        ("-0.0", "0.0"),
        ("1e-12", "-1e-13"),
        ("1", "0.9999999"),
        ("[ 1.e-12 -5.e-01]", "[-1.e-12 -5.e-01]"),
        ("[1. 2.]", "[0.9999999 2.]"),
        ("[2., 1.]", "[2., 0.9999999]"),
        ("array([-0., 2.])", "array([0., 2.])"),
        ("<td>0.25</td>", "<td>0.2500001</td>"),
        ('{"sd":.5}', '{"sd":.5000001}'),
        ("np.float64(0.1)", "np.float64(0.10000001)"),
        ("[0.025 0.975] <2e-16 ***", "[0.025 0.975] <2e-16 ***"),
        ("nan inf -inf NA", "nan inf -inf NA"),
    ],
)
def test_equal_within_tolerance(old: str, new: str) -> None:
    assert differences(old, new) == []
    assert differences(new, old) == []


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("0.5", "0.500001", "off by 1e-06"),
        ("-0.12", "-0.121", "off by 0.001"),
        ("-0.12", "0.12", "off by 0.24"),
        ("0.0", "2e-9", "allowed 1e-09"),
        ("1e-05", "1e-04", "relative 9"),
        ("1e999", "1e998", "off by"),
        ("12.5%", "12.6%", "off by 0.1"),
        ("nan", "0.5", "text 'nan' became '0.5'"),
        ("0.5", "inf", "text '0.5' became 'inf'"),
        ("inf", "-inf", "text"),
        ("nan", "NaN", "text"),
        ("861 rows", "862 rows", "whole numbers"),
        ("n = 1000000", "n = 1000001", "whole numbers"),
        ("There are 1000000. Next", "There are 1000001. Next", "whole numbers"),
        ("[1000000. 2.]", "[1000001. 2.]", "whole numbers"),
        ("007", "7", "whole numbers"),
        ("5", "-5", "whole numbers"),
        ("1,000,000.5", "1,000,001.5", "off by 1"),
        ("1,000,000", "1,000,001", "whole numbers"),
        ("agree", "differ", "text 'agree' became 'differ'"),
        ("a 0.5", "b 0.5", "text 'a' became 'b'"),
        ("0.5 kg", "0.5", "text 'kg' became 'the end of the line'"),
        ("one", "one\ntwo", "1 lines became 2; first at line 2"),
        ("0.05 **", "0.05 ***", "text"),
        ("The gap is 5. Next", "The gap is 5.0 Next", "text '.'"),
        ("1/2", "1/3", "text"),
        ("0.5 - 0.2", "0.5 -0.2", "text"),
    ],
)
def test_differs(old: str, new: str, why: str) -> None:
    assert why.lower() in "\n".join(differences(old, new)).lower()
    assert differences(new, old)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x1", "x2"),
        ("Evit000", "Evit100"),
        ("4601:Time", "4602:Time"),
        ("lme4 1.1-31", "lme4 1.1-32"),
        ("MASS 7.3-58.2", "MASS 7.3-58.3"),
        ("pandas 3.1.1", "pandas 3.1.2"),
        ("2026-08-01", "2026-08-02"),
        ("17:12:07.5", "17:12:07.6"),
        ("at 0x7f1e5", "at 0x7f1e6"),
        ("commit 4512e06", "commit 4513e06"),
        ("width: 12.5px", "width: 12.6px"),
        ("fit-1.5", "fit-1.6"),
        ("table_1.5.csv", "table_1.6.csv"),
        ("1.5-rc1", "1.6-rc1"),
        ("0.25:Time", "0.26:Time"),
    ],
)
def test_number_in_a_name_is_text_under_any_tolerance(old: str, new: str) -> None:
    assert "text" in differences(old, new, rtol=0.99, atol=1e9)[0] or "whole" in differences(old, new, 0.99, 1e9)[0]


def test_bounds_are_exact_in_decimals() -> None:
    assert differences("0.1234", "0.1235", rtol=0, atol=1e-4) == []
    assert differences("0.1234", "0.12350000001", rtol=0, atol=1e-4)
    assert Decimal("0.1235") - Decimal("0.1234") == Decimal("1e-4") and 0.1235 - 0.1234 > 1e-4


WIDER = (
    SUMMARY.replace("       Results", "        Results")
    .replace("0.123456 ", "0.1234561 ")
    .replace("=" * 21, "=" * 22)
    .replace("-" * 21, "-" * 22)
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (PADDED, table(0.5000001, float("nan"), -1.25)),
        (PADDED, table(0.4999999, float("nan"), -1.2500000001)),
        (table(1e-12, 0.0, 2.5), table(-1e-12, -0.0, 2.5)),
        (SUMMARY, WIDER),
        ("[ 1.e-12\n 0.5 ]", "[-1.e-12\n  0.50000001]"),
    ],
)
def test_padding_and_rulers_follow_a_number(old: str, new: str) -> None:
    assert differences(old, new) == []
    assert differences(new, old) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (PADDED, PADDED.replace(" estimate", "  estimate")),
        (SUMMARY, SUMMARY.replace("=" * 21, "=" * 22)),
        (SUMMARY, SUMMARY.replace("0.123456", "0.1234561").replace("=" * 21, "=" * 23)),
        (SUMMARY, SUMMARY.replace("0.123456", "0.1234561").replace("Coef.     z", "Coef.z")),
        (SUMMARY, SUMMARY.replace("0.123456", "0.1234561").replace("Coef.  ", "Coef.")),
        (SUMMARY, SUMMARY.replace("0.123456", "0.1234561").replace("-" * 21, "=" * 21)),
        ("a  b\n\n0.5", "a b\n\n0.50"),
        ("a\tb 0.5", "a b 0.50"),
        ("word---- 0.5", "word----- 0.50"),
    ],
)
def test_layout_that_no_number_explains_differs(old: str, new: str) -> None:
    assert old != new
    assert differences(old, new)
    assert differences(new, old)


def test_moved_text_is_told_once() -> None:
    assert differences("a  b\nc 0.5", "a b\nd 0.5") == ["line 2: text 'c' became 'd'"]


def test_report_names_number_tolerance_and_distance() -> None:
    assert differences("a\nb -0.12 c", "a\nb -0.121 c", rtol=1e-3, atol=1e-5) == [
        "line 2: -0.12 became -0.121: off by 0.001, relative 0.0083, allowed 0.00013 = 1e-05 + 0.001 x |-0.12|"
    ]


# --- What a cell asks for --------------------------------------------------------------------------------------------


def test_tags_override_one_tolerance_each() -> None:
    assert tolerances(["hide-input", "rtol=1e-4"], 1e-6, 1e-9) == (1e-4, 1e-9)
    assert tolerances(["atol=1e-3", "rtol=0"], 1e-6, 1e-9) == (0, 1e-3)
    assert tolerances([], 1e-6, 1e-9) == (1e-6, 1e-9)


@pytest.mark.parametrize(
    "tags",
    [
        ["rtol=abc"], ["rtol=nan"], ["rtol=-1"], ["rtol=1"], ["atol=inf"], ["rtol:1e-4"], ["rtol = 1e-4"],
        ["RTOL=1e-4"], ["rtol_1e-4"], ["tol=1e-4"], ["tolerance=1e-4"], ["rtol="], ["rtol"], ["rtol=1e-4", "rtol=0"],
        "rtol=1e-4",
    ],
)  # fmt: skip
def test_malformed_tag_is_an_error(tags: object) -> None:
    with pytest.raises(ValueError, match="tol"):
        tolerances(tags, 1e-6, 1e-9)


def test_tolerance_zero_is_allowed() -> None:
    assert tolerance("rtol", "0") == 0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("# not compared: its layout", "its layout"),
        ("#Not compared : why\nx", "why"),
        ("%%R -w 800\n# not compared: R's layout\nsummary(fit)", "R's layout"),
        ("\n# a heading\n\n# not compared: why", "why"),
        ("# not compared:\nx", ""),
        ("x = 1\n# not compared: too late", None),
        ("import x\n%%R\n# not compared: too late", None),
        ("# not compared, why", None),
        ("'# not compared: why'", None),
        ("", None),
    ],
)
def test_reason_stands_above_the_code(source: str, reason: str | None) -> None:
    assert reason_not_compared(source) == reason


# --- Notebooks -------------------------------------------------------------------------------------------------------


def code(source: str, *outputs: Any, tags: tuple[str, ...] = (), count: int | None = 1) -> nbformat.NotebookNode:
    metadata = {"tags": list(tags)} if tags else {}
    return nbformat.v4.new_code_cell(source, outputs=list(outputs), metadata=metadata, execution_count=count)


def stream(text: str, name: str = "stdout") -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name=name, text=text)


def shown(**data: str) -> nbformat.NotebookNode:
    """A display of several media types, their `/` spelt `_`."""
    return nbformat.v4.new_output("display_data", data={kind.replace("_", "/"): text for kind, text in data.items()})


def show(**data: str) -> str:
    return f"display({ {kind.replace('_', '/'): text for kind, text in data.items()} }, raw=True)"


def write(pytester: pytest.Pytester, *cells: nbformat.NotebookNode, name: str = "story.ipynb") -> Path:
    path = pytester.path / name
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells), metadata={"kernelspec": kernel}), path)
    return path


def run(pytester: pytest.Pytester, *arguments: str) -> dict[int, tuple[str, str]]:
    """Run nbval in this process; the outcome and the report of each cell, by nbval's cell number."""
    record = pytester.inline_run("--nbval", "-p", "no:cacheprovider", "--color=no", *arguments)
    return {
        int(report.nodeid.rsplit(" ", 1)[1]): (report.outcome, report.longreprtext)
        for report in record.getreports("pytest_runtest_logreport")
        if report.when == "call"
    }


def check(
    outcomes: dict[int, tuple[str, str]],
    cases: list[tuple[str, nbformat.NotebookNode, str]],
) -> None:
    """Each case is (what it shows, its cell, a piece of the failure's report or '' if it is to pass)."""
    assert len({name for name, _, _ in cases}) == len(cases)
    assert {
        name: text if text and outcomes[n][0] == "failed" and text in outcomes[n][1] else outcomes[n]
        for n, (name, _, text) in enumerate(cases)
    } == {name: text if text else ("passed", "") for name, _, text in cases}


TABLE = "<table><tr><td>0.5</td><td>agree</td></tr></table>"
PICTURE = "iVBORw0KGgo="
RECORD = {MEDIA_TYPE.replace("/", "_"): "seconds: 0.1"}
PICTURED = {PICTURE_TYPE.replace("/", "_"): "x,y"}
NUMBERS = [
    ("stdout within", code("print(0.5000001)", stream("0.5\n")), ""),
    ("stdout beyond", code("print(0.50001)", stream("0.5\n")), "stdout, line 1: 0.5 became 0.50001: off by 1e-05"),
    ("nbval's diff is there too", code("print(0.50001)", stream("0.5\n")), "assert reference_output == test_output"),
    ("text within", code("0.1 + 0.2", shown(text_plain="0.3")), ""),
    ("text beyond", code("0.31", shown(text_plain="0.3")), "text/plain, line 1: 0.3 became 0.31"),
    ("HTML within", code(show(text_html=TABLE.replace("0.5", "0.5000001")), shown(text_html=TABLE)), ""),
    ("HTML beyond", code(show(text_html=TABLE.replace("0.5", "0.501")), shown(text_html=TABLE)), "0.5 became 0.501"),
    ("HTML verdict", code(show(text_html=TABLE.replace("agree", "differ")), shown(text_html=TABLE)), "'</td><td>agree"),
    ("Markdown within", code(show(text_markdown="*0.50000001*"), shown(text_markdown="*0.5*")), ""),
    ("count", code("print('861 pigs')", stream("862 pigs\n")), "whole numbers must be equal"),
    ("version", code("print('1.1-32')", stream("1.1-31\n")), "text '1.1-31' became '1.1-32'"),
    ("second output beyond", code("print(0.5)\n0.6", stream("0.5\n"), shown(text_plain="0.7")), "text/plain, line 1"),
    ("second display beyond", code(f"{show(text_plain='0.5')};{show(text_plain='0.6')}",
                                   shown(text_plain="0.5"), shown(text_plain="0.7")), "0.7 became 0.6"),
    ("stderr is exact", code("import sys; print(0.5000001, file=sys.stderr)", stream("0.5\n", "stderr")), "'stderr'"),
    ("five of many", code("print(*map(float, range(9)), sep='\\n')", stream("9.5\n" * 9)), "... and 4 more"),
    ("rtol wider", code("print(0.50001)", stream("0.5\n"), tags=("rtol=1e-4",)), ""),
    ("rtol narrower", code("print(0.5000001)", stream("0.5\n"), tags=("rtol=1e-8",)), "off by 1e-07"),
    ("atol wider", code("print(0.51)", stream("0.5\n"), tags=("atol=0.01",)), ""),
    ("malformed tag", code("print(0.5)", stream("0.5\n"), tags=("rtol=tiny",)), "bad tag rtol=tiny: not a number"),
    ("another picture", code(show(image_png=PICTURE), shown(image_png=PICTURE[::-1])), ""),
    ("record stripped", code(show(text_plain="a", **RECORD), shown(text_plain="a")), ""),
    ("record alone stripped", code(show(**RECORD), nbformat.v4.new_output("display_data")), ""),
    ("record committed", code(show(text_plain="a"), shown(text_plain="a", **RECORD)), ""),
    ("record changed", code(show(text_plain="a", **RECORD),
                            shown(text_plain="a", **{key: "0.2" for key in RECORD})), ""),
    ("picture's data", code(show(text_plain="a", **PICTURED), shown(text_plain="a")), ""),
    ("number in full", code(show(text_html=TABLE.replace("0.5", '<data value="0.51">0.5</data>')),
                            shown(text_html=TABLE)), ""),
    ("shown beside it", code(show(text_html=TABLE.replace("0.5", '<data value="0.5">0.51</data>')),
                             shown(text_html=TABLE)), "0.5 became 0.51"),
]  # fmt: skip


def test_numbers_in_a_notebook(pytester: pytest.Pytester) -> None:
    write(pytester, *(cell for _, cell, _ in NUMBERS))
    check(run(pytester, *PLUGIN), NUMBERS)


USAGE_ERROR = "UsageError: Cell magic `%%R` not found.\n"
LINE_ERROR = "UsageError: Line magic function `%R` not found.\n"
BOOM = nbformat.v4.new_output("error", ename="ValueError", evalue="boom", traceback=[])
RAISES = ("raises-exception",)
HOLES = [  # nbval alone passes each of these, or skips it
    ("never executed", code("1 + 1", count=None), "never executed: run make refresh"),
    ("unloaded cell magic", code("%%R\nx", stream(USAGE_ERROR, "stderr")), "UsageError: Cell magic `%%R` not found"),
    ("unloaded line magic", code("%R x", stream(LINE_ERROR, "stderr")), "UsageError: Line magic function `%R` not"),
    ("picture missing", code(show(text_plain="a", image_png=PICTURE), shown(text_plain="a")),
     "0 image/png committed, 1 in this run"),
    ("picture gone", code(show(text_plain="a"), shown(text_plain="a", image_png=PICTURE)),
     "1 image/png committed, 0 in this run"),
    ("ignored by tag", code("print(1)", stream("2\n"), tags=("nbval-ignore-output",)), "it does not say why"),
    ("ignored by comment", code("# NBVAL_IGNORE_OUTPUT\nprint(1)", stream("2\n")), "it does not say why"),
    ("skipped by tag", code("skipped = 1", tags=("nbval-skip",)), "nbval-skip hides this cell"),
    ("skipped by comment", code("# NBVAL_SKIP\n1 / 0"), "nbval-skip hides this cell"),
    ("raises nothing", code("one = 1", tags=(*RAISES, "nbval-ignore-output")), "tagged to raise an exception"),
]  # fmt: skip
ALREADY_RED = [  # nbval fails each of these by itself
    ("output missing", code("print(1)"), "Unexpected output fields"),
    ("output gone", code("pass", stream("1\n")), "Missing output fields"),
    ("output without a count", code("print(1)", stream("1\n"), count=None), "Unrun reference cell has outputs"),
    ("one display of two", code(f"{show(text_plain='a')};{show(text_plain='b')}", shown(text_plain="a")), "dissimilar"),
    ("an exception", code("1 / 0", stream("1\n")), "ZeroDivisionError"),
    ("raises nothing as committed", code("print(1)", BOOM, tags=RAISES), "output fields"),
]
TOO_STRICT = [  # nbval executes without history, where IPython does not see the semicolon
    ("semicolon", code("1;"), ""),
]
STATED = [  # what the plugin alone understands
    ("not compared", code("# not compared: why\nprint(1)", stream("2\n")), ""),
    (
        "not compared, twice said",
        code("# not compared: why\n1", shown(text_plain="2"), tags=("nbval-ignore-output",)),
        "",
    ),
    ("not compared, no reason", code("# not compared:\nprint(1)", stream("1\n")), "wants its reason"),
    ("not compared, fails", code("# not compared: why\n1 / 0", stream("2\n")), "ZeroDivisionError"),
    ("not compared, usage error", code("# not compared: why\n%R x", stream("2\n")), "%R` not found"),
    ("not compared, never executed", code("# not compared: why\nx = 1", count=None), "never executed"),
    ("not compared, not committed", code("# not compared: why\nprint(1)"), "committed output is missing"),
    ("not compared, gone", code("# not compared: why\nx = 1", stream("1\n")), "this run gives none"),
    ("not compared, only stderr", code("# not compared: why\nx = 1", stream("a warning", "stderr")), ""),
    ("not compared, only a record", code(f"# not compared: why\n{show(**RECORD)}"), ""),
    ("the skipped cell ran", code("print(skipped)", stream("1\n")), ""),
    ("raises", code("raise ValueError('boom')", BOOM, tags=RAISES), ""),
    ("usage error wanted", code("%R x", stream(LINE_ERROR, "stderr"), tags=RAISES), ""),
    ("empty", code(" \n", count=None), ""),
]


def test_holes_are_closed(pytester: pytest.Pytester) -> None:
    cases = HOLES + ALREADY_RED + TOO_STRICT + STATED
    write(pytester, *(cell for _, cell, _ in cases))
    check(run(pytester, *PLUGIN), cases)


def test_holes_are_open_in_nbval(pytester: pytest.Pytester) -> None:
    cases = HOLES + ALREADY_RED + TOO_STRICT
    write(pytester, *(cell for _, cell, _ in cases))
    outcomes = run(pytester)
    assert {name: outcomes[n][0] for n, (name, _, _) in enumerate(cases)} == (
        {name: "skipped" if name.startswith("skipped") else "passed" for name, _, _ in HOLES}
        | {name: "failed" for name, _, _ in ALREADY_RED + TOO_STRICT}
    )


STEPS = [
    code("x = 1"),
    code("x += 1; print(x)", stream("2\n")),
    code("print(x)", stream("2\n")),
]


def test_chosen_cells_find_the_kernel_as_in_the_whole_notebook(pytester: pytest.Pytester) -> None:
    write(pytester, *STEPS)
    chosen = run(pytester, *PLUGIN, "story.ipynb::Cell 2", "story.ipynb::Cell 1")
    assert chosen == {2: ("passed", ""), 1: ("passed", "")}


def test_chosen_cell_fails_in_nbval(pytester: pytest.Pytester) -> None:
    write(pytester, *STEPS)
    outcome, report = run(pytester, "story.ipynb::Cell 1")[1]
    assert outcome == "failed" and "NameError" in report


def test_chosen_cell_says_which_cell_before_it_failed(pytester: pytest.Pytester) -> None:
    write(pytester, code("1 / 0", BOOM, tags=RAISES), code("y"), code("two = 2"), code("three = 3"))
    outcomes = run(pytester, *PLUGIN, "story.ipynb::Cell 2", "story.ipynb::Cell 3")
    outcome, report = outcomes[2]
    assert (outcome, outcomes[3][0]) == ("failed", "passed"), "a failure is told once, as in the whole notebook"
    assert "Cell 1, which stands before this one, failed: NameError: name 'y' is not defined" in report


def test_dead_kernel_fails_at_once(pytester: pytest.Pytester) -> None:
    """Under nbval the first cell waits for its time-out, 2000 seconds if no other is given."""
    write(pytester, code("import os; os._exit(1)"), code("one = 1"))
    outcomes = run(pytester, *PLUGIN)
    assert {n: outcome for n, (outcome, _) in outcomes.items()} == {0: "failed", 1: "failed"}
    assert "The kernel died while executing this cell" in outcomes[0][1]
    assert "Kernel dead" in outcomes[1][1]


SLEEPS = "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    pass"


def test_time_out_fails(pytester: pytest.Pytester) -> None:
    write(pytester, code(SLEEPS), code("one = 1"))
    write(pytester, code("import time; time.sleep(60)", tags=RAISES), name="tagged.ipynb")
    limit = "--nbval-cell-timeout=1"
    alone = run(pytester, limit, "story.ipynb::Cell 0")
    assert alone[0][0] == "passed", "nbval now sees a swallowed time-out by itself"
    outcome, report = run(pytester, *PLUGIN, limit, "story.ipynb::Cell 0")[0]
    assert outcome == "failed" and "Timeout of 1 seconds exceeded, and the cell swallowed" in report
    outcome, report = run(pytester, *PLUGIN, limit, "story.ipynb::Cell 1")[1]
    assert outcome == "failed" and "Cell 0, which stands before this one, failed: timeout of 1 seconds" in report
    assert run(pytester, *PLUGIN, limit, "tagged.ipynb")[0][0] == "failed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--nbval-rtol=tiny",), "--nbval-rtol=tiny: not a number"),
        (("--nbval-rtol=2",), "--nbval-rtol=2: must be finite"),
        (("--nbval-atol=-1",), "--nbval-atol=-1: must be finite"),
        (("--nbval-lax",), "--nbval-lax compares nothing"),
    ],
)
def test_refused_options(pytester: pytest.Pytester, arguments: tuple[str, ...], message: str) -> None:
    result = pytester.runpytest_inprocess(*PLUGIN, "--collect-only", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}*"])


def test_options_set_the_tolerance(pytester: pytest.Pytester) -> None:
    write(pytester, code("print(0.51)", stream("0.5\n")), code("print(0.52)", stream("0.5\n")))
    outcomes = run(pytester, *PLUGIN, "--nbval-rtol=0.01", "--nbval-atol=0.005")
    assert (outcomes[0][0], outcomes[1][0]) == ("passed", "failed")
    assert "allowed 0.01 = 0.005 + 0.01 x |0.5|" in outcomes[1][1]
