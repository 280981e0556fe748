"""Lines of the criteria of fits: logLik, parameters, AIC, BIC, deviance, residual degrees of freedom and rows, as every
package states them, held to what follows from the independent likelihood at the package's own estimates (`criteria`).
"""

from __future__ import annotations

from collections.abc import Callable

from concord.account.line import Line
from concord.account.nested_models import candidate
from concord.agreement.comparison import Comparison
from concord.engines.statements import NOT_ASKED, Statement, statements
from concord.engines.tuning import recomputed
from concord.inference.criteria import Candidate
from concord.models.design import Design

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
NOTHING = Statement(why=NOT_ASKED)


def lines(comparison: Comparison) -> list[Line]:
    """Every criterion of a comparison's fits, as each package states it.

    Held against the independent log-likelihood at each package's own estimates, put together by that package's own
    convention (`criteria.Candidate`); the reference has lme4's.
    """
    fits = {label: judgement.fit for label, judgement in comparison.judged if not judgement.fit.violation}
    if not fits:
        return []
    asked = {label: statements(fit.engine).criteria for label, fit in fits.items()}
    stated = {label: question(fits[label]) for label, question in asked.items() if question}
    own = {label: candidate(fit.model, recomputed(fit, comparison.against.likelihood)) for label, fit in fits.items()}
    at_reference = candidate(comparison.model, comparison.against.level)
    all_lines = []
    for key, (name, tolerance) in _QUANTITIES.items():
        values, expected, definitions, absent = {}, {}, {}, {}
        for label, fit in fits.items():
            # What the fit itself holds is what is shown of it everywhere.
            said = Statement(fit.stated_loglik) if key == "loglik" else getattr(stated.get(label), key, NOTHING)
            if said.value is None:
                absent[label] = said.reason()
                continue
            values[label] = said.value
            definitions[label], expected[label] = _by_definition(key, said.definition, own[label], fit.shift)
        definitions = {label: name for label, name in definitions.items() if name}
        if not values:
            continue
        all_lines.append(
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
                independent=_by_definition(key, "", at_reference)[1],
            )
        )
    return all_lines


def _lost(comparison: Comparison, key: str) -> dict[str, float]:
    """What rounding can do to a criterion of every fit: to its log-likelihood, or to twice that."""
    times = 1 if key == "loglik" else 2
    return {
        label: times * measure.resolution.stated
        for label, measure in zip(comparison.labels, comparison.measures, strict=True)
    }


def _by_definition(key: str, definition: str, own: Candidate, shift: float = 0.0) -> tuple[str, float]:
    """A package's definition of a criterion, empty for the common one, and what it gives of a candidate.

    Parameters
    ----------
    key : which criterion
    definition : the name of the package's definition
    own : with the log-likelihood at the package's estimates
    shift : of the package's log-likelihood, which is that of another coding (`Fit.shift`)
    """
    common = {
        "loglik": own.loglik,
        "df": own.df,
        "aic": own.aic,
        "bic": own.bic(),
        "deviance": own.deviance,
        "df_residual": own.n - own.df,
        "nobs": own.n,
    }
    others: dict[str, Callable[[], float]] = {
        "parameters_with_those_held": lambda: own.p + _together(own.design),
        "parameters_without_the_residual_variance": lambda: own.df - 1,
        "rows_less_fixed_effects": lambda: own.n - own.p,
        "bic_of_contrasts": lambda: own.bic(of_contrasts=True) + 2 * shift,
    }
    if definition:
        return definition, others[definition]()
    if key in ("loglik", "aic", "bic", "deviance") and shift:
        return "reml_in_another_coding", common[key] - (1 if key == "loglik" else -2) * shift
    return "", common[key]


def _together(design: Design) -> int:
    """Variances and covariances where all terms of one group are one term."""
    sizes: dict[str, int] = {}
    for term in design.terms:
        sizes[term.group] = sizes.get(term.group, 0) + len(term.names)
    return sum(q * (q + 1) // 2 for q in sizes.values())
