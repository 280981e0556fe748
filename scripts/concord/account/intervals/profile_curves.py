"""The profile curves of a comparison, as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from scipy import interpolate, optimize

from concord.account.intervals import intervals
from concord.account.intervals.interval_lines import SECTION
from concord.account.intervals.interval_values import IntervalError, Intervals, signed_root
from concord.account.line import Line, Sheet
from concord.agreement.comparison import Comparison
from concord.engines.statements import statements
from concord.inference.profile_curve import Parameter, Profile
from concord.models.parameters import KEY
from concord.models.units import parameter_unit
from concord.vocabulary import INDEPENDENT

SCALES = ("sd", "variance")
# How many points a drawn curve has, and how far out in zeta it goes unless a package's points go farther.
SMOOTH, FARTHEST = 61, 3.2
RATIO = "ratio"
CURVES = [*KEY, "unit", "source", "method", "holds", "value", "zeta", "deviance"]
# A fall smaller than this is the rounding of an estimate at the top.
NOTHING = 1e-5
# What lies beyond this in a package's curve is left out of the picture.
OUT = 4.0


NativeProfiles = Mapping[str, Mapping[str, Any]]
"""By engine and by a parameter's label, a profile that the package itself returned."""


def curves(
    comparison: Comparison,
    which: Sequence[str] | None = None,
    native: NativeProfiles | None = None,
    *,
    scale: str = "variance",
    with_profile_re: bool = False,
    level: float = 0.95,
) -> pd.DataFrame:
    """The points of every curve of the chosen parameters.

    Parameters
    ----------
    comparison : fits of one model
    which : labels, ``sd_Time|tree``, ``sigma``, a fixed effect's name; by default every parameter
    native : what a package's own function gave: MixedLM's ``profile_re``, or lme4's
        ``as.data.frame(profile(fit, which = label, signames = FALSE))``; else the packages are asked
    scale : ``variance`` or ``sd``: on which variances are shown. Correlations and fixed effects stay what they are
    with_profile_re : whether to ask MixedLM for its own curve of every variance without one; each point
        is a fit
    level : how far MixedLM's curve goes, where it is asked

    Returns
    -------
    DataFrame : ``effect, group, term``, their ``unit``; ``source`` (independent, or the engine); ``method`` (ML, REML);
        what the curve ``holds`` (variance, sd, correlation, fixed effect, ratio); ``value``, ``zeta`` and ``deviance``,
        zeta squared
    """
    if scale not in SCALES:
        raise IntervalError(f"scale {scale!r}: one of {', '.join(SCALES)}")
    known, rows = intervals.of(comparison, level), []
    for parameter in known.chosen(which):
        rows += _of_one(known, parameter, scale, native or {}, with_profile_re)
    return pd.DataFrame(rows, columns=CURVES)


def _points(native: NativeProfiles, engine: str, label: str) -> pd.DataFrame | None:
    """The points of a package's own profile, if one is given."""
    question = statements(engine).own_profile
    return question(native[engine][label], label) if question and label in native.get(engine, {}) else None


class _Curves:
    """The rows of one parameter's curves: how it is called and shown, and the points as they are added."""

    def __init__(self, known: Intervals, parameter: Parameter, scale: str) -> None:
        kind, _, name = parameter.term.partition("__")
        self.known, self.parameter = known, parameter
        self.squared = kind == "sd" and scale == "variance"
        self.term = f"var__{name}" if self.squared else parameter.term
        self.holds = "fixed effect" if parameter.effect == "fixed" else {"sd": scale, "cor": "correlation"}[kind]
        self.unit = parameter_unit(known.comparison.model, self.term)
        self.rows: list[tuple[Any, ...]] = []

    def add(self, source: str, method: str, holds: str, value: np.ndarray, zeta: np.ndarray) -> None:
        """Points of a curve, as they are shown."""
        kept = np.isfinite(zeta) & (np.abs(zeta) <= OUT)
        head = (self.parameter.effect, self.parameter.group, self.term, self.unit, source, method, holds)
        for v, z in zip(np.asarray(value)[kept], np.asarray(zeta)[kept], strict=True):
            self.rows.append((*head, float(v), float(z), float(z * z)))

    def add_ratio(self, engine: str, curve: pd.DataFrame) -> None:
        """A package's curve of a ratio to the residual variance, and the independent one."""
        zeta = signed_root(curve, int(curve["loglik"].to_numpy().argmax()))
        value = curve["value"].to_numpy()
        self.add(engine, self.known.method, RATIO, value if self.squared else np.sqrt(value), zeta)
        own, _ = self.known.ratio(self.parameter)
        ratios, roots = _smooth(own)
        shown = np.array([ratio * own.residual_variance(ratio) for ratio in ratios])
        self.add(INDEPENDENT, self.known.method, RATIO, shown if self.squared else np.sqrt(shown), roots)

    def add_profile(self, source: str, method: str, value: np.ndarray, zeta: np.ndarray) -> None:
        """A curve of the parameter itself."""
        self.add(source, method, self.holds, np.square(value) if self.squared else value, zeta)


