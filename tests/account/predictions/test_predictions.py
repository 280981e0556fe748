"""What fits predict, against the packages' own objects, lme4's and nlme's R functions, and printed values."""

from __future__ import annotations

import copy
import csv
import pickle
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from rpy2 import robjects

from concord import r
from concord.account.definitions import definitions
from concord.account.line import AGREE, DEFINITION, DIFFER, OPTIMUM, Sheet
from concord.account.predictions.explained import shares
from concord.account.predictions.predictions import SECTIONS, lines, predictions_table
from concord.agreement.comparison import compare
from concord.engines.answers import Absence, answer
from concord.engines.engine import CannotExpress, engines
from concord.engines.lme4.statements import random_effects as lme4_says
from concord.engines.statements import statements
from concord.engines.statsmodels.engine import from_native
from concord.inference.prediction import Solution
from concord.models import model as models
from concord.models.matrices import new_rows
from concord.models.new_rows import new_table
from support.paths import PUBLISHED

IDS = [
    "dietox-random_slope",
    "sitka-random_intercept",
    "machines-nested",
    "penicillin-crossed",
    "sleepstudy-random_slope",
    "sleepstudy-uncorrelated",
    "dyestuff2-random_intercept",
    "cake-split_plot",
]


@pytest.fixture(scope="module")
def compared(fits):
    """All three engines' tuned fits of a model, compared."""

    def get(id: str, method: str, engine: str, settings: str):
        try:
            return fits(id, method, engine, settings)
        except CannotExpress:
            return answer(models.get(id, method), engine, settings)

    @cache
    def of(id: str, method: str = "REML", settings: str = "tuned"):
        return compare(*(get(id, method, engine, settings) for engine in ("statsmodels", "lme4", "nlme")))

    return of


@pytest.fixture(scope="module")
def lined(compared):
    """The lines of a model's tuned fits."""
    return cache(lambda id, method="REML", settings="tuned": lines(compared(id, method, settings)))


def of(lines, quantity: str, term: str = "", group: str = ""):
    found = [x for x in lines if x.quantity == quantity and term in ("", x.term) and group in ("", x.group)]
    assert len(found) == 1, [(x.quantity, x.group, x.term) for x in lines]
    return found[0]


def from_r(fit, text: str, *arguments):
    """What an R function says of a native fit."""
    return r.from_r(r.call(robjects.r(text), fit.native, *arguments))


# ---- the lines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", IDS)
def test_every_package_states_what_the_equations_give_at_its_estimates(id, lined, compared):
    """Nested, crossed, with slopes, at the boundary: no line differs, and each value is the solution's to 1e-10."""
    found, comparison = lined(id), compared(id)
    assert {line.section for line in found} == set(SECTIONS)
    assert {line.verdict for line in found} <= {AGREE, DEFINITION}
    assert Sheet("all", found).check().table["verdict"].notna().all()
    engines_here = {fit.engine for fit in comparison.fits}
    for line in found:
        assert set(line.values) == set(line.expected)
        assert set(line.values) | set(line.absent) == {"statsmodels", "lme4", "nlme"}
        size = line.scale if not np.isnan(line.scale) else 1.0
        for source, value in line.values.items():
            np.testing.assert_allclose(value, line.expected[source], rtol=1e-9, atol=1e-10 * size)
    terms = comparison.model.design.terms
    for term in terms:
        for name in term.names:
            line = of(found, "predicted effects", name, term.group)
            assert set(line.values) == engines_here
            assert all(len(value) == len(term.levels) for value in line.values.values())
            assert set(of(found, "conditional variances", name, term.group).values) == engines_here - {"nlme"}


