"""Tables for reading: the same rows as HTML for a page and as text for a terminal."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

Row = Sequence[object]


def number(value: float, digits: int = 7) -> str:
    """A number with so many significant digits, as short as they allow; empty for a missing one."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.{digits}g}"


def render_html(
    caption: str, header: Sequence[str], rows: Sequence[Row], left: int = 1, notes: Sequence[str] = ()
) -> str:
    """A table as HTML, with its caption above and its notes below.

    Parameters
    ----------
    caption, header, rows : text; whatever stands in them is escaped. The caption's first line is its heading.
    left : how many of the first columns hold words, set to the left; the first names the row
    notes : paragraphs under the table
    """

    def cell(value: object, column: int) -> str:
        align = "left" if column < left else "right"
        tag = 'th scope="row"' if column == 0 else "td"
        return f'<{tag} style="text-align:{align}">{html.escape(str(value))}</{tag[:2]}>'

    head = "".join(
        f'<th scope="col" style="text-align:{"left" if i < left else "right"}">{html.escape(name)}</th>'
        for i, name in enumerate(header)
    )
    body = "\n".join(f"<tr>{''.join(cell(value, i) for i, value in enumerate(row))}</tr>" for row in rows)
    under = "".join(f"\n<p>{html.escape(note)}</p>" for note in notes)
    first, *more = (html.escape(line) for line in caption.split("\n"))
    title = "<br>".join([f"<strong>{first}</strong>", *more])
    return (
        f'<table class="concord">\n<caption style="text-align:left;white-space:normal">{title}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>{under}"
    )


def render_text(
    caption: str, header: Sequence[str], rows: Sequence[Row], left: int = 1, notes: Sequence[str] = ()
) -> str:
    """The same table as text."""
    cells = [[str(value) for value in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "  ".join(text.ljust(widths[i]) if i < left else text.rjust(widths[i]) for i, text in enumerate(row))
        for row in cells
    ]
    return "\n".join([caption, "", *(line.rstrip() for line in lines), *(["", *notes] if notes else [])])
