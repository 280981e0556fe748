"""The profile likelihood of one parameter: its points, and the ends of its intervals.

The profile deviance of a parameter holds it and minimises over all others; its signed root zeta = sign(b - b^)
sqrt(d(b) - d(b^)) is what lme4's `profile` gives, and the interval of a level is where zeta^2 stays below the
chi-squared quantile on one degree of freedom (Bates, Mächler, Bolker and Walker 2015, Journal of Statistical Software
67(1), section 5.1; doi 10.18637/jss.v067.i01; Bates and Watts 1988, Nonlinear Regression Analysis, section 6.1.2).

In `coordinates` a held parameter is one coordinate, so a point of the profile is Newton's search over the others with
exact derivatives, begun where those of the point before predict it. By the envelope theorem the deviance's slope there
is the profile's own, so an end of an interval is found by Newton's steps too, on the profile itself and not on a curve
through points of it.

Beside a singular covariance matrix a held parameter has several valleys, which cross. There a point is reached by steps
along which a valley is not lost, the lowest of several searches is taken, and its neighbours are searched anew from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from concord.arrays import Matrix, Vector
from concord.inference.profile_coordinates import Coordinates
from concord.likelihood import newton
from concord.likelihood.likelihood import Likelihood
from concord.likelihood.optimum import Optimum
from concord.models.design import Design
from concord.models.parameters import ZERO, Parameters

# A search believes its quadratic model of the deviance where it has no more than this to gain: the rest is 3e-11.
ENOUGH = 1e-7
# By how much a point of a profile may lie below the optimum before that is not an optimum.
BELOW = 1e-6
# How near zeta comes to what it is to be; a last step of Newton's squares it.
NEAR = 1e-6
# The grid goes out to the region of all parameters at 99 percent, in eighths, as lme4's does.
ALPHA, PARTS = 0.01, 8
POINTS = 100
# So often, and down to such a share of the way from the optimum, a valley that was lost is sought by smaller steps.
HALVINGS, NARROW = 6, 0.01
# Where there are several valleys, searches from so many places about the nearest point, and so many known ones.
TRIES, KNOWN = 3, 4
# Steps of such a size in zeta, as it is beside the optimum, and so many of them at most.
STEP, RUNGS = 0.5, 25
# So many neighbours on either side are searched anew, and as many beyond each that came to lie lower.
SEARCHED = 2


class ProfileError(ValueError):
    """A parameter has no profile, or the optimum given is not an optimum; the message says why."""


@dataclass(frozen=True)
class Parameter:
    """What is profiled.

    Attributes
    ----------
    effect, group, term : as in the estimates of a fit; ``sd__``, ``cor__``, ``var__`` or ``cov__`` and the columns
    label : what it is called on every scale: ``sd_Time|tree``, ``cor_Time.(Intercept)|tree``, ``sigma``, or the fixed
        effect's name; lme4 has these names by ``signames = FALSE`` (its numbers, ``.sig01``, mean something else in
        lme4 2 than in lme4 1)
    """

    effect: str
    group: str
    term: str
    label: str
    make: Callable[[Likelihood, Parameters], Coordinates] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Interval:
    """A confidence interval; `reached` says of both ends whether the profile crosses the quantile there.

    Where it does not, the end is that of the parameter space: a standard deviation of 0, a correlation of -1 or 1.
    """

    level: float
    lower: float
    upper: float
    reached: tuple[bool, bool] = (True, True)


@dataclass(frozen=True, eq=False)
class _Point:
    """The profile at one held coordinate."""

    held: float
    deviance: float
    zeta: float
    rate: float  # d zeta / d held
    free: Vector
    ahead: Vector  # d free / d held


class Profile:
    """The profile of one parameter.

    Attributes
    ----------
    parameter : which
    estimate : where the likelihood is largest
    """

    def __init__(self, parameter: Parameter, likelihood: Likelihood, optimum: Optimum) -> None:
        self.parameter, self.likelihood = parameter, likelihood
        self._given, self._coordinates = optimum.parameters, parameter.make(likelihood, optimum.parameters)
        self._points: list[_Point] = []  # in order of the held coordinate
        self._best = self._top()
        self._points.append(self._best)
        self.estimate = float(self._coordinates.value(self._best.held))
        if abs(self._best.deviance + 2 * optimum.loglik) > BELOW * max(1.0, 1e-6 * abs(optimum.loglik)):
            raise ProfileError(
                f"{parameter.label}: the log-likelihood is {-self._best.deviance / 2:.6f} where the optimum is said to "
                f"have {optimum.loglik:.6f}"
            )

    def zeta(self, value: float) -> float:
        """The signed root of the profile deviance's distance from its minimum, where the parameter is `value`."""
        return self._at(self._inside(value)).zeta

    def loglik(self, value: float) -> float:
        """The profile log-likelihood where the parameter is `value`: the largest with it held there."""
        return -self._at(self._inside(value)).deviance / 2

    def residual_variance(self, value: float) -> float:
        """The residual variance at its best where the parameter is `value`."""
        return self._residual_variance(self._at(self._inside(value)))

    def interval(self, level: float = 0.95) -> Interval:
        """The confidence interval of a level, its ends as exact as the likelihood."""
        if not 0 < level < 1:
            raise ProfileError(f"level {level!r}: it lies between 0 and 1")
        root = math.sqrt(stats.chi2.ppf(level, 1))
        ends = [self._crossing(root, sign) for sign in (-1, 1)]
        (lower, below), (upper, above) = ends
        value = self._coordinates.value
        return Interval(level, float(value(lower)), float(value(upper)), (below, above))

    def walk(self, farthest: float | None = None) -> None:
        """Fill `points` out to where zeta is `farthest`, in eighths of it; by default to lme4's own farthest."""
        if farthest is None:
            farthest = math.sqrt(stats.chi2.ppf(1 - ALPHA, _count(self.likelihood.design)))
        step = farthest / PARTS
        for sign, limit in zip((-1, 1), self._coordinates.limits, strict=True):
            last, stride = self._best, sign * step / max(self._best.rate, 1e-300)
            for _ in range(POINTS):
                if abs(last.zeta) >= farthest or last.held == limit:
                    break
                if last.rate > 0:
                    # Where the profile flattens, no more than twice as far as before.
                    stride = sign * min(step / last.rate, 2 * abs(stride))
                target = last.held + stride
                last = self._at(limit if sign * (target - limit) >= 0 else target)

    @property
    def points(self) -> pd.DataFrame:
        """What is known of the profile: ``value, zeta, loglik, residual_variance``, in the order of the values."""
        rows = [
            (self._coordinates.value(point.held), point.zeta, -point.deviance / 2, self._residual_variance(point))
            for point in self._points
        ]
        return pd.DataFrame(rows, columns=["value", "zeta", "loglik", "residual_variance"], dtype=float)

    def _residual_variance(self, point: _Point) -> float:
        return self._coordinates.sigma(np.append(point.free, point.held)) ** 2

    def _top(self) -> _Point:
        """The optimum in these coordinates, where its last digits are theirs."""
        coordinates, start = self._coordinates, self._coordinates.start
        if start[-1] in coordinates.limits:
            # On the boundary the deviance's slope vanishes by symmetry: only the others can move.
            return self._descend(start[-1], start[:-1], None)
        minimum = newton.descend(coordinates.expand, start, self.likelihood.nu, ENOUGH / 100)
        return self._made(minimum, None)

    def _descend(self, held: float, free: Vector, best: _Point | None) -> _Point:
        """The point at a held coordinate, by a search over the others that begins at `free`."""
        start = np.append(free, held)
        minimum = newton.descend(self._coordinates.expand, start, self.likelihood.nu, ENOUGH, slice(-1))
        return self._made(minimum, best)

    def _made(self, minimum: newton.Minimum, best: _Point | None) -> _Point:
        """A point of the profile, from the deviance with its derivatives in all coordinates."""
        z = minimum.point
        inner, across = minimum.hessian[:-1, :-1], minimum.hessian[:-1, -1]
        ahead = -_solve(inner, across)
        if best is None:
            curvature = minimum.hessian[-1, -1] + across @ ahead
            return _Point(z[-1], minimum.value, 0.0, math.sqrt(max(curvature, 0.0) / 2), z[:-1], ahead)
        gain = minimum.value - best.deviance
        if gain < -BELOW * max(1.0, 1e-6 * abs(minimum.value)):
            raise ProfileError(
                f"{self.parameter.label}: at {self._coordinates.value(z[-1]):.6g} the log-likelihood is larger by "
                f"{-gain / 2:.3g} than at the optimum that was given"
            )
        zeta = math.copysign(math.sqrt(max(gain, 0.0)), z[-1] - best.held)
        rate = minimum.gradient[-1] / (2 * zeta) if abs(zeta) > 1e-3 else best.rate
        return _Point(z[-1], minimum.value, zeta, rate, z[:-1], ahead)

    def _at(self, held: float) -> _Point:
        """The point at a held coordinate, from the nearest that a search has found."""
        known = next((point for point in self._points if point.held == held), None)
        if known:
            return known
        if self._rough:
            self._climb(held)
        plateau = self._plateau
        real = [point for point in self._points if point.deviance < plateau]
        near, *others = sorted(real, key=lambda point: abs(point.held - held))[:3]
        try:
            point = self._descend(held, _predicted(held, near, others), self._best)
        except np.linalg.LinAlgError:
            point = self._descend(held, near.free, self._best)
        first = point
        if self._rough:
            # Valleys cross: what is the lowest here may be known from far away.
            spread = np.linspace(0, len(real) - 1, KNOWN).round().astype(int)
            point = self._lowest(point, [self._best.free, *(real[i].free for i in sorted({*spread}))])
            point = self._lowest(point, [near.free + step for step in self._elsewhere])
        if self._doubtful(point):
            point = self._sought(point)
        if self._height(point) > self._plateau:
            zeta = math.copysign(math.sqrt(max(self._plateau - self._best.deviance, 0.0)), held - self._best.held)
            point = _Point(held, self._plateau, zeta, 0.0, near.free, np.zeros_like(near.free))
        elif point.deviance < first.deviance - NEAR or self._neighbours(point)[0].deviance > point.deviance:
            self._spread(point)
        self._points.append(point)
        self._points.sort(key=lambda other: other.held)
        return point

    def _climb(self, held: float) -> None:
        """Go there in steps along which a valley is not lost."""
        wanted = _Point(held, math.inf, 0.0, 0.0, self._best.free, self._best.free)
        rung = STEP / max(self._best.rate, 1e-300)
        if math.isfinite(width := float(np.subtract(*self._coordinates.limits[::-1]))):
            rung = min(rung, width / RUNGS)
        rung = max(rung, self._out(wanted) / RUNGS)
        while abs(away := held - self._neighbours(wanted)[0].held) > 1.01 * rung:
            self._at(self._neighbours(wanted)[0].held + math.copysign(rung, away))

    def _spread(self, point: _Point) -> None:
        """Search the neighbours anew from a point, and theirs, as long as they come to lie lower."""
        for side in (0, 1):
            last, left = point, SEARCHED
            while left and (neighbour := self._neighbours(last)[side]) not in (last, self._best):
                lower = self._lowest(neighbour, [last.free])
                self._points[self._points.index(neighbour)] = last = lower
                left = SEARCHED if lower.deviance < neighbour.deviance - NEAR else left - 1

    @cached_property
    def _rough(self) -> bool:
        """Whether a covariance matrix is singular at the optimum: around it the deviance has several valleys."""
        factors = self.likelihood.factors(self.likelihood.theta_at(self._given))
        return any(
            len(factor) > 1 and np.diag(factor).min() ** 2 < ZERO * np.square(factor).sum() for factor in factors
        )

    @cached_property
    def _elsewhere(self) -> Matrix:
        """Ways off from the free coordinates of a point, shape (TRIES, k)."""
        return np.random.default_rng(0).normal(size=(TRIES, len(self._best.free)))

    def _sought(self, point: _Point) -> _Point:
        """A point in the valley of the profile, from its neighbours, reached from the inner one by smaller steps."""
        for _ in range(HALVINGS):
            inner, outer = self._neighbours(point, self._plateau)
            point = self._lowest(point, [inner.free, outer.free])
            away = point.held - inner.held
            known = self._neighbours(point)[0].deviance >= self._plateau
            if known or not self._doubtful(point) or abs(away) < NARROW * self._out(point):
                break
            if not self._at(inner.held + away / 2).deviance < self._plateau:
                break
        return point

    def _out(self, point: _Point) -> float:
        """How far a point is from the optimum, in its held coordinate."""
        return abs(point.held - self._best.held)

    def _doubtful(self, point: _Point) -> bool:
        """Whether a point lies above a plateau, or a profile that falls from one known point to the next."""
        height = self._height(point)
        inner, outer = self._neighbours(point)
        return height > self._plateau or inner.deviance > height + NEAR or outer.deviance < height - NEAR

    def _neighbours(self, point: _Point, below: float = math.inf) -> tuple[_Point, _Point]:
        """The nearest known points towards the optimum and away from it, or else the optimum and the point itself; of
        those whose deviance is less than `below`.
        """
        up = point.held > self._best.held
        inner, outer = self._best, point
        for other in self._points if up else reversed(self._points):
            ahead = other.held - point.held if up else point.held - other.held
            if ahead and other.deviance < below and (other.held > self._best.held) == up:
                if ahead > 0:
                    outer = other
                    break
                inner = other
        return inner, outer

    def _height(self, point: _Point) -> float:
        """Its deviance; infinite where the held coordinate does not mean what it says."""
        return math.inf if self._coordinates.wrong(np.append(point.free, point.held)) else point.deviance

    def _lowest(self, point: _Point, starts: Iterable[Vector]) -> _Point:
        """The lowest of a point and of what searches from other free coordinates find beside the same held one."""
        for free in starts:
            try:
                lower = self._descend(point.held, free, self._best)
            except np.linalg.LinAlgError:
                continue
            if self._height(lower) < self._height(point):
                point = lower
        return point

    @cached_property
    def _plateau(self) -> float:
        """What a correlation's profile cannot exceed: the deviance with one of the standard deviations at zero, which
        goes with every correlation. Infinite for other parameters.
        """
        values = [math.inf]
        for make in self._coordinates.instead:
            coordinates = make(self.likelihood, self._given)
            start = np.append(coordinates.start[:-1], 0.0)
            values.append(newton.descend(coordinates.expand, start, self.likelihood.nu, ENOUGH, slice(-1)).value)
        return min(values)

    def _crossing(self, root: float, sign: int) -> tuple[float, bool]:
        """The held coordinate where zeta is `sign` times `root`; else the limit, and that it is not reached."""
        limit = self._coordinates.limits[sign > 0]
        inner, outer = self._around(root, sign)
        if inner.held == limit:
            return limit, False
        stride = sign * root / max(self._best.rate, 1e-300)
        for _ in range(POINTS):
            near = inner if outer is None or root - abs(inner.zeta) < abs(outer.zeta) - root else outer
            miss = sign * root - near.zeta
            held = near.held + miss / near.rate if near.rate > 0 else math.nan
            if abs(miss) < NEAR and near.rate > 0:
                return held, True
            if outer is None:
                ahead = 0 < sign * (held - inner.held) <= 4 * abs(stride)
                held = held if ahead else inner.held + 2 * stride
                held = limit if sign * (held - limit) >= 0 else held
            elif not 0 < (held - inner.held) / (outer.held - inner.held) < 1:
                held = (inner.held + outer.held) / 2
                if held in (inner.held, outer.held):
                    return held, True
            point = self._at(held)
            stride = max(stride, point.held - inner.held, key=abs)
            if abs(point.zeta) < root:
                inner = point
                if held == limit:
                    return limit, False
            else:
                outer = point
        raise ProfileError(f"{self.parameter.label}: no end of the interval was found")

    def _around(self, root: float, sign: int) -> tuple[_Point, _Point | None]:
        """The known points on a side of the estimate between which zeta reaches a size; there may be no outer one."""
        inner = self._best
        for point in self._points[:: -1 if sign < 0 else 1]:
            if sign * (point.held - self._best.held) > 0:
                if abs(point.zeta) >= root:
                    return inner, point
                inner = point
        return inner, None

    def _inside(self, value: float) -> float:
        """The held coordinate of a value."""
        try:
            held = self._coordinates.at(value)
        except ValueError:
            held = math.nan
        lower, upper = self._coordinates.limits
        if not lower <= held <= upper:
            raise ProfileError(f"{self.parameter.label}: {float(value)!r} is not a value that it can have")
        return held

    def __repr__(self) -> str:
        return f"<Profile of {self.parameter.label}, {self.parameter.term}: {self.estimate:.6g}>"


def _count(design: Design) -> int:
    """How many parameters a model has."""
    return len(design.names) + 1 + sum(len(term.names) * (len(term.names) + 1) // 2 for term in design.terms)


def _predicted(held: float, near: _Point, others: Sequence[_Point]) -> Vector:
    """The free coordinates at a held one: on the cubic through two points with their slopes, if they are not too close
    to each other for that; else on the nearest one's tangent.
    """
    away = held - near.held
    for other in others:
        width = near.held - other.held
        if abs(away) <= 2 * abs(width):
            t = 1 + away / width
            mean = (near.free - other.free) / width
            bent = near.ahead + other.ahead - 2 * mean
            return near.free + away * (near.ahead + (t - 1) * (near.ahead - mean + t * bent))
    return near.free + away * near.ahead


def _solve(matrix: Matrix, right: Vector) -> Vector:
    """The least solution of a symmetric system: some coordinates mean nothing where a factor is singular."""
    values, vectors = np.linalg.eigh(matrix)
    kept = np.abs(values) > 1e-10 * np.abs(values).max(initial=0.0)
    solution: Vector = vectors[:, kept] @ ((right @ vectors[:, kept]) / values[kept])
    return solution
