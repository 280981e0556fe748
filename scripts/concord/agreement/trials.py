"""Trials: what to write instead where a verdict is not *agree*, tried on the same table and judged by the same
likelihood as the comparison.

For every party that is below the optimum, or states what does not hold, or gave no fit, the engine's other calls are
tried until one reaches the optimum without a word of doubt, and then its default call on the table with columns in
other units. The comparison itself stays as it is.
"""

from __future__ import annotations

import html
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from concord.agreement.alternatives import HEADING, alternatives
from concord.agreement.comparison import Comparison
from concord.agreement.remedy import Remedy, Tried
from concord.agreement.verdict import Fact, grade
from concord.engines.answers import Absence, Answer, answer
from concord.engines.engine import CannotExpress, engines, title
from concord.engines.fit import Fit
from concord.engines.tuning import recomputed
from concord.listing import listings as listing
from concord.listing.listings import Condemned
from concord.models.model import Model
from concord.models.rescaling import Rescaling, rescalings
from concord.vocabulary import AGREE, CANNOT_EXPRESS

Ask = Callable[[Model, str, str, float], Answer]
"""What an engine answers: to a model, by its name, by settings or a remedy, in so many seconds."""

# So many that arrive with a warning are enough: the warning is then about the model and not about where they stopped.
ENOUGH = 3


# Of what kind of absence no other call would make a fit, and why.
_HOPELESS = {
    "stopped": "its default call did not end in the time it had",
    "too large": "its other calls need as much memory",
}


@dataclass(frozen=True, eq=False)
class Remedies:
    """What to write instead, an engine each; shown as words and code, ready to paste.

    Attributes
    ----------
    comparison : whose verdict is not *agree*; of one that is there are no remedies
    remedies : one for every engine whose default call is not the one to use
    source : the file that the code reads; None for a table in memory
    """

    comparison: Comparison
    remedies: tuple[Remedy, ...]
    source: str | None = None

    @property
    def condemned(self) -> dict[str, Condemned]:
        """By language what is known of its default call, where that misses the optimum."""
        return {
            engines()[each.engine].language: Condemned(each.condemned, each.written)
            for each in self.remedies
            if each.nearest is None
        }

    @property
    def parts(self) -> list[tuple[str, list[str], str]]:
        """Of other packages and of every remedy a heading, sentences that say what to do, and the code, if any."""
        others = alternatives(self.comparison, self.source)
        said = [(remedy.heading, remedy.told, self._code(remedy)) for remedy in self.remedies]
        return [*([(HEADING, others, "")] if others else []), *said]

    def _code(self, remedy: Remedy) -> str:
        language = engines()[remedy.engine].language
        if remedy.nearest is not None:
            return listing.code(language, remedy.nearest, self.source)
        return listing.code(language, remedy.model, self.source, remedy.written) if remedy.written else ""

    @property
    def words(self) -> str:
        """Where there is no remedy, why."""
        if self.comparison.verdict.word == AGREE:
            return "Nothing needs to change: both calls reach the optimum."
        return "" if self.remedies else "Both calls reach the optimum: no other call would change what is apart."

    def __repr__(self) -> str:
        shown = ["\n".join([heading, *told, *(["", code] if code else [])]) for heading, told, code in self.parts]
        return "\n\n".join(shown) or self.words

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        shown = []
        # On a page the other call of one's own package first; a terminal ends with the code to be pasted.
        for heading, told, code in sorted(self.parts, key=lambda part: part[0] == HEADING):
            words = "<br>".join(map(html.escape, told))
            shown.append(f"<h4>{html.escape(heading)}</h4>\n<p>{words}</p>{code and listing.as_html(code)}")
        return {"text/plain": repr(self), "text/html": "\n".join(shown) or f"<p>{html.escape(self.words)}</p>"}


def remedies(
    comparison: Comparison, source: str | None = None, ask: Ask | None = None, seconds: float | None = None
) -> Remedies:
    """What to write instead, tried; without a fit, where the verdict is *agree*.

    Parameters
    ----------
    comparison : of the parties, at default settings
    source : the file that the code is to read; by default that of the workbook's dataset
    ask : how an engine is asked; by default in this process
    seconds : that all tries by one engine may take; None for no limit
    """
    dataset = comparison.model.dataset
    if source is None and dataset.place is not None:
        source = f"{dataset.id}.csv"
    found: list[Remedy] = []
    if comparison.verdict.word != AGREE:
        search = _Search(comparison, ask or _here, math.inf if seconds is None else seconds)
        found = [search.absent(each) for each in comparison.missing]
        for i in comparison.parties if comparison.fits else ():
            if comparison.grades[i] or comparison.broken(i):
                found.append(search.wrong(i))
    return Remedies(comparison, tuple(found), source)


def _here(model: Model, engine: str, settings: str, seconds: float) -> Answer:
    return answer(model, engine, settings)


