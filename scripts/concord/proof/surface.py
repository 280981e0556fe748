"""The criterion in its two parts, in balls, for proofs over the whole space of the relative covariance matrices.

With A an orthonormal basis of the complement of the fixed effects, u = A'y and V = I + Z S Z', S holding the terms'
relative covariance matrices (Sigma in units of the residual variance), the criterion is, but for a constant,

    d(S) = L(S) + f(S),   L = log |A'VA| (REML) or log |V| (ML),   f = nu log r,   r = u'(A'VA)^-1 u = y'Py.

V is linear in S, so that L is concave in S (log-determinants are); and 1 / r = min {w'A'VAw : u'w = 1} is a minimum of
linear functions, hence concave, so that f = -nu log (1 / r) is convex in S. In the Loewner order L increases with S and
r decreases. Bounds over whole regions therefore follow from values at points; there is no interval to grow.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from flint import arb, arb_mat, fmpq

from concord.likelihood.certificate import CertificateError, Exact

UNBOUNDED = "the random effects can reproduce the response, so that the criterion's limit is not bounded"

# Added to Z'Z, whose mean is one in the coordinates of a proof.
RIDGE = 2.0**-7

Number = Any  # fmpq where a number is rational, a ball (arb) elsewhere


@dataclass(frozen=True, eq=False)
class Group:
    """The blocks with one and the same Z, as matrices of balls.

    Attributes
    ----------
    count : number of blocks
    gram : Z'Z, shape (q, q)
    outer : one row for every a >= b, row by row: the lower triangle of the sums of U[a]'U[b] + U[b]'U[a]
    places : the term and the first row of each of its levels in the block
    """

    count: int
    gram: arb_mat
    outer: arb_mat
    places: list[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Value:
    """The criterion's parts at one S.

    Attributes
    ----------
    rising : L
    falling : f
    slopes : the derivatives of f with respect to the terms' matrices, as matrices; empty where they are not wanted
    """

    rising: arb
    falling: arb
    slopes: tuple[arb_mat, ...] = ()


class Surface:
    """L and f of one model at points of S."""

    def __init__(self, exact: Exact) -> None:
        self.sizes, self.p, self.nu, self.reml = exact.sizes, exact.p, exact.nu, exact.reml
        width = self.p + 1
        self.total = arb_mat([[ball(exact.total[i][j]) for i in range(width) for j in range(i + 1)]])
        starts = [sum(q * (q + 1) // 2 for q in self.sizes[:k]) for k in range(len(self.sizes))]
        self.groups = []
        for pattern in exact.patterns:
            q = len(pattern.gram)
            gram = arb_mat([[ball(entry) for entry in row] for row in pattern.gram])
            outer = arb_mat([[ball(entry) for entry in pattern.outer[a][b]] for a in range(q) for b in range(a + 1)])
            places = [(starts.index(pattern.factor[i, i]), i) for i in range(q) if pattern.factor[i, i] in starts]
            self.groups.append(Group(pattern.count, gram, outer, places))

    def at(self, S: Sequence[arb_mat], slopes: bool = False, psd: bool = True) -> Value | None:
        """L and f at the terms' matrices S; None where V is not proved to be positive definite.

        `psd` says that every matrix of S is known to be positive semidefinite, so that V is positive definite.
        """
        logdet, cross, products = arb(0), self.total, []
        for group in self.groups:
            spread, product = self.product(S, group)
            determinant = product.det()
            if not determinant > 0 or not (psd or self._positive(S, group)):
                return None
            logdet += determinant.log() * group.count
            cross = cross - self._lost(spread, product) * group.outer
            products.append(product)
        square, p = squared(cross, self.p + 1), self.p
        rss, beta = square[p, p], arb_mat(0, 1)
        if p:
            fixed = arb_mat([[square[i, j] for j in range(p)] for i in range(p)])
            right = arb_mat([[square[i, p]] for i in range(p)])
            beta = fixed.solve(right)
            rss = rss - (right.transpose() * beta)[0, 0]
            if self.reml:
                logdet += fixed.det().log()
        if not rss > 0 or not logdet.is_finite():
            return None
        return Value(logdet, rss.log() * self.nu, self._slopes(beta, rss, products) if slopes else ())

    def cross(self, S: Sequence[arb_mat]) -> arb_mat:
        """[X y]'V^-1[X y]."""
        cross = self.total
        for group in self.groups:
            cross = cross - self._lost(*self.product(S, group)) * group.outer
        return squared(cross, self.p + 1)

    def whitened(self, whiteners: Sequence[arb_mat], T: arb_mat) -> Surface:
        """In other coordinates: of the random effects, where S becomes W S W'; of [X y], which becomes [X y] T'.

        d changes by a constant as long as T is lower triangular and y keeps its unit.
        """
        surface, width = copy.copy(self), self.p + 1
        surface.total = triangle(T * squared(self.total, width) * T.transpose())
        inverses, surface.groups = [W.inv() for W in whiteners], []
        for group in self.groups:
            back, _ = self.product(inverses, group)
            rows = [triangle(T * squared(row, width) * T.transpose()) for row in _rows(group.outer)]
            outer = arb_mat([row.entries() for row in rows])
            surface.groups.append(_moved(replace(group, outer=outer), back.transpose() * group.gram * back, back))
        return surface

    def recentred(self, S: Sequence[arb_mat]) -> Surface:
        """With V at S in the identity's place: what is handed to the new surface is the difference from S.

        Z'Z becomes Z'V^-1 Z, and U = Z'[X y] becomes Z'V^-1 [X y] = N'U with N = (I + T Z'Z)^-1 for a block's T. d
        changes by a constant.
        """
        surface = copy.copy(self)
        surface.total, surface.groups = triangle(self.cross(S)), []
        for group in self.groups:
            N = self.product(S, group)[1].inv()
            surface.groups.append(_moved(group, group.gram * N, N))
        return surface

    @staticmethod
    def _lost(spread: arb_mat, product: arb_mat) -> arb_mat:
        """The weights of the rows of `outer` in what a block takes from the cross-products."""
        return triangle(product.solve(spread))

    @staticmethod
    def product(S: Sequence[arb_mat], group: Group) -> tuple[arb_mat, arb_mat]:
        """The covariance matrix T of a block's random effects, and I + T Z'Z."""
        q = group.gram.nrows()
        spread = arb_mat(q, q)
        for term, first in group.places:
            own = S[term]
            for i in range(own.nrows()):
                for j in range(own.nrows()):
                    spread[first + i, first + j] = own[i, j]
        product = spread * group.gram
        for i in range(q):
            product[i, i] += 1
        return spread, product

    def _positive(self, S: Sequence[arb_mat], group: Group) -> bool:
        """Whether I + Z S Z' is proved positive definite; its determinant is positive.

        It is a corner of the same with more rows under Z, those of c I; with these, G = Z'Z + c^2 I is regular, and I +
        Z S Z' is positive definite if G + G S G is.
        """
        spread, _ = self.product(S, group)
        q = spread.nrows()
        regular = arb_mat([[group.gram[i, j] + (RIDGE if i == j else 0) for j in range(q)] for i in range(q)])
        whole = regular + regular * spread * regular
        return all(corner(whole, k).det() > 0 for k in range(1, q + 1))

    def _slopes(self, beta: arb_mat, rss: arb, products: list[arb_mat]) -> tuple[arb_mat, ...]:
        """With e = V^-1 (y - X beta), dr = -e'Z dS Z'e, and Z'e = (I + G S)^-1 U (-beta, 1)'."""
        width = self.p + 1
        direction = [-beta[i, 0] for i in range(self.p)] + [arb(1)]
        doubled = [[direction[i] * direction[j] * (1 if i == j else 2)] for i in range(width) for j in range(i + 1)]
        square = arb_mat(doubled)
        slopes = [arb_mat(q, q) for q in self.sizes]
        for group, product in zip(self.groups, products, strict=True):
            inverse, q = product.inv(), group.gram.nrows()
            sums = group.outer * square
            # For a != b the sums hold U[a]'U[b] twice over.
            Q, place = arb_mat(q, q), 0
            for a in range(q):
                for b in range(a + 1):
                    Q[a, b] = Q[b, a] = sums[place, 0] if a == b else sums[place, 0] / 2
                    place += 1
            moved = inverse.transpose() * Q * inverse
            for term, first in group.places:
                own = slopes[term]
                for i in range(own.nrows()):
                    for j in range(own.nrows()):
                        own[i, j] = own[i, j] + moved[first + i, first + j]
        factor = -self.nu / rss
        return tuple(slope * factor for slope in slopes)


