"""The command line says in one line what it cannot do, and answers `--help` at once."""

from __future__ import annotations

import re
import subprocess
import sys

import nbformat
import pytest

from concord.commands import baseline
from concord.commands.cli import main
from stress.kills import TABLE
from support.notebooks import notebook


@pytest.fixture
def folder(tmp_path):
    nbformat.write(notebook('method = "REML"', "1"), tmp_path / "tiny.ipynb")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "concord: the following arguments are required: COMMAND"),
        (["report"], "concord: argument COMMAND: invalid choice: 'report'"),
        (["reports", "--method", "reml"], "concord: argument --method: invalid choice: 'reml'"),
        (["reports", "--timeout", "0"], "concord: argument --timeout: invalid number of seconds above 0 value: '0'"),
        (["reports", "--timeout", "nan"], "concord: argument --timeout: invalid"),
        (["refresh", "--method", "ML"], "concord: unrecognized arguments: --method ML"),
    ],
)
def test_a_mistyped_command_is_one_line_and_status_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(message) and "--help`" in lines[0]


@pytest.mark.parametrize("command", ["reports", "refresh"])
def test_an_unknown_notebook_is_one_line_and_status_2(capsys, folder, command):
    assert main([command, "--folder", str(folder), "--notebook", "tinny"]) == 2
    assert capsys.readouterr().err == "concord: no notebook is called 'tinny': did you mean tiny?\n"


@pytest.mark.parametrize("command", ["reports", "refresh"])
def test_a_broken_notebook_is_one_line_that_names_the_file(capsys, folder, command):
    (folder / "tiny.ipynb").write_text("{")
    assert main([command, "--folder", str(folder)]) == 2
    assert capsys.readouterr().err.startswith(f"concord: {folder / 'tiny.ipynb'}: is not a Jupyter notebook: ")


def test_a_broken_notebook_beside_the_one_asked_for_is_told_before_anything_runs(capsys, folder):
    (folder / "other.ipynb").write_text("{")
    assert main(["reports", "--folder", str(folder), "--output", str(folder / "build"), "--notebook", "tiny"]) == 2
    assert str(folder / "other.ipynb") in capsys.readouterr().err
    assert not (folder / "build").exists()


def test_a_refresh_of_which_one_fails_does_the_others_and_tells(capsys, folder):
    nbformat.write(notebook("1", "1/0"), folder / "bad.ipynb")
    before = (folder / "bad.ipynb").read_bytes()
    assert main(["refresh", "--folder", str(folder)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("tiny completed")
    assert lines[-1] == f"concord: {folder / 'bad.ipynb'}, cell 2: ZeroDivisionError: division by zero; left as it was"
    assert (folder / "bad.ipynb").read_bytes() == before
    assert nbformat.read(folder / "tiny.ipynb", as_version=4).cells[1].execution_count == 2


def test_an_output_folder_that_cannot_be_is_one_line(capsys, folder):
    (folder / "build").write_text("a file")
    assert main(["refresh", "--folder", str(folder)]) == 0
    assert main(["reports", "--folder", str(folder), "--output", str(folder / "build")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"concord: {folder / 'build'}: is not a folder")


OVER = {
    "compare": ["compare", "fits.csv", "y ~ x + (1 | g)", "--output", "."],
    "check, the team's file": ["check", "team.toml", "--junit-xml", "team.toml"],
    "check, a table": ["check", "team.toml", "--record", "fits.csv"],
    "check, the baseline": ["check", "team.toml", "--baseline", "baseline.json", "--summary", "baseline.json"],
    "reports": ["reports", "--folder", "notebooks", "--output", "."],
}


@pytest.mark.parametrize("over", OVER)
def test_what_a_command_reads_it_does_not_write_over(capsys, tmp_path, monkeypatch, over):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook("1"), tmp_path / "notebooks" / "own.ipynb")
    contents = {
        "fits.csv": TABLE,
        "team.toml": '[[models]]\nname = "m"\ndata = "fits.csv"\nformula = "y ~ x + (1 | g)"\n',
        "baseline.json": baseline.collected([]).text(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main(OVER[over]) == 2
    said = capsys.readouterr()
    assert said.out == "" and re.fullmatch(r"concord: .* would be written over, .*\n", said.err)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "words", [["compare", "sleepstudy", "Reaction ~ (1 | Subject)"], ["reports"], ["simulate", "grid"]]
)
def test_an_empty_name_is_no_folder(capsys, words):
    """As a variable that is not set would be, and the current folder would be written in."""
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--output", ""])
    assert "--output: invalid file or folder value: ''" in capsys.readouterr().err


def test_help_answers_without_importing_what_the_commands_need():
    code = """
import sys
sys.argv = ["concord", "--help"]
import concord.commands.cli as command
try:
    command.main()
except SystemExit as ended:
    assert ended.code == 0
heavy = {"distributed", "papermill", "nbconvert", "pandas", "statsmodels", "rpy2"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "reports" in done.stdout and "refresh" in done.stdout


def test_an_argument_that_is_no_text_is_one_line(capsys):
    """As the system hands over bytes that are not in UTF-8, for each command alike."""
    for words in (["compare", "a\udcff.csv", "y ~ x"], ["explain", "\udcfe"], ["check", "\udcff.toml"], ["\udcff"]):
        assert main(words) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.startswith("concord: argument ") and len(said.err.splitlines()) == 1
        assert "\\xf" in said.err and "not text in UTF-8" in said.err


def test_memory_that_runs_out_is_one_line_and_status_2(capsys, monkeypatch):
    def run(args):
        raise MemoryError("Unable to allocate 3 GiB\nfor an array")

    monkeypatch.setattr("concord.session.translate", lambda *args, **more: run(args))
    assert main(["translate", "y ~ x + (1 | g)"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("concord: memory ran out (Unable to allocate 3 GiB for an array): ") and err.count("\n") == 1


@pytest.mark.parametrize("place", ["x" * 300 + ".csv", "x" * 5000])
def test_a_name_that_no_disk_takes_is_one_line_and_status_2(capsys, place):
    for words in (
        ["compare", place, "y ~ x + (1 | g)"],
        ["versions", "--results", place],
        ["certify", "--model", place],
    ):
        assert main(words) == 2
        err = capsys.readouterr().err
        assert err.startswith("concord: ") and err.count("\n") == 1
        # From Python 3.14 on a path that no disk takes is one that is not there.
        assert "File name too long" in err or sys.version_info >= (3, 14) and f"dataset '{place[:50]}" in err


@pytest.mark.parametrize("word", ["\udce9.csv", "a\0b", "a\nb", "\x1b[31m"])
@pytest.mark.parametrize(
    "words",
    [
        ["@"],
        ["compare", "@", "y ~ x + (1 | g)"],
        ["translate", "@"],
        ["check", "@"],
        ["versions", "--lane", "@"],
        ["simulate", "@"],
        ["refresh", "--notebook", "@"],
        ["reports", "--folder", "@"],
        ["certify", "--model", "@"],
        ["cases", "--output", "/proc/@"],
    ],
)
def test_whatever_bytes_an_argument_holds_the_answer_is_one_line_and_status_2(capsys, words, word):
    try:
        status = main([part.replace("@", word) for part in words])
    except SystemExit as ended:
        status = ended.code
    out, err = capsys.readouterr()
    assert status == 2 and out == "" and err.startswith("concord: ") and err.count("\n") == 1
    assert err.rstrip("\n").isprintable()
