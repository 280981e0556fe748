"""Degrees of freedom of a fixed effect's t test, by three definitions, computed independently of every package.

*Satterthwaite*: the estimated variance v of a fixed effect is taken for a multiple of a chi-squared variable with

    df = 2 v^2 / (g' A g)

degrees of freedom, g the gradient of v with respect to the parameters of the covariance and A their covariance matrix,
the inverse of the observed information (Giesbrecht and Burns 1985, Biometrics 41, 477-486; Kuznetsova, Brockhoff and
Christensen 2017, Journal of Statistical Software 82(13), section 2.2; doi 10.18637/jss.v082.i13).

*Kenward and Roger*: the same with the expected information of REML in place of the observed one, and a standard error
that is enlarged for the uncertainty of the covariance parameters (Kenward and Roger 1997, Biometrics 53, 983-997).
With one hypothesis their F statistic needs no scaling, and their degrees of freedom are 2 / A for A = A1 = A2 (their
section 3), which is Satterthwaite's formula.

*Inner and outer*: what the layout of a balanced design would give, by counting groups and columns (Pinheiro and Bates
2000, Mixed-Effects Models in S and S-PLUS, section 2.4.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import linalg

from concord.arrays import Array, Floats, Integers, Matrix, Vector, total
from concord.likelihood.blocks import components
from concord.likelihood.deviance import Deviance
from concord.likelihood.likelihood import Likelihood
from concord.models.design import Design
from concord.models.nesting import levels
from concord.models.parameters import ZERO, Parameters, triangle

LARGEST_BLOCK = 1500
"""Rows of one independent block beyond which Kenward and Roger's matrices, all of them dense, are not formed."""


class DegreesError(ValueError):
    """There are no degrees of freedom by this definition; the message says why."""


def satterthwaite(likelihood: Likelihood, at: Parameters, contrasts: Matrix | None = None) -> Vector:
    """Satterthwaite's degrees of freedom at given variances, shape (k,).

    The covariance's parameters are the relative factors' entries and sigma, as lmerTest has them. At an optimum inside
    the parameter space the choice does not matter, for A and g change together. On its boundary it does: as the
    deviance is even in a standard deviation, a variance of zero has no part in g, so that its uncertainty is not
    counted.

    Parameters
    ----------
    at : where the variances are taken from
    contrasts : one hypothesis a row, shape (k, p); by default every fixed effect

    Raises
    ------
    DegreesError : the deviance does not bend up in every direction: these estimates are near no optimum
    LikelihoodError : the estimates are not parameters of the model
    """
    theta = likelihood.theta_at(at)
    jacobian, inverse = _of_factors(likelihood, theta, at)
    variances, gradients = _conditional(likelihood, theta, math.sqrt(at.residual_variance), contrasts)
    gradients = gradients @ jacobian
    with np.errstate(divide="ignore"):
        degrees: Vector = 2 * variances**2 / np.einsum("ki,ij,kj->k", gradients, inverse, gradients)
    return degrees


def satterthwaite_off(likelihood: Likelihood, at: Parameters, moved: Array) -> Matrix:
    """By how much `satterthwaite` of every fixed effect moves, to the first order, where the covariance matrix of
    (theta, sigma) may be off by so much, entry by entry; shape (p,).

    Parameters
    ----------
    moved : not negative, shape (m + 1, m + 1)
    """
    theta = likelihood.theta_at(at)
    jacobian, inverse = _of_factors(likelihood, theta, at)
    variances, gradients = _conditional(likelihood, theta, math.sqrt(at.residual_variance), None)
    gradients = gradients @ jacobian
    whole = np.einsum("ki,ij,kj->k", gradients, inverse, gradients)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = 2 * variances**2 / whole**2 * np.einsum("ki,ij,kj->k", np.abs(gradients), moved, np.abs(gradients))
    return np.where(np.isfinite(off), off, 0.0)


def factor_covariance(likelihood: Likelihood, at: Parameters) -> Matrix:
    """The covariance matrix of (theta, sigma), shape (m + 1, m + 1), from the observed information.

    theta are the terms' relative factors, lower triangles column by column, as lme4 has them; the fixed effects are at
    their best.

    Raises
    ------
    DegreesError : the deviance does not bend up in every direction: these estimates are near no optimum
    """
    return _of_factors(likelihood, likelihood.theta_at(at), at)[1]


