"""Lines of random effects: predicted and standardized ones, and their conditional variances and covariances."""

from __future__ import annotations

import numpy as np

from concord.account.line import Line
from concord.account.predictions.sources import Sources
from concord.inference.effects import Effect, by_effect, of, pairs, unit
from concord.inference.prediction import Solution

SECTION = "random effects"


def lines(sources: Sources) -> list[Line]:
    """Every effect of every term, all its levels in a line."""
    design, found = sources.comparison.model.design, []
    units = {effect: unit(design, effect, sources.deviation**2) for effect in of(design)}
    whose = {
        (t, j): {"effect": "ran_vals", "group": design.terms[t].group, "term": design.terms[t].names[j]}
        for t, j in units
    }
    for t, j in units:
        found += sources.line(
            SECTION,
            "predicted effects",
            "random_effect",
            "random",
            lambda source, t=t, j=j: source.solution.modes[t][:, j],
            part=lambda table, t=t, j=j: by_effect(table, design, "estimate")[t, j],
            scale=units[t, j],
            **whose[t, j],
        )
    expected = {source.label: _conditional(source.solution) for source in sources.all}
    for t, j in units:
        found += sources.line(
            SECTION,
            "conditional standard errors",
            "random_effect",
            "errors",
            lambda source, pair=((t, j), (t, j)): np.sqrt(np.maximum(expected[source.label][pair], 0.0)),
            part=lambda table, t=t, j=j: _stated(by_effect(table, design, "std_error")[t, j]),
            scale=units[t, j],
            otherwise="errors",
            **whose[t, j],
        )
    for one, other in next(iter(expected.values())):
        first, second = (whose[each]["term"] for each in (one, other))
        same = one == other
        found += sources.line(
            SECTION,
            "conditional variances" if same else "conditional covariances",
            "conditional_variance",
            "conditional",
            lambda source, pair=(one, other): expected[source.label][pair],
            part=lambda spreads, pair=(one, other): spreads.get(pair),
            scale=units[one] * units[other],
            **whose[one] | {"term": first if same else f"{first}.{second}"},
            otherwise="conditional, across terms" if one[0] != other[0] else "",
        )
    for t, j in units:
        stated = [source for source in sources.all if "standardized" in source.said.values]
        if all(source.fit.covariances[t][j, j] > 0 for source in stated):
            found += sources.line(
                SECTION,
                "standardized effects",
                "standardized_effect",
                "standardized",
                lambda source, t=t, j=j: source.solution.modes[t][:, j] / np.sqrt(source.fit.covariances[t][j, j]),
                part=lambda given, t=t, j=j: given[t, j],
                **whose[t, j],
            )
    return found


def _stated(errors: np.ndarray) -> np.ndarray | None:
    """Standard errors, unless none is stated."""
    return None if np.isnan(errors).all() else errors


def _conditional(solution: Solution) -> dict[tuple[Effect, Effect], np.ndarray]:
    """The solution's conditional covariances by pair of effects of one level, shape (levels,)."""
    found = {}
    for terms, given, _ in solution.by_group:
        found |= pairs(of(solution.design, terms), given)
    return dict(sorted(found.items(), key=lambda each: (each[0][0] != each[0][1], each[0])))