@dataclass(frozen=True, eq=False)
class _Search:
    """The tries for one comparison; see `remedies`."""

    comparison: Comparison
    ask: Ask
    seconds: float

    def wrong(self, i: int) -> Remedy:
        """The remedy for the i-th fit: below the optimum, or with numbers that do not hold."""
        fit, gap = self.comparison.fits[i], self.comparison.judgements[i].gap
        broken = () if self.comparison.grades[i] else self.comparison.broken(i)
        # Whether what is stated holds on a rescaled table is not looked at: there is no remedy of that kind for it.
        return replace(self._remedy(fit.engine, fit, gap, rescale=not broken), broken=broken)

    def absent(self, absence: Absence) -> Remedy:
        """The remedy for a fit that there is not."""
        if absence.kind == CANNOT_EXPRESS:
            remedy = self._made(absence.engine, None, math.inf, (), self._elsewhere(absence.engine))
            if absence.nearest is None:
                return replace(remedy, note=f"It has no call for this model. {remedy.note}".strip())
            model = self.comparison.model
            nearest = replace(model, record=model.record.model_copy(update={"formula": absence.nearest}))
            lost = f" Lost by that: {absence.lost}." if absence.lost else ""
            note = f"The nearest that it can fit is another model, {absence.nearest}.{lost} {remedy.note}".strip()
            return replace(remedy, note=note, nearest=nearest)
        if absence.kind in _HOPELESS:
            note = f"Nothing was tried: {_HOPELESS[absence.kind]}. {self._elsewhere(absence.engine)}"
            return self._made(absence.engine, None, math.inf, (), note.strip())
        return self._remedy(absence.engine, None, math.inf, rescale=True)

    def _remedy(self, engine: str, fit: Fit | None, gap: float, rescale: bool) -> Remedy:
        ends = time.monotonic() + self.seconds
        tried = [*_until_calm(self._calls(engine, ends))]
        if rescale:
            tried += _until_calm(self._rescaled(engine, ends))
        arrived = any(each.reached for each in tried)
        notes = ["No more was tried: the time was over."] if time.monotonic() >= ends and not arrived else []
        notes += [] if arrived else [self._elsewhere(engine)]
        return self._made(engine, fit, gap, tried, " ".join(filter(None, notes)))

    def _made(self, engine: str, fit: Fit | None, gap: float, tried: Iterable[Tried], note: str) -> Remedy:
        errors = self.comparison.judge.top.std_error
        return Remedy(self.comparison.model, engine, fit, gap, errors, tried=tuple(tried), note=note)

    def _elsewhere(self, engine: str) -> str:
        """Whose default fit is at the optimum, in a sentence."""
        comparison = self.comparison
        there = [
            title(comparison.fits[i].engine)
            for i in (comparison.parties if comparison.fits else ())
            if comparison.fits[i].engine != engine and not comparison.grades[i] and not comparison.broken(i)
        ]
        return f"{there[0]} is at the optimum: take its fit." if there else ""

    def _calls(self, engine: str, ends: float) -> Iterator[Tried]:
        """The engine's other calls, until the time is over."""
        listed = getattr(engines()[engine], "remedies", None)
        if listed is None:
            return
        try:
            named = listed(self.comparison.model)
        except CannotExpress:
            return
        for remedy in named:
            if (left := ends - time.monotonic()) <= 0:
                return
            yield self._judged(remedy, self.ask(self.comparison.model, engine, remedy, left))

    def _rescaled(self, engine: str, ends: float) -> Iterator[Tried]:
        """The engine's default call on rescaled tables, until the time is over."""
        for rescaling in rescalings(self.comparison.model):
            if (left := ends - time.monotonic()) <= 0:
                return
            yield self._judged(str(rescaling), self.ask(rescaling.model, engine, "default", left), rescaling)

    def _judged(self, what: str, given: Answer, rescaling: Rescaling | None = None) -> Tried:
        if isinstance(given, Absence):
            return Tried(what, rescaling=rescaling)
        comparison = self.comparison
        if rescaling is None:
            return Tried(what, given, comparison.judge.measure(given).gap, comparison.reaches(given))
        missing = np.full(len(given.std_error), np.nan)
        parameters = rescaling.back(given.parameters)
        fit = replace(given, model=comparison.model, parameters=parameters, std_error=missing, joint_std_error=None)
        gap = comparison.against.level - recomputed(fit, comparison.against.likelihood)
        off = comparison.judge.off(fit) if math.isfinite(gap) else math.inf
        there = not grade(Fact(fit.engine, fit.engine, gap, off=off), comparison.allowed_gap)
        return Tried(what, fit, gap, there, rescaling)


def _until_calm(tried: Iterable[Tried]) -> Iterator[Tried]:
    """All that is tried, up to the first that is at the optimum, undoubted by its package, or the third that is."""
    arrived = 0
    for one in tried:
        yield one
        arrived += one.reached
        if (one.reached and not one.warning) or arrived == ENOUGH:
            return
