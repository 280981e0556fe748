"""Judgements of single fits, and the kinds of evidence that a verdict rests on."""

import math
import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.regression.mixed_linear_model import MixedLMParams

from concord import r
from concord.agreement import resolution
from concord.agreement.comparison import compare
from concord.agreement.judgement import judge, lre
from concord.agreement.measures import doubted
from concord.engines.lme4 import engine as lme4
from concord.engines.statsmodels import engine as mixedlm
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.reference import reference
from support.estimates import changed


def singular(fit):
    """Whether a covariance matrix of a fit is singular."""
    return fit.parameters.singular(fit.model.design)


def defaults(numbers, id, method="REML", engines=("statsmodels", "lme4")):
    """Default fits by some engines, side by side."""
    return compare(*(numbers(id, method, engine, "default") for engine in engines))


@pytest.mark.parametrize(
    ("value", "correct", "digits"),
    [
        (1.001, 1.0, 3.0),
        (-1.001e-7, -1e-7, 3.0),
        (0.5, 1.0, 0.30103),
        (19.4934552, 19.4934, 5.54790),
        (3.0, 1.0, 0.0),
        (-1.0, 1.0, 0.0),
        (2.0, 2.0, 15.0),
        (1 + 2.0**-52, 1.0, 15.0),
        (1e-4, 0.0, 4.0),
        (0.0, 0.0, 15.0),
        (math.nan, 1.0, 0.0),
        (math.inf, 1.0, 0.0),
    ],
)
def test_correct_digits_are_the_log_relative_error(value, correct, digits):
    """-log10 |x - c| / |c|, by hand: capped at 15, never negative, none for a missing value."""
    assert lre(value, correct) == pytest.approx(digits, abs=1e-4)


def test_a_judgement_counts_the_digits_of_every_estimate(numbers):
    """The default lme4 fit of the Sitka slope has not one digit of its variances and many of its coefficients."""
    judgement = judge(numbers("sitka-random_slope", "REML", "lme4", "default"))
    assert judgement.worst == judgement.digits.min() < 0.1
    assert judgement.digits["fixed", "", "Time"] > 4
    assert judgement.digits["ran_pars", "tree", "var__Time"] < 0.5 and len(judgement.digits) == 6
    tuned = judge(numbers("sitka-random_slope", "REML", "lme4", "tuned"))
    assert tuned.worst > 5.5 and tuned.slope < 1e-4 < judgement.slope


# ---- evidence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "method", "word", "evidence", "gained"),
    [
        ("dietox-random_slope", "REML", "python short", ("stopped early",), "3.34"),
        ("dietox-uncorrelated", "ML", "python short", ("stopped early",), "3.06"),
        ("sitka-random_slope", "REML", "r short", ("stopped early",), "14.2"),
        ("sitka-uncorrelated", "ML", "r short", ("stopped early",), "0.351"),
    ],
)
def test_a_short_fit_is_shown_to_have_stopped_early(numbers, id, method, word, evidence, gained):
    """The gap, the derivative that is left, and what a search that goes on from there gains: all of the gap."""
    verdict = defaults(numbers, id, method).verdict
    short = max(defaults(numbers, id, method).judgements, key=lambda each: each.gap)
    # Whether an optimizer that fails says so in the end depends on the machine's last digits.
    silent = () if short.doubted else ("silent failure",)
    assert (verdict.word, verdict.evidence) == (word, (*evidence, *silent))
    assert f"{gained} log-likelihood units below the {short.against.noun}" in verdict.reason
    assert f"goes on from there gains {gained}" in verdict.reason
    says = "it claims to have converged" if short.fit.converged else "it says that it has not converged"
    assert says in verdict.reason
    who = "MixedLM (statsmodels)" if word == "python short" else "lme4"
    assert verdict.reason.startswith(f"{who} is short: ")


