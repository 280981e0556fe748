"""What packages state of uncertainty: each number by its own definition, published values, other codings."""

from __future__ import annotations

import csv
import pickle
import warnings
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from scipy import stats

from concord import r
from concord.account import effect_tests, standard_errors
from concord.account.line import Sheet
from concord.agreement.comparison import Disagreement, compare
from concord.agreement.tolerances import tolerances
from concord.engines import error_definitions
from concord.engines.answers import answer
from concord.engines.lme4 import engine as lme4
from concord.engines.lme4.statements import standard_errors as lme4_says
from concord.engines.nlme import statements as nlme_says
from concord.engines.statsmodels import engine as mixedlm
from concord.engines.statsmodels.statements import standard_errors as mixedlm_says
from concord.models import model as models
from support.paths import PUBLISHED

FILE = PUBLISHED / "degrees" / "nlme_summaries.csv"
ROWS = list(csv.DictReader(FILE.open(encoding="utf-8")))

TRIED = [
    ("sleepstudy-random_slope", "REML"),
    ("sleepstudy-random_slope", "ML"),
    ("machines-nested", "REML"),
    ("penicillin-crossed", "REML"),
    ("penicillin-crossed", "ML"),
]


SAYS = {"statsmodels": mixedlm_says, "lme4": lme4_says, "nlme": nlme_says}
# What rounding may have taken the digits of.
OWN_STEPS = ("standard error by nlme's own steps",)


@pytest.fixture(scope="module")
def compared(fits):
    """All engines' fits of a model side by side."""
    kept = {}

    def of(id, method="REML", settings="tuned"):
        key = id, method, settings
        if key not in kept:
            engines = ["statsmodels", "lme4"] + (["nlme"] if id != "penicillin-crossed" else [])
            answers = [fits(id, method, engine, settings) for engine in engines]
            if id == "penicillin-crossed":
                answers.append(answer(models.get(id, method), "nlme", settings))
            kept[key] = compare(*answers)
        return kept[key]

    return of


def by_key(lines):
    return {(line.quantity, line.group, line.term): line for line in lines}


# ---- every number is explained -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("id", "method"), TRIED)
def test_every_number_is_what_its_definition_gives(id, method, compared):
    """All lines are held, none differs; MixedLM and lmerTest hold to 1e-6 where nlme's differences need more."""
    found = standard_errors.lines(compared(id, method)) + effect_tests.lines(compared(id, method))
    assert {line.verdict for line in found if line.quantity not in OWN_STEPS} == {"agree", "by definition"}
    Sheet(id, found).check()
    for line in found:
        assert set(line.expected) == set(line.values)
        if line.section == "standard errors":
            for source in {"statsmodels", "lme4", "lmerTest"} & set(line.values):
                assert line.values[source] == pytest.approx(line.expected[source], rel=1e-6)
    lines, names = by_key(found), compared(id, method).model.design.names
    for term in names:
        conditional = lines["standard error, conditional on the variances", "", term]
        assert conditional.verdict == "agree" and conditional.same_definition
        assert {"statsmodels", "lme4"} <= set(conditional.values)
        df = lines["degrees of freedom", "", term]
        stated = {"lmerTest"} | ({"pbkrtest"} if method == "REML" else set())
        assert set(df.values) - {"nlme"} == stated and {"statsmodels", "lme4"} <= set(df.absent)
        assert ("nlme" in df.values) == (id != "penicillin-crossed")
        if method == "ML":
            assert "one for REML" in df.absent["pbkrtest"]


def test_a_variance_of_zero_has_no_wald_standard_error(compared):
    """Fixed effects' errors and tests are all there and explained; of the variances there are the reasons."""
    comparison = compared("dyestuff2-random_intercept")
    found = standard_errors.lines(comparison)
    assert {line.verdict for line in found if line.effect == "fixed"} == {"agree", "by definition"}
    of_variances = [line for line in found if line.effect == "ran_pars"]
    assert {line.verdict for line in of_variances} == {"not compared"} and len(of_variances) == 2
    assert any("is singular" in why for line in of_variances for why in line.absent.values())
    lines = by_key(effect_tests.lines(comparison))
    df = lines["degrees of freedom", "", "(Intercept)"]
    # lmerTest counts no uncertainty of a variance that is zero: 29 rows; pbkrtest does: 5 batches.
    assert df.values["lmerTest"] == pytest.approx(29) and df.values["pbkrtest"] == pytest.approx(5)
    assert {line.verdict for line in lines.values()} == {"by definition"}
    assert standard_errors.components_table(comparison.fits[0]).startswith("No table: the covariance matrix of")


