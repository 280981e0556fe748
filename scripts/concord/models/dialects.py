"""What people of Python write in a formula, and some of what R's packages add, in lme4's notation.

What has a name in lme4's notation gets it: ``np.log(x)`` is ``log(x)``, ``C(x)`` is a factor. A baseline is an order of
the column's levels, which both languages then have from the table. What neither language has alike, such as a spline,
becomes columns of the table (`concord.models.computed`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from concord.models import computed
from concord.models.computed import Computed, Order
from concord.models.syntax import (
    CONTRASTS,
    ELEMENTWISE,
    HOMOGENEOUS,
    Call,
    FormulaError,
    Name,
    Node,
    Text,
    Value,
    walk,
    written,
)

# Where a part of a formula stands, as far as that matters to how it is read.
TERMS, POWER, APART, NUMBER, GROUP = "terms", "power", "apart", "number", "group"
_PACKAGES = re.compile(r"(?:np\.|numpy\.|math\.|patsy\.|splines::|stats::)(?=\w)")
# numpy's functions that R calls otherwise, or writes with an operator.
_NUMPY: dict[str, Callable[..., Node]] = {
    "absolute": lambda x: Call("abs", (x,), ("",)),
    "square": lambda x: _squared(x, Value(2.0)),
    "power": lambda x, power: _squared(x, power),
}
_CODINGS = {"treatment": "", "sum": "contr.sum", "helmert": "contr.helmert", "poly": "contr.poly"}
_TRUTH = {"True": True, "False": False}
# What is read beside lme4's own functions, for messages.
READ = "C, Q, np.log and numpy's like, center, standardize, bs, ns or cr of a column"
INSTEAD = {
    **dict.fromkeys(
        ("s", "te", "ti", "t2"), ": a smooth has a penalty, which is another model; write bs, ns or cr of a column"
    ),
    "cc": ": a cyclic spline has no like in R's own packages; write sin(2*pi*x/period) + cos(2*pi*x/period)",
    **dict.fromkeys(("cut", "qcut", "where", "ifelse"), ": make a column of it first, a factor in the table"),
    **dict.fromkeys(
        ("lag", "diff", "shift", "cumsum", "rank"), ": it follows the order of rows; make a column of it first"
    ),
    **dict.fromkeys(("==", "!=", ">", "<", ">=", "<="), ": make a column of it first"),
    **dict.fromkeys(("$", "@", "[["), ": a column stands there by its name alone, of the table that is given"),
    **dict.fromkeys(("!", "&", "&&", "||"), ": make a column of it first"),
    **dict.fromkeys(("cbind", "c"), ": several columns are no number; a model has one response, and terms are added"),
    "[": ": a column or factor stands there whole, without [...]",
    "{": ": Python within a formula stands in I(...)",
    **dict.fromkeys(("ordered", "category"), ": make it a factor in the table, or write C(x)"),
}
CODINGS = "C(x), C(x, Treatment('level')), C(x, Sum), C(x, Helmert), C(x, Poly) or C(x, levels=['a', 'b'])"


@dataclass(frozen=True)
class Reading:
    """A formula as it was typed, in lme4's notation.

    Attributes
    ----------
    text : the formula
    sources : the same formula of the columns that the computed ones are made of
    orders : by column in what order its levels are
    made : the columns that are computed
    notes : what was read as what, a sentence each
    """

    text: str
    sources: str
    orders: dict[str, Order]
    made: tuple[Computed, ...]
    notes: tuple[str, ...]

    @property
    def needs_table(self) -> bool:
        """Whether the formula is one of a table that has other columns, or other levels, than the one that is there."""
        return bool(self.made or self.orders)


def read(text: str, tree: Node, table: pd.DataFrame | None = None) -> Reading:
    """A formula in lme4's notation.

    Parameters
    ----------
    text, tree : as it was typed, and what R's parser makes of it
    table : the table that it is meant for, which tells factors from numbers; None where there is none

    Raises
    ------
    FormulaError : a call is not one of those that are read; the message says what to write
    """
    reader = _Reader(table)
    node = reader.read(tree, TERMS)
    if reader.notes and any(isinstance(part, Call) and part.function == "scale" for part in walk(tree)):
        reader.notes.append("scale(x) is R's, which divides by the deviation with n - 1; patsy's is standardize(x)")
    if node == tree:
        return Reading(text, text, {}, (), tuple(reader.notes))
    sources = written(_with_sources(node, tuple(reader.made.values())))
    return Reading(written(node), sources, reader.orders, tuple(reader.made.values()), tuple(reader.notes))


def instead(name: str) -> str:
    """What to write in the place of a function that is not read, to be put behind a message; empty for what is none."""
    if name not in INSTEAD and not re.fullmatch(r"[A-Za-z][\w.:]*", name):
        return ""
    return INSTEAD.get(re.split(r"[.:]", name)[-1], ": make a column of it first, or write " + READ)


def bracketed(text: str) -> str:
    """Python's lists as R's parser reads them: ``[1, 2]`` in the place of an argument is ``c(1, 2)``."""
    pattern = r"""("[^"]*"|'[^']*'|`[^`]*`)|([=(,]\s*)\[([^\[\]]*)\]"""
    return re.sub(pattern, lambda found: found[1] or f"{found[2]}c({found[3]})", text)


