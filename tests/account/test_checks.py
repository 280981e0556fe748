"""What packages check: their derivatives against R's numbers, differences of their own deviance, and known failures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rpy2 import robjects

from concord import r, versions
from concord.account import checks
from concord.account.line import Sheet
from concord.agreement.comparison import compare
from concord.engines.engine import engines
from concord.engines.lme4.statements import optimum
from concord.inference.gradients import Criterion, relative_gradient
from concord.models import model as models

ENGINES = ("statsmodels", "lme4", "nlme")


@pytest.fixture(scope="module")
def compared(fits):
    """The comparison of a model's fits and what was asked of them, made once."""
    made = {}

    def of(id, method="REML", settings="tuned", engines=ENGINES):
        key = (id, method, settings)
        if key not in made:
            comparison = compare(*(fits(id, method, engine, settings) for engine in engines))
            made[key] = comparison, checks.answers(comparison)
        return made[key]

    return of


def lines_of(compared, *key, **named):
    comparison, asked = compared(*key, **named)
    return {line.quantity: line for line in checks.lines(comparison, asked)}


def rows_of(compared, *key, **named):
    return checks.table(*compared(*key, **named)).set_index(["source", "check"])


# ---- the relative gradient -----------------------------------------------------------------------------------------


def test_the_relative_gradient_is_the_same_for_every_factor_and_coding():
    """Eigenvalues of 2 F'GF, from the lower triangle of 2GF alone: of rotated factors, recombined columns, negative
    diagonals.
    """
    rng = np.random.default_rng(4)
    G = rng.normal(size=(3, 3))
    G = G + G.T
    factor = np.linalg.cholesky(np.cov(rng.normal(size=(3, 20))))
    wanted = np.linalg.eigvalsh(2 * factor.T @ G @ factor)
    np.testing.assert_allclose(relative_gradient(factor, 2 * G @ factor), wanted, atol=1e-12)
    turned = factor * [1, -1, 1]
    np.testing.assert_allclose(relative_gradient(turned, 2 * G @ turned), wanted, atol=1e-12)
    T = rng.normal(size=(3, 3))
    other = np.linalg.cholesky(T @ factor @ factor.T @ T.T)
    inverse = np.linalg.inv(T)
    given = 2 * inverse.T @ G @ inverse @ other
    np.testing.assert_allclose(relative_gradient(other, given), wanted, atol=1e-10)


def test_of_one_effect_it_is_the_derivative_by_the_logarithm_of_its_deviation(compared):
    """d(theta exp(h)) by R's own deviance function, at theta = 0.4, where nothing is stationary."""
    text = """function(theta, h) {
      f <- lme4::lmer(Yield ~ 1 + (1 | Batch), lme4::Dyestuff, devFunOnly = TRUE)
      (f(theta * exp(h)) - f(theta * exp(-h))) / (2 * h)
    }"""
    wanted = r.from_r(r.call(robjects.r(text), 0.4, 1e-4))[0]
    fit = compared("dyestuff-random_intercept", engines=("statsmodels", "lme4"))[0].fits[1]
    criterion = Criterion(fit.model.design, fit.model.reml, fit.model.design.terms, by_column=True)
    theta = np.array([0.4])
    found = relative_gradient(*criterion.factors(theta), *criterion.factors(criterion.slopes(theta)))
    assert abs(wanted) > 1 and found[0] == pytest.approx(wanted, rel=1e-6)


# ---- what the packages state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "method", "settings"),
    [
        ("sleepstudy-random_slope", "REML", "tuned"),
        ("sleepstudy-uncorrelated", "ML", "tuned"),
        ("pastes-nested", "REML", "tuned"),
        ("machines-unstructured", "ML", "tuned"),
        ("dietox-random_slope", "REML", "default"),
        ("sitka-random_slope", "REML", "default"),
        ("dyestuff2-random_intercept", "REML", "default"),
    ],
)
def test_no_gradient_and_no_boundary_differs_from_its_definition(id, method, settings, compared):
    """With free=, variance components, three effects, fits short of the optimum and on the boundary."""
    comparison, asked = compared(id, method, settings)
    lines = checks.lines(comparison, asked)
    Sheet(id, lines).check()
    names = [line.quantity for line in lines]
    assert "score in the factor's entries" in names
    # lme4 2 takes no derivatives where its fit is singular.
    derived = id != "dyestuff2-random_intercept" or versions.outside({"lme4": ">=2.0"})
    assert ("gradient of the deviance in theta" in names) == bool(derived)
    assert "largest relative gradient" in names and "on the boundary (1) or not (0)" in names
    assert all(line.absent == {"nlme": "it states neither gradient nor boundary"} for line in lines[-2:])


