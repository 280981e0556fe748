"""The design of a model: response, matrices of the fixed and the random effects, groups; and rows to predict at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from concord.arrays import Integers, Mask, Matrix, Vector


@dataclass(frozen=True, eq=False)
class DesignTerm:
    """A random term in numbers.

    Attributes
    ----------
    group : name of the grouping factor
    names : names of the columns, as R has them, length q
    matrix : the columns, shape (n, q)
    codes : for every row the number of its group, shape (n,)
    levels : the groups' names
    structure : of the effects' covariance matrix: ``cs``, one correlation of all pairs; ``ar1``, rho^|i - j|; with
        ``hom`` before it, where all variances are the same; empty where it has none
    """

    group: str
    names: tuple[str, ...]
    matrix: Matrix
    codes: Integers
    levels: tuple[str, ...]
    structure: str = ""


@dataclass(frozen=True, eq=False)
class Design:
    """A model in numbers: y = X b + sum of Z_t u_t + e, for rows without missing values.

    The residuals e have one variance. Where rows have weights, that of row i is sigma^2 / w_i in the table: then y and
    the rows of X and of every Z_t are multiplied by the square roots of the weights (`weighted`).

    Attributes
    ----------
    y : response, less the offset where the formula has one, shape (n,)
    X, names : fixed-effects matrix, shape (n, p), and its columns' names as R has them
    terms : the random terms
    rows : which rows of the table were used, counted from 0, shape (n,)
    offset : the sum of the formula's offsets, shape (n,); None where it has none
    factors : for every factor and every column of strings its levels in these rows, in R's order
    dropped : by their names the columns that X has not, because others make them up, as lme4 has it; and what each is
    weights : of the rows, above 0, shape (n,); None where all weigh the same
    unweighted : the same design before its rows were multiplied; None where they were not
    """

    y: Vector
    X: Matrix
    names: tuple[str, ...]
    terms: tuple[DesignTerm, ...]
    rows: Integers
    offset: Vector | None = None
    factors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weights: Vector | None = None
    unweighted: Design | None = None
    dropped: Mapping[str, str] = field(default_factory=dict)

    @property
    def as_coded(self) -> Design:
        """The design in the table's own units, row by row: what is shown, and not what is solved."""
        return self.unweighted or self

    @property
    def row_weights(self) -> Vector:
        """The weights of the rows, shape (n,), 1 where all weigh the same."""
        return np.ones(len(self.y)) if self.weights is None else self.weights

    @property
    def log_weights(self) -> float:
        """The sum of the weights' logarithms: by so much -2 log-likelihood is less than that of the multiplied rows."""
        return 0.0 if self.weights is None else float(np.log(self.weights).sum())

    def of_one_variance(self, matrix: Matrix) -> Matrix:
        """Columns of the table's rows as columns of the multiplied ones, shape (n, k)."""
        return matrix if self.weights is None else matrix * np.sqrt(self.weights)[:, None]

    def to_rows(self, values: Vector) -> Vector:
        """Values of the multiplied rows in the response's own unit, shape (n,)."""
        return values if self.weights is None else values / np.sqrt(self.weights)


def weighted(design: Design, weights: Vector) -> Design:
    """A design whose residuals have the variances sigma^2 / w_i as one whose residuals have one variance.

    With W the diagonal matrix of the weights, W^(1/2) (y - X b - Z u) has the covariance matrix sigma^2 I, and the
    density of y is that of W^(1/2) y times |W|^(1/2).

    Parameters
    ----------
    weights : above 0, shape (n,)
    """
    roots = np.sqrt(weights)
    terms = tuple(replace(term, matrix=term.matrix * roots[:, None]) for term in design.terms)
    return replace(
        design, y=design.y * roots, X=design.X * roots[:, None], terms=terms, weights=weights, unweighted=design
    )


@dataclass(frozen=True, eq=False)
class FixedTerms:
    """The terms of the fixed effects, numbered from 1; 0 is the intercept.

    Attributes
    ----------
    labels : of the terms, as R has them; the columns of one spline are one term, called as the spline
    of_column : for every column of X the number of its term, shape (p,)
    variables : for every term the variables that it multiplies
    numeric : those of them that are numbers
    matrices : those of the numbers that are several columns in R, such as ``poly(x, 2)``
    full : the columns of all terms with one column for every level of every factor, shape (n, k)
    of_full : for every such column the number of its term, shape (k,)
    not_first : whether it is of no factor's first level, shape (k,)
    parts : for every term the labels that R has of it
    """

    labels: tuple[str, ...]
    of_column: Integers
    variables: tuple[frozenset[str], ...]
    numeric: frozenset[str]
    full: Matrix
    of_full: Integers
    not_first: Mask
    parts: tuple[tuple[str, ...], ...] = ()
    matrices: frozenset[str] = frozenset()

    def above(self, term: int, same_numbers: bool = True) -> list[int]:
        """The terms that contain a term: those with all its variables, and more of them.

        Parameters
        ----------
        term : its number, from 1
        same_numbers : only those that have the same numeric variables, as SAS has it: x:f contains x, and not f
        """
        own = self.variables[term - 1]
        above = [k for k, variables in enumerate(self.variables, 1) if own < variables]
        if not same_numbers:
            return above
        return [k for k in above if own & self.numeric == self.variables[k - 1] & self.numeric]


@dataclass(frozen=True, eq=False)
class NewRows:
    """Rows to predict at, in the columns of a model.

    Attributes
    ----------
    X : fixed-effects columns, shape (m, p); a missing number where the new data have one
    matrices : for every random term its columns, shape (m, q)
    codes : for every random term the number of each row's level among the design's, -1 where it is not among them, or
        missing, shape (m,)
    offset : the sum of the formula's offsets, shape (m,)
    beyond : of every column that X has not because others make it up in the model's own rows, what they do not make of
        it in these, as a part of its largest value there, shape (m, d): where it is not zero, the data do not tell what
        to expect of a row
    """

    X: Matrix
    matrices: tuple[Matrix, ...]
    codes: tuple[Integers, ...]
    offset: Vector
    beyond: Matrix = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def known(self) -> Mask:
        """Whether all of a row's levels are the design's, shape (m,)."""
        known: Mask = np.all([codes >= 0 for codes in self.codes], axis=0)
        return known


def own_rows(design: Design) -> NewRows:
    """The design's own rows, to predict at."""
    design = design.as_coded
    offset = np.zeros(len(design.y)) if design.offset is None else design.offset
    terms = design.terms
    return NewRows(design.X, tuple(term.matrix for term in terms), tuple(term.codes for term in terms), offset)
