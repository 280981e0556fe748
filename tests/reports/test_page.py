"""Pages: one HTML file, complete in itself."""

import re

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from concord.display.media import PICTURE_TYPE
from concord.errors import InputError
from concord.reports.exporter import exporter, mathematics
from concord.reports.page import accessible, numbers, page
from support.paths import NOTEBOOKS

ABOUT = {"id": "x-REML", "name": "x", "method": "REML", "status": "completed", "error": "", "cell": None}


def made(*cells) -> str:
    """The page of a notebook with these cells."""
    node = nbformat.v4.new_notebook(cells=list(cells))
    node.metadata["concord"] = {**ABOUT, "anchor": None, "seconds": 1.0, "finished": "2026-01-01T00:00:00+00:00"}
    return page(node)


@pytest.mark.parametrize(
    "text", ["no formula", "a formula: $x_i^2$", "$$\\sum_i \\beta_i$$", "\\begin{align}x\\end{align}"]
)
def test_a_page_asks_the_network_for_nothing_with_or_without_mathematics(text):
    """No script, style or picture comes from elsewhere."""
    content = made(nbformat.v4.new_markdown_cell(text))
    assert not re.search(r"""(src|href)\s*=\s*["'](https?:)?//""", content)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", content)


def test_formulas_are_mathml_and_dollars_in_code_stay():
    """Inline and display formulas become <math>; code and money are left alone."""
    content = made(
        nbformat.v4.new_markdown_cell("with $\\sigma_u^2$ and\n\n$$\\beta_0 + \\beta_1$$\n\nand `$not$` code"),
        nbformat.v4.new_code_cell("price = '$5'"),
    )
    assert content.count("<math") == 2
    assert 'display="block"' in content and 'display="inline"' in content
    assert "$not$" in content and "'$5'" in content
    assert "$$" not in content


def test_the_table_of_a_picture_has_its_numbers_and_names_as_they_are():
    """A number is shown short and kept whole; a name made of digits, a missing value and a comma stay what they are."""
    content = 'level,n,x\n007,1234567,0.1234567890123\n"a,b",2,\n'
    record = {"alt": "Says <b> it.", "tables": [{"title": "T", "rows": 9, "csv": content}]}
    output = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo=", PICTURE_TYPE: record})
    found = BeautifulSoup(made(nbformat.v4.new_code_cell("draw()", outputs=[output])), "html.parser")
    rows = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in found.select("figure table tr")]
    assert rows == [["level", "n", "x"], ["007", "1234567", "0.123457"], ["a,b", "2", ""]]
    assert [each["value"] for each in found.select("figure data")] == ["0.1234567890123"]
    assert found.img["alt"] == "Says <b> it." and "2 of 9 rows" in found.figure.caption.get_text()


def test_an_undescribed_picture_says_that_it_is():
    output = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})
    assert 'alt="A picture that nobody has described, made by cell 1."' in made(
        nbformat.v4.new_code_cell("draw()", outputs=[output])
    )


def test_tables_of_pandas_get_headings_a_caption_and_a_frame():
    """Column and row headings say so, a corner without text does not, and the frame scrolls by keyboard."""
    frame = pd.DataFrame({"x": [1.5]}, index=pd.Index(["a"], name="name"))
    found = BeautifulSoup(accessible(frame.to_html(), "Table shown by cell 3"), "html.parser")
    assert {cell.get_text(): cell["scope"] for cell in found.find_all("th")} == {"x": "col", "name": "col", "a": "row"}
    assert found.caption.get_text() == "Table shown by cell 3"
    frame = found.find("div", class_="scroll")
    assert (frame["tabindex"], frame["role"], frame["aria-label"]) == ("0", "region", "Table shown by cell 3")


def test_headings_go_down_one_level_at_a_time_and_frames_have_names_of_their_own():
    twice = [nbformat.v4.new_output("display_data", {"text/html": "<table><caption>T</caption></table>"})] * 2
    content = made(
        nbformat.v4.new_markdown_cell("# One\n\n#### Four\n\n## Two\n\n## Two"),
        nbformat.v4.new_code_cell("x", outputs=twice),
    )
    found = BeautifulSoup(content, "html.parser")
    assert [(each.name, each["id"]) for each in found.find_all(re.compile("^h[1-6]$"))] == [
        ("h1", "one"),
        ("h2", "four"),
        ("h2", "two"),
        ("h2", "two-2"),
    ]
    assert [each["aria-label"] for each in found.select(".scroll")] == ["T", "T, shown again (2)"]


def test_cells_are_counted_as_their_author_counts_them():
    """What a run puts in, its parameters and a banner, has no number of its own."""
    tagged = {"banner": "concord-failure", "a": "parameters", "b": "injected-parameters", "c": "verdict"}
    cells = [nbformat.v4.new_code_cell("x", id=name, metadata={"tags": [tag]}) for name, tag in tagged.items()]
    assert numbers(cells) == {"banner": 0, "a": 1, "b": 1, "c": 2}


def test_every_picture_of_the_committed_notebooks_says_what_it_shows():
    """A picture whose words are missing was made by a function that does not describe it, or before it did."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        for cell in nbformat.read(path, 4).cells:
            for output in cell.get("outputs", ()):
                if "image/png" in output.get("data", {}):
                    assert output.metadata.get("image/png", {}).get("alt"), f"{path.name}, {cell.id}: run make refresh"


def test_a_formula_that_cannot_be_translated_is_shown_as_written():
    """A reader sees the source rather than nothing, and markup in it stays text."""
    assert mathematics(r"<b>\left(") == r"<code>&lt;b&gt;\left(</code>"


def test_missing_templates_are_one_line(tmp_path):
    with pytest.raises(InputError, match="no template 'absent'.*JUPYTER_PATH") as caught:
        exporter("absent", tmp_path, {})
    assert "\n" not in str(caught.value)
