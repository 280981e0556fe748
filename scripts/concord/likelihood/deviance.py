"""-2 log-likelihood before anything is profiled out: with residual variance and fixed effects among its parameters.

    d(theta, log sigma, u) = log |V| + nu log(2 pi sigma^2) + scale^2 / sigma^2 (u, 1) C (u, 1)'   [+ log |X'V^-1 X|]

(Bates, Mächler, Bolker and Walker 2015, Journal of Statistical Software 67(1), equations 31 and 39;
doi 10.18637/jss.v067.i01), where C = [X y]'V^-1[X y] are the cross-products that `Likelihood.evaluate` gives, with X
orthonormalized and y replaced by its residuals over `Likelihood.scale`. u are the fixed effects in that coding, counted
from ordinary least squares: u = R (ols - beta) / scale. The bracket and nu = n - p are REML's, nu = n is ML's. Where
rows have weights, the sum of their logarithms is taken off.

Away from the generalized least-squares solution the REML criterion is what `Likelihood.loglik` takes it for, and what
MixedLM's Hessian of all parameters rests on: the quadratic form stands at the fixed effects that are given.
"""

from __future__ import annotations

import math

import numpy as np

from concord.arrays import Matrix, Vector, total
from concord.likelihood.blocks import Part, curvatures
from concord.likelihood.likelihood import Likelihood


