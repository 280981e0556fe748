"""HTML and SVG: numbers in attributes and paths, ids that a run makes up, and nothing left out."""

from __future__ import annotations

import io

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest

from nbval_tolerance.markup import differences, with_ids_of


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<td>0.25</td>", "<td>0.2500001</td>"),
        ('<data value="1.4999999">1.5</data>', '<data value="1.4999998">1.5</data>'),
        ('<data value="1.5000001">1.5</data>', "1.5"),
        ('<meter value="0.25">a quarter</meter>', '<meter value="0.2500001">a quarter</meter>'),
        ("<td style='width: 33.3%'>x</td>", "<td style='width: 33.30001%'>x</td>"),
        ('<path d="M1.5-2L.5.25Z"/>', '<path d="M1.5000001-2L.5.2500001Z"/>'),
        ('<g transform="translate(1.5,2) rotate(-90)">', '<g transform="translate(1.5000001,2.0000001) rotate(-90)">'),
        ('<svg width="460.8pt" viewBox="0 0 460.8 345.6">', '<svg width="460.8001pt" viewBox="0 0 460.8001 345.6">'),
        ('<circle cx="1.5" r="2.5"/>', '<circle cx="1.5000001" r="2.5"/>'),
        ("<b style='color: red'>0.5</b>", "<b style='color: red'>0.5000001</b>"),
        (
            "<metadata>\n<dc:date>2026-11-28</dc:date>\n</metadata>",
            "<metadata><dc:date>2026-11-29</dc:date></metadata>",
        ),
        ('<i id="T_a3f09_row0"></i><a href="#T_a3f09_row0">', '<i id="T_bb1e2_row0"></i><a href="#T_bb1e2_row0">'),
    ],
)
def test_equal_within_tolerance(old: str, new: str) -> None:
    assert differences(old, new, rtol=1e-6) == []
    assert differences(new, old, rtol=1e-6) == []


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('<data value="1.5">1.5</data>', '<data value="9.9">1.5</data>', "in full, 1.5 became 9.9"),
        ('<data value="9.9">1.5</data>', "1.5", "in full, 9.9 became 1.5"),
        ('<data value="1.5">1.5</data>', '<data value="1.5">1.6</data>', "1.5 became 1.6"),
        ('<data value="a">1.5</data>', '<data value="b">1.5</data>', "text"),
        ('<meter value="0.25">', '<meter value="0.26">', "0.25 became 0.26"),
        ('<td colspan="2">', '<td colspan="3">', "whole numbers"),
        ('<td class="good">', '<td class="bad">', "text"),
        ('<b style="color: #fff000">', '<b style="color: #fff001">', "text"),
        ('<time datetime="2026-11-28">', '<time datetime="2026-11-29">', "text"),
        ('<a href="table_1.5.csv">', '<a href="table_1.6.csv">', "text"),
        ('<path d="M1.5-2"/>', '<path d="M1.51-2"/>', "1.5 became 1.51"),
        ('<path d="M1.5-2"/>', '<path d="M1.5 2"/>', "whole numbers"),
        ('<path d="M1.5-2"/>', '<path d="L1.5-2"/>', "text"),
        ("<td>1</td>", "<th>1</th>", "text"),
        ("<b>1.5</b>", "1.5", "text"),
        ("<!-- 1.5 -->", "<!-- 1.6 -->", "1.5 became 1.6"),
        ("<script>f([1.5, 2])</script>", "<script>f([1.6, 2])</script>", "1.5 became 1.6"),
        ('<i id="results">', '<i id="summary">', "text"),
        ('<i id="12345">12345', '<i id="67890">67890', "12345 became 67890"),
    ],
)
def test_differs(old: str, new: str, why: str) -> None:
    assert why in "\n".join(differences(old, new))
    assert differences(new, old)


def test_ids_are_renamed_only_one_for_one() -> None:
    old = '<i id="x-aaaaa"><i id="x-bbbbb"><a href="#x-aaaaa">'
    assert differences(old, '<i id="x-11111"><i id="x-22222"><a href="#x-11111">') == []
    assert differences(old, '<i id="x-11111"><i id="x-22222"><a href="#x-22222">'), "another target"
    assert differences(old, '<i id="x-11111"><i id="x-11111"><a href="#x-11111">'), "two became one"
    assert differences(old, '<i id="x-bbbbb"><i id="x-22222"><a href="#x-bbbbb">'), "taken by another element"
    assert (
        with_ids_of('<i id="a-aaaaa">', '<i id="a-bbbbb"> a-bbbbb-2 and a-bbbbb')
        == '<i id="a-aaaaa"> a-bbbbb-2 and a-aaaaa'
    )


def test_pandas_styled_table_agrees_with_its_next_display() -> None:
    """pandas makes up an id each time, which its style sheet and every cell's id are made of."""

    def table(value: float) -> str:
        return pd.DataFrame({"a": [value, 2.5], "b": [0.25, 4]}).style.bar().format(repr).to_html()

    once, again = table(1.5), table(1.5)
    assert once != again
    assert differences(once, again) == []
    assert differences(once, table(1.5000001)) == []
    assert any("1.5 became 1.51" in sentence for sentence in differences(once, table(1.51)))


def test_matplotlib_svg_agrees_with_its_next_drawing() -> None:
    """matplotlib makes up ids for clip paths and markers each time, and dates the file."""

    def drawing(top: float) -> str:
        figure = matplotlib.figure.Figure(figsize=(3, 2))
        axes = figure.subplots()
        axes.set(ylim=(0, 2), xlim=(0, 2))
        axes.plot(np.arange(3), [0.5, top, 1], marker="o")
        file = io.StringIO()
        figure.savefig(file, format="svg")
        return file.getvalue()

    once, again = drawing(1.5), drawing(1.5)
    assert once != again
    assert differences(once, again) == []
    assert differences(once, drawing(1.5 + 1e-9)) == []
    assert differences(once, drawing(1.51))
