"""The independent blocks of rows, and what those of one layout add to the criterion, with exact derivatives.

With a block's columns of Z factored as Q R, all that its data contribute is Q'[X y] and what [X y] leave outside of
Q's columns. With S = (I + R F F'R')^-1 for the relative covariance factor F of the block, |V| is 1 / |S|, and
[X y]'V^-1[X y] is what is left outside plus [X y]'Q S Q'[X y]. Blocks with the same R share one S, and the sums of
their outer products are made once, so an evaluation costs as many small factorizations as there are different R,
whatever the number of rows; and nothing is ever subtracted from something as large as itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from concord.arrays import Array, Floats, Integers, Matrix, Vector, total
from concord.likelihood.sparse_blocks import Crossed, CrossedAt
from concord.models.design import DesignTerm

# From so many columns on a block is taken through a sparse Cholesky: dense, it would hold the squares of its columns
# times the squares of X's, and factor in cubic time.
LARGE = 100
# Matrices with so many numbers in all are multiplied entry by entry.
MANY = 1024


@dataclass(frozen=True, eq=False)
class Blocks:
    """The blocks with one layout: their K different R, and for each the sums over the blocks that share it."""

    R: Array  # (K, q, q)
    count: Vector  # (K,): how many blocks share it
    products: Matrix  # (K q q, s s): sums of outer products of Q'[X y], s = p + 1
    outside: Matrix  # (s, s): sum over all blocks of the cross-products of [X y] without their parts in Q's columns
    basis: Array  # (m, q, q): the derivatives of a block's factor with respect to theta, ones and zeros

    def at(self, theta: Vector) -> BlocksAt:
        """The blocks at one theta.

        Raises
        ------
        numpy.linalg.LinAlgError : the numbers have left what doubles can hold
        """
        m, size, _ = self.basis.shape
        F = (theta @ self.basis.reshape(m, -1)).reshape(size, size)
        B = times(self.R, F)
        M = times(B, B.transpose(0, 2, 1))
        M.reshape(len(M), -1)[:, :: size + 1] += 1.0
        S, logdets = inverted(M)
        cross = self.outside + (S.ravel() @ self.products).reshape(self.outside.shape)
        return BlocksAt(self, float(self.count @ logdets), cross, F, B, S)

    @property
    def weight(self) -> int:
        """What an evaluation costs: the numbers that it holds."""
        return self.R.size

    def at_many(self, thetas: Matrix) -> tuple[Vector, Array]:
        """log |V| and the share of [X y]'V^-1[X y] at several thetas: shape (k, m) to (k,) and (k, s, s).

        Raises
        ------
        numpy.linalg.LinAlgError : at one of them the numbers have left what doubles can hold
        """
        m, size, _ = self.basis.shape
        F = (thetas @ self.basis.reshape(m, -1)).reshape(-1, 1, size, size)
        B = times(self.R, F)
        M = times(B, B.swapaxes(-1, -2))
        M.reshape(*M.shape[:2], -1)[:, :, :: size + 1] += 1.0
        S, logdets = inverted(M)
        cross = self.outside + (S.reshape(len(thetas), -1) @ self.products).reshape(-1, *self.outside.shape)
        return logdets @ self.count, cross


@dataclass(frozen=True, eq=False)
class BlocksAt:
    """The blocks at one theta: log |V|, their share of [X y]'V^-1[X y], and what the derivatives go on with."""

    blocks: Blocks
    logdet: float
    cross: Matrix
    F: Matrix
    B: Array  # R F
    S: Array

    def slopes(self, share: Matrix) -> Vector:
        """Derivatives of log |V| and of the sum of `share` times `cross`, with respect to theta, shape (m,)."""
        return self._slopes(self._pull(share))

    def curvatures(self, share: Matrix) -> tuple[Vector, Array, Matrix]:
        """Derivatives with respect to theta: those of `slopes`, shape (m,), `cross`, (m, s, s), and `slopes`, (m, m).

        `share` is held fixed.
        """
        basis, S = self.blocks.basis, self.S
        m, size, _ = basis.shape
        pull = self._pull(share)
        # The derivatives D of I + R F F'R', as S D; that of S is then - S D S.
        D = times(times(self.blocks.R, basis[:, None]), self.B.transpose(0, 2, 1))
        SD = times(S, D + D.transpose(0, 1, 3, 2))
        of_cross = -(times(SD, S).reshape(m, -1) @ self.blocks.products).reshape(m, *share.shape)
        weighted = times(2 * times(S, pull) - self.blocks.count[:, None, None] * np.eye(size), SD)
        second = weighted.reshape(m, -1) @ SD.transpose(0, 1, 3, 2).reshape(m, -1).T
        bent = (self._gamma(pull) @ basis).reshape(m, -1) @ basis.reshape(m, -1).T
        return self._slopes(pull), of_cross, second + 2 * bent

    def _pull(self, share: Matrix) -> Array:
        """The derivative of the sum of `share` times `cross` with respect to S, shape (K, q, q)."""
        return (self.blocks.products @ share.ravel()).reshape(self.S.shape)

    def _gamma(self, pull: Array) -> Matrix:
        """The derivative with respect to the block's relative covariance matrix F F', shape (q, q)."""
        inner = self.blocks.count[:, None, None] * self.S - times(times(self.S, pull), self.S)
        gamma: Matrix = times(times(self.blocks.R.transpose(0, 2, 1), inner), self.blocks.R).sum(0)
        return gamma

    def _slopes(self, pull: Array) -> Vector:
        m = len(self.blocks.basis)
        return 2 * (self.blocks.basis.reshape(m, -1) @ (self._gamma(pull) @ self.F).ravel())


