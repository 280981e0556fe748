"""Pictures: figures that say in words what they show, and that carry the numbers they are drawn from.

A function that draws ends with `described`:

    figure, axes = plots.subplots(figsize=(8, 4.5))
    axes.plot(table["x"], table["y"])
    return described(figure, "Line chart of y over x; y falls from 12.1 to 3.4.", table)

A notebook shows the figure as it shows any other. Beside the picture, its output then holds the words (as the
metadata ``alt`` of ``image/png``) and both words and numbers under `MEDIA_TYPE`; a page makes of them the picture's
text alternative and a table that can be opened under it.
"""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from concord.display.media import PICTURE_TYPE as MEDIA_TYPE
from concord.display.records import as_csv

ROWS = 5000
"""So many rows of a table travel with its picture; of more, as many are taken, evenly spread, and the table says so."""
DOTS = 100
"""Pixels an inch at which a picture is as large as it was drawn."""
TITLE = "The data of this picture"


class Picture(Figure):
    """A matplotlib figure with a text alternative and its data.

    Attributes
    ----------
    alt : what it shows, with its main finding; empty until `described`
    data : its tables by title
    """

    alt: str = ""
    data: Mapping[str, pd.DataFrame] = {}

    def record(self) -> dict[str, Any]:
        """What the output carries: ``alt``, and ``tables`` with ``title``, ``rows`` (all there are) and ``csv``.

        A table is one text, so that a notebook holds it in one line and not a line a number.
        """
        tables = [{"title": title, "rows": len(table), "csv": as_csv(_thinned(table))} for title, table in self.items()]
        return {"alt": self.alt, "tables": tables}

    def items(self) -> Iterable[tuple[str, pd.DataFrame]]:
        """The tables with their titles."""
        return self.data.items()

    def __repr__(self) -> str:
        # As matplotlib says it: a notebook's text must not change with the class.
        return super().__repr__().replace(f"<{type(self).__name__} ", "<Figure ", 1)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if not self.alt:
            return {}, {}
        content, width, height = self._png()
        data = {"text/plain": repr(self), MEDIA_TYPE: self.record(), "image/png": content}
        return data, {"image/png": {"alt": self.alt, "width": width, "height": height}}

    def _png(self) -> tuple[str, int, int]:
        """The picture with two dots a pixel, for fine screens and for print, and its size in pixels."""
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=2 * DOTS, bbox_inches="tight")
        content = file.getvalue()
        width, height = struct.unpack(">II", content[16:24])  # where PNG has them
        return base64.b64encode(content).decode(), round(width / 2), round(height / 2)


def described(figure: Figure, alt: str, data: pd.DataFrame | Mapping[str, pd.DataFrame]) -> Picture:
    """The figure, with words for who does not see it and numbers for who wants them.

    Parameters
    ----------
    figure : made by `concord.plots.style.subplots`
    alt : two to four sentences: what kind of picture it is, of what over what, and its main finding, with numbers that
        come from the data and not from one run
    data : all that is drawn, one row a point, in columns whose names a reader understands; or several tables by title

    Raises
    ------
    TypeError : the figure was not made by `concord.plots.style.subplots`
    ValueError : there are no words, or no data
    """
    if not isinstance(figure, Picture):
        raise TypeError(f"described wants a figure that plots.subplots has made, not a {type(figure).__name__}")
    tables = {TITLE: data} if isinstance(data, pd.DataFrame) else dict(data)
    if not alt.strip():
        raise ValueError("a picture wants a text alternative that says what it shows")
    if not tables or any(table.empty for table in tables.values()):
        raise ValueError("a picture wants the data that it is drawn from, and this is empty")
    figure.alt, figure.data = " ".join(alt.split()), tables
    return figure


def _thinned(table: pd.DataFrame) -> pd.DataFrame:
    if len(table) <= ROWS:
        return table
    return table.iloc[np.linspace(0, len(table) - 1, ROWS).round().astype(int)]
