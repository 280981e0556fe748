"""A user's own table: a file as a pandas table, read strictly; what is wrong with it is one line.

One module a format: `delimited` (CSV and its kin), `arrow` (Parquet, Feather) and `rds` (R's saved objects). A format's
module is loaded by the room when a file of that format is read, so that a CSV does not wait for the others' packages.
"""

from __future__ import annotations

import difflib
import lzma
import os
import stat
import zlib
from pathlib import Path

import pandas as pd

import concord.data
from concord.data.limits import check_text, limited, limits, unpacked
from concord.data.source import SourceError, shown

TEXT = (".csv", ".tsv", ".tab", ".txt")
COLUMNAR = (".parquet", ".pq", ".feather", ".arrow")
RDS = (".rds",)
COMPRESSED = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\0"}
"""How each begins."""

_SPREADSHEET = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
_ADVICE = {
    **dict.fromkeys(_SPREADSHEET, "a spreadsheet: save the sheet as CSV (UTF-8)"),
    **dict.fromkeys((".rda", ".rdata"), "an R workspace: save the one data frame with saveRDS(table, 'table.rds')"),
    **dict.fromkeys((".sav", ".dta", ".sas7bdat", ".xpt", ".por"), "another package's file: export it as CSV"),
    ".json": "JSON: save the table as CSV",
    ".zip": "an archive: unpack it first",
}


def read(path: str | os.PathLike[str], *, max_rows: int | None = None, max_bytes: int | None = None) -> pd.DataFrame:
    """The table in a file, by the file's suffix.

    ``.csv``, ``.tsv``, ``.tab`` and ``.txt`` are text with commas, semicolons or tabs (see `delimited.parse`), also
    compressed (``.csv.gz``, ``.bz2``, ``.xz``); ``.parquet``, ``.pq``, ``.feather`` and ``.arrow`` are Arrow's;
    ``.rds`` is a data frame that R saved. What should be said aloud about the table stands in ``frame.attrs["notes"]``.

    Parameters
    ----------
    max_rows, max_bytes : how many rows the table may have, and how many bytes it may be, unpacked; None for what the
        environment's ``CONCORD_MAX_ROWS`` and ``CONCORD_MAX_BYTES`` say, else 10 million and 2 GiB

    Raises
    ------
    SourceError : there is no such file, or it holds no table, or one that is too large; the message has the file, the
        line and the column
    """
    path = Path(path)
    with limited(max_rows, max_bytes):
        frame = _table(path)
        limits().check_rows(len(frame), shown(path))
    return frame


def _table(path: Path) -> pd.DataFrame:
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
            content = unpacked(content, where, unpack)
        except SourceError:
            raise
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            raise SourceError(f"{where}: it cannot be unpacked ({error}): compress it anew") from None
    if suffix[0] in TEXT:
        check_text(content, where)
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
        limits().check_bytes(path.stat().st_size, where)
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            nowhere = shown(path.readlink())
            raise SourceError(f"{where}: it is a link to {nowhere}, which is not there") from None
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
