"""The report site in a real browser: from disk, with no network, in light and dark, on a phone, by keyboard alone."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import re
import shutil
from collections.abc import Container, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from concord import releases
from concord.account.definitions import definitions
from concord.agreement.comparison import compare
from concord.cases import Collection
from concord.display.media import FINDINGS_TYPE
from concord.engines.answers import answer
from concord.models import model
from concord.plots.trajectories import trajectories
from concord.releases import changes
from concord.reports import page as pages
from concord.reports import site
from concord.reports.cell_origins import TAG
from concord.reports.execution import Execution, labelled, mark_failure
from concord.versions import versions
from support.paths import NOTEBOOKS

EVIL = "<script>window.evil = 1</script><img src='https://example.invalid/x.png' alt='x'><b>still here</b>"
BROKEN = "1 / 0"


def shown(thing) -> nbformat.NotebookNode:
    """An object's output, as a kernel would write it."""
    bundle = thing._repr_mimebundle_()
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
    return nbformat.v4.new_output("execute_result", data, metadata=metadata, execution_count=1)


def text(source: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_markdown_cell(source)


def code(source: str, *outputs: nbformat.NotebookNode, tags: Sequence[str] = ()) -> nbformat.NotebookNode:
    metadata = {"tags": list(tags)}
    return nbformat.v4.new_code_cell(source, outputs=list(outputs), execution_count=1, metadata=metadata)


def kept(name: str, *cells: nbformat.NotebookNode) -> site.Kept:
    """What is kept of a report by REML."""
    about = {"id": f"{name}-REML", "name": name, "method": "REML", "status": "completed", "error": "", "cell": None}
    about |= {"anchor": None, "seconds": 1.5, "finished": datetime.now(UTC).isoformat()}
    return about, nbformat.v4.new_notebook(cells=list(cells))


def front_page(notebooks: Sequence[site.Kept], datasets: Container[str] = frozenset()) -> str:
    return site.index(notebooks, datetime.now(UTC), site.grid(notebooks, datasets))


def stream(content: str, name: str = "stdout") -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name=name, text=content)


@pytest.fixture(scope="module")
def comparisons():
    """Two models, one of which lme4's defaults miss; the other at both settings."""
    found = {}
    for id, every in (("sitka-random_slope", ["default"]), ("dyestuff-random_intercept", ["default", "tuned"])):
        for settings in every:
            fits = [answer(model.get(id), engine, settings) for engine in ("statsmodels", "lme4")]
            found[id, settings] = compare(*fits)
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory, comparisons) -> Path:
    """A site of every kind of page: a story, one that failed, one that stands alone, and a committed notebook."""
    output = tmp_path_factory.mktemp("site") / "build"
    sitka = comparisons["sitka-random_slope", "default"]
    frame = model.get("sitka-random_slope").frame
    figure = trajectories(frame, "Time", "size", "tree", ("days", "log size"))
    of_versions = shown(versions())
    of_versions.data["text/html"] = versions().to_html()
    long = "x = '" + "wide " * 60 + "'"
    story = [
        text(
            "# A story\n\n[Another](dietox.ipynb), [one that did not run](sitka.ipynb),  $\\sigma_u^2$ and\n\n$$"
            + " + ".join(f"\\beta_{{{i}}} x_{{{i}}}" for i in range(30))
            + "$$"
        ),
        text("### Too deep\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n## Again\n\n## Again"),
        code(
            "python = smf.mixedlm('size ~ Time', sitka, groups=sitka['tree']).fit()",
            stream("printed\n" + long),
            tags=[TAG],
        ),
        code(
            "%%R -i sitka\nr <- lmer(size ~ Time + (1 | tree), data = sitka)",
            stream("a warning\n", "stderr"),
            tags=[TAG],
        ),
        code("compare(mixedlm.from_native(python), lme4.from_native(globalenv['r']))", shown(sitka)),
        code("changes.Newest(results)", shown(changes.Newest(releases.read()))),
        code("everything()", *(shown(each) for each in comparisons.values())),
        code("Collection(comparisons)", shown(Collection(comparisons.values()))),
        code("plots.trajectories(sitka)", shown(figure)),
        code("frame.head()", nbformat.v4.new_output("display_data", {"text/html": frame.head().to_html()})),
        code("versions()", of_versions),
        nbformat.v4.new_markdown_cell("## Later\n\nAt first.", metadata={"tags": ["fold"]}),
        code("EVIL", nbformat.v4.new_output("display_data", {"text/html": EVIL})),
    ]
    began = datetime.now(UTC)
    (output / "notebooks").mkdir(parents=True)
    (output / "reports").mkdir()

    def keep(name: str, cells, folder: Path = output, error: str = "", **more) -> None:
        notebook = nbformat.v4.new_notebook(cells=cells)
        if error:
            execution = mark_failure(notebook, "failed", error, 0, 1.0)
        else:
            execution = Execution(nbformat.writes(notebook), "completed", "", None, None, 1.0)
        made = labelled(execution, f"{name}-REML", name, "REML", **more)
        where = folder if more.get("alone") else folder / "notebooks"
        nbformat.write(made, where / f"{name}-REML.ipynb")
        (folder if more.get("alone") else folder / "reports").joinpath(f"{name}-REML.html").write_text(pages.page(made))

    keep("story", story)
    keep("broken", [code(BROKEN)], error="ZeroDivisionError: division by zero")
    for name in ("dietox", "compare"):
        path = NOTEBOOKS / f"{name}.ipynb"
        alone = {"alone": True} if name == "compare" else {}
        (output / "alone").mkdir(exist_ok=True)
        keep(name, nbformat.read(path, 4).cells, output / "alone" if alone else output, **alone)
    site.publish(
        output, {f"{name}-REML" for name in ("story", "broken", "dietox")}, began, ["story", "sitka", "dietox"]
    )
    return output


