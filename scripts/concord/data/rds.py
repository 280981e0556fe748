"""Data frames that R saved with ``saveRDS``, read without R.

R's own ``readRDS`` may run code that a file holds (CVE-2024-27322, in R before 4.4). Here the file is only taken
apart, by ``rdata``, and of its parts only vectors are looked at: nothing in it is ever called or evaluated.
"""

from __future__ import annotations

import warnings
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from rdata.parser import DEFAULT_ALTREP_MAP, RData, RObject, RObjectInfo, RObjectType, parse_data

from concord.data.limits import limits, unpacked
from concord.data.source import NOTES, SourceError, Unusable, check_names

_WORKSPACE = (b"RDX", b"RDA", b"RDB")

_CODE = {
    **dict.fromkeys((RObjectType.CLO, RObjectType.SPECIAL, RObjectType.BUILTIN), "a function"),
    **dict.fromkeys((RObjectType.LANG, RObjectType.EXPR, RObjectType.SYM), "an expression"),
    RObjectType.PROM: "a promise",
    RObjectType.BCODE: "compiled code",
    **dict.fromkeys(
        (RObjectType.ENV, RObjectType.GLOBALENV, RObjectType.BASEENV, RObjectType.EMPTYENV, RObjectType.NAMESPACE),
        "an environment",
    ),
    **dict.fromkeys((RObjectType.EXTPTR, RObjectType.WEAKREF), "a pointer"),
    RObjectType.S4: "an S4 object",
}
# Classes that leave a vector's values what they are.
_PLAIN = {"AsIs", "noquote", "labelled", "haven_labelled", "vctrs_vctr", "numeric", "integer", "double", "character"}

_SPECIAL = {"POSIXlt": "dates", "difftime": "time spans"}
# Counted from 1970, in what unit.
_DATES = {"Date": "D", "POSIXct": "s"}
_OTHER = {RObjectType.CPLX: "complex numbers", RObjectType.RAW: "bytes"}


class _Refused(Exception):
    """What is wrong with the content; the message goes after the file's name."""


