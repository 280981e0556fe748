"""The intervals of one comparison, by every package and independently, each computed once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import interpolate, stats

from concord import r
from concord.agreement.comparison import Comparison
from concord.engines import error_definitions
from concord.engines.fit import Fit
from concord.engines.interval_questions import (
    POINTS,
    STEPS,
    ask_lme4_parameters,
    ask_lme4_profiles,
    ask_lme4_wald,
    ask_mixedlm_profile,
    ask_mixedlm_wald,
    ask_nlme_wald,
)
from concord.engines.nlme import statements as nlme
from concord.inference import information, profile
from concord.inference.information import Information, InformationError
from concord.inference.profile_curve import Interval, Parameter, Profile, ProfileError
from concord.likelihood.likelihood import Likelihood, LikelihoodError, Optimum
from concord.models.coding import same_numbers
from concord.models.nesting import levels
from concord.vocabulary import METHODS

# nlme takes second derivatives from differences in relative steps of 6e-6, which lose them in rounding where the
# log-likelihood is large; and these are the steps in which it does not. By how much of the width it may be off.
STEP, ROUNDED = 1e-4, 1e-3
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
    parameters : all parameters on the scale of standard deviations and correlations, in lme4's order
    """

    def __init__(self, comparison: Comparison, level: float = 0.95) -> None:
        if not 0 < level < 1:
            raise IntervalError(f"level {level!r}: it lies between 0 and 1")
        self.comparison, self.level = comparison, level
        self.design, self.method = comparison.model.design, comparison.model.method
        self.parameters = profile.parameters(self.design)
        self._profiles: dict[tuple[str, str, str], Profile | str] = {}
        self._informations: dict[int | None, Information | str] = {}
        self._by_lme4: dict[int, dict[str, dict[str, Any]]] = {}
        self._by_mixedlm: dict[tuple[str, int], pd.DataFrame] = {}

    def chosen(self, which: Sequence[str] | None) -> list[Parameter]:
        """Parameters by lme4's names of them; all of them by default.

        Raises
        ------
        IntervalError : there is no such parameter
        """
        if which is None:
            return self.parameters
        known = {each.label: each for each in self.parameters}
        missing = [name for name in which if name not in known]
        if missing:
            raise IntervalError(f"no parameter is called {missing[0]!r}: {', '.join(known)}")
        return [known[name] for name in which]

    # -- independent --

    @cached_property
    def optima(self) -> dict[str, tuple[Likelihood, Optimum]]:
        """By method the independent likelihood and where it is largest."""
        found = {}
        for method in METHODS:
            same = method == self.method
            likelihood = self.comparison.against.likelihood if same else Likelihood(self.design, method == "REML")
            found[method] = (likelihood, likelihood.optimum())
        return found

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
        found = self._profiles[key]
        if isinstance(found, str):
            raise IntervalError(found)
        return found

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
            given = optimum if fit is None else fit
            try:
                self._informations[key] = information.observed(likelihood, given.parameters)
            except (InformationError, LikelihoodError, np.linalg.LinAlgError) as error:
                self._informations[key] = str(error)
        return self._informations[key]

    # -- the packages --

    def fit(self, engine: str) -> Fit | None:
        """The comparison's last fit by an engine; the tuned one stands after the default one."""
        found = [each for each in self.comparison.fits if each.engine == engine]
        return found[-1] if found else None

    @property
    def short(self) -> bool:
        """Whether one of the fits is short of the optimum."""
        return self.comparison.apart

    @cached_property
    def absent(self) -> dict[str, str]:
        """Why a package gives no interval at all."""
        found = {each.engine: f"no fit: {each.reason}" for each in self.comparison.absent}
        fit = self.fit("lme4")
        if fit is not None:
            own = fit.ask(ask_lme4_parameters)
            expected = self._values(fit)
            if not (len(own["estimates"]) == len(expected) and _same(own["estimates"], expected)):
                found["lme4"] = "the fit has its columns in another coding than the model"
        fit = self.fit("statsmodels")
        if fit is not None and fit.violation:
            found["statsmodels"] = fit.violation
        return found

    def _values(self, fit: Fit) -> np.ndarray:
        """A fit's estimates of all parameters, in their order: standard deviations and correlations, fixed effects."""
        values = {}
        for term, covariance in zip(self.design.terms, fit.covariances, strict=True):
            deviations = np.sqrt(np.diag(covariance))
            for i, first in enumerate(term.names):
                values[term.group, f"sd__{first}"] = deviations[i]
                for j in range(i):
                    product = deviations[i] * deviations[j]
                    values[term.group, f"cor__{term.names[j]}.{first}"] = (
                        covariance[i, j] / product if product > 0 else math.nan
                    )
        values["Residual", "sd__Observation"] = math.sqrt(fit.residual_variance)
        values |= {("", name): value for name, value in zip(self.design.names, fit.fixed, strict=True)}
        return np.array([values[each.group, each.term] for each in self.parameters])

    def lme4(self, label: str, steps: int = STEPS) -> dict[str, Any]:
        """lme4's profile of one parameter, as `ask_lme4_profiles` has it.

        Raises
        ------
        IntervalError : there is no fit, or R gives no profile, with its reason
        """
        fit = self.fit("lme4")
        if fit is None or "lme4" in self.absent:
            raise IntervalError(self.absent.get("lme4", "there is no fit by lme4"))
        if label not in self._by_lme4.setdefault(steps, {}):
            self.ask_lme4([label], steps)
        found = self._by_lme4[steps][label]
        if found.get("value") is None or len(found["ends"]) != 2:
            raise IntervalError(f"R stopped with: {' '.join((found['reason'] or ['no profile'])[0].split())}")
        return found

    def ask_lme4(self, labels: Sequence[str], steps: int = STEPS) -> None:
        """Have lme4's profiles of several parameters at once: the fit may be in another process."""
        fit, known = self.fit("lme4"), self._by_lme4.setdefault(steps, {})
        labels = [label for label in labels if label not in known]
        if fit is None or "lme4" in self.absent or not labels:
            return
        try:
            known |= fit.ask(ask_lme4_profiles, labels, self.level, steps)["profiles"]
        except r.RError as error:
            nothing = {"value": None, "reason": [str(error)]}
            known |= {label: nothing for label in labels}

    @cached_property
    def wald_lme4(self) -> dict[str, tuple[float, float]]:
        """lme4's Wald intervals of the fixed effects, by name."""
        fit = self.fit("lme4")
        if fit is None or "lme4" in self.absent:
            return {}
        got = fit.ask(ask_lme4_wald, self.level)
        return {name: (float(a), float(b)) for name, (a, b) in zip(got["names"], got["ends"], strict=True)}

    def _of_nlme(self, step: float | None) -> tuple[dict[tuple[str, str], tuple[float, float]], str]:
        """nlme's intervals by group and term, of standard deviations and correlations as nlme has them, and why there
        are none of these, or nothing.
        """
        fit = self.fit("nlme")
        if fit is None:
            return {}, ""
        try:
            got = fit.ask(ask_nlme_wald, self.level, step)
        except r.RError as error:
            return {}, f"R stopped with: {error}"
        found = {("", name): (float(a), float(b)) for name, (a, b) in zip(got["fixed"], got["ends"], strict=True)}
        if got["reason"]:
            return found, " ".join(got["reason"][0].split())
        for terms, names, ends in zip(levels(self.design) or ((0,),), got["names"], got["components"], strict=True):
            own = dict(zip(names, ends.reshape(-1, 2), strict=True))
            for term in (self.design.terms[i] for i in terms):
                for i, second in enumerate(term.names):
                    found[term.group, f"sd__{second}"] = tuple(map(float, own[f"sd({second})"]))
                    for first in term.names[:i]:
                        both = own.get(f"cor({first},{second})", own.get(f"cor({second},{first})"))
                        found[term.group, f"cor__{first}.{second}"] = tuple(map(float, both))
        found["Residual", "sd__Observation"] = tuple(map(float, got["sigma"]))
        return found, ""

    @cached_property
    def _by_nlme(self) -> tuple[dict[tuple[str, str], tuple[float, float]], str]:
        return self._of_nlme(None)

    @property
    def wald_nlme(self) -> dict[tuple[str, str], tuple[float, float]]:
        """nlme's Wald intervals by group and term: fixed effects, standard deviations and correlations."""
        return self._by_nlme[0]

    @cached_property
    def wider_nlme(self) -> dict[tuple[str, str], tuple[float, float]]:
        """The same with second derivatives from differences in steps of `STEP`."""
        return self._of_nlme(STEP)[0]

    def rounded(self, key: tuple[str, str]) -> bool:
        """Whether nlme's interval is lost in the rounding of its differences: its own, in wider steps, is another."""
        own, wider = self.wald_nlme[key], self.wider_nlme.get(key)
        # At a variance of zero its interval may reach from 0 to infinity, which none can be held against.
        if wider is None or not np.isfinite(wider).all():
            return False
        apart = np.abs(np.subtract(own, wider)) / np.maximum(np.abs(wider), np.finfo(float).tiny)
        return bool(
            np.abs(np.subtract(own, wider)).max() > ROUNDED / 4 * (wider[1] - wider[0]) or apart.max() > ROUNDED / 4
        )

    def lost_by_nlme(self, parameter: Parameter, at: Information) -> tuple[float, float]:
        """The ends that nlme's interval of a standard deviation or correlation may have, its error on the logarithm's
        scale made larger by what the rounding of its differences can do to it.

        Parameters
        ----------
        at : the information at nlme's estimates
        """
        fit = self.fit("nlme")
        said = fit.ask(nlme.summary)
        if said.stated is None:
            return wald(at, "log-sd", parameter, self._width)
        value = self.comparison.measures[self.comparison.fits.index(fit)].resolution.stated
        off = nlme.rounding(said.at, said.stated, np.eye(len(said.at)), fit, value)
        rows = fit.estimates[fit.estimates["effect"] == "ran_pars"].reset_index(drop=True)
        named = parameter.term.replace("sd__", "var__").replace("cor__", "cov__")
        (place,) = np.flatnonzero((rows["group"] == parameter.group) & (rows["term"] == named))
        return wald(at, "log-sd", parameter, self._width, float(off[place]))

    @property
    def _width(self) -> float:
        return float(stats.norm.ppf((1 + self.level) / 2))

    @property
    def without(self) -> dict[str, str]:
        """Why a package gives no Wald interval of a variance."""
        found = {"lme4": 'confint(method = "Wald") gives none of a variance'}
        return found | ({"nlme": self._by_nlme[1]} if self._by_nlme[1] else {})

    @cached_property
    def joint_mixedlm(self) -> np.ndarray | None:
        """Joint standard errors of the fixed effects at MixedLM's estimates, shape (p,), if there are any."""
        fit = self.fit("statsmodels")
        return None if fit is None else error_definitions.by_joint_hessian(self.optima[self.method][0], fit)[0]

    @cached_property
    def wald_mixedlm(self) -> dict[tuple[str, str], tuple[float, float]]:
        """By group and term: fixed effects, and ``var__`` and ``cov__`` as ratios times the residual variance."""
        fit = self.fit("statsmodels")
        if fit is None or "statsmodels" in self.absent:
            return {}
        got = fit.ask(ask_mixedlm_wald, self.level)
        found = {}
        if same_numbers(got["estimates"], fit.fixed):
            found |= {
                ("", name): tuple(map(float, both)) for name, both in zip(self.design.names, got["fixed"], strict=True)
            }
        scale = fit.residual_variance
        for key, number, kind in self._places(fit, got):
            ends = got["ratios" if kind == "re" else "components"][number]
            found[key] = (float(ends[0] * scale), float(ends[1] * scale))
        return found

    def _places(self, fit: Fit, got: dict[str, Any]) -> list[tuple[tuple[str, str], int, str]]:
        """Which (co)variance of the model each of MixedLM's is: they are told by their values, and left out where two
        have the same, as two zeros do, or where a column is in another coding.
        """
        rows = fit.estimates[(fit.estimates["effect"] == "ran_pars") & (fit.estimates["group"] != "Residual")]
        rows = [(row.group, row.term, row.estimate) for row in rows.itertuples()]

        def place(value: float, kind: str) -> tuple[str, str] | None:
            same = [(g, t) for g, t, e in rows if t.startswith(kind) and abs(value - e) <= 1e-9 * abs(e)]
            return same[0] if len(same) == 1 else None

        found = []
        for number, (i, j) in enumerate(got["pairs"]):
            key = place(got["cov_re"][i, j], "var__" if i == j else "cov__")
            if key:
                found.append((key, number, "re"))
        for number, value in enumerate(got["vcomp"]):
            key = place(value, "var__")
            if key:
                found.append((key, number, "vc"))
        return found

    def mixedlm_profile(self, parameter: Parameter, points: int = POINTS) -> pd.DataFrame:
        """MixedLM's ``profile_re`` of a standard deviation's variance, a little beyond its interval: ``value, loglik``.

        Every point is a fit.

        Raises
        ------
        IntervalError : there is no fit, the parameter is no variance of a random effect, or MixedLM stops
        """
        key = (parameter.label, points)
        if key not in self._by_mixedlm:
            self._by_mixedlm[key] = self._profile_re(parameter, points)
        return self._by_mixedlm[key]

    def _profile_re(self, parameter: Parameter, points: int) -> pd.DataFrame:
        fit = self.fit("statsmodels")
        if fit is None or "statsmodels" in self.absent:
            raise IntervalError(self.absent.get("statsmodels", "there is no fit by MixedLM"))
        if not varied(parameter):
            raise IntervalError("profile_re takes variances of random effects only")
        got = fit.ask(ask_mixedlm_wald, self.level)
        wanted = (parameter.group, f"var__{parameter.term[4:]}")
        places = [(number, kind) for key, number, kind in self._places(fit, got) if key == wanted]
        if not places:
            raise IntervalError("MixedLM has this variance in another coding, or as zero like another")
        number, kind = places[0]
        which: int | str = got["pairs"][number][0] if kind == "re" else got["names"][number]
        made, ends = self.ratio(parameter)
        estimate, low = made.estimate, max(made.estimate - BEYOND * (made.estimate - ends.lower), 0.02 * made.estimate)
        if not estimate > 0:
            raise IntervalError("the variance is zero: profile_re has nowhere to begin")
        scale = fit.residual_variance
        below, above = (estimate - low) * scale, BEYOND * (ends.upper - estimate) * scale
        try:
            curve = fit.ask(ask_mixedlm_profile, kind, which, below, above, points)
        except Exception as error:  # MixedLM lets whatever its optimizers and its algebra raise pass through
            raise IntervalError(f"profile_re stopped with {type(error).__name__}: {error}") from error
        return pd.DataFrame(curve, columns=["value", "loglik"], dtype=float)

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
        made = self._profiles[key]
        assert isinstance(made, Profile)
        return made, made.interval(self.level)

    def of_profile_re(self, parameter: Parameter) -> Interval:
        """The interval that MixedLM's own curve implies, in the variances that it shows: by monotone interpolation of
        the signed root between its points.
        """
        curve = self.mixedlm_profile(parameter)
        value, root = curve["value"].to_numpy(), math.sqrt(stats.chi2.ppf(self.level, 1))
        zeta = signed_root(curve, POINTS)
        if not (np.diff(zeta) > 0).all() or not (np.diff(value) > 0).all():
            raise IntervalError("profile_re's curve is not monotone: one of its refits stopped short")
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
    return np.sign(np.arange(len(curve)) - centre) * np.sqrt(np.maximum(fall, 0.0))


