"""The account: every section of it, on models of every kind, and what it costs."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from rpy2 import robjects

from concord import r
from concord.account import account, checks, definitions
from concord.account import line as quantities
from concord.account.account import SECTIONS, Account
from concord.account.intervals import intervals
from concord.account.line import Line, Sheet
from concord.agreement import tolerances
from concord.agreement.comparison import Disagreement, compare
from concord.bootstrap import bootstrapped
from concord.display.media import QUANTITIES_TYPE
from concord.engines.answers import answer
from concord.engines.engine import engines
from concord.engines.statements import statements
from concord.models import model as models
from concord.plots import influence
from concord.session import Inquiry
from support.paths import NOTEBOOKS

ENGINES = ("statsmodels", "lme4", "nlme")
SOURCE = Path(account.__file__).parent
# Those that fit nothing anew, or hardly.
QUICK = ("standard errors", "tests of fixed effects", "random effects", "criteria", "checks")


@pytest.fixture(scope="module")
def sleepstudy(fits):
    return Account(
        compare(*(fits("sleepstudy-random_slope", "REML", each, "tuned") for each in ("statsmodels", "lme4", "nlme")))
    )


def test_every_section_has_lines_and_nothing_is_unexplained(sleepstudy):
    """One model, all eight sections: each quantity has an answer to both questions."""
    summary = sleepstudy.summary.check()
    assert list(summary.table.index) == list(SECTIONS) and (summary.table.sum(axis=1) > 0).all()
    assert summary.table[quantities.DIFFER].sum() == 0 == summary.table[quantities.ALONE].sum()
    assert summary.table[quantities.DEFINITION].sum() > 0 < summary.table[quantities.AGREE].sum()
    shown = repr(summary)
    assert shown.startswith("sleepstudy-random_slope, REML, tuned settings: ") and "lines, every one explained" in shown
    assert len(sleepstudy.everything.lines) == summary.table.to_numpy().sum()
    assert {row["model"] for row in sleepstudy.everything.record()} == {"random_slope"}


def test_what_stands_beside_the_sheets(sleepstudy):
    """P-values of all kinds, R's own anova, and the exact influence of every group."""
    days = sleepstudy.tests[sleepstudy.tests["term"] == "Days"].set_index("kind")
    # In a balanced design both have the degrees of freedom of the classical analysis: 18 subjects less one.
    assert days.loc[["Satterthwaite", "Kenward-Roger"], "df"].to_numpy() == pytest.approx([17, 17], abs=1e-4)
    assert days["p_value"]["z"] < days["p_value"]["Satterthwaite"] < 1e-5
    assert "Pr(>Chisq)" in repr(sleepstudy.anova)
    (found,) = sleepstudy.influence.values()
    assert found.levels[int(np.argmax(found.table["cooks_distance_refitted"]))] == "309"


INFLUENCE_IN_R = """function(d) {
  fit <- lme4::lmer(diameter ~ 1 + (1 | plate) + (1 | sample), data = d, REML = FALSE)
  found <- influence(fit, groups = "sample", data = d)
  list(levels = as.character(found$deleted), distance = as.numeric(cooks.distance(found)))
}"""


def test_influence_is_of_every_grouping_factor(fits):
    """Crossed: plates matter little and samples much, by R's own influence(); no line of one is one of the other."""
    found = Account(compare(*(fits("penicillin-crossed", "ML", each, "tuned") for each in ("statsmodels", "lme4"))))
    assert list(found.influence) == ["plate", "sample"]
    frame = found.comparison.model.frame
    wanted = r.from_r(r.call(robjects.r(INFLUENCE_IN_R), r.table(frame)))
    largest = sorted(zip(wanted["distance"], wanted["levels"], strict=True), reverse=True)[:3]
    assert [round(float(distance), 3) for distance, _ in largest] == [0.546, 0.290, 0.227]
    table = found.most_influential.set_index(["group", "level"])
    assert not table.index.duplicated().any()
    assert list(table.loc["sample"].index[:3]) == [level for _, level in largest]
    # lme4's Cook's distance is (L - p) / L of the common one, and lme4's refits stop by its default rules.
    refitted = table.loc["sample"]["cooks_distance_refitted"].to_numpy()[:3] * 5 / 6
    assert refitted == pytest.approx([distance for distance, _ in largest], rel=1e-3)
    assert table.loc["plate"]["cooks_distance_held"].max() < 0.05
    sheet = found["influence"].check()
    told = [(line.group, line.term, line.quantity) for line in sheet.lines]
    assert len(set(told)) == len(told) and {group for group, _, _ in told} == {"plate", "sample"}
    assert sum(group == "sample" for group, _, _ in told) == len(told) / 2
    pictures = [influence.cooks(each) for each in found.influence.values()]
    assert [re.findall("levels of ([a-z]+),", each.alt)[0] for each in pictures] == ["plate", "sample"]


