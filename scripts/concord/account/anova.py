"""R's own anova(), its numbers held to the independent likelihood's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from concord.account.line import Line
from concord.account.nested_models import candidate, nested, related, restriction
from concord.agreement.comparison import Comparison
from concord.agreement.table import OPTIMUM
from concord.agreement.tolerances import allowed_gap
from concord.engines.statements import statements
from concord.inference import criteria
from concord.inference.criteria import Candidate, likelihood_ratio
from concord.models.model import Model
from concord.reference import reference

SECTION = "anova"
# The columns of its table, and how far each may be off.
_COLUMNS = (
    ("npar", "count"),
    ("AIC", "criterion"),
    ("BIC", "criterion"),
    ("logLik", "criterion"),
    ("deviance", "criterion"),
    ("Chisq", "likelihood_ratio"),
    ("Df", "count"),
    ("Pr(>Chisq)", "p_value"),
)


@dataclass(frozen=True, eq=False)
class RAnova:
    """What R's own anova() says of fits, beside the same numbers at the optima of the independent likelihood.

    Attributes
    ----------
    text : as R prints it
    lines : its numbers, at the estimates of the fits that it rests on (refitted by ML where R does)
    notes : what R said, and what is to be said with it
    """

    text: str
    lines: list[Line]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return "\n".join([self.text, *self.notes])


def anova(comparison: Comparison, others: Sequence[Model] | None = None, refit: bool = True) -> RAnova | None:
    """R's anova() of a fit in a comparison and of fits of other models, made where that fit is.

    Parameters
    ----------
    comparison : of fits of one model, one among them by a package that has an anova(); the tuned one is taken where
        there are several
    others : the other models; by default those that are its `relatives`
    refit : as R, take fits by REML at their ML optimum; without it, models by REML with other fixed effects are refused

    Returns
    -------
    what R says; None where no package with an anova() has a fit, or there is no other model

    Raises
    ------
    NotComparable : without `refit`, models by REML with other fixed effects
    """
    asked = [(fit, question) for fit in comparison.fits if (question := statements(fit.engine).anova)]
    asked.sort(key=lambda pair: pair[0].settings != "tuned")
    others = nested(comparison.model) if others is None else list(others)
    if not asked or not others:
        return None
    fit, question = asked[0]
    model = fit.model
    if not refit and model.reml:
        for other in others:
            likelihood_ratio(candidate(model, 0.0), candidate(other, 0.0))
    told = question(fit, others, refit)
    method = "REML" if model.reml and not refit else "ML"
    by_method = [
        one_model if one_model.method == method else replace(one_model, method=method) for one_model in (model, *others)
    ]
    ordered = sorted(by_method, key=lambda one_model: one_model.size)
    candidates = [candidate(one_model, told.own[one_model.name]) for one_model in ordered]
    tops = [candidate(one_model, reference.of(one_model).level) for one_model in ordered]
    allowed = allowed_gap("default", model)
    notes = list(told.said)
    behind = {top.name: top.loglik - own.loglik for top, own in zip(tops, candidates, strict=True)}
    notes += [
        f"R's own fit of {name} is {gap:.3g} short of the optimum" for name, gap in behind.items() if gap > allowed
    ]
    if method != model.method:
        notes.append(
            "anova() tests every model against the row above it, from fits by ML: its Chisq is not the ratio of "
            "the fits by REML"
        )
    lines = []
    for i, name in enumerate(told.names):
        wanted, independent = (_row(side, i) for side in (candidates, tops))
        tested_here = i > 0 and related(ordered[i - 1], ordered[i])
        if i > 0 and not tested_here:
            notes.append(f"{name} and {ordered[i - 1].name} are not nested: R prints a test all the same")
        elif i > 0 and restriction(ordered[i - 1], ordered[i]).boundary:
            notes.append(
                f"{ordered[i - 1].name} in {name}: a variance is zero there, and Pr(>Chisq), which supposes a "
                "chi-squared distribution, too large"
            )
        for j, (quantity, tolerance) in enumerate(_COLUMNS):
            value = float(told.numbers[i, j])
            if math.isnan(value):
                continue
            unlike = [fit.engine, OPTIMUM] if j >= 5 and not tested_here else []
            lines.append(
                Line(
                    SECTION,
                    quantity,
                    tolerance,
                    {fit.engine: value, OPTIMUM: independent[j]},
                    dict.fromkeys(unlike, "neighbours_whether_nested_or_not"),
                    {fit.engine: wanted[j], OPTIMUM: independent[j]},
                    term=name,
                    short=max(behind.values()) > allowed,
                )
            )
    return RAnova(told.text, lines, tuple(notes))


def _row(side: Sequence[Candidate], i: int) -> tuple[float, ...]:
    """The numbers of R's anova() in the row of the candidate numbered i: tested against the one before."""
    tested = side[i]
    head = (tested.df, tested.aic, tested.bic(), tested.loglik, tested.deviance)
    if not i:
        return (*head, math.nan, math.nan, math.nan)
    before = side[i - 1]
    statistic, df = max(0.0, before.deviance - tested.deviance), tested.df - before.df
    return (*head, statistic, df, criteria.mixture_p(statistic, ((df, 1.0),)) if df else math.nan)
