"""Degrees of freedom: theory of balanced designs, published values, lmerTest, pbkrtest and nlme."""

from __future__ import annotations

import csv
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from concord import r, vocabulary
from concord.engines.lme4.statements import standard_errors as lme4
from concord.engines.nlme import statements as nlme
from concord.inference import degrees_of_freedom as degrees
from concord.inference import information
from concord.inference.degrees_of_freedom import DegreesError
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.models.parameters import Parameters
from concord.reference import reference
from support import paths
from support.estimates import changed

PUBLISHED = paths.PUBLISHED / "degrees"
ROWS = list(csv.DictReader((PUBLISHED / "tests_of_fixed_effects.csv").open(encoding="utf-8")))
SHOES = {
    "A": [13.2, 8.2, 10.9, 14.3, 10.7, 6.6, 9.5, 10.8, 8.8, 13.3],
    "B": [14.0, 8.8, 11.2, 14.2, 11.8, 6.4, 9.8, 11.3, 9.3, 13.6],
}


def unit(value: str) -> float:
    return float(Decimal(1).scaleb(Decimal(value).as_tuple().exponent))


def potdata() -> pd.DataFrame:
    """A table that lmerTest keeps for its own tests."""
    code = """local({
      load(system.file("testdata", "potdata.RData", package = "lmerTest"))
      lapply(potdata, function(each) if (is.factor(each)) as.character(each) else each)
    })"""
    content = r.from_r(r.call("eval", r.call("parse", text=code)))
    return pd.DataFrame(content).astype({name: "category" for name in ("CO2", "chamber", "nutrients")})


@pytest.fixture(scope="module")
def solved(make_model, r_table):
    """The likelihood of a published example with its optimum."""
    kept = {}

    def of(name: str, formula: str, method: str):
        if name not in kept:
            if name == "shoes":
                frame = pd.DataFrame(
                    {
                        "wear": SHOES["A"] + SHOES["B"],
                        "boyf": 2 * list("abcdefghij"),
                        "material": 10 * ["A"] + 10 * ["B"],
                    }
                )
                frame = frame.drop(index=[0, 11]).reset_index(drop=True)
            else:
                frame = potdata() if name == "potdata" else r_table("lmerTest::carrots")
                # R's missing integer comes as the least there is.
                frame = frame[frame[formula.split()[0]] > 0].reset_index(drop=True)
            likelihood = Likelihood(make_model(frame, formula, method).design, method == "REML")
            kept[name] = likelihood, likelihood.optimum()
        return kept[name]

    return of


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['table']} {row['term']} {row['quantity']}")
def test_a_published_test_holds(row, solved):
    """At the optimum, within as many units of the last digit as the stopping rules of the day left open."""
    likelihood, optimum = solved(row["table"], row["formula"], row["method"])
    k = likelihood.design.names.index(row["term"])
    quantity, _, kind = row["quantity"].partition(" ")
    std_error = optimum.std_error[k]
    given = optimum.parameters
    df = np.nan
    if kind == "kenward_roger":
        covariance, found = degrees.kenward_roger(likelihood.design, given)
        std_error, df = np.sqrt(covariance[k, k]), found[k]
    elif kind:
        df = degrees.satterthwaite(likelihood, given)[k]
    t = optimum.fixed[k] / std_error
    value = {"df": df, "F": t**2, "p": 2 * stats.t.sf(abs(t), df), "std_error": std_error}[quantity]
    assert value == pytest.approx(float(row["value"]), abs=float(row["off"]) * unit(row["value"]))


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("dyestuff-random_intercept", [5]),  # batches less one
        ("rail-random_intercept", [5]),
        ("sleepstudy-random_slope", [17, 17]),  # subjects less one: a slope each
        ("machines-unstructured", [5, 5, 5]),
        ("machines-nested", [None, 10, 10]),  # (workers - 1) (machines - 1)
    ],
)
def test_a_balanced_design_has_the_degrees_of_freedom_of_its_analysis_of_variance(id, expected):
    """There by REML both methods are exact."""
    model = models.get(id)
    likelihood = reference.of(model).likelihood
    optimum = likelihood.optimum()
    given = optimum.parameters
    by_expected = degrees.kenward_roger(model.design, given)
    for found in (degrees.satterthwaite(likelihood, given), by_expected[1]):
        for df, wanted in zip(found, expected, strict=True):
            assert wanted is None or df == pytest.approx(wanted, rel=1e-6)
    # Nothing is to be adjusted there.
    np.testing.assert_allclose(np.sqrt(np.diag(by_expected[0])), optimum.std_error, rtol=1e-6)


