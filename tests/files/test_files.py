"""The writer of files: whole or not at all."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from concord import files
from concord.errors import InputError
from concord.files import write


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("content", ["one\r\ntwo: ü\n", b"\x00\xff\r\n"])
def test_what_is_written_is_there_to_the_byte_and_nothing_beside_it(content, lasting, tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    for _ in range(2):
        write(path, content, lasting=lasting)
        assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_permissions_of_the_umask_and_an_old_one_keeps_its_own(umask, mode, tmp_path):
    path, before = tmp_path / "file", os.umask(umask)
    try:
        write(path, "a")
        assert path.stat().st_mode & 0o777 == mode
        path.chmod(0o604)
        write(path, "b")
        assert (path.stat().st_mode & 0o777, path.read_text()) == (0o604, "b")
    finally:
        os.umask(before)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("stops", ["disk", "replace", "interrupt"])
def test_what_stops_half_way_leaves_what_was_there(stops, there, tmp_path, monkeypatch):
    path = tmp_path / "file"
    if there:
        path.write_text("old")
    if stops != "disk":
        expected: type[BaseException] = KeyboardInterrupt if stops == "interrupt" else OSError

        def failing(*_: object) -> None:
            raise expected

        monkeypatch.setattr(os, "replace", failing)
        with pytest.raises(expected):
            write(path, "new")
    else:
        with pytest.raises(OSError, match="large"):
            write_with_little_room(path, b"x" * 100_000)
    assert [each.name for each in tmp_path.iterdir()] == (["file"] if there else [])
    assert not there or path.read_text() == "old"


def write_with_little_room(path: Path, content: bytes) -> None:
    """Write where a file may have no more than some bytes, as on a full disk: the system itself stops the write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        write(path, content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_folder_that_cannot_be_made_is_told_with_its_name(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as error:
        write(tmp_path / "file" / "below" / "name", "text")
    assert str(tmp_path / "file") in str(error.value.filename)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a = " + 5000 * b"[" + 5000 * b"]", "not valid TOML: nested too deeply"),
        (b"a = 1\nb = \xff", "not valid TOML: not in UTF-8: invalid start byte at byte 11"),
        (b"a = 1\x00", "not valid TOML: "),
        (b"a = " + 5000 * b"9", "not valid TOML: "),
    ],
)
def test_what_is_no_toml_is_one_line(tmp_path, content, told):
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(InputError, match=f"^{tmp_path / 'a.toml'}: {told}"):
        files.read_toml(tmp_path / "a.toml")


def test_a_byte_order_mark_is_none_of_it(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfa = 1")
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert files.read_toml(tmp_path / "a.toml") == {"a": 1} and files.read_json(tmp_path / "a.json") == [1]
    (tmp_path / "a.json").write_text(100_000 * "[")
    with pytest.raises(InputError, match=r"a\.json: not valid JSON: nested too deeply"):
        files.read_json(tmp_path / "a.json")


def test_what_is_read_is_not_written_over(tmp_path):
    """Under its own name, and under the one that a link to it has; of what is not there nothing can be lost."""
    for name in ("table.csv", "other.csv"):
        (tmp_path / name).touch()
    (tmp_path / "link.csv").symlink_to("table.csv")
    roundabout = tmp_path / "none" / ".." / "table.csv"
    for read, written in (("table.csv", roundabout), ("link.csv", tmp_path / "table.csv")):
        with pytest.raises(InputError, match=r"table.csv: would be written over, .* with --output$"):
            files.check_spared([(written, "--output")], [tmp_path / read])
    with pytest.raises(InputError, match=r"a.csv: --one and --other would both write it"):
        files.check_spared([(tmp_path / "a.csv", "--one"), (tmp_path / "a.csv", "--other")], [])
    files.check_spared([(tmp_path / "link.csv", "--output"), (tmp_path / "a.csv", "--a")], [tmp_path / "other.csv"])
    files.check_spared([(tmp_path / "gone.csv", "--output")], [tmp_path / "gone.csv"])
