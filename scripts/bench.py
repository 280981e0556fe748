"""Times what Concord does beside the plain way of doing it, alternating, in one run: `make bench`.

A benchmark is a row of `BENCHMARKS`: two sides that do the same work, each a function of an empty folder. The ratio
is Concord's seconds over the plain way's, round by round, so that what slows the machine down slows both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Both sides compute in one thread, as `make reports` does
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
ENVIRONMENT.pop("SCHEDULER", None)


class SideFailed(Exception):
    """One side of a benchmark did not do its work, so there is nothing to compare."""


Side = Callable[[Path, Path | None], None]
"""Does the work in an empty folder, with the notebooks of another (None: the repository's); raises SideFailed."""


@dataclass(frozen=True)
class Benchmark:
    """Two ways of doing the same work; `goal` is the largest good ratio."""

    title: str
    concord: Side
    plain: Side
    goal: float


def _command(words: list[str], folder: Path) -> None:
    log = folder / "log"
    with log.open("a") as file:
        done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise SideFailed(f"exit status {done.returncode}: {' '.join(words)}\n{tail}")


def reports_batch(folder: Path, notebooks: Path | None) -> None:
    """All reports, by `python -m concord reports`."""
    where = ["--folder", str(notebooks)] if notebooks else []
    _command([sys.executable, "-m", "concord", "reports", "--output", str(folder / "build"), *where], folder)


def reports_loop(folder: Path, notebooks: Path | None) -> None:
    """The same notebooks with the same methods, one after another, by the `papermill` command."""
    from concord.reports import plan

    papermill = str(Path(sys.executable).with_name("papermill"))
    for report in plan(folder=notebooks):
        given = [word for key, value in report.parameters.items() for word in ("-p", key, value)]
        _command([papermill, str(report.path), f"{report.id}.ipynb", *given], folder)


BENCHMARKS = {
    "reports": Benchmark(
        "python -m concord reports, and a loop over the papermill command", reports_batch, reports_loop, goal=0.5
    ),
}


def measure(benchmark: Benchmark, rounds: int, notebooks: Path | None = None) -> dict[str, list[float]]:
    """Seconds of both sides in each round; which side goes first alternates."""
    seconds: dict[str, list[float]] = {"concord": [], "plain": []}
    for number in range(rounds):
        sides = ["concord", "plain"] if number % 2 == 0 else ["plain", "concord"]
        for side in sides:
            folder = Path(tempfile.mkdtemp(prefix="bench-"))
            began = time.perf_counter()
            try:
                getattr(benchmark, side)(folder, notebooks)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            seconds[side].append(time.perf_counter() - began)
            print(f"  round {number + 1} of {rounds}, {side}: {seconds[side][-1]:.1f} s", file=sys.stderr, flush=True)
    return seconds


def _spread(values: list[float], form: str) -> str:
    text = format(statistics.median(values), form)
    return f"{text} ({format(min(values), form)} to {format(max(values), form)})" if len(values) > 1 else text


def main() -> int:
    """Measure the benchmarks asked for, print their ratios and write them to build/bench.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, default=1, help="of each benchmark; default: %(default)s")
    parser.add_argument("--output", type=Path, default=ROOT / "build", metavar="FOLDER", help="default: build")
    parser.add_argument("--folder", type=Path, help="with the notebooks; default: notebooks")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is called {unknown[0]}: there are {', '.join(BENCHMARKS)}")
    if given.rounds < 1:
        parser.error("--rounds must be 1 or more")
    notebooks = given.folder.absolute() if given.folder else None
    results = {}
    for name in given.names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        print(f"{name}: {benchmark.title}", file=sys.stderr)
        try:
            seconds = measure(benchmark, given.rounds, notebooks)
        except SideFailed as failure:
            print(f"bench: {name}: one side failed, so there is no ratio: {failure}", file=sys.stderr)
            return 1
        ratios = [ours / plain for ours, plain in zip(seconds["concord"], seconds["plain"], strict=True)]
        print(
            f"{name}: concord {_spread(seconds['concord'], '.1f')} s, plain {_spread(seconds['plain'], '.1f')} s, "
            f"ratio {_spread(ratios, '.2f')}, goal at most {benchmark.goal:g}",
            flush=True,
        )
        results[name] = {"title": benchmark.title, "goal": benchmark.goal, "seconds": seconds, "ratios": ratios}
    about = {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "benchmarks": results,
    }
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "bench.json").write_text(json.dumps(about, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
