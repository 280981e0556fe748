"""Pages: one HTML file, complete in itself."""

import re

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from concord.display import table as tables
from concord.display.media import MEDIA_TYPE, PICTURE_TYPE
from concord.errors import InputError
from concord.reports import site
from concord.reports.exporter import exporter, mathematics
from concord.reports.folds import fold_notes, mark, plumbing
from concord.reports.page import accessible, numbers, page
from support.paths import NOTEBOOKS

ABOUT = {"id": "x-REML", "name": "x", "method": "REML", "status": "completed", "error": "", "cell": None}


def made(*cells, **about) -> str:
    """The page of a notebook with these cells."""
    node = nbformat.v4.new_notebook(cells=list(cells))
    node.metadata["concord"] = {
        **ABOUT,
        "anchor": None,
        "seconds": 1.0,
        "finished": "2026-01-01T00:00:00+00:00",
        **about,
    }
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


def test_words_in_mathematics_are_words():
    """A column's name, such as p<0.05 & more, is no element of the page, and nor is anything else in LaTeX."""
    shown = mathematics(r"\beta_1\,\text{p<0.05 & more}")
    assert "<mtext>p&lt;0.05" in shown and "&amp;" in shown and shown.startswith("<math ")
    assert mathematics(r"a < b").count("<mo>") == 1
    for hostile in (r"\text{</math><img src=x onerror=alert(1)>}", r"\text{{<script>alert(1)</script>}}"):
        assert not re.search(r"<(img|script)", mathematics(hostile)), hostile


def record(verdict: str, settings: str, gap: float, said: str) -> dict:
    """A comparison as its output carries it."""
    key = {"dataset": "d", "model": "m", "method": "REML", "settings": settings, "verdict": verdict}
    python = {"engine": "mixedlm", "language": "Python", "role": "party", "gap": 0.0, "said_so": "silent"}
    r = {"engine": "lme4", "language": "R", "role": "party", "gap": gap, "said_so": said}
    return {"fits": [{**key, **python}, {**key, **r}], "estimates": []}


def test_a_report_begins_with_question_answer_and_picture():
    """Under the title: who is off, by how much, whether it said so, with links; then the picture that is tagged so."""
    outputs = [
        nbformat.v4.new_output("display_data", {MEDIA_TYPE: record(*told), "text/plain": "x"})
        for told in (("r short", "default", 14.2, "warned"), ("agree", "tuned", 0.0, "silent"))
    ]
    drawn = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})
    found = BeautifulSoup(
        made(
            nbformat.v4.new_markdown_cell("# Who is *right*?\n\nA text."),
            nbformat.v4.new_code_cell("from concord import models"),
            nbformat.v4.new_code_cell("compare()", outputs=outputs, id="here"),
            nbformat.v4.new_code_cell("draw()", outputs=[drawn], id="drawn", metadata={"tags": ["answer"]}),
        ),
        "html.parser",
    )
    lines = [" ".join(line.get_text().split()) for line in found.select("h1 + ul.answer li")]
    assert lines == [
        "r short d-m, default settings: lme4 stopped 14 log-likelihood units below the optimum and warned",
        "agree d-m at tuned settings",
    ]
    assert {link["href"] for link in found.select(".answer a")} == {"#cell-id=here"}
    cells = [cell["id"] for cell in found.select("main > .cell")]
    assert cells.index("cell-id=drawn") == 1 and cells[-1] == "cell-id=drawn-above"
    assert found.title.get_text() == "Who is right?, REML · Concord"


