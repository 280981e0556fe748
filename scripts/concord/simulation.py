"""Simulation: responses drawn from known parameters, fitted by both engines, judged, and written as rows.

What is here runs in one process and knows nothing of others: a `Case` is what is drawn from, an `Experiment` holds its
engines ready, and `compute` makes the rows of some replicates. Every replicate has a seed of its own, and every fit
begins where the engine always begins, so that a row depends on its replicate's number alone.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import platform
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import version

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import special

from concord import r, reference
from concord.agreement import STATED, allowed_gap, tolerance
from concord.engines.best import SAME
from concord.fits import SETTINGS, tidy
from concord.formulas import CannotExpress, Design
from concord.judgement import ALARMS
from concord.likelihood import Likelihood, LikelihoodError, Optimum
from concord.models import Model
from concord.parts import INDEPENDENT, OPTIMUM, Identity, encode
from concord.reference import ZERO
from concord.replicates import Refitter, Replicate, columns, draw, gap, likelihood_of
from concord.versions import PYTHON_PACKAGES

ENGINES = ("mixedlm", "lme4")
LANGUAGE = {"mixedlm": "python", "lme4": "r"}
LEVEL = 0.95
"""Level of the Wald intervals whose coverage is counted."""
WIDTH = float(special.ndtri(0.5 + LEVEL / 2))

# So many cases a process keeps ready, with R's fits of them: a grid may have thousands.
KEPT = 4
UNJUDGED = "not judged"
"""In the place of a verdict where the independent likelihood has no optimum for a drawn response."""


@dataclass(frozen=True, eq=False)
class Case:
    """What responses are drawn from.

    Attributes
    ----------
    name : what its rows are called by; plain enough for the name of a file
    model : the formula on a table; its own response plays no part
    fixed : true fixed effects, shape (p,)
    covariances : true covariance matrices, one a random term, shape (q, q)
    residual_variance : true variance of the residuals
    factors : of a scenario, what it is made from
    origin : the case whose responses are drawn in the place of its own: the same model with its predictors in another
        unit or from another zero, which has the same distribution and, drawn anew, other numbers
    """

    name: str
    model: Model
    fixed: np.ndarray
    covariances: tuple[np.ndarray, ...]
    residual_variance: float
    factors: Mapping[str, float] = field(default_factory=dict)
    origin: Case | None = None

    @classmethod
    def of(cls, model: Model) -> Case:
        """A model of the workbook at its optimum, which is then the truth.

        Raises
        ------
        LikelihoodError, ReferenceError : it has none
        """
        fixed, covariances, residual_variance = reference.parameters(reference.of(model).estimates, model.design)
        return cls(f"{model.id}-{model.method}", model, fixed, tuple(covariances), residual_variance)

    @cached_property
    def truth(self) -> dict[str, float]:
        """The true value of every parameter, by its name, in the order of a fit's estimates."""
        values = flat(self.model.design, self.fixed, self.covariances, self.residual_variance)
        return dict(zip(parameters(self.model.design), values.tolist(), strict=True))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the model's numbers and of the truth: two cases with the same one give the same rows."""
        design = self.model.design
        made = hashlib.sha256(repr((self.model.record.formula, self.model.method, self.truth)).encode())
        columns = [design.X, *(each for term in design.terms for each in (term.matrix, term.codes))]
        for column in [*columns, *([] if design.offset is None else [design.offset])]:
            made.update(repr(column.shape).encode() + np.ascontiguousarray(column, float).tobytes())
        if self.origin is not None:
            made.update(self.origin.digest.encode())
        return made.hexdigest()

    @cached_property
    def content(self) -> bytes:
        """The case as it goes out to a worker: everything it needs, formula and design taken apart already."""
        for each in (self, self.origin):
            assert each is None or len(each.model.design.y)
        return pickle.dumps(self)


def parameters(design: Design) -> list[str]:
    """Names of the parameters in the order of a fit's estimates: ``Days``, ``Subject var__Days``, ..."""
    named = columns(design)
    return [" ".join(filter(None, pair)) for pair in zip(named["group"], named["term"], strict=True)]