def _of_one(
    known: Intervals, parameter: Parameter, scale: str, native: NativeProfiles, with_profile_re: bool
) -> list[tuple[Any, ...]]:
    drawn = _Curves(known, parameter, scale)
    for engine in known.profiling_ratios:
        curve = _points(native, engine, parameter.label)
        with suppress(IntervalError):
            if curve is None and with_profile_re:
                curve = known.ratio_profile(engine, parameter)
        if curve is not None:
            drawn.add_ratio(engine, curve)
    for engine in known.profiling:
        curve = _points(native, engine, parameter.label)
        if curve is not None:
            drawn.add_profile(engine, "ML", curve["value"].to_numpy(), curve["zeta"].to_numpy())
            continue
        with suppress(IntervalError):
            stated = known.stated_profile(engine, parameter.label)
            # Where its search ended outside of what a model can be, it has no point of any profile.
            value, zeta = (np.where(stated.possible == 1, points, np.nan) for points in (stated.value, stated.zeta))
            drawn.add_profile(engine, "ML", value, zeta)
    for method in dict.fromkeys(("ML", known.method)):
        with suppress(IntervalError):
            drawn.add_profile(INDEPENDENT, method, *_smooth(known.profile(parameter, method)))
    return drawn.rows


def _smooth(own: Profile) -> tuple[np.ndarray, np.ndarray]:
    """Values and zeta of a profile at points near enough to each other to be joined."""
    own.walk(FARTHEST)
    known = own.points[np.abs(own.points["zeta"]) <= OUT]
    values = np.linspace(known["value"].min(), known["value"].max(), SMOOTH)
    return values, np.array([own.zeta(value) for value in values])


def lines(comparison: Comparison, label: str, native: NativeProfiles, level: float = 0.95) -> list[Line]:
    """The packages' curves of one variance at common points: twice the fall of the log-likelihood from its top.

    The points are those of the profile that holds the ratio to the residual variance, MixedLM's. The other curves are
    read there by a cubic spline through their own points; each is held to the independent curve of what that package
    holds, by its method.

    Parameters
    ----------
    comparison : fits of one model
    label : of the standard deviation, such as ``sd_Time|tree``
    native : as in `curves`, at least one profile of the ratio
    """
    known = intervals.of(comparison, level)
    (parameter,) = known.chosen([label])
    curves = {engine: curve for engine in native if (curve := _points(native, engine, label)) is not None}
    at, curve = next((engine, curve) for engine, curve in curves.items() if "loglik" in curve)
    splines = {}
    for engine, points in curves.items():
        if "zeta" in points:
            points = points.dropna().drop_duplicates("value").sort_values("value")
            spline = interpolate.CubicSpline(points["value"], points["zeta"], bc_type="natural")
            splines[engine] = spline, points["value"].min(), points["value"].max()
    ratio, _ = known.ratio(parameter)
    variance, by_ml = known.profile(parameter, known.method), known.profile(parameter, "ML")
    top, all_lines = float(curve["loglik"].max()), []
    name = "" if known.method == "ML" else "profile_by_ml"
    for value, loglik in curve.to_numpy():
        s = float(np.sqrt(value))
        fall = variance.zeta(s) ** 2
        stated, expected = {at: 2 * (top - loglik)}, {at: ratio.zeta(_ratio_at(ratio, value)) ** 2}
        definitions, absent = {at: "ratio_held"}, {}
        for engine, (spline, low, high) in splines.items():
            if not low <= s <= high:
                absent[engine] = "its points do not go so far"
                continue
            stated[engine], expected[engine] = float(spline(s)) ** 2, by_ml.zeta(s) ** 2
            if name:
                definitions[engine] = name
        all_lines.append(
            Line(
                SECTION,
                f"twice the fall at {value:.6g}",
                "profile_fall",
                stated,
                definitions,
                expected,
                fall if fall > NOTHING else 0.0,
                parameter.effect,
                parameter.group,
                f"var__{parameter.term[4:]}",
                absent,
                short=known.short,
            )
        )
    return all_lines


def sheet(comparison: Comparison, label: str, native: NativeProfiles, level: float = 0.95) -> Sheet:
    """`lines` as a sheet."""
    model = comparison.model
    head = {"dataset": model.dataset.id, "model": model.name, "method": model.method, "settings": comparison.settings}
    title = f"Twice the fall of the log-likelihood at MixedLM's points, {comparison.title}"
    return Sheet(title, lines(comparison, label, native, level), head=head)


def _ratio_at(own: Profile, value: float) -> float:
    """The ratio that MixedLM shows as a variance `value`: the one that gives it, times the residual variance there."""
    low, high = own.estimate, own.estimate
    while low * own.residual_variance(low) > value:
        low /= 1.5
    while high * own.residual_variance(high) < value:
        high *= 1.5
    if low == high:
        return low
    return float(optimize.brentq(lambda ratio: ratio * own.residual_variance(ratio) - value, low, high, rtol=1e-12))
