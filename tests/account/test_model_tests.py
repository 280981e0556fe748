"""Criteria, likelihood-ratio tests and anova as lines: against published values, lmerTest's ranova and R itself."""

from __future__ import annotations

import csv
import pickle
import re
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from rpy2 import robjects

from concord import r
from concord.account import criteria, model_tests
from concord.account.anova import anova
from concord.account.line import Sheet
from concord.account.nested_models import nested
from concord.agreement.comparison import compare
from concord.engines.answers import Absence, answer
from concord.engines.engine import engines
from concord.inference.criteria import NotComparable
from concord.models import model as models
from support import paths

ENGINES = ("statsmodels", "lme4", "nlme")
PUBLISHED = paths.PUBLISHED / "tests" / "likelihood_ratios.csv"


@pytest.fixture(scope="module")
def compared(fits):
    """The comparison of a model's fits by all three packages, made once."""
    made = {}

    def of(id, method="REML", settings="tuned", engines=ENGINES):
        key = (id, method, settings, engines)
        if key not in made:
            made[key] = compare(*(fits(id, method, engine, settings) for engine in engines))
        return made[key]

    return of


@pytest.fixture(scope="module")
def fitted(fits):
    """Other models' tuned fits, out of those that the session has made."""
    return lambda model, engine: fits(model.id, model.method, engine, "tuned")


def verdicts(lines):
    return {(line.quantity, line.term): line.verdict for line in lines}


def value(lines, quantity, source, term=""):
    return next(line.values[source] for line in lines if (line.quantity, line.term) == (quantity, term))


# ---- criteria ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("id", ["sleepstudy-random_slope", "sleepstudy-uncorrelated", "pastes-nested"])
def test_criteria_agree_or_are_explained_by_their_definition(id, method, compared):
    """No line differs; logLik, AIC and rows agree; parameters, residual df and nlme's REML BIC differ by definition."""
    lines = criteria.lines(compared(id, method))
    Sheet(id, lines).check()
    found = verdicts(lines)
    agreed = ["log-likelihood", "AIC", "number of rows"]
    assert {found[name, ""] for name in agreed} == {"agree"}
    by_definition = ["number of parameters", "residual degrees of freedom", *(["BIC"] if method == "REML" else [])]
    assert {found[name, ""] for name in by_definition} == {"by definition"}
    absent = {line.quantity for line in lines if "statsmodels" in line.absent}
    assert absent == ({"AIC", "BIC", "deviance"} if method == "REML" else {"deviance"})


def test_criteria_are_what_the_packages_themselves_say(compared):
    """Asked again, in R and of the result's attributes, not through the code under test."""
    comparison = compared("sleepstudy-uncorrelated", "ML")
    lines = criteria.lines(comparison)
    by = {fit.engine: fit.native for fit in comparison.fits}
    for source in ("lme4", "nlme"):
        asked = r.from_r(r.call(robjects.r("function(f) c(logLik(f), AIC(f), BIC(f), nobs(f))"), by[source]))
        stated = [value(lines, name, source) for name in ("log-likelihood", "AIC", "BIC", "number of rows")]
        np.testing.assert_array_equal(stated, asked)
    native = by["statsmodels"]
    assert value(lines, "AIC", "statsmodels") == native.aic and value(lines, "BIC", "statsmodels") == native.bic
    assert value(lines, "number of parameters", "statsmodels") == native.df_modelwc
    held = next(line for line in lines if line.quantity == "number of parameters")
    assert held.definitions["statsmodels"] == "parameters_with_those_held"


def test_a_fit_that_is_short_has_another_optimum_and_counts_the_same(compared):
    """Sitka's random slope, where lme4's defaults stop 14 units short: its criteria are right for where it stopped."""
    found = verdicts(criteria.lines(compared("sitka-random_slope", settings="default")))
    assert found["log-likelihood", ""] == found["AIC", ""] == found["BIC", ""] == "another optimum"
    assert found["number of rows", ""] == "agree" and found["number of parameters", ""] == "by definition"


def test_a_stated_value_that_no_definition_explains_differs(compared):
    """An engine that says another log-likelihood than its estimates have is found out, agreed with or not."""
    comparison = compared("sleepstudy-random_slope")
    wrong = [
        replace(fit, stated_loglik=fit.stated_loglik + 1e-4) if fit.engine == "statsmodels" else fit
        for fit in comparison.fits
    ]
    found = verdicts(criteria.lines(compare(*wrong)))
    assert found["log-likelihood", ""] == "differ" and found["AIC", ""] == "agree"


