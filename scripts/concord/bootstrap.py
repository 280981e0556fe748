"""The parametric bootstrap: responses drawn from a model at its estimates, and every engine refitted to the same draws.

An interval is what its replicates are. One that failed is left out; one that stopped short of the optimum of its
response stays in, as it does in any bootstrap, but is counted: every replicate is held against the optimum that the
independent likelihood has for the same response. Percentile intervals have the quantiles of their replicates as ends
(Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; quantiles of R's type 7), and an end has a
Monte-Carlo error, for there are only so many replicates.
"""

from __future__ import annotations

import math
import os
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from tqdm import tqdm

from concord import reference, tables
from concord.agreement import STATED, Comparison, allowed_gap
from concord.cluster import cluster
from concord.engines import EngineError, mixedlm
from concord.fits import KEY, Fit
from concord.formulas import CannotExpress
from concord.likelihood import Likelihood, LikelihoodError, Optimum
from concord.models import Model
from concord.quantities import INDEPENDENT, Line
from concord.replicates import ENGINES, Refitter, Replicate, columns, draw, from_optimum, gap, likelihood_of

LEVEL = 0.95
# Batches a worker: few enough that handing them out costs nothing, many enough that workers end together.
BATCHES = 12
# So often a batch is given to another worker where one has died with it.
DEATHS = 2
# R takes the signal of Ctrl-C where it starts, and gives it back only in a main thread; tasks run in another one.
R = "from concord import r; r.interface()"
# What a message says anew in every replicate.
_NUMBER = re.compile(r"\d+\.\d+(e[+-]?\d+)?")


@dataclass(frozen=True)
class Outcome:
    """What came of one replicate by one source.

    Attributes
    ----------
    replicate : its fit
    gap : log-likelihood units below the optimum of its response; inf where there is no fit, NaN where no optimum
    own : whether the log-likelihood that it states is that of its own estimates
    added : seconds that its fit took here beyond the package's own
    """

    replicate: Replicate
    gap: float
    own: bool
    added: float


