"""Pictures of verdicts: the grid of all models, contours of the log-likelihood, a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from scipy import optimize
from scipy.interpolate import RectBivariateSpline

from concord.agreement.comparison import Comparison
from concord.agreement.sweep import Sweep
from concord.display.picture import described
from concord.engines.engine import title
from concord.likelihood.likelihood import Likelihood
from concord.models.parameters import Parameters
from concord.plots.estimates import COLORS
from concord.plots.style import ABSENT, GREY, fit_in_words, fit_label, gap_text, listed, mark, subplots
from concord.vocabulary import LETTERS

VERDICTS = {word: (LETTERS[word], color) for word, color in COLORS.items()}
"""Every verdict with its letter and its colour; what is imprecise is paler than what is short."""


def grid(compared: Sequence[Comparison]) -> Figure:
    """Verdicts of many comparisons: a row a model, a column a settings and method.

    Every cell has the verdict's colour and letter, and for each engine the gap in log-likelihood units and the correct
    digits of its worst estimate.
    """
    rows = list(dict.fromkeys(comparison.model.id for comparison in compared))
    columns = sorted(
        {(comparison.settings, comparison.model.method) for comparison in compared},
        key=lambda key: (key[0], key[1] == "ML"),
    )
    figure, axes = subplots(figsize=(2.2 + 2.7 * len(columns), 0.6 + 0.62 * len(rows)))
    drawn = []
    for comparison in compared:
        head = (comparison.model.id, comparison.settings, comparison.model.method, comparison.verdict.word)
        drawn += [
            (*head, fit.engine, j.gap, j.worst) for fit, j in zip(comparison.fits, comparison.judgements, strict=True)
        ]
        drawn += [(*head, absent.engine, np.nan, np.nan) for absent in comparison.absent]
        letter, color = VERDICTS[comparison.verdict.word]
        x, y = columns.index((comparison.settings, comparison.model.method)), rows.index(comparison.model.id)
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=color, edgecolor="white", linewidth=3))
        axes.text(x + 0.09, y + 0.5, letter, fontsize=17, fontweight="bold", va="center")
        lines = [
            f"{title(fit.engine)}: {gap_text(judgement.gap)}, {judgement.worst:.0f} digits"
            for fit, judgement in zip(comparison.fits, comparison.judgements, strict=True)
        ]
        lines += [f"{title(absent.engine)}: {ABSENT[absent.kind]}" for absent in comparison.absent]
        axes.text(x + 0.2, y + 0.5, "\n".join(lines), fontsize=7.5, va="center", linespacing=1.5)
    axes.set_xlim(0, len(columns))
    axes.set_ylim(len(rows), 0)
    axes.set_xticks(np.arange(len(columns)) + 0.5, [f"{settings}, {method}" for settings, method in columns])
    axes.xaxis.tick_top()
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    words = [
        f"{VERDICTS[word][0]}: {word}" for word in dict.fromkeys(comparison.verdict.word for comparison in compared)
    ]
    figure.supxlabel("; ".join([*words, "gap in log-likelihood units below the reference"]), fontsize=9)
    counts = pd.Series([comparison.verdict.word for comparison in compared]).value_counts()
    alt = (
        f"Grid of verdicts, a row for each model ({len(rows)}) and a column for each of "
        f"{listed([f'{settings} settings by {method}' for settings, method in columns])}; every cell has the verdict's "
        f"letter and colour and each engine's gap and digits. Of {len(compared)} comparisons: "
        f"{listed([f'{count} {word}' for word, count in counts.items()])}."
    )
    names = ["model", "settings", "method", "verdict", "engine", "gap", "digits"]
    return described(figure, alt, pd.DataFrame(drawn, columns=names))


def contours(comparison: Comparison, points: int = 30) -> Figure:
    """The profiled criterion around the optimum, with the points where the fits stopped.

    Axes are the relative standard deviations (to the residual one) of two random effects, on log scales; over their
    correlation, where the model has one, and over everything else the criterion is minimised. Contours are
    log-likelihood units below the optimum.

    Parameters
    ----------
    comparison : fits of a model with two random effects on one factor
    points : how many points along each axis

    Raises
    ------
    ValueError : the model has not exactly two random effects
    """
    likelihood, design = comparison.against.likelihood, comparison.model.design
    names = [name for term in design.terms for name in term.names]
    if len(names) != 2:
        raise ValueError(f"contours need two random effects, {comparison.model.id} has {len(names)}")
    held = [comparison.against.parameters, *(fit.parameters for fit in comparison.fits)]
    places = np.array([_relative(parameters) for parameters in held])
    low, high = np.log(places.min(axis=0)) - 0.7, np.log(places.max(axis=0)) + 0.7
    first, second = (np.exp(np.linspace(low[i], high[i], points)) for i in range(2))
    fall = np.array([[_fall(likelihood, a, b, len(design.terms) == 1) for a in first] for b in second])
    fall -= -2 * comparison.against.level
    figure, axes = subplots(figsize=(7.5, 5.5))
    levels = [0.01, 0.1, 0.5, 2, 8, 30, 100, 300, 1000]
    drawn = axes.contour(*_finer(first, second, fall / 2), levels=levels, colors="#8a8a8a", linewidths=0.9)
    axes.clabel(drawn, fmt="%g", fontsize=8)
    axes.plot(*places[0], "*", color="black", markersize=15, label=comparison.against.noun)
    for fit, judgement, place in zip(comparison.fits, comparison.judgements, places[1:], strict=True):
        color, marker = mark(fit.engine)
        label = f"{fit_label(fit)}: {gap_text(judgement.gap)} below"
        axes.plot(*place, marker, color=color, markersize=11, markerfacecolor="none", markeredgewidth=2, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
        axis.set_tick_params(which="both", labelsize=8)
    axes.set_xlabel(f"standard deviation of {names[0]}, relative to the residual one")
    axes.set_ylabel(f"standard deviation of {names[1]}, relative to the residual one")
    axes.set_title("log-likelihood units below the optimum, at the best correlation", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    stopped = [
        f"{fit_in_words(fit)} {gap_text(judgement.gap)}"
        for fit, judgement in zip(comparison.fits, comparison.judgements, strict=True)
    ]
    alt = (
        f"Contour map of the log-likelihood of {comparison.model.id} by {comparison.model.method} over the relative "
        f"standard deviations of {names[0]} and {names[1]}, both on log scales, in units below the optimum. The "
        f"optimum, a star, is at {places[0, 0]:.3g} and {places[0, 1]:.3g}. The fits stopped so far below it: "
        f"{'; '.join(stopped)}."
    )
    labels = [f"relative sd of {name}" for name in names]
    stops = pd.DataFrame(places, columns=labels)
    stops.insert(0, "point", [comparison.against.noun, *map(fit_label, comparison.fits)])
    stops["units below the optimum"] = [0.0, *(judgement.gap for judgement in comparison.judgements)]
    mesh = np.meshgrid(first, second)
    surface = pd.DataFrame({labels[0]: mesh[0].ravel(), labels[1]: mesh[1].ravel(), "units below": fall.ravel() / 2})
    return described(figure, alt, {"Where the fits stopped": stops, "The surface": surface})


def _finer(first: np.ndarray, second: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A surface over two log scales at eight times as many points, by cubic splines: for lines without corners."""
    x, y = np.log(first), np.log(second)
    degree = min(3, len(x) - 1)
    surface = RectBivariateSpline(y, x, values, kx=degree, ky=degree)
    fine = [np.linspace(axis[0], axis[-1], 8 * len(axis)) for axis in (x, y)]
    return np.exp(fine[0]), np.exp(fine[1]), surface(fine[1], fine[0])


