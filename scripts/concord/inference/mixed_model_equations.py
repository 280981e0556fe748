"""The mixed-model equations of one model at given covariance matrices, factored once, for all that is solved from them.

With a factor of every term's relative covariance matrix, Psi / sigma^2 = Lambda Lambda', and W = Z Lambda, everything
that is predicted rests on A = W'W + I (Bates, Mächler, Bolker and Walker 2015, Journal of Statistical Software 67(1),
section 3.1, equation 18; doi 10.18637/jss.v067.i01). A is sparse and its eigenvalues are at least one, whatever the
units of Z and however close Psi is to a singular matrix.

Independent blocks of rows share no entry of A. One right-hand side therefore serves a column of every block at a time:
what the solution holds in a block is what that block's own column would have given.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property

import cvxopt
import numpy as np
from cvxopt import cholmod
from scipy import sparse

from concord.arrays import Array, Floats, Integers, Matrix, Vector
from concord.likelihood.blocks import components, ranks_within
from concord.models.design import DesignTerm
from concord.models.parameters import spectrum

# Numbers of a dense right-hand side held at a time.
HELD = 2**22


def relative_factor(covariance: Matrix, residual_variance: float) -> Floats:
    """A factor L of a covariance matrix relative to the residual variance, Psi / sigma^2 = L L', shape (q, q).

    Lower triangular, or of no special form where Psi is singular.

    Raises
    ------
    ValueError : it is not a covariance matrix
    """
    relative = np.asarray(covariance, float) / residual_variance
    if not np.isfinite(relative).all():
        raise ValueError("a covariance matrix or the residual variance is not finite, or the latter is zero")
    with suppress(np.linalg.LinAlgError):
        factor: Floats = np.linalg.cholesky(relative)
        return factor
    unit, vectors, roots = spectrum(relative)
    return unit[:, None] * vectors * roots


class Equations:
    """A = W'W + I and its factorization; W's columns stand by term, within a term by level, within a level by effect.

    Parameters
    ----------
    terms : the random terms
    factors : for every term its relative factor, shape (q, q)
    n : number of rows

    Attributes
    ----------
    W : Z Lambda, sparse, shape (n, Q)
    places : for every term where its columns stand, shape (levels, q)
    """

    def __init__(self, terms: Sequence[DesignTerm], factors: Sequence[Floats], n: int) -> None:
        self._terms, self._factors = tuple(terms), tuple(factors)
        widths = [len(term.names) for term in terms]
        starts = np.cumsum([0, *(len(term.levels) * q for term, q in zip(terms, widths, strict=True))])
        self.size = int(starts[-1])
        self.places = [
            start + np.arange(len(term.levels) * q).reshape(-1, q)
            for start, term, q in zip(starts, terms, widths, strict=False)
        ]
        self.W = self.rows([term.matrix for term in terms], [term.codes for term in terms], n)
        self._gram = (self.W.T @ self.W + sparse.eye_array(self.size)).tocsr()
        self._factorization = _factorized(self._gram)
        self._block = np.zeros(self.size, int)
        if terms:
            block = components(terms)
            for term, place in zip(terms, self.places, strict=True):
                self._block[place[term.codes]] = block[:, None]

    def rows(self, matrices: Sequence[Matrix], codes: Sequence[Integers], n: int) -> sparse.csr_array:
        """Z Lambda of any rows, shape (n, Q); a level numbered -1 has no column.

        Parameters
        ----------
        matrices, codes : for every term its columns, shape (n, q), and the level of every row, shape (n,)
        n : number of rows
        """
        row, column, value = [np.empty(0, int)], [np.empty(0, int)], [np.empty(0)]
        for matrix, code, factor, place in zip(matrices, codes, self._factors, self.places, strict=True):
            known = np.flatnonzero(code >= 0)
            with np.errstate(invalid="ignore"):  # new rows may have missing numbers
                value.append((matrix[known] @ factor).ravel())
            column.append(place[code[known]].ravel())
            row.append(np.repeat(known, place.shape[1]))
        entries = (np.concatenate(value), (np.concatenate(row), np.concatenate(column)))
        return sparse.csr_array(entries, shape=(n, self.size))

    def solve(self, right: Matrix) -> Matrix:
        """A^-1 times dense columns, shape (Q, k)."""
        if not right.size:
            return np.zeros(right.shape)
        solution = cvxopt.matrix(np.ascontiguousarray(right, float))
        cholmod.solve(self._factorization, solution)
        return np.array(solution).reshape(right.shape)

    def by_level(self, stacked: Array) -> list[Array]:
        """Lambda times columns of length Q, by term, shapes (levels, q, k): from spherical to random effects."""
        return [factor @ stacked[place] for factor, place in zip(self._factors, self.places, strict=True)]

    def inverse_blocks(self) -> list[tuple[tuple[int, ...], Array]]:
        """Lambda A^-1 Lambda' within every level of every grouping factor.

        Returns
        -------
        list of (terms, blocks) : the numbers of the terms with one grouping factor, whose effects stand side by side in
            that order, and the blocks, shape (levels, w, w) for w effects of a level
        """
        inverses = []
        for terms, blocks in zip(self._families, self._inverse_blocks(), strict=True):
            factor = _block_diagonal([self._factors[t] for t in terms])
            inverses.append((tuple(terms), factor @ blocks @ factor.T))
        return inverses

    @cached_property
    def _families(self) -> list[list[int]]:
        """Terms with the same levels in every row, together; the family with the most columns first."""
        families: list[list[int]] = []
        for t, term in enumerate(self._terms):
            own = [family for family in families if np.array_equal(self._terms[family[0]].codes, term.codes)]
            if own:
                own[0].append(t)
            else:
                families.append([t])
        return sorted(families, key=lambda terms: -sum(self.places[t].size for t in terms))

    def _inverse_blocks(self) -> list[Array]:
        """The blocks of A^-1, by family.

        The columns of all families but the first are solved for. Between the levels of the first one A has no entries:
        with D its block at a level and C that level's rows in the other columns, A A^-1 = I leaves
        D^-1 (I - C [A^-1] of the others' rows), where nothing cancels, for C A^-1 is negative.
        """
        families = [np.concatenate([self.places[t] for t in terms], axis=1) for terms in self._families]
        if not families:
            return []
        lead, *rest = families
        levels, width = lead.shape
        others = np.setdiff1d(np.arange(self.size), lead)
        colour = np.full(self.size, -1)
        colour[others] = ranks_within(self._block[others], others) if len(others) else []
        level, within = np.full(self.size, -1), np.zeros(self.size, int)
        level[lead], within[lead] = np.arange(levels)[:, None], np.arange(width)
        coupling = self._gram[:, others].tocsr()[lead.ravel()].tocoo()  # rows by level, then effect
        at_level, at_effect, of = coupling.row // width, coupling.row % width, others[coupling.col]
        mixed = np.zeros((levels, width, width))
        own = [np.zeros((len(places), places.shape[1], places.shape[1])) for places in rest]
        for start, stop in self._chunks(int(colour.max()) + 1):
            chosen = others[(colour[others] >= start) & (colour[others] < stop)]
            unit = np.zeros((self.size, stop - start))
            unit[chosen, colour[chosen] - start] = 1.0
            inverse = self.solve(unit)
            inside = (colour[of] >= start) & (colour[of] < stop)
            for j in range(width):
                share = coupling.data[inside] * inverse[lead[at_level[inside], j], colour[of[inside]] - start]
                np.add.at(mixed[:, :, j], (at_level[inside], at_effect[inside]), share)
            for places, blocks in zip(rest, own, strict=True):
                for j, column in enumerate(places.T):
                    here = np.flatnonzero((colour[column] >= start) & (colour[column] < stop))
                    blocks[here, :, j] = inverse[places[here], (colour[column[here]] - start)[:, None]]
        rows, columns = np.repeat(lead, width, axis=1), np.tile(lead, (1, width))
        D = self._gram[rows.ravel(), columns.ravel()].reshape(levels, width, width)
        leading = np.linalg.solve(D, np.eye(width) - mixed)
        return [(block + block.transpose(0, 2, 1)) / 2 for block in (leading, *own)]

    def quadratic(self, rows: sparse.csr_array) -> Vector:
        """w'A^-1 w for every row w of a sparse matrix, shape (k,)."""
        rows = rows.tocoo()
        count = rows.shape[0]
        lowest, highest = np.full(count, self.size), np.full(count, -1)
        blocks = self._block[rows.col]
        np.minimum.at(lowest, rows.row, blocks)
        np.maximum.at(highest, rows.row, blocks)
        # Rows of different blocks share a right-hand side; one that touches several blocks has its own.
        whole = lowest == highest
        colour = np.zeros(count, int)
        if whole.any():
            colour[whole] = ranks_within(lowest[whole], np.flatnonzero(whole))
        mixed = np.flatnonzero(~whole & (highest >= 0))
        colour[mixed] = colour.max(initial=0) + 1 + np.arange(len(mixed))
        values = np.zeros(count)
        for start, stop in self._chunks(int(colour.max(initial=-1)) + 1):
            inside = (colour[rows.row] >= start) & (colour[rows.row] < stop)
            column, place, value = colour[rows.row[inside]] - start, rows.col[inside], rows.data[inside]
            right = np.zeros((self.size, stop - start))
            right[place, column] = value
            values += np.bincount(rows.row[inside], value * self.solve(right)[place, column], count)
        return values

    def _chunks(self, count: int) -> list[tuple[int, int]]:
        step = max(1, HELD // max(self.size, 1))
        return [(start, min(start + step, count)) for start in range(0, count, step)]


def _factorized(A: sparse.csr_array) -> object:
    """CHOLMOD's factorization of a sparse positive definite matrix."""
    A = A.tocoo()
    lower = A.row >= A.col
    rows, columns = (index[lower].astype(np.int64) for index in (A.row, A.col))
    entries = cvxopt.spmatrix(A.data[lower], rows, columns, A.shape)
    factorization = cholmod.symbolic(entries)
    cholmod.numeric(entries, factorization)
    return factorization


def _block_diagonal(matrices: Sequence[Floats]) -> Floats:
    return np.asarray(sparse.block_diag(matrices).todense()) if len(matrices) > 1 else matrices[0]
