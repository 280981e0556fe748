"""Criteria and likelihood-ratio tests: against lme4, nlme, MixedLM, R's lm, published values and projected normals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rpy2 import robjects
from scipy import optimize

from concord import r
from concord.account import nested_models
from concord.inference.criteria import Candidate, LikelihoodRatio, NotComparable, likelihood_ratio, linear, mixture_p
from concord.likelihood.likelihood import Likelihood
from concord.models import model, nesting
from concord.models.formula import parse
from concord.models.matrices import design
from concord.models.nesting import Restriction

IDS = ["sleepstudy-random_slope", "sleepstudy-uncorrelated", "pastes-nested"]


def from_fit(fit, text: str):
    """What an R function says of a native fit."""
    return r.from_r(r.call(robjects.r(text), fit.native))


def at(fit) -> Candidate:
    """What an engine says."""
    return nested_models.candidate(fit.model, fit.loglik)


def candidate(formula: str, dataset: str = "sleepstudy-random_slope", reml: bool = False, **change) -> Candidate:
    """A formula on a dataset's table, at its optimum."""
    made = design(parse(formula), model.get(dataset).frame)
    loglik = Likelihood(made, reml).optimum().loglik
    return replace(Candidate(formula, made, reml, loglik, formula), **change)


# ---- criteria ------------------------------------------------------------------------------------------------------

LME4 = "function(f) c(logLik(f), attr(logLik(f), 'df'), AIC(f), BIC(f), -2 * c(logLik(f)), df.residual(f))"
NLME = "function(f) c(logLik(f), attr(logLik(f), 'df'), AIC(f), BIC(f))"


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("id", IDS)
def test_criteria_are_lme4s_in_its_convention(id, method, fits):
    """logLik, df, AIC, BIC, deviance and residual degrees of freedom, by both methods."""
    fit = fits(id, method, "lme4", "tuned")
    made = at(fit)
    found = [made.loglik, made.df, made.aic, made.bic(), made.deviance, made.n - made.df]
    np.testing.assert_allclose(found, from_fit(fit, LME4), rtol=1e-12)
    if method == "REML":
        assert made.deviance == pytest.approx(from_fit(fit, "lme4::REMLcrit")[0], rel=1e-12)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("id", IDS)
def test_criteria_are_nlmes_in_its_convention(id, method, fits):
    """Its BIC under REML takes n - p for n."""
    fit = fits(id, method, "nlme", "tuned")
    made = at(fit)
    np.testing.assert_allclose(
        [made.loglik, made.df, made.aic, made.bic(of_contrasts=True)], from_fit(fit, NLME), rtol=1e-12
    )
    difference = made.bic() - made.bic(of_contrasts=True)
    assert difference == pytest.approx(made.df * np.log(made.n / (made.n - made.p)) * (method == "REML"), abs=1e-9)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("id", IDS)
def test_criteria_are_mixedlms_in_its_convention(id, method, fits):
    """With free=, with variance components and plain: AIC and BIC under ML, none under REML; n - p residual df."""
    fit = fits(id, method, "statsmodels", "default")
    made = at(fit)
    if method == "REML":
        assert np.isnan([fit.native.aic, fit.native.bic]).all()
    else:
        np.testing.assert_allclose([made.aic, made.bic()], [fit.native.aic, fit.native.bic], rtol=1e-10)
    assert fit.native.df_resid == made.n - made.p


@pytest.mark.parametrize("reml", [True, False])
def test_the_linear_model_is_rs(reml, r_table):
    """logLik() of lm, by both methods, and its number of parameters."""
    made = linear(model.get("sleepstudy-random_slope").design, reml)
    text = f"function(d) {{ f <- lm(Reaction ~ Days, d); c(logLik(f, REML = {str(reml).upper()}), AIC(f), BIC(f)) }}"
    loglik, aic, bic = r.from_r(r.call(robjects.r(text), r.table(r_table("lme4::sleepstudy"))))
    assert made.loglik == pytest.approx(loglik, rel=1e-12)
    if not reml:
        assert (made.aic, made.bic()) == pytest.approx((aic, bic), rel=1e-12)


# ---- what the null restricts ---------------------------------------------------------------------------------------