def wald(own: Information, scale: str, each: Parameter, width: float, more: float = 0.0) -> tuple[float, float]:
    """A Wald interval of a variance on its scale; or on the logarithm's, carried back to a standard deviation or a
    correlation. Of a standard error that is larger by `more`, on that scale.
    """
    found = own.components(scale)
    name = each.term.partition("__")[2]
    kinds = ("var", "cov") if scale == "variance" else ("log_sd", "logit_cor")
    kind = kinds[not each.term.startswith("sd__")]
    row = found[(found["group"] == each.group) & (found["term"] == f"{kind}__{name}")].iloc[0]
    error = row["std_error"] + more
    ends = row["estimate"] - width * error, row["estimate"] + width * error
    if scale == "variance":
        return ends
    back = math.exp if kind == "log_sd" else lambda value: math.tanh(value / 2)
    return back(ends[0]), back(ends[1])


def wald_of_ratio(own: Information, group: str, variance: str, width: float) -> tuple[float, float]:
    """A Wald interval of the ratio to the residual variance, times the residual variance."""
    found = own.ratios
    row = found[(found["group"] == group) & (found["term"] == variance)].iloc[0]
    scale = row["estimate"] / row["ratio"] if row["ratio"] else math.nan
    return row["estimate"] - width * row["of_ratio"] * scale, row["estimate"] + width * row["of_ratio"] * scale


def varied(parameter: Parameter) -> bool:
    """Whether it is a standard deviation of random effects."""
    return parameter.term.startswith("sd__") and parameter.group != "Residual"


def _same(one: Iterable[float], other: np.ndarray) -> bool:
    """Whether estimates are the same within what carrying them over leaves; a correlation may be undefined in both."""
    one = np.asarray(list(one), float)
    both = np.isfinite(one) & np.isfinite(other)
    return bool(np.allclose(one[both], other[both], rtol=1e-6, atol=1e-8))
