"""The parameters of a linear mixed model: fixed effects, covariance matrices and residual variance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from concord.arrays import Integers, Matrix, Vector
from concord.models.design import Design

KEY = ["effect", "group", "term"]
ESTIMATES = [*KEY, "estimate", "std_error"]
RANDOM_EFFECTS = ["group", "level", "term", "estimate", "std_error"]

# theta^2 below this is rounding about a variance of zero: a share of the residual variance in the response. The same
# number rules the square of what a correlation leaves of its second effect.
ZERO = 1e-8
# Eigenvalues of a correlation matrix below minus this are not rounding: the matrix is not a covariance matrix.
INDEFINITE = 1e-7


@dataclass(frozen=True, eq=False)
class Parameters:
    """A value of every parameter of a linear mixed model.

    Wherever parameters stand in a row, in a table or in a vector of length k, their order is this: the fixed effects;
    for every random term the variances of its effects, then their covariances by the later of the two effects (see
    `entries`); the residual variance. `keys` names them in that order.

    Attributes
    ----------
    fixed : fixed effects, shape (p,), in the order of the design's columns of X
    covariances : for every random term the covariance matrix of its effects, shape (q, q)
    residual_variance : variance of the residuals, in the squared unit of the response
    """

    fixed: Vector
    covariances: tuple[Matrix, ...]
    residual_variance: float

    @classmethod
    def from_table(cls, table: pd.DataFrame, design: Design) -> Parameters:
        """The values in a table with the columns ``effect, group, term, estimate``, whatever the order of its rows.

        Raises
        ------
        KeyError : the table has no row for a parameter of the design
        """
        values = {tuple(row[:3]): row[3] for row in table[[*KEY, "estimate"]].itertuples(index=False)}
        return cls.from_packed(np.array([values[key] for key in keys(design)]), design)

    @classmethod
    def from_packed(cls, values: Vector, design: Design) -> Parameters:
        """The values in one vector, shape (k,); see `packed`."""
        start = len(design.names)
        covariances = []
        for term in design.terms:
            matrix = np.empty((len(term.names),) * 2)
            rows, columns = np.transpose(entries(len(matrix)))
            matrix[rows, columns] = matrix[columns, rows] = values[start : start + len(rows)]
            covariances.append(matrix)
            start += len(rows)
        return cls(np.array(values[: len(design.names)]), tuple(covariances), float(values[-1]))

    @property
    def packed(self) -> Vector:
        """All values in one vector, shape (k,)."""
        parts = [covariance[tuple(np.transpose(entries(len(covariance))))] for covariance in self.covariances]
        return np.concatenate([self.fixed, *parts, [self.residual_variance]])

    def table(self, design: Design, std_error: Vector | None = None) -> pd.DataFrame:
        """One row a parameter: ``effect, group, term, estimate, std_error``, named as R's broom.mixed names them.

        Parameters
        ----------
        std_error : standard errors of the fixed effects, shape (p,); missing, as those of all other parameters are,
            where none are given
        """
        values = self.packed.astype(float)
        stated = np.full(len(self.fixed), np.nan) if std_error is None else std_error
        errors = np.append(stated, np.full(len(values) - len(self.fixed), np.nan))
        return pd.DataFrame(keys(design), columns=KEY).assign(estimate=values, std_error=errors)

    @property
    def finite(self) -> bool:
        """Whether every value is a number."""
        return bool(np.isfinite(self.packed).all())

    @property
    def relative(self) -> list[Matrix]:
        """The covariance matrices relative to the residual variance, shapes (q, q)."""
        return [covariance / self.residual_variance for covariance in self.covariances]

    def singular(self, design: Design) -> bool:
        """Whether the values lie on the boundary of the parameter space: a variance is zero, or a covariance matrix is
        singular. It depends neither on the effects' units nor on the zeros of the predictors.
        """
        terms = zip(design.terms, self.relative, strict=True)
        return any(_is_singular(relative, term.matrix) for term, relative in terms)

    def shares(self, design: Design) -> list[Vector]:
        """For every random term the mean squares of its effects in the response, in residual variances, shape (q,)."""
        return [
            np.diag(covariance) * np.mean(term.matrix**2, axis=0) / self.residual_variance
            for term, covariance in zip(design.terms, self.covariances, strict=True)
        ]


class Estimated:
    """What has values of all parameters: its `parameters`, and each of the three kinds by its own name."""

    parameters: Parameters

    @property
    def fixed(self) -> Vector:
        """Fixed effects, shape (p,)."""
        return self.parameters.fixed

    @property
    def covariances(self) -> tuple[Matrix, ...]:
        """For every random term the covariance matrix of its effects, shape (q, q)."""
        return self.parameters.covariances

    @property
    def residual_variance(self) -> float:
        """Variance of the residuals."""
        return self.parameters.residual_variance


def entries(q: int) -> list[tuple[int, int]]:
    """Where the parameters of a covariance matrix of q effects stand in it, in their order: the variances, then the
    covariances of each effect with those before it.
    """
    return [(i, i) for i in range(q)] + [(i, j) for j in range(q) for i in range(j)]


def triangle(q: int) -> tuple[Integers, Integers]:
    """Rows and columns of the lower triangle of a factor of q effects, column by column: the order of lme4's theta."""
    columns, rows = np.triu_indices(q)
    return rows, columns


