"""Standard errors by every package's own definition, at the estimates of one fit: what it should state there.

The observed information itself is that of `information`. Where estimates are no optimum it matters in which parameters
one differentiates: here it is done in each package's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from concord.engines.fit import Fit
from concord.inference import degrees_of_freedom, information
from concord.inference.degrees_of_freedom import DegreesError
from concord.inference.information import InformationError
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.models.design import Design
from concord.models.parameters import Parameters

# nlme's steps of the numerical Hessian (lmeControl's .relStep and minAbsParApVar).
STEP, LEAST = np.finfo(float).eps ** (1 / 3), 0.05
# numDeriv's, in lmerTest: steps of a tenth of a parameter, or of 1e-4 where it is all but zero, halved three times.
NUMDERIV_SHARE, NUMDERIV_LEAST, NUMDERIV_ZERO, NUMDERIV_HALVED = 0.1, 1e-4, 1.78e-5, 8


@dataclass(frozen=True, eq=False)
class Errors:
    """The independent values by every definition, at one fit's estimates; None with a reason where there are none."""

    conditional: np.ndarray
    joint: np.ndarray | None
    printed: np.ndarray | None
    components: np.ndarray | None
    why: str = ""
    down: bool = True
    """Whether the joint log-likelihood bends down in every direction, as `joint` takes for granted."""

    @classmethod
    def at(cls, likelihood: Likelihood, fit: Fit) -> Errors:
        """At a fit's own estimates."""
        conditional = likelihood.std_error(fit.covariances, fit.residual_variance)
        try:
            found = information.observed(likelihood, fit.fixed, fit.covariances, fit.residual_variance)
        except (InformationError, LikelihoodError) as error:
            joint, down = by_joint_hessian(likelihood, fit) if fit.engine == "mixedlm" else (None, True)
            return cls(conditional, joint, None, None, str(error), down)
        components = found.components()["std_error"].to_numpy()
        if fit.engine == "mixedlm":
            p = likelihood.p
            errors = _from_information(_in_ratios(likelihood, fit, fit.covariances))
            printed = math.sqrt(fit.residual_variance) * errors[p:]
            return cls(conditional, errors[:p], printed, components)
        if fit.engine == "lme4":
            components = _by_factors(likelihood, fit)
        return cls(conditional, found.joint, None, components)


def by_joint_hessian(likelihood: Likelihood, fit: Fit) -> tuple[np.ndarray | None, bool]:
    """What MixedLM's inversion of its joint Hessian gives as standard errors of fixed effects, at any estimates.

    In its parameters, unlike in standard deviations, the log-likelihood has ordinary derivatives also where a
    covariance matrix is singular, though not all first ones are zero there, and it may bend up. They are taken there
    by a parabola through three points inside.

    Returns
    -------
    the standard errors, shape (p,), NaN for the root of a negative number, or None where there are no derivatives;
    and whether the log-likelihood bends down in every direction: else the Hessian's inverse is no covariance matrix
    """
    try:
        try:
            matrix = _in_ratios(likelihood, fit, fit.covariances)
        except InformationError:
            matrix = 0.0
            for weight, distance in ((8 / 3, 1e-4), (-2, 2e-4), (1 / 3, 4e-4)):
                inside = [
                    each + distance * fit.residual_variance * np.diag(1 / np.mean(np.square(term.matrix), axis=0))
                    for each, term in zip(fit.covariances, fit.model.design.terms, strict=True)
                ]
                matrix = matrix + weight * _in_ratios(likelihood, fit, inside)
        errors = _from_information(matrix)[: likelihood.p]
    except (InformationError, LikelihoodError, np.linalg.LinAlgError):
        return None, True
    return errors, bool(np.linalg.eigvalsh(matrix)[0] > 0)


def _from_information(matrix: np.ndarray) -> np.ndarray:
    """Square roots of the diagonal of the inverse, NaN of what is negative."""
    with np.errstate(invalid="ignore"):
        return np.sqrt(np.diag(np.linalg.inv(matrix)))


def _in_ratios(likelihood: Likelihood, fit: Fit, covariances: Sequence[np.ndarray]) -> np.ndarray:
    """Minus the Hessian in MixedLM's parameters, shape (p + k, p + k): fixed effects and ratios to the residual
    variance, which is profiled out. Fixed effects and residual variance are the fit's.
    """
    p, scale = likelihood.p, fit.residual_variance
    matrix, slopes = information.curvature(likelihood, fit.fixed, covariances, scale)
    values = Parameters(fit.fixed, tuple(covariances), scale).packed
    jacobian = np.eye(len(values))
    jacobian[p:-1, p:-1] *= scale
    jacobian[p:-1, -1] = values[p:-1] / scale
    matrix = jacobian.T @ matrix @ jacobian
    # A variance is its ratio times the residual variance: where its slope is not zero, that product bends.
    matrix[p:-1, -1] -= slopes[p:-1]
    matrix[-1, p:-1] -= slopes[p:-1]
    # The residual variance profiled out: the Schur complement.
    return matrix[:-1, :-1] - np.outer(matrix[:-1, -1], matrix[-1, :-1]) / matrix[-1, -1]