def test_predicted_effects_stand_in_the_order_of_the_models_levels(lined, fits):
    """Of nested and of crossed factors, whichever way a package sorts them: by ranef()'s own names in R."""
    for id, group in (("machines-nested", "Machine:Worker"), ("penicillin-crossed", "sample")):
        fit = fits(id, "REML", "lme4", "tuned")
        given = from_r(
            fit, f"function(f) as.list(setNames(lme4::ranef(f)$`{group}`[[1]], rownames(lme4::ranef(f)$`{group}`)))"
        )
        term = next(each for each in fit.model.design.terms if each.group == group)
        values = of(lined(id), "predicted effects", group=group).values
        for engine in ("lme4", "statsmodels"):
            np.testing.assert_allclose(values[engine], [given[level][0] for level in term.levels], atol=1e-5)


def test_conditional_covariances_are_those_that_both_packages_keep(lined, fits):
    """ranef()'s postVar and random_effects_cov, by level, of intercept, slope and both."""
    line = {
        name: of(lined("sleepstudy-random_slope"), "conditional variances", name) for name in ("(Intercept)", "Days")
    }
    both = of(lined("sleepstudy-random_slope"), "conditional covariances")
    fit = fits("sleepstudy-random_slope", "REML", "lme4", "tuned")
    post = from_r(fit, 'function(f) attr(lme4::ranef(f, condVar = TRUE)$Subject, "postVar")')
    np.testing.assert_array_equal(line["(Intercept)"].values["lme4"], post[0, 0])
    np.testing.assert_array_equal(line["Days"].values["lme4"], post[1, 1])
    np.testing.assert_array_equal(both.values["lme4"], post[0, 1])
    fit = fits("sleepstudy-random_slope", "REML", "statsmodels", "tuned")
    kept = fit.native.random_effects_cov
    # MixedLM's groups have the factor's own labels.
    levels = {str(label): np.asarray(matrix) for label, matrix in kept.items()}
    own = np.array([levels[level] for level in fit.model.design.terms[0].levels])
    np.testing.assert_array_equal(both.values["statsmodels"], own[:, 0, 1])
    np.testing.assert_allclose(line["Days"].values["statsmodels"], own[:, 1, 1], rtol=1e-12)


def test_effects_of_two_terms_have_a_covariance_given_the_data(lined):
    """Of (1 + Days || Subject) MixedLM keeps it, and it is not zero; ranef() of lme4 does not, and says why."""
    line = of(lined("sleepstudy-uncorrelated"), "conditional covariances")
    assert set(line.values) == {"statsmodels"} and np.abs(line.values["statsmodels"]).min() > 0.1
    assert line.verdict == AGREE and "within a term" in line.absent["lme4"]


def test_what_predict_gives_is_told_by_definition(lined, fits):
    """MixedLM's predict() is X b, nlme's and lme4's X b + Z u: a difference by definition, of tens of milliseconds."""
    line = of(lined("sleepstudy-random_slope"), "what predict() gives")
    assert line.verdict == DEFINITION and line.definitions == {"statsmodels": "predict_fixed"} and line.difference > 50
    fit = fits("sleepstudy-random_slope", "REML", "statsmodels", "tuned")
    np.testing.assert_allclose(line.values["statsmodels"], fit.native.model.exog @ fit.native.fe_params, rtol=1e-13)
    fitted = of(lined("sleepstudy-random_slope"), "fitted values, fixed and random effects")
    np.testing.assert_allclose(fitted.values["statsmodels"], line.values["lme4"], rtol=1e-7)
    assert fitted.verdict == AGREE


def test_rows_are_what_the_packages_objects_hold(lined, fits):
    """lme4's response module and nlme's stored tables, which neither fitted() nor residuals() made."""
    found = lined("sleepstudy-random_slope")
    fit = fits("sleepstudy-random_slope", "REML", "lme4", "tuned")
    fitted, residual = (of(found, name) for name in ("fitted values, fixed and random effects", "residuals"))
    np.testing.assert_allclose(fitted.values["lme4"], from_r(fit, "function(f) f@resp$mu"), rtol=1e-13)
    np.testing.assert_allclose(residual.values["lme4"], from_r(fit, "function(f) f@resp$y - f@resp$mu"), atol=1e-10)
    fit = fits("sleepstudy-random_slope", "REML", "nlme", "tuned")
    stored = from_r(fit, "function(f) unname(as.matrix(f$fitted))")
    np.testing.assert_array_equal(of(found, "fitted values, fixed effects only").values["nlme"], stored[:, 0])
    np.testing.assert_array_equal(fitted.values["nlme"], stored[:, 1])


