"""The parametric bootstrap: the same for any number of workers, with intervals that others find too."""

import os
import re
import signal
from dataclasses import replace

import numpy as np
import psutil
import pytest

from concord import r
from concord.account.line import Sheet
from concord.bootstrap import parametric as module
from concord.bootstrap.intervals import lines
from concord.bootstrap.parametric import bootstrap
from concord.bootstrap.replicates import Outcome, Plan, computed
from concord.bootstrap.result import Bootstrap, percentiles
from concord.engines.replicate import Replicate
from concord.models import model as models
from concord.models.parameters import Parameters, keys
from concord.reference import reference
from support import estimates

REPLICATES = 120


@pytest.fixture(scope="module")
def model():
    return models.get("dyestuff-random_intercept", "ML")


@pytest.fixture(scope="module")
def made(model):
    """All engines on the same draws, in this process."""
    return bootstrap(model, REPLICATES, workers=0)


# The same draws, wherever -----------------------------------------------------------------------------------------


def test_workers_and_even_the_death_of_one_change_nothing(model, made):
    """On two worker processes, one of which is killed in the middle, every replicate comes once, with the same fits."""
    plan = Plan("test", model, reference.of(model).parameters, 1, tuple(made.sources), "default")
    before = set(psutil.Process().children(recursive=True))
    came, killed = {}, None
    for number, (outcomes, _) in computed(plan, 24, None, 2):
        assert number not in came
        came[number] = outcomes
        if killed is None:
            started = [each for each in psutil.Process().children(recursive=True) if each not in before]
            killed = next(each for each in started if "spawn_main" in " ".join(each.cmdline()))
            killed.send_signal(signal.SIGKILL)
    assert killed is not None and not killed.is_running()
    assert sorted(came) == list(range(24))
    for source in made.sources:
        for number, outcomes in came.items():
            np.testing.assert_allclose(
                outcomes[source].replicate.parameters.packed, made.values[source][number], rtol=1e-6
            )
            assert outcomes[source].gap == pytest.approx(made.gaps[source][number], abs=1e-7)


def test_a_replicate_that_kills_its_process_is_lost_alone(model, monkeypatch):
    """The others of its batch come back; of it there is the reason."""

    class Future:
        def __init__(self, numbers):
            self.numbers = numbers

        def result(self):
            from distributed import KilledWorker

            if 3 in self.numbers:
                raise KilledWorker("task", None, 3)
            return [(number, ({}, 0.0)) for number in self.numbers]

    class Client:
        loop = None

        def nthreads(self):
            return {"one": 1}

        def submit(self, function, *arguments, **_):
            return Future(arguments[1] if len(arguments) > 1 else [])

        def cancel(self, futures):
            pass

    class Came(list):
        def __init__(self, futures, loop=None):
            super().__init__(futures)

        def add(self, future):
            self.append(future)

        def __iter__(self):
            while self:
                yield self.pop(0)

    from contextlib import contextmanager

    @contextmanager
    def cluster(*_):
        yield Client()

    monkeypatch.setattr("concord.bootstrap.replicates.cluster", cluster)
    monkeypatch.setattr("distributed.as_completed", Came)
    plan = Plan("test", model, (), 1, ("lme4",), "default")
    came = dict(computed(plan, 60, None, 2))
    assert sorted(came) == list(range(60))
    assert [number for number, (outcomes, _) in came.items() if outcomes] == [3]
    assert "died" in came[3][0]["lme4"].replicate.error


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
    stream = np.random.default_rng(8)

    def outcome(engine, numbers):
        replicate = Replicate(
            engine, "default", -10.0, Parameters.from_packed(numbers, model.design), np.ones(1), True, 0.1
        )
        return Outcome(replicate, 0.0, True, "", 0.001)

    drawn = np.abs(stream.standard_normal((count, 3))) + 1
    outcomes = {each: [outcome(each, row) for row in drawn] for each in ("mixedlm", "lme4", "independent")}
    return Bootstrap(model, "made in a test", np.ones(3), 1, "default", outcomes, np.full(count, 0.01))


