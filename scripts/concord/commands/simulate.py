"""The simulate command: a study in a folder, begun or gone on with, and what it says so far."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

from tqdm import tqdm

from concord.simulation.case import GRID, cases
from concord.simulation.experiment import pairs
from concord.simulation.store import Plan, Store
from concord.simulation.study import Progress, StudyStopped, run
from concord.vocabulary import SETTINGS

FOLDER = Path("build") / "simulation"
# Without a terminal a line is written so often, in seconds.
OFTEN = 30.0


def simulate(
    model: str,
    method: str,
    replicates: int,
    seed: int,
    settings: str | None = None,
    output: Path | None = None,
    grid: Path | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    batch: int | None = None,
) -> int:
    """Run a study, or go on with it; print what it says and write that as CSV beside it.

    Parameters
    ----------
    model : id of a model of the workbook, or ``grid``
    method : ``REML`` or ``ML``
    replicates : of the model, or of every scenario
    seed : of all draws
    settings : ``default``, ``tuned`` or ``both``; by default both of a model, and ``default`` of a grid, whose tuned
        fits at the boundary would take most of the time
    output : folder; by default one in build/simulation, named after the model
    grid : a TOML file with the factors' values, see `concord.simulation.scenarios.read`
    scheduler, workers, batch : see `concord.simulation.study.run`

    Returns
    -------
    exit status: 0 where every replicate is there, 1 where some gave no result or the study could not go on, 130 where
    it was interrupted

    Raises
    ------
    InputError, ModelError, DatasetError : what is asked for cannot be
    """
    settings = settings or ("default" if model == GRID else "both")
    chosen = SETTINGS if settings == "both" else (settings,)
    plan = Plan(tuple(cases(model, method, seed, grid)), seed, replicates, pairs(chosen))
    name = GRID if model == GRID else model
    folder = output or FOLDER / f"{name}-{method}"
    came, stopped = Progress(), ""
    with _Progress() as progress:
        try:
            came = run(plan, folder, scheduler=scheduler, workers=workers, batch=batch, tell=progress.tell)
        except KeyboardInterrupt:
            stopped = "interrupted"
        except StudyStopped as error:
            stopped = str(error)
    total = replicates * len(plan.cases)
    if stopped:
        kept = Store(folder).count(plan)  # as the folder has it: a part may have been written just before the end
        _say(f"concord: {stopped}: {kept} of {total} replicates are kept in {folder}; the same command goes on")
        return 130 if stopped == "interrupted" else 1
    _report(folder)
    for line in came.lost:
        _say(f"concord: no result: {line}")
    if came.lost:
        _say(f"concord: {came.before + came.now} of {total} replicates are there; the same command tries again")
    return 1 if came.lost else 0


def _report(folder: Path) -> None:
    from concord.simulation.findings import Findings

    findings = Findings(folder)
    print(findings)
    files = findings.write()
    print(f"\n{folder}: {', '.join(file.name for file in files)}, parts of all rows in {folder / 'parts'}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Progress(AbstractContextManager["_Progress"]):
    """How many replicates there are: a bar in a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self.done, self._told = 0, time.monotonic()
        self._bar: tqdm | None = None

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def tell(self, done: int, total: int) -> None:
        """So many replicates of all that are wanted are there."""
        terminal = sys.stderr.isatty()
        if self._bar is None:
            self._bar = tqdm(
                total=total, initial=done, unit="replicate", dynamic_ncols=True, leave=False, disable=not terminal
            )
        else:
            self._bar.update(done - self.done)
        self.done = done
        if not terminal and time.monotonic() - self._told > OFTEN:
            self._told = time.monotonic()
            _say(f"{done} of {total} replicates")
