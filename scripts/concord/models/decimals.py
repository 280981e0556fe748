"""The columns of a model as exact numbers: the decimals that a table prints, and not the doubles nearest to them.

4.51 in a file is 451 / 100, and no double. A certificate of 30 digits is one of the printed numbers (as NIST's
reference data sets have it), so the response and every column of X and Z are made anew from them: sums, products and
whole powers as fractions; contrasts of factors, ``poly``, ``scale``, logarithms and roots, where a number is no
fraction, as balls of Arb at the working precision.

Which formula a column follows is not guessed from its name: every column that the formula's variables and factors can
make is made, and the one that is R's column to the last digits of its doubles is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations, product

import numpy as np
import pandas as pd
from flint import arb, ctx, fmpq

from concord.arrays import Vector
from concord.data.delimited import printed
from concord.data.source import DECIMALS
from concord.models.design import Design
from concord.models.syntax import Call, Formula, Name, Node, Text, Tree, Value, options

# How far a column that was made may be from R's, relative to R's largest entry: what rounding leaves of it there.
ROUNDING = 1e-11
# How far two columns must be apart to be told from each other by R's doubles, in the same unit; see `Columns.of`.
APART = 2.0**-50
# Beyond this a whole number of the table may be another one as a double.
WHOLE = 2.0**53
# So many factors a product of columns may have.
DEEPEST = 4
# Bits beyond the working precision, for what is lost on the way.
GUARD = 64

Number = fmpq | arb
ExactColumn = list[Number | None]
"""A number a row of the table; None where it is missing."""

_ALGEBRA = frozenset(["+", "-", "*", "/", "^", ":", "(", "%in%"])


class InexactError(ArithmeticError):
    """A column of the model could not be made from the table's numbers; the message says which."""


@dataclass(frozen=True, eq=False)
class _Made:
    """A column as doubles in the design's rows, as exact numbers, and whether it stands in the table as it is."""

    doubles: Vector
    exact: ExactColumn
    plain: bool


