"""Tables for reading: numbers with their digits, text escaped, columns that line up."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pandas as pd
import pytest

from concord.display import table as tables


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (19.4934552, 7, "19.49346"),
        (-2217.0474591455, 10, "-2217.047459"),
        (3.288e-06, 3, "3.29e-06"),
        (0.0, 7, "0"),
        (5, 7, "5"),
        (math.inf, 7, "inf"),
        (math.nan, 7, ""),
        (None, 7, ""),
    ],
)
def test_a_number_has_its_significant_digits(value, digits, text):
    """So many significant digits, as short as they allow; nothing for a missing one."""
    assert tables.number(value, digits) == text


HEADER = ["term", "group", "a & b"]
ROWS = [["var__<x>", "Pig", "1.5"], ["Time", "", "-12.25"]]


def test_html_is_well_formed_and_escaped():
    """Whatever stands in a table, the page around it stays whole, and rows and columns have their headings."""
    html = tables.render_html("Is <b> short?", HEADER, ROWS, left=2, notes=["1 < 2 & so on"])
    page = ElementTree.fromstring(f"<div>{html}</div>")
    (table,) = page.iter("table")
    assert "Is <b> short?" in "".join(table.find("caption").itertext())
    assert [each.text for each in table.find("thead").iter("th")] == HEADER
    body = list(table.find("tbody").iter("tr"))
    assert [["".join(cell.itertext()) for cell in row] for row in body] == ROWS
    assert [cell.tag for cell in body[0]] == ["th", "td", "td"]
    assert [cell.get("style") for cell in body[0]] == ["text-align:left", "text-align:left", "text-align:right"]
    assert "1 < 2 & so on" in "".join(page.itertext())


def test_html_breaks_a_parameter_s_name_where_its_parts_meet_and_no_day_and_sets_sentences_to_the_left():
    rows = [["cov__(Intercept).Time", "2026-11-28", 1, "it did not reach the optimum"], ["Time", "", 2, ""]]
    html = tables.render_html("T", ["term", "day", "n", "said"], rows)
    table = ElementTree.fromstring(html)
    first = table.find("tbody")[0]
    assert "cov__<wbr/>(Intercept).<wbr/>Time" in html and "".join(first[0].itertext()) == rows[0][0]
    assert "nowrap" in first[1].get("style") and first[2].get("style") == "text-align:right"
    assert first[3].get("style") == "text-align:left" == table.find("thead")[0][3].get("style")
    assert tables.render_text("T", ["term", "n", "said"], [["a", 1, "x" + " y" * 6], ["b", 2, "z"]]).endswith("2  z")


def test_text_lines_up():
    """Words stand to the left, numbers to the right, under their headings, with the notes below."""
    lines = tables.render_text("Caption", HEADER, ROWS, left=2, notes=["A note."]).splitlines()
    assert lines[0] == "Caption" and lines[-1] == "A note."
    assert lines[2:5] == ["term      group   a & b", "var__<x>  Pig       1.5", "Time             -12.25"]


def test_a_table_without_rows_has_its_header():
    """Nothing to show is an empty table, not an error."""
    assert "term" in tables.render_text("Caption", HEADER, [])
    assert "<tbody>" in tables.render_html("Caption", HEADER, [])


def test_html_holds_the_number_itself_with_the_one_shown():
    """What rounding leaves out is there to be copied; a number shown whole is not said twice; text is left alone."""
    rows = [["a", tables.number(1 / 3), tables.number(0.5), "< 1e-06"]]
    (row,) = ElementTree.fromstring(
        tables.render_html("T", ["x", "y", "z", "w"], rows).split("</table>")[0] + "</table>"
    ).iter("tbody")
    third, half, bound = list(row[0])[1:]
    assert float(third.find("data").get("value")) == 1 / 3 and third.find("data").text == "0.3333333"
    assert half.text == "0.5" and half.find("data") is None and bound.text == "< 1e-06"
    assert tables.number(1 / 3) in tables.render_text("T", ["x", "y"], [["a", tables.number(1 / 3)]])


def test_the_columns_that_tell_rows_apart_are_their_headings():
    """A screen reader says of each number which quantity, group and term it belongs to, and no more."""
    rows = [["fixed", "", "a", 1], ["fixed", "", "b", 1], ["variance", "g", "a", 1]]
    found = ElementTree.fromstring(tables.render_html("T", ["q", "g", "t", "v"], rows, left=3))
    assert [[cell.tag for cell in row] for row in found.find("tbody")] == [["th", "td", "th", "td"]] * 2 + [
        ["th", "th", "th", "td"]
    ]
    same = ElementTree.fromstring(tables.render_html("T", ["q", "v"], [["x", 1], ["x", 2]], left=1))
    assert [[cell.tag for cell in row] for row in same.find("tbody")] == [["th", "td"]] * 2


def test_a_p_value_has_four_digits_and_no_size_below_what_a_double_resolves():
    """As R's format.pval() has it; the number itself goes with what is shown."""
    small = tables.p_value(4.500987e-297)
    assert (small, small.exact) == ("< 2.2e-16", "4.500987e-297")
    assert (tables.p_value(0.0), tables.p_value(0.83946), tables.p_value(math.nan)) == ("< 2.2e-16", "0.8395", "")
    assert '<data value="4.500987e-297">&lt; 2.2e-16</data>' in tables.render_html("a", ["b", "c"], [["d", small]])


def test_log_likelihoods_side_by_side_have_one_count_of_decimals():
    assert tables.aligned([-2220.1, -2217.3480641]) == ["-2220.100", "-2217.348"]
    assert tables.aligned([-62.4834445, math.nan, 0.5]) == ["-62.48344", "", "0.50000"]


def test_a_table_is_one_of_pandas_with_all_digits():
    class Shown(tables.Shown):
        def _rendered(self) -> tables.Rendered:
            row = ["a", tables.Cell(tables.number(1 / 3), beside="b", marks=[1]), tables.number(None)]
            return "T", ["x", "y", "z"], [row, ["b", tables.p_value(1e-20), "words"]], 1, [tables.Note("n")]

    expected = pd.DataFrame({"x": ["a", "b"], "y": [1 / 3, 1e-20], "z": [None, "words"]})
    pd.testing.assert_frame_equal(Shown().as_frame(), expected)
    assert Shown().to_html() == tables.render_html(*Shown()._rendered())


def test_names_and_notes_are_not_obeyed_by_a_terminal():
    """Nor do they begin a line, by which GitHub's log takes a command."""
    text = tables.render_text("T", ["g"], [["g\n::error::x"], ["\x1b[31mred"]], 1, ["g\n::stop-commands::x: said"])
    assert text == "T\n\ng\ng\\n::error::x\n\\x1b[31mred\n\ng\\n::stop-commands::x: said"
