"""Preparation: of a user's table, the one that both engines get; and what the data cannot carry, said in one line.

`prepare` works on the table and `check` on the model's matrices, so that neither engine meets what it would refuse in
its own words, drop in silence, or read differently from the other.
"""

from __future__ import annotations

import decimal
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from concord import formulas, syntax
from concord.formulas import Design, DesignTerm, Formula
from concord.sources import NOTES, Unusable

# lme4's own: a column that is, but for this part of its length, a combination of those before it is left out there.
DEPENDENT = 1e-7
# What rounding leaves of a vector of length one that is taken from itself.
ROUNDING = 1e-12

NUMBER, WHOLE, TRUTH, LEVELS = "number", "whole number", "truth value", "level"


class PreparationError(ValueError):
    """Data that cannot carry the model; the message is one line: what is wrong, in which column, what to do."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A table as both engines get it.

    Attributes
    ----------
    frame : the formula's variables, complete rows only; numbers ``float64`` (groups that are whole numbers
        ``int64``), truth values ``bool``, all else ``category`` without unused levels; index 0 to n - 1
    rows : where these rows were in the table that was given, counted from 0, shape (n,)
    notes : what to say aloud, a sentence each
    """

    frame: pd.DataFrame
    rows: np.ndarray
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Column:
    """A column of whatever pandas type as one of four kinds.

    Attributes
    ----------
    kind : NUMBER, WHOLE, TRUTH or LEVELS
    values : float64; int64 or Python integers; bool; codes of the levels; shape (n,)
    missing : shape (n,)
    levels : names of the levels
    ordered : whether they are ordered
    text : whether the levels are the texts of a column, sorted here, and not a factor's own
    """

    kind: str
    values: np.ndarray
    missing: np.ndarray
    levels: tuple[str, ...] = ()
    ordered: bool = False
    text: bool = False


def prepare(frame: pd.DataFrame, formula: Formula) -> Prepared:
    """The rows and columns of a table that a formula uses, as both languages read them alike.

    Rows with a missing value in one of the formula's variables are left out, and counted in the notes. Text becomes a
    factor with its levels sorted by code point, whatever the machine's language; a factor's levels keep their order,
    unused ones go. What is used as a number is a double, in R as in Python. What only groups rows is a factor with
    exactly the values that there are: R alone would merge doubles that agree to 15 digits.

    Raises
    ------
    FormulaError : a variable is no column of the table
    PreparationError : the table's names or values are not such that the formula can use them
    """
    _check_names(frame)
    formulas.check_variables(formula, list(frame.columns))
    columns = {name: _read(frame[name], name) for name in formula.variables}
    missing = {name: column.missing for name, column in columns.items()}
    kept = ~np.any(list(missing.values()), axis=0) if missing else np.ones(len(frame), bool)
    notes = [note for name, note in frame.attrs.get(NOTES, ()) if name is None or name in columns]
    notes += _dropped(kept, missing)
    rows = np.flatnonzero(kept)
    if len(rows) == 1:
        raise PreparationError("only 1 row is complete: the model needs more rows")
    uses = _uses(formula)
    prepared = {}
    for name, column in columns.items():
        column = replace(column, values=column.values[rows], missing=column.missing[rows])
        prepared[name], said = _prepared(name, column, uses[name], rows)
        notes += said
    for term in formula.tree.random:
        _check_combinations(prepared, syntax.variables(term.group))
    return Prepared(pd.DataFrame(prepared), rows, tuple(notes))


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
                f"column {position} is called {name!r}, a name that is no text: rename it, or all with "
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


def _dropped(kept: np.ndarray, missing: dict[str, np.ndarray]) -> list[str]:
    if kept.all():
        return []
    columns = ", ".join(f"{name} ({lost.sum()})" for name, lost in missing.items() if lost.any())
    if not kept.any():
        raise PreparationError(f"all {len(kept)} rows have a missing value, in {columns}: no row is left to fit")
    return [f"{_of((~kept).sum(), len(kept))} dropped: missing in {columns}"]


def _of(count: int, all_: int) -> str:
    return f"{count} of {all_} rows {'is' if count == 1 else 'are'}"


