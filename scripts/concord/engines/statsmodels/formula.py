"""What ``statsmodels.formula.api.mixedlm`` needs to fit the model of an lme4 formula.

MixedLM has one grouping factor, between whose groups nothing is correlated. Within a group it has one vector of
correlated effects (``re_formula``) and any number of variance components (``vc_formula``): effects that are
independent and of one variance each, evaluated by patsy in every group anew. So `groups` is the factor that all others
are nested in, and one constant group where there is none; effects that are correlated with each other can only be
those of that factor, and only once; every effect that stands alone is a variance component.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from concord.arrays import Integers
from concord.data.source import BESIDE
from concord.engines.engine import CannotExpress
from concord.engines.statsmodels import rank
from concord.engines.statsmodels.patsy import Writer, rows_kept
from concord.models.coding import same_groups
from concord.models.design import Design
from concord.models.nesting import outermost, within_groups
from concord.models.syntax import Call, Formula, Name, Node, RandomTree, literal, quoted, variables, written


@dataclass(frozen=True)
class MixedLMForm:
    """What ``statsmodels.formula.api.mixedlm`` needs.

    Attributes
    ----------
    fixed : the formula of response and fixed part
    group : the column that holds the groups; None for one group of all rows
    re_formula : the correlated random part; None where there are variance components only
    independent : whether the random effects are constrained to be uncorrelated (``free=``)
    vc_formula : the variance components by name
    setup : statements on a copy ``data`` of the table that must run before; none where it is fitted as it is
    left_out : the places of the columns of the fixed part that it is not given, because others make them up
    """

    fixed: str
    group: str | None
    re_formula: str | None
    independent: bool = False
    vc_formula: Mapping[str, str] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    left_out: tuple[int, ...] = ()

    def table(self, data: pd.DataFrame) -> pd.DataFrame:
        """The table that MixedLM is given: a copy on which `setup` has run; the table itself where there is none."""
        if not self.setup:
            return data
        # Written by `concord.engines.statsmodels.patsy` from the checked tree, and the same text as in the listing.
        room: dict[str, Any] = {"np": np, "data": data.copy()}
        exec("\n".join(self.setup), room)
        frame: pd.DataFrame = room["data"]
        return frame


def for_mixedlm(formula: Formula, design: Design, frame: pd.DataFrame, constrained: bool = True) -> MixedLMForm:
    """The formula in MixedLM's terms, for one table. Needs no R.

    Parameters
    ----------
    formula, design : the model; the design tells which factors are nested in which
    frame : the table
    constrained : whether uncorrelated effects of one factor are written as correlated ones that are held uncorrelated,
        with ``free=``; else as variance components

    Raises
    ------
    CannotExpress : MixedLM has no way to write it down; with the nearest formula that it has one for
    """
    if formula.structured:
        raise _structured(formula, design, frame)
    plan = _plan(formula, design, frame, constrained)
    renamed: dict[str, str] = {}
    while True:  # a column that has the name of a function in use gets another one, and all is written once more
        writer = Writer(design, frame, renamed)
        form = _write(formula, design, frame, plan, writer)
        hidden = writer.called.intersection(_names(frame)) - set(renamed)
        if not hidden:
            if not design.dropped:
                return form
            return replace(form, left_out=rank.left_out(form.fixed, form.table(frame), design))
        renamed |= {name: Writer(design, frame, renamed).new(f"{name}_") for name in sorted(hidden)}


def groups_and_block(formula: Formula, design: Design, frame: pd.DataFrame) -> tuple[Integers, int | None]:
    """Every row's group, shape (n,), and the number of the random term that is written as ``re_formula``.

    Raises
    ------
    CannotExpress : MixedLM has no way to write the model down
    """
    plan = _plan(formula, design, frame, True)
    codes = np.zeros(len(frame), dtype=int) if plan.top is None else design.terms[plan.top].codes
    return codes, plan.block


@dataclass(frozen=True)
class _Plan:
    """Which random terms go where, by their numbers."""

    top: int | None  # a term whose factor holds the groups
    block: int | None  # the term that is written as re_formula
    independent: bool


def _plan(formula: Formula, design: Design, frame: pd.DataFrame, constrained: bool) -> _Plan:
    terms = design.terms
    single = [len(term.names) == 1 for term in terms]
    _refuse_repetition(formula, design)
    if len(terms) == 1:
        return _Plan(0, 0, False)
    top = outermost(terms)
    on_top = [] if top is None else [i for i, term in enumerate(terms) if same_groups(term.codes, terms[top].codes)]
    if constrained and all(single) and len(on_top) == len(terms):
        return _Plan(0, None, True)
    correlated = [i for i, alone in enumerate(single) if not alone]
    possible = [i for i in correlated if i in on_top]
    if len(correlated) > 1 or len(possible) < len(correlated):
        apart = [i for i in correlated if i not in possible[:1]]
        nearest = _uncorrelated(formula, design, frame, apart)
        raise CannotExpress("MixedLM", _why(formula, correlated, possible, top), nearest, _lost(formula, frame, apart))
    if correlated:
        return _Plan(top, correlated[0], False)
    intercepts = [i for i in on_top if formula.tree.random[i].intercept]
    return _Plan(top, next(iter([*intercepts, *on_top]), None), False)


def _why(formula: Formula, correlated: list[int], possible: list[int], top: int | None) -> str:
    misplaced = [i for i in correlated if i not in possible]
    if not misplaced:
        shown = " + ".join(_term(formula, i) for i in correlated)
        return f"{shown}: it has one set of correlated effects, not several"
    group, which = formula.random[misplaced[0]].group, _term(formula, misplaced[0])
    if top is None:
        others = [term.group for term in formula.random if term.group != group]
        return f"{which}: correlated effects of a factor that is crossed with {' and '.join(dict.fromkeys(others))}"
    return f"{which}: correlated effects of a factor that is nested in {formula.random[top].group}"


def _refuse_repetition(formula: Formula, design: Design) -> None:
    """One effect may stand in one term only: of two of the same no data tell which is which."""
    twice: dict[int, tuple[str, bool]] = {}  # by term, an effect that an earlier one has; whether it has them all
    for i, later in enumerate(design.terms):
        for j, earlier in enumerate(design.terms[:i]):
            shared = [name for name in later.names if name in earlier.names]
            if shared and j not in twice and same_groups(earlier.codes, later.codes):
                twice[i] = shared[0], set(shared) == set(later.names)
    if twice:
        what, whole = next(iter(twice.items()))[1][0], all(covered for _, covered in twice.values())
        group = formula.random[next(iter(twice))].group
        everything = [_term(formula, i) for i in range(len(formula.random))]
        kept = [term for i, term in enumerate(everything) if i not in twice]
        raise CannotExpress(
            "MixedLM",
            f"{' + '.join(everything)}: the effect {what} of {group} twice",
            _formula(formula, kept) if whole else None,
            "nothing: of one effect twice no data tell the two variances apart",
        )


def _structured(formula: Formula, design: Design, frame: pd.DataFrame) -> CannotExpress:
    """That it has no structure of a covariance matrix, with the nearest formula without any."""
    what, lost = (
        f"{formula.structured}: it has no structure of a covariance matrix",
        f"the structure of {formula.structured}",
    )
    plain = replace(formula, random=tuple(replace(term, structure="") for term in formula.random))
    nearest: str | None = _formula(plain, [_term(plain, i) for i in range(len(plain.random))])
    try:
        _plan(plain, design, frame, constrained=True)
    except CannotExpress as further:
        nearest, lost = further.nearest, f"{lost}; {further.lost}"
    return CannotExpress("MixedLM", what, nearest, lost)


# ---- writing -------------------------------------------------------------------------------------------------------


def _write(formula: Formula, design: Design, frame: pd.DataFrame, plan: _Plan, writer: Writer) -> MixedLMForm:
    tree = formula.tree
    if tree.offsets:
        parts = [tree.response, *tree.offsets]
        writer.called.add("I")
        response = f"I({' - '.join(_operand(writer.arithmetic(part), part) for part in parts)})"
    elif isinstance(tree.response, Name):
        response = writer.name(tree.response.name)
    else:
        response = writer.terms(Call("I", (tree.response,), ("",)) if _is_sum(tree.response) else tree.response)
    fixed = f"{response} ~ {writer.right_side(tree.fixed, tree.intercept, tree.terms)}"
    groups: list[str] = []  # statements that need the final rows
    group = None if plan.top is None else _group(tree.random[plan.top], writer, groups)
    components: dict[str, str] = {}
    if plan.independent:
        slopes = [_slope(part, writer) for part in tree.random if not part.intercept]
        block: str | None = " + ".join(["1" if any(part.intercept for part in tree.random) else "0", *slopes])
    else:
        random = None if plan.block is None else tree.random[plan.block]
        block = None if random is None else writer.right_side(random.columns, random.intercept, random.terms)
        for i in range(len(tree.random)):
            if i != plan.block:
                name, component = _component(i, formula, design, frame, plan, writer, groups)
                while name in components:
                    name += "'"
                components[name] = component
    steps = _steps(formula, design, frame, writer) + groups
    return MixedLMForm(fixed, group, block, plan.independent, components, tuple(steps))


def _is_sum(node: Node) -> bool:
    return isinstance(node, Call) and node.function in ("+", "-", "*", "/", "^", "(", "scale")


def _operand(text: str, node: Node) -> str:
    return f"({text})" if isinstance(node, Call) and node.function in ("+", "-") else text


def _slope(tree: RandomTree, writer: Writer) -> str:
    """The one column of a term without intercept, or ``1``."""
    return ":".join(writer.factor(term) for term in tree.terms[0]) if tree.terms else "1"


def _component(
    i: int, formula: Formula, design: Design, frame: pd.DataFrame, plan: _Plan, writer: Writer, groups: list[str]
) -> tuple[str, str]:
    """One variance component: its name, and its formula within a group."""
    tree, term = formula.tree.random[i], design.terms[i]
    slope = _slope(tree, writer)
    name = term.group if slope == "1" else f"{term.group} {slope}"
    if plan.top is not None and same_groups(term.codes, design.terms[plan.top].codes):
        return name, slope if slope == "1" else f"0 + {slope}"
    outer = set() if plan.top is None else set(variables(formula.tree.random[plan.top].group))
    needed = _deciding(
        [variable for variable in variables(tree.group) if variable not in outer], i, design, frame, plan
    )
    sizes = [frame[variable].iloc[design.rows].nunique() for variable in needed]
    if len(needed) > 1 and np.prod(sizes, dtype=float) > 4 * len(term.levels):
        # Most combinations do not occur: a column of those that do, instead of a column for every one that might.
        factors = f"C({_combination(needed, writer, groups)})"
    else:
        factors = ":".join(_indicators(variable, frame, plan.top is not None, writer) for variable in needed)
    writer.called.add("C")
    return name, f"0 + {factors}" if slope == "1" else f"0 + {factors}:{slope}"


def _indicators(name: str, frame: pd.DataFrame, within: bool, writer: Writer) -> str:
    # Of a category patsy would make a column for every level in every group, most of them empty.
    inner = isinstance(frame[name].dtype, pd.CategoricalDtype) and within
    return f"C({writer.name(name)}{'.astype(object)' if inner else ''})"


def _deciding(names: list[str], i: int, design: Design, frame: pd.DataFrame, plan: _Plan) -> list[str]:
    """The fewest of a grouping factor's columns that tell its levels apart within the outermost group."""
    codes = {name: pd.factorize(frame[name].iloc[design.rows])[0] for name in names}
    outer = [] if plan.top is None else [design.terms[plan.top].codes]
    for name in names:
        if len(names) > 1 and within_groups(_joint([*outer, codes[name]]), design.terms[i].codes):
            return [name]
    return names


