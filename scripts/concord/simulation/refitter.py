"""Replicates: one model, many responses. Responses drawn from it, and the model fitted to each by every engine.

What does not depend on the response is made once: the parsed formula, the columns, the way from an engine's coding to
the model's. A replicate's estimates are read straight from the package's own result, without the record that a `Fit`
is, so that little is added to the time that the engines themselves take.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.engines.engine import EngineError
from concord.engines.fit import Fit
from concord.engines.lme4 import engine as lme4
from concord.engines.statsmodels import engine as mixedlm
from concord.engines.statsmodels.formula import for_mixedlm
from concord.engines.tuning import SAME
from concord.likelihood.likelihood import Likelihood, LikelihoodError, Optimum
from concord.likelihood.newton import STATIONARY
from concord.models.coding import between, same_groups, shift
from concord.models.design import Design
from concord.models.formula import expression
from concord.models.model import Model
from concord.models.parameters import INDEFINITE, KEY, tidy
from concord.vocabulary import SETTINGS

ENGINES = ("mixedlm", "lme4", "independent")
# lme4's optimizers with tight tolerances, one after the other until one stands still: its default one comes first.
TIGHT = ("nloptwrap", "bobyqa", "nlminbwrap", "Nelder_Mead")

# A relative factor's diagonal below this, in whitened coordinates, is looked at beyond its slope.
SINGULAR = 1e-3
# A second derivative above minus this is no descent: rounding, or a direction that does not matter at all.
FLAT = 1e-2

_R = Path(__file__).with_suffix(".R")


def draw(
    design: Design,
    fixed: np.ndarray,
    covariances: Sequence[np.ndarray],
    residual_variance: float,
    seed: int,
    replicate: int,
) -> np.ndarray:
    """A response drawn from a model, shape (n,): X b + sum of Z_t u_t + e, with the model's offset where it has one.

    Every replicate has a stream of random numbers of its own, so that it does not depend on which others are drawn,
    where, and in which order. Random effects are standard normal numbers times the symmetric root of the covariance
    matrix: the root is unique, also of a singular matrix, where the signs of eigenvectors are the library's choice.

    Parameters
    ----------
    design : the model in numbers
    fixed : fixed effects, shape (p,)
    covariances : one covariance matrix a random term, shape (q, q)
    residual_variance : variance of the residuals
    seed : of all replicates
    replicate : which of them, counted from 0

    Raises
    ------
    ValueError : one of the matrices is no covariance matrix, or the residual variance is negative
    """
    if not 0 <= residual_variance < math.inf:
        raise ValueError(f"a residual variance of {residual_variance:g} is none")
    stream = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(replicate,)))
    response = design.X @ fixed
    for term, covariance in zip(design.terms, covariances, strict=True):
        effects = stream.standard_normal((len(term.levels), len(term.names))) @ symmetric_root(covariance)
        response = response + np.einsum("ij,ij->i", term.matrix, effects[term.codes])
    response = response + math.sqrt(residual_variance) * stream.standard_normal(len(response))
    return response if design.offset is None else response + design.offset


def symmetric_root(covariance: np.ndarray) -> np.ndarray:
    """A matrix whose square is, as correlations, the covariance matrix's: S with S'S the matrix, shape (q, q).

    Raises
    ------
    ValueError : it is no covariance matrix
    """
    covariance = np.asarray(covariance, float)
    if not np.isfinite(covariance).all():
        raise ValueError("a covariance matrix is not finite")
    # As correlations first, so that rounding is told from an indefinite matrix whatever the effects' units.
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    unit = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(unit, unit))
    if values.min(initial=0.0) < -INDEFINITE:
        raise ValueError("not a covariance matrix: it has a negative eigenvalue")
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T * unit


@dataclass(frozen=True, eq=False)
class Replicate:
    """One engine's fit of a model to one response.

    Attributes
    ----------
    engine : ``mixedlm``, ``lme4`` or ``independent``
    settings : ``default`` or ``tuned``
    loglik : log-likelihood as the engine states it, for the model's own coding of X (the REML one under REML)
    fixed, std_error : fixed effects and their standard errors as the engine states them, shape (p,): conditional on
        theta in lme4 and the independent likelihood, from the joint Hessian in MixedLM
    covariances : for every random term its covariance matrix, shape (q, q)
    residual_variance : variance of the residuals
    converged : what the engine claims
    seconds : wall time of the package's own work
    error : why there are no estimates, or how they leave the model; None where all is well
    messages : everything that the engine said
    """

    engine: str
    settings: str
    loglik: float
    fixed: np.ndarray
    std_error: np.ndarray
    covariances: tuple[np.ndarray, ...]
    residual_variance: float
    converged: bool
    seconds: float
    error: str | None = None
    messages: tuple[str, ...] = ()

    @classmethod
    def failed(
        cls,
        model: Model,
        engine: str,
        settings: str,
        error: str,
        seconds: float = math.nan,
        messages: Sequence[str] = (),
    ) -> Replicate:
        """A replicate of which there are no estimates, and why."""
        nothing = np.full(len(model.design.names), np.nan)
        covariances = tuple(np.full((len(term.names),) * 2, np.nan) for term in model.design.terms)
        return cls(
            engine, settings, np.nan, nothing, nothing, covariances, np.nan, False, seconds, error, tuple(messages)
        )

    @property
    def flat(self) -> np.ndarray:
        """All estimates in the order of `columns`: fixed effects, covariance parameters, residual variance."""
        parts = [self.fixed]
        for covariance in self.covariances:
            rows, columns = _pairs(len(covariance))
            parts += [np.diag(covariance), covariance[rows, columns]]
        return np.concatenate([*parts, [self.residual_variance]])

    @property
    def finite(self) -> bool:
        """Whether it has estimates, and all of them are numbers."""
        return self.error is None and bool(np.isfinite(self.flat).all() and np.isfinite(self.loglik))

    @property
    def absent(self) -> bool:
        """Whether there are no estimates at all, because the engine failed."""
        return self.error is not None and not np.isfinite(self.flat).any()

    def as_fit(self, model: Model) -> Fit:
        """The same as a `Fit` of the model, to be measured as one."""
        joint = self.std_error if self.engine == "mixedlm" else None
        return Fit(
            model,
            self.engine,
            self.settings,
            self.loglik,
            self.fixed,
            self.std_error,
            self.covariances,
            self.residual_variance,
            self.converged,
            self.messages,
            self.seconds,
            call="",
            joint_std_error=joint,
            violation=self.error,
        )


def columns(design: Design) -> pd.DataFrame:
    """What the numbers of `Replicate.flat` are: ``effect, group, term``, as in `Fit.estimates`."""
    zeros = [np.zeros((len(term.names), len(term.names))) for term in design.terms]
    nothing = np.zeros(len(design.names))
    return tidy(design, nothing, nothing, zeros, 0.0)[KEY]


def _pairs(q: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the covariances of q effects, in the order of `Fit.estimates`."""
    column, row = np.tril_indices(q, -1)
    return row, column