def test_residuals_called_pearsons_are_two_things(lined, compared):
    """lme4's are raw, nlme's in units of the residual deviation; by their definitions both are explained."""
    line = of(lined("sleepstudy-random_slope"), "residuals called Pearson's")
    assert line.verdict == DEFINITION and line.definitions == {"lme4": "pearson_not_scaled"}
    deviation = np.sqrt(compared("sleepstudy-random_slope").fits[1].residual_variance)
    np.testing.assert_allclose(line.values["lme4"] / deviation, line.values["nlme"], atol=1e-6)
    assert of(lined("sleepstudy-random_slope"), "residuals over their deviation").verdict == AGREE


def test_at_another_optimum_predictions_differ_and_are_explained(lined):
    """lme4's default fit of the Sitka slope is 14 units short: its effects are another optimum's, no disagreement."""
    found = lined("sitka-random_slope", "REML", "default")
    assert of(found, "predicted effects", "Time").verdict == OPTIMUM
    assert not Sheet("short", found).breaches


@pytest.mark.parametrize(
    ("name", "quantity", "change"),
    [
        ("fitted", "fitted values, fixed and random effects", lambda value: value + 0.01),
        ("new", "predictions, known levels", lambda value: value * (1 + 1e-4)),
        ("conditional", "conditional variances", lambda value: {pair: 1.001 * each for pair, each in value.items()}),
        ("variances", "marginal R-squared", lambda value: value | {"random": value["random"] * 1.001}),
    ],
)
def test_a_value_that_its_definition_does_not_give_differs(name, quantity, change, compared, monkeypatch):
    """Moved a little, by a thousandth at most or into another order, a package's statement is a breach."""
    comparison = compared("sitka-random_intercept")
    real = lme4_says._predictions

    def moved(fit, new):
        got = real(fit, new)
        return replace(got, values=got.values | {name: change(got.values[name])})

    monkeypatch.setattr(lme4_says, "_predictions", moved)
    assert of(lines(comparison), quantity).verdict == DIFFER


EFFECTS = {
    "an estimate a thousandth off": ("predicted effects", lambda t: t.assign(estimate=t["estimate"] * 1.001)),
    "two levels' swapped": (
        "predicted effects",
        lambda t: t.assign(level=[t["level"][1], t["level"][0], *t["level"][2:]]),
    ),
    "a level's row dropped": ("predicted effects", lambda t: t.drop(index=3)),
    "a level's row twice": ("predicted effects", lambda t: pd.concat([t, t.head(1)], ignore_index=True)),
    "a level that is not there": (
        "predicted effects",
        lambda t: pd.concat([t, t.head(1).assign(level="new")], ignore_index=True),
    ),
    "standard errors a tenth off": ("conditional standard errors", lambda t: t.assign(std_error=t["std_error"] * 1.1)),
    "a standard error missing": (
        "conditional standard errors",
        lambda t: t.assign(std_error=t["std_error"].where(t.index != 2)),
    ),
}


@pytest.mark.parametrize("which", EFFECTS)
@pytest.mark.parametrize("both", [False, True], ids=["one", "both"])
def test_the_effects_that_tables_and_pictures_show_are_those_that_are_judged(which, both, compared):
    """Those that the fit itself holds, and not what the package says when it is asked once more."""
    quantity, change = EFFECTS[which]
    comparison = compared("sitka-random_intercept")
    moved = [
        replace(fit, predict=lambda fit=fit: change(fit.random_effects.copy()))
        if fit.engine == "lme4" or (both and fit.engine == "statsmodels")
        else fit
        for fit in comparison.fits
    ]
    again = compare(*moved)
    line = of(lines(again), quantity)
    assert line.verdict == DIFFER and set(line.unexplained) == {"lme4", *(["statsmodels"] if both else [])}


