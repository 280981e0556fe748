"""The whole space of the covariances covered: no point of it is better than the optimum.

On a polytope of matrices S with corners v, and any point c, the criterion d = L + f of `surface` is at least

    min over v of  L(v) + f(c) + f'(c) (v - c),

because the convex f lies above its tangent, and what is then left is concave and smallest at a corner. The bound is of
second order in the size of the polytope, so that boxes may shrink with the distance from the optimum and no faster.
Without end, where one matrix or several go to infinity, d is at least min L(v) over the nearest corners plus nu log of
the residual sum of squares with all effects fixed. Around the optimum d is proved convex in theta, so that the optimum
is the only one there.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from flint import arb, arb_mat, ctx

from concord.likelihood.certificate import CertificateError, Exact
from concord.proof.convexity import curvature
from concord.proof.regions import Interval, Shell, regions
from concord.proof.surface import UNBOUNDED, Surface, Value, ball, limit, lower

Cell = tuple[Interval | Shell, ...]
BITS = 96
# What rounding of the optimum may leave of the slope, in units of the criterion over the convex box.
RESOLVED = 1e-9


class BetterPoint(CertificateError):
    """The criterion is less at `theta` than at the optimum that was handed in."""

    def __init__(self, theta: list[float]) -> None:
        super().__init__(f"a better point was found, at theta = {theta}")
        self.theta = theta


def cover(exact: Exact, theta: Sequence[arb], seconds: float, bits: int = BITS) -> int:
    """Prove that the criterion is nowhere less than at theta; how many boxes that took.

    Raises
    ------
    CertificateError : it is, or that is not proved in time
    """
    kept, until = ctx.prec, time.perf_counter() + seconds
    try:
        for precision in (bits, 2 * bits, 4 * bits):
            ctx.prec = precision
            try:
                return _Cover(exact, theta, until).prove()
            except (ZeroDivisionError, ValueError) as error:
                problem = error
        raise CertificateError(f"no enclosure at {precision} bits: {problem}")
    finally:
        ctx.prec = kept


class _Cover:
    def __init__(self, exact: Exact, theta: Sequence[arb], until: float) -> None:
        if max(exact.sizes) > 2:
            raise CertificateError("terms with more than two correlated effects are not covered")
        self.begin, self.until = time.perf_counter(), until
        ctx.prec, working = 3 * ctx.prec, ctx.prec
        last = limit(exact)
        if not last > 0:
            raise CertificateError(UNBOUNDED)
        whiteners = _whiteners(exact)
        self.sizes, surface = exact.sizes, Surface(exact)
        # X orthonormal in the metric of the optimum, y less what X explains, effects in units of what the data weigh.
        T = _orthonormalizing(surface.cross(_matrices(exact.sizes, theta)))
        self.surface = surface.whitened(whiteners, T)
        ctx.prec = working
        self.floor = last.log() * exact.nu
        self.theta = _moved(exact.sizes, theta, whiteners)
        self.whiteners = whiteners
        best = self.surface.at(_matrices(exact.sizes, self.theta))
        if best is None:
            raise ValueError("the criterion is not enclosed at the optimum")  # it may be at more bits
        self.best = best.rising + best.falling
        self.radius = self._convex()
        self.rising: dict[tuple[Any, ...], arb | None] = {}

    def prove(self) -> int:
        """Examine boxes, the least bound first, until none is left."""
        order, examined = itertools.count(), 0
        boxes: list[tuple[float, int, Cell]] = []
        for cell in itertools.product(*(regions(q) for q in self.sizes)):
            heapq.heappush(boxes, (-math.inf, next(order), cell))
        while boxes:
            bound, _, cell = heapq.heappop(boxes)
            for part in self._halves(cell):
                examined += 1
                if time.perf_counter() > self.until:
                    spent = time.perf_counter() - self.begin
                    raise CertificateError(f"gave up after {spent:.0f} s with {len(boxes) + 1} boxes left")
                least = self._bound(part)
                if (least is not None and least > self.best) or self._closed(part):
                    continue
                low = -math.inf if least is None or not least.is_finite() else float(least.lower())
                heapq.heappush(boxes, (low, next(order), part))
        return examined

    def _halves(self, cell: Cell) -> list[Cell]:
        """The box cut where it is widest."""
        widths = [(width, term, k) for term, part in enumerate(cell) for k, width in enumerate(part.widths())]
        _, term, direction = max(widths)
        return [(*cell[:term], half, *cell[term + 1 :]) for half in cell[term].split(direction)]

    def _bound(self, cell: Cell) -> arb | None:
        """A lower bound of the criterion on a box; None where there is none yet."""
        corners = [part.corners() for part in cell]
        if any(part.endless for part in cell):
            risings = self._risings(cell, corners)
            return None if risings is None else _least([rising for _, rising in risings]) + self.floor
        middle = [part.inside() for part in cell]
        centre = self.surface.at(middle, slopes=True)
        if centre is None:
            return None
        self._compare(centre, middle)
        tangents = [
            [_inner(slope, corner - inside) for corner in own]
            for slope, own, inside in zip(centre.slopes, corners, middle, strict=True)
        ]
        risings = self._risings(cell, corners)
        if risings is None:
            return None
        values = [
            rising + sum((tangent[k] for tangent, k in zip(tangents, at, strict=True)), arb(0))
            for at, rising in risings
        ]
        return _least(values) + centre.falling

    def _risings(self, cell: Cell, corners: list[list[arb_mat]]) -> list[tuple[tuple[int, ...], arb]] | None:
        """L at every combination of the terms' corners; None where it is not enclosed at one of them."""
        risings = []
        for at in itertools.product(*(range(len(own)) for own in corners)):
            rising = self._rising(cell, corners, at)
            if rising is None:
                return None
            risings.append((at, rising))
        return risings

    def _rising(self, cell: Cell, corners: list[list[arb_mat]], at: tuple[int, ...]) -> arb | None:
        """L at a corner, kept for the boxes that share it."""
        S = [own[k] for own, k in zip(corners, at, strict=True)]
        psd = all(isinstance(part, Interval) for part in cell)
        key = tuple(_bits(matrix[i, j]) for matrix in S for i in range(matrix.nrows()) for j in range(i + 1))
        if key not in self.rising:
            value = self.surface.at(S, psd=psd)
            self.rising[key] = None if value is None else value.rising
        return self.rising[key]

    def _compare(self, centre: Value, middle: list[arb_mat]) -> None:
        """A point that is better than the optimum ends the proof."""
        if centre.rising + centre.falling < self.best:
            theta: list[float] = []
            for matrix, W in zip(middle, self.whiteners, strict=True):
                inverse = W.inv()
                theta += _factor(inverse * matrix * inverse.transpose())
            raise BetterPoint(theta)

    def _closed(self, cell: Cell) -> bool:
        """Whether a box lies in the region around the optimum on which the criterion is proved convex."""
        if any(part.endless for part in cell):
            return False
        factors = [factor for part in cell for factor in part.factor()]
        return all(
            abs(factor - at) <= radius for factor, at, radius in zip(factors, self.theta, self.radius, strict=True)
        )

    def _bowl(self, box: list[arb]) -> bool:
        """Whether the criterion is proved convex on a box in theta."""
        try:
            return _positive(curvature(self.surface, box)[1])
        except ZeroDivisionError:  # a matrix that is not proved to have an inverse
            return False

    def _convex(self) -> list[arb]:
        """Half-widths of a box in theta around the optimum on which the Hessian is proved positive definite."""
        gradient, hessian = curvature(self.surface, self.theta)
        if not all(hessian[i, i] > 0 for i in range(len(gradient))):
            raise CertificateError("the Hessian at the optimum is not positive definite")
        scale = [1 / hessian[i, i].sqrt() for i in range(len(gradient))]
        for k in range(-2, 60):
            radius = [arb(float(entry * arb(2) ** -k)) for entry in scale]
            box = [at + arb(0, half) for at, half in zip(self.theta, radius, strict=True)]
            if self._bowl(box):
                # Convex, the criterion lies above its tangent: what a slope that is not exactly zero could gain.
                gain = sum((abs(slope) * half for slope, half in zip(gradient, radius, strict=True)), arb(0))
                if not gain < RESOLVED:
                    raise CertificateError("theta is not a stationary point")
                return radius
        raise CertificateError("no box around the optimum is proved convex")


