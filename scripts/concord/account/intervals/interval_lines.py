"""Lines of a comparison's confidence intervals: every end, held to the independent one by the package's definition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from concord import r
from concord.account import standard_errors
from concord.account.intervals.sources import IntervalError, Intervals, varied, wald, wald_of_ratio
from concord.account.line import Line
from concord.engines.fit import Fit
from concord.engines.interval_questions import ask_spline
from concord.inference import degrees_of_freedom
from concord.inference.profile_curve import Parameter

SECTION = "intervals"
FINER = "lme4, finer steps"
WIDER = "nlme, wider steps"
# A number of steps at which lme4's spline has the profile's digits.
FINE = 32
# Of the interval's width: what lme4's spline may be off before it is asked in finer steps.
DIGITS = 1e-4
# Definitions that nlme's second differences are behind.
_DIFFERENCED = ("interval_of_logarithm",)
# An lme4 search that ends so far above the profile, in zeta, has stopped short.
STOPPED = 1e-3


def lines(
    known: Intervals, which: Sequence[str] | None = None, *, with_profile: bool = True, with_profile_re: bool = False
) -> list[Line]:
    """The lines of `concord.account.intervals.intervals.lines`, from the intervals of a comparison."""
    found: list[Line] = []
    if with_profile:
        known.ask_lme4([each.label for each in known.chosen(which)])
    for each in known.chosen(which):
        found += _fixed_lines(known, each) if each.effect == "fixed" else _component_lines(known, each)
        if with_profile or with_profile_re:
            found += _profile_lines(known, each, with_profile, with_profile_re)
    return found


def _fixed_lines(known: Intervals, each: Parameter) -> list[Line]:
    place, width = known.design.names.index(each.term), stats.norm.ppf((1 + known.level) / 2)
    stated: dict[str, Any] = {}
    absent = dict(known.absent)

    def around(fit: Fit, error: float, quantile: float) -> tuple[float, float]:
        return fit.fixed[place] - quantile * error, fit.fixed[place] + quantile * error

    likelihood, optimum = known.optima[known.method]
    fit, key = known.fit("statsmodels"), ("", each.term)
    if fit is not None and "statsmodels" not in absent:
        joint = known.joint_mixedlm
        if key not in known.wald_mixedlm:
            absent["statsmodels"] = "the fit has its columns in another coding than the model"
        elif joint is None:
            absent["statsmodels"] = f"its joint Hessian means nothing here: {known.information(fit)}"
        else:
            expected = around(fit, joint[place], width)
            stated["statsmodels"] = (known.wald_mixedlm[key], "interval_joint", expected)
    for engine, given in (("lme4", known.wald_lme4.get(each.term)), ("nlme", known.wald_nlme.get(key))):
        fit = known.fit(engine)
        if fit is None or given is None:
            continue
        error = likelihood.std_error(fit.parameters)[place]
        quantile, name = width, ""
        if engine == "nlme":
            df = degrees_of_freedom.inner_outer(known.design)[place]
            quantile, name = stats.t.ppf((1 + known.level) / 2, df), "interval_student"
        stated[engine] = (given, name, around(fit, error, quantile))
    b, error = optimum.fixed[place], optimum.std_error[place]
    shown = (b - width * error, b + width * error)
    return _pair(known, "Wald", each, each.term, "interval_wald", stated, independent=shown, absent=absent)


def _component_lines(known: Intervals, each: Parameter) -> list[Line]:
    """Variances on their own scale, where MixedLM's ratios and nlme's standard deviations meet; correlations are
    nlme's alone, covariances MixedLM's.
    """
    width, absent = stats.norm.ppf((1 + known.level) / 2), {**known.without, **known.absent}
    variance = each.term.replace("sd__", "var__").replace("cor__", "cov__")
    deviation = each.term.startswith("sd__")
    own = known.information()
    stated: dict[str, Any] = {}
    fit, given = known.fit("statsmodels"), known.wald_mixedlm.get((each.group, variance))
    if fit is not None and given is not None and given != (0.0, 0.0):
        at = known.information(fit)
        if isinstance(at, str):
            absent["statsmodels"] = f"its Hessian means nothing here: {at}"
        else:
            stated["statsmodels"] = (given, "interval_of_ratio", wald_of_ratio(at, each.group, variance, width))
    correlations: dict[str, Any] = {}
    fit, given = known.fit("nlme"), known.wald_nlme.get((each.group, each.term))
    if fit is not None and given is not None:
        at = known.information(fit)
        if isinstance(at, str) or isinstance(own, str):
            absent["nlme"] = f"its Hessian means nothing here: {at if isinstance(at, str) else standard_errors.NEAR}"
        else:
            expected, said = wald(at, "log-sd", each, width), {"nlme": given}
            rounding = {"nlme": known.lost_by_nlme(each, at)}
            if known.rounded((each.group, each.term)):
                said[WIDER] = known.wider_nlme[each.group, each.term]
            on = np.square if deviation else np.asarray
            target = stated if deviation else correlations
            for source, ends in said.items():
                lost = rounding.get(source, expected)
                off = np.abs(np.subtract(on(lost), on(expected)))
                target[source] = tuple(on(ends)), "interval_of_logarithm", tuple(on(expected)), tuple(off)
    shown = None if isinstance(own, str) else wald(own, "variance", each, width)
    made = _pair(known, "Wald", each, variance, "interval_wald_variance", stated, independent=shown, absent=absent)
    if deviation:
        return made
    return made + _pair(known, "Wald", each, each.term, "interval_wald_variance", correlations, absent=absent)


def _profile_lines(known: Intervals, each: Parameter, with_profile: bool, with_profile_re: bool) -> list[Line]:
    stated: dict[str, Any] = {}
    absent = dict(known.absent)
    by_ml = "" if known.method == "ML" else "profile_by_ml"
    if with_profile and known.fit("lme4") is not None:
        try:
            stated |= _held_to_lme4(known, each, by_ml, absent)
        except IntervalError as error:
            absent["lme4"] = str(error)
    if with_profile_re and known.fit("statsmodels") is not None and varied(each):
        try:
            got, (made, ends) = known.of_profile_re(each), known.ratio(each)
            both = zip((ends.lower, ends.upper), ends.reached, strict=True)
            shown = [end * made.residual_variance(end) if reached else 0.0 for end, reached in both]
            ours = tuple(np.sqrt([got.lower, got.upper]))
            stated["statsmodels"] = (ours, "ratio_held", tuple(np.sqrt(shown)))
        except IntervalError as error:
            absent["statsmodels"] = str(error)
    try:
        found = known.interval(each, known.method)
        independent = (found.lower, found.upper)
    except IntervalError:
        independent = None
    return _pair(known, "profile", each, each.term, "interval_profile", stated, independent=independent, absent=absent)


def _held_to_lme4(known: Intervals, each: Parameter, by_ml: str, absent: dict[str, str]) -> dict[str, Any]:
    """lme4's ends against the independent profile by ML.

    Where its own steps are too wide for four digits: against the same spline through points of the independent
    profile, and once more in finer steps. Where its search, the parameter held, stops above the smallest deviance, or
    at correlations that no covariance matrix has, its points are none of the profile: in finer steps, if these are, and
    else left out with the reason.
    """
    got, found = known.lme4(each.label), known.interval(each, "ML")
    exact = (found.lower, found.upper)

    def agrees(ends: np.ndarray, expected: tuple[float, float]) -> bool:
        return bool(np.abs(np.subtract(ends, expected)).max() <= DIGITS * (exact[1] - exact[0]))

    if agrees(got["ends"], exact):
        return {"lme4": (got["ends"], by_ml, exact)}
    finer = known.lme4(each.label, FINE)["ends"]
    stated = {FINER: (finer, by_ml, exact)} if agrees(finer, exact) else {}
    if not got["possible"].all():
        count, of = int((got["possible"] == 0).sum()), len(got["possible"])
        absent["lme4"] = (
            f"at {count} of its {of} points its search, which bounds every correlation alone, ended at correlations "
            "that no covariance matrix has: the deviance there is another matrix's, and no point of the profile"
        )
        return stated
    spline = _by_spline(known, each, got, exact)
    if agrees(got["ends"], spline):
        return {"lme4": (got["ends"], "profile_spline", spline), **stated}
    value, above = _above(known, each, got)
    if above > STOPPED:
        absent["lme4"] = (
            f"with {each.label} held at {value:.6g} its search ends {above:.2g} above the smallest zeta there is, "
            "so that lme4's spline goes through points that are not the profile's"
        )
        return stated
    if known.short and len(known.comparison.against.optima) > 1:
        absent["lme4"] = (
            "the likelihood has several optima and a fit is at a lower one: lme4's profile goes over another hill than "
            "the independent one"
        )
        return stated
    return {"lme4": (got["ends"], by_ml, exact)}


def _above(known: Intervals, each: Parameter, got: dict[str, Any]) -> tuple[float, float]:
    """Where, and by how much of zeta, lme4's points lie farthest above the independent profile by ML: that the
    deviance can be smaller is shown by the point that has it.
    """
    own = known.profile(each, "ML")
    # All points count: the spline goes through every one, and bends elsewhere because of it.
    above = [
        (abs(zeta) - abs(own.zeta(value)), value)
        for value, zeta in zip(got["value"], got["zeta"], strict=True)
        if np.isfinite(zeta)
    ]
    most, value = max(above, default=(0.0, math.nan))
    return value, most


def _by_spline(
    known: Intervals, each: Parameter, got: dict[str, Any], exact: tuple[float, float]
) -> tuple[float, float]:
    """The ends by R's spline through the independent zeta, at the values that lme4 held."""
    own = known.profile(each, "ML")
    values = np.unique(got["value"][np.isfinite(got["zeta"])])
    zeta = np.array([own.zeta(value) for value in values])
    try:
        ends = ask_spline(values, zeta, known.level)
    except r.RError:
        return exact
    return tuple(exact[i] if np.isnan(ends[i]) else float(ends[i]) for i in range(2))


