"""The inquiry: a user's own table and formula, fitted side by side in processes that can be stopped, and judged."""

from __future__ import annotations

import json
import os
import queue
import signal
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest

import concord
from concord import session as inquiry
from concord.agreement import comparison as agreement
from concord.data import datasets
from concord.data.columns import PreparationError
from concord.data.source import SourceError
from concord.engines import answers as answering
from concord.engines import remote
from concord.engines.answers import Absence
from concord.engines.engine import engines
from concord.engines.lme4 import engine as lme4
from concord.engines.statsmodels import engine as mixedlm
from concord.likelihood.likelihood import LikelihoodError
from concord.models import model as models
from concord.models.model import ModelError
from concord.models.syntax import FormulaError
from concord.processes import worker
from concord.processes.worker import WorkerStopped
from concord.reference import reference
from concord.session import Inquiry
from support.paths import CASES, NOTEBOOKS
from support.tables import large

SLOPE = "Reaction ~ Days + (1 + Days | Subject)"
# Its REML log-likelihood, minus half of the criterion of 1743.628 in Bates et al. (2015), J. Stat. Soft. 67(1).
SLEEPSTUDY = -871.8141


@pytest.fixture(scope="module")
def asked():
    made = Inquiry("sleepstudy", SLOPE)
    made.compare("default")
    return made


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


def answers_or_sleeps(doomed: str, model: models.Model, engine: str, settings: str):
    """In an engine's process: what is answered there; one engine does not come to an end."""
    if engine == doomed:
        time.sleep(600)
    return answers_as_ever(model, engine, settings)


def test_an_engine_that_would_not_finish_is_stopped_and_the_other_is_judged(monkeypatch):
    """MixedLM is stopped after a small part of the time given; lme4's answer stands, and is at the optimum."""
    waited = remote.Asked.answer

    def impatient(asked: remote.Asked, timeout: float | None = None):
        return waited(asked, timeout / 200 if asked.engine == "statsmodels" else timeout)

    monkeypatch.setattr(remote, "_answer", partial(answers_or_sleeps, "statsmodels"))
    monkeypatch.setattr(remote.Asked, "answer", impatient)
    made = Inquiry("sleepstudy", SLOPE, engine_timeout=100.0)
    comparison = made.compare()
    (absent,) = comparison.absent
    assert absent.engine == "statsmodels" and absent.kind == "stopped" and absent.seconds == 0.5
    assert comparison.verdict.word == "no fit" and "stopped after 0.5 s" in comparison.verdict.reason
    assert "lme4 is at the" in comparison.verdict.reason
    (party,) = comparison.parties
    assert comparison.labels[party] == "lme4" and not comparison.below(comparison.judgements[party])
    assert "stopped after 0.5 s" in repr(comparison) and comparison.table["ok"].all()
    rows = {row["engine"]: row for row in comparison.record()["fits"]}
    assert rows["statsmodels"]["loglik"] is None and rows["statsmodels"]["verdict"] == "no fit"
    # Every optimizer would take at least as long, and a sweep is not stopped.
    monkeypatch.setattr(inquiry.sweep, "run", None)
    said = "No sweep: MixedLM (statsmodels) did not even end its default fit in the time it had."
    assert made.sweep(1e9) == said


def answers_or_dies(doomed: str, model: models.Model, engine: str, settings: str):
    """In an engine's process: what is answered there; one engine dies of it."""
    if engine == doomed:
        os.kill(os.getpid(), signal.SIGKILL)
    return answers_as_ever(model, engine, settings)


answers_as_ever = remote._answer


@pytest.mark.parametrize("engine", ["statsmodels", "lme4", "nlme"])
def test_an_engine_whose_process_dies_takes_no_other_ones_answer_with_it(engine, monkeypatch, asked):
    """The others' answers are theirs, and the next question has a new process."""
    monkeypatch.setattr(remote, "_answer", partial(answers_or_dies, engine))
    answers = {each.engine: each for each in asked.answers("default")}
    assert list(answers) == ["statsmodels", "lme4", "nlme"]
    dead = answers.pop(engine)
    assert isinstance(dead, Absence) and dead.kind == "stopped" and "memory" in dead.reason
    for name, each in answers.items():
        assert each.loglik == pytest.approx(SLEEPSTUDY, abs=1e-4), name
    monkeypatch.undo()
    assert asked.compare("default").verdict.word == "agree"


