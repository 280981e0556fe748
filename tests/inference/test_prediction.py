"""What a fit says beyond its parameters: against lme4, nlme, MixedLM, dense matrices and published values."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rpy2 import robjects
from scipy import linalg

from concord import r
from concord.engines.engine import engines
from concord.inference import mixed_model_equations as equations
from concord.inference.prediction import PREDICTIONS, Solution
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.models.design import Design, DesignTerm, NewRows
from concord.models.formula import parse
from concord.models.matrices import design, new_rows
from concord.models.parameters import Parameters
from concord.models.syntax import FormulaError

IDS = [
    "sleepstudy-random_slope",
    "sleepstudy-uncorrelated",
    "pastes-nested",
    "penicillin-crossed",
    "machines-unstructured",
]


def from_fit(fit, text: str):
    """What an R function says of a native fit."""
    return r.from_r(r.call(robjects.r(text), fit.native))


def dense(design, given):
    """Z and the covariance matrix of all random effects, written out."""
    Z = []
    for term in design.terms:
        for level in range(len(term.levels)):
            Z.append(term.matrix * (term.codes == level)[:, None])
    blocks = [c for term, c in zip(design.terms, given.covariances, strict=True) for _ in term.levels]
    return np.hstack(Z), linalg.block_diag(*blocks)


def henderson(design, given):
    """The inverse of the mixed-model equations' matrix (Henderson 1975), written out; the fixed effects first."""
    Z, G = dense(design, given)
    both = np.hstack([design.X, Z])
    C = both.T @ both / given.residual_variance
    p = design.X.shape[1]
    C[p:, p:] += np.linalg.inv(G)
    return Z, G, np.linalg.inv(C), np.linalg.solve(C, both.T @ design.y / given.residual_variance)


@pytest.fixture(scope="module")
def solved():
    """The solution at the independent optimum of a model."""

    def of(id):
        found = Likelihood(models.get(id).design, True).optimum()
        return Solution(found.design, found.parameters)

    return of


# ---- random effects ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", IDS)
def test_random_effects_and_both_covariances_solve_hendersons_equations(id, solved):
    """Nested, crossed and with slopes, modes, conditional covariances and those of prediction are the dense ones."""
    solution = solved(id)
    made = solution.design
    Z, G, inverse, effects = henderson(made, solution.parameters)
    p = made.X.shape[1]
    conditional = np.linalg.inv(Z.T @ Z / solution.residual_variance + np.linalg.inv(G))
    np.testing.assert_allclose(solution.fixed, effects[:p], rtol=1e-8)
    np.testing.assert_allclose(solution.fixed_covariance, inverse[:p, :p], rtol=1e-8)
    np.testing.assert_allclose(np.concatenate([each.ravel() for each in solution.modes]), effects[p:], atol=1e-8)
    start = 0
    for mode, given, both in zip(
        solution.modes, solution.conditional_covariances, solution.prediction_covariances, strict=True
    ):
        q = mode.shape[1]
        for level in range(len(mode)):
            mine = slice(start, start + q)
            scale = np.abs(conditional[mine, mine]).max()
            np.testing.assert_allclose(given[level], conditional[mine, mine], rtol=1e-8, atol=1e-10 * scale)
            mine = slice(p + start, p + start + q)
            np.testing.assert_allclose(both[level], inverse[mine, mine], rtol=1e-8, atol=1e-10 * scale)
            start += q


def test_what_is_solved_a_few_columns_at_a_time_is_the_same(solved, monkeypatch):
    """However few numbers are held at a time, blocks of the inverse and errors of predictions do not change."""
    whole = solved("penicillin-crossed")
    expected = [*whole.prediction_covariances, whole.predict().to_numpy()]
    monkeypatch.setattr(equations, "HELD", 100)
    again = solved("penicillin-crossed")
    for given, wanted in zip([*again.prediction_covariances, again.predict().to_numpy()], expected, strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-12)


def test_effects_of_uncorrelated_terms_covary_given_the_data(solved):
    """Intercept and slope of one subject, independent beforehand, have the dense conditional covariance afterwards."""
    solution = solved("sleepstudy-uncorrelated")
    Z, G = dense(solution.design, solution.parameters)
    conditional = np.linalg.inv(Z.T @ Z / solution.residual_variance + np.linalg.inv(G))
    [(terms, given, _)] = solution.by_group
    places = [0, len(solution.design.terms[0].levels)]
    assert terms == (0, 1)
    np.testing.assert_allclose(given[0], conditional[np.ix_(places, places)], rtol=1e-9)
    assert abs(given[0][0, 1]) > 0.1


