"""What a user gives for a table: a file, a table of pandas or of another package, columns; and in which order."""

from __future__ import annotations

import keyword
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord.data import datasets
from concord.data.source import SourceError
from concord.data.tables import read
from concord.errors import one_line
from concord.models import syntax
from concord.models.syntax import FormulaError

Table = str | os.PathLike[str] | pd.DataFrame | Mapping[str, Sequence[Any]]
"""A file, a dataset's id, a table of pandas, columns by their names; or a table of another package, such as polars."""


def arranged(data: Any, formula: Any) -> tuple[Any, Any]:
    """The table and the formula, in whichever order they were given: statsmodels has the formula first."""
    swapped = isinstance(data, str) and "~" in data and not (isinstance(formula, str) and "~" in formula)
    return (formula, data) if swapped else (data, formula)


def refuse_mixedlm(given: Mapping[str, Any]) -> None:
    """Say of arguments of statsmodels' ``mixedlm`` where they belong.

    Raises
    ------
    FormulaError : there are such arguments
    TypeError : there are others
    """
    known = {"groups", "re_formula", "vc_formula", "exog_re", "use_sqrt", "missing", "subset"}
    for name in given:
        if name not in known:
            raise TypeError(f"there is no argument {name!r}")
    if given:
        raise FormulaError(
            f"{next(iter(given))} is part of a call of MixedLM, and here of the formula, as in y ~ x + (1 | g): "
            "concord.from_mixedlm(formula, data, groups=...) says which one that is"
        )


# No reserved words; but a table of that name would stand for TRUE or FALSE in R, or for what pasted Python calls.
_TAKEN = {"T", "F", "I", "C", "Q", "np", "pd", "smf", "sm", "io", "re", "gzip", "bz2", "lzma", "rdata", "patsy", "text"}
_TAKEN |= {
    "BSpline",
    "bs",
    "cr",
    "center",
    "standardize",
    "open",
    "str",
    "int",
    "float",
    "bool",
    "abs",
    "print",
    "roots",
}


def table_of(
    data: Any, max_rows: int | None = None, max_bytes: int | None = None
) -> tuple[str | None, str, pd.DataFrame]:
    """The file's name (None for a table in memory), a name that the table can have in both languages, and the table.

    Parameters
    ----------
    data : as `Table` says
    max_rows, max_bytes : of a file, as for `concord.data.tables.read`

    Raises
    ------
    SourceError : it is no table, or several; the message says how to make one of it
    """
    if not isinstance(data, str | os.PathLike):
        return None, "data", in_memory(data)
    text = os.fspath(data)
    if re.fullmatch(r"[a-z][a-z0-9_]*", text) and datasets.has(text) and not Path(text).exists():
        return f"{text}.csv", text, datasets.load(text).frame
    path = Path(text)
    name = re.sub(r"[^A-Za-z0-9_]+", "_", path.name.split(".")[0]).strip("_")
    plain = syntax.PLAIN.fullmatch(name) and syntax.quoted(name) == name and name not in _TAKEN
    plain = plain and not keyword.iskeyword(name)
    return path.name, name if plain else "data", read(path, max_rows=max_rows, max_bytes=max_bytes)


def in_memory(data: Any) -> pd.DataFrame:
    """A table of pandas of whatever holds one.

    Raises
    ------
    SourceError : it is no table; the message says how to make one of it
    """
    if isinstance(data, pd.DataFrame):
        return data
    convert = getattr(data, "to_pandas", None)  # polars, Arrow, xarray
    if callable(convert) and isinstance(frame := convert(), pd.DataFrame):
        return frame
    records = isinstance(data, list) and data and all(isinstance(record, dict) for record in data)
    named = isinstance(data, np.ndarray) and data.dtype.names
    if isinstance(data, Mapping) or records or named:
        try:
            return pd.DataFrame(data)
        except (ValueError, TypeError) as error:
            raise SourceError(
                f"the columns are no table ({one_line(str(error))}): give every name as many values, such as "
                "{'y': [1.5, 2], 'g': ['a', 'b']}"
            ) from None
    raise SourceError(_advice(data))


def _advice(data: Any) -> str:
    """What to do with what is no table, in a line."""
    kind = type(data).__name__
    if isinstance(data, list | tuple) and data and all(isinstance(file, str | os.PathLike) for file in data):
        return (
            f"{len(data)} files are {len(data)} tables: read one, or give them as one, by "
            "pandas.concat([concord.data.read(file) for file in files], ignore_index=True)"
        )
    if isinstance(data, list | tuple) and data and all(isinstance(table, pd.DataFrame) for table in data):
        return f"{len(data)} tables: give them as one, by pandas.concat(tables, ignore_index=True)"
    if isinstance(data, np.ndarray | list | tuple | pd.Series):
        return f"{kind} has no names of columns: give pandas.DataFrame(values, columns=['y', 'x', 'g'])"
    if callable(getattr(data, "collect", None)):
        return f"{kind} is no table yet: give what its collect() returns"
    return f"{kind} is no table: give a file, pandas.DataFrame, or a dict of columns"