def test_fits_that_fall_short_have_what_their_own_estimates_give(compared):
    """MixedLM's default fit of dietox is 3 units short: the differences are those of the estimates, each explained."""
    comparison = compared("dietox-random_slope", "REML", "default")
    assert "short" in comparison.verdict.word
    found = standard_errors.lines(comparison) + effect_tests.lines(comparison)
    found = [line for line in found if line.quantity not in OWN_STEPS]
    assert {line.verdict for line in found} == {"agree", "by definition", "another optimum"}
    assert {line.verdict for line in found if line.same_definition} == {"agree", "another optimum"}
    for line in found:
        for source in {"statsmodels", "lmerTest"} & set(line.expected):
            if line.quantity.startswith("standard error"):
                assert line.values[source] == pytest.approx(line.expected[source], rel=2e-6)


@pytest.mark.parametrize(
    ("source", "key", "quantity"),
    [
        ("statsmodels", "printed", "standard error"),
        ("statsmodels", "conditional", "standard error, conditional on the variances"),
        ("statsmodels", "z", "test statistic"),
        ("lme4", "components", "standard error"),
        ("nlme", "df", "degrees of freedom"),
        ("nlme", "std_error", "standard error"),
        ("nlme", "wide", "standard error"),
    ],
)
def test_a_wrong_number_is_a_difference(source, key, quantity, compared, monkeypatch):
    """One percent off, nothing explains it."""
    comparison = compared("sleepstudy-random_slope", "ML")

    def off(fit):
        said = summaries[source](fit)
        return replace(said, **{key: 1.01 * getattr(said, key)})

    summaries = {engine: says.summary for engine, says in SAYS.items()}
    monkeypatch.setattr(SAYS[source], "summary", off)
    comparison = compare(*comparison.fits)  # what was asked before is not asked again
    found = standard_errors.lines(comparison) + effect_tests.lines(comparison)
    differ = [line for line in found if line.verdict == "differ"]
    assert differ and quantity in {line.quantity for line in differ}
    with pytest.raises(Disagreement):
        Sheet("off", found).check()


# ---- definitions ---------------------------------------------------------------------------------------------------


def test_nlmes_summary_by_ml_has_its_own_factor(compared):
    """sqrt(n / (n - p)) in errors and t, which neither vcov() nor intervals() has; none by REML."""
    for method, factor in (("ML", np.sqrt(180 / 178)), ("REML", 1.0)):
        comparison = compared("sleepstudy-random_slope", method)
        lines = by_key(standard_errors.lines(comparison))
        stated = lines["standard error", "", "Days"]
        plain = lines["standard error, conditional on the variances", "", "Days"]
        assert stated.values["nlme"] / plain.values["nlme"] == pytest.approx(factor, rel=1e-12)
        assert stated.definitions.get("nlme") == ("adjusted_for_fixed_effects" if method == "ML" else None)
        assert "adjustSigma = FALSE" in stated.reason or method == "REML"
        (fit,) = (each for each in comparison.fits if each.engine == "nlme")
        half = r.call("eval", r.call("parse", text="function(fit) nlme::intervals(fit, which = 'fixed')$fixed")[0])
        interval = r.from_r(r.call(half, fit.native))
        df = fit.ask(nlme_says.summary).df[1]
        width = (interval[1, 2] - interval[1, 0]) / (2 * stats.t.ppf(0.975, df))
        assert width == pytest.approx(plain.values["nlme"], rel=1e-9)


