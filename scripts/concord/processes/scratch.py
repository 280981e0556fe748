"""What a run, its workers, kernels and R sessions put on the disk meanwhile: one folder, which goes with the run.

A run that is killed outright leaves its folder; the next run of the same user takes it away. A folder belongs to a run
for as long as that holds a lock on it, which the system takes back when the process ends, however it ends: a number of
a process may be another's by then, or count in another container. Where the system locks no folders, none is taken.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = "concord-run-"
"""What the names of these folders begin with, in the folder for temporary files."""


def begin() -> Path | None:
    """Make the folder of this process and of all that it starts from here on; it goes when the process ends.

    Folders of this user's runs that were killed go now.

    Returns
    -------
    the folder; None where none can be made: temporary files then go where they always do
    """
    try:
        base = Path(tempfile.gettempdir())
        clear(base)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    except OSError:
        return None
    held = _hold(folder)
    if held is None and not folder.exists():  # another run took it for a dead one's, before it was held
        return begin()
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    atexit.register(_end, folder, os.getpid(), before)
    return folder


def clear(base: Path) -> None:
    """Take away the folders of runs of this user that have ended without doing it."""
    with suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if not entry.name.startswith(PREFIX):
                continue
            with suppress(OSError):
                own = entry.stat(follow_symlinks=False).st_uid == os.geteuid()
                if own and entry.is_dir(follow_symlinks=False) and (held := _hold(Path(entry.path))) is not None:
                    shutil.rmtree(entry.path, ignore_errors=True)
                    os.close(held)


def _hold(folder: Path) -> int | None:
    """Lock a folder for this process; None where another one has it, it is not there or cannot be locked."""
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(held), os.stat(folder)):
            return held
    except OSError:
        pass
    os.close(held)
    return None


def _end(folder: Path, owner: int, before: str | None) -> None:
    if os.getpid() != owner:  # a fork, which leaves it to the process that made it
        return
    tempfile.tempdir = None
    os.environ["TMPDIR"] = before or ""
    if before is None:
        del os.environ["TMPDIR"]
    shutil.rmtree(folder, ignore_errors=True)
