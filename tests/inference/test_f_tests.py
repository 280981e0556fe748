"""Tests of whole terms: lmerTest's anova() by every type and method, and car's Anova().

``published/terms`` has what car 3.1-1 and emmeans 1.8.4 of Debian 12 say of the tables of ``support/unbalanced``.
"""

from __future__ import annotations

import csv
from functools import cache

import numpy as np
import pytest
from rpy2 import robjects

from concord import r
from concord.inference import f_tests
from concord.inference.degrees_of_freedom import adjustment
from concord.inference.hypotheses import TYPES, hypothesis
from concord.likelihood.likelihood import Likelihood
from concord.models.fixed_terms import fixed_terms
from concord.models.parameters import Parameters
from support import paths, unbalanced

CAR = list(csv.DictReader((paths.PUBLISHED / "terms" / "anova_of_car.csv").open(encoding="utf-8")))

# A fit in R, of which Concord takes the estimates alone; its anova() by types I, II and III and by both methods.
ASKED = """function(text, data) {
  before <- search()
  suppressMessages(library(lmerTest))
  on.exit(for (package in setdiff(search(), before)) detach(package, character.only = TRUE))
  tight <- lme4::lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10))
  formula <- as.formula(text)
  fit <- suppressMessages(if (is.null(data[["w"]])) lmerTest::lmer(formula, data, control = tight)
    else lmerTest::lmer(formula, data, weights = w, control = tight))
  kr <- if (is.null(data[["w"]])) "Kenward-Roger" else "Satterthwaite"
  table <- function(type, ddf) unname(as.matrix(as.data.frame(anova(fit, type = type, ddf = ddf))[, 3:6]))
  list(
    fixed = unname(lme4::fixef(fit)), covariance = unname(unclass(lme4::VarCorr(fit)[[1L]])[, , drop = FALSE]),
    sigma = sigma(fit), I = table("I", "Satterthwaite"), II = table("II", "Satterthwaite"),
    III = table("III", "Satterthwaite"), I_kr = table("I", kr), II_kr = table("II", kr),
    III_kr = table("III", kr)
  )
}"""


@pytest.fixture(scope="module")
def asked(make_model):
    """By name, the model, R's estimates of it and what lmerTest says of these."""

    @cache
    def of(name):
        frame = unbalanced.table(name)
        model = make_model(frame, unbalanced.FORMULAS[name], weights="w" if "w" in frame else None)
        said = r.from_r(r.call(robjects.r(ASKED), model.record.formula, frame))
        q = len(model.design.terms[0].names)
        covariance = np.asarray(said["covariance"], float).reshape(q, q)
        return model, Parameters(np.atleast_1d(said["fixed"]), (covariance,), float(said["sigma"][0]) ** 2), said

    return of


@cache
def terms_tested(model, at):
    """By type and term: Satterthwaite's, Kenward and Roger's, Wald's."""
    likelihood, terms = Likelihood(model.design, True), fixed_terms(model)
    made, covariance = adjustment(model.design, at), Likelihood(model.design, True).fixed_covariance(at)
    found = {}
    for kind in TYPES:
        for k, label in enumerate(terms.labels, 1):
            # car takes the adjusted covariance matrix where it tests by Kenward and Roger.
            L, adjusted = (
                hypothesis(terms, model.design.as_coded.X, k, kind, by) for by in (covariance, made.adjusted)
            )
            found[kind, label] = (
                f_tests.by_satterthwaite(likelihood, at, L),
                f_tests.by_kenward_roger(made, at.fixed, adjusted),
                f_tests.wald(at.fixed, covariance, L),
            )
    return found


@pytest.mark.parametrize("kind", ["I", "II", "III"])
@pytest.mark.parametrize("name", unbalanced.FORMULAS)
def test_it_is_what_anova_of_lmertest_prints(name, kind, asked):
    """F, both degrees of freedom and p, of unbalanced data with interactions, a slope, an ordered factor; lmerTest
    rounds its type III to seven digits of the largest coefficient, and differentiates numerically.
    """
    model, at, said = asked(name)
    # pbkrtest has none for fits with weights.
    for place, key in ((0, kind), (1, f"{kind}_kr"))[: 1 if name == "weighted" else 2]:
        for k, label in enumerate(fixed_terms(model).labels):
            test = terms_tested(model, at)[kind, label][place]
            df, ddf, statistic, p = said[key][k]
            assert test.df == df
            np.testing.assert_allclose([test.ddf, test.statistic], [ddf, statistic], rtol=1e-5)
            np.testing.assert_allclose(test.p, p, rtol=1e-5 * max(1, statistic * df))


@pytest.mark.parametrize("row", CAR, ids=lambda row: f"{row['table']} {row['type']} {row['term']} {row['test']}")
def test_it_is_what_anova_of_car_prints(row, asked):
    """Its type II with the covariance matrix in place of the counts, its type III of the coefficients as coded."""
    model, at, _ = asked(row["table"])
    by_kenward_roger, wald = terms_tested(model, at)[f"{row['type']} (car)", row["term"]][1:]
    test = wald if row["test"] == "Chisq" else by_kenward_roger
    assert test.df == int(row["df"])
    assert test.statistic == pytest.approx(float(row["statistic"]), rel=1e-5)
    if row["test"] == "F":
        assert test.ddf == pytest.approx(float(row["ddf"]), rel=1e-5)
