"""Sides: two ways of doing the same work, timed in turn."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Both sides compute in one thread, as `make reports` does
ENVIRONMENT = dict(os.environ)
ENVIRONMENT.pop("SCHEDULER", None)


class SideFailed(Exception):
    """One side of a benchmark did not do its work, so there is nothing to compare."""


Side = Callable[[Path, Path | None], float | None]
"""Does the work in an empty folder, with the notebooks of another (None: the repository's); raises SideFailed.

Gives the seconds that it took, where it measures them itself, so that what goes before is not counted.
"""


@dataclass(frozen=True)
class Benchmark:
    """Two ways of doing the same work.

    Attributes
    ----------
    title : what is timed
    concord, plain : the sides
    goal : the largest good ratio
    rounds : how often each side goes
    """

    title: str
    concord: Side
    plain: Side
    goal: float
    rounds: int = 1


def command(words: list[str], folder: Path) -> None:
    """Run a command in a folder; its output goes to a file there, and to the error where it fails."""
    log = folder / "log"
    with log.open("a") as file:
        done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise SideFailed(f"exit status {done.returncode}: {' '.join(words)}\n{tail}")


def measure(benchmark: Benchmark, rounds: int, notebooks: Path | None = None) -> dict[str, list[float]]:
    """Seconds of both sides in each round; which side goes first alternates."""
    seconds: dict[str, list[float]] = {"concord": [], "plain": []}
    for number in range(rounds):
        sides = ["concord", "plain"] if number % 2 == 0 else ["plain", "concord"]
        for side in sides:
            folder = Path(tempfile.mkdtemp(prefix="bench-"))
            began = time.perf_counter()
            try:
                own = getattr(benchmark, side)(folder, notebooks)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            seconds[side].append(time.perf_counter() - began if own is None else own)
            print(
                f"  round {number + 1} of {rounds}, {side}: {time_text(seconds[side][-1:])}",
                file=sys.stderr,
                flush=True,
            )
    return seconds


def time_text(seconds: list[float]) -> str:
    """The median and the spread, in a unit that shows them."""
    size, unit, form = next(
        scale
        for scale in ((1, "s", ".1f"), (1e3, "ms", ".1f"), (1e6, "us", ".0f"))
        if statistics.median(seconds) * scale[0] >= 0.5 or scale[1] == "us"
    )
    return f"{spread_text([value * size for value in seconds], form)} {unit}"


def spread_text(values: list[float], form: str) -> str:
    """The median and, of several values, the smallest and the largest."""
    text = format(statistics.median(values), form)
    return f"{text} ({format(min(values), form)} to {format(max(values), form)})" if len(values) > 1 else text