def test_criteria_of_another_coding_are_carried_over_by_their_definition(compared, make_model):
    """lme4 fitted on centred days: its REML criteria are those of that coding, and the line says so."""
    comparison = compared("sleepstudy-random_slope")
    model = comparison.model
    made = robjects.r("function(d) lme4::lmer(Reaction ~ I(Days / 2 - 1) + (1 + Days | Subject), d)")
    native = r.call(made, r.table(model.frame))
    coded = engines()["lme4"].from_native(native, model, settings="tuned")
    lines = criteria.lines(compare(comparison.fits[0], coded))
    line = next(line for line in lines if line.quantity == "log-likelihood")
    assert abs(line.values["lme4"] - line.values["statsmodels"]) == pytest.approx(np.log(2), abs=1e-5)
    assert line.definitions == {"lme4": "reml_in_another_coding"} and line.verdict == "by definition"


# ---- nested models -------------------------------------------------------------------------------------------------


def test_nested_models_are_the_datasets_own():
    """Smaller and larger ones, judged by what they span, without those of other fixed or random parts."""
    names = {each.name for each in nested(models.get("sleepstudy-uncorrelated"))}
    assert names == {"random_intercept", "random_slope"}
    assert {each.name for each in nested(models.get("machines-nested"))} == {"random_intercept", "unstructured"}
    assert nested(models.get("dyestuff-random_intercept")) == []


REDUCED = [
    ("y ~ x + (1 + x + z | g)", ["y ~ x + (1 + z | g)", "y ~ x + (1 + x | g)"]),
    ("y ~ x + (1 + x * z | g)", ["y ~ x + (1 + x + z | g)"]),
    ("y ~ 1 + (1 | g) + (1 | h)", ["y ~ 1 + (1 | h)", "y ~ 1 + (1 | g)"]),
    ("y ~ x + (x || g)", ["y ~ x + (0 + x | g)", "y ~ x + (1 | g)"]),
    ("y ~ x + (0 + x + z | g)", ["y ~ x + (0 + z | g)", "y ~ x + (0 + x | g)"]),
    ("y ~ x + (0 + f | g)", ["y ~ x + (1 | g)"]),
    ("y ~ x + (1 | g)", []),
]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(5)
    made = pd.DataFrame({"g": np.repeat(list("abcdefgh"), 9), "h": list("uvw") * 24, "f": list("ppqqrr") * 12})
    made["x"], made["z"] = rng.normal(size=(2, 72)).round(2)
    effects = dict(zip("abcdefgh", rng.normal(size=8), strict=True))
    made["y"] = (made["g"].map(effects) * (1 + made["x"]) + made["h"].map({"u": 1, "v": 0, "w": -1})).round(3)
    made["y"] += rng.normal(size=72).round(3)
    return made


@pytest.mark.parametrize(("formula", "wanted"), REDUCED)
def test_a_users_formula_loses_one_random_term_or_effect(formula, wanted, table, make_model):
    """An interaction goes before what it is of; an intercept goes with its term."""
    found = [each.record.formula for each in nested(make_model(table, formula))]
    assert [text.replace(" ", "") for text in found] == [text.replace(" ", "") for text in wanted]


# ---- likelihood-ratio tests ----------------------------------------------------------------------------------------

RANOVA = """function(data, formula) {
  found <- lmerTest::ranova(eval(substitute(lmerTest::lmer(f, data), list(f = as.formula(formula)))))
  list(rows = rownames(found)[-1], numbers = unname(as.matrix(found[-1, c("LRT", "Df", "Pr(>Chisq)")])))
}"""


def test_a_users_tests_are_lmertests_ranova(table, make_model, fits):
    """Statistic, degrees of freedom and naive p-value by REML, for every effect that one random term can lose."""
    formula = "y ~ x + (1 + x + z | g) + (1 | h)"
    model = make_model(table, formula)

    def by_lme4_alone(model, engine):
        """MixedLM would take long over crossed factors."""
        if engine == "lme4":
            return answer(model, engine, "tuned")
        return Absence(model, engine, "tuned", "stopped", "it was not asked")

    found = model_tests.tested(compare(*(by_lme4_alone(model, each) for each in ENGINES[:2])), fitted=by_lme4_alone)
    given = r.from_r(r.call(robjects.r(RANOVA), r.table(table), formula))
    wanted = dict(zip(given["rows"], given["numbers"], strict=True))
    names = {"(1 + z | g)": "x in (1 + x + z | g)", "(1 + x | g)": "z in (1 + x + z | g)", "without (1 | h)": "(1 | h)"}
    tests = model_tests.tests_table(found).query("source == 'independent'").set_index("null")
    assert set(names) < set(tests.index) and len(wanted) == 3
    for null, row in names.items():
        statistic, df, p = wanted[row]
        assert tests.loc[null, "statistic"] == pytest.approx(statistic, abs=1e-4)
        assert tests.loc[null, "df"] == df and tests.loc[null, "naive_p"] == pytest.approx(p, abs=1e-5)
        assert tests.loc[null, "p"] < tests.loc[null, "naive_p"]
    lines = model_tests.test_lines(found)
    Sheet("tests", lines).check()
    assert all(line.absent == {"statsmodels": "it was not asked"} for line in lines)


