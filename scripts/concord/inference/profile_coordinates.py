"""Coordinates in which one parameter of a model is held and the others are free.

The term that the parameter belongs to is coded anew, so that holding it is simple: its columns stand in an order in
which the parameter's come first, and are whitened by a lower triangle W (Z = Z_w W, Z_w'Z_w = n I). Then theta, the
factor in whitened coordinates, is W Lambda for lme4's factor Lambda of the reordered term, Psi = sigma^2 Lambda
Lambda', row by row:

- a standard deviation s is the first entry alone: theta_11 = W_11 s / sigma, which goes through s = 0 without a kink;
- a correlation r = sin(phi) is a direction in the second row: Lambda_21 = rho sin(phi), Lambda_22 = rho cos(phi), which
  goes through r = 1 without a kink;
- a covariance c stands in the second row: Lambda_21 = c / (sigma^2 Lambda_11);
- a fixed effect's column stands last in X, so that it is the last of the orthonormalized ones.

Each is an equation for one of the deviance's own coordinates (`deviance`), which it takes the place of; the chain rule
does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from concord.arrays import Matrix, Vector
from concord.likelihood.deviance import Deviance
from concord.likelihood.likelihood import Likelihood
from concord.models.parameters import ZERO, Parameters


@dataclass(frozen=True, eq=False)
class Coordinates:
    """z = (free ones, held one), and the deviance in them.

    Attributes
    ----------
    deviance : of the model coded anew
    start : z of given parameters, shape (k,)
    limits : between which the held coordinate lies
    value : the parameter that a held coordinate means
    at : the held coordinate of a parameter's value
    instead : for a correlation, the standard deviations that make it mean nothing where they are zero
    """

    deviance: Deviance
    start: Vector
    limits: tuple[float, float]
    value: Callable[[float], float]
    at: Callable[[float], float]
    _chart: _Chart
    _last: bool = False
    instead: tuple[Callable[[Likelihood, Parameters], Coordinates], ...] = ()

    def expand(self, z: Vector) -> tuple[float, Vector, Matrix]:
        """The deviance, minimised over fixed effects that are not held, with gradient, shape (k,), and Hessian, shape
        (k, k), in z.

        Raises
        ------
        numpy.linalg.LinAlgError : it is not defined there
        """
        x, jacobian, bend = self._chart(z)
        m = self.deviance.m
        value, gradient, hessian = self.deviance.profiled(x[:m], x[m], x[m + 1] if self._last else None)
        inner = jacobian.T @ hessian @ jacobian + bend(gradient)
        return value, gradient @ jacobian, inner

    def sigma(self, z: Vector) -> float:
        """The residual standard deviation at z."""
        return math.exp(self._chart(z)[0][self.deviance.m])

    def wrong(self, z: Vector) -> bool:
        """Whether z has left the half of the coordinates in which the held one means what it says."""
        return self._chart.wrong(z)


Charted = tuple[Vector, Matrix, Callable[[Vector], Matrix]]


class _Chart:
    """Where z leads: x = (theta, log sigma), then a held fixed effect; its derivatives, shape (k, k); and the sum of
    its second derivatives weighted by a gradient, shape (k, k).
    """

    def __call__(self, z: Vector) -> Charted:
        raise NotImplementedError

    def wrong(self, z: Vector) -> bool:
        return False


@dataclass(frozen=True)
class _Moved(_Chart):
    """z is x with the held entry moved to the end, in another unit: x[place] = offset + unit * z[-1]."""

    place: int
    offset: float = 0.0
    unit: float = 1.0

    def __call__(self, z: Vector) -> Charted:
        k = len(z)
        order = np.append(np.delete(np.arange(k), self.place), self.place)
        x, jacobian = np.empty(k), np.zeros((k, k))
        x[order], jacobian[order, np.arange(k)] = z, 1.0
        x[self.place] = self.offset + self.unit * z[-1]
        jacobian[self.place, -1] = self.unit
        return x, jacobian, lambda gradient: np.zeros((k, k))


@dataclass(frozen=True)
class _Deviation(_Chart):
    """A standard deviation s: theta_11 = W_11 s / sigma; log sigma is the last free coordinate."""

    place: int
    w11: float

    def __call__(self, z: Vector) -> Charted:
        k, place = len(z), self.place
        x, jacobian, _ = _Moved(place)(z)
        per = self.w11 * math.exp(-x[-1])
        x[place] = per * z[-1]
        jacobian[place, -2:] = -x[place], per

        def bend(gradient: Vector) -> Matrix:
            second = np.zeros((k, k))
            second[-2, -2] = gradient[place] * x[place]
            second[-2, -1] = second[-1, -2] = -gradient[place] * per
            return second

        return x, jacobian, bend


@dataclass(frozen=True)
class _Correlation(_Chart):
    """A correlation sin(phi): z has rho where x has theta_21, and not theta_22; phi is last."""

    place: int  # of theta_11; theta_21 follows it
    diagonal: int  # place of theta_22
    w: Matrix  # (2, 2): the first rows of W

    def __call__(self, z: Vector) -> Charted:
        k, first, second = len(z), self.place, self.place + 1
        x, jacobian, _ = _Moved(self.diagonal)(z)
        rho, sine, cosine = z[second], math.sin(z[-1]), math.cos(z[-1])
        w = self.w
        x[second] = w[1, 0] / w[0, 0] * x[first] + w[1, 1] * rho * sine
        x[self.diagonal] = w[1, 1] * rho * cosine
        jacobian[second, [first, second, -1]] = w[1, 0] / w[0, 0], w[1, 1] * sine, w[1, 1] * rho * cosine
        jacobian[self.diagonal, [second, -1]] = w[1, 1] * cosine, -w[1, 1] * rho * sine

        def bend(gradient: Vector) -> Matrix:
            out = np.zeros((k, k))
            below, corner = w[1, 1] * gradient[second], w[1, 1] * gradient[self.diagonal]
            out[second, -1] = out[-1, second] = below * cosine - corner * sine
            out[-1, -1] = -rho * (below * sine + corner * cosine)
            return out

        return x, jacobian, bend

    def wrong(self, z: Vector) -> bool:
        """Where one standard deviation has gone through zero, r stands for -r."""
        return bool(z[self.place] * z[self.place + 1] < 0)


@dataclass(frozen=True)
class _Covariance(_Chart):
    """A covariance c: theta_21 = W_21 theta_11 / W_11 + W_22 W_11 c / (sigma^2 theta_11); log sigma is next to last."""

    place: int
    w: Matrix

    def __call__(self, z: Vector) -> Charted:
        k, first, second, w = len(z), self.place, self.place + 1, self.w
        x, jacobian, _ = _Moved(second)(z)
        lead = x[first]
        if lead == 0:
            raise np.linalg.LinAlgError("a covariance has no place beside a variance of zero")
        per = w[1, 1] * w[0, 0] * math.exp(-2 * x[-1]) / lead
        part, straight = per * z[-1], w[1, 0] / w[0, 0]
        x[second] = straight * lead + part
        jacobian[second, [first, -2, -1]] = straight - part / lead, -2 * part, per

        def bend(gradient: Vector) -> Matrix:
            out = np.zeros((k, k))
            at = [first, -2, -1]
            out[np.ix_(at, at)] = gradient[second] * np.array(
                [
                    [2 * part / lead**2, 2 * part / lead, -per / lead],
                    [2 * part / lead, 4 * part, -2 * per],
                    [-per / lead, -2 * per, 0.0],
                ]
            )
            return out

        return x, jacobian, bend


def fixed_effect(likelihood: Likelihood, at: Parameters, index: int) -> Coordinates:
    """A fixed effect is held.

    Parameters
    ----------
    likelihood : the model's
    at : parameters to start from
    index : the effect's number, counted from 0
    """
    design = likelihood.design
    order = np.append(np.delete(np.arange(likelihood.p), index), index)
    reordered = Likelihood(replace(design, X=design.X[:, order]), likelihood.reml)
    x = np.append(reordered.theta_at(at), 0.5 * math.log(at.residual_variance))
    # u = R_pp (ols - b) / scale
    unit, ols = -reordered.R[-1, -1] / reordered.scale, reordered.ols[-1]
    return Coordinates(
        Deviance(reordered),
        np.append(x, at.fixed[index]),
        (-math.inf, math.inf),
        _same,
        _same,
        _Moved(len(x), -unit * ols, unit),
        True,
    )


def residual_deviation(likelihood: Likelihood, at: Parameters) -> Coordinates:
    """The residual standard deviation is held; the held coordinate is its logarithm."""
    theta = likelihood.theta_at(at)
    return Coordinates(
        Deviance(likelihood),
        np.append(theta, 0.5 * math.log(at.residual_variance)),
        (-math.inf, math.inf),
        math.exp,
        math.log,
        _Moved(likelihood.m),
    )


def deviation(likelihood: Likelihood, at: Parameters, term: int, index: int) -> Coordinates:
    """The standard deviation of a random effect is held; the held coordinate is the standard deviation itself."""
    coded, x, place, w = _coded(likelihood, at, term, (index,))
    s = 0.0 if x[place] ** 2 < ZERO else x[place] * math.exp(x[-1]) / w[0, 0]
    start = np.append(np.delete(x, place), s)
    chart = _Deviation(place, w[0, 0])
    return Coordinates(Deviance(coded), start, (0.0, math.inf), _same, _same, chart)


def ratio(likelihood: Likelihood, at: Parameters, term: int, index: int) -> Coordinates:
    """The ratio of a random effect's variance to the residual one is held; the held coordinate is its root.

    It is MixedLM's own parameter, and what its `profile_re` holds.
    """
    coded, x, place, w = _coded(likelihood, at, term, (index,))
    root = 0.0 if x[place] ** 2 < ZERO else x[place] / w[0, 0]
    start = np.append(np.delete(x, place), root)
    return Coordinates(Deviance(coded), start, (0.0, math.inf), np.square, math.sqrt, _Moved(place, 0.0, w[0, 0]))


def correlation(likelihood: Likelihood, at: Parameters, term: int, first: int, second: int) -> Coordinates:
    """The correlation of two random effects is held; the held coordinate is its arc sine."""
    coded, x, place, w = _coded(likelihood, at, term, (first, second))
    diagonal = place + len(likelihood.design.terms[term].names)
    across, rest = (x[place + 1] - w[1, 0] / w[0, 0] * x[place]) / w[1, 1], x[diagonal] / w[1, 1]
    rho = math.hypot(across, rest)
    phi = math.copysign(math.pi / 2, across) if rest**2 < ZERO * rho**2 else math.atan2(across, rest)
    start = x.copy()
    start[place + 1] = rho
    start = np.append(np.delete(start, diagonal), phi)
    chart = _Correlation(place, diagonal, w[:2, :2])
    instead = tuple(partial(deviation, term=term, index=index) for index in (first, second))
    return Coordinates(Deviance(coded), start, (-math.pi / 2, math.pi / 2), math.sin, math.asin, chart, instead=instead)


def covariance(likelihood: Likelihood, at: Parameters, term: int, first: int, second: int) -> Coordinates:
    """The covariance of two random effects is held."""
    coded, x, place, w = _coded(likelihood, at, term, (first, second))
    start = np.append(np.delete(x, place + 1), at.covariances[term][first, second])
    chart = _Covariance(place, w[:2, :2])
    return Coordinates(Deviance(coded), start, (-math.inf, math.inf), _same, _same, chart)


def squared(held: Coordinates) -> Coordinates:
    """The same, for the square of the parameter: a variance for a standard deviation."""
    return replace(held, value=lambda s: held.value(s) ** 2, at=lambda value: held.at(math.sqrt(value)))


def _coded(
    likelihood: Likelihood, at: Parameters, number: int, leading: tuple[int, ...]
) -> tuple[Likelihood, Matrix, int, Vector]:
    """The model with one term coded anew, x = (theta, log sigma) of the parameters in it, shape (m + 1,), the place of
    the term's first entry in theta, and W, shape (q, q).
    """
    design = likelihood.design
    term = design.terms[number]
    order = [*leading, *(i for i in range(len(term.names)) if i not in leading)]
    # The columns backwards, so that the triangle is a lower one.
    Q, R = np.linalg.qr(term.matrix[:, order[::-1]])
    signs, root = np.where(np.diag(R) < 0, -1.0, 1.0), math.sqrt(len(Q))
    w = (signs[:, None] * R)[::-1, ::-1] / root
    coded = replace(term, names=tuple(term.names[i] for i in order), matrix=(Q * signs)[:, ::-1] * root)
    terms = [coded if i == number else term for i, term in enumerate(design.terms)]
    reordered = Likelihood(replace(design, terms=tuple(terms)), likelihood.reml)
    matrices = list(at.covariances)
    matrices[number] = w @ matrices[number][np.ix_(order, order)] @ w.T
    moved = replace(at, covariances=tuple(matrices))
    x = np.append(reordered.theta_at(moved), 0.5 * math.log(at.residual_variance))
    sizes = [len(term.names) for term in design.terms[:number]]
    return reordered, x, sum(q * (q + 1) // 2 for q in sizes), w


def _same(value: float) -> float:
    return value
