"""Simulated replicates: their draws, their rows, their verdicts, and what theory says of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from concord.agreement.comparison import compare
from concord.agreement.measures import doubted
from concord.engines.lme4 import engine as lme4
from concord.engines.replicate import Replicate, likelihood_of
from concord.engines.statsmodels import engine as mixedlm
from concord.errors import InputError
from concord.models import model as models
from concord.models.parameters import Parameters
from concord.simulation import scenarios
from concord.simulation.case import Case, cases, made_up
from concord.simulation.experiment import Experiment, pairs, rule, table
from concord.simulation.findings import Findings
from concord.simulation.refitter import Refitter, best_known
from concord.simulation.scenarios import Scenario
from concord.simulation.store import Plan
from concord.simulation.study import run
from concord.vocabulary import INDEPENDENT, UNJUDGED
from support.estimates import changed

DEFAULT = pairs(("default",))
MADE = {"seconds", "added"}


def numbers(rows: list[dict]) -> list[dict]:
    """Rows without what a clock says."""
    return [{key: value for key, value in row.items() if key not in MADE} for row in rows]


@pytest.fixture(scope="module")
def dyestuff() -> Case:
    return Case.of(models.get("dyestuff-random_intercept"))


@pytest.fixture(scope="module")
def sleepstudy() -> Case:
    return Case.of(models.get("sleepstudy-random_slope"))


# Rows


def test_a_replicates_rows_depend_on_its_number_and_on_nothing_before_it(dyestuff):
    one, other = Experiment(dyestuff, 5, pairs()), Experiment(dyestuff, 5, pairs())
    after = [numbers(one.replicate(number)) for number in (0, 3, 1)]
    alone = numbers(other.replicate(1))
    assert after[2] == alone and after[0] != after[1]
    kinds = [(row["engine"], row["settings"]) for row in alone]
    assert kinds == [(INDEPENDENT, "optimum"), *pairs()]


def test_another_seed_gives_another_response_and_the_same_seed_the_same(dyestuff):
    draws = [Experiment(dyestuff, seed, ()).response(2) for seed in (1, 1, 2)]
    assert np.array_equal(draws[0], draws[1]) and not np.isclose(draws[0], draws[2]).any()


def test_estimates_stand_under_the_names_of_a_fits_estimates(sleepstudy):
    """Every row's numbers are those of the engine's own fit to the table with that response."""
    row = Experiment(sleepstudy, 1, [("lme4", "default")]).replicate(0)[1]
    fit = lme4.fit(_with_response(sleepstudy, 1, 0))
    for line in fit.estimates.to_dict("records"):
        name = " ".join(filter(None, (line["group"], line["term"])))
        assert row[f"estimate: {name}"] == pytest.approx(line["estimate"], rel=1e-7, abs=1e-7)
        if line["effect"] == "fixed":
            assert row[f"std_error: {name}"] == pytest.approx(line["std_error"], rel=1e-7)
            truth = dict(zip(sleepstudy.model.design.names, sleepstudy.parameters.fixed, strict=True))[name]
            low, high = stats.norm.interval(0.95, line["estimate"], line["std_error"])
            assert row[f"covers: {name}"] == (low <= truth <= high)
    assert row["loglik"] == pytest.approx(fit.loglik, abs=1e-8)


def _with_response(case: Case, seed: int, number: int) -> models.Model:
    response = Experiment(case, seed, ()).response(number)
    frame = case.model.frame.copy()
    frame.loc[case.model.design.rows, case.model.formula.response] = response
    dataset = replace(case.model.dataset, id=f"{case.model.dataset.id}{number}", frame=frame, place=None)
    return models.Model(dataset, case.model.name, case.model.record, case.model.method)


# Verdicts


@pytest.mark.parametrize(("name", "number"), [("sleepstudy", 0), ("sleepstudy", 1), ("dyestuff", 0), ("boundary", 0)])
def test_a_verdict_is_the_one_of_a_comparison_of_full_fits(name, number, request):
    """Where all agree, where MixedLM's default stops short, and where the optimum lies on the boundary."""
    case = made_up(Scenario(groups=8, ratio=0.0), "ML", 1) if name == "boundary" else request.getfixturevalue(name)
    rows = Experiment(case, 1, DEFAULT).replicate(number)
    model = _with_response(case, 1, number)
    comparison = compare(mixedlm.fit(model), lme4.fit(model))
    assert rows[1]["verdict"] == rows[2]["verdict"] == comparison.verdict.word
    for row, judgement in zip(rows[1:], comparison.judgements, strict=True):
        assert {"short": row["short"], "imprecise": row["imprecise"]} == {
            word: comparison.grade_of(judgement) == word for word in ("short", "imprecise")
        }
        assert row["alarmed"] == doubted(judgement.fit.converged, judgement.fit.messages)
        assert row["gap"] == pytest.approx(judgement.gap, abs=1e-8, rel=1e-3)


