"""Tests of whole terms of the fixed effects, from every package's estimates: F by Satterthwaite and by Kenward and
Roger, Wald's chi-squared, and the likelihood ratio of fits by ML without each term.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from concord.account.model_tests import Fitted, Tested, by_ml
from concord.account.nested_models import without_terms
from concord.agreement.comparison import Comparison
from concord.display import table as tables
from concord.engines.answers import Answer, answer
from concord.engines.engine import contenders, title
from concord.inference import f_tests
from concord.inference.degrees_of_freedom import DegreesError, adjustment
from concord.inference.f_tests import FTest
from concord.inference.hypotheses import TYPES, hypothesis
from concord.likelihood.likelihood import LikelihoodError
from concord.models.design import FixedTerms
from concord.models.fixed_terms import fixed_terms
from concord.models.model import Model, ModelError
from concord.models.parameters import Parameters
from concord.vocabulary import INDEPENDENT

METHODS = ("Satterthwaite", "Kenward-Roger", "Wald", "ML ratio")
CHI_SQUARED = ", chi-squared"
COLUMNS = ["term", "type", "method", "source", "statistic", "df", "ddf", "p"]

SAYS = {
    "I": "each term after those that stand before it in the formula",
    "II": "each term after all that do not contain it, by counts of rows: anova() of lmerTest",
    "II (car)": "each term after all that do not contain it, by the model's own covariance matrix: Anova() of car",
    "III": "means over the other factors' levels, all of equal weight, whatever the coding: anova() of lmerTest, SAS",
    "III (car)": "the term's own coefficients are zero: Anova(type = 3) of car; with R's default coding a main "
    "effect is then the one at the other factors' first levels",
}
"""What each type tests, in a phrase."""


class TermTests(tables.Shown):
    """Tests of whole terms of the fixed effects.

    Attributes
    ----------
    title : whose
    table : one row a term, method and source: ``term, type, method, source, statistic, df, ddf, p``. The statistic is
        F, with `df` and `ddf` degrees of freedom, or chi-squared, with `df` and no `ddf`
    notes : a sentence each

    What is shown has a row a term and method, with every source's statistic; the denominator's degrees of freedom and p
    there are those of the last source, the independent optimum.
    """

    def __init__(self, title: str, table: pd.DataFrame, notes: Sequence[str]) -> None:
        self.title, self.table, self.notes = title, table, tuple(notes)

    def _rendered(self) -> tables.Rendered:
        table = self.table.assign(test=self.table["method"] + np.where(self.table["ddf"].isna(), CHI_SQUARED, ", F"))
        sources = list(dict.fromkeys(table["source"]))
        rows = []
        for (term, test), group in table.groupby(["term", "test"], sort=False):
            statistics = dict(zip(group["source"], group["statistic"], strict=True))
            last = group.iloc[-1]
            numbers = [tables.number(statistics.get(source, np.nan)) for source in sources]
            ddf = tables.number(last["ddf"])
            rows.append([term, test, str(last["df"]), *numbers, ddf, tables.p_value(last["p"])])
        return self.title, ["term", "test", "df", *sources, "den df", "p"], rows, 2, self.notes


def term_tests(comparison: Comparison, kind: str = "III", ratios: Sequence[tuple[str, Tested]] = ()) -> TermTests:
    """Tests of every term of the fixed effects.

    Parameters
    ----------
    comparison : fits of one model
    kind : one of `TYPES`
    ratios : the likelihood ratios by ML that are to stand beside, with their terms (see `ml_ratios`)

    Raises
    ------
    ModelError : there is no such type
    """
    if kind not in TYPES:
        raise ModelError(f"type {kind!r}: one of {', '.join(TYPES)}")
    notes = [f"Type {kind}: {SAYS[kind]}."]
    terms = fixed_terms(comparison.model)
    labels = terms.labels
    notes += lmertests_own(terms) if kind in ("II", "III") else []
    notes += lmertests_matrices(terms) if kind == "II" else []
    rows = []
    for source, at in _sources(comparison):
        for label, method, test in _at(comparison, source, at, kind, notes):
            ddf = test.ddf if np.isfinite(test.ddf) else np.nan
            rows.append((label, kind, method, source, test.statistic, test.df, ddf, test.p))
    for label, pair in ratios:
        notes += [f"{label}, by ML: {title(source)}: {why}." for source, why in pair.absent.items()]
        notes += [f"{label}, by ML: {pair.refused}."] if pair.refused else []
        of_independent = {INDEPENDENT: pair.independent} if pair.independent else {}
        for source, ratio in {**pair.ratios, **of_independent}.items():
            rows.append((label, "", "ML ratio", source, ratio.statistic, ratio.df, np.nan, ratio.naive))
    table = pd.DataFrame(rows, columns=COLUMNS)
    rank = {label: i for i, label in enumerate([*labels, *METHODS])}
    order = sorted(range(len(table)), key=lambda i: (rank[table["term"][i]], rank[table["method"][i]]))
    table = table.iloc[order].reset_index(drop=True)
    if ratios:
        notes.append(
            "ML ratio: twice the difference in log-likelihood without the term, both models fitted by ML, for by REML "
            "models with other fixed effects are not comparable; with few groups its p-value is too small. A term that "
            "another one contains has none."
        )
    notes.append("den df and p here are those at the independent optimum; each source's own stand in its table.")
    return TermTests(f"tests of terms, {comparison.title}", table, [*dict.fromkeys(notes)])


def lmertests_own(terms: FixedTerms) -> list[str]:
    """Where lmerTest tests another hypothesis: of a term it passes over the variables that R does not code by
    contrasts, those without which what is left is no term, and then does not see that it contains another.
    """
    present = {frozenset[str](), *terms.variables}
    notes = []
    for k, label in enumerate(terms.labels, 1):
        for above in terms.above(k):
            variables = terms.variables[above - 1]
            if not terms.variables[k - 1] < {name for name in variables if variables - {name} in present}:
                notes.append(
                    f"{terms.labels[above - 1]} contains {label}; anova() of lmerTest does not see it where a variable "
                    "has no term of its own, and has another F there."
                )
    return notes


def lmertests_matrices(terms: FixedTerms) -> list[str]:
    """Where lmerTest takes a term of type II for contained in another one that has more numbers in it: it sees no
    number in a matrix such as ``poly(x, 2)``. So it tests f in poly(x, 2) * f as if it were a factor's, before the
    interaction, and in x * f after it; also with poly(x, 1), which is the same model.
    """
    notes = []
    for k, (label, own) in enumerate(zip(terms.labels, terms.variables, strict=True), 1):
        for j, variables in enumerate(terms.variables, 1):
            more = (own ^ variables) & terms.numeric
            if own < variables and j not in terms.above(k) and more <= terms.matrices:
                notes.append(
                    f"{terms.labels[j - 1]} does not contain {label}, for it has the number {', '.join(sorted(more))}; "
                    f"anova() of lmerTest takes a matrix for no number, and has another F of {label}."
                )
    return notes


def ml_ratios(
    comparison: Comparison, settings: str = "tuned", fitted: Fitted | None = None
) -> list[tuple[str, Tested]]:
    """The likelihood ratio of every term that can be left out, from fits by ML with it and without it.

    Parameters
    ----------
    comparison : of fits of one model; by ML, its own fits are used where they are by `settings`
    settings : of the fits that are made
    fitted : how a model is fitted; by default here and now
    """
    model = comparison.model
    make = fitted or (lambda one_model, engine: answer(one_model, engine, settings))
    known: dict[tuple[str, str], Answer] = {}
    if model.method == "ML":
        known = {(model.name, fit.engine): fit for fit in comparison.fits if fit.settings == settings}

    def once(one_model: Model, engine: str) -> Answer:
        key = one_model.name, engine
        if key not in known:
            known[key] = make(one_model, engine)
        return known[key]

    present = {fit.engine for fit in comparison.fits} | {absence.engine for absence in comparison.absent}
    asked = [engine for engine in contenders() if engine in present]
    return [(label, by_ml(model, smaller, asked, once)) for label, smaller in without_terms(model).items()]


def _sources(comparison: Comparison) -> Iterator[tuple[str, Parameters]]:
    for label, fit in zip(comparison.labels, comparison.fits, strict=True):
        if not fit.violation:
            yield label, fit.parameters
    yield INDEPENDENT, comparison.against.parameters


def _at(
    comparison: Comparison, source: str, at: Parameters, kind: str, notes: list[str]
) -> Iterator[tuple[str, str, FTest]]:
    """The tests of every term at given estimates; what cannot be tested is noted."""
    model, likelihood = comparison.model, comparison.against.likelihood
    terms, X = fixed_terms(model), model.design.as_coded.X
    try:
        covariance = likelihood.fixed_covariance(at)
    except LikelihoodError as error:
        notes.append(f"{title(source)}: {error}.")
        return
    adjusted = None
    try:
        adjusted = adjustment(model.design, at) if model.reml else None
    except DegreesError as error:
        notes.append(f"{title(source)}, Kenward-Roger: {error}.")
    if not model.reml:
        notes.append("Kenward and Roger's method is one for REML: by ML there is none.")
    for k, label in enumerate(terms.labels, 1):
        L = hypothesis(terms, X, k, kind, covariance)
        if not len(L):
            notes.append(f"{label}: not estimable: other columns make up all of its own.")
            continue
        try:
            yield label, "Satterthwaite", f_tests.by_satterthwaite(likelihood, at, L)
        except DegreesError as error:
            notes.append(f"{title(source)}, Satterthwaite: {error}.")
        if adjusted is not None:
            # car takes the adjusted covariance matrix where it tests by Kenward and Roger.
            own = hypothesis(terms, X, k, kind, adjusted.adjusted)
            yield label, "Kenward-Roger", f_tests.by_kenward_roger(adjusted, at.fixed, own)
        yield label, "Wald", f_tests.wald(at.fixed, covariance, L)
