"""The memory that is free: of the machine, and of the container that this process may run in."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import psutil

# Where Linux tells what a container may hold, and holds; of its two versions the newer one first.
_LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def available(limits: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that a process can still take without anything being swapped out or killed.

    Parameters
    ----------
    limits : the folder in which the system tells what a container may hold
    """
    free = math.inf
    for limit, used in _LIMITS:
        with suppress(OSError, ValueError):  # there is none, or it says "max"
            free = min(free, int((limits / limit).read_text()) - int((limits / used).read_text()))
    return min(free, float(psutil.virtual_memory().available))
