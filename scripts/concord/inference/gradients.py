"""Derivatives of the criterion in the entries of a covariance matrix's factor, and a gradient that knows no coding.

The relative gradient is 2 F' G F for a factor F of a covariance matrix and the derivatives G of the deviance with
respect to that matrix: its eigenvalues are the same in every coding and for every factor, and for a single effect they
are the derivative with respect to the logarithm of its standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from concord.arrays import Floats, Matrix, Vector
from concord.likelihood.likelihood import EPS, Likelihood
from concord.models.design import Design, DesignTerm
from concord.models.parameters import triangle

# A factor's diagonal is measured on what it adds to the response; steps of differences are this share of that.
_SHARE = 1e-3


def relative_gradient(factor: Matrix, slopes: Matrix) -> Floats:
    """Eigenvalues of 2 F' G F, shape (q,), from the derivatives with respect to the lower triangle of F.

    The derivatives of a function of F F' are 2 G F, of which the lower triangle, multiplied by F', gives that of the
    symmetric matrix 2 F' G F.

    Parameters
    ----------
    factor : lower triangular, shape (q, q)
    slopes : derivatives with respect to its entries, in its lower triangle, shape (q, q)
    """
    product = np.tril(factor.T @ np.tril(slopes))
    return np.linalg.eigvalsh(product + np.tril(product, -1).T)


def largest(factors: Sequence[Matrix], slopes: Sequence[Matrix]) -> float:
    """The largest absolute eigenvalue of all terms' relative gradients."""
    gradients = [
        np.abs(relative_gradient(factor, slope)).max(initial=0.0) for factor, slope in zip(factors, slopes, strict=True)
    ]
    return float(max(gradients, default=0.0))


def filled(values: Vector, sizes: Sequence[int], by_column: bool) -> list[Matrix]:
    """Lower triangles out of one vector, each column by column or row by row."""
    matrices, start = [], 0
    for q in sizes:
        rows, columns = triangle(q) if by_column else np.tril_indices(q)
        matrix = np.zeros((q, q))
        matrix[rows, columns] = values[start : start + len(rows)]
        matrices.append(matrix)
        start += len(rows)
    return matrices


class Criterion:
    """The independent criterion as a function of a package's own factors, in the package's own columns.

    Parameters
    ----------
    design : the model in numbers
    reml : whether by REML
    terms : the random terms as the package has them
    by_column : how it packs the lower triangles
    """

    def __init__(self, design: Design, reml: bool, terms: Sequence[DesignTerm], by_column: bool) -> None:
        self._likelihood = Likelihood(replace(design, terms=tuple(terms)), reml)
        self.sizes, self.by_column = [len(term.names) for term in terms], by_column
        # In whichever order the entries stand, the row of each says whose effect's unit it has.
        units = [1 / np.sqrt(np.mean(term.matrix**2, axis=0)) for term in terms]
        rows = [np.triu_indices(q)[1] if by_column else np.tril_indices(q)[0] for q in self.sizes]
        self.units = np.concatenate([unit[row] for unit, row in zip(units, rows, strict=True)])

    def __call__(self, packed: Vector) -> float:
        """The criterion at factors in one vector, shape (m,)."""
        return self._likelihood.criterion(self._likelihood.theta_of(self._relative(packed)))

    def summation(self, packed: Vector) -> float:
        """What adding up X'V^-1X effect by effect, through the normal equations, can do to the criterion.

        A sum of k products has an error of up to k eps |X|'|X| (Higham 2002, Accuracy and Stability of Numerical
        Algorithms, section 3.5). k is the number of all random effects; those of groups of one size round alike, and
        come near it. By ML the criterion has no log |X'V^-1X|.
        """
        if not self._likelihood.reml:
            return 0.0
        design, theta = self._likelihood.design, self._likelihood.theta_of(self._relative(packed))
        X = np.abs(design.X)
        effects = sum(len(term.names) * len(term.levels) for term in design.terms)
        return effects * EPS * float(np.sum(np.abs(self._likelihood.spread_at(theta)) * (X.T @ X)))

    def _relative(self, packed: Vector) -> list[Matrix]:
        return [factor @ factor.T for factor in self.factors(packed)]

    def factors(self, packed: Vector) -> list[Matrix]:
        """The factor of every term, shapes (q, q)."""
        return filled(packed, self.sizes, self.by_column)

    def slopes(self, packed: Vector) -> Vector:
        """Derivatives by differences of four values, with steps in the units of the effects, shape (m,)."""
        gradient = np.zeros(len(packed))
        for i, unit in enumerate(self.units):
            h = _SHARE * max(unit, abs(packed[i]))
            at = [self(packed + times * h * np.eye(len(packed))[i]) for times in (-2, -1, 1, 2)]
            gradient[i] = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h)
        return gradient

    def differences(self, packed: Vector, step: float) -> tuple[Vector, Matrix]:
        """Gradient and Hessian by differences with one step for all, shapes (m,) and (m, m)."""
        m, here = len(packed), self(packed)
        ahead, behind = ([self(packed + s * step * e) for e in np.eye(m)] for s in (1, -1))
        gradient = (np.array(ahead) - behind) / (2 * step)
        hessian = np.diag((np.array(ahead) - 2 * here + behind) / step**2)
        for i in range(m):
            for j in range(i):
                corners = [
                    s * t * self(packed + step * (s * np.eye(m)[i] + t * np.eye(m)[j]))
                    for s in (1, -1)
                    for t in (1, -1)
                ]
                hessian[i, j] = hessian[j, i] = sum(corners) / (2 * step) ** 2
        return gradient, hessian