def test_the_published_ratios(compared, fitted):
    """As nlme's scripts of Pinheiro and Bates (2000) and the vignette of lme4 print them."""
    rows = list(csv.DictReader(PUBLISHED.open(encoding="utf-8")))
    assert len(rows) == 5
    for row in rows:
        comparison = compared(row["alternative"], row["method"])
        tests = model_tests.tests_table(model_tests.tested(comparison, fitted=fitted, linear=False))
        null = row["null"].partition("-")[2]
        unit = float(Decimal(1).scaleb(Decimal(row["value"]).as_tuple().exponent))
        mine = tests[tests["null"] == null].set_index("source")[row["quantity"]]
        assert list(mine.index) == ["statsmodels", "lme4", "independent"]
        assert np.abs(mine - float(row["value"])).max() <= float(row["off"]) * unit * 1.0001


def test_the_published_test_of_a_slope_on_a_users_table(make_model):
    """Eleven girls of Orthodont: L.Ratio 3.7896, p 0.1503 (cran/nlme tests/extras/scripts.Rout.save @f07b8c5375f5, the
    scripts of Pinheiro and Bates 2000, ch01.R, anova(fm1OrthF, fm2OrthF)); the boundary's p is smaller.
    """
    frame = models.get("orthodont-random_intercept").frame
    girls = frame[frame["Sex"] == "Female"].reset_index(drop=True)
    girls["Subject"] = girls["Subject"].astype(str)
    model = make_model(girls, "distance ~ age + (1 + age | Subject)", id="girls")
    comparison = compare(*(answer(model, engine, "tuned") for engine in ("statsmodels", "lme4")))
    tests = model_tests.tests_table(comparison).set_index(["null", "source"]).loc["(1 | Subject)"]
    assert tests["statistic"].to_numpy() == pytest.approx([3.7896] * 3, abs=5e-5)
    assert tests["naive_p"].to_numpy() == pytest.approx([0.1503] * 3, abs=5e-5)
    assert set(tests["mixture"]) == {"0.5 chi2(1) + 0.5 chi2(2)"}
    wanted = 0.5 * (0.05157325 + 0.1503441)  # R: pchisq(3.7896, 1:2, lower.tail = FALSE)
    assert tests["p"].to_numpy() == pytest.approx([wanted] * 3, abs=2e-5)
    assert [line.verdict for line in model_tests.test_lines(comparison)] == ["agree"] * 7


ANOVA = """function(d) {
  fits <- list(distance ~ age + (1 + age | Subject), distance ~ Sex * age + (1 + age | Subject))
  fits <- lapply(fits, function(formula) lme4::lmer(formula, d))
  table <- suppressMessages(anova(fits[[1]], fits[[2]]))
  as.numeric(table[2, c("Chisq", "Df", "Pr(>Chisq)")])
}"""


def test_by_reml_other_fixed_effects_are_tested_by_ml_and_the_reason_is_said(compared, fitted):
    """Orthodont's model with Sex holds the one without, as R's anova() refits and tests them."""
    id = "orthodont-interaction"
    tested = model_tests.tested(compared(id, engines=("statsmodels", "lme4")), linear=False, fitted=fitted)
    assert {pair.null for pair in tested} == {"random_intercept", "random_slope"}
    assert all(pair.said == pair.remark.partition(";")[0] == model_tests.NOT_COMPARABLE for pair in tested)
    tests = model_tests.tests_table(tested).set_index(["null", "source"]).loc["random_slope"]
    assert tests["note"].str.startswith("by REML the log-likelihoods of models with other fixed effects are not").all()
    wanted = r.from_r(r.call(robjects.r(ANOVA), r.table(models.get(id).frame)))
    for source in ("statsmodels", "lme4", "independent"):
        np.testing.assert_allclose(tests.loc[source, ["statistic", "df", "naive_p"]].astype(float), wanted, rtol=1e-4)
    Sheet(id, model_tests.test_lines(tested)).check()


def test_a_zero_variance_has_p_one_from_every_package(compared):
    """Dyestuff2: nothing is gained, whatever noise the two log-likelihoods have."""
    tests = model_tests.tests_table(compared("dyestuff2-random_intercept", engines=("statsmodels", "lme4")))
    assert list(tests["source"]) == ["statsmodels", "lme4", "independent"]
    assert (tests["p"] == 1.0).all() and (tests["naive_p"] == 1.0).all() and (tests["statistic"] < 1e-8).all()
    lines = model_tests.test_lines(compared("dyestuff2-random_intercept", engines=("statsmodels", "lme4")))
    assert {line.verdict for line in lines} == {"agree"}


