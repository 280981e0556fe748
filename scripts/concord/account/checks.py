"""Checks: what each package looks at to say that a fit is at the optimum or on the boundary, and whether it is right.

lme4 takes derivatives of the deviance by differences, in theta, and compares theta's diagonal with its bound. MixedLM
has an exact score, in the entries of a Cholesky factor of the covariance matrix over the residual variance, and
compares variances with 0.01. Each is held against the independent criterion's derivatives in the package's own
parameters; what makes them comparable is the relative gradient, 2 F' G F for a factor F of a covariance matrix and the
deviance's derivatives G with respect to that matrix: its eigenvalues are the same in every coding and for every factor,
and for a single effect they are the derivative with respect to the logarithm of its standard deviation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from concord.account.line import Line
from concord.agreement.comparison import Comparison
from concord.engines.statements import Checks, Statement, statements
from concord.inference.gradients import filled, largest
from concord.likelihood.likelihood import LikelihoodError

SECTION = "checks"


def answers(comparison: Comparison) -> dict[str, Checks]:
    """What every fit's package checks, by the fit's label, where it states that."""
    by_label = {}
    for label, measured in zip(comparison.labels, comparison.measures, strict=True):
        question = statements(measured.fit.engine).checks
        if question and not measured.fit.violation:
            by_label[label] = question(measured.fit, measured.resolution.stated)
    return by_label


def lines(comparison: Comparison, asked: dict[str, Checks] | None = None) -> list[Line]:
    """Gradients and boundaries as every package states them, beside the independent criterion's.

    Parameters
    ----------
    comparison : of fits of one model
    asked : what `answers` gave, where it was already asked for
    """
    asked = answers(comparison) if asked is None else asked
    absent = {
        label: "it states neither gradient nor boundary"
        for label, judgement in comparison.judged
        if not statements(judgement.fit.engine).checks
    }
    all_lines = [
        _line(comparison, derivative.quantity, "gradient", {label: derivative}, scale=_size(derivative.value))
        for label, said in asked.items()
        for derivative in said.derivatives
    ]
    for label, said in asked.items():
        scale = max(1.0, said.least.expected)
        all_lines.append(_line(comparison, said.least.quantity, "least", {label: said.least}, scale=scale))
    relative = {label: said.relative for label, said in asked.items() if said.relative}
    boundary = {label: said.boundary for label, said in asked.items()}
    independent = float(comparison.against.boundary)
    if relative:
        name = "largest relative gradient"
        all_lines.append(
            _line(comparison, name, "gradient", relative, absent=absent, independent=_at_reference(comparison))
        )
    if boundary:
        name = "on the boundary (1) or not (0)"
        all_lines.append(_line(comparison, name, "count", boundary, absent=absent, independent=independent))
    return all_lines


def _line(comparison: Comparison, quantity: str, tolerance: str, stated: dict[str, Statement], **named: Any) -> Line:
    return Line(
        SECTION,
        quantity,
        tolerance,
        {label: _number(statement.value) for label, statement in stated.items()},
        {label: statement.definition for label, statement in stated.items() if statement.definition},
        {label: _number(statement.expected) for label, statement in stated.items()},
        rounding={label: statement.rounding for label, statement in stated.items() if statement.rounding},
        short=comparison.apart,
        **named,
    )


def _number(value: Any) -> Any:
    """A truth value as a number; an array as it is."""
    return float(value) if np.ndim(value) == 0 else value


def _size(values: Any) -> float:
    """The size of an array; a number has its own."""
    return float(np.abs(values).max(initial=0.0)) if np.ndim(values) else math.nan


def _at_reference(comparison: Comparison) -> float:
    """The largest relative gradient at the reference, in the independent likelihood's own coordinates."""
    likelihood = comparison.against.likelihood
    best = comparison.against.parameters
    try:
        theta = likelihood.theta_at(best)
    except LikelihoodError:
        return math.nan
    sizes = [len(term.names) for term in comparison.model.design.terms]
    slopes = likelihood.criterion_and_gradient(theta)[1]
    return largest(likelihood.factors(theta), filled(slopes, sizes, by_column=True))


# ---- the table -----------------------------------------------------------------------------------------------------


def table(comparison: Comparison, asked: dict[str, Checks] | None = None) -> pd.DataFrame:
    """What each package's checks say, and whether that is right.

    Parameters
    ----------
    comparison : of fits of one model
    asked : what `answers` gave, where it was already asked for

    Returns
    -------
    pandas.DataFrame : one row a fit and check, ``source, check, value, threshold, says, truth, right``. ``right`` is
        ``yes``, ``false alarm`` or ``missed``; of convergence the truth is whether the fit is at the optimum, of the
        boundary whether the optimum is on it
    """
    asked = answers(comparison) if asked is None else asked
    rows = []
    for label, judgement in comparison.judged:
        fit, said = judgement.fit, asked.get(label)
        short = comparison.below(judgement)
        where = f"{judgement.gap:.3g} below the optimum" if short else "at the optimum"
        converged = "says that it has converged" if fit.converged else "says that it has not"
        rows.append((label, "convergence", math.nan, math.nan, converged, where, _right(not fit.converged, short)))
        if said is None:
            continue
        if said.compared is not None:
            # A singular fit's derivatives lme4 does not look at; one that cannot be scaled it warns of.
            row = (label, "gradient", said.compared, said.allowed)
            if not said.looked:
                rows.append((*row, "not looked at", where, ""))
            else:
                alarm = not said.compared <= said.allowed
                rows.append((*row, "warns" if alarm else "passes", where, _right(alarm, short)))
        on, alarm = comparison.against.boundary, bool(said.boundary.value)
        truth = "the optimum is on the boundary" if on else "the optimum is inside"
        words = "warns" if alarm else "passes"
        rows.append((label, "boundary", said.least.value, said.threshold, words, truth, _right(alarm, on)))
        if said.stop is not None:
            turned = said.stop.turned
            words = f"{turned} of {len(said.stop.at)} derivatives have the wrong sign" if turned else "right signs"
            reason = (
                "a diagonal entry of the factor is negative there" if turned else "the factor's diagonal is positive"
            )
            verdict = "wrong sign" if turned else "yes"
            rows.append((label, "score at its first stop", math.nan, math.nan, words, reason, verdict))
    return pd.DataFrame(rows, columns=["source", "check", "value", "threshold", "says", "truth", "right"])


def _right(alarm: bool, wrong: bool) -> str:
    if alarm == wrong:
        return "yes"
    return "false alarm" if alarm else "missed"
