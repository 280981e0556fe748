"""The grid of verdicts in README.md: every model by every method and settings, from fits made there and then."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from concord import models
from concord.agreement import Comparison, compare
from concord.engines import lme4, mixedlm, nlme
from concord.fits import SETTINGS

BEGIN, END = "<!-- grid: written by `make refresh` -->", "<!-- end of the grid -->"


README = Path(__file__).resolve().parents[2] / "README.md"


class ReadmeError(ValueError):
    """README.md has no place for the grid."""


def comparisons() -> Iterable[Comparison]:
    """Every model by every method, at default and at tuned settings, by all three engines."""
    for model in models.every():
        for settings in SETTINGS:
            yield compare(*(engine.fit(model, settings) for engine in (mixedlm, lme4, nlme)))


def grid(compared: Iterable[Comparison]) -> str:
    """A Markdown table: a row a model, a column a method and settings; the verdict, and how short the worst fit is."""
    cells = {(each.model.id, each.settings, each.model.method): _cell(each) for each in compared}
    columns = [(settings, method) for settings in SETTINGS for method in models.METHODS]
    rows = [["model", *(f"{settings}, {method}" for settings, method in columns)], ["---"] * (1 + len(columns))]
    for id in dict.fromkeys(key[0] for key in cells):
        rows.append([id, *(cells.get((id, *column), "") for column in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(compared: Comparison) -> str:
    if compared.verdict.word == "agree":
        return "agree"
    worst = max(compared.judgements[i].gap for i in compared.parties)
    return f"**{compared.verdict.word}** by {worst:.2g}"


def written(text: str) -> str:
    """The grid that stands in README's text.

    Raises
    ------
    ReadmeError : the markers are missing
    """
    return text[slice(*_place(text))].strip()


def refresh(path: Path, new: str) -> None:
    """Put a new grid in place of the one in README, whole or not at all."""
    text = path.read_text(encoding="utf-8")
    start, stop = _place(text)
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(f"{text[:start]}\n{new}\n{text[stop:]}", encoding="utf-8")
    os.replace(aside, path)


def _place(text: str) -> tuple[int, int]:
    start, stop = text.find(BEGIN), text.find(END)
    if not 0 <= start < stop:
        raise ReadmeError(f"README.md: the lines {BEGIN!r} and {END!r} are missing: put them where the grid belongs")
    return start + len(BEGIN), stop
