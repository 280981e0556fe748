"""What every engine owes, found by discovery; and what each of them is known for."""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from concord import r, vocabulary
from concord.agreement.judgement import judge
from concord.agreement.measures import doubted
from concord.engines.engine import CannotExpress
from concord.models import model as models
from concord.models.parameters import ESTIMATES, KEY, RANDOM_EFFECTS
from concord.reference import reference
from support.engines import ENGINES, keyed

# What the defaults do on these two was measured beforehand; the other datasets are held to printed values, and their
# kinds of terms to one another in test_translation.py.
MEASURED = [model for model in models.every() if model.dataset.id in ("dietox", "sitka")]
EVERY = [pytest.param(model.id, model.method, id=f"{model.id}-{model.method}") for model in MEASURED]
CASES = [
    pytest.param(model.id, model.method, engine, settings, id=f"{model.id}-{model.method}-{engine}-{settings}")
    for model in MEASURED
    for engine, module in ENGINES.items()
    for settings in module.settings
]
TUNED = [
    pytest.param(model.id, model.method, engine, id=f"{model.id}-{model.method}-{engine}")
    for model in MEASURED
    for engine in ENGINES
]
TITLE = {
    "statsmodels": "Mixed Linear Model Regression Results",
    "lme4": "Linear mixed model fit by",
    "nlme": "Linear mixed-effects model fit by",
}


# ---- the contract --------------------------------------------------------------------------------------------------


def test_the_engines_are_found_and_have_the_same_shape():
    """Every module with a function fit is an engine, and has its settings, a call and a way from native results."""
    assert list(ENGINES) == ["statsmodels", "lme4", "nlme"]
    for module in ENGINES.values():
        assert isinstance(module, ModuleType) and module.settings == ("default", "tuned")
        assert callable(module.fit) and callable(module.from_native) and callable(module.call)


@pytest.mark.parametrize(("id", "method", "engine", "settings"), CASES)
def test_a_fit_is_complete_and_named_as_in_r(id, method, engine, settings, numbers, fits):
    """Model, engine and settings are said, every parameter has its name from R and a finite value, nothing is empty."""
    fit = numbers(id, method, engine, settings)
    assert (fit.model.id, fit.model.method, fit.engine, fit.settings) == (id, method, engine, settings)
    estimates = fit.estimates
    assert list(estimates.columns) == ESTIMATES
    lme4s = r.from_r(r.call(r.function("lme4::fixef"), fits(id, method, "lme4", "default").native))
    names = r.from_r(r.call("names", r.call(r.function("lme4::fixef"), fits(id, method, "lme4", "default").native)))
    assert len(lme4s) == len(names)
    assert estimates.loc[estimates["effect"] == "fixed", "term"].tolist() == names
    group = fit.model.formula.random[0].group
    random = {
        "random_intercept": ["var__(Intercept)"],
        "random_slope": ["var__(Intercept)", "var__Time", "cov__(Intercept).Time"],
        "uncorrelated": ["var__(Intercept)", "var__Time"],
    }[fit.model.name]
    expected = [*((group, term) for term in random), ("Residual", "var__Observation")]
    rows = estimates[estimates["effect"] == "ran_pars"]
    assert list(zip(rows["group"], rows["term"], strict=True)) == expected
    assert np.isfinite(estimates["estimate"]).all()
    fixed = estimates["effect"] == "fixed"
    assert (estimates.loc[fixed, "std_error"] > 0).all() and estimates.loc[~fixed, "std_error"].isna().all()
    assert np.isfinite(fit.loglik) and fit.seconds > 0 and fit.violation is None
    assert TITLE[engine] in fit.summary
    assert all(message and message == message.strip() for message in fit.messages)


@pytest.mark.parametrize("method", vocabulary.METHODS)
@pytest.mark.parametrize("id", dict.fromkeys(model.id for model in models.every()))
def test_every_models_fits_keep_the_contract(id, method, numbers):
    """By every engine and settings: a value and a name for every parameter, and covariance matrices that are ones."""
    model = models.get(id, method)
    wanted = reference.of(model).estimates[KEY].to_numpy().tolist()
    for engine, module in ENGINES.items():
        for settings in module.settings:
            try:
                fit = numbers(id, method, engine, settings)
            except CannotExpress:
                assert (engine, "crossed" in id) == ("nlme", True)
                continue
            assert (fit.model.id, fit.model.method, fit.engine, fit.settings) == (id, method, engine, settings)
            assert fit.estimates[KEY].to_numpy().tolist() == wanted and np.isfinite(fit.estimates["estimate"]).all()
            assert (fit.std_error > 0).all() and fit.residual_variance > 0 and fit.violation is None
            smallest = min(np.linalg.eigvalsh(each).min() for each in fit.covariances)
            assert smallest > -1e-7 * fit.residual_variance


