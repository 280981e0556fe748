"""The parametric bootstrap: the same for any number of workers, with intervals that others find too."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from concord import r
from concord.account.line import Sheet
from concord.bootstrap import parametric as module
from concord.bootstrap.intervals import lines
from concord.bootstrap.parametric import bootstrap
from concord.bootstrap.result import Bootstrap, percentiles
from concord.models import model as models
from concord.models.parameters import Parameters, names
from concord.reference import reference
from concord.simulation.case import Case
from concord.simulation.experiment import Experiment
from concord.simulation.study import StudyStopped

REPLICATES = 120


@pytest.fixture(scope="module")
def model():
    return models.get("dyestuff-random_intercept", "ML")


@pytest.fixture(scope="module")
def made(model):
    """All engines on the same draws, in this process."""
    return bootstrap(model, REPLICATES, workers=0)


# The same draws, wherever -----------------------------------------------------------------------------------------


def test_workers_change_nothing(model, made):
    """On two worker processes every replicate comes once, with the same fits."""
    found = bootstrap(model, 12, workers=2)
    for source in made.sources:
        np.testing.assert_allclose(found.values[source], made.values[source][:12], rtol=1e-6)
        np.testing.assert_allclose(found.gaps[source], made.gaps[source][:12], atol=1e-7)


def test_a_replicate_without_a_result_is_lost_alone(model, made, monkeypatch):
    """The others of its batch come back; of it there is the reason, with every source."""
    replicate = Experiment.replicate

    def broken(self, number):
        if number == 3:
            raise MemoryError("too large")
        return replicate(self, number)

    monkeypatch.setattr(Experiment, "replicate", broken)
    found = bootstrap(model, 6, workers=0)
    for source in made.sources:
        assert np.isnan(found.values[source][3]).all()
        rest = [0, 1, 2, 4, 5]
        np.testing.assert_allclose(found.values[source][rest], made.values[source][rest], rtol=1e-10)
    assert found.failed["error"].tolist() == [1, 1, 1] and found.failed["kept"].tolist() == [5, 5, 5]
    assert set(found.errors.query("kind == 'error'")["text"]) == {"MemoryError: too large"}
    assert {line.verdict for line in lines(found)} == {"agree"}


def test_where_no_replicate_has_a_result_there_are_no_intervals(model, monkeypatch):
    """Few are told as lost; of many the bootstrap stops early, with the last reason."""

    def broken(self, number):
        raise MemoryError("too large")

    monkeypatch.setattr(Experiment, "replicate", broken)
    found = bootstrap(model, 3, workers=0)
    assert found.failed["error"].tolist() == [3, 3, 3] and lines(found) == []
    assert found.intervals()[["lower", "upper"]].isna().all(axis=None)
    with pytest.raises(StudyStopped, match="20 replicates gave no result; the last: .*MemoryError: too large"):
        bootstrap(model, 500, workers=0)


def test_another_seed_draws_others_and_more_replicates_begin_with_the_same(model, made):
    """A longer bootstrap goes on from a shorter one."""
    short = bootstrap(model, 5, engines=("independent",), workers=0)
    np.testing.assert_allclose(short.values["independent"], made.values["independent"][:5], rtol=1e-10)
    other = bootstrap(model, 5, seed=2, engines=("independent",), workers=0)
    assert np.abs(other.values["independent"] / short.values["independent"] - 1).min() > 1e-6


# Intervals --------------------------------------------------------------------------------------------------------


def test_intervals_are_those_of_bootmer(model, made):
    """lme4's own bootstrap, on draws of its own: every end within the Monte-Carlo errors of both."""
    room = r.call("new.env", parent=r.interface().globalenv)
    r.call("assign", "d", model.frame, envir=room)
    code = """{
        fit <- lme4::lmer(Yield ~ 1 + (1 | Batch), d, REML = FALSE)
        told <- function(fit) c(lme4::fixef(fit), as.data.frame(lme4::VarCorr(fit))$vcov)
        suppressMessages(lme4::bootMer(fit, told, nsim = 150, seed = 11)$t)
    }"""
    theirs = r.from_r(r.call("eval", r.call("parse", text=code), envir=room))
    ends, errors = percentiles(theirs, np.array([0.05, 0.95]))
    found = made.intervals(0.9)
    own = found[found["source"] == "lme4"]
    both = np.hypot(errors, own[["lower_error", "upper_error"]].to_numpy().T)
    off = (own[["lower", "upper"]].to_numpy().T - ends) / both
    assert np.abs(off).max() < 3.5
    # And these errors are small enough that a wrong interval would be seen.
    assert (both < 0.35 * (ends[1] - ends[0])).all()


