"""A user's own table: a file as a pandas table, read strictly; what is wrong with it is one line.

One module a format: `delimited` (CSV and its kin), `columnar` (Parquet, Feather) and `rds` (R's saved objects). A
format's own packages are imported when a file of that format is read, so that a CSV does not wait for them.
"""

from __future__ import annotations

import bz2
import difflib
import gzip
import lzma
import os
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

DECIMALS = "decimals"
"""Key of ``frame.attrs``: the names of the columns whose doubles are those of printed decimals."""
NOTES = "notes"
"""Key of ``frame.attrs``: what to say aloud of a table, as pairs of a column (None: of the whole table) and a
sentence."""

TEXT = (".csv", ".tsv", ".tab", ".txt")
COLUMNAR = (".parquet", ".pq", ".feather", ".arrow")
RDS = (".rds",)
COMPRESSED = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}

_SPREADSHEET = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
_ADVICE = {
    **dict.fromkeys(_SPREADSHEET, "a spreadsheet: save the sheet as CSV (UTF-8)"),
    **dict.fromkeys((".rda", ".rdata"), "an R workspace: save the one data frame with saveRDS(table, 'table.rds')"),
    **dict.fromkeys((".sav", ".dta", ".sas7bdat", ".xpt", ".por"), "another package's file: export it as CSV"),
    ".json": "JSON: save the table as CSV",
    ".zip": "an archive: unpack it first",
}


class SourceError(ValueError):
    """A file that gives no table; the message is one line: what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Unusable:
    """Stands for every value of a column that can be no variable of a formula, such as lists; `what` it holds."""

    what: str

    @classmethod
    def column(cls, what: str, length: int) -> np.ndarray:
        """A column of this length that holds nothing else."""
        values = np.empty(length, object)
        values[:] = cls(what)
        return values


def read(path: str | os.PathLike[str]) -> pd.DataFrame:
    """The table in a file, by the file's suffix.

    ``.csv``, ``.tsv``, ``.tab`` and ``.txt`` are text with commas, semicolons or tabs (see `delimited.parse`), also
    compressed (``.csv.gz``, ``.bz2``, ``.xz``); ``.parquet``, ``.pq``, ``.feather`` and ``.arrow`` are Arrow's;
    ``.rds`` is a data frame that R saved. What should be said aloud about the table stands in ``frame.attrs["notes"]``.

    Raises
    ------
    SourceError : there is no such file, or it holds no table; the message has the file, the line and the column
    """
    path = Path(path)
    where = shown(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    unpack = COMPRESSED.get(suffixes[-1]) if suffixes else None
    suffix = (suffixes[-2:-1] if unpack else suffixes[-1:]) or [""]
    content = _content(path, where)
    if suffix[0] not in TEXT + COLUMNAR + RDS or (unpack and suffix[0] not in TEXT):
        known = ", ".join(TEXT + COLUMNAR + RDS)
        raise SourceError(f"{where}: " + _ADVICE.get(suffix[0], f"its suffix says of no table: expected {known}"))
    if not content:
        raise SourceError(f"{where}: it is empty (0 bytes): expected a table with a header")
    if unpack:
        try:
            content = unpack(content)
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            raise SourceError(f"{where}: it cannot be unpacked ({error}): compress it anew") from None
    if suffix[0] in TEXT:
        from concord.sources import delimited

        return delimited.parse(content, where, tabs=suffix[0] in (".tsv", ".tab"))
    if suffix[0] in COLUMNAR:
        from concord.sources import columnar

        return columnar.parse(content, where)
    from concord.sources import rds

    return rds.parse(content, where)


def shown(name: object) -> str:
    """A path or name as it stands in a message: on one line, whatever it holds."""
    text = str(name)
    return text if text.isprintable() else repr(text)


def _content(path: Path, where: str) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise SourceError(f"{where}: it is a folder: name the file in it")
        if not stat.S_ISREG(mode):
            raise SourceError(f"{where}: it is a pipe or a device: save the table to a file first")
        return path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"{where}: there is no such file{_near(path)}") from None
    except OSError as error:
        raise SourceError(f"{where}: it cannot be read: {error.strerror}") from None
    except ValueError as error:
        # A NUL in the name; what is a SourceError already passes.
        raise error if isinstance(error, SourceError) else SourceError(f"{where}: it is no file name") from None


def _near(path: Path) -> str:
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        return f"; there is no folder {shown(path.parent)} either"
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {shown(path.parent / near[0])}?" if near else ": check the name and the folder"


def check_names(names: list[str], where: str) -> None:
    """Every column has a name, and no two the same.

    Raises
    ------
    SourceError : one has none, or two share one; the message counts columns from 1
    """
    first: dict[str, int] = {}
    for position, name in enumerate(names, 1):
        if not name:
            raise SourceError(f"{where}: column {position} of {len(names)} has no name: name it in the header")
        if name in first:
            raise SourceError(f"{where}: columns {first[name]} and {position} are both called {name!r}: rename one")
        first[name] = position
