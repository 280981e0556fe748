"""The verdict and the gate: red for every quantity just beyond its tolerance, green just within, for every model."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from concord import versions
from concord.agreement.comparison import Disagreement, compare
from concord.data import datasets
from concord.engines.answers import Absence
from concord.engines.engine import CannotExpress, engines
from concord.engines.fit import Fit
from concord.models import model as models
from concord.reference import reference
from support.estimates import changed
from support.moved import allowance, row, twin

EVERY = [pytest.param(model.id, model.method, id=f"{model.id}-{model.method}") for model in models.every()]


# ---- the gate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_tuned_fits_of_every_model_agree(id, method, numbers):
    """MixedLM, lme4 and nlme, tuned, agree in every quantity, all at the optimum; crossed factors nlme cannot write."""
    both = compare(numbers(id, method, "statsmodels", "tuned"), numbers(id, method, "lme4", "tuned"))
    assert both.check() is both and both.verdict.word == "agree" and both.table["ok"].all()
    try:
        arbiter = numbers(id, method, "nlme", "tuned")
    except CannotExpress as error:
        assert "crossed" in id
        arbiter = Absence(both.model, "nlme", "tuned", "cannot express", str(error))
    three = compare(*both.fits, arbiter)
    assert three.check().verdict.word == "agree" and three.breaches == [] and three.known is None


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_default_fits_of_every_model_agree_or_are_declared(id, method, numbers):
    """Defaults that disagree are declared known with just this verdict, and what is declared does occur."""
    comparison = compare(numbers(id, method, "statsmodels", "default"), numbers(id, method, "lme4", "default"))
    comparison.check()
    known = comparison.model.record.known_by(method, versions.of)
    assert comparison.verdict.word == (known.verdict if known else "agree")
    assert comparison.known == (known.reason if known else None)


# ---- mutations -----------------------------------------------------------------------------------------------------


def moved(fit: Fit, key: tuple[str, str, str], step: float) -> Fit:
    """The fit with one quantity moved by so much, away from zero."""
    effect, group, term = key
    if effect == "loglik":
        return replace(fit, stated_loglik=fit.stated_loglik + step)
    if effect in ("fixed", "std_error"):
        name = {"fixed": "fixed", "std_error": "std_error"}[effect]
        values = getattr(fit, name).copy()
        values[fit.model.design.names.index(term)] += step
        return changed(fit, **{name: values})
    if group == "Residual":
        return changed(fit, residual_variance=fit.residual_variance + step)
    kind, _, names = term.partition("__")
    covariances = [each.copy() for each in fit.covariances]
    for design, covariance in zip(fit.model.design.terms, covariances, strict=True):
        wanted = names.split(".") if kind == "cov" else [names, names]
        if design.group == group and set(wanted) <= set(design.names):
            i, j = (design.names.index(name) for name in wanted)
            covariance[i, j] += step
            covariance[j, i] = covariance[i, j]
    return changed(fit, covariances=tuple(covariances))


def keys(id: str) -> list[tuple[str, str, str]]:
    group = {"dietox": "Pig", "sitka": "tree"}[id.partition("-")[0]]
    names = ["(Intercept)"] if id.endswith("intercept") else ["(Intercept)", "Time"]
    random = [f"var__{name}" for name in names] + (["cov__(Intercept).Time"] if id.endswith("slope") else [])
    return [
        ("loglik", "", "logLik"),
        *(("fixed", "", name) for name in ("(Intercept)", "Time")),
        *(("std_error", "", name) for name in ("(Intercept)", "Time")),
        *(("ran_pars", group, term) for term in random),
        ("ran_pars", "Residual", "var__Observation"),
    ]


MUTATED = ["dietox-random_slope", "sitka-uncorrelated", "sitka-random_intercept"]
MUTATIONS = [pytest.param(id, key, id=f"{id}-{' '.join(filter(None, key))}") for id in MUTATED for key in keys(id)]


def test_every_quantity_is_mutated(numbers):
    """The mutations below leave no row of the table out."""
    for id in MUTATED:
        fit = numbers(id, "REML", "lme4", "tuned")
        table = compare(fit, twin(fit)).table
        assert sorted(table[["effect", "group", "term"]].itertuples(index=False, name=None)) == sorted(keys(id))
        assert (table["tolerance"] > 0).all() and table["ok"].all()


@pytest.mark.parametrize(("id", "key"), MUTATIONS)
def test_just_beyond_its_tolerance_a_quantity_is_red_and_named(id, key, numbers):
    """A tenth beyond its tolerance, whichever fit it is in, the row is not ok and the gate raises with its name.

    No other row is red for it, but what is stated and does not follow from the estimates any more.
    """
    fit = numbers(id, "REML", "lme4", "tuned")
    beyond = moved(fit, key, 1.1 * allowance(fit, key))
    for comparison in (compare(beyond, twin(fit)), compare(fit, twin(beyond))):
        table = comparison.table.set_index(["effect", "group", "term"])
        red = set(table.index[~table["ok"]])
        stated = {each for each in table.index if each[0] in ("loglik", "std_error")}
        assert key in red and red - {key} <= (set() if key in stated else stated)
        with pytest.raises(Disagreement) as caught:
            comparison.check()
        named = [line for line in caught.value.breaches if key[2] in line and key[1] in line and "allowed" in line]
        assert named and named[0] in str(caught.value)
        assert comparison.verdict.word != "agree"


@pytest.mark.parametrize(("id", "key"), MUTATIONS)
def test_just_within_its_tolerance_a_quantity_is_green(id, key, numbers):
    """A tenth within its tolerance the row is ok and the gate is open: no tolerance binds before another."""
    fit = numbers(id, "REML", "lme4", "tuned")
    for sign in (1, -1):
        within = moved(fit, key, sign * 0.9 * allowance(fit, key))
        for comparison in (compare(within, twin(fit)), compare(fit, twin(within)), compare(within, twin(within))):
            assert comparison.check().verdict.word == "agree" and comparison.table["ok"].all()


@pytest.mark.parametrize(("id", "key"), MUTATIONS)
def test_both_wrong_together_are_red(id, key, numbers):
    """A tenth beyond its tolerance in both fits alike: they agree with each other, and not with the judge."""
    fit = numbers(id, "REML", "lme4", "tuned")
    beyond = moved(fit, key, 1.1 * allowance(fit, key))
    comparison = compare(beyond, twin(beyond))
    assert comparison.verdict.word in ("both imprecise", "differ")
    with pytest.raises(Disagreement):
        comparison.check()


@pytest.mark.parametrize("id", ["pastes-nested", "sitka-random_intercept", "machines-unstructured"])
def test_every_number_of_fits_as_they_are_has_the_room_that_it_is_said_to_have(id, numbers):
    """Default fits, up to 3e-7 below the optimum: a tenth within its room, down and up, no number of either is red; a
    tenth beyond it each is.
    """
    pair = [numbers(id, "REML", engine, "default") for engine in ("statsmodels", "lme4")]
    whole = compare(*pair)
    assert whole.verdict.word == "agree"
    for i, key in product((0, 1), [tuple(each) for each in whole.table[["effect", "group", "term"]].to_numpy()]):
        for side, room in zip((-1, 1), whole.room(i, key), strict=True):
            assert room > 0
            for share in (0.9, 1.1):
                fit = moved(pair[i], key, side * share * room)
                if key[0] == "std_error" and fit.joint_std_error is not None:
                    fit = replace(fit, joint_std_error=fit.std_error)
                word = compare(*(fit if k == i else other for k, other in enumerate(pair))).verdict.word
                assert (word == "agree") == (share < 1), (pair[i].engine, key, side, share, word)


@pytest.mark.parametrize("settings", ["default", "tuned"])
def test_both_standard_errors_or_both_log_likelihoods_off_together_are_red(settings, numbers):
    """Each is held to the independent value: by its own definition, and at its own estimates."""
    pair = [numbers("sitka-random_intercept", "REML", engine, settings) for engine in ("statsmodels", "lme4")]
    assert compare(*pair).verdict.word == "agree"
    for factor in (0.5, 0.9, 0.999, 1.001, 1.03, 1.5):
        off = [
            replace(
                fit,
                std_error=factor * fit.std_error,
                joint_std_error=None if fit.joint_std_error is None else factor * fit.joint_std_error,
            )
            for fit in pair
        ]
        assert compare(*off).verdict.word == "differ"
    for step in (5e-6, -5e-6):
        assert compare(*(replace(fit, stated_loglik=fit.stated_loglik + step) for fit in pair)).verdict.word == "differ"


@pytest.mark.parametrize("key", keys("dietox-random_intercept"), ids=lambda key: " ".join(filter(None, key)))
def test_default_settings_have_wider_tolerances_and_are_as_strict_beyond(key, numbers):
    """What would be red between tuned fits is ok between default ones, up to their own tolerance."""
    fit = numbers("dietox-random_intercept", "REML", "lme4", "default")
    step = allowance(fit, key)
    # What is stated is held to what the estimates give, by whatever settings these were found.
    wider = 1 if key[0] in ("loglik", "std_error") else 5
    assert step >= 0.999 * wider * allowance(numbers("dietox-random_intercept", "REML", "lme4", "tuned"), key)
    assert row(compare(fit, twin(moved(fit, key, 0.9 * step))), key)["ok"]
    red = compare(fit, twin(moved(fit, key, 1.1 * step)))
    assert not row(red, key)["ok"]
    with pytest.raises(Disagreement):
        red.check()


def test_every_breach_is_listed_the_loglikelihood_first(numbers):
    """Four quantities out of tolerance are four lines in one exception, after the distance to the optimum."""
    fit = numbers("dietox-random_slope", "REML", "lme4", "tuned")
    bad = fit
    for key, step in {
        ("fixed", "", "Time"): 0.01,
        ("std_error", "", "(Intercept)"): 0.1,
        ("ran_pars", "Pig", "cov__(Intercept).Time"): 0.2,
        ("loglik", "", "logLik"): 0.5,
    }.items():
        bad = moved(bad, key, step)
    with pytest.raises(Disagreement) as caught:
        compare(fit, twin(bad)).check()
    lines = caught.value.breaches
    assert [line.partition(":")[0] for line in lines if "allowed" in line][1:] == [
        "log-likelihood logLik",
        "fixed effect Time",
        "standard error (Intercept)",
        "(co)variance Pig cov__(Intercept).Time",
    ]
    assert lines[0].startswith("MixedLM (statsmodels) is ") and "below the reference" in lines[0]
    assert lines[1].startswith("MixedLM (statsmodels) states a log-likelihood of -2216.5475, its estimates have -22")
    assert any(
        "lme4 -2217.047459, MixedLM (statsmodels) -2216.547459; difference 0.5, 1.01e-08" in line for line in lines
    )
    assert str(caught.value).splitlines()[0] == "dietox-random_slope, REML, tuned settings: python short"
    assert len(str(caught.value).splitlines()) == 1 + len(lines)
    assert sum("states a standard error" in line for line in lines) == 1


def test_fixed_effects_alone_never_pass_a_fit(numbers):
    """The default fits whose coefficients agree to 4 digits and more, 3 units apart, are red once not declared."""
    mixedlm, lme4 = (numbers("dietox-random_slope", "REML", engine, "default") for engine in ("statsmodels", "lme4"))
    np.testing.assert_allclose(mixedlm.fixed, lme4.fixed, rtol=2e-3)
    undeclared = replace(mixedlm.model, record=mixedlm.model.record.model_copy(update={"known": ()}))
    comparison = compare(replace(mixedlm, model=undeclared), replace(lme4, model=undeclared))
    with pytest.raises(Disagreement, match="3.34 log-likelihood units below the reference"):
        comparison.check()


def test_a_wrong_claim_is_red_with_all_estimates_right(numbers):
    """A stated log-likelihood half a unit off is a disagreement although every estimate is equal."""
    fit = numbers("sitka-random_intercept", "REML", "lme4", "tuned")
    comparison = compare(fit, twin(fit, stated_loglik=fit.stated_loglik + 0.5))
    assert comparison.verdict.word == "differ" and "states a log-likelihood of" in comparison.verdict.reason
    with pytest.raises(Disagreement, match="states a log-likelihood"):
        comparison.check()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", keys("dietox-random_slope"), ids=lambda key: " ".join(filter(None, key)))
def test_a_missing_or_infinite_value_is_red(key, value, numbers):
    """NaN and infinity agree with nothing, not even with themselves in both fits."""
    fit = numbers("dietox-random_slope", "REML", "lme4", "tuned")
    bad = moved(fit, key, value)
    for comparison in (compare(fit, twin(bad)), compare(bad, twin(fit)), compare(bad, twin(bad))):
        assert not row(comparison, key)["ok"]
        with pytest.raises(Disagreement, match=key[2].replace("(", r"\(").replace(")", r"\)")):
            comparison.check()
        json.dumps(comparison.record(), allow_nan=False)


def test_reml_and_ml_are_not_compared(numbers):
    """Fits by different methods, and of different models, are refused before any number is looked at."""
    reml, ml = (numbers("sitka-random_slope", method, "lme4", "tuned") for method in ("REML", "ML"))
    with pytest.raises(ValueError, match="sitka-random_slope by REML, sitka-random_slope by ML"):
        compare(reml, twin(ml))
    with pytest.raises(ValueError, match="fits of different models"):
        compare(reml, twin(numbers("sitka-uncorrelated", "REML", "lme4", "tuned")))
    with pytest.raises(ValueError, match="two fits or more"):
        compare(reml)


def test_an_ml_fit_passed_off_as_reml_is_red(numbers):
    """Swapped methods under one label are seen in the log-likelihood and in the variances."""
    reml, ml = (numbers("sitka-random_intercept", method, "lme4", "tuned") for method in ("REML", "ML"))
    comparison = compare(reml, twin(ml, model=reml.model))
    assert not comparison.table["ok"].iloc[0]
    with pytest.raises(Disagreement, match="states a log-likelihood of -73.3"):
        comparison.check()


def test_a_dropped_row_is_red(numbers, make_model):
    """A fit of the table without its first row, under the same name, is at an optimum and yet disagrees."""
    whole = numbers("sitka-random_intercept", "REML", "lme4", "tuned")
    model = whole.model
    less = make_model(model.frame[1:], model.record.formula, id="sitka", name="random_intercept")
    assert less.id == model.id
    comparison = compare(whole, twin(engines()["lme4"].fit(less, "tuned")))
    assert max(abs(judgement.gap) for judgement in comparison.judgements) < 1e-8
    assert comparison.verdict.word == "differ"
    with pytest.raises(Disagreement, match="log-likelihood logLik"):
        comparison.check()


def test_a_term_that_one_fit_has_not_stays_in_sight_and_is_red(numbers, make_model):
    """The variance and covariance of a slope that only one fit has are rows of the table, missing in the other."""
    slope = numbers("sitka-random_slope", "REML", "lme4", "tuned")
    plain = make_model(slope.model.frame, "size ~ Time + (1 | tree)", id="sitka", name="random_slope")
    comparison = compare(slope, twin(engines()["lme4"].fit(plain, "tuned")))
    for term in ("var__Time", "cov__(Intercept).Time"):
        assert not row(comparison, ("ran_pars", "tree", term))["ok"]
        assert np.isnan(row(comparison, ("ran_pars", "tree", term))["statsmodels"])
    with pytest.raises(Disagreement, match=r"var__Time: lme4 .*, MixedLM \(statsmodels\) missing"):
        comparison.check()


def test_rows_are_joined_by_name_and_not_by_order(make_model):
    """The same model with its predictors in another order agrees, each coefficient with its namesake."""
    frame = models.get("dietox-random_intercept").frame
    made = [
        engines()["lme4"].fit(make_model(frame, formula, "ML"), "tuned")
        for formula in ("Weight ~ Time + Start + (1 | Pig)", "Weight ~ Start + Time + (1 | Pig)")
    ]
    assert made[0].model.design.names != made[1].model.design.names
    comparison = compare(made[0], twin(made[1]))
    assert comparison.check().verdict.word == "agree"
    assert row(comparison, ("fixed", "", "Time"))["lme4"] == pytest.approx(6.94, abs=0.01)


# ---- what is declared known ----------------------------------------------------------------------------------------


def test_a_known_disagreement_passes_with_its_reason(numbers):
    """The declared verdict at default settings is green, and its reason is told."""
    mixedlm, lme4 = (numbers("dietox-random_slope", "REML", engine, "default") for engine in ("statsmodels", "lme4"))
    comparison = compare(mixedlm, lme4)
    assert comparison.check() is comparison and comparison.verdict.word == "python short"
    assert comparison.known == mixedlm.model.record.known_by("REML", versions.of).reason
    assert comparison.known in repr(comparison)


def test_a_known_disagreement_passes_for_no_other_settings_and_no_other_verdict(numbers):
    """Tuned fits as far apart, mixed settings, the other side short, or both, stay red."""
    mixedlm, lme4 = (numbers("sitka-random_slope", "REML", engine, "default") for engine in ("statsmodels", "lme4"))
    tuned = numbers("sitka-random_slope", "REML", "statsmodels", "tuned")
    cases = {
        "r short": [compare(replace(mixedlm, settings="tuned"), replace(lme4, settings="tuned")), compare(tuned, lme4)],
        "python short": [compare(replace(lme4, engine="statsmodels"), replace(mixedlm, engine="lme4"))],
        "both short": [compare(lme4, replace(lme4, engine="statsmodels"))],
    }
    for word, comparisons in cases.items():
        for comparison in comparisons:
            assert comparison.verdict.word == word and comparison.known is None
            with pytest.raises(Disagreement):
                comparison.check()


def test_a_known_disagreement_that_does_not_occur_is_plain_agreement(numbers):
    """Defaults that agree are green without the declared reason."""
    lme4 = numbers("dietox-random_slope", "REML", "lme4", "default")
    comparison = compare(lme4, twin(lme4)).check()
    assert comparison.verdict.word == "agree" and comparison.known is None


def test_a_models_own_tolerance_takes_the_place_of_the_common_one(numbers):
    """A tolerance in dataset.toml widens its quantity for that model and no other quantity."""
    fit = numbers("sitka-random_intercept", "REML", "lme4", "tuned")
    own = datasets.Tolerance(rtol=0.5, reason="made in a test")
    model = replace(fit.model, record=fit.model.record.model_copy(update={"tolerance": {"std_error": own}}))
    fit = replace(fit, model=model)
    assert compare(fit, twin(fit, std_error=1.4 * fit.std_error)).check().verdict.word == "agree"
    with pytest.raises(Disagreement, match="fixed effect"):
        compare(fit, twin(fit, fixed=fit.fixed + 1e-4 * fit.std_error)).check()


# ---- verdicts ------------------------------------------------------------------------------------------------------


def test_a_fit_above_the_reference_is_no_agreement(numbers):
    """Where a fit beats the reference, the reference is not an optimum, and that is said."""
    fit = numbers("sitka-random_intercept", "REML", "lme4", "tuned")
    known = reference.of(fit.model)
    assert known.certified
    comparison = compare(fit, twin(fit), against=replace(known, level=known.level - 0.25, loglik=known.loglik - 0.25))
    assert comparison.verdict.word == "differ" and "0.25 log-likelihood units above" in comparison.verdict.reason
    with pytest.raises(Disagreement):
        comparison.check()


def test_a_fit_that_leaves_the_model_is_short_with_the_violation_as_reason(numbers):
    """A constraint that was ignored makes the fit short however high its claim, and the gate tells of it."""
    fit = numbers("sitka-uncorrelated", "REML", "lme4", "tuned")
    comparison = compare(fit, twin(fit, violation="constraint ignored: a covariance is 0.1"))
    assert comparison.verdict.word == "python short" and "constraint ignored" in str(comparison.verdict)
    with pytest.raises(Disagreement, match=r"MixedLM \(statsmodels\): constraint ignored"):
        comparison.check()


def test_two_fits_of_one_engine_and_settings_are_told_apart(numbers):
    """Each keeps a column and a label of its own, and a breach shows both values."""
    fit = numbers("sitka-random_intercept", "REML", "lme4", "default")
    comparison = compare(fit, replace(fit, stated_loglik=fit.stated_loglik - 1))
    assert comparison.labels == ["lme4 default 1", "lme4 default 2"]
    assert comparison.table.columns.is_unique
    with pytest.raises(Disagreement, match="lme4 default 1 -82.3884.*, lme4 default 2 -83.3884"):
        comparison.check()
    assert compare(fit, numbers("sitka-random_intercept", "REML", "lme4", "tuned")).labels == [
        "lme4 default",
        "lme4 tuned",
    ]


def test_a_difference_is_given_in_parts_of_the_value_at_the_optimum(numbers):
    """MixedLM's variance between pigs is 55 % too large: of the larger of the two it would be 36 %."""
    compared = compare(
        *(numbers("dietox-random_slope", "REML", engine, "default") for engine in ("statsmodels", "lme4"))
    )
    row = compared.table.set_index("term").loc["var__(Intercept)"]
    right = compared.against.parameters.covariances[0][0, 0]
    assert row["relative"] == pytest.approx(abs(row["statsmodels"] - row["lme4"]) / right)
    assert (
        f"{row['relative']:.1%}" == "55.3%"
        and "relative to the optimum" in repr(compared)
        and "55.3 %" in repr(compared)
    )