def _squared(x: Node, power: Node) -> Node:
    base = x if isinstance(x, Name) else Call("(", (x,), ("",))
    return Call("I", (Call("^", (base, power), ("", "")),), ("",))


def _with_sources(node: Node, made: tuple[Computed, ...]) -> Node:
    """The formula with every computed column replaced by what it is made of."""
    if isinstance(node, Name):
        source = next((one for one in made if node.name in one.columns), None)
        if source is None:
            return node
        factor = source.function in computed.FACTORS
        return Call("factor", (Name(source.source),), ("",)) if factor else Name(source.source)
    if isinstance(node, Call):
        return node._replace(arguments=tuple(_with_sources(argument, made) for argument in node.arguments))
    return node


class _Reader:
    """Reads one formula; what it finds is in `notes`, `orders` and `made`."""

    def __init__(self, table: pd.DataFrame | None) -> None:
        self.notes: list[str] = []
        self.orders: dict[str, Order] = {}
        self.made: dict[Node, Computed] = {}
        self._table = table

    def read(self, node: Node, where: str) -> Node:
        """A part of the formula in lme4's notation."""
        if isinstance(node, Name):
            pi = node.name in ("np.pi", "numpy.pi", "math.pi", "pi") and not self._has(node.name)
            return Value(math.pi) if pi and where == NUMBER else node
        if not isinstance(node, Call):
            return node
        function, said = _PACKAGES.sub("", node.function), len(self.notes)
        of_package = function != node.function
        if function in _RULES:
            made = _RULES[function](self, node._replace(function=function), where)
        elif of_package and function in _NUMPY:
            made = self._numpy(node, function)
        elif of_package and (function in ELEMENTWISE or function == "poly"):
            made = self._below(node._replace(function=function), where)
        else:
            return self._below(node, where)
        if made != node and len(self.notes) == said:
            self._say(f"{written(node)} is read as {_shown(made)}")
        return made

    def _below(self, node: Call, where: str) -> Call:
        """A call with its arguments read."""
        arguments = node.arguments
        if node.function == "~" and len(arguments) == 2:
            right = _without(self.read(arguments[1], TERMS), arguments[1])
            return node._replace(arguments=(self.read(arguments[0], NUMBER), right))
        if node.function in ("|", "||"):
            left = APART if node.function == "||" else TERMS
            return node._replace(arguments=(self.read(arguments[0], left), self.read(arguments[1], GROUP)))
        if node.function == "diag":
            return node._replace(arguments=tuple(self._apart(argument) for argument in arguments))
        if node.function == "^" and where in (TERMS, POWER, APART):
            if isinstance(arguments[0], Name) and (self._table is None or self._numeric(arguments[0].name)):
                x, power = written(arguments[0]), written(arguments[1])
                self._say(f"{x}^{power} is {x} itself, a power of terms; I({x}^{power}) is the power of the number")
            return node._replace(arguments=(self.read(arguments[0], POWER), arguments[1]))
        if node.function not in ("+", "-", "*", "/", ":", "(", "%in%", "us", *HOMOGENEOUS) and where != GROUP:
            where = NUMBER
        read = tuple(self.read(_truth(argument, name), where) for argument, name in _named(node))
        if node.function in HOMOGENEOUS:
            self._keep_order(read)
        if node.function == "+":
            read = tuple(_without(new, old) for new, old in zip(read, arguments, strict=True))
        return node._replace(arguments=read)

    def _apart(self, bar: Node) -> Node:
        if not isinstance(bar, Call) or bar.function != "|":
            return bar
        return bar._replace(arguments=(self.read(bar.arguments[0], APART), self.read(bar.arguments[1], GROUP)))

    # ---- names and numbers ------------------------------------------------------------------------------------------

    def quoted(self, node: Call, where: str) -> Node:
        name = node.arguments[0] if len(node.arguments) == 1 else None
        if not isinstance(name, Text):
            raise FormulaError(f'{written(node)}: Q takes the name of a column in quotes, as in Q("my column")')
        return Name(name.text)

    def _numpy(self, node: Call, function: str) -> Node:
        arguments = [self.read(argument, NUMBER) for argument in node.arguments]
        try:
            return _NUMPY[function](*arguments)
        except TypeError:
            raise FormulaError(
                f"{written(node)}: {function} takes other arguments; make a column of it first"
            ) from None

    def center(self, node: Call, where: str) -> Node:
        return self._scale(self._one(node), center=True, scale=False)

    def standardize(self, node: Call, where: str) -> Node:
        x = self._one(node._replace(arguments=node.arguments[:1], names=node.names[:1]))
        options = computed.options(node, {name: name for name in ("center", "rescale", "ddof")})
        ddof = options.pop("ddof", 0.0)
        if set(options.values()) - {True} or ddof not in (0.0, 1.0):
            raise FormulaError(
                f"{written(node)}: standardize takes ddof=0 or 1; write scale(x, center, scale) for others"
            )
        return self._scale(x) if ddof else self.computed(node, where)

    def _scale(self, x: Node, **options: bool) -> Node:
        chosen = {name: value for name, value in options.items() if not value}
        return Call("scale", (x, *map(Value, chosen.values())), ("", *chosen))

    def _one(self, node: Call) -> Node:
        if len(node.arguments) != 1 or node.names[0] not in ("", "x"):
            raise FormulaError(f"{written(node)}: {node.function} takes one number")
        return self.read(node.arguments[0], NUMBER)

    # ---- computed columns -------------------------------------------------------------------------------------------

    def computed(self, node: Call, where: str) -> Node:
        """The columns of a spline, added up."""
        node = (
            node._replace(arguments=(self.read(node.arguments[0], NUMBER), *node.arguments[1:]))
            if node.arguments
            else node
        )
        if node not in self.made:
            taken = [one.columns for one in self.made.values()]
            self.made[node] = computed.of(node, taken, () if self._table is None else self._table.columns)
        names = [Name(column) for column in self.made[node].columns]
        if len(names) == 1:
            return names[0]
        if where not in (TERMS, GROUP):
            place = {POWER: "in a power", APART: "beside ||, which has no correlations"}.get(where, "inside a function")
            raise FormulaError(
                f"{written(node)}, which is {len(names)} columns, may not stand {place}: write the terms out"
            )
        added: Node = names[0]
        for name in names[1:]:
            added = Call("+", (added, name), ("", ""))
        return Call("(", (added,), ("",))

    # ---- factors ----------------------------------------------------------------------------------------------------

    def factor(self, node: Call, where: str) -> Node:
        """``C(x, coding, levels)``."""
        if not node.arguments or any(name not in ("", "contr", "contrasts", "levels") for name in node.names[1:]):
            raise FormulaError(f"{written(node)}: write {CODINGS}")
        variable = self._variable(node)
        given = dict(zip((name or "contr" for name in node.names[1:]), node.arguments[1:], strict=True))
        contr, levels = given.get("contr", given.get("contrasts")), given.get("levels")
        if where == GROUP:
            return Call("factor", (variable,), ("",))
        if self._table is None and isinstance(contr, Text) and contr.text in CONTRASTS and levels is None:
            return node
        name, options = _coding(node, contr)
        order = Order(levels=_levels(levels)) if levels is not None else Order()
        if name == "" and options:
            order = order._replace(first=options[0])
        elif name == "contr.sum" and options:
            order = order._replace(last=options[0])
        elif options:
            raise FormulaError(f"{written(node)}: {name} takes no option here: write {CODINGS}")
        column = self._ordered(node, variable, order)
        if name:
            return Call("C", (column, Text(name)), ("", ""))
        return column

    def relevel(self, node: Call, where: str) -> Node:
        """``relevel(x, ref)``."""
        variable = self._variable(node)
        if len(node.arguments) != 2 or node.names[1] not in ("", "ref"):
            raise FormulaError(f"{written(node)}: write relevel(x, ref = 'level')")
        return self._ordered(node, variable, Order(first=_level(node, node.arguments[1])))

    def _variable(self, node: Call) -> Name:
        variable = self.read(node.arguments[0], NUMBER) if node.arguments else None
        if isinstance(variable, Call) and variable.function in ("factor", "as.factor") and len(variable.arguments) == 1:
            variable = variable.arguments[0]
        if not isinstance(variable, Name):
            raise FormulaError(f"{written(node)}: {node.function} takes a column: make one first")
        return variable

    def _ordered(self, node: Call, variable: Name, order: Order) -> Node:
        """A factor of a column whose levels have an order."""
        name = variable.name
        factor = Call("factor", (variable,), ("",))
        if self._numeric(name):
            if order == Order() or order == Order(first=self._lowest(name)):
                return factor
            truth = is_bool_dtype(self._table[name].dtype)  # type: ignore[index]
            copy = Call(computed.TRUTH if truth else computed.FACTOR, (variable,), ("",))
            column = self.computed(copy, NUMBER)
            assert isinstance(column, Name)
            name, factor = column.name, column  # type: ignore[assignment]
        elif self._has(name):
            factor = variable  # type: ignore[assignment]
            if order == Order() and not self._is_ordered(name):
                return factor
        elif order == Order():
            return factor
        if self.orders.setdefault(name, order) != order:
            raise FormulaError(f"{written(node)}: {name} has another order of levels elsewhere: one is for all")
        if order != Order():
            self._say(f"{name}: {order}, as {written(node)} says")
        return factor

    def _keep_order(self, parts: tuple[Node, ...]) -> None:
        """Refuse a baseline where the order of levels is part of the model."""
        names = {inner.name for part in parts for inner in walk(part) if isinstance(inner, Name)}
        for name in names & {name for name, order in self.orders.items() if order.first is not None}:
            raise FormulaError(f"a baseline of {name} would change the order of its levels in a structured term")

    # ---- the table --------------------------------------------------------------------------------------------------

    def _has(self, name: str) -> bool:
        return self._table is not None and name in self._table.columns

    def _numeric(self, name: str) -> bool:
        if not self._has(name):
            return False
        dtype = self._table[name].dtype  # type: ignore[index]
        return bool(is_numeric_dtype(dtype) or is_bool_dtype(dtype))

    def _lowest(self, name: str) -> Any:
        return self._table[name].min()  # type: ignore[index]

    def _is_ordered(self, name: str) -> bool:
        dtype = self._table[name].dtype  # type: ignore[index]
        return isinstance(dtype, pd.CategoricalDtype) and bool(dtype.ordered)

    def _say(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


_RULES: dict[str, Callable[[_Reader, Call, str], Node]] = {
    "Q": _Reader.quoted,
    "C": _Reader.factor,
    "relevel": _Reader.relevel,
    "center": _Reader.center,
    "standardize": _Reader.standardize,
    **dict.fromkeys(computed.SPLINES, _Reader.computed),
}


def _without(new: Node, old: Node) -> Node:
    """What is added up, without the parentheses that several columns came in."""
    several = isinstance(new, Call) and new.function == "(" and not (isinstance(old, Call) and old.function == "(")
    return new.arguments[0] if isinstance(new, Call) and several else new


def _named(node: Call) -> list[tuple[Node, str]]:
    return list(zip(node.arguments, node.names, strict=True))


def _truth(node: Node, name: str) -> Node:
    """``True`` of Python, where it is an option."""
    return Value(_TRUTH[node.name]) if name and isinstance(node, Name) and node.name in _TRUTH else node


def _shown(node: Node) -> str:
    text = written(node)
    return text[1:-1] if isinstance(node, Call) and node.function == "(" else text


def _coding(node: Call, contr: Node | None) -> tuple[str, list[Any]]:
    """R's name of a coding, empty for treatments, and its options."""
    if contr is None:
        return "", []
    called = contr.function if isinstance(contr, Call) else contr.name if isinstance(contr, Name) else ""
    called = contr.text if isinstance(contr, Text) else called
    key = _PACKAGES.sub("", called).removeprefix("contr.").lower()
    if key not in _CODINGS:
        raise FormulaError(f"{written(node)}: no such coding in both languages; write {CODINGS}")
    options = [_level(node, argument) for argument in contr.arguments] if isinstance(contr, Call) else []
    if len(options) > 1:
        raise FormulaError(f"{written(node)}: write {CODINGS}")
    return _CODINGS[key], options


def _level(node: Call, argument: Node) -> str | float | bool:
    value = computed.constant(argument)
    if isinstance(value, str | float | bool):
        return value
    raise FormulaError(f"{written(node)}: a level is a text in quotes or a number")


def _levels(node: Node) -> tuple[Any, ...]:
    value = computed.constant(node)
    if isinstance(value, tuple) and len(set(map(str, value))) == len(value):
        return value
    raise FormulaError(f"levels = {written(node)}: write all levels, each once, as in levels=['a', 'b']")
