"""Lines of random effects: predicted and standardized ones, and their conditional variances and covariances."""

from __future__ import annotations

import numpy as np

from concord.account.line import Line
from concord.account.predictions.sources import Sources
from concord.inference.effects import Effect, by_effect, effects_of, pairs, unit
from concord.inference.prediction import Solution

SECTION = "random effects"


def lines(sources: Sources) -> list[Line]:
    """Every effect of every term, all its levels in a line."""
    design = sources.comparison.model.design
    units = {effect: unit(design, effect, sources.deviation**2) for effect in effects_of(design)}
    expected = {source.label: _conditional(source.solution) for source in sources.all}
    whose = {
        (t, j): {"effect": "ran_vals", "group": design.terms[t].group, "term": design.terms[t].names[j]}
        for t, j in units
    }

    def predicted(t: int, j: int) -> list[Line]:
        return sources.line(
            SECTION,
            "predicted effects",
            "random_effect",
            "random",
            lambda source: source.solution.modes[t][:, j],
            part=lambda table: by_effect(table, design, "estimate")[t, j],
            scale=units[t, j],
            **whose[t, j],
        )

    def errors(t: int, j: int) -> list[Line]:
        return sources.line(
            SECTION,
            "conditional standard errors",
            "random_effect",
            "errors",
            lambda source: np.sqrt(np.maximum(expected[source.label][(t, j), (t, j)], 0.0)),
            part=lambda table: _stated(by_effect(table, design, "std_error")[t, j]),
            scale=units[t, j],
            otherwise="errors",
            **whose[t, j],
        )

    def conditional(one: Effect, other: Effect) -> list[Line]:
        first, second = (whose[effect]["term"] for effect in (one, other))
        same = one == other
        return sources.line(
            SECTION,
            "conditional variances" if same else "conditional covariances",
            "conditional_variance",
            "conditional",
            lambda source: expected[source.label][one, other],
            part=lambda spreads: spreads.get((one, other)),
            scale=units[one] * units[other],
            **whose[one] | {"term": first if same else f"{first}.{second}"},
            otherwise="conditional, across terms" if one[0] != other[0] else "",
        )

    def standardized(t: int, j: int) -> list[Line]:
        stated = [source for source in sources.all if "standardized" in source.said.values]
        if not all(source.fit.covariances[t][j, j] > 0 for source in stated):
            return []
        return sources.line(
            SECTION,
            "standardized effects",
            "standardized_effect",
            "standardized",
            lambda source: source.solution.modes[t][:, j] / np.sqrt(source.fit.covariances[t][j, j]),
            part=lambda matrix: matrix[t, j],
            **whose[t, j],
        )

    groups = [predicted(*pair) for pair in units] + [errors(*pair) for pair in units]
    groups += [conditional(one, other) for one, other in next(iter(expected.values()))]
    groups += [standardized(*pair) for pair in units]
    return [line for group in groups for line in group]


def _stated(errors: np.ndarray) -> np.ndarray | None:
    """Standard errors, unless none is stated."""
    return None if np.isnan(errors).all() else errors


def _conditional(solution: Solution) -> dict[tuple[Effect, Effect], np.ndarray]:
    """The solution's conditional covariances by pair of effects of one level, shape (levels,)."""
    covariances: dict[tuple[Effect, Effect], np.ndarray] = {}
    for terms, covariance, _ in solution.by_group:
        covariances |= pairs(effects_of(solution.design, terms), covariance)
    return dict(sorted(covariances.items(), key=lambda item: (item[0][0] != item[0][1], item[0])))