def _row(rows: np.ndarray, which: np.ndarray) -> str:
    """``row 17``: where in the table that was given, from 1, as a person counts below the header."""
    return f"row {rows[np.flatnonzero(which)[0]] + 1}"


# ---- a column, whatever its type ---------------------------------------------------------------------------------


def _read(series: pd.Series, name: str) -> _Column:
    """A column of any pandas type as one of four kinds.

    Raises
    ------
    PreparationError : it holds what is neither number nor truth value nor level
    """
    dtype = series.dtype
    if isinstance(dtype, pd.ArrowDtype) and "dictionary" in str(dtype):
        series = series.astype("category")
        dtype = series.dtype
    missing = series.isna().to_numpy(bool)
    if isinstance(dtype, pd.CategoricalDtype):
        return _factor(series, name, missing)
    if isinstance(dtype, pd.SparseDtype):
        return _read(series.sparse.to_dense(), name)
    if isinstance(dtype, pd.StringDtype) or (isinstance(dtype, pd.ArrowDtype) and dtype.type is str):
        return _texts(series, missing)
    kind = "O" if "decimal" in str(dtype) else getattr(dtype, "kind", "O")
    if kind == "b":
        return _Column(TRUTH, series.to_numpy(bool, na_value=False), missing)
    if kind in "iu":
        values = series.to_numpy(np.uint64 if kind == "u" else np.int64, na_value=0)
        return _Column(WHOLE, _signed(values), missing)
    if kind == "f":
        values = series.to_numpy(np.float64, na_value=np.nan)
        return _Column(NUMBER, values, np.isnan(values))
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


def _of_objects(series: pd.Series, name: str, missing: np.ndarray) -> _Column:
    inferred = pd.api.types.infer_dtype(series[~missing])
    if inferred == "string":
        return _texts(series, missing)
    if inferred == "empty":
        return _Column(NUMBER, np.full(len(series), np.nan), missing)
    if inferred == "boolean":
        return _Column(TRUTH, series.where(~missing, False).to_numpy(bool), missing)
    if inferred == "integer":
        values = series.where(~missing, 0).to_numpy(object)
        try:
            return _Column(WHOLE, values.astype(np.int64), missing)
        except OverflowError:
            return _Column(WHOLE, np.array([int(value) for value in values], object), missing)
    if inferred in ("floating", "mixed-integer-float", "decimal"):
        try:
            values = np.array([np.nan if lost else float(value) for value, lost in zip(series, missing, strict=True)])
        except (TypeError, ValueError, OverflowError, decimal.InvalidOperation):
            raise _refused(name, "what is not all numbers") from None
        return _Column(NUMBER, values, np.isnan(values))
    if inferred in _WORDS:
        raise _refused(name, _WORDS[inferred])
    first = series[~missing].iloc[0]
    if isinstance(first, Unusable):
        raise _refused(name, first.what)
    kinds = dict.fromkeys(type(value).__name__ for value in series[~missing])
    raise _refused(name, f"values of kind {', '.join(list(kinds)[:3])}")


def _texts(series: pd.Series, missing: np.ndarray) -> _Column:
    codes, found = pd.factorize(series)
    found = [str(each) for each in found]
    order = sorted(range(len(found)), key=found.__getitem__)  # Python compares texts by code point
    place = np.empty(len(found) + 1, np.int64)
    place[order] = np.arange(len(found))
    place[-1] = -1
    return _Column(LEVELS, place[codes], missing, tuple(found[i] for i in order), text=True)


def _factor(series: pd.Series, name: str, missing: np.ndarray) -> _Column:
    levels = tuple(_level(level) for level in series.cat.categories)
    if len(set(levels)) < len(levels):
        twice = next(level for level in levels if levels.count(level) > 1)
        raise PreparationError(f"column {name!r} has two levels that are both written {twice!r}: rename one")
    return _Column(LEVELS, series.cat.codes.to_numpy().astype(np.int64), missing, levels, bool(series.cat.ordered))


