"""Pictures of findings: shares over two factors of a grid, and coverage with its Monte-Carlo errors."""

from __future__ import annotations

import numpy as np

from concord.display.picture import Picture, described
from concord.engines.engine import title
from concord.plots import style
from concord.simulation.findings import Findings

LABELS = {
    "shift": "middle of the predictor (halves of its range)",
    "scale": "half of the predictor's range",
    "ratio": "variance of the random effects' part (residual variances)",
    "groups": "groups",
}


def heat_maps(findings: Findings, x: str, y: str, settings: str = "default") -> Picture:
    """How often each engine falls short, over two factors of a grid.

    Parameters
    ----------
    findings : of a study
    x, y : factors; over the others the replicates are taken together
    settings : ``default`` or ``tuned``
    """
    table = findings.by(x, y)
    table = table[table["settings"] == settings]
    engines = list(dict.fromkeys(table["engine"]))
    figure, panels = style.subplots(1, len(engines), figsize=(4.3 * len(engines), 3.4), squeeze=False)
    for axes, engine in zip(panels[0], engines, strict=True):
        shares = table[table["engine"] == engine].pivot(index=y, columns=x, values="share")
        shown = axes.imshow(shares, vmin=0, vmax=1, cmap="YlOrBr", aspect="auto", origin="lower")
        for (row, column), share in np.ndenumerate(shares.to_numpy()):
            ink = "white" if share > 0.6 else "black"
            axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=ink)
        axes.set_xticks(range(len(shares.columns)), [f"{value:g}" for value in shares.columns])
        axes.set_yticks(range(len(shares.index)), [f"{value:g}" for value in shares.index])
        axes.set(xlabel=LABELS.get(x, x), ylabel=LABELS.get(y, y))
        axes.set_title(f"{title(engine)}, {settings}", fontsize=10, loc="left")
    figure.colorbar(shown, ax=panels, label="share of replicates short of the optimum")
    worst = table.loc[table.groupby("engine", sort=False)["share"].idxmax()]
    shares_told = "; ".join(
        f"{title(row['engine'])} at most {row['share']:.0%}, at {x} {row[x]:g} and {y} {row[y]:g}"
        for _, row in worst.iterrows()
    )
    alt = f"Heat maps, one an engine, of the share of replicates short of the optimum over {x} and {y}: {shares_told}."
    return described(figure, alt, table.reset_index(drop=True))


def coverage(findings: Findings) -> Picture:
    """How often the Wald intervals of the fixed effects hold the true value, with Monte-Carlo errors.

    The cases of a grid are taken together.
    """
    table, level = findings.coverage(), findings.manifest["level"]
    names = list(dict.fromkeys(table["parameter"]))
    lines = len(table) // len(names)
    size = (4.2 * len(names), 1.2 + 0.35 * lines)
    figure, grid = style.subplots(1, len(names), figsize=size, sharey=True, squeeze=False)
    for axes, name in zip(grid[0], names, strict=True):
        axes.axvline(level, color=style.GREY, linewidth=1, linestyle="--")
        rows = table[table["parameter"] == name].reset_index(drop=True)
        for line, row in rows.iterrows():
            color, marker = style.mark(row["engine"])
            filled = color if row["settings"] == "tuned" else "white"
            ends = [min(2 * row["error"], row["coverage"])], [min(2 * row["error"], 1 - row["coverage"])]
            axes.errorbar(
                row["coverage"], line, xerr=ends, color=color, marker=marker, markerfacecolor=filled, capsize=3
            )
        axes.set_yticks(range(len(rows)), [f"{row['engine']}, {row['settings']}" for _, row in rows.iterrows()])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_title(style.plain(name), fontsize=10)
    figure.supxlabel("coverage; whiskers: two Monte-Carlo errors; dashed: the level", fontsize=9)
    low, high = table["coverage"].min(), table["coverage"].max()
    alt = (
        f"Dots with whiskers: coverage of the {level:.0%} Wald intervals of {', '.join(names)}, "
        f"by engine and settings; from {low:.1%} to {high:.1%}."
    )
    return described(figure, alt, table)
