"""Standard errors by every package's own definition, at the estimates of one fit: what it should state there.

The observed information itself is that of `information`. Where estimates are not an optimum, it matters in which
parameters one differentiates: here it is done in each package's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from concord.arrays import Matrix, Vector
from concord.engines.fit import Fit
from concord.inference import degrees_of_freedom, information
from concord.inference.degrees_of_freedom import DegreesError
from concord.inference.information import Information, InformationError
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.models.parameters import Parameters, entries, triangle


class Errors:
    """The independent standard errors by every definition, at one fit's estimates; None where there are none.

    Parameters
    ----------
    likelihood : of the fit's model
    fit : whose estimates
    """

    def __init__(self, likelihood: Likelihood, fit: Fit) -> None:
        self._likelihood, self._fit = likelihood, fit

    @cached_property
    def conditional(self) -> np.ndarray:
        """Of the fixed effects, the variances taken for known, shape (p,)."""
        return self._likelihood.std_error(self._fit.parameters)

    @cached_property
    def _observed(self) -> Information | str:
        fit = self._fit
        try:
            return information.observed(self._likelihood, fit.parameters)
        except (InformationError, LikelihoodError) as error:
            return str(error)

    @property
    def why(self) -> str:
        """Why there are no errors of variances; empty where there are some."""
        return self._observed if isinstance(self._observed, str) else ""

    @cached_property
    def _in_ratios(self) -> tuple[np.ndarray | None, bool, np.ndarray | None]:
        if self.why:
            return *by_joint_hessian(self._likelihood, self._fit), None
        p = self._likelihood.p
        errors = _from_information(_in_ratios(self._likelihood, self._fit.parameters))
        return errors[:p], True, math.sqrt(self._fit.residual_variance) * errors[p:]

    @property
    def joint(self) -> np.ndarray | None:
        """Of the fixed effects, from the information of them and the ratios to the residual variance, shape (p,)."""
        return self._in_ratios[0]

    @property
    def down(self) -> bool:
        """Whether the joint log-likelihood bends down in every direction, as `joint` takes for granted."""
        return self._in_ratios[1]

    @property
    def of_ratios(self) -> np.ndarray | None:
        """Of the ratios to the residual variance, times its square root, without the residual one, shape (k - 1,)."""
        return self._in_ratios[2]

    @cached_property
    def components(self) -> np.ndarray | None:
        """Of variances and covariances, shape (k,), the residual one last."""
        return None if isinstance(self._observed, str) else self._observed.components()["std_error"].to_numpy()

    @cached_property
    def by_factors(self) -> np.ndarray | None:
        """The same by way of (theta, sigma), lme4's parameters."""
        return None if self.why else _by_factors(self._likelihood, self._fit)


def by_joint_hessian(likelihood: Likelihood, fit: Fit) -> tuple[np.ndarray | None, bool]:
    """What MixedLM's inversion of its joint Hessian gives as standard errors of fixed effects, at any estimates.

    In its parameters, unlike in standard deviations, the log-likelihood has ordinary derivatives also where a
    covariance matrix is singular, though not all first ones are zero there, and it may bend up. They are taken there
    by a parabola through three points inside.

    Returns
    -------
    the standard errors, shape (p,), NaN for the root of a negative number, or None where there are no derivatives;
    and whether the log-likelihood bends down in every direction: else the Hessian's inverse is not a covariance matrix
    """
    try:
        try:
            matrix = _in_ratios(likelihood, fit.parameters)
        except InformationError:
            matrix = np.zeros(())
            for weight, distance in ((8 / 3, 1e-4), (-2, 2e-4), (1 / 3, 4e-4)):
                inside = [
                    covariance + distance * fit.residual_variance * np.diag(1 / np.mean(np.square(term.matrix), axis=0))
                    for covariance, term in zip(fit.covariances, fit.model.design.terms, strict=True)
                ]
                matrix = matrix + weight * _in_ratios(likelihood, replace(fit.parameters, covariances=tuple(inside)))
        errors = _from_information(matrix)[: likelihood.p]
    except (InformationError, LikelihoodError, np.linalg.LinAlgError):
        return None, True
    return errors, bool(np.linalg.eigvalsh(matrix)[0] > 0)