def _rows(matrix: arb_mat) -> list[arb_mat]:
    return [arb_mat([row]) for row in matrix.tolist()]


def _moved(group: Group, gram: arb_mat, moves: arb_mat) -> Group:
    """The group with another Z'Z, and with moves'U in U's place."""
    q, columns = gram.nrows(), []
    for column in _rows(group.outer.transpose()):
        products = squared(column, q)  # for a != b they hold U[a]'U[b] twice over
        for a in range(q):
            products[a, a] = 2 * products[a, a]
        products = moves.transpose() * products * moves
        for a in range(q):
            products[a, a] = products[a, a] / 2
        columns.append(triangle(products).entries())
    return replace(group, gram=gram, outer=arb_mat(columns).transpose())


def lower(sizes: Sequence[int], theta: Sequence[arb]) -> list[arb_mat]:
    """The terms' factors, lower triangular, that theta holds column by column."""
    factors, entries = [], iter(theta)
    for q in sizes:
        factor = arb_mat(q, q)
        for column in range(q):
            for row in range(column, q):
                factor[row, column] = next(entries)
        factors.append(factor)
    return factors


def triangle(weights: arb_mat) -> arb_mat:
    """The lower triangle of a symmetric matrix as a row."""
    return arb_mat([[weights[a, b] for a in range(weights.nrows()) for b in range(a + 1)]])