PAGES = [
    "reports/index.html",
    "reports/code.html",
    "reports/words.html",
    "reports/story-REML.html",
    "reports/broken-REML.html",
    "reports/dietox-REML.html",
    "reports/datasets/index.html",
    "reports/datasets/sitka.html",
    "alone/compare-REML.html",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "no chromium on the PATH: scripts/setup.sh installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Heard:
    """What the pages of a context asked for, and what went wrong in them."""

    def __init__(self, context: BrowserContext) -> None:
        self.requests: list[str] = []
        self.failed: dict[str, str] = {}
        self.wrong: list[str] = []
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("requestfailed", lambda request: self.failed.update({request.url: request.failure}))
        context.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)
        context.on("weberror", lambda error: self.wrong.append(str(error.error)))


@pytest.fixture
def opened(browser, built):
    """Opens a page of the site from disk, with settings of the browser, and tells what is heard of it."""
    contexts = []

    def open(path: str, **settings) -> tuple[Page, Heard]:
        context = browser.new_context(accept_downloads=True, **settings)
        contexts.append(context)
        heard = Heard(context)
        page = context.new_page()
        page.goto((built / path.partition("#")[0]).as_uri() + "".join(path.partition("#")[1:]))
        return page, heard

    yield open
    for context in contexts:
        context.close()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_sound_in_light_and_dark_and_asks_nobody_for_anything(opened, path):
    """No request but for the page itself; no violation of the accessibility rules; every picture says what it shows."""
    page, heard = opened(path)
    for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page, options={"resultTypes": ["violations"], **rules}).response["violations"]
        assert [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found] == []
    gone = [url for url in heard.requests if heard.failed.get(url) != "csp"]
    assert {urlsplit(url).scheme for url in gone} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in gone) == 1
    blocked = [message for message in heard.wrong if "Content Security Policy" in message]
    assert [message for message in heard.wrong if message not in blocked] == []
    assert bool(blocked) == ("story" in path)  # whose output tries
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert page.locator(landmark).count() >= 1, landmark
    for image in page.locator("img").all():
        assert len(image.get_attribute("alt")) > 0


