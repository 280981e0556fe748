"""Lines of the criteria of fits: logLik, parameters, AIC, BIC, deviance, residual degrees of freedom and rows, as every
package states them, held to what follows from the independent likelihood at the package's own estimates (`criteria`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from concord import r
from concord.account.line import Line
from concord.account.nested_models import candidate
from concord.agreement.comparison import Comparison
from concord.engines.fit import Fit
from concord.engines.tuning import recomputed
from concord.inference.criteria import Candidate
from concord.models.design import Design

_R = Path(__file__).with_suffix(".R")

SECTION = "criteria"
# What a quantity's parts are called in what a fit is asked.
_QUANTITIES = {
    "loglik": ("log-likelihood", "criterion"),
    "df": ("number of parameters", "count"),
    "aic": ("AIC", "criterion"),
    "bic": ("BIC", "criterion"),
    "deviance": ("deviance", "criterion"),
    "df_residual": ("residual degrees of freedom", "count"),
    "nobs": ("number of rows", "count"),
}
_NO_DEVIANCE = "it has no deviance of a mixed model, -2 logLik says the same"


def lines(comparison: Comparison) -> list[Line]:
    """Every criterion of a comparison's fits, as each package states it.

    Held against the independent log-likelihood at each package's own estimates, put together by that package's own
    convention (`criteria.Candidate`); the reference has lme4's.
    """
    found = {label: judgement.fit for label, judgement in comparison.judged if not judgement.fit.violation}
    if not found:
        return []
    stated, own = {}, {}
    for label, fit in found.items():
        stated[label] = fit.ask(stated_by_mixedlm if fit.engine == "statsmodels" else stated_by_r)
        own[label] = candidate(fit.model, recomputed(fit, comparison.against.likelihood))
    at_reference = candidate(comparison.model, comparison.against.level)
    made = []
    for key, (name, tolerance) in _QUANTITIES.items():
        values, expected, definitions, absent = {}, {}, {}, {}
        for label, fit in found.items():
            # What the fit itself holds is what is shown of it everywhere.
            value = fit.loglik if key == "loglik" else stated[label][key]
            if isinstance(value, str):
                absent[label] = value
                continue
            defined, number = _by_its_definition(key, fit, own[label], bool(stated[label].get("held")))
            values[label], expected[label] = value, number
            if defined:
                definitions[label] = defined
        if not values:
            continue
        made.append(
            Line(
                SECTION,
                name,
                tolerance,
                values,
                definitions,
                expected,
                absent=absent,
                # A number of rows or parameters is the same wherever a fit stops.
                short=tolerance != "count" and comparison.apart,
                rounding=_lost(comparison, key) if tolerance == "criterion" else {},
                independent=_by_its_definition(key, None, at_reference, False)[1],
            )
        )
    return made


def _lost(comparison: Comparison, key: str) -> dict[str, float]:
    """What rounding can do to a criterion of every fit: to its log-likelihood, or to twice that."""
    times = 1 if key == "loglik" else 2
    return {
        label: times * each.resolution.stated
        for label, each in zip(comparison.labels, comparison.measures, strict=True)
    }


def _by_its_definition(key: str, fit: Fit | None, own: Candidate, held: bool) -> tuple[str, float]:
    """The name of a package's definition, empty for the common one, and what it gives of a candidate."""
    engine = fit.engine if fit else ""
    common = {
        "loglik": own.loglik,
        "df": own.df,
        "aic": own.aic,
        "bic": own.bic(),
        "deviance": own.deviance,
        "df_residual": own.n - own.df,
        "nobs": own.n,
    }
    if engine == "statsmodels" and key == "df":
        if held:
            return "parameters_with_those_held", own.p + _together(own.design)
        return "parameters_without_the_residual_variance", own.df - 1
    if engine == "statsmodels" and key == "df_residual":
        return "rows_less_fixed_effects", own.n - own.p
    if engine == "nlme" and key == "bic" and own.reml:
        return "bic_of_contrasts", own.bic("contrasts") + 2 * fit.shift
    if key in ("loglik", "aic", "bic", "deviance") and fit and fit.shift:
        sign = 1 if key == "loglik" else -2
        return "reml_in_another_coding", common[key] - sign * fit.shift
    return "", common[key]


def _together(design: Design) -> int:
    """Variances and covariances where all terms of one group are one term."""
    sizes: dict[str, int] = {}
    for term in design.terms:
        sizes[term.group] = sizes.get(term.group, 0) + len(term.names)
    return sum(q * (q + 1) // 2 for q in sizes.values())


def stated_by_r(fit: Fit) -> dict[str, Any]:
    """What ``logLik``, ``AIC``, ``BIC``, ``deviance`` (``REMLcrit``), ``df.residual`` and ``nobs`` say of a fit by lme4
    or nlme: numbers, or why there is none.
    """
    got = {key: float(value[0]) for key, value in r.from_r(r.call(r.source(_R)["criteria"], fit.native)).items()}
    if fit.engine == "nlme":
        got = {
            **got,
            "deviance": _NO_DEVIANCE,
            "df_residual": "it has residual degrees of freedom of every term, none of the model",
        }
    return got


def stated_by_mixedlm(fit: Fit) -> dict[str, Any]:
    """What a MixedLM result's attributes say: numbers, or why there is none."""
    results = getattr(fit.native, "_results", fit.native)
    none = "it gives NaN under REML"
    # AIC and BIC read `llf`, and that the model object's present method: held as the fit was made.
    made, present = results.model, results.model.reml
    try:
        made.reml = results.reml
        aic, bic = float(results.aic), float(results.bic)
    finally:
        made.reml = present
    return {
        "loglik": fit.loglik,
        "df": float(results.df_modelwc),
        "aic": none if math.isnan(aic) else aic,
        "bic": none if math.isnan(bic) else bic,
        "deviance": _NO_DEVIANCE,
        "df_residual": float(results.df_resid),
        "nobs": float(results.nobs),
        "held": results.freepat is not None,
    }
