"""Pages: an executed notebook as one HTML file that asks the network for nothing, mathematics included.

Who reads it by keyboard, by screen reader, on a phone or in the dark gets the same as everybody: tables have captions
and headings, pictures say what they show and have their data under them, what is too wide scrolls in its own frame.
"""

from __future__ import annotations

import ast
import base64
import csv
import hashlib
import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from nbformat import NotebookNode

# A room, whose module with nbconvert loads when the first page is made: a batch's notebooks are running by then.
import concord.reports
from concord.display import table as tables
from concord.display.media import MEDIA_TYPE, PICTURE_TYPE, QUANTITIES_TYPE
from concord.reports import answer as answers
from concord.reports import beginning, cell_origins, folds, front, places

TEMPLATES = Path(__file__).parent / "templates"
NO_WORDS = "A picture that nobody has described, made by cell {}."
CALLS = 8
"""Of so many fits at most the calls stand under a comparison; those of more are on the page of all code."""
PIECES = 1000
"""So many pieces of pages are kept as they were made: a page that is written after every verdict has the same again."""
_NUMBER = re.compile(r"(< ?|within )?[-+]?[\d.]+(e[-+]?\d+)?( %)?|nan|NaN")


def page(notebook: NotebookNode) -> str:
    """A kept notebook, which says in `metadata.concord` what came of it, as one HTML file with its pictures inside."""
    about = {"alone": False, **notebook.metadata["concord"]}
    title = f"{about['name']}, {about['method']}" if about["method"] else about["name"]
    texts, contents = _texts(notebook, about["alone"])
    named = beginning.named(notebook, about)
    reply = answers.answer(notebook.cells, about["alone"])
    first = next((id for id, text in texts.items() if "</h1>" in text), None)
    if first is not None:
        texts[first] = beginning.begun(texts[first], reply, named if about["alone"] else "")
    told = {
        "about": about,
        "head": head(f"{named} · Concord"),
        "answer": "" if first else reply,
        "methods": about.get("methods", ()),
        "folded": folds.plumbing(notebook.cells),
        "versions": {cell["id"] for cell in notebook.cells if folds.tells_versions("".join(cell["source"]))},
        "script": script(),
        "texts": texts,
        "contents": contents,
        # A notebook without a title of its own has its name for one
        "title": "" if first else title,
        "numbers": numbers(notebook.cells),
        "made": _made(notebook.cells),
    }
    shown = NotebookNode({**notebook, "cells": beginning.ordered(notebook.cells, texts)})
    made = _mended(_exporter().from_notebook_node(shown, {"metadata": {"name": title}, "site": told})[0])
    return made if about["alone"] else places.linked(_defined(made), places.models())


def _defined(content: str) -> str:
    """A page on which a numbered note leads from the name of its definition to that on the page of words."""
    return re.sub(r'(<li data-definition="([\w-]+)">)([^:<]+)', r'\1<a href="words.html#\2">\3</a>', content)


def head(title: str) -> str:
    """The beginning of every page, with the style. Nothing can be loaded by it, and no script run but its own."""
    digest = base64.b64encode(hashlib.sha256(_asset("site.js").encode()).digest()).decode()
    allowed = ("default-src 'none'", "img-src data:", "style-src 'unsafe-inline'", f"script-src 'sha256-{digest}'")
    policy = "; ".join([*allowed, "base-uri 'none'"])
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{html.escape(title)}</title>",
        '<link rel="icon" href="data:,">',
        f"<style>\n{_asset('site.css')}</style>",
        "</head>",
    ]
    return "\n".join(lines)


def script() -> str:
    """What lets tables be sorted, filtered, copied and downloaded, for the end of a page."""
    return f"<script>{_asset('site.js')}</script>"