def test_errors_of_prediction_are_not_taken_for_conditional_ones(compared, monkeypatch):
    """The variance that holds the fixed effects' uncertainty too, given for lme4's condVar, is told from it."""
    comparison = compared("sleepstudy-random_slope")
    real = lme4_says._predictions
    fit = comparison.fits[1]
    solution = Solution(fit.model.design, fit.parameters)
    spread = solution.prediction_covariances[0]

    def other(fit, new):
        got = real(fit, new)
        given = {((0, i), (0, j)): spread[:, i, j] for i in range(2) for j in range(i, 2)}
        return replace(got, values=got.values | {"conditional": given})

    monkeypatch.setattr(lme4_says, "_predictions", other)
    assert of(lines(comparison), "conditional variances", "Days").verdict == DIFFER


def test_a_package_that_stops_or_fits_another_model_is_absent_with_its_reason(compared):
    """MixedLM at a matrix that is exactly singular predicts nothing; a fit that left the model is not held to it."""
    comparison = compared("dyestuff2-random_intercept")
    mixedlm, lme4, _ = comparison.fits
    native = copy.copy(mixedlm.native._results)
    native._cache, native.cov_re = {}, np.zeros((1, 1))
    singular = replace(from_native(native, mixedlm.model), settings="tuned")
    found = lines(compare(singular, lme4))
    line = of(found, "predicted effects")
    assert "singular" in line.absent["statsmodels"] and set(line.values) == {"lme4"} and line.verdict == AGREE
    assert set(of(found, "fitted values, fixed effects only").values) == {"statsmodels", "lme4"}
    left = replace(mixedlm, violation="constraint ignored: a covariance")
    assert "another model" in of(lines(compare(left, lme4)), "predicted effects").absent["statsmodels"]


def test_absent_engines_are_absent_in_every_line(lined, compared):
    """nlme has no crossed factors: each line says so, as the comparison does."""
    assert isinstance(compared("penicillin-crossed").absent[0], Absence)
    assert all(line.absent["nlme"].startswith("no fit: nlme cannot express") for line in lined("penicillin-crossed"))


# ---- other codings, offsets ------------------------------------------------------------------------------------------


def test_a_fit_in_another_coding_is_carried_over(fits):
    """lmer with centred columns: effects and their conditional covariances come out in the model's own."""
    model = models.get("sleepstudy-random_slope", "ML")
    control = 'optimizer = "bobyqa", optCtrl = list(rhobeg = 0.2, rhoend = 1e-11, maxfun = 1e5)'
    text = f"""function(data) {{ data$c <- (data$Days - 4.5) / 3
        lme4::lmer(Reaction ~ c + (1 + c | Subject), data, REML = FALSE, control = lme4::lmerControl({control})) }}"""
    native = r.call(robjects.r(text), model.frame)
    centred = engines()["lme4"].from_native(native, model, settings="tuned")
    found = lines(compare(fits("sleepstudy-random_slope", "ML", "statsmodels", "tuned"), centred))
    for quantity, term in (
        ("predicted effects", "Days"),
        ("conditional variances", "(Intercept)"),
        ("conditional variances", "Days"),
        ("conditional covariances", ""),
        ("conditional R-squared", ""),
    ):
        line = of(found, quantity, term)
        assert line.verdict == AGREE and set(line.values) == {"statsmodels", "lme4"}
    # Its predict() cannot know the centred column: it says so, and nothing is said for it.
    assert "it stopped with" in of(found, "predictions, fixed effects only").absent["lme4"]


