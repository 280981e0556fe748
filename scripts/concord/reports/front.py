"""What the front page says before its grid: the versions that ran, the findings, and what a search looks through."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from concord.display import records
from concord.display.media import VERSIONS_TYPE
from concord.errors import InputError

Kept = tuple[dict[str, Any], Mapping[str, Any]]

FINDINGS = Path("findings") / "findings.toml"
"""Where a folder of notebooks has the list of its findings."""
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


def findings(folder: Path | None) -> list[dict[str, Any]]:
    """The findings that a folder of notebooks lists, in its order: ``id``, ``title``, ``package``, ``card``.

    Raises
    ------
    InputError : the list cannot be read, or a finding lacks its id or its title
    """
    path = (folder or Path()) / FINDINGS
    if folder is None or not path.is_file():
        return []
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    entries = [
        {"id": id, **entry} if isinstance(entry, dict) else {}
        for id, entry in _entries(content.get("findings", content))
    ]
    if not all(entry.get("id") and entry.get("title") for entry in entries):
        raise InputError(f"{path}: a finding has no id or no title")
    plain = [{**entry, "title": str(entry["title"]).replace("`", "")} for entry in entries]
    return [{"package": "", "card": False, **entry} for entry in plain]


def _entries(content: Any) -> Iterable[tuple[str, Any]]:
    """Of a list of tables, or of tables by id."""
    return content.items() if isinstance(content, dict) else ((entry.get("id", ""), entry) for entry in content)


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