def test_a_warning_at_the_certified_optimum_is_a_false_alarm(numbers):
    """lme4's warning of a failure to converge at Sitka's optimum is one; MixedLM's note of a boundary is not."""
    tuned = compare(*(numbers("sitka-random_slope", "REML", engine, "tuned") for engine in ("statsmodels", "lme4")))
    assert tuned.verdict.word == "agree" and "false alarm" in tuned.verdict.evidence
    # What MixedLM's own optimizers say on the way there hangs on the machine's last digits.
    assert tuned.judgements[1].said_so == "warned"
    assert any("converge" in message for message in tuned.fits[1].messages)
    noted = "ConvergenceWarning: The MLE may be on the boundary of the parameter space."
    assert not doubted(True, [noted]) and doubted(True, ["warning: Model failed to converge with max|grad| = 1"])
    assert "false alarm" not in defaults(numbers, "sitka-random_slope").verdict.evidence
    calm = numbers("sitka-random_intercept", "ML", "lme4", "tuned")
    assert compare(calm, replace(calm, engine="statsmodels")).verdict.evidence == ()
    assert compare(calm, replace(calm, engine="statsmodels", converged=False)).verdict.evidence == ("false alarm",)


def test_an_ignored_constraint_is_the_evidence(numbers):
    """MixedLM's powell ignores `free`: the correlated fit is not a fit of the uncorrelated model, however high."""
    fit = numbers("dietox-uncorrelated", "REML", "statsmodels", "tuned")
    ignored = replace(fit, violation="constraint ignored: a covariance that the model holds at zero is 0.29")
    verdict = compare(ignored, numbers("dietox-uncorrelated", "REML", "lme4", "tuned")).verdict
    assert verdict.word == "python short" and verdict.evidence[0] == "constraint ignored"


def test_a_fit_stuck_where_a_variance_is_zero_is_called_so(numbers):
    """A zero variance is a stationary point in theta; where the optimum has none, the verdict names the boundary."""
    fit = numbers("sitka-random_intercept", "ML", "lme4", "tuned")
    ols = np.linalg.lstsq(fit.model.design.X, fit.model.design.y, rcond=None)
    variance = float(ols[1][0] / len(fit.model.design.y))
    stuck = changed(fit, fixed=ols[0], covariances=(np.zeros((1, 1)),), residual_variance=variance)
    assert singular(stuck) and not singular(fit)
    verdict = compare(stuck, replace(fit, engine="statsmodels")).verdict
    assert verdict.word == "r short" and set(verdict.evidence) >= {"boundary", "another optimum", "silent failure"}


def test_an_optimum_on_the_boundary_is_named(make_model, r_table):
    """Dyestuff2's variance between batches is zero at the optimum: both engines agree there, and the word is said."""
    model = make_model(r_table("lme4::Dyestuff2"), "Yield ~ 1 + (1 | Batch)")
    exact = replace(reference.of(model), radius=0.0, boundary=True)
    pair = lme4.fit(model, "tuned"), replace(lme4.fit(model), engine="statsmodels", settings="tuned")
    comparison = compare(*pair, against=exact)
    assert comparison.against is exact
    assert comparison.verdict.word == "agree" and "boundary" in comparison.verdict.evidence


# ---- other codings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["statsmodels", "lme4"])
def test_another_coding_of_X_is_a_shift_of_exactly_half_log_det(engine, numbers):
    """Centred and scaled, Sitka's predictor shifts the REML log-likelihood by 0.5 log |X'X| and nothing else."""
    model = models.get("sitka-random_slope", "REML")
    frame = model.frame.assign(t=(model.frame["Time"] - 200) / 30)
    if engine == "statsmodels":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = smf.mixedlm("size ~ t", frame, groups=frame["tree"], re_formula="~t")
            fit = mixedlm.from_native(made.fit(gtol=1e-9), model, settings="tuned")
    else:
        formula = r.function("stats::as.formula")
        written = r.call(formula, "size ~ t + (1 + t | tree)")
        control = r.call(r.function("lme4::lmerControl"), optimizer="bobyqa")
        native = r.call(r.function("lme4::lmer"), written, data=frame, control=control)
        fit = lme4.from_native(native, model, settings="default")
    X = np.column_stack([np.ones(len(frame)), frame["t"]])
    shift = 0.5 * (np.linalg.slogdet(X.T @ X)[1] - np.linalg.slogdet(model.design.X.T @ model.design.X)[1])
    assert fit.shift == pytest.approx(shift, abs=1e-10) and abs(shift) > 3
    own = numbers("sitka-random_slope", "REML", "nlme", "tuned")
    comparison = compare(
        fit, replace(own, engine="lme4" if engine == "statsmodels" else "statsmodels", settings=fit.settings)
    )
    verdict = comparison.verdict
    assert verdict.word == "agree" and "other coding" in verdict.evidence and "0.5 log |X'X|" in verdict.reason
    assert comparison.check() is comparison