class Columns:
    """The columns of one model in exact numbers.

    Parameters
    ----------
    formula, design : of the model
    frame : its table, which is taken as `source` says

    Attributes
    ----------
    source : ``decimals`` where every number of the formula's variables is a printed decimal or a whole number;
        ``doubles`` where the table has doubles of which no decimals are known, such as one from another program
    weights : of the design's rows; None where all weigh the same
    """

    multiplied: tuple[Number, ...] = ()

    def __init__(self, formula: Formula, frame: pd.DataFrame, design: Design) -> None:
        self._formula, self._frame, self._design = formula, frame, design.as_coded
        held = frozenset(frame.attrs.get(DECIMALS, ()))
        self._decimal = {name: name in held or _is_whole(frame[name]) for name in formula.variables}
        written = printed([repr(float(constant)) for constant in _constants(self._formula.tree)])
        self.source = "decimals" if all(self._decimal.values()) and written else "doubles"
        self._precision = -1
        self._made: list[_Made] = []
        self._variables: dict[str, ExactColumn] = {}
        self.weights: list[Number] | None = None
        if formula.weights is not None and design.weights is not None:
            self.weights = self._held(self._numbers(formula.weights), design.weights, formula.weights)

    def response(self) -> list[Number]:
        """The response less its offsets, a number a row of the design."""
        with _precise():
            values = self._evaluated(self._formula.tree.response)
            for offset in self._formula.tree.offsets:
                values = _each(lambda a, b: a - b, values, self._evaluated(offset))
            return self._held(values, self._design.y, self._formula.response)

    def of(self, column: Vector, name: str) -> list[Number]:
        """The exact column, a number a row of the design, of one of the design's; `name` is for the message.

        Raises
        ------
        InexactError : no product of the formula's variables and factors is that column; or several are, whose numbers
            differ by less than doubles tell
        """
        with _precise():
            if self._precision != ctx.prec:
                self._made, self._precision = list(self._products()), ctx.prec
            scale = np.abs(column).max(initial=0.0)
            gaps = np.array([np.abs(candidate.doubles - column).max(initial=0.0) for candidate in self._made])
            # A value as it stands in the table is the very double in R, too.
            gaps[[bool(candidate.plain and gap > 0) for candidate, gap in zip(self._made, gaps, strict=True)]] = np.inf
            best = int(np.nanargmin(gaps))
            if not gaps[best] <= ROUNDING * scale:
                raise InexactError(f"column {name} is no product of the formula's variables that is known here")
            column_held = self._held(self._made[best].exact, column, name)
            for k in np.flatnonzero(gaps <= gaps[best] + APART * scale):
                if not self._made[k].plain and not self._are(column_held, self._made[k].exact):
                    raise InexactError(f"column {name} is one of several that doubles do not tell apart")
            return column_held

    def _are(self, held: list[Number], values: ExactColumn) -> bool:
        """Whether a column is the same numbers in the design's rows, as far as the working precision tells."""
        others = (values[row] for row in self._design.rows)
        return all(
            other is not None
            and (
                a == other
                if isinstance(a, fmpq) and isinstance(other, fmpq)
                else bool((_ball(a) - _ball(other)).contains(0))
            )
            for a, other in zip(held, others, strict=True)
        )

    def _held(self, values: ExactColumn, doubles: Vector, name: str) -> list[Number]:
        """The values in the design's rows, once they are R's to rounding."""
        chosen = [values[row] for row in self._design.rows]
        if any(number is None for number in chosen):
            raise InexactError(f"{name} has no value in a row that R uses")
        gap = np.abs(
            np.array([float(number) if isinstance(number, arb) else _double(number) for number in chosen]) - doubles
        )
        if not gap.max(initial=0.0) <= ROUNDING * np.abs(doubles).max(initial=0.0):
            raise InexactError(f"{name} is not what R makes of it")
        return chosen

    # ---- products ---------------------------------------------------------------------------------------------------

    def _products(self) -> Iterator[_Made]:
        """Every column that the formula's leaves can make."""
        rows = self._design.rows
        leaves = list(dict.fromkeys(self._leaves()))
        columns = [self._columns(leaf) for leaf in leaves]
        yield _Made(np.ones(len(rows)), [fmpq(1)] * len(self._frame), True)
        for depth in range(1, min(DEEPEST, len(leaves)) + 1):
            for chosen in combinations(zip(leaves, columns, strict=True), depth):
                plain = depth == 1 and isinstance(chosen[0][0], Name) and chosen[0][0].name in self._variables
                for factors in product(*(number for _, number in chosen)):
                    column = factors[0]
                    for other in factors[1:]:
                        column = _each(lambda a, b: a * b, column, other)
                    yield _Made(np.array([_double(column[row]) for row in rows]), column, plain)

    def _leaves(self) -> Iterator[Node]:
        """The variables and calls of functions that the terms of fixed and random part multiply."""
        tree = self._formula.tree
        parts = [tree.fixed, *(part.columns for part in tree.random)]
        while parts:
            node = parts.pop()
            if isinstance(node, Call) and node.function in _ALGEBRA:
                parts += node.arguments
            elif not isinstance(node, Value):
                yield node

    def _columns(self, leaf: Node) -> list[ExactColumn]:
        """The columns that a variable or function can have in a model matrix, by any of R's codings."""
        if isinstance(leaf, Call) and leaf.function in ("factor", "as.factor"):
            return self._coded(leaf.arguments[0], "")
        if isinstance(leaf, Call) and leaf.function == "C":
            variable, contrasts = leaf.arguments
            assert isinstance(contrasts, Text)
            return self._coded(variable.arguments[0] if isinstance(variable, Call) else variable, contrasts.text)
        if isinstance(leaf, Name):
            values = self._frame[leaf.name]
            if leaf.name in self._design.factors or pd.api.types.is_bool_dtype(values):
                ordered = isinstance(values.dtype, pd.CategoricalDtype) and values.cat.ordered
                return self._coded(leaf, "contr.poly" if ordered else "")
        if isinstance(leaf, Call) and leaf.function == "poly":
            return self._polynomials(leaf)
        return [self._evaluated(leaf)]

    def _coded(self, leaf: Node, contrasts: str) -> list[ExactColumn]:
        """Indicators of every level; where a factor has other contrasts, by R's name, those as well."""
        assert isinstance(leaf, Name)
        values = self._frame[leaf.name]
        levels = self._design.factors.get(leaf.name) or tuple(sorted(values.dropna().unique()))
        texts = values.astype(object) if leaf.name not in self._design.factors else values.astype(str)
        columns: list[ExactColumn] = [
            [
                None if missing else fmpq(int(value == level))
                for value, missing in zip(texts, values.isna(), strict=True)
            ]
            for level in levels
        ]
        place = {level: k for k, level in enumerate(levels)}
        for contrast in _contrasts(contrasts, len(levels)):
            columns.append([contrast[place[text]] if text in place else None for text in texts])
        return columns

    def _polynomials(self, call: Call) -> list[ExactColumn]:
        chosen = options(call)
        values, degree = self._evaluated(call.arguments[0]), int(chosen.get("degree", 1))
        if chosen.get("raw", False):
            return [[None if value is None else value**k for value in values] for k in range(1, degree + 1)]
        kept = [value for value in values if value is not None]
        polynomials = []
        for column in _orthonormal(kept, degree):
            entries = iter(column)
            polynomials.append([None if value is None else next(entries) for value in values])
        return polynomials

    # ---- arithmetic -------------------------------------------------------------------------------------------------

    def _evaluated(self, node: Node) -> ExactColumn:
        """The exact value of an expression in every row of the table."""
        if isinstance(node, Name):
            if node.name not in self._variables:
                self._variables[node.name] = self._numbers(node.name)
            return self._variables[node.name]
        if isinstance(node, Value):
            return [_fraction(repr(float(node.value)))] * len(self._frame)
        assert isinstance(node, Call)
        if node.function == "scale":
            return _scaled(self._evaluated(node.arguments[0]), options(node))
        if node.function == "poly":
            return self._polynomials(node)[0]
        arguments = [self._evaluated(argument) for argument in node.arguments]
        if node.function in ("(", "I"):
            return arguments[0]
        function = _FUNCTIONS.get((node.function, len(arguments)))
        if function is None:
            raise InexactError(f"{node.function} has no exact value here")
        return _each(function, *arguments)

    def _numbers(self, name: str) -> ExactColumn:
        values = self._frame[name]
        missing = values.isna()
        as_fraction = (lambda number: _fraction(repr(float(number)))) if self._decimal[name] else _exactly
        return [None if gone else as_fraction(number) for number, gone in zip(values, missing, strict=True)]