def _level(value: Any) -> str:
    """A level's name: a number as R writes it, in full where R would round it."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).upper()
    if isinstance(value, float | np.floating):
        value = float(value)
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)


# ---- a column, by its use ----------------------------------------------------------------------------------------


def _uses(formula: Formula) -> dict[str, set[str]]:
    """What each variable is used for: ``response``, ``predictor``, ``group``."""
    tree = formula.tree
    parts = [("response", tree.response), ("predictor", tree.fixed), *(("predictor", each) for each in tree.offsets)]
    parts += [part for term in tree.random for part in (("predictor", term.columns), ("group", term.group))]
    uses: dict[str, set[str]] = {name: set() for name in formula.variables}
    for use, part in parts:
        for name in syntax.variables(part):
            uses[name].add(use)
    return uses


def _prepared(name: str, column: _Column, uses: set[str], rows: np.ndarray) -> tuple[Any, list[str]]:
    """A complete column as it goes to both engines, and what to say of it."""
    notes: list[str] = []
    if column.kind == NUMBER and (wrong := np.isinf(column.values)).any():
        raise PreparationError(
            f"column {name!r} has {_count(wrong.sum(), 'infinite value')}, the first in {_row(rows, wrong)}: "
            "correct it, or leave it empty if it is missing"
        )
    if "response" in uses:
        _check_response(name, column, rows)
    if uses <= {"group"}:
        return _groups(column), notes
    if column.kind in (LEVELS, TRUTH):
        used, codes = np.unique(column.values, return_inverse=True)
        levels = [_level(bool(each)) if column.kind == TRUTH else column.levels[each] for each in used]
        if len(levels) == 1:
            raise PreparationError(
                f"factor {name!r} has one level only, {levels[0]!r}, in the {len(rows)} rows that are used: "
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
    values = column.values.astype(np.float64)
    if column.kind == WHOLE and (rounded := _rounded(column.values, values)):
        notes.append(f"{name}: {_count(rounded, 'whole number')} beyond 2^53, rounded to the nearest double")
    if "group" in uses:
        _check_merging(name, values)
    return values, notes


def _rounded(whole: np.ndarray, doubles: np.ndarray) -> int:
    """How many whole numbers are none that a double holds."""
    if len(whole) == 0 or max(-int(whole.min()), int(whole.max())) <= 2**53:
        return 0
    return sum(int(one) != int(other) for one, other in zip(whole, doubles, strict=True))


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _check_response(name: str, column: _Column, rows: np.ndarray) -> None:
    if column.kind == TRUTH:
        raise PreparationError(
            f"the response {name!r} is TRUE or FALSE: a linear mixed model needs numbers (0 and 1, if that is meant)"
        )
    if column.kind == LEVELS:
        wrong = np.array([not _NUMERIC.fullmatch(level) for level in column.levels], bool)[column.values]
        where = wrong if wrong.any() else np.ones(len(rows), bool)
        value = column.levels[column.values[np.flatnonzero(where)[0]]]
        raise PreparationError(
            f"the response {name!r} is no number: {_row(rows, where)} has {value!r}; correct it, "
            "or leave it empty if it is missing"
        )
    if (column.values == column.values[0]).all():
        raise PreparationError(
            f"the response {name!r} is {_level(column.values[0])} in all {len(rows)} rows that are used: "
            "nothing varies that a model could explain"
        )


_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}[./][0-9]{1,2}[./][0-9]{2,4}")
_NUMERIC = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def _groups(column: _Column) -> Any:
    """What only groups rows: levels exactly as there are; whole numbers and truth values that R has too stay such."""
    if column.kind == TRUTH:
        return column.values
    # Beyond 32 bits R has doubles; its smallest integer is its NA.
    if column.kind == WHOLE and column.values.min() > -(2**31) and column.values.max() < 2**31:
        return column.values.astype(np.int64)
    used, codes = np.unique(column.values, return_inverse=True)
    names = [column.levels[each] if column.kind == LEVELS else _level(each) for each in used]
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


def _check_merging(name: str, values: np.ndarray) -> None:
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


# ---- the model's matrices ----------------------------------------------------------------------------------------


def check(design: Design, formula: Formula, prepared: Prepared | None = None) -> None:
    """Refuse what the data cannot carry, by the model's matrices; no threshold depends on a column's units.

    Parameters
    ----------
    design : of `formula` on ``prepared.frame``
    prepared : to say where in the user's own table something is, and how many rows a transformation loses

    Raises
    ------
    PreparationError : a transformation gives no finite number; the response is constant; there are too few rows; the
        fixed part is rank-deficient or reproduces the response; a random term has one group, as many groups as rows,
        as many effects as rows, or dependent columns, or reproduces the response; two random terms are the same
    """
    n, p = design.X.shape
    _check_transformations(design, formula, prepared)
    if n <= p:
        raise PreparationError(f"{n} rows are too few for {_count(p, 'fixed effect')}: the model needs more rows")
    if np.ptp(design.y) <= ROUNDING * np.abs(design.y).max():
        raise PreparationError(f"the response {formula.response} is the same in all {n} rows: nothing varies")
    for term, random in zip(design.terms, formula.random, strict=True):
        _check_groups(term, str(random), n)
    _check_dependent(design.X, design.names, "the fixed part", "take one of them out")
    for term, random in zip(design.terms, formula.random, strict=True):
        _check_dependent(term.matrix, term.names, f"random term {random}", "take one of them out")
    basis = np.linalg.qr(_scaled(design.X))[0]
    left = design.y - basis @ (basis.T @ design.y)
    left -= basis @ (basis.T @ left)
    if np.linalg.norm(left) <= ROUNDING * np.linalg.norm(design.y):
        raise PreparationError(
            f"the fixed part {formula.fixed} reproduces the response {formula.response} exactly: no residual is left "
            "to model; is a predictor made from the response?"
        )
    for term, random in zip(design.terms, formula.random, strict=True):
        _check_residual(design, term, str(random), formula.response)
    _check_twins(design.terms, [str(random) for random in formula.random])


def _check_transformations(design: Design, formula: Formula, prepared: Prepared | None) -> None:
    calls = ", ".join(_calls(formula.text)) or "the formula"
    advice = "leave these rows out, or transform otherwise"
    if prepared is not None and len(design.rows) < len(prepared.rows):
        lost = np.ones(len(prepared.rows), bool)
        lost[design.rows] = False
        raise PreparationError(
            f"{calls} has no value in {_count(lost.sum(), 'row')} of {len(lost)}, the first in "
            f"{_row(prepared.rows, lost)}: {advice}"
        )
    rows = (prepared.rows if prepared is not None else np.arange(design.rows.max(initial=-1) + 1))[design.rows]
    offset = np.zeros(len(design.y)) if design.offset is None else design.offset
    matrices = [(offset[:, None], ("the offset",)), (design.y[:, None], (formula.response,)), (design.X, design.names)]
    matrices += [(term.matrix, term.names) for term in design.terms]
    for matrix, names in matrices:
        wrong = ~np.isfinite(matrix)
        if wrong.any():
            j = int(np.flatnonzero(wrong.any(0))[0])
            raise PreparationError(
                f"{names[j]} is not finite in {_count(wrong[:, j].sum(), 'row')} of {len(rows)}, the first in "
                f"{_row(rows, wrong[:, j])}: {advice}"
            )


def _calls(text: str) -> list[str]:
    """The calls of functions in a formula's text, ``log(x)``; a function within another's call is part of it."""
    found, end = [], 0
    masked = re.sub(r"`(?:[^`\\]|\\.)*`", lambda name: "_" * len(name[0]), text)
    for name in re.finditer(r"[A-Za-z][A-Za-z0-9_.]*(?=\()", masked):
        if name.start() < end:
            continue
        depth = 0
        for end in range(name.end(), len(masked)):
            depth += {"(": 1, ")": -1}.get(masked[end], 0)
            if depth == 0:
                break
        end += 1
        found.append(text[name.start() : end])
    return list(dict.fromkeys(found))


def _check_groups(term: DesignTerm, written: str, n: int) -> None:
    levels, effects = len(term.levels), term.matrix.shape[1]
    if levels < 2:
        raise PreparationError(
            f"random term {written}: {term.group} has one group only, {', '.join(term.levels)!r}: a variance between "
            "groups needs two or more; take the term out"
        )
    if levels >= n:
        raise PreparationError(
            f"random term {written}: as many groups as rows ({n}), so its variance and the residual's cannot be told "
            "apart: name a coarser group"
        )
    if effects * levels >= n:
        count = effects * levels
        raise PreparationError(
            f"random term {written}: {count} random effects ({effects} for each of {levels} groups) for {n} rows, so "
            "their variances and the residual's cannot be told apart: use fewer effects, or a coarser group"
        )


def _scaled(matrix: np.ndarray) -> np.ndarray:
    """The columns with their lengths made one; a column of zeros stays."""
    largest = np.abs(matrix).max(0, initial=0.0)
    matrix = matrix / np.where(largest > 0, largest, 1.0)  # no square of it overflows
    lengths = np.linalg.norm(matrix, axis=0)
    return matrix / np.where(lengths > 0, lengths, 1.0)


def _check_dependent(matrix: np.ndarray, names: Sequence[str], what: str, advice: str) -> None:
    """Refuse a column that is, to lme4's own measure, a combination of those before it; name all that take part."""
    scaled = _scaled(matrix)
    basis: list[np.ndarray] = []
    kept: list[int] = []
    for j, column in enumerate(scaled.T):
        left = column
        if basis:
            B = np.column_stack(basis)
            left = left - B @ (B.T @ left)
            left = left - B @ (B.T @ left)
        length = np.linalg.norm(left)
        if length > DEPENDENT:
            basis.append(left / length)
            kept.append(j)
            continue
        if not column.any():
            raise PreparationError(f"{what}: column {names[j]} is zero in every row: take it out")
        parts = np.linalg.lstsq(scaled[:, kept], column, rcond=None)[0]
        others = [names[kept[i]] for i in np.flatnonzero(np.abs(parts) > 1e-6)]
        nearly = "" if length < ROUNDING * 100 else " almost (if it is a matter of its origin, centre the variable)"
        raise PreparationError(
            f"{what} is rank-deficient: column {names[j]} is{nearly} a combination of {', '.join(others)}: {advice}"
        )


