"""Pages: one HTML file, complete in itself."""

import re
from pathlib import Path

import nbformat
import pytest

from concord.pages import mathematics, page

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


def test_every_picture_of_the_committed_notebooks_says_what_it_shows():
    """A picture whose words are missing was made by a function that does not describe it, or before it did."""
    for path in sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, 4).cells:
            for output in cell.get("outputs", ()):
                if "image/png" in output.get("data", {}):
                    assert output.metadata.get("image/png", {}).get("alt"), f"{path.name}, {cell.id}: run make refresh"


def test_a_formula_that_cannot_be_translated_is_shown_as_written():
    """A reader sees the source rather than nothing, and markup in it stays text."""
    assert mathematics(r"<b>\left(") == r"<code>&lt;b&gt;\left(</code>"
