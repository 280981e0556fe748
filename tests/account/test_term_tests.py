"""Tests of whole terms side by side: lmerTest's anova(), R's drop1() by ML, and what cannot be tested."""

from __future__ import annotations

import numpy as np
import pytest
from rpy2 import robjects

from concord import r
from concord.account.account import Account
from concord.account.nested_models import without_terms
from concord.account.term_tests import lmertests_matrices, lmertests_own, ml_ratios, term_tests
from concord.agreement.comparison import compare
from concord.engines.engine import engines
from concord.inference.f_tests import by_satterthwaite
from concord.inference.hypotheses import hypothesis
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.models.fixed_terms import fixed_terms
from concord.models.model import ModelError
from concord.session import Inquiry
from concord.vocabulary import INDEPENDENT

ENGINES = ("statsmodels", "lme4")
SOURCES = (*ENGINES, INDEPENDENT)

ASKED = """function(text, d) {
  before <- search()
  suppressMessages(library(lmerTest))
  on.exit(for (package in setdiff(search(), before)) detach(package, character.only = TRUE))
  tight <- lme4::lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10))
  table <- as.matrix(as.data.frame(anova(lmerTest::lmer(as.formula(text), d, control = tight)))[, 3:6])
  by_ml <- lme4::lmer(as.formula(text), d, REML = FALSE)
  ratios <- as.data.frame(drop1(by_ml, test = "Chisq"))[-1L, ]
  list(terms = rownames(table), table = unname(table), dropped = rownames(ratios), ratios = ratios$LRT,
    p = ratios[["Pr(Chi)"]])
}"""


@pytest.mark.parametrize("id", ["orthodont-interaction", "cake-split_plot_linear"])
def test_every_term_has_lmertests_f_and_drop1s_ratio_from_every_source(id, fits):
    """By both packages' estimates; of the terms that another one contains there is no ratio."""
    comparison = compare(*(fits(id, "REML", engine, "tuned") for engine in ENGINES))
    ratios = ml_ratios(comparison, fitted=lambda model, engine: _fitted(fits, id, model, engine))
    table = term_tests(comparison, "III", ratios).table
    frame = comparison.model.frame
    said = r.from_r(r.call(robjects.r(ASKED), comparison.model.record.formula, r.table(frame)))
    for source in SOURCES:
        own = table[table["source"] == source].set_index(["method", "term"])
        f = own.loc["Satterthwaite"].loc[said["terms"], ["df", "ddf", "statistic", "p"]].to_numpy(float)
        np.testing.assert_allclose(f, said["table"], rtol=2e-4)
        ml = own.loc["ML ratio"]
        assert list(ml.index) == list(said["dropped"])
        np.testing.assert_allclose(ml["statistic"], said["ratios"], rtol=1e-4)
        np.testing.assert_allclose(ml["p"], said["p"], rtol=1e-3)


def _fitted(fits, id, model, engine):
    """The whole model by ML out of the session's fits; one without a term is fitted here."""
    if model.id == id:
        return fits(id, "ML", engine, "tuned")
    return engines()[engine].fit(model, "tuned")


def test_it_is_shown_with_a_row_a_term_and_method(fits):
    """By ML there is no Kenward-Roger, and the note says so; without time there are none at all."""
    comparison = compare(*(fits("cake-split_plot_linear", "ML", engine, "tuned") for engine in ENGINES))
    assert "longer than a section may" in Account(comparison, seconds=0).terms()
    shown = repr(Account(comparison).terms(ratios=False))
    assert "recipe  Wald, chi-squared" in shown and "ML ratio" not in shown
    assert "Kenward and Roger's method is one for REML" in shown and "Kenward-Roger, F" not in shown
    with pytest.raises(ModelError, match="type 'IV': one of I, II"):
        term_tests(comparison, "IV")


SPLINE = """function(d, other) {
  before <- search()
  suppressMessages(library(lmerTest))
  on.exit(for (package in setdiff(search(), before)) detach(package, character.only = TRUE))
  of <- function(formula, ...) {
    lmerTest::lmer(formula, d, control = lme4::lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10)), ...)
  }
  by_reml <- of(distance ~ splines::bs(age, df = 4) + Sex + (1 | Subject))
  f <- as.matrix(as.data.frame(anova(by_reml, type = other))[, 3:6])
  whole <- of(distance ~ splines::bs(age, df = 4) + Sex + (1 | Subject), REML = FALSE)
  less <- of(distance ~ Sex + (1 | Subject), REML = FALSE)
  list(f = unname(f), ratio = 2 * as.numeric(logLik(whole) - logLik(less)))
}"""


