"""Crossed factors, all but the largest of them as one dense matrix: what is left of Z'Z once the largest is taken out.

Between the levels of the largest factor, the leading one, A = F'Z'Z F + I has no entries, so it is taken out level by
level, and what remains is the Schur complement F'M F + I of the others' relative factor F, with

    M = Z'Z - sum over the leading levels of C'F (F'G F + I)^-1 F'C

for a level's own part G of Z'Z, its part C with the others' columns, and its own factor F. Crossed factors fill it in
whatever the order of elimination, so it is dense, as it is in Julia's MixedModels; no other matrix here is, unless many
of the pairs of levels occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, sparse

from concord.arrays import Array, Floats, Integers, Matrix, Vector
from concord.models.parameters import factor_of, triangle

# Numbers of a dense matrix that are held at a time, beside the complement itself.
HELD = 2**22
# A product of sparse matrices costs so many times a dense one's time for each multiplication.
SPARSE = 50
# So many pairs of columns are kept, with their products: 50 MB.
PAIRS = 2**22
# Rows at a time that are copied across the diagonal: both places stay in the processor's own memory.
STRIP = 128


@dataclass(frozen=True, eq=False)
class Columns:
    """A term's columns: where its entries of theta begin, its levels and effects, and where its first column stands."""

    entry: int
    levels: int
    effects: int
    start: int

    def factor(self, theta: Vector) -> Matrix:
        """Its relative factor, shape (effects, effects)."""
        return factor_of(theta[self.entry : self.entry + self.effects * (self.effects + 1) // 2], self.effects)

    @property
    def place(self) -> slice:
        """Where its columns stand."""
        return slice(self.start, self.start + self.levels * self.effects)

    def add(self, matrix: Floats, slopes: Vector) -> None:
        """Add the entries of a matrix, shape (effects, effects), that stand where theta does to derivatives."""
        rows, columns = triangle(self.effects)
        slopes[self.entry : self.entry + len(rows)] += matrix[rows, columns]


class Partition:
    """Z'Z of one block, by the leading factor and the others.

    Parameters
    ----------
    gram : Z'Z
    leading : columns of the leading factor's terms, a row a level, shape (K, w)
    own : its terms, in one level
    others : the other terms
    """

    def __init__(
        self, gram: sparse.csr_array, leading: Integers, own: Sequence[Columns], others: Sequence[Columns]
    ) -> None:
        self.own, self.others = own, others
        self.lead = leading
        self.rest = np.setdiff1d(np.arange(gram.shape[0]), leading)
        order = np.concatenate([leading.ravel(), self.rest])
        ordered = gram[order][:, order].tocsr()
        k, w = leading.shape
        self.G = within(ordered, np.arange(k * w).reshape(k, w))
        self.roots = _roots(self.G)
        self.E = ordered[k * w :, k * w :].toarray()
        C = ordered[: k * w, k * w :].tocsr()
        counts = np.add.reduceat(np.diff(C.indptr), np.arange(0, k * w, w)).astype(float)
        filled = SPARSE * w * (counts / w) @ (counts / w) > float(k * w) * len(self.rest) ** 2
        self.C = C.toarray() if filled and C.shape[0] * C.shape[1] <= 8 * HELD else C
        # Of more effects a level's own matrix may be as good as singular: C'F and not C'C has its digits then.
        few = w == 1 and sparse.issparse(self.C) and float(counts @ counts) <= PAIRS
        self.pairs = _pairs(C) if few else None
        self.single = all(term.effects == 1 for term in others)

    def at(self, theta: Vector) -> Schur:
        """The complement at one theta.

        Raises
        ------
        numpy.linalg.LinAlgError : the numbers have left what doubles can hold
        """
        F = linalg.block_diag(*(term.factor(theta) for term in self.own))
        A = F.T @ self.G @ F + np.eye(len(F))
        lower = np.linalg.cholesky(A)
        eliminated = np.linalg.solve(lower, np.broadcast_to(F.T, A.shape))
        Y = _by_level(eliminated, self.C)
        M = self.E - self._taken_out(eliminated, Y)
        complement = self.by_factors(theta, M, transposed=True)
        complement[np.diag_indices_from(complement)] += 1.0
        return Schur(self, theta, F, lower, eliminated, Y, M, _root(complement))

    def _taken_out(self, eliminated: Array, Y: Matrix | sparse.csr_array) -> Matrix:
        """Y'Y."""
        if self.pairs is not None:
            summed: Matrix = self.pairs.T @ eliminated.ravel() ** 2
            return summed.reshape(self.E.shape)
        product: Any = Y.T @ Y
        dense: Matrix = product.toarray() if sparse.issparse(product) else product
        return dense

    def scales(self, theta: Vector) -> Vector:
        """The others' factor, where all have one effect: its diagonal."""
        return np.repeat([theta[term.entry] for term in self.others], [term.levels for term in self.others])

    def by_factors(self, theta: Vector, matrix: Matrix, transposed: bool = False) -> Matrix:
        """F matrix F' of the others' factor F, or F' matrix F, of a symmetric matrix."""
        if self.single:
            scales = self.scales(theta)
            product: Matrix = matrix * scales[:, None]
            product *= scales
            return product
        return self.by_factor(theta, self.by_factor(theta, matrix, transposed).T, transposed)

    def by_factor(self, theta: Vector, matrix: Matrix, transposed: bool = False) -> Matrix:
        """The others' factor, or its transpose, times a matrix."""
        product = np.empty(matrix.shape)
        for term in self.others:
            factor = term.factor(theta)
            part = matrix[term.place].reshape(term.levels, term.effects, -1)
            product[term.place] = ((factor.T if transposed else factor) @ part).reshape(-1, matrix.shape[1])
        return product


@dataclass(frozen=True, eq=False)
class Schur:
    """The complement at one theta, factored."""

    partition: Partition
    theta: Vector
    F: Matrix  # of a leading level, (w, w)
    lower: Array  # the Cholesky factors L of the leading levels' own entries of A, (K, w, w)
    eliminated: Array  # L^-1 F', (K, w, w)
    Y: Matrix | sparse.csr_array  # L^-1 F'C, level by level
    M: Matrix
    root: Floats  # the Cholesky factor of the complement, its lower triangle

    @property
    def logdet(self) -> float:
        """log |A|."""
        diagonals = np.diagonal(self.lower, axis1=1, axis2=2)
        return 2 * float(np.log(diagonals).sum() + np.log(np.diag(self.root)).sum())

    def solved(self, products: Matrix) -> Matrix:
        """A^-1 F' times Z'[X y], shape (size, s)."""
        lead, rest = self.partition.lead, self.partition.rest
        k, w = lead.shape
        ahead = (self.eliminated @ products[lead]).reshape(k * w, -1)
        others = self.partition.by_factor(self.theta, products[rest] - self.Y.T @ ahead, transposed=True)
        b = np.empty_like(products)
        b[rest] = linalg.cho_solve((self.root.T, False), others, check_finite=False)
        left = ahead - self.Y @ self.partition.by_factor(self.theta, b[rest])
        b[lead] = np.linalg.solve(self.lower.swapaxes(1, 2), left.reshape(k, w, -1))
        return b

    def slopes(self) -> Vector:
        """Derivatives of log |A| with respect to theta, shape (m,).

        They are twice the sums over levels of the entries of Z'Z F A^-1 that stand where theta does.
        """
        slopes = np.zeros(len(self.theta))
        inverse = _inverse(self.root)
        for term, sums in zip(self.partition.others, self._of_others(inverse), strict=True):
            term.add(2 * sums, slopes)
        own = self._own(self.partition.by_factors(self.theta, inverse))
        for term in self.partition.own:
            term.add(2 * own[term.place, term.place], slopes)
        return slopes

    def _of_others(self, inverse: Matrix) -> list[Matrix]:
        """Every other term's own entries of M F (F'M F + I)^-1, summed, shape (effects, effects).

        Row by row the sum of the products is the diagonal block, so no product is made.
        """
        partition, sums = self.partition, []
        if partition.single:
            diagonal = (self.M * inverse) @ partition.scales(self.theta)
            return [diagonal[term.place].sum().reshape(1, 1) for term in partition.others]
        mixed = partition.by_factor(self.theta, inverse)
        for term in partition.others:
            shape = (term.levels, term.effects, -1)
            rows, columns = self.M[term.place].reshape(shape), mixed[:, term.place].T.reshape(shape)
            sums.append(np.einsum("lio,ljo->ij", rows, columns))
        return sums

    def _own(self, middle: Matrix) -> Matrix:
        """The leading levels' own entries of Z'Z F A^-1, summed, shape (w, w); `middle` is F (F'M F + I)^-1 F' of the
        others.
        """
        U, w = self._around(middle), self.lower.shape[1]
        # With G = R'R and U = R'W R the level's own part is R'B^-1 (I - W B^-1) R F, where B = I + R F (R F)'. A itself
        # would lose the digits of a level with fewer rows than effects: it is as good as singular where F is large.
        R, back = self.partition.roots
        H = R @ self.F
        B = H @ H.swapaxes(1, 2) + np.eye(w)
        W = back.swapaxes(1, 2) @ U @ back
        own: Matrix = (R.swapaxes(1, 2) @ np.linalg.solve(B, H - W @ np.linalg.solve(B, H))).sum(0)
        return own

    def _around(self, middle: Matrix) -> Array:
        """C middle C' of every leading level, shape (K, w, w)."""
        C = self.partition.C
        k, w, _ = self.lower.shape
        if self.partition.pairs is not None:
            around: Array = (self.partition.pairs @ middle.ravel()).reshape(k, w, w)
            return around
        U = np.zeros((k, w, w))
        at_once = max(1, HELD // max(1, w * len(middle)))
        for start in range(0, k if len(middle) else 0, at_once):
            part = C[start * w : (start + at_once) * w]
            dense = (part @ middle).reshape(-1, w, len(middle))
            for i in range(w):
                row = part[i::w]
                for j in range(w):
                    entries = row.multiply(dense[:, j]) if sparse.issparse(row) else row * dense[:, j]
                    U[start : start + at_once, i, j] = entries.sum(axis=1)
        return U


def within(matrix: sparse.csr_array, places: Integers) -> Array:
    """A matrix's entries within each level, shape (levels, w, w), whose columns stand in `places`, (levels, w)."""
    w = places.shape[1]
    rows, columns = np.repeat(places, w, axis=1), np.tile(places, (1, w))
    entries: Vector = matrix[rows.ravel(), columns.ravel()]
    return entries.reshape(len(places), w, w)


def _pairs(C: sparse.csr_array) -> sparse.csr_array:
    """c'c of every row c of a sparse matrix, as a row of all n^2 entries, shape (rows, n^2)."""
    k, n = C.shape
    counts = np.diff(C.indptr)
    ends = np.append(0, np.cumsum(counts**2))
    row = np.repeat(np.arange(k, dtype=np.int32), counts**2)
    first, second = np.divmod(np.arange(ends[-1], dtype=np.int32) - ends[row].astype(np.int32), counts[row])
    first, second = first + C.indptr[row], second + C.indptr[row]
    places = C.indices[first].astype(np.int32) * np.int32(n) + C.indices[second]
    return sparse.csr_array((C.data[first] * C.data[second], places, ends.astype(np.int32)), shape=(k, n * n))


def _root(matrix: Matrix) -> Matrix:
    """The Cholesky factor of a matrix, in its lower triangle and in its place; what is above means nothing.

    Raises
    ------
    numpy.linalg.LinAlgError : it is not positive definite
    """
    failed = 0
    if len(matrix):
        matrix = np.ascontiguousarray(matrix)
        # LAPACK goes by columns: what it takes for the upper triangle is the lower one.
        factor, failed = linalg.lapack.dpotrf(matrix.T, lower=0, clean=0, overwrite_a=1)
        matrix = factor.T
    if failed:
        raise np.linalg.LinAlgError("the complement is not positive definite")
    return matrix


def _inverse(root: Floats) -> Matrix:
    """The inverse of the matrix with a Cholesky factor."""
    n = len(root)
    if not n:
        return np.zeros((0, 0))
    half, failed = linalg.lapack.dpotri(root.T, lower=0)
    if failed:
        raise np.linalg.LinAlgError("the complement is singular")
    inverse: Matrix = half.T
    for start in range(0, n, STRIP):
        inverse[:start, start : start + STRIP] = inverse[start : start + STRIP, :start].T
        corner = inverse[start : start + STRIP, start : start + STRIP]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T
    return inverse


def _roots(G: Array) -> tuple[Array, Array]:
    """Roots R of positive semidefinite matrices R'R, shape (levels, w, w), and their pseudo-inverses."""
    values, vectors = np.linalg.eigh(G)
    held = values > 8 * G.shape[1] * np.finfo(float).eps * values[:, -1:]
    roots = np.sqrt(np.where(held, values, 0.0))
    inverse = np.where(held, 1 / np.where(held, roots, 1.0), 0.0)
    return roots[:, :, None] * vectors.swapaxes(1, 2), vectors * inverse[:, None, :]


def _by_level(blocks: Array, matrix: Matrix | sparse.csr_array) -> Matrix | sparse.csr_array:
    """A matrix's rows, a level's at a time, from the left by the level's own block, (levels, w, w)."""
    k, w, _ = blocks.shape
    if sparse.issparse(matrix):
        return (sparse.bsr_array((blocks, np.arange(k), np.arange(k + 1)), shape=(k * w, k * w)) @ matrix).tocsr()
    return (blocks @ matrix.reshape(k, w, -1)).reshape(k * w, -1)