@pytest.mark.parametrize(("id", "method", "engine"), TUNED)
def test_tuned_random_effects_are_one_row_a_level_and_term_and_lme4s(id, method, engine, numbers):
    """Every level has its prediction of every effect, within a thousandth of the effects' spread of lme4's."""
    fit, lme4s = numbers(id, method, engine, "tuned"), numbers(id, method, "lme4", "tuned")
    effects, key = fit.random_effects, ["group", "level", "term"]
    assert list(effects.columns) == RANDOM_EFFECTS
    expected = {
        (term.group, level, name) for term in fit.model.design.terms for level in term.levels for name in term.names
    }
    assert len(effects) == len(expected) and set(effects[key].itertuples(index=False, name=None)) == expected
    both = effects.merge(lme4s.random_effects, on=key, suffixes=("", "_lme4"), validate="one_to_one")
    spread = both["term"].map(
        {
            name: np.sqrt(covariance[i, i])
            for term, covariance in zip(fit.model.design.terms, lme4s.covariances, strict=True)
            for i, name in enumerate(term.names)
        }
    )
    assert ((both["estimate"] - both["estimate_lme4"]).abs() <= 1e-3 * spread).all()
    if engine != "nlme":  # which gives no standard errors of them
        np.testing.assert_allclose(both["std_error"], both["std_error_lme4"], rtol=2e-2)


@pytest.mark.parametrize(("id", "method", "engine"), TUNED)
def test_tuned_is_at_the_optimum(id, method, engine, numbers):
    """Every engine, tuned, is within 1e-8 log-likelihood units of the optimum, and says which optimizers it asked."""
    fit = numbers(id, method, engine, "tuned")
    assert abs(judge(fit).gap) <= 1e-8
    assert abs(fit.loglik - reference.of(fit.model).loglik) <= 1e-8
    assert len(fit.attempts) >= 2
    assert max(attempt.loglik for attempt in fit.attempts) == pytest.approx(fit.loglik, rel=0, abs=1e-8)
    assert fit.seconds == pytest.approx(sum(attempt.seconds for attempt in fit.attempts))


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_tuned_variances_of_both_packages_agree_to_five_digits(id, method, numbers):
    """Every tuned variance and covariance of MixedLM is within relative 1e-5 of lme4's."""
    mixedlm, lme4 = (keyed(numbers(id, method, engine, "tuned"))["ran_pars"] for engine in ("statsmodels", "lme4"))
    assert mixedlm.index.equals(lme4.index)
    np.testing.assert_allclose(mixedlm, lme4, rtol=1e-5)


# Log-likelihood units below the optimum by default settings, and whether the engine claims to have converged:
# lme4 1.1-31 and statsmodels 0.15.0 as they were measured before this code was written. 0 stands for less than 1e-6.
DEFAULTS = {
    ("dietox-random_intercept", "REML"): ((0, True), (0, True)),
    ("dietox-random_intercept", "ML"): ((0, True), (0, True)),
    ("dietox-random_slope", "REML"): ((0, True), (3.34, False)),
    ("dietox-random_slope", "ML"): ((0, True), (3.70, False)),
    # What the optimizer that fails here claims in the end hangs on the last digits of a machine's arithmetic.
    ("dietox-uncorrelated", "REML"): ((0, True), (2.75, None)),
    ("dietox-uncorrelated", "ML"): ((0, True), (3.06, None)),
    ("sitka-random_intercept", "REML"): ((0, True), (0, True)),
    ("sitka-random_intercept", "ML"): ((0, True), (0, True)),
    ("sitka-random_slope", "REML"): ((14.2, False), (0, True)),
    ("sitka-random_slope", "ML"): ((14.0, False), (0, True)),
    ("sitka-uncorrelated", "REML"): ((0.391, False), (0, True)),
    ("sitka-uncorrelated", "ML"): ((0.351, False), (0, True)),
}


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_the_defaults_stop_where_they_were_seen_to_stop(id, method, numbers):
    """In 8 of 12 fits one of the two defaults is short, by the measured distance, and with the measured claim."""
    for engine, (gap, converged) in zip(("lme4", "statsmodels"), DEFAULTS[id, method], strict=True):
        fit = numbers(id, method, engine, "default")
        assert judge(fit).gap == pytest.approx(gap, rel=5e-3, abs=1e-6), engine
        assert converged in (None, fit.converged), engine
        # It says by a warning, if not by its claim, that something went wrong.
        assert converged is not None or doubted(fit.converged, fit.messages)


@pytest.mark.parametrize("engine", ENGINES)
def test_unknown_settings_are_refused(engine):
    """Only default and tuned are settings of an engine."""
    with pytest.raises(ValueError, match="settings 'fast': one of default, tuned"):
        ENGINES[engine].fit(models.get("sitka-random_intercept"), "fast")


