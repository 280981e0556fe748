"""Outcomes: what comes of a model's replicates by every source, computed in this process or on a cluster."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from concord.account.line import INDEPENDENT
from concord.agreement.measures import Judge
from concord.agreement.tolerances import allowed_gap
from concord.agreement.verdict import grade
from concord.engines.engine import EngineError
from concord.engines.replicate import Replicate, likelihood_of
from concord.inference.curvature import Curvature
from concord.likelihood.likelihood import Likelihood, LikelihoodError, Optimum
from concord.models.model import Model
from concord.models.parameters import Parameters
from concord.processes.cluster import cluster
from concord.simulation.refitter import Refitter, best_known, draw, from_optimum

# Batches a worker: few enough that handing them out costs nothing, many enough that workers end together.
BATCHES = 12
# So often a batch is given to another worker where one has died with it.
DEATHS = 2
# R takes the signal of Ctrl-C where it starts, and gives it back only in a main thread; tasks run in another one.
R = "from concord import r; r.interface()"


@dataclass(frozen=True)
class Outcome:
    """What came of one replicate by one source.

    Attributes
    ----------
    replicate : its fit
    gap : log-likelihood units below the optimum of its response; inf where there is no fit, NaN where no optimum
    own : whether the log-likelihood that it states is that of its own estimates
    grade : ``short``, ``imprecise`` or empty, as the verdict grades a fit
    added : seconds that its fit took here beyond the package's own
    """

    replicate: Replicate
    gap: float
    own: bool
    grade: str
    added: float


# One replicate by every source, and the seconds that judging took.
Judged = tuple[dict[str, Outcome], float]


@dataclass(frozen=True, eq=False)
class Plan:
    """What a worker has to know. `token` tells one bootstrap from another in a process that serves several."""

    token: str
    model: Model
    truth: Parameters
    seed: int
    engines: tuple[str, ...]
    settings: str


class _Ready:
    """A plan in a process that computes: refitters are made once."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.allowed = allowed_gap(plan.settings, plan.model)
        likelihood = Likelihood(plan.model.design, plan.model.reml)
        try:
            self.starts = [likelihood.theta_at(plan.truth)]
        except LikelihoodError:  # such as a variance so large that no search should start there
            self.starts = []
        self.refitters: dict[str, Refitter | str] = {}
        for engine in plan.engines:
            if engine != INDEPENDENT:
                try:
                    self.refitters[engine] = Refitter(plan.model, engine, plan.settings)
                except EngineError as error:
                    self.refitters[engine] = str(error)

    def compute(self, number: int) -> Judged:
        """One replicate by every source, and the seconds that judging took."""
        plan = self.plan
        true = plan.truth
        response = draw(plan.model.design, true.fixed, true.covariances, true.residual_variance, plan.seed, number)
        started = time.perf_counter()
        likelihood = likelihood_of(plan.model, response)
        judging = time.perf_counter() - started
        fits: dict[str, tuple[Replicate, float]] = {}
        for engine, refitter in self.refitters.items():
            if isinstance(refitter, str):
                fits[engine] = Replicate.failed(plan.model, engine, plan.settings, refitter), 0.0
                continue
            began = time.perf_counter()
            replicate = refitter.refit(response, likelihood)
            fits[engine] = replicate, time.perf_counter() - began - replicate.seconds
        began = time.perf_counter()
        optimum = best_known(likelihood, [replicate for replicate, _ in fits.values()], self.starts)
        judged = self._judged(likelihood, optimum, {engine: replicate for engine, (replicate, _) in fits.items()})
        outcomes = {
            engine: Outcome(replicate, *judged[engine], added=added) for engine, (replicate, added) in fits.items()
        }
        judging += time.perf_counter() - began
        if INDEPENDENT in plan.engines:
            if optimum is None:
                raise LikelihoodError("no optimum was found")
            outcomes[INDEPENDENT] = Outcome(from_optimum(optimum, plan.settings, judging), 0.0, True, "", 0.0)
        return {engine: outcomes[engine] for engine in plan.engines}, judging

    def _judged(
        self, likelihood: Likelihood, optimum: Optimum | None, fits: dict[str, Replicate]
    ) -> dict[str, tuple[float, bool, str]]:
        """Of every engine's replicate the gap, whether it states its own log-likelihood, and its grade."""
        if optimum is None:
            return dict.fromkeys(fits, (math.nan, False, ""))
        model, found = self.plan.model, {}
        point = optimum.parameters
        judge = Judge(model, Curvature(likelihood, point, likelihood.loglik(point)), self.allowed)
        for engine, replicate in fits.items():
            if replicate.absent:
                found[engine] = math.inf, False, ""
                continue
            measured = judge.measure(replicate.as_fit(model))
            own = measured.stated is not None and measured.stated.loglik_holds
            found[engine] = measured.gap, own, grade(judge.fact(measured, engine), judge.allowed)
        return found


_ready: dict[str, _Ready] = {}


def _batch(plan: Plan, numbers: Sequence[int]) -> list[tuple[int, Judged]]:
    """Some replicates, in this process."""
    if plan.token not in _ready:
        _ready.clear()
        _ready[plan.token] = _Ready(plan)
    return [(number, _ready[plan.token].compute(number)) for number in numbers]


def _lost(plan: Plan, number: int, error: str) -> tuple[int, Judged]:
    """A replicate that nothing came back of."""
    lost = {
        engine: Outcome(Replicate.failed(plan.model, engine, plan.settings, error), math.inf, False, "", 0.0)
        for engine in plan.engines
    }
    return number, (lost, math.nan)


def _same(plan: Plan) -> Plan:
    return plan


def computed(plan: Plan, replicates: int, scheduler: str | None, workers: int | None) -> Iterator[tuple[int, Judged]]:
    """Every replicate with its number, as they come; parameters as of `concord.bootstrap.bootstrap`."""
    if workers == 0 and not scheduler:
        try:
            for number in range(replicates):
                yield from _batch(plan, [number])
        finally:
            _ready.pop(plan.token, None)
        return
    from distributed import KilledWorker, as_completed

    with cluster(scheduler, min(workers or os.cpu_count() or 1, replicates), DEATHS, R) as client:
        count = max(1, sum(client.nthreads().values()))
        size = max(1, math.ceil(replicates / (count * BATCHES)))
        held = client.submit(_same, plan, key=f"bootstrap-{plan.token}", pure=False)

        def submit(numbers: Sequence[int]) -> Any:
            key = f"replicates-{numbers[0]}-{len(numbers)}-{plan.token}"
            return client.submit(_batch, held, numbers, key=key, pure=False)

        every = list(range(replicates))
        batches = [every[start : start + size] for start in range(0, replicates, size)]
        flying = {submit(numbers): numbers for numbers in batches}
        came = as_completed(list(flying), loop=client.loop)
        try:
            for future in came:
                numbers = flying.pop(future)
                try:
                    yield from future.result()
                except KilledWorker:
                    # One of them ends the process that computes it: each alone, to find out which.
                    if len(numbers) == 1:
                        yield _lost(plan, numbers[0], "the process that computed it died")
                        continue
                    for number in numbers:
                        alone = submit([number])
                        flying[alone] = [number]
                        came.add(alone)
        finally:
            with suppress(Exception):
                client.cancel(list(flying))