def times(left: Array, right: Array) -> Array:
    """The products of matrices, shapes (..., q, q), written out where they are as small as most are."""
    if left.shape[-1] > 2:
        return left @ right
    if left.shape[-1] == 1:
        return left * right
    if max(left.size, right.size) < MANY:
        return left[..., :, :1] * right[..., :1, :] + left[..., :, 1:] * right[..., 1:, :]
    product = np.empty(np.broadcast_shapes(left.shape, right.shape))
    # Entry by entry: numpy's innermost loop then goes over the many matrices, and not over two numbers.
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        np.multiply(left[..., i, 0], right[..., 0, j], out=product[..., i, j])
        product[..., i, j] += left[..., i, 1] * right[..., 1, j]
    return product


def inverted(matrices: Array) -> tuple[Array, Array]:
    """The inverses of positive definite matrices, shape (..., q, q), and the logarithms of their determinants, (...).

    Most groups have one or two effects, and these two are written out: LAPACK is called for each matrix by itself.

    Raises
    ------
    numpy.linalg.LinAlgError : one of them is not positive definite in doubles
    """
    size = matrices.shape[-1]
    if size > 2:
        lower = np.linalg.cholesky(matrices)
        logdets: Array = 2 * np.log(np.diagonal(lower, axis1=-2, axis2=-1)).sum(-1)
        return np.asarray(np.linalg.inv(matrices), float), logdets
    first = matrices[..., 0, 0]
    # Of two, Cholesky's second pivot, and the inverse by it.
    ratio = matrices[..., 0, 1] / first if size == 2 else np.zeros_like(first)
    pivot = matrices[..., 1, 1] - ratio * matrices[..., 0, 1] if size == 2 else np.ones_like(first)
    if not (first > 0).all() or not (pivot > 0).all():
        raise np.linalg.LinAlgError("a matrix is not positive definite")
    inverse = np.empty_like(matrices)
    inverse[..., 0, 0] = 1 / first
    if size == 2:
        inverse[..., 1, 1] = 1 / pivot
        inverse[..., 0, 1] = inverse[..., 1, 0] = -ratio / pivot
        inverse[..., 0, 0] += ratio * ratio / pivot
    return inverse, np.log(first) + np.log(pivot)


Part = BlocksAt | CrossedAt


def curvatures(parts: Sequence[Part], share: Matrix) -> tuple[Vector, Array, Matrix]:
    """`BlocksAt.curvatures`, summed over parts none of which is sparse."""
    curved = [part.curvatures(share) for part in parts if isinstance(part, BlocksAt)]
    slopes, crosses, second = (total(pieces) for pieces in zip(*curved, strict=True))
    return slopes, crosses, second


