"""What the front page says before its grid: the versions that ran, the findings, and what a search looks through."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from concord.display import records
from concord.display.media import FINDINGS_TYPE, VERSIONS_TYPE

Kept = tuple[dict[str, Any], Mapping[str, Any]]

FINDINGS_PAGE = "findings.html"
CARDS = 5


@cache
def glossary() -> Mapping[str, str]:
    """The words of the house, with what each means."""
    return tomllib.loads(Path(__file__).with_name("glossary.toml").read_text(encoding="utf-8"))


@cache
def definitions() -> Mapping[str, Mapping[str, str]]:
    """Where packages mean different things by one name: ``title``, ``formula``, ``latex`` and more, by id."""
    content = (Path(__file__).parents[1] / "account" / "definitions.toml").read_text(encoding="utf-8")
    return {name: {"latex": "", **entry} for name, entry in tomllib.loads(content).items()}


def ran(notebooks: Sequence[Kept]) -> dict[str, Any]:
    """``versions``, by name, that the newest report ran with, and the day it ``finished``; empty where none tells."""
    for about, notebook in sorted(notebooks, key=lambda kept: kept[0]["finished"], reverse=True):
        for versions in records.displayed([notebook], VERSIONS_TYPE):
            return {"versions": versions, "finished": about["finished"][:10]}
    return {}


def findings(notebooks: Sequence[Kept]) -> list[dict[str, Any]]:
    """The findings that the reports show, in their order: ``id``, ``title`` without marks of code, ``package``,
    ``card``.
    """
    told = chain.from_iterable(records.displayed((notebook for _, notebook in notebooks), FINDINGS_TYPE))
    return [{**finding, "title": finding["title"].replace("`", "")} for finding in told]


def cards(listed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The findings that stand on the front page."""
    return [finding for finding in listed if finding["card"]][:CARDS]


def looked_through(
    models: Iterable[Mapping[str, str]], listed: Iterable[Mapping[str, Any]], reports: Iterable[Mapping[str, str]]
) -> list[dict[str, str]]:
    """What the search looks through, a line each: ``kind, name, about, link``.

    Parameters
    ----------
    models : ``id``, ``about`` and ``link`` of each
    listed : the findings
    reports : ``name`` and ``link`` of each
    """
    found = [{"kind": "model", "name": model["id"], "about": model["about"], "link": model["link"]} for model in models]
    found += [
        {"kind": "finding", "name": one["title"], "about": one["package"], "link": f"{FINDINGS_PAGE}#{one['id']}"}
        for one in listed
    ]
    found += [{"kind": "report", "name": one["name"], "about": one["title"], "link": one["link"]} for one in reports]
    found += [
        {"kind": "word", "name": word, "about": meaning, "link": f"words.html#{anchor(word)}"}
        for word, meaning in glossary().items()
    ]
    found += [
        {"kind": "definition", "name": entry["title"], "about": "", "link": f"words.html#{name.replace('_', '-')}"}
        for name, entry in definitions().items()
    ]
    return found


def anchor(word: str) -> str:
    """The place of a word on the page of words."""
    return "word-" + word.replace(" ", "-")
