"""What patsy reads, by its own parser and Python's, written as R has it; nothing is evaluated."""

from __future__ import annotations

import ast
import keyword
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from tokenize import TokenError
from typing import Any

from patsy import ModelDesc, PatsyError
from patsy.parse_formula import parse_formula

from concord.engines.calls import CallError
from concord.errors import first_line
from concord.models.syntax import ELEMENTWISE, LONGEST, PLAIN, quoted

# Functions of a column, by Python's names, as R calls them.
_SAME = {
    name: name.removeprefix("np.").removeprefix("numpy.")
    for prefix in ("np.", "numpy.")
    for name in (f"{prefix}{function}" for function in ELEMENTWISE - {"I"})
} | {"abs": "abs", "I": "I", "np.absolute": "abs"}
# What patsy takes from all rows that it is given: in a part that is evaluated per group, from the rows of a group.
# R's scale divides by the deviation with n - 1, and patsy's by that with n.
STATEFUL = {"center": "scale({}, scale = FALSE)", "standardize": "standardize({})", "scale": "standardize({})"}
_POWERS = {"np.power", "numpy.power", "pow"}
_SQUARES = {"np.square", "numpy.square"}
# Codings of factors, by Python's names, that have the same numbers in R.
_CODINGS = {"Sum": "contr.sum", "Helmert": "contr.helmert", "Poly": "contr.poly"}
# What becomes columns of the table, which patsy computes alike of a column and numbers.
SPLINES = ("bs", "cr")
# All functions that are on the list.
_CALLED = {*_SAME, *STATEFUL, *SPLINES, *_POWERS, *_SQUARES, "C", "Q", "Treatment", "Sum", "Helmert", "Poly", "Diff"}
_PI = ("np.pi", "numpy.pi")
_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "^"}
_BINDING = {"~": 0, "+": 1, "-": 1, "*": 2, "/": 2, ":": 3, "**": 5, "^": 5}


@dataclass(frozen=True)
class Factor:
    """One factor of a term.

    Attributes
    ----------
    code : as it is written in Python
    r : as R writes it
    column : the column that it is a factor of, where it is made one or a column alone
    categorical : whether it is made categories here; a column alone may be categories all the same
    coding : what else than treatment contrasts codes it, as it is written
    stateful : the function in it that takes something from all rows that it is given
    known : whether nothing else than known functions and columns stands in it
    """

    code: str
    r: str
    column: str | None
    categorical: bool
    coding: str
    stateful: str
    known: bool


@dataclass(frozen=True)
class Terms:
    """One side of a formula by patsy's algebra: whether there is an intercept, and the factors of every other term."""

    intercept: bool
    factors: tuple[tuple[Factor, ...], ...]

    @property
    def every(self) -> tuple[Factor, ...]:
        """All factors of all terms."""
        return tuple(factor for term in self.factors for factor in term)


def terms(text: str, left: bool = False) -> Terms:
    """The terms of a formula's right-hand side, or of its left one.

    Raises
    ------
    CallError : patsy or Python cannot read it
    """
    described = _read(text, ModelDesc.from_formula)
    found = [term.factors for term in (described.lhs_termlist if left else described.rhs_termlist)]
    return Terms(() in found, tuple(tuple(factor(one.code) for one in several) for several in found if several))


def in_r(text: str, levels: Collection[str] = ()) -> str:
    """A formula as R has it: ``y ~ terms``, or terms alone where it is one-sided.

    Parameters
    ----------
    levels : columns of numbers that stand for the levels of factors

    Raises
    ------
    CallError : patsy or Python cannot read it
    """
    sides = [_written(side, 0, levels) for side in _read(text, parse_formula).args]
    return " ~ ".join(sides)


