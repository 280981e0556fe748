"""Every optimizer of both engines, in every coding of the predictors, judged in one likelihood and one coding."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from concord import r
from concord.agreement import sweep
from concord.engines.engine import EngineError, engines, title
from concord.engines.lme4 import engine as lme4
from concord.models import model as models
from concord.models.parameters import KEY
from concord.plots import verdicts
from concord.reference import reference

SLOPE, UNCORRELATED = ("sitka-random_slope", "REML"), ("dietox-uncorrelated", "ML")
OPTIMIZERS = {
    "lme4": {
        "bobyqa",
        "Nelder_Mead",
        "nlminbwrap",
        "nmkbw",
        "optimx.L-BFGS-B",
        "optimx.nlminb",
        "nloptwrap.NLOPT_LN_BOBYQA",
        "nloptwrap.NLOPT_LN_NELDERMEAD",
    },
    "statsmodels": {"bfgs", "cg", "lbfgs", "nm", "powell"},
}
DEFAULT = ("lme4", "nloptwrap.NLOPT_LN_BOBYQA")


@cache
def swept(id: str, method: str) -> sweep.Sweep:
    return sweep.run(models.get(id, method))


def rows(id: str, method: str) -> pd.DataFrame:
    return swept(id, method).table.set_index(["engine", "optimizer", "predictors"]).sort_index()


@pytest.fixture
def few(monkeypatch):
    """One quick optimizer an engine, or the ones that are named."""

    def only(lme4=("nlminbwrap",), mixedlm=("bfgs",)):
        monkeypatch.setattr(engines()["lme4"], "optimizers", lambda: lme4)
        monkeypatch.setattr(engines()["statsmodels"], "optimizers", lambda: mixedlm)

    return only


# ---- what is tried -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "codings"), [(SLOPE, {"raw", "centred", "scaled"}), (UNCORRELATED, {"raw", "scaled"})]
)
def test_every_optimizer_meets_every_coding_once(case, codings):
    """One row for each, none left out; uncorrelated effects, which centring changes, are scaled only."""
    table = swept(*case).table
    assert list(table.columns) == list(sweep.COLUMNS)
    expected = {(engine, each, coding) for engine, names in OPTIMIZERS.items() for each in names for coding in codings}
    found = list(zip(table["engine"], table["optimizer"], table["predictors"], strict=True))
    assert len(found) == len(set(found)) and set(found) == expected
    assert (table["seconds"] > 0).all() and table["converged"].map(type).eq(bool).all()
    assert not table["gap"].isna().any()


@pytest.mark.parametrize("case", [SLOPE, UNCORRELATED], ids=" ".join)
def test_the_raw_rows_are_those_of_rs_own_allfit(case):
    """lme4::allFit has the same optimizers, and each of them the same log-likelihood within 1e-6."""
    from rpy2 import robjects

    model = models.get(*case)
    run = robjects.r("""function(formula, data, reml) {
      assign("swept_data", data, globalenv())
      on.exit(rm("swept_data", envir = globalenv()))
      formula <- as.formula(formula, globalenv())
      fits <- suppressWarnings(suppressMessages({
        fit <- eval(bquote(lme4::lmer(.(formula), data = swept_data, REML = .(reml))))
        # By default lme4 2 begins each of them where the fit ended, and not where a fit begins.
        if ("start_from_mle" %in% names(formals(lme4::allFit)))
          lme4::allFit(fit, verbose = FALSE, start_from_mle = FALSE)
        else lme4::allFit(fit, verbose = FALSE)
      }))
      lapply(fits, function(each) as.numeric(logLik(each)))
    }""")
    theirs = r.from_r(r.call(run, model.record.formula, model.frame, model.reml))
    ours = rows(*case).loc["lme4"].xs("raw", level="predictors")["loglik"]
    assert set(theirs) == set(ours.index) - {"optimx.nlminb"} and len(theirs) == 7
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(value[0]), rel=0, abs=1e-6), name


def test_defaults_are_among_the_rows(fits):
    """lme4's default settings are its nloptwrap by BOBYQA on raw predictors."""
    fit = fits(*SLOPE, "lme4", "default")
    row = rows(*SLOPE).loc[(*DEFAULT, "raw")]
    assert (row["loglik"], row["converged"], row["message"]) == (fit.loglik, fit.converged, fit.messages[0])


