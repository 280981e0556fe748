"""Plots: trajectories, estimates, random effects and profiles of several engines in one picture.

Engines differ by colour and by marker, so that neither is needed alone; the colours are Okabe and Ito's. Every function
ends with ``return described(figure, alt, data)``: what the figure shows, in words, and the numbers that it is drawn of.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from scipy import optimize, stats

from concord import reference
from concord.agreement import Comparison
from concord.fits import KEY, Fit
from concord.likelihood import Likelihood
from concord.models import Model
from concord.pictures import Picture, described
from concord.reference import parameters
from concord.sweep import Sweep
from concord.vocabulary import LETTERS

STYLE = {"mixedlm": ("#0072B2", "o"), "lme4": ("#D55E00", "s"), "nlme": ("#009E73", "^")}
GREY = "#6b6b6b"
_ABSENT = {"cannot express": "cannot express", "failed": "no fit", "stopped": "stopped"}


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
    _label(axes, x, y, units)
    axes.legend(frameon=False)
    measured = spread.dropna()
    alt = (
        f"Line chart of {_quantity(y, units[1])} over {_quantity(x, units[0])}: a thin line for each of {count} "
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
    design, term = model.design, model.design.terms[0]
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
        mine = np.flatnonzero(term.codes == code)
        mine = mine[np.argsort(along[mine], kind="stable")]
        lines = {_name(fit): fit.fitted[mine] for fit in fits}
        observed = {term.group: term.levels[code], x: along[mine], f"observed {model.formula.response}": design.y[mine]}
        drawn.append(pd.DataFrame(observed | lines))
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
    table = pd.concat(drawn, ignore_index=True)
    names = list(map(_name, fits))
    spread = float(np.ptp(table[names].to_numpy(float), axis=1).max())
    alt = (
        f"{len(chosen)} panels, one for each of {len(chosen)} of the {len(term.levels)} levels of {term.group}, from "
        "the "
        f"lowest to the highest mean: observed {_quantity(model.formula.response, units[1])} over "
        f"{_quantity(x, units[0])} as dots, and the fitted lines of {listed(list(map(_said, fits)))}. "
        + (f"The fitted lines are nowhere further apart than {_bounded(spread)}." if len(fits) > 1 else "")
    )
    return described(figure, alt, table)


def estimates(*fits: Fit, confidence: float = 0.95, against: reference.Reference | None = None) -> Figure:
    """Every parameter as dot and whisker, one panel a parameter, one line a fit; a vertical line at the reference.

    Whiskers are Wald intervals of the fixed effects; variances and covariances have none, since only one of the
    packages prints standard errors for them. `against` is the reference, by default that of the fits' model.
    """
    against = (against or reference.of(fits[0].model)).estimates.set_index(KEY)
    columns = min(3, len(against))
    rows = -(-len(against) // columns)
    figure, grid = subplots(rows, columns, figsize=(9, rows * (0.9 + 0.32 * len(fits))), sharey=True, squeeze=False)
    for axes in grid.flat[len(against) :]:
        axes.set_visible(False)
    width = stats.norm.ppf(0.5 + confidence / 2)
    drawn = []
    for axes, (key, correct) in zip(grid.flat, against.iterrows(), strict=False):
        axes.axvline(correct["estimate"], color=GREY, linewidth=1, linestyle="--")
        for line, fit in enumerate(fits):
            row = fit.estimates.set_index(KEY).loc[key]
            color, marker = STYLE[fit.engine]
            filled = color if fit.settings == "tuned" else "white"
            spread = None if np.isnan(row["std_error"]) else width * row["std_error"]
            ends = (np.nan, np.nan) if spread is None else (row["estimate"] - spread, row["estimate"] + spread)
            drawn.append((*key, _name(fit), row["estimate"], *ends, correct["estimate"]))
            axes.errorbar(
                row["estimate"], line, xerr=spread, color=color, marker=marker, markerfacecolor=filled, capsize=3
            )
        axes.set_title(plain(" ".join(filter(None, (key[1], key[2])))), fontsize=9)
        axes.ticklabel_format(axis="x", useOffset=False, scilimits=(-3, 4))
        axes.tick_params(labelsize=8)
        axes.margins(x=0.15)
        low, high = axes.get_xlim()
        missing = _least_width(fits[0].model, key, against["estimate"]) - (high - low)
        if missing > 0:
            axes.set_xlim(low - missing / 2, high + missing / 2)
        axes.locator_params(axis="x", nbins=4)
    grid[0, 0].set_yticks(range(len(fits)), [_name(fit) for fit in fits])
    grid[0, 0].set_ylim(len(fits) - 0.5, -0.5)
    figure.supxlabel(f"dashed: the reference; whiskers: {confidence:.0%} Wald interval", fontsize=9)
    table = pd.DataFrame(drawn, columns=[*KEY, "fit", "estimate", "lower", "upper", "reference"])
    alt = (
        f"{len(against)} panels, one for each parameter of {fits[0].model.id} by {fits[0].model.method}: the estimates "
        "of "
        f"{listed(list(map(_said, fits)))} as dots with {confidence:.0%} Wald intervals of the fixed effects, "
        "and "
        f"a dashed line at the reference. {_furthest(table)}"
    )
    return described(figure, alt, table)


def _least_width(model: Model, key: tuple[str, str, str], correct: pd.Series) -> float:
    """How wide the axis of a parameter is at least: 0.1 % of its size to either side, so that what agrees to many more
    digits is drawn as one.

    The size is the reference's estimate; where that is no more than rounding, what moves the response by one residual
    standard deviation, in the mean square over rows.
    """
    effect, group, term = key
    size, design = abs(correct[key]), model.design
    kind, _, name = term.partition("__")
    if effect != "fixed":
        residual = correct[("ran_pars", "Residual", "var__Observation")]
        for each in design.terms if group != "Residual" else ():
            units = dict(zip(each.names, np.sqrt(residual / np.mean(each.matrix**2, axis=0)), strict=True))
            for one, other in product(units, units):
                if each.group == group and name == (one if kind == "var" and one == other else f"{one}.{other}"):
                    unit = float(units[one] * units[other])
                    size = size if size > 1e-6 * unit else unit
    return 2e-3 * size


def _furthest(table: pd.DataFrame) -> str:
    """Of every fit, which estimate is furthest from the reference, relative to it."""
    correct = table["reference"].abs()
    off = (table["estimate"] - table["reference"]).abs() / correct.where(correct > 0, correct.max())
    words = []
    for fit, mine in off.groupby(table["fit"], sort=False):
        name = "{} ({})".format(*fit.split(", "))
        row = table.loc[mine.idxmax()] if mine.notna().any() else None
        if row is None or mine.max() < 1e-3:
            words.append(f"{name} is within 0.1 % of the reference everywhere")
        else:
            term = " ".join(filter(None, [row["group"], row["term"]]))
            words.append(f"{name} is furthest off in {term}, {row['estimate']:.4g} for {row['reference']:.4g}")
    return "; ".join(words) + "."


def height_of(levels: int) -> float:
    """The height of a caterpillar of so many levels, in inches: with few there must be room for what stands beside."""
    return min(10.0, max(3.0, 1.4 + 0.11 * levels))


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
            mine = table[(table["group"] == group) & (table["term"] == term)].set_index("level")
            order = order or list(mine["estimate"].sort_values(kind="stable").index)
            mine = mine.loc[order]
            height = np.arange(len(mine)) + 0.35 * (number - (len(fits) - 1) / 2)
            color, marker = STYLE[fit.engine]
            spread = None if mine["std_error"].isna().any() else width * mine["std_error"]
            predicted[_name(fit)] = mine["estimate"]
            half = np.nan if spread is None else spread
            ends = {"lower": mine["estimate"] - half, "upper": mine["estimate"] + half}
            whose = {"group": group, "term": term, "level": order, "fit": _name(fit)}
            drawn.append(pd.DataFrame({**whose, "prediction": mine["estimate"].to_numpy(), **ends}))
            axes.errorbar(
                mine["estimate"], height, xerr=spread, fmt=marker, color=color, markersize=2.5, linewidth=0.7,
                label=_name(fit),
            )  # fmt: skip
        values = np.stack([each.to_numpy(float) for each in predicted.values()])
        apart.append(f"{term} from {values.min():.3g} to {values.max():.3g}")
        if len(fits) > 1:
            apart[-1] += f", the fits at most {_bounded(np.ptp(values, axis=0).max())} apart"
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set_yticks([])
        axes.set_ylabel(plain(f"{len(order or [])} levels of {group}, sorted"))
        axes.set_xlabel(plain(f"random effect: {term}"))
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylim(-0.7, len(order or []) - 0.3)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    alt = (
        f"Caterpillar plot: the predicted random effects of every level with {confidence:.0%} intervals, sorted by "
        "those of "
        f"{_said(fits[0])}, for {listed(list(map(_said, fits)))}. Predictions: {'; '.join(apart)}."
    )
    return described(figure, alt, pd.concat(drawn, ignore_index=True))


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
    color, marker = STYLE["mixedlm"]
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
        "to "
        f"{values.max():.4g}, with a vertical line at the estimate, {estimate:.4g}, and a horizontal one at "
        f"{level:.3g}, the {confidence:.0%} point of chi-squared with 1 degree of freedom. The points below that line "
        "reach "
        f"from {inside.min():.4g} to {inside.max():.4g}; the largest fall drawn is {drop.max():.3g}."
    )
    return described(figure, alt, table)


COLORS = {
    "agree": "#d5ebdc", "python short": "#cfe0f5", "r short": "#fbdcc4", "both short": "#e3d3ee",
    "python imprecise": "#e9f1fb", "r imprecise": "#fdefe4", "both imprecise": "#f2ebf7",
    "differ": "#f6cfd3", "no fit": "#f3e9c6", "cannot express": "#e4e4e4",
}  # fmt: skip
VERDICTS = {word: (LETTERS[word], color) for word, color in COLORS.items()}
"""Every verdict with its letter and its colour; what is imprecise is paler than what is short."""


def grid(compared: Sequence[Comparison]) -> Figure:
    """Verdicts of many comparisons: a row a model, a column a settings and method.

    Every cell has the verdict's colour and letter, and for each engine the gap in log-likelihood units and the correct
    digits of its worst estimate.
    """
    rows = list(dict.fromkeys(each.model.id for each in compared))
    columns = sorted(
        {(each.settings, each.model.method) for each in compared}, key=lambda key: (key[0], key[1] == "ML")
    )
    figure, axes = subplots(figsize=(2.2 + 2.1 * len(columns), 0.6 + 0.62 * len(rows)))
    drawn = []
    for each in compared:
        head = (each.model.id, each.settings, each.model.method, each.verdict.word)
        drawn += [(*head, fit.engine, j.gap, j.worst) for fit, j in zip(each.fits, each.judgements, strict=True)]
        drawn += [(*head, absent.engine, np.nan, np.nan) for absent in each.absent]
        letter, color = VERDICTS[each.verdict.word]
        x, y = columns.index((each.settings, each.model.method)), rows.index(each.model.id)
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=color, edgecolor="white", linewidth=3))
        axes.text(x + 0.09, y + 0.5, letter, fontsize=17, fontweight="bold", va="center")
        lines = [
            f"{fit.engine}: {_gap(judgement.gap)}, {judgement.worst:.0f} digits"
            for fit, judgement in zip(each.fits, each.judgements, strict=True)
        ]
        lines += [f"{absent.engine}: {_ABSENT[absent.kind]}" for absent in each.absent]
        axes.text(x + 0.25, y + 0.5, "\n".join(lines), fontsize=7.5, va="center", linespacing=1.5)
    axes.set_xlim(0, len(columns))
    axes.set_ylim(len(rows), 0)
    axes.set_xticks(np.arange(len(columns)) + 0.5, [f"{settings}, {method}" for settings, method in columns])
    axes.xaxis.tick_top()
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    words = [f"{VERDICTS[word][0]}: {word}" for word in dict.fromkeys(each.verdict.word for each in compared)]
    figure.supxlabel("; ".join([*words, "gap in log-likelihood units below the reference"]), fontsize=9)
    counts = pd.Series([each.verdict.word for each in compared]).value_counts()
    alt = (
        f"Grid of verdicts, a row for each model ({len(rows)}) and a column for each of "
        f"{listed([f'{settings} settings by {method}' for settings, method in columns])}; every cell has the "
        "verdict's "
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
    _, best, residual = parameters(comparison.against.estimates, design)
    stops = [(fit.covariances, fit.residual_variance) for fit in comparison.fits]
    places = np.array([_relative(*each) for each in [(best, residual), *stops]])
    low, high = np.log(places.min(axis=0)) - 0.7, np.log(places.max(axis=0)) + 0.7
    first, second = (np.exp(np.linspace(low[i], high[i], points)) for i in range(2))
    fall = np.array([[_fall(likelihood, a, b, len(design.terms) == 1) for a in first] for b in second])
    fall -= -2 * comparison.against.level
    figure, axes = subplots(figsize=(7.5, 5.5))
    levels = [0.01, 0.1, 0.5, 2, 8, 30, 100, 300, 1000]
    drawn = axes.contour(first, second, fall / 2, levels=levels, colors="#8a8a8a", linewidths=0.9)
    axes.clabel(drawn, fmt="%g", fontsize=8)
    axes.plot(*places[0], "*", color="black", markersize=15, label=comparison.against.noun)
    for fit, judgement, place in zip(comparison.fits, comparison.judgements, places[1:], strict=True):
        color, marker = STYLE[fit.engine]
        label = f"{fit.engine}, {fit.settings}: {_gap(judgement.gap)} below"
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
        f"{_said(fit)} {_gap(judgement.gap)}"
        for fit, judgement in zip(comparison.fits, comparison.judgements, strict=True)
    ]
    alt = (
        f"Contour map of the log-likelihood of {comparison.model.id} by {comparison.model.method} over the relative "
        "standard "
        f"deviations of {names[0]} and {names[1]}, both on log scales, in units below the optimum. The optimum, a "
        "star, is at "
        f"{places[0, 0]:.3g} and {places[0, 1]:.3g}. The fits stopped so far below it: {'; '.join(stopped)}."
    )
    labels = [f"relative sd of {name}" for name in names]
    points = pd.DataFrame(places, columns=labels)
    points.insert(0, "point", [comparison.against.noun, *map(_name, comparison.fits)])
    points["units below the optimum"] = [0.0, *(judgement.gap for judgement in comparison.judgements)]
    mesh = np.meshgrid(first, second)
    surface = pd.DataFrame({labels[0]: mesh[0].ravel(), labels[1]: mesh[1].ravel(), "units below": fall.ravel() / 2})
    return described(figure, alt, {"Where the fits stopped": points, "The surface": surface})


def _relative(covariances: Sequence[np.ndarray], residual_variance: float) -> list[float]:
    return [float(np.sqrt(each / residual_variance)) for matrix in covariances for each in np.diag(matrix)]


def _fall(likelihood: Likelihood, a: float, b: float, correlated: bool) -> float:
    """The criterion at two relative standard deviations, at the best correlation."""
    if not correlated:
        return likelihood.criterion(likelihood.theta_at([np.array([[a * a]]), np.array([[b * b]])], 1.0))

    def at(transformed: float) -> float:
        covariance = a * b * np.tanh(transformed)
        return likelihood.criterion(likelihood.theta_at([np.array([[a * a, covariance], [covariance, b * b]])], 1.0))

    # Fisher's z, wide enough for the narrow ridges that a predictor far from zero makes.
    return float(optimize.minimize_scalar(at, bounds=(-4.0, 4.0), method="bounded", options={"xatol": 1e-3}).fun)


def _gap(gap: float) -> str:
    """A gap in log-likelihood units; below a millionth it is rounding."""
    return "no parameters" if not np.isfinite(gap) else "0" if gap < 1e-6 else f"{gap:.2g}"


CODINGS = {"raw": ("black", "o"), "centred": ("#0072B2", "s"), "scaled": ("#D55E00", "^")}


def sweep(swept: Sweep) -> Figure:
    """How far below the optimum every optimizer stopped: a panel an engine, a line an optimizer, a marker a coding.

    Gaps are in log-likelihood units on a log scale that begins at 1e-12, the rounding of a log-likelihood. Filled
    markers claim to have converged, hollow ones do not. What gave no estimates of this model stands beyond the scale.
    """
    table, floor = swept.table, 1e-12
    gaps = table["gap"].clip(lower=floor)
    nowhere = 1e3 * max(1.0, gaps[np.isfinite(gaps)].max())
    names = {engine: list(dict.fromkeys(mine["optimizer"])) for engine, mine in table.groupby("engine")}
    lines = [len(each) for each in names.values()]
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
        axes.set_title(engine, fontsize=10, loc="left")
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
    shown = {"linestyle": "none", "markersize": 6, "markeredgewidth": 1.3}
    handles = [Line2D([], [], color=CODINGS[each][0], marker=CODINGS[each][1], label=each, **shown) for each in codings]
    for label, face in (("says that it has converged", GREY), ("says that it has not", "white")):
        handles.append(Line2D([], [], color=GREY, marker="D", markerfacecolor=face, label=label, **shown))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    reached = swept.reached.groupby(table["engine"])
    counts = [f"{int(each.sum())} of {len(each)} fits by {engine}" for engine, each in reached]
    claimed = int((table["converged"].astype(bool) & ~swept.reached).sum())
    alt = (
        f"Dot plot of how many log-likelihood units each optimizer stopped below the optimum of {swept.model.id} by "
        f"{swept.model.method}, on a log scale, a panel for each engine, a line for each optimizer and a marker for "
        "each "
        f"coding of the predictors. At the optimum: {listed(counts)}. {claimed} say that they have converged "
        "and are not at the optimum."
    )
    columns = ["engine", "optimizer", "predictors", "gap", "digits", "converged", "message", "error"]
    return described(figure, alt, table[columns])


def plain(name: str) -> str:
    """A name as a label: what stands between two dollar signs in it is no mathematics."""
    return str(name).replace("$", r"\$")


def subplots(*shape: int, **named: Any) -> tuple[Figure, Any]:
    """A figure that a notebook shows where it is displayed, and not a second time because pyplot still holds it."""
    figure, axes = plt.subplots(*shape, layout="constrained", FigureClass=Picture, **named)
    plt.close(figure)
    return figure, axes


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), *words[-1:]])


def _bounded(size: float) -> str:
    """A difference in words that do not change with the last rounding."""
    return "1e-6" if size < 1e-6 else f"{size:.2g}"


def _name(fit: Fit) -> str:
    return f"{fit.engine}, {fit.settings}"


def _quantity(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _said(fit: Fit) -> str:
    """A fit's name in a sentence, where a comma would part it."""
    return f"{fit.engine} ({fit.settings})"


def _with_unit(name: str, unit: str) -> str:
    return plain(_quantity(name, unit))


def _label(axes: Axes, x: str, y: str, units: Sequence[str]) -> None:
    axes.set_xlabel(_with_unit(x, units[0]))
    axes.set_ylabel(_with_unit(y, units[1]))
