"""Columns that a table gets before a model is fitted, because no formula of both languages can make them: computed
once, by statements that stand in the listing of either language; and the order of a factor's levels.

The statements of Python are what Concord itself runs. Those of R give the same numbers to the last digits:
`splines::bs` and `splines::ns` have their own; patsy's ``cr`` is the natural cubic spline through each knot, R's
`splinefun`; and ``standardize`` divides by the standard deviation with n, where `scale` has n - 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy  # its rooms load when they are first asked for: few tables have splines

from concord.data import columns
from concord.data.columns import LEVELS, PreparationError, level_name
from concord.models.syntax import Call, FormulaError, Name, Node, Text, Value, literal, r_literal, written

FACTOR, TRUTH = FACTORS = ("factor of", "truth of")
# More columns than this are no spline of a mixed model.
MOST = 50

Options = dict[str, Any]


class Order(NamedTuple):
    """The order of a factor's levels: which is the first, the baseline; which the last; or all of them."""

    first: str | float | bool | None = None
    last: str | float | bool | None = None
    levels: tuple[Any, ...] | None = None

    def __str__(self) -> str:
        if self.levels is not None:
            return f"the levels are {', '.join(map(_shown, self.levels))}, the first the baseline"
        if self.first is not None:
            return f"the baseline is {_shown(self.first)}"
        return f"the last level is {_shown(self.last)}"

    def of(self, name: str, levels: list[str]) -> list[str]:
        """The levels in this order.

        Raises
        ------
        PreparationError : a level is not among them
        """
        chosen = self.levels if self.levels is not None else [one for one in (self.first, self.last) if one is not None]
        named = [_level(name, one, levels) for one in chosen]
        if self.levels is not None:
            if left := [level for level in levels if level not in named]:
                raise PreparationError(f"factor {name!r} has a level {left[0]!r} that the formula does not list")
            return named
        rest = [level for level in levels if level not in named]
        return rest + named if self.first is None else named + rest


@dataclass(frozen=True)
class Computed:
    """Columns that are computed of another one.

    Attributes
    ----------
    columns : their names
    function, source : what of which column
    options : of the function, by patsy's names
    """

    columns: tuple[str, ...]
    function: str
    source: str
    options: tuple[tuple[str, Any], ...] = ()

    def python(self, table: str) -> list[str]:
        """The statements that make them in the table of this name."""
        x = f"{table}[{literal(self.source)}]"
        names = ", ".join(map(literal, self.columns))
        target = f"{table}[{names}]" if len(self.columns) == 1 else f"{table}[[{names}]]"
        *before, value = _PYTHON[self.function](x, dict(self.options))
        return [*before, f"{target} = {value}"]

    def r(self, table: str) -> list[str]:
        """The same statements in R."""
        x = f"{table}[[{r_literal(self.source)}]]"
        names = ", ".join(map(r_literal, self.columns))
        target = f"{table}[[{names}]]" if len(self.columns) == 1 else f"{table}[c({names})]"
        *before, value = _R[self.function](x, dict(self.options))
        return [*before, f"{target} <- {value}"]

    @property
    def imports(self) -> tuple[str, ...]:
        """What the statements of Python need."""
        natural = ("import numpy as np", "from scipy.interpolate import BSpline")
        return {"ns": natural, "bs": ("import patsy",), "cr": ("import patsy",)}.get(self.function, ())

    def __str__(self) -> str:
        given = ", ".join([self.source, *(f"{name}={_python(value)}" for name, value in self.options)])
        return f"{self.function}({given})"


# ---- a call as it was typed ----------------------------------------------------------------------------------------