@pytest.mark.parametrize("engine", OPTIMIZERS)
def test_a_fit_by_one_optimizer_says_which(engine, few):
    """Its settings are the optimizer's name, its call has it, and an unknown name is refused."""
    module, name = engines()[engine], {"lme4": "optimx.L-BFGS-B", "statsmodels": "lbfgs"}[engine]
    fit = module.fit_by(models.get("sitka-random_intercept"), name)
    assert fit.settings == name
    assert {"lme4": 'optimizer = "optimx", optCtrl = list(method = "L-BFGS-B")', "statsmodels": "method='lbfgs'"}[
        engine
    ] in fit.call
    with pytest.raises(ValueError, match="optimizer 'newton': one of "):
        module.fit_by(fit.model, "newton")


# ---- how it is judged ----------------------------------------------------------------------------------------------


def test_scaling_cures_lme4s_default_on_the_sitka_slope():
    """On raw days nloptwrap stops 14.2 short; on scaled ones it is at the optimum, and says so."""
    table = rows(*SLOPE)
    raw, scaled = table.loc[(*DEFAULT, "raw")], table.loc[(*DEFAULT, "scaled")]
    assert raw["gap"] == pytest.approx(14.2, abs=0.05) and not raw["converged"] and raw["digits"] < 1
    assert abs(scaled["gap"]) < 1e-6 and scaled["converged"] and scaled["digits"] > 4


def test_powell_and_nm_ignore_the_constraint_in_every_coding():
    """They fit the correlated model: no digits, no gap, and the reason; the others keep to the constraint, exactly."""
    table = rows(*UNCORRELATED).reset_index()
    deaf = table["optimizer"].isin(["powell", "nm"])
    assert deaf.sum() == 4
    assert table[deaf]["error"].str.startswith("constraint ignored: a covariance that the model holds at zero is").all()
    assert np.isinf(table[deaf]["gap"]).all() and table[deaf]["digits"].isna().all()
    assert (table[~deaf]["error"] == "").all() and np.isfinite(table[~deaf]["gap"]).all()


