"""Diagnostic pictures of any model: how the groups are filled, and the residuals of every engine's fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from concord.display.picture import described
from concord.engines.fit import Fit
from concord.models.model import Model
from concord.models.units import unit_of
from concord.plots.style import GREY, axis_text, fit_in_words, fit_label, mark, plain, subplots

# So many levels can be told apart in a picture.
LEVELS = 60


def groups(model: Model) -> Figure:
    """The response in the levels of every grouping factor, sorted by their means; the line is the mean of all.

    Of more than 60 levels as many are shown, evenly spread over the range of their means.
    """
    design, response = model.design.as_coded, model.formula.response
    factors = {term.group: term for term in design.terms}
    figure, grid = subplots(1, len(factors), figsize=(max(6.0, 4.5 * len(factors)), 4.2), sharey=True, squeeze=False)
    drawn, observed, words = [], [], []
    for axes, (name, term) in zip(grid.flat, factors.items(), strict=True):
        count = len(term.levels)
        means = np.bincount(term.codes, design.y, count) / np.bincount(term.codes, minlength=count)
        order = np.argsort(means, kind="stable")
        shown = order[np.linspace(0, count - 1, min(count, LEVELS)).round().astype(int)]
        place = np.full(count, -1)
        place[shown] = np.arange(len(shown))
        drawn_rows = place[term.codes] >= 0
        axes.plot(place[term.codes[drawn_rows]], design.y[drawn_rows], "o", color=GREY, markersize=3, alpha=0.5)
        axes.plot(range(len(shown)), means[shown], "D", color="black", markersize=4)
        axes.axhline(design.y.mean(), color="black", linewidth=1)
        if len(shown) <= 12:
            axes.set_xticks(range(len(shown)), [plain(term.levels[i]) for i in shown], rotation=30, fontsize=8)
        else:
            axes.set_xticks([])
        many = f"{count} levels" if count == len(shown) else f"{len(shown)} of {count} levels"
        axes.set_xlabel(f"{plain(name)}: {many}, sorted by mean (diamonds)")
        levels, sizes = np.asarray(term.levels, dtype=object), np.bincount(term.codes, minlength=count)
        drawn.append(pd.DataFrame({"factor": name, "level": levels[shown], "rows": sizes[shown], "mean": means[shown]}))
        observed.append(
            pd.DataFrame({"factor": name, "level": levels[term.codes[drawn_rows]], response: design.y[drawn_rows]})
        )
        words.append(f"the means of {many} of {name} go from {means.min():.4g} to {means.max():.4g}")
    grid[0, 0].set_ylabel(axis_text(response, unit_of(model, response)))
    alt = (
        f"Dot plot of {response} in the levels of {' and '.join(factors)}, sorted by their means (diamonds), with a "
        f"line at the mean of all, {design.y.mean():.4g}: {'; '.join(words)}. All observations lie between "
        f"{design.y.min():.4g} and {design.y.max():.4g}."
    )
    return described(
        figure, alt, {"The means of the levels": pd.concat(drawn), "The observations": pd.concat(observed)}
    )


def residuals(*fits: Fit) -> Figure:
    """Residuals against fitted values, and their quantiles against the normal distribution's, a row an engine.

    Fitted values hold the predicted random effects. Residuals are in units of their standard deviation, sigma, or sigma
    over the root of the row's weight. The line goes through their quartiles, as R's ``qqline``, and not through equal
    quantiles: the predicted effects take up a part of the scatter, so that a true model's residuals have a standard
    deviation of sqrt(1 - tr(H) / n) sigma only, H taking the response to the fitted values.
    """
    figure, grid = subplots(len(fits), 2, figsize=(8.5, 3.2 * len(fits)), squeeze=False)
    drawn, words = [], []
    for (left, right), fit in zip(grid, fits, strict=True):
        color, marker = mark(fit.engine)
        fitted = fit.fitted
        scaled = fit.pearson
        left.plot(fitted, scaled, marker, color=color, markersize=3, alpha=0.5, rasterized=True)
        left.axhline(0, color="black", linewidth=1)
        left.set_xlabel(axis_text("fitted value", unit_of(fit.model, fit.model.formula.response)))
        left.set_ylabel(f"residual / sigma\n({fit_label(fit)})")
        n = len(scaled)
        expected = stats.norm.ppf((np.arange(1, n + 1) - 0.5) / n)
        right.plot(expected, np.sort(scaled), marker, color=color, markersize=3, alpha=0.5, rasterized=True)
        right.plot(expected, _through_quartiles(scaled, expected), color="black", linewidth=1)
        right.set_xlabel("normal quantile")
        right.set_ylabel("residual quantile")
        quantile = np.empty(n)
        quantile[np.argsort(scaled, kind="stable")] = expected
        table = {"fit": fit_label(fit), "fitted value": fitted, "residual / sigma": scaled}
        drawn.append(pd.DataFrame({**table, "normal quantile": quantile}))
        words.append(
            f"{fit_in_words(fit)} from {scaled.min():.3g} to {scaled.max():.3g} with standard deviation "
            f"{scaled.std():.2g}, {(np.abs(scaled) > 3).sum()} of {n} beyond 3 in size, where a standard normal "
            f"variable has {0.0026998 * n:.2g}"
        )
    alt = (
        "Residuals in units of the residual standard deviation, a row for each fit: to the left over the fitted "
        f"values, to the right as a normal quantile plot with a line through the quartiles. {'; '.join(words)}."
    )
    return described(figure, alt, pd.concat(drawn, ignore_index=True))


def _through_quartiles(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The line of a normal quantile plot through the quartiles of the values, at the expected quantiles."""
    low, high = np.quantile(values, [0.25, 0.75])
    line: np.ndarray = (low + high) / 2 + (high - low) / (2 * stats.norm.ppf(0.75)) * expected
    return line


