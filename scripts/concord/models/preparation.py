"""Preparation: of a user's table, the one that all engines get; and what the data cannot carry, said in one line.

`prepare` works on the table and `check` on the model's matrices, so that neither engine meets what it would refuse in
its own words, drop in silence, or read differently from the other.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from concord.arrays import Integers, Mask, Vector
from concord.data import columns
from concord.data.columns import LEVELS, NUMBER, TRUTH, WHOLE, Column, PreparationError, counted, level_name, row_of
from concord.data.source import BESIDE, DECIMALS, GIVEN, INDEXED, MENDED, NOTES, NUMERALS
from concord.data.written import WRITTEN, Written, quoted_numbers
from concord.errors import escaped
from concord.models import identifiability, slips, syntax
from concord.models.design import Design
from concord.models.stand_in import made_factors
from concord.models.syntax import Formula

__all__ = ["PreparationError", "Prepared", "check", "prepare"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A table as all engines get it.

    Attributes
    ----------
    frame : the formula's variables, complete rows only; numbers ``float64`` (groups that are whole numbers
        ``int64``), truth values ``bool``, all else ``category`` without unused levels; index 0 to n - 1
    rows : where these rows were in the table that was given, counted from 0, shape (n,)
    notes : what to say aloud, a sentence each
    """

    frame: pd.DataFrame
    rows: Integers
    notes: tuple[str, ...]


def prepare(frame: pd.DataFrame, formula: Formula) -> Prepared:
    """The rows and columns of a table that a formula uses, as both languages read them alike.

    Rows with a missing value in one of the formula's variables are left out, and counted in the notes. Text becomes a
    factor with its levels sorted by code point, whatever the machine's language; a factor's levels keep their order,
    unused ones go. What is used as a number is a double, in R as in Python. What only groups rows is a factor with
    exactly the values that there are: R alone would merge doubles that agree to 15 digits.

    Raises
    ------
    FormulaError : a variable is not a column of the table
    PreparationError : the table's names or values are not such that the formula can use them
    """
    _check_names(frame)
    _check_index(frame, formula)
    syntax.check_variables(formula, list(frame.columns))
    uses = formula.uses
    given, notes = _numerals(frame[list(formula.variables)], frame.attrs.get(NUMERALS, ()), formula)
    read = {name: columns.read(given[name], name, uses[name] == {"group"}) for name in formula.variables}
    missing = {name: column.missing for name, column in read.items()}
    kept = ~np.any(list(missing.values()), axis=0) if missing else np.ones(len(frame), bool)
    notes += [note for name, note in frame.attrs.get(NOTES, ()) if name is None or name in read]
    notes += _dropped(kept, missing)
    rows = np.flatnonzero(kept)
    if len(rows) == 1:
        raise PreparationError("only 1 row is complete: the model needs more rows")
    prepared, factors = {}, made_factors(formula)
    for name, column in read.items():
        column = replace(column, values=column.values[rows], missing=column.missing[rows])
        if name not in factors:
            told = dict(frame.attrs.get(NOTES, ())).get(name, "")
            notes += slips.found(name, column, uses[name], rows, told)
        notes += slips.alike(name, column)
        prepared[name], said = _prepared(name, column, uses[name], rows)
        notes += said
    notes += _quoted(prepared, formula, frame.attrs.get(WRITTEN))
    for term in formula.tree.random:
        _check_combinations(prepared, syntax.variables(term.group))
    table = pd.DataFrame(prepared)
    table.attrs[BESIDE] = frozenset(map(str, frame.columns)).difference(prepared) | frame.attrs.get(BESIDE, frozenset())
    table.attrs[DECIMALS] = frozenset(frame.attrs.get(DECIMALS, ())) & set(formula.variables)
    table.attrs[GIVEN] = {
        name: dict(zip(column.levels, column.given, strict=True)) for name, column in read.items() if column.given
    }
    notes += _controls(table.attrs[GIVEN]) + _formulas(prepared)
    mended = {name: kind for name, column in read.items() if (kind := _mended(column, frame[name]))}
    table.attrs[MENDED] = mended | frame.attrs.get(MENDED, {})
    table.attrs |= {key: frame.attrs[key] for key in (WRITTEN, INDEXED) if key in frame.attrs}
    return Prepared(table, rows, tuple(notes))


