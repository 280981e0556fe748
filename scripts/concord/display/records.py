"""The records that an executed notebook carries: what each fit said, as rows of two tables.

A displayed comparison puts its rows into the cell's output under the media type `MEDIA_TYPE`, so that they travel
inside the notebook: a batch collects them from there and no shared disk is needed.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord.display.media import MEDIA_TYPE, QUANTITIES_TYPE
from concord.errors import InputError, escaped, one_line

_FIT = "dataset model method settings"
ESTIMATES_COLUMNS = tuple(f"{_FIT} engine effect group term estimate std_error".split())
FITS_COLUMNS = tuple(f"{_FIT} engine loglik gap digits converged said_so seconds messages verdict".split())
QUANTITIES_COLUMNS = tuple(
    f"{_FIT} section quantity effect group term source value expected definition same_definition verdict reason".split()
)


def displayed(notebooks: Iterable[Mapping[str, Any]], media_type: str) -> Iterator[Any]:
    """What executed notebooks (nbformat 4 nodes) display under a media type, in its order."""
    for notebook in notebooks:
        for cell in notebook["cells"]:
            for output in cell.get("outputs", ()):
                if media_type in output.get("data", {}):
                    yield output["data"][media_type]


def collect(notebooks: Iterable[Mapping[str, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All records in executed notebooks (nbformat 4 nodes): the tables of estimates and of fits.

    A fit that several cells or notebooks show is kept once; the last one shown wins.
    """
    estimates, fits = [], []
    for record in displayed(notebooks, MEDIA_TYPE):
        estimates += record["estimates"]
        fits += record["fits"]
    return _table(estimates, ESTIMATES_COLUMNS, 8), _table(fits, FITS_COLUMNS, 5)


def collect_quantities(notebooks: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """All lines of quantities in executed notebooks; one that is shown again is kept once, as it was shown last."""
    rows = [row for record in displayed(notebooks, QUANTITIES_TYPE) for row in record]
    return _table(rows, QUANTITIES_COLUMNS, 10)


def unexplained(lines: pd.DataFrame) -> list[str]:
    """Which lines nothing explains, each once: ``REML, tuned settings: criteria, AIC``.

    Parameters
    ----------
    lines : as `collect_quantities` gives them
    """
    named = []
    for row in lines[lines["verdict"] == "differ"].itertuples():
        title = " ".join(filter(None, [row.quantity, row.group, row.term]))
        named.append(f"{row.method}, {row.settings} settings: {row.section}, {title}")
    return list(dict.fromkeys(named))


def plain(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """A row as JSON can hold it: a missing or infinite number is null."""

    def value(number: Any) -> Any:
        if isinstance(number, float | np.floating):
            return float(number) if np.isfinite(number) else None
        return number.item() if isinstance(number, np.generic) else number

    return {name: value(row[name]) for name in columns}


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...], keys: int) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(columns))
    table = table.drop_duplicates(subset=list(columns[:keys]), keep="last")
    return table.sort_values(list(columns[:keys]), kind="stable", ignore_index=True)


def as_csv(table: pd.DataFrame) -> str:
    """A table as CSV, without its index: numbers in the shortest text that reads back as the same, missing ones empty,
    messages parted by ``|``. Control characters are escapes, and what a spreadsheet would take for a formula has an
    apostrophe before it (see `as_text`).
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([as_text(escaped(str(name))) for name in table.columns])
    for row in table.itertuples(index=False):
        writer.writerow([_field(value) for value in row])
    return file.getvalue()


# Where a cell of a spreadsheet begins, with semicolons too as in many a country's, and what it takes for a formula
# there, of either width; an apostrophe as well, so that what is read again is what it was.
_SIGNS = "=+@\\-\uff1d\uff0b\uff0d\uff20'"
_FORMULA, _MADE_TEXT = re.compile(rf"(^|;)(?=[{_SIGNS}])"), re.compile(rf"(^|;)'(?=[{_SIGNS}])")
_NUMERAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?inf|-?Inf")


def as_text(text: str) -> str:
    """A text as a cell that a spreadsheet takes for text; a number stays as it is."""
    return text if _NUMERAL.fullmatch(text) else _FORMULA.sub(r"\1'", text)


def from_text(cell: str) -> str:
    """The text that `as_text` made this cell of."""
    return _MADE_TEXT.sub(r"\1", cell)


def in_forms(table: pd.DataFrame, forms: Mapping[str, str]) -> pd.DataFrame:
    """The table with the numbers of some columns as text, each column in a form; missing ones empty."""
    shown = {
        name: ["" if math.isnan(value) else format(value, form) for value in table[name]]
        for name, form in forms.items()
    }
    return table.assign(**shown)


def read_csv(path: Path) -> pd.DataFrame:
    """The table in a file that `as_csv` made, all of it as text.

    Raises
    ------
    InputError : it cannot be read
    """
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False).map(from_text)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {one_line(str(error))}") from None


def _field(value: Any) -> str:
    if isinstance(value, list | tuple):
        return as_text(escaped(" | ".join(" ".join(str(item).split()) for item in value)))
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else repr(float(value))
    text = "" if value is None or value is pd.NA else escaped(str(value))
    return as_text(text) if isinstance(value, str) else text
