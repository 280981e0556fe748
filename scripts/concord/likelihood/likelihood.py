"""The criterion that engines maximise, evaluated independently of them all.

The profiled ML deviance and REML criterion of a linear mixed model (Bates, Mächler, Bolker and Walker 2015, Journal of
Statistical Software 67(1), section 3.4, equations 34 and 41; doi 10.18637/jss.v067.i01), from cross-products, block by
block over the independent groups (`blocks`; a large block, of crossed factors, by a sparse Cholesky, `crossed`).

With V = I + Z F F'Z' for the relative covariance factor F, the blocks give log |V| and [X y]'V^-1[X y]; everything
else follows from these few numbers. X is orthonormalized, y replaced by its residuals and every random term's columns
are whitened beforehand, so that large means and unlike scales cancel no digits away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy  # its rooms load when they are first asked for

from concord.arrays import Floats, Matrix, Vector, total
from concord.errors import InputError
from concord.likelihood import newton, search
from concord.likelihood.blocks import Blocks, Part, curvatures, gather
from concord.likelihood.optimum import Optimum
from concord.likelihood.precise import Precise
from concord.likelihood.wide_search import WideSearch, same
from concord.models.design import Design, DesignTerm
from concord.models.parameters import Parameters

# Random effects of 1e50 times the residuals: so large is not a theta that is worth an evaluation.
LARGEST = 1e100
EPS = float(np.finfo(float).eps)
# Where rounding may cost so many log-likelihood units, and there are no more rows than these, balls are taken.
DOUBTFUL, PRECISE_ROWS = 1e-9, 1000
# A search has settled where the criterion's slope is less than this.
SETTLED = 1e-3
# Numbers held at a time, and looked at in all, where the criterion is scanned over many thetas.
HELD = 2**21
SCANNED = 2**21
# With so many numbers in an evaluation searches are dear; there are many groups then, and valleys are wide.
DEAR = 2000
# From an origin so far away the residuals are a small difference of large numbers, which is taken in longer ones.
FAR = 1e-8


class LikelihoodError(InputError):
    """The likelihood of a model is not defined; the message says why."""


@dataclass(frozen=True, eq=False)
class _Solved:
    """The generalized least-squares solution at one theta, in the coordinates of the orthonormalized X."""

    direction: Vector  # (p + 1,): minus the coefficients, and 1
    rss: float  # penalized residual sum of squares
    inverse: Matrix  # (p, p): (X'V^-1 X)^-1
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
        n, p = len(design.X), int(design.X.shape[1])
        if type(self) is Likelihood and any(term.structure for term in design.terms):
            raise LikelihoodError("it is not there where a covariance matrix has a structure such as cs or ar1")
        if not all(np.isfinite(array).all() for array in (design.y, design.X, *(term.matrix for term in design.terms))):
            raise LikelihoodError("y, X or a random term's columns hold a value that is not finite")
        if n <= p:
            raise LikelihoodError(f"{n} rows are too few for {p} fixed effects")
        orthonormal, self.R = _qr(design.X, "the columns of X are")
        self.ols: Vector = scipy.linalg.solve_triangular(self.R, orthonormal.T @ design.y)
        residuals = design.y - design.X @ self.ols
        residuals -= orthonormal @ (orthonormal.T @ residuals)
        largest = float(np.abs(design.y).max())
        if np.linalg.norm(residuals) < FAR * largest * math.sqrt(n):
            exact = design.y.astype(np.longdouble) - design.X.astype(np.longdouble) @ self.ols.astype(np.longdouble)
            step = orthonormal.T @ exact.astype(float)
            self.ols = self.ols + scipy.linalg.solve_triangular(self.R, step)
            residuals = exact.astype(float) - orthonormal @ step
        self.scale = float(np.sqrt(residuals @ residuals / n))
        if not self.scale > 4 * EPS * largest:
            raise LikelihoodError("the fixed effects reproduce the response exactly")
        self.n, self.p = n, p
        self.nu = n - p if reml else n
        # What -2 log-likelihood has beside what depends on theta: log |X'X| of REML, and the weights of the rows.
        self.constant = (2 * float(np.log(np.diag(self.R)).sum()) if reml else 0.0) - design.log_weights

        self.whiteners: list[Matrix] = []
        whitened: list[Matrix] = []
        for term in design.terms:
            columns, whitener = self._whitened(term)
            self.whiteners.append(whitener)
            whitened.append(columns)
        self.shape = search.Shape([len(term.names) for term in design.terms])
        self.m = self.shape.m
        table = np.column_stack([orthonormal, residuals / self.scale])
        self.blocks = gather(design.terms, whitened, table)
        self.dense = all(isinstance(blocks, Blocks) for blocks in self.blocks)

    def criterion(self, theta: Vector) -> float:
        """ML deviance or REML criterion, that is -2 log-likelihood, profiled over fixed effects and residual variance.

        Parameters
        ----------
        theta : lower triangles of the terms' relative factors in whitened coordinates, column by column, shape (m,);
            see `theta_at`
        """
        logdet, cross, _ = self.evaluate(theta)
        return self._profiled(logdet, self._solve(cross))

    def criterion_and_gradient(self, theta: Vector) -> tuple[float, Vector]:
        """The criterion and its exact derivatives with respect to theta, shape (m,)."""
        logdet, cross, parts = self.evaluate(theta)
        solved = self._solve(cross)
        share = self._share(solved)
        return self._profiled(logdet, solved), total(part.slopes(share) for part in parts)

    def hessian(self, theta: Vector) -> Matrix:
        """Second derivatives of the criterion, shape (m, m): exact, or where a block is sparse, central differences of
        the exact gradient.
        """
        return self.expand(theta)[2]

    def loglik(self, at: Parameters) -> float:
        """The log-likelihood at values of all parameters; -inf where they leave the parameter space.

        Nothing is profiled out: fixed effects that are not the generalized least-squares solution lower it, also under
        REML, by half of their generalized squared distance from it.
        """
        variance = at.residual_variance
        if not (0 < variance < math.inf and np.isfinite(at.fixed).all()):
            return -math.inf
        theta = self._theta(at.covariances, variance)
        if theta is None:
            return -math.inf
        if self.rounding(variance) > DOUBTFUL and self.n <= PRECISE_ROWS:
            with suppress(ArithmeticError):
                return float(self._precise.loglik(at))
        logdet, cross, _ = self.evaluate(theta)
        direction = np.append(self.R @ (self.ols - at.fixed) / self.scale, 1.0)
        quadratic = float(direction @ cross @ direction) * self.scale**2 / variance
        if self.reml:
            logdet += _logdet(np.linalg.cholesky(cross[: self.p, : self.p]))
        return -0.5 * (self.nu * math.log(2 * math.pi * variance) + logdet + quadratic + self.constant)

    @cached_property
    def _precise(self) -> Precise:
        return Precise(self.design, self.reml)

    def gradient_at(self, at: Parameters) -> Vector:
        """Derivatives of the criterion at given variances, with respect to whitened theta, shape (m,).

        Zero at an optimum; half of its inner product with a step is what the step gains in log-likelihood.
        """
        return self.criterion_and_gradient(self.theta_at(at))[1]

    def theta_at(self, at: Parameters) -> Vector:
        """Whitened theta, shape (m,), of given variances.

        Raises
        ------
        LikelihoodError : one of the matrices is not a covariance matrix
        """
        return self._defined(self._theta(at.covariances, at.residual_variance))

    def theta_of(self, relative: Sequence[Matrix]) -> Vector:
        """Whitened theta, shape (m,), of the terms' covariance matrices relative to the residual variance.

        Raises
        ------
        LikelihoodError : one of them is not a covariance matrix
        """
        return self._defined(self._theta(relative, 1.0))

    def directions(self, theta: Vector) -> list[tuple[int, Matrix]]:
        """For every coordinate of theta the term, and the derivative of its factor, shape (q, q)."""
        moves = []
        for term, (size, (rows, columns)) in enumerate(zip(self.shape.sizes, self.shape.triangles, strict=True)):
            for row, column in zip(rows, columns, strict=True):
                unit = np.zeros((size, size))
                unit[row, column] = 1.0
                moves.append((term, unit))
        return moves

    def _whitened(self, term: DesignTerm) -> tuple[Matrix, Matrix]:
        """A term's columns in whitened coordinates, shape (n, q), and the way there from its effects, shape (q, q)."""
        columns, R = _qr(term.matrix, f"the columns of ({', '.join(term.names)} | {term.group}) are")
        root = math.sqrt(len(columns))
        return columns * root, R / root

    @staticmethod
    def _defined(theta: Vector | None) -> Vector:
        if theta is None:
            raise LikelihoodError("not a covariance matrix")
        return theta

    def factors(self, theta: Vector) -> list[Matrix]:
        """The terms' relative factors in whitened coordinates, lower triangles, shapes (q, q)."""
        return self.shape.factors(theta)

    def std_error(self, at: Parameters) -> Vector:
        """Standard errors of the fixed effects conditional on given variances, shape (p,).

        sqrt(diag(sigma^2 (X'V^-1 X)^-1)), as lme4 gives them; NaN where the variances leave the parameter space.
        """
        theta = self._theta(at.covariances, at.residual_variance)
        if theta is None:
            return np.full(self.p, np.nan)
        return np.sqrt(at.residual_variance * np.diag(self._spread(self._solve(self.evaluate(theta)[1]))))

    def solution(self, at: Parameters) -> Vector:
        """The generalized least-squares solution for the fixed effects at given variances, shape (p,).

        Raises
        ------
        LikelihoodError : the variances leave the parameter space
        """
        solved = self._solve(self.evaluate(self.theta_at(at))[1])
        direction: Vector = scipy.linalg.solve_triangular(self.R, -solved.direction[:-1])
        return self.ols + self.scale * direction

    def fixed_covariance(self, at: Parameters) -> Matrix:
        """The covariance matrix of the fixed effects conditional on given variances, sigma^2 (X'V^-1 X)^-1, shape
        (p, p).

        Raises
        ------
        LikelihoodError : the variances leave the parameter space
        """
        theta = self.theta_at(at)
        return at.residual_variance * self._spread(self._solve(self.evaluate(theta)[1]))

    def spread_at(self, theta: Vector) -> Matrix:
        """(X'V^-1 X)^-1 at a whitened theta, shape (p, p)."""
        return self._spread(self._solve(self.evaluate(theta)[1]))

    def _spread(self, solved: _Solved) -> Matrix:
        """(X'V^-1 X)^-1 in the coding of X, shape (p, p)."""
        half = scipy.linalg.solve_triangular(self.R, solved.inverse)
        spread: Matrix = scipy.linalg.solve_triangular(self.R, half.T)
        return spread

    def criteria(self, thetas: Matrix) -> Vector:
        """The criterion at each of several thetas, shape (k, m) to (k,); infinite where it has no value."""
        # As many at a time as the memory of a few million numbers holds.
        at_once = max(1, HELD // max(1, sum(blocks.weight for blocks in self.blocks)))
        if not self.dense or len(thetas) == 1:
            return np.array([self._value(theta) for theta in thetas])
        if len(thetas) <= at_once:
            with suppress(np.linalg.LinAlgError):
                return self._criteria(thetas)
        # One of them has no value, or they are too many: by halves.
        half = len(thetas) // 2
        return np.concatenate([self.criteria(thetas[:half]), self.criteria(thetas[half:])])

    def _criteria(self, thetas: Matrix) -> Vector:
        dense = [blocks.at_many(thetas) for blocks in self.blocks if isinstance(blocks, Blocks)]
        logdet, cross = (total(parts) for parts in zip(*dense, strict=True))
        diagonal = np.diagonal(np.linalg.cholesky(cross), axis1=1, axis2=2)
        p = self.p
        logs = np.log(diagonal)
        values = logdet + self.nu * (1 + np.log(2 * math.pi * self.scale**2 / self.nu) + 2 * logs[:, p])
        values = values + self.constant + (2 * logs[:, :p].sum(1) if self.reml else 0.0)
        return np.where(np.isfinite(values), values, np.inf)

    def _value(self, theta: Vector) -> float:
        try:
            return self.criterion(theta)
        except np.linalg.LinAlgError:
            return math.inf

    def starts(self, criteria: search.Criteria | None = None) -> list[Vector]:
        """Where searches start: every dip of the criterion over many decades, as whitened thetas, shape (m,).

        Parameters
        ----------
        criteria : what to evaluate the criterion with; by default the method of this name
        """
        cost = max(1, sum(blocks.weight for blocks in self.blocks))
        points = int(np.clip(SCANNED // cost, 60, search.POINTS))
        return [
            *search.dips(criteria or self.criteria, self.shape, points, not self.dense),
            *search.corners(self.shape, not self.dense or cost > DEAR),
        ]

    def optimum(self, starts: Sequence[Vector] | None = None) -> Optimum:
        """The best optimum that is found, in double precision; see `optima`."""
        return self.optima(starts)[0]

    def optima(self, starts: Sequence[Vector] | None = None, along: bool = False) -> list[Optimum]:
        """All distinct local optima that are found, in double precision, best first.

        Parameters
        ----------
        starts : whitened thetas, shape (m,), to search from and nowhere else; by default those of `starts`, and then
            every dip along one effect from each optimum found
        along : search from these dips after given starts too

        Raises
        ------
        LikelihoodError : no start led anywhere
        """
        searched = WideSearch(self, starts, along)
        searched.go_on()
        return self.optima_of(searched)

    def optima_of(self, searched: WideSearch) -> list[Optimum]:
        """All distinct local optima that a search has found so far, best first.

        Raises
        ------
        LikelihoodError : no start led anywhere
        """
        if not searched.minima:
            raise LikelihoodError("no optimum was found")
        return self.merged([self._optimum(minimum) for minimum in searched.minima])

    def merged(self, optima: Sequence[Optimum]) -> list[Optimum]:
        """The distinct ones of several optima, best first.

        The end of a search that did not settle is left out, however high it seems: where a variance is a million times
        the residuals', rounding makes heights of its own. Where none settled, the highest is what there is.
        """
        ends = sorted(optima, key=lambda end: -end.loglik)
        noises = [self.rounding(end.residual_variance) for end in ends]
        settled = [(end, noise) for end, noise in zip(ends, noises, strict=True) if end.slope <= SETTLED + 1e3 * noise]
        kept: list[Optimum] = []
        for new, noise in settled:
            at = -2 * new.loglik, new.theta
            if not any(same(self, (-2 * end.loglik, end.theta), at, 8 * noise) for end in kept):
                kept.append(new)
        return kept or ends[:1]

    def rounding(self, residual_variance: float) -> float:
        """What the rounding of the cross-products can do to the log-likelihood, in its units.

        They are sums of squares of the size of the least-squares residuals'. Where these are r times what is left at a
        residual variance, r^2 times a double's rounding is lost.
        """
        return 4 * EPS * (1 + self.scale**2 / residual_variance)

    def _optimum(self, minimum: newton.Minimum) -> Optimum:
        """A minimum of the criterion in the parameters of a fit."""
        theta = minimum.point
        solved = self._solve(self.evaluate(theta)[1])
        residual_variance = self.scale**2 * solved.rss / self.nu
        fixed = self.ols + self.scale * scipy.linalg.solve_triangular(self.R, -solved.direction[:-1])
        covariances = []
        for factor, whitener in zip(self.factors(theta), self.whiteners, strict=True):
            unwhitened = scipy.linalg.solve_triangular(whitener, factor)
            covariances.append(residual_variance * unwhitened @ unwhitened.T)
        std_error = np.sqrt(residual_variance * np.diag(self._spread(solved)))
        return Optimum(
            self.design,
            -minimum.value / 2,
            Parameters(fixed, tuple(covariances), residual_variance),
            std_error,
            theta,
            float(np.abs(minimum.gradient).max(initial=0.0)),
            float(np.abs(minimum.gradient * np.maximum(1.0, np.abs(theta))).max(initial=0.0)),
        )

    def expand(self, theta: Vector) -> tuple[float, Vector, Matrix]:
        """The criterion, its gradient, shape (m,), and its Hessian, shape (m, m)."""
        if not self.dense:
            return *self.criterion_and_gradient(theta), self.differences(theta)
        logdet, cross, parts = self.evaluate(theta)
        solved = self._solve(cross)
        gradient, crosses, hessian = curvatures(parts, self._share(solved))
        # That far the quadratic form and log |X'V^-1 X| as if they were linear in the cross-products; now the rest.
        p, m = self.p, self.m
        along = crosses @ solved.direction
        forms = along @ solved.direction / solved.rss
        moved = along[:, :p]
        hessian = hessian - self.nu * (2 / solved.rss * moved @ solved.inverse @ moved.T + np.outer(forms, forms))
        if self.reml:
            inner = crosses[:, :p, :p] @ solved.inverse
            hessian -= inner.reshape(m, -1) @ inner.transpose(0, 2, 1).reshape(m, -1).T
        return self._profiled(logdet, solved), gradient, (hessian + hessian.T) / 2

    def differences(self, theta: Vector) -> Matrix:
        """The Hessian by central differences of the exact gradient."""
        rows = []
        for step in np.eye(self.m) * 1e-5 * np.maximum(1.0, np.abs(theta)):
            ahead, behind = self.criterion_and_gradient(theta + step)[1], self.criterion_and_gradient(theta - step)[1]
            rows.append((ahead - behind) / (2 * step.max()))
        hessian: Matrix = np.array(rows)
        return (hessian + hessian.T) / 2

    def steepness(self, theta: Vector) -> Vector:
        """Roughly the second derivatives along each coordinate, shape (m,); see `concord.likelihood.search.Shape`."""
        return self.shape.steepness(theta, [len(term.levels) for term in self.design.terms], self.n)

    def _theta(self, covariances: Sequence[Matrix], residual_variance: float) -> Vector | None:
        """Whitened theta of covariance matrices and a residual variance; None where one is not a covariance matrix."""
        theta = []
        for covariance, whitener, triangle in zip(covariances, self.whiteners, self.shape.triangles, strict=True):
            if not np.isfinite(covariance).all():
                return None
            relative = whitener @ covariance @ whitener.T / residual_variance
            try:
                factor = np.linalg.cholesky(relative)
            except np.linalg.LinAlgError:
                # What rounding of the given entries leaves after whitening: far from the origin's zero nearly all.
                lost = 8 * EPS * (np.abs(whitener) @ np.abs(covariance) @ np.abs(whitener.T)).max() / residual_variance
                singular = _singular_factor(relative, float(lost))
                if singular is None:
                    return None
                factor = singular
            theta.append(factor[triangle])
        whole = np.concatenate(theta)
        return whole if whole @ whole < LARGEST else None

    def evaluate(self, theta: Vector) -> tuple[float, Matrix, list[Part]]:
        """log |V|, the cross-products [X y]'V^-1[X y], and the blocks at theta, which know their derivatives."""
        # Where V is beyond what doubles can hold, nothing that follows would mean anything.
        if not theta @ theta < LARGEST:
            raise np.linalg.LinAlgError("theta is not finite, or too large")
        parts = [blocks.at(theta) for blocks in self.blocks]
        return sum(part.logdet for part in parts), total(part.cross for part in parts), parts

    def _solve(self, cross: Matrix) -> _Solved:
        p = self.p
        lower = np.linalg.cholesky(cross)
        inverse_factor = np.linalg.inv(lower[:p, :p])
        return _Solved(
            direction=np.append(-(lower[p, :p] @ inverse_factor), 1.0),
            rss=float(lower[p, p] ** 2),
            inverse=inverse_factor.T @ inverse_factor,
            logdet=_logdet(lower[:p, :p]),
        )

    def _share(self, solved: _Solved) -> Matrix:
        """The derivative of the criterion with respect to the cross-products: through the quadratic form's logarithm
        and, under REML, through log |X'V^-1 X|.
        """
        share: Matrix = (self.nu / solved.rss) * np.outer(solved.direction, solved.direction)
        if self.reml:
            share[: self.p, : self.p] += solved.inverse
        return share

    def _profiled(self, logdet: float, solved: _Solved) -> float:
        value = logdet + self.nu * (1 + math.log(2 * math.pi * self.scale**2 * solved.rss / self.nu))
        return value + self.constant + (solved.logdet if self.reml else 0.0)


def _singular_factor(relative: Matrix, lost: float) -> Matrix | None:
    """The triangular factor of a covariance matrix that Cholesky's method refuses; None where it is not one, by more
    than `lost` in an eigenvalue.
    """
    values, vectors = np.linalg.eigh((relative + relative.T) / 2)
    # A singular estimate comes back with eigenvalues that rounding has made slightly negative.
    if values[0] < -max(1e-7 * max(values[-1], 0.0), lost):
        return None
    # With root root' the matrix and root' = Q R, R' is the factor, without forming the product.
    R = np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0.0))).T)[1]
    return R.T * np.where(np.diag(R) < 0, -1.0, 1.0)


def _logdet(lower: Floats) -> float:
    """The logarithm of a matrix's determinant, from its Cholesky factor."""
    return 2 * float(np.log(lower.diagonal()).sum())


def _qr(matrix: Matrix, what: str) -> tuple[Matrix, Matrix]:
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
