"""Tables for reading: numbers with their digits, text escaped, columns that line up."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from concord import tables


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


def test_text_lines_up():
    """Words stand to the left, numbers to the right, under their headings, with the notes below."""
    lines = tables.render_text("Caption", HEADER, ROWS, left=2, notes=["A note."]).splitlines()
    assert lines[0] == "Caption" and lines[-1] == "A note."
    assert lines[2:5] == [
        "term      group   a & b",
        "var__<x>  Pig       1.5",
        "Time             -12.25",
    ]


def test_a_table_without_rows_has_its_header():
    """Nothing to show is an empty table, not an error."""
    assert "term" in tables.render_text("Caption", HEADER, [])
    assert "<tbody>" in tables.render_html("Caption", HEADER, [])