def parse(content: bytes, where: str) -> pd.DataFrame:
    """The data frame that an ``.rds`` file holds.

    Vectors of numbers, truth values and texts become what `delimited.parse` makes of them, factors categories with
    their levels in R's order, ordered ones ordered; ``integer64`` whole numbers of 64 bits. Columns that can be no
    variable of a formula (time spans, lists, matrices, complex numbers) are `Unusable`. Row names are left out, and all
    other attributes: they may hold functions and expressions, as those of nlme's own tables do, which are neither
    looked at nor run.

    Raises
    ------
    SourceError : it is damaged, or holds no data frame, or a column of it is code (a function, a promise, an
        expression, an environment)
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = unpacked(content, where)
            if content.startswith(_WORKSPACE):
                raise _Refused("an R workspace: save the one data frame with saveRDS(table, 'table.rds')")
            frame = _frame(parse_data(content, altrep_constructor_dict=_ALTREP, extension=".rds"), where)
    except _Refused as refused:
        raise SourceError(f"{where}: {refused}") from None
    except SourceError:
        raise
    except Exception:  # whatever a parser stumbles over in bytes that are not an R object
        raise SourceError(
            f"{where}: it is damaged, or holds R objects other than a data frame: "
            "save one anew with saveRDS(as.data.frame(table), 'table.rds')"
        ) from None
    return frame


def _frame(data: RData, where: str) -> pd.DataFrame:
    table, encoding = data.object, data.extra.encoding or "UTF-8"
    attributes = _attributes(table)
    classes = _texts(attributes["class"], encoding) if "class" in attributes else []
    if table.info.type is not RObjectType.VEC or "data.frame" not in classes:
        raise _Refused(f"it holds {_what(table, classes)} and no data frame: save one with saveRDS(table, 'table.rds')")
    names = [name or "" for name in _texts(attributes["names"], encoding)] if "names" in attributes else []
    check_names(names, where)
    if not names:
        raise _Refused("it has no columns: expected a data frame with some")
    rows, columns = _rows(attributes["row.names"]), {}
    for name, column in zip(names, table.value, strict=True):
        if column.info.type in _CODE:
            raise _Refused(f"column {name!r} is {_CODE[column.info.type]}, which is code and not run: save data alone")
        columns[name] = _column(column, encoding, rows)
        if len(columns[name]) != rows:
            raise _Refused(f"column {name!r} has {len(columns[name])} values for {rows} rows: save the table anew")
    if not rows:
        raise _Refused("it has columns and no rows: expected one row for every observation")
    frame = pd.DataFrame(columns)
    frame.attrs[NOTES] = []
    return frame


def _what(value: RObject, classes: list[str | None]) -> str:
    if value.info.type in _CODE:
        return f"{_CODE[value.info.type]}, which is code and not run,"
    if classes:
        return f"an object of class {classes[0]!r}"
    return {RObjectType.VEC: "a list", RObjectType.LIST: "a list"}.get(value.info.type, "a vector")


def _attributes(value: RObject) -> dict[str, RObject]:
    attributes: dict[str, RObject] = {}
    node = value.attributes
    while node is not None and node.info.type is RObjectType.LIST:
        tag = node.tag
        if tag is not None and tag.info.type is RObjectType.REF:
            tag = tag.referenced_object
        if tag is None:
            raise ValueError("an attribute without a name")
        attributes[tag.value.value.decode()], node = node.value
    return attributes


def _rows(names: RObject) -> int:
    """How many rows there are: R stores the names 1 to n as NA and n or -n."""
    values = names.value
    if names.info.type is RObjectType.INT and len(values) == 2 and np.ma.getmaskarray(np.ma.asarray(values))[0]:
        return abs(int(values[1]))
    return len(values)


def _texts(value: RObject, encoding: str) -> list[str | None]:
    """A character vector; None for NA."""
    if value.info.type is not RObjectType.STR:
        raise ValueError("no character vector")
    known: dict[tuple[bytes, int], str] = {}

    def text(char: RObject) -> str | None:
        if char.value is None:
            return None
        key = (char.value, char.info.gp)
        if key not in known:
            latin, utf8 = char.info.gp & 4, char.info.gp & 8
            try:
                known[key] = char.value.decode("latin-1" if latin else "utf-8" if utf8 else encoding)
            except UnicodeDecodeError:
                raise _Refused(f"the text {char.value[:40]!r} is no {encoding}: save it anew with enc2utf8()") from None
        return known[key]

    return [text(char) for char in value.value]


def _column(value: RObject, encoding: str, rows: int) -> Any:
    """One column as pandas holds it."""
    attributes = _attributes(value)
    kind = value.info.type
    classes = {text for text in _texts(attributes["class"], encoding) if text} if "class" in attributes else set()
    if _is_matrix(attributes):
        return Unusable.column("a matrix", rows)
    if kind is RObjectType.STR and classes <= _PLAIN:
        return pd.array(_texts(value, encoding), dtype="str")
    if kind is RObjectType.LGL and not classes:
        return _masked(value.value, bool, pd.arrays.BooleanArray)
    if kind is RObjectType.INT and "factor" in classes:
        return _factor(value, attributes, classes, encoding)
    if kind in (RObjectType.INT, RObjectType.REAL):
        if classes == {"integer64"} and kind is RObjectType.REAL:
            return _integer64(value.value.view(np.int64))
        if classes <= _PLAIN:
            if kind is RObjectType.REAL:
                return value.value
            return _masked(value.value, np.int64, pd.arrays.IntegerArray)
    if unit := next((unit for name, unit in _DATES.items() if name in classes), None):
        return pd.to_datetime(np.ma.filled(np.ma.asarray(value.value, float), np.nan), unit=unit)
    return _other(value, classes, rows)


def _other(value: RObject, classes: set[str], rows: int) -> Any:
    """A column that no formula can use."""
    kind = value.info.type
    what = next((_SPECIAL[name] for name in sorted(classes) if name in _SPECIAL), None)
    if what is None:
        what = f"an object of class {min(classes)!r}" if classes else _OTHER.get(kind, "lists")
    return Unusable.column(what, rows)


def _is_matrix(attributes: dict[str, RObject]) -> bool:
    """Whether it has more than one column: scale(x) has one."""
    shape = [int(size) for size in attributes["dim"].value] if "dim" in attributes else [0]
    return len(shape) != 1 and not (len(shape) == 2 and shape[1] == 1)


def _masked(values: np.ndarray, dtype: type, array: type) -> Any:
    if isinstance(values, np.ma.MaskedArray):
        return array(values.filled(0).astype(dtype), np.ma.getmaskarray(values))
    return values.astype(dtype)


def _integer64(values: np.ndarray) -> Any:
    missing = values == np.iinfo(np.int64).min
    return pd.arrays.IntegerArray(values, missing) if missing.any() else values


def _factor(value: RObject, attributes: dict[str, RObject], classes: set[str], encoding: str) -> Any:
    levels = _texts(attributes["levels"], encoding)
    if None in levels:
        return Unusable.column("a factor with a missing level (see R's droplevels)", len(value.value))
    codes = np.ma.filled(np.ma.asarray(value.value), 0).astype(np.int64) - 1
    return pd.Categorical.from_codes(codes, levels, ordered="ordered" in classes)


# ---- ALTREP: vectors that R stores by what they are made of ------------------------------------------------------


def _sequence(of: str) -> Any:
    expand = DEFAULT_ALTREP_MAP[of.encode()]

    def constructor(state: RObject) -> tuple[RObjectInfo, Any]:
        # Stored as its ends: else some bytes could ask for any amount of memory
        if not 0 <= state.value[0] <= limits().rows:
            raise ValueError("a sequence of impossible length")
        return expand(state)

    return constructor


def _deferred_string(state: RObject) -> tuple[RObjectInfo, list[RObject]]:
    """``as.character`` of numbers that R put off: here with R's 15 digits, and NA left NA."""
    numbers = state.value[0].value
    plain: dict[str, Any] = dict(object=False, attributes=False, tag=False, reference=0)
    missing = np.ma.getmaskarray(numbers) if np.ma.isMaskedArray(numbers) else np.isnan(numbers)
    texts = [None if lost else _as_character(number).encode() for number, lost in zip(numbers, missing, strict=True)]
    return RObjectInfo(type=RObjectType.STR, gp=0, **plain), [
        RObject(RObjectInfo(type=RObjectType.CHAR, gp=64, **plain), text, None) for text in texts
    ]


def _as_character(number: Any) -> str:
    """A number as R writes it: 15 digits at most, in full where that is no longer than with an exponent."""
    if isinstance(number, np.integer):
        return str(int(number))
    if np.isinf(number):
        return "Inf" if number > 0 else "-Inf"
    digits = float(f"{number:.15g}")
    full = np.format_float_positional(digits, trim="-")
    short = np.format_float_scientific(digits, trim="-", exp_digits=2)
    return full if len(full) <= len(short) else short


_ALTREP = MappingProxyType(
    {
        **DEFAULT_ALTREP_MAP,
        b"compact_intseq": _sequence("compact_intseq"),
        b"compact_realseq": _sequence("compact_realseq"),
        b"deferred_string": _deferred_string,
    }
)
