"""Lines: everything that fits say beyond their estimates, line by line, with two questions asked of each.

*Same definition?* Two packages may give two numbers that are both right, because they are numbers of two things.
*Agree?* Whatever a package states is held against the independent likelihood's value **by that package's own
definition, at that package's own estimates**; only then are packages held against each other. So a difference by
definition is never called a disagreement, and one that no definition explains is never called agreement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from concord.account.definitions import definitions
from concord.agreement.comparison import Disagreement
from concord.agreement.tolerances import QuantityTolerance, tolerances
from concord.display import table as tables
from concord.display.media import QUANTITIES_TYPE
from concord.display.records import QUANTITIES_COLUMNS, plain
from concord.engines.engine import called, heading, title
from concord.engines.statements import NOT_ASKED
from concord.models.parameters import KEY
from concord.vocabulary import INDEPENDENT

AGREE, DEFINITION, OPTIMUM, DIFFER, ALONE = "agree", "by definition", "another optimum", "differ", "not compared"
# Explained, and yet no agreement: the number is not the right one, and what the source computes with cannot do better.
LOST = "differ: lost in rounding"
SAME, SAME_NUMBER, OTHERWISE = "same", "defined otherwise, same number here", "differs by definition"
"""How `AGREE` and `DEFINITION` are told to a reader; the last one with the numbers."""
_BESIDE = "Below each number, small: what the package's own definition gives at its own estimates."
# Each is right at its own estimates, which are apart though no fit is short: a matter of these, and judged with them.
ESTIMATES = "by estimates"
VERDICTS = (AGREE, DEFINITION, OPTIMUM, ESTIMATES, LOST, ALONE, DIFFER)


@dataclass(frozen=True, eq=False)
class Line:
    """One quantity, from every source that has it.

    Attributes
    ----------
    section : what it belongs to: ``standard errors``, ``tests``, ``intervals``, ``random effects``, ...
    quantity : what it is, such as ``standard error`` or ``profile interval, lower``
    tolerance : the name of its tolerance among the ``quantities`` of tolerances.toml
    values : by source (``statsmodels``, ``lme4``, ``nlme``, ``lmerTest``, ...) what it states: a number, or an array of
        them, one a level or row, in one order for all sources
    definitions : by source the name of its definition; a source that is not named has the same as all others
    expected : by source the independent value by that source's definition at that source's estimates, missing where
        that gives none; a source that is not named can only be held against others
    independent : the independent value at the reference, by the common definition, to be shown; NaN where there is none
    effect, group, term : whose it is, as in `Fit.estimates`; empty for a quantity of the whole model
    absent : by source, why it states nothing
    scale : what a relative tolerance is relative to, where that is not the values' own size
    scales : the same by source, where each has another
    short : whether a fit is not at the optimum, so that sources may differ because their estimates do
    looser : by source the name of its own tolerance, where its arithmetic cannot hold the line's
    rounding : by source, by how much the rounding of its own arithmetic can move its value, as computed; what is off by
        more than the tolerance and no more than this is *lost in rounding*: no tick, and no riddle
    """

    section: str
    quantity: str
    tolerance: str
    values: Mapping[str, Any]
    definitions: Mapping[str, str] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)
    independent: float = np.nan
    effect: str = ""
    group: str = ""
    term: str = ""
    absent: Mapping[str, str] = field(default_factory=dict)
    scale: float = np.nan
    scales: Mapping[str, float] = field(default_factory=dict)
    short: bool = False
    looser: Mapping[str, str] = field(default_factory=dict)
    rounding: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.definitions.values()) - set(definitions())
        if unknown:
            raise ValueError(f"no such definition: {', '.join(sorted(unknown))}")
        if not self.values and not self.absent:
            raise ValueError(f"{self.title}: a quantity that nobody states, and for no reason, is not a line")

    @property
    def title(self) -> str:
        """Its name in a sentence."""
        return " ".join(filter(None, [self.quantity, self.group, self.term]))

    @property
    def allowed(self) -> QuantityTolerance:
        """Its tolerance."""
        allowed = tolerances()["quantities"][self.tolerance]
        assert isinstance(allowed, QuantityTolerance)
        return allowed

    @property
    def of_p(self) -> bool:
        """Whether it is a p-value."""
        return self.tolerance.startswith("p_value")

    def shown(self, value: float, digits: int = 7) -> str:
        """A value of it for reading."""
        return tables.p_value(value) if self.of_p else tables.number(value, digits)

    @property
    def bound(self) -> str:
        """That sources agree, with how far they may be apart, for reading; counts are equal."""
        limit = max(self.limit_across, tables.SMALLEST_P) if self.of_p else self.limit_across
        return f"within {limit:.1e}" if limit > 0 else "0"

    @property
    def same_definition(self) -> bool:
        """Whether all sources, and the independent value that is shown, mean the same."""
        meant = {self.definitions.get(source) for source in self.values}
        return len(meant if np.isnan(self.independent) else meant | {None}) == 1

    @property
    def difference(self) -> float:
        """The largest difference of two sources; NaN where there is only one."""
        if len(self.values) < 2:
            return np.nan
        values = [np.atleast_1d(np.asarray(value, float)) for value in self.values.values()]
        if len({value.shape for value in values}) > 1:
            return np.nan
        stacked = np.stack(values)
        spread = stacked.max(axis=0) - stacked.min(axis=0)
        return float(spread.max(initial=0.0)) if not np.isnan(spread).any() else np.nan

    @property
    def beyond(self) -> dict[str, float]:
        """By source, how far its value is from what its definition gives, where that is beyond tolerance."""
        excesses = {}
        for source, expected in self.expected.items():
            if source in self.values:
                off = self._distance(self.values[source], expected)
                if not off <= self.limit(source):
                    excesses[source] = off
        return excesses

    @property
    def lost(self) -> dict[str, float]:
        """Of those `beyond`, the ones that rounding can explain."""
        return {s: off for s, off in self.beyond.items() if off <= self.limit(s) + self._rounding(s)}

    @property
    def unexplained(self) -> dict[str, float]:
        """Of those `beyond`, the ones that nothing explains."""
        return {s: off for s, off in self.beyond.items() if not off <= self.limit(s) + self._rounding(s)}

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`: ``agree``, ``by definition``, ``another optimum``, ``by estimates``, ``differ: lost in
        rounding``, ``differ``, or ``not compared`` where nothing can be held against it.

        Sources that agree with each other may be wrong together: none is called right that is not held to the
        independent value.
        """
        if self.unexplained:
            return DIFFER
        if not self.values:
            return ALONE
        held = set(self.values) <= set(self.expected)
        if self.lost:
            return LOST if held else ALONE
        if not self.same_definition:
            # Numbers of two things are explained only where each is what its own definition gives.
            return (OPTIMUM if self._moved else DEFINITION) if held else ALONE
        if len(self.values) > 1 and not self.difference <= self.limit_across:
            if not held or np.isnan(self.difference):
                return DIFFER
            return OPTIMUM if self.short else ESTIMATES
        if not held:
            return ALONE
        return OPTIMUM if len(self.values) == 1 and self._moved else AGREE

    @property
    def answer(self) -> str:
        """The verdict in a reader's words: ``same``; ``defined otherwise, same number here``; ``differs by definition,
        converted: 2.149 → 6.939``, the second number being what the first is by the common definition; or as it is.
        """
        if self.verdict == AGREE:
            return SAME
        if self.verdict != DEFINITION:
            return self.verdict
        if self.difference <= self.limit_across and not self._converted(beyond=True):
            return SAME_NUMBER
        converted = self._converted()
        several = len(converted) > 1
        told = [f"{f'{title(source)} ' if several else ''}{a} → {b}" for source, (a, b) in converted.items()]
        return f"{OTHERWISE}, converted: {', '.join(told)}" if told else OTHERWISE

    def _converted(self, beyond: bool = False) -> dict[str, tuple[str, str]]:
        """By source with a definition of its own: its number, and the one by the common definition.

        `beyond`: only where the two are apart by more than sources that agree may be.
        """
        own = {source for source, name in self.definitions.items() if definitions()[name].conversion}
        common = [self.independent, *(v for source, v in self.values.items() if source not in own)]
        numbers = [float(value) for value in common if np.ndim(value) == 0 and not np.isnan(value)]
        pairs = {
            source: (float(value), numbers[0])
            for source, value in self.values.items()
            if source in own and numbers and np.ndim(value) == 0
        }
        apart = {
            s: pair for s, pair in pairs.items() if not abs(pair[0] - pair[1]) <= (self.limit_across if beyond else 0.0)
        }
        # So many digits that the two are told apart
        digits = {s: 4 if self.shown(a, 4) != self.shown(b, 4) else 7 for s, (a, b) in apart.items()}
        return {s: (self.shown(a, digits[s]), self.shown(b, digits[s])) for s, (a, b) in apart.items()}

    @property
    def _moved(self) -> bool:
        """Whether, a fit being short, numbers that mean the same are apart: the definitions do not explain it all."""
        shown = [] if np.isnan(self.independent) else [("", self.independent)]
        values = [(self.definitions.get(source, ""), value) for source, value in self.values.items()] + shown
        same = (self._distance(a, b) for (one, a), (other, b) in combinations(values, 2) if one == other)
        return self.short and any(distance > self.limit_across for distance in same)

    @property
    def reason(self) -> str:
        """What is to be said of it: how a definition leads to another, or what is not explained."""
        words = [
            f"{title(source)} {self._off(off)} what its definition gives ({self.limit(source):.3g} allowed)"
            for source, off in self.unexplained.items()
        ]
        if not words and self.verdict == DIFFER:
            words.append(f"difference {self.difference:.3g}, {self.limit_across:.3g} allowed")
        if self.verdict == ESTIMATES:
            words.append(
                f"difference {self.difference:.3g}, {self.limit_across:.3g} allowed; each is what its own estimates "
                "give, and how far those may be apart is judged with them"
            )
        words += [
            # Neither the distance nor its bound is a number to remember: both change from machine to machine.
            f"{title(source)} is within its own rounding of {self._right(source)}, and no nearer: lost in rounding"
            for source in self.lost
        ]
        if not self.same_definition and self.values:
            if self._moved:
                words.append("a fit is short of the optimum, which moves its numbers too")
            words += [
                f"{title(s)}: {definitions()[name].conversion}"
                for s, name in self.definitions.items()
                if s in self.values and definitions()[name].conversion
            ]
        return "; ".join(words)

    def limit(self, source: str) -> float:
        """How far a source's value may be from what its definition gives."""
        allowed = tolerances()["quantities"][self.looser.get(source, self.tolerance)]
        return allowed.atol + allowed.rtol * self.size(source)

    def size(self, source: str) -> float:
        """What a relative tolerance of a source's value is relative to."""
        own = self.scales.get(source, np.nan)
        return own if not np.isnan(own) else self._size(self.expected.get(source, self.values[source]))

    @staticmethod
    def _off(off: float) -> str:
        return "states no number, or not one for each, of" if np.isnan(off) else f"is {off:.3g} from"

    def _right(self, source: str) -> str:
        """The right value in words."""
        expected = self.expected[source]
        return f"the right value, {float(expected):.7g}" if np.ndim(expected) == 0 else "the right values"

    def _rounding(self, source: str) -> float:
        return float(self.rounding.get(source, 0.0))

    @property
    def limit_across(self) -> float:
        """How far two sources may be apart: each may be off to its own side, and their estimates are not quite the
        same.
        """
        limits = sorted(map(self.limit, self.values), reverse=True)
        sides = 2 if set(self.values) <= set(self.expected) else 1
        return sum(limits[:sides]) + self.allowed.across * self._size(*self.values.values())

    def _size(self, *values: Any) -> float:
        if not np.isnan(self.scale):
            return self.scale
        return max(float(np.nanmax(np.abs(np.atleast_1d(np.asarray(value, float))), initial=0.0)) for value in values)

    @staticmethod
    def _distance(one: Any, other: Any) -> float:
        one, other = (np.atleast_1d(np.asarray(value, float)) for value in (one, other))
        if one.shape != other.shape:
            return np.nan
        # A definition may say that there is no number, as MixedLM's does of AIC under REML.
        with np.errstate(invalid="ignore"):
            apart = np.where((np.isnan(one) & np.isnan(other)) | (one == other), 0.0, np.abs(one - other))
        return float(apart.max(initial=0.0)) if not np.isnan(apart).any() else np.nan


