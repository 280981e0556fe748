"""The pages of the data sets: what was measured, every model with what is certified of it, and how far each package's
fits are from that; made from the records that a notebook carries, and from what the catalogue itself says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

from markupsafe import Markup, escape

import concord.display
import concord.reports
from concord import checkout
from concord.data import datasets, description
from concord.display.media import CASES_FORM, CASES_TYPE
from concord.reports.places import FOLDER, dataset_page
from concord.reports.rendering import render
from concord.vocabulary import METHODS, SETTINGS

_DOI = re.compile(r"doi:(10\.\d{4,}/[^\s;,]*[^\s;,.])")
KINDS = {
    "loglik": "Log-likelihood",
    "fixed": "Fixed effects",
    "std_error": "Standard errors",
    "ran_pars": "(Co)variances",
}
"""The kinds of quantities, by a certified one's effect."""


def known() -> tuple[str, ...]:
    """The data sets that have a page: those of the checkout's catalogue, if there is one."""
    return () if checkout.root() is None else tuple(datasets.catalogue())


def pages(notebooks: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The files of the data sets' pages, by their place beside the front page: a page each, its table, and a list.

    Without a checkout there is no catalogue, and no file.

    Parameters
    ----------
    notebooks : executed ones
    rows : of the grid: the models' comparisons, with the report that shows them
    """
    if not known():
        return {}
    cases = _cases(notebooks)
    shown = {row["id"]: row["cells"] for row in rows}
    files = {f"{FOLDER}/{case['id']}.csv": case["csv"] for case in cases}
    for case in cases:
        files[dataset_page(case["id"])] = _page(case, shown)
    files[f"{FOLDER}/index.html"] = render(
        "datasets.html.j2",
        "Data sets and certified values · Concord",
        cases=cases,
        methods=METHODS,
        certified_of=_certified_loglik,
    )
    return files


def _cases(notebooks: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The record of every data set of the catalogue: the last one shown, or else what needs no computing.

    So is each of its models: what was shown of another formula is not of this one.
    """
    records = concord.display.records.displayed(notebooks, CASES_TYPE)
    shown = {case["id"]: case for case in chain.from_iterable(records) if case.get("form") == CASES_FORM}
    cases = []
    for id in datasets.catalogue():
        bare = _bare(datasets.load(id))
        case = shown.get(id, bare)
        computed = {(model["id"], model["formula"]): model for model in case["models"]}
        models = [computed.get((model["id"], model["formula"]), model) for model in bare["models"]]
        cases.append({**case, "models": models})
    return cases


def _bare(dataset: datasets.Dataset) -> dict[str, Any]:
    """A data set of which nothing was computed in any notebook that is kept."""
    models = [
        {"id": f"{dataset.id}-{name}", "name": name, **model.model_dump(include={"formula", "title", "note"})}
        for name, model in dataset.models.items()
    ]
    return {**description.of(dataset), "picture": None, "models": [{**model, "certified": {}} for model in models]}


def _page(case: Mapping[str, Any], shown: Mapping[str, Mapping[tuple[str, str], Any]]) -> str:
    return render(
        "dataset.html.j2",
        f"{case['id']}: {case['title']} · Concord",
        case=case,
        citation=_cited(case["citation"]),
        shown=shown,
        methods=METHODS,
        columns=[(settings, method) for settings in SETTINGS for method in METHODS],
        kinds=KINDS,
        svg=Markup(case["picture"]["svg"]) if case["picture"] else "",
        mathematics=_mathematics,
        value=_value,
    )


def _cited(citation: str) -> Markup:
    """A citation whose DOIs are links."""
    return Markup(_DOI.sub(r'<a href="https://doi.org/\1">doi:\1</a>', str(escape(citation))))


@cache
def _mathematics(latex: str, display: str = "inline") -> Markup:
    return Markup(concord.reports.exporter.mathematics(latex, display))


def _certified_loglik(model: Mapping[str, Any], method: str) -> Mapping[str, str]:
    """The certified log-likelihood of a model, in full and as it is shown; empty where there is none."""
    certified = model["certified"].get(method)
    return certified["quantities"][0] if certified else {"value": "", "shown": ""}


def _value(model: Mapping[str, Any], method: str, place: int) -> Mapping[str, str]:
    """A certified value of a model by its place."""
    certified: Sequence[Mapping[str, str]] = model["certified"].get(method, {}).get("quantities", ())
    return certified[place] if certified else {"value": "", "shown": ""}
