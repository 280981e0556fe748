"""What each engine's own arithmetic can resolve at a point: the floor under every tolerance that a fit is held to.

All of it is computed from the table and from where the fit stands.

- lme4 and MixedLM take least squares through the normal equations: X'V^-1X is a difference of cross-products, so that
  each of its entries has an error of 2 eps |X|'|X| (Higham 2002, Accuracy and Stability of Numerical Algorithms,
  sections 3.5 and 20.4). With A = X'V^-1X this is 2 eps tr(|A^-1| |X|'|X|) in log |A|, a part of the REML criterion,
  and r'|A^-1| r in the quadratic form, r = 2 eps (|X|'|X||b| + |X|'|y|), for the coefficients. Both grow with the
  square of X's condition. nlme takes orthogonal factors, in which they grow with the condition itself.
- MixedLM takes the inverse of each covariance matrix of random effects into its log-likelihood. Its relative error is
  eps times the matrix's condition, for every group anew; in units of the random effects that do not matter, the
  reciprocal of the least eigenvalue of their correlations. Its residuals hold the random effects, which V^-1 takes out
  again: eps r'r of the quadratic form.
- Every sum of n terms about as large as the log-likelihood has a rounding of its own; and y and X b are held to eps of
  their sizes, which counts in residual standard deviations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from concord.arrays import Vector
from concord.engines.engine import engines
from concord.engines.fit import Fit
from concord.likelihood.likelihood import EPS, Likelihood
from concord.models.parameters import least_eigenvalue

# Above this condition, of columns of length one, the columns of X are called nearly collinear.
COLLINEAR = 1e3


@dataclass(frozen=True, eq=False)
class Resolution:
    """What an engine's arithmetic can resolve at one fit's estimates.

    Attributes
    ----------
    stated : error of the log-likelihood that it states there, in its units
    gap : how far below the top it may stop for that, in the same units
    std_error : relative error of its standard errors of fixed effects, shape (p,)
    cause : what is the cause where it is more than common rounding, in a clause; or empty
    """

    stated: float
    gap: float
    std_error: Vector
    cause: str = ""


def of_fit(fit: Fit, likelihood: Likelihood, own: float, off: float = math.inf) -> Resolution:
    """At a fit's own estimates.

    Parameters
    ----------
    own : the log-likelihood that they have
    off : by how much the log-likelihood that it states differs from the one that its estimates have. An engine that
        states it well there can also see a step that gains more than ten times that.
    """
    p = likelihood.p
    common = 4 * EPS * (abs(own) + likelihood.n) + _held(fit, likelihood)
    nothing = Resolution(common, 0.0, np.zeros(p))
    try:
        inverse = likelihood.fixed_covariance(fit.parameters) / fit.residual_variance
    except (ValueError, np.linalg.LinAlgError):
        return nothing
    design, scale = likelihood.design, likelihood.scale
    X, y = np.abs(design.X), np.abs(design.y) / scale
    products, spread = X.T @ X, np.abs(inverse)
    package = engines()[fit.engine]
    unit = 2 * EPS if not package.orthogonal else EPS**2
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        traced = unit * float(np.sum(spread * products))
        right = unit * (products @ np.abs(fit.fixed / scale) + X.T @ y)
        by_X = float(right @ spread @ right) / (2 * fit.residual_variance / scale**2)
        errors = 0.5 * unit * np.diag(spread @ products @ spread) / np.diag(spread)
    if not (math.isfinite(traced + by_X) and np.isfinite(errors).all()):
        return nothing
    if package.orthogonal:  # the condition, not its square
        traced, errors = math.sqrt(traced), np.sqrt(errors)
    traced = traced / 2 if likelihood.reml else 0.0
    inverted = inversion(fit)
    residuals = 0.0
    if package.inverts:
        left = (design.y - design.X @ fit.fixed) / scale
        residuals = EPS * float(left @ left) / (2 * fit.residual_variance / scale**2)
    stated = common + traced + inverted + residuals
    gap = by_X + min(traced + inverted + residuals, 10 * abs(off))
    return Resolution(stated, gap, errors, _cause(likelihood, traced, inverted))


def _held(fit: Fit, likelihood: Likelihood) -> float:
    """What the rounding of the response and of the fitted values does to the sum of squares of n residuals."""
    design = likelihood.design
    sizes = np.abs(design.y).max() + (np.abs(design.X) @ np.abs(fit.fixed)).max(initial=0.0)
    held = EPS * likelihood.n * float(sizes) / math.sqrt(fit.residual_variance) if fit.residual_variance > 0 else 0.0
    return held if math.isfinite(held) else 0.0


def inversion(fit: Fit) -> float:
    """What the inverses of its covariance matrices can do to the log-likelihood that an engine searches by."""
    if not engines()[fit.engine].inverts:
        return 0.0
    terms = zip(fit.model.design.terms, fit.covariances, strict=True)
    return float(
        sum(len(term.levels) * EPS / max(least_eigenvalue(factor), EPS) for term, factor in terms if len(factor) > 1)
    )


def collinear(likelihood: Likelihood) -> str:
    """Which columns of X are nearly a combination of each other, in a clause; empty where none are."""
    X = likelihood.design.X
    if X.shape[1] < 2:
        return ""
    _, values, vectors = np.linalg.svd(X / np.linalg.norm(X, axis=0), full_matrices=False)
    condition = values[0] / values[-1]
    if not condition > COLLINEAR:
        return ""
    taking = np.abs(vectors[-1]) > 0.1 * np.abs(vectors[-1]).max()
    names = [name for name, taken in zip(likelihood.design.names, taking, strict=True) if taken]
    return f"the columns {', '.join(names)} of the fixed effects are nearly collinear (condition {condition:.1g})"


def _cause(likelihood: Likelihood, traced: float, inverted: float) -> str:
    if inverted > max(traced, 1e-9):
        return (
            f"its own log-likelihood has a rounding error of up to {inverted:.1g} there, for it inverts a covariance "
            "matrix that is all but singular"
        )
    said = collinear(likelihood) if traced > 1e-9 else ""
    return f"its own log-likelihood has a rounding error of up to {traced:.1g} there, for {said}" if said else ""
