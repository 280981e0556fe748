"""Tables for reading: the same rows as HTML for a page and as text for a terminal."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from concord.errors import escaped

# The precision of a double, below which R's format.pval() gives no p-value.
SMALLEST_P = 2.2e-16
DIFFERENCE = "difference, or its tolerance"
"""The heading over differences, and in the place of one that is mere noise ``within`` the tolerance that it keeps."""
# A cell of more words than these is a sentence.
_PHRASE = 4
# A day with its hour, and a version of an R package.
_WHOLE = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d)?|\d+(\.\d+)+-\d+")
_SEAM = re.compile(r"__|\)\.")

Row = Sequence[object]
Rendered = tuple[str, Sequence[str], Sequence[Row], int, Sequence[str]]
"""What `render_html` and `render_text` take: a caption, the header, rows, how many columns hold words, and notes."""


class Number(str):
    """A number as it is shown, which knows the number itself.

    Attributes
    ----------
    exact : the number in the shortest text that reads back as the same
    """

    exact: str

    def __new__(cls, shown: str, value: float) -> Number:  # noqa: D102
        text = super().__new__(cls, shown)
        text.exact = repr(float(value))
        return text

    @property
    def rounded(self) -> bool:
        """Whether what is shown is not the number itself."""
        try:
            return float(self.exact) != float(self)
        except ValueError:
            return True


class Cell(str):
    """What stands in a cell, with more to it: the number that it is held to, and marks of the notes that belong to it.

    Attributes
    ----------
    value : what is shown: text, or a `Number`
    beside : the number, or words, that `value` is to be held against; HTML shows it below
    marks : of which notes, counted from 1
    """

    value: str
    beside: str
    marks: tuple[int, ...]

    def __new__(cls, value: str, beside: str = "", marks: Sequence[int] = ()) -> Cell:  # noqa: D102
        told = "".join(f" [{mark}]" for mark in marks)
        text = super().__new__(cls, f"{value}{told}" if value else "")
        text.value, text.beside, text.marks = value, beside, tuple(marks)
        return text


class Note(str):
    """A note under a table that cells refer to by its number; `definition` is the id of that which it tells, if any."""

    definition: str

    def __new__(cls, text: str, definition: str = "") -> Note:  # noqa: D102
        note = super().__new__(cls, text)
        note.definition = definition
        return note


def number(value: float | None, digits: int = 7) -> str:
    """A number with so many significant digits, as short as they allow; empty for a missing one.

    What is left out of it is not lost: in HTML it goes with the shown text, and is what a page copies and downloads.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return Number(f"{value:.{digits}g}", value)


def aligned(values: Sequence[float], digits: int = 7) -> list[str]:
    """Numbers with one count of decimals, so many that the largest has `digits` significant ones."""
    finite = [abs(value) for value in values if math.isfinite(value)]
    decimals = max(0, digits - len(str(int(max(finite, default=0.0)))))
    return [Number(f"{value:.{decimals}f}", value) if math.isfinite(value) else number(value) for value in values]


def p_value(value: float) -> str:
    """A p-value with four significant digits; below 2.2e-16, where its size means nothing, that bound, as R has it."""
    return Number(f"< {SMALLEST_P}", value) if 0 <= value < SMALLEST_P else number(value, 4)


def render_html(
    caption: str, header: Sequence[str], rows: Sequence[Row], left: int = 1, notes: Sequence[str] = ()
) -> str:
    """A table as HTML, with its caption above and its notes below.

    Parameters
    ----------
    caption, header, rows : text; whatever stands in them is escaped. The caption's first line is its heading.
    left : how many of the first columns hold words, set to the left
    notes : paragraphs under the table; each `Note` is one of a numbered list, which cells refer to

    The first columns that together tell all rows apart are the rows' headings. A column of sentences stands to the left
    wherever it is; a day or a version is not broken, and the name of a parameter where its parts meet.
    """
    headings, sides = _headings(rows, left), _sides(header, rows, left)

    def cell(value: object, column: int) -> str:
        text = _content(value, notes)
        if column < left:
            text = _SEAM.sub(r"\g<0><wbr/>", text)
        style = f"text-align:{sides[column]}{';white-space:nowrap' if _WHOLE.fullmatch(text) else ''}"
        tag = 'th scope="row"' if column < headings and text else "td"
        return f'<{tag} style="{style}">{text}</{tag[:2]}>'

    head = "".join(
        f'<th scope="col" style="text-align:{side}">{_html(name)}</th>'
        for name, side in zip(header, sides, strict=True)
    )
    body = "\n".join(f"<tr>{''.join(cell(value, i) for i, value in enumerate(row))}</tr>" for row in rows)
    under = "".join(f"\n<p>{_html(note)}</p>" for note in notes if not isinstance(note, Note))
    numbered = [_item(note) for note in notes if isinstance(note, Note)]
    under += f'\n<ol class="notes">{"".join(numbered)}</ol>' if numbered else ""
    first, *more = (_html(line) for line in caption.split("\n"))
    title = "<br>".join([f"<strong>{first}</strong>", *more])
    return (
        f'<table class="concord">\n<caption style="text-align:left;white-space:normal">{title}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>{under}"
    )