class Refitter:
    """A model, to be fitted by one engine to one response after the other. Made once a process.

    ``default`` means what a user's default fit of a table with that response means. In MixedLM that is a fresh model
    object, made from the arrays that the formula gave, and its ``fit``. In lme4 it is what ``lmer`` does after it has
    parsed the formula, by lme4's own modular functions, from ``lmer``'s own start; the numbers are the same to the last
    bit.

    lme4's ``refit`` is something else. It starts at the theta of the fit that it is given, does not restart from the
    boundary or look whether the boundary is better, and falls back to the default tolerances whatever the fit had. And
    in lme4 1.1-31 its REML criterion has n - 1 degrees of freedom where n - p are right, so that with other than one
    fixed effect it maximises, and states, another function: ``refit(fit)`` of the sleepstudy model has a log-likelihood
    4.16 below that of the fit. `warm` asks for ``refit`` all the same, as ``bootMer`` does.

    ``tuned`` takes one of the engine's optimizers with tight tolerances after the other, each from scratch, until one
    stands still in the independent likelihood; where none does, the best of them. (The engines' own ``tuned`` ask all.)

    Parameters
    ----------
    model : what is fitted
    engine : ``mixedlm``, ``lme4``, or ``independent``: the independent likelihood's optimum
    settings : ``default`` or ``tuned``; to ``independent`` they are the same
    warm : lme4 only: by ``refit``, from a fit of the model's own response
    starts : ``independent`` only: whitened thetas to start from, shape (m,), beside the usual ones
    thorough : MixedLM ``tuned`` only: where no gradient finds rest, as at a variance of zero, ask the slow optimizers
        without gradients too, as the engine's own ``tuned`` does; without them such a fit may stop far below

    Raises
    ------
    CannotExpress : MixedLM has no way to write the model down
    EngineError : the engine's columns are not those of the model, or the fit to start from failed
    RError : R or lme4 is missing
    """

    def __init__(
        self,
        model: Model,
        engine: str,
        settings: str = "default",
        *,
        warm: bool = False,
        starts: Sequence[np.ndarray] = (),
        thorough: bool = False,
    ) -> None:
        if engine not in ENGINES:
            raise ValueError(f"engine {engine!r}: one of {', '.join(ENGINES)}")
        if settings not in SETTINGS:
            raise ValueError(f"settings {settings!r}: one of {', '.join(SETTINGS)}")
        if warm and (engine, settings) != ("lme4", "default"):
            raise ValueError("a warm start is lme4's refit, at default settings")
        self.model, self.engine, self.settings = model, engine, settings
        if engine == "independent":
            self._ways: list[Callable[[np.ndarray], Replicate]] = [_Independent(model, settings, starts)]
        elif engine == "lme4":
            optimizers = TIGHT if settings == "tuned" else [None]
            self._ways = [_Lme4(model, settings, optimizer, warm) for optimizer in optimizers]
        else:
            options = mixedlm.GRADIENT_BASED if settings == "tuned" else {}
            first = _MixedLM(model, settings, {})
            self._ways = [first.by({"method": name, **each}) for name, each in options.items()] or [first]
            if thorough and settings == "tuned":
                # They are deaf to `free=`, which has the same model in MixedLM's other words.
                other = first if not first.free else _MixedLM(model, settings, {}, constrained=False)
                slow = mixedlm.DERIVATIVE_FREE.items()
                self._ways += [other.by({"method": name, **each}) for name, each in slow]

    def refit(self, response: np.ndarray, likelihood: Likelihood | None = None) -> Replicate:
        """The model fitted to a response. What an engine raises is in the replicate's `error`.

        Parameters
        ----------
        response : shape (n,), in the model's own response: its offset included
        likelihood : the independent likelihood of this response (`likelihood_of`), where it has been made already
        """
        if self.engine == "independent":
            return self._ways[0](response, likelihood)
        if len(self._ways) == 1:
            return self._ways[0](response)
        likelihood = likelihood or likelihood_of(self.model, response)
        tried: list[tuple[float, Replicate]] = []
        for way in self._ways:
            found = way(response)
            tried.append((_level(found, likelihood), found))
            if found.converged and _at_rest(found, likelihood):
                break
        seconds = sum(found.seconds for _, found in tried)
        top = max(level for level, _ in tried)
        # Among equals the one that stood still, which came last.
        chosen = [found for level, found in tried if level >= top - SAME or level == top][-1]
        return replace(chosen, seconds=seconds)


