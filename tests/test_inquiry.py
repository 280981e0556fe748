"""The inquiry: a user's own table and formula, fitted side by side in processes that can be stopped, and judged."""

from __future__ import annotations

import os
import signal

import numpy as np
import pandas as pd
import pytest

import concord
from concord import agreement, datasets, inquiry, models, reference
from concord.answers import Absence
from concord.engines import lme4, mixedlm
from concord.formulas import FormulaError
from concord.inquiry import Inquiry
from concord.models import ModelError
from concord.preparation import PreparationError
from concord.sources import SourceError

SLOPE = "Reaction ~ Days + (1 + Days | Subject)"


@pytest.fixture(scope="module")
def asked():
    made = Inquiry("sleepstudy", SLOPE)
    made.compare("default")
    return made


@pytest.fixture
def fresh_workers():
    """Workers that are forked in this test, and none that others go on using."""
    inquiry.stop_workers()
    yield
    inquiry.stop_workers()


def large(groups: int = 2000) -> pd.DataFrame:
    """A table on which lme4 takes a second and MixedLM much longer."""
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(groups), 8)
    x = rng.normal(size=len(g))
    effects = rng.normal(size=(groups, 2))
    return pd.DataFrame({"y": 1 + x + effects[g, 0] + effects[g, 1] * x + rng.normal(size=len(g)), "x": x, "g": g})


def test_both_engines_give_what_they_give_in_this_process(asked):
    """Estimates, log-likelihood, messages, summary and random effects survive the way from the engine's process."""
    model = models.get("sleepstudy-random_slope")
    for got, engine in zip(asked.answers("default")[:2], (mixedlm, lme4), strict=True):
        here = engine.fit(model)
        assert got.engine == here.engine and got.loglik == pytest.approx(here.loglik, abs=1e-10)
        np.testing.assert_allclose(got.fixed, here.fixed, rtol=1e-10)
        np.testing.assert_allclose(got.covariances[0], here.covariances[0], rtol=1e-8)
        assert got.messages == here.messages and got.converged == here.converged
        mine, theirs = (each.random_effects.set_index(["term", "level"])["estimate"] for each in (got, here))
        pd.testing.assert_series_equal(mine.sort_index(), theirs.sort_index(), rtol=1e-8)
        assert "Subject" in got.summary or "Group" in got.summary


def test_the_verdict_is_the_catalogues_on_the_same_model(asked):
    """A user's own copy of a table of the workbook, under another formula's spelling, is judged alike."""
    comparison = concord.compare_formula(
        datasets.load("sleepstudy").frame, "Reaction~Days+(Days|Subject)", settings="tuned"
    )
    assert comparison.verdict.word == "agree" and not comparison.against.certified
    certified = reference.of(models.get("sleepstudy-random_slope"))
    assert certified.certified and comparison.against.loglik == pytest.approx(certified.loglik, abs=1e-9)


def test_a_file_is_read_and_what_was_dropped_is_said(tmp_path):
    frame = datasets.load("sleepstudy").frame.astype({"Reaction": float})
    frame.loc[[3, 7], "Reaction"] = np.nan
    frame.to_csv(tmp_path / "my table.csv", index=False)
    made = Inquiry(tmp_path / "my table.csv", "Reaction ~ Days + (1 | Subject)", "ML")
    comparison = made.compare()
    assert len(made.model.design.y) == 178 and made.name == "my_table"
    assert any("2 of 180 rows" in note for note in made.notes)
    for shown in (repr(made), repr(comparison)):
        assert "2 of 180 rows" in shown