def flat(design: Design, fixed: np.ndarray, covariances: Sequence[np.ndarray], residual_variance: float) -> np.ndarray:
    """Parameters as one vector, in the order of `parameters`."""
    return tidy(design, fixed, np.full(len(fixed), np.nan), covariances, residual_variance)["estimate"].to_numpy()


def schema(design: Design) -> pa.Schema:
    """The columns of the rows: one row a replicate, engine and settings.

    ``verdict`` is that of both engines at these settings; ``gap`` is in log-likelihood units below the optimum, and
    ``short`` says whether that is more than the tolerance; ``alarmed``, whether the engine doubted its convergence;
    ``error``, why there are no estimates; ``seconds`` is wall time of the fit, and in the optimum's row of all that
    judging takes. ``estimate: name`` and, for fixed effects, ``std_error: name`` and ``covers: name`` (whether the
    Wald interval holds the true value) follow.
    """
    named = [
        ("case", pa.string()), ("replicate", pa.int64()), ("engine", pa.string()), ("settings", pa.string()),
        ("verdict", pa.string()), ("loglik", pa.float64()), ("gap", pa.float64()), ("short", pa.bool_()),
        ("converged", pa.bool_()), ("alarmed", pa.bool_()), ("seconds", pa.float64()), ("error", pa.string()),
        ("messages", pa.string()),
    ]  # fmt: skip
    named += [(f"estimate: {name}", pa.float64()) for name in parameters(design)]
    named += [(f"std_error: {name}", pa.float64()) for name in design.names]
    named += [(f"covers: {name}", pa.bool_()) for name in design.names]
    return pa.schema(named)


class Experiment:
    """A case with its engines held ready, to be fitted to one drawn response after the other.

    Parameters
    ----------
    case : what is drawn from
    seed : of all its draws
    pairs : engines and settings: ``("lme4", "default")``
    """

    def __init__(self, case: Case, seed: int, pairs: Sequence[tuple[str, str]]) -> None:
        self.case, self.seed, self.pairs = case, seed, tuple(pairs)
        self.schema = schema(case.model.design)
        self.refitters: dict[tuple[str, str], Refitter | str] = {}
        for pair in self.pairs:
            try:
                self.refitters[pair] = Refitter(case.model, *pair, thorough=True)
            except CannotExpress as error:
                self.refitters[pair] = str(error)
        design = case.model.design
        names = parameters(design)
        self._fixed = [f"{kind}: {name}" for kind in ("estimate", "std_error", "covers") for name in design.names]
        self._random = [f"estimate: {name}" for name in names[len(design.names) :]]
        self._places = _places(design)
        self._allowed = {settings: allowed_gap(settings, case.model) for _, settings in self.pairs}

    def response(self, replicate: int) -> np.ndarray:
        """The response of the replicate with this number, shape (n,)."""
        case = self.case.origin or self.case
        return draw(case.model.design, case.fixed, case.covariances, case.residual_variance, self.seed, replicate)

    def replicate(self, number: int) -> list[dict[str, object]]:
        """The rows of one replicate: one of the optimum, and one an engine and settings."""
        response = self.response(number)
        started = time.perf_counter()
        likelihood = likelihood_of(self.case.model, response)
        seconds = time.perf_counter() - started
        fits = {
            pair: refitter.refit(response, likelihood) if isinstance(refitter, Refitter) else refitter
            for pair, refitter in self.refitters.items()
        }
        started = time.perf_counter()
        optimum = best_known(likelihood, [fit for fit in fits.values() if isinstance(fit, Replicate)])
        gaps = {pair: _gap(fit, likelihood, optimum) for pair, fit in fits.items()}
        seconds += time.perf_counter() - started
        verdicts = {
            settings: verdict(
                self.case.model, likelihood, optimum, settings,
                {engine: (fits[engine, kind], gaps[engine, kind]) for engine, kind in self.pairs if kind == settings},
            )
            for settings in dict.fromkeys(kind for _, kind in self.pairs)
        }  # fmt: skip
        rows = [self._row(number, (INDEPENDENT, OPTIMUM), optimum, seconds)]
        for pair, fit in fits.items():
            row = self._row(number, pair, fit, fit.seconds if isinstance(fit, Replicate) else None)
            row["verdict"], row["gap"] = verdicts[pair[1]], gaps[pair]
            if optimum is not None:
                row["short"] = not gaps[pair] <= self._allowed[pair[1]]
            rows.append(row)
        return rows

    def _row(
        self, number: int, pair: tuple[str, str], fit: Replicate | Optimum | str | None, seconds: float | None
    ) -> dict[str, object]:
        row: dict[str, object] = dict.fromkeys(self.schema.names)
        row.update(case=self.case.name, replicate=number, engine=pair[0], settings=pair[1], seconds=seconds)
        if isinstance(fit, Replicate):
            row.update(error=fit.error, messages="\n".join(fit.messages) or None)
            row["converged"] = fit.converged if fit.error is None else None
            row["alarmed"] = alarmed(fit) if fit.error is None else None
        elif isinstance(fit, str):
            row["error"] = fit
        if fit is None:
            row["error"] = "no optimum was found"
        if fit is None or isinstance(fit, str) or getattr(fit, "error", None) is not None:
            return row
        row["loglik"] = float(fit.loglik)
        if isinstance(fit, Optimum):
            row["gap"] = 0.0
        covers = np.abs(fit.fixed - self.case.fixed) <= WIDTH * fit.std_error
        known = [bool(flag) if np.isfinite(e) else None for flag, e in zip(covers, fit.std_error, strict=True)]
        row.update(zip(self._fixed, [*fit.fixed.tolist(), *fit.std_error.tolist(), *known], strict=True))
        random = [*(float(fit.covariances[t][i, j]) for t, i, j in self._places), float(fit.residual_variance)]
        row.update(zip(self._random, random, strict=True))
        return row