def _from_information(matrix: np.ndarray) -> np.ndarray:
    """Square roots of the diagonal of the inverse, NaN of what is negative."""
    with np.errstate(invalid="ignore"):
        errors: Vector = np.sqrt(np.diag(np.linalg.inv(matrix)))
    return errors


def _in_ratios(likelihood: Likelihood, at: Parameters) -> np.ndarray:
    """Minus the Hessian in MixedLM's parameters, shape (p + k, p + k): fixed effects and ratios to the residual
    variance, which is profiled out.
    """
    p, scale, values = likelihood.p, at.residual_variance, at.packed
    matrix, slopes = information.curvature(likelihood, at)
    jacobian = np.eye(len(values))
    jacobian[p:-1, p:-1] *= scale
    jacobian[p:-1, -1] = values[p:-1] / scale
    matrix = jacobian.T @ matrix @ jacobian
    # A variance is its ratio times the residual variance: where its slope is not zero, that product bends.
    matrix[p:-1, -1] -= slopes[p:-1]
    matrix[-1, p:-1] -= slopes[p:-1]
    # The residual variance profiled out: the Schur complement.
    profiled: Matrix = matrix[:-1, :-1] - np.outer(matrix[:-1, -1], matrix[-1, :-1]) / matrix[-1, -1]
    return profiled


def _by_factors(likelihood: Likelihood, fit: Fit) -> np.ndarray | None:
    """Standard errors of variances and covariances by way of (theta, sigma), lme4's parameters."""
    try:
        covariance = degrees_of_freedom.factor_covariance(likelihood, fit.parameters)
    except DegreesError:
        return None
    _, jacobian = in_factors(fit)
    return np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))


def in_factors(fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """lme4's (theta, sigma) at a fit's estimates, and the derivatives of variances and covariances with respect to
    them.
    """
    sigma = math.sqrt(fit.residual_variance)
    factors = [np.linalg.cholesky(covariance) / sigma for covariance in fit.covariances]
    at = [factor[triangle(len(factor))] for factor in factors]
    return np.r_[(*at, sigma)], of_variances(factors, sigma, [np.eye(len(factor)) for factor in factors])


def of_variances(factors: Sequence[np.ndarray], sigma: float, backs: Sequence[np.ndarray]) -> np.ndarray:
    """Derivatives of variances and covariances, in the order of `Fit.estimates`, with respect to (theta, sigma)."""
    count = sum(len(factor) * (len(factor) + 1) // 2 for factor in factors)
    jacobian, start = np.zeros((count + 1, count + 1)), 0
    for factor, back in zip(factors, backs, strict=True):
        q = len(factor)
        size = q * (q + 1) // 2
        rows, columns = triangle(q)
        at = entries(q)
        for k, (a, b) in enumerate(zip(rows, columns, strict=True)):
            unit = np.zeros((q, q))
            unit[a, b] = 1.0
            moved = sigma**2 * back @ (unit @ factor.T + factor @ unit.T) @ back.T
            jacobian[start : start + size, start + k] = [moved[place] for place in at]
        whole = 2 * sigma * back @ factor @ factor.T @ back.T
        jacobian[start : start + size, count] = [whole[place] for place in at]
        start += size
    jacobian[count, count] = 2 * sigma
    return jacobian


def adjusted(fit: Fit) -> float:
    """What nlme's summary multiplies standard errors by: sqrt(n / (n - p)) under ML."""
    n, p = fit.model.design.X.shape
    return 1.0 if fit.model.reml else math.sqrt(n / (n - p))


def resolution(fit: Fit) -> float:
    """What rounding can do to a log-likelihood that is a sum over groups, of terms of about one a row, whose roundings
    add up as independent errors do.
    """
    groups = max(len(term.levels) for term in fit.model.design.terms)
    return float(np.finfo(float).eps * max(abs(fit.stated_loglik), len(fit.model.design.y)) * math.sqrt(groups))