def _html(text: str) -> str:
    """A text as HTML, with what turns or hides letters shown as it is on a terminal."""
    return html.escape(escaped(text))


def _sides(header: Sequence[str], rows: Sequence[Row], left: int) -> list[str]:
    """Where every column is set: words and sentences to the left, numbers to the right."""

    def told(column: int) -> bool:
        """Whether any cell is a sentence, or the beginning of one."""
        return any(len(str(row[column]).split()) > _PHRASE for row in rows if not isinstance(row[column], Cell))

    return ["left" if i < left or told(i) else "right" for i in range(len(header))]


def _item(note: Note) -> str:
    """A note of the numbered list."""
    told = f' data-definition="{html.escape(note.definition.replace("_", "-"))}"' if note.definition else ""
    return f"<li{told}>{_html(note)}</li>"


def _content(value: object, notes: Sequence[str]) -> str:
    """What stands in a cell, as HTML."""
    if isinstance(value, Cell):
        numbered = [note for note in notes if isinstance(note, Note)]
        marks = "".join(f' <sup title="{_html(numbered[mark - 1])}">{mark}</sup>' for mark in value.marks)
        beside = f"<br><small>{_content(value.beside, notes)}</small>" if value.beside else ""
        return f"{_content(value.value, notes)}{marks}{beside}"
    text = _html(str(value))
    return f'<data value="{value.exact}">{text}</data>' if isinstance(value, Number) and value.rounded else text


class Shown:
    """What is shown as one table, which `_rendered` gives: as text on a terminal, as HTML in a notebook."""

    def _rendered(self) -> Rendered:
        raise NotImplementedError

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        rendered = self._rendered()
        return {"text/plain": render_text(*rendered), "text/html": render_html(*rendered)}

    def __repr__(self) -> str:
        return render_text(*self._rendered())

    def to_html(self) -> str:
        """The table as HTML, with its caption and its notes."""
        return render_html(*self._rendered())

    def as_frame(self) -> pd.DataFrame:
        """The table as one of pandas: numbers unrounded, words as they are shown, what is empty missing."""
        table = getattr(self, "table", None)
        if isinstance(table, pd.DataFrame):
            return table.copy()
        _, header, rows, *_ = self._rendered()
        columns = zip(*([_exact(value) for value in row] for row in rows), strict=True) if rows else [()] * len(header)
        return pd.DataFrame(dict(zip(header, map(list, columns), strict=True)))


class Sheet(Shown):
    """A table to be shown: caption, header, rows, how many of its columns are words, notes."""

    def __init__(
        self, caption: str, header: Sequence[str], rows: Sequence[Row], left: int = 99, notes: Sequence[str] = ()
    ) -> None:
        self.caption, self.header, self.rows, self.notes = caption, header, rows, notes
        self.left = min(left, len(header))

    def _rendered(self) -> Rendered:
        return self.caption, self.header, self.rows, self.left, self.notes


def _escaped(note: str) -> str:
    """A note in which nothing is obeyed by a terminal."""
    return Note(escaped(note), note.definition) if isinstance(note, Note) else escaped(note)


def _exact(value: object) -> object:
    """What a cell shows, a number with all of its digits."""
    if isinstance(value, Cell):
        return _exact(value.value)
    if isinstance(value, Number):
        return float(value.exact)
    return None if value == "" else value


def _headings(rows: Sequence[Row], left: int) -> int:
    """How many of the first columns, all of words, it takes to tell the rows apart; one where none do."""
    for count in range(1, left + 1):
        if len({tuple(map(str, row[:count])) for row in rows}) == len(rows):
            return count
    return 1


def render_text(
    caption: str, header: Sequence[str], rows: Sequence[Row], left: int = 1, notes: Sequence[str] = ()
) -> str:
    """The same table as text; what a terminal would obey, and ends of lines in a cell or a note, are escapes."""
    cells, sides = [[escaped(str(value)) for value in row] for row in (header, *rows)], _sides(header, rows, left)
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    counted = iter(range(1, len(notes) + 1))
    notes = [f"[{next(counted)}] {note}" if isinstance(note, Note) else note for note in map(_escaped, notes)]
    lines = [
        "  ".join(text.ljust(widths[i]) if sides[i] == "left" else text.rjust(widths[i]) for i, text in enumerate(row))
        for row in cells
    ]
    return "\n".join([caption, "", *(line.rstrip() for line in lines), *(["", *notes] if notes else [])])
