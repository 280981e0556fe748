"""What packages say when a group is left out: real refits, lme4's influence(), and pictures that hold their numbers."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from rpy2 import robjects
from scipy import stats

from concord import r
from concord.account import influence as deletion
from concord.account.line import Sheet
from concord.agreement.comparison import compare
from concord.engines.answers import Absence, answer
from concord.models import model as models
from concord.plots import influence as influence_plots
from concord.plots import residuals


@pytest.fixture(scope="module")
def found(fits):
    """A model's comparison and the influence of the levels of a factor, all refitted."""
    made = {}

    def of(id, group=None, method="REML"):
        key = (id, group, method)
        if key not in made:
            comparison = compare(*(fits(id, method, engine, "tuned") for engine in ("statsmodels", "lme4")))
            made[key] = comparison, deletion.at_reference(comparison, group, refit=1000)
        return made[key]

    return of


# ---- refits by the packages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "method"), [("sleepstudy-random_slope", "REML"), ("pastes-nested", "ML"), ("machines-unstructured", "REML")]
)
def test_real_refits_agree_with_the_exact_ones(id, method, found):
    """MixedLM and lme4 without the two levels that matter most: log-likelihood, fixed effects, all variances."""
    comparison, influence = found(id, None, method)
    lines = deletion.lines(comparison, influence)
    Sheet(id, lines).check()
    terms = len(comparison.model.design.terms)
    assert len(lines) == 2 * (3 + terms) and {line.verdict for line in lines} == {"agree"}
    assert all(set(line.values) == {"statsmodels", "lme4"} for line in lines)
    assert {line.term for line in lines} == {f"without {level}" for level in deletion.most(influence, 2)}


def test_the_refit_is_what_mixedlm_gives_by_hand(found):
    """Subject 309 taken out of the table in the plain way, fitted in MixedLM's own words."""
    comparison, influence = found("sleepstudy-random_slope")
    frame = models.get("sleepstudy-random_slope").frame
    assert deletion.most(influence, 3)[0] == "309"
    rest = frame[frame["Subject"] != "309"]
    by_hand = smf.mixedlm("Reaction ~ Days", rest, groups=rest["Subject"].to_numpy(str), re_formula="~Days")
    native = by_hand.fit(method="bfgs", gtol=1e-9)
    lines = {line.quantity: line for line in deletion.lines(comparison, influence, count=1)}
    np.testing.assert_allclose(lines["fixed effects"].values["statsmodels"], native.fe_params, rtol=1e-8)
    assert lines["log-likelihood"].values["statsmodels"] == pytest.approx(native.llf, abs=1e-7)
    assert lines["residual variance"].independent == pytest.approx(native.scale, rel=1e-6)


def test_a_refit_of_another_table_differs(found, fits):
    """Where the level was not left out, every line says so; a package without a refit is absent with its reason."""
    comparison, influence = found("sleepstudy-random_slope")

    def fitted(model, engine):
        if engine == "lme4":
            return Absence(model, engine, "tuned", "failed", "it stopped")
        return fits("sleepstudy-random_slope", "REML", engine, "tuned")

    lines = deletion.lines(comparison, influence, count=1, fitted=fitted)
    line, *others = lines
    assert (line.quantity, line.verdict, line.absent) == ("log-likelihood", "differ", {"lme4": "it stopped"})
    assert {other.verdict for other in others} == {"not compared"}
    assert all("units short" in other.absent["statsmodels"] for other in others)


def test_a_refit_that_stops_short_is_told_from_one_that_is_wrong(found):
    """Orthodont by ML without M13: the two effects are nearly one, and MixedLM's optimizers stop 2e-8 short."""
    comparison, influence = found("orthodont-random_slope", None, "ML")
    lines = {line.quantity: line for line in deletion.lines(comparison, influence, count=1)}
    assert lines["log-likelihood"].verdict == "agree"
    fixed = lines["fixed effects"]
    assert (fixed.verdict, list(fixed.values)) == ("agree", ["lme4"])
    assert re.fullmatch(r"without M13 it stops .* log-likelihood units short", fixed.absent["statsmodels"])


def test_the_model_without_a_level_has_neither_its_rows_nor_its_category():
    """An inner level too; the other rows stay as they were."""
    model = models.get("pastes-nested")
    term = next(each for each in model.design.terms if ":" in each.group)
    other = deletion.without(model, term.group, term.levels[3])
    left = next(each for each in other.design.terms if ":" in each.group)
    assert set(left.levels) == set(term.levels) - {term.levels[3]}
    assert len(other.design.y) == len(model.design.y) - 2
    np.testing.assert_array_equal(other.design.y, model.design.y[term.codes != 3])


