"""What to write instead of a call that misses the optimum: held to printed optima, and to the packages' own numbers."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from concord.agreement.comparison import compare
from concord.agreement.trials import remedies
from concord.engines.answers import Absence, answer
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.models.parameters import Parameters
from concord.models.rescaling import rescalings
from support.paths import PUBLISHED

OPTIMA = pd.read_csv(PUBLISHED / "optima.csv").query("quantity == 'loglik'").set_index(["model", "method"])["value"]


@pytest.fixture(scope="module")
def compared(fits):
    """The parties' default fits of a model, compared."""

    def made(id, method="REML"):
        return compare(*(fits(id, method, engine, "default") for engine in ("statsmodels", "lme4")))

    return made


@pytest.fixture(scope="module")
def sitka(compared):
    return remedies(compared("sitka-random_slope"))


@pytest.fixture(scope="module")
def dietox(compared):
    return remedies(compared("dietox-random_slope"))


# ---- what is recommended -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "engine", "gained"),
    [
        ("sitka-random_slope", "lme4", 14.2),
        ("dietox-random_slope", "statsmodels", 3.34),
        ("sitka-uncorrelated", "lme4", 0.391),
        ("dietox-uncorrelated", "statsmodels", 2.75),
    ],
)
def test_what_is_recommended_reaches_the_printed_optimum_by_the_packages_own_word(id, engine, gained, compared):
    """The log-likelihood that the package itself states after the recommended call, and not only Concord's of it."""
    (remedy,) = remedies(compared(id)).remedies
    assert remedy.engine == engine and remedy.call.reached
    assert remedy.call.fit.stated_loglik == pytest.approx(OPTIMA[id, "REML"], abs=2e-6)
    assert OPTIMA[id, "REML"] - remedy.fit.stated_loglik == pytest.approx(gained, abs=0.005)
    assert f"+{gained:.3g} log-likelihood units" in remedy.told[0]


def test_sitka_is_told_what_it_gains_and_the_cheaper_way(sitka):
    """lme4's own standard error of the intercept after its default call, and after the other one."""
    (remedy,) = sitka.remedies
    assert "standard error (Intercept) 0.101 instead of 0.0747" in remedy.told[0]
    assert (
        remedy.told[-2]
        == 'Or divide Time by 100, sitka[["Time"]] <- sitka[["Time"]] / 100: then the default call reaches the optimum.'
    )
    # By REML a predictor that is divided by 100 adds log(100) to the log-likelihood.
    level = OPTIMA["sitka-random_slope", "REML"] + math.log(100)
    assert remedy.told[-1] == f"What it prints is then in the new units (log-likelihood {level:.7g}): the same fit."
    assert remedy.rescaled.fit.converged and not remedy.rescaled.warning
    assert any("It still warns" in sentence for sentence in remedy.told) == bool(remedy.call.warning)


def test_the_code_is_whole_and_holds_the_other_call(sitka, dietox):
    r, python = str(sitka), str(dietox)
    assert 'sitka <- read.csv("sitka.csv"' in r and "control = lmerControl(" in r
    assert r.splitlines()[-3].startswith("fit <- lmer(") and r.splitlines()[-1] == "print(summary(fit))"
    assert max(map(len, r.partition("library")[2].splitlines())) <= 100
    assert 'dietox = pd.read_csv("dietox.csv")' in python and "method=" in python
    assert python.splitlines()[-1] == "print(fit.summary())"


def test_the_comparison_stays_as_it_is(compared):
    comparison = compared("sitka-random_slope")
    before = repr(comparison)
    remedies(comparison)
    assert repr(comparison) == before


def test_words_of_others_are_text_in_the_page(compared):
    """Messages and names of columns are escaped."""
    found = remedies(compared("sitka-random_slope"))
    (remedy,) = found.remedies
    shown = replace(found, remedies=(replace(remedy, note="<script>alert(1)</script>"),))
    assert "<script>" not in shown._repr_mimebundle_()["text/html"]


# ---- tried, not assumed --------------------------------------------------------------------------------------------


def never(*asked):
    raise AssertionError(f"an engine was asked: {asked[1:]}")


def test_nothing_is_tried_where_all_agree(compared):
    found = remedies(compared("sleepstudy-random_slope"), ask=never)
    assert not found.remedies and repr(found) == "Nothing needs to change: both calls reach the optimum."


def test_a_call_that_does_not_arrive_is_not_recommended(compared):
    """Every other call gives what the default one gave."""
    comparison = compared("sitka-random_slope")
    short = comparison.fits[1]
    asked: list[str] = []

    def ask(model, engine, settings, seconds):
        asked.append(settings)
        return short if settings != "default" else Absence(model, engine, settings, "failed", "it fails")

    (remedy,) = remedies(comparison, ask=ask).remedies
    assert remedy.written is None and len(asked) == len(remedy.tried) > 8
    assert remedy.heading == "lme4: no call of it reaches the optimum"
    assert remedy.told[0].startswith("Nothing that was tried reached the optimum: lmerControl(")
    assert "(14 below)" in remedy.told[0] and "divide Time by 100 (no fit)" in remedy.told[0]
    assert remedy.told[1] == "MixedLM (statsmodels) is at the optimum: take its fit."