_ALIASES = {
    "standardize": {},
    "bs": {
        "df": "df",
        "knots": "knots",
        "degree": "degree",
        "include_intercept": "include_intercept",
        "intercept": "include_intercept",
        "lower_bound": "lower_bound",
        "upper_bound": "upper_bound",
        "Boundary.knots": "bounds",
    },
    "cr": {name: name for name in ("df", "knots", "lower_bound", "upper_bound", "constraints")},
}
_ALIASES["ns"] = {name: option for name, option in _ALIASES["bs"].items() if name != "degree"}
SPLINES = ("bs", "ns", "cr")
_USAGE = {
    "bs": "bs(x, df = 4), with knots, degree, intercept and Boundary.knots as numbers",
    "ns": "ns(x, df = 3), with knots, intercept and Boundary.knots as numbers",
    "cr": 'cr(x, df=4), with knots, lower_bound and upper_bound as numbers, and constraints="center"',
}


def constant(node: Node) -> Any:
    """A text, a number, a truth value, None, or a tuple of these; an ellipsis where a part is none of them."""
    if isinstance(node, Text):
        return node.text
    if isinstance(node, Value):
        return node.value
    if isinstance(node, Name):
        return {"True": True, "False": False, "None": None, "NULL": None}.get(node.name, ...)
    value = constant(node.arguments[0]) if node.arguments else ...
    if node.function == "-" and len(node.arguments) == 1:
        return -value if isinstance(value, float) else ...
    if node.function == "c" and not any(node.names):
        values = tuple(map(constant, node.arguments))
        return ... if ... in values else values
    return ...


def options(node: Call, aliases: Mapping[str, str]) -> Options:
    """The arguments of a call beyond the first, by one name for both languages.

    Raises
    ------
    FormulaError : it has others
    """
    usage = FormulaError(f"{written(node)}: write {_USAGE.get(node.function, f'{node.function}(x)')}")
    free, chosen = iter(aliases), {}
    for name, argument in zip(node.names[1:], node.arguments[1:], strict=True):
        option, value = aliases.get(name or next(free, "")), constant(argument)
        if option is None or value is ... or option in chosen:
            raise usage
        if value is not None:
            chosen[option] = value
    return chosen


def of(node: Call, taken: Iterable[tuple[str, ...]], existing: Collection[str]) -> Computed:
    """What a call computes, with names for its columns.

    Parameters
    ----------
    taken : the columns of calls that were read before
    existing : the columns of the table

    Raises
    ------
    FormulaError : it takes no such arguments, or the table has a column of that name
    """
    source, function = node.arguments[0] if node.arguments else None, node.function
    if not isinstance(source, Name):
        raise FormulaError(f"{written(node)}: {function} takes a column: make one of its argument first")
    chosen = {} if function in (*FACTORS, "standardize") else options(node, _ALIASES[function])
    if "bounds" in chosen:
        chosen["lower_bound"], chosen["upper_bound"] = _pair(node, chosen.pop("bounds"))
    count = 1 if function in (*FACTORS, "standardize") else _count(node, chosen)
    stem = re.sub(r"[^A-Za-z0-9]+", "_", source.name).strip("_") or "column"
    stem = f"{stem if stem[0].isalpha() else f'x{stem}'}_factor" if function in FACTORS else f"{function}_{stem}"
    before = sum(columns_[0].startswith(stem) for columns_ in taken)  # the same function of the same column
    stem = f"{stem}_{'abcdefghijklmnopqrstuvwxyz'[before % 26]}" if before else stem
    names = (stem,) if count == 1 else tuple(f"{stem}_{number}" for number in range(1, count + 1))
    if hidden := [name for name in names if name in existing]:
        raise FormulaError(f"{written(node)} would make a column {hidden[0]!r}, which there is: rename that one")
    return Computed(names, function, source.name, tuple(chosen.items()))


