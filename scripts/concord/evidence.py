"""Evidence: criteria and likelihood-ratio tests as every package states them, line by line.

Criteria of one fit (logLik, parameters, AIC, BIC, deviance, residual degrees of freedom, rows), tests of the models
that are nested with it, and R's own anova() of lme4's fits. What the numbers should be is worked out in `criteria`,
from the independent likelihood at each package's own estimates; what is nested, in `nesting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from concord import criteria, nesting, r, reference
from concord.agreement import OPTIMUM, Comparison, allowed_gap
from concord.answers import Absence, Answer, answer
from concord.criteria import Candidate, LikelihoodRatio, NotComparable, likelihood_ratio
from concord.datasets import ModelRecord
from concord.engines import EngineError, engines
from concord.engines.best import recomputed
from concord.fits import Fit
from concord.formulas import FormulaError
from concord.likelihood import Likelihood, LikelihoodError
from concord.models import Model
from concord.nesting import NotNested
from concord.quantities import INDEPENDENT, Line

_R = Path(__file__).with_suffix(".R")

SECTION, TESTS, ANOVA = "criteria", "likelihood-ratio tests", "anova"
# The packages whose fits of other models are made for a test.
TESTED = ("mixedlm", "lme4")
LINEAR = "no random effects"
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

Fitted = Callable[[Model, str], Answer]
"""What an engine says of another model: ``fitted(model, engine)``."""


# ---- criteria ------------------------------------------------------------------------------------------------------


def lines(comparison: Comparison) -> list[Line]:
    """Every criterion of a comparison's fits, as each package states it.

    Held against the independent log-likelihood at each package's own estimates, put together by that package's own
    convention (`criteria.Candidate`); the reference has lme4's.
    """
    found = {label: judgement.fit for label, judgement in comparison.judged if not judgement.fit.violation}
    if not found:
        return []
    stated = {label: fit.ask(_questions(fit.engine)) for label, fit in found.items()}
    own = {label: _independent(fit, comparison.against.likelihood) for label, fit in found.items()}
    at_reference = _candidate(comparison.model, comparison.against.level)
    made = []
    for key, (name, tolerance) in _QUANTITIES.items():
        values, expected, definitions, absent = {}, {}, {}, {}
        for label, fit in found.items():
            value = stated[label][key]
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
                SECTION, name, tolerance, values, definitions, expected, absent=absent,
                # A number of rows or parameters is the same wherever a fit stops.
                short=tolerance != "count" and comparison.apart,
                independent=_by_its_definition(key, None, at_reference, False)[1],
            )
        )  # fmt: skip
    return made


def _by_its_definition(key: str, fit: Fit | None, own: Candidate, held: bool) -> tuple[str, float]:
    """The name of a package's definition, empty for the common one, and what it gives of a candidate."""
    engine = fit.engine if fit else ""
    design = own.design
    common = {
        "loglik": own.loglik, "df": own.df, "aic": own.aic, "bic": own.bic(), "deviance": own.deviance,
        "df_residual": own.n - own.df, "nobs": own.n,
    }  # fmt: skip
    if engine == "mixedlm" and key == "df":
        if held:
            return "parameters_with_those_held", own.p + _together(design)
        return "parameters_without_the_residual_variance", own.df - 1
    if engine == "mixedlm" and key == "df_residual":
        return "rows_less_fixed_effects", own.n - own.p
    if engine == "nlme" and key == "bic" and own.reml:
        return "bic_of_contrasts", own.bic("nlme") - 2 * _coded(fit)
    if key in ("loglik", "aic", "bic", "deviance") and fit and fit.shift:
        sign = 1 if key == "loglik" else -2
        return "reml_in_another_coding", common[key] - sign * fit.shift
    return "", common[key]


def _coded(fit: Fit | None) -> float:
    """What the coding of X that an engine was given takes from the REML log-likelihood: its own is smaller by this."""
    return -fit.shift if fit else 0.0


