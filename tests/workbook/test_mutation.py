"""Mutation: whatever is shown, moved just beyond its tolerance, is red; moved within it, nothing is.

The fast part takes one model; with CONCORD_MUTATE=all (``make mutate``) it is every model of the workbook by both
methods, more entries of every array, and every tolerance. What is moved is found, and not listed: see `mutants`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from concord.account import line as quantities
from concord.account.account import SECTIONS, Account
from concord.account.line import DIFFER, Line, Sheet
from concord.agreement import tolerances as tolerances_module
from concord.agreement.comparison import Disagreement, compare
from concord.agreement.gate import Gate
from concord.agreement.tolerances import tolerances
from concord.commands.checked_model import CheckedModel
from concord.commands.team_file import TeamModel
from concord.display import records
from concord.display.media import QUANTITIES_TYPE
from concord.display.records import collect_quantities
from concord.engines.answers import answer
from concord.models import model as models
from support import mutants
from support.mutants import BEYOND, WITHIN

ALL = os.environ.get("CONCORD_MUTATE") == "all"
FAST = [("sleepstudy-random_slope", "REML")]
EVERY = [(model.id, model.method) for model in models.every()] if ALL else FAST
ENTRIES = 9 if ALL else 2

# What packages say on the way to what is shown, by engine, question and key: moved, nobody sees that number.
NOT_SHOWN = {
    "statsmodels _checks threshold": "its own constant",
    "lme4 _checks threshold": "its own constant",
    "lme4 _checks allowed": "its own constant",
    "lme4 _checks compared": "among the derivatives, which are shown",
    "lme4 summary satterthwaite 0": "the estimate; the fit's own is shown",
    "lme4 summary kenward_roger 0": "the estimate; the fit's own is shown",
    "nlme _intervals, 2 fixed": "wider steps matter for variances",
    "nlme _intervals, 2 components": "wider steps matter where its own are lost in rounding",
}
# Matrices, of which some entries matter little to the standard errors that are shown of them; and those errors by steps
# whose digits may be lost, which is said.
PARTLY = ("nlme summary stated", "nlme summary wide", "nlme summary at", "nlme _intervals components")


@cache
def _account(id: str, method: str, settings: str = "tuned") -> Account:
    model = models.get(id, method)
    return Account(compare(*(answer(model, engine, settings) for engine in ("statsmodels", "lme4", "nlme"))))


@pytest.fixture(params=EVERY, ids=lambda each: "-".join(each))
def account(request, fits) -> Account:
    """Everything that the tuned fits of a model say, as it is; nothing of it is red."""
    if ALL:
        return _account(*request.param)
    return _fast(fits)


@cache
def _fast(fits) -> Account:
    (key,) = FAST
    return Account(compare(*(fits(*key, engine, "tuned") for engine in ("statsmodels", "lme4", "nlme"))))


@pytest.fixture(autouse=True)
def counted(request):
    """How many were tried, for the record of the run (``--junit-xml``)."""
    tried: defaultdict[str, int] = defaultdict(int)
    yield tried
    request.node.user_properties += tried.items()


# ---- lines ---------------------------------------------------------------------------------------------------------


def test_every_number_of_every_line_is_red_beyond_and_calm_within(account, counted):
    """By one source and by all in one direction: agreeing with each other helps nobody."""
    account.summary.check()
    missed, false = [], []
    lines = account.everything.lines
    for each in mutants.of_lines(lines, (BEYOND, -BEYOND, WITHIN, -WITHIN), ENTRIES):
        beyond = abs(each.share) > 1
        counted["lines beyond" if beyond else "lines within"] += 1
        if beyond and each.line.verdict != DIFFER:
            missed.append(each.title)
        if not beyond and each.line.verdict not in (lines[each.number].verdict, _ticked(lines[each.number])):
            false.append(each.title)
    assert not missed and not false, (len(missed), len(false), missed[:9], false[:9])
    assert counted["lines beyond"] >= 400


def _ticked(line: Line) -> str:
    """Its verdict with the right values in the place of those that rounding has taken."""
    return replace(line, values=dict(line.expected)).verdict


def test_noise_of_all_sources_to_all_sides_is_calm(account, counted):
    """Every source off by nine tenths of what it is allowed, each to its own side."""
    rng = np.random.default_rng(5)
    for line in account.everything.lines:
        values = dict(line.values)
        for source in values:
            off = WITHIN * line.limit(source) * rng.choice([-1, 1], np.shape(values[source]))
            values[source] = line.expected[source] + off
        found = replace(line, values=values)
        assert found.verdict == _ticked(line), (found.title, found.verdict, found.reason)
        counted["lines with noise"] += 1


def test_a_red_line_turns_compare_check_and_the_notebooks_red(account, counted):
    """Each line in turn: it is named by the command, by the check, by the gate's cell, and in what is written."""
    comparison = account.comparison
    whole = {section: account[section] for section in SECTIONS}
    expected = dict.fromkeys(("default", "tuned"), "agree")
    calm = CheckedModel(
        TeamModel("a", None, "a.csv", "y ~ x", "REML", expected, ""), {"tuned": comparison}, (), account.unexplained
    )
    assert calm.passed and not _named(whole) and Gate([comparison], [account]).check()
    rows = [row for sheet in whole.values() for row in sheet.record()]
    cells = [{"outputs": [{"data": {QUANTITIES_TYPE: rows}}]}]
    assert len(collect_quantities([{"cells": cells}])) == len(rows)  # none stands under another's name
    for section, sheet in whole.items():
        for number, line in list(enumerate(sheet.lines))[:: 1 if ALL else 9]:
            mutant = next(mutants.of_lines([line], (BEYOND,)), None)
            if mutant is None:
                continue
            moved = [*sheet.lines[:number], mutant.line, *sheet.lines[number + 1 :]]
            other = Account(comparison)
            other._made = {**whole, section: Sheet(sheet.title, moved, sheet.notes, sheet.head)}
            title = f"{line.section}, {line.title}"
            # What compare reads from the notebooks that it has run.
            assert [each for each in _named(other._made) if each.endswith(title)], title
            case = replace(calm, unexplained=other.unexplained)
            assert not case.passed and title in case.wrong["1 line that nothing explains"]
            with pytest.raises(Disagreement, match="1 breaches in 1 comparisons") as caught:
                Gate([comparison], [other]).check()
            assert title in str(caught.value)
            with pytest.raises(Disagreement):
                other.summary.check()
            shown = repr(other.summary)
            assert ": differ, " in shown and title in shown
            assert "differ: 1 line that nothing explains" in repr(Gate([comparison], [other]))
            counted["lines through all commands"] += 1
    assert counted["lines through all commands"] >= 10