@dataclass(frozen=True, eq=False)
class _Plan:
    """What a worker has to know. `token` tells one bootstrap from another in a process that serves several."""

    token: str
    model: Model
    truth: tuple[np.ndarray, tuple[np.ndarray, ...], float]
    seed: int
    engines: tuple[str, ...]
    settings: str


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Replicates of a model, by every source on the same draws.

    Attributes
    ----------
    model : what was drawn from and refitted
    origin : whose estimates the draws are from, in words
    truth : those estimates, in the order of `key`
    seed, settings : of the draws, and of the engines
    outcomes : by source one `Outcome` a replicate
    judging : seconds that the optimum and the gaps of each replicate took
    absent : the engines that are left out, with the reason
    seconds : wall time of it all
    """

    model: Model
    origin: str
    truth: np.ndarray
    seed: int
    settings: str
    outcomes: dict[str, list[Outcome]]
    judging: np.ndarray
    absent: dict[str, str] = field(default_factory=dict)
    seconds: float = math.nan

    @cached_property
    def key(self) -> pd.DataFrame:
        """What is estimated: ``effect, group, term``, as in `Fit.estimates`."""
        return columns(self.model.design)

    @property
    def sources(self) -> list[str]:
        """The engines, and ``independent``."""
        return list(self.outcomes)

    @property
    def replicates(self) -> int:
        """How many responses were drawn."""
        return len(self.judging)

    @property
    def allowed(self) -> float:
        """How many log-likelihood units below its optimum a replicate may be before it is short."""
        return allowed_gap(self.settings, self.model)

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """By source the estimates, shape (replicates, parameters); a row of NaN where a replicate failed."""
        nothing = np.full(len(self.truth), np.nan)
        return {
            source: np.array([each.replicate.flat if each.replicate.finite else nothing for each in outcomes])
            for source, outcomes in self.outcomes.items()
        }

    @property
    def gaps(self) -> dict[str, np.ndarray]:
        """By source the gap of every replicate, shape (replicates,)."""
        return {source: np.array([each.gap for each in outcomes]) for source, outcomes in self.outcomes.items()}

    @property
    def failed(self) -> pd.DataFrame:
        """By source how many replicates failed or are doubtful, and the worst gap.

        ``error``: it stopped with one, or its estimates leave the model; ``not finite``: an estimate or the stated
        log-likelihood is no number; both are left out of the intervals, which leaves ``kept``. ``short``: it is below
        the optimum of its response by more than the tolerance; ``not converged``: the package says so; both are kept.
        ``unsaid``: it is short, and the package claims to have converged.
        """
        rows = []
        for source, outcomes in self.outcomes.items():
            kept = [each for each in outcomes if each.replicate.finite]
            short = [each for each in kept if not each.gap <= self.allowed]
            rows.append(
                {
                    "source": source, "replicates": len(outcomes), "kept": len(kept),
                    "error": sum(each.replicate.error is not None for each in outcomes),
                    "not finite": sum(each.replicate.error is None and not each.replicate.finite for each in outcomes),
                    "short": len(short), "not converged": sum(not each.replicate.converged for each in kept),
                    "unsaid": sum(each.replicate.converged for each in short),
                    "worst gap": max((each.gap for each in kept), default=np.nan),
                }
            )  # fmt: skip
        return pd.DataFrame(rows).set_index("source")

    @property
    def errors(self) -> pd.DataFrame:
        """What the engines said, numbers left out, and how often: ``source, kind, text, count``; `kind` is ``error`` or
        ``message``.
        """
        rows = []
        for source, outcomes in self.outcomes.items():
            said = Counter(("error", each.replicate.error) for each in outcomes if each.replicate.error)
            texts = (text for each in outcomes for text in each.replicate.messages)
            said += Counter(("message", _NUMBER.sub("…", text)) for text in texts)
            rows += [(source, kind, text, count) for (kind, text), count in said.most_common()]
        return pd.DataFrame(rows, columns=["source", "kind", "text", "count"])

    @property
    def times(self) -> pd.DataFrame:
        """By source the seconds a replicate: ``own``, the package's; ``added``, what is done here to hand it a response
        and to read its estimates. And in the row ``judge``: the optimum, and every source's gap.
        """
        rows = {
            source: (np.mean([each.replicate.seconds for each in outcomes]), np.mean([each.added for each in outcomes]))
            for source, outcomes in self.outcomes.items()
            if source != INDEPENDENT
        }
        rows["judge"] = (float(np.mean(self.judging)), 0.0)
        return pd.DataFrame(rows, index=["own", "added"]).T

    def intervals(self, level: float = LEVEL) -> pd.DataFrame:
        """Percentile intervals of every parameter by every source.

        Returns
        -------
        DataFrame : ``effect, group, term, source, lower, upper, lower_error, upper_error, replicates``: the ends, their
            Monte-Carlo standard errors, and how many replicates they are from
        """
        if not 0 < level < 1:
            raise ValueError(f"a level of {level:g} is none")
        at = np.array([(1 - level) / 2, (1 + level) / 2])
        tables_ = []
        for source, values in self.values.items():
            kept = values[np.isfinite(values).all(axis=1)]
            ends, errors = percentiles(kept, at)
            table = self.key.assign(source=source)
            table["lower"], table["upper"] = ends
            table["lower_error"], table["upper_error"] = errors
            tables_.append(table.assign(replicates=len(kept)))
        return pd.concat(tables_, ignore_index=True)

    @property
    def table(self) -> pd.DataFrame:
        """The 95 percent intervals beside what was drawn from: `intervals` with a column ``estimate``."""
        return self.intervals().merge(self.key.assign(estimate=self.truth), on=KEY)[
            [*KEY, "estimate", "source", "lower", "upper", "lower_error", "upper_error", "replicates"]
        ]

    def _rendered(self) -> tuple[str, list[str], list[list[object]], int, list[str]]:
        found = {(row.effect, row.group, row.term, row.source): row for row in self.intervals().itertuples()}
        rows = []
        for place, (effect, group, term) in enumerate(self.key.itertuples(index=False)):
            mine = [found[effect, group, term, source] for source in self.sources]
            cells = [f"{tables.number(row.lower, 5)} to {tables.number(row.upper, 5)}" for row in mine]
            errors = np.array([(row.lower_error, row.upper_error) for row in mine]).max(axis=0)
            kind = "fixed effect" if effect == "fixed" else "(co)variance"
            noise = f"{tables.number(errors[0], 2)}, {tables.number(errors[1], 2)}"
            rows.append([kind, group, term, tables.number(float(self.truth[place]), 5), *cells, noise])
        header = ["quantity", "group", "term", "drawn from", *self.sources, "Monte-Carlo error of the ends"]
        title = f"{self.model.id}, {self.model.method}, {self.settings} settings: parametric bootstrap"
        what = f"95 percent percentile intervals from {self.replicates} replicates, drawn from {self.origin}"
        return f"{title}\n{what}.", header, rows, 3, self._notes()

    def _notes(self) -> list[str]:
        notes = []
        for source, row in self.failed.iterrows():
            left_out = int(row["error"] + row["not finite"])
            words = [f"{left_out} left out ({int(row['error'])} with an error)"] if left_out else []
            if row["short"]:
                words.append(
                    f"{int(row['short'])} kept that are short of the optimum of their response, by up to "
                    f"{tables.number(row['worst gap'], 2)}; of these {int(row['unsaid'])} claim to have converged"
                )
            if row["not converged"]:
                words.append(f"{int(row['not converged'])} said not to have converged")
            if words:
                notes.append(f"{source}, of {int(row['replicates'])}: {'; '.join(words)}.")
        if not notes:
            notes.append("Every replicate of every source reached the optimum of its response, and says so.")
        return [*notes, *(f"{engine}: {why}." for engine, why in self.absent.items())]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        rendered = self._rendered()
        return {"text/plain": tables.render_text(*rendered), "text/html": tables.render_html(*rendered)}

    def __repr__(self) -> str:
        return tables.render_text(*self._rendered())


def percentiles(values: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of every column (R's type 7) and their Monte-Carlo standard errors, each of shape (quantiles, columns).

    The errors are the standard deviations of the order statistic under resampling, in closed form (Maritz and Jarrett
    1978, Journal of the American Statistical Association 73, 194-196); NaN where there are fewer than two rows.

    Parameters
    ----------
    values : one row a replicate, shape (n, k)
    at : probabilities
    """
    n, k = values.shape
    if n < 2:
        return np.full((len(at), k), np.nan), np.full((len(at), k), np.nan)
    ends = np.quantile(values, at, axis=0)
    # A quantile of type 7 stands where the order statistic of this rank, whole or not, would.
    ranks = (n - 1) * np.asarray(at) + 1
    ordered, edges = np.sort(values, axis=0), np.arange(n + 1) / n
    errors = []
    for rank, end in zip(ranks, ends, strict=True):
        weights = np.diff(stats.beta.cdf(edges, rank, n + 1 - rank))
        # About the end itself, so that no digits cancel where the mean is large.
        off = ordered - end
        errors.append(np.sqrt(np.maximum(weights @ off**2 - (weights @ off) ** 2, 0.0)))
    return ends, np.array(errors)


