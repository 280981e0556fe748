"""An lme4 formula as the tree that R's own parser made of it, and the tree as text.

A formula is data. Its functions are checked against a list before R evaluates any of it (`concord.models.grammar`), and
its tree is what other notations are written from, name by name, so that no text of a formula is ever taken for code.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from concord.errors import InputError
from concord.models.letters import alike
from concord.models.structure import taken_apart

# A formula may only combine variables with these.
OPERATORS = frozenset(["~", "+", "-", "*", "/", "^", ":", "(", "|", "||", "%in%"])
ELEMENTWISE = frozenset(
    "I log log2 log10 log1p exp expm1 sqrt abs sin cos tan sinh cosh tanh".split()  # called alike in R and numpy
)
# What a factor can be coded by, C(x, "contr.sum"), by R's name; beside treatments.
CONTRASTS = ("contr.sum", "contr.helmert", "contr.poly")
# Structures of a random term's covariance matrix, as lme4 2 writes them: (columns | group) and (columns || group).
STRUCTURES = frozenset(["us", "diag"])
# Those of lme4 2 that other versions cannot write: compound symmetry, and autoregressive of order 1. Whether all
# variances are the same is an option of either, and what it is by default.
HOMOGENEOUS = {"cs": False, "ar1": True}
# What else glmmTMB has.
OTHER_STRUCTURES = frozenset(["hetar1", "toep", "homdiag", "homcs", "ou", "gau", "rr"])
FUNCTIONS = (
    OPERATORS | ELEMENTWISE | STRUCTURES | HOMOGENEOUS.keys() | {"poly", "scale", "factor", "as.factor", "C", "offset"}
)
# A plain variable name that means the same in R and in Python's formulas.
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Longer than any formula that somebody wrote.
LONGEST = 5000

USAGE = {
    "poly": "poly takes a number, degree = a whole number, and raw = TRUE or FALSE",
    "scale": "scale takes a number, center and scale, each TRUE, FALSE or a number",
}


class FormulaError(InputError):
    """A formula that cannot be used; the message says what is wrong with which part of it."""


class Name(NamedTuple):
    """A variable."""

    name: str


class Value(NamedTuple):
    """A number or a truth value."""

    value: float | bool


@dataclass(frozen=True)
class Text:
    """A string."""

    text: str


class Call(NamedTuple):
    """A function or operator with its arguments and their names, empty where an argument has none."""

    function: str
    arguments: tuple[Node, ...]
    names: tuple[str, ...]


Node = Name | Value | Text | Call
ONE = Value(1.0)


class RandomTree(NamedTuple):
    """A random term: its columns as they were written and by R's algebra, and its grouping factor.

    Attributes
    ----------
    columns, group : the two sides of the bar
    intercept : whether a column of ones is among the columns
    terms : the others, each as the factors that it multiplies
    """

    columns: Node
    group: Node
    intercept: bool
    terms: tuple[tuple[Node, ...], ...]


class Tree(NamedTuple):
    """A formula in its parts.

    Attributes
    ----------
    response : the left-hand side
    fixed, offsets : the fixed part without its offsets, and these
    random : the random terms
    intercept, terms : of the fixed part by R's algebra, as `RandomTree` has them
    """

    response: Node
    fixed: Node
    offsets: tuple[Node, ...]
    random: tuple[RandomTree, ...]
    intercept: bool
    terms: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True)
class RandomTerm:
    """One random term ``(columns | group)``; the columns' effects are correlated with each other, as `structure` says
    where it is not empty: ``cs``, ``ar1``, or ``hom`` before these (see `DesignTerm`).
    """

    columns: str
    group: str
    structure: str = ""

    def __str__(self) -> str:
        if not self.structure:
            return f"({self.columns} | {self.group})"
        name, homogeneous = taken_apart(self.structure)
        option = "" if HOMOGENEOUS[name] == homogeneous else f", hom = {str(homogeneous).upper()}"
        return f"{name}({self.columns} | {self.group}{option})"


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
    diagonal : variables that must be numbers, for `syntax.diagonal`
    weights : the column of the rows' weights, which is named beside the formula; None where all weigh the same
    """

    text: str
    response: str
    fixed: str
    random: tuple[RandomTerm, ...]
    variables: tuple[str, ...]
    functions: frozenset[str]
    tree: Tree = field(repr=False, compare=False, hash=False)
    diagonal: tuple[str, ...] = ()
    weights: str | None = None

    @property
    def structured(self) -> str:
        """The random terms whose covariance matrices have a structure, as they are written; empty where none has."""
        return " + ".join(str(term) for term in self.random if term.structure)

    @property
    def of_fixed(self) -> set[str]:
        """The variables of the fixed part and of its offsets."""
        return {name for part in (self.tree.fixed, *self.tree.offsets) for name in variables(part)}

    @property
    def uses(self) -> dict[str, set[str]]:
        """What each variable is used for: ``response``, ``predictor``, ``group``, ``weight``."""
        tree = self.tree
        parts = [("response", tree.response), *(("predictor", part) for part in (tree.fixed, *tree.offsets))]
        parts += [part for term in tree.random for part in (("predictor", term.columns), ("group", term.group))]
        parts += [("weight", Name(self.weights))] if self.weights else []
        uses: dict[str, set[str]] = {name: set() for name in self.variables}
        for use, part in parts:
            for name in variables(part):
                uses[name].add(use)
        return uses

    def __str__(self) -> str:
        return self.text


