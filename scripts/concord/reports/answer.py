"""The answer of a report, for its first screen: every comparison that it shows, those that do not agree one by one."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bs4 import BeautifulSoup

from concord.display.media import MEDIA_TYPE
from concord.reports.chips import chip
from concord.vocabulary import AGREE, WARNED, side

REMEDIES = "remedies"
"""The tag of a cell that says what to write instead."""
LISTED = 6
"""So many comparisons that do not agree are told one by one; of more, how many there are of each kind."""


def answer(cells: Sequence[Mapping[str, Any]], alone: bool = False) -> str:
    """The answer as HTML, a line a comparison or a kind of them, with links to the cells; empty without a verdict.

    Parameters
    ----------
    cells : of an executed notebook
    alone : whether all of it is about one model, whose name need not be said
    """
    compared = [one | ({"name": ""} if alone else {}) for one in _compared(cells).values() if one["verdict"]]
    off = [one for one in compared if one["verdict"] != AGREE]
    lines = [_line(one) for one in off] if len(off) <= LISTED else _kinds(off)
    agreeing = [one for one in compared if one["verdict"] == AGREE]
    if agreeing:
        lines.append(_agreeing(agreeing, alone=not off))
    lines += _to_do(cells)
    if not lines:
        return ""
    return f'<ul class="answer" aria-label="The answer">{"".join(f"<li>{line}</li>" for line in lines)}</ul>'


def _compared(cells: Sequence[Mapping[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
    """Every comparison with its fits and the first cell that shows it, by model, settings and method."""
    compared: dict[tuple[str, ...], dict[str, Any]] = {}
    for cell in cells:
        for output in cell.get("outputs", ()):
            fits = output.get("data", {}).get(MEDIA_TYPE, {}).get("fits", ())
            for fit in fits:
                key = (fit["dataset"], fit["model"], fit["settings"], fit["method"])
                new = {"name": "-".join(key[:2]), "settings": key[2], "verdict": fit["verdict"], "cell": cell["id"]}
                compared.setdefault(key, {**new, "fits": {}})["fits"][fit["engine"]] = fit
    return compared


def _line(one: Mapping[str, Any]) -> str:
    """A comparison that does not agree: who is off by how much, and whether it said so."""
    off = [
        fit
        for fit in one["fits"].values()
        if fit.get("role", "party") == "party" and fit.get("language", "").lower() in side(one["verdict"])
    ]
    told = [
        f"{html.escape(fit.get('title', fit['engine']))} stopped {fit['gap']:.2g} log-likelihood units below the "
        f"optimum {'and warned' if fit.get('said_so') == WARNED else 'and was silent'}"
        for fit in off
        if fit["gap"] is not None
    ]
    where = html.escape(", ".join(filter(None, [one["name"], f"{one['settings']} settings"])))
    return f"{chip(one['verdict'], letter=False)} {_link(where, one['cell'])}{': ' if told else ''}{'; '.join(told)}"


def _to_do(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be done, in the first sentences of the cells that say it at length, by their tag."""
    lines = []
    for cell in cells:
        for output in cell.get("outputs", ()) if REMEDIES in cell["metadata"].get("tags", ()) else ():
            soup = BeautifulSoup("".join(output.get("data", {}).get("text/html", "")), "html.parser")
            parts = [(head.get_text(), head.find_next_sibling("p")) for head in soup.find_all("h4")] or [("", soup.p)]
            told = [
                f"{head}: {next(text.stripped_strings, '')}" if head else text.get_text()
                for head, text in parts
                if text
            ]
            lines += [f"<b>What to do:</b> {html.escape(words)} {_link('More', cell['id'])}" for words in told if words]
    return lines


def _kinds(off: Iterable[Mapping[str, Any]]) -> list[str]:
    """How many comparisons there are of each verdict, with the first of them."""
    kinds: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in off:
        kinds.setdefault((one["verdict"], one["settings"]), []).append(one)
    return [
        f"{chip(verdict, letter=False)} {_link(f'{len(ones)} at {html.escape(settings)} settings', ones[0]['cell'])}: "
        + ", ".join(dict.fromkeys(html.escape(one["name"]) for one in ones))
        for (verdict, settings), ones in kinds.items()
    ]


def _agreeing(ones: Sequence[Mapping[str, Any]], alone: bool) -> str:
    by_settings: dict[str, list[Mapping[str, Any]]] = {}
    for one in ones:
        by_settings.setdefault(one["settings"], []).append(one)
    told = ", ".join(
        _link(f"{_counted(some)}at {html.escape(settings)} settings", some[0]["cell"])
        for settings, some in by_settings.items()
    )
    return f"{chip(AGREE, letter=False)} {'all: ' if alone and len(ones) > 1 else ''}{told}"


def _counted(ones: Sequence[Mapping[str, Any]]) -> str:
    """How many there are, or which one, and a blank."""
    name = f"{len(ones)} comparisons" if len(ones) > 1 else html.escape(ones[0]["name"])
    return f"{name} " if name else ""


def _link(text: str, cell: str) -> str:
    return f'<a href="#cell-id={html.escape(cell)}">{text}</a>'
