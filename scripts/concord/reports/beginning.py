"""How a report begins: its title, the answer under it, and the picture that is the answer."""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import nbformat
from bs4 import BeautifulSoup
from nbformat import NotebookNode

PICTURE_OF_ALL = "answer"
"""The tag of the cell whose picture a page shows first."""
_HEADLINE = re.compile(r"^# (.+)$", re.MULTILINE)


def headline(notebook: Mapping[str, Any]) -> str:
    """The notebook's own title, its first heading, without its marks; empty where it has none."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown" and (match := _HEADLINE.search("".join(cell["source"]))):
            return " ".join(re.sub(r"[*`]", "", match[1]).split())
    return ""


def named(notebook: NotebookNode, about: Mapping[str, Any]) -> str:
    """What a page is about, for its title: the model of one's own, or the notebook's title, with the method."""
    values: dict[str, Any] = {}
    for cell in notebook.cells:
        if {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", ())):
            values |= _assigned(cell.source)
    if values.get("formula"):
        name = f"{about['name'] if about['alone'] else values.get('data', about['name'])}: {values['formula']}"
        name += f", weights {values['weights']}" if values.get("weights") else ""
    else:
        name = headline(notebook) or about["name"]
        name += f": {values['model']}" if isinstance(values.get("model"), str) and values["model"] else ""
    return f"{name}, {about['method']}" if about["method"] else name


def _assigned(source: str) -> dict[str, Any]:
    """The literals that a cell of parameters sets."""
    values: dict[str, Any] = {}
    with suppress(SyntaxError):
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                with suppress(ValueError):
                    values[statement.targets[0].id] = ast.literal_eval(statement.value)
    return values


def ordered(cells: Sequence[NotebookNode], texts: dict[str, str]) -> list[NotebookNode]:
    """The cells as a page has them: the picture that is the answer, by its tag, stands below the title.

    It says which section it is from, and where it stood a link leads to it; both are added to `texts`.
    """
    picture = next((cell for cell in cells if PICTURE_OF_ALL in cell.metadata.get("tags", ())), None)
    at = next((i for i, cell in enumerate(cells) if "</h1>" in texts.get(cell["id"], "")), None)
    if picture is None or at is None:
        return list(cells)
    section = _section(texts.get(cell["id"], "") for cell in cells[: list(cells).index(picture)])
    above = _text(f"{picture['id']}-above", f'<a href="#cell-id={picture["id"]}">The picture</a> is at the top.', texts)
    begins = [_text(f"{picture['id']}-whence", f"The picture of {section}:", texts)] if section else []
    rest = [above if cell is picture else cell for cell in cells]
    return [*rest[: at + 1], *begins, picture, *rest[at + 1 :]]


def _text(name: str, said: str, texts: dict[str, str]) -> NotebookNode:
    """A cell with a sentence of the page's own."""
    texts[name] = f'<p class="soft">{said}</p>'
    cell: NotebookNode = nbformat.v4.new_markdown_cell("", id=name)
    return cell


def _section(texts: Iterable[str]) -> str:
    """A link to the last section that the texts begin, with its heading; empty where they begin none."""
    headings = BeautifulSoup("".join(texts), "html.parser").find_all("h2", id=True)
    if not headings:
        return ""
    return f'<a href="#{html.escape(str(headings[-1]["id"]))}">{html.escape(headings[-1].get_text())}</a>'


def begun(text: str, reply: str, title: str) -> str:
    """The first text with the answer under its title, and with a title of its own where there is one."""
    soup = BeautifulSoup(text, "html.parser")
    heading = soup.h1
    assert heading is not None
    if title:
        question = soup.new_tag("p", attrs={"class": "lead"})
        question.extend([child.extract() for child in list(heading.children)])
        heading.string = title
        heading.insert_after(question)
        heading = question
    if reply:
        heading.insert_after(BeautifulSoup(reply, "html.parser"))
    return str(soup)
