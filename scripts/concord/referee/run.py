"""A run: the rows that the results do not have yet, made on a cluster and kept as they come."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

# A room, whose module with dask loads when a run begins: no comparison needs it.
import concord.processes
from concord.engines.engine import LOAD_R, preloads
from concord.errors import InputError, shorten
from concord.referee import packages, results, trial

DEATHS = 1
"""So often a case may lose its worker."""


def chosen(patterns: Sequence[str]) -> list[tuple[str, str]]:
    """The cases, by id and method, whose ids match one of the patterns; all without any; small tables first.

    Raises
    ------
    InputError : none matches
    """
    cases = list(trial.sizes())
    matched = [pair for pair in cases if not patterns or any(fnmatch(pair[0], pattern) for pattern in patterns)]
    if not matched:
        raise InputError(f"no certified case is called {' or '.join(patterns)}")
    return matched


def run(
    folder: Path,
    cases: Sequence[tuple[str, str]],
    names: Sequence[str] = (),
    *,
    limit: float = trial.LIMIT,
    scheduler: str | None = None,
    workers: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Fit what the folder has no row of, and keep each row as it comes.

    Parameters
    ----------
    cases : ids and methods
    names : of the packages, by engine; by default all that are installed
    limit : seconds for each fit
    scheduler : address of a dask scheduler; None for one-thread worker processes on this machine
    workers : how many of them, by default one a core; 0: none, in this process
    tell : is called with a line for each case

    Returns
    -------
    which cases gave no rows, each with the reason

    Raises
    ------
    InputError : a package is unknown or not installed, or the results there are damaged
    """
    here = packages.installed()
    if odd := [name for name in names if name not in here]:
        raise InputError(f"package {odd[0]!r} is not here: there are {', '.join(here)}")
    here = {name: version for name, version in here.items() if not names or name in names}
    kept = results.read(folder) if (folder / results.RESULTS).exists() else results.empty()
    certificates = {pair: trial.certificate(trial.models()[pair]) for pair in cases}
    left = kept.missing(cases, here, certificates)
    about, lost = results.about(), []
    tell(f"{len(cases)} cases and methods, {sum(map(len, left.values()))} rows to make in {len(left)} of them")
    for done, (pair, got) in enumerate(_made(left, limit, scheduler, workers), 1):
        if isinstance(got, str):
            lost.append(f"{' by '.join(pair)}: {got}")
            continue
        kept = kept.with_rows(got, about)
        kept.keep(folder)
        tell(f"{done} of {len(left)}: {' by '.join(pair)}: {_told(got)}")
    return lost


def _made(left: dict[tuple[str, str], list[str]], limit: float, scheduler: str | None, workers: int | None) -> Any:
    """For each case its rows as they come, or why there are none."""
    if not left:
        return
    if workers == 0 and not scheduler:
        for pair, names in left.items():
            yield pair, trial.rows(*pair, names, limit)
        return
    count = min(workers or os.cpu_count() or 1, len(left))
    imported = ("concord.referee.trial", *preloads())
    with concord.processes.cluster.cluster(scheduler, count, DEATHS, LOAD_R, imported) as client:
        tasks = {
            client.submit(trial.rows, *pair, names, limit, pure=False, priority=-place): pair
            for place, (pair, names) in enumerate(left.items())
        }
        for task in concord.processes.cluster.as_completed(list(tasks), loop=client.loop):
            try:
                yield tasks[task], task.result()
            except Exception as error:  # one case that cannot be had leaves the others
                yield tasks[task], shorten(f"{type(error).__name__}: {error}")


def _told(rows: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{row['package']} {row['outcome']}" for row in rows)
