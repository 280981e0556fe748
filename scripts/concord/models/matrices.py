"""A formula on a table in numbers, as R makes and codes them: the design of a model, and the columns of new rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from concord import r
from concord.arrays import Integers, Matrix, Vector
from concord.models import algebra, identifiability
from concord.models.design import Design, DesignTerm, NewRows
from concord.models.formula import expression
from concord.models.syntax import Formula, FormulaError, check_variables, variables

_R = Path(__file__).with_suffix(".R")
# What R means by what it says where it cannot make the columns.
_MEANT = {
    "'degree' must be less than": "poly takes a degree below the number of its column's distinct values",
    "2 or more levels": "a factor has one level only in the rows that are used: take it out of the formula",
    "'offset' must be numeric": "an offset is a number: name a column of numbers in it",
}
# What it says in words of its own functions here.
_OWN = ("is not a number", "is not a grouping factor")


@dataclass(frozen=True, eq=False)
class _Term:
    columns: list[str]
    matrix: Matrix
    levels: list[str]
    codes: Integers


@dataclass(frozen=True, eq=False)
class _Design:
    """A `Design` as R has it: an offset of length 0 is not an offset; `kept` are the columns of X that lmer keeps; the
    levels of each of the factors.
    """

    y: Vector
    offset: Vector
    X: Matrix
    X_columns: list[str]
    kept: Integers
    terms: list[_Term]
    rows: Vector
    factors: list[str]
    levels: list[list[str]]


@dataclass(frozen=True, eq=False)
class _NewRows:
    """`NewRows` as R has them: for every random term the name of each row's level, None where it is missing."""

    X: Matrix
    beyond: Matrix
    offset: Vector
    matrices: list[Matrix]
    levels: list[list[str | None]]


def design(formula: Formula, frame: pd.DataFrame) -> Design:
    """The formula's model in numbers, on the table `frame`, coded as R codes it.

    Raises
    ------
    FormulaError : a variable is missing, ``diag`` has a factor, or R cannot build the matrices
    """
    check_variables(formula, list(frame.columns))
    for name in formula.diagonal:
        if is_bool_dtype(frame[name].dtype) or not is_numeric_dtype(frame[name].dtype):
            raise FormulaError(
                f"formula {formula.text!r}: {name!r} is a factor, and diag would give each of its levels a variance: "
                "make a column of numbers of each level, and write these as terms"
            )
    levels = {name: frame[name].nunique() for name in formula.variables if frame[name].dtype.kind not in "iufb"}
    try:
        algebra.check_size(formula.tree, len(frame), levels)
        algebra.check_calculated(formula.tree, levels)
    except FormulaError as error:
        raise FormulaError(f"formula {formula.text!r}: {error}") from error
    try:
        got = r.record(_Design, r.call(r.source(_R)["design"], expression(formula), frame[list(formula.variables)]))
    except r.RError as error:
        own = any(text in str(error) for text in _OWN)
        why = next(
            (what for key, what in _MEANT.items() if key in str(error)), f"{'' if own else 'R stops with: '}{error}"
        )
        raise FormulaError(f"formula {formula.text!r}: {why}") from error
    terms = tuple(
        DesignTerm(random.group, tuple(term.columns), term.matrix, term.codes, tuple(term.levels), random.structure)
        for random, term in zip(formula.random, got.terms, strict=True)
    )
    offset = got.offset if len(got.offset) else None
    y = got.y if offset is None else got.y - offset
    factors = {name: tuple(levels) for name, levels in zip(got.factors, got.levels, strict=True)}
    X = got.X.reshape(len(y), len(got.X_columns))
    kept = [int(j) for j in got.kept]
    names = tuple(got.X_columns[j] for j in kept)
    dropped = identifiability.dependent(X, got.X_columns, kept)
    return Design(y, X[:, kept], names, terms, got.rows.astype(int), offset, factors, dropped=dropped)


def new_rows(formula: Formula, design: Design, frame: pd.DataFrame, new: pd.DataFrame) -> NewRows:
    """The design's columns of a table of new rows, as R's predict() makes them.

    Factors keep the levels and the contrasts, ``poly``, ``scale`` and the like the numbers that they have from `frame`.
    A level of a grouping factor may be unknown; a level of a factor among the predictors may not.

    Parameters
    ----------
    formula, design : the model
    frame : the table that it was fitted to
    new : the new rows, with all variables of the formula but the response

    Raises
    ------
    FormulaError : a variable is missing, or R cannot build the columns
    """
    given = [*new.columns, *variables(formula.tree.response), *([formula.weights] if formula.weights else [])]
    check_variables(formula, given)
    r.package("lme4")
    own = new[[name for name in formula.variables if name in new.columns]]
    try:
        made_by_r = r.call(r.source(_R)["new_rows"], expression(formula), frame[list(formula.variables)], own)
        got = r.record(_NewRows, made_by_r)
    except r.RError as error:
        raise FormulaError(f"formula {formula.text!r}, new rows: {error}") from error
    codes = []
    for term, levels in zip(design.terms, got.levels, strict=True):
        number: dict[str | None, int] = {level: i for i, level in enumerate(term.levels)}
        codes.append(np.array([number.get(level, -1) for level in levels], np.intp))
    return NewRows(got.X, tuple(got.matrices), tuple(codes), got.offset, got.beyond.reshape(len(got.X), -1))
