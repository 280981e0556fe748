"""The criterion of a model whose random terms have structured covariance matrices, as lme4 2 has them.

A matrix is D R D with standard deviations on the diagonal of D, all the same (homogeneous) or each its own, and
correlations R: one for all pairs (compound symmetry, ``cs``), or rho^|i - j| (autoregressive of order 1, ``ar1``). The
factors of R are written down, so that the criterion's gradient is exact: the chain rule on that of the unstructured
factors. A correlation is a sine of its coordinate, which keeps it between its bounds and the criterion smooth there.
Standard deviations of their own are t^2 / sqrt(1 + t^2) of their coordinates: two of unlike signs would be a matrix of
another structure, whose likelihood may be higher.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy  # its rooms load when they are first asked for

from concord.arrays import Array, Matrix, Vector
from concord.likelihood.blocks import Part
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.likelihood.search import Criteria
from concord.models.design import Design, DesignTerm
from concord.models.parameters import factor_of, triangle
from concord.models.structure import taken_apart

HELD = 1e-6
"""How far a correlation, or a standard deviation over the largest, may be from its structure: a fit's rounding."""
# Where searches start: relative standard deviations, and coordinates of the correlation.
_SIZES, _ANGLES = (0.01, 0.05, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0), (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
_STARTS, _DIPS = 6, 12


@dataclass(frozen=True, eq=False)
class Structure:
    """One term's structure, in relative standard deviations of its scaled columns.

    Attributes
    ----------
    name : ``cs`` or ``ar1``
    scales : the scaled columns are the columns over these, shape (q,); homogeneous, all the same
    homogeneous : whether all standard deviations are the same
    """

    name: str
    scales: Vector
    homogeneous: bool

    @property
    def deviations(self) -> int:
        """How many standard deviations are free."""
        return 1 if self.homogeneous else len(self.scales)

    @property
    def size(self) -> int:
        """How many coordinates it has: the standard deviations, and the correlation where there are two effects."""
        return self.deviations + (len(self.scales) > 1)

    @property
    def lowest(self) -> float:
        """The correlation at which the matrix becomes singular, but for 1."""
        return -1.0 / (len(self.scales) - 1) if self.name == "cs" else -1.0

    def correlation(self, angle: complex) -> complex:
        """The correlation at its coordinate."""
        lowest = self.lowest
        value: complex = (1 + lowest) / 2 + (1 - lowest) / 2 * np.sin(angle)
        return value

    def angle(self, correlation: float) -> float:
        """The coordinate of a correlation, but for rounding between its bounds."""
        lowest = self.lowest
        return math.asin(float(np.clip((correlation - (1 + lowest) / 2) / ((1 - lowest) / 2), -1.0, 1.0)))

    def root(self, correlation: complex) -> Array:
        """The lower triangular factor of the correlations, shape (q, q)."""
        q = len(self.scales)
        rows, columns = triangle(q)
        lower = np.zeros((q, q), complex)
        if self.name == "ar1":
            lower[rows, columns] = correlation ** (rows - columns) * np.where(
                columns > 0, np.sqrt(1 - correlation**2), 1.0
            )
            return lower
        lower[:, 0] = [1.0, *[correlation] * (q - 1)]
        for j in range(1, q):
            # 1 - rho, and what a sum of j effects with that correlation has of its own, before and after this one.
            before, after = 1 + (j - 1) * correlation, 1 + j * correlation
            lower[j, j] = np.sqrt((1 - correlation) * after / before)
            lower[j + 1 :, j] = correlation * np.sqrt((1 - correlation) / (before * after)) if j < q - 1 else 0.0
        return lower

    def coordinates(self, sizes: Vector | float) -> Vector:
        """The coordinates of standard deviations, or of one for all, shape (deviations,)."""
        d = np.broadcast_to(np.asarray(sizes, float), self.deviations)
        # d = t^2 / sqrt(1 + t^2), solved for t^2.
        return d.copy() if self.homogeneous else np.sqrt(d * (d + np.hypot(d, 2.0)) / 2)

    def factor(self, at: Vector) -> Matrix:
        """The relative factor of the scaled columns' effects, shape (q, q)."""
        return self._sizes(at)[:, None] * self._root(at).real

    def slopes(self, at: Vector) -> list[Matrix]:
        """The derivatives of `factor` with respect to the coordinates, each shape (q, q)."""
        q, root = len(self.scales), self._root(at).real
        moved = [root]
        if not self.homogeneous:
            t = at[:q]
            rates = t * (2 + t**2) / (1 + t**2) ** 1.5
            moved = [np.diag(row) @ root for row in np.diag(rates)]
        if q > 1:
            # By a step along the imaginary axis, which has no difference and so no rounding.
            turned = self.root(self.correlation(at[-1] + 1e-30j)).imag / 1e-30
            moved.append(self._sizes(at)[:, None] * turned)
        return moved

    def at(self, relative: Matrix) -> Vector | None:
        """The coordinates of a covariance matrix of the scaled columns' effects; None where it is not so structured."""
        q = len(relative)
        deviations = np.sqrt(np.maximum(np.diag(relative), 0.0))
        size = deviations.max(initial=0.0)
        if not np.isfinite(relative).all() or (self.homogeneous and np.ptp(deviations) > HELD * size):
            return None
        first = self.coordinates(deviations.mean() if self.homogeneous else deviations)
        if q == 1:
            return first
        unit = np.where(deviations > 0, deviations, 1.0)
        correlations = relative / np.outer(unit, unit)
        pairs = [(i, j) for i in range(q) for j in range(i) if deviations[i] > 0 and deviations[j] > 0]
        near = [pair for pair in pairs if self.name == "cs" or pair[0] - pair[1] == 1]
        own = float(np.mean([correlations[pair] for pair in near])) if near else 0.0
        angle = self.angle(own)
        root = self.root(self.correlation(angle)).real
        wanted = root @ root.T
        held = all(abs(correlations[pair] - wanted[pair]) <= HELD for pair in pairs)
        return np.append(first, angle) if held else None

    def _sizes(self, at: Vector) -> Vector:
        t = np.asarray(at[: self.deviations])
        return np.full(len(self.scales), t[0]) if self.homogeneous else t**2 / np.sqrt(1 + t**2)

    def _root(self, at: Vector) -> Array:
        return self.root(self.correlation(at[-1])) if len(self.scales) > 1 else np.ones((1, 1), complex)


@dataclass(frozen=True, eq=False)
class _Chained:
    """A part of the criterion whose derivatives are in the coordinates of the structures."""

    part: Part
    chain: Matrix  # of the unstructured theta with respect to the coordinates, shape (m, M)

    @property
    def logdet(self) -> float:
        return self.part.logdet

    @property
    def cross(self) -> Matrix:
        return self.part.cross

    def slopes(self, share: Matrix) -> Vector:
        """As the part's own, shape (m,)."""
        along: Vector = self.chain @ self.part.slopes(share)
        return along


class StructuredLikelihood(Likelihood):
    """The criterion of a model in which at least one random term has a structure; ``theta`` are its coordinates.

    Second derivatives are differences of the exact gradient.

    Raises
    ------
    LikelihoodError : as of `Likelihood`
    """

    def __init__(self, design: Design, reml: bool) -> None:
        super().__init__(design, reml)
        kinds = zip(design.terms, self.whiteners, strict=True)
        self.structures = [_structure(term, whitener) for term, whitener in kinds]
        sizes = [
            structure.size if structure else len(rows)
            for structure, (rows, _) in zip(self.structures, self.shape.triangles, strict=True)
        ]
        self.ends = np.cumsum(sizes)
        self.m, self.dense = int(self.ends[-1]), False
        # Where every term's entries begin and end in the unstructured theta.
        self._edges = np.cumsum([0, *(len(rows) for rows, _ in self.shape.triangles)])

    def factors(self, theta: Vector) -> list[Matrix]:
        """The terms' relative factors, lower triangles, shapes (q, q)."""
        return [
            structure.factor(part) if structure else factor_of(part, q) for structure, part, q in self._parts(theta)
        ]

    def directions(self, theta: Vector) -> list[tuple[int, Matrix]]:
        """For every coordinate the term, and the derivative of its factor, shape (q, q)."""
        moves = []
        for place, (structure, part, q) in enumerate(self._parts(theta)):
            if structure:
                moves += [(place, slope) for slope in structure.slopes(part)]
            else:
                moves += [(place, factor_of(unit, q)) for unit in np.eye(len(part))]
        return moves

    def starts(self, criteria: Criteria | None = None) -> list[Vector]:
        """Where searches start: the lowest points of a grid and its dips, as coordinates, shape (m,)."""
        axes, lengths = [], []
        for structure, (rows, columns) in zip(self.structures, self.shape.triangles, strict=True):
            lengths.append(len(_SIZES))
            if structure is None:
                axes.append([np.where(rows == columns, size, 0.0) for size in _SIZES])
                continue
            angles = _ANGLES if len(structure.scales) > 1 else ((),)
            axes.append([np.append(structure.coordinates(s), angle) for s in _SIZES for angle in angles])
            lengths.append(len(angles))
        points = np.array([np.concatenate(parts) for parts in product(*axes)])
        values = (criteria or self.criteria)(points)
        # The lowest points may all lie in one valley, and another have the optimum.
        lowest = scipy.ndimage.minimum_filter(values.reshape(lengths), size=3, mode="nearest").ravel()
        dips = np.flatnonzero((values <= lowest) & np.isfinite(values))
        dips = dips[np.argsort(values[dips])][:_DIPS]
        return [points[place] for place in dict.fromkeys([*dips, *np.argsort(values)[:_STARTS]])]

    def steepness(self, theta: Vector) -> Vector:
        """All the same: coordinates of a structure are none of a factor, shape (m,)."""
        return np.ones(self.m)

    def evaluate(self, theta: Vector) -> tuple[float, Matrix, list[Part]]:
        """As of `Likelihood`, at coordinates of the structures."""
        chain = np.zeros((self.m, self.shape.m))
        for k, (term, slope) in enumerate(self.directions(theta)):
            chain[k, self._edges[term] : self._edges[term + 1]] = slope[self.shape.triangles[term]]
        logdet, cross, parts = super().evaluate(np.asarray(self.shape.flat(self.factors(theta))))
        # All that is asked of a part that is not dense.
        return logdet, cross, [_Chained(part, chain) for part in parts]  # type: ignore[misc]

    def _whitened(self, term: DesignTerm) -> tuple[Matrix, Matrix]:
        """Columns are scaled and not recombined, where a structure holds for these very columns."""
        columns, whitener = super()._whitened(term)
        if not term.structure:
            return columns, whitener
        lengths = np.sqrt(np.mean(term.matrix**2, axis=0))
        if taken_apart(term.structure)[1]:
            lengths = np.full_like(lengths, math.sqrt(float(np.mean(lengths**2))))
        return term.matrix / lengths, np.diag(lengths)

    def _theta(self, covariances: Sequence[Matrix], residual_variance: float) -> Vector | None:
        parts: list[Vector] = []
        plain = super()._theta(covariances, residual_variance)
        if plain is None:
            return None
        rows = zip(covariances, self.whiteners, self.structures, np.split(plain, self._edges[1:-1]), strict=True)
        for covariance, whitener, structure, own in rows:
            part = structure.at(whitener @ covariance @ whitener.T / residual_variance) if structure else own
            if part is None:
                return None
            parts.append(part)
        return np.concatenate(parts)

    def _parts(self, theta: Vector) -> list[tuple[Structure | None, Vector, int]]:
        """Every term's structure, its coordinates, and its number of effects."""
        parts = np.split(theta, self.ends[:-1])
        return list(zip(self.structures, parts, self.shape.sizes, strict=True))


def likelihood_of(design: Design, reml: bool) -> Likelihood:
    """The criterion of a model, with the structures of its random terms.

    Raises
    ------
    LikelihoodError : it is not defined
    """
    structured = any(term.structure for term in design.terms)
    return StructuredLikelihood(design, reml) if structured else Likelihood(design, reml)


def _structure(term: DesignTerm, whitener: Matrix) -> Structure | None:
    if not term.structure:
        return None
    name, homogeneous = taken_apart(term.structure)
    if name not in ("cs", "ar1"):
        raise LikelihoodError(f"there is no likelihood of the structure {term.structure}")
    return Structure(name, np.diag(whitener).copy(), homogeneous)