def _joint(codes: list[np.ndarray]) -> np.ndarray:
    return np.unique(np.column_stack(codes), axis=0, return_inverse=True)[1].ravel()


def _combination(names: list[str], writer: Writer, groups: list[str]) -> str:
    """A new column with a number for every combination of several columns' values."""
    columns = ", ".join(literal(writer.column(name)) for name in names)
    for step in groups:
        if f".groupby([{columns}]," in step:
            return step.split('"')[1]
    column = writer.new("_".join(names))
    groups.append(f'data["{column}"] = data.groupby([{columns}], observed=True).ngroup()')
    return column


def _group(tree: RandomTree, writer: Writer, groups: list[str]) -> str:
    names = variables(tree.group)
    return writer.column(names[0]) if len(names) == 1 else _combination(list(names), writer, groups)


def _names(frame: pd.DataFrame) -> list[str]:
    """The names of the columns of the table that was given: of the model's, and of those beside them."""
    return [*map(str, frame.columns), *sorted(frame.attrs.get(BESIDE, ()))]


def _steps(formula: Formula, design: Design, frame: pd.DataFrame, writer: Writer) -> list[str]:
    """What is done to the table first: names, computed columns, rows, levels; in this order, which is R's."""
    renamed = {name: writer.column(name) for name in _names(frame) if writer.column(name) != name}
    pairs = ", ".join(f"{literal(old)}: {literal(new)}" for old, new in renamed.items())
    steps = [f"data = data.rename(columns={{{pairs}}})"] if renamed else []
    steps += writer.steps
    steps += rows_kept(design, frame, formula.variables, writer.column)
    coded = set(variables(formula.tree.fixed))
    for part in formula.tree.random:
        coded |= set(variables(part.columns))
    for name in formula.variables:
        column = frame[name]
        levels = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else ()
        if name in coded and len(levels) > len(design.factors.get(name, levels)):
            here = writer.in_table(name)
            steps.append(f"{here} = {here}.cat.remove_unused_categories()")
    return steps


