"""The account: every section of it, on models of every kind, and what it costs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from concord import account, agreement, models, quantities
from concord.account import SECTIONS, Account
from concord.agreement import Disagreement, compare
from concord.answers import answer
from concord.inquiry import Inquiry
from concord.quantities import Line, Sheet

SOURCE = Path(account.__file__).parent
# Those that fit nothing anew, or hardly.
QUICK = ("standard errors", "tests of fixed effects", "random effects", "criteria", "checks")


@pytest.fixture(scope="module")
def sleepstudy(fits):
    return Account(
        compare(*(fits("sleepstudy-random_slope", "REML", each, "tuned") for each in ("mixedlm", "lme4", "nlme")))
    )


def test_every_section_has_lines_and_nothing_is_unexplained(sleepstudy):
    """One model, all eight sections: each quantity has an answer to both questions."""
    summary = sleepstudy.summary.check()
    assert list(summary.table.index) == list(SECTIONS) and (summary.table.sum(axis=1) > 0).all()
    assert summary.table[quantities.DIFFER].sum() == 0 == summary.table[quantities.ALONE].sum()
    assert summary.table[quantities.DEFINITION].sum() > 0 < summary.table[quantities.AGREE].sum()
    shown = repr(summary)
    assert shown.startswith("sleepstudy-random_slope, REML, tuned settings: ") and "0 that nothing explains" in shown
    assert len(sleepstudy.everything.lines) == summary.table.to_numpy().sum()
    assert {row["model"] for row in sleepstudy.everything.record()} == {"random_slope"}


def test_what_stands_beside_the_sheets(sleepstudy):
    """P-values of all kinds, R's own anova, and the exact influence of every group."""
    days = sleepstudy.tests[sleepstudy.tests["term"] == "Days"].set_index("kind")
    # In a balanced design both have the degrees of freedom of the classical analysis: 18 subjects less one.
    assert days.loc[["Satterthwaite", "Kenward-Roger"], "df"].to_numpy() == pytest.approx([17, 17], abs=1e-4)
    assert days["p_value"]["z"] < days["p_value"]["Satterthwaite"] < 1e-5
    assert "Pr(>Chisq)" in repr(sleepstudy.anova)
    assert sleepstudy.influence.levels[int(np.argmax(sleepstudy.influence.table["cooks_distance_refitted"]))] == "309"


# Of every kind: balanced, short by default on either side or both, nested, crossed, a zero variance, other codings.
KINDS = (
    "dyestuff2-random_intercept", "machines-nested", "machines-unstructured", "oats-split_plot", "cake-split_plot",
    "orthodont-interaction", "pastes-nested", "penicillin-crossed", "sitka-random_slope", "dietox-uncorrelated",
    "sleepstudy-uncorrelated",
)  # fmt: skip


@pytest.mark.parametrize("id", KINDS)
def test_quick_sections_explain_every_kind_of_model_at_default_settings(id, fits):
    """Also where a default is short: its numbers are what its own estimates give by its own definition."""
    model = models.get(id, "REML")
    engines = ("mixedlm", "lme4") if ":" in id else ("mixedlm", "lme4", "nlme")
    comparison = compare(*(answer(model, engine, "default") for engine in engines))
    found = Account(comparison)
    for section in QUICK:
        assert found[section].check().lines
    if any(comparison.short(each) for _, each in comparison.judged):
        verdicts = {line.verdict for section in QUICK for line in found[section].lines}
        assert quantities.OPTIMUM in verdicts


def test_a_fit_in_another_process_is_asked_there():
    """An inquiry's engines are processes of their own; what they say comes through all the same."""
    inquiry = Inquiry("sleepstudy", "Reaction ~ Days + (1 | Subject)")
    comparison = inquiry.compare("default")
    assert all(fit.native is None for fit in comparison.fits)
    found = inquiry.account(comparison)
    for section in QUICK:
        assert found[section].check().lines


def test_a_section_that_would_take_too_long_is_left_out_with_its_estimate(fits):
    comparison = compare(*(fits("sleepstudy-random_slope", "REML", each, "tuned") for each in ("mixedlm", "lme4")))
    found = Account(comparison, seconds=0.1)
    assert found.estimated("intervals") > found.estimated("standard errors") > found.estimated("criteria") == 0
    assert found["criteria"].lines and not found["intervals"].lines
    assert re.fullmatch(
        r"Left out: intervals would take some \d+ seconds, and 0\.1 are allowed\.", found["intervals"].notes[0]
    )
    assert "Left out: intervals" in repr(found.summary.check())
    assert Account(comparison, seconds=0.0)["intervals"].notes == ("Left out, as asked: intervals.",)
    with pytest.raises(KeyError, match="section 'interval': one of standard errors, "):
        found["interval"]


def test_the_summary_raises_where_a_line_is_unexplained(fits):
    comparison = compare(*(fits("sleepstudy-random_slope", "REML", each, "tuned") for each in ("mixedlm", "lme4")))
    found = Account(comparison, seconds=0.0)
    wrong = Line("criteria", "AIC", "criterion", {"mixedlm": 1.0, "lme4": 2.0})
    found._made["criteria"] = Sheet("criteria", [wrong])
    with pytest.raises(Disagreement, match="AIC"):
        found.summary.check()


def test_a_fit_says_what_follows_from_its_estimates(fits):
    fit = fits("sleepstudy-random_slope", "ML", "lme4", "tuned")
    assert fit.information.conditional == pytest.approx(fit.std_error, rel=1e-6)
    assert fit.residuals == pytest.approx(fit.solution.residuals, abs=1e-6)
    # lme4's AIC and BIC of this model by ML, as R prints them in anova(): 1763.9 and 1783.1.
    assert [round(each, 1) for each in (fit.criteria.aic, fit.criteria.bic())] == [1763.9, 1783.1]


def test_every_definition_and_tolerance_is_used_and_said_in_full():
    """What stands in the two tables for readers is what the lines use: nothing is left from earlier."""
    written = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.glob("*.py"))
    for name, each in quantities.definitions().items():
        # Those of the tests of fixed effects are put together: "df_" or "p_", and the kind.
        kind = name.partition("_")[2]
        assert f'"{name}"' in written or f'"{kind}"' in written, name
        assert each.title and each.formula and each.source
    for name in agreement.tolerances()["quantities"]:
        assert f'"{name}"' in written, name
    table = quantities.conversions()
    assert (table["conversion"] != "").all() and len(table) > 20