BY_HAND = """function(d, formula, level) {
  whole <- lme4::lmer(as.formula(formula), d)
  X <- lme4::getME(whole, "X")[d$id != level, ]
  Z <- as.matrix(whole@frame$`scale(week)`)[d$id != level, ]
  rest <- d[d$id != level, ]
  fit <- lme4::lmer(score ~ 0 + X + (1 + Z | id), rest, control = lme4::lmerControl(optimizer = "bobyqa"))
  list(loglik = as.numeric(logLik(fit)), fixed = unname(lme4::fixef(fit)), sigma2 = sigma(fit)^2,
       covariance = unname(matrix(as.numeric(lme4::VarCorr(fit)$id), 2)))
}"""


def test_columns_that_a_formula_makes_of_the_whole_table_stay_when_a_group_is_left_out(make_model):
    """poly() and scale() of fewer rows are other columns: the same ones, held in R, give what the lines say."""
    rng = np.random.default_rng(4)
    rows = []
    for i in range(16):
        level, slope = rng.normal(0, 3), rng.normal(0, 0.6)
        weeks = rng.choice([0, 1, 2, 4, 8, 12], rng.integers(4, 7), replace=False)
        rows += [(f"p{i:02d}", w, 48 + level + slope * w + 0.05 * w * w + rng.normal(0, 2)) for w in np.sort(weeks)]
    model = make_model(
        pd.DataFrame(rows, columns=["id", "week", "score"]), "score ~ poly(week, 2) + (1 + scale(week) | id)"
    )
    comparison = compare(*(answer(model, engine, "tuned") for engine in ("statsmodels", "lme4")))
    influence = deletion.at_reference(comparison, refit=1000)
    lines = deletion.lines(comparison, influence, count=1)
    assert [line.verdict for line in lines] == 4 * ["agree"] and all(len(line.values) == 2 for line in lines)
    level = deletion.most(influence, 1)[0]
    text = [model.record.formula, level]
    wanted = r.from_r(r.call(robjects.r(BY_HAND), r.table(model.frame), *text))
    loglik, fixed, sigma2, covariance = (line.values["statsmodels"] for line in lines)
    assert loglik == pytest.approx(float(wanted["loglik"][0]), abs=1e-6)
    np.testing.assert_allclose(fixed, wanted["fixed"], rtol=1e-4)
    assert sigma2 == pytest.approx(float(wanted["sigma2"][0]), rel=1e-3)
    diagonal = np.diag(wanted["covariance"].reshape(2, 2))
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) == pytest.approx(
        wanted["covariance"].reshape(2, 2)[0, 1] / np.sqrt(diagonal.prod()), abs=2e-3
    )
    own = deletion.stated_lines(comparison, influence)[0].values["lme4"][influence.levels.index(level)]
    np.testing.assert_allclose(own, wanted["fixed"], rtol=1e-3)  # lme4's own refits hold them too


def test_a_response_that_is_made_anew_has_no_line_that_compares_it(make_model):
    """scale() of the response, of fewer rows, is another response: every line says so."""
    frame = models.get("sleepstudy-random_slope").frame
    model = make_model(frame, "scale(Reaction) ~ Days + (1 | Subject)")
    comparison = compare(*(answer(model, engine, "tuned") for engine in ("statsmodels", "lme4")))
    lines = deletion.lines(comparison, deletion.at_reference(comparison, refit=2), count=1)
    assert len(lines) == 4 and {line.verdict for line in lines} == {"not compared"}
    assert all("another response" in why for line in lines for why in line.absent.values())


# ---- lme4's influence() --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "place"), [("sleepstudy-random_slope", 0), ("pastes-nested", 0), ("penicillin-crossed", 1)]
)
def test_lme4s_influence_is_explained_by_its_definitions(id, place, found):
    """dfbeta of the opposite sign, Cook's distance (L - p) / L; also of an inner level, which no column names."""
    group = models.get(id).design.terms[place].group
    comparison, influence = found(id, group)
    lines = deletion.stated_lines(comparison, influence)
    Sheet(id, lines).check()
    assert [line.quantity for line in lines] == ["fixed effects by lme4's influence()", "dfbeta", "Cook's distance"]
    assert all(len(line.values["lme4"]) == len(influence.levels) for line in lines)


def test_lme4s_influence_is_what_r_gives_by_hand(found):
    """Called in R on a fit made there, by the grouping column's own name."""
    text = """function(d) {
      fit <- lme4::lmer(Reaction ~ Days + (1 + Days | Subject), data = d)
      found <- influence(fit, groups = "Subject", data = d)
      list(levels = as.character(found$deleted), distance = as.numeric(cooks.distance(found)))
    }"""
    comparison, influence = found("sleepstudy-random_slope")
    wanted = r.from_r(r.call(robjects.r(text), r.table(comparison.model.frame)))
    line = deletion.stated_lines(comparison, influence)[2]
    np.testing.assert_allclose(line.values["lme4"], wanted["distance"], rtol=1e-4)
    exact = influence.cooks_distance(influence.refitted)
    order = [influence.levels.index(level) for level in wanted["levels"]]
    assert np.abs(line.values["lme4"] / exact[order] - 16 / 18).max() < 1e-3


