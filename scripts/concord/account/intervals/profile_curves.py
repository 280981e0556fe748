"""The profile curves of a comparison, as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import interpolate, optimize

from concord.account.intervals import intervals
from concord.account.intervals.interval_lines import SECTION
from concord.account.intervals.sources import IntervalError, Intervals, signed_root
from concord.account.line import INDEPENDENT, Line, Sheet
from concord.agreement.comparison import Comparison
from concord.inference.profile_curve import Parameter, Profile
from concord.models.parameters import KEY

SCALES = ("sd", "variance")
# How many points a drawn curve has, and how far out in zeta it goes unless a package's points go farther.
SMOOTH, FARTHEST = 61, 3.2
RATIO = "ratio"
CURVES = [*KEY, "source", "method", "holds", "value", "zeta", "deviance"]
# A fall smaller than this is the rounding of an estimate at the top.
NOTHING = 1e-5
# What lies beyond this in a package's curve is left out of the picture.
OUT = 4.0


def curves(
    comparison: Comparison,
    which: Sequence[str] | None = None,
    *,
    scale: str = "variance",
    profile_re: Mapping[str, np.ndarray] | None = None,
    by_lme4: Mapping[str, pd.DataFrame] | None = None,
    with_profile_re: bool = False,
    level: float = 0.95,
) -> pd.DataFrame:
    """The points of every curve of the chosen parameters.

    Parameters
    ----------
    comparison : fits of one model
    which : lme4's names, ``.sig01``, ..., ``.sigma`` and the fixed effects'; by default every parameter
    scale : ``variance`` or ``sd``: on which variances are shown. Correlations and fixed effects stay what they are
    profile_re : by name, what MixedLM's ``profile_re`` gave: value and log-likelihood, shape (k, 2)
    by_lme4 : by name, lme4's ``as.data.frame(profile(fit, which = name))``; else lme4 is asked
    with_profile_re : whether to ask MixedLM for its own curve of every variance that `profile_re` has none of; each
        point is a fit
    level : how far MixedLM's curve goes, where it is asked

    Returns
    -------
    DataFrame : ``effect, group, term``; ``source`` (independent, lme4, statsmodels); ``method`` (ML, REML); what the
        curve ``holds`` (variance, sd, correlation, fixed effect, ratio); ``value``, ``zeta`` and ``deviance``, zeta
        squared
    """
    if scale not in SCALES:
        raise IntervalError(f"scale {scale!r}: one of {', '.join(SCALES)}")
    made, rows = intervals.of(comparison, level), []
    for each in made.chosen(which):
        rows += _of_one(made, each, scale, profile_re or {}, by_lme4 or {}, with_profile_re)
    return pd.DataFrame(rows, columns=CURVES)


def _of_one(
    made: Intervals,
    each: Parameter,
    scale: str,
    profile_re: Mapping[str, np.ndarray],
    by_lme4: Mapping[str, pd.DataFrame],
    with_profile_re: bool,
) -> list[tuple[Any, ...]]:
    deviation = each.term.startswith("sd__")
    squared = deviation and scale == "variance"
    kind, _, name = each.term.partition("__")
    term = f"var__{name}" if squared else each.term
    holds = "fixed effect" if each.effect == "fixed" else {"sd": scale, "cor": "correlation"}[kind]
    rows: list[tuple[Any, ...]] = []

    def add(source: str, method: str, held: str, value: np.ndarray, zeta: np.ndarray) -> None:
        kept = np.isfinite(zeta) & (np.abs(zeta) <= OUT)
        for v, z in zip(np.asarray(value)[kept], np.asarray(zeta)[kept], strict=True):
            rows.append((each.effect, each.group, term, source, method, held, float(v), float(z), float(z * z)))

    given = pd.DataFrame(profile_re[each.label], columns=["value", "loglik"]) if each.label in profile_re else None
    if given is None and with_profile_re:
        try:
            given = made.mixedlm_profile(each)
        except IntervalError:
            given = None
    if given is not None:
        zeta = signed_root(given, int(given["loglik"].to_numpy().argmax()))
        value = given["value"].to_numpy()
        add("statsmodels", made.method, RATIO, value if squared else np.sqrt(value), zeta)
        own, _ = made.ratio(each)
        ratios, roots = _smooth(own)
        shown = np.array([ratio * own.residual_variance(ratio) for ratio in ratios])
        add(INDEPENDENT, made.method, RATIO, shown if squared else np.sqrt(shown), roots)
    try:
        if each.label in by_lme4:
            table = by_lme4[each.label]
            value, zeta = table[each.label].to_numpy(float), table[".zeta"].to_numpy(float)
        else:
            found = made.lme4(each.label)
            # Where its search ended outside of what a model can be, it has no point of any profile.
            value, zeta = (np.where(found["possible"] == 1, found[key], np.nan) for key in ("value", "zeta"))
        add("lme4", "ML", holds, np.square(value) if squared else value, zeta)
    except IntervalError:
        pass
    for method in dict.fromkeys(("ML", made.method)):
        try:
            value, zeta = _smooth(made.profile(each, method))
        except IntervalError:
            continue
        add(INDEPENDENT, method, holds, np.square(value) if squared else value, zeta)
    return rows


def _smooth(own: Profile) -> tuple[np.ndarray, np.ndarray]:
    """Values and zeta of a profile at points near enough to each other to be joined."""
    own.walk(FARTHEST)
    known = own.points[np.abs(own.points["zeta"]) <= OUT]
    values = np.linspace(known["value"].min(), known["value"].max(), SMOOTH)
    return values, np.array([own.zeta(value) for value in values])


def lines(
    comparison: Comparison, label: str, profile_re: np.ndarray, by_lme4: pd.DataFrame, level: float = 0.95
) -> list[Line]:
    """MixedLM's and lme4's curves of one variance at common points: twice the fall of the log-likelihood from its top.

    The points are MixedLM's. lme4's curve is read there by a cubic spline through its own points; each is held to the
    independent curve of what that package holds, by its method.

    Parameters
    ----------
    comparison : fits of one model
    label : lme4's name of the standard deviation, such as ``.sig01``
    profile_re : what MixedLM's ``profile_re`` of the variance gave, shape (k, 2)
    by_lme4 : lme4's ``as.data.frame(profile(fit, which = label))``
    """
    made = intervals.of(comparison, level)
    (each,) = made.chosen([label])
    curve = pd.DataFrame(profile_re, columns=["value", "loglik"], dtype=float)
    points = by_lme4.dropna(subset=[".zeta", label]).drop_duplicates(label).sort_values(label)
    spline = interpolate.CubicSpline(points[label], points[".zeta"], bc_type="natural")
    ratio, _ = made.ratio(each)
    variance, by_ml = made.profile(each, made.method), made.profile(each, "ML")
    top, found = float(curve["loglik"].max()), []
    name = "" if made.method == "ML" else "profile_by_ml"
    for value, loglik in curve.to_numpy():
        s = float(np.sqrt(value))
        fall = variance.zeta(s) ** 2
        stated, expected = (
            {"statsmodels": 2 * (top - loglik)},
            {"statsmodels": ratio.zeta(_ratio_at(ratio, value)) ** 2},
        )
        definitions, absent = {"statsmodels": "ratio_held"}, {}
        if points[label].min() <= s <= points[label].max():
            stated["lme4"], expected["lme4"] = float(spline(s)) ** 2, by_ml.zeta(s) ** 2
            if name:
                definitions["lme4"] = name
        else:
            absent["lme4"] = "its points do not go so far"
        found.append(
            Line(
                SECTION,
                f"twice the fall at {value:.6g}",
                "profile_fall",
                stated,
                definitions,
                expected,
                fall if fall > NOTHING else 0.0,
                each.effect,
                each.group,
                f"var__{each.term[4:]}",
                absent,
                short=made.short,
            )
        )
    return found


def sheet(
    comparison: Comparison, label: str, profile_re: np.ndarray, by_lme4: pd.DataFrame, level: float = 0.95
) -> Sheet:
    """`lines` as a sheet."""
    model = comparison.model
    head = {"dataset": model.dataset.id, "model": model.name, "method": model.method, "settings": comparison.settings}
    title = f"Twice the fall of the log-likelihood at MixedLM's points, {comparison.title}"
    return Sheet(title, lines(comparison, label, profile_re, by_lme4, level), head=head)


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