DAYS = "Reaction ~ Days + "
SCORE = "score ~ Machine + "
NESTED = [
    # null, alternative, fixed, random, removed from every term of the alternative
    (DAYS + "(1 | Subject)", DAYS + "(1 + Days | Subject)", 0, 2, (1,)),
    (DAYS + "(1 | Subject)", DAYS + "(1 + Days || Subject)", 0, 1, (0, 1)),
    (DAYS + "(1 + Days || Subject)", DAYS + "(1 + Days | Subject)", 0, 1, (0,)),
    (DAYS + "(0 + I(Days - 5) | Subject)", DAYS + "(1 + Days | Subject)", 0, 2, (1,)),
    ("Reaction ~ 1 + (1 | Subject)", DAYS + "(1 | Subject)", 1, 0, (0,)),
    ("Reaction ~ 1 + (1 | Subject)", DAYS + "I(Days^2) + (1 + Days + I(Days^2) | Subject)", 2, 5, (2,)),
    ("Reaction ~ offset(3 * Days) + (1 | Subject)", DAYS + "(1 | Subject)", 1, 0, (0,)),
    (SCORE + "(1 | Worker)", SCORE + "(1 | Worker/Machine)", 0, 1, (1, 0)),
    (SCORE + "(1 | Worker/Machine)", SCORE + "(0 + Machine | Worker)", 0, 4, (0,)),
    (SCORE + "(1 | Worker:Machine)", SCORE + "(0 + Machine | Worker)", 0, 5, (0,)),
    (SCORE + "(1 | Worker)", SCORE + "(1 + Machine | Worker)", 0, 5, (2,)),
    ("score ~ 1 + (0 + Machine | Worker)", SCORE + "(1 + Machine | Worker)", 2, 0, (0,)),
]


@pytest.mark.parametrize(("null", "alternative", "fixed", "random", "removed"), NESTED)
def test_what_the_null_restricts_is_read_off_the_designs(null, alternative, fixed, random, removed):
    """Fixed effects, variances or both, however their columns are written; compound symmetry inside a full matrix."""
    id = "machines-nested" if "Machine" in alternative else "sleepstudy-random_slope"
    made = [design(parse(each), model.get(id).frame) for each in (null, alternative)]
    found = nesting.restriction(*made)
    assert (found.fixed, found.random) == (fixed, random)
    assert sorted(found.removed) == sorted(removed)


OTHER_RESPONSE = "I(Reaction + 1) ~ Days + (1 | Subject)"
REFUSED = [
    (DAYS + "(0 + I(Days - 5) | Subject)", DAYS + "(1 + Days || Subject)", "random terms"),
    (DAYS + "(0 + Days | Subject)", "Reaction ~ 1 + (1 + I(Days^2) | Subject)", "fixed effects"),
    (OTHER_RESPONSE, DAYS + "(1 + Days | Subject)", "other responses"),
    (DAYS + "(1 | Subject)", "Reaction ~ I(Days - 3) + (1 | Subject)", "one, written in two ways"),
    ("Reaction ~ offset(Days^2) + (1 | Subject)", DAYS + "(1 | Subject)", "fixed effects"),
]


@pytest.mark.parametrize(("first", "second", "words"), REFUSED)
def test_models_that_are_not_nested_are_refused_with_the_reason(first, second, words):
    """In either order."""
    made = [
        Candidate(each, design(parse(each), model.get("sleepstudy-random_slope").frame), False, -900.0)
        for each in (first, second)
    ]
    for pair in (made, made[::-1]):
        with pytest.raises(NotComparable, match=words):
            likelihood_ratio(*pair)


def test_reml_with_other_fixed_effects_and_other_rows_are_refused():
    """By REML only random terms can be tested; both methods at once, and other rows, not at all."""
    small, large = "Reaction ~ 1 + (1 | Subject)", DAYS + "(1 + Days | Subject)"
    reml = candidate(small, reml=True), candidate(large, reml=True)
    with pytest.raises(NotComparable, match="by REML with other fixed effects.*fit both by ML"):
        likelihood_ratio(*reml)
    with pytest.raises(NotComparable, match="one is fitted by REML and the other by ML"):
        likelihood_ratio(reml[0], candidate(large))
    frame = model.get("sleepstudy-random_slope").frame.copy()
    frame.loc[[3, 8], "Days"] = np.nan
    fewer = Candidate("fewer", design(parse(large), frame), True, -850.0)
    with pytest.raises(NotComparable, match="other rows, 180 and 178.*missing values"):
        likelihood_ratio(candidate(DAYS + "(1 | Subject)", reml=True), fewer)
    moved = Candidate("moved", replace(reml[1].design, rows=reml[1].design.rows + 1), True, -850.0)
    with pytest.raises(NotComparable, match="other rows of the table"):
        likelihood_ratio(candidate(DAYS + "(1 | Subject)", reml=True), moved)