def _of_factors(likelihood: Likelihood, theta: Vector, at: Parameters) -> tuple[Matrix, Matrix]:
    """The derivatives of (whitened theta, log sigma) with respect to (theta in the columns' own coding, sigma), and the
    latter's covariance matrix, shapes (m + 1, m + 1).
    """
    sigma = math.sqrt(at.residual_variance)
    _, slopes, hessian = Deviance(likelihood).profiled(theta, math.log(sigma))
    jacobian, bent = _own_coordinates(likelihood, at.relative, slopes[:-1])
    jacobian = linalg.block_diag(jacobian, 1 / sigma)
    hessian = jacobian.T @ hessian @ jacobian
    hessian[:-1, :-1] += bent
    hessian[-1, -1] -= slopes[-1] / sigma**2
    # Of unlike units the coordinates are: scaled to ones on the diagonal before it is inverted.
    scales = np.sqrt(np.abs(np.diag(hessian)))
    try:
        root = np.linalg.cholesky((hessian + hessian.T) / 2 / np.outer(scales, scales))
    except np.linalg.LinAlgError as error:
        raise DegreesError(
            "the deviance does not bend up in every direction: the estimates are not near an optimum"
        ) from error
    half = linalg.solve_triangular(root, np.diag(1 / scales), lower=True)
    # The deviance is -2 log L: twice the inverse of its Hessian is the inverse of the information.
    return jacobian, 2 * half.T @ half


def _conditional(
    likelihood: Likelihood, theta: Vector, sigma: float, contrasts: Matrix | None
) -> tuple[Vector, Matrix]:
    """Variances of the contrasts given the covariance, shape (k,), and their derivatives with respect to (whitened
    theta, log sigma), shape (k, m + 1).
    """
    p, m = likelihood.p, likelihood.m
    wanted = np.eye(p) if contrasts is None else np.atleast_2d(contrasts)
    # In the orthonormalized X the contrasts are R^-T l.
    inner = linalg.solve_triangular(likelihood.R, wanted.T, trans="T")
    _, cross, parts = likelihood.evaluate(theta)
    solved = np.linalg.solve(cross[:p, :p], inner).T
    variances = sigma**2 * (solved * inner.T).sum(axis=1)
    gradients = np.empty((len(wanted), m + 1))
    gradients[:, m] = 2 * variances
    share = np.zeros((p + 1, p + 1))
    of_logdet = total(part.slopes(share) for part in parts)
    for i, solution in enumerate(solved):
        share[:p, :p] = np.outer(solution, solution)
        gradients[i, :m] = -(sigma**2) * (total(part.slopes(share) for part in parts) - of_logdet)
    return variances, gradients


def _own_coordinates(likelihood: Likelihood, matrices: Sequence[Matrix], slopes: Vector) -> tuple[Matrix, Matrix]:
    """The derivatives of whitened theta with respect to the relative factors' entries in the columns' own coding, shape
    (m, m), and what its second derivatives, weighted by the slopes, add to a Hessian, shape (m, m).

    Where a covariance matrix is singular the coordinates stay whitened; its slopes are then those of an optimum, zero.
    """
    jacobians, bents, start = [], [], 0
    for relative, whitener in zip(matrices, likelihood.whiteners, strict=True):
        q = len(relative)
        count = q * (q + 1) // 2
        weight, start = slopes[start : start + count], start + count
        if q == 1:
            jacobians.append(whitener[:1, :1])
            bents.append(np.zeros((1, 1)))
            continue
        factor = _cholesky(relative)
        if factor is None:
            jacobians.append(np.eye(count))
            bents.append(np.zeros((count, count)))
            continue
        rows, columns = triangle(q)
        sizes = np.linalg.norm(factor, axis=1)[rows]

        whitened = partial(_whitened, whitener, sizes, rows, columns)
        jacobian, bent = _differences(whitened, factor[rows, columns] / sizes, weight)
        jacobians.append(jacobian / sizes)
        bents.append(bent / np.outer(sizes, sizes))
    return linalg.block_diag(*jacobians), linalg.block_diag(*bents)


def _whitened(whitener: Matrix, sizes: Vector, rows: Integers, columns: Integers, entries: Vector) -> Floats:
    """The lower triangle of a whitened factor from that of a factor in the columns' own coding, in units of `sizes`."""
    own = np.zeros_like(whitener)
    own[rows, columns] = entries * sizes
    moved = whitener @ own
    return np.linalg.cholesky(moved @ moved.T)[rows, columns]


def _cholesky(matrix: Matrix) -> Floats | None:
    """The factor of a covariance matrix; None where it is singular to rounding."""
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None
    shares = np.diag(factor) ** 2 / np.diag(matrix)
    return factor if shares.min() > ZERO else None


