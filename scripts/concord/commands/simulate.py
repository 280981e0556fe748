"""The simulate command: a study in a folder, begun or gone on with, and what it says so far."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from concord.commands import arguments

FOLDER = Path("build") / "simulation"
# Without a terminal a line is written so often, in seconds.
OFTEN = 30.0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "simulate",
        help="draw responses from a model, fit them by the engines, and count verdicts, gaps, bias and coverage",
        description="Draw responses from a model of the workbook at its optimum, or from a grid of made-up designs; "
        "fit each by the engines, judge, and add up. The same command goes on where it stopped. Exit status: 0 all "
        "replicates are there, 1 some are not, 2 input that cannot be used.",
    )
    parser.add_argument("model", metavar="MODEL", help="a model's id, such as sleepstudy-random_slope; or grid")
    parser.add_argument("--method", choices=("REML", "ML"), default="REML", help="default: REML")
    parser.add_argument(
        "--replicates",
        type=arguments.count,
        default=200,
        metavar="N",
        help="of the model, or of every scenario; default: 200",
    )
    parser.add_argument("--seed", type=arguments.whole, default=1, metavar="SEED", help="of all draws; default: 1")
    parser.add_argument(
        "--settings",
        choices=("default", "tuned", "both"),
        help="as the packages ship, or the best of several of their optimizers; default: both, and of a grid default",
    )
    parser.add_argument(
        "--grid", type=arguments.place, metavar="FILE", help="with `grid`: TOML, a list of values a factor"
    )
    parser.add_argument(
        "--output", type=arguments.place, metavar="FOLDER", help="default: build/simulation/MODEL-METHOD"
    )
    parser.add_argument(
        "--workers",
        type=arguments.whole,
        metavar="N",
        help="processes on this machine; default: one a core; 0: in this one",
    )
    parser.add_argument(
        "--batch", type=arguments.count, metavar="N", help="replicates a task; default: as many as take some seconds"
    )
    arguments.add_scheduler(parser)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Run a study, or go on with it; print what it says and write that as CSV beside it.

    Tuned fits of a grid at the boundary would take most of the time, so a grid has default settings by default.

    Returns
    -------
    exit status: 0 where every replicate is there, 1 where some gave no result or the study could not go on, 130 where
    it was interrupted

    Raises
    ------
    InputError : what is asked for cannot be
    """
    from concord.simulation import study
    from concord.simulation.case import GRID, cases
    from concord.simulation.experiment import pairs
    from concord.simulation.store import Plan, Store
    from concord.vocabulary import SETTINGS

    settings = args.settings or ("default" if args.model == GRID else "both")
    chosen = SETTINGS if settings == "both" else (settings,)
    plan = Plan(tuple(cases(args.model, args.method, args.seed, args.grid)), args.seed, args.replicates, pairs(chosen))
    folder = args.output or FOLDER / f"{args.model}-{args.method}"
    came, stopped = study.Progress(), ""
    with _Progress() as progress:
        try:
            came = study.run(
                plan, folder, scheduler=args.scheduler, workers=args.workers, batch=args.batch, tell=progress.tell
            )
        except KeyboardInterrupt:
            stopped = "interrupted"
        except study.StudyStopped as error:
            stopped = str(error)
    total = args.replicates * len(plan.cases)
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
        self._bar: Any = None

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def tell(self, done: int, total: int) -> None:
        """So many replicates of all that are wanted are there."""
        from tqdm import tqdm

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