def test_an_address_that_names_nothing_of_a_page_breaks_nothing(opened):
    """A stray %, and a column that is none: what a reader cuts off, or another page's link."""
    page, _ = opened("reports/index.html")
    tables = [table.get_attribute("id") for table in page.locator("table.sortable").all()]
    assert tables
    for address in ("%", "?grid.sort=%", *(f"?{table}.sort=length+ascending" for table in tables)):
        page, heard = opened(f"reports/index.html#{address}")
        assert page.locator("table.sortable th button").count() > 0 and heard.wrong == [], address


@pytest.mark.parametrize("path", PAGES)
def test_on_a_phone_nothing_but_frames_scrolls_sideways(opened, path):
    """At 360 pixels the page is as wide as the screen, even where code, formulas and tables are wider."""
    page, _ = opened(path, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]") == [360, 360]
    narrow = Axe().run(page, options={"runOnly": ["scrollable-region-focusable"]}).response["violations"]
    assert [node["html"][:200] for rule in narrow for node in rule["nodes"]] == []
    if "story" in path:
        page.locator(".frame").evaluate("(each) => each.scrollIntoView()")
        assert page.evaluate(
            "[...document.querySelectorAll('.scroll, pre, .formula')].some((e) => e.scrollWidth > e.clientWidth)"
        )
        assert page.locator("img").first.evaluate("(each) => each.clientWidth") >= 500  # readable, in its frame