def likelihood_of(model: Model, response: np.ndarray) -> Likelihood:
    """The independent likelihood of a model with another response, shape (n,), its offset included.

    Raises
    ------
    LikelihoodError : it is not defined
    """
    return Likelihood(_with(model.design, response), model.reml)


def best_known(
    likelihood: Likelihood, replicates: Sequence[Replicate], starts: Sequence[np.ndarray] = ()
) -> Optimum | None:
    """The best optimum that is known of a response; None where there is none.

    That is the one that the independent likelihood finds, unless an engine's fit lies above it: then that was none, and
    a search goes on from there.

    Parameters
    ----------
    likelihood : of the response
    replicates : every engine's fit of it
    starts : whitened thetas to start from, shape (m,), beside the usual ones
    """
    best: Optimum | None = None
    with suppress(LikelihoodError, np.linalg.LinAlgError):
        best = likelihood.optimum([*likelihood.starts(), *starts] if starts else None)
    # Closer than this log-likelihoods are told apart by rounding only.
    rounding = 1e-10 * max(1.0, likelihood.n / 100)
    for each in replicates:
        if each.finite and (best is None or gap(each, likelihood, best) < -rounding):
            with suppress(LikelihoodError, np.linalg.LinAlgError):
                found = likelihood.optimum([likelihood.theta_at(each.covariances, each.residual_variance)])
                best = found if best is None or found.loglik > best.loglik else best
    return best