def _named(sheets) -> list[str]:
    cells = [{"outputs": [{"data": {QUANTITIES_TYPE: sheet.record()}}]} for sheet in sheets.values()]
    return records.unexplained(collect_quantities([{"cells": cells}]))


# ---- what packages say ---------------------------------------------------------------------------------------------


def test_every_number_that_a_package_says_meets_a_line(account, counted):
    """A tenth off in the package's own answer, where it was asked, or in the random effects that the fit holds."""
    comparison = account.comparison
    found = list(mutants.of_answers(comparison, mutants.asked(comparison), ENTRIES - 1, 1 if ALL else 2))
    missed, some = [], set()
    for each in found:
        name = each.name
        column = f"{name} {each.path[-1][-1]}" if each.path and isinstance(each.path[-1], tuple) else name
        if name in NOT_SHOWN or column in NOT_SHOWN or each.path[-1:] == ("rounding",):  # allowed, and not said
            continue
        counted["answers"] += 1
        if each.differ:
            some.add(name)
        elif name not in PARTLY and not _immaterial(account, each):
            missed.append(each.title)
    assert not missed, (len(missed), missed)
    assert counted["answers"] >= 40 and {each.engine for each in found} == {fit.engine for fit in comparison.fits}
    assert "nlme summary wide" in some or ALL


