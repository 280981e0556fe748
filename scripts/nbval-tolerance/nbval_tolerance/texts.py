"""Two texts, piece by piece: numbers within a tolerance, and everything else as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, zip_longest

from nbval_tolerance.numbers import ATOL, BARE, COMPLEX, NUMBER, RTOL, number_difference

_PIECE = re.compile(
    rf"""
      (?P<gap> [ ]+ )
    | (?P<ruler> (?<! [\w=─━═-] ) (?P<stroke> [-=─━═] ) (?P=stroke){{2,}} (?! \w | (?P=stroke) ) )
    | <data[ ]value="(?P<full> {BARE} )">(?P<shown> {BARE} )</data>  # what is shown, and in full
    | {COMPLEX}
    | (?P<number> {NUMBER} )
    """,
    re.VERBOSE,
)
# What a terminal does not show: colours (CSI), links and titles (OSC), and the other escapes
_ESCAPE = re.compile(r"(\x1b(?:\[[0-?]*[ -/]*[@-~]|\].*?(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~]))")


@dataclass(frozen=True)
class _Piece:
    """A number, a ruler, a stretch of text or the end of a line, with the width of the white space before it.

    A number that is shown rounded may carry itself in full.
    """

    kind: str
    text: str
    gap: int
    full: str = ""

    @property
    def fixed(self) -> tuple[str, str]:
        """What must be the same on both sides, whatever the numbers are."""
        return self.kind, "" if self.kind == "number" else self.text[:1] if self.kind == "ruler" else self.text


_Line = tuple[_Piece, ...]


@lru_cache(10_000)  # most lines of an output are the same on both sides, and the same again in other outputs
def _pieces(line: str) -> _Line:
    """The line, taken apart; the last piece is its end. An escape is text, and what it parts is no one word."""
    pieces: list[_Piece] = []
    gap = 0

    def add(kind: str, text: str, full: str = "") -> None:
        nonlocal gap
        if text or kind == "end":
            pieces.append(_Piece(kind, text, gap, full))
            gap = 0

    for i, stretch in enumerate(_ESCAPE.split(line)):
        if i % 2:
            add("escape", stretch)
            continue
        position = 0
        for match in _PIECE.finditer(stretch):
            add("text", stretch[position : match.start()])
            position = match.end()
            if match["gap"]:
                gap = len(match["gap"])
            elif match["ruler"]:
                add("ruler", match[0])
            elif match["unit"]:
                add("number", match["real"] or "")
                add("number", match["imaginary"] or match["alone"])
                add("text", match["unit"])
            else:
                add("number", match["shown"] or match["number"], match["full"] or "")
        add("text", stretch[position:])
    add("end", "")
    return tuple(pieces)


def differences(old: str, new: str, rtol: float = RTOL, atol: float = ATOL) -> list[str]:
    """What makes `new` another output than `old`, one sentence each; empty when they agree.

    `numbers` says what a number is and when two are equal. Beside that:

    - `nan`, `inf`, `NA` are words: equal to themselves and to nothing else.
    - `1,234.5` is 1 and 234.5, which is never laxer and cannot mistake a list for a number.
    - Each part of `1.5+2j` is a number of its own, as each is shown.
    - `<data value="1.4999999">1.5</data>`: the number that is shown is compared, and the number in full. Where one side
      has no such element, its number in full is the one that is shown.
    - A version of two parts, `2.4`, looks like a number: a cell that prints one must not be given a wide tolerance.

    Text must be the same. White space and rulers (`-----`) may change only in a paragraph where a number changed its
    width, only by as much as all those widths together changed, and never so that two words merge or part: so that
    a padded table follows its numbers and nothing else moves.
    """
    if old == new:
        return []
    old_lines, new_lines = old.split("\n"), new.split("\n")
    if len(old_lines) != len(new_lines):
        number, was, now = next((n, a, b) for n, (a, b) in enumerate(zip_longest(old_lines, new_lines), 1) if a != b)
        return [f"{len(old_lines)} lines became {len(new_lines)}; first at line {number}: {was!r} became {now!r}"]
    rows = [(n, _pieces(a), _pieces(b)) for n, (a, b) in enumerate(zip(old_lines, new_lines, strict=True), 1)]
    found: list[str] = []
    for _, paragraph in groupby(rows, key=lambda row: len(row[1]) == 1):
        found += _paragraph_differences(list(paragraph), rtol, atol)
    return found


def _paragraph_differences(rows: Sequence[tuple[int, _Line, _Line]], rtol: float, atol: float) -> list[str]:
    found: list[str] = []
    same_text = True
    slack = 0
    for number, was, now in rows:
        if [piece.fixed for piece in was] != [piece.fixed for piece in now]:
            same_text = False
            found.append(f"line {number}: {_first_other_text(was, now)}")
            continue
        for a, b in zip(was, now, strict=True):
            if a.kind == "number":
                slack += abs(len(a.text) - len(b.text))
                if breach := _number_difference(a, b, rtol, atol):
                    found.append(f"line {number}: {breach}")
    if same_text:
        found += [
            f"line {number}: white space or a ruler changed, and no number's width explains it"
            for number, was, now in rows
            if not _same_layout(was, now, slack)
        ]
    return found


def _number_difference(a: _Piece, b: _Piece, rtol: float, atol: float) -> str | None:
    shown = number_difference(a.text, b.text, rtol, atol)
    if shown or not (a.full or b.full):
        return shown
    full = number_difference(a.full or a.text, b.full or b.text, rtol, atol)
    return full and f"in full, {full}"


def _first_other_text(was: _Line, now: _Line) -> str:
    a, b = next((a, b) for a, b in zip_longest(was, now) if a is None or b is None or a.fixed != b.fixed)
    before, after = (piece.text if piece and piece.kind != "end" else "the end of the line" for piece in (a, b))
    return f"text {before!r} became {after!r}"


def _same_layout(was: _Line, now: _Line, slack: int) -> bool:
    """Whether gaps and rulers differ by no more than `slack`; that no words merged or parted, the pieces have shown."""
    return all(
        abs(a.gap - b.gap) <= slack and (a.kind != "ruler" or abs(len(a.text) - len(b.text)) <= slack)
        for a, b in zip(was, now, strict=True)
    )
