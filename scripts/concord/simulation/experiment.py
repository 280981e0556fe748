"""Replicates of a case: a response drawn, refitted by every engine, judged, and written as rows.

A study and a bootstrap are made of these rows. This module runs in one process and knows nothing of others: responses
are drawn from a `Case`, an `Experiment` holds the engines ready, and `compute` makes the rows of some replicates. Every
replicate has a seed of its own, and every fit begins where the engine always begins, so that a row depends on its
replicate's number alone.
"""

from __future__ import annotations

import math
import pickle
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import special

from concord import versions
from concord.agreement.measures import Judge, doubted, undefined, unexplained
from concord.agreement.tolerances import allowed_gap
from concord.agreement.verdict import Facts, Gone, decide, grade
from concord.engines.engine import CannotExpress, EngineError, deciding, engines, load_r, title
from concord.engines.replicate import Replicate, likelihood_of
from concord.inference.curvature import Curvature
from concord.likelihood.likelihood import Likelihood
from concord.likelihood.newton import STATIONARY
from concord.likelihood.optimum import Optimum
from concord.models.design import Design
from concord.models.model import Model
from concord.models.parameters import names
from concord.simulation.case import Case
from concord.simulation.parts import OPTIMUM, Identity, encode
from concord.simulation.refitter import Refitter, best_known, refitting
from concord.vocabulary import CANNOT_EXPRESS, IMPRECISE, INDEPENDENT, SETTINGS, SHORT, UNJUDGED

LEVEL = 0.95
"""Level of the Wald intervals whose coverage is counted."""
WIDTH = float(special.ndtri(0.5 + LEVEL / 2))

# So many cases a process keeps ready, with R's fits of them: a grid may have thousands.
KEPT = 4


def schema(design: Design) -> pa.Schema:
    """The columns of the rows: one row a replicate, engine and settings.

    ``verdict`` is that of the parties at these settings; ``gap`` is in log-likelihood units below the optimum, and
    ``short`` and ``imprecise`` say how that is graded (`concord.agreement.verdict`); ``alarmed``, whether the engine
    doubted its convergence; ``own``, whether the log-likelihood that it states is that of its own estimates; ``error``,
    why there are no estimates; ``seconds`` is wall time of the fit, and in the optimum's row of all that judging takes;
    ``added``, the time beyond it that handing over a response and reading the estimates takes. ``estimate: name`` and,
    for fixed effects, ``std_error: name`` and ``covers: name`` (whether the Wald interval holds the true value) follow.
    """
    text, number, yes = pa.string(), pa.float64(), pa.bool_()
    named = [("case", text), ("replicate", pa.int64()), ("engine", text), ("settings", text), ("verdict", text)]
    named += [("loglik", number), ("gap", number), ("short", yes), ("imprecise", yes), ("converged", yes)]
    named += [("alarmed", yes), ("own", yes), ("seconds", number), ("added", number), ("error", text)]
    named += [("messages", pa.list_(pa.field("element", text)))]  # as Parquet calls it
    named += [(f"estimate: {name}", number) for name in names(design)]
    named += [(f"std_error: {name}", number) for name in design.names]
    named += [(f"covers: {name}", yes) for name in design.names]
    return pa.schema(named)