def _immaterial(account: Account, each: mutants.OfAnswer) -> bool:
    """At a covariance matrix that is singular there is no error of a variance, and no share of one that is zero."""
    if not account.comparison.against.boundary:
        return False
    whole = any(word in each.name for word in ("summary", "_intervals"))
    return whole or each.path[-1] == "residual"


# ---- estimates -----------------------------------------------------------------------------------------------------


def test_every_estimate_is_red_beyond_and_calm_within(account, counted):
    """Log-likelihood, fixed effects, their errors, variances and covariances: of one package, and of both together."""
    missed, false = [], []
    shares = (BEYOND, -BEYOND, WITHIN, -WITHIN) if ALL else (BEYOND, -WITHIN)
    for each in mutants.of_estimates(account.comparison, shares):
        beyond = abs(each.share) > 1
        counted["estimates beyond" if beyond else "estimates within"] += 1
        word = each.comparison.verdict.word
        if beyond and word == "agree":
            missed.append(each.title)
        if not beyond and word != "agree" and each.possible:
            false.append(each.title)
    assert not missed and not false, (len(missed), len(false), missed[:9], false[:9])
    assert counted["estimates beyond"] >= 18


# ---- tolerances ----------------------------------------------------------------------------------------------------

# How far off a value is red, whatever the file of tolerances says: relative to the line's size, and absolute.
RED = {
    "count": (0, 1),
    "criterion": (1e-8, 3e-5),
    "likelihood_ratio": (1e-8, 3e-5),
    "p_value": (1e-3, 0),
    "random_effect": (1e-4, 0),
    "conditional_variance": (1e-4, 0),
    "standardized_effect": (1e-4, 0),
    "fitted_value": (1e-4, 0),
    "explained_variance": (1e-4, 0),
    "interval_wald": (1e-5, 0),
    "interval_wald_variance": (1e-5, 0),
    "interval_by_differences": (1e-2, 0),
    "interval_profile": (1e-3, 0),
    "gradient": (1e-4, 1e-5),
    "least": (1e-5, 0),
    "interval_bootstrap": (1e-2, 0),
    "profile_fall": (1e-3, 1e-3),
    "refitted_fixed": (1e-4, 0),
    "refitted_variance": (3e-3, 0),
    "influence_refits": (1e-2, 0),
    "influence_measure": (1e-5, 0),
    "std_error": (1e-4, 0),
    "error_of_variance": (1e-4, 0),
    "error_by_differences": (1e-2, 0),
    "test_statistic": (1e-4, 2e-4),
    "degrees_of_freedom": (1e-4, 0),
    "p_value_of_t": (1e-3, 0),
}
# Of estimates: log-likelihood units below the optimum; of what is stated: such units, and a share of an error.
RED_FITS = {
    "default": {"loglik": 1e-5},
    "tuned": {"loglik": 1e-7},
    "stated": {"loglik": 1e-6, "std_error": 1e-3, "singular_std_error": 5e-3},
}
LOOSENED = [
    (kind, name, field)
    for kind, table in tolerances().items()
    for name, each in table.items()
    for field in ("atol", "rtol", "across")
    if getattr(each, field, 0.0) or (name == "count" and field != "across")
]


def _lines_of(account: Account, name: str) -> list[tuple[Line, str]]:
    """The lines that a tolerance holds, with the source; and some of other sizes, where one part of it decides."""
    found = [
        (line, source)
        for line in account.everything.lines
        for source in line.expected
        if line.looser.get(source, line.tolerance) == name and np.isfinite(line.expected[source]).all()
    ]
    given = {"lme4": 2.0}
    return found + [(Line("any", name, name, given, expected=given, scale=scale), "lme4") for scale in (1e-9, 1.0, 1e6)]


