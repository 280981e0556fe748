"""Diagnostic pictures of any model: how the groups are filled, and the residuals of every engine's fit."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from concord.fits import Fit
from concord.models import Model
from concord.plots import GREY, STYLE, plain, subplots

# So many levels can be told apart in a picture.
LEVELS = 60


def groups(model: Model) -> Figure:
    """The response in the levels of every grouping factor, sorted by their means; the line is the mean of all.

    Of more than 60 levels as many are shown, evenly spread over the range of their means.
    """
    design = model.design
    factors = {term.group: term for term in design.terms}
    figure, grid = subplots(1, len(factors), figsize=(max(6.0, 4.5 * len(factors)), 4.2), sharey=True, squeeze=False)
    for axes, (name, term) in zip(grid.flat, factors.items(), strict=True):
        count = len(term.levels)
        means = np.bincount(term.codes, design.y, count) / np.bincount(term.codes, minlength=count)
        order = np.argsort(means, kind="stable")
        shown = order[np.linspace(0, count - 1, min(count, LEVELS)).round().astype(int)]
        place = np.full(count, -1)
        place[shown] = np.arange(len(shown))
        mine = place[term.codes] >= 0
        axes.plot(place[term.codes[mine]], design.y[mine], "o", color=GREY, markersize=3, alpha=0.5)
        axes.plot(range(len(shown)), means[shown], "D", color="black", markersize=4)
        axes.axhline(design.y.mean(), color="black", linewidth=1)
        if len(shown) <= 12:
            axes.set_xticks(range(len(shown)), [plain(term.levels[i]) for i in shown], rotation=30, fontsize=8)
        else:
            axes.set_xticks([])
        many = f"{count} levels" if count == len(shown) else f"{len(shown)} of {count} levels"
        axes.set_xlabel(f"{plain(name)}: {many}, sorted by mean (diamonds)")
    grid[0, 0].set_ylabel(plain(model.formula.response))
    return figure


def residuals(*fits: Fit) -> Figure:
    """Residuals against fitted values, and their quantiles against the normal distribution's, a row an engine.

    Fitted values hold the predicted random effects. Residuals are in units of the residual standard deviation.
    """
    figure, grid = subplots(len(fits), 2, figsize=(8.5, 3.2 * len(fits)), squeeze=False)
    for (left, right), fit in zip(grid, fits, strict=True):
        color, marker = STYLE[fit.engine]
        fitted = fit.fitted
        scaled = (fit.model.design.y - fitted) / np.sqrt(fit.residual_variance)
        left.plot(fitted, scaled, marker, color=color, markersize=3, alpha=0.5, rasterized=True)
        left.axhline(0, color="black", linewidth=1)
        left.set_xlabel("fitted value")
        left.set_ylabel(f"residual / sigma\n({fit.engine}, {fit.settings})")
        n = len(scaled)
        expected = stats.norm.ppf((np.arange(1, n + 1) - 0.5) / n)
        right.plot(expected, np.sort(scaled), marker, color=color, markersize=3, alpha=0.5, rasterized=True)
        right.plot(expected[[0, -1]], expected[[0, -1]], color="black", linewidth=1)
        right.set_xlabel("normal quantile")
        right.set_ylabel("residual quantile")
    return figure
