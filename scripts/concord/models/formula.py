"""Formulas: lme4's notation, taken apart by R's own parser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from concord import r
from concord.models import algebra, dialects, grammar, syntax
from concord.models.dialects import Reading
from concord.models.syntax import FUNCTIONS, LONGEST, STRUCTURES, Formula, FormulaError, Node, RandomTerm, Tree

_R = Path(__file__).with_suffix(".R")
# What to do about what R's parser says.
_ADVICE = {
    "unexpected symbol": ": an operator is missing there, such as + or :; names with spaces stand in backticks",
    "unexpected numeric constant": ": an operator is missing there, such as +",
    "unexpected string constant": ": names stand without quotes, or in backticks",
    "unexpected end of input": ": a bracket is not closed, or something is missing after the last sign",
    "unexpected ','": ": terms are added, with +",
    "zero-length variable name": ": a name stands between backticks",
    "unexpected INCOMPLETE_STRING": ": a quote or a backtick is not closed",
    "expected response ~ terms": ", such as y ~ x + (1 | group), with one ~ between them, and no =",
    "expected one formula": ", such as y ~ x + (1 | group)",
}
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Found:
    """What R's parser finds in a text: why it is not a formula, or what the formula combines."""

    problem: str | None
    functions: list[str]
    variables: list[str]
    other: list[str]


@dataclass(frozen=True)
class _Random:
    """A random term as R has it: texts, trees (see `syntax.read`) and what its columns are by R's algebra."""

    columns: str
    group: str
    columns_tree: list[Any]
    group_tree: list[Any]
    intercept: bool
    terms: list[list[Any]]


@dataclass(frozen=True)
class _Parts:
    """A formula as lme4 takes it apart, in texts and trees."""

    response: str
    fixed: str
    response_tree: list[Any]
    fixed_tree: list[Any]
    intercept: bool
    terms: list[list[Any]]
    random: list[_Random]


@cache
def parse(text: str, weights: str | None = None) -> Formula:
    """Take an lme4 formula apart. What has another name in Python is read as lme4 has it, see `read`.

    Parameters
    ----------
    weights : the column of the rows' weights, which is one of the formula's variables too

    Raises
    ------
    FormulaError : it does not parse, has no random term, or calls something that a formula may not
    RError : R or lme4 is missing
    """
    parsed = _named(text, lambda: _parse(text))
    if weights is None:
        return parsed
    return replace(parsed, weights=weights, variables=tuple(dict.fromkeys([*parsed.variables, weights])))


def read(text: str, table: pd.DataFrame | None = None) -> Reading:
    """A formula as people type it, also in Python's notation, as lme4 has it.

    Parameters
    ----------
    table : the table that it is meant for, which tells factors from numbers

    Raises
    ------
    FormulaError : it does not parse, or calls something that is not read
    RError : R or lme4 is missing
    """
    return _named(text, lambda: _read(text, table))


def _named(text: str, work: Callable[[], Result]) -> Result:
    try:
        return work()
    except FormulaError as error:
        shown = text if len(text) <= 200 else text[:150] + " ..."
        raise FormulaError(f"formula {shown!r}: {error}") from error


def _read(text: str, table: pd.DataFrame | None) -> Reading:
    if len(text) > LONGEST:
        raise FormulaError(f"it is too long: {len(text)} characters, where {LONGEST} are enough for any model")
    typed = dialects.bracketed(text)
    parsed = _inventory(typed)
    if parsed.problem or parsed.other:
        _check_parsed(_inventory(text))
    tree = _tree(typed)
    reading = dialects.read(text, tree, table)
    return replace(reading, notes=(*reading.notes, *grammar.put_back(tree)))


def _inventory(text: str) -> _Found:
    r.package("lme4")
    return r.record(_Found, r.call(r.source(_R)["parse_formula"], text))


def _tree(text: str) -> Node:
    return syntax.read(r.from_r(r.call(r.source(_R)["tree_of"], text)))


