"""Estimates: those of both packages beside each other, and the random effects that follow from them.

Engines differ by colour and by marker, so that neither is needed alone; the colours are Okabe and Ito's. Every function
ends with ``return described(figure, alt, data)``: what the figure shows, in words, and the numbers that it is drawn of.
"""

from __future__ import annotations

from itertools import product
from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from concord.display.picture import described
from concord.engines.fit import Fit
from concord.models.model import Model
from concord.models.parameters import KEY
from concord.models.units import parameter_unit
from concord.plots.style import (
    GREY,
    bounded,
    effect_text,
    fit_in_words,
    fit_label,
    height_of,
    listed,
    mark,
    plain,
    subplots,
)
from concord.reference import reference

UNIT = 27
"""So many characters of a unit stand on a line below a panel."""


def estimates(*fits: Fit, confidence: float = 0.95, against: reference.Reference | None = None) -> Figure:
    """Every parameter as dot and whisker, one panel a parameter, one line a fit; a vertical line at the reference.

    Whiskers are Wald intervals of the fixed effects; variances and covariances have none, since only one of the
    packages prints standard errors for them. `against` is the reference, by default that of the fits' model.
    """
    right = (against or reference.of(fits[0].model)).estimates.set_index(KEY)
    columns = min(3, len(right))
    rows = -(-len(right) // columns)
    figure, grid = subplots(rows, columns, figsize=(9, rows * (1.1 + 0.32 * len(fits))), sharey=True, squeeze=False)
    for axes in grid.flat[len(right) :]:
        axes.set_visible(False)
    width = stats.norm.ppf(0.5 + confidence / 2)
    drawn = []
    for axes, (key, correct) in zip(grid.flat, right.iterrows(), strict=False):
        axes.axvline(correct["estimate"], color=GREY, linewidth=1, linestyle="--")
        for line, fit in enumerate(fits):
            row = fit.estimates.set_index(KEY).loc[key]
            color, marker = mark(fit.engine)
            filled = color if fit.settings == "tuned" else "white"
            spread = None if np.isnan(row["std_error"]) else width * row["std_error"]
            ends = (np.nan, np.nan) if spread is None else (row["estimate"] - spread, row["estimate"] + spread)
            drawn.append((*key, fit_label(fit), row["estimate"], *ends, correct["estimate"]))
            axes.errorbar(
                row["estimate"], line, xerr=spread, color=color, marker=marker, markerfacecolor=filled, capsize=3
            )
        axes.set_title(plain(" ".join(filter(None, (key[1], key[2])))), fontsize=9)
        # To the left and in lines: at the right stands the power of ten of the ticks
        axes.set_xlabel("\n".join(wrap(plain(parameter_unit(fits[0].model, key[2])), UNIT)), fontsize=8, loc="left")
        axes.xaxis.get_offset_text().set_fontsize(8)
        axes.ticklabel_format(axis="x", useOffset=False, scilimits=(-3, 4))
        axes.tick_params(labelsize=8)
        axes.margins(x=0.15)
        low, high = axes.get_xlim()
        missing = _least_width(fits[0].model, key, right["estimate"]) - (high - low)
        if missing > 0:
            axes.set_xlim(low - missing / 2, high + missing / 2)
        axes.locator_params(axis="x", nbins=4)
    grid[0, 0].set_yticks(range(len(fits)), [fit_label(fit) for fit in fits])
    grid[0, 0].set_ylim(len(fits) - 0.5, -0.5)
    figure.supxlabel(f"dashed: the reference; whiskers: {confidence:.0%} Wald interval", fontsize=9)
    table = pd.DataFrame(drawn, columns=[*KEY, "fit", "estimate", "lower", "upper", "reference"])
    alt = (
        f"{len(right)} panels, one for each parameter of {fits[0].model.id} by {fits[0].model.method}: the estimates "
        f"of {listed(list(map(fit_in_words, fits)))} as dots with {confidence:.0%} Wald intervals of the fixed "
        f"effects, and a dashed line at the reference. {_furthest(table)}"
    )
    return described(figure, alt, table)


def _least_width(model: Model, key: tuple[str, str, str], correct: pd.Series) -> float:
    """How wide the axis of a parameter is at least: 0.1 % of its size to either side, so that what agrees to many more
    digits is drawn as one.

    The size is the reference's estimate; where that is no more than rounding, what moves the response by one residual
    standard deviation, in the mean square over rows.
    """
    effect, group, term = key
    size, design = abs(float(correct[key])), model.design
    kind, _, name = term.partition("__")
    if effect != "fixed":
        residual = correct[("ran_pars", "Residual", "var__Observation")]
        for design_term in design.terms if group != "Residual" else ():
            units = dict(
                zip(design_term.names, np.sqrt(residual / np.mean(design_term.matrix**2, axis=0)), strict=True)
            )
            for one, other in product(units, units):
                if design_term.group == group and name == (one if kind == "var" and one == other else f"{one}.{other}"):
                    unit = float(units[one] * units[other])
                    size = size if size > 1e-6 * unit else unit
    return 2e-3 * size


def _furthest(table: pd.DataFrame) -> str:
    """Of every fit, which estimate is furthest from the reference, relative to it."""
    correct = table["reference"].abs()
    off = (table["estimate"] - table["reference"]).abs() / correct.where(correct > 0, correct.max())
    words = []
    for fit, distances in off.groupby(table["fit"], sort=False):
        name = fit.replace(", ", " ")
        row = table.loc[distances.idxmax()] if distances.notna().any() else None
        if row is None or distances.max() < 1e-3:
            words.append(f"{name} is within 0.1 % of the reference everywhere")
        else:
            term = " ".join(filter(None, [row["group"], row["term"]]))
            words.append(f"{name} is furthest off in {term}, {row['estimate']:.4g} for {row['reference']:.4g}")
    return "; ".join(words) + "."


def caterpillar(*fits: Fit, confidence: float = 0.95) -> Figure:
    """Predicted random effects of every group with their intervals, sorted by the first fit; one panel an effect."""
    tables = [fit.random_effects for fit in fits]
    keys = list(dict.fromkeys(zip(tables[0]["group"], tables[0]["term"], strict=True)))
    levels = tables[0].groupby(["group", "term"])["level"].nunique().max()
    figure, grid = subplots(1, len(keys), figsize=(4.5 * len(keys), height_of(levels)), squeeze=False)
    width = stats.norm.ppf(0.5 + confidence / 2)
    drawn, apart = [], []
    for axes, (group, term) in zip(grid.flat, keys, strict=True):
        predicted = {}
        order: list[str] | None = None
        for number, (fit, table) in enumerate(zip(fits, tables, strict=True)):
            rows = table[(table["group"] == group) & (table["term"] == term)].set_index("level")
            order = order or list(rows["estimate"].sort_values(kind="stable").index)
            rows = rows.loc[order]
            height = np.arange(len(rows)) + 0.35 * (number - (len(fits) - 1) / 2)
            color, marker = mark(fit.engine)
            spread = None if rows["std_error"].isna().any() else width * rows["std_error"]
            predicted[fit_label(fit)] = rows["estimate"]
            half = np.nan if spread is None else spread
            ends = {"lower": rows["estimate"] - half, "upper": rows["estimate"] + half}
            whose = {"group": group, "term": term, "level": order, "fit": fit_label(fit)}
            drawn.append(pd.DataFrame({**whose, "prediction": rows["estimate"].to_numpy(), **ends}))
            axes.errorbar(
                rows["estimate"],
                height,
                xerr=spread,
                fmt=marker,
                color=color,
                markersize=2.5,
                linewidth=0.7,
                label=fit_label(fit),
            )
        values = np.stack([effects.to_numpy(float) for effects in predicted.values()])
        apart.append(f"{term} from {values.min():.3g} to {values.max():.3g}")
        if len(fits) > 1:
            apart[-1] += f", the fits at most {bounded(np.ptp(values, axis=0).max())} apart"
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set_yticks([])
        axes.set_ylabel(plain(f"{len(order or [])} levels of {group}, sorted"))
        axes.set_xlabel(effect_text(fits[0].model, term))
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylim(-0.7, len(order or []) - 0.3)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    alt = (
        f"Caterpillar plot: the predicted random effects of every level with {confidence:.0%} intervals, sorted by "
        "those of "
        f"{fit_in_words(fits[0])}, for {listed(list(map(fit_in_words, fits)))}. Predictions: {'; '.join(apart)}."
    )
    return described(figure, alt, pd.concat(drawn, ignore_index=True))


COLORS = {
    "agree": "#d5ebdc",
    "python short": "#cfe0f5",
    "r short": "#fbdcc4",
    "both short": "#e3d3ee",
    "python imprecise": "#e9f1fb",
    "r imprecise": "#fdefe4",
    "both imprecise": "#f2ebf7",
    "differ": "#f6cfd3",
    "no fit": "#f3e9c6",
    "cannot express": "#e4e4e4",
}