def test_a_ratio_of_short_fits_is_another_optimum(compared, fits):
    """Sitka at default settings: the statistic is 28 too small, and the line says that lme4's fit is short."""
    found = model_tests.tested(
        compared("sitka-random_slope", settings="default"),
        "default",
        lambda model, engine: fits(model.id, model.method, engine, "default"),
        linear=False,
    )
    by_title = {line.title: line for line in model_tests.test_lines(found)}
    line = by_title["likelihood ratio random_intercept in random_slope"]
    assert line.verdict == "another optimum"
    assert line.values["statsmodels"] - line.values["lme4"] == pytest.approx(28.4, abs=0.05)
    assert line.values["statsmodels"] == pytest.approx(line.independent, abs=1e-5)


# ---- anova ---------------------------------------------------------------------------------------------------------


def test_anova_is_rs_own_and_its_numbers_agree(compared):
    """The vignette's test: Chisq 0.0639 on 1, p 0.8004, after a refit by ML that R announces."""
    found = anova(compared("sleepstudy-random_slope"))
    Sheet("anova", found.lines).check()
    refitted, other_ratio, naive = found.notes
    assert refitted == "refitting model(s) with ML (instead of REML)"
    assert "not the ratio of the fits by REML" in other_ratio
    # Of its two tests the first leaves a variance out, the second a covariance.
    assert naive.startswith("random_intercept in uncorrelated: a variance is zero there")
    # How its columns are set is R's and lme4's own, and another one from version to version.
    assert re.search(r"^random_slope .* 0\.0639 +1 +0\.8004 *$", found.text, re.MULTILINE)
    assert found.text.startswith("Data: sleepstudy\nModels:")
    by = {(line.quantity, line.term): line for line in found.lines}
    assert by["Pr(>Chisq)", "random_slope"].values["lme4"] == pytest.approx(0.8004, abs=5e-5)
    assert by["Chisq", "random_slope"].values["optimum"] == pytest.approx(0.0639, abs=5e-5)
    assert len(found.lines) == 3 * 5 + 2 * 3


def test_anova_of_a_refit_that_is_short_is_another_optimum(compared):
    """Sitka by ML at default settings: lme4 is 14 units short, and R prints a slope's test that gains nothing."""
    found = anova(compared("sitka-random_slope", "ML", "default", engines=("statsmodels", "lme4")))
    by = {(line.quantity, line.term): line for line in found.lines}
    ratio = by["Chisq", "random_slope"]
    assert ratio.verdict == "another optimum" and by["AIC", "random_intercept"].verdict == "agree"
    assert ratio.values["optimum"] - ratio.values["lme4"] > 20
    assert any("R's own fit of random_slope is 14 short" in note for note in found.notes)


def test_anova_without_a_refit_is_by_reml_and_refuses_other_fixed_effects(compared):
    """The statistic of Pinheiro and Bates, 7.376 on 4, is one of REML's."""
    found = anova(compared("machines-unstructured"), refit=False)
    Sheet("anova", found.lines).check()
    assert "7.376" in found.text
    with pytest.raises(NotComparable, match="by REML with other fixed effects"):
        anova(compared("orthodont-interaction", engines=("statsmodels", "lme4")), refit=False)


def test_anova_prints_tests_of_models_that_are_not_nested_and_the_line_says_so(compared):
    """Uncorrelated effects are not a special case of a random slope alone; R subtracts all the same."""
    model = compared("sleepstudy-random_slope").model
    record = replace_record(model, "Reaction ~ Days + (0 + Days | Subject)")
    alone = models.Model(model.dataset, "slope_alone", record, "REML")
    intercept = models.get("sleepstudy-random_intercept")
    found = anova(compared("sleepstudy-random_slope"), [alone, intercept])
    Sheet("anova", found.lines).check()
    unlike = [line for line in found.lines if line.definitions]
    assert {line.quantity for line in unlike} <= {"Chisq", "Df", "Pr(>Chisq)"} and len(unlike) >= 2
    assert any("are not nested: R prints a test all the same" in note for note in found.notes)


def replace_record(model, formula):
    return model.record.model_copy(update={"formula": formula, "title": formula})


def test_lines_survive_a_fit_in_another_process(compared):
    """What is asked of a fit can be pickled, question and answer."""
    comparison = compared("pastes-nested", engines=("statsmodels", "lme4"))

    def elsewhere(fit):
        def ask(question, *arguments):
            sent = pickle.loads(pickle.dumps((question, arguments)))
            return pickle.loads(pickle.dumps(sent[0](fit, *sent[1])))

        return ask

    away = [replace(fit, native=None, elsewhere=elsewhere(fit)) for fit in comparison.fits]
    there = compare(*away)
    assert [line.values for line in criteria.lines(there)] == [line.values for line in criteria.lines(comparison)]
    assert anova(there, [models.get("pastes-random_intercept")]) is not None