# ---- the statistic and its distribution ----------------------------------------------------------------------------


def test_the_published_test_of_a_random_slope():
    """Orthodont: LRT 0.83311 on a mixture of 1 and 2, p 0.51035, as the README of R's varTestnlme prints them."""
    made = [
        candidate(f"distance ~ Sex * age + ({columns} | Subject)", "orthodont-random_intercept")
        for columns in ("1 + age", "1")
    ]
    found = likelihood_ratio(*made)
    assert found.null is made[1] and found.exact
    assert found.statistic == pytest.approx(0.83311, abs=5e-6)
    assert found.weights == ((1, 0.5), (2, 0.5))
    assert found.p_value == pytest.approx(0.51035, abs=5e-6)
    assert found.p_bounds == pytest.approx((found.p_value,) * 2, rel=1e-12)
    assert "0.5 chi2(1) + 0.5 chi2(2)" in repr(found) and "2 variances or covariances less" in repr(found)


def ratio(statistic, fixed, random, removed) -> LikelihoodRatio:
    some = linear(model.get("sleepstudy-random_slope").design, False)
    return LikelihoodRatio(some, some, Restriction(fixed, random, removed), statistic)


def test_the_published_bounds_of_two_variances():
    """LRT 4.5608 on 0, 1, 2: between 0.016356 and 0.067476, as an early README of varTestnlme prints them."""
    found = ratio(4.5608, 0, 2, (1, 1))
    assert found.p_bounds == pytest.approx((0.016356, 0.067476), abs=3e-6)  # for its LRT's rounding
    assert found.p_bounds[0] < found.p_value < found.p_bounds[1] and not found.exact
    assert any("independently" in each for each in found.assumes)


@pytest.mark.parametrize(("lowest", "value"), [(0, 2.71), (1, 5.14), (2, 7.05), (3, 8.76)])
def test_the_published_critical_values_of_half_and_half(lowest, value):
    """At 5 %, of 50:50 mixtures of q and q + 1 (Fitzmaurice, Laird and Ware 2004, Applied Longitudinal Analysis,
    appendix C).
    """
    found = optimize.brentq(lambda x: mixture_p(x, ((lowest, 0.5), (lowest + 1, 0.5))) - 0.05, 0.1, 30)
    assert found == pytest.approx(value, abs=0.0051)


def test_weights_are_those_of_normal_vectors_projected():
    """Two independent variances, and one with a covariance and a fixed effect: 400,000 normal vectors, projected."""
    z = np.random.default_rng(11).normal(size=(400_000, 3))
    positive = np.maximum(z, 0.0) ** 2
    for statistic in (0.5, 3.0, 6.0):
        two = (positive[:, 0] + positive[:, 1] > statistic).mean()
        assert ratio(statistic, 0, 2, (1, 1)).p_value == pytest.approx(two, abs=0.004)
        mixed = (positive[:, 0] + z[:, 1] ** 2 + z[:, 2] ** 2 > statistic).mean()
        assert ratio(statistic, 1, 2, (1,)).p_value == pytest.approx(mixed, abs=0.004)
        # Two correlated effects at once: the nearest positive semidefinite matrix has the positive eigenvalues.
        trace, spread = z[:, 0] + z[:, 1], np.hypot(z[:, 0] - z[:, 1], np.sqrt(2) * z[:, 2])
        length = np.maximum((trace + spread) / 2, 0) ** 2 + np.maximum((trace - spread) / 2, 0) ** 2
        low, high = ratio(statistic, 0, 3, (2,)).p_bounds
        assert low < (length > statistic).mean() < high
        assert np.isnan(ratio(statistic, 0, 3, (2,)).p_value)
        assert high < ratio(statistic, 0, 3, (2,)).naive


