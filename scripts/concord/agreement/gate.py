"""The gate: many comparisons at a glance, all of which must pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from concord import vocabulary
from concord.agreement.comparison import Comparison, Disagreement, compare
from concord.display import table
from concord.display.media import MEDIA_TYPE
from concord.engines.answers import answer
from concord.engines.engine import engines, title
from concord.models import model as models
from concord.vocabulary import AGREE, IMPRECISES, SETTINGS


class Explained(Protocol):
    """What a gate asks of an account, which stands above it."""

    comparison: Comparison

    @property
    def unexplained(self) -> list[str]:
        """The lines that nothing explains, a sentence each."""


def everything(chosen: Iterable[models.Model] | None = None) -> Iterator[Comparison]:
    """Every model by every method, or those chosen, at default and at tuned settings, by all engines."""
    for model in models.every() if chosen is None else chosen:
        for settings in SETTINGS:
            yield compare(*(answer(model, engine, settings) for engine in engines()))


class Gate(table.Shown):
    """Comparisons of several models or settings.

    A displayed gate is a table of verdicts, and carries the records of all its fits.

    Attributes
    ----------
    comparisons : in the order given
    accounts : what the fits of some of them say beyond their estimates; a line there that nothing explains is a breach
    """

    def __init__(self, comparisons: Iterable[Comparison], accounts: Iterable[Explained] = ()) -> None:
        self.comparisons, self.accounts = list(comparisons), list(accounts)
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
        breaches += self.unexplained
        if breaches:
            raise Disagreement(f"{len(breaches)} breaches in {len(self.comparisons)} comparisons", breaches)
        return self

    @property
    def unexplained(self) -> list[str]:
        """The lines of the accounts that nothing explains, a sentence each."""
        return [f"{account.comparison.title}: {line}" for account in self.accounts for line in account.unexplained]

    def grid(self) -> str:
        """A Markdown table: a row a model, a column a settings and method; the verdict, and the worst gap.

        The last column says of the fits that are short or imprecise whether their package itself expressed doubt.
        Models whose every verdict is ``agree`` share the last row. What is short is bold.
        """
        columns = list(dict.fromkeys((comparison.settings, comparison.model.method) for comparison in self.comparisons))
        columns.sort(key=lambda column: (SETTINGS.index(column[0]), vocabulary.METHODS.index(column[1])))
        rows: dict[str, dict[tuple[str, str], str]] = {}
        for comparison in self.comparisons:
            rows.setdefault(comparison.model.id, {})[comparison.settings, comparison.model.method] = _cell(comparison)
        calm = [id for id, cells in rows.items() if set(cells.values()) == {"agree"}]
        header = ["model", *(f"{settings}, {method}" for settings, method in columns), "said so?"]
        lines = [header, ["---"] * len(header)]
        lines += [
            [id, *(rows[id].get(column, "") for column in columns), self._said(id)] for id in rows if id not in calm
        ]
        if calm:
            lines.append([f"{len(calm)} of {len(rows)} models" if len(calm) < len(rows) else f"all {len(calm)} models"])
            lines[-1] += [*["agree"] * len(columns), ""]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def _said(self, id: str) -> str:
        """Whether the packages whose fits of a model are short or imprecise doubted them: ``warned`` or ``silent``,
        with the package and the method where not all did the same.
        """
        by_engine: dict[str, dict[str, list[str]]] = {}
        for comparison in self.comparisons:
            for i in comparison.parties if comparison.model.id == id and comparison.fits else ():
                if comparison.grades[i]:
                    judgement = comparison.judgements[i]
                    where = ("" if judgement.fit.settings == "default" else "tuned ") + comparison.model.method
                    said_by = by_engine.setdefault(title(judgement.fit.engine), {})
                    said_by.setdefault(judgement.said_so, []).append(where)
        words = {word for said in by_engine.values() for word in said}
        if len(words) < 2:
            return "".join(words)
        told = {
            engine: ", ".join(f"{word} by {' and '.join(where)}" for word, where in said.items())
            for engine, said in by_engine.items()
        }
        return "; ".join(f"{engine} {words}" for engine, words in told.items())

    def reached(self) -> str:
        """A Markdown table: of every engine, by settings, how many fits are at the optimum, and which are not."""
        by_fit: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
        for comparison in self.comparisons:
            for _, judgement in comparison.judged:
                there, short = by_fit.setdefault((judgement.fit.engine, judgement.fit.settings), ([], []))
                grade = comparison.grade_of(judgement)
                named = ", ".join([comparison.model.method, *([f"{grade} by {judgement.gap:.2g}"] if grade else [])])
                (short if grade else there).append(f"{comparison.model.id} ({named})")
            for absent in comparison.absent:
                by_fit.setdefault((absent.engine, absent.settings), ([], []))[1].append(
                    f"{comparison.model.id} ({comparison.model.method}, {absent.kind})"
                )
        lines = [["engine", "settings", "at the optimum", "not there"], ["---"] * 4]
        for (engine, settings), (there, short) in sorted(by_fit.items(), key=lambda item: _rank(*item[0])):
            lines.append([engine, settings, f"{len(there)} of {len(there) + len(short)}", ", ".join(short) or "none"])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def _rendered(self) -> table.Rendered:
        wrong = {account.comparison.title: len(account.unexplained) for account in self.accounts if account.unexplained}
        rows: list[table.Row] = []
        for comparison in self.comparisons:
            word, expected = comparison.verdict.word, _expected(comparison)
            if comparison.title in wrong:
                count = wrong[comparison.title]
                lines = f"{count} {'lines' if count > 1 else 'line'} that nothing explains"
                word, expected = f"differ: {lines}" if word == AGREE else f"{word}; {lines}", "no"
            rows.append(
                [comparison.model.id, comparison.model.method, comparison.settings, word, _said(comparison), expected]
            )
        header = ["model", "method", "settings", "verdict", "said so?", "expected"]
        if all(one.model.dataset.place is None for one in self.comparisons):  # of a user's table nothing is expected
            agreed = sum(row[3] == AGREE for row in rows)
            shown = [row[:-1] for row in rows]
            return f"{agreed} of {len(rows)} comparisons agree", header[:-1], shown, 5, self.unexplained
        passed = sum(row[-1] != "no" for row in rows)
        return f"{passed} of {len(rows)} comparisons as expected", header, rows, len(header), self.unexplained

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        records = [comparison.record() for comparison in self.comparisons]
        rows = {key: [row for record in records for row in record[key]] for key in ("estimates", "fits")}
        return {**super()._repr_mimebundle_(), MEDIA_TYPE: rows}


def _rank(engine: str, settings: str) -> tuple[int, int]:
    return SETTINGS.index(settings), list(engines()).index(engine)


def _said(comparison: Comparison) -> str:
    """Whether the packages whose fits are short or imprecise doubted them."""
    graded = [comparison.judgements[i] for i in comparison.parties if comparison.fits and comparison.grades[i]]
    words = list(dict.fromkeys(judgement.said_so for judgement in graded))
    return words[0] if len(words) == 1 else ", ".join(f"{title(one.fit.engine)} {one.said_so}" for one in graded)


def _cell(comparison: Comparison) -> str:
    word = comparison.verdict.word
    if word == AGREE:
        return word
    shown = word if word in IMPRECISES else f"**{word}**"
    if comparison.missing or not any(comparison.grades[i] for i in comparison.parties):
        return shown
    graded = [(comparison.grades[i], comparison.judgements[i]) for i in comparison.parties if comparison.grades[i]]
    # The engine that the word names first; another one's want of precision beside it, with its own gap.
    worst = max(judgement.gap for _, judgement in graded)
    others = [
        f", {title(judgement.fit.engine)} {grade} by {judgement.gap:.2g}"
        for grade, judgement in graded
        if not word.endswith(grade)
    ]
    return f"{shown} by {worst:.2g}{''.join(others)}"


def _expected(comparison: Comparison) -> str:
    if comparison.verdict.word == AGREE:
        return "yes"
    return f"yes, known: {comparison.known}" if comparison.known else "no"