def test_ends_are_rs_quantiles(made):
    """Of the replicates, at both sides of the level."""
    found = made.intervals(0.8)
    for source, values in made.values.items():
        mine = found[found["source"] == source]
        for column, (lower, upper) in zip(values.T, mine[["lower", "upper"]].to_numpy(), strict=True):
            theirs = r.from_r(r.call(r.function("stats::quantile"), column, np.array([0.1, 0.9])))
            np.testing.assert_allclose([lower, upper], theirs, rtol=1e-12)


def test_the_mean_of_balanced_data_has_its_exact_interval(model, made):
    """The intercept of Dyestuff is the mean of y: normal, with variance (sigma_b^2 + sigma^2 / 5) / 6."""
    best = reference.of(model).parameters
    fixed, spread = best.fixed, np.sqrt((best.covariances[0][0, 0] + best.residual_variance / 5) / 6)
    found = made.intervals().query("effect == 'fixed'").set_index("source").loc["independent"]
    for end, error, z in (("lower", "lower_error", -1.959964), ("upper", "upper_error", 1.959964)):
        assert abs(found[end] - (fixed[0] + z * spread)) < 3.5 * found[error]
        # The exact standard error of a normal quantile from n draws: sqrt(p (1 - p) / n) / density.
        exact = np.sqrt(0.025 * 0.975 / REPLICATES) / (np.exp(-(1.959964**2) / 2) / np.sqrt(2 * np.pi)) * spread
        assert 0.3 * exact < found[error] < 3 * exact


def test_monte_carlo_errors_are_what_ends_vary_by():
    """Over many samples of 200 normal numbers, the errors are on average the ends' standard deviation."""
    stream = np.random.default_rng(5)
    at = np.array([0.025, 0.5, 0.975])
    ends, errors = percentiles(1e6 + stream.standard_normal((200, 3000)), at)
    np.testing.assert_allclose(errors.mean(axis=1), ends.std(axis=1), rtol=0.1)
    assert percentiles(np.arange(5.0)[:, None], np.array([0.1, 0.9]))[0][:, 0].tolist() == pytest.approx([0.4, 3.6])
    assert np.isnan(percentiles(np.ones((1, 2)), at)[0]).all()


# What is said of them ---------------------------------------------------------------------------------------------


def synthetic(model, count=60):
    """Replicates of two sources at one optimum, made of random numbers."""
    case = Case("made in a test", model, Parameters(np.ones(1), (np.ones((1, 1)),), 1.0))
    drawn = np.abs(np.random.default_rng(8).standard_normal((count, 3))) + 1
    sources = ["statsmodels", "lme4", "independent"]
    each = pd.DataFrame(drawn, columns=[f"estimate: {name}" for name in case.truth]).assign(replicate=range(count))
    each = each.assign(loglik=-10.0, gap=0.0, short=False, imprecise=False, converged=True, own=True)
    each = each.assign(error=None, messages=None, seconds=0.1, added=0.001)
    rows = pd.concat([each.assign(engine=source) for source in sources]).sort_values("replicate", kind="stable")
    return Bootstrap(case, "random numbers", 1, "default", sources, rows.reset_index(drop=True))


def changed(found, engine, places, times=1.0, **columns):
    """With other rows of an engine: columns by name; `times` multiplies its estimates."""
    rows = found.rows.copy()
    mine = (rows["engine"] == engine) & rows["replicate"].isin(places)
    rows.loc[mine, [name for name in rows if name.startswith("estimate: ")]] *= times
    for name, value in columns.items():
        rows.loc[mine, name] = value
    return replace(found, rows=rows)


def verdicts(found):
    return {line.verdict for line in lines(found)}


def test_failed_replicates_are_counted_and_left_out_and_short_ones_counted_and_kept(model):
    """An error, a NaN, a gap, and a package that says so, each in its column; the intervals have what is kept."""
    found = changed(synthetic(model), "statsmodels", [0, 1], error="LinAlgError: singular")
    found = changed(found, "statsmodels", [2], times=np.nan)
    found = changed(found, "statsmodels", [3, 4, 5], gap=2.5, short=True)
    found = changed(found, "statsmodels", [7], gap=1e-4, imprecise=True)
    found = changed(found, "statsmodels", [5, 6], converged=False)
    row = found.failed.loc["statsmodels"]
    assert row.drop("worst gap").tolist() == [60, 57, 2, 1, 3, 1, 2, 2]
    assert row["worst gap"] == 2.5
    assert found.failed.loc["lme4"].tolist() == [60, 60, 0, 0, 0, 0, 0, 0, 0]
    counts = found.intervals().groupby("source")["replicates"].first()
    assert counts["statsmodels"] == 57 and counts["lme4"] == 60
    for text in (repr(found), found._repr_mimebundle_()["text/html"]):
        assert "3 left out (2 with an error)" in text
        assert "3 kept that are short of the optimum of their response, by up to 2.5; of these 2 claim" in text
    told = found.errors
    assert told.loc[told["kind"] == "error", ["source", "text", "count"]].to_numpy().tolist() == [
        ["statsmodels", "LinAlgError: singular", 2]
    ]