def gather(terms: Sequence[DesignTerm], whitened: Sequence[Floats], table: Matrix) -> list[Blocks | Crossed]:
    """The independent blocks, those with the same layout together and those with the same R as one.

    Parameters
    ----------
    terms : the random terms, for their groups
    whitened : their columns, shapes (n, q)
    table : [X y], shape (n, s)
    """
    n, width = table.shape
    block = components(terms)
    # Rows sorted by block and within a block by Z, so that equal designs are recognized whatever the rows' order.
    order = np.lexsort([*np.column_stack(whitened).T[::-1], *[term.codes for term in terms[::-1]], block])
    block, table = block[order], table[order]
    whitened = [matrix[order] for matrix in whitened]
    local = [ranks_within(block, term.codes[order]) for term in terms]
    first, inverse, rows = np.unique(block, return_index=True, return_inverse=True, return_counts=True)[1:]
    within = np.arange(n) - first[inverse]
    levels = np.stack([np.maximum.reduceat(ranks, first) + 1 for ranks in local])
    layouts, layout = np.unique(np.vstack([rows, levels]).T, axis=0, return_inverse=True)
    layout = layout.ravel()
    sizes = [matrix.shape[1] for matrix in whitened]
    gathered: dict[tuple[int, ...], list[tuple[Array, Array, Matrix]]] = {}
    crossed = []
    for number, (height, *counts) in enumerate(layouts.tolist()):
        members = np.flatnonzero(layout == number)
        size = sum(count * q for count, q in zip(counts, sizes, strict=True))
        if size >= LARGE:
            for start in first[members]:
                rows_of = slice(start, start + height)
                matrices, codes = [matrix[rows_of] for matrix in whitened], [ranks[rows_of] for ranks in local]
                crossed.append(Crossed(matrices, codes, table[rows_of], *_places(counts, sizes)))
            continue
        taken = np.flatnonzero(layout[inverse] == number)
        place = np.searchsorted(members, inverse[taken])
        Z, C, start = np.zeros((len(members), height, size)), np.empty((len(members), height, width)), 0
        C[place, within[taken]] = table[taken]
        for count, matrix, ranks in zip(counts, whitened, local, strict=True):
            q = matrix.shape[1]
            for j in range(q):
                Z[place, within[taken], start + ranks[taken] * q + j] = matrix[taken, j]
            start += count * q
        Q, R = np.linalg.qr(Z)
        inner = Q.transpose(0, 2, 1) @ C
        left = (C - Q @ inner).reshape(-1, width)
        missing = size - R.shape[1]
        if missing > 0:
            R, inner = (np.pad(array, ((0, 0), (0, missing), (0, 0))) for array in (R, inner))
        gathered.setdefault(tuple(counts), []).append((R, inner, left.T @ left))
    return [*(_merge(counts, sizes, block_members) for counts, block_members in gathered.items()), *crossed]


def _merge(counts: Sequence[int], sizes: Sequence[int], members: Sequence[tuple[Array, Array, Matrix]]) -> Blocks:
    """The blocks with these numbers of levels, those with the same R as one."""
    R, inner = (np.concatenate(arrays) for arrays in list(zip(*members, strict=True))[:2])
    size, width = inner.shape[1:]
    unique, member = np.unique(R.reshape(len(R), -1), axis=0, return_inverse=True)
    # All blocks with one R side by side are one matrix; its product with itself is the sum of the outer products.
    member = member.ravel()
    order, flat = np.argsort(member, kind="stable"), inner.reshape(len(R), -1)
    if len(unique) == len(R):
        products = flat[order, :, None] * flat[order, None, :]
    else:
        shared = np.split(flat[order], np.cumsum(np.bincount(member))[:-1])
        products = np.stack([part.T @ part for part in shared])
    products = products.reshape(-1, size, width, size, width).transpose(0, 1, 3, 2, 4)
    rows, columns, index = _places(counts, sizes)
    basis = np.zeros((sum(q * (q + 1) // 2 for q in sizes), size, size))
    basis[index, rows, columns] = 1.0
    return Blocks(
        unique.reshape(-1, size, size),
        np.bincount(member).astype(float),
        products.reshape(-1, width * width),
        total(outside for *_, outside in members),
        basis,
    )


def _places(counts: Sequence[int], sizes: Sequence[int]) -> tuple[Integers, Integers, Integers]:
    """Where the entries of theta stand in a block's factor: rows, columns, and which entry each is.

    theta holds the lower triangles of the terms' factors, column by column; a block repeats a term's factor for every
    level that it has.
    """
    rows, columns, index, start, entry = [], [], [], 0, 0
    for count, q in zip(counts, sizes, strict=True):
        column, row = np.triu_indices(q)
        level = start + q * np.arange(count)[:, None]
        rows.append((level + row).ravel())
        columns.append((level + column).ravel())
        index.append(np.tile(entry + np.arange(len(row)), count))
        start, entry = start + count * q, entry + len(row)
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(index)


def components(terms: Sequence[DesignTerm]) -> Integers:
    """For every row the number of the independent block that it belongs to."""
    if all(np.array_equal(term.codes, terms[0].codes) for term in terms):
        return terms[0].codes
    starts = np.cumsum([0, *(len(term.levels) for term in terms)])
    nodes = [start + term.codes for start, term in zip(starts, terms, strict=False)]
    ends = np.concatenate([np.stack([nodes[0], other]) for other in nodes[1:]], axis=1)
    links = sparse.coo_array((np.ones(ends.shape[1]), ends), shape=(starts[-1], starts[-1]))
    numbers: Integers = sparse.csgraph.connected_components(links, directed=False)[1]
    number: Integers = numbers[nodes[0]]
    return number


def ranks_within(block: Integers, codes: Integers) -> Integers:
    """For every row the number of its level among the levels of its block, counted from 0."""
    span = int(codes.max()) + 1
    pairs, inverse = np.unique(block.astype(np.int64) * span + codes, return_inverse=True)
    owner = pairs // span
    ranks: Integers = (inverse - np.searchsorted(owner, owner)[inverse]).ravel()
    return ranks