# Of every kind: balanced, short by default on either side or both, nested, crossed, a zero variance, other codings.
KINDS = (
    "dyestuff2-random_intercept",
    "machines-nested",
    "machines-unstructured",
    "oats-split_plot",
    "cake-split_plot",
    "orthodont-interaction",
    "pastes-nested",
    "penicillin-crossed",
    "sitka-random_slope",
    "dietox-uncorrelated",
    "sleepstudy-uncorrelated",
)


@pytest.mark.parametrize("id", KINDS)
def test_quick_sections_explain_every_kind_of_model_at_default_settings(id, fits):
    """Also where a default is short: its numbers are what its own estimates give by its own definition."""
    model = models.get(id, "REML")
    engines = ("statsmodels", "lme4") if ":" in id else ("statsmodels", "lme4", "nlme")
    comparison = compare(*(answer(model, engine, "default") for engine in engines))
    found = Account(comparison)
    for section in QUICK:
        assert found[section].check().lines
    if any(comparison.below(each) for _, each in comparison.judged):
        verdicts = {line.verdict for section in QUICK for line in found[section].lines}
        assert quantities.OPTIMUM in verdicts


@pytest.fixture
def mute(monkeypatch):
    """An engine of which nothing is known beyond its fits: nlme, as it is here, without its statements."""
    monkeypatch.setattr(engines()["nlme"], "statements", None)
    statements.cache_clear()
    yield "nlme"
    statements.cache_clear()


def test_an_engine_that_states_nothing_is_shown_as_saying_nothing_in_every_section(mute, fits):
    """Its lines stand, with the reason; those of the others are what they are without it."""
    key = "sleepstudy-random_slope", "REML"
    comparison, others = (compare(*(fits(*key, each, "tuned") for each in ENGINES[:n])) for n in (3, 2))
    found, without = Account(comparison), Account(others)
    for section in QUICK:
        lines = [line for line in found[section].check().lines if mute in (*line.values, *line.absent)]
        assert lines, section
        # What every fit holds, its log-likelihood, is shown all the same.
        assert all(mute in line.absent or line.quantity == "log-likelihood" for line in lines)
        kept = [{k: v for k, v in line.values.items() if k != mute} for line in found[section].lines]
        assert [line.values.keys() for line in without[section].lines] == [each.keys() for each in kept]
    table = checks.table(comparison)
    assert set(table.loc[table["source"] == mute, "check"]) == {"convergence"}
    assert f"{mute}: it is asked for its estimates only." in found.tests.attrs["notes"]


def test_a_fit_in_another_process_is_asked_there():
    """An inquiry's engines are processes of their own; what they say comes through all the same."""
    inquiry = Inquiry("sleepstudy", "Reaction ~ Days + (1 | Subject)")
    comparison = inquiry.compare("default")
    assert all(fit.native is None for fit in comparison.fits)
    found = inquiry.account(comparison)
    for section in QUICK:
        assert found[section].check().lines


def test_a_section_that_would_take_too_long_is_left_out_with_its_estimate(fits):
    comparison = compare(*(fits("sleepstudy-random_slope", "REML", each, "tuned") for each in ("statsmodels", "lme4")))
    found = Account(comparison, seconds=0.1)
    assert found.estimated("intervals") > found.estimated("standard errors") > found.estimated("criteria") == 0
    assert found["criteria"].lines and not found["intervals"].lines
    assert re.fullmatch(
        r"Left out: intervals would take some \d+ seconds, and 0\.1 are allowed\.", found["intervals"].notes[0]
    )
    assert "Left out: intervals" in repr(found.summary.check())
    asked = Account(comparison, seconds=0.0)
    assert asked["intervals"].notes == ("Left out, as asked.",)
    told = repr(asked.summary).partition("Left out, as asked.\n")[2]
    assert told == f"Left out of the verdict: {', '.join(asked.left_out)}." and "intervals" in asked.left_out
    assert [sheet.lines[0].section for sheet in asked.sheets] == ["criteria"]
    assert [row.split()[0] for row in repr(asked.summary).split("\n\n")[1].splitlines()] == ["section", "criteria"]
    with pytest.raises(KeyError, match="section 'interval': one of standard errors, "):
        found["interval"]