def _together(design: Any) -> int:
    """Variances and covariances where all terms of one group are one term."""
    sizes: dict[str, int] = {}
    for term in design.terms:
        sizes[term.group] = sizes.get(term.group, 0) + len(term.names)
    return sum(q * (q + 1) // 2 for q in sizes.values())


def _candidate(model: Model, loglik: float) -> Candidate:
    return Candidate(model.name, model.design, model.reml, loglik, model.formula.text)


def _independent(fit: Fit, likelihood: Likelihood) -> Candidate:
    """The independent log-likelihood at a fit's estimates."""
    return _candidate(fit.model, recomputed(fit, likelihood))


def _questions(engine: str) -> Callable[[Fit], dict[str, Any]]:
    return stated_by_mixedlm if engine == "mixedlm" else stated_by_r


def stated_by_r(fit: Fit) -> dict[str, Any]:
    """What ``logLik``, ``AIC``, ``BIC``, ``deviance`` (``REMLcrit``), ``df.residual`` and ``nobs`` say of a fit by lme4
    or nlme: numbers, or why there is none.
    """
    got = {key: float(value[0]) for key, value in r.from_r(r.call(r.source(_R)["criteria"], fit.native)).items()}
    if fit.engine == "nlme":
        got = {**got, "deviance": _NO_DEVIANCE, "df_residual": "it has residual degrees of freedom of every term, none "
               "of the model"}  # fmt: skip
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
        "loglik": fit.loglik, "df": float(results.df_modelwc), "aic": none if math.isnan(aic) else aic,
        "bic": none if math.isnan(bic) else bic, "deviance": _NO_DEVIANCE, "df_residual": float(results.df_resid),
        "nobs": float(results.nobs), "held": results.freepat is not None,
    }  # fmt: skip


# ---- nested models -------------------------------------------------------------------------------------------------


def nested(model: Model) -> list[Model]:
    """Models of the same table and response, by the same method, that are special cases of a model or have it as one.

    The dataset's other models. Where none of them is a special case of it, as with a user's own formula, the model with
    one random term less or with one random effect less; the model without any is `criteria.linear`, and no `Model`.
    """
    others = [
        Model(model.dataset, name, record, model.method)
        for name, record in model.dataset.models.items()
        if record is not model.record
    ]
    found = [each for each in others if _related(model, each)]
    if not any(_df(each) < _df(model) for each in found):
        found = [*(each for each in reduced(model) if _related(model, each)), *found]
    return found


def reduced(model: Model) -> list[Model]:
    """The model with one random term less, and with one random effect less, as new formulas on the same table.

    What another effect is an interaction with is not left out before that one; an intercept is left out with the term.
    """
    formula, room = model.formula, r.source(_R)
    texts: dict[str, str] = {}
    for place, term in enumerate(formula.random):
        others = [f"({each.columns} | {each.group})" for i, each in enumerate(formula.random) if i != place]
        for columns in r.from_r(r.call(room["reduced"], term.columns)) or ():
            if columns != term.columns:
                parts = [*others[:place], f"({columns} | {term.group})", *others[place:]]
                texts.setdefault(_written(model, parts), f"({columns} | {term.group})")
        if others:
            texts.setdefault(_written(model, others), f"without ({term.columns} | {term.group})")
    made = []
    for text, name in texts.items():
        record = ModelRecord(formula=text, title=text)
        made.append(Model(model.dataset, name, record, model.method))
    return made


def _written(model: Model, random: Sequence[str]) -> str:
    return f"{model.formula.response} ~ {' + '.join([model.formula.fixed, *random])}"


def _related(model: Model, other: Model) -> bool:
    try:
        found = nesting.restriction(*sorted((model.design, other.design), key=_df_of))
    except (NotNested, FormulaError):
        return False
    return bool(found.fixed or found.random)


def _df(model: Model) -> int:
    return _df_of(model.design)


def _df_of(design: Any) -> int:
    return design.X.shape[1] + nesting.count(design)


# ---- likelihood-ratio tests ----------------------------------------------------------------------------------------


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

    @property
    def title(self) -> str:
        """The pair in words."""
        return f"{self.null} in {self.alternative}"


def _answered(settings: str) -> Fitted:
    return lambda model, engine: answer(model, engine, settings)


