"""Lines of quantities: what is told apart, and what is not let pass."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bs4 import BeautifulSoup

from concord.account import line as quantities
from concord.account.definitions import Definition
from concord.account.line import Line, Sheet
from concord.agreement.comparison import Disagreement
from concord.agreement.tolerances import QuantityTolerance, tolerances
from concord.display.media import QUANTITIES_TYPE
from concord.display.records import QUANTITIES_COLUMNS, collect_quantities
from concord.display.table import render_html
from concord.engines.statements import NOT_ASKED

RTOL = 1e-6


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    """Two definitions and one tolerance, so that no test depends on those of the tables."""
    monkeypatch.setattr(
        quantities,
        "definitions",
        lambda: {
            "half": Definition("half", "x / 2", conversion="twice the half is the whole"),
            "whole": Definition("whole", "x"),
        },
    )
    monkeypatch.setattr(
        quantities, "tolerances", lambda: {"quantities": {"size": QuantityTolerance(rtol=RTOL, reason="for this test")}}
    )


def line(values, **more):
    return Line("sizes", "size", "size", values, **more)


def by_definition(**changed):
    given = {
        "values": {"statsmodels": 1.0, "lme4": 2.0},
        "definitions": {"statsmodels": "half", "lme4": "whole"},
        "expected": {"statsmodels": 1.0, "lme4": 2.0},
    } | changed
    return line(given.pop("values"), **given)


def test_equal_numbers_of_one_definition_agree():
    found = line({"statsmodels": 2.0, "lme4": 2.0 * (1 + RTOL / 2)}, expected={"statsmodels": 2.0, "lme4": 2.0})
    assert (found.same_definition, found.verdict, found.reason) == (True, "agree", "")


@pytest.mark.parametrize("beyond", [0.9, 1.1])
def test_the_tolerance_is_the_edge(beyond):
    off = 2.0 * (1 + beyond * RTOL)
    # What nothing is held against is not agreement; what is apart is a difference all the same.
    assert line({"statsmodels": 2.0, "lme4": off}).verdict == ("not compared" if beyond < 1 else "differ")
    assert line({"lme4": off}, expected={"lme4": 2.0}).verdict == ("agree" if beyond < 1 else "differ")


def test_between_packages_what_their_estimates_may_be_apart_is_allowed_too(monkeypatch):
    """To its own definition each is held as before."""
    loose = QuantityTolerance(rtol=RTOL, across=1e-3, reason="for this test")
    monkeypatch.setattr(quantities, "tolerances", lambda: {"quantities": {"size": loose}})
    given = {"statsmodels": 2.0, "lme4": 2.001}
    assert line(given, expected=given).verdict == "agree"
    assert line(given | {"lme4": 2.01}, expected=given | {"lme4": 2.01}).verdict == "by estimates"
    assert line(given | {"lme4": 2.01}, expected={"statsmodels": 2.0}).verdict == "differ"
    assert line(given, expected={"statsmodels": 2.0, "lme4": 2.0}).verdict == "differ"


def test_two_definitions_that_are_each_kept_are_no_disagreement():
    found = by_definition()
    assert (found.same_definition, found.verdict) == (False, "by definition")
    assert found.reason == "MixedLM (statsmodels): twice the half is the whole"


def test_two_definitions_of_which_one_is_not_kept_are_a_disagreement():
    found = by_definition(expected={"statsmodels": 1.01, "lme4": 2.0})
    assert found.verdict == "differ"
    assert found.reason.startswith("MixedLM (statsmodels) is 0.01 from what its definition gives")


def test_two_definitions_that_nothing_is_held_against_are_not_called_explained():
    assert by_definition(expected={"lme4": 2.0}).verdict == "not compared"
    assert by_definition(expected={}).verdict == "not compared"


def test_equal_numbers_that_are_both_wrong_do_not_agree():
    assert line({"statsmodels": 2.0, "lme4": 2.0}, expected={"statsmodels": 3.0, "lme4": 3.0}).verdict == "differ"


def test_noise_on_both_sides_is_no_difference():
    """Each package may be off to its own side by what it is allowed."""
    given = {"statsmodels": 2.0 * (1 - 0.9 * RTOL), "lme4": 2.0 * (1 + 0.9 * RTOL)}
    assert line(given, expected={"statsmodels": 2.0, "lme4": 2.0}).verdict == "agree"


def test_what_rounding_explains_is_no_tick_and_nothing_unexplained():
    """The right value stands beside it; beyond what rounding can do it is a difference like any other."""
    given = line({"nlme": 2.5}, expected={"nlme": 2.0}, rounding={"nlme": 0.6}, independent=2.0)
    assert given.verdict == "differ: lost in rounding" and not given.unexplained
    assert given.reason == "nlme is within its own rounding of the right value, 2, and no nearer: lost in rounding"
    sheet = Sheet("s", [given, line({"nlme": 2.0}, expected={"nlme": 2.0})]).check()
    assert "✓" not in repr(sheet).splitlines()[4]
    assert "Size: nlme is within its own rounding of the right value, 2" in repr(sheet)
    assert line({"nlme": 2.0}, expected={"nlme": 2.0}, rounding={"nlme": 0.6}).verdict == "agree"
    assert line({"nlme": 2.7}, expected={"nlme": 2.0}, rounding={"nlme": 0.6}).verdict == "differ"
    # Another source's rounding is not an excuse.
    wrong = line({"nlme": 2.5, "lme4": 3.0}, expected={"nlme": 2.0, "lme4": 2.0}, rounding={"nlme": 0.6})
    assert wrong.verdict == "differ" and set(wrong.unexplained) == {"lme4"} and set(wrong.lost) == {"nlme"}


def test_one_number_too_few_is_a_difference():
    """A level that is missing, or one too many, is not agreement and no crash."""
    three, two = np.ones(3), np.ones(2)
    for expected in ({"lme4": three}, {"lme4": three, "statsmodels": three}):
        found = line({"lme4": two, "statsmodels": three}, expected=expected)
        assert found.verdict == "differ" and "states no number, or not one for each" in found.reason


def test_a_difference_of_estimates_that_are_at_no_optimum_is_told_from_one_of_definition():
    given = {"statsmodels": 2.0, "lme4": 2.5}
    assert line(given, expected=given, short=True).verdict == "another optimum"
    assert line(given, expected=given).verdict == "by estimates"
    assert line(given, expected={"lme4": 2.5}).verdict == "differ"
    # Not without evidence: each has to be what its own estimates give.
    assert line(given, expected={"lme4": 2.5}, short=True).verdict == "differ"


def test_a_single_source_agrees_with_the_independent_value_or_is_not_compared():
    assert line({"nlme": 2.0}, expected={"nlme": 2.0}).verdict == "agree"
    assert line({"nlme": 2.0}).verdict == "not compared"


def test_arrays_are_compared_element_by_element():
    values = np.array([1.0, -2.0, 3.0])
    off = values + [0.0, 0.0, 1e-3]
    both = {"statsmodels": values, "lme4": values}
    assert line(both, expected=both).verdict == "agree"
    assert line(both, expected={"lme4": values}).verdict == "not compared"
    assert line({"statsmodels": values, "lme4": off}).verdict == "differ"
    assert line({"statsmodels": values, "lme4": off}).difference == pytest.approx(1e-3)


@pytest.mark.parametrize("missing", [np.nan, np.array([1.0, np.nan])])
def test_a_missing_number_agrees_with_nothing_but_a_definition_that_gives_none(missing):
    there = np.ones_like(missing)
    assert line({"statsmodels": missing, "lme4": there}).verdict == "differ"
    assert line({"statsmodels": missing, "lme4": missing}).verdict == "differ"
    assert line({"statsmodels": missing}, expected={"statsmodels": there}).verdict == "differ"
    assert line({"statsmodels": missing}, expected={"statsmodels": missing}).verdict == "agree"


def test_a_quantity_that_nobody_states_is_a_line_with_its_reasons():
    """It is counted, and nothing is claimed of it; the independent value stands beside the dashes."""
    given = line({}, absent={"lme4": "it gives none"}, independent=2.0)
    assert given.verdict == "not compared" and np.isnan(given.difference)
    shown = repr(Sheet("all", [given]))
    assert "1 not compared" in shown and "lme4: it gives none." in shown and "2" in shown and "✓" not in shown
    (row,) = Sheet("all", [given], head=dict.fromkeys(("dataset", "model", "method", "settings"), "")).record()
    assert [row[key] for key in ("source", "value", "verdict", "reason")] == [
        "lme4",
        None,
        "not compared",
        "it gives none",
    ]


def test_one_source_beside_an_independent_value_of_another_definition_is_no_agreement():
    """Held to its own definition it differs from what is shown by definition, and says how to convert."""
    given = line(
        {"statsmodels": 1.0}, definitions={"statsmodels": "half"}, expected={"statsmodels": 1.0}, independent=2.0
    )
    assert given.verdict == "by definition" and not given.same_definition
    assert "MixedLM (statsmodels): twice the half" in given.reason
    assert given.answer == "differs by definition, converted: 1 → 2"
    short = line({"statsmodels": 1.0}, expected={"statsmodels": 1.0}, independent=2.0, short=True)
    assert short.verdict == "another optimum"
    assert line({"statsmodels": 1.0}, expected={"statsmodels": 1.0}, independent=1.0, short=True).verdict == "agree"


def test_a_short_fit_makes_another_optimum_only_where_numbers_of_one_definition_are_apart():
    """Otherwise each is what its own definition gives, and the definitions explain the difference."""
    assert by_definition(short=True).verdict == "by definition"
    numbers = {"statsmodels": 1.0, "lme4": 2.0, "nlme": 2.1}
    given = {
        "definitions": {"statsmodels": "half", "lme4": "whole", "nlme": "whole"},
        "expected": numbers,
        "short": True,
    }
    apart = by_definition(values=numbers, **given)
    assert apart.verdict == "another optimum" and "short of the optimum" in apart.reason
    near = {**numbers, "nlme": 2.0}
    assert by_definition(values=near, **given | {"expected": near}).verdict == "by definition"


def test_what_cannot_be_a_line_is_refused():
    with pytest.raises(ValueError, match="no such definition: hal"):
        line({"lme4": 1.0}, definitions={"lme4": "hal"})
    with pytest.raises(ValueError, match="a quantity that nobody states, and for no reason, is not a line"):
        line({})
    with pytest.raises(KeyError):
        _ = Line("sizes", "size", "sise", {"lme4": 1.0, "statsmodels": 1.0}).verdict


def test_a_sheet_passes_what_is_explained_and_lists_what_is_not():
    both = {"statsmodels": 2.0, "lme4": 2.0}
    good = [by_definition(), line(both, expected=both)]
    assert Sheet("all", good).check().counted() == "1 differs by definition; 1 same"
    with pytest.raises(Disagreement, match="nothing was compared"):
        Sheet("none", []).check()
    bad = line({"statsmodels": 2.0, "lme4": 3.0}, group="g", term="x")
    with pytest.raises(Disagreement) as caught:
        Sheet("all", [*good, bad]).check()
    assert caught.value.breaches == ["sizes, size g x: difference 1, 3e-06 allowed"]


def test_a_sheet_shows_both_questions_and_says_once_how_to_convert():
    absent = {"nlme": "nlme gives none"}
    shown = repr(Sheet("sizes of all", [by_definition(absent=absent), by_definition(term="b", absent=absent)]))
    assert shown.count("To convert: twice the half is the whole") == 1 == shown.count("nlme gives none")
    header, first = shown.splitlines()[3:5]
    assert header.split()[:4] == ["quantity", "group", "term", "same?"]
    assert "  differs by definition, converted: 1 → 2  " in first and first.count("[1]") == 1 == first.count("[2]")


def test_a_number_has_beside_it_what_its_own_definition_gives():
    """In HTML the package's number, the mark of its note, and below it the independent value by its definition."""
    given = by_definition(expected={"statsmodels": 1.0000001, "lme4": 2.0}, absent={"nlme": "nlme gives none"})
    row, note = (
        BeautifulSoup(render_html(*Sheet("s", [given])._rendered()), "html.parser").select(name)
        for name in ("tbody tr td", "ol.notes li")
    )
    cells = {cell.get_text("|") for cell in row}
    assert {"1 |1|1", "2|2", "– |2"} <= cells
    assert len(note) == 2 and row[0].parent.sup["title"] == note[0].get_text()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"statsmodels": 2.0, "lme4": 2.0}, "defined otherwise, same number here"),
        ({"statsmodels": 1.0, "lme4": 2.0}, "differs by definition, converted: 1 → 2"),
    ],
)
def test_what_is_defined_otherwise_is_told_with_the_numbers(values, told):
    """The same number by chance of the data, or the number and what it is by the common definition."""
    assert by_definition(values=values, expected=values).answer == told


