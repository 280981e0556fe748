"""Where something is written is asked before the work; all of it is written or none; two do not write in one folder."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from concord import files
from concord.commands.cli import main
from concord.errors import InputError


def held(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("file/out", "Not a directory"),
        ("file", "is not a folder"),
        ("x" * 300, "File name too long"),
        ("loop/out", "File exists"),
    ],
)
@pytest.mark.parametrize("command", [["compare", "none.csv", "y ~ x + (1 | g)"], ["reports"], ["versions"]])
def test_a_folder_that_cannot_be_written_is_told_before_any_work(tmp_path, monkeypatch, capsys, command, name, told):
    """None of the commands gets as far as its first piece of work: what there is to read is not even there."""
    (tmp_path / "file").write_text("kept")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--output", name]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"concord: {name}") and told in said and "--output" in said and len(said.splitlines()) == 1
    assert held(tmp_path) == ["file", "loop"] and (tmp_path / "file").read_text() == "kept"


def test_a_folder_made_for_it_goes_where_nothing_came_of_it(tmp_path):
    with files.claimed(tmp_path / "a" / "b", "--output"):
        assert held(tmp_path / "a") == ["b"]
    assert held(tmp_path) == []
    with files.claimed(tmp_path / "a" / "b", "--output"):
        files.write(tmp_path / "a" / "b" / "table.csv", "1\n")
    assert held(tmp_path / "a" / "b") == ["table.csv"]


def test_of_two_in_one_folder_the_second_is_told_who_is_there_until_that_is_gone(tmp_path):
    """The first is killed: its lock goes with it."""
    code = "import sys, time; from concord import files; from pathlib import Path\n"
    code += f"with files.claimed(Path({str(tmp_path)!r}), '--output'): print('in', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "in\n"
        who = f" \\(process {first.pid}\\)" if os.path.exists("/proc/locks") else ""
        with (
            pytest.raises(InputError, match=f"another run{who} writes there: wait for it, or name another"),
            files.claimed(tmp_path, "--output"),
        ):
            pass
        first.kill()
    with files.claimed(tmp_path, "--output"):
        assert held(tmp_path) == []


def test_on_a_full_disk_nothing_is_changed_and_the_file_is_named(tmp_path):
    """The system's own limit stands for the disk's end."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("before")
    code = f"""
import resource, signal
from pathlib import Path
from concord import files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
texts = dict(a="x", b=2000 * "x", c="x")
try: files.write_all({{Path({str(tmp_path)!r}) / name: text for name, text in texts.items()}})
except OSError as error: print(error.filename)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'b'}\n"
    assert held(tmp_path) == ["a", "b", "c"] and {path.read_text() for path in tmp_path.iterdir()} == {"before"}


def test_what_a_killed_run_was_writing_goes_with_the_next_and_nothing_else(tmp_path):
    (tmp_path / "reports").mkdir()
    for name in (".a.csv.0123abcd.aside", "reports/.b.html.89abcdef.aside", ".mine.aside", "a.csv", ".hidden"):
        (tmp_path / name).touch()
    with files.claimed(tmp_path, "--output"):
        assert held(tmp_path) == [".hidden", ".mine.aside", "a.csv", "reports"]
        assert held(tmp_path / "reports") == []


def test_of_several_files_all_are_written_or_none(tmp_path, monkeypatch):
    """The third cannot be written: neither are the first two, and what was there stays."""
    write_bytes, opened = open, []

    def full(path, mode="r", *more, **named):
        if mode == "xb" and (opened.append(path) or len(opened) == 3):
            raise OSError(28, "No space left on device")
        return write_bytes(path, mode, *more, **named)

    (tmp_path / "a.csv").write_text("before")
    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(OSError, match="No space left") as told:
        files.write_all({tmp_path / f"{name}.csv": "after" for name in "abcd"})
    monkeypatch.undo()
    assert told.value.filename == str(tmp_path / "c.csv")
    assert held(tmp_path) == ["a.csv"] and (tmp_path / "a.csv").read_text() == "before"
