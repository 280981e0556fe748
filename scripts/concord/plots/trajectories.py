"""Pictures of the data, with and without fitted lines."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from concord.display.picture import described
from concord.engines.fit import Fit
from concord.plots.style import (
    GREY,
    axis_text,
    bounded,
    fit_in_words,
    fit_label,
    in_unit,
    label_axes,
    listed,
    mark,
    subplots,
)


def trajectories(frame: pd.DataFrame, x: str, y: str, group: str, units: tuple[str, str] = ("", "")) -> Figure:
    """Every group's observations over `x`, joined, with the mean of all.

    Parameters
    ----------
    frame : the table
    x, y, group : names of its columns
    units : units of `x` and `y`, for the axes
    """
    figure, axes = subplots(figsize=(8, 4.5))
    for _, one in frame.groupby(group, observed=True):
        axes.plot(one[x], one[y], color=GREY, alpha=0.35, linewidth=0.8)
    count, together = frame[group].nunique(), frame.groupby(x)[y]
    mean, spread = together.mean(), together.std()
    axes.plot(mean.index, mean, color="black", linewidth=2.5, label=f"mean of all {count}")
    label_axes(axes, x, y, units)
    axes.legend(frameon=False)
    measured = spread.dropna()
    alt = (
        f"Line chart of {in_unit(y, units[1])} over {in_unit(x, units[0])}: a thin line for each of {count} "
        f"levels of {group}, a thick one for their mean. The mean goes from {mean.iloc[0]:.4g} to {mean.iloc[-1]:.4g} "
        f"between {x} {mean.index[0]} and {mean.index[-1]}"
    )
    if len(measured):
        alt += f"; the standard deviation between the lines from {measured.iloc[0]:.3g} to {measured.iloc[-1]:.3g}"
    every = {x: mean.index, f"mean {y}": mean, f"standard deviation of {y}": spread, "observations": together.size()}
    data = {"The mean of all": pd.DataFrame(every), "Every observation": frame[[group, x, y]]}
    return described(figure, f"{alt}.", data)


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
    design, term = model.design.as_coded, model.design.terms[0]
    along = model.frame[x].to_numpy()[design.rows]
    ranked = pd.Series(design.y).groupby(term.codes).mean().sort_values(kind="stable").index.to_numpy()
    chosen = ranked[np.linspace(0, len(ranked) - 1, min(show, len(ranked))).round().astype(int)]
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, grid = subplots(rows, columns, figsize=(9, 2.2 * rows + 0.6), sharex=True, sharey=True, squeeze=False)
    drawn = []
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    for axes, code in zip(grid.flat, chosen, strict=False):
        own = np.flatnonzero(term.codes == code)
        own = own[np.argsort(along[own], kind="stable")]
        lines = {fit_label(fit): fit.fitted[own] for fit in fits}
        observed = {term.group: term.levels[code], x: along[own], f"observed {model.formula.response}": design.y[own]}
        drawn.append(pd.DataFrame(observed | lines))
        axes.plot(along[own], design.y[own], "o", color=GREY, markersize=3.5, label="observed")
        # Wide under narrow: lines that coincide must both be seen.
        for fit, width, dash in zip(fits, cycle((4.5, 1.8, 1.0)), cycle(("-", "--", ":")), strict=False):
            color, _ = mark(fit.engine)
            alpha = 0.45 if width > 4 else 1.0
            axes.plot(
                along[own], fit.fitted[own], dash, color=color, linewidth=width, alpha=alpha, label=fit_label(fit)
            )
        axes.set_title(f"{term.group} {term.levels[code]}", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel(axis_text(x, units[0]))
    figure.supylabel(axis_text(model.formula.response, units[1]), fontsize=10)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    table = pd.concat(drawn, ignore_index=True)
    names = list(map(fit_label, fits))
    spread = float(np.ptp(table[names].to_numpy(float), axis=1).max())
    alt = (
        f"{len(chosen)} panels, one for each of {len(chosen)} of the {len(term.levels)} levels of {term.group}, from "
        f"the lowest to the highest mean: observed {in_unit(model.formula.response, units[1])} over "
        f"{in_unit(x, units[0])} as dots, and the fitted lines of {listed(list(map(fit_in_words, fits)))}. "
        + (f"The fitted lines are nowhere further apart than {bounded(spread)}." if len(fits) > 1 else "")
    )
    return described(figure, alt, table)