def test_within_tolerance_no_digits_of_the_noise_are_shown():
    both = {"statsmodels": 2.0, "lme4": 2.0}
    lines = [line(both | {"lme4": 2.0 + noise}, expected=both) for noise in (1e-13, 7e-12)]
    shown = [repr(Sheet("s", [each])) for each in lines]
    assert shown[0] == shown[1] and "within 4.0e-06" in shown[0]


def test_records_travel_in_notebooks_and_come_out_as_rows():
    head = {"dataset": "d", "model": "m", "method": "ML", "settings": "tuned"}
    sheet = Sheet(
        "s", [by_definition(effect="fixed", term="x"), line({"lme4": np.nan}, expected={"lme4": np.nan})], head=head
    )
    bundle = json.loads(json.dumps(sheet._repr_mimebundle_()))  # what Jupyter does with it
    cell = {"outputs": [{"data": {QUANTITIES_TYPE: bundle[QUANTITIES_TYPE]}}]}
    table = collect_quantities([{"cells": [cell]}, {"cells": [cell]}])
    assert tuple(table.columns) == QUANTITIES_COLUMNS
    mine = table[table["term"] == "x"].set_index("source")
    assert len(table) == 3 and list(mine["value"][["statsmodels", "lme4"]]) == [1.0, 2.0]
    assert list(mine["definition"][["statsmodels", "lme4"]]) == ["half", "whole"]
    assert set(mine["verdict"]) == {"by definition"}


def test_every_tolerance_of_a_quantity_has_a_reason():
    found = tolerances().get("quantities", {})
    assert all(each.reason for each in found.values())


def test_who_is_asked_for_none_of_it_has_a_line_below_the_table_and_no_column():
    """One that has a reason of its own keeps its column; so does whoever answers anywhere in the table."""
    both, silent = {"statsmodels": 2.0, "lme4": 2.0}, {"mute": NOT_ASKED, "shy": "it has none"}
    sheet = Sheet(
        "s", [line(both, expected=both, absent=silent), line(both, expected=both, absent={"mute": NOT_ASKED})]
    )
    header = repr(sheet).splitlines()[3]
    assert "shy" in header and "mute" not in header and sheet.unasked == ["mute"]
    assert "Not in this table: mute: it is asked for its estimates only." in repr(sheet)
    head = dict.fromkeys(("dataset", "model", "method", "settings"), "")
    assert {row["source"] for row in Sheet("s", sheet.lines, head=head).record()} == {
        "statsmodels",
        "lme4",
        "mute",
        "shy",
    }
    heard = Sheet("s", [*sheet.lines, line(both | {"mute": 2.0}, expected=both)])
    assert heard.unasked == [] and "mute" in repr(heard).splitlines()[3]
