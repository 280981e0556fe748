"""Leaving out every level: against fits of the remaining rows from scratch, dense matrices, and lme4's influence()."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rpy2 import robjects

from concord import r
from concord.inference.influence import influence
from concord.likelihood.likelihood import Likelihood
from concord.models import model
from concord.models.parameters import KEY, Parameters

FACTORS = [
    ("sleepstudy-random_slope", "Subject"),
    ("pastes-nested", "batch"),
    ("pastes-nested", "cask:batch"),
    ("penicillin-crossed", "sample"),
]


def without(design, gone):
    """The design of the other rows."""
    terms = []
    for term in design.terms:
        present, codes = np.unique(term.codes[~gone], return_inverse=True)
        terms.append(
            replace(term, matrix=term.matrix[~gone], codes=codes, levels=tuple(term.levels[i] for i in present))
        )
    return replace(design, y=design.y[~gone], X=design.X[~gone], terms=tuple(terms), rows=design.rows[~gone])


def factor(design, group):
    """The term of a grouping factor, in whichever order its parts stand."""
    return next(term for term in design.terms if sorted(term.group.split(":")) == sorted(group.split(":")))


@pytest.fixture(scope="module")
def found():
    """Likelihood, optimum and influence of a model's factor, each made once."""
    made = {}

    def of(id, group, method="REML"):
        if (id, group, method) not in made:
            likelihood = Likelihood(model.get(id).design, method == "REML")
            optimum = likelihood.optimum()
            term = factor(likelihood.design, group)
            made[id, group, method] = term, likelihood, optimum, influence(likelihood, optimum, term.group)
        return made[id, group, method]

    return of


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize(("id", "group"), FACTORS)
def test_refitted_estimates_are_those_of_the_other_rows_from_scratch(id, group, method, found):
    """Whole blocks, parts of blocks and crossed levels: a new likelihood of the other rows ends at the same optimum."""
    term, likelihood, _, result = found(id, group, method)
    assert result.levels == term.levels and result.rows.sum() == likelihood.n
    for level in (0, 1, len(term.levels) - 1):
        scratch = Likelihood(without(likelihood.design, term.codes == level), method == "REML").optimum()
        np.testing.assert_allclose(result.refitted.fixed[level], scratch.fixed, rtol=1e-9)
        np.testing.assert_allclose(result.refitted.std_error[level], scratch.std_error, rtol=1e-8)
        np.testing.assert_allclose(result.refitted.residual_variance[level], scratch.residual_variance, rtol=1e-9)
        np.testing.assert_allclose(result.refitted.loglik[level], scratch.loglik, rtol=1e-12)
        for given, wanted in zip(result.refitted.covariances, scratch.covariances, strict=True):
            np.testing.assert_allclose(given[level], wanted, atol=1e-8 * np.abs(wanted).max())


@pytest.mark.parametrize(("id", "group"), FACTORS)
def test_held_estimates_are_generalized_least_squares_in_dense_matrices(id, group, found):
    """With V's proportions held, the other rows' V gives fixed effects, their errors and the residual variance."""
    term, likelihood, optimum, result = found(id, group)
    for level in (0, 1):
        made = without(likelihood.design, term.codes == level)
        V = np.eye(len(made.y))
        for each, covariance in zip(made.terms, optimum.covariances, strict=True):
            relative = covariance / optimum.residual_variance
            V += (each.codes[:, None] == each.codes) * (each.matrix @ relative @ each.matrix.T)
        inverse = np.linalg.inv(V)
        spread = np.linalg.inv(made.X.T @ inverse @ made.X)
        fixed = spread @ made.X.T @ inverse @ made.y
        residuals = made.y - made.X @ fixed
        variance = residuals @ inverse @ residuals / (len(made.y) - len(fixed))
        np.testing.assert_allclose(result.held.fixed[level], fixed, rtol=1e-9)
        np.testing.assert_allclose(result.held.residual_variance[level], variance, rtol=1e-9)
        np.testing.assert_allclose(result.held.std_error[level], np.sqrt(variance * np.diag(spread)), rtol=1e-9)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize(("id", "group"), FACTORS)
def test_likelihoods_are_those_of_the_estimates(id, group, method, found):
    """Of the other rows and of all rows, at both kinds of estimates, as `Likelihood.loglik` gives them."""
    term, likelihood, optimum, result = found(id, group, method)
    for level in (0, 2):
        other = Likelihood(without(likelihood.design, term.codes == level), method == "REML")
        for of in (result.held, result.refitted):
            at = Parameters(of.fixed[level], tuple(each[level] for each in of.covariances), of.residual_variance[level])
            assert of.loglik[level] == pytest.approx(other.loglik(at), rel=1e-11)
            assert of.all_rows[level] == pytest.approx(likelihood.loglik(at), rel=1e-11)
    assert (result.refitted.loglik >= result.held.loglik - 1e-9).all()
    for of in (result.held, result.refitted):
        displacement = result.displacement(of)
        assert (displacement > 0).all() and displacement[0] == pytest.approx(
            2 * (optimum.loglik - of.all_rows[0]), rel=1e-12
        )


