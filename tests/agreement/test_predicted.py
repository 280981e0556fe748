"""Predictions for new rows by one call: against predict() of lme4 and of MixedLM, and lme4 with several factors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rpy2 import robjects

from concord import r
from concord.agreement.comparison import compare
from concord.agreement.predicted import LEVELS, predict
from concord.data.source import SourceError
from concord.engines.engine import engines
from concord.likelihood.likelihood import Likelihood
from concord.models.model import ModelError
from concord.models.of_table import model_of
from concord.models.syntax import FormulaError

NEW = pd.DataFrame({"Days": [0.0, 4.5, 12.0, 3.0], "Subject": ["308", "372", "372", "new"]}, index=list("abcd"))


@pytest.fixture(scope="module")
def compared(fits):
    """The comparison of sleepstudy's slopes by both packages, and their fits."""
    both = {engine: fits("sleepstudy-random_slope", "REML", engine, "tuned") for engine in ("statsmodels", "lme4")}
    return compare(*both.values()), both


def of_lme4(fit, new, form):
    code = f"function(fit, new) unname(predict(fit, new, re.form = {form}, allow.new.levels = TRUE))"
    return r.from_r(r.call(robjects.r(code), fit.native, new))


@pytest.mark.parametrize(("random", "form"), [(True, "NULL"), (False, "NA")])
def test_it_is_lme4s_with_and_without_random_effects(random, form, compared):
    """At its own estimates, at known and unknown levels."""
    comparison, both = compared
    made = comparison.predict(NEW, random)
    np.testing.assert_allclose(made["lme4"], of_lme4(both["lme4"], NEW, form), rtol=1e-8)
    assert list(made.index) == list("abcd") and made["difference"].max() < 0.01


def test_it_is_mixedlms_of_the_fixed_effects_and_with_its_predicted_effects_of_the_others(compared):
    comparison, both = compared
    native = both["statsmodels"].native
    fixed = comparison.predict(NEW[["Days"]], random=False)  # no column of subjects is needed
    np.testing.assert_allclose(fixed["statsmodels"], np.asarray(native.predict(NEW)), rtol=1e-12)
    assert list(fixed) == ["statsmodels", "lme4", "difference"]
    effects = native.random_effects
    own = [
        float(np.dot(effects[subject], [1.0, days])) if subject in effects else 0.0
        for days, subject in NEW.itertuples(index=False)
    ]
    np.testing.assert_allclose(comparison.predict(NEW)["statsmodels"], fixed["statsmodels"] + own, rtol=1e-6)


def test_an_unseen_level_is_predicted_at_the_population_and_said_to_be(compared):
    comparison, _ = compared
    made = comparison.predict({"Days": [3.0, 3.0], "Subject": [308, 999]})
    assert list(made[LEVELS]) == ["all", "none of Subject: a new level, the population's mean"]
    fixed = comparison.predict({"Days": [3.0]}, random=False)
    assert made["lme4"][1] == fixed["lme4"][0] != made["lme4"][0]


def test_what_cannot_be_predicted_is_told(compared):
    comparison, _ = compared
    with pytest.raises(FormulaError, match="Subject"):
        comparison.predict({"Days": [3.0]})
    with pytest.raises(ModelError, match="no grouping factor batch: the model has Subject"):
        comparison.predict(NEW, random=["batch"])


def test_one_of_two_grouping_factors_may_enter(fits):
    """As lme4's re.form = ~ (1 | batch), where cask:batch and batch are random."""
    both = [fits("pastes-nested", "REML", engine, "tuned") for engine in ("statsmodels", "lme4")]
    groups = [term.group for term in both[1].model.design.terms]
    new = pd.DataFrame({"batch": ["A", "B"], "cask": ["a", "c"]})
    made = compare(*both).predict(new, random=["batch"])
    np.testing.assert_allclose(made["lme4"], of_lme4(both[1], new, "~ (1 | batch)"), rtol=1e-8)
    assert "batch" in groups and len(groups) == 2


def test_new_rows_come_as_people_have_them(compared):
    """One row by names, records, text that is numbers, levels as numbers, no row at all; a missing value is carried."""
    comparison, _ = compared
    wanted = comparison.predict(NEW.iloc[:1])["lme4"].iloc[0]
    for row in ({"Days": 0, "Subject": 308}, [{"Days": 0.0, "Subject": "308"}], {"Days": ["0"], "Subject": ["308"]}):
        assert comparison.predict(row)["lme4"].tolist() == [wanted]
    assert comparison.predict(NEW.iloc[:0]).shape == (0, 4) and comparison.predict(NEW.iloc[:0], False).shape == (0, 3)
    missing = comparison.predict(NEW.assign(Days=[0.0, None, 1.0, 2.0]))["lme4"]
    assert missing.isna().tolist() == [False, True, False, False]
    with pytest.raises(FormulaError, match="'Days' is numbers in the fit, and here such as 'ten'"):
        comparison.predict(NEW.assign(Days="ten"))
    for nothing in (None, np.ones((2, 2))):
        with pytest.raises(SourceError):
            comparison.predict(nothing)


COMPUTED = ["y ~ C(f, Sum) * x + (1 | g)", "y ~ bs(x, df=4) + C(k) + (1 | g)", "y ~ poly(x, 2):f + (1 + f | g)"]


@pytest.mark.parametrize("formula", COMPUTED)
def test_a_row_of_the_table_is_predicted_as_it_was_fitted(formula):
    """With codings, computed columns and factors of numbers; of a row with a missing value nothing is said."""
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"x": rng.normal(size=60), "f": list("abc") * 20, "k": rng.integers(1, 4, 60)})
    frame["g"] = [f"g{i % 12}" for i in range(60)]
    frame["y"] = frame["x"] + rng.normal(size=60)
    model, _ = model_of(frame, formula, "REML", None, "data")
    solution = Likelihood(model.design, True).optimum()
    fit = replace(engines()["lme4"].fit(model), parameters=solution.parameters)
    wanted = model.design.X @ solution.parameters.fixed
    made = predict({"lme4": fit}, frame[["x", "f", "k"]].iloc[[0, 1, 5]], random=False)["lme4"]
    np.testing.assert_allclose(made, wanted[[0, 1, 5]], rtol=0, atol=1e-10)
    gone = predict({"lme4": fit}, frame.iloc[:3].assign(x=[np.nan, *frame["x"][1:3]]))["lme4"]
    assert gone.isna().tolist() == [True, False, False]
