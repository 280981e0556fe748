"""Confidence intervals of every parameter, by every package and independently; and the profiles behind them.

Three kinds. *Wald*: an estimate and so many standard errors, on some scale. *Profile*: where the log-likelihood, the
parameter held and everything else at its best, falls by no more than half the chi-squared quantile (`profile`).
*Bootstrap*: any table of them that is given.

Packages mean different things by each:

- Wald, fixed effects: lme4 takes standard errors conditional on the variances and normal quantiles; MixedLM those of
  the joint Hessian; nlme conditional ones and quantiles of Student's t, with degrees of freedom counted by level of
  grouping (Pinheiro and Bates 2000, Mixed-Effects Models in S and S-PLUS, page 91).
- Wald, variances: MixedLM's are of ratios Psi / sigma^2; nlme's of log standard deviations and of
  log((1 + r) / (1 - r)); lme4 has none.
- Profile: lme4 holds standard deviations and correlations, by ML whatever the fit; MixedLM's `profile_re` holds the
  ratio Psi / sigma^2, by the fit's own method, and shows it times the residual variance there.

So a table names scale and method with every interval, and a line holds each against the independent one of its kind.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import interpolate, stats

from concord import information, profile, r
from concord.agreement import Comparison
from concord.coding import same_numbers
from concord.fits import KEY, Fit
from concord.formulas import Design
from concord.information import Information, InformationError
from concord.likelihood import Likelihood, LikelihoodError, Optimum
from concord.models import METHODS
from concord.profile import Interval, Parameter, Profile, ProfileError
from concord.quantities import INDEPENDENT, Line
from concord.translation import levels

SECTION = "intervals"
SCALES = profile.SCALES
COLUMNS = [
    *KEY, "kind", "source", "method", "lower", "upper", "lower_reached", "upper_reached", "scale", "note",
]  # fmt: skip
CURVES = [*KEY, "source", "method", "holds", "value", "zeta", "deviance"]
FINER = "lme4, finer steps"
WIDER = "nlme, wider steps"
# lme4's own number of steps to its farthest point, and one at which its spline has the profile's digits.
STEPS, FINE = 8, 32
# Of the interval's width: what lme4's spline may be off before it is asked in finer steps.
DIGITS = 1e-4
# nlme takes second derivatives from differences in relative steps of 6e-6, which lose them in rounding where the
# log-likelihood is large; and these are the steps in which it does not. By how much of the width it may be off.
STEP, ROUNDED = 1e-4, 1e-3
# An lme4 search that ends so far above the profile, in zeta, has stopped short.
STOPPED = 1e-3
# MixedLM's points on either side of its estimate, and how far beyond the interval's ends they go.
POINTS, BEYOND = 4, 1.1

_R = Path(__file__).with_suffix(".R")


class IntervalError(ValueError):
    """There is no such interval, or a package does not give it; the message says why."""


# ---- what the packages say, asked where their results are -----------------------------------------------------------


def _room(package: str = "lme4") -> Any:
    r.package(package)
    return r.source(_R)


def ask_lme4_profiles(
    fit: Fit, labels: Sequence[str], level: float, steps: int = STEPS, at: np.ndarray | None = None,
    optimizer: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """lme4's profiles of parameters, on the scale of standard deviations and correlations, by ML; for `Fit.ask`.

    Returns
    -------
    dict : ``loglik`` and ``estimates`` of the fit by ML; ``profiles``: by label ``value, zeta``, shape (k,), ``ends``
        and ``crossed``, shape (2,), ``at``: zeta at the values asked for, by lme4's spline; ``said``, ``optimizer``;
        where R stopped, ``reason`` and no ``value``

    Parameters
    ----------
    labels : lme4's names: ``.sig01``, ..., ``.sigma``, the fixed effects
    level : of the ends
    steps : how many to the farthest point on either side
    at : values at which zeta is wanted, shape (m,)
    optimizer : ``nloptwrap``, ``Nelder_Mead`` or ``bobyqa`` alone; by default each in turn until one has no complaint
    """
    values = np.empty(0) if at is None else np.asarray(at, float)
    got = r.from_r(r.call(_room()["profile_each"], fit.native, list(labels), level, steps, values, optimizer))
    got["loglik"] = float(got["loglik"][0])
    return got


def _ask_lme4_parameters(fit: Fit) -> dict[str, Any]:
    return r.from_r(r.call(_room()["parameters"], fit.native))


def _ask_lme4_wald(fit: Fit, level: float) -> dict[str, Any]:
    return r.from_r(r.call(_room()["wald_lme4"], fit.native, level))


def _ask_nlme_wald(fit: Fit, level: float, step: float | None = None) -> dict[str, Any]:
    return r.from_r(r.call(_room("nlme")["wald_nlme"], fit.native, level, step))


def _ask_spline(value: np.ndarray, zeta: np.ndarray, level: float) -> np.ndarray:
    return r.from_r(r.call(_room()["ends_by_spline"], value, zeta, level))


def _ask_mixedlm_wald(fit: Fit, level: float) -> dict[str, Any]:
    """MixedLM's ``conf_int``: of fixed effects, and of the ratios of (co)variances to the residual variance."""
    native = getattr(fit.native, "_results", fit.native)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ends = np.asarray(native.conf_int(1 - level), float)
    p, q = native.model.k_fe, native.model.k_re
    pairs = [(i, j) for i in range(q) for j in range(i + 1)]
    own = {
        "fixed": ends[:p], "estimates": np.asarray(native.fe_params, float), "cov_re": np.asarray(native.cov_re, float),
        "vcomp": np.asarray(native.vcomp, float).reshape(-1), "pairs": pairs,
        "ratios": ends[p : p + len(pairs)], "components": ends[p + len(pairs) :],
        "names": list(native.model.exog_vc.names),
    }  # fmt: skip
    return own