class Doubles:
    """The columns of a design as the doubles that they are, taken exactly; of rows that were multiplied, `multiplied`
    are the weights.
    """

    source, weights = "doubles", None

    def __init__(self, design: Design) -> None:
        self._design = design
        self.multiplied = [] if design.weights is None else [_exactly(weight) for weight in design.weights]

    def response(self) -> list[Number]:
        """The response, a number a row."""
        return [_exactly(number) for number in self._design.y]

    def of(self, column: Vector, name: str) -> list[Number]:
        """The column, a number a row."""
        return [_exactly(number) for number in column]


class _precise:
    """With so many more bits than the working precision, that what comes out has all of its own."""

    def __enter__(self) -> None:
        self._kept = ctx.prec
        ctx.prec += GUARD

    def __exit__(self, *_: object) -> None:
        ctx.prec = self._kept


def _is_whole(values: pd.Series) -> bool:
    """Whether a column has no numbers, or whole ones only that are doubles."""
    if not pd.api.types.is_float_dtype(values):
        return True
    kept = values.dropna()
    return bool((kept % 1 == 0).all() and (kept.abs() < WHOLE).all())


def _constants(tree: Tree) -> Iterator[float]:
    """The numbers that stand in a formula."""
    nodes = [tree.response, tree.fixed, *tree.offsets, *(part.columns for part in tree.random)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Value):
            yield node.value
        nodes += getattr(node, "arguments", ())


def _fraction(text: str) -> fmpq:
    return fmpq(*Decimal(text).as_integer_ratio())


def _exactly(value: float) -> fmpq:
    return fmpq(*float(value).as_integer_ratio())


def _double(value: Number | None) -> float:
    if value is None:
        return float("nan")
    return float(value) if isinstance(value, arb) else int(value.p) / int(value.q)


def _each(function: Callable[..., Number], *columns: ExactColumn) -> ExactColumn:
    """A function of the numbers of every row; missing where one is, and where it has no value."""
    computed: ExactColumn = []
    for row in zip(*columns, strict=True):
        try:
            computed.append(None if any(number is None for number in row) else function(*row))
        except (ZeroDivisionError, ValueError):
            computed.append(None)
    return computed


def _ball(value: Number) -> arb:
    return value if isinstance(value, arb) else arb(value)


