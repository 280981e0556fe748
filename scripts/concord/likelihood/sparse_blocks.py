"""A large independent block, such as two crossed factors make: its share of the criterion.

With A = F'Z'Z F + I for the block's relative covariance factor F (Bates et al. 2015, equation 18), A is factored by way
of a dense Schur complement (`concord.likelihood.schur`) as long as all factors but the largest are small enough for it.
Beyond, it goes through a sparse Cholesky, and nothing is dense but what has one column a fixed effect, and, for the
gradient, a few columns of A^-1 at a time.

CHOLMOD comes through cvxopt. It is the factorization that lme4 itself rests on, its supernodes keep it fast where the
factor fills in, as crossed factors make it do, and cvxopt has wheels and a conda-forge package. scikit-sparse has to
be compiled against SuiteSparse; qdldl takes no more than one right-hand side at a time, and one number at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cvxopt
import numpy as np
from cvxopt import cholmod
from scipy import sparse

from concord.arrays import Floats, Integers, Matrix, Vector
from concord.likelihood.schur import Columns, Partition, Schur, within

# Numbers of A^-1 held at a time: bounds the memory of a gradient.
HELD = 2**22
# So many columns a dense Schur complement may have: some 30 MB each of a handful of matrices.
DENSE = 2000


class Crossed:
    """One block.

    Parameters
    ----------
    matrices : the terms' columns in the rows of the block, shapes (n, q)
    codes : for every term the level of each row, counted from 0 within the block, shape (n,)
    table : [X y] in the rows of the block, shape (n, s)
    rows, columns, index : where the entries of theta stand in the block's factor, and which entry each is
    """

    def __init__(
        self,
        matrices: Sequence[Floats],
        codes: Sequence[Integers],
        table: Matrix,
        rows: Integers,
        columns: Integers,
        index: Integers,
    ) -> None:
        n = len(table)
        widths = [matrix.shape[1] for matrix in matrices]
        counts = [int(code.max()) + 1 for code in codes]
        starts = np.cumsum([0, *(count * q for count, q in zip(counts, widths, strict=True))])
        self.size = int(starts[-1])
        at = np.concatenate(
            [start + code[:, None] * q + np.arange(q) for start, code, q in zip(starts, codes, widths, strict=False)],
            axis=1,
        )
        values = np.concatenate(matrices, axis=1)
        pointers = np.arange(n + 1) * at.shape[1]
        self.Z = sparse.csr_array((values.ravel(), at.ravel(), pointers), shape=(n, self.size))
        self.gram = (self.Z.T @ self.Z).tocsr()
        self.table, self.products = table, self.Z.T @ table
        self.rows, self.columns, self.index = rows, columns, index

        # The grouping factor with the most columns leads: between its levels A has no entries.
        def own(leader: Integers) -> list[int]:
            return [t for t, code in enumerate(codes) if np.array_equal(code, leader)]

        leading = max(map(own, codes), key=lambda terms: sum(counts[t] * widths[t] for t in terms))
        columns_of = [starts[t] + widths[t] * np.arange(counts[t])[:, None] + np.arange(widths[t]) for t in leading]
        self.lead = np.concatenate(columns_of, axis=1)
        self.others = np.setdiff1d(np.arange(self.size), self.lead)
        self.partition: Partition | None = None
        if len(self.others) <= DENSE:
            entries = np.cumsum([0, *(q * (q + 1) // 2 for q in widths)])
            parts: tuple[list[Columns], list[Columns]] = [], []
            places = [0, 0]
            for t, (count, q) in enumerate(zip(counts, widths, strict=True)):
                led = t in leading
                levels = 1 if led else count
                parts[not led].append(Columns(int(entries[t]), levels, q, places[not led]))
                places[not led] += levels * q
            self.partition = Partition(self.gram, self.lead, *parts)

    @property
    def weight(self) -> int:
        """What an evaluation costs: the numbers that it holds, at the least."""
        return int(self.gram.nnz)

    def at(self, theta: Vector) -> CrossedAt:
        """The block at one theta.

        Raises
        ------
        numpy.linalg.LinAlgError : the numbers have left what doubles can hold
        """
        F = sparse.csr_array((theta[self.index], (self.rows, self.columns)), shape=(self.size, self.size))
        factored = self.partition.at(theta) if self.partition else Sparse(self, F)
        b = factored.solved(self.products)
        residuals = self.table - self.Z @ (F @ b)
        return CrossedAt(self, factored, residuals.T @ residuals + b.T @ b, b, residuals)


@dataclass(frozen=True, eq=False)
class CrossedAt:
    """The block at one theta: its share of [X y]'V^-1[X y], and what the gradient goes on with."""

    block: Crossed
    factored: Schur | Sparse  # A
    cross: Matrix
    b: Matrix  # (size, s): the minimizer of |[X y] - Z F b|^2 + |b|^2, whose minimum is `cross`
    residuals: Matrix

    @property
    def logdet(self) -> float:
        """log |A|."""
        return self.factored.logdet

    def slopes(self, share: Matrix) -> Vector:
        """Derivatives of log |A| and of the sum of `share` times `cross`, with respect to theta, shape (m,)."""
        block = self.block
        # b is the minimizer, so only what depends on F directly counts.
        of_cross = (block.Z.T @ self.residuals)[block.rows] * (self.b @ share)[block.columns]
        slopes: Vector = self.factored.slopes() - 2 * np.bincount(block.index, of_cross.sum(1))
        return slopes