def changed(found, engine, places, **words):
    """With other outcomes of an engine: `gap`, `own`, `grade`, or fields of its replicate; `times` multiplies its
    estimates.
    """
    times = words.pop("times", 1.0)
    outcomes = list(found.outcomes[engine])
    for place in places:
        given = {key: words[key] for key in ("gap", "own", "grade") if key in words}
        of_replicate = {key: value for key, value in words.items() if key not in given}
        fit = outcomes[place].replicate
        of_replicate = {"fixed": fit.fixed * times, "residual_variance": fit.residual_variance * times} | of_replicate
        moved = estimates.changed(fit, **of_replicate)
        outcomes[place] = replace(outcomes[place], replicate=moved, **given)
    return replace(found, outcomes={**found.outcomes, engine: outcomes})


def verdicts(found):
    return {line.verdict for line in lines(found)}


def test_failed_replicates_are_counted_and_left_out_and_short_ones_counted_and_kept(model):
    """An error, a NaN, a gap, and a package that says so, each in its column; the intervals have what is kept."""
    found = changed(synthetic(model), "mixedlm", [0, 1], error="LinAlgError: singular")
    found = changed(found, "mixedlm", [2], fixed=np.array([np.nan]))
    found = changed(found, "mixedlm", [3, 4, 5], gap=2.5, grade="short")
    found = changed(found, "mixedlm", [7], gap=1e-4, grade="imprecise")
    found = changed(found, "mixedlm", [5, 6], converged=False)
    row = found.failed.loc["mixedlm"]
    assert row.drop("worst gap").tolist() == [60, 57, 2, 1, 3, 1, 2, 2]
    assert row["worst gap"] == 2.5
    assert found.failed.loc["lme4"].tolist() == [60, 60, 0, 0, 0, 0, 0, 0, 0]
    counts = found.intervals().groupby("source")["replicates"].first()
    assert counts["mixedlm"] == 57 and counts["lme4"] == 60
    for text in (repr(found), found._repr_mimebundle_()["text/html"]):
        assert "3 left out (2 with an error)" in text
        assert "3 kept that are short of the optimum of their response, by up to 2.5; of these 2 claim" in text
    told = found.errors
    assert told.loc[told["kind"] == "error", ["source", "text", "count"]].to_numpy().tolist() == [
        ["mixedlm", "LinAlgError: singular", 2]
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
    assert "differ" in verdicts(changed(changed(found, "lme4", many, times=2.0), "mixedlm", many, times=2.0))
    # A replicate that failed is left out of all sources, and what is left agrees.
    assert verdicts(changed(found, "lme4", many, error="stopped")) == {"agree"}
    everything = changed(found, "lme4", range(60), error="stopped")
    assert verdicts(everything) == {"agree"} and "lme4" in lines(everything)[0].absent


def test_live_intervals_agree_or_are_of_another_optimum(made):
    """Of Dyestuff no line differs, lme4's is the independent one throughout, and every source has every parameter."""
    sheet = Sheet(made.model.id, lines(made)).check()
    assert len(sheet.lines) == 6
    assert {line.term for line in sheet.lines} == {term for *_, term in keys(made.model.design)}
    assert made.failed["error"].sum() == 0
    for line in sheet.lines:
        assert line.values["lme4"] == pytest.approx(line.independent, abs=2e-3 * line.scale)
    assert (made.times.loc[["mixedlm", "lme4"], "own"] > made.times.loc[["mixedlm", "lme4"], "added"]).all()


def test_the_table_has_what_was_drawn_from_and_every_source(made):
    """One row a parameter and source; the interval holds most of its replicates, and so the estimate."""
    table = made.table
    assert len(table) == 9 and set(table["source"]) == {"mixedlm", "lme4", "independent"}
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
    import pandas as pd

    frame = pd.DataFrame({"x": stream.standard_normal(96), "a": [f"a{k % 8}" for k in range(96)]})
    frame["b"] = [f"b{k // 12}" for k in range(96)]
    frame["y"] = stream.standard_normal(96) + stream.standard_normal(8)[[k % 8 for k in range(96)]]
    model = make_model(frame, "y ~ x + (1 + x | a) + (1 + x | b)", "ML")
    found = bootstrap(model, 2, engines=("mixedlm", "independent"), workers=0)
    assert found.sources == ["independent"] and "cannot express" in found.absent["mixedlm"]
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
    monkeypatch.setitem(sys.modules, "ipykernel", os)
    for name in ("JPY_SESSION_NAME", "VSCODE_PID"):
        monkeypatch.delenv(name, raising=False)
    bootstrap(model, 2, engines=("independent",), workers=0)
    assert capsys.readouterr().err == ""
