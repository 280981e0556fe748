"""Pictures of what was measured: ratios beside their goals over the runs, and growth with the rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from concord.display.picture import Picture, described
from concord.plots.style import GREY, subplots

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_MARKERS = ("o", "s", "^", "D")
_TICKS = (0.1, 0.25, 0.5, 1.0, 2.0)


def ratios(table: pd.DataFrame) -> Picture:
    """Every benchmark's ratio over its goal, run by run: below the line the goal is met.

    Parameters
    ----------
    table : as `concord.bench.results.ratios` gives it
    """
    names = list(dict.fromkeys(table["benchmark"]))
    figure, axes = subplots(figsize=(8, 0.45 * len(names) + 1.2))
    for place, name in enumerate(names):
        rows = table[table["benchmark"] == name]
        # The newest run is filled, those before it are open, a little above each other.
        for age, row in enumerate(reversed(list(rows.itertuples()))):
            at, newest = place - min(age, 8) * 0.05, age == 0
            axes.plot(
                [row.lowest / row.goal, row.highest / row.goal], [at, at], color=_COLOURS[0], alpha=1 if newest else 0.3
            )
            axes.plot(
                row.ratio / row.goal,
                at,
                "o",
                color=_COLOURS[0],
                alpha=1 if newest else 0.4,
                fillstyle="full" if newest else "none",
            )
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.minorticks_off()
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("ratio / goal (left of the line the goal is met); filled: the newest run")
    newest = table.groupby("benchmark").tail(1)
    met = newest[newest["ratio"] <= newest["goal"]]
    alt = (
        f"Dot plot of {len(names)} benchmarks' ratios over their goals, a row a benchmark; in the newest runs "
        f"{len(met)} of {len(newest)} meet their goal."
    )
    return described(figure, alt, table)


def growth(table: pd.DataFrame) -> Picture:
    """Seconds and peak memory against the rows, both axes logarithmic, with lines of slope one for comparison.

    Parameters
    ----------
    table : as `concord.bench.results.growth` gives it; the newest run of each benchmark is drawn
    """
    figure, (left, right) = subplots(1, 2, figsize=(9, 3.8))
    words = []
    for number, (name, rows) in enumerate(table.groupby("benchmark", sort=False)):
        rows = rows[rows["finished"] == rows["finished"].max()]
        style = {"color": _COLOURS[number % 4], "marker": _MARKERS[number % 4], "label": name.removeprefix("growth-")}
        left.plot(rows["rows"], rows["seconds"], **style)
        right.plot(rows["rows"], rows["peak"].clip(lower=0.1), **style)
        last = rows.iloc[-1]
        left.plot(rows["rows"], last["seconds"] * rows["rows"] / last["rows"], color=GREY, linewidth=1, linestyle=":")
        right.plot(rows["rows"], last["peak"] * rows["rows"] / last["rows"], color=GREY, linewidth=1, linestyle=":")
        words.append(
            f"{name.removeprefix('growth-')} takes {last['seconds']:.2g} s and {last['peak']:.0f} MiB for "
            f"{last['rows']:.0f} rows"
        )
    for axes, label in ((left, "seconds"), (right, "peak memory above the start, MiB")):
        axes.set(xscale="log", yscale="log", xlabel="rows", ylabel=label)
    left.legend(frameon=False)
    drawn = table[table["finished"] == table.groupby("benchmark")["finished"].transform("max")]
    alt = f"Two line charts on logarithmic axes, of seconds and of memory over the rows; {'; '.join(words)}."
    return described(figure, alt, drawn.replace(np.inf, np.nan))
