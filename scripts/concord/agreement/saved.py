"""A comparison as files: a page that needs nothing else, and its tables as CSV."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from concord import files
from concord.display.records import ESTIMATES_COLUMNS, FITS_COLUMNS, as_csv
from concord.engines.engine import title
from concord.engines.fit import Fit
from concord.errors import InputError

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
caption {{ margin-bottom: 1rem; }}
th, td {{ padding: 0.2rem 0.7rem; border-bottom: 1px solid #ddd; font-weight: normal; vertical-align: top; }}
thead th {{ border-bottom: 2px solid #888; }}
pre {{ overflow-x: auto; background: #f6f6f6; padding: 0.7rem; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def page(heading: str, table: str, fits: Iterable[Fit]) -> str:
    """A whole HTML page: a table that is HTML already, and each fit's call with its package's own summary."""
    parts = [table]
    for fit in fits:
        shown = "\n".join(f"<pre>{html.escape(text)}</pre>" for text in (fit.call, fit.summary) if text)
        parts.append(f"<h2>{html.escape(title(fit.engine))}</h2>\n{shown}")
    return _PAGE.format(title=html.escape(heading), body="\n".join(parts))


def save(folder: str | os.PathLike[str], contents: dict[str, str]) -> tuple[Path, ...]:
    """Write files, all or none, into a folder, which is made where there is none.

    Returns
    -------
    the files

    Raises
    ------
    InputError : the folder is a file, or cannot be written in
    """
    place = Path(folder)
    files.check_folder(place)
    written = {place / name: content for name, content in contents.items()}
    try:
        files.write_all(written)
    except OSError as error:
        raise InputError(f"{place}: cannot be written: {error.strerror}: name another folder") from error
    return tuple(written)


def tables(record: dict[str, list[dict[str, object]]], compared: pd.DataFrame) -> dict[str, str]:
    """``comparison.csv``, ``estimates.csv`` and ``fits.csv``, of a comparison's table and records."""
    estimates = pd.DataFrame(record["estimates"], columns=list(ESTIMATES_COLUMNS))
    fits = pd.DataFrame(record["fits"], columns=list(FITS_COLUMNS))
    return {"comparison.csv": as_csv(compared), "estimates.csv": as_csv(estimates), "fits.csv": as_csv(fits)}