def name_of(node: ast.expr) -> str | None:
    """The column that an expression is: ``x``, ``Q("x")``, or either made text or categories."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        if called in ("Q", "pd.Categorical", "str") and len(node.args) == 1:
            inner = node.args[0]
            return inner.value if isinstance(inner, ast.Constant) and isinstance(inner.value, str) else name_of(inner)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "astype":
            return name_of(node.func.value)
    return None


def factor(code: str) -> Factor:
    """One factor of a term, of its code.

    Raises
    ------
    CallError : it is no expression of Python
    """
    try:
        node = ast.parse(code.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError) as error:
        words = [word for word in re.findall(r"\w+", code) if keyword.iskeyword(word)]
        hint = f": {words[0]} is a word of Python's, write Q({words[0]!r})" if words else ""
        raise CallError(f"{code!r} in a formula does not parse{hint}") from error
    dotted = next((part for part in ast.walk(node) if isinstance(part, ast.Attribute)), None)
    if dotted is not None and isinstance(dotted.value, ast.Name) and _is_column(dotted, node):
        name = ast.unparse(dotted)
        raise CallError(f"{name} in a formula is an attribute to Python, and MixedLM stops: write Q({name!r})")
    column, categorical, coding = name_of(node), False, ""
    others: list[ast.expr] = []
    if column is not None and isinstance(node, ast.Call) and ast.unparse(node.func) != "Q":
        categorical = True  # .astype(str), .astype("category")
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "C" and node.args:
        column, categorical = name_of(node.args[0]), True
        others = [*node.args[1:], *(word.value for word in node.keywords if word.arg == "contrast")]
        coding = ", ".join(map(ast.unparse, others))
    writer = _Writer()
    written = writer.write(node)
    return Factor(code, written, column, categorical, coding, writer.stateful, _known(node))


def _is_column(dotted: ast.Attribute, node: ast.expr) -> bool:
    """Whether a name with a dot in it stands where a column does, and is no function that is called."""
    if ast.unparse(dotted.value) in ("np", "numpy", "math"):
        return False
    return not any(isinstance(part, ast.Call) and part.func is dotted for part in ast.walk(node))


class _Writer:
    """Writes an expression of Python as R has it."""

    def __init__(self) -> None:
        self.stateful = ""

    def write(self, node: ast.expr) -> str:
        name = name_of(node)
        if name is not None:
            made = isinstance(node, ast.Call) and ast.unparse(node.func) != "Q"
            return f"factor({quoted(name)})" if made else quoted(name)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return f"{node.value:.15g}"
        if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
            sign = _SIGNS[type(node.op)]
            sides = [self._operand(node.left, sign), self._operand(node.right, sign, right=True)]
            return f"{sides[0]}{sign}{sides[1]}" if sign == "^" else f"{sides[0]} {sign} {sides[1]}"
        if ast.unparse(node) in _PI:
            return f"{math.pi!r}"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return f"-{self._operand(node.operand, '*', right=True)}"
        return self._call(node) if isinstance(node, ast.Call) else self._other(node)

    def _operand(self, node: ast.expr, sign: str, right: bool = False) -> str:
        """One side of an operator, in parentheses where it binds no more tightly."""
        text = self.write(node)
        if isinstance(node, ast.UnaryOp):
            return f"({text})"
        if not isinstance(node, ast.BinOp):
            return text
        inner, outer = _BINDING[_SIGNS[type(node.op)]], _BINDING[sign]
        return f"({text})" if inner < outer or (inner == outer and (right or sign == "^")) else text

    def _call(self, node: ast.Call) -> str:
        called = ast.unparse(node.func)
        plain = len(node.args) == 1 and not node.keywords
        if called == "C" and node.args and (column := name_of(node.args[0])) is not None:
            coding = ast.unparse(node.args[1]) if len(node.args) == 2 and not node.keywords else ""
            written = f"factor({quoted(column)})"
            return f"C({written}, {_CODINGS[coding]})" if coding in _CODINGS else written
        if (called in _POWERS and len(node.args) == 2) or (called in _SQUARES and plain):
            power = node.args[1] if called in _POWERS else ast.Constant(2)
            return f"I({self.write(ast.BinOp(node.args[0], ast.Pow(), power))})"
        if plain and called in _SAME:
            return f"{_SAME[called]}({self.write(node.args[0])})"
        if called in SPLINES and node.args and _plain(node):
            self.stateful = called
            options = [f"{word.arg} = {ast.unparse(word.value)}" for word in node.keywords]
            return f"{called}({', '.join([self.write(node.args[0]), *map(ast.unparse, node.args[1:]), *options])})"
        if called in STATEFUL and plain:
            self.stateful = called
            return STATEFUL[called].format(self.write(node.args[0]))
        return self._other(node)

    def _other(self, node: ast.expr) -> str:
        """What is not known here is left to the formula's own check, which names it."""
        if isinstance(node, ast.Call):
            for called in ast.walk(node):
                if isinstance(called, ast.Call) and isinstance(called.func, ast.Name):
                    self.stateful = self.stateful or called.func.id
        return ast.unparse(node)


def _known(node: ast.expr) -> bool:
    """Whether nothing stands in an expression but columns, values, arithmetic and calls of functions on the list."""
    if isinstance(node, ast.Call):
        method = isinstance(node.func, ast.Attribute) and node.func.attr == "astype" and _known(node.func.value)
        listed = ast.unparse(node.func) in _CALLED or method
        return listed and all(map(_known, [*node.args, *(word.value for word in node.keywords)]))
    if isinstance(node, ast.BinOp):
        return type(node.op) in _SIGNS and _known(node.left) and _known(node.right)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and _known(node.operand)
    if isinstance(node, ast.List | ast.Tuple):
        return all(map(_known, node.elts))
    return isinstance(node, ast.Name | ast.Constant) or ast.unparse(node) in _PI


def _plain(node: ast.Call) -> bool:
    """Whether a call is of one column, and of numbers and truth values beside it."""
    rest = [*node.args[1:], *(word.value for word in node.keywords)]
    return isinstance(node.args[0], ast.Name) and all(
        isinstance(value, ast.Constant) and isinstance(value.value, int | float) for value in rest
    )


def _read(text: str, reader: Any) -> Any:
    if len(text) > LONGEST:
        raise CallError(f"the formula is too long: {len(text)} characters, where {LONGEST} are enough for any model")
    try:
        return reader(text)
    except (PatsyError, SyntaxError, RecursionError, AssertionError, TokenError) as error:
        reason = first_line(error)
        raise CallError(f"formula {text!r}: MixedLM's own reader of formulas refuses it: {reason}") from error


def _written(node: Any, outer: int, levels: Collection[str] = ()) -> str:
    """A tree of patsy's parser in R's notation."""
    if not node.args:
        text = node.token.extra
        if node.type in ("ZERO", "ONE", "NUMBER"):
            return str(text)
        one = factor(text)
        return f"factor({one.r})" if one.column in levels and not one.categorical else one.r
    binding = _BINDING[node.type]
    sign = "^" if node.type == "**" else node.type
    if len(node.args) == 1:
        text = f"{sign}{_written(node.args[0], binding + 1, levels)}"
    else:
        space = "" if sign in (":", "/", "^") else " "
        parts = (_written(node.args[0], binding, levels), _written(node.args[1], binding + 1, levels))
        text = f"{space}{sign}{space}".join(parts)
    return f"({text})" if binding < outer else text


def in_python(column: str) -> str:
    """A column's name as patsy reads it."""
    return column if PLAIN.fullmatch(column) else f"Q({column!r})"
