"""One model, many responses: the model fitted to each by an engine, and the best optimum that is known of each.

What does not depend on the response is made once: the parsed formula, the columns, the way from an engine's coding to
the model's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from concord.engines.engine import engines
from concord.engines.replicate import Replicate, likelihood_of
from concord.engines.tuning import SAME
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.likelihood.newton import STATIONARY
from concord.likelihood.optimum import Optimum
from concord.models.model import Model
from concord.vocabulary import SETTINGS

# A relative factor's diagonal below this, in whitened coordinates, is looked at beyond its slope.
SINGULAR = 1e-3
# A second derivative above minus this is not a descent: it is rounding, or a direction that does not matter.
FLAT = 1e-2


class Refitter:
    """A model, to be fitted by one engine to one response after the other. Made once a process.

    ``default`` means what a user's default fit of a table with that response means, made by the engine's own functions
    from what does not depend on the response (``refitters`` of every engine).

    ``tuned`` takes one of the engine's optimizers with tight tolerances after the other, each from scratch, until one
    stands still in the independent likelihood; where none does, the best of them. (The engines' own ``tuned`` ask all.)

    Parameters
    ----------
    model : what is fitted
    engine : the name of an engine that has ``refitters``
    settings : ``default`` or ``tuned``
    options : the engine's own: ``warm``, ``thorough``

    Raises
    ------
    CannotExpress : the engine has no way to write the model down
    EngineError : the engine's columns are not those of the model, or the fit to start from failed
    RError : R or lme4 is missing
    """

    def __init__(self, model: Model, engine: str, settings: str = "default", **options: bool) -> None:
        known = engines().get(engine)
        if known is None or known.refitters is None:
            raise ValueError(f"engine {engine!r}: one of {', '.join(refitting())}")
        if settings not in SETTINGS:
            raise ValueError(f"settings {settings!r}: one of {', '.join(SETTINGS)}")
        self.model, self.engine, self.settings = model, engine, settings
        self._ways = known.refitters(model, settings, **options)

    def refit(self, response: np.ndarray, likelihood: Likelihood | None = None) -> Replicate:
        """The model fitted to a response. An exception of the engine is in the replicate's `error`.

        Parameters
        ----------
        response : shape (n,), in the model's own response: its offset included
        likelihood : the independent likelihood of this response (`likelihood_of`), where it has been made already
        """
        if len(self._ways) == 1:
            return self._ways[0](response)
        likelihood = likelihood or likelihood_of(self.model, response)
        tried: list[tuple[float, Replicate]] = []
        for way in self._ways:
            refitted = way(response)
            tried.append((_level(refitted, likelihood), refitted))
            if refitted.converged and _at_rest(refitted, likelihood):
                break
        seconds = sum(refitted.seconds for _, refitted in tried)
        top = max(level for level, _ in tried)
        # Among equals the one that stood still, which came last.
        chosen = [refitted for level, refitted in tried if level >= top - SAME or level == top][-1]
        return replace(chosen, seconds=seconds)


def refitting() -> tuple[str, ...]:
    """The names of the engines that fit a model to many responses."""
    return tuple(name for name, engine in engines().items() if engine.refitters is not None)


def best_known(likelihood: Likelihood, replicates: Sequence[Replicate]) -> Optimum | None:
    """The best optimum that is known of a response; None where no search led to one.

    The independent likelihood finds it. Where an engine's fit lies higher, a search goes on from that fit.

    Parameters
    ----------
    likelihood : of the response
    replicates : every engine's fit of it
    """
    best: Optimum | None = None
    with suppress(LikelihoodError, np.linalg.LinAlgError):
        best = likelihood.optimum()
    # Closer than this log-likelihoods are told apart by rounding only.
    rounding = 1e-10 * max(1.0, likelihood.n / 100)
    for replicate in replicates:
        if replicate.finite and (best is None or gap(replicate, likelihood, best) < -rounding):
            with suppress(LikelihoodError, np.linalg.LinAlgError):
                optimum = likelihood.optimum([likelihood.theta_at(replicate.parameters)])
                best = optimum if best is None or optimum.loglik > best.loglik else best
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