TRIED = [
    ("dietox-random_slope", "tuned"),
    ("penicillin-crossed", "tuned"),
    ("machines-nested", "tuned"),
    ("sitka-random_slope", "default"),  # 14 units short of its optimum: the slopes count there
    ("dyestuff2-random_intercept", "tuned"),  # a variance of zero
]


@pytest.mark.parametrize(("id", "settings"), TRIED)
def test_they_are_lmertests_and_pbkrtests_at_lme4s_estimates(id, settings, fits):
    """Also where the estimates are not an optimum, and where a variance is zero; numDeriv gives 6 digits."""
    for method in vocabulary.METHODS:
        fit = fits(id, method, "lme4", settings)
        said = lme4.summary(fit)
        given = fit.parameters
        found = degrees.satterthwaite(reference.of(fit.model).likelihood, given)
        np.testing.assert_allclose(found, said.satterthwaite[:, 2], rtol=3e-6)
        if method == "REML":
            adjusted, found = degrees.kenward_roger(fit.model.design, given)
            np.testing.assert_allclose(found, said.kenward_roger[:, 2], rtol=1e-9)
            np.testing.assert_allclose(np.sqrt(np.diag(adjusted)), said.kenward_roger[:, 1], rtol=1e-9)


@pytest.mark.parametrize("method", vocabulary.METHODS)
def test_satterthwaites_do_not_depend_on_the_parameters_that_are_differentiated(method):
    """In variances and covariances, with the conditional variance differenced, they are the same at the optimum."""
    model = models.get("dietox-random_slope", method)
    likelihood = reference.of(model).likelihood
    optimum = likelihood.optimum()
    p = likelihood.p
    A = information.observed(likelihood, optimum.parameters).covariance[p:, p:]
    (covariance,), scale = optimum.covariances, optimum.residual_variance
    gradient = np.empty((len(A), p))
    for k, place in enumerate([(0, 0), (1, 1), (0, 1), None]):
        step = 1e-5 * (
            scale if place is None else np.sqrt(covariance[place[0], place[0]] * covariance[place[1]][place[1]])
        )
        values = []
        for sign in (1, -1):
            moved, residual = covariance.copy(), scale
            if place is None:
                residual += sign * step
            else:
                moved[place] += sign * step
                moved[place[::-1]] = moved[place]
            values.append(likelihood.std_error(Parameters(optimum.fixed, (moved,), residual)) ** 2)
        gradient[k] = (values[0] - values[1]) / (2 * step)
    expected = 2 * optimum.std_error**4 / np.einsum("ik,ij,jk->k", gradient, A, gradient)
    found = degrees.satterthwaite(likelihood, optimum.parameters)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_contrasts_of_several_effects_are_one_hypothesis_each():
    """Twice a slope has the slope's degrees of freedom, the mean at another time has its own."""
    model = models.get("dietox-random_slope")
    likelihood = reference.of(model).likelihood
    optimum = likelihood.optimum()
    given = optimum.parameters
    at_five = np.array([[1.0, 5.0], [0.0, 2.0]])
    plain, moved = (degrees.satterthwaite(likelihood, given, contrasts) for contrasts in (None, at_five))
    assert moved[1] == pytest.approx(plain[1], rel=1e-9) and moved[0] != pytest.approx(plain[0], rel=1e-6)
    plain, moved = (degrees.kenward_roger(model.design, given, each)[1] for each in (None, at_five))
    assert moved[1] == pytest.approx(plain[1], rel=1e-9) and moved[0] != pytest.approx(plain[0], rel=1e-6)


def test_the_sparse_likelihood_gives_the_same(monkeypatch):
    model = models.get("penicillin-crossed")
    dense = reference.of(model).likelihood
    optimum = dense.optimum()
    given = optimum.parameters
    expected = degrees.satterthwaite(dense, given)
    monkeypatch.setattr("concord.likelihood.blocks.LARGE", 1)
    sparse = Likelihood(model.design, True)
    assert not sparse.dense
    np.testing.assert_allclose(degrees.satterthwaite(sparse, given), expected, rtol=1e-6)