def _pair(
    known: Intervals,
    kind: str,
    each: Parameter,
    term: str,
    tolerance: str,
    stated: dict[str, Any],
    *,
    independent: tuple[float, float] | None = None,
    absent: dict[str, str],
) -> list[Line]:
    """A line for the lower and one for the upper end; `stated` by source: ends, definition, expected ends, and what
    rounding can do to the ends, where it can. Where no source states any, the lines say why.
    """
    if not stated and not absent:
        return []
    made = []
    # What is lost in rounding has no width to measure others by.
    right = [(name, own) for _, name, own, *_ in stated.values() if own is not None and np.isfinite(own).all()]
    widths = [float(own[1] - own[0]) for _, own in right]
    widths = widths or [float(ends[1] - ends[0]) for ends, *_ in stated.values() if np.isfinite(ends).all()]
    for place, end in enumerate(("lower", "upper")):
        # An end that is an exponential moves with the error of its logarithm by more than the width tells.
        if place and each.term.startswith("sd__"):
            logarithms = [own for name, own in right if name == "interval_of_logarithm" and own[0] > 0]
            widths += [own[1] * math.log(own[1] / own[0]) / 2 for own in logarithms]
        made.append(
            Line(
                SECTION,
                f"{kind} interval, {end}",
                tolerance,
                values={source: float(ends[place]) for source, (ends, *_) in stated.items()},
                definitions={source: name for source, (_, name, *_) in stated.items() if name},
                expected={s: float(own[place]) for s, (_, _, own, *_) in stated.items() if own is not None},
                looser={s: "interval_by_differences" for s, (_, name, *_) in stated.items() if name in _DIFFERENCED},
                rounding={s: float(lost[0][place]) for s, (_, _, _, *lost) in stated.items() if lost},
                independent=math.nan if independent is None else float(independent[place]),
                effect=each.effect,
                group=each.group,
                term=term,
                absent=absent,
                scale=max(widths, default=math.nan),
                short=known.short,
            )
        )
    return made
