"""The site: its front page, the page of all code, and the tables, made from the executed notebooks that are kept."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

import concord.display
import concord.reports
from concord import files, vocabulary
from concord.display.media import MEDIA_TYPE, QUANTITIES_TYPE, RELEASES_TYPE
from concord.reports import beginning, cell_origins, dataset_pages, front, places
from concord.reports.notebooks import OWN_TABLE
from concord.reports.rendering import render
from concord.vocabulary import LANGUAGES, LETTERS, ROLES, SETTINGS, side

VERDICTS = LETTERS
QUANTITIES = "quantities.csv"
FILES = {
    "fits.csv": "a row a fit, with what its package said.",
    "estimates.csv": "a row an estimate.",
    QUANTITIES: "a row for each quantity that a package states beyond its estimates.",
    "links.csv": "a row an address elsewhere, with the pages that lead there.",
}
"""The tables beside the reports."""

Kept = tuple[dict[str, Any], Mapping[str, Any]]


def kept(output: Path, ids: set[str]) -> list[Kept]:
    """What is kept of these reports: its `metadata.concord` and the notebook, in the order of their ids."""
    notebooks = []
    for path in sorted((output / "notebooks").glob("*.ipynb")):
        if path.stem in ids:
            with suppress(ValueError, KeyError):  # not of Concord's making
                notebook = json.loads(path.read_text(encoding="utf-8"))
                notebooks.append((notebook["metadata"]["concord"], notebook))
    return notebooks


def publish(output: Path, ids: set[str], began: datetime, names: Iterable[str] = ()) -> None:
    """Write the front page, the page of all code and the tables from what is kept of these reports, whenever it ran.

    `began` is when the run began: what finished before is shown with its date as from an earlier run. `names` are those
    of all notebooks: the front page has a place for each, which texts lead to.
    """
    notebooks = kept(output, ids)
    executed = [notebook for _, notebook in notebooks]
    estimates, fits = concord.display.records.collect(executed)
    tables = {"estimates.csv": estimates, "fits.csv": fits}
    quantities = concord.display.records.collect_quantities(executed)
    if len(quantities):
        tables[QUANTITIES] = quantities
    contents = {output / name: concord.display.records.as_csv(table) for name, table in tables.items()}
    rows = grid(notebooks, dataset_pages.known())
    reports = output / "reports"
    contents |= {reports / place: content for place, content in dataset_pages.pages(executed, rows).items()}
    absent = sorted({*names} - {about["name"] for about, _ in notebooks})
    contents[reports / "index.html"] = index(notebooks, began, rows, absent)
    contents |= {reports / "words.html": words(), reports / "code.html": code(notebooks)}
    files.write_all(contents)
    if not len(quantities):
        (output / QUANTITIES).unlink(missing_ok=True)
    files.write(output / "links.csv", places.outside(reports))


def grid(notebooks: Sequence[Kept], datasets: Container[str] = frozenset()) -> list[dict[str, Any]]:
    """A row a model, those with something to see first: its comparisons, and what a filter asks of it.

    What the page of a table of one's own shows is no model of the catalogue, and no second one of it either.

    Parameters
    ----------
    notebooks : what is kept of each report
    datasets : those that have a page of their own
    """
    catalogue = [kept for kept in notebooks if kept[0]["name"] != OWN_TABLE]
    return _rows(_shown(catalogue) or _shown(notebooks), datasets)


def index(
    notebooks: Sequence[Kept], began: datetime, rows: Sequence[Mapping[str, Any]], absent: Sequence[str] = ()
) -> str:
    """The front page: what this is and what it ran with; findings, reports, every verdict at a glance, every fit.

    Parameters
    ----------
    notebooks : what is kept of each report
    began : when the run began
    rows : of their `grid`
    absent : names of the notebooks that did not run
    """
    shown, reports, findings = _shown(notebooks), _reports(notebooks, began), front.findings(notebooks)
    every = [_line(key, fit) for key, fits in sorted(shown.items()) for fit in fits]
    columns = _ordered({key[2:] for key in shown})
    engines = list(dict.fromkeys(fit["engine"] for fit in sorted(chain(*shown.values()), key=_by_engine)))
    choices = {
        "verdict": _sorted({word for row in rows for word in row["verdicts"]}, VERDICTS),
        "engine": [engine for engine in engines if any(engine in row["short"] for row in rows)],
        "dataset": sorted({row["dataset"] for row in rows}),
        "settings": list(dict.fromkeys(settings for settings, _ in columns)),
        "method": _sorted({method for _, method in columns}, vocabulary.METHODS),
    }
    return render(
        "index.html.j2",
        "Concord: do statsmodels and lme4 agree?",
        reports=reports,
        ran=front.ran(notebooks),
        cards=front.cards(findings),
        found=len(findings),
        lines=front.looked_through(
            [
                {"id": row["id"], "about": ", ".join(row["verdicts"]), "link": row["page"] or f"#model-{row['id']}"}
                for row in rows
            ],
            findings,
            [
                {"name": name, "title": runs[0]["title"], "link": f"{_quoted(runs[0]['id'])}.html"}
                for name, runs in reports
            ],
        ),
        columns=columns,
        rows=rows,
        absent=absent,
        fits=every,
        engines=engines,
        choices=choices,
        tally=_tally(rows),
        releases=_releases(notebooks),
        files={name: what for name, what in FILES.items() if name != QUANTITIES or _states_quantities(notebooks)},
    )


def words() -> str:
    """The page of words and definitions."""
    return render(
        "words.html.j2",
        "Words and definitions · Concord",
        words=front.glossary(),
        definitions=front.definitions(),
        anchor=front.anchor,
        mathematics=lambda latex: Markup(concord.reports.exporter.mathematics(latex, "block")),
    )


def code(notebooks: Sequence[Kept]) -> str:
    """The page of all code: for every model, settings and method what each engine ran, and where it stands."""
    models: dict[str, list[dict[str, Any]]] = {}
    shown = _shown(notebooks)
    for key in sorted(shown, key=lambda key: (*key[:2], *map(_rank, key[2:], (SETTINGS, vocabulary.METHODS)))):
        fits = [
            {
                "engine": fit["engine"],
                "language": fit.get("language", "Code"),
                "anchor": _anchor(key, fit["engine"]),
                "call": fit.get("call") or "",
                "why": "" if fit["gap"] is not None else "no fit: " + " ".join(map(str, fit["messages"])),
                "places": [{"link": _link(place, fit), "text": place["name"]} for place in _places(fit)],
            }
            for fit in shown[key]
        ]
        part = {"settings": key[2], "method": key[3], "anchor": _anchor(key), "fits": fits}
        models.setdefault("-".join(key[:2]), []).append(part)
    told = [{"id": id, "parts": parts} for id, parts in models.items()]
    return places.linked(render("code.html.j2", "The code of every fit · Concord", models=told), places.models())


# What the notebooks show ---------------------------------------------------------------------------------------------

Key = tuple[str, str, str, str]
"""Dataset, model, settings and method: a comparison."""


def _shown(notebooks: Sequence[Kept]) -> dict[Key, list[dict[str, Any]]]:
    """The fits of every comparison, by engine, each with the places that show it; the last one shown is the one "
    "kept."""
    fits: dict[Key, dict[str, dict[str, Any]]] = {}
    for about, notebook in notebooks:
        cells = notebook["cells"]
        for position, cell in enumerate(cells):
            records = [
                output["data"][MEDIA_TYPE] for output in cell.get("outputs", ()) if MEDIA_TYPE in output.get("data", ())
            ]
            rows = [fit for record in records for fit in record["fits"]]
            if not rows:
                continue
            origin = cell_origins.origin(cells, position)
            place = {
                "report": about["id"],
                "name": f"{about['name']}, {about['method']}" if about["method"] else about["name"],
                "shown": cell["id"],
                "python": cells[origin.python]["id"],
                "r": cells[origin.r]["id"],
                "native": origin.native,
                "among": len(rows),
            }
            for fit in rows:
                by_engine = fits.setdefault((fit["dataset"], fit["model"], fit["settings"], fit["method"]), {})
                before = by_engine.get(fit["engine"], {"places": [], "call": ""})
                call = fit.get("call") or before["call"]
                by_engine[fit["engine"]] = {**fit, "call": call, "places": [*before["places"], place]}
    return {key: sorted(by_engine.values(), key=_by_engine) for key, by_engine in fits.items()}