@pytest.mark.parametrize(
    ("messages", "doubt"),
    [
        ((), False),
        (("message: boundary (singular) fit: see help('isSingular')",), False),
        (("ConvergenceWarning: The MLE may be on the boundary of the parameter space.",), False),
        (("SingularMatrixWarning: Random effects covariance is singular",), False),
        (("UserWarning: The random effects covariance matrix is singular.",), False),
        (("warning: Model failed to converge with max|grad| = 0.01 (tol = 0.002, component 1)",), True),
        (("warning: Hessian is numerically singular: parameters are not uniquely determined",), True),
        (("ConvergenceWarning: The Hessian matrix at the estimated parameter values is not positive definite.",), True),
        (("message: boundary (singular) fit: see help('isSingular')", "warning: Model is nearly unidentifiable"), True),
    ],
)
def test_a_word_of_doubt_is_about_convergence_and_not_about_the_boundary(messages, doubt):
    assert doubted(True, messages) == doubt and doubted(False, messages)


@pytest.fixture(scope="module")
def judged(sleepstudy):
    """Two fits at the optimum of a drawn response, with what judges them."""
    model, response = sleepstudy.model, Experiment(sleepstudy, 1, ()).response(0)
    likelihood = likelihood_of(model, response)
    optimum = best_known(likelihood, [])
    fits = [Refitter(model, engine).refit(response) for engine in ("statsmodels", "lme4")]

    def word(changes):
        given = [changed(fits[0], **{key: change(getattr(fits[0], key)) for key, change in changes.items()}), fits[1]]
        return rule(model, likelihood, optimum, "default", {fit.engine: fit for fit in given}).word

    word.parts = model, likelihood, optimum, fits
    return word


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "agree"),
        ({"loglik": lambda value: value + 5e-6}, "differ"),
        # Below the optimum, and what it states does not follow.
        ({"residual_variance": lambda value: value * 1.01}, "differ"),
        ({"fixed": lambda value: value * 1.0002}, "differ"),
        ({"residual_variance": lambda value: value * 1.05}, "python short"),
        ({"fixed": lambda value: value * 1.1}, "python short"),
        ({"std_error": lambda value: value * 1.2}, "differ"),
        ({"std_error": lambda value: value * 1.08}, "differ"),
        ({"std_error": lambda value: value * 1.03}, "differ"),
        ({"std_error": lambda value: value * 0.9}, "differ"),
        ({"std_error": lambda value: value * np.nan}, "differ"),
        ({"covariances": lambda value: (-value[0],)}, "python short"),
    ],
)
def test_whatever_is_off_is_told_by_the_verdict(judged, changes, word):
    assert judged(changes) == word


def test_a_study_and_a_comparison_give_one_verdict_of_the_same_numbers(judged):
    """Standard errors, estimates and claims times 1.03, 1.08 and more, in one engine and in both."""
    model, likelihood, optimum, fits = judged.parts
    response = likelihood.design.y
    frame = model.frame.copy()
    frame.loc[model.design.rows, model.formula.response] = response
    drawn = models.Model(replace(model.dataset, id="drawn", frame=frame, place=None), model.name, model.record, "REML")
    for name, factor in [("std_error", 1.03), ("std_error", 1.08), ("residual_variance", 1.02), ("fixed", 1.0002)]:
        for which in ((0,), (1,), (0, 1)):
            given = [
                changed(fit, **{name: factor * getattr(fit, name)}) if i in which else fit for i, fit in enumerate(fits)
            ]
            word = rule(model, likelihood, optimum, "default", {fit.engine: fit for fit in given}).word
            assert word == compare(*(fit.as_fit(drawn) for fit in given)).verdict.word != "agree"


