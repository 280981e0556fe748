"""Plots: trajectories, estimates, random effects and profiles of several engines in one picture.

Engines differ by colour and by marker, so that neither is needed alone; the colours are Okabe and Ito's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from concord import reference
from concord.fits import KEY, Fit

STYLE = {"mixedlm": ("#0072B2", "o"), "lme4": ("#D55E00", "s"), "nlme": ("#009E73", "^")}
GREY = "#6b6b6b"


def trajectories(frame: pd.DataFrame, x: str, y: str, group: str, units: tuple[str, str] = ("", "")) -> Figure:
    """Every group's observations over `x`, joined, with the mean of all.

    Parameters
    ----------
    frame : the table
    x, y, group : names of its columns
    units : units of `x` and `y`, for the axes
    """
    figure, axes = _subplots(figsize=(8, 4.5))
    for _, one in frame.groupby(group, observed=True):
        axes.plot(one[x], one[y], color=GREY, alpha=0.35, linewidth=0.8)
    mean = frame.groupby(x)[y].mean()
    axes.plot(mean.index, mean, color="black", linewidth=2.5, label=f"mean of all {frame[group].nunique()}")
    _label(axes, x, y, units)
    axes.legend(frameon=False)
    return figure


def fitted(*fits: Fit, x: str, show: int = 9, units: tuple[str, str] = ("", "")) -> Figure:
    """Observations of some groups with the fitted lines of every engine.

    Parameters
    ----------
    fits : fits of one model
    x : name of the column along which the lines run
    show : how many groups, evenly spread over the range of their mean responses
    units : units of `x` and of the response, for the axes
    """
    model = fits[0].model
    design, term = model.design, model.design.terms[0]
    along = model.frame[x].to_numpy()[design.rows]
    ranked = pd.Series(design.y).groupby(term.codes).mean().sort_values(kind="stable").index.to_numpy()
    chosen = ranked[np.linspace(0, len(ranked) - 1, min(show, len(ranked))).round().astype(int)]
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, grid = _subplots(rows, columns, figsize=(9, 2.2 * rows + 0.6), sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    for axes, code in zip(grid.flat, chosen, strict=False):
        mine = np.flatnonzero(term.codes == code)
        mine = mine[np.argsort(along[mine], kind="stable")]
        axes.plot(along[mine], design.y[mine], "o", color=GREY, markersize=3.5, label="observed")
        # Wide under narrow: lines that coincide must both be seen.
        for fit, width, dash in zip(fits, cycle((4.5, 1.8, 1.0)), cycle(("-", "--", ":")), strict=False):
            color, _ = STYLE[fit.engine]
            alpha = 0.45 if width > 4 else 1.0
            axes.plot(along[mine], fit.fitted[mine], dash, color=color, linewidth=width, alpha=alpha, label=_name(fit))
        axes.set_title(f"{term.group} {term.levels[code]}", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel(_with_unit(x, units[0]))
    figure.supylabel(_with_unit(model.formula.response, units[1]), fontsize=10)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def estimates(*fits: Fit, confidence: float = 0.95) -> Figure:
    """Every parameter as dot and whisker, one panel a parameter, one line a fit; a vertical line at the reference.

    Whiskers are Wald intervals of the fixed effects; variances and covariances have none, since only one of the
    packages prints standard errors for them.
    """
    against = reference.of(fits[0].model).estimates.set_index(KEY)
    columns = min(3, len(against))
    rows = -(-len(against) // columns)
    figure, grid = _subplots(rows, columns, figsize=(9, rows * (0.9 + 0.32 * len(fits))), sharey=True, squeeze=False)
    for axes in grid.flat[len(against) :]:
        axes.set_visible(False)
    width = stats.norm.ppf(0.5 + confidence / 2)
    for axes, (key, correct) in zip(grid.flat, against.iterrows(), strict=False):
        axes.axvline(correct["estimate"], color=GREY, linewidth=1, linestyle="--")
        for line, fit in enumerate(fits):
            row = fit.estimates.set_index(KEY).loc[key]
            color, marker = STYLE[fit.engine]
            filled = color if fit.settings == "tuned" else "white"
            spread = None if np.isnan(row["std_error"]) else width * row["std_error"]
            axes.errorbar(
                row["estimate"], line, xerr=spread, color=color, marker=marker, markerfacecolor=filled, capsize=3
            )
        axes.set_title(" ".join(filter(None, (key[1], key[2]))), fontsize=9)
        axes.ticklabel_format(axis="x", useOffset=False, scilimits=(-3, 4))
        axes.tick_params(labelsize=8)
        axes.locator_params(axis="x", nbins=5)
        axes.margins(x=0.15)
    grid[0, 0].set_yticks(range(len(fits)), [_name(fit) for fit in fits])
    grid[0, 0].set_ylim(len(fits) - 0.5, -0.5)
    figure.supxlabel(f"dashed: the reference; whiskers: {confidence:.0%} Wald interval", fontsize=9)
    return figure


def caterpillar(*fits: Fit, confidence: float = 0.95) -> Figure:
    """Predicted random effects of every group with their intervals, sorted by the first fit; one panel an effect."""
    tables = [fit.random_effects for fit in fits]
    keys = list(dict.fromkeys(zip(tables[0]["group"], tables[0]["term"], strict=True)))
    levels = tables[0]["level"].nunique()
    figure, grid = _subplots(1, len(keys), figsize=(4.5 * len(keys), min(10.0, 1.2 + 0.11 * levels)), squeeze=False)
    width = stats.norm.ppf(0.5 + confidence / 2)
    for axes, (group, term) in zip(grid.flat, keys, strict=True):
        order: list[str] | None = None
        for number, (fit, table) in enumerate(zip(fits, tables, strict=True)):
            mine = table[(table["group"] == group) & (table["term"] == term)].set_index("level")
            order = order or list(mine["estimate"].sort_values(kind="stable").index)
            mine = mine.loc[order]
            height = np.arange(len(mine)) + 0.35 * (number - (len(fits) - 1) / 2)
            color, marker = STYLE[fit.engine]
            spread = None if mine["std_error"].isna().any() else width * mine["std_error"]
            axes.errorbar(
                mine["estimate"], height, xerr=spread, fmt=marker, color=color, markersize=2.5, linewidth=0.7,
                label=_name(fit),
            )  # fmt: skip
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set_yticks([])
        axes.set_ylabel(f"{len(order or [])} levels of {group}, sorted")
        axes.set_xlabel(f"random effect: {term}")
        axes.locator_params(axis="x", nbins=5)
        axes.margins(y=0.01)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def profile(curve: np.ndarray, estimate: float, label: str, confidence: float = 0.95) -> Figure:
    """A profile of the log-likelihood: minus twice its distance from the top, with the chi-squared line.

    Parameters
    ----------
    curve : parameter value and profile log-likelihood, shape (k, 2), as MixedLM's ``profile_re`` gives it
    estimate : the estimate of the parameter
    label : what the parameter is, for the axis
    confidence : level of the chi-squared line, 1 degree of freedom
    """
    values, logliks = np.asarray(curve).T
    figure, axes = _subplots(figsize=(7, 4))
    color, marker = STYLE["mixedlm"]
    axes.plot(values, -2 * (logliks - logliks.max()), marker=marker, color=color, label="MixedLM's profile_re")
    axes.axvline(estimate, color=GREY, linestyle="--", linewidth=1, label="estimate")
    level = stats.chi2.ppf(confidence, 1)
    axes.axhline(level, color=GREY, linestyle=":", linewidth=1.5, label=f"chi-squared(1), {confidence:.0%}")
    axes.set_xlabel(label)
    axes.set_ylabel("-2 x (profile log-likelihood - its maximum)")
    axes.set_ylim(bottom=-0.05 * axes.get_ylim()[1])
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def _subplots(*shape: int, **named: Any) -> tuple[Figure, Any]:
    """A figure that a notebook shows where it is displayed, and not a second time because pyplot still holds it."""
    figure, axes = plt.subplots(*shape, layout="constrained", **named)
    plt.close(figure)
    return figure, axes


def _name(fit: Fit) -> str:
    return f"{fit.engine}, {fit.settings}"


def _with_unit(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _label(axes: Axes, x: str, y: str, units: Sequence[str]) -> None:
    axes.set_xlabel(_with_unit(x, units[0]))
    axes.set_ylabel(_with_unit(y, units[1]))