def _check_residual(design: Design, term: DesignTerm, written: str, response: str) -> None:
    """Refuse a response that fixed part and one random term reproduce, such as one that is constant within groups."""
    left = _within_groups(np.column_stack([design.y, design.X]), term)
    y, X = left[:, 0], left[:, 1:]
    # What is constant within groups is left as rounding, which is no direction.
    X = X[:, np.linalg.norm(X, axis=0) > DEPENDENT * np.linalg.norm(design.X, axis=0)]
    scaled = _scaled(X)
    y = y - scaled @ np.linalg.lstsq(scaled, y, rcond=DEPENDENT)[0]
    if np.linalg.norm(y) <= ROUNDING * np.linalg.norm(design.y):
        raise PreparationError(
            f"random term {written} and the fixed part reproduce the response {response} exactly: no residual is left "
            "to model; if it is the same in all rows of a group, keep one row of each"
        )


def _within_groups(values: np.ndarray, term: DesignTerm) -> np.ndarray:
    """The columns, less what the term's columns reproduce of them within each group; shape (n, k)."""
    codes, levels = term.codes, len(term.levels)
    basis: list[np.ndarray] = []

    def less_basis(column: np.ndarray) -> np.ndarray:
        for each in basis * 2:  # twice, for what rounding leaves
            column = column - each * np.bincount(codes, each * column, levels)[codes]
        return column

    def lengths(column: np.ndarray) -> np.ndarray:
        return np.sqrt(np.bincount(codes, column * column, levels))[codes]

    for column in _scaled(term.matrix).T:
        left = less_basis(column)
        length = lengths(left)
        basis.append(np.where(length > DEPENDENT * lengths(column), left, 0.0) / np.where(length > 0, length, 1.0))
    return np.column_stack([less_basis(column) for column in values.T])


def _check_twins(terms: Iterable[DesignTerm], written: Sequence[str]) -> None:
    """Refuse two terms with the same groups, where a column of one is a combination of the other's."""
    terms = list(terms)
    for j, other in enumerate(terms):
        for i, one in enumerate(terms[:j]):
            pairs = np.unique(one.codes.astype(np.int64) * len(other.levels) + other.codes)
            if not len(pairs) == len(one.levels) == len(other.levels):
                continue
            basis = np.linalg.qr(_scaled(one.matrix))[0]
            for column in _scaled(other.matrix).T:
                if np.linalg.norm(column - basis @ (basis.T @ column)) <= DEPENDENT:
                    raise PreparationError(
                        f"random terms {written[i]} and {written[j]} have the same groups and a column in common: "
                        "their variances cannot be told apart; take one out"
                    )
