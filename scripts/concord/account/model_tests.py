"""Evidence for one model over another: likelihood-ratio tests of nested models, from every package's log-likelihoods.

Each is held against the same test from the independent log-likelihoods at the package's own estimates. What is nested
is worked out in `nesting`, which models are asked in `relatives`, and the distribution of the ratio in `criteria`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from concord.account.line import Line
from concord.account.nested_models import candidate, nested, restriction
from concord.agreement.comparison import Comparison
from concord.agreement.tolerances import allowed_gap
from concord.engines.answers import Absence, Answer, answer
from concord.engines.engine import contenders, parties
from concord.engines.fit import Fit
from concord.engines.tuning import recomputed
from concord.inference import criteria
from concord.inference.criteria import Candidate, LikelihoodRatio, NotComparable, likelihood_ratio
from concord.likelihood.likelihood import LikelihoodError
from concord.models.model import Model
from concord.models.nesting import NotNested
from concord.reference import reference
from concord.vocabulary import INDEPENDENT

SECTION = "likelihood-ratio tests"
LINEAR = "no random effects"

NOT_COMPARABLE = (
    "by REML the log-likelihoods of models with other fixed effects are not comparable, for each is of what its own "
    "fixed effects leave of the response: both were fitted again by ML"
)

Fitted = Callable[[Model, str], Answer]
"""What an engine says of another model: ``fitted(model, engine)``."""


@dataclass(frozen=True, eq=False)
class Tested:
    """The likelihood-ratio test of one pair of nested models, from every package's log-likelihoods.

    Attributes
    ----------
    null, alternative : names of the models
    ratios : by package, from the log-likelihoods that it states
    expected : by package, from the independent log-likelihoods at its own estimates
    independent : from the optima of the independent likelihood; None where there is none
    absent : by package, why there is none
    refused : why a test would mean nothing; empty where it does not
    short : whether one of the fits is short of its optimum
    noise : statistics below this are zero: what the settings allow two fits to be apart by
    said : what else is to be known of it
    """

    null: str
    alternative: str
    ratios: Mapping[str, LikelihoodRatio]
    expected: Mapping[str, LikelihoodRatio]
    independent: LikelihoodRatio | None
    absent: Mapping[str, str]
    refused: str = ""
    short: bool = False
    noise: float = 0.0
    said: str = ""

    @property
    def title(self) -> str:
        """The pair in words."""
        return f"{self.null} in {self.alternative}"

    @property
    def remark(self) -> str:
        """What is to be known of it; empty where a chi-squared distribution holds, or nothing was tested."""
        some = self.independent or next(iter(self.ratios.values()), None)
        return "; ".join(filter(None, [self.said, some.remark if some else ""]))


def tested(
    comparison: Comparison, settings: str = "tuned", fitted: Fitted | None = None, linear: bool = True
) -> list[Tested]:
    """Tests of a comparison's model with every one of its `relatives`, and with the linear model.

    By REML two models with other fixed effects are not comparable: both are fitted again, by ML.

    Parameters
    ----------
    comparison : of fits of one model; its own fits are used where they are by `settings`, others are made
    settings : of the fits that the tests are made from
    fitted : how another model is fitted; by default here and now
    linear : whether to test the model against the one without random effects too
    """
    model, fitted = comparison.model, fitted or (lambda model, engine: answer(model, engine, settings))
    own = {fit.engine: fit for fit in comparison.fits if fit.settings == settings}
    asked = [engine for engine in contenders() if engine in own or engine in parties()]
    answers = {engine: own.get(engine) or fitted(model, engine) for engine in asked}
    pairs = []
    if linear:
        pairs.append(_pair(model, answers, None, {}, comparison.against))
    for other in nested(model):
        if model.reml and restriction(model, other).fixed:
            pairs.append(by_ml(model, other, asked, fitted))
            continue
        theirs = {engine: fitted(other, engine) for engine in asked}
        pairs.append(_pair(model, answers, other, theirs, comparison.against))
    return pairs


def by_ml(model: Model, other: Model, engines: Sequence[str], fitted: Fitted) -> Tested:
    """The test of two models with other fixed effects, both fitted by ML."""
    one, two = (each if each.method == "ML" else replace(each, method="ML") for each in (model, other))
    answers, theirs = ({engine: fitted(each, engine) for engine in engines} for each in (one, two))
    pair = _pair(one, answers, two, theirs, reference.of(one))
    return replace(pair, said=NOT_COMPARABLE) if model.reml else pair


def of_two(model: Model, other: Model, engines: Sequence[str], fitted: Fitted) -> Tested:
    """The test of any two models: refused with the reason where neither is a special case of the other."""
    try:
        held = restriction(model, other)
    except NotNested as error:
        names = [one_model.name for one_model in sorted((model, other), key=lambda one_model: one_model.size)]
        return Tested(names[0], names[1], {}, {}, None, {}, refused=str(error))
    if held.fixed:
        return by_ml(model, other, engines, fitted)
    answers, theirs = ({engine: fitted(one_model, engine) for engine in engines} for one_model in (model, other))
    return _pair(model, answers, other, theirs, reference.of(model))


def _pair(
    model: Model,
    answers: Mapping[str, Answer],
    other: Model | None,
    theirs: Mapping[str, Answer],
    against: reference.Reference,
) -> Tested:
    """The test of a model against another one, or against the linear model where there is no other."""
    models = [model] if other is None else [model, other]
    smaller, larger = (None, model) if other is None else sorted((other, model), key=lambda one_model: one_model.size)
    names = (smaller.name if smaller else LINEAR), larger.name
    bare = criteria.linear(model.design, model.reml, LINEAR)

    def ratio(candidates: Sequence[Candidate]) -> LikelihoodRatio:
        first, second = (*candidates, bare)[:2]
        return likelihood_ratio(second, first)

    try:
        tops = [against, *(reference.of(one_model) for one_model in models[1:])]
        independent = ratio([candidate(one_model, top.level) for one_model, top in zip(models, tops, strict=True)])
    except NotComparable as error:
        return Tested(*names, {}, {}, None, {}, refused=str(error))
    except LikelihoodError as error:
        why = f"the independent likelihood of {models[-1].name} has no optimum: {error}"
        return Tested(*names, {}, {}, None, {}, refused=why)
    ratios: dict[str, LikelihoodRatio] = {}
    expected: dict[str, LikelihoodRatio] = {}
    absent: dict[str, str] = {}
    short, noise = False, 0.0
    for engine in answers:
        said = [answers[engine]] if other is None else [answers[engine], theirs[engine]]
        fits = [one for one in said if isinstance(one, Fit)]
        reasons = [one.reason for one in said if isinstance(one, Absence)]
        reasons += [f"{fit.model.name}: {fit.violation}" for fit in fits if fit.violation]
        if reasons:
            absent[engine] = reasons[0]
            continue
        levels = [recomputed(fit, top.likelihood) for fit, top in zip(fits, tops, strict=True)]
        limits = [allowed_gap(fit.settings, fit.model) for fit in fits]
        short |= any(not top.level - level <= limit for top, level, limit in zip(tops, levels, limits, strict=True))
        noise = max(noise, 4 * max(limits))
        ratios[engine] = ratio([candidate(fit.model, fit.loglik) for fit in fits])
        expected[engine] = ratio([candidate(fit.model, level) for fit, level in zip(fits, levels, strict=True)])
    return Tested(*names, ratios, expected, independent, absent, short=short, noise=noise)


def _of(subject: Comparison | Sequence[Tested]) -> Sequence[Tested]:
    """Tests that were made, or those of a comparison."""
    return tested(subject) if isinstance(subject, Comparison) else subject


def tests_table(subject: Comparison | Sequence[Tested]) -> pd.DataFrame:
    """Every test with its naive and its boundary's p-value, one row a pair and source.

    Parameters
    ----------
    subject : a comparison, or what `tested` made of it

    Returns
    -------
    pandas.DataFrame : ``null, alternative, source, statistic, df, naive_p, mixture, p, p_low, p_high, note``; a test
        that would mean nothing has one row without numbers, and the reason in `note`
    """
    rows = []
    for pair in _of(subject):
        head: dict[str, Any] = {"null": pair.null, "alternative": pair.alternative}
        if pair.refused:
            rows.append({**head, "note": f"not tested: {pair.refused}"})
            continue
        said = [pair.said] if pair.said else []
        sources = {**pair.ratios, **({INDEPENDENT: pair.independent} if pair.independent else {})}
        for source, ratio in sources.items():
            still = _still(ratio, pair.noise)
            low, high = still.p_bounds
            rows.append(
                {
                    **head,
                    "source": source,
                    "statistic": ratio.statistic,
                    "df": ratio.df,
                    "naive_p": still.naive,
                    "mixture": _mixture(ratio),
                    "p": still.p_value,
                    "p_low": low,
                    "p_high": high,
                    "note": "; ".join(
                        [*said, *ratio.notes, *(["zero within tolerance"] if still is not ratio else [])]
                    ),
                }
            )
        rows += [{**head, "source": source, "note": f"no fit: {why}"} for source, why in pair.absent.items()]
    columns = ["null", "alternative", "source", "statistic", "df", "naive_p", "mixture", "p", "p_low", "p_high", "note"]
    table = pd.DataFrame(rows, columns=columns)
    words = ["source", "mixture", "note"]
    table[words] = table[words].astype(object).fillna("")
    return table


def _mixture(ratio: LikelihoodRatio) -> str:
    if not ratio.weights:
        return "depends on the data: bounds only"
    return " + ".join(
        f"{weight:g} chi2({df})" if len(ratio.weights) > 1 else f"chi2({df})" for df, weight in ratio.weights
    )


def _still(ratio: LikelihoodRatio, noise: float) -> LikelihoodRatio:
    """With a statistic of zero where it is zero within what fits may be apart by: there a p-value jumps."""
    return replace(ratio, statistic=0.0) if 0 < ratio.statistic <= noise else ratio


def test_lines(subject: Comparison | Sequence[Tested]) -> list[Line]:
    """Statistic, naive p-value and the boundary's p-value (or its bounds) of every test, as lines.

    The naive p-value stands by the name of the common one; that of the mixture is a quantity of its own, since no
    package gives it: both follow from each package's own log-likelihoods.

    Parameters
    ----------
    subject : a comparison, or what `tested` made of it; a test that would mean nothing has no line (see `tests_table`)
    """
    all_lines = []
    for pair in _of(subject):
        if not pair.ratios:
            continue
        quantities: list[tuple[str, str, Callable[[LikelihoodRatio], float]]] = [
            ("likelihood ratio", "likelihood_ratio", lambda one: one.statistic),
            ("p-value, naive", "p_value", lambda one: one.naive),
        ]
        some = next(iter(pair.ratios.values()))
        if some.restriction.boundary and some.weights:
            quantities.append(("p-value, boundary's mixture", "p_value", lambda one: one.p_value))
        elif some.restriction.boundary:
            quantities += [
                ("p-value, boundary's lower bound", "p_value", lambda one: one.p_bounds[0]),
                ("p-value, boundary's upper bound", "p_value", lambda one: one.p_bounds[1]),
            ]
        for name, tolerance, value in quantities:
            values, expected = (
                {source: value(_still(one, pair.noise)) for source, one in side.items()}
                for side in (pair.ratios, pair.expected)
            )
            all_lines.append(
                Line(
                    SECTION,
                    name,
                    tolerance,
                    values,
                    expected=expected,
                    term=pair.title,
                    absent=pair.absent,
                    short=pair.short,
                    independent=value(_still(pair.independent, pair.noise)) if pair.independent else math.nan,
                )
            )
    return all_lines


test_lines.__test__ = False  # type: ignore[attr-defined]  # it is no test of pytest's
