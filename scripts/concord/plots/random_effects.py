"""Pictures of predicted random effects: a caterpillar of all sources, and how far two packages are apart by level.

Bland-Altman plots (Bland and Altman 1986, The Lancet 327, 307-310) show the difference of two methods over their mean,
with the limits between which 95 % of the differences lie.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from concord.account.predictions.sources import at_reference
from concord.agreement.comparison import Comparison
from concord.display.picture import Picture, described
from concord.inference.effects import unit
from concord.models.parameters import RANDOM_EFFECTS
from concord.models.units import effect_unit
from concord.plots.style import GREY, axis_text, effect_text, height_of, listed, mark, plain, subplots
from concord.vocabulary import INDEPENDENT

# So many levels a caterpillar can show; of more, as many are taken, evenly spread over their order.
LEVELS = 200
# Differences below this share of the effect that moves the response by a residual standard deviation say nothing of
# either package.
NOISE = 1e-5
_INDEPENDENT = ("black", "x")
_LIMIT = 1.96

Quantity = Literal["estimate", "std_error"]
_WORDS = {"estimate": "predicted effects", "std_error": "conditional standard errors"}


def caterpillar_data(comparison: Comparison, most: int = LEVELS, confidence: float = 0.95) -> pd.DataFrame:
    """What a caterpillar is drawn of.

    Parameters
    ----------
    comparison : fits of one model
    most : how many levels of a factor at most, evenly spread over the order
    confidence : of the intervals

    Returns
    -------
    pandas.DataFrame : ``group, term, level, source, estimate, std_error, lower, upper, place``; the place counts from 0
        in the order of the independent estimates, and the errors are those given the data with fixed effects known

    Raises
    ------
    ValueError : there is no fit that predicts effects
    """
    tables = _by_source(comparison)
    solution = at_reference(comparison)
    if solution is not None:
        tables[INDEPENDENT] = solution.random_effects()
    if not tables:
        raise ValueError(f"no fit of {comparison.model.id} predicts random effects")
    long = pd.concat([table.assign(source=source) for source, table in tables.items()], ignore_index=True)
    ruling = long[long["source"] == list(tables)[-1]]
    places = ruling.groupby(["group", "term"], sort=False)["estimate"].rank(method="first").astype(int) - 1
    ranked = ruling.assign(place=places)
    kept = [_spread(rows, most) for _, rows in ranked.groupby(["group", "term"], sort=False)]
    key = ["group", "term", "level"]
    table = long.merge(pd.concat(kept)[[*key, "place"]], on=key)
    width = stats.norm.ppf(0.5 + confidence / 2)
    table["lower"] = table["estimate"] - width * table["std_error"]
    table["upper"] = table["estimate"] + width * table["std_error"]
    return table[[*key, "source", "estimate", "std_error", "lower", "upper", "place"]]


def _spread(ranked: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many levels, evenly spread over their order, with new places."""
    ranked = ranked.sort_values("place", kind="stable")
    if len(ranked) > most:
        ranked = ranked.iloc[np.linspace(0, len(ranked) - 1, most).round().astype(int)]
    return ranked.assign(place=np.arange(len(ranked)))


def _by_source(comparison: Comparison) -> dict[str, pd.DataFrame]:
    """Random effects of the parties to the verdict, by label."""
    tables = {}
    for i in comparison.parties:
        try:
            table = comparison.fits[i].random_effects
        except Exception:  # at a singular matrix MixedLM predicts nothing, and says so in `random_effects.lines`
            continue
        if len(table):
            tables[comparison.labels[i]] = table[RANDOM_EFFECTS]
    return tables


