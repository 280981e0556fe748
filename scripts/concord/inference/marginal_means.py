"""Marginal means of factors and their contrasts: linear functions of the fixed effects, L b, with their errors.

A mean is that of the predictions over a grid of the other factors' levels, all of equal weight, and at the means of the
other predictors (Searle, Speed and Milliken 1980, The American Statistician 34, 216-221).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from concord.arrays import Integers, Mask, Matrix, Vector
from concord.inference import degrees_of_freedom
from concord.inference.degrees_of_freedom import Adjustment
from concord.likelihood.likelihood import Likelihood
from concord.models.parameters import Parameters


@dataclass(frozen=True, eq=False)
class Linear:
    """Estimates of linear functions of the fixed effects, arrays of shape (k,).

    Attributes
    ----------
    estimate, std_error : in the response's unit
    df : degrees of freedom; infinite where the variances are taken for known
    """

    estimate: Vector
    std_error: Vector
    df: Vector

    def where(self, known: Mask) -> Linear:
        """The same with nothing but missing numbers where a function is not known, shape (k,)."""
        numbers = (np.where(known, values, np.nan) for values in (self.estimate, self.std_error, self.df))
        return Linear(*numbers)

    def interval(self, level: float) -> tuple[Vector, Vector]:
        """The ends of the confidence intervals, each of this level by itself."""
        half = stats.t.ppf((1 + level) / 2, self.df) * self.std_error
        return self.estimate - half, self.estimate + half

    @property
    def t(self) -> Vector:
        """The estimates in standard errors."""
        return self.estimate / self.std_error

    @property
    def p(self) -> Vector:
        """Two-sided p-values, each by itself."""
        p: Vector = 2 * stats.t.sf(np.abs(self.t), self.df)
        return p

    def tukey(self, means: int) -> Vector:
        """P-values of all differences of so many means at once, by the studentized range (Tukey and Kramer)."""
        if means == 2:
            return self.p
        # Beyond so many degrees of freedom the range is that of known variances.
        df = np.where(self.df > 1e5, np.inf, self.df)
        p: Vector = stats.studentized_range.sf(np.sqrt(2) * np.abs(self.t), means, df)
        return np.clip(p, 0.0, 1.0)


def averages(rows: Matrix, cells: Integers) -> Matrix:
    """The means of a grid's rows, shape (m, p), within each of its cells, numbered from 0, shape (k, p)."""
    count = np.bincount(cells)
    sums = np.zeros((len(count), rows.shape[1]))
    np.add.at(sums, cells, rows)
    return sums / count[:, None]


def differences(count: int) -> tuple[list[tuple[int, int]], Matrix]:
    """The pairs of so many means, each mean less every later one, and these differences as rows, shape (k, count)."""
    pairs = list(combinations(range(count), 2))
    rows = np.zeros((len(pairs), count))
    for row, (one, other) in zip(rows, pairs, strict=True):
        row[one], row[other] = 1.0, -1.0
    return pairs, rows


def by_satterthwaite(likelihood: Likelihood, at: Parameters, L: Matrix, offset: Vector) -> Linear:
    """Estimates with Satterthwaite's degrees of freedom.

    Parameters
    ----------
    L, offset : the functions, shape (k, p), and what is to be added to each, shape (k,)

    Raises
    ------
    DegreesError : the deviance does not bend up in every direction: these estimates are near no optimum
    """
    return Linear(
        L @ at.fixed + offset,
        _errors(L, likelihood.fixed_covariance(at)),
        degrees_of_freedom.satterthwaite(likelihood, at, L),
    )


def by_kenward_roger(adjustment: Adjustment, at: Parameters, L: Matrix, offset: Vector) -> Linear:
    """Estimates with Kenward and Roger's standard errors and degrees of freedom; see `by_satterthwaite`."""
    return Linear(L @ at.fixed + offset, _errors(L, adjustment.adjusted), degrees_of_freedom.one_by_one(adjustment, L))


def by_known_variances(likelihood: Likelihood, at: Parameters, L: Matrix, offset: Vector) -> Linear:
    """Estimates with the variances taken for known, by the normal distribution; see `by_satterthwaite`."""
    return Linear(L @ at.fixed + offset, _errors(L, likelihood.fixed_covariance(at)), np.full(len(L), np.inf))


def _errors(L: Matrix, covariance: Matrix) -> Vector:
    errors: Vector = np.sqrt(np.einsum("kp,pq,kq->k", L, covariance, L))
    return errors
