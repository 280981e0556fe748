"""Which processes run, and waiting for them."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path


def session(leader: int) -> list[int]:
    """The processes of a session that have not ended; from /proc, since a bare machine has no ps."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                # After the command in brackets, which may hold anything: state, parent, group, session
                state, _, _, its = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(its) == leader and state != "Z":
                found.append(int(folder.name))
    return found


def kernels(folder: str | None = None) -> list[int]:
    """The kernels that run with their files in this folder (default: those that this test started).

    A forked one has its server's command, and is known by where it runs.
    """
    found = []
    here = folder or tempfile.gettempdir()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = os.fsdecode((folder / "cmdline").read_bytes()).split("\0")
                runs_in = os.readlink(folder / "cwd")
            except OSError:  # it has ended, or is somebody else's
                continue
            launched = "ipykernel_launcher" in words and any(here in word for word in words)
            if launched or (words != [""] and runs_in.startswith(here) and "/concord-" in runs_in):
                found.append(int(folder.name))
    return found


def until(condition, seconds=60.0):
    """Wait for a condition: so many seconds on a quiet machine, three times as many before it is in vain."""
    end = time.monotonic() + 3 * seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