@pytest.mark.parametrize("case", [SLOPE, UNCORRELATED], ids=" ".join)
def test_no_coding_is_above_the_optimum_and_stated_values_are_shifted_back(case):
    """Gaps are never below -1e-6; what an engine states, less the shift, is the value in the independent likelihood."""
    against, table = swept(*case).against, swept(*case).table
    assert (table["gap"] >= -1e-6).all()
    sound = table[np.isfinite(table["gap"]) & np.isfinite(table["loglik"])]
    assert len(sound) >= 20 and set(sound["predictors"]) == set(table["predictors"])
    np.testing.assert_allclose(sound["loglik"], against.level - sound["gap"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("engine", "optimizer"),
    [("lme4", "Nelder_Mead"), ("lme4", "nmkbw"), ("statsmodels", "powell"), ("statsmodels", "cg")],
)
def test_good_optimizers_reach_the_optimum_on_recoded_predictors(engine, optimizer):
    """Centred and scaled alike: the gap is nothing, and estimates carried back are right to three digits or more."""
    mine = rows(*SLOPE).loc[engine, optimizer].loc[["centred", "scaled"]]
    assert (mine["gap"].abs() < 1e-6).all() and (mine["digits"] > 3).all()


@pytest.mark.parametrize(("engine", "optimizer"), [("lme4", "nlminbwrap"), ("statsmodels", "powell")])
def test_estimates_are_carried_back_to_the_models_own_coding(engine, optimizer):
    """A fit on scaled days has the raw slope and intercept, their (co)variances, and the REML shift log sd."""
    model = models.get(*SLOPE)
    frame = sweep.recoded(model)[0]["scaled"]
    fit, against = engines()[engine].fit_by(model, optimizer, frame), reference.of(model)
    assert fit.shift == pytest.approx(-np.log(model.frame["Time"].std()), rel=1e-9)
    assert fit.stated_loglik == pytest.approx(against.loglik - fit.shift, rel=0, abs=1e-6)
    found, correct = (each.estimates.set_index(KEY)["estimate"] for each in (fit, against))
    np.testing.assert_allclose(found[correct.index], correct, rtol=1e-4)


def test_what_is_above_an_uncertified_reference_takes_its_place(few, monkeypatch):
    """The best row then has a gap of zero, and the reference says that it is not certified."""
    few()
    model = models.get("sitka-random_intercept")
    certified = reference.of(model)
    worse = replace(certified, level=certified.level - 1, loglik=certified.loglik - 1, radius=np.nan)
    monkeypatch.setattr(reference, "of", lambda _: worse)
    made = sweep.run(model)
    assert made.table["gap"].min() == pytest.approx(0, abs=1e-9) and made.table["digits"].max() > 12
    assert made.against.kind == "not certified: the best of the sweep" and not made.against.certified
    assert made.against.level == pytest.approx(certified.level, rel=0, abs=1e-6)


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def test_an_optimizer_that_raises_has_its_row(few, monkeypatch):
    """With the error's text, no claim, no digits and a gap of infinity; the others go on."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    few(mixedlm=("cg", "bfgs"), lme4=("nmkbw", "nlminbwrap"))
    true_fit, true_run = MixedLM.fit, lme4._run

    def bursting(self, *arguments, **named):
        if named["method"] == "cg":
            raise np.linalg.LinAlgError("Singular matrix")
        return true_fit(self, *arguments, **named)

    def running(model, optimizer, **named):
        if optimizer == "nmkbw":
            raise EngineError("lmer stopped with it burst")
        return true_run(model, optimizer, **named)

    monkeypatch.setattr(MixedLM, "fit", bursting)
    monkeypatch.setattr(lme4, "_run", running)
    made = sweep.run(models.get("sitka-random_intercept"))
    table = made.table.set_index(["engine", "optimizer"]).sort_index()
    for key, error in {
        ("statsmodels", "cg"): "MixedLM stopped with LinAlgError: Singular matrix",
        ("lme4", "nmkbw"): "lmer stopped with it burst",
    }.items():
        mine = table.loc[[key]]
        assert len(mine) == 3 and (mine["error"] == error).all() and np.isinf(mine["gap"]).all()
        assert not mine["converged"].any() and mine["digits"].isna().all() and (mine["seconds"] >= 0).all()
        assert error in repr(made)
    assert (table.loc[[("lme4", "nlminbwrap")], "gap"].abs() < 1e-6).all()


def test_an_engine_that_cannot_express_the_model_is_named_and_has_no_rows(few, make_model, r_table):
    """Correlated effects of crossed factors are not an optimizer's failure; and without a number nothing is recoded."""
    few()
    made = sweep.run(make_model(r_table("nlme::Machines"), "score ~ 1 + (0 + Machine | Worker) + (1 | Machine)"))
    assert made.table[["engine", "optimizer", "predictors"]].to_numpy().tolist() == [["lme4", "nlminbwrap", "raw"]]
    assert made.notes[0] == "No predictor can be recoded without changing the model."
    assert made.notes[1].startswith("MixedLM cannot express ") and made.notes[1] in repr(made)


# ---- codings -------------------------------------------------------------------------------------------------------


def test_predictors_are_centred_and_scaled_over_the_rows_used(make_model):
    """A predictor with missing values has mean 0 and standard deviation 1 over the rows of the model."""
    model = make_model(models.get("dietox-random_slope").frame, "Weight ~ Feed + Time + Evit + (1 + Time | Pig)")
    frames, notes = sweep.recoded(model)
    assert list(frames) == ["raw", "centred", "scaled"] and frames["raw"] is model.frame
    used = {name: frame.iloc[model.design.rows] for name, frame in frames.items()}
    for name in ("Feed", "Time"):
        assert used["centred"][name].mean() == pytest.approx(0, abs=1e-9)
        assert used["centred"][name].std() == pytest.approx(used["raw"][name].std())
        assert used["scaled"][name].mean() == pytest.approx(0, abs=1e-9) and used["scaled"][name].std() == 1
    for frame in frames.values():
        same = [name for name in model.frame.columns if name not in ("Feed", "Time")]
        pd.testing.assert_frame_equal(frame[same], model.frame[same])
        assert frame["Feed"].isna().equals(model.frame["Feed"].isna())
    assert notes == [
        "centred: Feed, Time minus the mean.",
        "scaled: Feed, Time minus the mean, divided by the standard deviation.",
    ]


@pytest.mark.parametrize(
    ("formula", "centred", "divided"),
    [
        ("size ~ Time + (1 | tree) + (0 + Time | tree)", False, True),
        ("size ~ Time + (1 + Time || tree)", False, True),
        ("size ~ 0 + Time + (1 | tree)", False, True),
        ("size ~ Time * treat + (1 | tree)", True, True),
        ("size ~ log(Time) + (1 | tree)", False, False),
        ("size ~ factor(Time) + (1 | tree)", False, False),
        ("size ~ treat + (1 | tree)", False, False),
        ("size ~ Time + I(Time^2) + (1 | tree)", True, True),
        ("size ~ Time + (1 | tree) + (1 | Time)", True, True),
    ],
)
def test_a_predictor_is_recoded_only_as_far_as_the_model_stays_the_same(formula, centred, divided, make_model):
    """Uncorrelated effects, a missing intercept, functions and factors of a predictor are seen in the matrices."""
    model = make_model(models.get("sitka-random_slope").frame, formula)
    frames, notes = sweep.recoded(model)
    assert ("centred" in frames, "scaled" in frames) == (centred, divided)
    if divided:
        scaled = frames["scaled"]["Time"]
        assert scaled.std() == pytest.approx(1)
        assert scaled.mean() == pytest.approx(0 if centred else model.frame["Time"].mean() / model.frame["Time"].std())
    assert any("not centred" in note for note in notes) is (divided and not centred)


# ---- what is shown -------------------------------------------------------------------------------------------------


def test_the_table_shows_every_row_without_timings_or_noise():
    """As text and as HTML; a gap within the tolerance is told as such, and no column holds seconds."""
    # Seconds that nothing else in the table can hold by chance
    found = swept(*UNCORRELATED)
    made = replace(found, table=found.table.assign(seconds=98765.4321))
    bundle = made._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"} and bundle["text/plain"] == repr(made)
    lines = [line for line in repr(made).splitlines() if line.startswith(("lme4 ", "statsmodels "))]
    assert len(lines) == len(made.table) == bundle["text/html"].count("<tr>") - 1
    for line, row, reached in zip(lines, made.table.to_dict("records"), made.reached, strict=True):
        assert all(row[name] in line for name in ("engine", "optimizer", "predictors"))
        assert ("< 1e-06" in line) is bool(reached) and ("✓" in line) is bool(reached)
        assert ("not converged" in line) is not row["converged"]
        assert row["error"][:60] in line
    assert (
        "98765" not in repr(made)
        and "98765" not in bundle["text/html"]
        and "seconds" not in repr(made)
        and "e-10" not in repr(made)
    )
    short = rows(*UNCORRELATED).loc[("statsmodels", "bfgs", "raw")]
    assert any(line.split()[:3] == ["statsmodels", "bfgs", "raw"] and f"{short['gap']:.4g}" in line for line in lines)
    raw = made.table["engine"].eq("statsmodels") & made.table["predictors"].eq("raw")
    shown = repr(made)
    assert f"MixedLM (statsmodels) raw {made.reached[raw].sum()} of 5; MixedLM (statsmodels) scaled " in shown
    silent = (made.table["converged"] & ~made.reached).sum()
    assert silent >= 2 and f"Short and yet said to have converged: {silent}." in repr(made)


@pytest.mark.parametrize("case", [SLOPE, UNCORRELATED], ids=" ".join)
def test_the_picture_has_a_marker_a_row_filled_where_convergence_is_claimed(case):
    """In the panel of its engine, on its optimizer's line, at its gap; all within the frame."""
    made = swept(*case)
    figure = verdicts.sweep(made)
    assert isinstance(figure, Figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["lme4", "MixedLM (statsmodels)"]
    for axes in figure.axes:
        mine = made.table[made.table["engine"].map(title) == axes.get_title(loc="left")]
        markers = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
        assert len(markers) == len(mine)
        names = [label.get_text() for label in axes.get_yticklabels()]
        low, high = axes.get_xlim()
        for marker, row in zip(markers, mine.to_dict("records"), strict=True):
            (x,), (y,) = marker.get_data()
            assert low < x < high and names[round(y)] == row["optimizer"]
            nowhere = figure.axes[-1].get_xticks()[-1]
            assert x == (pytest.approx(max(row["gap"], 1e-12)) if np.isfinite(row["gap"]) else nowhere)
            assert nowhere > 100 * mine["gap"][np.isfinite(mine["gap"])].max()
            assert (to_rgb(marker.get_markerfacecolor()) != (1, 1, 1)) is row["converged"]
            assert (marker.get_color(), marker.get_marker()) == verdicts.CODINGS[row["predictors"]]