def test_on_a_phone_a_table_shows_whose_a_number_is_the_number_and_the_answer(opened):
    """Side by side within 390 pixels, nothing scrolled; what agrees is a button away, and in the file either way."""
    page, _ = opened("alone/compare-REML.html", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    table = page.locator("table:has(th:text-is('lme4')):has(.answered)").first
    assert table.locator("tbody tr:visible").count() == 0
    page.get_by_role("button", name=re.compile("^Show 9 rows that agree")).first.click()
    row = table.locator("tbody tr").nth(4)
    for place in (row.locator("th").first, row.locator(".number:visible").first, row.locator(".answered")):
        box = place.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert row.locator("th").first.inner_text().split("\n") == ["standard error", "Days"]


@pytest.mark.parametrize("width", [1280, 1920])
def test_on_a_wide_screen_every_column_of_a_comparison_is_in_view(opened, width):
    """A table wider than the text takes the room beside it, one that is not begins with the text; the text stays."""
    page, _ = opened("alone/compare-REML.html", viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    column = page.locator("main > .cell").first.bounding_box()
    assert column["width"] == 61.5 * 16
    cards = [each.bounding_box() for each in page.locator(".scroll > .card:visible").all()]
    assert max(card["width"] for card in cards) > column["width"]
    for card in cards:
        assert card["x"] >= 20 and card["x"] + card["width"] <= width - 20
        assert card["x"] == pytest.approx(min(column["x"], width - 28 - card["width"]), abs=1)
    page.emulate_media(media="print")
    assert page.locator(".scroll:visible").first.bounding_box()["x"] == page.locator("main").bounding_box()["x"]


def test_the_first_screen_says_what_ran_and_leads_on(opened):
    """What this is, the versions with their day, how many models, all counted once; the search finds each by a part."""
    page, _ = opened("reports/index.html", viewport={"width": 1280, "height": 900})
    said = page.locator("header").inner_text()
    assert "2 linear mixed models" in said
    assert f"statsmodels {importlib.metadata.version('statsmodels')}" in said
    assert page.locator("header time").get_attribute("datetime") == datetime.now(UTC).date().isoformat()
    for name in ("header", ".search", ".tally", "#your-own-model"):
        box = page.locator(name).bounding_box()
        assert box["y"] + box["height"] < 900, name
    page.get_by_role("searchbox").fill("SITKA short")
    assert page.locator("#search-found li:visible a").all_text_contents() == ["sitka-random_slope"]
    page.get_by_role("searchbox").fill("bic")
    found = page.locator("#search-found li:visible a")
    assert found.count() and all("BIC" in name for name in found.all_text_contents())
    page.get_by_role("searchbox").fill("restricted")
    page.keyboard.press("Enter")
    page.wait_for_url("**/words.html#word-REML")
    assert page.locator(":target").inner_text() == "REML"


def test_every_definition_has_its_place_and_its_formula_is_mathematics():
    """As many as the data have, each with an anchor; no formula is shown as it was written."""
    soup = BeautifulSoup(site.words(), "html.parser")
    listed = definitions()
    assert {heading["id"] for heading in soup.select(".definition h3")} == {name.replace("_", "-") for name in listed}
    formulas = soup.select(".definition .formula")
    assert len(formulas) == sum(bool(each.latex) for each in listed.values()) > 30
    assert all(formula.math is not None and formula.code is None for formula in formulas)


def test_a_finding_has_a_card_and_is_searched():
    """As the notebook of findings displays them: those marked stand on the front page, all are found."""
    listed = [
        {"id": f"f{i}", "title": f"Title <{i}>", "package": "lme4", "card": i % 2 == 0, "more": 1} for i in range(14)
    ]
    displayed = nbformat.v4.new_output("display_data", {FINDINGS_TYPE: listed})
    soup = BeautifulSoup(front_page([kept("findings", code("shelf.table", displayed))]), "html.parser")
    links = {link["href"]: link.get_text() for link in soup.select(".cards a")}
    assert links == {f"findings.html#f{i}": f"Title <{i}>" for i in (0, 2, 4, 6, 8)}
    assert len(soup.select("#search-found a[href^='findings.html#']")) == 14 and "All 14 findings" in soup.get_text()


def test_agreement_leads_to_the_page_of_the_data_set(comparisons):
    """Where that data set has a page; what does not agree leads to where it is shown."""
    about, notebook = kept("s", code("everything()", *map(shown, comparisons.values())))
    made = front_page([(about, notebook)], {"dyestuff", "sitka"})
    links = {
        row["data-dataset"]: [link["href"] for link in row.select("td a:has(.chip)")]
        for row in BeautifulSoup(made, "html.parser").select("#grid tbody tr")
    }
    assert links["dyestuff"] == ["datasets/dyestuff.html#dyestuff-random_intercept"] * 2
    assert links["sitka"] == [f"s-REML.html#cell-id={notebook.cells[0].id}"]


def test_the_front_page_has_the_newest_releases_and_the_days_of_their_runs(opened):
    """As they are committed, a row a run; counts of verdicts beside them, and the way to the page that has it all."""
    page, _ = opened("reports/index.html", viewport={"width": 1280, "height": 900})
    rows = page.locator("#by-release tbody tr").all()
    runs = releases.read().runs.iloc[::-1]
    assert len(rows) == len(runs) >= 5
    for row, about in zip(rows, runs.to_dict("records"), strict=True):
        words = row.inner_text().split()
        assert words[:4] == [about[name] for name in ("lme4", "statsmodels", "R", "Python")]
        assert about["finished"][:10] in words and "agree" in words
    counts = [int(each.inner_text()) for each in rows[0].locator(".count").all()]
    assert sum(counts) == 2 * 54
    table = page.locator("#by-release")
    assert table.evaluate("(each) => each.scrollWidth <= each.closest('.scroll').clientWidth + 2")
    assert page.locator("#by-release caption a").get_attribute("href") == "story-REML.html"


def test_formulas_are_drawn_without_help(opened):
    """The browser lays MathML out: superscript above, base below, nothing of no size."""
    page, _ = opened("reports/story-REML.html")
    boxes = [each.bounding_box() for each in page.locator("math").all()]
    assert len(boxes) == 2 and all(box["width"] > 10 and box["height"] > 10 for box in boxes)
    upper, lower = (page.locator("math msubsup > *").nth(i).bounding_box() for i in (2, 1))
    assert upper["y"] < lower["y"]
    assert page.locator("math").first.get_attribute("alttext") == r"\sigma_u^2"


def test_the_keyboard_alone_sorts_filters_and_reaches_the_content(opened):
    """Tab, Enter and arrows are enough, what happens is announced, and the view has an address."""
    page, _ = opened("reports/index.html")

    def focused(script: str):
        return page.evaluate(f"((e) => {script})(document.activeElement)")

    def tab_to(wanted: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if focused(wanted):
                assert focused("getComputedStyle(e).outlineStyle") == "solid"
                return
        raise AssertionError(f"no Tab leads to {wanted}")

    page.keyboard.press("Tab")
    assert focused("e.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert focused("e.id") == "content"
    visible = (
        "[...document.querySelectorAll('#grid tbody tr')].filter((r) => !r.hidden).map((r) => r.cells[0].textContent)"
    )
    both = ["dyestuff-random_intercept", "sitka-random_slope"]
    assert page.evaluate(visible) == both[::-1]  # what is off comes first

    tab_to("e.name === 'verdict' && e.form.getAttribute('data-for') === 'grid'")
    page.keyboard.type("r short")
    assert page.evaluate(visible) == both[1:]
    assert page.locator("#grid-shown").text_content() == "1 of 2 models shown."
    assert page.locator("#grid-shown").get_attribute("role") == "status"
    tab_to("e.name === 'engine'")
    assert page.locator("form[data-for=grid] select[name=engine] option").all_text_contents() == ["any", "lme4"]
    tab_to("e.textContent === 'Show all'")
    page.keyboard.press("Space")
    assert page.evaluate(visible) == both[::-1]

    tab_to("e.textContent === 'default, REML'")
    page.keyboard.press("Enter")
    assert page.evaluate(visible) == both  # by gap
    page.keyboard.press("Enter")
    assert page.evaluate(visible) == both[::-1]
    assert focused("e.closest('th').getAttribute('aria-sort')") == "descending"
    page.reload()
    assert page.evaluate(visible) == both[::-1]
    assert page.locator("th[aria-sort]").all_text_contents() == ["default, REML"]


def test_every_fit_is_found_by_verdict_engine_and_dataset(opened):
    page, _ = opened("reports/index.html")
    page.get_by_text("6 fits, to filter").click()
    form = page.locator("form[data-for=fits]")
    rows = page.locator("#fits tbody tr:visible")
    total = rows.count()
    assert total == 6
    form.get_by_label("Engine").select_option("lme4")
    assert rows.count() == 3
    form.get_by_label("Dataset").select_option("sitka")
    form.get_by_label("Verdict").select_option("r short")
    assert rows.count() == 1 and "14" in rows.first.locator("td").nth(2).text_content()
    assert page.locator("#fits-shown").text_content() == "1 of 6 fits shown."
    assert "fits.engine=lme4" in page.url and "fits.verdict=r+short" in page.url
    page.get_by_role("button", name="Gap").click()
    form.get_by_role("button", name="Show all").click()
    page.get_by_role("button", name="Gap").click()
    gaps = [float(cell.get_attribute("data-exact")) for cell in page.locator("#fits td:nth-child(7)").all()]
    assert gaps == sorted(gaps, reverse=True)


def downloaded(page: Page, button) -> list[list[str]]:
    with page.expect_download() as download:
        button.click()
    content = Path(download.value.path()).read_text(encoding="utf-8")
    assert download.value.suggested_filename.endswith(".csv")
    return list(csv.reader(io.StringIO(content)))


def test_a_table_is_downloaded_with_every_digit(opened, comparisons):
    """What is shown with seven digits is in the file as the same double."""
    page, _ = opened("reports/story-REML.html")
    table = page.locator("table.concord").first
    header, *rows = downloaded(page, page.get_by_role("button", name=re.compile("^Download CSV: sitka")).first)
    assert header == table.locator("thead th").all_text_contents()
    own = comparisons["sitka-random_slope", "default"].table
    for engine in ("statsmodels", "lme4"):
        assert [float(row[header.index(engine)]) for row in rows] == own[engine].tolist()
    assert not set(table.locator("tbody tr").nth(1).locator("data").all_text_contents()) & set(rows[1])


def test_a_table_is_copied_ready_for_a_spreadsheet(opened, comparisons):
    page, _ = opened("reports/index.html", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_text("6 fits, to filter").click()
    page.locator("form[data-for=fits]").get_by_label("Engine").select_option("lme4")
    page.get_by_role("button", name="Copy: Every fit").click()
    page.wait_for_function(
        "document.querySelector('#fits').closest('.scroll').nextSibling.textContent.includes('Copied')"
    )
    header, *lines = page.evaluate("navigator.clipboard.readText()").rstrip("\n").split("\n")
    assert header.split("\t")[:7] == ["Model", "Method", "Settings", "Engine", "Verdict", "Log-likelihood", "Gap"]
    assert len(lines) == 3  # what is filtered out is left out
    (short,) = [line.split("\t") for line in lines if "r short" in line]
    judged = comparisons["sitka-random_slope", "default"].judgements[1]
    assert float(short[6]) == judged.gap and float(short[5]) == judged.fit.loglik


def test_a_section_that_waits_opens_by_its_button_and_by_a_link_into_it(opened):
    """What follows the first text of a folded section is a button away; a link to a cell in it shows that."""
    page, _ = opened("reports/story-REML.html")
    rest = page.locator(".later")
    assert rest.count() == 1 and not rest.is_visible()
    press = page.get_by_role("button", name="Show the rest of this section: Later")
    press.click()
    assert rest.is_visible()
    place = rest.get_attribute("id")
    page.get_by_role("button", name="Hide what follows: Later").click()
    assert not rest.is_visible()
    page.evaluate(f"location.hash = '{place}'")
    rest.wait_for(state="visible")


def test_a_picture_has_its_numbers_under_it(opened):
    """The table under a picture, opened by keyboard, has every number drawn, and hands it on in full."""
    page, _ = opened("reports/story-REML.html")
    figure = page.locator("figure.picture")
    frame = model.get("sitka-random_slope").frame
    assert "each of 79 levels of tree" in figure.locator("img").get_attribute("alt")
    figure.locator("summary").focus()
    page.keyboard.press("Enter")
    assert figure.locator("table").nth(1).is_visible()
    header, *rows = downloaded(page, page.get_by_role("button", name="Download CSV: Every observation"))
    assert header == ["tree", "Time", "size"]
    back = pd.DataFrame(rows, columns=header)
    assert back["size"].astype(float).tolist() == frame["size"].tolist()
    assert back["tree"].tolist() == frame["tree"].astype(str).tolist()


def test_without_script_the_tables_are_complete(opened):
    page, _ = opened("reports/index.html", java_script_enabled=False)
    page.get_by_text("6 fits, to filter").click()
    assert page.locator("#grid tbody tr:visible").count() == 2 and page.locator("#fits tbody tr:visible").count() == 6
    assert page.locator("form:visible, button:visible").count() == 0


def test_on_paper_there_are_no_buttons(opened):
    page, _ = opened("reports/index.html")
    assert page.locator("button:visible").count() > 5
    page.emulate_media(media="print")
    assert page.locator("form:visible, .tools:visible").count() == 0
    assert page.locator("#grid").is_visible()


@pytest.mark.parametrize("path", PAGES)
def test_on_paper_every_section_is_there_and_nothing_sticks_out(opened, path):
    """What is left out is the front page's list of every fit, which is folded."""
    page, _ = opened(path, viewport={"width": 720, "height": 1000})
    page.emulate_media(media="print")
    gone = page.evaluate("[...document.querySelectorAll('main h2')].filter(e => !e.checkVisibility()).map(e => e.id)")
    assert gone == (["every-fit"] if path == "reports/index.html" else [])
    assert page.evaluate("document.documentElement.scrollWidth") <= 720


def test_on_paper_no_number_is_broken(opened):
    page, _ = opened("alone/compare-REML.html", viewport={"width": 720, "height": 1000})
    page.evaluate("document.querySelectorAll('table.folded').forEach((e) => e.dispatchEvent(new Event('unfold')))")
    page.emulate_media(media="print")
    lines = page.evaluate("""
        [...document.querySelectorAll("td")].filter(e => e.firstChild && e.checkVisibility()).map(e => {
        const range = document.createRange();
        range.selectNodeContents(e.querySelector("small, sup") ? e.firstChild : e);
        return [range.toString().trim(), new Set([...range.getClientRects()].map(r => r.top)).size];
    })""")
    lines = [(text, count) for text, count in lines if re.fullmatch(r"[-+\d.e]+", text)]
    assert len(lines) > 50
    assert [text for text, count in lines if count > 1] == []


def test_what_an_output_brings_along_does_not_run(opened):
    """Markup that a notebook displays is shown; a script in it is not run, and what it wants is stopped in the "
    "browser."""
    page, heard = opened("reports/story-REML.html")
    assert page.evaluate("window.evil") is None
    page.get_by_role("button", name="Show the rest of this section: Later").click()
    assert page.get_by_text("still here").is_visible()
    assert heard.failed == {"https://example.invalid/x.png": "csp"}


def test_links_lead_to_the_cells_that_ran_python_and_r(opened):
    """From the front page to each language's own code, and from a comparison too."""
    page, _ = opened("reports/index.html")
    page.get_by_text("6 fits, to filter").click()
    page.get_by_role("link", name="R code of sitka-random_slope, REML, default settings, lme4").click()
    target = page.locator(":target")
    assert "lmer(size" in target.text_content() and "%%R" in target.text_content()
    page.go_back()
    page.get_by_role("link", name="Python code of sitka-random_slope, REML, default settings, statsmodels").click()
    assert "smf.mixedlm(" in page.locator(":target").text_content()
    page.get_by_role("link", name="R, cell 4").click()
    assert "%%R" in page.locator(":target").text_content()
    page.go_back()
    page.go_back()
    page.get_by_role("link", name="R code of dyestuff-random_intercept, REML, tuned settings, lme4").click()
    part = page.locator(":target + div")
    assert "lmer(formula = Yield ~ 1 + (1 | Batch)" in part.text_content() and "lmerControl" in part.text_content()


def test_every_link_and_anchor_leads_somewhere(opened, built):
    """Within the site every file is there, and in it the place that a link names; what lies outside is listed."""
    anchors, links = {}, []
    page, _ = opened(PAGES[0])
    datasets = [str(path.relative_to(built)) for path in (built / "reports" / "datasets").glob("*.html")]
    for path in dict.fromkeys([*PAGES, *datasets]):
        page.goto((built / path).as_uri())
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids)), path
        anchors[(built / path).as_uri()] = set(ids)
        links += [(path, link) for link in page.evaluate("[...document.querySelectorAll('a')].map((a) => a.href)")]
    assert len(links) > 60
    for path, link in links:
        place, _, anchor = link.partition("#")
        if place.startswith("file:"):
            assert Path(unquote(urlsplit(place).path)).exists(), (path, link)
            assert not anchor or unquote(anchor) in anchors[place], (path, link)
    listed = {row["address"] for row in csv.DictReader((built / "links.csv").open(encoding="utf-8"))}
    led = {link for _, link in links if link.startswith("http")}
    assert any("doi.org" in link for link in led) and led == {
        page.evaluate("(a) => new URL(a).href", a) for a in listed
    }


def test_a_name_that_is_markup_stays_text():
    made = front_page([kept("<script>alert(1)</script>")])
    assert "<script>alert" not in made and "&lt;script&gt;alert" in made and "No notebook that ran" in made


def test_a_table_of_ones_own_is_no_second_model_of_the_catalogue(comparisons):
    """What compare.ipynb shows is among the fits, and counted only where nothing else is there."""
    story = kept("story", code("everything()", shown(comparisons["dyestuff-random_intercept", "default"])))
    mine = kept("compare", code("inquiry.compare()", shown(comparisons["sitka-random_slope", "default"])))
    both, alone = front_page([story, mine]), front_page([mine])
    assert "<strong>1 of 1</strong> comparisons agree, default settings" in both
    assert "<strong>0 of 1</strong> comparisons agree, default settings" in alone
    assert both.count("sitka-random_slope") and "compare-REML.html" in both
