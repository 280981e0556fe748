"""The criterion that both engines maximise, evaluated independently of both.

The profiled ML deviance and REML criterion of a linear mixed model (Bates, Mächler, Bolker and Walker 2015, Journal of
Statistical Software 67(1), section 3.4, equations 34 and 41; doi 10.18637/jss.v067.i01), from cross-products, block by
block over the independent groups.

With V = I + Z L L' Z' for the relative covariance factor L, and a block's columns of Z factored as Q R, all that the
data of a block contribute is Q' [X y]; blocks with the same R share one factorization, and the sums of their outer
products are made once. So an evaluation costs as many small factorizations as there are different R, whatever the
number of rows. X is orthonormalized, y replaced by its residuals and every random term's columns are whitened
beforehand, so that large means and unlike scales cancel no digits away.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import linalg, optimize, sparse

from concord.fits import tidy
from concord.formulas import Design, DesignTerm


class LikelihoodError(ValueError):
    """The likelihood of a model is not defined; the message says why."""


@dataclass(frozen=True, eq=False)
class Optimum:
    """Where the criterion is smallest, in the parameters of a `Fit`.

    Attributes
    ----------
    design : the model in numbers
    loglik : log-likelihood (the REML one under REML)
    fixed, std_error : fixed effects and their standard errors conditional on theta, shape (p,)
    covariances : one matrix a random term
    residual_variance : variance of the residuals
    theta : where the search ended, in whitened coordinates, shape (m,)
    gradient : largest absolute derivative of the criterion there
    """

    design: Design
    loglik: float
    fixed: np.ndarray
    std_error: np.ndarray
    covariances: tuple[np.ndarray, ...]
    residual_variance: float
    theta: np.ndarray
    gradient: float

    @property
    def estimates(self) -> pd.DataFrame:
        """One row per parameter: ``effect, group, term, estimate, std_error``."""
        return tidy(self.design, self.fixed, self.std_error, self.covariances, self.residual_variance)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """The blocks with one layout: their K different R, and for each the sums over the blocks that share it."""

    R: np.ndarray  # (K, q, q)
    count: np.ndarray  # (K,): how many blocks share it
    products: np.ndarray  # (K q q, s s): sums of outer products of Q'[X y], s = p + 1
    rows: np.ndarray  # where the entries of the terms' factors stand in a block's factor
    columns: np.ndarray
    index: np.ndarray  # and which entry each is


@dataclass(frozen=True, eq=False)
class _Solved:
    """The generalized least-squares solution at one theta, in the coordinates of the orthonormalized X."""

    coefficients: np.ndarray  # (p,)
    rss: float  # penalized residual sum of squares
    inverse: np.ndarray  # (p, p): (X'V^-1 X)^-1
    logdet: float  # log |X'V^-1 X|


class Likelihood:
    """The criterion of one model.

    Parameters
    ----------
    design : the model in numbers
    reml : the REML criterion, or the ML deviance

    Raises
    ------
    LikelihoodError : a value is not finite, X or a random term is rank deficient, there are no more rows than fixed
        effects, or the fixed effects leave no residuals
    """

    def __init__(self, design: Design, reml: bool) -> None:
        self.design, self.reml = design, reml
        n, p = design.X.shape
        if not all(np.isfinite(each).all() for each in (design.y, design.X, *(term.matrix for term in design.terms))):
            raise LikelihoodError("y, X or a random term's columns hold a value that is not finite")
        if n <= p:
            raise LikelihoodError(f"{n} rows are too few for {p} fixed effects")
        orthonormal, self._R = _qr(design.X, "the columns of X are")
        self._ols = linalg.solve_triangular(self._R, orthonormal.T @ design.y)
        residuals = design.y - design.X @ self._ols
        residuals -= orthonormal @ (orthonormal.T @ residuals)
        self._scale = float(np.sqrt(residuals @ residuals / n))
        if not self._scale > 1e-13 * np.abs(design.y).max():
            raise LikelihoodError("the fixed effects reproduce the response exactly")
        self.n, self.p = n, p
        self.nu = n - p if reml else n
        table = np.column_stack([orthonormal, residuals / self._scale])
        self._total = np.eye(p + 1)
        self._total[p, p] = table[:, p] @ table[:, p]
        self._logdet_X = 2 * float(np.log(np.diag(self._R)).sum()) if reml else 0.0

        self._whiteners, whitened = [], []
        for term in design.terms:
            columns, R = _qr(term.matrix, f"the columns of ({', '.join(term.names)} | {term.group}) are")
            self._whiteners.append(R / np.sqrt(n))
            whitened.append(columns * np.sqrt(n))
        self._sizes = [len(term.names) for term in design.terms]
        self._free = _lower_triangles(self._sizes)
        self.m = len(self._free)
        self._blocks = _gather(design.terms, whitened, table)

    def criterion(self, theta: np.ndarray) -> float:
        """ML deviance or REML criterion, that is -2 log-likelihood, profiled over fixed effects and residual variance.

        Parameters
        ----------
        theta : lower triangles of the terms' relative factors in whitened coordinates, column by column, shape (m,);
            see `theta_at`
        """
        logdet, cross, _ = self._evaluate(self._entries(theta))
        return self._profiled(logdet, self._solve(cross))

    def criterion_and_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The criterion and its exact derivatives with respect to theta, shape (m,)."""
        entries = self._entries(theta)
        logdet, cross, parts = self._evaluate(entries)
        solved = self._solve(cross)
        # How the criterion depends on the cross-products: the quadratic form's share and, under REML, log |X'V^-1 X|'s.
        direction = np.append(-solved.coefficients, 1.0)
        share = (self.nu / solved.rss) * np.outer(direction, direction)
        if self.reml:
            share[: self.p, : self.p] += solved.inverse
        slopes = np.zeros(len(entries))
        for blocks, (P, W) in zip(self._blocks, parts, strict=True):
            identity = np.eye(W.shape[1])
            pull = (blocks.products @ share.ravel()).reshape(W.shape)
            inner = blocks.count[:, None, None] * identity - (identity - W) @ pull
            slope = 2 * np.swapaxes(blocks.R, 1, 2) @ inner @ np.swapaxes(P, 1, 2)
            np.add.at(slopes, blocks.index, slope[:, blocks.rows, blocks.columns].sum(0))
        return self._profiled(logdet, solved), slopes[self._free]

    def loglik(self, fixed: np.ndarray, covariances: Sequence[np.ndarray], residual_variance: float) -> float:
        """The log-likelihood at an engine's estimates; -inf where they are no parameters of the model.

        Nothing is profiled out: fixed effects that are not the generalized least-squares solution lower it, also under
        REML, by half of their generalized squared distance from it.

        Parameters
        ----------
        fixed : fixed effects, shape (p,)
        covariances : one covariance matrix a random term, shape (q, q)
        residual_variance : variance of the residuals
        """
        if not (residual_variance > 0 and np.isfinite(residual_variance) and np.isfinite(fixed).all()):
            return -np.inf
        roots = self._roots(covariances, residual_variance)
        if roots is None:
            return -np.inf
        logdet, cross, _ = self._evaluate(roots)
        direction = np.append(-(self._R @ (fixed - self._ols)) / self._scale, 1.0)
        quadratic = float(direction @ cross @ direction) * self._scale**2 / residual_variance
        if self.reml:
            logdet += self._solve(cross).logdet + self._logdet_X
        return -0.5 * (self.nu * np.log(2 * np.pi * residual_variance) + logdet + quadratic)

    def gradient_at(self, covariances: Sequence[np.ndarray], residual_variance: float) -> np.ndarray:
        """Derivatives of the criterion at an engine's covariance matrices, with respect to whitened theta, shape (m,).

        Zero at an optimum; half of its inner product with a step is what the step gains in log-likelihood.
        """
        return self.criterion_and_gradient(self.theta_at(covariances, residual_variance))[1]

    def theta_at(self, covariances: Sequence[np.ndarray], residual_variance: float) -> np.ndarray:
        """Whitened theta, shape (m,), of covariance matrices and a residual variance.

        Raises
        ------
        LikelihoodError : one of the matrices is no covariance matrix
        """
        roots = self._roots(covariances, residual_variance)
        if roots is None:
            raise LikelihoodError("not a covariance matrix")
        factors, start = [], 0
        for size in self._sizes:
            root = roots[start : start + size * size].reshape(size, size)
            # The triangular factor of root root' without forming the product: root' = Q R, so root root' = R'R.
            R = np.linalg.qr(root.T, mode="r")
            factors.append((R.T * np.where(np.diag(R) < 0, -1.0, 1.0)).ravel())
            start += size * size
        return np.concatenate(factors)[self._free]

    def std_error(self, covariances: Sequence[np.ndarray], residual_variance: float) -> np.ndarray:
        """Standard errors of the fixed effects conditional on covariance matrices and residual variance, shape (p,).

        sqrt(diag(sigma^2 (X'V^-1 X)^-1)), as lme4 gives them; NaN where they are no parameters of the model.
        """
        roots = self._roots(covariances, residual_variance)
        if roots is None:
            return np.full(self.p, np.nan)
        return np.sqrt(residual_variance * np.diag(self._spread(self._solve(self._evaluate(roots)[1]))))

    def _spread(self, solved: _Solved) -> np.ndarray:
        """(X'V^-1 X)^-1 in the coding of X, shape (p, p)."""
        half = linalg.solve_triangular(self._R, solved.inverse)
        return linalg.solve_triangular(self._R, half.T)

    def optimum(self, starts: Sequence[np.ndarray] | None = None) -> Optimum:
        """The best stationary point that is found from each of the starts, in double precision.

        Parameters
        ----------
        starts : whitened thetas, shape (m,); by default factors of the sizes 1, 0.1 and 3 times the identity

        Raises
        ------
        LikelihoodError : no start led anywhere
        """
        if starts is None:
            identity = self._identity()
            starts = [identity, 0.1 * identity, 3 * identity]
        found = []
        for start in starts:
            # A search that leaves what doubles can hold ends in one of these: it led nowhere, another one may not.
            with suppress(np.linalg.LinAlgError, ValueError):
                found.append(self._descend(np.asarray(start, float)))
        found = [each for each in found if np.isfinite(each[0])]
        if not found:
            raise LikelihoodError("no optimum was found")
        value, theta, gradient = min(found, key=lambda each: each[0])
        return self._at(theta, value, gradient)

    def _descend(self, start: np.ndarray) -> tuple[float, np.ndarray, float]:
        """BFGS, then Newton steps as long as they lower the gradient."""
        theta = optimize.minimize(self.criterion_and_gradient, start, jac=True, method="BFGS", tol=1e-6).x
        value, gradient = self.criterion_and_gradient(theta)
        for _ in range(10):
            step = linalg.lstsq(self.hessian(theta), -gradient)[0]
            new_value, new_gradient = self.criterion_and_gradient(theta + step)
            # Comparing gradients, not values: near the optimum the values' last digits are rounding.
            if not np.abs(new_gradient).max() < 0.5 * np.abs(gradient).max() or new_value > value + 1e-6:
                break
            theta, value, gradient = theta + step, new_value, new_gradient
        return value, theta, float(np.abs(gradient).max(initial=0.0))

    def hessian(self, theta: np.ndarray) -> np.ndarray:
        """Second derivatives of the criterion, shape (m, m), by central differences of the exact gradient."""
        rows = []
        for i in range(self.m):
            step = np.zeros(self.m)
            step[i] = 1e-5 * max(1.0, abs(theta[i]))
            ahead, behind = self.criterion_and_gradient(theta + step)[1], self.criterion_and_gradient(theta - step)[1]
            rows.append((ahead - behind) / (2 * step[i]))
        hessian = np.array(rows)
        return (hessian + hessian.T) / 2

    def _at(self, theta: np.ndarray, value: float, gradient: float) -> Optimum:
        entries = self._entries(theta)
        solved = self._solve(self._evaluate(entries)[1])
        residual_variance = self._scale**2 * solved.rss / self.nu
        fixed = self._ols + self._scale * linalg.solve_triangular(self._R, solved.coefficients)
        covariances, start = [], 0
        for size, whitener in zip(self._sizes, self._whiteners, strict=True):
            factor = linalg.solve_triangular(whitener, entries[start : start + size * size].reshape(size, size))
            covariances.append(residual_variance * factor @ factor.T)
            start += size * size
        std_error = np.sqrt(residual_variance * np.diag(self._spread(solved)))
        return Optimum(
            self.design, -value / 2, fixed, std_error, tuple(covariances), residual_variance, theta, gradient
        )

    def _identity(self) -> np.ndarray:
        return np.concatenate([np.eye(size).ravel() for size in self._sizes])[self._free]

    def _entries(self, theta: np.ndarray) -> np.ndarray:
        """The full square factors of all terms, row by row in one array."""
        entries = np.zeros(sum(size * size for size in self._sizes))
        entries[self._free] = theta
        return entries

    def _roots(self, covariances: Sequence[np.ndarray], residual_variance: float) -> np.ndarray | None:
        """Symmetric-eigen square roots of the relative covariance matrices, whitened; None where one has none."""
        roots = []
        for covariance, whitener in zip(covariances, self._whiteners, strict=True):
            if not np.isfinite(covariance).all():
                return None
            relative = whitener @ covariance @ whitener.T / residual_variance
            values, vectors = np.linalg.eigh((relative + relative.T) / 2)
            # A singular estimate comes back with eigenvalues that rounding has made slightly negative.
            if values.min() < -1e-7 * max(values.max(), 0.0):
                return None
            roots.append((vectors * np.sqrt(np.maximum(values, 0.0))).ravel())
        return np.concatenate(roots)

    def _evaluate(self, entries: np.ndarray) -> tuple[float, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """log |V|, the cross-products [X y]'V^-1[X y], and for each layout A^-1 B' and B A^-1 B' with A = B'B + I."""
        logdet, parts = 0.0, []
        cross = self._total.copy()
        for blocks in self._blocks:
            size = blocks.R.shape[1]
            factor = np.zeros((size, size))
            factor[blocks.rows, blocks.columns] = entries[blocks.index]
            B = blocks.R @ factor
            transposed = np.swapaxes(B, 1, 2)
            A = transposed @ B + np.eye(size)
            diagonals = np.diagonal(np.linalg.cholesky(A), axis1=1, axis2=2)
            logdet += 2 * float(blocks.count @ np.log(diagonals).sum(1))
            P = np.linalg.solve(A, transposed)
            W = B @ P
            cross -= (W.ravel() @ blocks.products).reshape(cross.shape)
            parts.append((P, W))
        return logdet, cross, parts

    def _solve(self, cross: np.ndarray) -> _Solved:
        p = self.p
        lower = np.linalg.cholesky(cross)
        inverse_factor = linalg.solve_triangular(lower[:p, :p], np.eye(p), lower=True) if p else np.zeros((0, 0))
        return _Solved(
            coefficients=inverse_factor.T @ lower[p, :p],
            rss=float(lower[p, p] ** 2),
            inverse=inverse_factor.T @ inverse_factor,
            logdet=2 * float(np.log(np.diag(lower)[:p]).sum()),
        )

    def _profiled(self, logdet: float, solved: _Solved) -> float:
        variance = self._scale**2 * solved.rss / self.nu
        value = logdet + self.nu * (1 + np.log(2 * np.pi * variance))
        return float(value + (solved.logdet + self._logdet_X if self.reml else 0.0))


def _qr(matrix: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Thin QR with a positive diagonal of R."""
    if matrix.shape[1] == 0:
        return matrix, np.zeros((0, 0))
    lengths = np.linalg.norm(matrix, axis=0)
    if not lengths.min() > 0:
        raise LikelihoodError(f"{what} linearly dependent: one is zero throughout")
    # Columns of length one first, so that the test of rank does not depend on their units.
    Q, R = np.linalg.qr(matrix / lengths)
    if len(matrix) < matrix.shape[1] or np.abs(np.diag(R)).min() < 1e-10:
        raise LikelihoodError(f"{what} linearly dependent")
    signs = np.sign(np.diag(R))
    return Q * signs, signs[:, None] * R * lengths


def _lower_triangles(sizes: Sequence[int]) -> np.ndarray:
    """Where the entries of theta stand among the full square factors: lower triangles, column by column."""
    places, start = [], 0
    for size in sizes:
        places += [start + row * size + column for column in range(size) for row in range(column, size)]
        start += size * size
    return np.array(places, dtype=int)


def _gather(terms: Sequence[DesignTerm], whitened: Sequence[np.ndarray], table: np.ndarray) -> list[_Blocks]:
    """The independent blocks, those with the same layout together and those with the same R as one."""
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
    gathered: dict[tuple[int, ...], list[tuple[np.ndarray, np.ndarray]]] = {}
    for number, (height, *counts) in enumerate(layouts):
        members = np.flatnonzero(layout == number)
        taken = np.flatnonzero(layout[inverse] == number)
        place = np.searchsorted(members, inverse[taken])
        size = sum(count * matrix.shape[1] for count, matrix in zip(counts, whitened, strict=True))
        Z, C, start = np.zeros((len(members), height, size)), np.empty((len(members), height, width)), 0
        C[place, within[taken]] = table[taken]
        for count, matrix, ranks in zip(counts, whitened, local, strict=True):
            q = matrix.shape[1]
            for j in range(q):
                Z[place, within[taken], start + ranks[taken] * q + j] = matrix[taken, j]
            start += count * q
        Q, R = np.linalg.qr(Z)
        inner = np.swapaxes(Q, 1, 2) @ C
        missing = size - R.shape[1]
        if missing > 0:
            R, inner = (np.pad(each, ((0, 0), (0, missing), (0, 0))) for each in (R, inner))
        gathered.setdefault(tuple(int(count) for count in counts), []).append((R, inner))
    sizes = [matrix.shape[1] for matrix in whitened]
    return [_merge(counts, sizes, found) for counts, found in gathered.items()]


def _merge(counts: tuple[int, ...], sizes: list[int], found: list[tuple[np.ndarray, np.ndarray]]) -> _Blocks:
    """The blocks with these numbers of levels, those with the same R as one."""
    R, inner = np.concatenate([R for R, _ in found]), np.concatenate([inner for _, inner in found])
    unique, member = np.unique(R.reshape(len(R), -1), axis=0, return_inverse=True)
    member = member.ravel()
    size, width = inner.shape[1:]
    products = np.zeros((len(unique), size, size, width, width))
    np.add.at(products, member, np.einsum("kas,kbt->kabst", inner, inner))
    rows, columns, index, start, entry = [], [], [], 0, 0
    for count, q in zip(counts, sizes, strict=True):
        for level in range(count):
            for i in range(q):
                for j in range(q):
                    rows.append(start + level * q + i)
                    columns.append(start + level * q + j)
                    index.append(entry + i * q + j)
        start += count * q
        entry += q * q
    return _Blocks(
        unique.reshape(-1, size, size),
        np.bincount(member).astype(float),
        products.reshape(-1, width * width),
        np.array(rows), np.array(columns), np.array(index),
    )  # fmt: skip


def components(terms: Sequence[DesignTerm]) -> np.ndarray:
    """For every row the number of the independent block that it belongs to."""
    if all(np.array_equal(term.codes, terms[0].codes) for term in terms):
        return terms[0].codes
    starts = np.cumsum([0, *(len(term.levels) for term in terms)])
    nodes = [start + term.codes for start, term in zip(starts, terms, strict=False)]
    ends = np.concatenate([np.stack([nodes[0], other]) for other in nodes[1:]], axis=1)
    links = sparse.coo_array((np.ones(ends.shape[1]), ends), shape=(starts[-1], starts[-1]))
    return sparse.csgraph.connected_components(links, directed=False)[1][nodes[0]]


def ranks_within(block: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """For every row the number of its level among the levels of its block, counted from 0."""
    span = int(codes.max()) + 1
    pairs, inverse = np.unique(block.astype(np.int64) * span + codes, return_inverse=True)
    owner = pairs // span
    return (inverse - np.searchsorted(owner, owner)[inverse]).ravel()
