"""Files written whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from concord.errors import InputError


def write(path: Path, content: str | bytes, *, lasting: bool = False) -> None:
    """Write a file in one step: beside its place, as ``.name.*.aside``, and then into it; creates its folder.

    A file that was there keeps its permissions; a new one has those of the umask.

    Parameters
    ----------
    content : text is written in UTF-8, with its line ends as they are
    lasting : have the content and the name reach the disk, so that a power cut leaves the old file or the new one

    Raises
    ------
    OSError : the folder cannot be made or the file not be written; what was there is as it was
    """
    write_all({path: content}, lasting=lasting)


def write_all(contents: Mapping[Path, str | bytes], *, lasting: bool = False) -> None:
    """Write files all or none: every one of them beside its place, and then each into it; see `write`.

    Raises
    ------
    OSError : one cannot be written, which its `filename` names; what was there is as it was
    """
    written: dict[Path, Path] = {}
    path = None
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = written[path] = _beside(path)
            with open(aside, "xb") as file:
                if path.exists():
                    os.chmod(aside, path.stat().st_mode & 0o777)
                file.write(content.encode() if isinstance(content, str) else content)
                if lasting:
                    file.flush()
                    os.fsync(file.fileno())
        for path, aside in written.items():
            os.replace(aside, path)
        for path in {path.parent: path for path in contents if lasting}.values():
            _sync(path.parent)
    except BaseException as error:
        for aside in written.values():
            with suppress(OSError):
                aside.unlink(missing_ok=True)
        if isinstance(error, OSError):  # a full disk does not say where
            error.filename, error.filename2 = str(path), None
        raise


def _sync(folder: Path) -> None:
    """Have the names in a folder reach the disk."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def check_folder(place: Path, option: str = "") -> None:
    """Raise InputError where a folder is wanted and something else is there.

    Parameters
    ----------
    option : of the command line that named it
    """
    if os.path.exists(place) and not place.is_dir():
        raise InputError(f"{place}: is not a folder: name another one{f' with {option}' if option else ''}")


@contextmanager
def claimed(folder: Path, option: str) -> Iterator[None]:
    """Have a folder to write in, and to oneself: of two that write there at once one is told.

    The lock is the folder's own, which leaves no file and ends with the process, also where that is killed. On a
    network's disk it may not be seen from another machine. A folder that was made for it goes again where
    it stays empty.

    Parameters
    ----------
    option : of the command line that named the folder

    Raises
    ------
    InputError : nothing can be written there, or another process writes there
    """
    check_folder(folder, option)
    check_place(folder / "any", option, folder)
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    place = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _tidy(folder)
        except BlockingIOError:
            raise InputError(
                f"{folder}: another run{_holder(place)} writes there: wait for it, or name another folder with {option}"
            ) from None
        except OSError:  # a disk that has no locks
            pass
        yield
    finally:
        os.close(place)
        for made in missing:
            with suppress(OSError):  # there is something in it
                made.rmdir()


def _tidy(folder: Path) -> None:
    """Take away what a run that was killed was writing in a folder, or not deep in it: nobody else writes there now."""
    for depth in ("", "*/", "*/*/"):  # as deep as a study has its parts
        for aside in folder.glob(f"{depth}.*.????????.aside"):
            aside.unlink(missing_ok=True)


def _holder(place: int) -> str:
    """Who has the lock of an open folder: `` (process 1234)``; empty where that is not told."""
    inode = str(os.fstat(place).st_ino)
    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return ""
    holders = [words[4] for words in locks if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode]
    return f" (process {holders[0]})" if holders else ""


def read_toml(path: Path, refused: type[InputError] = InputError) -> dict[str, Any]:
    """What a file of TOML holds, which a byte order mark may begin, as editors of Windows have it.

    Parameters
    ----------
    refused : the error that says why it cannot be used

    Raises
    ------
    InputError : it cannot be read, is not in UTF-8, or is not TOML
    """
    return cast(dict[str, Any], _read(path, "TOML", _toml, refused))


def read_json(path: Path, refused: type[InputError] = InputError) -> Any:
    """What a file of JSON holds; see `read_toml`."""
    return _read(path, "JSON", json.loads, refused)


def _toml(text: str) -> dict[str, Any]:
    content = tomllib.loads(text)
    repr(content)  # no message could show a hexadecimal number of thousands of digits, which the parser takes
    return content


def _read(path: Path, form: str, loads: Callable[[str], Any], refused: type[InputError]) -> Any:
    try:
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe may wait for ever
            raise refused(f"{path}: cannot be read: it is a pipe or a device: name a file")
        return loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise refused(f"{path}: cannot be read: there is no such file") from None
    except OSError as error:
        raise refused(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise refused(f"{path}: not valid {form}: not in UTF-8: {error.reason} at byte {error.start + 1}") from None
    except RecursionError:
        raise refused(f"{path}: not valid {form}: nested too deeply") from None
    except InputError:
        raise
    except ValueError as error:  # the form's own errors are such, and of numbers of thousands of digits
        raise refused(f"{path}: not valid {form}: {error}") from None


def check_place(path: Path, option: str, told: Path | None = None) -> None:
    """Check that a file can be written there: make one beside it, and take it and the folders made for it away again.

    Permissions do not tell: root has them all, and still nothing can be made in /proc.

    Parameters
    ----------
    option : of the command line that named the file
    told : the folder that was named, where that is what was

    Raises
    ------
    InputError : no file can be written there
    """
    what, told = ("file", path) if told is None else ("folder", told)
    missing: list[Path] = []
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder: name a file")
        for folder in reversed([folder for folder in path.parents if not folder.exists()]):
            folder.mkdir(exist_ok=True)
            missing.append(folder)
        aside = _beside(path)
        aside.touch(exist_ok=False)
        aside.unlink()
    except OSError as error:
        raise InputError(f"{told}: cannot be written: {error.strerror}: name another {what} with {option}") from error
    finally:
        for folder in reversed(missing):
            with suppress(OSError):  # another process has put something there
                folder.rmdir()


def check_spared(written: Iterable[tuple[Path, str]], read: Iterable[Path]) -> None:
    """Check that no file that is to be written takes the place of one that is read, or of another one.

    Parameters
    ----------
    written : each file, and the option of the command line that says where
    read : the files; one that is not there is nobody's

    Raises
    ------
    InputError : it would be written over
    """
    there = {place for path in read if os.path.exists(path) for place in (_name(path), Path(os.path.realpath(path)))}
    placed: dict[Path, str] = {}
    for path, option in written:
        if (name := _name(path)) in there:
            raise InputError(f"{path}: would be written over, and it is read here: name another place with {option}")
        if name in placed:
            raise InputError(f"{path}: {placed[name]} and {option} would both write it: name another place with one")
        placed[name] = option


def _name(path: Path) -> Path:
    """The one name of a file that is written: a link is not followed, as it would be replaced."""
    return Path(os.path.realpath(path.parent)) / path.name  # which a circle of links does not stop


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.aside")