def tested(
    comparison: Comparison, settings: str = "tuned", fitted: Fitted | None = None, linear: bool = True
) -> list[Tested]:
    """Tests of a comparison's model with every model that is nested with it (see `nested`), and with the linear model.

    Parameters
    ----------
    comparison : of fits of one model; its own fits are used where they are by `settings`, others are made
    settings : of the fits that the tests are made from
    fitted : how another model is fitted; by default here and now, by both packages
    linear : whether to test the model against the one without random effects too
    """
    model, fitted = comparison.model, fitted or _answered(settings)
    own = {fit.engine: fit for fit in comparison.fits if fit.settings == settings}
    mine = {engine: own.get(engine) or fitted(model, engine) for engine in TESTED}
    found = []
    if linear:
        found.append(_pair(model, mine, None, {}, comparison.against))
    for other in nested(model):
        # By REML, where the fixed effects are not the same, there is nothing to be fitted for.
        needed = model.method == "ML" or _same_fixed(model, other)
        theirs = {engine: fitted(other, engine) for engine in TESTED} if needed else {}
        found.append(_pair(model, mine, other, theirs, comparison.against))
    return found


def _same_fixed(model: Model, other: Model) -> bool:
    small, large = sorted((model.design, other.design), key=_df_of)
    return not nesting.restriction(small, large).fixed


def _pair(
    model: Model, mine: Mapping[str, Answer], other: Model | None, theirs: Mapping[str, Answer],
    against: reference.Reference,
) -> Tested:  # fmt: skip
    design = model.design
    bare = criteria.linear(design, model.reml, LINEAR)
    names = [LINEAR, model.name]
    if other is not None:
        names = [each.name for each in sorted((other, model), key=_df)]

    def ratio(first: Candidate, second: Candidate | None) -> LikelihoodRatio:
        return likelihood_ratio(bare if second is None else second, first)

    try:
        level = None if other is None else reference.of(other)
        independent = ratio(_candidate(model, against.level), None if other is None else _candidate(other, level.level))
    except NotComparable as error:
        return Tested(*names, {}, {}, None, {}, str(error))
    except LikelihoodError as error:
        level, independent = None, None
        reason = f"the independent likelihood of {other.name} has no optimum: {error}"
        return Tested(*names, {}, {}, None, {}, reason)
    ratios, expected, absent, short, noise = {}, {}, {}, False, 0.0
    for engine, first in mine.items():
        second = None if other is None else theirs.get(engine)
        missing = next((each for each in (first, second) if isinstance(each, Absence)), None)
        wrong = next((each for each in (first, second) if isinstance(each, Fit) and each.violation), None)
        if missing or wrong:
            absent[engine] = missing.reason if missing else f"{wrong.model.name}: {wrong.violation}"
            continue
        fits = [each for each in (first, second) if each is not None]
        levels = [against, level][: len(fits)]
        values = [recomputed(fit, each.likelihood) for fit, each in zip(fits, levels, strict=True)]
        limits = [allowed_gap(fit.settings, fit.model) for fit in fits]
        short |= any(not each.level - v <= g for v, each, g in zip(values, levels, limits, strict=True))
        noise = max(noise, 4 * max(limits))
        ratios[engine] = ratio(*_two([Candidate.of(fit) for fit in fits]))
        expected[engine] = ratio(*_two([_candidate(fit.model, v) for fit, v in zip(fits, values, strict=True)]))
    return Tested(*names, ratios, expected, independent, absent, "", short, noise)


def _two(given: list[Candidate]) -> tuple[Candidate, Candidate | None]:
    return given[0], given[1] if len(given) > 1 else None


_tested: WeakKeyDictionary[Comparison, list[Tested]] = WeakKeyDictionary()


def _of(given: Comparison | Sequence[Tested]) -> Sequence[Tested]:
    """Tests that were made, or those of a comparison, made once."""
    if not isinstance(given, Comparison):
        return given
    if given not in _tested:
        _tested[given] = tested(given)
    return _tested[given]