def ask_mixedlm_profile(
    fit: Fit, kind: str, which: int | str, below: float, above: float, points: int = POINTS
) -> np.ndarray:
    """MixedLM's ``profile_re`` of one variance, for `Fit.ask`: value and log-likelihood, shape (2 points + 1, 2).

    Parameters
    ----------
    kind, which : ``re`` and the number of the effect, or ``vc`` and the component's name
    below, above : how far out it goes, in units of the variance
    points : how many on either side of the estimate
    """
    native = getattr(fit.native, "_results", fit.native)
    with warnings.catch_warnings():
        # Every refit repeats the warnings of the fit.
        warnings.simplefilter("ignore")
        return native.profile_re(which, kind, num_low=points, dist_low=below, num_high=points, dist_high=above)


# ---- intervals of one comparison ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """One interval; `term` says on which scale it is."""

    parameter: Parameter
    term: str
    kind: str
    source: str
    method: str
    ends: tuple[float, float]
    reached: tuple[bool, bool] = (True, True)
    note: str = ""


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
                self._informations[key] = information.observed(
                    likelihood, given.fixed, given.covariances, given.residual_variance
                )
            except (InformationError, LikelihoodError, np.linalg.LinAlgError) as error:
                self._informations[key] = str(error)
        return self._informations[key]

    @cached_property
    def _informations(self) -> dict[int | None, Information | str]:
        return {}

    # -- the packages --

    def fit(self, engine: str) -> Fit | None:
        """The comparison's last fit by an engine; the tuned one stands after the default one."""
        found = [each for each in self.comparison.fits if each.engine == engine]
        return found[-1] if found else None

    @cached_property
    def absent(self) -> dict[str, str]:
        """Why a package gives no interval at all."""
        found = {each.engine: f"no fit: {each.reason}" for each in self.comparison.absent}
        fit = self.fit("lme4")
        if fit is not None:
            own = fit.ask(_ask_lme4_parameters)
            expected = self._values(fit)
            if not (len(own["estimates"]) == len(expected) and _same(own["estimates"], expected)):
                found["lme4"] = "the fit has its columns in another coding than the model"
        fit = self.fit("mixedlm")
        if fit is not None and fit.violation:
            found["mixedlm"] = fit.violation
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
            self._ask_lme4([label], steps)
        found = self._by_lme4[steps][label]
        if found.get("value") is None or len(found["ends"]) != 2:
            raise IntervalError(f"R stopped with: {' '.join((found['reason'] or ['no profile'])[0].split())}")
        return found

    def _ask_lme4(self, labels: Sequence[str], steps: int = STEPS) -> None:
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
    def _by_lme4(self) -> dict[int, dict[str, dict[str, Any]]]:
        return {}

    @cached_property
    def _wald_lme4(self) -> dict[str, tuple[float, float]]:
        fit = self.fit("lme4")
        if fit is None or "lme4" in self.absent:
            return {}
        got = fit.ask(_ask_lme4_wald, self.level)
        return {name: (float(a), float(b)) for name, (a, b) in zip(got["names"], got["ends"], strict=True)}

    def _of_nlme(self, step: float | None) -> dict[tuple[str, str], tuple[float, float]]:
        """nlme's intervals by group and term, of standard deviations and correlations as nlme has them."""
        fit = self.fit("nlme")
        if fit is None:
            return {}
        try:
            got = fit.ask(_ask_nlme_wald, self.level, step)
        except r.RError as error:
            if step is None:
                self._without["nlme"] = f"R stopped with: {error}"
            return {}
        found = {("", name): (float(a), float(b)) for name, (a, b) in zip(got["fixed"], got["ends"], strict=True)}
        if got["reason"]:
            if step is None:
                self._without["nlme"] = " ".join(got["reason"][0].split())
            return found
        for terms, names, ends in zip(levels(self.design) or ((0,),), got["names"], got["components"], strict=True):
            own = dict(zip(names, ends.reshape(-1, 2), strict=True))
            for term in (self.design.terms[i] for i in terms):
                for i, second in enumerate(term.names):
                    found[term.group, f"sd__{second}"] = tuple(map(float, own[f"sd({second})"]))
                    for first in term.names[:i]:
                        both = own.get(f"cor({first},{second})", own.get(f"cor({second},{first})"))
                        found[term.group, f"cor__{first}.{second}"] = tuple(map(float, both))
        found["Residual", "sd__Observation"] = tuple(map(float, got["sigma"]))
        return found

    @cached_property
    def _wald_nlme(self) -> dict[tuple[str, str], tuple[float, float]]:
        return self._of_nlme(None)

    @cached_property
    def _wider_nlme(self) -> dict[tuple[str, str], tuple[float, float]]:
        return self._of_nlme(STEP)

    def _rounded(self, key: tuple[str, str]) -> bool:
        """Whether nlme's interval is lost in the rounding of its differences: its own, in wider steps, is another."""
        own, wider = self._wald_nlme[key], self._wider_nlme.get(key)
        if wider is None:
            return False
        apart = np.abs(np.subtract(own, wider)) / np.maximum(np.abs(wider), np.finfo(float).tiny)
        return bool(
            np.abs(np.subtract(own, wider)).max() > ROUNDED / 4 * (wider[1] - wider[0]) or apart.max() > ROUNDED / 4
        )

    @cached_property
    def _without(self) -> dict[str, str]:
        """Why a package gives no Wald interval of a variance."""
        return {"lme4": 'confint(method = "Wald") gives none of a variance'}

    @cached_property
    def _wald_mixedlm(self) -> dict[tuple[str, str], tuple[float, float]]:
        """By group and term: fixed effects, and ``var__`` and ``cov__`` as ratios times the residual variance."""
        fit = self.fit("mixedlm")
        if fit is None or "mixedlm" in self.absent:
            return {}
        got = fit.ask(_ask_mixedlm_wald, self.level)
        found = {}
        if same_numbers(got["estimates"], fit.fixed):
            found |= {("", name): tuple(map(float, both))
                      for name, both in zip(self.design.names, got["fixed"], strict=True)}  # fmt: skip
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

    @cached_property
    def _by_mixedlm(self) -> dict[tuple[str, int], pd.DataFrame]:
        return {}

    def _profile_re(self, parameter: Parameter, points: int) -> pd.DataFrame:
        fit = self.fit("mixedlm")
        if fit is None or "mixedlm" in self.absent:
            raise IntervalError(self.absent.get("mixedlm", "there is no fit by MixedLM"))
        if not _varied(parameter):
            raise IntervalError("profile_re takes variances of random effects only")
        got = fit.ask(_ask_mixedlm_wald, self.level)
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

    # -- the table --

    def rows(
        self, which: Sequence[str] | None = None, *, with_profile_re: bool = False, with_profile: bool = True
    ) -> list[_Row]:
        """Every interval but a bootstrap's."""
        found: list[_Row] = []
        if with_profile:
            self._ask_lme4([each.label for each in self.chosen(which)])
        for each in self.chosen(which):
            found += self._wald_rows(each)
            if with_profile:
                found += self._profile_rows(each, with_profile_re)
        return found

    def _wald_rows(self, each: Parameter) -> list[_Row]:
        def row(source: str, ends: Sequence[float], note: str, term: str = each.term) -> _Row:
            return _Row(each, term, "Wald", source, self.method, (float(ends[0]), float(ends[1])), note=note)

        own = self.information()
        width, found = stats.norm.ppf((1 + self.level) / 2), []
        if each.effect == "fixed":
            key = ("", each.term)
            if key in self._wald_mixedlm:
                found.append(row("mixedlm", self._wald_mixedlm[key], "joint Hessian"))
            if each.term in self._wald_lme4:
                found.append(row("lme4", self._wald_lme4[each.term], "conditional on the variances"))
            if key in self._wald_nlme:
                found.append(row("nlme", self._wald_nlme[key], "conditional on the variances, Student's t"))
            likelihood, optimum = self.optima[self.method]
            place = self.design.names.index(each.term)
            errors = [(optimum.std_error[place], "conditional on the variances")]
            if not isinstance(own, str):
                errors.append((own.joint[place], "joint Hessian"))
            b = optimum.fixed[place]
            return found + [row(INDEPENDENT, (b - width * se, b + width * se), note) for se, note in errors]
        variance = each.term.replace("sd__", "var__").replace("cor__", "cov__")
        if (each.group, variance) in self._wald_mixedlm:
            ends = self._wald_mixedlm[each.group, variance]
            found.append(row("mixedlm", ends, "of the ratio, times the residual variance", variance))
        if (each.group, each.term) in self._wald_nlme:
            ends, note = self._wald_nlme[each.group, each.term], "of the logarithm"
            if self._rounded((each.group, each.term)):
                better = self._wider_nlme[each.group, each.term]
                note += f", lost in rounding: {better[0]:.6g} to {better[1]:.6g} with .relStep = {STEP:g}"
            found.append(row("nlme", ends, note))
        if not isinstance(own, str):
            found.append(row(INDEPENDENT, _wald(own, "variance", each, width), "of the variance", variance))
            found.append(row(INDEPENDENT, _wald(own, "log-sd", each, width), "of the logarithm"))
        return found

    def _profile_rows(self, each: Parameter, with_profile_re: bool) -> list[_Row]:
        found = []
        try:
            got = self.lme4(each.label)
            refitted = "" if self.method == "ML" else "refitted by ML; "
            note = f"{refitted}optimizer {got['optimizer']}, in {STEPS} steps"
            crossed = tuple(bool(end) for end in got["crossed"])
            found.append(_Row(each, each.term, "profile", "lme4", "ML", tuple(map(float, got["ends"])), crossed, note))
        except IntervalError as error:
            if self.fit("lme4") is not None:
                found.append(
                    _Row(each, each.term, "profile", "lme4", "ML", (math.nan,) * 2, (False, False), str(error))
                )
        for method in METHODS:
            try:
                got = self.interval(each, method)
            except IntervalError:
                continue
            found.append(_Row(each, each.term, "profile", INDEPENDENT, method, (got.lower, got.upper), got.reached))
        if with_profile_re and self.fit("mixedlm") is not None:
            try:
                got = self.of_profile_re(each)
                variance = each.term.replace("sd__", "var__")
                ends = (got.lower, got.upper)
                note = "profile_re: the ratio held, shown times the residual variance there"
                found.append(_Row(each, variance, "profile", "mixedlm", self.method, ends, got.reached, note))
            except IntervalError:
                pass
        return found

    def table(
        self, bootstrap: pd.DataFrame | None = None, *, which: Sequence[str] | None = None,
        with_profile_re: bool = False, scale: str = "sd", with_profile: bool = True,
    ) -> pd.DataFrame:  # fmt: skip
        """See the function of this name."""
        if scale not in SCALES:
            raise IntervalError(f"scale {scale!r}: one of {', '.join(SCALES)}")
        rows = [
            ((each.parameter.effect, each.parameter.group, each.term), each.kind, each.source, each.method, each.ends,
             each.reached, each.note)
            for each in self.rows(which, with_profile_re=with_profile_re, with_profile=with_profile)
        ]  # fmt: skip
        if bootstrap is not None:
            for row in bootstrap.to_dict("records"):
                key = (row["effect"], row["group"], row["term"])
                ends = (float(row["lower"]), float(row["upper"]))
                rows.append((key, "bootstrap", row["source"], row.get("method", self.method), ends, (True, True), ""))
        order = {(each.group, each.term.partition("__")[2] or each.term): i for i, each in enumerate(self.parameters)}
        made = []
        for (effect, group, term), kind, source, method, ends, reached, note in rows:
            shown = _on_scale(term, ends, reached, note, scale)
            made.append((effect, group, shown[0], kind, source, method, *shown[1], *shown[2], shown[3], shown[4]))
        table = pd.DataFrame(made, columns=COLUMNS)
        place = [order.get((g, t.partition("__")[2] or t), len(order))
                 for g, t in zip(table["group"], table["term"], strict=True)]  # fmt: skip
        return table.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)

    # -- lines --

    def lines(
        self, which: Sequence[str] | None = None, *, with_profile: bool = True, with_profile_re: bool = False
    ) -> list[Line]:
        """See the function of this name."""
        found: list[Line] = []
        if with_profile:
            self._ask_lme4([each.label for each in self.chosen(which)])
        for each in self.chosen(which):
            found += self._fixed_lines(each) if each.effect == "fixed" else self._component_lines(each)
            if with_profile or with_profile_re:
                found += self._profile_lines(each, with_profile, with_profile_re)
        return found

    @cached_property
    def short(self) -> bool:
        """Whether one of the fits is short of the optimum."""
        return self.comparison.apart

    def _pair(self, kind: str, each: Parameter, term: str, tolerance: str, stated: dict[str, Any], **given: Any
              ) -> list[Line]:  # fmt: skip
        """A line for the lower and one for the upper end; `stated` by source: ends, definition, expected ends."""
        made = []
        shown, absent = given.get("independent"), given.get("absent", {})
        if not stated:
            return []
        widths = [float(ends[1] - ends[0]) for ends, *_ in stated.values() if np.isfinite(ends).all()]
        for place, end in enumerate(("lower", "upper")):
            made.append(
                Line(
                    SECTION, f"{kind} interval, {end}", tolerance,
                    values={source: float(ends[place]) for source, (ends, _, _) in stated.items()},
                    definitions={source: name for source, (_, name, _) in stated.items() if name},
                    expected={s: float(own[place]) for s, (_, _, own) in stated.items() if own is not None},
                    independent=math.nan if shown is None else float(shown[place]),
                    effect=each.effect, group=each.group, term=term, absent=absent,
                    scale=max(widths, default=math.nan), short=self.short,
                )
            )  # fmt: skip
        return made

    def _fixed_lines(self, each: Parameter) -> list[Line]:
        place, width = self.design.names.index(each.term), stats.norm.ppf((1 + self.level) / 2)
        stated: dict[str, Any] = {}
        absent = dict(self.absent)

        def around(fit: Fit, error: float, quantile: float) -> tuple[float, float]:
            return fit.fixed[place] - quantile * error, fit.fixed[place] + quantile * error

        likelihood, optimum = self.optima[self.method]
        fit, key = self.fit("mixedlm"), ("", each.term)
        if fit is not None and "mixedlm" not in absent:
            own = self.information(fit)
            if key not in self._wald_mixedlm:
                absent["mixedlm"] = "the fit has its columns in another coding than the model"
            elif isinstance(own, str):
                absent["mixedlm"] = f"its joint Hessian means nothing here: {own}"
            else:
                expected = around(fit, own.joint[place], width)
                stated["mixedlm"] = (self._wald_mixedlm[key], "interval_joint", expected)
        for engine, given in (("lme4", self._wald_lme4.get(each.term)), ("nlme", self._wald_nlme.get(key))):
            fit = self.fit(engine)
            if fit is None or given is None:
                continue
            error = likelihood.std_error(fit.covariances, fit.residual_variance)[place]
            quantile, name = width, ""
            if engine == "nlme":
                df = inner_outer(self.design)[place]
                quantile, name = stats.t.ppf((1 + self.level) / 2, df), "interval_student"
            stated[engine] = (given, name, around(fit, error, quantile))
        b, error = optimum.fixed[place], optimum.std_error[place]
        shown = (b - width * error, b + width * error)
        return self._pair("Wald", each, each.term, "interval_wald", stated, independent=shown, absent=absent)

    def _component_lines(self, each: Parameter) -> list[Line]:
        """Variances on their own scale, where MixedLM's ratios and nlme's standard deviations meet; correlations are
        nlme's alone, covariances MixedLM's.
        """
        width, absent = stats.norm.ppf((1 + self.level) / 2), {**self._without, **self.absent}
        variance = each.term.replace("sd__", "var__").replace("cor__", "cov__")
        deviation = each.term.startswith("sd__")
        own = self.information()
        stated: dict[str, Any] = {}
        fit, given = self.fit("mixedlm"), self._wald_mixedlm.get((each.group, variance))
        if fit is not None and given is not None and given != (0.0, 0.0):
            at = self.information(fit)
            if isinstance(at, str):
                absent["mixedlm"] = f"its Hessian means nothing here: {at}"
            else:
                stated["mixedlm"] = (given, "interval_of_ratio", _of_ratio(at, each.group, variance, width))
        correlations: dict[str, Any] = {}
        fit, given = self.fit("nlme"), self._wald_nlme.get((each.group, each.term))
        if fit is not None and given is not None:
            at = self.information(fit)
            if isinstance(at, str):
                absent["nlme"] = f"its Hessian means nothing here: {at}"
            else:
                expected, source = _wald(at, "log-sd", each, width), "nlme"
                if self._rounded((each.group, each.term)):
                    absent["nlme"] = (
                        f"its own differences lose second derivatives in rounding; {WIDER}: with .relStep = {STEP:g}"
                    )
                    given, source = self._wider_nlme[each.group, each.term], WIDER
                if deviation:
                    stated[source] = tuple(np.square(given)), "interval_of_logarithm", tuple(np.square(expected))
                else:
                    correlations[source] = (given, "interval_of_logarithm", expected)
        shown = None if isinstance(own, str) else _wald(own, "variance", each, width)
        made = self._pair("Wald", each, variance, "interval_wald_variance", stated, independent=shown, absent=absent)
        return made + self._pair("Wald", each, each.term, "interval_wald_variance", correlations, absent=absent)

    def _profile_lines(self, each: Parameter, with_profile: bool, with_profile_re: bool) -> list[Line]:
        stated: dict[str, Any] = {}
        absent = dict(self.absent)
        by_ml = "" if self.method == "ML" else "profile_by_ml"
        if with_profile and self.fit("lme4") is not None:
            try:
                stated |= self._held_to_lme4(each, by_ml, absent)
            except IntervalError as error:
                absent["lme4"] = str(error)
        if with_profile_re and self.fit("mixedlm") is not None and _varied(each):
            try:
                got, (made, ends) = self.of_profile_re(each), self.ratio(each)
                both = zip((ends.lower, ends.upper), ends.reached, strict=True)
                shown = [end * made.residual_variance(end) if reached else 0.0 for end, reached in both]
                ours = tuple(np.sqrt([got.lower, got.upper]))
                stated["mixedlm"] = (ours, "ratio_held", tuple(np.sqrt(shown)))
            except IntervalError as error:
                absent["mixedlm"] = str(error)
        try:
            found = self.interval(each, self.method)
            independent = (found.lower, found.upper)
        except IntervalError:
            independent = None
        return self._pair("profile", each, each.term, "interval_profile", stated, independent=independent,
                          absent=absent)  # fmt: skip

    def _held_to_lme4(self, each: Parameter, by_ml: str, absent: dict[str, str]) -> dict[str, Any]:
        """lme4's ends against the independent profile by ML.

        Where its own steps are too wide for four digits: against the same spline through points of the independent
        profile, and once more in finer steps. Where its search, the parameter held, stops above the smallest deviance,
        its points are none of the profile: in finer steps, if these are, and else left out with the reason.
        """
        got, found = self.lme4(each.label), self.interval(each, "ML")
        exact = (found.lower, found.upper)

        def agrees(ends: np.ndarray, expected: tuple[float, float]) -> bool:
            return bool(np.abs(np.subtract(ends, expected)).max() <= DIGITS * (exact[1] - exact[0]))

        if agrees(got["ends"], exact):
            return {"lme4": (got["ends"], by_ml, exact)}
        finer = self.lme4(each.label, FINE)["ends"]
        stated = {FINER: (finer, by_ml, exact)} if agrees(finer, exact) else {}
        spline = self._by_spline(each, got, exact)
        if agrees(got["ends"], spline):
            return {"lme4": (got["ends"], "profile_spline", spline), **stated}
        value, above = self._above(each, got)
        if above > STOPPED:
            absent["lme4"] = (
                f"with {each.label} held at {value:.6g} its search ends {above:.2g} above the smallest zeta there is, "
                "so that lme4's spline goes through points that are not the profile's"
            )
            return stated
        return {"lme4": (got["ends"], by_ml, exact)}

    def _above(self, each: Parameter, got: dict[str, Any]) -> tuple[float, float]:
        """Where, and by how much of zeta, lme4's points lie farthest above the independent profile by ML: that the
        deviance can be smaller is shown by the point that has it.
        """
        own = self.profile(each, "ML")
        # All points count: the spline goes through every one, and bends elsewhere because of it.
        above = [
            (abs(zeta) - abs(own.zeta(value)), value)
            for value, zeta in zip(got["value"], got["zeta"], strict=True)
            if np.isfinite(zeta)
        ]
        most, value = max(above, default=(0.0, math.nan))
        return value, most

    def _by_spline(self, each: Parameter, got: dict[str, Any], exact: tuple[float, float]) -> tuple[float, float]:
        """The ends by R's spline through the independent zeta, at the values that lme4 held."""
        own = self.profile(each, "ML")
        values = np.unique(got["value"][np.isfinite(got["zeta"])])
        zeta = np.array([own.zeta(value) for value in values])
        try:
            ends = _ask_spline(values, zeta, self.level)
        except r.RError:
            return exact
        return tuple(exact[i] if np.isnan(ends[i]) else float(ends[i]) for i in range(2))


