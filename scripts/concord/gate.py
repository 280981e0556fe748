"""The gate: many comparisons at a glance, all of which must pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from concord import models, tables
from concord.agreement import Comparison, Disagreement, compare
from concord.answers import answer
from concord.fits import SETTINGS
from concord.records import MEDIA_TYPE


def everything() -> Iterator[Comparison]:
    """Every model by every method, at default and at tuned settings, by all three engines."""
    for model in models.every():
        for settings in SETTINGS:
            yield compare(*(answer(model, engine, settings) for engine in ("mixedlm", "lme4", "nlme")))


class Gate:
    """Comparisons of several models or settings.

    A displayed gate is a table of verdicts, and carries the records of all its fits.

    Attributes
    ----------
    comparisons : in the order given
    """

    def __init__(self, comparisons: Iterable[Comparison]) -> None:
        self.comparisons = list(comparisons)
        if not self.comparisons:
            raise ValueError("a gate without a comparison would pass whatever happened")

    def check(self) -> Gate:
        """Raise where any comparison fails its check.

        Returns
        -------
        Gate : this one, to be shown

        Raises
        ------
        Disagreement : lists every breach of every comparison
        """
        breaches = []
        for comparison in self.comparisons:
            try:
                comparison.check()
            except Disagreement as error:
                breaches += [f"{comparison.title}: {breach}" for breach in error.breaches]
        if breaches:
            raise Disagreement(f"{len(breaches)} breaches in {len(self.comparisons)} comparisons", breaches)
        return self

    def grid(self) -> str:
        """A Markdown table: a row a model, a column a method and settings; the verdict, and how short the worst is."""
        cells = {(each.model.id, each.settings, each.model.method): _cell(each) for each in self.comparisons}
        columns = [(settings, method) for settings in SETTINGS for method in models.METHODS]
        rows = [["model", *(f"{settings}, {method}" for settings, method in columns)], ["---"] * (1 + len(columns))]
        for id in dict.fromkeys(key[0] for key in cells):
            rows.append([id, *(cells.get((id, *column), "") for column in columns)])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def _rendered(self) -> tuple[str, list[str], list[list[object]], int]:
        rows = [
            [each.model.id, each.model.method, each.settings, each.verdict.word, _expected(each)]
            for each in self.comparisons
        ]
        passed = sum(row[-1] != "no" for row in rows)
        header = ["model", "method", "settings", "verdict", "expected"]
        return f"{passed} of {len(rows)} comparisons as expected", header, rows, len(header)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        rendered = self._rendered()
        records = [each.record() for each in self.comparisons]
        return {
            "text/plain": tables.render_text(*rendered),
            "text/html": tables.render_html(*rendered),
            MEDIA_TYPE: {key: [row for record in records for row in record[key]] for key in ("estimates", "fits")},
        }

    def __repr__(self) -> str:
        return tables.render_text(*self._rendered())


def _cell(comparison: Comparison) -> str:
    if comparison.verdict.word == "agree":
        return "agree"
    if comparison.missing:
        return f"**{comparison.verdict.word}**"
    worst = max(comparison.judgements[i].gap for i in comparison.parties)
    return f"**{comparison.verdict.word}** by {worst:.2g}"


def _expected(comparison: Comparison) -> str:
    if comparison.verdict.word == "agree":
        return "yes"
    return f"yes, known: {comparison.known}" if comparison.known else "no"