def tests_table(given: Comparison | Sequence[Tested]) -> pd.DataFrame:
    """Every test with its naive and its boundary's p-value, one row a pair and source.

    Parameters
    ----------
    given : a comparison, or what `tested` made of it

    Returns
    -------
    pandas.DataFrame : ``null, alternative, source, statistic, df, naive_p, mixture, p, p_low, p_high, note``; a test
        that would mean nothing has one row without numbers, and the reason in `note`
    """
    rows = []
    for each in _of(given):
        head = {"null": each.null, "alternative": each.alternative}
        if each.refused:
            rows.append({**head, "note": f"not tested: {each.refused}"})
            continue
        sources = {**each.ratios, **({INDEPENDENT: each.independent} if each.independent else {})}
        for source, found in sources.items():
            still = _still(found, each.noise)
            low, high = still.p_bounds
            rows.append(
                {
                    **head, "source": source, "statistic": found.statistic, "df": found.df, "naive_p": still.naive,
                    "mixture": _mixture(found), "p": still.p_value, "p_low": low, "p_high": high,
                    "note": "; ".join([*found.notes, *(["zero within tolerance"] if still is not found else [])]),
                }
            )  # fmt: skip
        rows += [{**head, "source": source, "note": f"no fit: {why}"} for source, why in each.absent.items()]
    columns = [
        "null", "alternative", "source", "statistic", "df", "naive_p", "mixture", "p", "p_low", "p_high", "note"
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    words = ["source", "mixture", "note"]
    table[words] = table[words].astype(object).fillna("")
    return table


def _mixture(found: LikelihoodRatio) -> str:
    if not found.weights:
        return "depends on the data: bounds only"
    return " + ".join(
        f"{weight:g} chi2({df})" if len(found.weights) > 1 else f"chi2({df})" for df, weight in found.weights
    )


def _still(found: LikelihoodRatio, noise: float) -> LikelihoodRatio:
    """With a statistic of zero where it is zero within what fits may be apart by: there a p-value jumps."""
    return replace(found, statistic=0.0) if 0 < found.statistic <= noise else found


def test_lines(given: Comparison | Sequence[Tested]) -> list[Line]:
    """Statistic, naive p-value and the boundary's p-value (or its bounds) of every test, as lines.

    The naive p-value stands by the name of the common one; that of the mixture is a quantity of its own, since no
    package gives it: both follow from each package's own log-likelihoods.

    Parameters
    ----------
    given : a comparison, or what `tested` made of it; a test that would mean nothing has no line (see `tests_table`)
    """
    made = []
    for each in _of(given):
        if not each.ratios:
            continue
        quantities: list[tuple[str, str, Callable[[LikelihoodRatio], float]]] = [
            ("likelihood ratio", "likelihood_ratio", lambda one: one.statistic),
            ("p-value, naive", "p_value", lambda one: one.naive),
        ]
        some = next(iter(each.ratios.values()))
        if some.restriction.boundary and some.weights:
            quantities.append(("p-value, boundary's mixture", "p_value", lambda one: one.p_value))
        elif some.restriction.boundary:
            quantities += [
                ("p-value, boundary's lower bound", "p_value", lambda one: one.p_bounds[0]),
                ("p-value, boundary's upper bound", "p_value", lambda one: one.p_bounds[1]),
            ]
        for name, tolerance, value in quantities:
            values, expected = (
                {source: value(_still(one, each.noise)) for source, one in side.items()}
                for side in (each.ratios, each.expected)
            )
            made.append(
                Line(
                    TESTS, name, tolerance, values, expected=expected, term=each.title, absent=each.absent,
                    short=each.short,
                    independent=value(_still(each.independent, each.noise)) if each.independent else math.nan,
                )
            )  # fmt: skip
    return made


test_lines.__test__ = False  # it is no test of pytest's


# ---- anova ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RAnova:
    """What R's own anova() says of lme4's fits, beside the same numbers at the optima of the independent likelihood.

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
    """R's anova() of lme4's fit in a comparison and of fits of other models, made where that fit is.

    Parameters
    ----------
    comparison : of fits of one model, lme4's among them; the tuned one is taken where there are several
    others : the other models; by default those that are `nested` with it
    refit : as R, take fits by REML at their ML optimum; without it, models by REML with other fixed effects are refused

    Returns
    -------
    what R says; None where lme4 has no fit, or there is no other model

    Raises
    ------
    NotComparable : without `refit`, models by REML with other fixed effects
    """
    fits = sorted((fit for fit in comparison.fits if fit.engine == "lme4"), key=lambda fit: fit.settings != "tuned")
    others = nested(comparison.model) if others is None else list(others)
    if not fits or not others:
        return None
    model = fits[0].model
    if not refit and model.reml:
        for each in others:
            likelihood_ratio(_candidate(model, 0.0), _candidate(each, 0.0))
    told = fits[0].ask(anova_by_r, others, refit)
    ordered = sorted([model, *others], key=_df)
    reml = model.reml and not refit
    best = [_optimum(each, reml) for each in ordered]
    candidates = [Candidate(e.name, e.design, reml, told["own"][e.name], e.formula.text) for e in ordered]
    tops = [Candidate(e.name, e.design, reml, top, e.formula.text) for e, top in zip(ordered, best, strict=True)]
    allowed = allowed_gap("default", model)
    notes = list(told["said"])
    behind = {e.name: top - told["own"][e.name] for e, top in zip(ordered, best, strict=True)}
    notes += [
        f"R's own fit of {name} is {gap:.3g} short of the optimum" for name, gap in behind.items() if gap > allowed
    ]
    made = []
    for i, name in enumerate(told["names"]):
        wanted, independent = (_row(side, i) for side in (candidates, tops))
        tested_here = i > 0 and _related(ordered[i - 1], ordered[i])
        if i > 0 and not tested_here:
            notes.append(f"{name} and {ordered[i - 1].name} are not nested: R prints a test all the same")
        for j, (quantity, tolerance) in enumerate(_ANOVA):
            value = float(told["numbers"][i, j])
            if math.isnan(value):
                continue
            unlike = ["lme4", OPTIMUM] if j >= 5 and not tested_here else []
            made.append(
                Line(
                    ANOVA, quantity, tolerance, {"lme4": value, OPTIMUM: independent[j]},
                    dict.fromkeys(unlike, "neighbours_whether_nested_or_not"),
                    {"lme4": wanted[j], OPTIMUM: independent[j]}, term=name, short=max(behind.values()) > allowed,
                )
            )  # fmt: skip
    return RAnova(told["text"], made, tuple(notes))


_ANOVA = (
    ("npar", "count"), ("AIC", "criterion"), ("BIC", "criterion"), ("logLik", "criterion"), ("deviance", "criterion"),
    ("Chisq", "likelihood_ratio"), ("Df", "count"), ("Pr(>Chisq)", "p_value"),
)  # fmt: skip


def _row(side: Sequence[Candidate], i: int) -> tuple[float, ...]:
    """The numbers of R's anova() in the row of the candidate numbered i: tested against the one before."""
    each = side[i]
    head = (each.df, each.aic, each.bic(), each.loglik, each.deviance)
    if not i:
        return (*head, math.nan, math.nan, math.nan)
    before = side[i - 1]
    statistic, df = max(0.0, before.deviance - each.deviance), each.df - before.df
    return (*head, statistic, df, criteria.mixture_p(statistic, ((df, 1.0),)) if df else math.nan)


def _optimum(model: Model, reml: bool) -> float:
    """The best log-likelihood that is known of a model, by either method."""
    return reference.of(model if reml == model.reml else replace(model, method="REML" if reml else "ML")).level


def anova_by_r(fit: Fit, others: Sequence[Model], refit: bool) -> dict[str, Any]:
    """In the process of lme4's fit: the other models fitted by it, R's anova() of them all, and the independent
    log-likelihood at the estimates of every fit that anova() rests on, by the model's name.

    Raises
    ------
    EngineError : lme4 gives no fit of one of them
    """
    lme4 = engines()["lme4"]
    fits = {fit.model.name: fit, **{each.name: lme4.fit(each, fit.settings) for each in others}}
    ordered = sorted(fits.values(), key=lambda each: _df(each.model))
    names = [each.model.name for each in ordered]
    room = r.source(_R)
    try:
        got = r.call(room["anova_of"], r.interface().ListSexpVector([each.native for each in ordered]), names, refit)
    except r.RError as error:
        raise EngineError(f"anova() stopped with {error}") from error
    parts = dict(zip(r.from_r(r.call("names", got)), got, strict=True))
    own = {}
    for each, native in zip(ordered, parts["fits"], strict=True):
        model = replace(each.model, method="ML") if refit else each.model
        made = lme4.from_native(native, model)
        own[model.name] = recomputed(made, Likelihood(model.design, model.reml))
    return {
        "text": r.from_r(parts["text"])[0], "numbers": np.asarray(r.from_r(parts["numbers"]), float),
        "names": r.from_r(parts["names"]), "said": tuple(r.from_r(parts["said"]) or ()), "own": own,
    }  # fmt: skip