def _relative(parameters: Parameters) -> list[float]:
    return [float(np.sqrt(variance)) for matrix in parameters.relative for variance in np.diag(matrix)]


def _fall(likelihood: Likelihood, a: float, b: float, correlated: bool) -> float:
    """The criterion at two relative standard deviations, at the best correlation."""
    if not correlated:
        return likelihood.criterion(likelihood.theta_of([np.array([[a * a]]), np.array([[b * b]])]))

    def at(transformed: float) -> float:
        covariance = a * b * np.tanh(transformed)
        return likelihood.criterion(likelihood.theta_of([np.array([[a * a, covariance], [covariance, b * b]])]))

    # Fisher's z, wide enough for the narrow ridges that a predictor far from zero makes.
    return float(optimize.minimize_scalar(at, bounds=(-4.0, 4.0), method="bounded", options={"xatol": 1e-3}).fun)


CODINGS = {"raw": ("black", "o"), "centred": ("#0072B2", "s"), "scaled": ("#D55E00", "^")}


def sweep(swept: Sweep) -> Figure:
    """How far below the optimum every optimizer stopped: a panel an engine, a line an optimizer, a marker a coding.

    Gaps are in log-likelihood units on a log scale that begins at 1e-12, the rounding of a log-likelihood. Filled
    markers claim to have converged, hollow ones do not. What gave no estimates of this model stands beyond the scale.
    """
    table, floor = swept.table, 1e-12
    gaps = table["gap"].clip(lower=floor)
    nowhere = 1e3 * max(1.0, gaps[np.isfinite(gaps)].max())
    names = {engine: list(dict.fromkeys(rows["optimizer"])) for engine, rows in table.groupby("engine")}
    lines = [len(of_engine) for of_engine in names.values()]
    figure, panels = subplots(
        len(names), 1, figsize=(9, 1.5 + 0.42 * sum(lines)), sharex=True, height_ratios=lines, squeeze=False
    )
    codings = list(dict.fromkeys(table["predictors"]))
    for axes, (engine, optimizers) in zip(panels.flat, names.items(), strict=True):
        axes.axvspan(nowhere / 30, nowhere * 30, color="#ececec", linewidth=0)
        axes.axvline(swept.tolerance, color=GREY, linestyle="--", linewidth=1)
        for line in range(1, len(optimizers)):
            axes.axhline(line - 0.5, color="#dddddd", linewidth=0.6)
        for place, row in table[table["engine"] == engine].iterrows():
            color, marker = CODINGS[row["predictors"]]
            # Side by side on the line: markers that coincide must all be seen.
            height = optimizers.index(row["optimizer"]) + 0.24 * (
                codings.index(row["predictors"]) - (len(codings) - 1) / 2
            )
            gap = gaps[place] if np.isfinite(gaps[place]) else nowhere
            filled = color if row["converged"] else "white"
            axes.plot(gap, height, marker, color=color, markerfacecolor=filled, markersize=6, markeredgewidth=1.3)
        axes.set_yticks(range(len(optimizers)), optimizers)
        axes.set_ylim(len(optimizers) - 0.5, -0.5)
        axes.set_title(title(engine), fontsize=10, loc="left")
        axes.set_xscale("log")
        axes.set_xlim(floor / 5, nowhere * 30)
    decades = np.arange(-12, np.log10(nowhere) - 2, 3)
    panels[-1, 0].set_xticks([*10.0**decades, nowhere], [f"1e{d:.0f}" if d else "1" for d in decades] + ["none"])
    panels[-1, 0].set_xticks([], minor=True)
    figure.supxlabel(
        "log-likelihood units below the optimum; none: no estimates of this model; "
        f"dashed: the tolerance, {swept.tolerance:.0e}",
        fontsize=9,
    )
    shown: dict[str, Any] = {"linestyle": "none", "markersize": 6, "markeredgewidth": 1.3}
    handles = [
        Line2D([], [], color=CODINGS[coding][0], marker=CODINGS[coding][1], label=coding, **shown) for coding in codings
    ]
    for label, face in (("says that it has converged", GREY), ("says that it has not", "white")):
        handles.append(Line2D([], [], color=GREY, marker="D", markerfacecolor=face, label=label, **shown))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    reached = swept.reached.groupby(table["engine"])
    counts = [f"{int(reach.sum())} of {len(reach)} fits by {engine}" for engine, reach in reached]
    claimed = int((table["converged"].astype(bool) & ~swept.reached).sum())
    alt = (
        f"Dot plot of how many log-likelihood units each optimizer stopped below the optimum of {swept.model.id} by "
        f"{swept.model.method}, on a log scale, a panel for each engine, a line for each optimizer and a marker for "
        f"each coding of the predictors. At the optimum: {listed(counts)}. {claimed} say that they have converged and "
        "are not at the optimum."
    )
    columns = ["engine", "optimizer", "predictors", "gap", "digits", "converged", "message", "error"]
    return described(figure, alt, table[columns])
