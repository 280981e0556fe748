"""Formulas: lme4's notation, taken apart by R's own parser."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from concord import r
from concord.models import syntax
from concord.models.syntax import FUNCTIONS, LONGEST, Formula, FormulaError, RandomTerm, Tree

_R = Path(__file__).with_suffix(".R")


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


def expression(formula: Formula) -> Any:
    """The formula as an R object, made anew in a process that has not had it yet.

    Raises
    ------
    RError : R is missing
    """
    return _expression(formula.text)


@cache
def _expression(text: str) -> Any:
    r.package("lme4")
    return r.call(r.source(_R)["formula_of"], text)