def _parse(given: str) -> Formula:
    reading = _read(given, None)
    if reading.needs_table:
        raise FormulaError(f"{reading.notes[0]}: this takes a table, whose columns are made or ordered for it")
    text = reading.text
    parsed = _inventory(text)
    _check_parsed(parsed)
    whole = _tree(text)
    grammar.check(whole)
    algebra.check(whole)
    room = r.source(_R)
    try:
        parts = r.record(_Parts, r.call(room["parts"], text))
    except r.RError as error:
        raise FormulaError("lme4 cannot take it apart: write every random term as (columns | group)") from error
    if not parts.random:
        raise FormulaError("it has no random term, such as (1 | group)")
    kept, offsets = syntax.without_offsets(syntax.read(parts.fixed_tree))
    trees = tuple(
        syntax.RandomTree(
            syntax.read(term.columns_tree), syntax.read(term.group_tree), term.intercept, _terms(term.terms)
        )
        for term in parts.random
    )
    response = syntax.read(parts.response_tree)
    tree = Tree(response, kept or syntax.ONE, offsets, trees, parts.intercept, _terms(parts.terms))
    structures = grammar.structures(whole) or ("",) * len(trees)
    if not syntax.same_content(tree, whole) or len(structures) != len(trees):
        raise FormulaError("lme4 takes it apart into something else than what stands in it")
    random = tuple(
        RandomTerm(term.columns, term.group, structure)
        for term, structure in zip(parts.random, structures, strict=True)
    )
    algebra.check_random(tree, random)
    return Formula(
        text=text,
        response=parts.response,
        fixed=parts.fixed,
        random=random,
        variables=tuple(parsed.variables),
        functions=frozenset(parsed.functions) - STRUCTURES - syntax.HOMOGENEOUS.keys(),
        tree=tree,
        diagonal=grammar.diagonal(whole),
    )


def _terms(terms: list[list[Any]]) -> tuple[tuple[Node, ...], ...]:
    return tuple(tuple(map(syntax.read, factors)) for factors in terms)


def _check_parsed(parsed: _Found) -> None:
    """It is a formula, of functions that may stand in one.

    Raises
    ------
    FormulaError : it is not
    """
    if parsed.problem:
        if parsed.problem.startswith("it is "):
            raise FormulaError(parsed.problem)
        advice = next((what for key, what in _ADVICE.items() if key in parsed.problem), "")
        raise FormulaError(f"it does not parse: {parsed.problem}{advice}")
    if "weights" in parsed.functions:
        raise FormulaError(
            "weights may not stand in a formula: lmer takes prior weights in an argument of its own; name their column "
            'beside the formula, as weights="w" or --weights w'
        )
    if "interaction" in parsed.functions:
        raise FormulaError("interaction may not stand in a formula: write a:b for the combinations of a and b")
    for name in sorted(set(parsed.functions) & syntax.OTHER_STRUCTURES):
        raise FormulaError(
            f"{name} structures a random term's covariance matrix: neither MixedLM nor lme4 can express it; from "
            "version 2 on lme4 has cs and ar1, with hom = TRUE or FALSE"
        )
    for name in (*sorted(set(parsed.functions) - FUNCTIONS), *parsed.other):
        raise FormulaError(f"{name} may not stand in a formula{dialects.instead(name)}")
    if "." in parsed.variables:
        raise FormulaError("the dot, for all other columns, may not stand in a formula: write the columns out")


def expression(formula: Formula, structured: bool = False) -> Any:
    """The formula as an R object, made anew in a process that has not had it yet.

    Parameters
    ----------
    structured : with ``cs`` and ``ar1`` as lme4 2 reads them; else their terms are plain ones, of the same columns

    Raises
    ------
    RError : R is missing
    """
    return _expression(formula.text, structured)


@cache
def _expression(text: str, structured: bool) -> Any:
    r.package("lme4")
    return r.call(r.source(_R)["formula_of"], text, structured)