def _power(a: Number, b: Number) -> Number:
    if isinstance(b, fmpq) and b.q == 1:
        return a ** int(b.p)
    return _ball(a) ** _ball(b)


def _log(value: Number) -> Number:
    return fmpq(0) if value == 1 else _ball(value).log()


def _exp(value: Number) -> Number:
    return fmpq(1) if value == 0 else _ball(value).exp()


def _root(value: Number) -> Number:
    if isinstance(value, fmpq) and value >= 0:
        p, q = (_whole_root(int(part)) for part in (value.p, value.q))
        if p is not None and q is not None:
            return fmpq(p, q)
    return _ball(value).sqrt()


def _whole_root(value: int) -> int | None:
    root = math.isqrt(value)
    return root if root * root == value else None


def _of_ball(name: str) -> Callable[[Number], Number]:
    return lambda a: getattr(_ball(a), name)()


_FUNCTIONS: dict[tuple[str, int], Callable[..., Number]] = {
    ("+", 1): lambda a: a,
    ("-", 1): lambda a: -a,
    ("+", 2): lambda a, b: a + b,
    ("-", 2): lambda a, b: a - b,
    ("*", 2): lambda a, b: a * b,
    ("/", 2): lambda a, b: a / b,
    ("^", 2): _power,
    ("abs", 1): abs,
    ("log", 1): _log,
    ("log", 2): lambda a, b: _log(a) / _log(b),
    ("log2", 1): lambda a: _log(a) / arb(2).log(),
    ("log10", 1): lambda a: _log(a) / arb(10).log(),
    ("log1p", 1): lambda a: _log(1 + a),
    ("exp", 1): _exp,
    ("expm1", 1): lambda a: _exp(a) - 1,
    ("sqrt", 1): _root,
    **{(name, 1): _of_ball(name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
}


def _contrasts(name: str, count: int) -> Sequence[Sequence[Number | None]]:
    """R's contrasts of so many levels, a column each; none for treatments, whose columns are indicators."""
    levels, columns = range(count), range(count - 1)
    if name == "contr.poly":
        return _orthonormal([fmpq(k + 1) for k in levels], count - 1)
    if name == "contr.sum":
        return [[fmpq(int(k == j) - int(k == count - 1)) for k in levels] for j in columns]
    if name == "contr.helmert":
        return [[fmpq(-1 if k <= j else (j + 1) * int(k == j + 1)) for k in levels] for j in columns]
    return []


def _scaled(values: ExactColumn, chosen: dict[str, float | bool]) -> ExactColumn:
    """R's ``scale``: less the mean, over the standard deviation; both of the values that are there."""
    kept = [value for value in values if value is not None]
    center, spread = chosen.get("center", True), chosen.get("scale", True)
    if center is True:
        mean = sum(kept[1:], kept[0]) / len(kept)
    else:
        mean = fmpq(0) if center is False else _fraction(repr(float(center)))
    moved = [None if value is None else value - mean for value in values]
    if spread is False:
        return moved
    if spread is True:
        squares = [value * value for value in moved if value is not None]
        size: Number = _root(sum(squares[1:], squares[0]) / (len(kept) - 1))
    else:
        size = _fraction(repr(float(spread)))
    return [None if value is None else value / size for value in moved]


def _orthonormal(points: Sequence[Number], degree: int) -> list[list[Number]]:
    """Polynomials of degree 1 to `degree` at the points, orthogonal to each other and to 1 and of length one; the
    leading coefficient is positive, as R's ``poly`` and ``contr.poly`` have it.

    Monic ones by their three-term recurrence (Forsythe 1957, Journal of the SIAM 5(2), 74-88), exact for fractions.
    """
    before: list[Number] = [fmpq(0)] * len(points)
    last: list[Number] = [fmpq(1)] * len(points)
    norm_before: Number = fmpq(1)
    columns = []
    for k in range(degree + 1):
        squares = [value * value for value in last]
        norm = sum(squares[1:], squares[0])
        if k:
            length = _root(norm)
            columns.append([value / length for value in last])
        moved = [square * point for square, point in zip(squares, points, strict=True)]
        alpha = sum(moved[1:], moved[0]) / norm
        beta = norm / norm_before if k else fmpq(0)
        new = [(x - alpha) * a - beta * b for x, a, b in zip(points, last, before, strict=True)]
        before, last, norm_before = last, new, norm
    return columns
