"""Columns: of whatever pandas type, as numbers, whole numbers, truth values or levels."""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from concord.data.source import Unusable
from concord.errors import InputError, escaped

NUMBER, WHOLE, TRUTH, LEVELS = "number", "whole number", "truth value", "level"


class PreparationError(InputError):
    """Data that cannot carry the model; the message is one line: what is wrong, in which column, what to do."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column of whatever pandas type as one of four kinds.

    Attributes
    ----------
    kind : NUMBER, WHOLE, TRUTH or LEVELS
    values : float64; int64 or Python integers; bool; codes of the levels; shape (n,)
    missing : shape (n,)
    levels : names of the levels
    ordered : whether they are ordered
    text : whether the levels are the texts of a column, sorted here, and not a factor's own
    given : what stands in the table for the levels, where that is not their names: as pandas writes it and as R does
    """

    kind: str
    values: np.ndarray
    missing: np.ndarray
    levels: tuple[str, ...] = ()
    ordered: bool = False
    text: bool = False
    given: tuple[tuple[str, str], ...] = ()


def read(series: pd.Series, name: str, dates: bool = False) -> Column:
    """A column of any pandas type as one of four kinds.

    Parameters
    ----------
    series : the column
    name : for messages
    dates : whether dates are levels, as what only groups rows; otherwise they are refused

    Raises
    ------
    PreparationError : it holds what is neither number nor truth value nor level
    """
    dtype = series.dtype
    if isinstance(dtype, pd.ArrowDtype) and "dictionary" in str(dtype):
        series = series.astype("category")
        dtype = series.dtype
    missing = series.isna().to_numpy(bool)
    if dates and _are_dates(series[~missing]):
        return _texts(series.astype(str).where(~missing), name, missing)
    if isinstance(dtype, pd.CategoricalDtype):
        return _factor(series, name, missing)
    if isinstance(dtype, pd.StringDtype) or (isinstance(dtype, pd.ArrowDtype) and dtype.type is str):
        return _texts(series, name, missing)
    kind = getattr(dtype, "kind", "O")
    if kind == "b":
        return Column(TRUTH, series.to_numpy(bool, na_value=False), missing)
    if kind in "iu":
        values = series.to_numpy(np.uint64 if kind == "u" else np.int64, na_value=0)
        return Column(WHOLE, _signed(values), missing)
    if kind == "f":
        values = series.to_numpy(np.float64, na_value=np.nan)
        return Column(NUMBER, values, np.isnan(values))
    if kind == "O":
        return _of_objects(series.astype(object), name, missing)
    raise _refused(name, _KINDS.get(kind, str(dtype)))


_WORDS = {
    **dict.fromkeys(("datetime", "datetime64", "date"), "dates"),
    **dict.fromkeys(("timedelta", "timedelta64", "time"), "time spans"),
    "complex": "complex numbers",
    "bytes": "bytes",
}
_KINDS = {"M": "dates", "m": "time spans", "c": "complex numbers"}
_ADVICE = {
    "dates": "make a number of it, such as the days since the first",
    "time spans": "make a number of it, such as the hours",
}


def _refused(name: str, what: str) -> PreparationError:
    advice = _ADVICE.get(what, "give it numbers, truth values or texts")
    return PreparationError(f"column {name!r} holds {what}, which no formula can use: {advice}")


def _signed(values: np.ndarray) -> np.ndarray:
    """As int64; as Python's own integers where one is beyond."""
    if values.dtype == np.int64:
        return values
    beyond = len(values) and values.max() > np.iinfo(np.int64).max
    return values.astype(object) if beyond else values.astype(np.int64)