class Sheet(tables.Shown):
    """Lines of one model as a table, with a column for each of the two questions.

    Attributes
    ----------
    title : what it is of
    lines : in the order given
    notes : what else is to be said, a sentence each
    head : the columns that records carry beside the lines' own: ``dataset, model, method, settings``
    """

    def __init__(
        self, title: str, lines: Iterable[Line], notes: Sequence[str] = (), head: Mapping[str, str] | None = None
    ) -> None:
        self.title, self.lines, self.notes = title, list(lines), tuple(notes)
        self.head = dict(head or {})

    @property
    def sources(self) -> list[str]:
        """All sources, in the order in which lines name them first."""
        return list(dict.fromkeys(source for line in self.lines for source in [*line.values, *line.absent]))

    @property
    def unasked(self) -> list[str]:
        """The sources that are asked for none of this: they have a line below the table and no column in it."""
        answered = {source for line in self.lines for source in line.values}
        answered |= {source for line in self.lines for source, why in line.absent.items() if why != NOT_ASKED}
        return [source for source in self.sources if source not in answered]

    @property
    def breaches(self) -> list[str]:
        """The lines that differ, with the reason."""
        return [f"{line.section}, {line.title}: {line.reason}" for line in self.lines if line.verdict == DIFFER]

    def check(self) -> Sheet:
        """Raise where any line differs and nothing explains it.

        Raises
        ------
        Disagreement : lists every such line
        """
        if not self.lines:
            raise Disagreement(f"{self.title}: nothing was compared", ["no line"])
        if self.breaches:
            raise Disagreement(f"{self.title}: {len(self.breaches)} of {len(self.lines)} lines", self.breaches)
        return self

    @property
    def table(self) -> pd.DataFrame:
        """One row a line: ``section, quantity, effect, group, term``, every source's value (arrays: the number of
        values), ``independent``, ``difference``, ``same_definition``, ``verdict``, ``reason``.
        """
        rows = []
        for line in self.lines:
            key = {"section": line.section, "quantity": line.quantity, **{name: getattr(line, name) for name in KEY}}
            values = {source: _scalar(line.values.get(source, np.nan)) for source in self.sources}
            rows.append(
                {
                    **key,
                    **values,
                    INDEPENDENT: line.independent,
                    "difference": line.difference,
                    "same_definition": line.same_definition,
                    "verdict": line.verdict,
                    "reason": line.reason,
                }
            )
        return pd.DataFrame(rows)

    def counted(self) -> str:
        """How many lines came out how, in words."""
        words = pd.Series([line.answer.partition(", converted")[0] for line in self.lines]).value_counts()
        return "; ".join(
            f"{count} {word.replace('differs', 'differ', 1) if count > 1 else word}" for word, count in words.items()
        )

    def record(self) -> list[dict[str, Any]]:
        """The rows of quantities.csv: one a line and source, also where a source states nothing, with the reason."""
        rows = []
        for line in self.lines:
            key = {"section": line.section, "quantity": line.quantity, **{name: getattr(line, name) for name in KEY}}
            told = {"verdict": line.verdict, "reason": line.reason, "same_definition": line.same_definition}
            for source, value in line.values.items():
                numbers = {"value": _scalar(value), "expected": _scalar(line.expected.get(source, np.nan))}
                defined = {"source": source, "definition": line.definitions.get(source, "")}
                rows.append(plain({**self.head, **key, **defined, **numbers, **told}, QUANTITIES_COLUMNS))
            for source, why in line.absent.items():
                if source not in line.values:
                    missing = {"source": source, "definition": "", "value": np.nan, "expected": np.nan}
                    told = {"verdict": ALONE, "reason": why, "same_definition": None}
                    rows.append(plain({**self.head, **key, **missing, **told}, QUANTITIES_COLUMNS))
        return rows

    def _rendered(self) -> tables.Rendered:
        shown = any(not np.isnan(line.independent) for line in self.lines)
        # The answer stands before the numbers, where it is in view however many packages there are.
        sources = [source for source in self.sources if source not in self.unasked] or self.sources
        over = [*map(heading, sources), *([INDEPENDENT] if shown else []), tables.DIFFERENCE]
        header = ["quantity", "group", "term", "same?", *over]
        notes = self._numbered(sources)
        unasked = [called(source) for source in self.sources if source not in sources]
        rows = []
        for line in self.lines:
            cells = [_cell(line, source, notes) for source in sources]
            if shown:
                cells.append(line.shown(line.independent))
            # Within tolerance a difference is noise, which changes from machine to machine.
            noise = line.verdict in (AGREE, DEFINITION) and line.difference <= line.limit_across
            difference = line.bound if noise else line.shown(line.difference, 3)
            rows.append([line.quantity, line.group, line.term, line.answer, *cells, difference])
        names = self._names
        # What is no tick is told in a sentence, with the right value.
        told = [
            f"{_capital(line.title, names)}: {line.reason}." for line in self.lines if line.verdict in (DIFFER, LOST)
        ]
        return (
            f"{self.title}\n{self.counted()}",
            header,
            rows,
            3,
            [
                *told,
                *(tables.Note(note, name if name in definitions() else "") for name, note in notes.items()),
                *([f"Not in this table: {', '.join(unasked)}: {NOT_ASKED}."] if unasked else []),
                *self.notes,
            ],
        )

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple({source.split()[0].rstrip(",") for source in self.sources})

    def _numbered(self, sources: Sequence[str]) -> dict[str, str]:
        """What has to be known to compare, in the order of the numbers: by name every definition met that has a
        conversion, and by source, one of those shown, and reason why it states nothing.
        """
        met = dict.fromkeys(name for line in self.lines for name in line.definitions.values())
        notes = {}
        for name in met:
            definition = definitions()[name]
            if definition.conversion:
                what = f"{_capital(definition.title, self._names)}: {definition.formula}"
                notes[name] = f"{what}. To convert: {definition.conversion}."
        absent = ((s, why) for line in self.lines for s, why in line.absent.items() if s in sources)
        return notes | {f"{s}: {why}": f"{called(s)}: {why}." for s, why in absent}

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        caption, header, rows, left, notes = self._rendered()
        table = header, rows, left, notes
        return {
            "text/plain": tables.render_text(caption, *table),
            "text/html": tables.render_html(f"{caption}\n{_BESIDE}", *table),
            QUANTITIES_TYPE: self.record(),
        }