def test_nlmes_own_steps_lose_digits_where_a_correlation_is_near_zero(compared):
    """sleepstudy's correlation of 0.07: a covariance's error is off by a quarter. Rounding explains it, and it is no
    tick: the right value, 46.678 by MixedLM's exact Hessian and by lmerTest's too, stands beside it.
    """
    lines = by_key(standard_errors.lines(compared("sleepstudy-random_slope")))
    key = "Subject", "cov__(Intercept).Days"
    own, wide = lines["standard error by nlme's own steps", *key], lines["standard error", *key]
    assert abs(own.values["nlme"] / own.expected["nlme"] - 1) > 0.05 and own.verdict == "differ: lost in rounding"
    for right in (own.expected["nlme"], own.independent, wide.values["lmerTest"]):
        assert right == pytest.approx(46.678, abs=5e-3)
    assert "of the right value, 46.67" in own.reason and not own.unexplained
    # It is an excuse for what rounding can do, and for no more.
    worse = replace(own, values={"nlme": own.expected["nlme"] + 1.1 * own.rounding["nlme"]})
    assert worse.verdict == "differ"
    assert wide.values["nlme"] == pytest.approx(wide.expected["nlme"], rel=2e-4)
    # Where no parameter is near zero it is not an excuse.
    own = lines["standard error by nlme's own steps", "Residual", "var__Observation"]
    assert own.rounding["nlme"] < 0.2 * own.expected["nlme"] and own.verdict == "by definition"