def signed_root(curve: pd.DataFrame, centre: int) -> np.ndarray:
    """The signed root of twice the fall from the centre of a curve ``value, loglik``, shape (k,)."""
    fall = 2 * (curve["loglik"].iloc[centre] - curve["loglik"].to_numpy())
    return np.sign(np.arange(len(curve)) - centre) * np.sqrt(np.maximum(fall, 0.0))


def of(comparison: Comparison, level: float = 0.95) -> Intervals:
    """The intervals of a comparison; kept, so that table, lines and pictures ask the packages once."""
    return _kept(comparison, float(level))


@lru_cache(maxsize=8)
def _kept(comparison: Comparison, level: float) -> Intervals:
    return Intervals(comparison, level)


def table(
    comparison: Comparison,
    level: float = 0.95,
    bootstrap: pd.DataFrame | None = None,
    *,
    which: Sequence[str] | None = None,
    with_profile_re: bool = False,
    scale: str = "sd",
    with_profile: bool = True,
) -> pd.DataFrame:
    """Intervals of one level for every parameter, by kind and source.

    Parameters
    ----------
    comparison : fits of one model, tuned ones for a profile by lme4
    level : of all intervals
    bootstrap : a table ``effect, group, term, source, lower, upper`` to set beside them
    which : lme4's names of the parameters wanted, ``.sig01``, ..., ``.sigma`` and the fixed effects'; all by default
    with_profile_re : whether to add what MixedLM's profile_re implies; each of its points is a fit
    scale : ``sd`` or ``variance``: what intervals of variances are converted to. A covariance stays one, and a
        correlation too: an interval of one is none of the other
    with_profile : whether to have profiles at all

    Returns
    -------
    DataFrame : ``effect, group, term``, ``kind`` (Wald, profile, bootstrap), ``source`` (mixedlm, lme4, nlme,
        independent), ``method``, ``lower, upper``, ``lower_reached, upper_reached``: whether the curve crosses the
        quantile there, or the end is that of the parameter space; ``scale``, ``note``
    """
    made = of(comparison, level)
    return made.table(bootstrap, which=which, with_profile_re=with_profile_re, scale=scale, with_profile=with_profile)