def _capital(text: str, names: tuple[str, ...]) -> str:
    """A sentence's beginning; the name of a package that is among the sources stays as it is written."""
    return text if text.startswith(names) else text[:1].upper() + text[1:]


def _scalar(value: Any) -> float:
    """A number; of an array that stands for many levels or rows there is none."""
    return float(value) if np.ndim(value) == 0 else np.nan


def _cell(line: Line, source: str, notes: Mapping[str, str]) -> str:
    """What a source states, with what its own definition gives there, and with the numbers of the notes on it."""
    numbers = list(notes)
    if source not in line.values:
        why = f"{source}: {line.absent[source]}" if source in line.absent else ""
        return tables.Cell("–", marks=[numbers.index(why) + 1]) if why else ""
    value = line.values[source]
    marks = [numbers.index(name) + 1 for name in [line.definitions.get(source, "")] if name in notes]
    if np.ndim(value) > 0:
        held = f"each within {line.limit(source):.1e}" if source in line.expected and source not in line.beyond else ""
        return tables.Cell(f"{np.size(value)} value{'s' * (np.size(value) > 1)}", held, marks)
    held = line.shown(float(line.expected[source])) if np.ndim(line.expected.get(source, [])) == 0 else ""
    return tables.Cell(line.shown(float(value)), held, marks)