def table():
    rng = np.random.default_rng(11)
    g, h = np.repeat(np.arange(8), 12), np.tile(np.repeat(np.arange(3), 4), 8)
    frame = pd.DataFrame({"x": rng.normal(size=96), "w": rng.uniform(1, 5, 96), "g": [f"g{i}" for i in g], "h": h})
    frame["f"] = pd.Categorical(rng.choice(list("abc"), 96), list("abcd"))
    effects = rng.normal(size=8)[g] + rng.normal(size=24)[3 * g + h]
    frame["y"] = 3 * frame["x"] + frame["w"] + (frame["f"] == "b") + effects + rng.normal(size=96)
    frame.loc[5, "x"] = np.nan
    return frame


@pytest.fixture(scope="module")
def offset(make_model):
    """A model with an offset, a factor that has an unused level, a missing number and nested groups."""
    model = make_model(table(), "y ~ x + f + offset(w) + (1 | g/h)")
    return compare(*(answer(model, engine, "tuned") for engine in ("statsmodels", "lme4", "nlme")))


def test_packages_without_offsets_are_told_by_definition(offset):
    """MixedLM and nlme get the response less its offset: theirs plus the offset is lme4's, of old rows and of new."""
    found, design = lines(offset), offset.model.design
    assert not Sheet("offset", found).breaches
    line = of(found, "fitted values, fixed and random effects")
    assert line.definitions == dict.fromkeys(("statsmodels", "nlme"), "fitted_without_offset")
    assert line.verdict == DEFINITION
    np.testing.assert_allclose(line.values["nlme"] + design.offset, line.values["lme4"], atol=1e-4)
    assert of(found, "what predict() gives").definitions["statsmodels"] == "predict_fixed_without_offset"
    new = of(found, "predictions, fixed effects only")
    assert set(new.values) == {"statsmodels", "lme4", "nlme"} and new.verdict == DEFINITION
    given = predictions_table(offset)
    marginal = given[given["random"] == "none"]
    np.testing.assert_allclose(marginal["statsmodels"], marginal["lme4"], atol=1e-4)


def test_a_row_without_a_number_is_left_out_of_the_predictions(offset):
    """No package has a prediction there, which is not a difference."""
    new = new_table(offset.model)
    new.loc[0, "x"] = np.nan
    line = of(lines(offset, new), "predictions, fixed effects only")
    assert set(line.values) == {"statsmodels", "lme4", "nlme"} and line.verdict == DEFINITION
    assert all(len(value) == len(new) - 1 for value in line.values.values())
    assert predictions_table(offset, new)["lme4"].isna().sum() == 2


def test_what_nlme_gets_wrong_without_fixed_effects_is_left_out_with_the_reason(make_model):
    """Its last group's effects are not those of its estimates, which all others' are: a finding says why."""
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(6), 5)
    frame = pd.DataFrame({"g": [f"g{i}" for i in g], "y": 2 * rng.normal(size=6)[g] + rng.normal(size=30)})
    comparison = compare(
        *(answer(make_model(frame, "y ~ 0 + (1 | g)"), engine, "default") for engine in ("lme4", "nlme"))
    )
    nlme = next(fit for fit in comparison.fits if fit.engine == "nlme")
    off = np.abs(
        nlme.random_effects["estimate"].to_numpy() - Solution(nlme.model.design, nlme.parameters).modes[0][:, 0]
    )
    assert (off[:-1] < 1e-8).all() and off[-1] > 0.01
    found = lines(comparison)
    assert not Sheet("empty", found).breaches
    for quantity in (
        "predicted effects",
        "fitted values, fixed and random effects",
        "residuals",
        "predictions, known levels",
    ):
        line = of(found, quantity)
        assert set(line.values) == {"lme4"} and "the finding nlme_without_fixed" in line.absent["nlme"]
    assert set(of(found, "fitted values, fixed effects only").values) == {"lme4", "nlme"}