def lines(
    comparison: Comparison,
    level: float = 0.95,
    *,
    which: Sequence[str] | None = None,
    with_profile: bool = True,
    with_profile_re: bool = False,
) -> list[Line]:
    """Every interval's ends, each held to the independent ones by the package's own definition.

    Parameters
    ----------
    comparison : fits of one model, tuned ones for a profile by lme4
    level : of all intervals
    which : lme4's names of the parameters wanted; all by default
    with_profile : whether to ask lme4 for its profiles, some tenths of a second to seconds a parameter
    with_profile_re : whether to ask MixedLM for its own; each point is a fit
    """
    return of(comparison, level).lines(which, with_profile=with_profile, with_profile_re=with_profile_re)


def inner_outer(design: Design) -> np.ndarray:
    """The degrees of freedom of every fixed effect as nlme counts them, shape (p,).

    A column belongs to the outermost level of grouping within whose groups it does not change, or to the residuals; its
    level has m_i - (m_(i-1) + p_i) of them, for m_i groups and p_i columns, where m_0 counts the intercept (Pinheiro
    and Bates 2000, page 91). The intercept takes the largest of all levels, and is counted on the outermost.

    Raises
    ------
    IntervalError : the grouping factors are no chain
    """
    found = levels(design)
    if found is None:
        raise IntervalError("the grouping factors are not nested in each other")
    codes = [design.terms[terms[0]].codes for terms in found]
    counts = [0, *(len(np.unique(each)) for each in codes), len(design.y)]
    X = design.X
    constant = np.ptp(X, axis=0) == 0
    place = np.full(X.shape[1], len(codes))
    for i in range(len(codes) - 1, -1, -1):
        first = np.unique(codes[i], return_index=True)[1]
        number = np.unique(codes[i], return_inverse=True)[1]
        same = np.all(np.abs(X - X[first][number]) <= 1e-10 * np.abs(X).max(axis=0), axis=0)
        place[same & (place == i + 1)] = i
    df = np.diff(counts).astype(float)
    for i in place[~constant]:
        df[i] -= 1
    if constant.any():
        df[0] -= 1
    else:
        df[1:] += 1
    return np.where(constant, df.max(), df[place])


