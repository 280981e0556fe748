"""The algebra of terms: what R would refuse in its own words, or expand without end, refused before R is asked."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

from concord.models.syntax import (
    ELEMENTWISE,
    Call,
    FormulaError,
    Node,
    RandomTerm,
    Tree,
    Value,
    variables,
    walk,
    written,
)

# More terms, or more numbers in their columns, than any model that somebody fits.
MOST_TERMS, MOST_NUMBERS = 1000, 50_000_000
MOST_POWER = 20
_ARITHMETIC = frozenset(["+", "-", "*", "/", "^"])
_CALCULATE = (ELEMENTWISE - {"I"}) | {"poly", "scale"}
_COMBINE = frozenset(["+", "-", "*", "/", "^", ":", "(", "%in%"])


def check(formula: Node) -> None:
    """The terms of a formula that stands as `grammar.check` has it are terms, and not too many.

    Raises
    ------
    FormulaError : a number stands where a term should; a power is none; there would be too many terms; the response
        has no column, or is its own predictor
    """
    assert isinstance(formula, Call)
    response, right = formula.arguments
    if not variables(response):
        raise FormulaError(f"the response {written(response)} has no column in it: write response ~ terms")
    for terms in _sums(right):
        _check_operands(terms, None)
    for part in walk(right):
        if isinstance(part, Call) and part.function == "||" and not variables(part.arguments[0]):
            group = written(part.arguments[1])
            raise FormulaError(
                f"({written(part)}): || takes apart an intercept and slopes, and no slope is there: write (1 | {group})"
            )
    for terms in _sums(right):
        if (count := _count(terms)) > MOST_TERMS:
            shown = "more than 10^12" if count > 1e12 else f"up to {count:.0f}"
            raise FormulaError(f"it stands for {shown} terms, where {MOST_TERMS} are enough: write out those meant")
    _check_response(response, right)


def check_random(tree: Tree, terms: tuple[RandomTerm, ...]) -> None:
    """Every random term has a column.

    Raises
    ------
    FormulaError : one has none
    """
    for part, term in zip(tree.random, terms, strict=True):
        if not part.intercept and not part.terms:
            raise FormulaError(
                f"random term {term} has no column, and so no effect: write (1 | {term.group}) for an intercept of "
                f"each group, (0 + x | {term.group}) for a slope alone, or leave it out"
            )


def check_size(tree: Tree, rows: int, levels: Mapping[str, int]) -> None:
    """The columns of the terms are not more than a machine can hold, by the fewest that they can be.

    Parameters
    ----------
    rows : of the table
    levels : of every factor among the columns, how many it has

    Raises
    ------
    FormulaError : they are more
    """
    for terms in (tree.terms, *(part.terms for part in tree.random)):
        counts = [
            math.prod(max(levels[name] - 1, 1) for node in term for name in variables(node) if name in levels)
            for term in terms
        ]
        if (columns := sum(counts)) * rows > MOST_NUMBERS:
            widest = terms[counts.index(max(counts))]
            raise FormulaError(
                f"its terms are {columns} columns or more of {rows} rows, {max(counts)} of them of "
                f"{':'.join(map(written, widest))}: more than can be held; take terms out"
            )


def check_calculated(tree: Tree, factors: Collection[str]) -> None:
    """Nothing is calculated with a factor.

    Parameters
    ----------
    factors : the columns that are no numbers

    Raises
    ------
    FormulaError : something is
    """
    for part in (tree.response, tree.fixed, *tree.offsets, *(random.columns for random in tree.random)):
        for call in walk(part):
            if not isinstance(call, Call):
                continue
            inside = [node for node in walk(call) if isinstance(node, Call) and node.function in _ARITHMETIC]
            calculates = call.function in _CALCULATE or call.function == "I" and inside
            factor = next((name for name in variables(call) if name in factors), None) if calculates else None
            if factor is not None:
                raise FormulaError(
                    f"{written(call)} is calculated of numbers, and {factor!r} is a factor: name a column of numbers"
                )


def _sums(node: Node) -> Iterator[Node]:
    """The parts of a right-hand side in which operators combine terms: the fixed part, and the columns of every random
    term; a random term in the fixed part counts for nothing.
    """
    yield node
    for part in walk(node):
        if isinstance(part, Call) and part.function in ("|", "||"):
            yield part.arguments[0]


def _check_operands(node: Node, within: Call | None) -> None:
    if isinstance(node, Value) and node.value not in (0.0, 1.0):
        if within is not None and within.function in ("*", "/"):
            shown = written(within)
            raise FormulaError(
                f"{shown}: {within.function} combines terms, and the number {node.value:g} is none; I({shown}) is what "
                "is calculated"
            )
        raise FormulaError(
            f"the number {node.value:g} is no term: 1 is the intercept, 0 leaves it out, and I(...) holds what is "
            "calculated, as in I(2 * x)"
        )
    if not isinstance(node, Call):
        return
    if node.function == "^":
        _check_operands(node.arguments[0], node)
        power = node.arguments[1]
        whole = isinstance(power, Value) and 1 <= power.value <= MOST_POWER and float(power.value).is_integer()
        if not whole:
            raise FormulaError(
                f"{written(node)}: a power of terms is a whole number from 1 to {MOST_POWER}, as in (a + b)^2; "
                f"I({written(node)}) is the power of a number"
            )
    elif node.function in _COMBINE:
        for argument in node.arguments:
            _check_operands(argument, node if node.function in ("*", "/", ":") else within)
    elif not variables(node):
        raise FormulaError(f"{written(node)} has no column in it: it is the same in every row")


def _count(node: Node) -> float:
    """How many terms operators make of others, at most."""
    if not isinstance(node, Call) or node.function not in _COMBINE:
        # A structure of a random term, and the term itself, are no terms of the fixed part.
        return 1.0
    counts = [_count(argument) for argument in node.arguments]
    if len(counts) == 1:
        return counts[0]
    one, other = counts
    if node.function in ("+", "-"):
        return one + (other if node.function == "+" else 0.0)
    if node.function == "*":
        count = one + other + one * other
    elif node.function == "^":
        power = node.arguments[1]
        assert isinstance(power, Value)
        count = _choices(one, power.value)
    else:
        count = one * other + (one if node.function == "/" else 0.0)
    return min(count, 2.0 ** min(len(_leaves(node)), 1000) - 1)


def _choices(count: float, most: float) -> float:
    """How many products of one to `most` of so many terms there are."""
    total, product = 0.0, 1.0
    for i in range(1, int(min(most, count)) + 1):
        product *= (count - i + 1) / i
        total += product
        if total > 1e15:
            break
    return total


def _leaves(node: Node) -> set[Node]:
    """The variables and calls that a tree of operators combines."""
    if isinstance(node, Call) and node.function in _COMBINE:
        kept = node.arguments[:1] if node.function == "^" else node.arguments
        return set().union(*map(_leaves, kept))
    return set() if isinstance(node, Value) else {node}


def _check_response(response: Node, right: Node) -> None:
    """Refuse a response that is among its predictors, as itself or with all that it is made of."""
    own, used = set(variables(response)), set(variables(right))
    if not own <= used and response not in set(walk(right)):
        return
    lone = len(own) == 1
    shown = repr(next(iter(own))) if lone else written(response)
    raise FormulaError(
        f"the response {shown} stands on the right-hand side too, in {_place(own, right)}: no column explains itself; "
        "take it out there"
    )


def _place(names: set[str], right: Node) -> str:
    """The smallest part of the right-hand side that a reader sees as one, with one of the names."""
    if isinstance(right, Call) and right.function in ("+", "-", "("):
        parts = [part for part in right.arguments if names & set(variables(part))]
        return _place(names, parts[0])
    shown = written(right).strip()
    return f"({shown})" if isinstance(right, Call) and right.function in ("|", "||") else shown


def as_it_stands(node: Node) -> bool:
    """Whether Python's formulas read terms as R does, written with the same operators: columns that are added and
    multiplied, and at most one 0, 1 or - 1 among what is added. Where anything is taken out, or the intercept comes
    and goes, the two differ, and the terms are written out.
    """
    numbers = 0
    while isinstance(node, Call) and node.function in ("+", "-") and len(node.arguments) == 2:
        sign, (node, last) = node.function, node.arguments
        if isinstance(last, Value) and (sign == "+" or last.value == 1.0):
            numbers += 1
        elif sign == "-" or not _multiplied(last):
            return False
    lone = isinstance(node, Value)
    return numbers + lone <= 1 and (lone or _multiplied(node))


def _multiplied(node: Node) -> bool:
    if isinstance(node, Value):
        return False
    if not isinstance(node, Call) or node.function not in _COMBINE:
        return True
    if node.function == "^":
        return _multiplied(node.arguments[0])
    known = node.function in ("*", "/", ":", "(") or (node.function == "+" and len(node.arguments) == 2)
    return known and all(map(_multiplied, node.arguments))
