"""Replicates: one model, many responses. Responses drawn from it, and the model fitted to each by every engine.

What does not depend on the response is made once: the parsed formula, the columns, the way from an engine's coding to
the model's. A replicate's estimates are read straight from the package's own result, without the record that a `Fit`
is, so that little is added to the time that the engines themselves take.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from concord.engines.engine import engines
from concord.engines.replicate import Replicate, likelihood_of
from concord.engines.tuning import SAME
from concord.likelihood.likelihood import Likelihood, LikelihoodError, Optimum
from concord.likelihood.newton import STATIONARY
from concord.models.design import Design
from concord.models.model import Model
from concord.models.parameters import Parameters, spectrum
from concord.vocabulary import SETTINGS

ENGINES = ("statsmodels", "lme4", "independent")

# A relative factor's diagonal below this, in whitened coordinates, is looked at beyond its slope.
SINGULAR = 1e-3
# A second derivative above minus this is no descent: rounding, or a direction that does not matter at all.
FLAT = 1e-2


def draw(design: Design, truth: Parameters, seed: int, replicate: int) -> np.ndarray:
    """A response drawn from a model, shape (n,): X b + sum of Z_t u_t + e, with the model's offset where it has one.

    Every replicate has a stream of random numbers of its own, so that it does not depend on which others are drawn,
    where, and in which order. Random effects are standard normal numbers times the symmetric root of the covariance
    matrix: the root is unique, also of a singular matrix, where the signs of eigenvectors are the library's choice.

    Parameters
    ----------
    design : the model in numbers
    truth : what it is drawn from
    seed : of all replicates
    replicate : which of them, counted from 0

    Raises
    ------
    ValueError : one of the matrices is no covariance matrix, or the residual variance is negative
    """
    if not 0 <= truth.residual_variance < math.inf:
        raise ValueError(f"a residual variance of {truth.residual_variance:g} is not a variance")
    stream = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(replicate,)))
    response = design.X @ truth.fixed
    for term, covariance in zip(design.terms, truth.covariances, strict=True):
        effects = stream.standard_normal((len(term.levels), len(term.names))) @ symmetric_root(covariance)
        response = response + np.einsum("ij,ij->i", term.matrix, effects[term.codes])
    response = response + math.sqrt(truth.residual_variance) * stream.standard_normal(len(response))
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
    unit, vectors, roots = spectrum(covariance)
    return (vectors * roots) @ vectors.T * unit


class Refitter:
    """A model, to be fitted by one engine to one response after the other. Made once a process.

    ``default`` means what a user's default fit of a table with that response means, made by the engine's own functions
    from what does not depend on the response (``refitters`` of every engine).

    ``tuned`` takes one of the engine's optimizers with tight tolerances after the other, each from scratch, until one
    stands still in the independent likelihood; where none does, the best of them. (The engines' own ``tuned`` ask all.)

    Parameters
    ----------
    model : what is fitted
    engine : one of `ENGINES`; ``independent``: the independent likelihood's optimum
    settings : ``default`` or ``tuned``; to ``independent`` they are the same
    starts : ``independent`` only: whitened thetas to start from, shape (m,), beside the usual ones
    options : the engine's own: ``warm``, ``thorough``

    Raises
    ------
    CannotExpress : the engine has no way to write the model down
    EngineError : the engine's columns are not those of the model, or the fit to start from failed
    RError : R or lme4 is missing
    """

    def __init__(
        self,
        model: Model,
        engine: str,
        settings: str = "default",
        *,
        starts: Sequence[np.ndarray] = (),
        **options: bool,
    ) -> None:
        if engine not in ENGINES:
            raise ValueError(f"engine {engine!r}: one of {', '.join(ENGINES)}")
        if settings not in SETTINGS:
            raise ValueError(f"settings {settings!r}: one of {', '.join(SETTINGS)}")
        self.model, self.engine, self.settings = model, engine, settings
        if engine == "independent":
            self._ways: list[Callable[..., Replicate]] = [_Independent(model, settings, starts)]
        else:
            self._ways = engines()[engine].refitters(model, settings, **options)

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
                found = likelihood.optimum([likelihood.theta_at(each.parameters)])
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
    level = likelihood.loglik(optimum.parameters)
    return level - _level(replicate, likelihood)


def _level(replicate: Replicate, likelihood: Likelihood) -> float:
    if not replicate.finite:
        return -math.inf
    return likelihood.loglik(replicate.parameters)


def _at_rest(replicate: Replicate, likelihood: Likelihood) -> bool:
    """Whether a fit stands still, and not on a saddle: at a variance of zero the slope is zero whatever lies beside."""
    if not replicate.finite:
        return False
    try:
        theta = likelihood.theta_at(replicate.parameters)
        if not np.abs(likelihood.criterion_and_gradient(theta)[1]).max(initial=0.0) < STATIONARY:
            return False
        diagonals = np.concatenate([np.diag(factor) for factor in likelihood.factors(theta)])
        if np.abs(diagonals).min(initial=np.inf) > SINGULAR:
            return True
        return bool(np.linalg.eigvalsh(likelihood.hessian(theta)).min(initial=0.0) > -FLAT)
    except (LikelihoodError, np.linalg.LinAlgError):
        return False


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
        optimum.parameters,
        optimum.std_error,
        optimum.gradient < STATIONARY,
        seconds,
    )