def test_a_report_on_ones_own_table_begins_with_formula_weights_verdict_and_what_to_do():
    """The model's name is not said again; of a remedy the first sentence stands there, and the way to the rest."""
    bundle = {MEDIA_TYPE: record("r short", "default", 14.2, "warned"), "text/plain": "x"}
    output = nbformat.v4.new_output("display_data", bundle)
    told = "<h4>lme4: do this &amp; that</h4>\n<p>With it, it arrives.<br>It still warns.</p><pre><code>x</code></pre>"
    remedy = nbformat.v4.new_output("display_data", {"text/html": told, "text/plain": "x"})
    found = BeautifulSoup(
        made(
            nbformat.v4.new_markdown_cell("# Who is right?"),
            nbformat.v4.new_code_cell('formula, n = "", 1', metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell('formula = "y ~ x"\nweights = "w"', metadata={"tags": ["injected-parameters"]}),
            nbformat.v4.new_code_cell("compare()", outputs=[output], id="here"),
            nbformat.v4.new_code_cell("r()", outputs=[remedy], id="there", metadata={"tags": ["remedies"]}),
            alone=True,
        ),
        "html.parser",
    )
    assert found.h1.get_text() == "x: y ~ x, weights w, REML" == found.title.get_text().removesuffix(" · Concord")
    lines = [" ".join(line.get_text().split()) for line in found.select("ul.answer li")]
    assert lines == [
        "r short default settings: lme4 stopped 14 log-likelihood units below the optimum and warned",
        "What to do: lme4: do this & that: With it, it arrives. More",
    ]
    assert [link["href"] for link in found.select(".answer a")] == ["#cell-id=here", "#cell-id=there"]


def test_the_picture_at_the_top_says_which_section_it_is_from():
    """And a link within a notebook, which has a heading's capitals, leads to the heading of the page."""
    drawn = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})
    found = BeautifulSoup(
        made(
            nbformat.v4.new_markdown_cell("# Q\n\nMore [below](#A-steep-Slope)."),
            nbformat.v4.new_markdown_cell("## A steep Slope"),
            nbformat.v4.new_code_cell("draw()", outputs=[drawn], id="drawn", metadata={"tags": ["answer"]}),
            nbformat.v4.new_markdown_cell("## Later"),
        ),
        "html.parser",
    )
    link = found.find(id="cell-id=drawn").find_previous("a")
    assert link.get_text() == "A steep Slope" and found.find(id=link["href"][1:]).get_text() == "A steep Slope"
    assert found.find("a", string="below")["href"] == link["href"]


def test_a_page_of_ones_own_model_is_called_after_it():
    """Formula and file stand in the title; the question follows it."""
    node = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Your own model"),
            nbformat.v4.new_code_cell("formula = 'y ~ x + (1 | g)'", metadata={"tags": ["injected-parameters"]}),
        ]
    )
    node.metadata["concord"] = {**ABOUT, "alone": True, "name": "mine", "anchor": None, "seconds": 1.0}
    node.metadata["concord"]["finished"] = "2026-01-01T00:00:00+00:00"
    found = BeautifulSoup(page(node), "html.parser")
    assert found.h1.get_text() == "mine: y ~ x + (1 | g), REML" == found.title.get_text().removesuffix(" · Concord")
    assert found.select_one("h1 + p").get_text() == "Your own model"


def test_the_packages_code_stands_open_and_concords_is_folded():
    """What a reader came to see is there; what imports and draws waits; elsewhere nothing is folded."""
    native = ["m = smf.mixedlm('y ~ x', d)", "%%R\nfit <- lmer(y ~ x)", "x = model.fit()"]
    own = ["from concord import models", "compare(a, b).check()", "[engine.fit(model) for engine in engines]"]
    cells = [nbformat.v4.new_code_cell(source) for source in native + own]
    folded = {cell.source for cell in cells if cell.id in plumbing(cells)}
    assert folded == set(own) and plumbing(cells[:3]) == set()


def test_a_text_is_shown_without_pythons_quotes():
    """What a cell says is a sentence; any other value is as Python writes it."""
    outputs = [
        nbformat.v4.new_output("execute_result", {"text/plain": text})
        for text in ("'No sweep: it\\'s slow'", "[1, 'a']")
    ]
    found = BeautifulSoup(made(*(nbformat.v4.new_code_cell("x", outputs=[one]) for one in outputs)), "html.parser")
    assert found.select_one(".shown p").get_text() == "No sweep: it's slow"
    assert found.select_one(".shown pre").get_text() == "[1, 'a']"


