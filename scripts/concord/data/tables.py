"""A user's own table: a file as a pandas table, read strictly; what is wrong with it is one line.

One module a format: `delimited` (CSV and its kin), `arrow` (Parquet, Feather) and `rds` (R's saved objects). A format's
module is loaded by the room when a file of that format is read, so that a CSV does not wait for the others' packages.
"""

from __future__ import annotations

import bz2
import difflib
import gzip
import lzma
import os
import stat
import zlib
from pathlib import Path

import pandas as pd

import concord.data
from concord.data.source import SourceError, shown

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
        return concord.data.delimited.parse(content, where, tabs=suffix[0] in (".tsv", ".tab"))
    if suffix[0] in COLUMNAR:
        return concord.data.arrow.parse(content, where)
    return concord.data.rds.parse(content, where)


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
        raise error if isinstance(error, SourceError) else SourceError(f"{where}: it is not a file name") from None


def _near(path: Path) -> str:
    try:
        names = [file.name for file in path.parent.iterdir()]
    except OSError:
        return f"; there is no folder {shown(path.parent)} either"
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {shown(path.parent / near[0])}?" if near else ": check the name and the folder"