def gap(replicate: Replicate, likelihood: Likelihood, optimum: Optimum) -> float:
    """Log-likelihood units below the independent optimum of the response, both in the independent likelihood.

    inf where there are no estimates or they leave the model. Negative where the engine found the better optimum.

    Parameters
    ----------
    replicate : an engine's fit
    likelihood : the independent likelihood of the same response (`likelihood_of`)
    optimum : its optimum
    """
    level = likelihood.loglik(optimum.fixed, optimum.covariances, optimum.residual_variance)
    return level - _level(replicate, likelihood)


def _level(replicate: Replicate, likelihood: Likelihood) -> float:
    if not replicate.finite:
        return -math.inf
    return likelihood.loglik(replicate.fixed, replicate.covariances, replicate.residual_variance)


def _at_rest(replicate: Replicate, likelihood: Likelihood) -> bool:
    """Whether a fit stands still, and not on a saddle: at a variance of zero the slope is zero whatever lies beside."""
    if not replicate.finite:
        return False
    try:
        theta = likelihood.theta_at(replicate.covariances, replicate.residual_variance)
        if not np.abs(likelihood.criterion_and_gradient(theta)[1]).max(initial=0.0) < STATIONARY:
            return False
        diagonals = np.concatenate([np.diag(factor) for factor in likelihood.factors(theta)])
        if np.abs(diagonals).min(initial=np.inf) > SINGULAR:
            return True
        return bool(np.linalg.eigvalsh(likelihood.hessian(theta)).min(initial=0.0) > -FLAT)
    except (LikelihoodError, np.linalg.LinAlgError):
        return False


def _with(design: Design, response: np.ndarray) -> Design:
    response = np.asarray(response, float)
    return replace(design, y=response if design.offset is None else response - design.offset)


class _Independent:
    """The independent likelihood's optimum."""

    def __init__(self, model: Model, settings: str, starts: Sequence[np.ndarray]) -> None:
        self._model, self._settings, self._starts = model, settings, list(starts)

    def __call__(self, response: np.ndarray, likelihood: Likelihood | None = None) -> Replicate:
        started = time.perf_counter()
        try:
            likelihood = likelihood or likelihood_of(self._model, response)
            found = likelihood.optimum([*likelihood.starts(), *self._starts])
        except (LikelihoodError, np.linalg.LinAlgError) as error:
            seconds = time.perf_counter() - started
            return Replicate.failed(self._model, "independent", self._settings, str(error), seconds, ())
        return from_optimum(found, self._settings, time.perf_counter() - started)


def from_optimum(optimum: Optimum, settings: str = "default", seconds: float = math.nan) -> Replicate:
    """The independent likelihood's optimum as a replicate."""
    return Replicate(
        "independent",
        settings,
        optimum.loglik,
        optimum.fixed,
        optimum.std_error,
        optimum.covariances,
        optimum.residual_variance,
        optimum.gradient < STATIONARY,
        seconds,
    )


@dataclass(frozen=True, eq=False)
class _MixedLM:
    """MixedLM: a fresh object a response, from the arrays that the formula gave."""

    model: Model
    settings: str
    options: dict[str, Any]
    made: Any = None
    free: dict[str, Any] = field(default_factory=dict)
    coding: Any = None
    constrained: bool = True

    def __post_init__(self) -> None:
        if self.made is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                form = for_mixedlm(
                    self.model.formula, self.model.design, self.model.frame, constrained=self.constrained
                )
                made, free = mixedlm.unfitted(self.model, form)
            for name, value in {"made": made, "free": free, "coding": mixedlm.coding_of(made, self.model)}.items():
                object.__setattr__(self, name, value)

    def by(self, options: dict[str, Any]) -> _MixedLM:
        """The same model by other options of ``fit``."""
        return replace(self, options=options)

    def __call__(self, response: np.ndarray) -> Replicate:
        from statsmodels.regression.mixed_linear_model import MixedLM

        model, made = self.model, self.made
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                own = _with(model.design, response).y
                fresh = MixedLM(own, made.exog, made.groups, made.exog_re, made.exog_vc)
                results = fresh.fit(reml=model.reml, **self.options, **self.free)._results
                loglik = float(mixedlm.loglik(results))
                error = None
            except Exception as raised:  # MixedLM lets whatever its optimizers and its algebra raise pass through
                error = f"{type(raised).__name__}: {raised}"
        seconds = time.perf_counter() - started
        messages = tuple(dict.fromkeys(f"{each.category.__name__}: {each.message}" for each in said))
        if error:
            return Replicate.failed(model, "mixedlm", self.settings, error, seconds, messages)
        fixed, std_error = self.coding.fixed_effects(results)
        covariances, violation = self.coding.covariances(results)
        moved = shift(self.coding.fixed) if model.reml else 0.0
        return Replicate(
            "mixedlm",
            self.settings,
            loglik + moved,
            fixed,
            std_error,
            covariances,
            float(results.scale),
            bool(results.converged),
            seconds,
            violation,
            messages,
        )