def test_words_of_the_house_say_what_they_mean():
    found = BeautifulSoup(made(nbformat.v4.new_markdown_cell("is *short*, not *long*")), "html.parser")
    (word,) = found.select("main .word")
    assert word["href"] == "words.html#word-short" and "below the optimum" in word["title"]


def test_missing_templates_are_one_line(tmp_path):
    with pytest.raises(InputError, match="no template 'absent'.*JUPYTER_PATH") as caught:
        exporter("absent", tmp_path, {})
    assert "\n" not in str(caught.value)


AGREES = ["agree", "✓", "same", "differs by definition (ML)", "defined otherwise, same number here"]
DIFFERS = ["agree at a lower optimum", "not the same", "both short", "✗", "defined otherwise", ""]


@pytest.mark.parametrize("column", ["same?", "verdict"])
def test_only_rows_that_agree_are_folded(column):
    """Whole words: a row that says more, or too little to have such a column, stays in view, and so does the head."""
    rows = "".join(f"<tr><td>x</td><td>{word}</td></tr>" for word in [*AGREES, *DIFFERS])
    head = f"<thead><tr><th>what</th><th>{column}</th></tr></thead>"
    soup = BeautifulSoup(f"<table>{head}<tbody>{rows}<tr><td>agree</td></tr></tbody></table>", "html.parser")
    mark(soup.table)
    folded = [row.find_all("td")[1].get_text() for row in soup.select("tr.agreeing")]
    assert folded == AGREES and len(soup.select(".answered")) == 1 + len(AGREES) + len(DIFFERS)


def test_a_row_that_ticks_in_a_table_that_says_nothing_is_not_folded():
    """What is `ok` of a table is so only where its title says that all of it agrees."""
    for title, count in (("Checks: agree", 1), ("Checks: r short", 0)):
        soup = BeautifulSoup(
            f"<table><caption><strong>{title}</strong></caption><thead><tr><th>what</th><th>ok</th></tr></thead>"
            "<tbody><tr><td>x</td><td>✓</td></tr></tbody></table>",
            "html.parser",
        )
        mark(soup.table)
        assert len(soup.select("tr.agreeing")) == count


def test_a_numbered_note_leads_to_its_definition_on_the_page_of_words():
    """To an anchor that is there; a note that tells no definition leads nowhere, nor on a page that stands alone."""
    notes = [tables.Note("Standard errors: given theta.", "interval_of_ratio"), tables.Note("lme4: has none.")]
    given = tables.render_html("T", ["q", "v"], [["a", tables.Cell("1", marks=[1, 2])]], notes=notes)
    output = nbformat.v4.new_output("execute_result", {"text/html": given}, execution_count=1)
    cell = nbformat.v4.new_code_cell("sheet", outputs=[output])
    linked, other = BeautifulSoup(made(cell), "html.parser").select("ol.notes li")
    assert linked.a["href"] == "words.html#interval-of-ratio" and linked.a.text == "Standard errors"
    assert not other.a and 'id="interval-of-ratio"' in site.words()
    alone = made(cell, alone=True)
    assert "ol" in alone and "words.html" not in alone


def test_many_notes_wait_behind_a_line_and_few_stand_open():
    """What is not a note ends them."""
    for words, count in (("a short note", 0), ("a long note " * 40, 1)):
        soup = BeautifulSoup(
            f'<div><table class="concord"></table><ol><li>{words}</li><li>b</li></ol><h2>Next</h2><p>text</p></div>',
            "html.parser",
        )
        fold_notes(soup)
        assert len(soup.select("details.notes")) == count
        assert [one.name for one in soup.div.find_all(recursive=False)][-2:] == ["h2", "p"]
        if count:
            assert soup.summary.get_text() == "2 notes on this table" and len(soup.select("details li")) == 2