def effects_qq(*fits: Fit) -> Figure:
    """Predicted random effects of every level against normal quantiles, a panel an effect, all fits in each.

    The line goes through the first fit's quartiles, as R's ``qqline``. Predictions are shrunken, and more so where a
    level has few rows: where levels are unequal the points of a true normal distribution bend a little too.
    """
    tables = [fit.random_effects for fit in fits]
    keys = list(dict.fromkeys(zip(tables[0]["group"], tables[0]["term"], strict=True)))
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure, grid = subplots(rows, columns, figsize=(3.6 * columns + 0.4, 3.2 * rows + 0.4), squeeze=False)
    for axes in grid.flat[len(keys) :]:
        axes.set_visible(False)
    drawn, words = [], []
    for axes, (group, term) in zip(grid.flat, keys, strict=False):
        for number, (fit, table) in enumerate(zip(fits, tables, strict=True)):
            own = table[(table["group"] == group) & (table["term"] == term)].sort_values("estimate", kind="stable")
            values, n = own["estimate"].to_numpy(), len(own)
            expected = stats.norm.ppf((np.arange(1, n + 1) - 0.5) / n)
            color, marker = mark(fit.engine)
            label = fit_label(fit)
            # Large under small: markers that coincide must both be seen.
            size = 6.5 if number == 0 else 3.5
            face = "none" if number == 0 else color
            axes.plot(expected, values, marker, color=color, markersize=size, markerfacecolor=face, label=label)
            drawn.append(
                pd.DataFrame(
                    {
                        "fit": label,
                        "group": group,
                        "effect": term,
                        "level": own["level"],
                        "normal quantile": expected,
                        "random effect": values,
                    }
                )
            )
            if number == 0:
                axes.plot(expected, _through_quartiles(values, expected), color="black", linewidth=1)
                if np.ptp(values) > 0:
                    straight = np.corrcoef(expected, values)[0, 1]
                    words.append(f"{group} {term}: {n} levels, correlation {straight:.3f} with the normal quantiles")
                else:
                    words.append(f"{group} {term}: all {n} are the same")
        axes.set_title(plain(f"{group}: {term}"), fontsize=9)
        axes.set_xlabel("normal quantile")
    for axes in grid[:, 0]:
        axes.set_ylabel("predicted random effect")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    alt = (
        f"Normal quantile plots of the predicted random effects, a panel for each of {len(keys)} effects, with a line "
        f"through the quartiles of {fits[0].engine}'s. {'; '.join(words)}."
    )
    return described(figure, alt, pd.concat(drawn, ignore_index=True))