def bootstrap(
    subject: Model | Comparison | Fit,
    replicates: int = 200,
    seed: int = 1,
    engines: Sequence[str] = ENGINES,
    settings: str | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Bootstrap:
    """Draw responses from a model at its estimates and refit every engine to the same ones.

    A replicate has random numbers of its own: the result is the same for any number of workers.

    Parameters
    ----------
    subject : a model or a comparison, to draw from the reference's estimates; or a fit, to draw from its own
    replicates : how many responses
    seed : of all draws
    engines : of ``mixedlm``, ``lme4`` and ``independent``
    settings : ``default`` or ``tuned``; by default those of the comparison or fit, and ``default`` for a model
    scheduler : address of a dask scheduler; None for one-thread worker processes on this machine
    workers : how many of them, by default one a core; 0: none, in this process
    progress : whether to show a bar on stderr, in a terminal or in a notebook that somebody looks at

    Raises
    ------
    ValueError : there is no such engine, or nothing to draw
    InputError : no scheduler answers at the address
    LikelihoodError : the model's likelihood is not defined
    """
    unknown = [each for each in engines if each not in ENGINES]
    if unknown or not engines:
        raise ValueError(f"engine {unknown[0] if unknown else ''!r}: one of {', '.join(ENGINES)}")
    if replicates < 1:
        raise ValueError(f"{replicates} replicates: at least one is needed")
    began = time.perf_counter()
    model = subject if isinstance(subject, Model) else subject.model
    settings = settings or (subject.settings if getattr(subject, "settings", "") == "tuned" else "default")
    if isinstance(subject, Fit):
        truth = (subject.fixed, subject.covariances, subject.residual_variance)
        origin = f"the estimates of {subject.engine}, {subject.settings} settings"
    else:
        against = subject.against if isinstance(subject, Comparison) else reference.of(model)
        fixed, covariances, residual_variance = reference.parameters(against.estimates, model.design)
        truth, origin = (fixed, tuple(covariances), residual_variance), f"the {against.noun}"
    absent = {}
    for engine in engines:
        if engine == "mixedlm":
            try:
                mixedlm.call(model)
            except CannotExpress as error:
                absent[engine] = str(error)
    present = tuple(each for each in dict.fromkeys(engines) if each not in absent)
    plan = _Plan(uuid.uuid4().hex, model, truth, seed, present, settings)
    found: dict[int, tuple[dict[str, Outcome], float]] = {}
    with _bar(replicates, model.id, progress) as tell:
        for number, outcome in _computed(plan, replicates, scheduler, workers):
            found[number] = outcome
            tell()
    _ready.pop(plan.token, None)
    outcomes = {source: [found[number][0][source] for number in range(replicates)] for source in present}
    judging = np.array([found[number][1] for number in range(replicates)])
    flat = from_truth(truth).flat
    seconds = time.perf_counter() - began
    return Bootstrap(model, origin, flat, seed, settings, outcomes, judging, absent, seconds)


def from_truth(truth: tuple[np.ndarray, tuple[np.ndarray, ...], float]) -> Replicate:
    """What is drawn from, as a replicate."""
    fixed, covariances, residual_variance = truth
    errors = np.full(len(fixed), np.nan)
    return Replicate("truth", "", math.nan, fixed, errors, tuple(covariances), residual_variance, True, 0.0)


def lines(bootstrap: Bootstrap, level: float = LEVEL) -> list[Line]:
    """Both ends of every parameter's percentile interval, by every engine and independently, on the same draws.

    What an engine is expected to give is the end that the independent optima give, but for those replicates in which
    the engine is short of the optimum: there it is the engine's own estimate, if that is where the engine's stated
    log-likelihood is. So an interval that differs because replicates ended elsewhere is one of another optimum, and one
    that differs otherwise differs. A replicate that failed for one engine is left out of all, so that they stay
    intervals from the same draws; an engine that has fewer than two is left out itself.
    """
    if INDEPENDENT not in bootstrap.outcomes:
        raise ValueError("the intervals can only be judged where the independent optima are among the replicates")
    at = np.array([(1 - level) / 2, (1 + level) / 2])
    engines = [source for source in bootstrap.sources if source != INDEPENDENT]
    values = bootstrap.values
    finite = {source: np.isfinite(each).all(axis=1) for source, each in values.items()}
    present = [engine for engine in engines if (finite[engine] & finite[INDEPENDENT]).sum() > 1]
    absent = dict(bootstrap.absent)
    absent |= {engine: "fewer than two replicates gave estimates" for engine in engines if engine not in present}
    kept = np.logical_and.reduce([finite[source] for source in (*present, INDEPENDENT)])
    if not present or kept.sum() < 2:
        return []
    optima = values[INDEPENDENT][kept]
    own, expected, any_short = {}, {}, False
    for engine in present:
        outcomes = [each for each, whole in zip(bootstrap.outcomes[engine], kept, strict=True) if whole]
        elsewhere = np.array([each.own and not each.gap <= bootstrap.allowed for each in outcomes])
        any_short |= bool(elsewhere.any())
        mine = values[engine][kept]
        own[engine] = np.quantile(mine, at, axis=0)
        expected[engine] = np.quantile(np.where(elsewhere[:, None], mine, optima), at, axis=0)
    ends, spread = np.quantile(optima, at, axis=0), optima.std(axis=0)
    made = []
    for k, (effect, group, term) in enumerate(bootstrap.key.itertuples(index=False)):
        for end, name in enumerate(("lower", "upper")):
            made.append(
                Line(
                    "bootstrap", f"bootstrap interval, {name}", "interval_bootstrap",
                    {engine: float(each[end, k]) for engine, each in own.items()},
                    expected={engine: float(each[end, k]) for engine, each in expected.items()},
                    independent=float(ends[end, k]), effect=effect, group=group, term=term, absent=absent,
                    scale=float(spread[k]), short=any_short,
                )
            )  # fmt: skip
    return made


# Computing --------------------------------------------------------------------------------------------------------


class _Ready:
    """A plan in a process that computes: refitters are made once."""

    def __init__(self, plan: _Plan) -> None:
        self.plan = plan
        likelihood = Likelihood(plan.model.design, plan.model.reml)
        try:
            self.starts = [likelihood.theta_at(plan.truth[1], plan.truth[2])]
        except LikelihoodError:  # such as a variance so large that no search should start there
            self.starts = []
        self.refitters: dict[str, Refitter | str] = {}
        for engine in plan.engines:
            if engine != INDEPENDENT:
                try:
                    self.refitters[engine] = Refitter(plan.model, engine, plan.settings)
                except EngineError as error:
                    self.refitters[engine] = str(error)

    def compute(self, number: int) -> tuple[dict[str, Outcome], float]:
        """One replicate by every source, and the seconds that judging took."""
        plan = self.plan
        response = draw(plan.model.design, *plan.truth, plan.seed, number)
        started = time.perf_counter()
        likelihood = likelihood_of(plan.model, response)
        optimum = likelihood.optimum([*likelihood.starts(), *self.starts])
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
        gaps = {engine: gap(replicate, likelihood, optimum) for engine, (replicate, _) in fits.items()}
        for engine in gaps:
            # Better than the optimum: then that was none, and the search goes on from there.
            if gaps[engine] < -self.rounding(likelihood):
                optimum = self.climbed(likelihood, optimum, fits[engine][0])
        gaps = {engine: gap(replicate, likelihood, optimum) for engine, (replicate, _) in fits.items()}
        level = likelihood.loglik(optimum.fixed, optimum.covariances, optimum.residual_variance)
        outcomes = {
            engine: Outcome(replicate, gaps[engine], abs(replicate.loglik - (level - gaps[engine])) <= STATED, added)
            for engine, (replicate, added) in fits.items()
        }
        judging += time.perf_counter() - began
        if INDEPENDENT in plan.engines:
            outcomes[INDEPENDENT] = Outcome(from_optimum(optimum, plan.settings, judging), 0.0, True, 0.0)
        return {engine: outcomes[engine] for engine in plan.engines}, judging

    @staticmethod
    def rounding(likelihood: Likelihood) -> float:
        """Log-likelihoods closer than this are told apart by rounding only."""
        return 1e-10 * max(1.0, likelihood.n / 100)

    @staticmethod
    def climbed(likelihood: Likelihood, optimum: Optimum, replicate: Replicate) -> Optimum:
        """The better of an optimum and the one that a search from a replicate's estimates leads to."""
        with suppress(LikelihoodError, np.linalg.LinAlgError):
            start = likelihood.theta_at(replicate.covariances, replicate.residual_variance)
            return max(optimum, likelihood.optimum([start]), key=lambda each: each.loglik)
        return optimum


_ready: dict[str, _Ready] = {}


def _batch(plan: _Plan, numbers: Sequence[int]) -> list[tuple[int, tuple[dict[str, Outcome], float]]]:
    """Some replicates, in this process."""
    if plan.token not in _ready:
        _ready.clear()
        _ready[plan.token] = _Ready(plan)
    return [(number, _ready[plan.token].compute(number)) for number in numbers]


def _lost(plan: _Plan, number: int, error: str) -> tuple[int, tuple[dict[str, Outcome], float]]:
    """A replicate that nothing came back of."""
    lost = {
        engine: Outcome(Replicate.failed(plan.model, engine, plan.settings, error), math.inf, False, 0.0)
        for engine in plan.engines
    }
    return number, (lost, math.nan)


def _computed(
    plan: _Plan, replicates: int, scheduler: str | None, workers: int | None
) -> Iterator[tuple[int, tuple[dict[str, Outcome], float]]]:
    """Every replicate with its number, as they come."""
    if workers == 0 and not scheduler:
        for number in range(replicates):
            yield from _batch(plan, [number])
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


def _same(plan: _Plan) -> _Plan:
    return plan


@contextmanager
def _bar(total: int, title: str, wanted: bool) -> Iterator[Any]:
    """A bar on stderr, in a terminal or in a notebook that has a front end; gone when it is done.

    A notebook that a program executes is to be read later: there a bar would only be left as output.
    """
    kernel = "ipykernel" in sys.modules and hasattr(_shell(), "kernel")
    watched = (
        bool(os.environ.get("JPY_SESSION_NAME") or os.environ.get("VSCODE_PID")) if kernel else sys.stderr.isatty()
    )
    shown = wanted and watched
    with tqdm(
        total=total, desc=title, unit="replicate", dynamic_ncols=not kernel, leave=False, disable=not shown
    ) as bar:
        yield bar.update
    if shown and kernel:
        from IPython.display import clear_output

        clear_output()


def _shell() -> Any:
    from IPython import get_ipython

    return get_ipython()
