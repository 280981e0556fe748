"""Native results: what somebody fitted by the packages themselves becomes a fit, or is refused by name."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from concord import r, versions
from concord.account import SECTIONS, Account
from concord.agreement.comparison import compare
from concord.agreement.judgement import judge
from concord.bootstrap import bootstrapped, ratio_test
from concord.engines import tuning
from concord.engines.answers import answer
from concord.engines.engine import EngineError
from concord.inference.criteria import NotComparable
from concord.likelihood.certificate import CertificateError
from concord.models import model as models
from concord.reference import certify, reference
from support.engines import ENGINES, keyed

# ---- native results ------------------------------------------------------------------------------------------------


def by_arrays(model: models.Model, frame: pd.DataFrame | None = None, reml: bool | None = None, **changed):
    """MixedLM on arrays, its columns under other names and in the other order than R's."""
    import statsmodels.api as sm

    frame = model.frame if frame is None else frame
    y, group = ("Weight", "Pig") if model.dataset.id == "dietox" else ("size", "tree")
    X = pd.DataFrame({"when": frame["Time"].astype(float), "const": 1.0})
    given = {
        "exog": X,
        "groups": frame[group],
        "exog_re": X[["when", "const"]] if "slope" in model.name else X["const"],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sm.MixedLM(frame[y], **given | changed).fit(reml=model.reml if reml is None else reml)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("id", ["sitka-random_slope", "sitka-random_intercept", "dietox-random_intercept"])
def test_a_mixedlm_result_by_arrays_is_recognized_by_its_numbers(id, method, numbers):
    """Columns in another order and by other names come out under R's names, variances and covariance in their place."""
    model = models.get(id, method)
    fit = ENGINES["statsmodels"].from_native(by_arrays(model), model, settings="by arrays", seconds=1.5, call="code")
    assert (fit.settings, fit.seconds, fit.call, fit.messages) == ("by arrays", 1.5, "code", ())
    expected = numbers(id, method, "lme4", "tuned")
    np.testing.assert_allclose(keyed(fit), keyed(expected), rtol=2e-3)
    assert fit.loglik == pytest.approx(expected.loglik, rel=0, abs=1e-6)
    both = fit.random_effects.merge(expected.random_effects, on=["group", "level", "term"], validate="one_to_one")
    assert len(both) == len(expected.random_effects)
    assert np.corrcoef(both["estimate_x"], both["estimate_y"])[0, 1] > 0.9999


def test_a_mixedlm_result_of_something_else_is_refused():
    """Another method, other rows or their order, other groups, other columns and variance components are named."""
    import statsmodels.formula.api as smf

    model, slope = models.get("sitka-random_intercept"), models.get("sitka-random_slope")
    frame = model.frame
    from_native = ENGINES["statsmodels"].from_native
    bent = pd.DataFrame({"t": frame["Time"] ** 2, "one": 1.0})
    three = pd.DataFrame({"t": frame["Time"], "t2": frame["Time"] ** 2 / 1e4, "one": 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        components = smf.mixedlm("size ~ Time", frame, groups=frame["tree"], vc_formula={"x": "0 + Time"}).fit()
    cases = {
        "is by ML, the model says REML": by_arrays(model, reml=False),
        "another response .* other rows": by_arrays(model, frame[1:]),
        "another response .* another order": by_arrays(model, frame.sample(frac=1.0, random_state=1)),
        r"other groups than sitka-random_intercept \(tree\)": by_arrays(model, groups=frame["treat"].astype(str)),
        "fixed effects are not a coding of": by_arrays(model, exog=bent),
        "has 3 fixed effects, the model has 2": by_arrays(model, exog=three),
        "random effects are not a coding of": by_arrays(model, exog_re=frame["Time"].astype(float)),
        "has 2 random effects, the model has 1": by_arrays(slope),
        "variance components": components,
        "this is not a result of MixedLM: DataFrame": frame,
    }
    for message, native in cases.items():
        with pytest.raises(EngineError, match=message):
            from_native(native, model)


def test_a_formula_and_its_table_stand_in_place_of_a_model(workspace, numbers):
    """Of both packages, and by ML as well as by REML; MixedLM's result by formula has the table itself."""
    import statsmodels.formula.api as smf

    model = models.get("sitka-random_intercept", "ML")
    frame, formula = model.frame, model.record.formula
    result = smf.mixedlm("size ~ Time", frame, groups="tree").fit(reml=False)
    expected = numbers(model.id, "ML", "lme4", "tuned").loglik
    lmer = workspace("lmer(f, Sitka, REML = FALSE)")
    for name, native, data in (("statsmodels", result, None), ("statsmodels", result, frame), ("lme4", lmer, frame)):
        fit = ENGINES[name].from_native(native, formula, data)
        assert (fit.model.record.formula, fit.model.method) == (formula, "ML")
        assert fit.loglik == pytest.approx(expected, rel=0, abs=1e-6)
    with pytest.raises(EngineError, match=r"the formula 'size ~ Time .*' needs its table, too"):
        ENGINES["lme4"].from_native(lmer, formula)
    arrays = by_arrays(model)
    assert ENGINES["statsmodels"].from_native(arrays, formula, frame).loglik == pytest.approx(expected, rel=0, abs=1e-6)
    with pytest.raises(EngineError, match="needs its table, too"):
        ENGINES["statsmodels"].from_native(arrays, formula)


def test_the_wrong_formula_is_told_what_has_no_place_and_the_right_one(workspace):
    """Of MixedLM by formula, by arrays and with components; of lmer by its own formula."""
    import statsmodels.formula.api as smf

    frame = models.get("sitka-random_intercept").frame
    right = "size ~ Time + (1 + Time | tree)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slope = smf.mixedlm("size ~ Time", frame, groups="tree", re_formula="~Time").fit()
        fixed = smf.mixedlm("size ~ Time * treat", frame, groups="tree").fit()
        components = smf.mixedlm("size ~ Time", frame, groups="tree", vc_formula={"t": "0 + Time"}).fit()
        arrays = by_arrays(models.get("sitka-random_slope"))
    of, no_place = "it is a fit of", "no place in size ~ Time + (1 | tree); "
    cases = [
        (
            slope,
            None,
            "size ~ Time + (1 | tree)",
            f"its (1 + Time | tree) has {no_place}it has no (1 | tree); {of} {right}",
        ),
        (arrays, frame, "size ~ Time + (1 | tree)", f"its (1 + Time | tree) has {no_place}it has no (1 | tree); {of} "),
        (components, None, "size ~ Time + (1 | tree)", f"its (0 + Time | tree) has {no_place}"),
        (fixed, None, "size ~ Time + (1 | tree)", "its treatozone and Time:treatozone have no place in size ~ Time"),
        (fixed, None, "size ~ Time + (1 | tree)", f"{of} size ~ Time * treat + (1 | tree)"),
        (slope, None, "size ~ treat + Time + (1 + Time | tree)", f"it has no treatozone; {of} {right}"),
    ]
    for native, data, wrong, words in cases:
        with pytest.raises(EngineError, match=re.escape(words)):
            ENGINES["statsmodels"].from_native(native, wrong, data)
    lmer = workspace("lmer(size ~ Time + (1 + Time | tree), Sitka)")
    with pytest.raises(EngineError, match=re.escape(f"no random term ((Intercept) | tree): {of} {right}")):
        ENGINES["lme4"].from_native(lmer, "size ~ Time + (1 | tree)", frame)


def test_groups_may_be_called_otherwise(numbers):
    """The same trees under other names are the same groups."""
    model = models.get("sitka-random_intercept")
    fit = ENGINES["statsmodels"].from_native(by_arrays(model, groups="tree " + model.frame["tree"].astype(str)), model)
    assert fit.loglik == pytest.approx(numbers(model.id, "REML", "lme4", "tuned").loglik, rel=0, abs=1e-6)


def test_refitting_a_model_object_leaves_an_earlier_results_loglikelihood():
    """MixedLM's own llf turns into another number when its model object is fitted by ML; the Fit's does not."""
    import statsmodels.formula.api as smf

    model = models.get("sitka-random_intercept")
    made = smf.mixedlm("size ~ Time", model.frame, groups=model.frame["tree"])
    result = made.fit(reml=True)
    made.fit(reml=False)
    assert abs(result.llf - -82.38840318347) > 1  # the trap
    assert ENGINES["statsmodels"].from_native(result, model).loglik == pytest.approx(-82.38840318347, rel=0, abs=1e-6)
    assert made.reml is False  # and the user's object is left as it was


@pytest.fixture
def workspace():
    """R's global environment with the Sitka data and lme4 and nlme attached, as a notebook's cells have it."""
    from rpy2 import robjects

    code = (
        "suppressMessages({library(lme4); library(nlme)}); data(Sitka, package = 'MASS'); f <- size ~ Time + (1 | tree)"
    )
    robjects.r(code)

    def native(code: str):
        robjects.r(f"fitted_here <- suppressWarnings({code})")
        return robjects.globalenv["fitted_here"]

    yield native
    robjects.r("detach('package:nlme'); rm(list = ls())")


def test_an_lmer_object_of_the_workspace_becomes_a_fit(workspace, numbers):
    """An S4 object fetched from globalenv gives its estimates, its summary, its call and what it said at its time."""
    model = models.get("sitka-random_slope")
    fit = ENGINES["lme4"].from_native(workspace("lmer(size ~ Time + (1 + Time | tree), data = Sitka)"), model)
    expected = numbers(model.id, "REML", "lme4", "default")
    pd.testing.assert_frame_equal(fit.estimates, expected.estimates)
    assert (fit.loglik, fit.converged, fit.messages) == (expected.loglik, False, expected.messages)
    assert fit.call == "lmer(formula = size ~ Time + (1 + Time | tree), data = Sitka)"
    assert "REML criterion at convergence: 153.4" in fit.summary and np.isnan(fit.seconds)
    pd.testing.assert_frame_equal(fit.random_effects, expected.random_effects)


def test_an_lmer_object_of_something_else_is_refused(workspace):
    """Another method, rows, groups, terms, coding, weights or an offset, and what is not an lmer fit, are named."""
    model = models.get("sitka-random_intercept")
    cases = {
        "lmer(f, Sitka, REML = FALSE)": "by ML, the model says REML",
        "lmer(f, Sitka[-1, ])": "another response .* other rows",
        "lmer(f, Sitka[395:1, ])": "another response .* another order",
        "lmer(f, transform(Sitka, tree = rev(tree) + rep(0:1, length.out = 395)))": "other groups or numbers in",
        "lmer(f, transform(Sitka, Time = Time^2))": "are not a coding of",
        "lmer(size ~ Time + treat + (1 | tree), Sitka)": "has 3 fixed effects, sitka-random_intercept has 2",
        "lmer(size ~ Time + (1 + Time | tree), Sitka)": r"no random term \(\(Intercept\) \| tree\)",
        "lmer(size ~ Time + (1 | tree) + (1 | treat), Sitka)": r"a random term \(\(Intercept\) \| treat\) too many",
        "lmer(f, Sitka, weights = rep(1:5, 79))": "weights or an offset",
        "lmer(size ~ Time + offset(Time) + (1 | tree), Sitka)": "weights or an offset",
        "lm(size ~ Time, Sitka)": "not a fit by lmer that can be read",
    }
    for code, message in cases.items():
        with pytest.raises(EngineError, match=message) as caught:
            ENGINES["lme4"].from_native(workspace(code), model)
        assert "\n" not in str(caught.value)


def test_an_lme_object_of_something_else_is_refused(workspace):
    """Another method, other rows, groups, terms, coding or residuals, and what is not an lme fit, are named."""
    model = models.get("sitka-random_intercept")
    assert ENGINES["nlme"].from_native(workspace("lme(size ~ Time, Sitka, ~ 1 | tree)"), model).settings == "default"
    cases = {
        "lme(size ~ Time, Sitka, ~ 1 | tree, method = 'ML')": "by ML, the model says REML",
        "lme(size ~ Time, Sitka[-1, ], ~ 1 | tree)": "another response .* other rows",
        "lme(size ~ Time, transform(Sitka, tree = rep(1:5, 79)), ~ 1 | tree)": "other groups",
        "lme(size ~ Time, Sitka, ~ 1 | treat/tree)": "other groups",
        "lme(size ~ Time, transform(Sitka, Time = Time / 30), ~ 1 | tree)": "other numbers in its fixed effects",
        "lme(size ~ treat, Sitka, ~ 1 | tree)": "other terms",
        "lme(size ~ Time, Sitka, ~ 0 + Time | tree)": "other terms",
        "lme(size ~ Time, Sitka, ~ 1 | tree, weights = varFixed(~ Time))": "weights or correlations",
        "lme(size ~ Time, Sitka, ~ 1 | tree, correlation = corAR1())": "weights or correlations",
        "lm(size ~ Time, Sitka)": "not a fit by lme that can be read",
    }
    for code, message in cases.items():
        with pytest.raises(EngineError, match=message) as caught:
            ENGINES["nlme"].from_native(workspace(code), model)
        assert "\n" not in str(caught.value)


# ---- what they say -------------------------------------------------------------------------------------------------


def test_lme4s_convergence_warnings_arrive(fits):
    """lmer's default on the Sitka slope says in a warning that it failed; the claim follows from it."""
    fit = fits("sitka-random_slope", "REML", "lme4", "default")
    said = "warning: Model failed to converge with max|grad| = 0.793203 (tol = 0.002, component 1)"
    assert fit.messages[0].startswith(said)  # lme4 2 adds where to read on
    assert fit.messages[1].startswith("warning: Model is nearly unidentifiable")
    assert fits("sitka-random_intercept", "REML", "lme4", "default").messages == ()


def test_lme4s_singular_fit_message_arrives(make_model, r_table):
    """That a fit is singular lme4 says in a message; it arrives, from a native object too, and is not a failure."""
    model = make_model(r_table("lme4::Dyestuff2"), "Yield ~ 1 + (1 | Batch)")
    fit = ENGINES["lme4"].fit(model)
    assert len(fit.messages) == 1 and fit.messages[0].startswith("message: boundary (singular) fit")
    assert ENGINES["lme4"].from_native(fit.native, model).messages == fit.messages
    assert fit.covariances[0][0, 0] == 0 and fit.converged and abs(judge(fit).gap) < 1e-8


def test_pythons_warnings_arrive_with_the_fit_and_nowhere_else(recwarn):
    """MixedLM's warnings are in the fit's messages, each once with its category, and do not leak out of it."""
    fit = ENGINES["statsmodels"].fit(models.get("dietox-random_slope", "ML"))
    assert "ConvergenceWarning: Retrying MixedLM optimization with lbfgs" in fit.messages
    assert any(each.startswith("ConvergenceWarning: Gradient optimization failed, |grad| = ") for each in fit.messages)
    assert len(set(fit.messages)) == len(fit.messages)
    assert [each for each in recwarn if "onvergence" in str(each.category)] == []


def test_mixedlms_boundary_warning_arrives(fits):
    """On the Sitka slope MixedLM is at the optimum and only warns of the boundary."""
    fit = fits("sitka-random_slope", "REML", "statsmodels", "default")
    assert fit.messages == ("ConvergenceWarning: The MLE may be on the boundary of the parameter space.",)


@pytest.mark.parametrize("optimizer", ["powell", "nm"])
def test_an_ignored_constraint_is_a_violation(optimizer):
    """powell and nm ignore free=: their "uncorrelated" fit has a covariance, is no such fit and counts for nothing."""
    import statsmodels.formula.api as smf
    from statsmodels.regression.mixed_linear_model import MixedLMParams

    model = models.get("dietox-uncorrelated")
    frame = model.frame
    made = smf.mixedlm("Weight ~ Time", frame, groups=frame["Pig"], re_formula="~Time")
    free = MixedLMParams.from_components(np.ones(2), np.eye(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of stopping early: 30 steps show it
        result = made.fit(free=free, method=optimizer, maxiter=30)
    fit = ENGINES["statsmodels"].from_native(result, model)
    assert fit.violation.startswith("constraint ignored: a covariance that the model holds at zero is ")
    likelihood = reference.of(model).likelihood
    assert tuning.recomputed(fit, likelihood) == -np.inf
    with pytest.raises(EngineError, match="no optimizer gave an estimate"):
        tuning.best([(optimizer, fit)], [], likelihood)


# ---- structures of covariance matrices -----------------------------------------------------------------------------

BY_LMER = """function(formula, data, control) {
  suppressMessages(suppressWarnings(lme4::lmer(as.formula(formula), data, REML = FALSE, control = control)))
}"""


def by_lmer(formula: str, data: pd.DataFrame, control: str = "lme4::lmerControl()"):
    r.package("lme4")
    return r.call(r.interface().evalr(BY_LMER), formula, data, r.interface().evalr(control))


def test_lmer_fits_with_structured_terms_are_read_or_refused_by_name(make_model):
    """What lme4 fits by us() and diag() is a fit of the same model in the old notation; a cs() term is none of it."""
    if versions.outside({"lme4": ">=2.0"}):
        pytest.skip("lme4 1 has no structures")
    for id, term in (("random_slope", "us(Days | Subject)"), ("uncorrelated", "diag(Days | Subject)")):
        model = models.get(f"sleepstudy-{id}", "ML")
        fit = ENGINES["lme4"].from_native(by_lmer(f"Reaction ~ Days + {term}", model.frame), model)
        expected = ENGINES["lme4"].fit(model, "tuned")
        np.testing.assert_allclose(keyed(fit), keyed(expected), rtol=2e-3)
        assert fit.loglik == pytest.approx(expected.loglik, abs=1e-6)
        both = fit.random_effects.merge(expected.random_effects, on=["group", "level", "term"], validate="one_to_one")
        assert len(both) == len(expected.random_effects)
        np.testing.assert_allclose(both["estimate_x"], both["estimate_y"], atol=0.05)
    with pytest.raises(EngineError, match="has the covariance structure cs"):
        ENGINES["lme4"].from_native(by_lmer("Reaction ~ Days + cs(Days | Subject)", model.frame), model)
    structured = make_model(model.frame, "Reaction ~ Days + cs(Days | Subject)", "ML")
    with pytest.raises(EngineError, match="has the covariance structure us"):
        ENGINES["lme4"].from_native(by_lmer("Reaction ~ Days + (Days | Subject)", model.frame), structured)
    with pytest.raises(EngineError, match="has the covariance structure homcs"):
        given = by_lmer("Reaction ~ Days + cs(Days | Subject, hom = TRUE)", model.frame)
        ENGINES["lme4"].from_native(given, structured)


STRUCTURED = ["cs(0 + Machine | Worker)", "cs(0 + Machine | Worker, hom = TRUE)", "ar1(0 + Machine | Worker)"]


@pytest.mark.parametrize("term", [*STRUCTURED, "ar1(0 + Machine | Worker, hom = FALSE)"])
def test_a_structured_term_is_judged_where_lme4_has_it_and_named_where_not(term, make_model):
    """lme4 2's own log-likelihood of these is the independent one's top, and nlme's where it has such a matrix too."""
    model = make_model(models.get("machines-unstructured").frame, f"score ~ Machine + {term}")
    answers = [answer(model, engine, "tuned") for engine in ("statsmodels", "lme4", "nlme")]
    comparison = compare(*answers)
    assert comparison.verdict.word == "cannot express" and term in comparison.verdict.reason
    told = {absence.engine: absence.reason for absence in comparison.absent}
    assert f"MixedLM cannot express {term}" in told["statsmodels"]
    by_nlme = term.startswith("cs") and "hom = TRUE" in term
    assert by_nlme or f"nlme cannot express {term}" in told["nlme"]
    account = Account(comparison)
    assert account.left_out == list(SECTIONS) and not account.unexplained
    if versions.outside({"lme4": ">=2.0"}):
        assert told["lme4"].endswith(f"{term}: it has structures of covariance matrices from version 2 on")
    else:
        assert "lme4 is at the best optimum" in comparison.verdict.reason
    fitted = [fit.engine for fit in comparison.fits]
    assert ("nlme" in fitted) == by_nlme and len(fitted) + len(told) == 3
    for fit, judgement in zip(comparison.fits, comparison.judgements, strict=True):
        assert abs(judgement.gap) < 1e-6 and fit.loglik == pytest.approx(comparison.against.loglik, abs=1e-6)
        said = f"Left out: of {term} there are no independent values beyond the estimates."
        assert account["checks"].notes == (said,) and comparison.table["ok"].all()
        assert account.anova == bootstrapped(account, 5) == said


def test_what_knows_nothing_of_a_structured_term_says_so(make_model, monkeypatch):
    """A guest, whose package may take it for a plain one; proofs; tests of models; a ratio's draws."""
    frame = models.get("machines-unstructured").frame
    model = make_model(frame, "score ~ Machine + cs(0 + Machine | Worker, hom = TRUE)")
    with monkeypatch.context() as patched:
        patched.setattr(ENGINES["nlme"], "role", "guest")
        absence = answer(model, "nlme", "tuned")
    assert absence.kind == "cannot express" and "is not asked about cs(0 + Machine" in absence.reason
    with pytest.raises(CertificateError, match="has a structure: no proof here"):
        certify(model)
    assert model.size == 3 + 2
    with pytest.raises(NotComparable, match="a covariance matrix has a structure"):
        ratio_test(make_model(frame, "score ~ Machine + (1 | Worker)"), model, 1)


def test_an_lmer_fit_that_scaled_its_columns_has_the_models_estimates_and_errors():
    """With autoscale lme4 2.1.0 itself states one scaled column's effect beside the standard error of the unscaled."""
    if versions.outside({"lme4": ">=2.0"}):
        pytest.skip("lme4 1 scales nothing")
    model = models.get("dietox-random_slope", "ML")
    control = "lme4::lmerControl(autoscale = TRUE)"
    fit = ENGINES["lme4"].from_native(by_lmer("Weight ~ Time + (Time | Pig)", model.frame, control), model)
    expected = ENGINES["lme4"].fit(model, "tuned")
    np.testing.assert_allclose(fit.fixed, expected.fixed, rtol=1e-6)
    np.testing.assert_allclose(fit.std_error, expected.std_error, rtol=1e-4)