def test_lme4s_numbers_are_those_of_its_object_and_of_its_message(compared):
    """optinfo's gradient as it stands there; what its check compares is the number in its warning."""
    comparison, asked = compared("sitka-random_slope", settings="default")
    fit = comparison.fits[1]
    stored = r.from_r(r.call(robjects.r("function(f) f@optinfo$derivs$gradient"), fit.native))
    np.testing.assert_array_equal(asked["lme4"].derivatives[0].value, stored)
    assert any("max|grad| = 0.793203" in message for message in fit.messages)
    assert asked["lme4"].compared == pytest.approx(0.793203, abs=5e-7)
    assert asked["lme4"].derivatives[1].expected == pytest.approx(0.793203, abs=1e-5)


def test_what_lme4_loses_where_it_adds_up_many_effects_is_no_riddle(make_model):
    """Two groups of 200 each: its own deviance along a line is uneven by far more than eps, and less than is allowed
    for; the derivatives that it takes of it are off by no more.
    """
    rng = np.random.default_rng(1)
    g, h, x = np.repeat([0, 1], 800), np.repeat(np.arange(400), 4), rng.normal(size=1600)
    y = x + 2 * rng.normal(size=2)[g] + rng.normal(size=400)[h] + rng.normal(size=1600)
    frame = pd.DataFrame({"y": y, "x": x, "g": [f"g{i}" for i in g], "h": [f"h{i}" for i in h]})
    fit = engines()["lme4"].fit(make_model(frame, "y ~ x + (1 | g) + (1 | h)"))
    said = optimum.checks(fit, lost=0.0)
    code = """function(fit) {
      deviance <- lme4::lmer(formula(fit), fit@frame, devFunOnly = TRUE)
      vapply(seq(-6, 6), function(k) deviance(lme4::getME(fit, "theta") + c(0, k * 1e-5)), 0)
    }"""
    along = np.array(r.from_r(r.call(robjects.r(code), fit.native)))
    steps = np.arange(-6, 7)
    uneven = np.abs(along - np.polyval(np.polyfit(steps, along, 2), steps)).max()
    allowed = said.derivatives[0].rounding * optimum.STEP
    assert 10 * np.finfo(float).eps * abs(along[0]) < uneven < allowed < 30 * uneven
    for derivative in (*said.derivatives, said.relative):
        assert np.abs(derivative.value - derivative.expected).max() < derivative.rounding
    by_ml = optimum.checks(engines()["lme4"].fit(make_model(frame, "y ~ x + (1 | g) + (1 | h)", "ML")), lost=0.0)
    assert by_ml.derivatives[0].rounding == 0


def test_mixedlms_score_is_the_slope_of_its_own_likelihood(compared):
    """Differences of its loglike, which this code has no part in, at a fit that is not at its optimum."""
    comparison, asked = compared("dietox-random_slope", settings="default")
    results = comparison.fits[0].native._results
    at = results.params_object.get_packed(use_sqrt=True, has_fe=False)

    def loglike(packed):
        return results.model.loglike(packed, profile_fe=True)

    slopes = [(loglike(at + 1e-5 * e) - loglike(at - 1e-5 * e)) / 2e-5 for e in np.eye(3)]
    assert np.abs(slopes).max() > 10
    np.testing.assert_allclose(asked["statsmodels"].derivatives[0].value, slopes, atol=1e-4)
    np.testing.assert_allclose(asked["statsmodels"].derivatives[0].expected, slopes, atol=1e-4)


def test_the_wrong_sign_is_seen_where_the_optimizer_stopped(compared):
    """dietox by default: a negative diagonal entry, its derivative turned; the line says so and explains it."""
    comparison, asked = compared("dietox-random_slope", settings="default")
    said = asked["statsmodels"]
    results = comparison.fits[0].native._results

    def loglike(packed):
        return results.model.loglike(packed, profile_fe=True)

    steps = 1e-5 * np.maximum(np.abs(said.stop.at), 1e-3)
    moves = np.diag(steps)
    there = said.stop.at
    slopes = [(loglike(there + e) - loglike(there - e)) / (2 * h) for e, h in zip(moves, steps, strict=True)]
    np.testing.assert_allclose(said.stop.slopes, slopes, rtol=1e-4)
    assert (there[[0, 2]] < 0).any()
    assert not np.allclose(said.derivatives[-1].value, slopes, rtol=0.5)
    line = lines_of(compared, "dietox-random_slope", settings="default")["score where its first optimizer stopped"]
    assert line.definitions == {"statsmodels": "score_at_a_negative_diagonal"} and line.verdict == "agree"
    row = rows_of(compared, "dietox-random_slope", settings="default").loc[("statsmodels", "score at its first stop")]
    assert row["right"] == "wrong sign" and row["says"].startswith("1 of 3 derivatives")
    other = rows_of(compared, "sitka-random_slope", settings="default").loc[("statsmodels", "score at its first stop")]
    assert other["right"] == "yes"


