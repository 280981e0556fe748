"""How the log-likelihood falls away from its top: what a gap means for each estimate, and an estimate for the gap.

By the observed information H at the top, and its inverse,

- one parameter alone may move by sqrt(2 g / H_ii) before the log-likelihood has fallen by g: its tolerance;
- estimates that lie g below the top are within sqrt(2 g (H^-1)_ii) of it, each: sqrt(2 g) standard errors.

The first is taken in the parameters of a fit. The second, and the standard errors, come by the delta method from the
coordinates of the factors (`deviance`), which have derivatives also where a covariance matrix is singular; there a
variance of zero moves in the second order only. On the boundary the first is found by bisection on the log-likelihood
itself, for it does not fall like a parabola.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg

from concord.arrays import Matrix, Vector
from concord.inference import information
from concord.inference.information import InformationError
from concord.likelihood.deviance import Deviance
from concord.likelihood.likelihood import EPS, Likelihood, LikelihoodError
from concord.models.parameters import Estimated, Parameters, entries

# Directions that bend less than this share of the steepest one are taken to bend so much: what rounding leaves.
FLAT = 1e-12
# What the third derivatives do to a parabola over distances of a tolerance.
SLACK = 1.1


@dataclass(frozen=True, eq=False)
class Curvature(Estimated):
    """The top of one log-likelihood.

    Attributes
    ----------
    likelihood : the independent likelihood
    parameters : where its top is
    level : the log-likelihood there
    """

    likelihood: Likelihood
    parameters: Parameters
    level: float

    @cached_property
    def estimates(self) -> Vector:
        """The parameters in the order of `Fit.estimates`, shape (k,)."""
        return self.parameters.packed

    @property
    def rounding(self) -> float:
        """What the rounding of a double can do to a gap: two log-likelihoods of one likelihood are not closer."""
        return 8 * EPS * max(abs(self.level), float(self.likelihood.n))

    @cached_property
    def std_error(self) -> Vector:
        """Standard errors of every parameter from the observed information, shape (k,)."""
        first, _ = self._spread
        return np.sqrt(np.diag(first))

    @cached_property
    def conditional(self) -> Vector:
        """Standard errors of the fixed effects conditional on the variances at the top, shape (p,)."""
        return self.likelihood.std_error(self.parameters)

    def errors_explained(self, gap: float) -> Vector:
        """How far the standard errors conditional on the variances may be from those at the top, shape (p,), at
        variances that lie `gap` below it; by the delta method.
        """
        m, theta = self.likelihood.m, self._theta
        jacobian = np.zeros((self.likelihood.p, m + 1))
        jacobian[:, m] = self.conditional  # with the logarithm of sigma
        for place in range(m):
            step = np.zeros(m)
            step[place] = 1e-5 * max(1.0, abs(theta[place]))
            ahead, behind = self._errors_at(theta + step), self._errors_at(theta - step)
            jacobian[:, place] = (ahead - behind) / (2 * step[place])
        inverse = self._inverse[: m + 1, : m + 1]
        moved: Vector = np.einsum("ij,jk,ik->i", jacobian, inverse, jacobian)
        return SLACK * np.sqrt(2 * max(gap, 0.0) * moved)

    def _errors_at(self, theta: Vector) -> Vector:
        """Conditional standard errors at a whitened theta, the residual variance held."""
        likelihood = self.likelihood
        spread = likelihood.spread_at(theta)
        return np.sqrt(self.residual_variance * np.diag(spread))

    def explained(self, gap: float) -> Vector:
        """How far from the top each parameter of estimates may be that lie `gap` below it, shape (k,)."""
        first, second = self._spread
        room = 2 * (max(gap, 0.0) + self.rounding)
        return SLACK * np.sqrt(room * np.diag(first)) + room * second

    def alone(self, allowed: float) -> Vector:
        """How far each parameter alone may move before the log-likelihood has fallen so much, shape (k,); where a
        covariance matrix has a structure, with all others beside it.
        """
        if any(term.structure for term in self.likelihood.design.terms):
            return self.explained(allowed)
        try:
            matrix, _ = information.curvature(self.likelihood, self.parameters)
        except (InformationError, LikelihoodError, np.linalg.LinAlgError):
            return self._searched(allowed)
        bends = np.diag(matrix)
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.sqrt(2 * allowed / bends)
        return room if (bends > 0).all() else self._searched(allowed)

    @cached_property
    def _theta(self) -> Vector:
        """The top in whitened coordinates, shape (m,)."""
        return self.likelihood.theta_at(self.parameters)

    @cached_property
    def _inverse(self) -> Matrix:
        """Covariance matrix of (theta, log sigma, u), shape (m + 1 + p, m + 1 + p); NaN where nothing is known."""
        likelihood, deviance = self.likelihood, Deviance(self.likelihood)
        count = likelihood.m + 1 + likelihood.p
        try:
            log_sigma = 0.5 * math.log(self.residual_variance)
            _, _, hessian = deviance.joint(self._theta, log_sigma, deviance.orthonormalized(self.fixed))
        except (LikelihoodError, np.linalg.LinAlgError):  # beyond what doubles can hold
            return np.full((count, count), np.nan)
        values, vectors = np.linalg.eigh(hessian / 2)
        inverse: Matrix = (vectors / np.maximum(values, FLAT * values.max())) @ vectors.T
        return inverse

    @cached_property
    def _spread(self) -> tuple[Matrix, Vector]:
        """The covariance matrix of the estimates, shape (k, k), and by how much each may move in the second order, a
        unit of what the log-likelihood falls, shape (k,).
        """
        likelihood, inverse, theta = self.likelihood, self._inverse, self._theta
        m, p, sigma = likelihood.m, likelihood.p, math.sqrt(self.residual_variance)
        count = len(self.estimates)
        if not np.isfinite(inverse).all():
            return np.full((count, count), np.nan), np.full(count, np.nan)
        jacobian, second = np.zeros((count, m + 1 + p)), np.zeros(count)
        jacobian[:p, m + 1 :] = -likelihood.scale * linalg.solve_triangular(likelihood.R, np.eye(p))
        jacobian[-1, m] = 2 * self.residual_variance
        row, moves = p, likelihood.directions(theta)
        for term, (factor, whitener) in enumerate(zip(likelihood.factors(theta), likelihood.whiteners, strict=True)):
            q = len(factor)
            back = sigma * linalg.solve_triangular(whitener, np.eye(q))
            lengths = np.linalg.norm(back, axis=1)
            at = entries(q)
            whole = back @ factor @ factor.T @ back.T
            for place, (i, j) in enumerate(at, row):
                second[place] = lengths[i] * lengths[j]
                jacobian[place, m] = 2 * whole[i, j]
            for k, (own, unit) in enumerate(moves):
                if own == term:
                    moved = back @ (unit @ factor.T + factor @ unit.T) @ back.T
                    jacobian[row : row + len(at), k] = [moved[place] for place in at]
            row += len(at)
        return jacobian @ inverse @ jacobian.T, second * float(np.linalg.eigvalsh(inverse[:m, :m]).max(initial=0.0))

    def _searched(self, allowed: float) -> Vector:
        """As `alone`, by bisection in both directions in which the parameter can go; the nearer one counts."""
        room = np.empty(len(self.estimates))
        farthest = self.explained(4 * allowed)
        for place in range(len(room)):
            distances = [self.fallen(place, sign, allowed, farthest[place]) for sign in (1.0, -1.0)]
            room[place] = min((distance for distance in distances if not distance <= 0), default=0.0)
        return room

    def fallen(self, place: int, sign: float, allowed: float, far: float) -> float:
        """Where the log-likelihood has fallen by so much; 0 where there is no way in this direction."""
        near = 0.0 if math.isfinite(far) else math.nan
        for _ in range(60):
            middle = (near + far) / 2
            if self.level - self._moved(place, sign * middle) <= allowed:
                near = middle
            else:
                far = middle
            if near and far - near <= 1e-3 * near:
                break
        return near

    def _moved(self, place: int, step: float) -> float:
        """The log-likelihood with one parameter moved."""
        values = self.estimates.copy()
        values[place] += step
        return self.likelihood.loglik(Parameters.from_packed(values, self.likelihood.design))