def test_a_call_that_arrives_with_a_doubt_gives_way_to_one_without(compared):
    """Both are at the optimum; the second one says nothing."""
    comparison = compared("dietox-random_slope")
    there = replace(answer(comparison.model, "statsmodels", "tuned"), converged=True, messages=())
    doubting = replace(there, converged=False, messages=("it may not have converged",))
    given = iter([doubting, there])
    (remedy,) = remedies(comparison, ask=lambda *_: next(given, there)).remedies
    assert [each.reached for each in remedy.tried[:2]] == [True, True]
    assert remedy.call is remedy.tried[1] and not remedy.call.warning


def test_no_engine_takes_longer_than_it_has_for_one_fit(compared):
    """Each try is told how much is left, and none begins when nothing is."""
    comparison = compared("sitka-random_slope")
    left: list[float] = []

    def ask(model, engine, settings, seconds):
        left.append(seconds)
        time.sleep(0.4)
        return Absence(model, engine, settings, "stopped", "its time was over")

    (remedy,) = remedies(comparison, ask=ask, seconds=1.0).remedies
    assert 2 <= len(left) <= 3 and left == sorted(left, reverse=True) and left[0] <= 1.0
    assert "No more was tried: the time was over." in remedy.told[-1]


def test_an_engine_that_did_not_end_is_not_asked_again(compared, fits):
    model = models.get("sitka-random_slope")
    gone = Absence(model, "statsmodels", "default", "stopped", "it took longer than 1 second")
    found = remedies(compare(gone, fits("sitka-random_slope", "REML", "lme4", "tuned")), ask=never)
    (remedy,) = found.remedies
    assert remedy.told == [
        "Nothing was tried: its default call did not end in the time it had. lme4 is at the optimum: take its fit."
    ]


def test_an_engine_that_failed_is_given_another_call(fits):
    model = models.get("dietox-random_slope")
    failed = Absence(model, "statsmodels", "default", "failed", "MixedLM stopped with LinAlgError")
    (remedy,) = remedies(compare(failed, fits(model.id, "REML", "lme4", "default"))).remedies
    assert remedy.call.fit.stated_loglik == pytest.approx(OPTIMA[model.id, "REML"], abs=2e-6)
    assert "it gives a fit where there was none" in remedy.told[0]


# ---- rescaled, and back --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "id", ["sitka-random_slope", "sitka-uncorrelated", "dietox-random_slope", "oxboys-random_slope"]
)
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_a_rescaled_models_parameters_come_back_with_their_likelihood(id, method):
    """At any parameters: L of the model is L of the rescaled one, shifted by the units of response and columns."""
    model = models.get(id, method)
    likelihood = Likelihood(model.design, model.reml)
    chance = np.random.default_rng(3)
    made = list(rescalings(model))
    assert made
    for rescaling in made:
        design = rescaling.model.design
        factors = [chance.normal(size=(len(term.names),) * 2) for term in design.terms]
        if id == "sitka-uncorrelated":
            factors = [np.diag(np.diag(factor)) for factor in factors]
        covariances = tuple(factor @ factor.T for factor in factors)
        given = Parameters(chance.normal(size=len(design.names)), covariances, 0.7)
        n = len(design.y) - (len(design.names) if model.reml else 0)
        shift = np.linalg.slogdet(rescaling.fixed)[1] if model.reml else 0.0
        expected = Likelihood(design, model.reml).loglik(given) - n * np.log(rescaling.unit) + shift
        assert likelihood.loglik(rescaling.back(given)) == pytest.approx(expected, rel=1e-9), str(rescaling)


def test_uncorrelated_effects_are_not_counted_from_another_zero():
    """That would be another model; and it has no units that would be of use but the predictor's."""
    assert [str(each) for each in rescalings(models.get("sitka-uncorrelated"))] == ["divide Time by 100"]


def test_pasted_code_keeps_narrow_integers_from_wrapping_around():
    """200 less 220 is -20 and not 236, in a column of bytes."""
    moved = next(each for each in rescalings(models.get("dietox-random_slope")) if each.steps["Time"][0])
    table = {"dietox": pd.DataFrame({"Time": np.array([1, 5, 12], np.uint8)})}
    exec("\n".join(moved.python("dietox")), table)
    zero, unit = moved.steps["Time"]
    assert table["dietox"]["Time"].tolist() == [(time - zero) / unit for time in (1, 5, 12)]


def test_code_of_a_rescaling_says_what_was_done():
    first = next(rescalings(models.get("sitka-random_slope")))
    assert first.python("sitka") == ['sitka["Time"] = sitka["Time"] / 100']
    assert first.r("sitka") == ['sitka[["Time"]] <- sitka[["Time"]] / 100']
    table = {"sitka": models.get("sitka-random_slope").frame.copy()}
    exec("\n".join(first.python("sitka")), table)
    np.testing.assert_allclose(table["sitka"]["Time"], first.model.frame["Time"], rtol=1e-15)