# ---- the nearest formula -------------------------------------------------------------------------------------------


def _formula(formula: Formula, random: list[str]) -> str:
    return f"{formula.response} ~ {formula.fixed} + {' + '.join(dict.fromkeys(random))}"


def _term(formula: Formula, i: int) -> str:
    tree = formula.tree.random[i]
    return f"({formula.random[i].columns} | {written(tree.group)})"


def _uncorrelated(formula: Formula, design: Design, frame: pd.DataFrame, which: list[int]) -> str | None:
    """The formula with these terms taken apart into single effects; a factor's effects into an interaction."""
    random: list[str] = []
    for i, tree in enumerate(formula.tree.random):
        if i not in which:
            random.append(_term(formula, i))
            continue
        grouped = written(tree.group)
        alone = [f"(1 | {grouped})"] if tree.intercept else []
        for factors in tree.terms:
            numbers = [factor for factor in factors if not _is_factor(factor, frame)]
            if any(isinstance(number, Call) and number.function == "poly" for number in numbers):
                return None
            names = [name for factor in factors if factor not in numbers for name in variables(factor)]
            group = ":".join([grouped, *map(quoted, names)])
            if names:
                outer = design.terms[i].codes
                codes = _joint([outer, *(pd.factorize(frame[name].iloc[design.rows])[0] for name in names)])
                alone = alone or [f"(1 | {grouped})"]
                if not numbers and len(np.unique(codes)) == len(codes):
                    continue  # one row each: that is the residual
            columns = f"0 + {':'.join(map(written, numbers))}" if numbers else "1"
            alone.append(f"({columns} | {group})")
        random += alone
    return _formula(formula, random)


def _lost(formula: Formula, frame: pd.DataFrame, apart: list[int]) -> str:
    """What the formula with these terms taken apart leaves out."""
    shown = " and ".join(_term(formula, i) for i in apart)
    factors = [node for i in apart for term in formula.tree.random[i].terms for node in term if _is_factor(node, frame)]
    levels = f"; the levels of {written(factors[0])} have one variance in common" if factors else ""
    return f"the correlations of the effects in {shown}, which are independent there{levels}"


def _is_factor(node: Node, frame: pd.DataFrame) -> bool:
    if isinstance(node, Name):
        dtype = frame[node.name].dtype
        return not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)
    return isinstance(node, Call) and node.function in ("factor", "as.factor", "C")