def _count(node: Call, chosen: Options) -> int:
    """How many columns a spline has."""
    if "knots" in chosen and not isinstance(chosen["knots"], tuple):
        chosen["knots"] = (chosen["knots"],)
    knots, df = chosen.get("knots", ()), chosen.get("df")
    degree: Any
    degree, intercept = chosen.get("degree", 3.0), bool(chosen.get("include_intercept", False))
    least = {"bs": degree + intercept, "ns": 1 + intercept, "cr": 2 - ("constraints" in chosen)}[node.function]
    numbers = [value for name, value in chosen.items() if name not in ("knots", "include_intercept", "constraints")]
    whole = all(isinstance(value, float) for value in (*numbers, *knots)) and float(degree).is_integer()
    known = chosen.get("constraints", "center") == "center" and isinstance(chosen.get("include_intercept", True), bool)
    of_knots = least + len(knots)
    count = of_knots if df is None and (knots or node.function == "bs") else df
    fits = isinstance(count, float | int) and least <= count <= MOST and count == int(count)
    if count is None or not (whole and known and fits) or (knots and count != of_knots) or degree < 1:
        raise FormulaError(f"{written(node)}: write {_USAGE[node.function]}")
    if not knots:
        chosen["df"] = float(count)
    return int(count)


def _pair(node: Call, bounds: Any) -> tuple[float, float]:
    if not isinstance(bounds, tuple) or len(bounds) != 2:
        raise FormulaError(f"{written(node)}: write {_USAGE[node.function]}")
    return bounds


# ---- each function in both languages -------------------------------------------------------------------------------


def _call(function: str, x: str, chosen: Options, write: Callable[[Any], str], equals: str) -> str:
    return f"{function}({', '.join([x, *(f'{name}{equals}{write(value)}' for name, value in chosen.items())])})"


def _bounds(x: str, chosen: Options, python: bool) -> tuple[str, str]:
    least, most = (f"{x}.min()", f"{x}.max()") if python else (f"min({x})", f"max({x})")
    write = _python if python else _r
    lower, upper = chosen.get("lower_bound"), chosen.get("upper_bound")
    return least if lower is None else write(lower), most if upper is None else write(upper)


def _bs_r(x: str, chosen: Options, function: str = "bs") -> list[str]:
    given = {"include_intercept": "intercept"}
    plain = {given.get(name, name): value for name, value in chosen.items() if not name.endswith("_bound")}
    call = _call(f"splines::{function}", x, plain, _r, " = ")
    if any(name.endswith("_bound") for name in chosen):
        call = f"{call[:-1]}, Boundary.knots = c({', '.join(_bounds(x, chosen, False))}))"
    return [call]


# Names of the statements' own end on _, which the name of a table never does.


def _ns_python(x: str, chosen: Options) -> list[str]:
    """Cubic B-splines without the first, and of them what has no second derivative at either end."""
    intercept = chosen.get("include_intercept", False)
    if "knots" in chosen:
        inner = _python(chosen["knots"])
    else:
        inner = f"np.quantile(x_, np.linspace(0, 1, {int(chosen['df']) + 1 - intercept})[1:-1])"
    first = "" if intercept else "[:, 1:]"
    return [
        f"x_ = {x}.to_numpy()",
        f"lower_, upper_ = {', '.join(_bounds('x_', chosen, True))}",
        f"knots_ = np.r_[[lower_] * 4, {inner}, [upper_] * 4]",
        "cubic_ = BSpline(knots_, np.eye(len(knots_) - 4), 3)",
        f'linear_ = np.linalg.qr(cubic_.derivative(2)([lower_, upper_]){first}.T, mode="complete")[0][:, 2:]',
        f"cubic_(x_){first} @ linear_",
    ]