def _places(design: Design) -> list[tuple[int, int, int]]:
    """Where the variances and covariances stand: term, row and column, in the order of a fit's estimates."""
    places = []
    for number, term in enumerate(design.terms):
        q = len(term.names)
        places += [(number, i, i) for i in range(q)]
        places += [(number, i, j) for j in range(q) for i in range(j)]
    return places


def alarmed(fit: Replicate) -> bool:
    """Whether an engine doubted its convergence: it says that it has not converged, or warns of it."""
    return doubted(fit.converged, fit.messages)


def doubted(converged: bool, messages: Sequence[str]) -> bool:
    """Whether there is a word of doubt about convergence.

    That estimates lie on the boundary (lme4's "boundary (singular) fit", MixedLM's "The MLE may be on the boundary of
    the parameter space" and "Random effects covariance is singular") is none: it says where a fit stopped and not
    whether that is the optimum, and is true of many an optimum. A singular Hessian is one.
    """
    return not converged or any(_doubt(message.lower()) for message in messages)


def _doubt(message: str) -> bool:
    # First of all: MixedLM gives its note as a ConvergenceWarning, whose name is a word of ALARMS.
    note = "boundary" in message or ("covariance" in message and "singular" in message)
    return not note and any(word in message for word in ALARMS)


def best_known(likelihood: Likelihood, fits: Sequence[Replicate]) -> Optimum | None:
    """The best optimum that is known of a response; None where there is none.

    That is the one that the independent likelihood finds, unless an engine's fit lies above it: then a search goes on
    from there.
    """
    try:
        best: Optimum | None = likelihood.optimum()
    except (LikelihoodError, np.linalg.LinAlgError):
        best = None
    for fit in fits:
        if fit.finite and (best is None or gap(fit, likelihood, best) < -SAME):
            with suppress(LikelihoodError, np.linalg.LinAlgError):
                found = likelihood.optimum([likelihood.theta_at(fit.covariances, fit.residual_variance)])
                best = found if best is None or found.loglik > best.loglik else best
    return best