def _numerals(frame: pd.DataFrame, names: Collection[str], formula: Formula) -> tuple[pd.DataFrame, list[str]]:
    """The table with numerals, such as 01, as names where they only group rows and as numbers otherwise; and what to
    say of them.
    """
    frame, notes, uses, factors = frame.copy(deep=False), [], formula.uses, made_factors(formula)
    for name in (name for name in frame.columns if name in names):
        distinct, numbers = frame[name].dropna().unique(), columns.numbers(frame[name])
        several: dict[float, list[str]] = {}
        for text, number in zip(distinct, columns.numbers(pd.Series(distinct)), strict=True):
            several.setdefault(number, []).append(text)
        alike = next((texts for texts in several.values() if len(texts) > 1), [])
        shown = " and ".join(map(repr, alike[:3]))
        if not uses[name] <= {"group"}:
            frame[name] = numbers
            if alike and ("group" in uses[name] or name in factors):
                notes.append(f"{name}: {shown} are one number, and so one level: what is computed with has no names")
        elif alike:
            notes.append(f"{name}: {shown} are groups of their own, and not one number: write them alike to merge them")
        else:
            notes.append(f"{name}: groups keep the zeros that they begin with, as in {min(distinct)!r}")
    return frame, notes


def _controls(given: dict[str, dict[str, tuple[str, str]]]) -> list[str]:
    """A note on every column whose levels have control characters in them."""
    notes = []
    for name, levels in given.items():
        shown = [level for level, (_, text) in levels.items() if escaped(text) != text]
        if shown:
            notes.append(f"{name}: {counted(len(shown), 'level')} with control characters, shown as {shown[0]}")
    return notes


_FORMULA = re.compile(r"[=@\uff1d\uff20]|[+\uff0b\uff0d-](?!\.?\d|[Ii]nf$)")


def _formulas(prepared: dict[str, Any]) -> list[str]:
    """A note where a name or a level begins as a spreadsheet's formula does."""
    levels = [str(level) for values in prepared.values() for level in getattr(values, "categories", ())]
    shown = next((text for text in [*prepared, *levels] if _FORMULA.match(text)), None)
    return [f"{shown!r} is no formula: in CSV files it has an apostrophe before it"] if shown else []


def _mended(column: Column, series: pd.Series) -> str:
    """What pandas must be told of a column whose values it has as objects, or beside a mask; empty if nothing."""
    if column.kind == TRUTH and series.dtype != bool:
        return "bool"
    return "float" if column.kind in (NUMBER, WHOLE) and series.dtype == object else ""


def _quoted(prepared: dict[str, Any], formula: Formula, written: Written | None) -> list[str]:
    """A note on every column of numbers in quotes, among others without, that is computed with."""
    quoted = {name for name, column in written.columns.items() if column.quoted} if written else set()
    meant = [name for name, uses in formula.uses.items() if "predictor" in uses and name in quoted]
    numbers = {name: pd.Series(prepared[name]) for name in meant if name not in made_factors(formula)}
    return [quoted_numbers(name, values) for name, values in numbers.items() if values.dtype.kind in "if"]


def check(design: Design, formula: Formula, prepared: Prepared | None = None) -> None:
    """Refuse what the data cannot carry, by the model's matrices; see `soundness.check`.

    Parameters
    ----------
    design : of `formula` on ``prepared.frame``
    prepared : to say where in the user's own table something is, and how many rows a transformation loses
    """
    identifiability.check(design, formula, None if prepared is None else prepared.rows)


# ---- the table ---------------------------------------------------------------------------------------------------