def squared(row: arb_mat, size: int) -> arb_mat:
    """The symmetric matrix whose lower triangle a row holds."""
    square, place = arb_mat(size, size), 0
    for i in range(size):
        for j in range(i + 1):
            square[i, j] = square[j, i] = row[0, place]
            place += 1
    return square


def corner(matrix: arb_mat, size: int) -> arb_mat:
    """The first rows and columns of a matrix."""
    return arb_mat([[matrix[i, j] for j in range(size)] for i in range(size)]) if size else arb_mat(0, 0)


def limit(exact: Exact) -> arb:
    """A lower bound of r = y'Py over all S: the residual sum of squares with every random effect taken as fixed.

    r falls as S grows, to the squared distance of y from the span of X and Z. It is computed by sweeping (Goodnight
    1979, The American Statistician 33, 149-158), exactly where the numbers are rational, so that a column that depends
    on others is seen for what it is.

    Raises
    ------
    CertificateError : a pivot is neither proved zero nor proved positive
    """
    width = exact.p + 1
    cross = [[exact.cross[i][j] for j in range(width)] for i in range(width)]
    for pattern in exact.patterns:
        gram, outer = pattern.exact
        q, inverse = len(gram), [list(row) for row in gram]
        swept = _sweep(inverse, q)
        for a in range(q):
            for b in range(a + 1):
                if a not in swept or b not in swept or _is_zero(inverse[a][b]):
                    continue
                terms = iter(outer[a][b])
                for s in range(width):
                    for t in range(s + 1):
                        cross[s][t] = cross[s][t] - inverse[a][b] * next(terms)
    for s in range(width):
        for t in range(s):
            cross[t][s] = cross[s][t]
    _sweep(cross, exact.p)
    value = ball(cross[-1][-1])
    return value if value > 0 else arb(0)


def _sweep(matrix: list[list[Number]], pivots: int) -> list[int]:
    """Sweep a positive semidefinite matrix on its first pivots, in place: its inverse is then there, of those kept."""
    swept = []
    size = len(matrix)
    for k in range(pivots):
        pivot = matrix[k][k]
        if _is_zero(pivot):
            continue
        if not pivot > 0:
            raise CertificateError("the criterion's limit is not known: columns are neither dependent nor apart")
        row = [entry / pivot for entry in matrix[k]]
        for i in range(size):
            factor = matrix[i][k]
            if i != k and not _is_zero(factor):
                matrix[i] = [a - factor * b for a, b in zip(matrix[i], row, strict=True)]
                matrix[i][k] = -factor / pivot
        matrix[k] = row
        matrix[k][k] = 1 / pivot
        swept.append(k)
    return swept


def ball(value: Number) -> arb:
    """A number as a ball."""
    return value if isinstance(value, arb) else arb(value)


def _is_zero(value: Number) -> bool:
    return value == 0 if isinstance(value, fmpq) else bool(value.is_zero())