def _gap(fit: Replicate | str, likelihood: Likelihood, optimum: Optimum | None) -> float:
    """As `concord.replicates.gap`; inf where there is no fit, NaN where there is no optimum."""
    if optimum is None:
        return math.nan
    return math.inf if isinstance(fit, str) else gap(fit, likelihood, optimum)


# Verdicts --------------------------------------------------------------------------------------------------------


def verdict(
    model: Model,
    likelihood: Likelihood,
    optimum: Optimum | None,
    settings: str,
    fits: Mapping[str, tuple[Replicate | str, float]],
) -> str:
    """What `concord.agreement.Comparison` says of two engines' fits, from numbers alone.

    Parameters
    ----------
    model : whose tolerances hold
    likelihood, optimum : of the drawn response; no optimum: nothing can be judged
    settings : ``default`` or ``tuned``
    fits : every engine's fit, or the reason why it can have none, with its gap

    Returns
    -------
    ``agree``, ``python short``, ``r short``, ``both short``, ``differ``, ``cannot express``, or `UNJUDGED`
    """
    if optimum is None:
        return UNJUDGED
    if any(isinstance(fit, str) for fit, _ in fits.values()):
        return "cannot express"
    allowed = allowed_gap(settings, model)
    short = [engine for engine, (_, gap) in fits.items() if not gap <= allowed]
    if short:
        return "both short" if len(short) > 1 else f"{LANGUAGE[short[0]]} short"
    for fit, below in fits.values():
        if below < -allowed or not abs(fit.loglik - (optimum.loglik - below)) <= STATED:
            return "differ"
    if len(fits) < 2:
        return "agree"
    one, other = (fit for fit, _ in fits.values())
    return "agree" if _same(model, likelihood, optimum, settings, one, other) else "differ"


def _same(
    model: Model, likelihood: Likelihood, optimum: Optimum, settings: str, one: Replicate, other: Replicate
) -> bool:
    """Whether two fits at the optimum are within tolerance in every quantity."""

    def within(kind: str, a: np.ndarray, b: np.ndarray, scale: np.ndarray) -> np.ndarray:
        allowed = tolerance(kind, settings, model)
        return np.abs(a - b) <= allowed.atol + allowed.rtol * scale

    errors = np.minimum(one.std_error, other.std_error)
    if not within("fixed", one.fixed, other.fixed, errors).all():
        return False
    stated = within("std_error", one.std_error, other.std_error, errors)
    if not stated.all() and not _by_definition(model, likelihood, settings, (one, other))[~stated].all():
        return False
    residual = min(one.residual_variance, other.residual_variance)
    if not within("variance", one.residual_variance, other.residual_variance, residual):
        return False
    boundary = singular(model.design, optimum.covariances, optimum.residual_variance)
    for term, a, b in zip(model.design.terms, one.covariances, other.covariances, strict=True):
        size = np.sqrt(np.mean(term.matrix**2, axis=0))
        deviations = [np.sqrt(np.maximum(np.diag(each), 0.0)) for each in (a, b)]
        scale = np.minimum(*(np.outer(each, each) for each in deviations))
        if boundary:
            # A variance of zero has no size of its own: measure it by what it would add to the residual variance.
            scale = np.maximum(np.minimum(np.abs(a), np.abs(b)), residual / np.outer(size, size))
        diagonal = np.eye(len(size), dtype=bool)
        same = np.where(diagonal, within("variance", a, b, scale), within("covariance", a, b, scale))
        if not same.all():
            return False
    return True