def _least(values: Sequence[arb]) -> arb:
    least = values[0]
    for value in values[1:]:
        least = least.min(value)
    return least


def _bits(value: arb) -> tuple[Any, ...]:
    """All of a ball, as a key: no other ball has the same, but for those that hold every number."""
    return (*value.mid().man_exp(), *value.rad().man_exp()) if value.is_finite() else ()


def _inner(a: arb_mat, b: arb_mat) -> arb:
    return sum((a[i, j] * b[i, j] for i in range(a.nrows()) for j in range(a.ncols())), arb(0))


def _matrices(sizes: Sequence[int], theta: Sequence[arb]) -> list[arb_mat]:
    """The terms' relative covariance matrices."""
    return [factor * factor.transpose() for factor in lower(sizes, theta)]


def _factor(matrix: arb_mat) -> list[float]:
    """The lower triangle of a factor of a covariance matrix of one effect or two, column by column."""
    first = float(matrix[0, 0].mid()) ** 0.5
    if matrix.nrows() == 1:
        return [first]
    below = float(matrix[1, 0].mid()) / first if first else 0.0
    return [first, below, max(float(matrix[1, 1].mid()) - below * below, 0.0) ** 0.5]


def _whiteners(exact: Exact) -> list[arb_mat]:
    """Lower triangular W for each term, such that the mean Z'Z is the identity for effects of covariance W Sigma W'."""
    whiteners = []
    starts = [sum(q * (q + 1) // 2 for q in exact.sizes[:k]) for k in range(len(exact.sizes))]
    for q, start in zip(exact.sizes, starts, strict=True):
        weight, levels = np.zeros((q, q)), 0
        for pattern in exact.patterns:
            for first in (i for i in range(len(pattern.gram)) if pattern.factor[i, i] == start):
                own = [[float(ball(pattern.gram[first + i][first + j])) for j in range(q)] for i in range(q)]
                weight += pattern.count * np.array(own)
                levels += pattern.count
        W = np.linalg.inv(np.linalg.cholesky(np.linalg.inv(weight / levels)))
        whiteners.append(arb_mat([[arb(float(W[i, j])) if j <= i else arb(0) for j in range(q)] for i in range(q)]))
    return whiteners


def _moved(sizes: Sequence[int], theta: Sequence[arb], whiteners: Sequence[arb_mat]) -> list[arb]:
    """theta in whitened coordinates."""
    factors = [W * factor for W, factor in zip(whiteners, lower(sizes, theta), strict=True)]
    return [
        factor[row, column]
        for factor in factors
        for column in range(factor.nrows())
        for row in range(column, factor.nrows())
    ]


def _orthonormalizing(cross: arb_mat) -> arb_mat:
    """Lower triangular T with T C T' near the identity in X, its last row taking from y what X explains."""
    p = cross.nrows() - 1
    middle = np.array([[float(cross[i, j].mid()) for j in range(p)] for i in range(p)]).reshape(p, p)
    size = np.sqrt(np.diag(middle))
    T = np.linalg.inv(np.linalg.cholesky(middle / np.outer(size, size))) / size
    whole = arb_mat(p + 1, p + 1)
    for i in range(p):
        for j in range(i + 1):
            whole[i, j] = arb(float(T[i, j]))
    whole[p, p] = arb(1)
    if p:
        fixed = arb_mat([[cross[i, j] for j in range(p)] for i in range(p)])
        beta = fixed.solve(arb_mat([[cross[i, p]] for i in range(p)]))
        for i in range(p):
            whole[p, i] = -beta[i, 0].mid()
    return whole


def _positive(matrix: arb_mat) -> bool:
    """Whether every matrix in the enclosure is proved positive definite: its leading minors are positive."""
    size = range(matrix.nrows() + 1)
    return all(arb_mat([[matrix[i, j] for j in range(k)] for i in range(k)]).det() > 0 for k in size[1:])
