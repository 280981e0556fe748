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
from scipy import stats

from concord.account.intervals.interval_values import IntervalError
from concord.account.intervals.profile_curves import RATIO
from concord.display.picture import described
from concord.engines.engine import party, title
from concord.models.parameters import KEY
from concord.plots.style import GREY, in_unit, mark, plain, subplots
from concord.vocabulary import INDEPENDENT

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)


def deviance(data: pd.DataFrame, level: float = 0.95, labels: Mapping[str, str] | None = None) -> Figure:
    """The profile deviance above its minimum, one panel a parameter, with the chi-squared line of a level.

    Parameters
    ----------
    data : what `curves` gives
    level : of the line: where a curve lies below it is that curve's interval
    labels : by term what to write under a panel; by default group and term, with the unit
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
    labels : by term what to write under a panel; by default group and term, with the unit
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
                f"{level:.0%}",
                (1.0, root),
                (3, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                fontsize=6,
                va="center",
            )
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_ylim(-3.1, 3.1)
    alt = (
        "Zeta, the signed root of the deviance above its minimum, over each parameter, a panel a parameter and a line "
        f"a source, with pairs of lines at the intervals of {', '.join(f'{level:.0%}' for level in levels)}. A "
        f"straight line is a parabolic deviance. {_crossings(near, max(levels, key=lambda level: -abs(level - 0.95)))}"
    )
    return described(figure, alt, near)


def _crossings(data: pd.DataFrame, level: float) -> str:
    """Between which values every curve lies below the line of a level, as far as its points go."""
    below, words = data[data["deviance"] <= stats.chi2.ppf(level, 1)], []
    for (_, group, term), rows in below.groupby(KEY, sort=False, dropna=False):
        ends = [
            f"{title(source)} (by {method}, holding the {holds}) from {points['value'].min():.4g} to "
            f"{points['value'].max():.4g}"
            for (source, method, holds), points in rows.groupby(["source", "method", "holds"], sort=False)
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
        panel = data[(data[KEY] == list(key)).all(axis=1)]
        for (source, method, holds), points in panel.groupby(["source", "method", "holds"], sort=False):
            _draw(axes, handles, points.sort_values("value"), column, source, method, holds)
        named = in_unit(" ".join(filter(None, key[1:])), panel["unit"].iloc[0])
        axes.set_xlabel(plain((labels or {}).get(key[2]) or named), fontsize=9 if len(keys) > 1 else 10)
        axes.ticklabel_format(axis="x", useOffset=False, scilimits=(-3, 4))
        axes.tick_params(labelsize=8)
        axes.locator_params(axis="x", nbins=5 if len(keys) > 1 else 8)
    for axes in grid[:, 0]:
        axes.set_ylabel(what, fontsize=9 if len(keys) > 1 else 10)
    names = list(handles)
    wide = max(map(len, names)) > 48 if len(keys) < 3 else False
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="outside upper center",
        ncols=1 if wide or len(names) < 3 else 2,
        frameon=False,
        fontsize=9,
    )
    return figure


def _draw(
    axes: Axes, handles: dict[str, Any], points: pd.DataFrame, column: str, source: str, method: str, holds: str
) -> None:
    """Lines are independent, points a package's; a dash tells the method, a colour what is held."""
    what = "the parameter itself"
    if holds == RATIO:
        what = "the ratio to the residual variance, shown as a variance"
    elif holds == "variance":
        what = "the standard deviation, shown squared" if source != INDEPENDENT else "the variance"
    whose = "independent" if source == INDEPENDENT else f"{title(source)}'s profile"
    label = f"{whose}, {method}: holds {what}"
    if source == INDEPENDENT:
        color = mark(party("Python").name)[0] if holds == RATIO else "black"
        dash = "--" if method == "REML" else "-"
        (drawn,) = axes.plot(points["value"], points[column], dash, color=color, linewidth=1.2)
    else:
        color, marker = mark(source)
        (drawn,) = axes.plot(
            points["value"], points[column], marker, color=color, markersize=5, markerfacecolor="none", linestyle="none"
        )
    handles.setdefault(label, drawn)


def profile(curve: np.ndarray, estimate: float, label: str, confidence: float = 0.95) -> Figure:
    """A profile of the log-likelihood: twice its distance from the top, with the chi-squared line.

    Parameters
    ----------
    curve : parameter value and profile log-likelihood, shape (k, 2), as MixedLM's ``profile_re`` gives it
    estimate : the estimate of the parameter
    label : what the parameter is, for the axis
    confidence : level of the chi-squared line, 1 degree of freedom
    """
    values, logliks = np.asarray(curve).T
    figure, axes = subplots(figsize=(7, 4))
    color, marker = mark(party("Python").name)
    axes.plot(values, -2 * (logliks - logliks.max()), marker=marker, color=color, label="MixedLM's profile_re")
    axes.axvline(estimate, color=GREY, linestyle="--", linewidth=1, label="estimate")
    level = stats.chi2.ppf(confidence, 1)
    axes.axhline(level, color=GREY, linestyle=":", linewidth=1.5, label=f"chi-squared(1), {confidence:.0%}")
    axes.set_xlabel(label)
    axes.set_ylabel("2 x (maximum - profile log-likelihood)")
    axes.set_ylim(bottom=-0.05 * axes.get_ylim()[1])
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    drop = -2 * (logliks - logliks.max())
    table = pd.DataFrame({label: values, "profile log-likelihood": logliks, "2 x (maximum - it)": drop})
    inside = values[drop <= level]
    alt = (
        f"Line chart of twice the fall of MixedLM's profile log-likelihood over the {label}, from {values.min():.4g} "
        f"to {values.max():.4g}, with a vertical line at the estimate, {estimate:.4g}, and a horizontal one at "
        f"{level:.3g}, the {confidence:.0%} point of chi-squared with 1 degree of freedom. The points below that line "
        f"reach from {inside.min():.4g} to {inside.max():.4g}; the largest fall drawn is {drop.max():.3g}."
    )
    return described(figure, alt, table)