def _cr_r(x: str, chosen: Options) -> list[str]:
    """The natural cubic spline that is 1 at one knot and 0 at the others, for every knot."""
    lower, upper = _bounds("x_", chosen, False)
    centred = "constraints" in chosen
    if "knots" in chosen:
        inner = ", ".join(map(_r, sorted(chosen["knots"])))
    else:
        count = int(chosen["df"]) + centred
        inside = {"lower_bound": "x_ >= {}", "upper_bound": "x_ <= {}"}
        bounds = " & ".join(inside[name].format(_r(value)) for name, value in chosen.items() if name in inside)
        values = f"x_[{bounds}]" if bounds else "x_"
        inner = f"quantile(unique({values}), seq(0, 1, length.out = {count})[-c(1, {count})])"
    return [
        f"x_ <- {x}",
        f"knots_ <- c({lower}, {inner}, {upper})",
        "cubic_ <- sapply(seq_along(knots_), function(j) {",
        '  splinefun(knots_, seq_along(knots_) == j, method = "natural")(x_)',
        "})",
        "cubic_ %*% qr.Q(qr(colMeans(cubic_)), complete = TRUE)[, -1]" if centred else "cubic_",
    ]


_PYTHON: dict[str, Callable[[str, Options], list[str]]] = {
    FACTOR: lambda x, _: [f'{x}.map("{{:.15g}}".format)'],
    TRUTH: lambda x, _: [f'{x}.map({{True: "TRUE", False: "FALSE"}})'],
    "standardize": lambda x, _: [f"({x} - {x}.mean()) / {x}.std(ddof=0)"],
    "bs": lambda x, chosen: [_call("patsy.bs", x, chosen, _python, "=")],
    "ns": _ns_python,
    "cr": lambda x, chosen: [_call("patsy.cr", x, chosen, _python, "=")],
}
_R: dict[str, Callable[[str, Options], list[str]]] = {
    FACTOR: lambda x, _: [f'sprintf("%.15g", as.numeric({x}))'],
    TRUTH: lambda x, _: [f"as.character({x})"],
    "standardize": lambda x, _: [f"x_ <- {x} - mean({x})", "x_ / sqrt(mean(x_^2))"],
    "bs": _bs_r,
    "ns": lambda x, chosen: _bs_r(x, chosen, "ns"),
    "cr": _cr_r,
}