def _of_objects(series: pd.Series, name: str, missing: np.ndarray) -> Column:
    inferred = pd.api.types.infer_dtype(series[~missing])
    if inferred == "string":
        return _texts(series, name, missing)
    if inferred == "empty":
        return Column(NUMBER, np.full(len(series), np.nan), missing)
    if inferred == "boolean":
        return Column(TRUTH, series.where(~missing, False).to_numpy(bool), missing)
    if inferred == "integer":
        values = series.where(~missing, 0).to_numpy(object)
        try:
            return Column(WHOLE, values.astype(np.int64), missing)
        except OverflowError:
            return Column(WHOLE, np.array([int(value) for value in values], object), missing)
    if inferred in ("floating", "mixed-integer-float", "decimal"):
        try:
            values = np.array([np.nan if lost else float(value) for value, lost in zip(series, missing, strict=True)])
        except (TypeError, ValueError, OverflowError, decimal.InvalidOperation):
            raise _refused(name, "what is not all numbers") from None
        return Column(NUMBER, values, np.isnan(values))
    if inferred in _WORDS:
        raise _refused(name, _WORDS[inferred])
    first = series[~missing].iloc[0]
    if isinstance(first, Unusable):
        raise _refused(name, first.what)
    kinds = dict.fromkeys(type(value).__name__ for value in series[~missing])
    raise _refused(name, f"values of kind {', '.join(list(kinds)[:3])}")


def numbers(texts: pd.Series) -> pd.Series:
    """The numbers that a column of numerals holds, with a decimal point or comma."""
    given = [text.replace(",", ".") for text in texts.dropna()]
    try:
        values = np.array([int(text) for text in given], np.int64)
    except (ValueError, OverflowError):
        values = np.array([float(text) for text in given])
    missing = texts.isna().to_numpy(bool)
    if values.dtype == np.float64:
        whole = np.full(len(texts), np.nan)
        whole[~missing] = values
        return pd.Series(whole, texts.index)
    whole = np.zeros(len(texts), np.int64)
    whole[~missing] = values
    return pd.Series(pd.arrays.IntegerArray(whole, missing), texts.index)


def _are_dates(present: pd.Series) -> bool:
    kind = getattr(present.dtype, "kind", "O")
    return kind == "M" or kind == "O" and pd.api.types.infer_dtype(present) in ("datetime", "datetime64", "date")


def _texts(series: pd.Series, name: str, missing: np.ndarray) -> Column:
    codes, texts = pd.factorize(series)
    texts = [str(text) for text in texts]
    order = sorted(range(len(texts)), key=texts.__getitem__)  # Python compares texts by code point
    place = np.empty(len(texts) + 1, np.int64)
    place[order] = np.arange(len(texts))
    place[-1] = -1
    given = [texts[i] for i in order]
    levels, differing = _named(given, given, given, name)
    return Column(LEVELS, place[codes], missing, levels, text=True, given=differing)


def _named(
    names: Sequence[str], python: Sequence[str], r: Sequence[str], column: str
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Levels' names, with escapes for control characters; and what stands in the table, where that is not the names."""
    levels = tuple(map(escaped, names))
    if len(set(levels)) < len(levels):
        twice = next(level for level in levels if levels.count(level) > 1)
        raise PreparationError(f"column {column!r} has two levels that are both written {twice!r}: rename one")
    given = tuple(zip(python, r, strict=True))
    return levels, () if given == tuple(zip(levels, levels, strict=True)) else given


def _factor(series: pd.Series, name: str, missing: np.ndarray) -> Column:
    names = [level_name(level) for level in series.cat.categories]
    levels, given = _named(names, list(map(str, series.cat.categories)), names, name)
    codes = series.cat.codes.to_numpy().astype(np.int64)
    return Column(LEVELS, codes, missing, levels, bool(series.cat.ordered), given=given)


def level_name(value: Any) -> str:
    """A level's name: a number as R writes it, in full where R would round it."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).upper()
    if isinstance(value, float | np.floating):
        value = float(value)
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)


def row_of(rows: np.ndarray, which: np.ndarray) -> str:
    """``row 17``: where in the table that was given, from 1, as a person counts below the header."""
    return f"row {rows[np.flatnonzero(which)[0]] + 1}"


def counted(count: int, what: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count} {what}{'' if count == 1 else 's'}"