def read(nested: list[Any]) -> Node:
    """The tree of what ``tree`` in formulas.R gave."""
    kind, content, *rest = nested[0][0], nested[1][0], *nested[2:]
    if kind == "name":
        return Name(content)
    if kind == "text":
        return Text(content)
    if kind == "truth":
        return Value(bool(content))
    if kind == "number":
        return Value(float(content))
    names, arguments = rest
    return Call(content, tuple(read(argument) for argument in arguments), tuple(name[0] for name in names))


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    yield node
    if isinstance(node, Call):
        for argument in node.arguments:
            yield from walk(argument)


def variables(node: Node) -> tuple[str, ...]:
    """The names of the variables in a tree, each once."""
    return tuple(dict.fromkeys(part.name for part in walk(node) if isinstance(part, Name)))


def options(node: Call) -> dict[str, float | bool]:
    """The arguments of a call of ``poly`` or ``scale`` beyond the first, by their full names.

    Raises
    ------
    FormulaError : they are others than these functions are known to take
    """
    known = {"poly": ["degree", "raw"], "scale": ["center", "scale"]}[node.function]
    chosen: dict[str, float | bool] = {}
    if not node.arguments or node.names[0] not in ("", "x"):
        raise FormulaError(USAGE[node.function])
    free = list(known)
    for name in node.names[1:]:
        if name in free:
            free.remove(name)
    for name, argument in zip(node.names[1:], node.arguments[1:], strict=True):
        key = name or (free.pop(0) if free else "")
        value = argument
        sign = 1.0
        if isinstance(value, Call) and value.function == "-" and len(value.arguments) == 1:
            value, sign = value.arguments[0], -1.0
        if key not in known or key in chosen or not isinstance(value, Value):
            raise FormulaError(USAGE[node.function])
        chosen[key] = value.value if isinstance(value.value, bool) else sign * value.value
    return chosen


def without_offsets(node: Node) -> tuple[Node | None, tuple[Node, ...]]:
    """A fixed part without its offsets, None where nothing is left, and the offsets."""
    if isinstance(node, Call):
        if node.function == "offset":
            return None, node.arguments
        if node.function == "(" or (node.function in ("+", "-") and node.arguments):
            parts = [without_offsets(argument) for argument in node.arguments]
            offsets = tuple(offset for _, own in parts for offset in own)
            if offsets:
                left = [part for part, _ in parts]
                if node.function == "-":
                    left[0] = left[0] or ONE
                kept = tuple(part for part in left if part is not None)
                if not kept:
                    return None, offsets
                if len(kept) == 1 and node.function == "+":
                    return kept[0], offsets
                return Call(node.function, kept, ("",) * len(kept)), offsets
    return node, ()


def same_content(parts: Tree, whole: Node) -> bool:
    """Whether the parts hold no variables and functions but those of the formula that was checked."""
    nodes = [parts.response, parts.fixed, *parts.offsets]
    nodes += [node for part in parts.random for node in (part.columns, part.group)]
    nodes += [node for part in (parts, *parts.random) for term in part.terms for node in term]
    parts_found, known = [part for node in nodes for part in walk(node)], list(walk(whole))
    names = {part.name for part in known if isinstance(part, Name)}
    functions = {part.function for part in known if isinstance(part, Call)} | {"+", "(", ":"}
    return all(
        part.name in names if isinstance(part, Name) else part.function in functions
        for part in parts_found
        if not isinstance(part, Value | Text)
    )


# Names that R reads as they stand.
_SYNTACTIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._")
_RESERVED = frozenset(
    "if else repeat while function for next break in TRUE FALSE NULL Inf NaN NA NA_integer_ NA_real_ NA_character_ "
    "NA_complex_".split()
)


def quoted(name: str) -> str:
    """A variable's name in R's notation, in backticks where it needs them."""
    plain = name and set(name) <= _SYNTACTIC and (name[0].isalpha() or name[0] == "." and not name[1:2].isdigit())
    if plain and name not in _RESERVED:
        return name
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def written(node: Node) -> str:
    """A tree in R's notation."""
    if isinstance(node, Name):
        return quoted(node.name)
    if isinstance(node, Text):
        return r_literal(node.text)
    if isinstance(node, Value):
        return str(node.value).upper() if isinstance(node.value, bool) else _number(node.value)
    arguments = [written(argument) for argument in node.arguments]
    if node.function == "(":
        return f"({arguments[0]})"
    if node.function in OPERATORS:
        if len(arguments) == 1:
            return f"{node.function}{arguments[0]}"
        space = "" if node.function in (":", "^", "/") else " "
        return f"{space}{node.function}{space}".join(arguments)
    named = [f"{name} = {argument}" if name else argument for name, argument in zip(node.names, arguments, strict=True)]
    return f"{node.function}({', '.join(named)})"


def _number(value: float) -> str:
    short = f"{value:.15g}"
    return short if float(short) == value else repr(value)


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
            hint = alike(name, columns) or hint
            raise FormulaError(f"formula {formula.text!r}: the data have no column {name!r}; {hint}")


def literal(text: str) -> str:
    """A string as Python code, in double quotes where nothing in it needs care."""
    return f'"{text}"' if text.isascii() and text.isprintable() and not set(text) & set('"\\') else repr(text)


def r_literal(text: str) -> str:
    """A string as R code."""
    return '"' + "".join("\\" + c if c in '"\\' else c if c.isprintable() else f"\\U{ord(c):08x}" for c in text) + '"'