# ---- new rows ------------------------------------------------------------------------------------------------------


def test_the_new_table_knows_two_levels_and_asks_for_unknown_ones(make_model):
    """Strings, numbers, categories and truth values get a level of their own type; predictors stay as they are."""
    frame = table().assign(k=lambda t: t["h"] > 0, c=lambda t: pd.Categorical(t["g"]), new=lambda t: t["g"])
    frame.loc[0, "new"] = "new"
    for group, known, unknown in (
        ("g", ["g0", "g1"], ["new", "new"]),
        ("h", [0, 1], [3, 3]),
        ("c", ["g0", "g1"], ["new", "new"]),
        ("k", ["FALSE", "TRUE"], ["new", "new"]),
        ("new", ["new", "g0"], ["new 2", "new 2"]),
    ):
        model = make_model(frame, f"y ~ x + f + (1 | {group})")
        given = new_table(model)
        assert given[group].tolist() == known + unknown and set(given) == {"x", "f", group}
        assert given["f"].dtype == frame["f"].dtype
        codes = new_rows(model.formula, model.design, model.frame, given).codes[0]
        assert (codes >= 0).tolist() == [True, True, False, False]
    machines = new_table(models.get("machines-nested"))
    assert machines["Machine"].isin(["A", "B", "C"]).all() and (machines["Worker"] == "new").sum() == 2


def test_predictions_for_new_rows_are_the_packages_own(compared):
    """lme4's with and without random effects, nlme's by level, NA where the level is unknown, MixedLM's without."""
    comparison = compared("sleepstudy-random_slope")
    new = pd.DataFrame({"Days": [0.0, 4.0, 11.0], "Subject": ["308", "351", "nobody"]})
    given = predictions_table(comparison, new)
    assert given["random"].tolist() == ["none", "known"] * 2 + ["none", "unknown"]
    _, lme4, nlme = comparison.fits
    text = "function(f, n) as.numeric(predict(f, n, re.form = {}, allow.new.levels = TRUE))"
    for half, form in ((given[::2], "NA"), (given[1::2], "NULL")):
        np.testing.assert_allclose(half["lme4"], from_r(lme4, text.format(form), r.table(new)), rtol=1e-13)
        np.testing.assert_allclose(half["independent"], half["lme4"], rtol=1e-7)
    assert given["nlme"].isna().tolist() == [False] * 5 + [True]
    assert given["statsmodels"].isna().tolist() == [False, True] * 3
    vcov = from_r(lme4, "function(f) as.matrix(vcov(f))")
    X = np.column_stack([np.ones(3), new["Days"]])
    np.testing.assert_allclose(given["std_error"][::2], np.sqrt(np.diag(X @ vcov @ X.T)), rtol=1e-5)
    line = of(lines(comparison, new), "predictions, unknown levels")
    assert (
        set(line.values) == {"lme4"}
        and "NA" in line.absent["nlme"]
        and "fixed effects only" in line.absent["statsmodels"]
    )


def test_what_a_package_says_can_be_carried_to_another_process(compared):
    """Question and answer are pickled whole: a fit may be in an engine's own process."""
    for fit in compared("machines-nested").fits:
        said = statements(fit.engine).predictions
        question, got = pickle.loads(pickle.dumps((said, said(fit, new_table(fit.model)))))
        assert question is said and got.values.keys() | got.absent.keys() >= {"conditional", "variances"}


def test_without_covariates_nothing_is_explained_and_zero_is_zero(lined):
    (line,) = (each for each in lined("penicillin-crossed") if each.quantity == "marginal R-squared")
    assert {*line.values.values(), *line.expected.values(), line.independent} == {0.0}


def test_shares_of_three_variances():
    """By hand: of 2, 3 and 5."""
    assert shares(2.0, 3.0, 5.0) == (0.2, 0.5, 0.375, 0.3)
    # An intercept alone explains nothing: what its fitted values vary by is their rounding
    rounding = float(np.var(np.full(30, 0.1) * 3 + np.tile([0, 2.0**-52], 15), ddof=1))
    assert 0 < rounding < 1e-30 and shares(rounding, 3.0, 5.0) == (0.0, 0.375, 0.375, 0.375)