def test_what_mixedlm_prints_with_variance_components_is_found_in_its_summary(compared):
    """bse_re raises there; the summary prints the same thing, rounded to three digits."""
    (fit,) = (each for each in compared("machines-nested").fits if each.engine == "statsmodels")
    said = mixedlm_says.summary(fit)
    assert said.raises.startswith("bse_re raises ValueError")
    with pytest.raises(ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _ = fit.native.bse_re
    shown = [line.split()[-1] for line in fit.summary.splitlines() if " Var " in line]
    assert shown == [f"{each:.3f}" for each in sorted(said.printed, reverse=True)]


def test_the_table_of_components_leads_from_what_is_printed_to_the_error(compared):
    fit = compared("sleepstudy-random_slope").fits[0]
    table = standard_errors.components_table(fit)
    np.testing.assert_allclose(table["stated"], table["printed"], rtol=1e-6)
    np.testing.assert_allclose(table["printed"] * table["factor"], table["std_error"], rtol=1e-12)
    assert "stated" not in standard_errors.components_table(compared("sleepstudy-random_slope").fits[1])


# ---- the table of tests --------------------------------------------------------------------------------------------


def test_the_table_has_every_kind_of_test_with_what_it_assumes(compared):
    comparison = compared("sleepstudy-random_slope")
    table = effect_tests.tests_table(comparison)
    assert list(table.columns) == ["term", "kind", "estimate", "std_error", "df", "statistic", "p_value", "source"]
    assert list(table["kind"]) == 2 * list(effect_tests.ASSUMES)
    assert list(table["source"][:5]) == ["statsmodels", "from lme4's t", "lmerTest", "pbkrtest", "nlme"]
    np.testing.assert_allclose(table["estimate"] / table["std_error"], table["statistic"], rtol=1e-9)
    np.testing.assert_allclose(table["p_value"], 2 * stats.t.sf(table["statistic"].abs(), table["df"]), rtol=1e-8)
    assert list(table["df"][5:]) == pytest.approx([np.inf, 178, 17, 17, 161], rel=1e-6)
    assert [note.partition(":")[0] for note in table.attrs["notes"]] == list(effect_tests.ASSUMES)
    by_ml = effect_tests.tests_table(compared("sleepstudy-random_slope", "ML"))
    assert "Kenward-Roger" not in set(by_ml["kind"]) and "one for REML" in by_ml.attrs["notes"][-1]


# ---- published -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['model']} {row['method']} {row['quantity']} {row['term']}")
def test_nlmes_published_summaries_and_intervals_hold(row, fits):
    """Within as many units of the last digit as the row grants, half of one where it has no note; an interval follows
    from the independent error of a log standard deviation.
    """
    fit = fits(row["model"], row["method"], "nlme", "tuned")
    said, design = nlme_says.summary(fit), fit.model.design
    if row["quantity"] in ("lower", "upper"):
        table = fit.estimates[fit.estimates["effect"] == "ran_pars"].reset_index(drop=True)
        ((k,),) = np.nonzero((table["group"] == row["group"]) & (table["term"] == row["term"]))
        sign = 1 if row["quantity"] == "upper" else -1
        error = 0.5 * error_definitions.Errors(_likelihood(fit), fit).components[k] / table["estimate"][k]
        value = np.sqrt(table["estimate"][k]) * np.exp(sign * stats.norm.ppf(0.975) * error)
    else:
        value = getattr(said, row["quantity"])[design.names.index(row["term"])]
    last = float(Decimal(1).scaleb(Decimal(row["value"]).as_tuple().exponent))
    assert value == pytest.approx(float(row["value"]), abs=float(row["off"]) * last)


def _likelihood(fit):
    from concord.reference import reference

    return reference.of(fit.model).likelihood


# ---- other codings, other processes --------------------------------------------------------------------------------

CENTRED = """function(data) {
  lme4::lmer(Reaction ~ I(Days - 4.5) + (1 + I(Days - 4.5) | Subject), data,
    control = lme4::lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-11)))
}"""


def test_a_fit_in_another_coding_is_carried_over(fits):
    """lmer on centred days: lmerTest's and pbkrtest's statements about the model's own effects are the same."""
    model = models.get("sleepstudy-random_slope")
    function = r.call("eval", r.call("parse", text=CENTRED)[0])
    other = lme4_says.summary(lme4.from_native(r.call(function, model.frame), model))
    plain = lme4_says.summary(fits("sleepstudy-random_slope", "REML", "lme4", "tuned"))
    for key in ("satterthwaite", "kenward_roger"):
        np.testing.assert_allclose(getattr(other, key), getattr(plain, key), rtol=2e-5)
    np.testing.assert_allclose(other.components, plain.components, rtol=2e-5)
    # lme4's own t of a centred intercept is of another effect.
    assert np.isnan(other.t).all()


def test_mixedlms_columns_may_stand_in_another_order_and_unit(fits):
    """From arrays, slope first and in tenths: errors of the model's own variances are the same."""
    import statsmodels.api as sm

    model = models.get("sleepstudy-random_slope")
    X = model.design.X[:, ::-1]
    made = sm.MixedLM(model.design.y, X, groups=model.design.terms[0].codes, exog_re=X * [0.1, 1.0])
    fit = mixedlm.from_native(made.fit(method="bfgs", gtol=1e-9, maxiter=2000), model)
    other = mixedlm_says.summary(fit)
    plain = mixedlm_says.summary(fits("sleepstudy-random_slope", "REML", "statsmodels", "tuned"))
    for key in ("conditional", "z", "p", "printed"):
        np.testing.assert_allclose(getattr(other, key), getattr(plain, key), rtol=1e-4, atol=1e-30)
    made.fit(reml=False)  # another method on the same model object changes nothing that was said
    np.testing.assert_allclose(mixedlm_says.summary(fit).conditional, other.conditional, rtol=1e-12)


def test_what_is_said_can_travel_between_processes(compared):
    for fit in compared("machines-nested").fits:
        said = SAYS[fit.engine].summary(fit)
        again = pickle.loads(pickle.dumps(said))
        assert set(vars(again)) == set(vars(said))


def test_asking_lmertest_leaves_the_fit_as_it_was(fits):
    """Its deviance function writes into what it is made from: a copy."""
    fit = fits("dietox-random_slope", "REML", "lme4", "tuned")

    def state():
        return [np.array(r.from_r(r.call(r.function("lme4::getME"), fit.native, name))) for name in ("theta", "beta")]

    before, summary = state(), float(r.from_r(r.call("as.numeric", r.call(r.function("stats::logLik"), fit.native)))[0])
    lme4_says.summary(fit)
    for one, other in zip(before, state(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert float(r.from_r(r.call("as.numeric", r.call(r.function("stats::logLik"), fit.native)))[0]) == summary


def test_a_fit_whose_data_are_gone_is_no_trouble(fits):
    """as_lmerModLmerTest() runs the fit's call again and stops; nothing here runs it."""
    fit = fits("machines-nested", "REML", "lme4", "tuned")  # no package has a table of that name
    r.package("lmerTest")
    with pytest.raises(r.RError, match="Unable to extract deviance function"):
        r.call(r.function("lmerTest::as_lmerModLmerTest"), fit.native)
    assert lme4_says.summary(fit).satterthwaite[1:, 2] == pytest.approx([10, 10], rel=1e-6)


def test_the_tolerances_that_lines_name_exist(compared):
    found = standard_errors.lines(compared("machines-nested")) + effect_tests.lines(compared("machines-nested"))
    assert {line.tolerance for line in found} <= set(tolerances()["quantities"])


def test_a_number_that_no_package_prints_is_said_to_be_derived(compared):
    (said,) = standard_errors.notes(compared("machines-nested"))
    assert said.startswith("lmerTest: it prints no standard error of a variance") and "delta method" in said