def python_runs(code: str, name: str, frame: pd.DataFrame):
    """What the last expression of Python code gives, in a room with what a notebook imports."""
    import statsmodels.formula.api as smf
    from statsmodels.regression.mixed_linear_model import MixedLMParams

    room = {"smf": smf, "np": np, "MixedLMParams": MixedLMParams, name: frame}
    *before, last = code.splitlines()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the call is what is tested; its warnings are in another test
        exec("\n".join(before), room)
        return eval(last, room)


def r_runs(code: str, name: str, frame: pd.DataFrame, package: str):
    """What R code gives with the table under this name and the package attached."""
    from rpy2 import robjects

    run = """function(code, name, frame, package) {
      suppressMessages(library(package, character.only = TRUE))
      on.exit(detach(paste0("package:", package), character.only = TRUE))
      suppressWarnings(eval(str2lang(code), setNames(list(frame), name), globalenv()))
    }"""
    return r.call(robjects.r(run), code, name, frame, package)


@pytest.mark.parametrize("settings", ["default", "tuned"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("id", "method"),
    [("sitka-random_intercept", "ML"), ("sitka-uncorrelated", "REML"), ("dietox-random_slope", "REML")],
)
def test_the_call_is_the_code_that_ran(id, method, engine, settings, numbers):
    """Pasted where the table has the dataset's name, the call of a fit makes that fit again, to the last digits."""
    fit = numbers(id, method, engine, settings)
    frame, name = fit.model.frame, fit.model.dataset.id
    native = python_runs(fit.call, name, frame) if engine == "statsmodels" else r_runs(fit.call, name, frame, engine)
    again = ENGINES[engine].from_native(native, fit.model)
    np.testing.assert_allclose(keyed(again), keyed(fit), rtol=1e-9)
    assert again.loglik == pytest.approx(fit.loglik, rel=1e-12)
    assert again.converged is fit.converged


def test_rows_with_missing_values_are_left_out_by_all_alike(make_model):
    """Feed is missing at the first weighing: all engines fit the same 789 rows and agree."""
    model = make_model(models.get("dietox-random_slope").frame, "Weight ~ Feed + (1 | Pig)", "ML")
    made = {name: module.fit(model, "default") for name, module in ENGINES.items()}
    assert len(model.design.y) == 861 - 72
    for fit in made.values():
        assert fit.loglik == pytest.approx(reference.of(model).loglik, rel=0, abs=1e-5)


def test_names_that_are_no_python_names_reach_r(make_model):
    """Columns with dots, accents and spaces are fitted by lme4 and MixedLM, and all but the last by nlme."""
    for engine, name in (("lme4", "`jour é`"), ("lme4", "jour.é"), ("nlme", "jour.é")):
        frame = models.get("sitka-random_intercept").frame.rename(columns={"size": "log.size", "Time": name.strip("`")})
        model = make_model(frame, f"log.size ~ {name} + (1 | tree)")
        fit = ENGINES[engine].fit(model)
        assert fit.loglik == pytest.approx(-82.38840318347, rel=0, abs=1e-6)
        assert fit.estimates["term"].tolist()[1] == name
        again = ENGINES["statsmodels"].fit(model)
        np.testing.assert_allclose(keyed(again), keyed(fit), rtol=1e-3)


@pytest.mark.parametrize("settings", ["default", "tuned"])
@pytest.mark.parametrize(
    ("engine", "formula"),
    [
        ("statsmodels", "size ~ Time + (1 + Time | tree) + (1 | Time)"),
        ("statsmodels", "size ~ Time + (1 | treat) + (1 + Time | tree)"),
        ("nlme", "size ~ Time + (1 | tree) + (1 | Time)"),
        ("nlme", "size ~ Time + (1 + Time | tree) + (0 + treat | tree)"),
        ("nlme", "size ~ Time + (1 | tree) + (0 + treat | tree)"),
    ],
)
def test_what_an_engine_cannot_express_it_refuses(engine, settings, formula, make_model):
    """Factors that cross, and effects correlated only in part, are never fitted as something else."""
    model = make_model(models.get("sitka-random_intercept").frame, formula)
    with pytest.raises(CannotExpress, match="cannot express"):
        ENGINES[engine].fit(model, settings)


def test_lme4_fits_crossed_and_nested_factors(make_model, r_table):
    """Terms come back in the formula's order although lmer sorts them by their number of levels."""
    model = make_model(r_table("lme4::Penicillin"), "diameter ~ 1 + (1 | sample) + (1 | plate)")
    fit = ENGINES["lme4"].fit(model, "tuned")
    assert fit.estimates["group"].tolist() == ["", "sample", "plate", "Residual"]
    assert [round(float(each[0, 0]), 2) for each in fit.covariances] == [3.73, 0.72]  # printed: 1.9307^2, 0.8467^2
    assert abs(judge(fit).gap) < 1e-8
