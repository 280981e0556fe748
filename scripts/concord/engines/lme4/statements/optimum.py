"""The optimum: lme4's criteria, and what it checks to say that a fit is there or on the boundary."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from concord import r
from concord.arrays import Vector
from concord.engines.fit import Fit
from concord.engines.lme4.engine import described_by
from concord.engines.statements import Checks, Criteria, Statement
from concord.inference.gradients import Criterion, largest
from concord.models.design import DesignTerm

# lme4's own: the step of its differences, the least diagonal of theta, and the largest gradient that it lets pass.
STEP, LEAST_THETA, LARGEST_GRADIENT = 1e-4, 1e-4, 0.002

_R = Path(__file__).with_suffix(".R")


def _room() -> Any:
    r.package("lme4")
    return r.source(_R)


def criteria(fit: Fit) -> Criteria:
    """``logLik``, ``AIC``, ``BIC``, ``deviance`` (``REMLcrit``), ``df.residual`` and ``nobs`` of a fit."""
    return fit.ask(_criteria)


def _criteria(fit: Fit) -> Criteria:
    got = {key: float(value[0]) for key, value in r.from_r(r.call(_room()["criteria"], fit.native)).items()}
    return Criteria(**{field.name: Statement(got[field.name]) for field in fields(Criteria)})


@dataclass(frozen=True, eq=False)
class _Checked:
    """Its theta and the bounded ones among these, all in its order; the deviance's derivatives, and what it checks."""

    theta: Vector
    bounded: Vector
    singular: bool
    gradient: Vector
    scaled: Vector


def checks(fit: Fit, lost: float) -> Checks:
    """lme4's gradient, what its check makes of it, and its boundary, in its own parameters."""
    said: Checks = fit.ask(_checks)
    off = 2 * lost / STEP  # differences of the deviance over twice their step
    derivatives = tuple(replace(derivative, rounding=derivative.rounding + off) for derivative in said.derivatives)
    relative = said.relative and replace(said.relative, rounding=(said.relative.rounding + off) * _reach(fit))
    return replace(said, derivatives=derivatives, relative=relative)


def _checks(fit: Fit) -> Checks:
    got = r.record(_Checked, r.call(_room()["checks"], fit.native))
    described = described_by(fit.native)
    terms = [
        DesignTerm(
            part.group,
            tuple(part.columns),
            fit.model.design.of_one_variance(part.matrix.reshape(len(part.codes), -1)),
            part.codes.astype(int) - 1,
            (),
        )
        for part in described.terms
    ]
    terms = [replace(term, levels=("",) * (int(term.codes.max()) + 1)) for term in terms]
    criterion = Criterion(fit.model.design, fit.model.reml, terms, by_column=True)
    theta, stated = np.asarray(got.theta, float), np.asarray(got.gradient, float)
    gradient, hessian = criterion.differences(theta, STEP)
    factors, off = criterion.factors(theta), criterion.summation(theta) / STEP
    relative = [part.covariance / described.sigma2 for part in described.terms]
    least, singular = min(_least_diagonal(matrix) for matrix in relative), got.singular
    derivatives, compared, largest_one = [], None, None
    if len(stated) == len(theta):
        compared = _checked(stated, np.asarray(got.scaled, float))
        derivatives.append(
            Statement(
                stated,
                "gradient_in_theta_by_differences",
                quantity="gradient of the deviance in theta",
                expected=gradient,
                rounding=off,
            )
        )
        if not math.isnan(compared):
            derivatives.append(
                Statement(
                    compared,
                    "smaller_of_gradient_and_scaled_gradient",
                    quantity="what lme4's check compares with 0.002",
                    expected=_checked(gradient, _scaled(gradient, hessian)),
                    rounding=off,
                )
            )
        largest_one = Statement(
            largest(factors, criterion.factors(stated)),
            "relative_gradient_by_differences",
            expected=largest(factors, criterion.factors(gradient)),
            rounding=off,
        )
    return Checks(
        derivatives=tuple(derivatives),
        relative=largest_one,
        least=Statement(float(np.min(got.bounded)), quantity="smallest diagonal entry of theta", expected=least),
        threshold=LEAST_THETA,
        boundary=Statement(singular, "singular_by_theta", expected=least < LEAST_THETA),
        compared=compared,
        allowed=LARGEST_GRADIENT,
        looked=not singular,
    )


def _scaled(gradient: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """The gradient by the inverse of the Hessian's upper Cholesky factor; NaN where the Hessian has none."""
    try:
        return np.linalg.solve(np.linalg.cholesky(hessian).T, gradient)
    except np.linalg.LinAlgError:
        return np.full(len(gradient), np.nan)


def _checked(gradient: np.ndarray, scaled: np.ndarray) -> float:
    """What lme4's check compares with 0.002: entry by entry the smaller one, and the largest of these."""
    return float(np.minimum(np.abs(gradient), np.abs(scaled)).max(initial=0.0))


def _reach(fit: Fit) -> float:
    """What an error of every derivative may be times in the largest eigenvalue of a relative gradient."""
    reaches = []
    for covariance in fit.covariances:
        values, vectors = np.linalg.eigh(covariance / fit.residual_variance)
        reaches.append(2 * math.sqrt(len(values)) * float(np.abs(vectors * np.sqrt(np.maximum(values, 0.0))).sum()))
    return max(reaches, default=0.0)


def _least_diagonal(relative: np.ndarray) -> float:
    """The smallest diagonal entry of a Cholesky factor: the root of what is left of each variance, given the effects
    before it. A singular matrix has one too.
    """
    diagonal = []
    for k in range(len(relative)):
        before = np.linalg.lstsq(relative[:k, :k], relative[:k, k], rcond=1e-12)[0]
        diagonal.append(math.sqrt(max(float(relative[k, k] - relative[k, :k] @ before), 0.0)))
    return min(diagonal)
