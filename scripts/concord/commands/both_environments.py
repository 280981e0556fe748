"""Two environments that compare every model side by side, each in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from concord.commands import arguments, baseline
from concord.commands.baseline import Baseline
from concord.errors import InputError, shorten

PRESENT, OTHER = "present", "upgraded"
# Seconds between two lines of progress where there is no terminal.
_PAUSE = 15.0


def compare(python: Path, folder: Path, ids: Sequence[str]) -> dict[str, Baseline]:
    """The baselines of both environments, which stay in the folder.

    Parameters
    ----------
    python : of the other environment
    ids : models of the workbook; none for all

    Raises
    ------
    InputError : one of them ends before it has compared everything
    """
    pythons = {PRESENT: Path(sys.executable), OTHER: python}
    files = {side: folder / f"{side}.json" for side in pythons}
    for file in files.values():
        file.unlink(missing_ok=True)
    words = arguments.of_models(ids)
    commands: dict[str, Sequence[str | Path]] = {
        side: [program, "-P", "-m", "concord", "verdicts", "--output", files[side].absolute(), *words]
        for side, program in pythons.items()
    }
    with _running(commands) as sides:
        failed = _follow(sides)
    if failed:
        lines = sides[failed].said.strip().splitlines()
        said = shorten(lines[-1]) if lines else f"status {sides[failed].returncode}"
        raise InputError(f"the {failed} environment ended before it had compared everything: {said}")
    return {side: baseline.read(file) for side, file in files.items()}


class _Side:
    """One environment at work: its process, its last line of progress, and what it says on stderr."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.done, self.all, self.latest, self.said = 0, 0, "starting", ""
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._hear)]
        for thread in self.threads:
            thread.start()

    @property
    def returncode(self) -> int | None:
        return self.process.poll()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            progress = re.match(r"\[(\d+)/(\d+)\] (.*)", line)
            if progress:
                self.done, self.all, self.latest = int(progress[1]), int(progress[2]), progress[3]

    def _hear(self) -> None:
        self.said = self.process.stderr.read() if self.process.stderr else ""

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join(5)


@contextmanager
def _running(commands: Mapping[str, Sequence[str | Path]]) -> Iterator[dict[str, _Side]]:
    """The sides at work; whatever happens, none is left running."""
    sides: dict[str, _Side] = {}
    try:
        for side, command in commands.items():
            sides[side] = _Side(command)
        yield sides
    finally:
        for running in sides.values():
            running.end()


def _follow(sides: Mapping[str, _Side]) -> str | None:
    """Wait until all are done, or one has failed; which one. A bar in a terminal, a line now and then elsewhere."""
    shown = time.monotonic()
    with tqdm(unit="model", dynamic_ncols=True, leave=False, disable=not sys.stderr.isatty()) as bar:
        while True:
            ended = {side: running.returncode for side, running in sides.items()}
            failed = next((side for side, status in ended.items() if status), None)
            if failed or None not in ended.values():
                return failed
            bar.total = sum(running.all for running in sides.values()) or None
            bar.n = sum(running.done for running in sides.values())
            bar.set_postfix_str(sides[OTHER].latest.partition(",")[0])
            if not sys.stderr.isatty() and time.monotonic() - shown > _PAUSE:
                shown = time.monotonic()
                say(", ".join(f"{side} {running.done} of {running.all or 'all'}" for side, running in sides.items()))
            time.sleep(0.1)


def say(line: str) -> None:
    """Tell of progress, on stderr."""
    print(line, file=sys.stderr, flush=True)
