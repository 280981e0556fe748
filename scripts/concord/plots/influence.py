"""Pictures of influence: what leaving out each group does to the fixed effects."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from concord.display.picture import described
from concord.inference.influence import Influence
from concord.plots.style import GREY, plain, subplots

HELD, REFITTED = ("#0072B2", "o"), ("#D55E00", "D")
# So many levels are named in a picture.
NAMED = 5


def cooks(influence: Influence) -> Figure:
    """Cook's distance of every level of a grouping factor, the largest five named; the line is 4 / L for L levels.

    Dots hold theta; diamonds, where they were asked for, are refitted. Levels stand in their own order.
    """
    distance, refitted = influence.cooks_distance(influence.held), influence.cooks_distance(influence.refitted)
    place, line = np.arange(len(distance)), 4 / len(distance)
    figure, axes = subplots(figsize=(8.5, 3.8))
    axes.vlines(place, 0, np.nan_to_num(distance), color=GREY, linewidth=1)
    axes.plot(place, distance, HELD[1], color=HELD[0], markersize=4.5, label="theta held")
    if np.isfinite(refitted).any():
        axes.plot(
            place, refitted, REFITTED[1], color=REFITTED[0], markerfacecolor="none", markersize=7.5, label="refitted"
        )
    axes.axhline(line, color="black", linestyle=":", linewidth=1.2, label=f"4 / {len(distance)} levels")
    top = np.fmax(distance, np.nan_to_num(refitted))
    named = _named(distance)
    for i in named:
        axes.annotate(
            plain(influence.levels[i]), (place[i], top[i]), (0, 6), textcoords="offset points", ha="center", fontsize=8
        )
    axes.set_xticks([])
    axes.set_xlabel(plain(f"{len(distance)} levels of {influence.group}, in their own order"))
    axes.set_ylabel("Cook's distance")
    axes.set_ylim(0, 1.16 * max(float(np.nanmax(top)), line))
    axes.margins(x=0.02)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    above = int((distance > line).sum())
    largest = named[0]
    alt = (
        f"Stem plot of Cook's distance for {len(distance)} levels of {influence.group}, with theta held"
        f"{' and refitted' if np.isfinite(refitted).any() else ''}. The largest is {distance[largest]:.3g}, of "
        f"{influence.levels[largest]}; {above} of {len(distance)} levels are above 4 / {len(distance)} = {line:.3g}."
    )
    return described(figure, alt, influence.table)


def dfbetas(influence: Influence, names: tuple[str, ...]) -> Figure:
    """The change of every fixed effect that each level makes, in standard errors: one panel an effect, theta held.

    The largest five of each panel are named; lines at plus and minus 2 / sqrt(L) for L levels (Belsley, Kuh and Welsch
    1980, Regression Diagnostics, section 2.1).

    Parameters
    ----------
    influence : the influence of all levels
    names : of the fixed effects
    """
    values = influence.dfbetas(influence.held)
    count, p = values.shape
    line = 2 / np.sqrt(count)
    columns = min(2, p)
    rows = -(-p // columns)
    figure, grid = subplots(
        rows, columns, figsize=(4.6 * columns, 2.5 * rows + 0.3), sharex=True, sharey=True, squeeze=False
    )
    for axes in grid.flat[p:]:
        axes.set_visible(False)
    limit = 1.25 * max(float(np.nanmax(np.abs(values))), line)
    for axes, name, column in zip(grid.flat, names, values.T, strict=False):
        axes.vlines(range(count), 0, np.nan_to_num(column), color=GREY, linewidth=1)
        axes.plot(range(count), column, HELD[1], color=HELD[0], markersize=3.5)
        axes.axhline(0, color="black", linewidth=0.8)
        for side in (-line, line):
            axes.axhline(side, color="black", linestyle=":", linewidth=1.2)
        for i in _named(np.abs(column)):
            axes.annotate(
                plain(influence.levels[i]),
                (i, column[i]),
                (0, 5 if column[i] > 0 else -12),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
            )
        axes.set_title(plain(name), fontsize=9)
        axes.set_ylim(-limit, limit)
        axes.set_xticks([])
    figure.supxlabel(plain(f"{count} levels of {influence.group}, in their own order"), fontsize=9)
    figure.supylabel("change in standard errors", fontsize=9)
    i, j = map(int, np.unravel_index(np.nanargmax(np.abs(values)), values.shape))
    alt = (
        f"{p} stem plots, one for each fixed effect, of the change that leaving out each of {count} levels of "
        f"{influence.group} undoes, in standard errors. The largest is {values[i, j]:.3g}, in {names[j]}, by "
        f"{influence.levels[i]}; {int((np.abs(values) > line).sum())} of {int(np.isfinite(values).sum())} are beyond "
        f"2 / sqrt({count}) = {line:.3g}."
    )
    data = pd.DataFrame(values, columns=list(names))
    data.insert(0, "level", list(influence.levels))
    return described(figure, alt, data)


def _named(sizes: np.ndarray) -> list[int]:
    """The numbers of the largest, the largest first."""
    order = np.argsort(-np.nan_to_num(sizes, nan=-np.inf), kind="stable")
    return [int(i) for i in order[:NAMED] if np.isfinite(sizes[i])]
