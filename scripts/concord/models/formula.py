"""Formulas: lme4's notation, taken apart by R's own parser, and the model in numbers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from concord import r
from concord.models import syntax
from concord.models.design import Design, DesignTerm
from concord.models.syntax import FUNCTIONS, LONGEST, FormulaError, Tree

__all__ = ["Design", "DesignTerm", "Formula", "FormulaError", "RandomTerm", "design", "parse"]

# A plain variable name that means the same in R and in Python's formulas.
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

_R = Path(__file__).with_suffix(".R")


@dataclass(frozen=True)
class RandomTerm:
    """One random term ``(columns | group)``; the columns' effects are correlated with each other."""

    columns: str
    group: str

    def __str__(self) -> str:
        return f"({self.columns} | {self.group})"


@dataclass(frozen=True)
class Formula:
    """An lme4 formula in its parts. Once it is parsed it needs no R, and can be sent to a process without.

    Attributes
    ----------
    text : as it was given
    response, fixed : the left-hand side and the fixed part, in R's notation
    random : the random terms; ``||`` and ``a/b`` are expanded into several
    variables : names of the data's columns that it uses
    functions : what it combines them with
    tree : the same parts as trees, which other notations are written from
    """

    text: str
    response: str
    fixed: str
    random: tuple[RandomTerm, ...]
    variables: tuple[str, ...]
    functions: frozenset[str]
    tree: Tree = field(repr=False, compare=False, hash=False)

    @property
    def uses(self) -> dict[str, set[str]]:
        """What each variable is used for: ``response``, ``predictor``, ``group``."""
        tree = self.tree
        parts = [
            ("response", tree.response),
            ("predictor", tree.fixed),
            *(("predictor", each) for each in tree.offsets),
        ]
        parts += [part for term in tree.random for part in (("predictor", term.columns), ("group", term.group))]
        uses: dict[str, set[str]] = {name: set() for name in self.variables}
        for use, part in parts:
            for name in syntax.variables(part):
                uses[name].add(use)
        return uses

    @property
    def expression(self) -> Any:
        """The formula as an R object, made anew in a process that has not had it yet.

        Raises
        ------
        RError : R is missing
        """
        return _expression(self.text)

    def __str__(self) -> str:
        return self.text


@cache
def parse(text: str) -> Formula:
    """Take an lme4 formula apart.

    Raises
    ------
    FormulaError : it does not parse, has no random term, or calls something that a formula may not
    RError : R or lme4 is missing
    """
    try:
        return _parse(text)
    except FormulaError as error:
        shown = text if len(text) <= 200 else text[:150] + " ..."
        raise FormulaError(f"formula {shown!r}: {error}") from error


def _parse(text: str) -> Formula:
    if len(text) > LONGEST:
        raise FormulaError(f"it is too long: {len(text)} characters, where {LONGEST} are enough for any model")
    r.package("lme4")
    room = r.source(_R)
    content = r.from_r(r.call(room["parse_formula"], text))
    if content["problem"]:
        problem = content["problem"][0]
        raise FormulaError(problem if problem.startswith("it is ") else f"it does not parse: {problem}")
    functions, other, variables = (content[key] or [] for key in ("functions", "other", "variables"))
    if "weights" in functions:
        raise FormulaError(
            "weights may not stand in a formula: lmer takes prior weights in an argument of its own, MixedLM takes none"
        )
    if "interaction" in functions:
        raise FormulaError("interaction may not stand in a formula: write a:b for the combinations of a and b")
    for name in (*sorted(set(functions) - FUNCTIONS), *other):
        raise FormulaError(f"{name} may not stand in a formula")
    if "." in variables:
        raise FormulaError("the dot, for all other columns, may not stand in a formula: write the columns out")
    whole = syntax.read(r.from_r(r.call(room["tree_of"], text)))
    syntax.check(whole)
    try:
        got = r.from_r(r.call(room["parts"], text))
    except r.RError as error:
        raise FormulaError(str(error)) from error
    if not got["groups"]:
        raise FormulaError("it has no random term, such as (1 | group)")
    response, fixed, random = got["trees"]
    kept, offsets = syntax.without_offsets(syntax.read(fixed))
    trees = tuple(
        syntax.RandomTree(
            syntax.read(columns),
            syntax.read(group),
            bool(intercept[0]),
            tuple(tuple(syntax.read(each) for each in term) for term in terms or ()),
        )
        for columns, group, (intercept, terms) in random
    )
    tree = Tree(syntax.read(response), kept or syntax.ONE, offsets, trees)
    if not syntax.same_content(tree, whole):
        raise FormulaError("lme4 takes it apart into something else than what stands in it")
    return Formula(
        text=text,
        response=got["response"][0],
        fixed=got["fixed"][0],
        random=tuple(RandomTerm(*pair) for pair in zip(got["columns"], got["groups"], strict=True)),
        variables=tuple(variables),
        functions=frozenset(functions),
        tree=tree,
    )


@cache
def _expression(text: str) -> Any:
    r.package("lme4")
    return r.call(r.source(_R)["formula_of"], text)


def check_variables(formula: Formula, columns: Sequence[str]) -> None:
    """Every variable of the formula is one of `columns`.

    Raises
    ------
    FormulaError : one is not; the message has the nearest name
    """
    lower: dict[str, str] = {}
    for column in columns:
        lower.setdefault(str(column).lower(), str(column))
    for name in formula.variables:
        if name not in columns:
            near = difflib.get_close_matches(name.lower(), lower, n=1)
            hint = f"did you mean {lower[near[0]]!r}?" if near else f"the columns are {', '.join(map(str, columns))}"
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
    offset = got["offset"] if len(got["offset"]) else None
    y = got["y"] if offset is None else got["y"] - offset
    factors = dict(zip(got["factors"] or (), map(tuple, got["levels"] or ()), strict=True))
    return Design(y, got["X"], tuple(got["X_columns"] or ()), terms, got["rows"].astype(int), offset, factors)