def _is_red(fits, kind: str, name: str, field: str) -> bool:
    """Whether a value that is off by what must be red is so, everywhere."""
    if kind != "quantities":
        return _fit_is_red(fits, kind, name)
    account = _fast(fits)
    if field == "across":
        return all(_is_told_apart(line) for line, _ in _lines_of(account, name) if not line.scale < 1)
    relative, absolute = RED[name]
    found = []
    for line, source in _lines_of(account, name):
        expected = np.asarray(line.expected[source], float)
        parts = {"rtol": relative * line.size(source), "atol": absolute}
        off = parts.pop(field) or absolute
        parts = {} if name == "count" else parts
        # Only where the other part says next to nothing does this one decide.
        if off > 10 * sum(parts.values()):
            values = {source: expected + off + line.rounding.get(source, 0.0)}
            found.append(source in replace(line, values=values, expected={source: expected}).unexplained)
    return bool(found) and all(found)


def _is_told_apart(line: Line) -> bool:
    """Whether two sources at other estimates, a thousandth apart, are not agreement."""
    one = 1.0 if np.isnan(line.scale) else line.scale
    there = {"lme4": one, "statsmodels": one * (1 + 2e-3)}
    return (
        replace(
            line, values=there, expected=there, definitions={}, independent=np.nan, looser={}, rounding={}, short=False
        ).verdict
        != quantities.AGREE
    )


def _fit_is_red(fits, kind: str, name: str) -> bool:
    """Whether the verdict is not agreement, where lme4's fit (of a singular model MixedLM's) is off by what is red."""
    singular = name.startswith("singular")
    key = ("dyestuff2-random_intercept", "REML") if singular else FAST[0]
    made = [fits(*key, engine, "tuned") for engine in ("statsmodels", "lme4")]
    made = [replace(fit, settings="default" if kind == "default" else "tuned") for fit in made]
    comparison, off = compare(*made), RED_FITS[kind][name]
    rows = comparison.table.set_index("effect")
    if kind != "stated":
        row, by = (
            rows.loc["fixed"].iloc[-1],
            float(comparison.judge.top.alone(off)[comparison.model.design.X.shape[1] - 1]),
        )
    elif name == "loglik":
        row, by = rows.loc["loglik"], off
    else:
        row = rows.loc["std_error"] if singular else rows.loc["std_error"].iloc[-1]
        by = off * row["lme4"]
    place = 0 if singular else 1
    effect = "loglik" if name == "loglik" and kind == "stated" else "fixed" if kind != "stated" else "std_error"
    made[place] = mutants.moved(made[place], (effect, row["group"], row["term"]), by)
    return compare(*made).verdict.word != "agree"


@pytest.mark.parametrize(("kind", "name", "field"), LOOSENED, ids=lambda each: each)
def test_a_tolerance_that_is_loosened_is_seen(kind, name, field, fits, monkeypatch):
    """A thousandfold (to one where it allows nothing, or counts the rows of a table of few): something that must be red
    is not, and this is the test that says so.
    """
    assert _is_red(fits, kind, name, field)
    shipped = getattr(tolerances()[kind][name], field)
    loosened = 1.0 if (name, field) == ("loglik", "rtol") else 1000 * shipped or 1.0
    looser = tolerances()[kind][name].model_copy(update={field: loosened})
    changed = {**tolerances(), kind: {**tolerances()[kind], name: looser}}
    for module in (tolerances_module, quantities):
        monkeypatch.setattr(module, "tolerances", lambda: changed)
    assert not _is_red(fits, kind, name, field)


def test_every_tolerance_has_a_value_that_is_red():
    """None is left out above, and none is there that no file has."""
    assert set(RED) == set(tolerances()["quantities"])
    assert {kind: set(table) for kind, table in tolerances().items() if kind != "quantities"} == {
        kind: set(table) for kind, table in RED_FITS.items()
    }