def test_a_verdict_without_an_optimum_or_without_a_fit_says_so(judged):
    model, likelihood, optimum, (one, other) = judged.parts

    def of(python, optimum=optimum):
        return rule(model, likelihood, optimum, "default", {"statsmodels": python, "lme4": other})

    assert of(one, None).word == UNJUDGED == "unjudged"
    assert of("no way to write it").word == "cannot express"
    failed = of(Replicate.failed(model, "statsmodels", "default", "LinAlgError: Singular matrix"))
    assert failed.word == "no fit" and failed.of["statsmodels"].gap == np.inf
    left = replace(one, error="constraint ignored: a covariance is 0.1")
    assert of(left).word == "python short"
    assert {engine: each.grade for engine, each in of(left).of.items()} == {"statsmodels": "short", "lme4": ""}
    worse = changed(optimum, fixed=optimum.fixed + 0.1)
    assert rule(model, likelihood, worse, "default", {"statsmodels": one, "lme4": other}).word == "differ"


def test_a_model_that_an_engine_cannot_express_has_rows_that_say_why(make_model):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"y": rng.standard_normal(60), "x": np.tile(np.arange(5.0), 12)})
    frame["g"], frame["h"] = pd.Categorical(np.repeat(range(6), 10)), pd.Categorical(np.tile(range(4), 15))
    model = make_model(frame, "y ~ x + (1 + x | g) + (1 | h)")
    case = Case("made", model, Parameters(np.zeros(2), (np.eye(2), np.eye(1)), 1.0))
    _, python, r = Experiment(case, 1, DEFAULT).replicate(0)
    assert python["verdict"] == r["verdict"] == "cannot express"
    assert "cannot express" in python["error"] and python["estimate: x"] is None and np.isfinite(r["estimate: x"])


# Theory: the balanced one-way layout (Searle, Casella and McCulloch 1992, Variance Components, sections 3.5 and 4.7)


@pytest.fixture(scope="module")
def layout(dyestuff, tmp_path_factory):
    """120 replicates of six batches of five, at default settings."""
    folder = tmp_path_factory.mktemp("layout")
    came = run(Plan((dyestuff,), 11, 120, DEFAULT), folder, workers=0, batch=40)
    assert (came.now, came.lost) == (120, [])
    return Findings(folder), table(dyestuff, 11, DEFAULT, range(4))


def _anova(drawn: Experiment, number: int) -> tuple[float, float, float]:
    """Mean, and mean squares between and within batches, of a replicate's response."""
    y = drawn.response(number).reshape(6, 5)
    return y.mean(), 5 * y.mean(axis=1).var(ddof=1), y.var(axis=1, ddof=1).mean()


def test_reml_estimates_are_those_of_the_analysis_of_variance(dyestuff, layout):
    _, rows = layout
    drawn = Experiment(dyestuff, 11, ())
    for row in rows.to_dict("records"):
        mean, between, within = _anova(drawn, row["replicate"])
        ratio = max(0.0, (between - within) / 5)
        pooled = within if between > within else (5 * between + 24 * within) / 29
        assert row["estimate: (Intercept)"] == pytest.approx(mean, rel=1e-9)
        assert row["estimate: Batch var__(Intercept)"] == pytest.approx(ratio, rel=1e-3, abs=1e-3 * within)
        assert row["estimate: Residual var__Observation"] == pytest.approx(pooled, rel=1e-3)


def test_mean_squares_of_draws_have_their_exact_distributions(dyestuff):
    """Of 400 draws, by Kolmogorov and Smirnov; a wrong variance by a fifth would have a p-value of 1e-6."""
    drawn = Experiment(dyestuff, 11, ())
    mean, between, within = np.transpose([_anova(drawn, number) for number in range(400)])
    spread = dyestuff.parameters.residual_variance + 5 * dyestuff.parameters.covariances[0][0, 0]
    assert stats.kstest(5 * between / spread, stats.chi2(5).cdf).pvalue > 0.01
    assert stats.kstest(24 * within / dyestuff.parameters.residual_variance, stats.chi2(24).cdf).pvalue > 0.01
    assert stats.kstest((mean - dyestuff.parameters.fixed[0]) / np.sqrt(spread / 30), stats.norm.cdf).pvalue > 0.01