def factor_of(values: Vector, q: int) -> Matrix:
    """The factor of q effects with these values in its lower triangle, in the order of `triangle`, shape (q, q)."""
    factor = np.zeros((q, q))
    factor[triangle(q)] = values
    return factor


def keys(design: Design) -> list[tuple[str, str, str]]:
    """The parameters of a design: effect, group and term of each.

    Fixed effects have the effect ``fixed`` and no group. All others have the effect ``ran_pars`` and the terms
    ``var__(Intercept)``, ``cov__(Intercept).Time`` and, for the residual variance, ``var__Observation``.
    """
    names_of = [("fixed", "", name) for name in design.names]
    for term in design.terms:
        names = [
            f"var__{term.names[i]}" if i == j else f"cov__{term.names[i]}.{term.names[j]}"
            for i, j in entries(len(term.names))
        ]
        names_of += [("ran_pars", term.group, name) for name in names]
    return [*names_of, ("ran_pars", "Residual", "var__Observation")]


def names(design: Design) -> list[str]:
    """The parameters of a design, each in a word or two: ``Days``, ``Subject var__Days``."""
    return [" ".join(filter(None, [group, term])) for _, group, term in keys(design)]


def least_eigenvalue(covariance: Matrix) -> float:
    """The least eigenvalue of the correlations in a covariance matrix; NaN where it is not a covariance matrix."""
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(covariance == 0, np.eye(len(covariance)), covariance / np.outer(deviation, deviation))
    return float(np.linalg.eigvalsh(correlation)[0]) if np.isfinite(correlation).all() else math.nan


def _is_singular(relative: Matrix, columns: Matrix) -> bool:
    """Whether a covariance matrix relative to the residual variance is singular, as far as its doubles tell.

    It is taken for the effects of columns that are orthonormal, but for a factor, over the rows, shape (n, q). There
    the variance of some combination of effects is less than `ZERO`, or than what the rounding of the matrix's entries
    leaves unknown; or so is the least eigenvalue of the correlations.
    """
    if not np.isfinite(relative).all():
        return False
    whitener = np.asarray(np.linalg.qr(columns, mode="r")) / math.sqrt(len(columns))
    whitened = whitener @ relative @ whitener.T
    rounding = 8 * np.finfo(float).eps * (np.abs(whitener) @ np.abs(relative) @ np.abs(whitener.T)).max()
    least = np.linalg.eigvalsh((whitened + whitened.T) / 2)[0]
    return bool(least <= max(ZERO, rounding) or least_eigenvalue(whitened) <= ZERO)


def spectrum(covariance: Matrix) -> tuple[Vector, Matrix, Vector]:
    """The spectral decomposition of a covariance matrix taken as correlations, which the effects' units do not change.

    Returns
    -------
    unit, vectors, roots : the standard deviations, shape (q,), with 1 in the place of 0; the eigenvectors of the
        correlations, shape (q, q); and the square roots of their eigenvalues, shape (q,). With H the product of
        `vectors` and the diagonal matrix of `roots`, and D the diagonal matrix of `unit`, D H H' D is the matrix.

    Raises
    ------
    ValueError : it is not a covariance matrix, by more than rounding
    """
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    unit = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(unit, unit))
    if values.min(initial=0.0) < -INDEFINITE:
        raise ValueError("not a covariance matrix: it has a negative eigenvalue")
    return unit, vectors, np.sqrt(np.maximum(values, 0.0))