def _wald(own: Information, scale: str, each: Parameter, width: float) -> tuple[float, float]:
    """A Wald interval of a variance on its scale; or on the logarithm's, carried back to a standard deviation or a
    correlation.
    """
    found = own.components(scale)
    name = each.term.partition("__")[2]
    kinds = ("var", "cov") if scale == "variance" else ("log_sd", "logit_cor")
    kind = kinds[not each.term.startswith("sd__")]
    row = found[(found["group"] == each.group) & (found["term"] == f"{kind}__{name}")].iloc[0]
    ends = row["estimate"] - width * row["std_error"], row["estimate"] + width * row["std_error"]
    if scale == "variance":
        return ends
    back = math.exp if kind == "log_sd" else lambda value: math.tanh(value / 2)
    return back(ends[0]), back(ends[1])


def _of_ratio(own: Information, group: str, variance: str, width: float) -> tuple[float, float]:
    """A Wald interval of the ratio to the residual variance, times the residual variance."""
    found = own.ratios
    row = found[(found["group"] == group) & (found["term"] == variance)].iloc[0]
    scale = row["estimate"] / row["ratio"] if row["ratio"] else math.nan
    return row["estimate"] - width * row["of_ratio"] * scale, row["estimate"] + width * row["of_ratio"] * scale