def _differences(function: Callable[[Vector], Floats], at: Vector, weight: Vector) -> tuple[Matrix, Matrix]:
    """First derivatives, shape (m, m), and second ones of the weighted sum, shape (m, m), by central differences of a
    map that costs nothing. The smallest pivot bounds the step, for the map is not smooth where it is zero.
    """
    count = len(at)
    step = 1e-4 * min(1.0, float(np.abs(at[np.abs(at) > 0]).min()))
    moves = step * np.eye(count)
    jacobian = np.column_stack([(function(at + move) - function(at - move)) / (2 * step) for move in moves])
    second = np.empty((count, count))
    for i, one in enumerate(moves):
        for j, other in enumerate(moves[: i + 1]):
            ahead = weight @ (function(at + one + other) + function(at - one - other))
            second[i, j] = second[j, i] = (
                ahead - weight @ (function(at + one - other) + function(at - one + other))
            ) / (4 * step**2)
    return jacobian, second


@dataclass(frozen=True, eq=False)
class Adjustment:
    """Kenward and Roger's matrices at given estimates.

    Attributes
    ----------
    adjusted : the fixed effects' covariance matrix, enlarged for the uncertainty of the variances, shape (p, p)
    back : from the coefficients of orthonormal columns to the fixed effects, shape (p, p)
    spread : the covariance matrix of the former, the variances taken for known, shape (p, p)
    P : the derivatives of its inverse, shape (m, p, p)
    W : the covariance matrix of the variances and covariances, the residual variance last, shape (m, m)
    """

    adjusted: Matrix
    back: Matrix
    spread: Floats
    P: Array
    W: Matrix

    @property
    def covariance(self) -> Matrix:
        """Of the fixed effects, the variances taken for known, shape (p, p)."""
        return self.back @ self.spread @ self.back.T

    def changes(self, L: Matrix) -> Array:
        """The derivatives of the covariance matrix of L b, shape (m, k, k)."""
        moved = L @ self.back @ self.spread
        changes: Array = -moved @ self.P @ moved.T
        return changes


def kenward_roger(design: Design, at: Parameters, contrasts: Matrix | None = None) -> tuple[Matrix, Matrix]:
    """Kenward and Roger's adjusted covariance matrix of the fixed effects, shape (p, p), and their degrees of freedom.

    Every hypothesis has degrees of freedom of its own, shape (k,).

    Parameters
    ----------
    contrasts : one hypothesis a row, shape (k, p); by default every fixed effect

    Raises
    ------
    DegreesError : as `adjustment`
    """
    made = adjustment(design, at)
    wanted = np.eye(len(at.fixed)) if contrasts is None else np.atleast_2d(contrasts)
    return made.adjusted, one_by_one(made, wanted)


def one_by_one(made: Adjustment, contrasts: Matrix) -> Vector:
    """Kenward and Roger's degrees of freedom of each hypothesis, shape (k,)."""
    moved = contrasts @ made.back @ made.spread
    # A: the squared relative change of a contrast's variance by one standard error of the covariance's parameters.
    changes = np.einsum("ka,iab,kb->ik", moved, made.P, moved) / (moved * (contrasts @ made.back)).sum(axis=1)
    with np.errstate(divide="ignore"):
        degrees: Vector = 2 / np.einsum("ik,ij,jk->k", changes, made.W, changes)
    return degrees


