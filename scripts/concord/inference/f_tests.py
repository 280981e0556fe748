"""Tests of several hypotheses about fixed effects at once, L b = 0, computed independently of every package.

* Satterthwaite: with the eigenvectors of L C L' the hypotheses become q t tests that are independent of each other,
  nu_1 ... nu_q degrees of freedom each. F is the mean of their squares; its denominator has the degrees of freedom nu
  for which an F variable has the mean that the sum of theirs has, E = sum of nu_m / (nu_m - 2): nu = 2 E / (E - q)
  (Fai and Cornelius 1996, Journal of Statistical Computation and Simulation 54, 363-378; Kuznetsova, Brockhoff and
  Christensen 2017, Journal of Statistical Software 82(13), section 2.3).
* Kenward and Roger (1997, Biometrics 53, 983-997, section 3): with the adjusted covariance matrix F is scaled, and
  both the scale and the degrees of freedom are those that give it an F variable's mean and variance, so corrected that
  they are exact where F is Hotelling's T^2 or that of a balanced analysis of variance.
* Wald: chi-squared with q degrees of freedom, the variances taken for known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from concord.arrays import Matrix, Vector
from concord.inference.degrees_of_freedom import Adjustment, satterthwaite
from concord.likelihood.likelihood import Likelihood
from concord.models.parameters import Parameters

# Hypotheses that the others imply: eigenvalues of L C L' below this part of the largest.
IMPLIED = 1.5e-8


@dataclass(frozen=True)
class FTest:
    """A test of L b = 0.

    Attributes
    ----------
    statistic : F; of a Wald test chi-squared
    df : the numerator's degrees of freedom, the rank of L
    ddf : the denominator's; infinite in a Wald test
    p : the p-value
    """

    statistic: float
    df: int
    ddf: float
    p: float


def wald(fixed: Vector, covariance: Matrix, L: Matrix) -> FTest:
    """Chi-squared with the variances taken for known.

    Parameters
    ----------
    fixed, covariance : the fixed effects, shape (p,), and their covariance matrix, shape (p, p)
    L : the hypotheses, a row each, shape (q, p)
    """
    values, rows = _independent(L, covariance)
    statistic = float(((rows @ fixed) ** 2 / values).sum())
    return FTest(statistic, len(values), np.inf, float(stats.chi2.sf(statistic, len(values))))


def by_satterthwaite(likelihood: Likelihood, at: Parameters, L: Matrix) -> FTest:
    """F with Satterthwaite's degrees of freedom, at given estimates.

    Raises
    ------
    DegreesError : the deviance does not bend up in every direction: these estimates are near no optimum
    """
    values, rows = _independent(L, likelihood.fixed_covariance(at))
    q = len(values)
    statistic = float(((rows @ at.fixed) ** 2 / values).sum()) / q
    ddf = together(satterthwaite(likelihood, at, rows))
    return FTest(statistic, q, ddf, float(stats.f.sf(statistic, q, ddf)))


def together(degrees: Vector) -> float:
    """The degrees of freedom of an F test out of those of its t tests, shape (q,); 2 where one has no more."""
    if np.ptp(degrees) <= 1e-8:
        return float(degrees.mean())
    if degrees.min() <= 2:
        return 2.0
    expected = float((degrees / (degrees - 2)).sum())
    return 2 * expected / (expected - len(degrees))


def by_kenward_roger(adjustment: Adjustment, fixed: Vector, L: Matrix) -> FTest:
    """F scaled, with Kenward and Roger's degrees of freedom.

    Parameters
    ----------
    adjustment : of the covariance matrix of these fixed effects
    fixed : shape (p,)
    L : the hypotheses, a row each, shape (q, p)
    """
    values, rows = _independent(L, adjustment.covariance)
    q = len(values)
    # In coordinates in which the hypotheses are independent, of variance one: Theta Phi P Phi is a q x q matrix.
    changes = adjustment.changes(rows / np.sqrt(values)[:, None])
    traces = np.trace(changes, axis1=1, axis2=2)
    first = float(traces @ adjustment.W @ traces)
    second = float(np.einsum("iab,ij,jba->", changes, adjustment.W, changes))
    scale, ddf = _scaled(first, second, q)
    difference = rows @ fixed
    statistic = scale * float(difference @ np.linalg.solve(rows @ adjustment.adjusted @ rows.T, difference)) / q
    return FTest(statistic, q, ddf, float(stats.f.sf(statistic, q, ddf)))


def _scaled(first: float, second: float, q: int) -> tuple[float, float]:
    """What F is to be multiplied by, and its denominator's degrees of freedom, from Kenward and Roger's A1 and A2."""
    if not second > 0:
        return 1.0, np.inf
    if q == 1:
        return 1.0, 2 / first
    B = (first + 6 * second) / (2 * q)
    g = ((q + 1) * first - (q + 4) * second) / ((q + 2) * second)
    share = 3 * q + 2 * (1 - g)
    above, below = 1 + g / share * B, (1 - (q - g) / share * B) ** 2 * (1 - (q + 2 - g) / share * B)
    mean = 1 - second / q
    rho = mean**2 * above / (q * below)
    ddf = 4 + (q + 2) / (q * rho - 1)
    return (1.0 if abs(ddf - 2) < 0.01 else ddf * mean / (ddf - 2)), ddf


def _independent(L: Matrix, covariance: Matrix) -> tuple[Vector, Matrix]:
    """Hypotheses that say the same as L b = 0, uncorrelated: their variances, shape (q,), and rows, shape (q, p).

    Satterthwaite's degrees of freedom of several hypotheses depend on how they are written, L or A L, as F itself does
    not: the eigenvectors are those of this very L.
    """
    values, vectors = np.linalg.eigh(L @ covariance @ L.T)
    kept = values > IMPLIED * values[-1]
    return values[kept], vectors[:, kept].T @ L
