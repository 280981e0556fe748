"""Each hole of nbval: open without the plugin, closed by its strict notebook.

When a test says that nbval alone passes and it no longer does, upstream has closed the hole and the plugin may shrink.
"""

from __future__ import annotations

import nbformat
import pytest
from running import PICTURE, RECORD, STRICT, check, code, run, show, shown, stream, write

pytest_plugins = ["pytester"]

USAGE_ERROR = "UsageError: Cell magic `%%R` not found.\n"
LINE_ERROR = "UsageError: Line magic function `%R` not found.\n"
BOOM = nbformat.v4.new_output("error", ename="ValueError", evalue="boom", traceback=[])
RAISES = ("raises-exception",)
HOLES = [  # nbval alone passes each of these, or skips it
    ("never executed", code("1 + 1", count=None), "never executed: run and commit it"),
    ("unloaded cell magic", code("%%R\nx", stream(USAGE_ERROR, "stderr")), "UsageError: Cell magic `%%R` not found"),
    ("unloaded line magic", code("%R x", stream(LINE_ERROR, "stderr")), "UsageError: Line magic function `%R` not"),
    (
        "picture missing",
        code(show(text_plain="a", image_png=PICTURE), shown(text_plain="a")),
        "0 image/png committed, 1 in this run",
    ),
    (
        "picture gone",
        code(show(text_plain="a"), shown(text_plain="a", image_png=PICTURE)),
        "1 image/png committed, 0 in this run",
    ),
    ("ignored by tag", code("print(1)", stream("2\n"), tags=("nbval-ignore-output",)), "it does not say why"),
    ("ignored by comment", code("# NBVAL_IGNORE_OUTPUT\nprint(1)", stream("2\n")), "it does not say why"),
    ("skipped by tag", code("skipped = 1", tags=("nbval-skip",)), "nbval-skip hides this cell"),
    ("skipped by comment", code("# NBVAL_SKIP\n1 / 0"), "nbval-skip hides this cell"),
    ("raises nothing", code("one = 1", tags=(*RAISES, "nbval-ignore-output")), "tagged to raise an exception"),
]
ALREADY_RED = [  # nbval fails each of these by itself
    ("output missing", code("print(1)"), "Unexpected output fields"),
    ("output gone", code("pass", stream("1\n")), "Missing output fields"),
    ("output without a count", code("print(1)", stream("1\n"), count=None), "Unrun reference cell has outputs"),
    ("one display of two", code(f"{show(text_plain='a')};{show(text_plain='b')}", shown(text_plain="a")), "dissimilar"),
    ("an exception", code("1 / 0", stream("1\n")), "ZeroDivisionError"),
    ("raises nothing as committed", code("print(1)", BOOM, tags=RAISES), "output fields"),
]
TOO_STRICT = [  # nbval executes without history, where IPython does not see the semicolon
    ("semicolon", code("1;"), "")
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
    check(run(pytester, *STRICT), cases)


def test_holes_are_open_in_nbval(pytester: pytest.Pytester) -> None:
    cases = HOLES + ALREADY_RED + TOO_STRICT
    write(pytester, *(cell for _, cell, _ in cases))
    outcomes = run(pytester)
    assert {name: outcomes[n][0] for n, (name, _, _) in enumerate(cases)} == (
        {name: "skipped" if name.startswith("skipped") else "passed" for name, _, _ in HOLES}
        | {name: "failed" for name, _, _ in ALREADY_RED + TOO_STRICT}
    )


STEPS = [code("x = 1"), code("x += 1; print(x)", stream("2\n")), code("print(x)", stream("2\n"))]


def test_chosen_cells_find_the_kernel_as_in_the_whole_notebook(pytester: pytest.Pytester) -> None:
    write(pytester, *STEPS)
    chosen = run(pytester, *STRICT, "story.ipynb::Cell 2", "story.ipynb::Cell 1")
    assert chosen == {2: ("passed", ""), 1: ("passed", "")}


def test_chosen_cell_fails_in_nbval(pytester: pytest.Pytester) -> None:
    write(pytester, *STEPS)
    outcome, report = run(pytester, "story.ipynb::Cell 1")[1]
    assert outcome == "failed" and "NameError" in report


def test_chosen_cell_says_which_cell_before_it_failed(pytester: pytest.Pytester) -> None:
    write(pytester, code("1 / 0", BOOM, tags=RAISES), code("y"), code("two = 2"), code("three = 3"))
    outcomes = run(pytester, *STRICT, "story.ipynb::Cell 2", "story.ipynb::Cell 3")
    outcome, report = outcomes[2]
    assert (outcome, outcomes[3][0]) == ("failed", "passed"), "a failure is told once, as in the whole notebook"
    assert "Cell 1, which stands before this one, failed: NameError: name 'y' is not defined" in report


def test_dead_kernel_fails_at_once(pytester: pytest.Pytester) -> None:
    """Under nbval the first cell waits for its time-out, 2000 seconds if no other is given."""
    write(pytester, code("import os; os._exit(1)"), code("one = 1"))
    outcomes = run(pytester, *STRICT)
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
    outcome, report = run(pytester, *STRICT, limit, "story.ipynb::Cell 0")[0]
    assert outcome == "failed" and "Timeout of 1 seconds exceeded, and the cell swallowed" in report
    outcome, report = run(pytester, *STRICT, limit, "story.ipynb::Cell 1")[1]
    assert outcome == "failed" and "Cell 0, which stands before this one, failed: timeout of 1 seconds" in report
    assert run(pytester, *STRICT, limit, "tagged.ipynb")[0][0] == "failed"