def adjustment(design: Design, at: Parameters) -> Adjustment:
    """Kenward and Roger's matrices.

    The covariance is linear in its parameters, so that their R_ij, the second derivatives, vanish.

    Parameters
    ----------
    design : the model in numbers
    at : where the variances are taken from

    Raises
    ------
    DegreesError : an independent block of rows is too large, or the data do not tell the variances apart
    """
    block = components(design.terms)
    sizes = np.bincount(block)
    if sizes.max() > LARGEST_BLOCK:
        raise DegreesError(
            f"Kenward and Roger's matrices are dense: {sizes.max()} rows that are correlated with each other are more "
            f"than {LARGEST_BLOCK}"
        )
    orthonormal, R = np.linalg.qr(design.X)
    p = len(R)
    # By parameter: the term and the two columns; the residual variance is the last.
    parameters = [
        (t, i, j) for t, covariance in enumerate(at.covariances) for j in range(len(covariance)) for i in range(j + 1)
    ]
    count = len(parameters) + 1
    information, traces = np.zeros((p, p)), np.zeros((count, count))
    P, Q = np.zeros((count, p, p)), np.zeros((count, count, p, p))
    order = np.argsort(block, kind="stable")
    for rows in np.split(order, np.cumsum(sizes)[:-1]):
        derivatives = _derivatives(design, rows, parameters)
        V = at.residual_variance * np.eye(len(rows))
        for (t, i, j), derivative in zip(parameters, derivatives, strict=False):
            V += at.covariances[t][i, j] * derivative
        inverse = linalg.cho_solve(linalg.cho_factor(V, lower=True), np.eye(len(rows)))
        X = orthonormal[rows]
        left = inverse @ X
        information += X.T @ left
        products = np.stack([inverse @ slope for slope in derivatives])  # V^-1 V_i
        moved = derivatives @ left  # V_i V^-1 X
        P -= left.T @ moved
        traces += products.reshape(count, -1) @ products.transpose(0, 2, 1).reshape(count, -1).T
        Q += moved.transpose(0, 2, 1)[:, None] @ (inverse @ moved)[None]
    spread = np.linalg.inv(information)
    PS = P @ spread
    expected = traces - 2 * np.einsum("ab,ijba->ij", spread, Q) + np.einsum("iab,jba->ij", PS, PS)
    # Of unlike units the parameters are: scaled to ones on the diagonal before it is inverted.
    scales = np.sqrt(np.diag(expected))
    scaled = expected / np.outer(scales, scales)
    if not np.linalg.eigvalsh(scaled)[0] > 1e-12:
        raise DegreesError("the variances' expected information is singular: the data do not tell them apart")
    W = 2 * np.linalg.inv(scaled) / np.outer(scales, scales)
    inner = np.einsum("ij,ijab->ab", W, Q) - np.einsum("ij,iab,jbc->ac", W, PS, P)
    adjusted = spread + 2 * spread @ (inner + inner.T) / 2 @ spread
    back = linalg.solve_triangular(R, np.eye(p))
    return Adjustment(back @ adjusted @ back.T, back, spread, P, W)


def _derivatives(design: Design, rows: Integers, parameters: Sequence[tuple[int, int, int]]) -> Array:
    """The derivatives of a block's covariance matrix with respect to every parameter, shape (k, n, n)."""
    slopes = np.empty((len(parameters) + 1, len(rows), len(rows)))
    for k, (t, i, j) in enumerate(parameters):
        term = design.terms[t]
        codes, columns = term.codes[rows], term.matrix[rows]
        product = np.outer(columns[:, i], columns[:, j])
        if i != j:
            product = product + product.T
        slopes[k] = np.where(codes[:, None] == codes, product, 0.0)
    slopes[-1] = np.eye(len(rows))
    return slopes


def inner_outer(design: Design) -> Vector:
    """Every fixed effect's denominator degrees of freedom by inner and outer levels, as nlme counts them, shape (p,).

    A column is estimated at the innermost level within whose groups it changes, or else between the outermost groups.
    Each level has as many degrees of freedom as it has more groups than the level outside of it, less its columns; the
    rows are the groups of the innermost level, and an intercept stands for one group outside of all. The intercept
    itself is given the largest number of any level (nlme's getFixDF; the book puts it at the innermost level).

    Raises
    ------
    DegreesError : the grouping factors are not nested, each in the last
    """
    design = design.as_coded
    nested = levels(design)
    if nested is None:
        raise DegreesError("inner and outer levels are of nested grouping factors, and these are crossed")
    codes = [design.terms[terms[0]].codes for terms in nested]
    n, p = design.X.shape
    groups = [len(np.unique(code)) for code in codes]
    degrees = np.diff([0, *groups, n])
    constant = [_same(column) for column in design.X.T]
    stratum = np.array(
        [
            max((i + 1 for i, codes_of in enumerate(codes) if not _same_within(column, codes_of)), default=0)
            for column in design.X.T
        ],
        dtype=int,
    )
    for j in range(p):
        if not constant[j]:
            degrees[stratum[j]] -= 1
    if any(constant):
        degrees[0] -= 1
    elif p:
        degrees[1:] += 1
    within: Vector = np.where(constant, degrees.max(), degrees[stratum]).astype(float)
    return within


def _same(column: Vector) -> bool:
    """Whether a column is constant."""
    first = column[0]
    return bool(np.all(np.abs(column - first) <= 1.5e-8 * abs(first)))


def _same_within(column: Vector, codes: Integers) -> bool:
    """Whether a column is constant in every group."""
    order = np.argsort(codes, kind="stable")
    column, codes = column[order], codes[order]
    return not np.any((np.diff(codes) == 0) & (np.diff(column) != 0))