def _python(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_python, value))}]"
    return repr(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else repr(value)


def _r(value: Any) -> str:
    if isinstance(value, tuple):
        return f"c({', '.join(map(_r, value))})"
    return str(value).upper() if isinstance(value, bool) else _python(value)


# ---- on a table ----------------------------------------------------------------------------------------------------


def ordered(table: pd.DataFrame, orders: Mapping[str, Order]) -> pd.DataFrame:
    """The table with the levels of these of its columns in their orders.

    Raises
    ------
    PreparationError : a column has no such level
    """
    given = {}
    for name, order in orders.items():
        if name not in table.columns:
            continue  # it is computed
        column = columns.read(table[name], name)
        if column.kind != LEVELS:
            raise PreparationError(f"column {name!r} has no levels to order")
        levels = list(map(str, column.levels))
        wanted = order.of(name, [levels[code] for code in np.unique(column.values[~column.missing])])
        places = {level: place for place, level in enumerate(wanted)}
        codes = [-1 if gone else places[levels[code]] for code, gone in zip(column.values, column.missing, strict=True)]
        # Order() is that of treatments, which is what C() of an ordered factor is in Python.
        given[name] = pd.Categorical.from_codes(codes, wanted, ordered=False)
    return table.assign(**given) if given else table


def added(frame: pd.DataFrame, made: Iterable[Computed], orders: Mapping[str, Order]) -> pd.DataFrame:
    """A prepared table with the computed columns.

    Raises
    ------
    PreparationError : a column cannot be computed
    """
    room: dict[str, Any] = {"data": frame.copy()}
    for one in made:
        if not pd.api.types.is_numeric_dtype(frame[one.source].dtype):
            raise PreparationError(f"{one}: column {one.source!r} is a factor, where a number is needed")
        least, most = (dict(one.options).get(f"{side}_bound") for side in ("lower", "upper"))
        if (
            one.function in ("bs", "ns")
            and not frame[one.source]
            .between(-np.inf if least is None else least, np.inf if most is None else most)
            .all()
        ):
            raise PreparationError(f"{one}: column {one.source!r} has values outside of the bounds: widen them")
        try:
            # Statements of this module, with names and numbers as literals; the same text as in the listing.
            exec("\n".join([*one.imports, *one.python("data")]), room)
        except (ValueError, NotImplementedError, np.linalg.LinAlgError) as error:
            raise PreparationError(f"{one}: {error}") from error
        if one.function in FACTORS:
            name = one.columns[0]
            values = np.unique(frame[one.source])
            levels = [str(value).upper() if one.function == TRUTH else format(float(value), ".15g") for value in values]
            room["data"][name] = pd.Categorical(room["data"][name], orders[name].of(one.source, levels))
    table: pd.DataFrame = room["data"]
    table.attrs = frame.attrs
    return table


def of_new(frame: pd.DataFrame, made: Iterable[Computed], new: pd.DataFrame) -> pd.DataFrame:
    """New rows with the computed columns, by the knots, means and deviations that the table has.

    Parameters
    ----------
    frame : the prepared table, with the computed columns
    new : new rows; where they have not what a column is made of, it is left out, and a factor that they have stays

    Raises
    ------
    PreparationError : a value lies where a spline has not been fitted
    """
    columns_ = new.copy()
    for one in made:
        if one.source not in new.columns:
            continue
        if one.function in FACTORS:
            if one.columns[0] in new.columns:
                continue
            room: dict[str, Any] = {"data": columns_}
            exec("\n".join(one.python("data")), room)
            columns_.loc[new[one.source].isna(), one.columns[0]] = None
            continue
        x, at = frame[one.source].to_numpy(float), new[one.source].to_numpy(float)
        if one.function == "standardize":
            columns_[one.columns[0]] = (at - x.mean()) / x.std()
            continue
        # B-splines with the same knots hold the others' columns: how they do is read off the table.
        degree, knots = _knots(one, x)
        if ((at < knots[0]) | (at > knots[-1])).any():
            raise PreparationError(f"{one}: {one.source!r} has values outside of {knots[0]:g} to {knots[-1]:g}")
        spline = scipy.interpolate.BSpline
        there = ~np.isnan(at)
        known, wanted = (spline.design_matrix(values, knots, degree).toarray() for values in (x, at[there]))
        names, values = list(one.columns), np.full((len(at), len(one.columns)), np.nan)
        values[there] = wanted @ np.linalg.lstsq(known, frame[names].to_numpy(float))[0]
        columns_[names] = values
    return columns_


def _knots(one: Computed, x: np.ndarray) -> tuple[int, np.ndarray]:
    """The degree of a spline, and its knots with those at the ends repeated."""
    chosen = dict(one.options)
    degree, lower, upper = (
        int(chosen.get("degree", 3)),
        chosen.get("lower_bound", x.min()),
        chosen.get("upper_bound", x.max()),
    )
    inner = np.sort(chosen.get("knots", ()))
    if "knots" not in chosen:
        intercept, centred = chosen.get("include_intercept", False), "constraints" in chosen
        count = int(chosen["df"]) - {"bs": degree + intercept, "ns": 1 + intercept, "cr": 2 - centred}[one.function]
        inside = x[(x >= lower) & (x <= upper)]
        values = np.unique(inside) if one.function == "cr" else inside
        inner = np.quantile(values, np.linspace(0, 1, count + 2)[1:-1])
    return degree, np.r_[[lower] * (degree + 1), inner, [upper] * (degree + 1)]


def _level(name: str, wanted: Any, levels: list[str]) -> str:
    """A level by its name, or as patsy has it, by its place."""
    names = [wanted] if isinstance(wanted, str) else [level_name(wanted), f"{float(wanted):.15g}"]
    if known := [text for text in names if text in levels]:
        return known[0]
    if isinstance(wanted, float) and wanted.is_integer() and 0 <= wanted < len(levels):
        return levels[int(wanted)]
    raise PreparationError(f"factor {name!r} has no level {_shown(wanted)}: its levels are {', '.join(levels[:12])}")


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else level_name(value)