def test_bias_and_coverage_are_those_of_theory_within_monte_carlo_error(dyestuff, layout):
    """Against a million draws of the two chi-squared variables that they depend on, and of the mean."""
    rng = np.random.default_rng(3)
    tau, sigma = dyestuff.parameters.covariances[0][0, 0], dyestuff.parameters.residual_variance
    between = (sigma + 5 * tau) * rng.chisquare(5, 10**6) / 5
    within = sigma * rng.chisquare(24, 10**6) / 24
    pooled = np.where(between > within, within, (5 * between + 24 * within) / 29)
    variance = np.maximum(0.0, (between - within) / 5)
    error = np.sqrt((pooled + 5 * variance) / 30)
    covered = np.abs(rng.standard_normal(10**6) * np.sqrt((sigma + 5 * tau) / 30)) < stats.norm.ppf(0.975) * error
    found = layout[0].parameters.set_index(["engine", "parameter"])
    for engine in ("statsmodels", "lme4", INDEPENDENT):
        for name, expected in [
            ("Batch var__(Intercept)", variance - tau),
            ("Residual var__Observation", pooled - sigma),
        ]:
            row = found.loc[engine, name]
            assert abs(row["bias"] - expected.mean()) < 4 * row["bias_error"]
            assert row["bias_error"] == pytest.approx(expected.std() / np.sqrt(120), rel=0.25)
        row = found.loc[engine, "(Intercept)"]
        assert abs(row["coverage"] - covered.mean()) < 4 * np.sqrt(covered.mean() * (1 - covered.mean()) / 120)
        assert row["coverage_error"] == pytest.approx(np.sqrt(row["coverage"] * (1 - row["coverage"]) / 120))
    assert covered.mean() < 0.91  # six batches are too few for a normal quantile, and that is seen


# Scenarios


def test_unit_and_origin_of_the_predictor_change_nothing_but_numbers():
    """Mean and covariance of the response, the responses themselves, and the ML optimum are the same."""
    made = [
        made_up(Scenario(groups=5, correlation=0.5, scale=scale, shift=shift, missing=0.2), "ML", 3)
        for scale, shift in [(1, 0), (100, 0), (0.01, 7)]
    ]
    means, spreads, responses, optima = [], [], [], []
    for case in made:
        design, term = case.model.design, case.model.design.terms[0]
        means.append(design.X @ case.parameters.fixed)
        same = np.equal.outer(term.codes, term.codes)
        spreads.append(same * (term.matrix @ case.parameters.covariances[0] @ term.matrix.T))
        responses.append(Experiment(case, 3, ()).response(4))
        optima.append(likelihood_of(case.model, responses[-1]).optimum().loglik)
    for other in (1, 2):
        assert np.allclose(means[other], means[0]) and np.allclose(spreads[other], spreads[0])
        assert np.array_equal(responses[other], responses[0])
        assert optima[other] == pytest.approx(optima[0], abs=1e-7)
    assert len({case.digest for case in made}) == 3


def test_more_missing_rows_are_the_same_ones_and_some_more():
    frames = [Scenario(groups=6, missing=share).model("REML", 1).frame for share in (0.0, 0.2, 0.4)]
    kept = [set(zip(frame["g"], frame["x"], strict=True)) for frame in frames]
    assert [len(each) for each in kept] == [30, 24, 18]
    assert kept[2] < kept[1] < kept[0]
    assert all(frame["g"].nunique() == 6 for frame in frames)


def test_a_grid_is_every_combination_and_its_names_tell_them_apart(tmp_path):
    (tmp_path / "grid.toml").write_text("groups = [4, 8]\nratio = [0.1, 1, 10]\nshift = [-1.5]\n")
    found = scenarios.read(tmp_path / "grid.toml")
    assert len(found) == 6 and len({each.name for each in found}) == 6
    assert found[1] == Scenario(groups=4, ratio=1, shift=-1.5)
    assert len(scenarios.cross(scenarios.DEFAULTS)) == 96
    assert [case.name for case in cases("grid", "ML", 1, tmp_path / "grid.toml")] == [each.name for each in found]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gruops = [4]", "has no factor 'gruops': it has groups, size"),
        ("groups = 4", "groups is 4: give a list of values"),
        ("groups = []", "groups is []: give a list"),
        ("groups = [4, 4]", "groups is [4, 4]: give different numbers"),
        ("groups = [2.5]", "groups is 2.5: give a whole number from 3 to"),
        ("size = [2]", "size is 2: give a whole number from 3"),
        ("correlation = [1.5]", "correlation is 1.5: give a number from -1 to 1"),
        ("ratio = [nan]", "ratio is nan: give a number"),
        ("missing = [0.7]", "no more rows than random effects"),
        ("groups = ['a']", "groups is 'a'"),
        ("groups = [", "not valid TOML"),
    ],
)
def test_a_grid_that_cannot_be_is_one_line(tmp_path, text, message):
    (tmp_path / "grid.toml").write_text(text)
    with pytest.raises(InputError) as error:
        scenarios.read(tmp_path / "grid.toml")
    assert message in str(error.value) and str(tmp_path / "grid.toml") in str(error.value)
    assert "\n" not in str(error.value)
