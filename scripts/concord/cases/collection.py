"""The collection: every data set and model that was compared, with all that a page says of them, as one record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from concord.agreement.comparison import Comparison
from concord.agreement.trials import remedies
from concord.cases import certified, fits, notation
from concord.data import description
from concord.display import table as tables
from concord.display.media import CASES_FORM, CASES_TYPE
from concord.display.vector import vector
from concord.engines.engine import party
from concord.listing.listings import Condemned, Listings, Written
from concord.models.model import Model
from concord.plots.observations import PAGE, observations
from concord.reference import reference
from concord.reference.record import Record
from concord.vocabulary import LANGUAGES, METHODS


class Collection(tables.Shown):
    """Data sets and models with their certified optima, and how far every fit of them is from these.

    A displayed collection is a table of the certified log-likelihoods, and carries the record of which the pages of
    data sets are made.

    Attributes
    ----------
    comparisons : of models that are certified, each at every settings and by every method
    """

    def __init__(self, comparisons: Iterable[Comparison]) -> None:
        self.comparisons = [each for each in comparisons if each.model.dataset.place is not None]
        self._certified = {
            (model.id, model.method): record
            for model in (each.model for each in self.comparisons)
            if (record := reference.record_of(model)) is not None
        }

    def record(self) -> list[dict[str, Any]]:
        """A record a data set, with its models, for pages and files."""
        compared: dict[str, dict[str, list[Comparison]]] = {}
        for comparison in self.comparisons:
            model = comparison.model
            compared.setdefault(model.dataset.id, {}).setdefault(model.id, []).append(comparison)
        return [self._dataset(models) for models in compared.values()]

    def _dataset(self, models: dict[str, list[Comparison]]) -> dict[str, Any]:
        all_models = [comparisons[0].model for comparisons in models.values()]
        dataset = all_models[0].dataset
        figure = observations(all_models)
        return {
            "form": CASES_FORM,
            **description.of(dataset),
            "picture": {"svg": vector(figure, PAGE), "alt": figure.alt},  # type: ignore[attr-defined]
            "models": [self._model(comparisons) for comparisons in models.values()],
        }

    def _model(self, comparisons: Sequence[Comparison]) -> dict[str, Any]:
        model = comparisons[0].model
        signs = notation.symbols(model.design)
        records = {method: self._certified.get((model.id, method)) for method in METHODS}
        known = {method: certified.as_record(record) for method, record in records.items() if record is not None}
        first = next((record for record in records.values() if record is not None), None)
        keys = [row[:3] for row in certified.quantities(first)] if first else []
        quantities = [{"key": list(key), "symbol": signs[key][0], "name": signs[key][1]} for key in keys]
        return {
            "id": model.id,
            "name": model.name,
            "formula": model.record.formula,
            "title": model.record.title,
            "note": model.record.note or "",
            "words": notation.words(model),
            "equations": notation.equations(model),
            "groups": [[term.group, len(term.levels)] for term in model.design.terms],
            "observations": len(model.design.y),
            "quantities": quantities,
            "certified": known,
            "comparisons": [_compared(each, records[each.model.method]) for each in comparisons],
            "code": {
                method: _code([each for each in comparisons if each.model.method == method])
                for method in METHODS
                if any(each.model.method == method for each in comparisons)
            },
        }

    def _rendered(self) -> tables.Rendered:
        rows: dict[str, list[object]] = {}
        for (id, method), record in self._certified.items():
            row = rows.setdefault(id, [id, record.formula, *[""] * len(METHODS)])
            row[2 + METHODS.index(method)] = certified.rounded(record.loglik)
        everywhere = sum(record.checks.proved == "global" for record in self._certified.values())
        caption = (
            f"Certified log-likelihoods\n{len(rows)} models by {' and by '.join(METHODS)}: {len(self._certified)} "
            f"optima, {everywhere} of them proved to be global, to 15 digits."
        )
        return caption, ["model", "formula", *METHODS], list(rows.values()), 2, []

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(), CASES_TYPE: self.record()}


def _compared(comparison: Comparison, record: Record | None) -> dict[str, Any]:
    answers = fits.answers(comparison, certified.quantities(record) if record else [])
    return {
        "settings": comparison.settings,
        "method": comparison.model.method,
        "verdict": comparison.verdict.word,
        "reason": comparison.verdict.reason,
        "known": comparison.known or "",
        "answers": answers,
        "otherwise": any(number["otherwise"] for answer in answers for number in answer.get("numbers", ())),
    }


def _code(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The model's code in both languages, and the default code that misses the optimum."""
    model: Model = comparisons[0].model
    listings = Listings(model, f"{model.dataset.id}.csv", _condemned(comparisons))
    return {"written": dict(zip(LANGUAGES, (listings.python, listings.r), strict=True)), "ships": listings.condemned}


def _condemned(comparisons: Sequence[Comparison]) -> dict[str, Condemned]:
    """By language what is wrong with its default call, and what to write in its place: the plainest call that reached
    the optimum when it was tried, or else the tuned one, where that is there.
    """
    tried: dict[str, Condemned] = {}
    for comparison in comparisons:
        if comparison.settings == "default":
            tried |= remedies(comparison).condemned
    condemned = {}
    for language in LANGUAGES:
        engine = party(language).name
        graded = {
            fit.settings: (fit, judgement.gap, grade)
            for comparison in comparisons
            for fit, judgement, grade in zip(comparison.fits, comparison.judgements, comparison.grades, strict=True)
            if fit.engine == engine
        }
        _, gap, grade = graded.get("default", (None, math.nan, ""))
        if grade:
            tuned, _, still = graded.get("tuned", (None, math.nan, "missing"))
            instead = Written(tuned.call) if tuned is not None and not still else None
            if language in tried:
                instead = tried[language].instead or instead
            below = f"{gap:.3g} log-likelihood units below the optimum" if math.isfinite(gap) else "at no parameters"
            condemned[language] = Condemned(f"it stops {below}", instead)
    return condemned