def _check_names(frame: pd.DataFrame) -> None:
    if isinstance(frame.columns, pd.MultiIndex):
        raise PreparationError(
            f"the table has {frame.columns.nlevels} rows of column names: give every column one name, with "
            "frame.columns = frame.columns.map('_'.join)"
        )
    for position, name in enumerate(frame.columns, 1):
        if not isinstance(name, str):
            raise PreparationError(
                f"column {position} is called {name!r}, a name that is not text: rename it, or all with "
                "frame.columns = frame.columns.map(str)"
            )
        if not name.strip():
            raise PreparationError(f"column {position} of {len(frame.columns)} has no name: give it one")
    if frame.columns.has_duplicates:
        name = frame.columns[frame.columns.duplicated()][0]
        one, other = np.flatnonzero(frame.columns == name)[:2] + 1
        raise PreparationError(f"columns {one} and {other} are both called {name!r}: rename one")
    if not len(frame.columns):
        raise PreparationError("the table has no columns: expected one for every variable")
    if not len(frame):
        raise PreparationError("the table has no rows: expected one for every observation")


def _check_index(frame: pd.DataFrame, formula: Formula) -> None:
    """Say of a variable that is no column, but in the index, how it becomes one."""
    name = next((name for name in formula.variables if name in frame.index.names and name not in frame), None)
    if name is not None:
        raise PreparationError(f"{name!r} is in the table's index, and no column: give frame.reset_index()")


def _dropped(kept: Mask, missing: dict[str, Mask]) -> list[str]:
    if kept.all():
        return []
    where = ", ".join(f"{name} ({lost.sum()})" for name, lost in missing.items() if lost.any())
    if not kept.any():
        raise PreparationError(f"all {len(kept)} rows have a missing value, in {where}: no row is left to fit")
    return [f"{_of((~kept).sum(), len(kept))} dropped: missing in {where}"]


def _of(count: int, all_: int) -> str:
    return f"{count} of {all_} rows {'is' if count == 1 else 'are'}"


# ---- a column, by its use ----------------------------------------------------------------------------------------


def _prepared(name: str, column: Column, uses: set[str], rows: Integers) -> tuple[Any, list[str]]:
    """A complete column as it goes to all engines, and what to say of it."""
    notes: list[str] = []
    if column.kind == NUMBER and (wrong := np.isinf(column.values)).any():
        raise PreparationError(
            f"column {name!r} has {counted(wrong.sum(), 'infinite value')}, the first in {row_of(rows, wrong)}: "
            "correct it, or leave it empty if it is missing"
        )
    if "response" in uses:
        _check_response(name, column, rows)
    if "weight" in uses:
        _check_weights(name, column, rows)
    if uses <= {"group"}:
        return _groups(column), notes
    if column.kind in (LEVELS, TRUTH):
        return _factor(name, column, len(rows))
    values = column.values.astype(np.float64)
    if column.kind == WHOLE and (rounded := _rounded(column.values, values)):
        notes.append(f"{name}: {counted(rounded, 'whole number')} beyond 2^53, rounded to the nearest double")
    if "group" in uses:
        _check_merging(name, values)
    return values, notes


def _factor(name: str, column: Column, rows: int) -> tuple[Any, list[str]]:
    """A predictor of levels, or of truth values."""
    notes: list[str] = []
    used, codes = np.unique(column.values, return_inverse=True)
    levels = [level_name(bool(code)) if column.kind == TRUTH else column.levels[code] for code in used]
    if len(levels) == 1:
        raise PreparationError(
            f"factor {name!r} has one level only, {levels[0]!r}, in the {rows} rows that are used: "
            "take it out of the formula"
        )
    if column.kind == TRUTH:
        return column.values, notes
    if column.text and all(_DATE.match(level) for level in levels):
        notes.append(f"{name}: dates are taken for the {len(levels)} levels of a factor; for a trend, count days")
    if column.text and (other := min(levels, key=_alphabetical)) != levels[0]:
        notes.append(
            f"{name}: the levels are sorted by code point, so {levels[0]!r} is the first, the baseline, in both "
            f"languages; R by itself would in most languages sort {other!r} first"
        )
    return pd.Categorical.from_codes(codes, levels, ordered=column.ordered), notes


