"""Files written whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

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
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _beside(path)
    try:
        with open(aside, "xb") as file:
            if path.exists():
                os.chmod(aside, path.stat().st_mode & 0o777)
            file.write(content.encode() if isinstance(content, str) else content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    if lasting:
        place = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def check_place(path: Path, option: str) -> None:
    """Check that a file can be written there: make one beside it, and take it and the folders made for it away again.

    Permissions do not tell: root has them all, and still nothing can be made in /proc.

    Parameters
    ----------
    option : of the command line that named the file

    Raises
    ------
    InputError : no file can be written there
    """
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
        raise InputError(f"{path}: cannot be written: {error.strerror}: name another file with {option}") from error
    finally:
        for folder in reversed(missing):
            with suppress(OSError):  # another process has put something there
                folder.rmdir()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.aside")
