"""The plugin over notebooks: every kind of output, tags and options.

A kernel takes a second or two to start, so one notebook carries many cells.
"""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from running import PICTURE, PLUGIN, RECORD, STRICT, check, code, run, show, shown, stream, write

pytest_plugins = ["pytester"]

TABLE = "<table><tr><td>0.5</td><td>agree</td></tr></table>"
RAISES = ("raises-exception",)


def in_full(number: str) -> str:
    return TABLE.replace("0.5", f'<data value="{number}">0.5</data>')


def error(message: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("error", ename="ValueError", evalue=message, traceback=[])


def as_json(value: object) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", data={"application/json": value})


def pdf(content: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", data={"application/pdf": content})


def svg(content: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", data={"image/svg+xml": f"<svg>{content}</svg>"})


def show_svg(content: str) -> str:
    return f"display({{'image/svg+xml': {f'<svg>{content}</svg>'!r}}}, raw=True)"


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
    (
        "second display beyond",
        code(f"{show(text_plain='0.5')};{show(text_plain='0.6')}", shown(text_plain="0.5"), shown(text_plain="0.7")),
        "0.7 became 0.6",
    ),
    ("stderr within", code("import sys; print(0.5000001, file=sys.stderr)", stream("0.5\n", "stderr")), ""),
    ("stderr beyond", code("import sys; print(0.50001, file=sys.stderr)", stream("0.5\n", "stderr")), "stderr, line 1"),
    ("an error's message within", code("raise ValueError('at 0.5000001')", error("at 0.5"), tags=RAISES), ""),
    ("an error's message beyond", code("raise ValueError('at 0.50001')", error("at 0.5"), tags=RAISES), "evalue, li"),
    ("JSON within", code("display({'application/json': {'a': [0.5000001]}}, raw=True)", as_json({"a": [0.5]})), ""),
    (
        "JSON beyond",
        code("display({'application/json': {'a': [0.51]}}, raw=True)", as_json({"a": [0.5]})),
        "application/json, $.a[0]: 0.5 became 0.51",
    ),
    (
        "JSON's true for 1",
        code("display({'application/json': {'a': True}}, raw=True)", as_json({"a": 1})),
        "$.a: 1 became true",
    ),
    ("SVG within", code(show_svg('<path d="M1.5000001-2"/>'), svg('<path d="M1.5-2"/>')), ""),
    ("SVG beyond", code(show_svg('<path d="M1.51-2"/>'), svg('<path d="M1.5-2"/>')), "image/svg+xml, line 1: 1.5"),
    ("colour within", code(r"print('\x1b[31m0.5000001\x1b[0m')", stream("\x1b[31m0.5\x1b[0m\n")), ""),
    ("complex within", code("print(1.0000001+2j)", stream("(1+2j)\n")), ""),
    ("small within rtol only", code("print(9.9e-10)", stream("3.2e-12\n")), "3.2e-12 became 9.9e-10"),
    ("a type compared exactly", code("display({'application/pdf': 'MS41'}, raw=True)", pdf("MS42")), "application/pdf"),
    ("five of many", code("print(*map(float, range(9)), sep='\\n')", stream("9.5\n" * 9)), "... and 4 more"),
    ("rtol wider", code("print(0.50001)", stream("0.5\n"), tags=("rtol=1e-4",)), ""),
    ("rtol narrower", code("print(0.5000001)", stream("0.5\n"), tags=("rtol=1e-8",)), "off by 1e-07"),
    ("atol wider", code("print(0.51)", stream("0.5\n"), tags=("atol=0.01",)), ""),
    ("malformed tag", code("print(0.5)", stream("0.5\n"), tags=("rtol=tiny",)), "bad tag rtol=tiny: not a number"),
    ("another picture", code(show(image_png=PICTURE), shown(image_png=PICTURE[::-1])), ""),
    ("record stripped", code(show(text_plain="a", **RECORD), shown(text_plain="a")), ""),
    ("record alone stripped", code(show(**RECORD), nbformat.v4.new_output("display_data")), ""),
    ("record committed", code(show(text_plain="a"), shown(text_plain="a", **RECORD)), ""),
    (
        "record changed",
        code(show(text_plain="a", **RECORD), shown(text_plain="a", **{key: "0.2" for key in RECORD})),
        "",
    ),
    ("number in full within", code(show(text_html=in_full("0.50000001")), shown(text_html=TABLE)), ""),
    ("number in full beyond", code(show(text_html=in_full("0.51")), shown(text_html=TABLE)), "in full, 0.5 became"),
    ("both in full beyond", code(show(text_html=in_full("9.9")), shown(text_html=in_full("0.5000001"))), "in full, 0."),
    (
        "shown beside it",
        code(show(text_html=TABLE.replace("0.5", '<data value="0.5">0.51</data>')), shown(text_html=TABLE)),
        "0.5 became 0.51",
    ),
]


def test_numbers_in_a_notebook(pytester: pytest.Pytester) -> None:
    write(pytester, *(cell for _, cell, _ in NUMBERS))
    check(run(pytester, *STRICT), NUMBERS)


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
    result = pytester.runpytest_inprocess(*STRICT, "--collect-only", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}*"])


def test_options_set_the_tolerance(pytester: pytest.Pytester) -> None:
    write(pytester, code("print(0.51)", stream("0.5\n")), code("print(0.52)", stream("0.5\n")))
    outcomes = run(pytester, *STRICT, "--nbval-rtol=0.01", "--nbval-atol=0.005")
    assert (outcomes[0][0], outcomes[1][0]) == ("passed", "failed")
    assert "allowed 0.01 = 0.005 + 0.01 x |0.5|" in outcomes[1][1]


def test_without_strict_what_nbval_passes_passes(pytester: pytest.Pytester) -> None:
    cases = [
        ("skipped", code("1 / 0", tags=("nbval-skip",)), "skipped"),
        ("ignored", code("print(1)", stream("2\n"), tags=("nbval-ignore-output",)), "passed"),
        ("not compared", code("# not compared: why\nprint(1)", stream("2\n")), "passed"),
        ("within", code("print(0.5000001)", stream("0.5\n")), "passed"),
        ("beyond", code("print(0.50001)", stream("0.5\n")), "failed"),
        ("malformed tag", code("print(0.5)", stream("0.5\n"), tags=("atol=tiny",)), "failed"),
    ]
    write(pytester, *(cell for _, cell, _ in cases))
    outcomes = run(pytester, *PLUGIN)
    assert {name: outcomes[n][0] for n, (name, _, _) in enumerate(cases) if n in outcomes} == {
        name: wanted for name, _, wanted in cases
    }


def test_lax_option_is_lax_unless_strict(pytester: pytest.Pytester) -> None:
    write(pytester, code("print(0.51)", stream("0.5\n")))
    record = pytester.inline_run("--nbval-lax", "-p", "no:cacheprovider", *PLUGIN)
    record.assertoutcome(passed=1)


@pytest.mark.skipif(os.name != "posix", reason="Unix sockets")
def test_a_kernel_opens_no_port_that_another_could_have_taken(pytester: pytest.Pytester) -> None:
    """It says itself how it is reached; the folder of its sockets goes with it."""
    asked = "import json; from ipykernel import connect\n"
    asked += "print(json.loads(connect.get_connection_info())['transport'])\n"
    asked += "open('said', 'w').write(connect.get_connection_file());"
    write(pytester, code(asked, stream("ipc\n")))
    assert run(pytester, *STRICT) == {0: ("passed", "")}
    assert not Path((pytester.path / "said").read_text()).parent.exists()
