"""Pictures of profiles: every package's points on the independent curve of the very thing that the package holds.

`curves` is the data behind a picture; `deviance` and `zeta` draw it; `lines` holds one to another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import interpolate, optimize, stats

from concord import intervals
from concord.agreement import Comparison
from concord.fits import KEY
from concord.interval_lines import SECTION
from concord.interval_sources import IntervalError, Intervals, signed_root
from concord.pictures import described
from concord.plots import GREY, STYLE, plain, subplots
from concord.profile_curve import Parameter, Profile
from concord.quantities import INDEPENDENT, Line, Sheet

SCALES = ("sd", "variance")
LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
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
    DataFrame : ``effect, group, term``; ``source`` (independent, lme4, mixedlm); ``method`` (ML, REML); what the curve
        ``holds`` (variance, sd, correlation, fixed effect, ratio); ``value``, ``zeta`` and ``deviance``, zeta squared
    """
    if scale not in SCALES:
        raise IntervalError(f"scale {scale!r}: one of {', '.join(SCALES)}")
    made, rows = intervals.of(comparison, level), []
    for each in made.chosen(which):
        rows += _of_one(made, each, scale, profile_re or {}, by_lme4 or {}, with_profile_re)
    return pd.DataFrame(rows, columns=CURVES)


def _of_one(
    made: Intervals, each: Parameter, scale: str, profile_re: Mapping[str, np.ndarray],
    by_lme4: Mapping[str, pd.DataFrame], with_profile_re: bool,
) -> list[tuple[Any, ...]]:  # fmt: skip
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
        add("mixedlm", made.method, RATIO, value if squared else np.sqrt(value), zeta)
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
        stated, expected = {"mixedlm": 2 * (top - loglik)}, {"mixedlm": ratio.zeta(_ratio_at(ratio, value)) ** 2}
        definitions, absent = {"mixedlm": "ratio_held"}, {}
        if points[label].min() <= s <= points[label].max():
            stated["lme4"], expected["lme4"] = float(spline(s)) ** 2, by_ml.zeta(s) ** 2
            if name:
                definitions["lme4"] = name
        else:
            absent["lme4"] = "its points do not go so far"
        found.append(
            Line(
                SECTION, f"twice the fall at {value:.6g}", "profile_fall", stated, definitions, expected,
                fall if fall > NOTHING else 0.0, each.effect, each.group, f"var__{each.term[4:]}", absent,
                short=made.short,
            )
        )  # fmt: skip
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


def deviance(data: pd.DataFrame, level: float = 0.95, labels: Mapping[str, str] | None = None) -> Figure:
    """The profile deviance above its minimum, one panel a parameter, with the chi-squared line of a level.

    Parameters
    ----------
    data : what `curves` gives
    level : of the line: where a curve lies below it is that curve's interval
    labels : by term what to write under a panel; by default group and term
    """
    near = data[data["deviance"] <= 2.3 * stats.chi2.ppf(level, 1)]
    figure = _panels(near, "deviance", "-2 log-likelihood above its minimum", labels)
    for axes in figure.axes:
        limit = stats.chi2.ppf(level, 1)
        axes.axhline(limit, color=GREY, linestyle=":", linewidth=1.5)
        axes.annotate(f"{level:.0%}", (0.01, limit), xycoords=("axes fraction", "data"), fontsize=8, va="bottom")
        axes.set_ylim(-0.05 * 2.2 * limit, 2.2 * limit)
    alt = (
        "Profile deviance, -2 log-likelihood above its minimum, over each parameter, a panel a parameter and a line a "
        f"source, with the chi-squared line of {level:.0%}. {_crossings(near, level)}"
    )
    return described(figure, alt, near)


