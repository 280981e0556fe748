"""Formulas in Python's notation: R's trees written as patsy reads them, and what must be done to the table first.

patsy evaluates what stands in a formula as Python, so nothing of the given text is copied into it: operators and
functions come from a list, every name is either a plain identifier or quoted. What R computes from a whole column
(`scale`, `poly`) becomes a column of the table, because MixedLM evaluates a part of its formulas group by group and
because R computes it before it leaves out rows.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from concord.engines.engine import CannotExpress
from concord.models.algebra import as_it_stands
from concord.models.design import Design
from concord.models.syntax import ELEMENTWISE, PLAIN, Call, Name, Node, Text, Value, literal, options, variables

# The names by which translated formulas call functions: a column of that name would stand in their place.
CALLED = frozenset(["C", "I", "Q", "np", "Sum", "Helmert", "Poly"])
# The codings of factors, by R's names.
_CODINGS = {"contr.sum": "Sum", "contr.helmert": "Helmert", "contr.poly": "Poly"}


class Writer:
    """Writes trees in patsy's notation for one table.

    Attributes
    ----------
    steps : statements that make the needed columns in the table ``data``, in their order
    called : which functions of `CALLED` the written parts use
    """

    def __init__(self, design: Design, frame: pd.DataFrame, renamed: dict[str, str]) -> None:
        self.steps: list[str] = []
        self.called: set[str] = set()
        self._design, self._frame, self._renamed = design, frame, renamed
        self._made: dict[Node, list[str]] = {}
        self._taken = {str(name) for name in frame.columns} | set(renamed.values()) | CALLED

    # ---- names -----------------------------------------------------------------------------------------------------

    def column(self, name: str) -> str:
        """What the table calls a variable."""
        return self._renamed.get(name, name)

    def name(self, name: str) -> str:
        """A variable in a formula."""
        name = self.column(name)
        if PLAIN.fullmatch(name) and not keyword.iskeyword(name) and not _patsys_own(name):
            return name
        self.called.add("Q")
        return f"Q({name!r})"

    def in_table(self, name: str) -> str:
        """A variable in a statement about the table."""
        return f"data[{literal(self.column(name))}]"

    def new(self, wanted: str) -> str:
        """A name for a new column, in no one's way."""
        plain = re.sub(r"[^A-Za-z0-9]+", "_", wanted).strip("_") or "column"
        plain = plain if plain[0].isalpha() else f"column_{plain}"
        while plain in self._taken or keyword.iskeyword(plain):
            plain += "_"
        self._taken.add(plain)
        return plain

    # ---- terms -----------------------------------------------------------------------------------------------------

    def terms(self, node: Node, inside_power: bool = False, added: bool = True) -> str:
        """Terms, which operators combine by the rules of model formulas.

        Parameters
        ----------
        node : the terms in R
        inside_power : whether they are raised to a power
        added : whether they are only added and subtracted, as the intercept may be
        """
        if isinstance(node, Name):
            return self._variable(node)
        if isinstance(node, Value):
            if node.value not in (0.0, 1.0) or not added:
                raise CannotExpress("MixedLM", f"the number {node.value:g} in the place of a term")
            return f"{node.value:g}"
        assert isinstance(node, Call)
        function, arguments = node.function, node.arguments
        if function == "(":
            return f"({self.terms(arguments[0], inside_power, added)})"
        if function == "^":
            power = arguments[1]
            if not isinstance(power, Value) or power.value < 1 or power.value != int(power.value):
                raise CannotExpress("MixedLM", "a power of terms that is not a whole number")
            return f"{self.terms(arguments[0], True, False)}**{int(power.value)}"
        if function in ("+", "-") and len(arguments) == 1:
            return f"{function}{self.terms(arguments[0], inside_power, added)}"
        if function in ("+", "-", "*", "/", ":", "%in%"):
            space = "" if function in (":", "/", "%in%") else " "
            sign = ":" if function == "%in%" else function
            added = added and function in ("+", "-")
            return f"{space}{sign}{space}".join(self.terms(argument, inside_power, added) for argument in arguments)
        return self._function(node, inside_power)

    def right_side(self, node: Node, intercept: bool, terms: Sequence[Sequence[Node]]) -> str:
        """What is added up on a right-hand side: with its own operators where patsy reads them as R does, and else as
        the terms that it stands for.

        Parameters
        ----------
        node : the terms as they were written in R
        intercept, terms : what R's algebra makes of them
        """
        if as_it_stands(node):
            return self.terms(node)
        written = [":".join(map(self.terms, term)) for term in terms]
        return " + ".join([*([] if intercept and written else ["1" if intercept else "0"]), *written])

    def factor(self, node: Node) -> str:
        """One factor of a term, as it may stand beside ``:``."""
        return self.terms(node, inside_power=True) if _is_poly(node) else self.terms(node)

    def _variable(self, node: Name) -> str:
        """A variable as a term: factors in R's coding."""
        levels = self._design.factors.get(node.name)
        column = self._frame[node.name]
        if levels is None:
            return self.name(node.name)
        if isinstance(column.dtype, pd.CategoricalDtype):
            return self._coded(node, "Poly") if column.cat.ordered else self.name(node.name)
        if list(levels) == sorted(levels):
            return self.name(node.name)
        return self._coded(node, f"levels={list(levels)!r}")

    def _coded(self, node: Node, how: str = "") -> str:
        self.called |= {"C", how.partition(",")[0]} & CALLED
        return f"C({self.arithmetic(node)}{how and ', ' + how})"

    def _function(self, node: Call, inside_power: bool) -> str:
        function, first = node.function, node.arguments[0]
        if function in ("factor", "as.factor"):
            if isinstance(first, Name) and first.name in self._design.factors:
                written = self._variable(first)
                return written if written.startswith("C(") else self._coded(first)
            return self._coded(first)
        if function == "C":
            return self._contrasts(first, node.arguments[1])
        if function == "poly":
            columns = self.poly(node)
            if len(columns) == 1:
                return columns[0]
            # Several columns that are one factor of a term: in a power patsy would multiply them with each other.
            if inside_power:
                self.called.add("np")
                return f"np.column_stack([{', '.join(columns)}])"
            return f"({' + '.join(columns)})"
        if function == "scale":
            return self.name(self.scale(node))
        if function == "I" or (function == "log" and len(node.arguments) == 2):
            self.called.add("I")
            return f"I({self._number(first, self.name) if function == 'I' else self.arithmetic(node)[1:-1]})"
        return self.arithmetic(node)

    def _contrasts(self, variable: Node, contrasts: Node) -> str:
        """A factor in another coding than R's default, its levels in R's order."""
        variable = variable.arguments[0] if isinstance(variable, Call) else variable
        assert isinstance(variable, Name) and isinstance(contrasts, Text)
        coding, levels = _CODINGS[contrasts.text], self._design.factors.get(variable.name)
        categories = isinstance(self._frame[variable.name].dtype, pd.CategoricalDtype)
        sorted_ = levels is None or categories or list(levels) == sorted(levels)
        return self._coded(variable, coding if sorted_ else f"{coding}, levels={list(levels or ())!r}")

    # ---- arithmetic ------------------------------------------------------------------------------------------------

    def arithmetic(self, node: Node, name: Callable[[str], str] | None = None) -> str:
        """A calculation with columns.

        Parameters
        ----------
        node : the calculation in R
        name : how a variable is written: `name` in a formula, `in_table` in a statement
        """
        name = name or self.name
        if isinstance(node, Name):
            return name(node.name)
        if isinstance(node, Value):
            return _written(node.value)
        assert isinstance(node, Call)
        function, arguments = node.function, node.arguments
        if function in ELEMENTWISE and function != "I":
            self.called.add("np")
            numbers = [self._number(argument, name) for argument in arguments]
            bases = "".join(f" / np.log({number})" for number in numbers[1:])
            return f"np.{function}({numbers[0]}){bases}" if not bases else f"(np.log({numbers[0]}){bases})"
        if function == "I":
            return f"({self._number(arguments[0], name)})"
        if function == "(":
            return f"({self._number(arguments[0], name)})"
        if function == "scale":
            scaled = self.scale(node)
            return name(scaled)
        if function == "^":
            base, power = (self._number(argument, name) for argument in arguments)
            if self._exact(arguments):
                return f"{base}**{power}"
            self.called.add("np")
            return f"np.float_power({base}, {power})"
        if function in ("+", "-", "*", "/"):
            numbers = [self._number(argument, name) for argument in arguments]
            return f"{function}{numbers[0]}" if len(numbers) == 1 else f" {function} ".join(numbers)
        raise CannotExpress("MixedLM", f"{function} in the middle of a calculation")

    def _exact(self, arguments: Sequence[Node]) -> bool:
        """Whether numpy's power is R's, which is one of doubles: it neither overflows nor refuses a negative one."""
        base, power = arguments
        if not isinstance(power, Value) or not float(power.value).is_integer() or power.value < 0:
            return False
        if isinstance(base, Name) and pd.api.types.is_integer_dtype(self._frame.get(base.name)):
            return bool(float(self._frame[base.name].abs().max()) ** float(power.value) < 2**53)
        return not isinstance(base, Value)

    def _number(self, node: Node, name: Callable[[str], str]) -> str:
        """A calculation in which truth values count as 0 and 1, as in R."""
        written = self.arithmetic(node, name)
        if isinstance(node, Name) and node.name in self._frame and self._frame[node.name].dtype == bool:
            return f"(1 * {written})"
        return written

    # ---- columns of the table --------------------------------------------------------------------------------------

    def scale(self, node: Call) -> str:
        """The column that holds ``scale(x, center, scale)``."""
        if node in self._made:
            return self._made[node][0]
        chosen = {"center": True, "scale": True, **options(node)}
        column, source = self._source(node, "scale")
        center, scale = chosen["center"], chosen["scale"]
        if center is True:
            source_, spread = f"({source} - {source}.mean())", f"{source}.std()"
        else:
            source_ = source if center is False else f"({source} - {_double(center)})"
            # R's root mean square about what was subtracted, with n - 1 below the line.
            spread = f"np.sqrt(({source_}**2).sum() / ({source}.count() - 1))"
        if scale is not True:
            spread = "" if scale is False else _double(scale)
        value = f"{source_} / {spread}" if spread else source_.removeprefix("(").removesuffix(")")
        self.steps.append(f"data[{literal(column)}] = {value}")
        self._made[node] = [column]
        return column

    def poly(self, node: Call) -> list[str]:
        """The columns that hold ``poly(x, degree, raw)``, as they are written in a formula."""
        if node in self._made:
            return self._made[node]
        chosen = {"degree": 1.0, "raw": False, **options(node)}
        degree, first = int(chosen["degree"]), node.arguments[0]
        if chosen["raw"]:
            self.called.add("I")
            base = first if isinstance(first, Name) else Call("(", (first,), ("",))
            powers = [Call("^", (base, Value(float(power))), ("", "")) for power in range(2, degree + 1)]
            return [self.terms(Call("I", (term,), ("",))) for term in (base, *powers)]
        column, source = self._source(node, "poly")
        columns = [self.new(f"{column}_{power}") for power in range(1, degree + 1)]
        self.steps += [
            f"q, r = np.linalg.qr(np.vander({source} - {source}.mean(), {degree + 1}, increasing=True))",
            f"data[[{', '.join(map(literal, columns))}]] = (q * np.sign(np.diag(r)))[:, 1:]",
        ]
        self._made[node] = columns
        return columns

    def _source(self, node: Call, what: str) -> tuple[str, str]:
        """A name for what is made of a function's argument, and the argument as a column of the table."""
        argument = node.arguments[0]
        if isinstance(argument, Name):
            return self.new(f"{what}_{argument.name}"), self._number(argument, self.in_table)
        column = self.new(f"{what}_{'_'.join(variables(argument))}")
        self.steps.append(f"data[{literal(column)}] = {self._number(argument, self.in_table)}")
        return column, f"data[{literal(column)}]"


def _patsys_own(name: str) -> bool:
    """Whether patsy reads a name as something of its own: its intercept, or one of Python's numbers that are none."""
    return name == "Intercept" or name.lower() in ("nan", "inf", "infinity")


def _is_poly(node: Node) -> bool:
    return isinstance(node, Call) and node.function == "poly"


def _written(value: float | bool) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))


def _double(value: float | bool) -> str:
    return repr(float(value))


def rows_kept(design: Design, frame: pd.DataFrame, names: Sequence[str], column: Callable[[str], str]) -> list[str]:
    """Statements that leave the rows in the table ``data`` that the design has.

    Parameters
    ----------
    names : the formula's variables
    column : what the table calls them
    """
    steps = []
    if not frame.index.is_unique:
        steps.append("data = data.reset_index(drop=True)")
    if len(design.rows) == len(frame):
        return steps
    complete = frame[list(names)].notna().all(axis=1).to_numpy()
    if np.array_equal(np.flatnonzero(complete), design.rows):
        return [*steps, f"data = data.dropna(subset=[{', '.join(literal(column(name)) for name in names)}])"]
    left_out = sorted(set(range(len(frame))) - set(design.rows.tolist()))
    return [*steps, f"data = data.drop(index=data.index[{left_out}])"]