class Sparse:
    """A through CHOLMOD.

    Parameters
    ----------
    block : the block
    F : its factor at one theta
    """

    def __init__(self, block: Crossed, F: sparse.csr_array) -> None:
        self.block, self.F = block, F
        self.GF = block.gram @ F  # Z'Z F
        A = (F.T @ self.GF + sparse.eye_array(block.size)).tocoo()
        lower = A.row >= A.col
        rows, columns = (index[lower].astype(np.int64) for index in (A.row, A.col))
        entries = cvxopt.spmatrix(A.data[lower], rows, columns, A.shape)
        self.factor = cholmod.symbolic(entries)
        try:
            cholmod.numeric(entries, self.factor)
        except ArithmeticError as error:
            raise np.linalg.LinAlgError(str(error)) from error
        self.logdet = 2 * float(np.log(np.array(cholmod.diag(self.factor))).sum())

    def solved(self, products: Matrix) -> Matrix:
        """A^-1 F' times Z'[X y], shape (size, s)."""
        return _solve(self.factor, self.F.T @ products)

    def slopes(self) -> Vector:
        """Derivatives of log |A| with respect to theta, shape (m,).

        They are twice the sums of the entries of Z'Z F A^-1 that stand where theta does. A column c of a factor that
        does not lead is solved for. With Q the share of those columns in the leading factor's own entries of
        Z'Z F A^-1, A A^-1 = I gives the rest of them level by level.
        """
        block, lead, width = self.block, self.block.lead, self.block.lead.shape[1]
        slopes = np.zeros(len(block.rows))
        Q = np.zeros((len(lead), width, width))
        by_column = self.GF.tocsc()
        at_once = max(1, HELD // block.size)
        for start in range(0, len(block.others), at_once):
            chunk = block.others[start : start + at_once]
            unit = np.zeros((block.size, len(chunk)))
            unit[chunk, np.arange(len(chunk))] = 1.0
            inverse = _solve(self.factor, unit)
            inside = np.flatnonzero(np.isin(block.columns, chunk))
            place = np.searchsorted(chunk, block.columns[inside])
            slopes[inside] = self.GF[block.rows[inside]].multiply(inverse[:, place].T).sum(axis=1)
            weights = by_column[:, chunk].tocsr()
            for i in range(width):
                mixed = weights[lead[:, i]]
                for j in range(width):
                    Q[:, i, j] += mixed.multiply(inverse[lead[:, j]]).sum(axis=1)
        F, GF = within(self.F, lead), within(self.GF, lead)
        transposed = np.swapaxes(F, 1, 2)
        identity = np.eye(width)
        own = GF @ np.linalg.solve(transposed @ GF + identity, identity - transposed @ Q) + Q
        level, column = np.full(block.size, -1), np.zeros(block.size, int)
        level[lead], column[lead] = np.arange(len(lead))[:, None], np.arange(width)
        inside = np.flatnonzero(level[block.columns] >= 0)
        rows, columns = block.rows[inside], block.columns[inside]
        slopes[inside] = own[level[columns], column[rows], column[columns]]
        return 2 * np.bincount(block.index, slopes)  # type: ignore[return-value]  # numpy's types forget the weights


def _solve(factor: object, right: Matrix) -> Matrix:
    """A^-1 times a dense matrix."""
    solution = cvxopt.matrix(np.ascontiguousarray(right))
    cholmod.solve(factor, solution)
    return np.array(solution)