def test_tuned_fits_have_flat_likelihoods_by_everybodys_account(compared):
    """Neither package's gradient leaves anything to gain; dietox's slope, which defaults get wrong, too."""
    line = lines_of(compared, "dietox-random_slope")["largest relative gradient"]
    assert max(line.values.values()) < 1e-3 and line.independent < 1e-9
    assert line.verdict == "by definition"
    assert "score where its first optimizer stopped" not in lines_of(compared, "dietox-random_slope")


# ---- whether they are right ----------------------------------------------------------------------------------------


def test_warnings_are_told_from_false_alarms_and_misses(compared):
    """Sitka by default: lme4 rightly warns, MixedLM's boundary warning is a false alarm. dietox: it says that it
    has not converged, and is right. Uncorrelated dietox by ML: whatever it says is told to be right or wrong.
    """
    sitka = rows_of(compared, "sitka-random_slope", settings="default")
    assert sitka.loc[("lme4", "gradient"), ["says", "right"]].tolist() == ["warns", "yes"]
    assert sitka.loc[("lme4", "convergence"), "right"] == "yes"
    assert sitka.loc[("statsmodels", "boundary"), ["says", "right"]].tolist() == ["warns", "false alarm"]
    assert (
        rows_of(compared, "dietox-random_slope", settings="default").loc[("statsmodels", "convergence"), "right"]
        == "yes"
    )
    missed = rows_of(compared, "dietox-uncorrelated", "ML", "default", engines=("statsmodels", "lme4"))
    # What an optimizer that stops short claims there is the machine's affair; whether that is right is not.
    claims = {"says that it has converged": "missed", "says that it has not": "yes"}
    says, right = missed.loc[("statsmodels", "convergence"), ["says", "right"]]
    assert claims[says] == right


def test_a_variance_of_zero_is_on_the_boundary_for_all(compared):
    """Dyestuff2: both warn and are right; lme4 then does not look at the gradient, and lme4 2 takes none."""
    rows = rows_of(compared, "dyestuff2-random_intercept", settings="default")
    assert set(rows.xs("boundary", level="check")["right"]) == {"yes"}
    if versions.outside({"lme4": ">=2.0"}):
        assert rows.loc[("lme4", "gradient"), "says"] == "not looked at"
    else:
        assert ("lme4", "gradient") not in rows.index
    line = lines_of(compared, "dyestuff2-random_intercept", settings="default")["on the boundary (1) or not (0)"]
    assert line.values == {"statsmodels": 1.0, "lme4": 1.0} and line.independent == 1.0


def test_mixedlms_boundary_comes_and_goes_with_the_units_of_the_response(make_model):
    """The same table in units of a hundredth: 0.01 of variance is now inside; lme4's theta does not move."""
    frame = models.get("sleepstudy-random_slope").frame.copy()
    frame["Reaction"] /= 1000
    made = make_model(frame, "Reaction ~ Days + (1 | Subject)")
    comparison = compare(*(engines()[name].fit(made, "default") for name in ("statsmodels", "lme4")))
    line = {line.quantity: line for line in checks.lines(comparison)}["on the boundary (1) or not (0)"]
    assert line.values == {"statsmodels": 1.0, "lme4": 0.0} and line.independent == 0.0
    assert line.verdict == "by definition" and "change of units" in line.reason


def test_a_gradient_that_its_definition_does_not_give_differs(compared):
    """A package that stated another number would be found out."""
    comparison, asked = compared("pastes-nested")
    gradient, *others = asked["lme4"].derivatives
    off = replace(gradient, value=gradient.value + 1e-4)
    wrong = {**asked, "lme4": replace(asked["lme4"], derivatives=(off, *others))}
    found = {line.quantity: line.verdict for line in checks.lines(comparison, wrong)}
    assert found["gradient of the deviance in theta"] == "differ"
    assert found["score in the factor's entries"] == "agree"


def test_columns_in_another_coding_are_checked_in_that_coding(compared):
    """lme4 fitted on centred days in the random term: theta is another one, the relative gradient is the same."""
    comparison, asked = compared("sleepstudy-random_slope")
    model = comparison.model
    made = robjects.r("function(d) lme4::lmer(Reaction ~ Days + (1 + I(Days - 4) | Subject), d)")
    native = r.call(made, r.table(model.frame))
    coded = engines()["lme4"].from_native(native, model, settings="default")
    other = compare(comparison.fits[0], coded)
    lines = {line.quantity: line for line in checks.lines(other)}
    Sheet("coded", list(lines.values())).check()
    theta = r.from_r(r.call(robjects.r("function(f) lme4::getME(f, 'theta')"), native))
    assert theta[0] != pytest.approx(0.9667, abs=1e-2)
    assert replace(lines["largest relative gradient"], values={"lme4": 0.0}).verdict == "differ"