def _places(fit: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where a fit is shown, a place a report: first where its own code is, then where least else is shown."""
    ordered = sorted(fit["places"], key=lambda place: (_own(place, fit) is None, place["among"]))
    return list({place["report"]: place for place in reversed(ordered)}.values())[::-1]


def _own(place: Mapping[str, Any], fit: Mapping[str, Any]) -> str | None:
    """The cell with a fit's own code in its package's language, where a story has it: a party's."""
    language = fit["language"].lower() if fit.get("role") == "party" else ""
    return place[language] if language in place["native"] else None


def _link(place: Mapping[str, Any], fit: Mapping[str, Any]) -> str:
    cell = _own(place, fit) or place["r" if fit.get("language") == "R" else "python"]
    return f"{_quoted(place['report'])}.html#cell-id={_quoted(cell)}"


def _reports(notebooks: Sequence[Kept], began: datetime) -> list[tuple[str, list[dict[str, Any]]]]:
    """The reports by their notebooks, a run a method: what came of each, its title and its verdicts."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for about, notebook in notebooks:
        verdicts: dict[str, int] = {}
        for fits in _shown([(about, notebook)]).values():
            for word in _words(fits):
                verdicts[word] = verdicts.get(word, 0) + 1
        earlier = datetime.fromisoformat(about["finished"]) < began.replace(microsecond=0)
        told = {"title": beginning.headline(notebook) or about["name"], "verdicts": verdicts, "earlier": earlier}
        runs.setdefault(about["name"], []).append({**about, **told})
    by_method = {
        name: sorted(of_name, key=lambda run: _rank(run["method"] or "", vocabulary.METHODS))
        for name, of_name in runs.items()
    }
    return sorted(by_method.items())


def _rows(
    shown: Mapping[Key, Sequence[dict[str, Any]]], datasets: Container[str] = frozenset()
) -> list[dict[str, Any]]:
    """The rows of `grid`."""
    models: dict[tuple[str, str], dict[str, Any]] = {}
    for key, fits in sorted(shown.items()):
        row = models.setdefault(
            key[:2], {"id": "-".join(key[:2]), "dataset": key[0], "cells": {}, "verdicts": [], "short": []}
        )
        row["page"] = places.model_page(row["id"]) if row["dataset"] in datasets else ""
        words = _words(fits)
        gaps = [(fit["engine"], fit["gap"]) for fit in fits if fit["gap"] is not None]
        place = min((place for fit in fits for place in fit["places"]), key=lambda place: place["among"])
        exact = "; ".join([*words, *(f"{engine} {value!r}" for engine, value in gaps)])
        row["cells"][key[2:]] = {
            "verdicts": words,
            "gaps": gaps,
            "link": f"{_quoted(place['report'])}.html#cell-id={_quoted(place['shown'])}",
            "exact": exact,
            "worst": max((value for _, value in gaps), default=""),
        }
        row["verdicts"] += [word for word in words if word not in row["verdicts"]]
        for word in words:
            off = [
                fit["engine"] for fit in fits if fit.get("role") == "party" and fit["language"].lower() in side(word)
            ]
            row["short"] += [engine for engine in off if engine not in row["short"]]
    return sorted(models.values(), key=lambda row: row["verdicts"] == ["agree"])


def _line(key: Key, fit: Mapping[str, Any]) -> dict[str, Any]:
    """A fit as a row of the front page."""
    place = _places(fit)[0]
    own = _own(place, fit) is not None or not fit.get("call")
    numbers = {
        name: {"exact": "" if fit[name] is None else repr(fit[name]), "shown": "" if fit[name] is None else shown}
        for name, shown in (
            ("loglik", _format(fit["loglik"], ".10g")),
            ("gap", "< 1e-6" if abs(fit["gap"] or 0) < 1e-6 else _format(fit["gap"], ".3g")),
            ("digits", _format(fit["digits"], ".0f" if (fit["digits"] or 0) >= 1 else ".1f")),
        )
    }
    return {
        **{name: fit[name] for name in ("dataset", "method", "settings", "engine", "verdict", "converged")},
        "said_so": fit.get("said_so") or "",
        **numbers,
        "id": "-".join(key[:2]),
        "language": fit.get("language", "Code"),
        "code": _link(place, fit) if own else f"code.html#{_anchor(key, fit['engine'])}",
    }


def _format(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _words(fits: Sequence[Mapping[str, Any]]) -> list[str]:
    """The verdicts of a comparison: one, unless two notebooks disagree."""
    return list(dict.fromkeys(fit["verdict"] for fit in fits if fit["verdict"]))


def _tally(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """For each settings: in how many comparisons the engines agree, and how many comparisons there are."""
    counts: dict[str, tuple[int, int]] = {}
    for row in rows:
        for (settings, _), cell in row["cells"].items():
            agree, total = counts.get(settings, (0, 0))
            counts[settings] = (agree + (cell["verdicts"] == ["agree"]), total + 1)
    return dict(sorted(counts.items(), key=lambda item: _rank(item[0], SETTINGS)))


def _releases(notebooks: Sequence[Kept]) -> dict[str, Any]:
    """What a notebook shows of the catalogue by several releases, and which one; empty where none does."""
    for about, notebook in notebooks:
        for runs in concord.display.records.displayed([notebook], RELEASES_TYPE):
            return {"report": about["id"], "runs": [{**run, "verdicts": _counted(run)} for run in runs]}
    return {}


def _counted(run: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """By the settings, how often every verdict came in a run."""
    counts = {settings: {"agree": agree} for settings, (agree, _) in run["agree"].items()}
    for comparison in run["off"]:
        words = counts[comparison["settings"]]
        words[comparison["verdict"]] = words.get(comparison["verdict"], 0) + 1
    return {settings: {word: words[word] for word in _sorted(words, VERDICTS)} for settings, words in counts.items()}


def _states_quantities(notebooks: Sequence[Kept]) -> bool:
    return any(
        True for _ in concord.display.records.displayed((notebook for _, notebook in notebooks), QUANTITIES_TYPE)
    )


def _anchor(key: Key, *more: str) -> str:
    return "-".join([*key, *more])


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _ordered(columns: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(columns, key=lambda column: (_rank(column[0], SETTINGS), _rank(column[1], vocabulary.METHODS)))


def _by_engine(fit: Mapping[str, Any]) -> tuple[int, int, str]:
    """Parties first, then arbiters and guests; of each role Python's first."""
    return (*_rank(fit.get("role", ""), ROLES)[:1], *_rank(fit.get("language", ""), LANGUAGES)[:1], fit["engine"])


def _sorted(words: Iterable[str], order: Iterable[str]) -> list[str]:
    known = tuple(order)
    return sorted(words, key=lambda word: _rank(word, known))


def _rank(word: str, order: Iterable[str]) -> tuple[int, str]:
    known = tuple(order)
    return (known.index(word) if word in known else len(known), word)