def at(fit) -> Solution:
    """The solution at an engine's estimates."""
    return Solution(fit.model.design, fit.parameters)


def largest_difference(given, solution: Solution, uncertain_fixed: bool = False):
    """How far an engine's random effects are from the solution's: the largest, of the estimates in standard errors and
    of the standard errors relatively, and how many levels both have.
    """
    key = ["group", "term", "level"]
    both = solution.random_effects(uncertain_fixed).merge(given, on=key, suffixes=("", "_given"))
    estimates, errors = ((both[f"{each}_given"] - both[each]).abs() for each in ("estimate", "std_error"))
    return (estimates / both["std_error"]).max(), (errors / both["std_error"]).max(), len(both)


@pytest.mark.parametrize("id", IDS)
def test_random_effects_are_lme4s_at_lme4s_estimates(id, fits):
    """At what lmer found, ranef() and the roots of its condVar are the solution's, for every level of every term."""
    fit = fits(id, "REML", "lme4", "tuned")
    estimate, error, levels = largest_difference(fit.random_effects, at(fit))
    assert levels == sum(len(t.levels) * len(t.names) for t in fit.model.design.terms)
    assert max(estimate, error) < 1e-8


@pytest.mark.parametrize("id", ["sleepstudy-random_slope", "sleepstudy-uncorrelated", "pastes-nested"])
def test_random_effects_are_mixedlms_at_mixedlms_estimates(id, fits):
    """At what MixedLM found, its random_effects, random_effects_cov and fittedvalues are the solution's."""
    fit = fits(id, "REML", "statsmodels", "tuned")
    solution = at(fit)
    assert max(largest_difference(fit.random_effects, solution)[:2]) < 1e-8
    np.testing.assert_allclose(fit.native.fittedvalues, solution.fitted, rtol=1e-9)
    np.testing.assert_allclose(fit.native.resid, solution.residuals, atol=1e-7)


def test_the_difference_is_seen_where_random_effects_are_others(fits):
    """A random effect moved by a third of its standard error is told so, and so are the errors of prediction."""
    fit = fits("sleepstudy-random_slope", "REML", "lme4", "tuned")
    moved = fit.random_effects.copy()
    moved.loc[3, "estimate"] += moved.loc[3, "std_error"] / 3
    assert largest_difference(moved, at(fit))[0] == pytest.approx(1 / 3, rel=1e-6)
    assert largest_difference(moved, at(fit), uncertain_fixed=True)[1] > 0.01


def test_where_a_variance_is_zero_its_effects_are_zero():
    """At a singular covariance matrix, which has no inverse, effects are still predicted, along what it leaves."""
    made = models.get("sleepstudy-random_slope").design
    psi = np.array([[600.0, 60.0], [60.0, 6.0]])
    solution = Solution(made, Parameters(np.array([251.0, 10.5]), (psi,), 650.0))
    np.testing.assert_allclose(solution.modes[0][:, 1], 0.1 * solution.modes[0][:, 0], rtol=1e-9)
    V = 650.0 * np.eye(180)
    codes, M = made.terms[0].codes, made.terms[0].matrix
    V += (codes[:, None] == codes) * (M @ psi @ M.T)
    np.testing.assert_allclose(solution.residuals, 650 * np.linalg.solve(V, solution.marginal_residuals), atol=1e-8)
    nothing = Solution(made, Parameters(np.array([251.0, 10.5]), (np.zeros((2, 2)),), 650.0))
    assert not nothing.modes[0].any() and not nothing.conditional_covariances[0].any()
    with pytest.raises(ValueError, match="not a covariance matrix"):
        Solution(made, Parameters(np.array([251.0, 10.5]), (np.array([[1.0, 2.0], [2.0, 1.0]]),), 650.0))


