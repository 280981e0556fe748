"""What the engines share: the best of several optimizers' attempts, by the independent likelihood and not by what they
claim; and whether a native result is one of the model that it is said to be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from concord.arrays import Integers, Vector
from concord.engines.engine import EngineError
from concord.engines.fit import Attempt, Fit
from concord.likelihood import structured
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.likelihood.newton import STATIONARY
from concord.models.coding import same_groups, same_numbers
from concord.models.design import DesignTerm
from concord.models.model import Model
from concord.models.of_table import model_of
from concord.models.parameters import ZERO

# Log-likelihoods closer than this are the same optimum, seen through rounding; the gradient then tells which is closer.
SAME = 1e-8


def check(
    what: str,
    model: Model,
    reml: bool,
    response: Vector,
    groups: Iterable[tuple[DesignTerm, Integers | Sequence[str]]] = (),
) -> None:
    """A native result is one by the model's method, on its rows and their groups.

    Parameters
    ----------
    what : what the result is called in a message, such as ``lmer fit``
    model : the model that it is said to be of
    reml, response : its method and its response, less the offset, as the table has it
    groups : random terms, each with the factor that the result has for it

    Raises
    ------
    EngineError : it is not
    """
    if reml != model.reml:
        raise EngineError(f"the {what} is by {'REML' if reml else 'ML'}, the model says {model.method}")
    if not same_numbers(np.asarray(response, float), model.design.as_coded.y):
        raise EngineError(f"the {what} has another response than {model.id}: other rows, or another order")
    for term, codes in groups:
        if not same_groups(codes, term.codes):
            raise EngineError(f"the {what} has other groups than {model.id} ({term.group})")


def as_model(given: Model | str, data: pd.DataFrame | None, reml: bool) -> Model:
    """The model that a native result is said to be of: itself, or a formula on a table.

    Raises
    ------
    EngineError : a formula has no table
    InputError : the formula or the table cannot be used
    """
    if isinstance(given, Model):
        return given
    if data is None:
        raise EngineError(f"the formula {given!r} needs its table, too: from_native(result, formula, data)")
    return model_of(data, given, "REML" if reml else "ML", None, "data")[0]


def check_rank(model: Model, count: int) -> None:
    """Where a package has fewer fixed effects than the model, that is not because the model has too many.

    Raises
    ------
    EngineError : R's columns are linearly dependent, so that every package leaves out others of them
    """
    design = model.design
    if count < design.X.shape[1] and np.linalg.matrix_rank(design.X) < design.X.shape[1]:
        raise EngineError(
            f"the fixed effects of {model.id} are linearly dependent, and every package leaves out others: "
            f"{', '.join(design.names)}"
        )


def recomputed(fit: Fit, likelihood: Likelihood) -> float:
    """The log-likelihood at a fit's estimates in the independent likelihood; -inf where they leave the model."""
    return -np.inf if fit.violation else likelihood.loglik(fit.parameters)


def slope(fit: Fit, likelihood: Likelihood) -> float:
    """Largest absolute derivative of the criterion at a fit's estimates, in whitened coordinates; inf where none is."""
    try:
        return float(np.abs(likelihood.gradient_at(fit.parameters)).max(initial=0.0))
    except LikelihoodError:
        return np.inf


def likelihood_of(model: Model) -> Likelihood:
    """The independent likelihood of a model that is to be fitted.

    Raises
    ------
    EngineError : it is not defined: no optimizer can be told from another by it
    """
    try:
        return structured.likelihood_of(model.design, model.reml)
    except LikelihoodError as error:
        raise EngineError(f"{model.id} cannot be fitted: {error}") from error


def attempt(optimizer: str, fit: Fit, likelihood: Likelihood) -> Attempt:
    """What one optimizer gave, as a row for the record."""
    return Attempt(optimizer, recomputed(fit, likelihood), fit.stated_loglik, fit.converged, fit.seconds, fit.messages)


def best(fits: Sequence[tuple[str, Fit]], failed: Sequence[Attempt], likelihood: Likelihood) -> Fit:
    """The fit with the highest recomputed log-likelihood; among equals, the smallest gradient.

    Parameters
    ----------
    fits : optimizer and fit, each from scratch
    failed : attempts that gave no fit

    Returns
    -------
    Fit : the best one, with all attempts in its record and their seconds added up

    Raises
    ------
    EngineError : no attempt gave estimates at which the likelihood is finite
    """
    values = [recomputed(fit, likelihood) for _, fit in fits]
    top = max(values, default=-np.inf)
    if not np.isfinite(top):
        said = "; ".join(f"{fit.optimizer}: {' '.join(fit.messages)}" for fit in failed)
        raise EngineError(f"no optimizer gave an estimate with a finite likelihood {said and f'({said})'}".strip())
    equals = [(slope(fit, likelihood), fit) for (_, fit), v in zip(fits, values, strict=True) if v >= top - SAME]
    # Where an optimizer that also claims to have converged stands still, take it over one with a false alarm.
    calm = [pair for pair in equals if pair[1].converged and pair[0] < STATIONARY]
    chosen = min(calm or equals, key=lambda pair: pair[0])[1]
    attempts = (*(attempt(name, fit, likelihood) for name, fit in fits), *failed)
    return replace(chosen, attempts=attempts, seconds=sum(fit.seconds for fit in attempts))


def _rested(fit: Fit, top: float, likelihood: Likelihood) -> bool:
    """Whether a fit is the highest, and stands still there and not only because a variance is zero: beside one the
    criterion's slope vanishes by symmetry, wherever the optimum is.
    """
    value = recomputed(fit, likelihood)
    if not (value >= top - SAME and slope(fit, likelihood) < STATIONARY):
        return False
    theta = likelihood.theta_at(fit.parameters)
    if min(np.diag(factor).min() for factor in likelihood.factors(theta)) ** 2 > ZERO:
        return True
    try:
        return likelihood.optimum([theta]).loglik <= value + SAME
    except LikelihoodError:
        return False


def tuned(
    model: Model,
    optimizers: Mapping[str, Any],
    run: Callable[[str, Any], Fit],
    otherwise: Mapping[str, Any] | None = None,
) -> Fit:
    """The best of several optimizers, each from scratch; one that raises is on record and stops no other.

    Parameters
    ----------
    model : what to fit
    optimizers : their names, with their options
    run : fits the model by the optimizer with a name and options
    otherwise : more optimizers, asked only where none of the first came to rest

    Raises
    ------
    EngineError : the model's likelihood is not defined, or no optimizer gave an estimate at which it is finite
    """
    likelihood = likelihood_of(model)
    fits: list[tuple[str, Fit]] = []
    failed: list[Attempt] = []

    def ask(stage: Mapping[str, Any]) -> None:
        for name, options in stage.items():
            started = time.perf_counter()
            try:
                fits.append((name, run(name, options)))
            except EngineError as error:
                seconds = time.perf_counter() - started
                failed.append(Attempt(name, -np.inf, np.nan, False, seconds, (str(error),)))

    ask(optimizers)
    top = max((recomputed(fit, likelihood) for _, fit in fits), default=-np.inf)
    if otherwise and not any(_rested(fit, top, likelihood) for _, fit in fits):
        ask(otherwise)
    return replace(best(fits, failed, likelihood), settings="tuned")