def test_the_summary_raises_where_a_line_is_unexplained(fits):
    comparison = compare(*(fits("sleepstudy-random_slope", "REML", each, "tuned") for each in ("statsmodels", "lme4")))
    found = Account(comparison, seconds=0.0)
    wrong = Line("criteria", "AIC", "criterion", {"statsmodels": 1.0, "lme4": 2.0})
    found._made["criteria"] = Sheet("criteria", [wrong])
    with pytest.raises(Disagreement, match="AIC"):
        found.summary.check()


def test_every_definition_and_tolerance_is_used_and_said_in_full():
    """What stands in the two tables for readers is what the lines use: nothing is left from earlier."""
    written = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.parent.rglob("*.py"))
    for name, each in definitions.definitions().items():
        # Those of the tests of fixed effects are put together: "df_" or "p_", and the kind.
        kind = name.partition("_")[2]
        assert f'"{name}"' in written or f'"{kind}"' in written, name
        assert each.title and each.formula and each.source
    for name in tolerances.tolerances()["quantities"]:
        assert f'"{name}"' in written, name
    table = definitions.conversions()
    assert (table["conversion"] != "").all() and len(table) > 20


# ---- the notebook's tables -----------------------------------------------------------------------------------------


def test_every_interval_is_told_from_every_other(sleepstudy):
    """Two Wald intervals of one source are of different things, and the table says of which."""
    table = intervals.table(sleepstudy.comparison, with_profile_re=True)
    told = ["group", "term", "kind", "source", "method", "note"]
    assert not table.duplicated(told).any() and table.duplicated([each for each in told if each != "note"]).any()
    assert {"lme4", "statsmodels", "independent"} == set(table[table["kind"] == "profile"]["source"])


def test_the_notebook_shows_its_tables_whole():
    """More rows than pandas shows by itself, and long notes: the CSV of a report's page is what is shown."""
    cells = nbformat.read(NOTEBOOKS / "inference.ipynb", 4).cells
    table = pd.DataFrame({"term": [f"term {i}" for i in range(99)], "note": "n" * 99})
    with pd.option_context("display.max_rows", 60, "display.max_columns", 20, "display.max_colwidth", 50):
        assert "term 50" not in table._repr_html_()
        exec("\n".join(cell.source for cell in cells if cell.id in ("inference-02", "inference-03")), {})
        shown = table._repr_html_()
    assert all(f"<td>term {i}</td>" in shown for i in range(99)) and shown.count("n" * 99) == 99


def test_the_bootstrap_stands_beside_the_other_intervals(sleepstudy):
    """One table of all kinds by both engines, under the bootstrap's own, in text and in HTML."""
    found = bootstrapped(sleepstudy, 3, seed=2, progress=False, workers=0)
    counts = found.intervals.groupby(["kind", "source"]).size()
    assert {("Wald", "statsmodels"), ("Wald", "lme4"), ("profile", "lme4"), ("profile", "independent")} <= set(
        counts.index
    )
    assert counts["bootstrap", "statsmodels"] == counts["bootstrap", "lme4"] == 6
    # What confint() prints in R for Days: 7.358653 and 13.575919.
    row = found.intervals.query("term == 'Days' and kind == 'profile' and source == 'lme4'").iloc[0]
    assert (row["lower"], row["upper"]) == pytest.approx((7.358653, 13.575919), abs=1e-4)
    assert repr(found).startswith(repr(found.drawn)) and "7.35865" in repr(found)
    shown = found._repr_mimebundle_()["text/html"]
    assert shown.count("<table") == 3 and shown.count("<tr>") > len(found.intervals)
    lines = found.sheet.lines
    assert [line.quantity for line in lines] == ["bootstrap interval, lower", "bootstrap interval, upper"] * 6
    assert {line.verdict for line in lines} <= {"agree", "another optimum"} and repr(found.sheet) in repr(found)
    assert {row["section"] for row in found._repr_mimebundle_()[QUANTITIES_TYPE]} == {"bootstrap"}
    assert bootstrapped(sleepstudy, 0) == "No bootstrap: replicates is 0."
    short = bootstrapped(Account(sleepstudy.comparison, seconds=0.0), 2, progress=False, workers=0)
    assert set(short.intervals["kind"]) == {"Wald", "bootstrap"}
