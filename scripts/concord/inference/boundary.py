"""How often the likelihood ratio of a single variance is zero when the variance is, in samples of a given design."""

from __future__ import annotations

import numpy as np
from scipy.integrate import quad

from concord.arrays import Floats, Vector
from concord.models.design import Design

# Levels of a grouping factor beyond which no eigenvalues are computed.
MOST_LEVELS = 1000


def zero_share(design: Design, reml: bool) -> float:
    """The probability that the likelihood ratio of one variance against the linear model is zero under the null.

    The ratio is zero where the log-likelihood falls from a variance of zero on: where a ratio of quadratic forms in
    normal variables, y'P Z Z'P y / y'P y with P the projection on the residuals of X, is no larger than its expectation
    by REML, or than tr(Z'Z) / n by ML (Crainiceanu and Ruppert 2004, Journal of the Royal Statistical Society B 66,
    165-185, section 3). In a balanced one-way layout of k groups that is F below 1, or below k / (k - 1).

    Parameters
    ----------
    design : with one random term of one column
    reml : whether the ratio is of REML log-likelihoods

    Raises
    ------
    ValueError : the design has other random terms, or more than 1000 levels
    """
    if [len(term.names) for term in design.terms] != [1] or len(design.terms[0].levels) > MOST_LEVELS:
        raise ValueError(f"one random term of one column is needed, with no more than {MOST_LEVELS} levels")
    (term,), (n, p) = design.terms, design.X.shape
    column, count = term.matrix[:, 0], len(term.levels)
    squares = np.bincount(term.codes, column**2, count)
    Q = np.linalg.qr(design.X)[0]
    explained = np.array([np.bincount(term.codes, column * each, count) for each in Q.T]).reshape(p, count).T
    sizes = np.linalg.eigvalsh(np.diag(squares) - explained @ explained.T)
    limit = sizes.sum() / (n - p) if reml else squares.sum() / n
    # The ratio is no larger than the limit where this form in n - p squared normal variables is not positive.
    weights = np.append(sizes[p - n :] - limit, -limit)
    times = np.append(np.ones(len(weights) - 1), max(n - p - count, 0))
    return 1 - _positive(weights, times)


def _positive(weights: Vector, times: Vector) -> float:
    """The probability that a weighted sum of chi-squared variables is positive.

    By the inversion of its characteristic function (Imhof 1961, Biometrika 48, 419-426).

    Parameters
    ----------
    weights, times : the weight of every variable, and its degrees of freedom
    """
    scaled: Floats = weights / np.abs(weights).max()

    def integrand(u: float) -> float:
        angle = 0.5 * times @ np.arctan(scaled * u)
        return float(np.sin(angle) * np.exp(-0.25 * times @ np.log1p((scaled * u) ** 2)) / u)

    return float(0.5 + quad(integrand, 0, np.inf, limit=500, epsabs=1e-10)[0] / np.pi)
