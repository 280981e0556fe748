"""The simulation study beside bare loops over the same calls of the engines."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import cache
from pathlib import Path

from concord.bench.sides import ENVIRONMENT, SideFailed
from concord.engines.engine import LOAD_R
from concord.models import model
from concord.processes.cluster import cluster
from concord.simulation import case, store, study
from concord.simulation import experiment as simulation
from concord.simulation.experiment import Experiment
from concord.simulation.refitter import Refitter

MODEL = "sleepstudy-random_slope"
REPLICATES, WORKERS = 60, 2
FIRST = 8  # of them, before the clock starts


def study_on_workers(folder: Path, notebooks: Path | None) -> float:
    """A study by default and tuned settings goes on, on two workers that have the model and have done some of it."""
    with cluster(None, WORKERS, study.DEATHS, LOAD_R, study.IMPORTED) as client:
        address = client.scheduler_info()["address"]
        study.run(_plan(FIRST), folder / "study", scheduler=address, batch=1)
        began = time.perf_counter()
        outcome = study.run(_plan(FIRST + REPLICATES), folder / "study", scheduler=address)
        seconds = time.perf_counter() - began
    if outcome.now != REPLICATES:
        raise SideFailed(f"{outcome.now} of {REPLICATES} replicates came")
    return seconds


def bare_loop(folder: Path, notebooks: Path | None) -> float:
    """One process that does nothing but the same fits of the same responses, one after the other."""
    return _bare(FIRST, FIRST + REPLICATES)


def bare_loops(folder: Path, notebooks: Path | None) -> float:
    """Two such processes side by side, half of the replicates each: what the machine itself makes of two workers."""
    half = REPLICATES // WORKERS
    words = [sys.executable, "-P", "-m", "concord.bench.studies"]
    parts = [
        subprocess.Popen(
            [*words, str(i * half), str((i + 1) * half)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        )
        for i in range(WORKERS)
    ]
    seconds = [part.communicate()[0] for part in parts]
    if any(part.returncode for part in parts):
        raise SideFailed("a bare loop ended with an error")
    return max(map(float, seconds))


def study_outside(folder: Path, notebooks: Path | None) -> float:
    """Seconds of the same replicates, serially in this process, that are spent anywhere but inside the engines."""
    return _inside_and_outside()[1]


def study_inside(folder: Path, notebooks: Path | None) -> float:
    """Seconds that the engines' own calls in them take."""
    return _inside_and_outside()[0]


def _plan(replicates: int) -> store.Plan:
    return store.Plan((case.Case.of(model.get(MODEL)),), 1, replicates, simulation.pairs())


def _experiment() -> Experiment:
    plan = _plan(1)
    experiment = Experiment(plan.cases[0], plan.seed, plan.pairs)
    experiment.replicate(0)  # packages are loaded, R is started
    return experiment


def _bare(first: int, stop: int) -> float:
    experiment = _experiment()
    began = time.perf_counter()
    for number in range(first, stop):
        response = experiment.response(number)
        for refitter in experiment.refitters.values():
            if isinstance(refitter, Refitter):
                refitter.refit(response)
    return time.perf_counter() - began


@cache
def _inside_and_outside() -> tuple[float, float]:
    experiment = _experiment()
    inside, began = 0.0, time.perf_counter()
    for number in range(FIRST, FIRST + REPLICATES):
        rows = experiment.replicate(number)
        inside += sum(row["seconds"] for row in rows if row["engine"] != "independent")
    return inside, time.perf_counter() - began - inside


if __name__ == "__main__":
    print(_bare(int(sys.argv[1]), int(sys.argv[2])))