# ---- fitted values and predictions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["lme4", "nlme"])
def test_fitted_values_and_residuals_are_the_engines(engine, fits):
    """fitted() and residuals() of both R packages, at their own estimates."""
    fit = fits("sleepstudy-random_slope", "ML", engine, "tuned")
    solution = at(fit)
    np.testing.assert_allclose(solution.fitted, from_fit(fit, "function(fit) as.numeric(fitted(fit))"), rtol=1e-7)
    np.testing.assert_allclose(
        solution.residuals,
        from_fit(fit, "function(fit) as.numeric(residuals(fit))"),
        atol=1e-4 if engine == "nlme" else 1e-8,
    )


def made_table():
    rng = np.random.default_rng(20240817)
    n = 96
    table = pd.DataFrame(
        {
            "x": (3 * rng.normal(size=n) + 10).round(2),
            "w": rng.uniform(1, 2, n).round(3),
            "z": rng.uniform(0, 4, n).round(2),
            "f": pd.Categorical(rng.choice(list("abc"), n)),
            "c": rng.choice(["u", "v"], n),
            "g": pd.Categorical(rng.choice(list("ABCDEFGH"), n)),
            "h": rng.integers(1, 4, n),
        }
    )
    g, both = table["g"].cat.codes, 3 * table["g"].cat.codes + table["h"] - 1
    effects = 3 * rng.normal(size=8)[g] + rng.normal(size=8)[g] * table["z"] + 2 * rng.normal(size=24)[both]
    table["y"] = 2 + table["x"] + effects + rng.normal(size=n)
    table.loc[3, "x"] = np.nan
    return table


FORMULA = "y ~ poly(w, 2) + log(x) * f + c + offset(w) + (1 + z | g) + (1 | g:h)"
NEW = pd.DataFrame(
    {
        "x": [9.0, 12.0, 7.0, 8.0],
        "w": [1.5, 1.2, 1.9, 1.1],
        "z": [0.5, 1.0, 3.5, 2.0],
        "f": ["b", "a", "c", "c"],
        "c": ["v", "u", "u", "v"],
        "g": ["A", "new", "B", "C"],
        "h": [1, 2, 9, 2],
    }
)


@pytest.fixture(scope="module")
def made_fit(make_model):
    model = make_model(made_table(), FORMULA)
    return engines()["lme4"].fit(model, "tuned")


@pytest.mark.parametrize(
    ("random", "re_form"), [(True, "NULL"), (False, "NA"), ([0], "~ (1 + z | g)"), ([1], "~ (1 | g:h)")]
)
def test_predictions_for_new_rows_are_lme4s(random, re_form, made_fit):
    """With poly(), contrasts, an unknown group and an unknown combination: predict() with re.form, allow.new.levels."""
    rows = new_rows(made_fit.model.formula, made_fit.model.design, made_fit.model.frame, NEW)
    text = f"function(fit, new) as.numeric(predict(fit, new, re.form = {re_form}, allow.new.levels = TRUE))"
    expected = r.from_r(r.call(robjects.r(text), made_fit.native, r.table(NEW)))
    found = at(made_fit).predict(rows, random)
    assert list(found) == PREDICTIONS
    np.testing.assert_allclose(found["estimate"], expected, rtol=1e-9)


def test_fitted_values_hold_the_offset_as_lme4s_do(made_fit):
    """fitted() is on the response's scale; residuals are what is left of the response."""
    solution = at(made_fit)
    np.testing.assert_allclose(solution.fitted, from_fit(made_fit, "function(f) as.numeric(fitted(f))"), rtol=1e-9)
    np.testing.assert_allclose(solution.residuals, from_fit(made_fit, "function(f) as.numeric(resid(f))"), atol=1e-8)
    np.testing.assert_allclose(solution.predict(errors=False)["estimate"], solution.fitted, rtol=1e-12)


def test_new_rows_of_the_old_table_are_the_designs_own(made_fit):
    """Scaled columns, contrasts, levels and combinations of levels come out as the design has them."""
    formula = parse("y ~ scale(x) + offset(w) + poly(w, 3) + (scale(x) | g/h)")
    made = design(formula, made_table())
    rows = new_rows(formula, made, made_table(), made_table().iloc[made.rows].drop(columns="y"))
    np.testing.assert_allclose(rows.X, made.X, atol=1e-12)
    np.testing.assert_allclose(rows.offset, made.offset)
    for term, matrix, codes in zip(made.terms, rows.matrices, rows.codes, strict=True):
        np.testing.assert_allclose(matrix, term.matrix, atol=1e-12)
        np.testing.assert_array_equal(codes, term.codes)


