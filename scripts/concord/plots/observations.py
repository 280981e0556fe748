"""Pictures of a data set as it is: every observation, by what its models group them by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from concord.display.picture import described
from concord.models.model import Model
from concord.models.units import unit_of
from concord.plots.style import GREY, axis_text, in_unit, label_axes, listed, plain, subplots

MARKS = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#B07A00", "v"), ("#5C7CFA", "P"))
"""A colour and a marker a level: each can be told from the others by either."""
PAGE = dict(zip((colour for colour, _ in MARKS), ("python", "r", "agree", "name", "bad", "soft"), strict=True))
"""The page's names of colours that take their place there, on a light ground and on a dark one."""

Drawn = tuple[Figure, str, pd.DataFrame | dict[str, pd.DataFrame]]
"""A figure, what it shows in words, and the numbers in it."""


def observations(models: Sequence[Model]) -> Figure:
    """Every observation of a data set: as lines over a numeric predictor, where one of its models has one, or else as
    dots in a row for each level of what groups them. Levels of a factor are told by colour and marker.

    Parameters
    ----------
    models : of one data set
    """
    along = next(((model, name) for model in models for name in _predictors(model, numeric=True)), None)
    return described(*(_rows(models) if along is None else _lines(*along)))


def _predictors(model: Model, numeric: bool) -> list[str]:
    """The predictors that are numbers, or those that are factors with few levels."""
    frame = model.frame
    names = [name for name, uses in model.formula.uses.items() if "predictor" in uses]
    if numeric:
        return [name for name in names if pd.api.types.is_numeric_dtype(frame[name])]
    return [name for name in names if _few(frame[name])]


def _few(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.CategoricalDtype) and 1 < column.nunique() <= len(MARKS)


def _lines(model: Model, x: str) -> Drawn:
    design = model.design.as_coded
    term = max(design.terms, key=lambda term: len(term.levels))
    y = model.formula.response
    table = model.frame.iloc[design.rows].assign(**{y: design.y})
    parted = next(iter(_predictors(model, numeric=False)), None)
    levels = list(table[parted].cat.categories) if parted else []
    figure, axes = subplots(figsize=(8, 4.2))
    met = set()
    for code in range(len(term.levels)):
        one = table[term.codes == code].sort_values(x, kind="stable")
        level = levels.index(one[parted].iloc[0]) if parted else 0
        color, marker = MARKS[level] if parted else ("black", "")
        label = f"{parted} {levels[level]}" if parted and level not in met else None
        met.add(level)
        strength = {"linewidth": 0.8, "alpha": 0.6 if parted else 0.35}
        axes.plot(one[x], one[y], color=color, marker=marker, markersize=3, **strength, label=plain(label or ""))
    together = table.groupby(x)[y]
    mean = together.mean()
    units = unit_of(model, x), unit_of(model, y)
    alt = f"Line chart of {in_unit(y, units[1])} over {in_unit(x, units[0])}, a line for each of {len(term.levels)} "
    alt += f"levels of {term.group}" + (f", in colours by {parted}" if parted else "")
    alt += f". They lie between {table[y].min():.4g} and {table[y].max():.4g}"
    if 2 * together.size().min() >= len(term.levels):  # measured together, and not each on days of their own
        axes.plot(mean.index, mean, color="black", linewidth=2.2, label=f"mean of all {len(term.levels)}")
        alt += f"; their mean goes from {mean.iloc[0]:.4g} to {mean.iloc[-1]:.4g}"
    label_axes(axes, x, y, units)
    _legend(figure, axes)
    return figure, f"{alt}.", table[_columns(model, [x, y])]


def _rows(models: Sequence[Model]) -> Drawn:
    model = models[0]
    table, y = model.frame, model.formula.response
    groups = [name for name, uses in model.formula.uses.items() if "group" in uses]
    row = groups[0]
    factors = [name for one in models for name in [*_predictors(one, numeric=False), *one.formula.variables]]
    parted = next((name for name in factors if name != row and _few(table[name])), None)
    ranked = table.groupby(row, observed=True)[y].mean().sort_values(kind="stable")
    figure, axes = subplots(figsize=(8, min(7.0, 1.3 + 0.24 * len(ranked))))
    height = table[row].map({level: place for place, level in enumerate(ranked.index)}).astype(float)
    parts = list(table.groupby(parted, observed=True)) if parted else [("", table)]
    for place, (level, part) in enumerate(parts):
        color, marker = MARKS[place]
        label = plain(f"{parted} {level}") if parted else ""
        # A little above each other, so that equal values of several levels are all seen
        at = height[part.index] + 0.1 * (place - (len(parts) - 1) / 2)
        axes.plot(part[y], at, marker, color=color, markersize=4.5, alpha=0.75, label=label)
    axes.plot(ranked, np.arange(len(ranked)), "|", color="black", markersize=11, markeredgewidth=2, label="mean")
    axes.set_yticks(np.arange(len(ranked)), [plain(str(level)) for level in ranked.index])
    axes.set_xlabel(axis_text(y, unit_of(model, y)))
    axes.set_ylabel(plain(row))
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    _legend(figure, axes)
    alt = (
        f"Dots for every {in_unit(y, unit_of(model, y))}, a row for each of {len(ranked)} levels of {row} by their mean"
    )
    alt += (
        f", with a marker for each {parted} ({listed(list(map(str, table[parted].cat.categories)))})" if parted else ""
    )
    alt += f". The means go from {ranked.iloc[0]:.4g} ({row} {ranked.index[0]}) to {ranked.iloc[-1]:.4g} "
    return figure, f"{alt}({row} {ranked.index[-1]}).", table[_columns(model, [*groups, y])]


def _columns(model: Model, wanted: Sequence[str]) -> list[str]:
    """The grouping columns and those that are drawn, in the table's order."""
    groups = [name for name, uses in model.formula.uses.items() if "group" in uses]
    return [name for name in model.frame.columns if name in {*groups, *wanted}]


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    told = [(handle, label) for handle, label in zip(handles, labels, strict=True) if label]
    if told:
        tight = {"columnspacing": 1.2, "handletextpad": 0.3, "ncols": len(told), "frameon": False, "fontsize": 8}
        figure.legend(*zip(*told, strict=True), loc="outside upper left", **tight)