class Experiment:
    """A case with its engines held ready, to be fitted to one drawn response after the other.

    Parameters
    ----------
    case : the model and its true parameters
    seed : of all its draws
    pairs : engines and settings: ``("lme4", "default")``
    thorough : see `Refitter`
    """

    def __init__(self, case: Case, seed: int, pairs: Sequence[tuple[str, str]], thorough: bool = True) -> None:
        self.case, self.seed, self.pairs = case, seed, tuple(pairs)
        self.schema = schema(case.model.design)
        self.refitters = {pair: self._refitter(pair, thorough) for pair in self.pairs}
        design = case.model.design
        self._fixed = [f"{kind}: {name}" for kind in ("estimate", "std_error", "covers") for name in design.names]
        self._random = [f"estimate: {name}" for name in names(design)[len(design.names) :]]

    def _refitter(self, pair: tuple[str, str], thorough: bool) -> Refitter | Replicate | str:
        """An engine held ready; or a failed fit, where it cannot be; or why it cannot express the model."""
        try:
            return Refitter(self.case.model, *pair, thorough=thorough)
        except CannotExpress as error:
            return str(error)
        except EngineError as error:
            return Replicate.failed(self.case.model, *pair, str(error))

    def response(self, replicate: int) -> np.ndarray:
        """The response of the replicate with this number, shape (n,)."""
        return self.case.response(self.seed, replicate)

    def replicate(self, number: int) -> list[dict[str, Any]]:
        """The rows of one replicate: one of the optimum, and one an engine and settings."""
        response = self.response(number)
        started = time.perf_counter()
        likelihood = likelihood_of(self.case.model, response)
        seconds = time.perf_counter() - started
        fits: dict[tuple[str, str], Replicate | str] = {}
        added = dict.fromkeys(self.pairs, 0.0)
        for pair, refitter in self.refitters.items():
            if not isinstance(refitter, Refitter):
                fits[pair] = refitter
                continue
            started = time.perf_counter()
            fits[pair] = fit = refitter.refit(response, likelihood)
            added[pair] = time.perf_counter() - started - fit.seconds
        started = time.perf_counter()
        optimum = best_known(likelihood, [fit for fit in fits.values() if isinstance(fit, Replicate)])
        rulings = {
            settings: rule(
                self.case.model,
                likelihood,
                optimum,
                settings,
                {engine: fits[engine, kind] for engine, kind in self.pairs if kind == settings},
            )
            for settings in dict.fromkeys(kind for _, kind in self.pairs)
        }
        seconds += time.perf_counter() - started
        return [
            self._optimum_row(number, optimum, seconds),
            *(self._row(number, pair, fit, rulings[pair[1]], added[pair]) for pair, fit in fits.items()),
        ]

    def _optimum_row(self, number: int, optimum: Optimum | None, seconds: float) -> dict[str, object]:
        row = self._empty(number, (INDEPENDENT, OPTIMUM)) | {"seconds": seconds, "added": 0.0}
        if optimum is None:
            return row | {"error": "no optimum was found"}
        converged = optimum.gradient < STATIONARY
        return row | self._numbers(optimum) | {"gap": 0.0, "converged": converged, "own": True}

    def _row(
        self, number: int, pair: tuple[str, str], fit: Replicate | str, ruling: Ruling, added: float
    ) -> dict[str, object]:
        judged = ruling.of[pair[0]]
        row = self._empty(number, pair) | {"verdict": ruling.word, "gap": judged.gap, "own": judged.own}
        if ruling.word != UNJUDGED:
            row |= {"short": judged.grade == SHORT, "imprecise": judged.grade == IMPRECISE}
        if isinstance(fit, str):
            return row | {"error": fit}
        row |= {"seconds": fit.seconds, "added": added, "error": fit.error, "messages": list(fit.messages)}
        if fit.error is not None:
            return row
        doubt = doubted(fit.converged, fit.messages)
        return row | self._numbers(fit) | {"converged": fit.converged, "alarmed": doubt}

    def _empty(self, number: int, pair: tuple[str, str]) -> dict[str, object]:
        known = {"case": self.case.name, "replicate": number, "engine": pair[0], "settings": pair[1]}
        return dict.fromkeys(self.schema.names) | known

    def _numbers(self, fit: Replicate | Optimum) -> dict[str, object]:
        covers = np.abs(fit.fixed - self.case.parameters.fixed) <= WIDTH * fit.std_error
        known = [bool(flag) if np.isfinite(e) else None for flag, e in zip(covers, fit.std_error, strict=True)]
        packed = fit.parameters.packed.tolist()
        values = [*fit.fixed.tolist(), *fit.std_error.tolist(), *known, *packed[len(fit.fixed) :]]
        named = zip([*self._fixed, *self._random], values, strict=True)
        return {"loglik": float(fit.loglik), **dict(named)}


# Verdicts --------------------------------------------------------------------------------------------------------


class Judged(NamedTuple):
    """One engine's fit of a response, judged.

    Attributes
    ----------
    gap : log-likelihood units below the optimum; inf where there is no fit, NaN where there is no optimum
    grade : ``short``, ``imprecise`` or empty
    own : whether the log-likelihood that it states is that of its own estimates
    """

    gap: float
    grade: str = ""
    own: bool = False


@dataclass(frozen=True)
class Ruling:
    """The verdict on one response's fits at one of the settings, and the judgement of every engine's."""

    word: str
    of: dict[str, Judged]


