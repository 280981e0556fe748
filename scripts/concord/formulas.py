"""Formulas: lme4's notation, taken apart by R's own parser, and what each engine needs of it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r

# A formula is data: it may only combine variables with these, and is checked before R evaluates any of it.
OPERATORS = frozenset(["~", "+", "-", "*", "/", "^", ":", "(", "|", "||", "%in%"])
FUNCTIONS = OPERATORS | {"I", "log", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "abs", "poly", "scale", "factor"}
# A plain variable name that means the same in R and in Python's formulas.
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

_R = Path(__file__).with_suffix(".R")


class FormulaError(ValueError):
    """A formula that cannot be used; the message says what is wrong with which part of it."""


class CannotExpress(ValueError):
    """An engine has no way to write this model down.

    Attributes
    ----------
    nearest : the nearest lme4 formula that the engine can express, if there is one
    """

    def __init__(self, engine: str, what: str, nearest: str | None = None) -> None:
        hint = f"; the nearest that it can is {nearest}" if nearest else ""
        super().__init__(f"{engine} cannot express {what}{hint}")
        self.nearest = nearest


@dataclass(frozen=True)
class RandomTerm:
    """One random term ``(columns | group)``; the columns' effects are correlated with each other."""

    columns: str
    group: str

    def __str__(self) -> str:
        return f"({self.columns} | {self.group})"


@dataclass(frozen=True)
class Formula:
    """An lme4 formula in its parts.

    Attributes
    ----------
    text : as it was given
    response, fixed : the left-hand side and the fixed part, in R's notation
    random : the random terms; ``||`` and ``a/b`` are expanded into several
    variables : names of the data's columns that it uses
    functions : what it combines them with
    """

    text: str
    response: str
    fixed: str
    random: tuple[RandomTerm, ...]
    variables: tuple[str, ...]
    functions: frozenset[str]
    expression: Any = field(repr=False, compare=False, hash=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, eq=False)
class DesignTerm:
    """A random term in numbers.

    Attributes
    ----------
    group : name of the grouping factor
    names : names of the columns, as R has them, length q
    matrix : the columns, shape (n, q)
    codes : for every row the number of its group, shape (n,)
    levels : the groups' names
    """

    group: str
    names: tuple[str, ...]
    matrix: np.ndarray
    codes: np.ndarray
    levels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Design:
    """A model in numbers: y = X b + sum of Z_t u_t + e, for rows without missing values.

    Attributes
    ----------
    y : response, shape (n,)
    X, names : fixed-effects matrix, shape (n, p), and its columns' names as R has them
    terms : the random terms
    rows : which rows of the table were used, counted from 0, shape (n,)
    """

    y: np.ndarray
    X: np.ndarray
    names: tuple[str, ...]
    terms: tuple[DesignTerm, ...]
    rows: np.ndarray


@cache
def parse(text: str) -> Formula:
    """Take an lme4 formula apart.

    Raises
    ------
    FormulaError : it does not parse, has no random term, or calls something that a formula may not
    """
    r.package("lme4")
    room = r.source(_R)
    parsed = r.call(room["parse_formula"], text)
    content = dict(zip(r.from_r(r.call("names", parsed)), parsed, strict=True))
    problem = r.from_r(content["problem"])
    if problem:
        raise FormulaError(f"formula {text!r}: it does not parse: {problem[0]}")
    functions, other = r.from_r(content["functions"]), r.from_r(content["other"])
    for name in (*sorted(set(functions) - FUNCTIONS), *other):
        raise FormulaError(f"formula {text!r}: {name} may not stand in a formula")
    try:
        got = r.from_r(r.call(room["parts"], content["formula"]))
    except r.RError as error:
        raise FormulaError(f"formula {text!r}: {error}") from error
    if not got["groups"]:
        raise FormulaError(f"formula {text!r}: it has no random term, such as (1 | group)")
    return Formula(
        text=text,
        response=got["response"][0],
        fixed=got["fixed"][0],
        random=tuple(RandomTerm(*pair) for pair in zip(got["columns"], got["groups"], strict=True)),
        variables=tuple(r.from_r(content["variables"])),
        functions=frozenset(functions),
        expression=content["formula"],
    )


def check_variables(formula: Formula, columns: Sequence[str]) -> None:
    """Every variable of the formula is one of `columns`.

    Raises
    ------
    FormulaError : one is not; the message has the nearest name
    """
    for name in formula.variables:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(columns)}"
            raise FormulaError(f"formula {formula.text!r}: the data have no column {name!r}; {hint}")


def design(formula: Formula, frame: pd.DataFrame) -> Design:
    """The formula's model in numbers, on the table `frame`, coded as R codes it.

    Raises
    ------
    FormulaError : a variable is missing, or R cannot build the matrices
    """
    check_variables(formula, list(frame.columns))
    try:
        got = r.from_r(r.call(r.source(_R)["design"], formula.expression, frame[list(formula.variables)]))
    except r.RError as error:
        raise FormulaError(f"formula {formula.text!r}: {error}") from error
    terms = tuple(
        DesignTerm(random.group, tuple(term["columns"]), term["matrix"], term["codes"], tuple(term["levels"]))
        for random, term in zip(formula.random, got["terms"], strict=True)
    )
    return Design(got["y"], got["X"], tuple(got["X_columns"] or ()), terms, got["rows"].astype(int))


@dataclass(frozen=True)
class MixedLMForm:
    """What ``statsmodels.formula.api.mixedlm`` needs.

    Attributes
    ----------
    fixed : the formula of response and fixed part
    group : the column that holds the groups
    re_formula : the random part
    independent : whether the random effects are constrained to be uncorrelated (``free=``)
    """

    fixed: str
    group: str
    re_formula: str
    independent: bool


def for_mixedlm(formula: Formula) -> MixedLMForm:
    """The formula in MixedLM's terms.

    Raises
    ------
    CannotExpress : MixedLM has no way to write it down
    """
    used = sorted(formula.functions - set("~+*:(|") - {"||", "-"})
    if used:
        raise CannotExpress("MixedLM", f"{', '.join(used)} as R means it")
    for name in formula.variables:
        if not PLAIN.fullmatch(name):
            raise CannotExpress("MixedLM", f"the variable {name!r}, which is no plain name")
    groups = {term.group for term in formula.random}
    if len(groups) > 1 or not PLAIN.fullmatch(formula.random[0].group):
        raise CannotExpress("MixedLM", f"{' + '.join(map(str, formula.random))} with one group factor")
    group = formula.random[0].group
    if len(formula.random) == 1:
        return MixedLMForm(f"{formula.response} ~ {formula.fixed}", group, formula.random[0].columns, False)
    # Several terms on one factor: one matrix whose off-diagonal is held at zero, so each term may give one column only.
    columns = [_single_column(term) for term in formula.random]
    if None in columns or len(set(columns)) < len(columns):
        raise CannotExpress("MixedLM", f"{' + '.join(map(str, formula.random))}: some effects correlated, some not")
    slopes = [column for column in columns if column != "1"]
    random = " + ".join(["1" if "1" in columns else "0", *slopes])
    return MixedLMForm(f"{formula.response} ~ {formula.fixed}", group, random, True)


def _single_column(term: RandomTerm) -> str | None:
    """The one column of a term: ``1`` or, for ``0 + x``, ``x``; None where there may be more."""
    if term.columns == "1":
        return "1"
    slope = re.fullmatch(rf"(?:0|-1) \+ ({PLAIN.pattern})|({PLAIN.pattern}) - 1", term.columns)
    return (slope[1] or slope[2]) if slope else None