def _varied(parameter: Parameter) -> bool:
    """Whether it is a standard deviation of random effects."""
    return parameter.term.startswith("sd__") and parameter.group != "Residual"


def _same(one: Iterable[float], other: np.ndarray) -> bool:
    """Whether estimates are the same within what carrying them over leaves; a correlation may be undefined in both."""
    one = np.asarray(list(one), float)
    both = np.isfinite(one) & np.isfinite(other)
    return bool(np.allclose(one[both], other[both], rtol=1e-6, atol=1e-8))


def _on_scale(
    term: str, ends: tuple[float, float], reached: tuple[bool, bool], note: str, scale: str
) -> tuple[str, tuple[float, float], tuple[bool, bool], str, str]:
    """Term, ends, reached, scale and note of an interval on the scale that is wanted, where it can be carried there."""
    kind, _, name = term.partition("__")
    if kind == "sd" and scale == "variance":
        return f"var__{name}", (ends[0] ** 2, ends[1] ** 2), reached, "variance", note
    if kind == "var" and scale == "sd":
        if ends[0] < 0:
            note = f"{note}; the variance's lower end is {ends[0]:.4g}"
            reached = (False, reached[1])
        return f"sd__{name}", (math.sqrt(max(ends[0], 0.0)), math.sqrt(max(ends[1], 0.0))), reached, "sd", note
    named = {"sd": "sd", "var": "variance", "cor": "correlation", "cov": "covariance"}
    return term, ends, reached, named.get(kind, "as is") if name else "as is", note