def test_random_effects_come_back_from_another_coding(numbers):
    """Predictions and their standard errors are those of the model's own columns."""
    model = models.get("sitka-random_slope", "REML")
    frame = model.frame.assign(t=(model.frame["Time"] - 200) / 30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        native = smf.mixedlm("size ~ t", frame, groups=frame["tree"], re_formula="~t").fit(gtol=1e-9)
    got = mixedlm.from_native(native, model).random_effects.set_index(["term", "level"]).sort_index()
    own = (
        numbers("sitka-random_slope", "REML", "lme4", "tuned").random_effects.set_index(["term", "level"]).sort_index()
    )
    np.testing.assert_allclose(got["estimate"], own["estimate"], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(got["std_error"], own["std_error"], rtol=1e-3)


# ---- another definition --------------------------------------------------------------------------------------------


def test_standard_errors_by_another_definition_are_no_disagreement(make_model):
    """In a small unbalanced design MixedLM's joint Hessian gives other errors than lme4's: named, and no breach."""
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(6), [2, 3, 3, 4, 9, 12])
    x = rng.normal(size=len(group)) + group
    y = 1 + x + rng.normal(size=6)[group] + rng.normal(size=len(group))
    model = make_model(pd.DataFrame({"y": y, "x": x, "g": group}), "y ~ x + (1 | g)", "ML")
    python, lme = mixedlm.fit(model, "tuned"), lme4.fit(model, "tuned")
    comparison = compare(python, lme)
    assert comparison.table["definition"].any() and "by definition" in repr(comparison)
    assert comparison.verdict.word == "agree" and "other definition" in comparison.verdict.evidence
    told = "MixedLM (statsmodels) count in that the variances are estimated, those of lme4 take the variances as known"
    assert told in comparison.verdict.reason
    assert comparison.check() is comparison
    for wrong in (
        replace(python, std_error=1.001 * python.std_error),  # not what the joint Hessian gives
        replace(python, std_error=0.5 * python.std_error, joint_std_error=0.5 * python.std_error),  # too small
        replace(python, joint_std_error=None),  # nothing says that another definition is meant
    ):
        verdict = compare(wrong, lme).verdict
        assert verdict.word == "differ" and "states a standard error" in verdict.reason


def clustered(seed):
    """A small unbalanced table whose fit by ML has a correlation of one."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(8), [2, 3, 3, 4, 5, 6, 8, 9])
    x = rng.normal(size=len(group)) + group / 2
    y = 1 + x + 1.5 * rng.normal(size=8)[group] * (1 + x) + rng.normal(size=len(group))
    return pd.DataFrame({"y": y, "x": x, "g": group})


def dense_information(frame, fit):
    """Minus MixedLM's Hessian by ML at a fit's covariance matrix, over n x n matrices: singular or not."""
    X, codes = np.column_stack([np.ones(len(frame)), frame["x"]]), frame["g"].to_numpy()
    within = codes[:, None] == codes
    V = np.eye(len(X)) + within * (X @ (fit.covariances[0] / fit.residual_variance) @ X.T)
    by = [np.diag([1.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]]), np.diag([0.0, 1.0])]
    slopes = [within * (X @ unit @ X.T) for unit in by]
    solve = np.linalg.inv(V)
    residual = frame["y"] - X @ np.linalg.solve(X.T @ solve @ X, X.T @ solve @ frame["y"].to_numpy())
    e = solve @ residual
    n, size = len(X), float(residual @ e)
    found = np.empty((5, 5))
    found[:2, :2] = n * X.T @ solve @ X / size
    for i, a in enumerate(slopes, 2):
        found[:2, i] = found[i, :2] = n * X.T @ solve @ a @ e / size
        for j, b in enumerate(slopes, 2):
            bent = np.trace(solve @ a @ solve @ b) / 2 - n * (e @ a @ solve @ b @ e) / size
            found[i, j] = -bent - n * (e @ a @ e) * (e @ b @ e) / (2 * size**2)
    return found


@pytest.mark.parametrize(("seed", "down"), [(0, False), (7, True)])
def test_on_the_boundary_a_joint_standard_error_is_by_definition_however_large_or_small(seed, down, make_model):
    """There MixedLM's Hessian may bend up, and what its inverse has in place of variances is what it prints."""
    frame = clustered(seed)
    model = make_model(frame, "y ~ x + (1 + x | g)", "ML")
    python, lme = mixedlm.fit(model, "tuned"), lme4.fit(model, "tuned")
    assert singular(lme)
    dense = dense_information(frame, python)
    assert (np.linalg.eigvalsh(dense)[0] > 0) == down
    np.testing.assert_allclose(python.std_error, np.sqrt(np.diag(np.linalg.inv(dense))[:2]), rtol=2e-5)
    ratio = python.std_error / lme.std_error
    assert ratio[1] > 1.2 if down else ratio[1] < 0.6
    comparison = compare(python, lme)
    errors = comparison.table[comparison.table["effect"] == "std_error"]
    assert errors["definition"].all() and errors["ok"].all() and comparison.verdict.word == "agree"
    off = replace(python, std_error=1.0005 * python.std_error, joint_std_error=1.0005 * python.std_error)
    table = compare(off, lme).table
    assert not table.loc[table["effect"] == "std_error", "ok"].any()


@pytest.mark.parametrize("least", [1e-5, 1e-8, 1e-10, 1e-12])
def test_what_mixedlm_states_near_a_singular_matrix_is_off_by_its_rounding(least, make_model):
    """Beside the log-likelihood over n x n matrices; where the bound is small, so is the error."""
    frame = clustered(7)
    model = make_model(frame, "y ~ x + (1 + x | g)", "ML")
    X, correlation = np.column_stack([np.ones(len(frame)), frame["x"]]), 1 - least
    psi = np.array([[1.0, correlation], [correlation, 1.0]])
    V = np.eye(len(X)) + (frame["g"].to_numpy()[:, None] == frame["g"].to_numpy()) * (X @ psi @ X.T)
    solve = np.linalg.inv(V)
    fixed = np.linalg.solve(X.T @ solve @ X, X.T @ solve @ frame["y"].to_numpy())
    residual = frame["y"] - X @ fixed
    n, size = len(X), float(residual @ solve @ residual)
    loglik = -(n * math.log(2 * math.pi * size / n) + n + np.linalg.slogdet(V)[1]) / 2
    made = smf.mixedlm("y ~ x", frame, groups="g", re_formula="~x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.fit(reml=False)  # which prepares the model
    stated = made.loglike(MixedLMParams.from_components(fe_params=fixed, cov_re=psi), profile_fe=False)
    fit = changed(
        lme4.fit(model),
        engine="statsmodels",
        stated_loglik=stated,
        fixed=fixed,
        covariances=(psi * size / n,),
        residual_variance=size / n,
    )
    likelihood = Likelihood(model.design, model.reml)
    found = resolution.inversion(fit)
    assert abs(stated - loglik) <= found == pytest.approx(8 * 2.0**-52 / least, rel=1e-3)
    assert abs(stated - loglik) > found / 1e4 or found < 1e-9
    assert found < resolution.of_fit(fit, likelihood, loglik).stated < found + 1e-11
    assert resolution.of_fit(replace(fit, engine="lme4"), likelihood, loglik).stated < 1e-11


def test_a_difference_within_the_rounding_of_mixedlms_own_criterion_says_so(make_model):
    """No search by a criterion that has such an error can come nearer."""
    fit = lme4.fit(make_model(clustered(7), "y ~ x + (1 + x | g)", "ML"), "tuned")
    inside = fit.covariances[0] + 1e-9 * np.diag(np.diag(fit.covariances[0]))
    off = changed(fit, engine="statsmodels", covariances=(inside,), stated_loglik=fit.stated_loglik + 1e-6)
    assert 2e-6 > resolution.inversion(off) > 5e-7 and judge(off).gap < 1e-8
    said = "its own log-likelihood has a rounding error of up to .e-0[67] there, for it inverts a covariance matrix"
    verdict = compare(off, fit).verdict
    assert verdict.word == "agree" and "rounding" in verdict.evidence and re.search(said, verdict.reason)
    below = changed(off, residual_variance=1.0001 * fit.residual_variance, stated_loglik=fit.stated_loglik + 5e-7)
    assert 1e-6 > judge(below).gap > 1e-8 and compare(below, fit).verdict.word == "agree"
    claims = compare(replace(off, stated_loglik=fit.stated_loglik + 5e-6), fit).verdict
    assert claims.word == "differ" and "rounding" in claims.evidence and re.search(said, claims.reason)
    # One that states the log-likelihood well there can see well enough to go on; so can lme4.
    for sees in (
        replace(below, stated_loglik=reference.of(fit.model).level - judge(below).gap),
        replace(below, engine="lme4"),
    ):
        assert compare(sees, fit).verdict.word in ("python imprecise", "differ")
    wide = changed(off, covariances=(1.001 * fit.covariances[0] + 1e-5 * np.diag(np.diag(fit.covariances[0])),))
    assert "rounding" not in compare(wide, fit).verdict.evidence


def test_conditional_standard_errors_are_lme4s(numbers):
    """The independent likelihood's standard errors at lme4's own estimates are those that lme4 prints."""
    for id in ("dietox-random_slope", "sitka-uncorrelated"):
        for method in ("REML", "ML"):
            fit = numbers(id, method, "lme4", "default")
            likelihood = Likelihood(fit.model.design, fit.model.reml)
            got = likelihood.std_error(fit.parameters)
            np.testing.assert_allclose(got, fit.std_error, rtol=1e-7)


# ---- who is judged, and against what -------------------------------------------------------------------------------


def test_nlme_is_an_arbiter_and_no_party(numbers):
    """An arbiter that is short is seen, and takes nothing from a verdict between the two."""
    pair = [numbers("sitka-random_intercept", "REML", engine, "tuned") for engine in ("statsmodels", "lme4")]
    nlme = numbers("sitka-random_intercept", "REML", "nlme", "tuned")
    off = changed(nlme, covariances=(nlme.covariances[0] * 2,), stated_loglik=nlme.stated_loglik - 5)
    comparison = compare(*pair, off)
    assert comparison.verdict.word == "agree" and comparison.judgements[2].gap > 1
    assert "nlme" in repr(comparison)
    assert compare(pair[0], off).verdict.word == "r short"


def test_where_nothing_is_certified_the_better_fit_takes_the_references_place(numbers, make_model):
    """And the word says so: a search that stopped below a fit is not a judge of it."""
    table = models.get("sitka-random_slope").frame
    model = make_model(table, "size ~ Time + (1 + Time | tree)")
    good, bad = replace(lme4.fit(model, "tuned"), engine="statsmodels", settings="default"), lme4.fit(model)
    found = reference.of(model)
    assert not found.certified and "not certified" in found.kind
    weak = replace(found, level=found.level - 10, loglik=found.loglik - 10)
    low = compare(good, bad, against=weak)
    assert low.against.level == pytest.approx(found.level, abs=1e-8)
    assert low.verdict.word == "r short"
    assert low.judgements[0].gap == pytest.approx(0, abs=1e-9)
    # Where not even a search from there leads higher than the fit, the fit itself is the reference.
    none = replace(weak, likelihood=found.likelihood)
    assert none.surpassed(found.level, good, "the fits compared").kind.endswith("the best of the fits compared")
    # What one comparison is judged against is no other one's affair.
    assert reference.of(model) is found and compare(good, bad).against is found


def test_two_equal_comparisons_have_equal_verdicts_whenever_they_are_read(numbers):
    """A reference that comes up between the two readings changes neither, and one that is handed in changes its own."""
    pair = [numbers("sitka-random_intercept", "REML", engine, "tuned") for engine in ("statsmodels", "lme4")]
    first, second = compare(*pair), compare(*pair)
    known = reference.of(pair[0].model)
    read = first.verdict
    higher = compare(*pair, against=replace(known, level=known.level + 1, loglik=known.loglik + 1))
    assert higher.verdict.word == "both short" and read == second.verdict == compare(*pair).verdict
    assert not {"keep", "adopt"} & set(dir(reference))