def _by_definition(
    model: Model, likelihood: Likelihood, settings: str, fits: tuple[Replicate, Replicate]
) -> np.ndarray:
    """Where standard errors differ only because MixedLM inverts the joint Hessian, and lme4 holds theta; shape (p,)."""
    allowed = tolerance("std_error", settings, model)
    own = [likelihood.std_error(fit.covariances, fit.residual_variance) for fit in fits]
    holds = np.ones(len(own[0]), bool)
    for fit, each in zip(fits, own, strict=True):
        limit = allowed.atol + allowed.rtol * each
        joint = (each - limit <= fit.std_error) & (fit.std_error <= 1.1 * each)
        holds &= joint if fit.engine == "mixedlm" else np.abs(fit.std_error - each) <= limit
    return holds & (np.abs(own[0] - own[1]) <= allowed.atol + allowed.rtol * np.minimum(*own))


def singular(design: Design, covariances: Sequence[np.ndarray], residual_variance: float) -> bool:
    """Whether a variance is zero, or a covariance matrix singular."""
    for term, covariance in zip(design.terms, covariances, strict=True):
        share = np.diag(covariance) * np.mean(term.matrix**2, axis=0) / residual_variance
        if share.min() <= ZERO:
            return True
        deviation = np.sqrt(np.diag(covariance))
        if np.linalg.eigvalsh(covariance / np.outer(deviation, deviation)).min() <= ZERO:
            return True
    return False


# In a worker -----------------------------------------------------------------------------------------------------

_ready: OrderedDict[tuple[str, int, tuple[tuple[str, str], ...]], Experiment] = OrderedDict()
# R is one interpreter: a worker that has several threads must not enter it twice.
_alone = threading.Lock()


class Failure(str):
    """Why some replicates could not be computed, in the place of their rows."""


def compute(
    content: bytes, digest: str, seed: int, pairs: Sequence[tuple[str, str]], first: int, stop: int
) -> tuple[bytes, float, dict[str, str]] | Failure:
    """The rows of the replicates from `first` up to and without `stop`.

    Parameters
    ----------
    content, digest : of the case
    seed, pairs : see `Experiment`, which is made once a process and case

    Returns
    -------
    a part (see `concord.parts`), the seconds that a replicate took, the making of the experiment left out, and the
    versions of all that made them; or a `Failure`: not every exception survives the way to another process
    """
    try:
        return _computed(content, digest, seed, pairs, first, stop)
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}")


def _computed(
    content: bytes, digest: str, seed: int, pairs: Sequence[tuple[str, str]], first: int, stop: int
) -> tuple[bytes, float, dict[str, str]]:
    with _alone:
        used = made_with()
        key = (digest, seed, tuple(pairs))
        if key not in _ready:
            _ready[key] = Experiment(pickle.loads(content), seed, pairs)
            while len(_ready) > KEPT:
                _ready.popitem(last=False)
        _ready.move_to_end(key)
        experiment = _ready[key]
        started = time.perf_counter()
        rows = [row for number in range(first, stop) for row in experiment.replicate(number)]
        seconds = (time.perf_counter() - started) / (stop - first)
        fits = tuple(f"{engine} {settings}" for engine, settings in pairs)
        identity = Identity(experiment.case.name, digest, seed, fits, LEVEL, used, first, stop)
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
        r.package("lme4")
    found = {"Python": platform.python_version(), **{name: version(name) for name in PYTHON_PACKAGES}}
    found["R"] = ".".join(r.from_r(r.call("getRversion"))[0].astype(str))
    return found | {name: r.from_r(r.call("getNamespaceVersion", name))[0] for name in ("lme4", "Matrix")}


def unchanged(content: bytes) -> bytes:
    """In a worker: what it is given, kept there as the result of a task."""
    return content


def table(case: Case, seed: int, pairs: Sequence[tuple[str, str]], numbers: Sequence[int]) -> pd.DataFrame:
    """The rows of some replicates as a table, in this process."""
    experiment = Experiment(case, seed, pairs)
    made = [row for number in numbers for row in experiment.replicate(number)]
    return pa.Table.from_pylist(made, schema=experiment.schema).to_pandas()


def pairs(settings: Sequence[str] = SETTINGS) -> tuple[tuple[str, str], ...]:
    """Both engines at each of the settings."""
    return tuple((engine, kind) for kind in settings for engine in ENGINES)