def _rounded(whole: Vector, doubles: Vector) -> int:
    """How many whole numbers a double cannot hold."""
    if len(whole) == 0 or max(-int(whole.min()), int(whole.max())) <= 2**53:
        return 0
    return sum(int(one) != int(other) for one, other in zip(whole, doubles, strict=True))


def _check_response(name: str, column: Column, rows: Integers) -> None:
    if column.kind == TRUTH:
        raise PreparationError(
            f"the response {name!r} is TRUE or FALSE: a linear mixed model needs numbers (0 and 1, if that is meant)"
        )
    if (column.values == column.values[0]).all():
        raise PreparationError(
            f"the response {name!r} is {level_name(column.values[0])} in all {len(rows)} rows that are used: "
            "nothing varies that a model could explain"
        )


def _check_weights(name: str, column: Column, rows: Integers) -> None:
    """Refuse what does not divide a residual's variance: weights are finite numbers above 0."""
    if column.kind == TRUTH:
        value = level_name(bool(column.values[0]))
        raise PreparationError(f"the weights {name!r} are not numbers, but such as {value!r}: name a column of numbers")
    for wrong, what, advice in (
        (column.values < 0, "below 0", "a row's residual variance is divided by its weight, which is a number above 0"),
        (column.values == 0, "0", "leave these rows out of the table: a row of weight 0 says nothing"),
    ):
        if wrong.any():
            raise PreparationError(
                f"the weights {name!r} are {what} in {counted(wrong.sum(), 'row')}, the first in "
                f"{row_of(rows, wrong)}: {advice}"
            )


_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}[./][0-9]{1,2}[./][0-9]{2,4}")


def _groups(column: Column) -> Any:
    """What only groups rows: levels exactly as there are; whole numbers and truth values that R has too stay such."""
    if column.kind == TRUTH:
        return column.values
    # Beyond 32 bits R has doubles; its smallest integer is its NA.
    if column.kind == WHOLE and column.values.min() > -(2**31) and column.values.max() < 2**31:
        return column.values.astype(np.int64)
    used, codes = np.unique(column.values, return_inverse=True)
    names = [column.levels[code] if column.kind == LEVELS else level_name(code) for code in used]
    return pd.Categorical.from_codes(codes, names, ordered=column.ordered)


def _check_combinations(prepared: dict[str, Any], names: Sequence[str]) -> None:
    """Refuse levels with a colon in them, where R, which names a:b's groups by it, would take two groups for one."""
    parts = pd.DataFrame({name: pd.Series(prepared[name]).astype(str) for name in names})
    if len(names) < 2 or not any(parts[name].str.contains(":", regex=False).any() for name in names):
        return
    parts = parts.drop_duplicates()
    joined = parts.agg(":".join, axis=1)
    if joined.duplicated().any():
        twice = joined[joined.duplicated()].iloc[0]
        raise PreparationError(
            f"groups {':'.join(names)}: two combinations of levels are both written {twice!r}: take the colon out of "
            "the levels"
        )


def _check_merging(name: str, values: Vector) -> None:
    """Refuse groups that R would merge, where they cannot be made a factor because they are a number too."""
    distinct = np.unique(values)
    written = [f"{value:.15g}" for value in distinct]
    for one, other in zip(range(len(written)), range(1, len(written)), strict=False):
        if written[one] == written[other]:
            raise PreparationError(
                f"column {name!r} is a number and groups rows too, where R takes {float(distinct[one])!r} and "
                f"{float(distinct[other])!r} for one group: round it, or give the groups a column of their own"
            )


def _alphabetical(level: str) -> tuple[str, str]:
    """How dictionaries sort, and so R in most languages: letters without accents and case, small ones first."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", level) if not unicodedata.combining(c))
    return bare.casefold(), level.swapcase()