def test_errors_of_predictions_are_those_of_the_mixed_model_equations(made_fit):
    """Of the mean: k'C k of Henderson's inverse C; then with the variance of unknown levels, and of an observation."""
    model, solution = made_fit.model, at(made_fit)
    rows = new_rows(model.formula, model.design, model.frame, NEW)
    Z, G, inverse, _ = henderson(model.design, solution.parameters)
    k = np.zeros((len(NEW), len(inverse)))
    p = model.design.X.shape[1]
    k[:, :p] = rows.X
    start, unknown = p, np.zeros(len(NEW))
    for term, matrix, codes, psi in zip(
        model.design.terms, rows.matrices, rows.codes, solution.covariances, strict=True
    ):
        q = len(term.names)
        for i, code in enumerate(codes):
            if code >= 0:
                k[i, start + q * code : start + q * (code + 1)] = matrix[i]
            else:
                unknown[i] += matrix[i] @ psi @ matrix[i]
        start += q * len(term.levels)
    mean = np.einsum("ij,jk,ik->i", k, inverse, k)
    found = solution.predict(rows)
    assert (unknown > 0).tolist() == [False, True, True, False]
    np.testing.assert_allclose(found["std_error"] ** 2, mean, rtol=1e-7)
    np.testing.assert_allclose(found["std_error_level"] ** 2, mean + unknown, rtol=1e-7)
    np.testing.assert_allclose(
        found["std_error_observation"] ** 2, mean + unknown + solution.residual_variance, rtol=1e-7
    )
    marginal = solution.predict(rows, random=False)
    vcov = from_fit(made_fit, "function(fit) as.matrix(vcov(fit))")
    np.testing.assert_allclose(marginal["std_error"] ** 2, np.diag(rows.X @ vcov @ rows.X.T), rtol=1e-7)


def test_a_new_row_may_join_groups_that_no_row_of_the_data_joins():
    """Two pairs of crossed factors that share nothing: a row with a level of each has the dense equations' error."""
    rng = np.random.default_rng(5)
    ones = np.ones((16, 1))
    g, h = np.repeat([0, 1, 2, 3], 4), np.tile([0, 1, 0, 1], 4) + np.repeat([0, 2], 8)
    terms = (
        DesignTerm("g", ("(Intercept)",), ones, g, tuple("abcd")),
        DesignTerm("h", ("(Intercept)",), ones, h, tuple("pqrs")),
    )
    made = Design(rng.normal(size=16), ones, ("(Intercept)",), terms, np.arange(16))
    given = Parameters(np.zeros(1), (np.array([[2.0]]), np.array([[0.5]])), 1.5)
    *_, inverse, effects = henderson(made, given)
    solution = Solution(made, replace(given, fixed=effects[:1]))
    new = np.ones((2, 1))
    rows = NewRows(new, (new, new), (np.array([0, 1]), np.array([3, 0])), np.zeros(2))
    k = np.zeros((2, 9))
    k[0, [0, 1, 8]] = k[1, [0, 2, 5]] = 1.0
    found = solution.predict(rows)
    np.testing.assert_allclose(found["estimate"], k @ effects, rtol=1e-10)
    np.testing.assert_allclose(found["std_error"], np.sqrt(np.einsum("ij,jk,ik->i", k, inverse, k)), rtol=1e-10)


def test_a_missing_number_makes_its_own_prediction_missing_and_no_other(made_fit):
    """A row without a predictor has no prediction; the other rows have theirs, and a row without a group its mean."""
    model, solution = made_fit.model, at(made_fit)
    broken = NEW.copy()
    broken.loc[0, "z"] = np.nan  # which only the random effects need
    broken.loc[3, "g"] = None
    found = solution.predict(new_rows(model.formula, model.design, model.frame, broken))
    whole = solution.predict(new_rows(model.formula, model.design, model.frame, NEW))
    assert found.loc[0].isna().all()
    broken["z"], broken.loc[1, "x"] = NEW["z"], np.nan
    assert solution.predict(new_rows(model.formula, model.design, model.frame, broken)).loc[1].isna().all()
    np.testing.assert_allclose(found.loc[1:2], whole.loc[1:2], rtol=1e-12)
    marginal = solution.predict(new_rows(model.formula, model.design, model.frame, NEW), random=False)
    np.testing.assert_allclose(found.loc[3], marginal.loc[3], rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"), [({"f": ["b", "z", "c", "c"]}, "new level"), ({"w": None}, "no column 'w'")]
)
def test_new_rows_that_the_model_has_no_columns_for_are_refused(change, words, made_fit):
    """An unknown level of a predictor, and a predictor that is not there."""
    model = made_fit.model
    new = NEW.assign(**{key: value for key, value in change.items() if value})
    new = new.drop(columns=[key for key, value in change.items() if not value])
    with pytest.raises(FormulaError, match=words):
        new_rows(model.formula, model.design, model.frame, new)


