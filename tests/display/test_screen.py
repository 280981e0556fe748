"""What commands say: nothing in it is obeyed by the terminal, or by the job that reads along."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pandas as pd
import pytest
from tqdm import tqdm

from concord.commands.cli import main
from concord.display.records import as_csv, as_text, from_text
from concord.display.screen import Screen
from concord.display.table import render_html, render_text
from support.paths import ROOT

OBEYED = {
    "colour": "\x1b[31m",
    "title": "\x1b]0;x\x07",
    "link": "\x1b]8;;https://example.org\x1b\\",
    "clipboard": "\x1b]52;c;eA==\x07",
    "one-byte": "\x9b31m",
    "bell": "\x07",
    "over": "good\rbad",
    "back": "bad\b\b\b",
    "delete": "\x7f",
    "turned": "\u202egnp",
    "isolated": "\u2066x\u2069",
    "unseen": "a\u200bb",
    "joined": "a\u200db",
    "mark": "\ufeffa",
    "tag": "\U000e0041",
    "soft": "a\xadb",
    "line": "a\u2028b",
    "no letter": "\udcff",
}
COMMANDS = [
    "::error::x",
    "  ::stop-commands::x",
    "::add-mask::a",
    "##[error]x",
    "a ##[group]x",
    "##vso[task.x]",
    "###[x]",
]


def written(*texts: str, progress: bool = False) -> str:
    stream = io.StringIO()
    Screen(stream, progress).writelines(texts)
    return stream.getvalue()


def is_command(line: str) -> bool:
    """As GitHub's and Azure's runners have it: the new form at the beginning, the old one anywhere."""
    return line.strip().startswith("::") or re.search(r"##\w*\[", line) is not None


@pytest.mark.parametrize("text", OBEYED.values(), ids=OBEYED)
@pytest.mark.parametrize("progress", [False, True])
def test_what_a_terminal_would_obey_is_an_escape(text, progress):
    came = written(f"x {text}", progress=progress)
    assert came.isprintable() and came.isascii() and "\\" in came


@pytest.mark.parametrize("text", OBEYED.values(), ids=OBEYED)
def test_so_it_is_in_tables_on_pages_and_in_files(text):
    text = f"x{text}"
    rendered = text, ["term"], [[text]], 1, [text]
    shown = [render_text(text, ["term"], [[text]], 1, [text]).split("\n", 1)[1], render_html(*rendered)]
    shown.append(as_csv(pd.DataFrame({"term": [text]}, dtype=object)))
    assert all(part.replace("\n", "").isprintable() for part in shown)


@pytest.mark.parametrize("line", COMMANDS)
@pytest.mark.parametrize("before", ["", "\n", "x\n", "\t", " "])
def test_no_line_is_a_command_to_a_job(line, before):
    assert is_command(line)
    for texts in ([before + line], [before, line], [*before, *line], [before, line[:1], line[1:]]):
        assert not any(map(is_command, written(*texts).splitlines()))


def test_plain_text_and_bars_stay_as_they_are():
    text = "Zürich, 東京: a::b ~ x\n\t# two ## three: `lme4::lmer`\n## Formula: y ~ x\n"
    assert written(text, progress=True) == text
    stream = io.StringIO()
    bar = tqdm(total=2, file=Screen(stream, True), ascii=True)
    bar.set_postfix_str("a\x1b[31m")
    bar.update()
    bar.close()
    assert "\r" in stream.getvalue() and "\x1b" not in stream.getvalue() and "\\x1b[31m" in stream.getvalue()


@pytest.mark.parametrize(
    "text", ["=1+1", "+x", "-x", "@SUM(A1)", "'=x", "''", "a;=b", "a;'=b", "＝1", "－a", "=1;-2;+c", "it's; so"]
)
def test_what_a_spreadsheet_would_compute_is_text_and_comes_back(text):
    cell = as_text(text)
    assert not any(part[:1] and part[0] in "=+-@＝＋－＠" for part in cell.split(";")) and from_text(cell) == text


@pytest.mark.parametrize("number", ["-1", "+2.5", "-1.2e-05", ".5", "3", "-inf"])
def test_a_number_stays_a_number(number):
    assert as_text(number) == number


def test_a_command_says_names_of_others_on_one_line_that_nothing_obeys(capsys):
    name = "::error::x\x1b[31m\n::stop-commands::y ##[error]"
    assert main(["check", name]) == 2
    assert main(["translate", name]) == 2
    assert main(["simulate", name]) == 2
    with pytest.raises(SystemExit):
        main(["simulate", "m", f"--see={name}"])
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()
    assert len(lines) == 4 and not any(map(is_command, lines)) and all(line.isprintable() for line in lines)


def test_a_crash_is_told_so_too(tmp_path):
    """A process of its own, as the interpreter tells of it at its end."""
    code = "from concord.display.screen import screen\nwith screen():\n    raise ValueError('\\x1b[31m\\n::error::x')"
    words = [sys.executable, "-c", code]
    done = subprocess.run(
        words, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "scripts")}, capture_output=True, text=True
    )
    assert "ValueError: \\x1b[31m\n\\x3a:error::x\n" in done.stderr and done.returncode == 1