def zeta(data: pd.DataFrame, levels: Sequence[float] = LEVELS, labels: Mapping[str, str] | None = None) -> Figure:
    """Zeta, the signed root of the deviance above its minimum, one panel a parameter: straight where the deviance is a
    parabola, and the Wald interval right. Between a pair of dotted lines is the interval of a level.

    Parameters
    ----------
    data : what `curves` gives
    levels : of the lines
    labels : by term what to write under a panel; by default group and term
    """
    near = data[data["zeta"].abs() <= 3.2]
    figure = _panels(near, "zeta", "zeta", labels)
    for axes in figure.axes:
        for level in levels:
            root = stats.norm.ppf((1 + level) / 2)
            for sign in (-1, 1):
                axes.axhline(sign * root, color=GREY, linestyle=":", linewidth=0.8)
            # Beside the panel: on its edge the line would run through the first digit
            axes.annotate(
                f"{level:.0%}", (1.0, root), (3, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                fontsize=6, va="center",
            )  # fmt: skip
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_ylim(-3.1, 3.1)
    alt = (
        "Zeta, the signed root of the deviance above its minimum, over each parameter, a panel a parameter and a line "
        "a "
        f"source, with pairs of lines at the intervals of {', '.join(f'{level:.0%}' for level in levels)}. A straight "
        "line "
        f"is a parabolic deviance. {_crossings(near, max(levels, key=lambda level: -abs(level - 0.95)))}"
    )
    return described(figure, alt, near)


def _crossings(data: pd.DataFrame, level: float) -> str:
    """Between which values every curve lies below the line of a level, as far as its points go."""
    below, words = data[data["deviance"] <= stats.chi2.ppf(level, 1)], []
    for (_, group, term), mine in below.groupby(KEY, sort=False, dropna=False):
        ends = [
            f"{source} (by {method}, holding the {holds}) from {points['value'].min():.4g} to "
            f"{points['value'].max():.4g}"
            for (source, method, holds), points in mine.groupby(["source", "method", "holds"], sort=False)
        ]
        words.append(f"{' '.join(filter(None, [group, term]))}: {', '.join(ends)}")
    return f"The points drawn within the {level:.0%} line reach, {'; '.join(words)}." if words else ""


def _panels(data: pd.DataFrame, column: str, what: str, labels: Mapping[str, str] | None) -> Figure:
    keys = list(dict.fromkeys(data[KEY].itertuples(index=False, name=None)))
    if not keys:
        raise IntervalError("there is no curve to draw")
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    size = (7.5, 4.6) if len(keys) == 1 else (3.2 * columns + 0.6, 2.7 * rows + 0.9)
    figure, grid = subplots(rows, columns, figsize=size, sharey=True, squeeze=False)
    handles: dict[str, Any] = {}
    for axes in grid.flat[len(keys) :]:
        axes.remove()
    for axes, key in zip(grid.flat, keys, strict=False):
        mine = data[(data[KEY] == list(key)).all(axis=1)]
        for (source, method, holds), points in mine.groupby(["source", "method", "holds"], sort=False):
            _draw(axes, handles, points.sort_values("value"), column, source, method, holds)
        shown = (labels or {}).get(key[2]) or " ".join(filter(None, key[1:]))
        axes.set_xlabel(plain(shown), fontsize=9 if len(keys) > 1 else 10)
        axes.ticklabel_format(axis="x", useOffset=False, scilimits=(-3, 4))
        axes.tick_params(labelsize=8)
        axes.locator_params(axis="x", nbins=5 if len(keys) > 1 else 8)
    for axes in grid[:, 0]:
        axes.set_ylabel(what, fontsize=9 if len(keys) > 1 else 10)
    names = list(handles)
    wide = max(map(len, names)) > 48 if len(keys) < 3 else False
    figure.legend(
        [handles[name] for name in names], names, loc="outside upper center", ncols=1 if wide or len(names) < 3 else 2,
        frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


_NAMES = {"mixedlm": "MixedLM's profile_re", "lme4": "lme4's profile", INDEPENDENT: "independent"}


def _draw(
    axes: Axes, handles: dict[str, Any], points: pd.DataFrame, column: str, source: str, method: str, holds: str
) -> None:
    """Lines are independent, points a package's; a dash tells the method, a colour what is held."""
    what = "the parameter itself"
    if holds == RATIO:
        what = "the ratio to the residual variance, shown as a variance"
    elif holds == "variance":
        what = "the standard deviation, shown squared" if source == "lme4" else "the variance"
    label = f"{_NAMES[source]}, {method}: holds {what}"
    if source == INDEPENDENT:
        color = STYLE["mixedlm"][0] if holds == RATIO else "black"
        dash = "--" if method == "REML" else "-"
        (drawn,) = axes.plot(points["value"], points[column], dash, color=color, linewidth=1.2)
    else:
        color, marker = STYLE[source]
        (drawn,) = axes.plot(
            points["value"], points[column], marker, color=color, markersize=5, markerfacecolor="none", linestyle="none"
        )
    handles.setdefault(label, drawn)