def test_what_cannot_be_had_is_said():
    model = models.get("sleepstudy-random_slope")
    likelihood = reference.of(model).likelihood
    optimum = likelihood.optimum()
    with pytest.raises(DegreesError, match="not near an optimum"):
        degrees.satterthwaite(likelihood, changed(optimum, residual_variance=9 * optimum.residual_variance).parameters)
    with pytest.raises(DegreesError, match="crossed"):
        degrees.inner_outer(models.get("penicillin-crossed").design)


def test_large_blocks_are_refused_before_anything_is_formed(monkeypatch):
    optimum = reference.of(models.get("penicillin-crossed")).likelihood.optimum()
    monkeypatch.setattr(degrees, "LARGEST_BLOCK", 100)
    with pytest.raises(DegreesError, match="144 rows that are correlated with each other are more than 100"):
        degrees.kenward_roger(models.get("penicillin-crossed").design, optimum.parameters)
    # Groups of 10 rows each, however many.
    degrees.kenward_roger(models.get("sleepstudy-random_intercept").design, Parameters(np.zeros(2), (np.eye(1),), 1.0))


COUNTED = ["cake-split_plot_linear", "machines-nested", "oats-split_plot", "orthodont-interaction", "pastes-nested"]


@pytest.mark.parametrize("id", COUNTED)
def test_inner_and_outer_levels_are_counted_as_nlme_does(id, fits):
    """Effects within and between groups, one level of grouping and two."""
    fit = fits(id, "REML", "nlme", "tuned")
    np.testing.assert_array_equal(degrees.inner_outer(fit.model.design), nlme.summary(fit).df)


NO_INTERCEPT = """function(data) {
  fit <- nlme::lme(distance ~ 0 + age + Sex, data, ~ 1 | Subject)
  as.numeric(summary(fit)$tTable[, "DF"])
}"""


def test_without_an_intercept_inner_levels_gain_one(make_model):
    frame = models.get("orthodont-random_intercept").frame
    r.package("nlme")
    function = r.call("eval", r.call("parse", text=NO_INTERCEPT)[0])
    theirs = r.from_r(r.call(function, frame[["distance", "age", "Sex", "Subject"]]))
    design = make_model(frame, "distance ~ 0 + age + Sex + (1 | Subject)").design
    np.testing.assert_array_equal(degrees.inner_outer(design), theirs)


def test_another_unit_of_the_response_changes_no_degrees_of_freedom(make_model):
    """What lmerTest and pbkrtest judge by absolute thresholds is judged by shares here."""
    frame = models.get("sleepstudy-random_slope").frame.assign(Reaction=lambda table: 1e6 * table["Reaction"])
    model = make_model(frame, "Reaction ~ Days + (1 + Days | Subject)")
    likelihood = Likelihood(model.design, True)
    optimum = likelihood.optimum()
    given = optimum.parameters
    np.testing.assert_allclose(degrees.satterthwaite(likelihood, given), 17, rtol=1e-5)
    np.testing.assert_allclose(degrees.kenward_roger(model.design, given)[1], 17, rtol=1e-5)


ROUNDED = """function(data) {
  fit <- nlme::lme(distance ~ clinic + rounded + age, data, ~ 1 | Subject)
  as.numeric(fit$fixDF$X)
}"""


def test_a_column_that_changes_within_groups_by_rounding_alone_changes(make_model):
    """nlme compares exactly: such a column is counted within groups, and its twin without the rounding between."""
    frame = models.get("orthodont-random_intercept").frame
    number = frame["Subject"].cat.codes.to_numpy() + 1
    wave = np.random.default_rng(1).normal(size=len(frame))
    frame = frame.assign(clinic=0.1 * number, rounded=np.sqrt(number) * (1 + 1e-13 * wave))
    r.package("nlme")
    function = r.call("eval", r.call("parse", text=ROUNDED)[0])
    columns = ["distance", "clinic", "rounded", "age", "Subject"]
    theirs = r.from_r(r.call(function, frame[columns]))
    assert theirs[1] < theirs[2] == theirs[3]
    design = make_model(frame, "distance ~ clinic + rounded + age + (1 | Subject)").design
    np.testing.assert_array_equal(degrees.inner_outer(design), theirs)