def caterpillar(comparison: Comparison, most: int = LEVELS, confidence: float = 0.95) -> Picture:
    """Predicted random effects of every level with their intervals, from both packages and the independent solution.

    One panel an effect, levels in the order of the independent estimates; parameters and errors of `caterpillar_data`.
    """
    data = caterpillar_data(comparison, most, confidence)
    panels = list(data.groupby(["group", "term"], sort=False))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    tallest = int(data["place"].max()) + 1
    figure, grid = subplots(rows, columns, figsize=(4.5 * columns, rows * height_of(tallest)), squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    sources = list(dict.fromkeys(data["source"]))
    for axes, ((group, term), panel) in zip(grid.flat, panels, strict=False):
        for number, source in enumerate(sources):
            own = panel[panel["source"] == source].sort_values("place")
            color, marker = _style(comparison, source)
            height = own["place"] + 0.25 * (number - (len(sources) - 1) / 2)
            known = own["std_error"].notna()
            axes.hlines(height[known], own["lower"][known], own["upper"][known], color=color, linewidth=0.8)
            axes.plot(own["estimate"], height, marker, color=color, markersize=3, label=source)
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set_yticks([])
        shown, every = len(own), len(comparison.model.design.terms[_term(comparison, group, term)].levels)
        of_all = "" if shown == every else f" of {every}, evenly spread"
        axes.set_ylabel(plain(f"{shown} levels of {group}{of_all}, sorted"))
        axes.set_xlabel(effect_text(comparison.model, term))
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylim(-0.7, shown - 0.3)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    apart = "; ".join(_range(panel, group, term, _unit(comparison, group, term)) for (group, term), panel in panels)
    alt = (
        f"Caterpillar plot of predicted random effects with {confidence:.0%} intervals, a panel an effect, from "
        f"{listed(sources)}, sorted by the last of them. {apart}."
    )
    return described(figure, alt, data)


def _range(panel: pd.DataFrame, group: str, term: str, size: float) -> str:
    """In a sentence: where the effects lie, and how far the sources are apart at most."""
    values = panel.pivot(index="level", columns="source", values="estimate")
    last = values[panel["source"].iloc[-1]]
    apart = float((values.max(axis=1) - values.min(axis=1)).max())
    told = f"the sources are at most {apart:.2g} apart" if apart > NOISE * size else "the sources cannot be told apart"
    return f"{term} of {group} goes from {last.min():.3g} to {last.max():.3g}, where {told}"


def bland_altman_data(comparison: Comparison, of: Quantity = "estimate") -> pd.DataFrame:
    """What a Bland-Altman plot is drawn of: the second of two packages less the first, level by level.

    Parameters
    ----------
    comparison : fits of one model; the first two that give the quantity are taken, the parties if they are there
    of : ``estimate``, the predicted effects; or ``std_error``, their conditional standard errors

    Returns
    -------
    pandas.DataFrame : ``group, term, level, first, second, mean, difference`` and, the same in all rows of a panel,
        ``bias`` (the mean difference), ``lower`` and ``upper`` (bias less and plus 1.96 standard deviations of the
        differences)

    Raises
    ------
    ValueError : there are not two fits that give it
    """
    if of not in _WORDS:
        raise ValueError(f"of {of!r}: one of {', '.join(_WORDS)}")
    tables = {label: table for label, table in _by_source(comparison).items() if table[of].notna().all()}
    if len(tables) < 2:
        raise ValueError(f"{_WORDS[of]} of two fits are needed, {' and '.join(tables) or 'no fit'} has them")
    first, second = list(tables)[:2]
    key = ["group", "term", "level"]
    table = tables[first][[*key, of]].merge(tables[second][[*key, of]], on=key, suffixes=("_first", "_second"))
    table = table.rename(columns={f"{of}_first": first, f"{of}_second": second})
    table["mean"] = (table[first] + table[second]) / 2
    table["difference"] = table[second] - table[first]
    panels = table.groupby(["group", "term"], sort=False)["difference"]
    table["bias"] = panels.transform("mean")
    spread = panels.transform("std").fillna(0.0)
    table["lower"], table["upper"] = table["bias"] - _LIMIT * spread, table["bias"] + _LIMIT * spread
    return table


def bland_altman(comparison: Comparison, of: Quantity = "estimate") -> Picture:
    """Differences of two packages' random effects over their mean, one panel an effect.

    The zero line is grey, the mean difference dashed, the limits dotted. Differences are drawn in a power of ten that
    stands on the axis, so that those of rounding can be read. Parameters and errors of `bland_altman_data`.
    """
    data = bland_altman_data(comparison, of)
    first, second = data.columns[3:5]
    panels = list(data.groupby(["group", "term"], sort=False))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = subplots(rows, columns, figsize=(4.5 * columns, 3.4 * rows), squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    color, marker = _style(comparison, second)
    findings = []
    for axes, ((group, term), panel) in zip(grid.flat, panels, strict=False):
        bias, lower, upper = panel[["bias", "lower", "upper"]].iloc[0]
        power = _power(np.abs(np.r_[panel["difference"], lower, upper]).max())
        unit = 10.0**power
        axes.plot(panel["mean"], panel["difference"] / unit, marker, color=color, markersize=4, alpha=0.7)
        axes.axhline(0, color=GREY, linewidth=1)
        axes.axhline(bias / unit, color="black", linewidth=1.2, linestyle="--", label="mean difference")
        for limit, label in ((lower, "mean ± 1.96 sd"), (upper, None)):
            axes.axhline(limit / unit, color="black", linewidth=1.2, linestyle=":", label=label)
        axes.set_title(plain(f"{group}: {term}"), fontsize=10, loc="left")
        axes.set_xlabel(axis_text("mean of both", effect_unit(comparison.model, term)))
        axes.set_ylabel(plain(f"{second} − {first}" + (f"  (1e{power})" if power else "")))
        axes.locator_params(nbins=5)
        axes.ticklabel_format(useOffset=False, scilimits=(-3, 4))
        largest = float(panel["difference"].abs().max())
        size = _unit(comparison, group, term)
        share = f"{largest / size:.2g}" if largest > NOISE * size else f"less than {NOISE:g}"
        findings.append(f"{share} for {term} of {group}")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    alt = (
        f"Bland-Altman plot of {_WORDS[of]}: {second} less {first} over the mean of both, a point a level, a panel an "
        f"effect, with the mean difference and the limits at 1.96 standard deviations. The largest difference, in "
        f"units of the effect that moves the response by one residual standard deviation, is {listed(findings)}."
    )
    return described(figure, alt, data)


def _power(largest: float) -> int:
    """The power of ten that differences are shown in: none between a hundredth and ten thousand."""
    power = int(np.floor(np.log10(largest))) if largest > 0 else 0
    return 0 if -2 <= power < 4 else power


def _term(comparison: Comparison, group: str, name: str) -> int:
    terms = enumerate(comparison.model.design.terms)
    return next(t for t, term in terms if term.group == group and name in term.names)


def _unit(comparison: Comparison, group: str, name: str) -> float:
    design, t = comparison.model.design, _term(comparison, group, name)
    return unit(design, (t, design.terms[t].names.index(name)), max(fit.residual_variance for fit in comparison.fits))


def _style(comparison: Comparison, source: str) -> tuple[str, str]:
    if source == INDEPENDENT:
        return _INDEPENDENT
    return mark(comparison.fits[comparison.labels.index(source)].engine)
