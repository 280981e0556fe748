"""How far each fit of a model is from what is certified of it, number by number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from concord.agreement.comparison import Comparison
from concord.agreement.judgement import Judgement, lre
from concord.agreement.measures import Measure
from concord.cases.certified import Quantity
from concord.engines.engine import engines, title
from concord.engines.fit import Fit

KINDS = ("loglik", "fixed", "std_error", "ran_pars")
Key = tuple[str, str, str]


def answers(comparison: Comparison, certified: Sequence[Quantity]) -> list[dict[str, Any]]:
    """Every answer of a comparison: what was fitted, and its ``numbers`` in the order of the certified ones.

    A number has its ``value``, the ``digits`` of it that are right, and whether it is ``otherwise``: by another
    definition than the certified one, and right by that. ``least`` has the least digits of each kind, those apart.
    """
    rows = []
    judged = zip(comparison.fits, comparison.judgements, comparison.measures, comparison.grades, strict=True)
    for fit, judgement, measure, grade in judged:
        numbers = _numbers(fit, measure, certified)
        rows.append({**_head(fit.engine, fit.settings), **_told(fit, judgement, grade), "numbers": numbers})
        rows[-1]["least"] = _least(numbers, certified)
    for absence in comparison.absent:
        rows.append({**_head(absence.engine, absence.settings), "absent": absence.reason})
    return rows


def _head(engine: str, settings: str) -> dict[str, str]:
    known = engines()[engine]
    return {
        "engine": engine,
        "title": title(engine),
        "language": known.language,
        "role": known.role,
        "settings": settings,
    }


def _told(fit: Fit, judgement: Judgement, grade: str) -> dict[str, Any]:
    return {
        "absent": "",
        "gap": judgement.gap if math.isfinite(judgement.gap) else None,
        "grade": grade,
        "said_so": judgement.said_so,
        "converged": fit.converged,
    }


def _numbers(fit: Fit, measure: Measure, certified: Sequence[Quantity]) -> list[dict[str, Any]]:
    values, otherwise = _values(fit), _otherwise(fit, measure)
    numbers = []
    for quantity in certified:
        key = quantity[:3]
        value = values.get(key, math.nan)
        stated = math.isfinite(value)
        # What is certified and not stated has no digit right.
        digits = (lre(value, float(quantity.value)) if stated else 0.0) if quantity.value else None
        numbers.append({"value": value if stated else None, "digits": digits, "otherwise": key in otherwise})
    return numbers


def _values(fit: Fit) -> Mapping[Key, float]:
    """What a fit states of every certified quantity, by its key."""
    values: dict[Key, float] = {("loglik", "", "logLik"): fit.loglik}
    design = fit.model.design
    for row in fit.estimates.itertuples(index=False):
        values[row.effect, row.group, row.term] = row.estimate
        if row.effect == "fixed":
            values["std_error", "", row.term] = row.std_error
    for term, covariance in zip(design.terms, fit.covariances, strict=True):
        deviations = [math.sqrt(entry) if entry >= 0 else math.nan for entry in covariance.diagonal()]
        for i, (name, deviation) in enumerate(zip(term.names, deviations, strict=True)):
            values["ran_pars", term.group, f"sd__{name}"] = deviation
            for j in range(i):
                scale = deviation * deviations[j]
                values["ran_pars", term.group, f"cor__{term.names[j]}.{name}"] = (
                    covariance[i, j] / scale if scale > 0 else math.nan
                )
    variance = fit.residual_variance
    values["ran_pars", "Residual", "sd__Observation"] = math.sqrt(variance) if variance >= 0 else math.nan
    return values


def _otherwise(fit: Fit, measure: Measure) -> set[Key]:
    """The standard errors that are the joint Hessian's, right by that, and other than those given theta."""
    stated = measure.stated
    if stated is None:
        return set()
    apart = abs(stated.std_error - stated.conditional) > stated.error_allowed
    names = fit.model.design.names
    return {
        ("std_error", "", name)
        for name, joint, holds, other in zip(names, stated.joint, stated.errors_hold, apart, strict=True)
        if joint and holds and other
    }


def _least(numbers: Sequence[Mapping[str, Any]], certified: Sequence[Quantity]) -> dict[str, float | None]:
    """The least digits of each kind, of what is a number by the certified definition."""
    least: dict[str, float | None] = {}
    for kind in KINDS:
        digits = [
            number["digits"]
            for number, quantity in zip(numbers, certified, strict=True)
            if quantity.effect == kind and number["digits"] is not None and not number["otherwise"]
        ]
        least[kind] = min(digits, default=None)
    return least