# ---- explained variance --------------------------------------------------------------------------------------------


def test_explained_variance_is_the_published_one(r_table, make_model):
    """R-squared and ICC of two models as the tests of the R package performance hold them, to all printed digits."""
    found = Likelihood(models.get("sleepstudy-random_slope").design, True).optimum()
    solution = Solution(found.design, found.parameters)
    # easystats/performance, tests/testthat/test-bootstrapped_icc_ci.R and test-icc.R
    assert solution.r_squared[0] == pytest.approx(0.27865, abs=6e-6)
    assert solution.icc == pytest.approx((0.72166, 0.52057), abs=6e-6)
    iris = make_model(r_table("datasets::iris"), "Sepal.Length ~ Petal.Length + (1 | Species)")
    found = Likelihood(iris.design, True).optimum()
    solution = Solution(found.design, found.parameters)
    # the same, test-r2_nakagawa.R and test-icc.R; from an lmer fit, so to that fit's digits
    assert solution.r_squared == pytest.approx((0.65846169440315, 0.969409477972726), rel=1e-5)
    assert solution.icc == pytest.approx((0.910433109183341, 0.310947768161385), rel=1e-5)


@pytest.mark.parametrize("id", IDS)
def test_the_random_share_is_the_mean_of_the_dense_diagonal(id, solved):
    """Johnson (2014): the mean of the diagonal of Z Psi Z', over all terms."""
    solution = solved(id)
    Z, G = dense(solution.design, solution.parameters)
    assert solution.variances["random"].sum() == pytest.approx(np.trace(Z @ G @ Z.T) / len(Z), rel=1e-12)


# ---- size ----------------------------------------------------------------------------------------------------------


def test_ten_thousand_groups_take_seconds():
    """Ten thousand subjects with slopes, crossed with a hundred items: all effects, both covariances, all errors."""
    rng = np.random.default_rng(7)
    subjects, items, rows = 10_000, 100, 60_000
    x = rng.normal(size=rows)
    of = np.concatenate([np.arange(subjects), rng.integers(0, subjects, rows - subjects)])
    item = np.concatenate([np.arange(items), rng.integers(0, items, rows - items)])
    ones = np.ones((rows, 1))
    X = np.column_stack([ones, x])

    def made(*terms):
        return Design(rng.normal(size=rows), X, ("(Intercept)", "x"), terms, np.arange(rows))

    subject = DesignTerm("s", ("(Intercept)", "x"), X, of, tuple(map(str, range(subjects))))
    crossed = DesignTerm("i", ("(Intercept)",), ones, item, tuple(map(str, range(items))))
    psi = np.array([[2.0, 0.3], [0.3, 0.5]])
    started = time.perf_counter()
    alone = Solution(made(subject), Parameters(np.array([1.0, 2.0]), (psi,), 1.0))
    assert alone.predict().shape == (rows, 4) and alone.random_effects(uncertain_fixed=True).shape == (20_000, 5)
    both = Solution(made(subject, crossed), Parameters(np.array([1.0, 2.0]), (psi, np.array([[0.7]])), 1.0))
    spread = both.prediction_covariances
    assert time.perf_counter() - started < 20
    # One subject's block by the definition, from one solution of the equations.
    rows_of = np.flatnonzero(of == 17)
    assert np.isfinite(spread[0]).all() and (np.linalg.eigvalsh(spread[0]) > 0).all()
    M = X[rows_of]
    np.testing.assert_allclose(
        alone.conditional_covariances[0][17], np.linalg.inv(np.linalg.inv(psi) + M.T @ M), rtol=1e-9
    )