def rule(
    model: Model, likelihood: Likelihood, optimum: Optimum | None, settings: str, fits: Mapping[str, Replicate | str]
) -> Ruling:
    """The verdict on engines' fits of one response, by the same facts as `concord.agreement.comparison.Comparison`.

    Parameters
    ----------
    model : whose tolerances hold
    likelihood, optimum : of the drawn response; no optimum: nothing can be judged
    settings : ``default`` or ``tuned``
    fits : every engine's fit, or the reason why it can have none
    """
    if optimum is None:
        return Ruling(UNJUDGED, dict.fromkeys(fits, Judged(math.nan)))
    point = optimum.parameters
    judge = Judge(model, Curvature(likelihood, point, likelihood.loglik(point)), allowed_gap(settings, model))
    gone = [Gone(title(engine), engine, CANNOT_EXPRESS, fit) for engine, fit in fits.items() if isinstance(fit, str)]
    replicates = {engine: fit for engine, fit in fits.items() if isinstance(fit, Replicate)}
    gone += [Gone(title(engine), engine, "failed", fit.error or "") for engine, fit in replicates.items() if fit.absent]
    measured = [judge.measure(fit.as_fit(model)) for fit in replicates.values() if not fit.absent]
    facts = [judge.fact(measure, title(measure.fit.engine)) for measure in measured]
    judged = dict.fromkeys(fits, Judged(math.inf))
    for fact, measure in zip(facts, measured, strict=True):
        own = measure.stated is not None and measure.stated.loglik_holds
        judged[fact.engine] = Judged(fact.gap, grade(fact, judge.allowed), own)
    decides = deciding(fits)
    facts = [fact for fact in facts if fact.engine in decides]
    measured = [measure for measure in measured if measure.fit.engine in decides]
    gone = [absence for absence in gone if absence.engine in decides]
    every_fact = Facts(facts, gone, judge.allowed, boundary=optimum.parameters.singular(model.design))
    if measured and not gone and all(judged[fact.engine].grade != SHORT for fact in facts):
        beyond = [str(place) for place in np.flatnonzero(unexplained(judge, measured))]
        every_fact = replace(every_fact, beyond=[*beyond, *map(str, np.flatnonzero(undefined(measured)))])
    return Ruling(decide(every_fact).word, judged)


# In a worker -----------------------------------------------------------------------------------------------------

_ready: OrderedDict[tuple[object, ...], Experiment] = OrderedDict()
# R is one interpreter: a worker that has several threads must not enter it twice.
_alone = threading.Lock()


class Failure(str):
    """Why some replicates could not be computed, in the place of their rows."""


def compute(
    content: bytes, digest: str, seed: int, pairs: Sequence[tuple[str, str]], thorough: bool, first: int, stop: int
) -> tuple[bytes, float, dict[str, str]] | Failure:
    """The rows of the replicates from `first` up to and without `stop`.

    Parameters
    ----------
    content, digest : of the case
    seed, pairs, thorough : see `Experiment`, which is made once a process and case

    Returns
    -------
    a part (see `concord.simulation.parts`), the seconds that a replicate took, without the making of the experiment,
    and the versions of the software; or a `Failure`: not every exception survives the way to another process
    """
    try:
        with _alone:
            return _computed(content, (digest, seed, tuple(pairs), thorough), first, stop)
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}")


def _computed(
    content: bytes, key: tuple[str, int, tuple[tuple[str, str], ...], bool], first: int, stop: int
) -> tuple[bytes, float, dict[str, str]]:
    used = made_with()
    digest, seed, pairs, thorough = key
    if key not in _ready:
        _ready[key] = Experiment(pickle.loads(content), seed, pairs, thorough)
        while len(_ready) > KEPT:
            _ready.popitem(last=False)
    _ready.move_to_end(key)
    experiment = _ready[key]
    started = time.perf_counter()
    rows = [row for number in range(first, stop) for row in experiment.replicate(number)]
    seconds = (time.perf_counter() - started) / (stop - first)
    fits = tuple(f"{engine} {settings}" for engine, settings in pairs)
    identity = Identity(experiment.case.name, digest, seed, fits, thorough, LEVEL, used, first, stop)
    return encode(rows, identity, experiment.schema), seconds, used


@cache
def made_with() -> dict[str, str]:
    """The versions of what rows depend on, by name.

    Raises
    ------
    RError : R or lme4 is missing
    """
    with warnings.catch_warnings():
        # Dask's tasks run in a thread of their own, and rpy2 says that R cannot be interrupted there: it need not be
        warnings.simplefilter("ignore", UserWarning)
        load_r()
        fitting = [engines()[name] for name in refitting()]
        return versions.collect(in_r=[name for engine in fitting if engine.language == "R" for name in engine.packages])


def unchanged(content: bytes) -> bytes:
    """In a worker: what it is given, kept there as the result of a task."""
    return content


def table(case: Case, seed: int, pairs: Sequence[tuple[str, str]], numbers: Sequence[int]) -> pd.DataFrame:
    """The rows of some replicates as a table, in this process."""
    experiment = Experiment(case, seed, pairs)
    rows = [row for number in numbers for row in experiment.replicate(number)]
    return pa.Table.from_pylist(rows, schema=experiment.schema).to_pandas()


def pairs(settings: Sequence[str] = SETTINGS) -> tuple[tuple[str, str], ...]:
    """Every engine at each of the settings."""
    return tuple((engine, kind) for kind in settings for engine in refitting())