def test_a_difference_is_agreed_explained_or_neither(model):
    """At one optimum intervals agree; short replicates make another optimum; a difference at the optimum differs; and a
    log-likelihood that is not that of the estimates explains nothing.
    """
    found = synthetic(model)
    assert verdicts(found) == {"agree"}
    many = range(25)
    assert "another optimum" in verdicts(changed(found, "lme4", many, gap=3.0, times=2.0))
    assert "differ" not in verdicts(changed(found, "lme4", many, gap=3.0, times=2.0))
    assert "differ" in verdicts(changed(found, "lme4", many, times=2.0))
    assert "differ" in verdicts(changed(found, "lme4", many, gap=3.0, own=False, times=2.0))
    # That two packages agree with each other does not make them right.
    assert "differ" in verdicts(changed(changed(found, "lme4", many, times=2.0), "statsmodels", many, times=2.0))
    # A replicate that failed is left out of all sources, and what is left agrees.
    assert verdicts(changed(found, "lme4", many, error="stopped")) == {"agree"}
    everything = changed(found, "lme4", range(60), error="stopped")
    assert verdicts(everything) == {"agree"} and "lme4" in lines(everything)[0].absent


def test_live_intervals_agree_or_are_of_another_optimum(made):
    """Of Dyestuff no line differs, lme4's is the independent one throughout, and every source has every parameter."""
    sheet = Sheet(made.model.id, lines(made)).check()
    assert len(sheet.lines) == 6
    assert {" ".join(filter(None, (line.group, line.term))) for line in sheet.lines} == set(names(made.model.design))
    assert made.failed["error"].sum() == 0
    for line in sheet.lines:
        assert line.values["lme4"] == pytest.approx(line.independent, abs=2e-3 * line.scale)
    assert (made.times.loc[["statsmodels", "lme4"], "own"] > made.times.loc[["statsmodels", "lme4"], "added"]).all()


def test_the_table_has_what_was_drawn_from_and_every_source(made):
    """One row a parameter and source; the interval holds most of its replicates, and so the estimate."""
    table = made.table
    assert len(table) == 9 and set(table["source"]) == {"statsmodels", "lme4", "independent"}
    assert ((table["lower"] < table["estimate"]) & (table["estimate"] < table["upper"])).all()
    said = r"95 percent percentile intervals from 120 replicates, drawn from the (certified|global) optimum"
    assert re.search(said, repr(made))
    with pytest.raises(ValueError, match="level"):
        made.intervals(95)


# What it is given -------------------------------------------------------------------------------------------------


def test_a_fit_is_drawn_from_at_its_own_estimates(numbers):
    """Its settings are the engines' too."""
    fit = numbers("dyestuff-random_intercept", "ML", "lme4", "tuned")
    found = bootstrap(fit, 2, engines=("independent",), workers=0)
    assert found.settings == "tuned" and found.origin == "the estimates of lme4, tuned settings"
    assert found.truth.tolist() == fit.estimates["estimate"].tolist()


def test_an_engine_that_cannot_write_the_model_is_left_out_with_the_reason(make_model):
    """The others are bootstrapped all the same."""
    stream = np.random.default_rng(2)
    frame = pd.DataFrame({"x": stream.standard_normal(96), "a": [f"a{k % 8}" for k in range(96)]})
    frame["b"] = [f"b{k // 12}" for k in range(96)]
    frame["y"] = stream.standard_normal(96) + stream.standard_normal(8)[[k % 8 for k in range(96)]]
    model = make_model(frame, "y ~ x + (1 + x | a) + (1 + x | b)", "ML")
    found = bootstrap(model, 2, engines=("statsmodels", "independent"), workers=0)
    assert found.sources == ["independent"] and "cannot express" in found.absent["statsmodels"]
    assert "cannot express" in repr(found)


def test_what_cannot_be_drawn_is_refused(model):
    """Before anything starts."""
    with pytest.raises(ValueError, match="engine 'lmer'"):
        bootstrap(model, engines=("lmer",))
    with pytest.raises(ValueError, match="0 replicates"):
        bootstrap(model, 0)


def test_no_bar_is_left_where_nobody_looks(model, capsys, monkeypatch):
    """Neither where stderr is a file, nor in a notebook that a program runs; in a terminal it is gone at the end."""
    bootstrap(model, 2, engines=("independent",), workers=0)
    assert capsys.readouterr() == ("", "")
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bootstrap(model, 2, engines=("independent",), workers=0)
    shown = capsys.readouterr().err
    assert "dyestuff-random_intercept" in shown and shown.split("\r")[-1].strip() == ""
    monkeypatch.setattr(module, "_shell", lambda: type("Shell", (), {"kernel": None})())
    for name in ("JPY_SESSION_NAME", "VSCODE_PID"):
        monkeypatch.delenv(name, raising=False)
    bootstrap(model, 2, engines=("independent",), workers=0)
    assert capsys.readouterr().err == ""