def numbers(cells: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Every cell's number by its id, as its author counts them: what was put in for a run does not count."""
    own = [cell["id"] for cell in cells if not {"injected-parameters", "concord-failure"} & set(_tags(cell))]
    numbered = {id: number for number, id in enumerate(own, 1)}
    last = 0
    for cell in cells:
        last = numbered.setdefault(cell["id"], last)
    return numbered


@lru_cache(PIECES)
def accessible(content: str, name: str) -> str:
    """HTML with its tables as a screen reader and a narrow screen want them.

    Parameters
    ----------
    content : a piece of a page
    name : the caption, unseen, of a table that has none
    """
    if "<table" not in content and "<pre" not in content:
        return content
    soup = _soup(content)
    for style in soup.find_all("style"):  # pandas' own
        style.decompose()
    folds.fold_notes(soup)
    tables_found = soup.find_all("table")
    for number, table in enumerate(tables_found, 1):
        _headed(table)
        folds.mark(table)
        if table.caption is None:
            caption = soup.new_tag("caption", attrs={"class": "unseen"})
            caption.string = name if len(tables_found) == 1 else f"{name}, {number} of {len(tables_found)}"
            table.insert(0, caption)
        words = table.select_one("caption strong") or table.select_one("caption")
        label = " ".join(words.get_text(" ").split()) if words else name
        card = table.wrap(soup.new_tag("div", attrs={"class": "card"}))
        card.wrap(soup.new_tag("div", attrs=_region(label)))
    for pre in soup.find_all("pre"):
        pre.attrs.update({"tabindex": "0", "role": "group", "aria-label": name.replace("Table", "Text")})
    return str(soup)


def frame(label: str) -> str:
    """The opening tag of what scrolls by itself: reached by keyboard, named to who does not see it."""
    attributes = " ".join(f'{key}="{html.escape(value)}"' for key, value in _region(label).items())
    return f"<div {attributes}>"


def _region(label: str) -> dict[str, str]:
    return {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": label}


def _headed(table: Tag) -> None:
    """Headings say whether they are a column's or a row's; a corner without text is not a heading."""
    for key in ("border", "style"):
        table.attrs.pop(key, None)
    for cell in table.find_all("th"):
        if not cell.get_text(strip=True):
            cell.name = "td"
            cell.attrs.pop("scope", None)
        elif "scope" not in cell.attrs:
            above = cell.find_parent("thead") is not None
            spans = "colspan" if above else "rowspan"
            cell["scope"] = ("col" if above else "row") + ("group" if int(str(cell.get(spans, "1"))) > 1 else "")
    for cell in table.find_all(["td", "th"]):
        # Beside a number may stand the mark of a note, and below it what it is held to
        text = next(cell.stripped_strings, "") if cell.find(["sup", "small"]) else cell.get_text(strip=True)
        if _NUMBER.fullmatch(text):
            cell["class"] = "number"


def _mended(content: str) -> str:
    """A page in which no heading is more than one level below the one before it, and no two frames have one name."""
    level = 0
    met: dict[str, int] = {}

    def heading(match: re.Match[str]) -> str:
        nonlocal level
        if not match[1]:
            level = min(int(match[2]), level + 1)
        return f"<{match[1]}h{level}"

    def named(match: re.Match[str]) -> str:
        met[match[2]] = met.get(match[2], 0) + 1
        return match[0] if met[match[2]] == 1 else f"{match[1]}{match[2]}, shown again ({met[match[2]]}){match[3]}"

    # In code and in texts the brackets are escaped: what stands here as markup is markup
    content = re.sub(r"<(/?)h([1-6])\b", heading, content)
    return re.sub(r'(<div aria-label=")([^"]*)(" class="scroll")', named, content)


def _texts(notebook: NotebookNode, alone: bool) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The HTML of every text by its cell's id, and the anchors with the texts of the second-level headings.

    Anchors are unique over the whole page. What leads to another notebook leads to its reports, or is no link on a page
    that stands alone.
    """
    markdown, contents, used = concord.reports.exporter.markdown, [], set()
    texts = {}
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        soup = _soup(accessible(markdown(cell.source), "Table in the text"))
        for heading in soup.find_all(re.compile("^h[1-6]$")):
            text = " ".join(heading.get_text(" ").split())
            slug = anchor = re.sub(r"\W+", "-", text.lower()).strip("-") or "section"
            count = 1
            while anchor in used:
                count += 1
                anchor = f"{slug}-{count}"
            used.add(anchor)
            heading["id"] = anchor
            if heading.name == "h2":
                contents.append((anchor, text))
        _explain(soup, alone)
        for link in soup.find_all("a", href=re.compile("^#.")):  # JupyterLab keeps a heading's capitals in its anchor
            link["href"] = str(link["href"]).lower()
        for link in soup.find_all("a", href=re.compile(r"^[\w.-]+\.ipynb$")):
            if alone:
                link.unwrap()
            else:
                link["href"] = f"index.html#report-{str(link['href']).removesuffix('.ipynb')}"
        texts[cell.id] = str(soup)
    return texts, contents


def _explain(soup: BeautifulSoup, alone: bool) -> None:
    """Every word of the house says what it means, and leads to the page of words where there is one."""
    for word in soup.find_all("em"):
        name = word.get_text()
        if name not in front.glossary():
            continue
        attributes = {"class": "word", "title": front.glossary()[name]}
        word.wrap(
            soup.new_tag("dfn", attrs=attributes)
            if alone
            else soup.new_tag("a", attrs={**attributes, "href": f"words.html#{front.anchor(name)}"})
        )


def said(text: str) -> str:
    """What a cell's value says: a text without the quotes that Python puts around it; empty for any other value."""
    with suppress(SyntaxError, ValueError):
        value = ast.literal_eval(text)
        if isinstance(value, str):
            return value
    return ""


def _made(cells: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By the id of every cell that shows a comparison: the cells whose code made it, and the calls of its fits."""
    number, marks = numbers(cells), {}
    for index, cell in enumerate(cells):
        data = [output["data"] for output in cell.get("outputs", ()) if "data" in output]
        compared = any(record.keys() & {MEDIA_TYPE, QUANTITIES_TYPE} for record in data)
        if not compared:
            continue
        origin = cell_origins.origin(cells, index)
        places = {"Python": cells[origin.python]["id"], "R": cells[origin.r]["id"]}
        links = [(language, id, number[id]) for language, id in places.items() if id != cell["id"]]
        if links and origin.python == origin.r:
            links = [("Python and R", *links[0][1:])]
        fits = [fit for record in data for fit in record.get(MEDIA_TYPE, {}).get("fits", ())]
        calls = [
            (f"{fit.get('title', fit['engine'])}, {fit['settings']} settings", fit["call"])
            for fit in fits
            if fit.get("call")
        ]
        marks[cell["id"]] = {"links": links, "calls": calls if len(calls) <= CALLS else []}
    return marks


def _picture(output: Mapping[str, Any], media_type: str, cell: int) -> str:
    """A picture with its words, and under it the numbers that it is drawn from."""
    record = output["data"].get(PICTURE_TYPE, {})
    words = record.get("alt") or output.get("metadata", {}).get(media_type, {}).get("alt") or NO_WORDS.format(cell)
    content = output["data"][media_type]
    if media_type == "image/svg+xml":
        content = base64.b64encode(content.encode()).decode()
    size = output.get("metadata", {}).get(media_type, {})
    sides = "".join(f' {side}="{int(size[side])}"' for side in ("width", "height") if side in size)
    image = f'<img src="data:{media_type};base64,{"".join(content.split())}"{sides} alt="{html.escape(words)}">'
    shown = "".join(_data(table, cell) for table in record.get("tables", ()))
    details = f"<details><summary>The data of this picture</summary>{shown}</details>" if shown else ""
    name = f"Picture of cell {cell}"
    tall = " tall" if size.get("height", 0) > size.get("width", 0) else ""
    inside = f'<div class="frame{tall}" tabindex="0" role="group" aria-label="{name}">{image}</div>'
    return f'<figure class="picture">{inside}{details}</figure>'


def _data(table: Mapping[str, Any], cell: int) -> str:
    """One of a picture's tables, from its CSV."""
    header, *lines = list(csv.reader(io.StringIO(table["csv"])))
    rows = [[_number(field) for field in line] for line in lines]
    words = sum(all(not isinstance(row[i], tables.Number) for row in rows) and bool(rows) for i in range(len(header)))
    leading = next(
        (i for i in range(len(header)) if any(isinstance(row[i], tables.Number) for row in rows)), len(header)
    )
    some = f"{len(rows)} of {table['rows']} rows, evenly spread" if len(rows) < table["rows"] else f"{len(rows)} rows"
    caption = f"{table['title']}, cell {cell}\n{some}"
    return accessible(tables.render_html(caption, header, rows, left=min(words, leading)), table["title"])


def _number(field: str) -> str:
    """A field that is a number as Python writes one; a level such as 007 is a name."""
    try:
        value = float(field)
    except ValueError:
        return field
    if re.fullmatch(r"-?(0|[1-9]\d*)", field):
        return tables.Number(field, value)
    return tables.number(value, 6) if field == repr(value) and math.isfinite(value) else field


def _tags(cell: Mapping[str, Any]) -> Sequence[str]:
    tags: Sequence[str] = cell["metadata"].get("tags", ())
    return tags


def _reachable(content: str, label: str) -> str:
    """Highlighted code whose lines can be scrolled by keyboard."""
    return content.replace("<pre", f'<pre tabindex="0" role="group" aria-label="{html.escape(label)}"', 1)


@cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _soup(content: str) -> BeautifulSoup:
    return BeautifulSoup(content, "html.parser")


@cache
def _exporter() -> Any:
    filters = {"accessible": accessible, "said": said, "picture": _picture, "reachable": _reachable}
    return concord.reports.exporter.exporter("report", TEMPLATES, filters)