def _by_factors(likelihood: Likelihood, fit: Fit) -> np.ndarray | None:
    """Standard errors of variances and covariances by way of (theta, sigma), lme4's parameters."""
    try:
        covariance = degrees_of_freedom.factor_covariance(likelihood, fit.covariances, fit.residual_variance)
    except DegreesError:
        return None
    _, jacobian = _factors(fit)
    return np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))


def _factors(fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """lme4's (theta, sigma) at a fit's estimates, and the derivatives of variances and covariances with respect to
    them.
    """
    sigma = math.sqrt(fit.residual_variance)
    factors = [np.linalg.cholesky(each) / sigma for each in fit.covariances]
    at = [factor[np.triu_indices(len(factor))[::-1]] for factor in factors]
    return np.r_[(*at, sigma)], of_variances(factors, sigma, [np.eye(len(each)) for each in factors])


def of_variances(factors: Sequence[np.ndarray], sigma: float, backs: Sequence[np.ndarray]) -> np.ndarray:
    """Derivatives of variances and covariances, in the order of `Fit.estimates`, with respect to (theta, sigma)."""
    count = sum(len(each) * (len(each) + 1) // 2 for each in factors)
    jacobian, start = np.zeros((count + 1, count + 1)), 0
    for factor, back in zip(factors, backs, strict=True):
        q = len(factor)
        size = q * (q + 1) // 2
        rows, columns = np.triu_indices(q)[::-1]
        at = [(i, i) for i in range(q)] + [(i, j) for j in range(q) for i in range(j)]
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


def from_logs(at: np.ndarray, covariance: np.ndarray, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of variances and covariances with respect to nlme's parameters, and the standard errors by them."""
    jacobian, start = np.zeros((len(at), len(at))), 0
    for term in design.terms:
        q = len(term.names)
        deviations = np.exp(at[start : start + q])
        jacobian[range(start, start + q), range(start, start + q)] = 2 * deviations**2
        k = start + q
        for j in range(q):
            for i in range(j):
                correlation, size = math.tanh(at[k] / 2), deviations[i] * deviations[j]
                jacobian[k, [start + i, start + j]] = correlation * size
                jacobian[k, k] = (1 - correlation**2) / 2 * size
                k += 1
        start = k
    jacobian[-1, -1] = 2 * math.exp(2 * at[-1])
    return jacobian, np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))


def lost_by_lmertest(likelihood: Likelihood, fit: Fit, value: float) -> tuple[np.ndarray, np.ndarray]:
    """What rounding can do to the standard errors of variances and covariances that follow from lmerTest's differences
    of the deviance, shape (k,), and to its degrees of freedom, shape (p,), to the first order; zero where there are
    none.

    Parameters
    ----------
    value : what rounding can do to the log-likelihood
    """
    try:
        at, jacobian = _factors(fit)
        covariance = degrees_of_freedom.factor_covariance(likelihood, fit.covariances, fit.residual_variance)
        # The narrowest of numDeriv's steps, from which Richardson's extrapolation takes its digits.
        steps = np.where(np.abs(at) < NUMDERIV_ZERO, NUMDERIV_LEAST, NUMDERIV_SHARE * np.abs(at)) / NUMDERIV_HALVED
        moved = np.abs(covariance) @ (8 * value / np.outer(steps, steps)) @ np.abs(covariance)
        errors = np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))
        off = np.diag(np.abs(jacobian) @ moved @ np.abs(jacobian).T) / (2 * errors)
        return off, degrees_of_freedom.satterthwaite_off(likelihood, fit.covariances, fit.residual_variance, moved)
    except (DegreesError, LikelihoodError, np.linalg.LinAlgError):
        return np.zeros(sum(len(c) * (len(c) + 1) // 2 for c in fit.covariances) + 1), np.zeros(likelihood.p)


def rounding(at: np.ndarray, covariance: np.ndarray, jacobian: np.ndarray, fit: Fit, value: float = 0.0) -> np.ndarray:
    """What the rounding of nlme's log-likelihood can do to its standard errors, to the first order, shape (k,).

    Four values are differenced over the product of two steps; the rounding of each is that of `resolution`, or `value`
    where that is more.
    """
    steps = STEP * np.maximum(np.abs(at), LEAST)
    error = 4 * max(resolution(fit), value) / np.outer(steps, steps)
    through = np.abs(jacobian @ covariance)
    moved = np.einsum("ki,ij,kj->k", through, error, through)
    variances = np.diag(jacobian @ covariance @ jacobian.T)
    return moved / (2 * np.sqrt(variances))


def resolution(fit: Fit) -> float:
    """What rounding can do to a log-likelihood that is a sum over groups, of terms of about one a row, whose roundings
    add up as independent errors do.
    """
    groups = max(len(term.levels) for term in fit.model.design.terms)
    return float(np.finfo(float).eps * max(abs(fit.loglik), len(fit.model.design.y)) * math.sqrt(groups))