@pytest.fixture(scope="module")
def of_spline():
    frame = models.get("orthodont-interaction").frame
    frame = frame.assign(age=frame["age"] + np.random.default_rng(3).uniform(0, 1, len(frame)))
    asked = Inquiry(frame, "distance ~ bs(age, df=4) + Sex + (1 | Subject)")
    return frame, compare(*(engines()[engine].fit(asked.model, "tuned") for engine in ENGINES))


@pytest.mark.parametrize("kind", ["I", "II", "III"])
def test_a_spline_is_one_term_with_its_degrees_of_freedom(kind, of_spline):
    """As in R, where it is one: lmerTest's F, and lmer's likelihood ratio without it."""
    frame, comparison = of_spline
    table = term_tests(comparison, kind, ml_ratios(comparison) if kind == "I" else ()).table
    own = table[table["source"] == INDEPENDENT].set_index(["method", "term"])
    said = r.from_r(r.call(robjects.r(SPLINE), r.table(frame), kind))
    terms = ["bs(age, df=4)", "Sex"]
    f = own.loc["Satterthwaite"].loc[terms, ["df", "ddf", "statistic", "p"]].to_numpy(float)
    np.testing.assert_allclose(f, said["f"], rtol=2e-4)
    if kind == "I":
        ratio = own.loc["ML ratio"].loc[terms[0]]
        assert (ratio["statistic"], ratio["df"]) == (pytest.approx(said["ratio"][0], rel=1e-5), 4)
        assert list(own.loc["ML ratio"].index) == terms


def test_a_fixed_part_without_terms_has_no_test(fits):
    comparison = compare(*(fits("dyestuff-random_intercept", "REML", engine, "tuned") for engine in ENGINES))
    assert Account(comparison).terms() == "No tests of terms: the fixed part has none but the intercept."


def test_the_model_without_a_term_is_written_by_the_rules_of_r(make_model):
    """Without another term's part none is left out; offsets and the intercept stay."""
    frame = models.get("orthodont-interaction").frame.assign(w=1.0)
    texts = {
        label: model.record.formula
        for label, model in without_terms(make_model(frame, "distance ~ Sex * age + offset(w) + (1 | Subject)")).items()
    }
    assert texts == {"Sex:age": "distance ~ 1 + Sex + age + offset(w) + (1 | Subject)"}
    (alone,) = without_terms(make_model(frame, "distance ~ age + (1 | Subject)")).values()
    assert alone.record.formula == "distance ~ 1 + (1 | Subject)" and alone.method == "ML"


def test_what_lmertest_does_not_take_for_containing_is_said(make_model):
    """By its own function, which passes over a factor that R codes by all of its levels."""
    frame = models.get("orthodont-interaction").frame
    contains = robjects.r(
        """function(text, d) {
          m <- suppressMessages(lmerTest::lmer(as.formula(text), d))
          unlist(lmerTest:::containment(m))
        }"""
    )
    for fixed, says in (("age + age:Sex", True), ("age * Sex", False), ("Sex + Sex:age", False)):
        formula = f"distance ~ {fixed} + (1 | Subject)"
        terms = fixed_terms(make_model(frame, formula))
        of_lmertest = r.from_r(r.call(contains, formula, r.table(frame)))
        ours = [terms.labels[above - 1] for k in range(1, len(terms.labels) + 1) for above in terms.above(k)]
        assert (sorted(ours) != sorted(of_lmertest if of_lmertest is not None else [])) == says
        assert bool(lmertests_own(terms)) == says


def test_a_matrix_is_a_number_and_no_factor(make_model):
    """lmerTest has two answers to one model, x being a column or a matrix of one: ours is the column's, and it is
    said where lmerTest has the other one.
    """
    frame = models.get("orthodont-interaction").frame.iloc[:-7]
    frame = frame.assign(centred=frame["age"] - frame["age"].mean())
    asked = robjects.r(
        """function(text, d) {
          table <- suppressMessages(anova(lmerTest::lmer(as.formula(text), d), type = "II"))
          table["Sex", "F value"]
        }"""
    )
    stated, own = {}, {}
    for x in ("centred", "poly(age, 1)", "scale(age)"):
        model = make_model(frame, f"distance ~ {x} * Sex + (1 | Subject)")
        terms = fixed_terms(model)
        stated[x] = float(r.from_r(r.call(asked, model.record.formula, r.table(frame)))[0])
        likelihood = Likelihood(model.design, True)
        at = likelihood.optimum().parameters
        L = hypothesis(terms, model.design.as_coded.X, 2, "II", likelihood.fixed_covariance(at))
        own[x] = by_satterthwaite(likelihood, at, L).statistic
        assert bool(lmertests_matrices(terms)) == (x != "centred") and not lmertests_own(terms)
    for x in own:
        assert own[x] == pytest.approx(stated["centred"], rel=1e-4)
        assert (stated[x] == pytest.approx(own[x], rel=1e-4)) == (x == "centred")
