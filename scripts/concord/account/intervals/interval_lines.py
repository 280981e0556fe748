"""Lines of a comparison's confidence intervals: every end, held to the independent one by the package's definition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from concord import r
from concord.account import standard_errors
from concord.account.intervals.interval_values import IntervalError, Intervals, varied, wald, wald_of_ratio
from concord.account.line import Line
from concord.engines.engine import title
from concord.engines.statements import StatedProfile, statements
from concord.inference import degrees_of_freedom
from concord.inference.profile_curve import Parameter

SECTION = "intervals"
# Of the interval's width: what a package's spline may be off before it is asked in finer steps.
DIGITS = 1e-4
# Definitions that second differences are behind.
_DIFFERENCED = ("interval_of_logarithm",)
# A search that ends so far above the profile, in zeta, has stopped short.
STOPPED = 1e-3


def lines(
    known: Intervals, which: Sequence[str] | None = None, *, with_profile: bool = True, with_profile_re: bool = False
) -> list[Line]:
    """The lines of `concord.account.intervals.intervals.lines`, from the intervals of a comparison."""
    all_lines: list[Line] = []
    if with_profile:
        known.ask_profiles([parameter.label for parameter in known.chosen(which)])
    for parameter in known.chosen(which):
        all_lines += (
            _fixed_lines(known, parameter) if parameter.effect == "fixed" else _component_lines(known, parameter)
        )
        if with_profile or with_profile_re:
            all_lines += _profile_lines(known, parameter, with_profile, with_profile_re)
    return all_lines


def _fixed_lines(known: Intervals, parameter: Parameter) -> list[Line]:
    place, width = known.design.names.index(parameter.term), stats.norm.ppf((1 + known.level) / 2)
    stated: dict[str, Any] = {}
    absent = dict(known.absent)
    likelihood, optimum = known.optima[known.method]
    for engine, said in known.wald.items():
        fit, interval = known.fits[engine], said.fixed.get(parameter.term)
        if interval is None:
            continue
        if interval.value is None:
            absent[engine] = interval.reason()
            continue
        quantile = width
        if interval.definition == "interval_joint":
            joint = known.joint(engine)
            if joint is None:
                absent[engine] = f"its joint Hessian means nothing here: {known.information(fit)}"
                continue
            error = joint[place]
        else:
            error = likelihood.std_error(fit.parameters)[place]
            if interval.definition == "interval_student":
                quantile = stats.t.ppf((1 + known.level) / 2, degrees_of_freedom.inner_outer(known.design)[place])
        expected = fit.fixed[place] - quantile * error, fit.fixed[place] + quantile * error
        stated[engine] = (interval.value, interval.definition, expected)
    b, error = optimum.fixed[place], optimum.std_error[place]
    shown = (b - width * error, b + width * error)
    return _pair(known, "Wald", parameter, parameter.term, "interval_wald", stated, independent=shown, absent=absent)


def _component_lines(known: Intervals, parameter: Parameter) -> list[Line]:
    """Variances on their own scale, where ratios to the residual variance and standard deviations meet; correlations
    and covariances each on its own.
    """
    width, absent = stats.norm.ppf((1 + known.level) / 2), {**known.without, **known.absent}
    variance = parameter.term.replace("sd__", "var__").replace("cor__", "cov__")
    deviation = parameter.term.startswith("sd__")
    own = known.information()
    stated: dict[str, Any] = {}
    correlations: dict[str, Any] = {}
    for engine, said in known.wald.items():
        at = known.information(known.fits[engine])
        for interval in said.components.get((parameter.group, variance), ()):
            if interval.value == (0.0, 0.0):
                continue
            if isinstance(at, str):
                absent[engine] = f"its Hessian means nothing here: {at}"
            else:
                stated[engine] = (
                    interval.value,
                    interval.definition,
                    wald_of_ratio(at, parameter.group, variance, width),
                )
        for interval in said.components.get((parameter.group, parameter.term), ()):
            if isinstance(at, str) or isinstance(own, str):
                nothing = at if isinstance(at, str) else standard_errors.NEAR
                absent[engine] = f"its Hessian means nothing here: {nothing}"
                continue
            expected, lost = (wald(at, "log-sd", parameter, width, more) for more in (0.0, interval.rounding or 0.0))
            on = np.square if deviation else np.asarray
            off = np.abs(np.subtract(on(lost), on(expected)))
            target = stated if deviation else correlations
            ends = tuple(on(interval.value))
            target[interval.source or engine] = ends, interval.definition, tuple(on(expected)), tuple(off)
    shown = None if isinstance(own, str) else wald(own, "variance", parameter, width)
    all_lines = _pair(
        known, "Wald", parameter, variance, "interval_wald_variance", stated, independent=shown, absent=absent
    )
    if deviation:
        return all_lines
    return all_lines + _pair(
        known, "Wald", parameter, parameter.term, "interval_wald_variance", correlations, absent=absent
    )


def _profile_lines(known: Intervals, parameter: Parameter, with_profile: bool, with_profile_re: bool) -> list[Line]:
    stated: dict[str, Any] = {}
    absent = dict(known.absent)
    for engine in known.profiling if with_profile else ():
        try:
            stated |= _held(known, engine, parameter, absent)
        except IntervalError as error:
            absent[engine] = str(error)
    for engine in known.profiling_ratios if with_profile_re and varied(parameter) else ():
        try:
            got, (ratio_profile, ends) = known.ratio_interval(engine, parameter), known.ratio(parameter)
            both = zip((ends.lower, ends.upper), ends.reached, strict=True)
            shown = [end * ratio_profile.residual_variance(end) if reached else 0.0 for end, reached in both]
            ours = tuple(np.sqrt([got.lower, got.upper]))
            stated[engine] = (ours, "ratio_held", tuple(np.sqrt(shown)))
        except IntervalError as error:
            absent[engine] = str(error)
    try:
        interval = known.interval(parameter, known.method)
        independent = (interval.lower, interval.upper)
    except IntervalError:
        independent = None
    return _pair(
        known, "profile", parameter, parameter.term, "interval_profile", stated, independent=independent, absent=absent
    )


def _held(known: Intervals, engine: str, parameter: Parameter, absent: dict[str, str]) -> dict[str, Any]:
    """A package's ends against the independent profile by ML.

    Where its own steps are too wide for four digits: against the same spline through points of the independent
    profile, and once more in finer steps. Where its search, the parameter held, stops above the smallest deviance, or
    at correlations that no covariance matrix has, its points do not lie on the profile: in finer steps, if these do,
    and else left out with the reason.
    """
    got, interval = known.stated_profile(engine, parameter.label), known.interval(parameter, "ML")
    exact = (interval.lower, interval.upper)
    by_ml = "" if known.method == "ML" else "profile_by_ml"

    def agrees(ends: np.ndarray, expected: tuple[float, float]) -> bool:
        with np.errstate(invalid="ignore"):  # an end that is infinite or missing agrees with none
            return bool(np.abs(np.subtract(ends, expected)).max() <= DIGITS * (exact[1] - exact[0]))

    if agrees(got.ends, exact):
        return {engine: (got.ends, by_ml, exact)}
    finer = known.stated_profile(engine, parameter.label, fine=True).ends
    stated = {f"{engine}, finer steps": (finer, by_ml, exact)} if agrees(finer, exact) else {}
    if np.isnan(got.ends).any() and (count := int(np.sum(np.isnan(got.zeta)))):
        absent[engine] = (
            f"at {count} of its {len(got.zeta)} points it has no zeta: the deviance there came out below its own "
            "fit's, so that no spline goes through"
        )
        return stated
    if not got.possible.all():
        count, of = int(np.sum(got.possible == 0)), len(got.possible)
        absent[engine] = (
            f"at {count} of its {of} points its search, which bounds every correlation alone, ended at correlations "
            "that no covariance matrix has: the deviance there is another matrix's, and no point of the profile"
        )
        return stated
    spline = _by_spline(known, engine, parameter, got, exact)
    if agrees(got.ends, spline):
        return {engine: (got.ends, "profile_spline", spline), **stated}
    value, above = _above(known, parameter, got)
    if above > STOPPED:
        absent[engine] = (
            f"with {parameter.label} held at {value:.6g} its search ends {above:.2g} above the smallest zeta there is, "
            f"so that {title(engine)}'s spline goes through points that are not the profile's"
        )
        return stated
    if known.short and len(known.comparison.against.optima) > 1:
        absent[engine] = (
            f"the likelihood has several optima and a fit is at a lower one: {title(engine)}'s profile goes over "
            "another hill than the independent one"
        )
        return stated
    return {engine: (got.ends, by_ml, exact)}


def _above(known: Intervals, parameter: Parameter, got: StatedProfile) -> tuple[float, float]:
    """Where, and by how much of zeta, a package's points lie farthest above the independent profile by ML: that the
    deviance can be smaller is shown by the point that has it.
    """
    own = known.profile(parameter, "ML")
    # All points count: the spline goes through every one, and bends elsewhere because of it.
    above = [
        (abs(zeta) - abs(own.zeta(value)), value)
        for value, zeta in zip(got.value, got.zeta, strict=True)
        if np.isfinite(zeta)
    ]
    most, value = max(above, default=(0.0, math.nan))
    return value, most


def _by_spline(
    known: Intervals, engine: str, parameter: Parameter, got: StatedProfile, exact: tuple[float, float]
) -> tuple[float, float]:
    """The ends by the package's spline through the independent zeta, at the values that the package held."""
    own = known.profile(parameter, "ML")
    values = np.unique(got.value[np.isfinite(got.zeta)])
    zeta = np.array([own.zeta(value) for value in values])
    question = statements(engine).spline_ends
    try:
        ends = question(values, zeta, known.level) if question else exact
    except r.RError:
        return exact
    lower, upper = (own if np.isnan(end) else float(end) for own, end in zip(exact, ends, strict=True))
    return lower, upper


def _pair(
    known: Intervals,
    kind: str,
    parameter: Parameter,
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
    all_lines = []
    # What is lost in rounding has no width to measure others by.
    right = [(name, own) for _, name, own, *_ in stated.values() if own is not None and np.isfinite(own).all()]
    widths = [float(own[1] - own[0]) for _, own in right]
    widths = widths or [float(ends[1] - ends[0]) for ends, *_ in stated.values() if np.isfinite(ends).all()]
    for place, end in enumerate(("lower", "upper")):
        # An end that is an exponential moves with the error of its logarithm by more than the width tells.
        if place and parameter.term.startswith("sd__"):
            logarithms = [own for name, own in right if name == "interval_of_logarithm" and own[0] > 0]
            widths += [own[1] * math.log(own[1] / own[0]) / 2 for own in logarithms]
        all_lines.append(
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
                effect=parameter.effect,
                group=parameter.group,
                term=term,
                absent=absent,
                scale=max(widths, default=math.nan),
                short=known.short,
            )
        )
    return all_lines