def test_an_engine_whose_processes_do_not_live_at_all_is_absent(monkeypatch, tmp_path, asked):
    """Its process dies before it is asked, and the next one too."""
    remote.worker("statsmodels").stop()
    (tmp_path / "ends_all.py").write_text("import os\nos._exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(engines()["statsmodels"], "preload", ("ends_all",))
    made = worker.Worker.__init__

    def dead_at_once(self, modules, first):
        made(self, modules, first)
        if "ends_all" in modules:
            self._process.wait()

    monkeypatch.setattr(worker.Worker, "__init__", dead_at_once)
    monkeypatch.setattr(worker.Worker, "alive", property(lambda self: not self._ended))
    dead, *others = asked.answers("default")
    assert isinstance(dead, Absence) and dead.kind == "stopped" and "exit status 3" in dead.reason
    assert [each.loglik for each in others] == pytest.approx([SLEEPSTUDY] * 2, abs=1e-4)


def test_a_certified_optimum_is_what_is_judged_against(asked):
    certificate = Inquiry("dyestuff", "Yield ~ 1 + (1 | Batch)").certify()
    assert "certified: logLik -159.82" in repr(certificate)
    assert "the global optimum, proved within" in repr(certificate) and "boxes" in repr(certificate)
    made = Inquiry("dyestuff", "Yield ~ 1 + (1 | Batch)")
    assert not made.compare().against.certified
    made.certify()
    assert made.reference.certified and made.gate().comparisons[0].against is made.reference
    # It is this inquiry's, and no other one's.
    assert not Inquiry("dyestuff", "Yield ~ 1 + (1 | Batch)").compare().against.certified
    assert made.compare().against.certified and made.reference.noun in made.compare().verdict.reason


def test_a_sweep_that_finds_a_better_optimum_moves_the_judge(asked, monkeypatch):
    """All comparisons are judged anew, against what the sweep found."""
    known, shared = asked.reference, reference.of(asked.model)
    found = asked.sweep(600.0)
    assert found.against is known and known.level == shared.level and "statsmodels" in set(found.table["engine"])
    from dataclasses import replace

    better = replace(found, against=replace(known, loglik=known.loglik + 1, level=known.level + 1))
    monkeypatch.setattr(inquiry.sweep, "run", lambda *_, **__: better)
    asked.sweep(600.0)
    (comparison,) = asked.gate().comparisons
    assert comparison.verdict.word == "both short" and reference.of(asked.model) is shared
    asked.reference = known


def test_a_sweep_that_would_take_too_long_says_so_and_does_not_begin(asked):
    assert "sweep_seconds is 0" in asked.sweep(0.0)


def test_engines_that_are_not_to_be_asked_are_no_parties_to_the_verdict():
    comparison = Inquiry("sleepstudy", SLOPE, asked=["lme4"]).compare()
    assert comparison.verdict.word == "agree" and [fit.engine for fit in comparison.fits] == ["lme4"]
    assert "MixedLM (statsmodels) was left out" in repr(comparison)
    with pytest.raises(ModelError, match="engine lmer4: it is one of statsmodels, lme4, nlme"):
        Inquiry("sleepstudy", SLOPE, asked=["lmer4"])


def test_without_the_wide_search_the_judge_goes_on_from_where_the_engines_stopped():
    """lme4 stops 14 units below Sitka's optimum; a search that goes on from there and from MixedLM's end arrives."""
    frame = datasets.load("sitka").frame
    made = Inquiry(frame, "size ~ Time + (1 + Time | tree)", search_seconds=0.0, asked=["statsmodels", "lme4"])
    comparison = made.compare()
    certified = reference.of(models.get("sitka-random_slope"))
    assert not comparison.against.searched and comparison.against.level == pytest.approx(certified.level, abs=1e-6)
    assert "r short" in repr(comparison) and "No wide search" in repr(comparison)
    made.search_seconds = 600.0
    (after,) = made.gate().comparisons
    assert after.against.searched and "No wide search" not in repr(after)


def test_an_engine_that_needs_more_memory_than_there_is_does_not_begin(monkeypatch):
    """MixedLM makes dense matrices of all rows in one group; measured were 774 MiB for these."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {"y": rng.normal(size=20000), "s": rng.integers(0, 300, 20000), "d": rng.integers(0, 200, 20000)}
    )
    model = Inquiry(table, "y ~ 1 + (1 | s) + (1 | d)", asked=["lme4"]).model
    needed = engines()["statsmodels"].demand(model).memory
    assert needed == pytest.approx(774 * 2**20, rel=0.15)
    for free, kind in ((needed + 1, None), (needed - 1, "too large")):
        monkeypatch.setattr(answering, "available", lambda free=free: free)
        monkeypatch.setattr(engines()["statsmodels"], "fit", lambda *_: None)
        got = answering.answer(model, "statsmodels", "default")
        assert getattr(got, "kind", None) == kind
    assert "it would need 0.82 GB of memory" in got.reason and "20,000 rows x 500 random effects" in got.reason


def test_an_engine_that_will_take_long_is_told_of_beforehand():
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(30000), 2)
    table = pd.DataFrame({"y": rng.normal(size=60000), "g": group})
    (told,) = Inquiry(table, "y ~ 1 + (1 | g)", engine_timeout=20.0, asked=["statsmodels", "lme4"]).notes[-1:]
    assert told == "MixedLM (statsmodels): some 45 seconds, and is stopped after 20 s; to leave it out: --engine lme4."


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


# ---- what to write instead -----------------------------------------------------------------------------------------


def test_what_is_tried_leaves_the_fits_where_they_are():
    """The tries run beside the engine's own process, whose fits can still be asked; then they are ended."""
    made = Inquiry("sitka", "size ~ Time + (1 + Time | tree)", engine_timeout=100.0)
    default = made.compare("default")
    shipped = made.listings
    assert default.verdict.word == "r short" and not shipped.condemned
    found = made.remedies(default)
    (remedy,) = found.remedies
    assert remedy.engine == "lme4" and "divide Time by 100" in remedy.told[-2]
    assert default.fits[1].summary.startswith("Linear mixed model fit by REML")
    assert [beside for _, beside in remote._workers if beside] == []
    # The call that arrives first, the default one after it, marked; the other language as it was.
    instead = made.listings
    assert instead.python == shipped.python and list(instead.condemned) == ["R"]
    assert "lmerControl" in instead.r and instead.condemned["R"].endswith(shipped.r)
    first = instead.condemned["R"].splitlines()[0]
    assert first == "# The default call: it stops 14.2 log-likelihood units below the optimum."
    assert str(instead).index("lmerControl") < str(instead).index("# The default call")


def test_where_a_model_cannot_be_written_down_the_code_of_the_nearest_is_shown():
    made = Inquiry("sleepstudy", "Reaction ~ Days + (1 + Days | Subject) + (1 | Days)")
    found = made.remedies(made.compare("default"))
    (remedy,) = found.remedies
    nearest = "Reaction ~ Days + (1 | Days) + (1 | Subject) + (0 + Days | Subject)"
    assert "another model" in remedy.told[0] and sorted(remedy.nearest.record.formula) == sorted(nearest)
    assert "vc_formula={" in str(found) and "lme4 is at the optimum: take its fit." in remedy.told[0]
    assert made.listings.python.startswith("# MixedLM cannot express")


def test_a_formula_is_translated_without_a_fit_and_without_a_table(monkeypatch):
    """With a table what is known of it is used: levels, and which groups are nested."""
    monkeypatch.setattr(mixedlm, "fit", None)
    monkeypatch.setattr(lme4, "fit", None)
    bare = inquiry.translate("y ~ f + (1 + x | g)", method="ML")
    assert 'smf.mixedlm("y ~ f", data, groups=data["g"], re_formula="~1 + x").fit(reml=False)' in bare.python
    assert "lmer(y ~ f + (1 + x | g), data = data, REML = FALSE)" in bare.r
    assert 'pd.read_csv("data.csv")' in bare.python and "Categorical" not in bare.python
    known = inquiry.translate("distance ~ Sex * age + (1 + age | Subject)", "orthodont")
    assert 'factor(orthodont[["Sex"]], levels = c("Male", "Female"))' in known.r
    crossed = inquiry.translate("y ~ 1 + (1 | a) + (1 | b)")
    assert "np.ones(len(data))" in crossed.python and '"b": "0 + C(b)"' in crossed.python
    with pytest.raises(FormulaError):
        inquiry.translate("y ~ x + (1 | ")


@pytest.mark.parametrize(
    "formula",
    ["y ~ factor(t) + (1 | g)", "y ~ t + (1 | t)", "y ~ a * b + (1 | a:b)", "y ~ x + (1 + a + b + c + d + e | g)"],
)
def test_what_stands_in_for_a_table_carries_the_formula(formula):
    assert "smf.mixedlm(" in inquiry.translate(formula).python


def test_a_line_end_in_a_columns_name_ends_no_comment():
    """What follows it would be code."""
    python = inquiry.translate("y ~ x + (x | a) + (x | `g\nprint(1)`)").python
    assert python.startswith("# MixedLM cannot express") and "\n# lost by that" in python
    assert not any(line.startswith("print(1)") for line in python.splitlines())


def test_pictures_and_summaries_outlive_engines_that_were_stopped(asked):
    """Where an engine was stopped its summary says so; where there is no fit a sentence stands for the picture."""
    comparison = Inquiry("sleepstudy", SLOPE).compare()
    remote.worker("statsmodels").stop()
    assert "the fit is gone" in comparison.fits[0].summary and "REML criterion" in comparison.fits[1].summary
    nothing = agreement.compare(
        *(Absence(asked.model, engine, "tuned", "stopped", "stopped after 1 s") for engine in ("statsmodels", "lme4"))
    )
    assert nothing.verdict.word == "no fit" and "stopped after 1 s" in repr(nothing)
    for picture in (asked.estimates(nothing), asked.caterpillar(nothing), asked.residuals(nothing)):
        assert picture == inquiry.NOTHING


# ---- an answer belongs to its question


def by_lme4_here(made: Inquiry) -> float:
    return lme4.fit(made.model).loglik


def test_after_a_refused_formula_the_next_one_has_its_own_fits():
    """The engines have fitted the refused one too: its answers are nobody's."""
    with pytest.raises(LikelihoodError, match="apart"):
        Inquiry(CASES / "stale.csv", "score ~ t + (1 + arm | unit)").compare()
    comparison = Inquiry(CASES / "stale.csv", "score ~ t + (1 + t | unit)").compare()
    gaps = {judgement.fit.engine: judgement.gap for judgement in comparison.judgements}
    assert gaps["statsmodels"] == pytest.approx(0.00363, abs=1e-4)
    assert comparison.fits[1].loglik == pytest.approx(-44.200885, abs=1e-6) and gaps["lme4"] < 1e-6


def test_formulas_one_after_the_other_each_have_their_own_fits():
    with pytest.raises(LikelihoodError):
        Inquiry(CASES / "peer-stale.csv", "y ~ z + (z | g)").compare()
    for formula in ("y ~ x + (x | g)", "y ~ z + (1 | g)", "y ~ x + (1 | g)"):
        made = Inquiry(CASES / "peer-stale.csv", formula)
        comparison = made.compare()
        assert comparison.verdict.word == "agree" and comparison.model is made.model
        assert comparison.fits[1].loglik == pytest.approx(by_lme4_here(made), abs=1e-10)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_after_an_error_between_question_and_answer_the_next_question_has_its_own(error, monkeypatch):
    def raises(model, leave):
        raise error

    with monkeypatch.context() as patched, pytest.raises(error):
        patched.setattr(reference, "search", raises)
        Inquiry(CASES / "peer-stale.csv", "y ~ z + (1 | g)").compare()
    made = Inquiry(CASES / "peer-stale.csv", "y ~ x + (1 | g)")
    first, second, third = made.answers()
    assert first.loglik == pytest.approx(by_lme4_here(made), abs=1e-6)
    assert second.loglik == pytest.approx(by_lme4_here(made), abs=1e-10)
    assert third.loglik == pytest.approx(by_lme4_here(made), abs=1e-6)


def test_settings_that_there_are_not_are_refused_before_anything_is_asked(asked, monkeypatch):
    monkeypatch.setattr(inquiry, "Asked", None)
    monkeypatch.setattr(inquiry, "Inquiry", None)
    for ask in (
        asked.compare,
        asked.answers,
        lambda settings: concord.compare_formula("sleepstudy", SLOPE, "REML", settings),
    ):
        with pytest.raises(ModelError) as caught:
            ask("tunde")
        assert str(caught.value) == "settings 'tunde': they are one of default, tuned"


def test_an_answer_about_another_table_is_not_taken():
    """The table was changed in place: the model's design is that of the table as it was."""
    made = Inquiry(CASES / "peer-stale.csv", "y ~ x + (1 | g)")
    made.model.frame.loc[0, "y"] += 1.0
    with pytest.raises(remote.StrayAnswer, match="another question"):
        made.compare()
    assert Inquiry(CASES / "peer-stale.csv", "y ~ x + (1 | g)").compare().verdict.word == "agree"


def test_a_fingerprint_is_of_everything_that_an_answer_depends_on(asked):
    table = remote.table_digest(asked.model.frame)
    known = {remote.fingerprint(asked.model, "lme4", "default", table)}
    frame = pd.DataFrame({"y": [1.0, 2.0], "f": pd.Categorical(["a", "b"], ["a", "b"])})
    tables = [frame, frame.assign(f=frame["f"].cat.reorder_categories(["b", "a"])), frame[["f", "y"]]]
    tables += [frame.rename(columns={"y": "Y"}), frame.assign(y=[1.0, 2.0 + 4.5e-16]), frame.iloc[::-1]]
    tables += [frame.assign(f=frame["f"].cat.as_ordered()), frame.assign(f=["a", "b"]), frame.iloc[:1]]
    known |= {remote.fingerprint(asked.model, "lme4", "default", remote.table_digest(each)) for each in tables}
    by_ml = Inquiry("sleepstudy", SLOPE, "ML").model
    plain = Inquiry("sleepstudy", "Reaction ~ Days + (1 | Subject)").model
    others = [(asked.model, "lme4", "tuned"), (asked.model, "nlme", "default"), (by_ml, "lme4", "default")]
    others += [(plain, "lme4", "default")]
    known |= {remote.fingerprint(*each, table) for each in others}
    assert len(known) == 1 + len(tables) + len(others)


def test_a_fit_whose_process_has_ended_is_gone_and_no_other_one_answers_for_it():
    remote.stop_workers()
    first = Inquiry(CASES / "peer-stale.csv", "y ~ x + (1 | g)").compare()
    for engine in ("statsmodels", "lme4", "nlme"):
        remote.worker(engine).stop()
    second = Inquiry(
        CASES / "peer-stale.csv", "y ~ z + (1 | g)"
    ).compare()  # the new processes' first fits, as these were
    for fit in first.fits:
        assert "no summary: the fit is gone" in fit.summary
        for ask in (lambda fit=fit: fit.random_effects, lambda fit=fit: fit.ask(len)):
            with pytest.raises(WorkerStopped, match="the fit is gone with the engine's process"):
                ask()
    assert all(len(fit.random_effects) for fit in second.fits)


def test_one_engines_fit_is_not_asked_of_another_engines_process():
    """Even of a process that has made a fit by the same number."""
    comparison = Inquiry(CASES / "peer-stale.csv", "y ~ x + (1 | g)").compare()
    with pytest.raises(remote.StrayAnswer):
        remote.worker("lme4").run(remote._asked, comparison.fits[0].elsewhere.__self__.question.number, "", len, ())


def test_stop_is_pressed_in_the_notebook_and_another_formula_is_asked_in_the_same_kernel(tmp_path):
    """The cells are compare.ipynb's own; the second formula's fits are those of this process."""
    from jupyter_client.manager import start_new_kernel

    cells = json.loads((NOTEBOOKS / "compare.ipynb").read_text(encoding="utf-8"))["cells"]
    parameters, begin = (
        "".join(cell["source"]) for cell in [each for each in cells if each["cell_type"] == "code"][:2]
    )
    (compare, *_) = ("".join(cell["source"]) for cell in cells if "verdict" in cell["metadata"].get("tags", ()))
    large(8000).to_csv(tmp_path / "large.csv", index=False)
    good = CASES / "stale.csv"
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        for source in (parameters, f"data, formula = {str(tmp_path / 'large.csv')!r}, 'y ~ x + (1 + x | g)'", begin):
            assert client.execute_interactive(source, timeout=60, output_hook=_nothing)["content"]["status"] == "ok"
        stopped = client.execute(compare)
        time.sleep(2.0)
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=30)
        assert reply["parent_header"]["msg_id"] == stopped and reply["content"]["ename"] == "KeyboardInterrupt"
        # Until it has said that it rests, a kernel refuses what is asked after an error.
        while not _rests(client.get_iopub_msg(timeout=30), stopped):
            pass
        told: queue.Queue[str] = queue.Queue()
        for source in (
            f"data, formula = {str(good)!r}, 'score ~ t + (1 + t | unit)'",
            begin,
            compare,
            "print([fit.loglik for fit in default.fits][1], default.judgements[0].gap)",
        ):
            done = client.execute_interactive(source, timeout=60, output_hook=lambda each: _text(each, told))
            assert done["content"]["status"] == "ok", done["content"]
        loglik, gap = map(float, told.get(timeout=10).split())
        assert loglik == pytest.approx(-44.200885, abs=1e-6) and gap == pytest.approx(0.00363, abs=1e-4)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _rests(message, request: str) -> bool:
    """Whether a kernel says that it has nothing left to do for a request."""
    return message["parent_header"].get("msg_id") == request and message["content"].get("execution_state") == "idle"


def _nothing(message) -> None:
    """What a cell shows is not looked at."""


def _text(message, told: queue.Queue[str]) -> None:
    if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
        told.put(message["content"]["text"])