def test_a_mixture_with_nothing_gained_has_p_one():
    """At a statistic of zero, which has a probability of its own on the boundary, p is one."""
    assert ratio(0.0, 0, 1, (1,)).p_value == 1.0
    assert ratio(0.0, 0, 1, (1,)).naive == 1.0
    assert ratio(1e-9, 0, 1, (1,)).p_value < 0.51


def test_inside_the_range_the_mixture_is_the_naive_distribution():
    """A covariance, or a fixed effect, is tested by plain chi-squared: 0.0639 on 1 (vignette lmer of lme4, page 34)."""
    found = likelihood_ratio(candidate(DAYS + "(1 + Days || Subject)"), candidate(DAYS + "(1 + Days | Subject)"))
    assert found.statistic == pytest.approx(0.0639, abs=5e-5)
    assert found.p_value == found.naive == pytest.approx(0.8004, abs=5e-5)
    assert found.p_bounds == (found.naive, found.naive)


def test_a_fit_short_of_its_optimum_is_said_and_gives_zero():
    """Where the larger model has the lower log-likelihood, the statistic is zero and a note says why."""
    null, large = candidate(DAYS + "(1 | Subject)"), candidate(DAYS + "(1 + Days | Subject)")
    found = likelihood_ratio(null, replace(large, loglik=null.loglik - 2.0))
    assert found.statistic == 0.0 and "lower log-likelihood, by 2" in found.notes[0]
    assert likelihood_ratio(null, large).notes == ()


def test_by_reml_another_coding_of_the_fixed_effects_is_taken_out():
    """Centred and scaled days give the null another REML log-likelihood, and the test the same statistic."""
    large = candidate(DAYS + "(1 + Days | Subject)", reml=True)
    plain = likelihood_ratio(candidate(DAYS + "(1 | Subject)", reml=True), large)
    coded = likelihood_ratio(candidate("Reaction ~ I(10 * Days - 3) + (1 | Subject)", reml=True), large)
    assert coded.statistic == pytest.approx(plain.statistic, rel=1e-10)
    assert "shifted by -2.30259" in coded.notes[0] and plain.notes == ()


# ---- anova ---------------------------------------------------------------------------------------------------------

R_ANOVA = """function(sleepstudy) {
  null <- lme4::lmer(Reaction ~ 1 + (1 | Subject), sleepstudy)
  intercept <- lme4::lmer(Reaction ~ Days + (1 | Subject), sleepstudy)
  slope <- lme4::lmer(Reaction ~ Days + (1 + Days | Subject), sleepstudy)
  as.matrix(suppressMessages(anova(slope, null, intercept)))
}"""


def test_models_by_reml_are_tested_as_rs_anova_does(r_table):
    """Taken at their ML optimum, in the order of their numbers of parameters: R's table, with the mixture beside it."""
    formulas = ["Reaction ~ 1 + (1 | Subject)", DAYS + "(1 | Subject)", DAYS + "(1 + Days | Subject)"]
    made = [candidate(formula, reml=True).by_ml() for formula in formulas]
    tests = [likelihood_ratio(*pair) for pair in zip(made, made[1:], strict=False)]
    expected = r.from_r(r.call(robjects.r(R_ANOVA), r.table(r_table("lme4::sleepstudy"))))
    criteria = [(each.df, each.aic, each.bic(), each.loglik, each.deviance) for each in made]
    np.testing.assert_allclose(criteria, expected[:, :5], rtol=1e-6)
    np.testing.assert_allclose([(t.statistic, t.df, t.naive) for t in tests], expected[1:, 5:], rtol=1e-6)
    assert tests[1].weights == ((1, 0.5), (2, 0.5)) and "0.5 chi2(1)" in repr(tests[1])


def test_a_random_intercept_is_tested_against_none(r_table):
    """The linear model inside a mixed one, as lme4's anova takes it, half and half of nothing and one."""
    made = candidate(DAYS + "(1 | Subject)")
    found = likelihood_ratio(linear(made.design, False), made)
    assert found.statistic == pytest.approx(106.21, abs=0.005)
    assert found.weights == ((0, 0.5), (1, 0.5)) and found.p_value == pytest.approx(found.naive / 2, rel=1e-12)
    reml = candidate(DAYS + "(1 | Subject)", reml=True)
    by_ml = [each.by_ml() for each in (linear(made.design, True), reml)]
    assert likelihood_ratio(*by_ml).statistic == pytest.approx(found.statistic, rel=1e-9)