class _Lme4:
    """lme4: what ``lmer`` does with a response after it has parsed the formula, or ``refit``."""

    def __init__(self, model: Model, settings: str, optimizer: str | None, warm: bool) -> None:
        self._model, self._settings = model, settings
        r.package("lme4")
        self._own, theirs = r.source(_R), r.source(Path(lme4.__file__).with_name("fit.R"))
        self._run, self._observe = self._own["run"], theirs["observe"]
        control = None if optimizer is None else r.call("[[", theirs["controls"], optimizer)
        frame = model.frame[list(model.formula.variables)]
        try:
            self._prepared = r.call(
                self._own["prepare"], expression(model.formula), model.dataset.id, frame, model.reml, control
            )
            got = r.from_r(r.call(self._own["layout"], self._prepared))
        except r.RError as error:
            raise EngineError(f"lmer stopped with {error}") from error
        design = model.design
        X = got["X"].reshape(len(design.y), -1)
        back = between(X, design.X)
        if back is None:
            raise EngineError(f"lmer's fixed effects are not a coding of {model.id}'s")
        self._back, self._shift = back, shift(back) if model.reml else 0.0
        self._triangles = [(int(q), np.triu_indices(int(q))[::-1]) for q in got["widths"]]
        self._places = self._match(got)
        self._from = None
        if warm:
            full = design.y if design.offset is None else design.y + design.offset
            try:
                self._from = r.call(self._own["fresh"], self._prepared, full)
            except r.RError as error:
                raise EngineError(f"lmer stopped with {error}") from error

    def _match(self, got: dict[str, Any]) -> list[tuple[int, np.ndarray]]:
        """For every term of the model which of lmer's it is, and the way back from its columns."""
        left, places = list(range(len(got["groups"]))), []
        for term in self._model.design.terms:
            for i in left:
                matrix = got["matrices"][i].reshape(len(term.codes), -1)
                back = between(matrix, term.matrix) if got["groups"][i] == term.group else None
                if back is not None and same_groups(got["codes"][i], term.codes):
                    places.append((i, back))
                    left.remove(i)
                    break
            else:
                raise EngineError(f"lmer has no random term ({', '.join(term.names)} | {term.group})")
        return places

    def __call__(self, response: np.ndarray) -> Replicate:
        started = time.perf_counter()
        try:
            ran = r.call(self._run, self._observe, self._prepared, np.asarray(response, float), self._from)
        except r.RError as error:
            seconds = time.perf_counter() - started
            return Replicate.failed(self._model, "lme4", self._settings, str(error), seconds, ())
        numbers, messages = np.array(ran[0]), tuple(str(each) for each in ran[1])
        loglik, residual_variance, converged, seconds = numbers[:4].tolist()
        p = len(self._back)
        start, factors = 4, []
        for q, triangle in self._triangles:
            factor = np.zeros((q, q))
            factor[triangle] = numbers[start : start + len(triangle[0])]
            factors.append(factor)
            start += len(triangle[0])
        fixed, unscaled = numbers[start : start + p], numbers[start + p :].reshape(p, p)
        covariances = []
        for i, back in self._places:
            half = back @ factors[i]
            covariances.append(residual_variance * (half @ half.T))
        spread = residual_variance * (self._back @ unscaled @ self._back.T)
        return Replicate(
            "lme4",
            self._settings,
            loglik + self._shift,
            self._back @ fixed,
            np.sqrt(np.diag(spread)),
            tuple(covariances),
            residual_variance,
            bool(converged),
            seconds,
            None,
            messages,
        )
