"""A kernel that a fork server forks."""

from __future__ import annotations

import os
import sys

from concord.processes import kernels as forkserver


def kernel(address: str, folder: str) -> forkserver.Forked | None:
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", f"{folder}/kernel.json"]
    return forkserver.fork(address, command, folder, os.environ | {"TMPDIR": folder})
