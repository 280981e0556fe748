"""Identifiability: what the data cannot carry of a model, said in one line before engines are asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from concord.arrays import Integers, Matrix, Vector
from concord.data.columns import PreparationError, counted, row_of
from concord.models.design import Design, DesignTerm
from concord.models.syntax import Formula

# lme4's own: a column that is, but for this part of its length, a combination of those before it is left out there.
DEPENDENT = 1e-7
# What rounding leaves of a vector of length one that is taken from itself.
ROUNDING = 1e-12
EPS = float(np.finfo(float).eps)
# So small or so large may a column's largest value be: beyond, its sums of squares leave what a double can hold.
SIZES = 1e-150, 1e152
# A column of length one has at least so much in a combination that it is said to be part of.
SHARE = 1e-6


def check(design: Design, formula: Formula, rows: Integers | None = None) -> None:
    """Refuse what the data cannot carry; no threshold depends on a column's units.

    Parameters
    ----------
    rows : of the table that `design` was made on, where each row was in the user's own, counted from 0; without it
        rows that a transformation loses go unnoticed

    Raises
    ------
    PreparationError : a transformation gives no finite number; the response is constant; there are too few rows; the
        fixed part reproduces the response; a random term has one group, as many groups as rows,
        as many effects as rows, or dependent columns, or reproduces the response; two random terms are the same
    """
    n, p = design.X.shape
    _check_transformations(design, formula, rows)
    _check_sizes(design, formula.response)
    if n <= p:
        raise PreparationError(f"{n} rows are too few for {counted(p, 'fixed effect')}: the model needs more rows")
    if np.ptp(design.y) <= EPS * np.abs(design.y).max():
        told = _too_coarse(design.y) if np.ptp(design.y) else ""
        raise PreparationError(f"the response {formula.response} is the same in all {n} rows: nothing varies{told}")
    for term, random in zip(design.terms, formula.random, strict=True):
        _check_groups(term, str(random), n)
    _check_dependent(design.X, design.names, "the fixed part", "take one of them out")
    for term, random in zip(design.terms, formula.random, strict=True):
        advice = "no data tell their variances apart; take one of them out, or make a column of the combinations meant"
        _check_dependent(term.matrix, term.names, f"random term {random}", advice)
    left, noise = _residuals(design), _noise(design.y)
    if np.linalg.norm(left) <= noise * np.sqrt(n):
        raise PreparationError(
            f"the fixed part {formula.fixed} reproduces the response {formula.response} exactly: no residual is left "
            f"to model{_too_coarse(design.y) or '; is a predictor made from the response?'}"
        )
    for term, random in zip(design.terms, formula.random, strict=True):
        if term.structure:  # which may tell the rows' own effects and the residuals apart all the same
            continue
        _check_residual(left, design, term, str(random), formula.response)
    _check_twins(design.terms, [str(random) for random in formula.random])


def _check_transformations(design: Design, formula: Formula, rows: Integers | None) -> None:
    calls = ", ".join(_calls(formula.text)) or "the formula"
    advice = "leave these rows out, or transform otherwise"
    if rows is not None and len(design.rows) < len(rows):
        lost = np.ones(len(rows), bool)
        lost[design.rows] = False
        raise PreparationError(
            f"{calls} has no value in {counted(lost.sum(), 'row')} of {len(lost)}, the first in "
            f"{row_of(rows, lost)}: {advice}"
        )
    rows = design.rows if rows is None else rows[design.rows]
    offset = np.zeros(len(design.y)) if design.offset is None else design.offset
    matrices = [(offset[:, None], ("the offset",)), (design.y[:, None], (formula.response,)), (design.X, design.names)]
    matrices += [(term.matrix, term.names) for term in design.terms]
    for matrix, names in matrices:
        wrong = ~np.isfinite(matrix)
        if wrong.any():
            j = int(np.flatnonzero(wrong.any(0))[0])
            raise PreparationError(
                f"{names[j]} is not finite in {counted(wrong[:, j].sum(), 'row')} of {len(rows)}, the first in "
                f"{row_of(rows, wrong[:, j])}: {advice}"
            )


def _calls(text: str) -> list[str]:
    """The calls of functions in a formula's text, ``log(x)``; a function within another's call is part of it."""
    calls, end = [], 0
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
        calls.append(text[name.start() : end])
    return list(dict.fromkeys(calls))


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
    if effects * levels >= n and not term.structure:  # of a structure fewer parameters than that may be told apart
        count = effects * levels
        raise PreparationError(
            f"random term {written}: {count} random effects ({effects} for each of {levels} groups) for {n} rows, so "
            "their variances and the residual's cannot be told apart: use fewer effects, or a coarser group"
        )


def independent(matrix: Matrix) -> list[int]:
    """The numbers of the columns that are no combinations of those before them, to lme4's own measure."""
    basis: list[Vector] = []
    kept: list[int] = []
    for j, column in enumerate(_scaled(matrix).T):
        left = _less(column, basis)
        length = np.linalg.norm(left)
        if length > DEPENDENT:
            basis.append(left / length)
            kept.append(j)
    return kept


def _less(column: Vector, basis: Sequence[Vector]) -> Vector:
    """A column less what directions of length one reproduce of it, twice for what rounding leaves."""
    if not basis:
        return column
    B = np.column_stack(basis)
    left = column - B @ (B.T @ column)
    less: Vector = left - B @ (B.T @ left)
    return less