@pytest.mark.parametrize(("id", "group"), [*FACTORS[:2], ("machines-unstructured", "Worker")])
def test_changes_have_the_names_of_the_estimates(id, group, found):
    """Every parameter's change stands under its name, as a fit of the other rows names it."""
    term, likelihood, optimum, result = found(id, group)
    changes = result.changes(result.refitted)
    scratch = Likelihood(without(likelihood.design, term.codes == 1), True).optimum()
    named = [each.estimates.set_index(KEY)["estimate"] for each in (optimum, scratch)]
    assert list(changes.index) == list(term.levels)
    pd.testing.assert_series_equal(changes.iloc[1], named[0] - named[1], check_names=False, rtol=1e-6, atol=1e-7)


LME4 = """function(fit, data, group) {
  suppressPackageStartupMessages(loadNamespace("lme4"))
  fit <- lme4::lmer(formula(fit), data = data)
  found <- influence(fit, group, data = data)
  list(
    deleted = as.character(found$deleted), fixed = unname(found[[2]]), variances = unname(found[[4]]),
    dfbetas = if (ncol(found[[2]]) > 1L) unname(dfbetas(found)), # which stops where there is one fixed effect
    distance = unname(cooks.distance(found))
  )
}"""


@pytest.mark.parametrize(("id", "group"), [("sleepstudy-random_slope", "Subject"), ("pastes-nested", "batch")])
def test_lme4s_influence_is_this_one_in_its_own_convention(id, group, found, fits):
    """lme4 refits to its optimizer's digits; its dfbetas have the opposite sign, its Cook's distance (L - p) / L."""
    _, likelihood, _, result = found(id, group)
    fit = fits(id, "REML", "lme4", "tuned")
    given = r.from_r(r.call(robjects.r(LME4), fit.native, fit.model.frame, group))
    order = [result.levels.index(level) for level in given["deleted"]]
    count, p = len(order), likelihood.p
    errors = result.refitted.std_error[order]
    assert np.abs((given["fixed"].reshape(count, p) - result.refitted.fixed[order]) / errors).max() < 1e-4
    np.testing.assert_allclose(given["variances"][:, 0], result.refitted.residual_variance[order], rtol=1e-3)
    if p > 1:
        np.testing.assert_allclose(given["dfbetas"], -result.dfbetas(result.refitted)[order], atol=2e-4)
    # Its p is the number of columns, its n that of levels.
    distance = result.cooks_distance(result.refitted)[order] * (count - p) / count
    np.testing.assert_allclose(given["distance"], distance, rtol=5e-3, atol=1e-5)
    start = 1
    for covariances in result.refitted.covariances:
        rows, columns = np.triu_indices(covariances.shape[1])  # symmetric: lme4's lower triangle, down its columns
        wanted = covariances[order][:, rows, columns]
        given_here = given["variances"][:, start : start + len(rows)]
        np.testing.assert_allclose(given_here, wanted, rtol=2e-2, atol=2e-2 * np.abs(wanted).max())
        start += len(rows)
    assert start == given["variances"].shape[1]


def test_rows_may_be_left_out_one_at_a_time_and_few_refitted(found):
    """Any factor will do, such as the rows' own numbers; what is not asked for is not refitted."""
    _, likelihood, optimum, _ = found("pastes-nested", "batch")
    names = [f"row {i}" for i in range(likelihood.n)]
    result = influence(likelihood, optimum, (names, np.arange(likelihood.n)), refit=["row 7"])
    assert np.isfinite(result.held.fixed).all()
    assert np.flatnonzero(np.isfinite(result.refitted.loglik)).tolist() == [7]
    gone = np.arange(likelihood.n) == 7
    scratch = Likelihood(without(likelihood.design, gone), True).optimum()
    assert result.refitted.loglik[7] == pytest.approx(scratch.loglik, rel=1e-12)
    assert result.table.loc[7, "level"] == "row 7" and result.table.loc[7, "rows"] == 1


def test_a_level_that_the_model_rests_on_has_no_estimates_and_a_reason(make_model):
    """The one group with a treatment; one of two groups; the only group whose slope can be seen."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"g": list("aaaabbbbcccc"), "y": rng.normal(size=12).round(2)})
    table["treated"] = (table["g"] == "b") * 1.0
    table["x"] = np.where(table["g"] == "c", np.arange(12.0), 0.0)

    def reasons(formula, rows=slice(None)):
        likelihood = Likelihood(make_model(table[rows], formula).design, True)
        return influence(likelihood, likelihood.optimum(), "g", refit=False)

    treated = reasons("y ~ treated + (1 | g)")
    assert treated.reasons == {"b": "the other rows do not determine all fixed effects"}
    assert np.isnan(treated.held.fixed[1]).all() and np.isfinite(treated.held.fixed[[0, 2]]).all()
    assert np.isnan(treated.table.loc[1, "cooks_distance_held"])
    slope = reasons("y ~ 1 + (1 | g) + (0 + x | g)")
    assert slope.reasons == {"c": "the other rows do not determine the effects of (x | g)"}
    two = reasons("y ~ 1 + (1 | g)", slice(0, 8))
    assert two.reasons == {"a": "of g one level is left", "b": "of g one level is left"}


def test_a_factor_of_no_term_is_refused(found):
    """By name only a random term's factor can be left out."""
    _, likelihood, optimum, _ = found("pastes-nested", "batch")
    with pytest.raises(ValueError, match="no random term has the group 'plate'"):
        influence(likelihood, optimum, "plate")