def test_every_definition_of_these_lines_says_how_to_convert():
    """Title, formula, conversion and source are there."""
    names = ["standardized_by_deviation", "predict_fixed", "predict_fixed_without_offset", "fitted_without_offset"]
    for name in [*names, "pearson_not_scaled"]:
        each = definitions()[name]
        assert each.title and each.formula and each.conversion and each.source


# ---- printed values ------------------------------------------------------------------------------------------------

ROWS = list(csv.DictReader((PUBLISHED / "effects/random_effects.csv").open(encoding="utf-8")))


@pytest.fixture(scope="module")
def published(compared, make_model):
    """Comparison and lines of a printed row's model."""

    @cache
    def of_row(id: str, method: str):
        if id != "orthodont females":
            comparison = compared(id, method)
        else:
            frame = models.get("orthodont-random_intercept").frame
            frame = frame[frame["Sex"] == "Female"].reset_index(drop=True)
            model = make_model(frame, "distance ~ age + (1 | Subject)", method, id="orthodont_females")
            comparison = compare(*(answer(model, engine, "tuned") for engine in ("statsmodels", "lme4", "nlme")))
        new = pd.DataFrame({"Subject": ["M11"] * 3 + ["F03"] * 3, "age": [16, 17, 18] * 2})
        new["Sex"] = pd.Categorical(["Male"] * 3 + ["Female"] * 3, ["Male", "Female"])
        return comparison, lines(comparison, new if id == "orthodont-interaction" else None)

    return of_row


QUANTITIES = {
    "effect": "predicted effects",
    "conditional variance": "conditional variances",
    "residual": "residuals",
    "scaled residual": "residuals called Pearson's",
    "prediction": "predictions, known levels",
    "prediction of fixed effects": "predictions, fixed effects only",
}


@pytest.mark.parametrize("key", sorted({(row["model"], row["method"], row["quantity"]) for row in ROWS}))
def test_printed_values_hold_to_their_last_digit(key, published):
    """What Pinheiro and Bates, MixedModels.jl and performance print is every package's and the solution's."""
    comparison, found = published(*key[:2])
    design, frame = comparison.model.design, comparison.model.frame
    line = of(found, QUANTITIES.get(key[2], key[2]))
    for row in (row for row in ROWS if (row["model"], row["method"], row["quantity"]) == key):
        if line.section == "random effects":
            place = design.terms[0].levels.index(row["level"])
        elif key[2].startswith("prediction"):
            place = ["M11", "F03"].index(row["level"]) * 3 + int(row["term"]) - 16
        elif "residual" in key[2]:
            mine = (frame["Subject"].astype(str) == row["level"]) & (frame["age"] == float(row["term"]))
            place = int(np.flatnonzero(mine.to_numpy()[design.rows])[0])
        else:
            place = ()
        digits = len(row["value"].partition(".")[2])
        allowed = float(row["off"]) * 10.0**-digits + 1e-5 * abs(float(row["value"]))
        values = line.values | {f"{source}, expected": each for source, each in line.expected.items()}
        for source, value in values.items():
            if "lme4" in source and key[2] == "scaled residual":
                continue  # raw by its own definition
            assert abs(np.asarray(value)[place] - float(row["value"])) <= allowed, (source, row)


def test_every_printed_row_is_complete():
    """The digits are counted rightly, and the source is told."""
    for row in ROWS:
        assert None not in row.values() and len(row["source"]) > 20
        assert int(row["printed_digits"]) == len(row["value"].lstrip("-").replace(".", "").lstrip("0")), row
        assert float(row["off"]) == 0.5 or row["note"]
    assert len(ROWS) == 80