def dependent(X: Matrix, names: Sequence[str], kept: Sequence[int]) -> dict[str, str]:
    """The columns of X that are not kept, by their names, and why: what each is, or almost is.

    Parameters
    ----------
    X, names : all columns, shape (n, p), and their names
    kept : the numbers of those that are kept, which are independent
    """
    left = [j for j in range(len(names)) if j not in set(kept)]
    if not left:
        return {}
    scaled = _scaled(X)
    shares = np.linalg.lstsq(scaled[:, kept], scaled[:, left], rcond=None)[0]
    shares = np.where(np.abs(shares) > SHARE, shares, 0.0)
    missed = np.linalg.norm(scaled[:, left] - scaled[:, kept] @ shares, axis=0)
    why = {}
    for j, share, length in zip(left, shares.T, missed, strict=True):
        others = ", ".join(names[kept[int(i)]] for i in np.flatnonzero(share))
        almost = "" if length < ROUNDING * 100 else "almost "
        origin = " (if it is a matter of its origin, centre the variable)" if almost else ""
        why[names[j]] = f"{almost}a combination of {others}{origin}" if others else "zero in every row"
    return why


def _scaled(matrix: Matrix) -> Matrix:
    """The columns with their lengths made one; a column of zeros stays."""
    largest = np.abs(matrix).max(0, initial=0.0)
    matrix = matrix / np.where(largest > 0, largest, 1.0)  # no square of it overflows
    lengths = np.linalg.norm(matrix, axis=0)
    return matrix / np.where(lengths > 0, lengths, 1.0)


def _check_dependent(matrix: Matrix, names: Sequence[str], what: str, advice: str) -> None:
    """Refuse a column that is, to lme4's own measure, a combination of those before it; name all that take part."""
    scaled = _scaled(matrix)
    basis: list[Vector] = []
    kept: list[int] = []
    for j, column in enumerate(scaled.T):
        left = _less(column, basis)
        length = np.linalg.norm(left)
        if length > DEPENDENT:
            basis.append(left / length)
            kept.append(j)
            continue
        if not column.any():
            raise PreparationError(f"{what}: column {names[j]} is zero in every row: take it out")
        parts = np.linalg.lstsq(scaled[:, kept], column, rcond=None)[0]
        others = [names[kept[i]] for i in np.flatnonzero(np.abs(parts) > SHARE)]
        nearly = "" if length < ROUNDING * 100 else " almost (if it is a matter of its origin, centre the variable)"
        raise PreparationError(
            f"{what} is rank-deficient: column {names[j]} is{nearly} a combination of {', '.join(others)}: {advice}"
        )


def _residuals(design: Design) -> Vector:
    """What the fixed part leaves of the response, shape (n,): of one far from zero in longer numbers, which keep it."""
    basis, triangle = np.linalg.qr(_scaled(design.X))
    fixed = np.linalg.solve(triangle, basis.T @ design.y)
    left = design.y.astype(np.longdouble) - _scaled(design.X).astype(np.longdouble) @ fixed.astype(np.longdouble)
    left = left.astype(float)
    residuals: Vector = left - basis @ (basis.T @ left)
    return residuals


def _noise(y: Vector) -> float:
    """So much of a response may be rounding: of its own decimals, and of what it was computed from."""
    return float(8 * EPS * np.abs(y).max() + ROUNDING * np.ptp(y))


def _too_coarse(y: Vector) -> str:
    """That a response lies so far from zero that little is stored of what varies in it; empty where it does not."""
    largest = float(np.abs(y).max())
    if ROUNDING * np.ptp(y) > EPS * largest:
        return ""
    return (
        f": its values lie near {largest:.3g}, and so far from zero numbers are stored to {np.spacing(largest):.2g} "
        "only; subtract an origin before they are stored"
    )


def _check_sizes(design: Design, response: str) -> None:
    """Refuse a column whose squares are no numbers of double precision, in which all packages compute."""
    columns = [(response, design.y), *zip(design.names, design.X.T, strict=True)]
    columns += [pair for term in design.terms for pair in zip(term.names, term.matrix.T, strict=True)]
    for name, column in columns:
        largest = float(np.abs(column).max(initial=0.0))
        if largest and not SIZES[0] <= largest <= SIZES[1]:
            power = -int(np.floor(np.log10(largest)))
            raise PreparationError(
                f"{name} has values of at most {largest:.3g}, and no package can square numbers so "
                f"{'small' if largest < 1 else 'large'}: choose another unit, such as {name} * 1e{power}"
            )


def _check_residual(left: Vector, design: Design, term: DesignTerm, written: str, response: str) -> None:
    """Refuse a response that fixed part and one random term reproduce, such as one that is constant within groups.

    Parameters
    ----------
    left : what the fixed part leaves of the response, shape (n,)
    """
    left = _within_groups(np.column_stack([left, design.X]), term)
    y, X = left[:, 0], left[:, 1:]
    scaled = _scaled(X)
    y = y - scaled @ np.linalg.lstsq(scaled, y, rcond=DEPENDENT)[0]
    if np.linalg.norm(y) <= _noise(design.y) * np.sqrt(len(y)):
        raise PreparationError(
            f"random term {written} and the fixed part reproduce the response {response} exactly: no residual is left "
            f"to model{_too_coarse(design.y) or '; if it is the same in all rows of a group, keep one row of each'}"
        )


def _within_groups(values: Vector, term: DesignTerm) -> Matrix:
    """The columns, less what the term's columns reproduce of them within each group; shape (n, k)."""
    codes, levels = term.codes, len(term.levels)
    basis: list[Vector] = []

    def less_basis(column: Vector) -> Vector:
        for direction in basis * 2:  # twice, for what rounding leaves
            column = column - direction * np.bincount(codes, direction * column, levels)[codes]
        return column

    def lengths(column: Vector) -> Vector:
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
