"""Measures of a fit: what the verdict (`verdict`) is decided from, each against the independent likelihood.

Everything that a fit states is held to the independent value at its own estimates: its log-likelihood, and its standard
errors by its engine's own definition. Its estimates are held to the reference, by the log-likelihood that they lose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from concord.agreement import resolution
from concord.agreement.resolution import Resolution
from concord.agreement.tolerances import of_stated
from concord.agreement.verdict import GAP, Fact, grade
from concord.arrays import Mask, Vector
from concord.engines.engine import engines
from concord.engines.error_definitions import by_joint_hessian
from concord.engines.fit import Fit
from concord.engines.tuning import recomputed, slope
from concord.inference import information
from concord.inference.curvature import Curvature
from concord.inference.information import InformationError
from concord.likelihood.likelihood import LikelihoodError
from concord.models.model import Model

# So many numbers that are off are named in a reason.
NAMED = 3
# What an engine says where it doubts that it has converged.
ALARMS = ("converge", "boundary", "singular", "unidentifiable", "positive definite")


def doubted(converged: bool, messages: Sequence[str]) -> bool:
    """Whether there is a word of doubt about convergence.

    That estimates lie on the boundary (lme4's "boundary (singular) fit", MixedLM's "The MLE may be on the boundary of
    the parameter space" and "Random effects covariance is singular") is not a doubt: it says where a fit stopped and
    not whether that is the optimum, and is true of many an optimum. A singular Hessian is a doubt.
    """
    return not converged or any(_doubt(message.lower()) for message in messages)


def _doubt(message: str) -> bool:
    # First of all: MixedLM gives its note as a ConvergenceWarning, whose name is a word of ALARMS.
    note = "boundary" in message or ("covariance" in message and "singular" in message)
    return not note and any(word in message for word in ALARMS)


@dataclass(frozen=True, eq=False)
class Stated:
    """What a fit states beside its estimates, and what holds at these.

    Attributes
    ----------
    loglik, own : the log-likelihood that it states, in the model's own coding, and that of its estimates
    std_error, expected : standard errors of the fixed effects, and by its definition, shape (p,); where there are none
        by that definition, those conditional on the variances
    conditional : those conditional on theta, shape (p,)
    joint : which of them are the joint Hessian's, shape (p,)
    down : whether the joint log-likelihood bends down in every direction
    low, high : between which the log-likelihood may be
    error_allowed : how far the standard errors may be apart, shape (p,)
    """

    loglik: float
    own: float
    std_error: Vector
    expected: Vector
    conditional: Vector
    joint: Mask
    down: bool
    low: float
    high: float
    error_allowed: Vector

    @property
    def loglik_holds(self) -> bool:
        """Whether the log-likelihood is that of its estimates."""
        return bool(self.low <= self.loglik <= self.high)

    @property
    def loglik_room(self) -> float:
        """How far the log-likelihood that is stated may move, whichever way; of one that does not hold, how far off it
        may be.
        """
        if not self.loglik_holds:
            return (self.high - self.low) / 2
        return float(min(self.high - self.loglik, self.loglik - self.low))

    @property
    def error_rooms(self) -> Vector:
        """The same of the standard errors, shape (p,)."""
        left = self.error_allowed - np.abs(self.std_error - self.expected)
        return np.where(self.errors_hold, left, self.error_allowed)

    @property
    def errors_hold(self) -> Mask:
        """Which standard errors are what their definition gives, shape (p,)."""
        with np.errstate(invalid="ignore"):
            held: Mask = np.abs(self.std_error - self.expected) <= self.error_allowed
        return held


@dataclass(frozen=True, eq=False)
class Measure:
    """One fit, measured.

    Attributes
    ----------
    fit : what is measured
    gap : log-likelihood units below the reference
    slope : largest absolute derivative of the criterion where it stopped; NaN where it has none
    resolution : what its engine's arithmetic can resolve there
    stated : what it states; None where its estimates are not parameters of the model
    """

    fit: Fit
    gap: float
    slope: float
    resolution: Resolution
    stated: Stated | None

    @property
    def invalid(self) -> str:
        """How its estimates leave the model; empty where they do not."""
        if self.fit.violation:
            return self.fit.violation
        return "" if math.isfinite(self.gap) else f"its estimates are not parameters of the model{_why(self.fit)}"


@dataclass(frozen=True, eq=False)
class Judge:
    """The reference's top, by which fits are measured, with the tolerances of their model.

    Attributes
    ----------
    model : whose tolerances hold
    top : of the independent likelihood
    allowed : log-likelihood units that a fit of these settings may be below it
    """

    model: Model
    top: Curvature
    allowed: float

    def measure(self, fit: Fit) -> Measure:
        """One fit, measured."""
        likelihood = self.top.likelihood
        own = recomputed(fit, likelihood)
        gap = self.top.level - own
        if not math.isfinite(own):
            # What is claimed is told even where the estimates mean nothing.
            return Measure(fit, gap, math.nan, Resolution(0.0, 0.0, np.zeros(likelihood.p)), None)
        claimed = fit.loglik
        resolved = resolution.of_fit(fit, likelihood, own, claimed - own)
        return Measure(fit, gap, slope(fit, likelihood), resolved, self._stated(fit, own, claimed, gap, resolved))

    def fact(self, measured: Measure, name: str, digits: float = math.nan, search: bool = False) -> Fact:
        """What the verdict needs to know of a measured fit.

        Parameters
        ----------
        name : as it is said to people
        digits : correct digits of its worst estimate
        search : whether to find out what a search that goes on from a fit below the reference gains
        """
        fit, gap = measured.fit, measured.gap
        off = math.nan
        if not measured.invalid and self.allowed < gap < GAP:
            off = self.off(fit)
        fact = Fact(
            name=name,
            engine=fit.engine,
            language=engines()[fit.engine].language,
            gap=gap,
            off=off,
            digits=digits,
            rounding=measured.resolution.gap,
            cause=measured.resolution.cause,
            invalid=measured.invalid,
            broken=tuple(self._broken(measured)),
            slope=measured.slope,
            converged=fit.converged,
            doubted=doubted(fit.converged, fit.messages),
        )
        if not grade(fact, self.allowed) or fact.invalid:
            return fact
        singular_there = fit.parameters.singular(fit.model.design)
        gained = self._gained(fit, gap) if search else math.nan
        return replace(fact, singular=singular_there, gained=gained, cost=self._misplaced(measured)[0])

    def off(self, fit: Fit) -> float:
        """The largest distance of an estimate from the reference, in the reference's standard errors."""
        distance = np.abs(fit.parameters.packed - self.top.estimates)
        errors = self.top.std_error
        with np.errstate(divide="ignore", invalid="ignore"):
            counted = distance[errors > 0] / errors[errors > 0]
        return float(counted.max(initial=0.0))

    def explained(self, measured: Measure) -> Vector:
        """How far each estimate may be from the reference by what the fit's gap explains, shape (k,)."""
        return self.top.explained(measured.gap)

    def stated_allowed(self, own: float, resolved: Resolution) -> tuple[float, float]:
        """Between which a stated log-likelihood may be: that of its estimates, but for rounding. At the reference the
        estimates are given to within a tolerance themselves: there it is that of any which are so near, and so none
        above the reference's.
        """
        allowed = of_stated("loglik", self.model)
        rounding = allowed.atol + allowed.rtol * self.top.likelihood.n + resolved.stated
        level = self.top.level
        if level - own > self.allowed + resolved.gap:
            return own - rounding, own + rounding
        return min(own - rounding, level - max(self.allowed, rounding)), max(own, level) + rounding

    def room(self, fit: Fit) -> Vector:
        """How far each estimate alone may move, whichever way, before the fit is below the reference, shape (k,); for a
        fit that is, as from the reference.
        """
        gap = self.top.level - recomputed(fit, self.top.likelihood)
        if not gap < self.allowed:
            return self.top.alone(self.allowed)
        left = self.allowed - max(gap, 0.0)
        try:
            matrix, slopes = information.curvature(self.top.likelihood, fit.parameters)
        except (InformationError, LikelihoodError, np.linalg.LinAlgError):
            # What lies below the top already has so much less room, in the worst direction.
            return self.top.alone(self.allowed) * (1 - math.sqrt(max(gap, 0.0) / self.allowed))
        bends, slopes = np.diag(matrix), np.abs(slopes)
        with np.errstate(divide="ignore", invalid="ignore"):
            alone: Vector = (np.sqrt(slopes**2 + 2 * bends * left) - slopes) / bends
        return alone

    def sides(self, measured: Measure, place: int) -> tuple[float, float]:
        """How far one estimate of a fit at the reference may move down, and up, before the fit is below it.

        Found on the log-likelihood itself; 0 where there is no way.
        """
        fit, top = measured.fit, self.top
        own = top.level - measured.gap
        here = Curvature(top.likelihood, fit.parameters, own)
        far = 3 * top.explained(4 * self.allowed)[place]
        down, up = (here.fallen(place, sign, self.allowed - measured.gap, far) for sign in (-1.0, 1.0))
        return down, up

    def _stated(self, fit: Fit, own: float, claimed: float, gap: float, resolved: Resolution) -> Stated:
        likelihood = self.top.likelihood
        conditional = likelihood.std_error(fit.parameters)
        joint = np.zeros(len(conditional), bool)
        if fit.joint_std_error is not None:
            joint = fit.std_error == fit.joint_std_error
        expected, down, kind = conditional, True, "std_error"
        if joint.any():
            by_hessian, down = by_joint_hessian(likelihood, fit)
            if by_hessian is not None:
                expected = np.where(joint, by_hessian, conditional)
            if fit.parameters.singular(fit.model.design):
                kind = "singular_std_error"
        allowed = of_stated(kind, self.model)
        error_allowed = allowed.atol + (allowed.rtol + 2 * resolved.std_error) * np.abs(expected)
        if gap <= self.allowed + resolved.gap:
            # The variances are given to within a tolerance themselves: as for the log-likelihood.
            near = self.top.errors_explained(max(self.allowed, gap)) + np.abs(conditional - self.top.conditional)
            error_allowed = error_allowed + np.where(np.isfinite(near), near, 0.0)
        return Stated(
            claimed,
            own,
            fit.std_error,
            expected,
            conditional,
            joint,
            down,
            *self.stated_allowed(own, resolved),
            error_allowed,
        )

    def _broken(self, measured: Measure) -> list[str]:
        """What a fit states and does not hold at its own estimates, a clause each."""
        stated, fit = measured.stated, measured.fit
        if stated is None:
            claimed = fit.loglik
            return [] if math.isfinite(claimed) else [f"states a log-likelihood of {claimed:g}"]
        clauses = []
        if not stated.loglik_holds:
            clauses.append(f"states a log-likelihood of {stated.loglik:.8g}, its estimates have {stated.own:.8g}")
        clauses += self._misplaced(measured)[1]
        names = self.top.likelihood.design.names
        for place in np.flatnonzero(~stated.errors_hold):
            # On the way to the optimum a Hessian need not bend down: there the definition itself gives nothing.
            if not np.isfinite(stated.expected[place]):
                continue
            clauses.append(
                f"states a standard error of {stated.std_error[place]:.7g} for {names[place]}, at its own estimates "
                f"its definition gives {stated.expected[place]:.7g}"
            )
        return clauses

    def _misplaced(self, measured: Measure) -> tuple[float, list[str]]:
        """What fixed effects cost that are not the generalized least-squares solution at the fit's own variances, in
        log-likelihood units, and a clause that says so.
        """
        likelihood, fit = self.top.likelihood, measured.fit
        if not measured.gap > self.allowed + measured.resolution.gap:
            return 0.0, []
        with suppress(LikelihoodError, np.linalg.LinAlgError):
            solution = likelihood.solution(fit.parameters)
            best = likelihood.loglik(replace(fit.parameters, fixed=solution))
            cost = best - (self.top.level - measured.gap)
            if cost > self.allowed + measured.resolution.gap:
                away = np.abs(fit.fixed - solution) / likelihood.std_error(fit.parameters)
                off = [
                    f"{likelihood.design.names[place]} is {fit.fixed[place]:.4g}, the solution {solution[place]:.4g}"
                    for place in np.argsort(-away)[:NAMED]
                    if away[place] > 1e-3
                ]
                return cost, [
                    "has fixed effects that are not the generalized least-squares solution at its own variances, "
                    f"which costs {cost:.3g} ({'; '.join(off)})"
                ]
        return 0.0, []

    def _gained(self, fit: Fit, gap: float) -> float:
        """What a search that goes on from where a fit stopped gains; NaN where it leads nowhere."""
        likelihood = self.top.likelihood
        with suppress(LikelihoodError, np.linalg.LinAlgError):
            theta = likelihood.theta_at(fit.parameters)
            return likelihood.optimum([theta]).loglik - (self.top.level - gap)
        return math.nan


def _why(fit: Fit) -> str:
    """Which of a fit's estimates are not parameters, in brackets."""
    wrong = [
        f"{name} is {value:g}"
        for name, value in zip(fit.model.design.names, fit.fixed, strict=True)
        if not math.isfinite(value)
    ]
    if not 0 < fit.residual_variance < math.inf:
        wrong.append(f"the residual variance is {fit.residual_variance:g}")
    for term, covariance in zip(fit.model.design.terms, fit.covariances, strict=True):
        name = f"the covariance matrix of ({', '.join(term.names)} | {term.group})"
        if not np.isfinite(covariance).all():
            wrong.append(f"{name} is not finite")
        elif np.linalg.eigvalsh(covariance)[0] < 0:
            wrong.append(f"{name} has a negative eigenvalue")
    return f" ({'; '.join(wrong)})" if wrong else ""


# ---- fits beside each other ------------------------------------------------------------------------------------------


def unexplained(judge: Judge, measured: Sequence[Measure]) -> Mask:
    """Which estimates, in the order of `Fit.estimates`, are apart by more than the fits' gaps explain, and by more than
    the tolerance of one alone; shape (k,). A fit below the reference is not held to the others.
    """
    far: Mask = ~np.all([np.isfinite(measure.fit.parameters.packed) for measure in measured], axis=0)
    measured = [measure for measure in measured if measure.gap <= judge.allowed + measure.resolution.gap]
    if len(measured) < 2:
        return far
    values = np.array([measure.fit.parameters.packed for measure in measured])
    reach = np.array([judge.explained(measure) for measure in measured])
    for i, j in combinations(range(len(measured)), 2):
        far |= np.abs(values[i] - values[j]) > reach[i] + reach[j]
    if far.any():
        spread = values.max(axis=0) - values.min(axis=0)
        far &= ~(spread <= judge.top.alone(judge.allowed))
    return far


def undefined(measured: Sequence[Measure]) -> Mask:
    """Which standard errors are missing, or stand where their definition gives nothing, shape (p,)."""
    stated = [measure.stated for measure in measured if measure.stated is not None]
    missing: Mask = np.any(
        [~np.isfinite(said.std_error) | (~np.isfinite(said.expected) & ~said.errors_hold) for said in stated], axis=0
    )
    return missing


def by_definition(measured: Sequence[Measure]) -> Mask:
    """Which standard errors are apart, though each is right, because one is the joint Hessian's; shape (p,)."""
    stated = [measure.stated for measure in measured if measure.stated is not None]
    if not stated:
        return np.zeros(0, bool)
    values, conditional = (np.array([getattr(said, name) for said in stated]) for name in ("std_error", "conditional"))
    joint = np.array([said.joint for said in stated])
    allowed = 2 * np.max([said.error_allowed for said in stated], axis=0)
    right = np.all([said.errors_hold for said in stated], axis=0)
    with np.errstate(invalid="ignore"):
        apart = np.ptp(values, axis=0) > np.ptp(conditional, axis=0) + allowed
    several: Mask = right & apart & joint.any(axis=0) & ~joint.all(axis=0)
    return several


def definitions_told(measured: Sequence[Measure], names: Sequence[str]) -> list[str]:
    """Why right standard errors are apart, a clause each; empty where none are."""
    if not by_definition(measured).any():
        return []
    stated = {name: measure.stated for measure, name in zip(measured, names, strict=True) if measure.stated is not None}
    joint = [name for name, said in stated.items() if said.joint.any()]
    plain = [name for name, said in stated.items() if not said.joint.any()]
    up = [name for name, said in stated.items() if not said.down]
    return [
        f"standard errors differ by definition: those of {' and '.join(joint)} count in that the variances are "
        f"estimated, those of {' and '.join(plain)} take the variances as known; computed in one way, they agree",
        *(f"those of {name} mean nothing: its Hessian is not negative definite" for name in up),
    ]
