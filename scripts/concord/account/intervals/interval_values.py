"""The intervals of one comparison, by every package and independently, each computed once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import interpolate, stats

from concord.agreement.comparison import Comparison
from concord.engines.error_definitions import by_joint_hessian
from concord.engines.fit import Fit
from concord.engines.statements import NOT_ASKED, NotStated, StatedProfile, WaldIntervals, statements
from concord.inference import information, profile
from concord.inference.information import Information, InformationError
from concord.inference.profile_curve import Interval, Parameter, Profile, ProfileError
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.likelihood.optimum import Optimum
from concord.vocabulary import METHODS

# How far beyond the interval's ends MixedLM's points go.
BEYOND = 1.1


class IntervalError(ValueError):
    """There is no such interval, or a package does not give it; the message says why."""


class Intervals:
    """Every interval of one comparison and level, each computed when it is first asked for.

    Parameters
    ----------
    comparison : fits of one model
    level : of all intervals

    Attributes
    ----------
    parameters : all parameters on the scale of standard deviations and correlations
    """

    def __init__(self, comparison: Comparison, level: float = 0.95) -> None:
        if not 0 < level < 1:
            raise IntervalError(f"level {level!r}: it lies between 0 and 1")
        self.comparison, self.level = comparison, level
        self.design, self.method = comparison.model.design, comparison.model.method
        self.parameters = profile.parameters(self.design)
        self._profiles: dict[tuple[str, str, str], Profile | str] = {}
        self._informations: dict[int | None, Information | str] = {}
        self._profiled: dict[tuple[str, bool], dict[str, StatedProfile]] = {}
        self._ratios: dict[tuple[str, str], pd.DataFrame] = {}
        self._joint: dict[str, np.ndarray | None] = {}

    def chosen(self, which: Sequence[str] | None) -> list[Parameter]:
        """Parameters by their labels; all of them by default.

        Raises
        ------
        IntervalError : there is no such parameter
        """
        if which is None:
            return self.parameters
        known = {parameter.label: parameter for parameter in self.parameters}
        missing = [name for name in which if name not in known]
        if missing:
            raise IntervalError(f"no parameter is called {missing[0]!r}: {', '.join(known)}")
        return [known[name] for name in which]

    # -- independent --

    @cached_property
    def optima(self) -> dict[str, tuple[Likelihood, Optimum]]:
        """By method the independent likelihood and where it is largest."""
        optima = {}
        for method in METHODS:
            same = method == self.method
            likelihood = self.comparison.against.likelihood if same else Likelihood(self.design, method == "REML")
            optima[method] = (likelihood, likelihood.optimum())
        return optima

    def profile(self, parameter: Parameter, method: str, scale: str = "sd") -> Profile:
        """The independent profile of a parameter.

        Raises
        ------
        IntervalError : it has none: a fixed effect under REML, a correlation beside a variance of zero
        """
        key = (parameter.label, method, scale)
        if key not in self._profiles:
            likelihood, optimum = self.optima[method]
            try:
                (self._profiles[key],) = profile.profiles(likelihood, optimum, [parameter.label], scale)
            except (ProfileError, LikelihoodError, np.linalg.LinAlgError) as error:
                self._profiles[key] = str(error)
        kept = self._profiles[key]
        if isinstance(kept, str):
            raise IntervalError(kept)
        return kept

    def interval(self, parameter: Parameter, method: str, scale: str = "sd") -> Interval:
        """The independent profile interval of a parameter; raises as `profile` does."""
        try:
            return self.profile(parameter, method, scale).interval(self.level)
        except (ProfileError, np.linalg.LinAlgError) as error:
            raise IntervalError(str(error)) from error

    def information(self, fit: Fit | None = None) -> Information | str:
        """The observed information at a fit's estimates, or at the optimum; or why there is none."""
        key = None if fit is None else self.comparison.fits.index(fit)
        if key not in self._informations:
            likelihood, optimum = self.optima[self.method]
            solution = optimum if fit is None else fit
            try:
                self._informations[key] = information.observed(likelihood, solution.parameters)
            except (InformationError, LikelihoodError, np.linalg.LinAlgError) as error:
                self._informations[key] = str(error)
        return self._informations[key]

    # -- the packages --

    @cached_property
    def fits(self) -> dict[str, Fit]:
        """By engine the comparison's last fit; the tuned one stands after the default one."""
        return {fit.engine: fit for fit in self.comparison.fits}

    @property
    def short(self) -> bool:
        """Whether one of the fits is short of the optimum."""
        return self.comparison.apart

    @cached_property
    def absent(self) -> dict[str, str]:
        """By engine, why its package gives no interval at all."""
        reasons = {absence.engine: f"no fit: {absence.reason}" for absence in self.comparison.absent}
        reasons |= {engine: said.why for engine, said in self._stated.items() if said.why}
        reasons |= {engine: NOT_ASKED for engine in self.fits if engine not in self._stated}
        return reasons | {engine: fit.violation for engine, fit in self.fits.items() if fit.violation}

    @cached_property
    def _stated(self) -> dict[str, WaldIntervals]:
        lost = {measure.fit: measure.resolution.stated for measure in self.comparison.measures}
        asked = {engine: statements(engine).intervals for engine in self.fits}
        return {
            engine: question(self.fits[engine], self.level, lost[self.fits[engine]])
            for engine, question in asked.items()
            if question
        }

    @property
    def wald(self) -> dict[str, WaldIntervals]:
        """By engine, its package's Wald intervals."""
        return {engine: said for engine, said in self._stated.items() if engine not in self.absent}

    @property
    def without(self) -> dict[str, str]:
        """By engine, why its package gives no Wald interval of a variance."""
        return {engine: said.without for engine, said in self._stated.items() if said.without}

    def joint(self, engine: str) -> np.ndarray | None:
        """Joint standard errors of the fixed effects at an engine's estimates, shape (p,), if there are any."""
        if engine not in self._joint:
            self._joint[engine] = by_joint_hessian(self.optima[self.method][0], self.fits[engine])[0]
        return self._joint[engine]

    @property
    def profiling(self) -> list[str]:
        """The engines whose packages have profiles of every parameter."""
        return [engine for engine in self.fits if statements(engine).profiles]

    @property
    def profiling_ratios(self) -> list[str]:
        """The engines whose packages have profiles of variances' ratios to the residual one."""
        return [engine for engine in self.fits if statements(engine).ratio_profile]

    def stated_profile(self, engine: str, label: str, fine: bool = False) -> StatedProfile:
        """A package's profile of one parameter, in its own steps or in finer ones.

        Raises
        ------
        IntervalError : the package gives none, with its reason
        """
        if engine in self.absent:
            raise IntervalError(self.absent[engine])
        if label not in self._profiled.setdefault((engine, fine), {}):
            self.ask_profiles([label], fine)
        stated = self._profiled[engine, fine][label]
        if not len(stated.value):
            raise IntervalError(stated.why)
        return stated

    def ask_profiles(self, labels: Sequence[str], fine: bool = False) -> None:
        """Have the packages' profiles of several parameters at once: the fits may be in other processes."""
        for engine in self.profiling:
            known, question = self._profiled.setdefault((engine, fine), {}), statements(engine).profiles
            missing = [label for label in labels if label not in known]
            if question and missing and engine not in self.absent:
                known |= question(self.fits[engine], missing, self.level, fine)

    def ratio_profile(self, engine: str, parameter: Parameter) -> pd.DataFrame:
        """A package's profile of the ratio of a standard deviation's variance to the residual one, a little beyond its
        interval: ``value, loglik``. Every point is a fit.

        Raises
        ------
        IntervalError : there is no fit, the parameter is not a variance of a random effect, or the package stops
        """
        key = engine, parameter.label
        if key not in self._ratios:
            self._ratios[key] = self._ratio_profile(engine, parameter)
        return self._ratios[key]

    def _ratio_profile(self, engine: str, parameter: Parameter) -> pd.DataFrame:
        question = statements(engine).ratio_profile
        if engine in self.absent or question is None:
            raise IntervalError(self.absent.get(engine, NOT_ASKED))
        if not varied(parameter):
            raise IntervalError("only a variance of random effects has a ratio to the residual one")
        curve, ends = self.ratio(parameter)
        estimate = curve.estimate
        low = max(estimate - BEYOND * (estimate - ends.lower), 0.02 * estimate)
        if not estimate > 0:
            raise IntervalError("the variance is zero: a profile of its ratio has nowhere to begin")
        fit = self.fits[engine]
        scale = fit.residual_variance
        below, above = (estimate - low) * scale, BEYOND * (ends.upper - estimate) * scale
        try:
            return question(fit, (parameter.group, f"var__{parameter.term[4:]}"), below, above)
        except NotStated as error:
            raise IntervalError(str(error)) from error

    def ratio(self, parameter: Parameter) -> tuple[Profile, Interval]:
        """The independent profile of the ratio of a variance to the residual one, and its interval."""
        key = (parameter.label, self.method, "ratio")
        if key not in self._profiles:
            likelihood, optimum = self.optima[self.method]
            (place,) = [
                (i, term.names.index(parameter.term[4:]))
                for i, term in enumerate(self.design.terms)
                if term.group == parameter.group and parameter.term[4:] in term.names
            ]
            self._profiles[key] = profile.ratio_profile(likelihood, *place, optimum)
        curve = self._profiles[key]
        assert isinstance(curve, Profile)
        return curve, curve.interval(self.level)

    def ratio_interval(self, engine: str, parameter: Parameter) -> Interval:
        """The interval that a package's profile of a ratio implies, in the variances that it shows: by monotone
        interpolation of the signed root between its points.
        """
        curve = self.ratio_profile(engine, parameter)
        value, root = curve["value"].to_numpy(), math.sqrt(stats.chi2.ppf(self.level, 1))
        zeta = signed_root(curve, len(curve) // 2)
        if not (np.diff(zeta) > 0).all() or not (np.diff(value) > 0).all():
            raise IntervalError("the package's curve is not monotone: one of its refits stopped short")
        reached = (bool(zeta[0] < -root), bool(zeta[-1] > root))
        # Between two standard deviations the root is almost straight in the logarithm of a variance.
        at = interpolate.CubicSpline(zeta, np.log(value))
        if not (np.diff(at(np.linspace(zeta[0], zeta[-1], 200))) > 0).all():
            at = interpolate.PchipInterpolator(zeta, np.log(value))
        return Interval(
            self.level,
            math.exp(at(-root)) if reached[0] else 0.0,
            math.exp(at(root)) if reached[1] else math.inf,
            reached,
        )


def signed_root(curve: pd.DataFrame, centre: int) -> np.ndarray:
    """The signed root of twice the fall from the centre of a curve ``value, loglik``, shape (k,)."""
    fall = 2 * (curve["loglik"].iloc[centre] - curve["loglik"].to_numpy())
    root: np.ndarray = np.sign(np.arange(len(curve)) - centre) * np.sqrt(np.maximum(fall, 0.0))
    return root


def wald(own: Information, scale: str, parameter: Parameter, width: float, more: float = 0.0) -> tuple[float, float]:
    """A Wald interval of a variance on its scale; or on the logarithm's, carried back to a standard deviation or a
    correlation. Of a standard error that is larger by `more`, on that scale.
    """
    components = own.components(scale)
    name = parameter.term.partition("__")[2]
    kinds = ("var", "cov") if scale == "variance" else ("log_sd", "logit_cor")
    kind = kinds[not parameter.term.startswith("sd__")]
    row = components[(components["group"] == parameter.group) & (components["term"] == f"{kind}__{name}")].iloc[0]
    error = row["std_error"] + more
    ends = row["estimate"] - width * error, row["estimate"] + width * error
    if scale == "variance":
        return ends
    back = math.exp if kind == "log_sd" else lambda value: math.tanh(value / 2)
    return back(ends[0]), back(ends[1])


def wald_of_ratio(own: Information, group: str, variance: str, width: float) -> tuple[float, float]:
    """A Wald interval of the ratio to the residual variance, times the residual variance."""
    ratios = own.ratios
    row = ratios[(ratios["group"] == group) & (ratios["term"] == variance)].iloc[0]
    scale = row["estimate"] / row["ratio"] if row["ratio"] else math.nan
    return row["estimate"] - width * row["of_ratio"] * scale, row["estimate"] + width * row["of_ratio"] * scale


def varied(parameter: Parameter) -> bool:
    """Whether it is a standard deviation of random effects."""
    return parameter.term.startswith("sd__") and parameter.group != "Residual"
