"""Folds: what of a report stands behind a line that opens it, because a reader wants it later or not at all.

Code that is Concord's own, not a package's; the versions; rows that agree; notes on a table, where there are many.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bs4 import BeautifulSoup, Tag

_ANSWERS = ("same?", "verdict")
"""The columns in which a table says of every row whether it agrees."""
AGREEING = re.compile("agree|✓|same|defined otherwise, same number here|differs by definition.*")
NOTES = 400
"""So many characters of notes stand open under a table."""
# A package's own code: what a reader came to see.
_NATIVE = re.compile(r"^\s*%%R|\b(mixedlm|MixedLM|lmer|lme)\(|^import statsmodels|\b(?!engine)\w+\.fit\(", re.MULTILINE)
_CONCORD = re.compile(r"^(from|import) concord\b", re.MULTILINE)


def plumbing(cells: Sequence[Mapping[str, Any]]) -> set[str]:
    """The ids of the code cells in which Concord works, and none of the packages: their code is folded.

    In a notebook without an import of Concord none is.
    """
    sources = {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"}
    if not any(_CONCORD.search(source) for source in sources.values()):
        return set()
    return {id for id, source in sources.items() if not _NATIVE.search(source) or prepares(source)}


def prepares(source: str) -> bool:
    """Whether a cell only imports, loads and sets."""
    plain = "\n".join("" if line.startswith("%") and not line.startswith("%%") else line for line in source.split("\n"))
    try:
        body = ast.parse(plain).body
    except SyntaxError:
        return False
    return bool(body) and all(isinstance(one, ast.Import | ast.ImportFrom) for one in body)


def tells_versions(source: str) -> bool:
    """Whether a cell shows what it ran on, and nothing else."""
    return source.rstrip().endswith("versions()") and "display" not in source


def mark(table: Tag) -> None:
    """Mark the rows of a table that agree, and its column that says so, which stays in view where it is narrow."""
    rows = table.select("thead tr")
    heads = [cell.get_text(strip=True) for cell in rows[-1].find_all(["th", "td"])] if rows else []
    column = next((heads.index(name) for name in (*_ANSWERS, "ok") if name in heads), None)
    if column is None:
        return
    title = table.select_one("caption strong")
    whole = title is not None and title.get_text().endswith(": agree")
    for row in table.find_all("tr"):
        cells = row.find_all(["th", "td"], recursive=False)
        if len(cells) != len(heads):
            continue
        cell = cells[column]
        cell["class"] = " ".join(filter(None, [*cell.get_attribute_list("class"), "answered"]))
        agrees = AGREEING.fullmatch(cell.get_text(" ", strip=True)) is not None and (heads[column] in _ANSWERS or whole)
        if "expected" in heads:
            agrees = cells[heads.index("expected")].get_text(strip=True).startswith("yes")
        if agrees and row.parent is not None and row.parent.name == "tbody":
            row["class"] = "agreeing"


def fold_notes(soup: BeautifulSoup) -> None:
    """Put the notes that follow a table behind a line, where there are more than a few."""
    for table in soup.select("table.concord"):
        notes = []
        for after in table.find_next_siblings():
            if after.name not in ("p", "ol"):
                break
            notes.append(after)
        if sum(len(note.get_text()) for note in notes) > NOTES:
            details = soup.new_tag("details", attrs={"class": "notes"})
            summary = soup.new_tag("summary")
            count = sum(len(note.find_all("li")) or 1 for note in notes)
            summary.string = f"{count} note{'s' * (count > 1)} on this table"
            details.append(summary)
            notes[0].insert_before(details)
            for note in notes:
                details.append(note.extract())