def test_another_convention_would_differ(found):
    """Without the factor (L - p) / L, and with the sign of the textbooks, lme4's numbers are not lme4's."""
    comparison, influence = found("sleepstudy-random_slope")
    _, dfbeta, distance = deletion.stated_lines(comparison, influence)
    turned = replace(dfbeta, values={"lme4": -dfbeta.values["lme4"]})
    scaled = replace(distance, values={"lme4": distance.values["lme4"] * 18 / 16})
    assert turned.verdict == scaled.verdict == "differ"


# ---- table and pictures --------------------------------------------------------------------------------------------


def test_the_table_has_the_levels_that_matter_most(found):
    """In order, with the largest standardized change and the effect it is of."""
    comparison, influence = found("sleepstudy-random_slope")
    table = deletion.table(influence, comparison.model.design.names, count=4)
    assert list(table["level"]) == deletion.most(influence, 4)
    assert table["cooks_distance_held"].is_monotonic_decreasing
    first = influence.levels.index(table["level"][0])
    values = influence.dfbetas(influence.held)[first]
    assert table["dfbetas"][0] == values[np.abs(values).argmax()]
    assert table["effect"][0] == comparison.model.design.names[np.abs(values).argmax()]
    assert (table["rows"] == 10).all() and table["displacement_refitted"].notna().all()


def test_few_levels_can_be_refitted(found):
    """Those with the largest distance where theta is held."""
    comparison, whole = found("sleepstudy-random_slope")
    some = deletion.at_reference(comparison, refit=2)
    refitted = [level for level, value in zip(some.levels, some.refitted.loglik, strict=True) if np.isfinite(value)]
    assert sorted(refitted) == sorted(deletion.most(whole, 2))
    assert np.isnan(deletion.at_reference(comparison, refit=0).refitted.loglik).all()


def drawn(axes, marker):
    return next(np.array(line.get_ydata(), float) for line in axes.lines if line.get_marker() == marker)


def test_pictures_show_every_level_and_hold_their_numbers(found):
    """Stems and diamonds at Cook's distances, a panel of dfbetas an effect, the largest levels named."""
    comparison, influence = found("sleepstudy-random_slope")
    names = comparison.model.design.names
    figure = influence_plots.cooks(influence)
    (axes,) = figure.axes
    np.testing.assert_array_equal(drawn(axes, "o"), influence.cooks_distance(influence.held))
    np.testing.assert_array_equal(drawn(axes, "D"), influence.cooks_distance(influence.refitted))
    assert [each.get_text() for each in axes.texts] == deletion.most(influence, 5)
    (table,) = figure.data.values()
    np.testing.assert_array_equal(table["cooks_distance_held"], drawn(axes, "o"))
    assert "of 309" in figure.alt and "0 of 18 levels are above" in figure.alt
    figure = influence_plots.dfbetas(influence, names)
    values = influence.dfbetas(influence.held)
    for axes, name, column in zip(figure.axes, names, values.T, strict=True):
        np.testing.assert_array_equal(drawn(axes, "o"), column)
        assert axes.get_title() == name and len(axes.texts) == 5
    (table,) = figure.data.values()
    np.testing.assert_array_equal(table[list(names)], values)


QQLINE = """function(v) {
  y <- quantile(v, c(0.25, 0.75))
  x <- qnorm(c(0.25, 0.75))
  c(y[1] - diff(y) / diff(x) * x[1], diff(y) / diff(x))
}"""


def test_random_effects_against_normal_quantiles(found):
    """A panel an effect, every fit in it; the line is R's qqline, the points scipy's probability plot."""
    comparison, _ = found("sleepstudy-random_slope")
    figure = residuals.effects_qq(*comparison.fits)
    assert [axes.get_title() for axes in figure.axes] == ["Subject: (Intercept)", "Subject: Days"]
    effects = comparison.fits[0].random_effects
    for axes, term in zip(figure.axes, ("(Intercept)", "Days"), strict=True):
        values = effects[effects["term"] == term]["estimate"].to_numpy()
        np.testing.assert_array_equal(drawn(axes, "o"), np.sort(values))
        # R's qqline, by its own quantiles.
        intercept, slope = r.from_r(r.call(robjects.r(QQLINE), values))
        line = next(each for each in axes.lines if each.get_marker() == "None")
        at = np.array(line.get_xdata(), float)
        np.testing.assert_allclose(line.get_ydata(), intercept + slope * at, atol=1e-9)
        np.testing.assert_allclose(at, stats.norm.ppf((np.arange(18) + 0.5) / 18))
    (table,) = figure.data.values()
    assert len(table) == 2 * 2 * 18 and set(table["effect"]) == {"(Intercept)", "Days"}