class Deviance:
    """The deviance of one likelihood, with exact derivatives; where a block is sparse, central differences of the exact
    gradient stand for the second ones with respect to theta.
    """

    def __init__(self, likelihood: Likelihood) -> None:
        self.likelihood = likelihood
        self.m, self.p = likelihood.m, likelihood.p

    def coefficients(self, u: Vector) -> Vector:
        """Fixed effects in the coding of X, shape (p,), of orthonormalized ones."""
        return self.likelihood.ols - self.likelihood.scale * np.linalg.solve(self.likelihood.R, u)

    def orthonormalized(self, fixed: Vector) -> Vector:
        """The fixed effects as u, shape (p,)."""
        return self.likelihood.R @ (self.likelihood.ols - fixed) / self.likelihood.scale

    def joint(self, theta: Vector, log_sigma: float, u: Vector) -> tuple[float, Vector, Matrix]:
        """Value, gradient, shape (k,), and Hessian, shape (k, k), with respect to (theta, log sigma, u), k = m + 1 + p.

        Raises
        ------
        numpy.linalg.LinAlgError : the numbers have left what doubles can hold
        """
        return self._joint(self.likelihood.evaluate(theta), theta, log_sigma, u)

    def profiled(self, theta: Vector, log_sigma: float, last: float | None = None) -> tuple[float, Vector, Matrix]:
        """The same, minimised over u: with respect to (theta, log sigma), or where the last u is held, (theta, log
        sigma, last u).

        At the minimum over u the others' gradient is that of the joint one, and their Hessian what the Schur complement
        leaves of it.

        Raises
        ------
        numpy.linalg.LinAlgError : the numbers have left what doubles can hold
        """
        evaluated = self.likelihood.evaluate(theta)
        cross, m, p = evaluated[1], self.m, self.p
        free, u = p if last is None else p - 1, np.zeros(p)
        inverse = np.linalg.inv(cross[:free, :free])
        right = cross[:free, p]
        if last is not None:
            u[free] = last
            right = right + last * cross[:free, free]
        u[:free] = -(inverse @ right)
        value, gradient, hessian = self._joint(evaluated, theta, log_sigma, u)
        # The free ones' own block is a multiple of the cross-products, whose inverse is known.
        start = m + 1
        mixed = hessian[start : start + free, :]
        schur = hessian - mixed.T @ (inverse / self._weight(log_sigma)) @ mixed
        if last is None:
            return value, gradient[:start], schur[:start, :start]
        kept = np.append(np.arange(start), start + free)
        return value, gradient[kept], schur[kept[:, None], kept]

    def _weight(self, log_sigma: float) -> float:
        """Twice what the quadratic form in (u, 1) is multiplied by."""
        return 2 * self.likelihood.scale**2 * math.exp(-2 * log_sigma)

    def _joint(
        self, evaluated: tuple[float, Matrix, list[Part]], theta: Vector, log_sigma: float, u: Vector
    ) -> tuple[float, Vector, Matrix]:
        likelihood, m, p = self.likelihood, self.m, self.p
        logdet, cross, parts = evaluated
        direction = np.append(u, 1.0)
        # Beyond this sigma^2 underflows or overflows, and nothing that follows would mean anything.
        if not abs(log_sigma) < 300:
            raise np.linalg.LinAlgError("log sigma is too large")
        weight = self._weight(log_sigma) / 2
        pulled = cross @ direction
        quadratic = weight * float(direction @ pulled)
        value = logdet + likelihood.nu * (math.log(2 * math.pi) + 2 * log_sigma) + quadratic + likelihood.constant
        share = weight * np.outer(direction, direction)
        if likelihood.reml:
            lower = np.linalg.cholesky(cross[:p, :p])
            half = np.linalg.inv(lower)
            inverse = half.T @ half
            value += 2 * float(np.log(lower.diagonal()).sum())
            share[:p, :p] += inverse
        gradient, hessian = np.empty(m + 1 + p), np.empty((m + 1 + p, m + 1 + p))
        gradient[m], gradient[m + 1 :] = 2 * likelihood.nu - 2 * quadratic, 2 * weight * pulled[:p]
        hessian[m, m], hessian[m + 1 :, m + 1 :] = 4 * quadratic, 2 * weight * cross[:p, :p]
        hessian[m, m + 1 :] = hessian[m + 1 :, m] = -2 * gradient[m + 1 :]
        if likelihood.dense:
            gradient[:m], crosses, second = curvatures(parts, share)
            along = crosses @ direction
            hessian[:m, m], hessian[:m, m + 1 :] = -2 * weight * (along @ direction), 2 * weight * along[:, :p]
            if likelihood.reml:
                # The slopes took log |X'V^-1 X| as if it were linear in the cross-products.
                inner = crosses[:, :p, :p] @ inverse
                second = second - inner.reshape(m, -1) @ inner.transpose(0, 2, 1).reshape(m, -1).T
            hessian[:m, :m] = (second + second.T) / 2
        else:
            gradient[:m] = total(part.slopes(share) for part in parts)
            rows = self._differences(theta, log_sigma, u)
            hessian[:m, :m], hessian[:m, m:] = (rows[:, :m] + rows[:, :m].T) / 2, rows[:, m:]
        hessian[m:, :m] = hessian[:m, m:].T
        return value, gradient, hessian

    def _gradient(self, theta: Vector, log_sigma: float, u: Vector) -> Vector:
        likelihood, p = self.likelihood, self.p
        _, cross, parts = likelihood.evaluate(theta)
        direction = np.append(u, 1.0)
        weight = self._weight(log_sigma) / 2
        pulled = cross @ direction
        share = weight * np.outer(direction, direction)
        if likelihood.reml:
            share[:p, :p] += np.linalg.inv(cross[:p, :p])
        slopes = total(part.slopes(share) for part in parts)
        return np.concatenate([slopes, [2 * likelihood.nu - 2 * weight * direction @ pulled], 2 * weight * pulled[:p]])

    def _differences(self, theta: Vector, log_sigma: float, u: Vector) -> Matrix:
        """The Hessian's rows of theta, shape (m, m + 1 + p)."""
        rows = []
        for step in np.eye(self.m) * 1e-5 * np.maximum(1.0, np.abs(theta)):
            ahead, behind = (self._gradient(theta + sign * step, log_sigma, u) for sign in (1, -1))
            rows.append((ahead - behind) / (2 * step.max()))
        return np.array(rows)