BAD = {
    "no file": (("nothing.csv", SLOPE), SourceError, "nothing.csv"),
    "no method": (("sleepstudy", SLOPE, "reml"), ModelError, "REML, ML"),
    "no text": (("sleepstudy", 7), FormulaError, "text"),
    "no parse": (("sleepstudy", "Reaction ~ ("), FormulaError, "parse"),
    "no variable": (("sleepstudy", "Reaction ~ day + (1 | Subject)"), FormulaError, "did you mean 'Days'"),
    "no random term": (("sleepstudy", "Reaction ~ Days"), FormulaError, "no random term"),
    "too many effects": (("sleepstudy", "Reaction ~ Days + (factor(Days) | Subject)"), PreparationError, "180"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_one_line(case):
    given, kind, what = BAD[case]
    with pytest.raises(kind) as caught:
        Inquiry(*given)
    assert what in str(caught.value) and "\n" not in str(caught.value)


def test_an_engine_that_would_not_finish_is_stopped_and_the_other_is_judged(fresh_workers):
    """MixedLM needs far more than the time given; lme4's answer still stands, and is at the optimum."""
    comparison = Inquiry(large(8000), "y ~ x + (1 + x | g)", engine_timeout=8.0).compare()
    (absent,) = [each for each in comparison.absent if each.engine == "mixedlm"]
    assert absent.kind == "stopped" and absent.seconds == 8.0
    assert comparison.verdict.word == "python short" and "stopped after 8 s" in comparison.verdict.reason
    (party,) = comparison.parties
    assert comparison.labels[party] == "lme4" and not comparison.short(comparison.judgements[party])
    assert "stopped after 8 s" in repr(comparison) and comparison.table["ok"].all()
    rows = {row["engine"]: row for row in comparison.record()["fits"]}
    assert rows["mixedlm"]["loglik"] is None and rows["mixedlm"]["verdict"] == "python short"


def test_an_engine_whose_process_dies_is_short_and_the_next_question_has_a_new_one(fresh_workers, asked):
    os.kill(inquiry._worker("mixedlm")._process.pid, signal.SIGKILL)
    inquiry._worker("mixedlm")._process.join()
    doomed = inquiry._worker("mixedlm")
    doomed.send(os.kill, doomed._process.pid, signal.SIGKILL)
    dead = asked.answers("default")[0]
    assert isinstance(dead, Absence) and dead.kind == "stopped" and "memory" in dead.reason
    assert asked.compare("default").verdict.word == "agree"


def test_a_certified_optimum_is_what_is_judged_against(asked):
    certificate = Inquiry("dyestuff", "Yield ~ 1 + (1 | Batch)").certify()
    assert "certified: logLik -159.82" in repr(certificate)
    assert "the global optimum, proved within" in repr(certificate) and "boxes" in repr(certificate)
    made = Inquiry("dyestuff", "Yield ~ 1 + (1 | Batch)")
    assert not made.compare().against.certified
    made.certify()
    assert made.compare().against.certified and "the global optimum (proved)" in made.compare().verdict.reason


def test_a_sweep_that_finds_a_better_optimum_moves_the_judge(asked, monkeypatch):
    """All comparisons are judged anew, against what the sweep found."""
    found = asked.sweep(600.0)
    known = reference.of(asked.model)
    assert found.against is known and "mixedlm" in set(found.table["engine"])
    from dataclasses import replace

    better = replace(found, against=replace(known, loglik=known.loglik + 1, level=known.level + 1))
    monkeypatch.setattr(inquiry.sweep, "run", lambda model: better)
    asked.sweep(600.0)
    try:
        (comparison,) = asked.gate().comparisons
        assert comparison.verdict.word == "both short"
    finally:
        reference.keep(asked.model, known)


def test_a_sweep_that_would_take_too_long_says_so_and_does_not_begin(asked):
    assert "sweep_seconds is 0" in asked.sweep(0.0)


def test_the_design_is_counted(asked):
    (row,) = asked.design.to_dict("records")
    assert row == {
        "group": "Subject",
        "effects": "(Intercept), Days",
        "levels": 18,
        "rows a level": "10",
        "balanced": "yes",
    }
    assert "180 rows" in repr(asked) and "36 random effects" in repr(asked)


def test_there_is_no_sweep_where_an_engine_did_not_end_its_default_fit(fresh_workers):
    """Every optimizer would take at least as long, and a sweep is not stopped."""
    made = Inquiry(large(5000), "y ~ x + (1 + x | g)", engine_timeout=4.0)
    made.compare()
    assert made.sweep(1e9) == "No sweep: mixedlm did not even end its default fit in the time it had."


def test_pictures_and_summaries_outlive_engines_that_were_stopped(fresh_workers, asked):
    """Where an engine was stopped its summary says so; where there is no fit a sentence stands for the picture."""
    comparison = Inquiry("sleepstudy", SLOPE).compare()
    inquiry._worker("mixedlm").stop()
    assert "the fit is gone" in comparison.fits[0].summary and "REML criterion" in comparison.fits[1].summary
    nothing = agreement.compare(
        *(Absence(asked.model, engine, "tuned", "stopped", "stopped after 1 s") for engine in ("mixedlm", "lme4"))
    )
    assert nothing.verdict.word == "both short" and "stopped after 1 s" in repr(nothing)
    for picture in (asked.estimates(nothing), asked.caterpillar(nothing), asked.residuals(nothing)):
        assert picture == inquiry.NOTHING
