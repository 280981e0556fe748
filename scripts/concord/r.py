"""The R session: the one place that starts R, loads packages and R code, and carries tables across.

Only this module imports rpy2, and only when R is first needed, so that what does not need R starts without it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd

from concord.errors import FootingError, first_line, is_starved, one_line, out_of_memory
from concord.interruptions import Hearing

Record = TypeVar("Record")

INSTALL = (
    "run scripts/setup.sh, or on Debian: apt-get install r-base-core r-cran-lme4 r-cran-nlme r-cran-mass "
    "r-cran-geepack r-cran-lmertest r-cran-pbkrtest"
)

_R = Path(__file__).with_suffix(".R")

START = ("rpy2", "--quiet", "--vanilla", "--min-nsize=3M")
"""How R starts: without profiles, environment files and a saved workspace, the user's and the site's. R's own file of
the environment is read all the same, and with it the libraries of the system and of the user. It looks for garbage only
once there are three million objects: two million come with lme4, and a third of the time to load it went there.
"""

OPTIONS: dict[str, Any] = {
    "contrasts": {"unordered": "contr.treatment", "ordered": "contr.poly"},
    "na.action": "na.omit",
    "stringsAsFactors": False,
    "digits": 7,
    "scipen": 0,
    "OutDec": ".",
    "warn": 0,
    "encoding": "native.enc",
    "width": 80,
    **dict.fromkeys(("warnPartialMatchArgs", "warnPartialMatchAttr", "warnPartialMatchDollar"), False),
    "lmerControl": None,
}
"""R's options wherever Concord asks R for something: R's own defaults, whatever is set in the session."""

# So many texts are taken from R as one, with a character between them that hardly any has.
MANY, BETWEEN = 100, "\x1f"
NA_INTEGER = np.iinfo(np.int32).min
"""What R's missing integers and truth values are stored as."""


class RError(RuntimeError):
    """R is missing, lacks a package, or stopped with an error; the message says which and what to do."""


class NoRError(RError, FootingError):
    """R is missing, did not start, or lacks a package."""


@cache
def interface() -> Any:
    """``rpy2.rinterface`` with R started.

    A session that Concord did not start keeps its options, which `call` holds off for as long as it lasts.

    Raises
    ------
    RError : R or rpy2 is missing or does not start
    """
    path = os.environ.get("LD_LIBRARY_PATH")
    said = _Said()
    logging.getLogger("rpy2").addHandler(said)
    try:
        with _default_packages("NULL"):
            import rpy2.rinterface as rinterface  # noqa: PLC0415  without R it raises, which is told by an RError

        if ours := not rinterface.embedded.isinitialized():
            rinterface.embedded.set_initoptions(START)
        _ask_less(rinterface)
        rinterface.initr()
        _speak_utf8(rinterface.baseenv)
        if ours:
            rinterface.baseenv["options"](_options(rinterface))
    except Exception as error:  # rpy2 reports a missing R as OSError, ValueError, ImportError or RuntimeError
        why = "; ".join(dict.fromkeys([*said.lines, first_line(error)]))
        # Of one that was killed no installation helps
        again = "run it again, and where memory ran out close other programs; " if "died with" in why else ""
        raise NoRError(f"R does not start ({why}): {again}{INSTALL}") from error
    finally:
        logging.getLogger("rpy2").removeHandler(said)
        _restore("LD_LIBRARY_PATH", path)
    return rinterface


def isolate() -> None:
    """Have R start in this process as Concord starts it, though rpy2 is what starts it; nothing is started.

    Where rpy2 finds no R there is nothing to do: whoever asks for one will be told.
    """
    path = os.environ.get("LD_LIBRARY_PATH")
    try:
        with suppress(Exception), _default_packages("NULL"):
            import rpy2.rinterface as rinterface  # noqa: PLC0415  as in `interface`

            rinterface.embedded.set_initoptions(START)
    finally:
        _restore("LD_LIBRARY_PATH", path)


class _Said(logging.Handler):
    """Keeps what rpy2 has to say while R starts, which would be a line of its own on the terminal."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(one_line(record.getMessage()))


@contextmanager
def _default_packages(names: str) -> Iterator[None]:
    """While rpy2 asks an R of its own, twice, that R has these packages only, which takes 0.1 s less in all.

    This process's R has all that there are by default.
    """
    before = os.environ.get(name := "R_DEFAULT_PACKAGES")
    os.environ[name] = names
    try:
        yield
    finally:
        _restore(name, before)


def _ask_less(rinterface: Any) -> None:
    """Where rpy2, as it starts R, asks another one for its environment, that one needs no more than utils."""
    room = vars(rinterface)
    if ask := room.get("_getrenvvars"):  # not one of rpy2's public functions: there may be none

        def asked(*given: Any, **named: Any) -> Any:
            with _default_packages("utils"):
                return ask(*given, **named)

        room["_getrenvvars"] = asked


def _options(rinterface: Any) -> Any:
    """`OPTIONS` as a list of R."""
    kinds = {str: rinterface.StrSexpVector, bool: rinterface.BoolSexpVector, int: rinterface.IntSexpVector}
    values = []
    for value in OPTIONS.values():
        if isinstance(value, dict):
            values.append(rinterface.StrSexpVector([*value.values()]))
            values[-1].names = rinterface.StrSexpVector([*value])
        else:
            values.append(rinterface.NULL if value is None else kinds[type(value)]([value]))
    held = rinterface.ListSexpVector(values)
    held.names = rinterface.StrSexpVector([*OPTIONS])
    return held


_wanted = cache(_options)


@contextmanager
def _held_options(rinterface: Any) -> Iterator[None]:
    """`OPTIONS` hold, and afterwards again what the session had."""
    set_options = rinterface.baseenv["options"]
    had = set_options(_wanted(rinterface))
    try:
        yield
    finally:
        set_options(had)


def libraries() -> tuple[str, ...]:
    """The folders in which this session of R looks for packages; none where R has not been started."""
    return texts(call(".libPaths")) if interface.cache_info().currsize else ()


def options() -> dict[str, str]:
    """R's options as they are while Concord asks R for something: contrasts and ``na.action``, as R says them."""
    get = interface().baseenv["getOption"]
    with _held_options(interface()):
        return {name: ", ".join(from_r(get(to_r(name)))) for name in ("contrasts", "na.action")}


def _speak_utf8(base: Any) -> None:
    """Have R take texts for UTF-8 where the environment's locale has ASCII only (LC_ALL=C, as in many containers).

    There R writes a name or a level beyond ASCII as <U+00F6> wherever it makes a symbol of it. Only the type of
    letters changes, in this process alone: sorting stays the environment's, and so does what a child process gets.
    """
    if not dict(zip(base["names"](info := base["l10n_info"]()), info, strict=True))["UTF-8"][0]:
        for name in ("C.UTF-8", "en_US.UTF-8", "UTF-8"):  # glibc and musl, older systems, macOS
            if base["suppressWarnings"](base["Sys.setlocale"]("LC_CTYPE", name))[0]:
                break


def _restore(name: str, value: str | None) -> None:
    """Undo what was done to a variable of the environment; None: it was not there.

    R extends LD_LIBRARY_PATH when it starts: a Python of another build, started from here, would find the system's
    libpython there in place of its own.
    """
    os.environ[name] = value or ""
    if value is None:
        del os.environ[name]


@cache
def package(name: str) -> None:
    """Load an R package's namespace.

    Raises
    ------
    RError : the package is not installed, or it is and cannot be loaded: where memory runs out, R says so
    """
    if call("requireNamespace", name, quietly=True)[0]:
        return
    try:
        call("loadNamespace", name)
        return
    except RError as error:
        if is_starved(str(error)):
            raise NoRError(f"the R package {name} cannot be loaded: {out_of_memory(str(error))}") from error
        if from_r(call("system.file", package=name))[0]:
            raise NoRError(
                f"the R package {name} is there and cannot be loaded: {error}: install it anew; where memory is "
                "scarce, close other programs or raise the limit (ulimit -v)"  # then R may say that it is not there
            ) from error
    raise NoRError(
        f"the R package {name} is not installed: {INSTALL}; where a profile or .Renviron names its library, which "
        "Concord does not read, name it in the environment variable R_LIBS"
    )


@cache
def source(path: Path) -> Any:
    """An R environment with what the R file at `path` defines, and what all share.

    What it asks for it finds in stats, utils and base, whatever has the same name in the user's workspace.
    """
    room = call("new.env", parent=call("asNamespace", "stats") if path == _R else source(_R))
    call("sys.source", str(path), envir=room, **{"keep.source": False})
    return room


def function(name: str) -> Any:
    """An R function by name, ``lmer`` or ``lme4::lmer``."""
    home, _, last = name.rpartition("::")
    if home:
        package(home)
        return call("getExportedValue", home, last)
    return interface().baseenv[last]


def call(function_: Any, *arguments: Any, **named: Any) -> Any:
    """Call an R function (by name in base R, or as an R object) with Python values, and give back the R object.

    During the call of an R object, such as a function that fits, `OPTIONS` hold.

    Raises
    ------
    RError : R stopped with an error; its message
    """
    rinterface = interface()
    # R also prints an error that it raises: what the exception says need not stand on the terminal too.
    from rpy2.rinterface_lib import callbacks  # noqa: PLC0415  as above

    shown: list[str] = []
    replaced = getattr(callbacks, "replace_in_module", None) or callbacks.obj_in_module  # its older name
    # What comes while R calls back into Python reaches nobody: rpy2 has R stop with an error that says nothing, or
    # Python only writes that it is ignored. Nor does it where R looks a name up, which then stands for nothing.
    hearing = Hearing()
    try:
        hearing.begin()
        held = nullcontext() if isinstance(function_, str) else _held_options(rinterface)
        with held, replaced(callbacks, "consolewrite_warnerror", shown.append):
            asked = rinterface.baseenv[function_] if isinstance(function_, str) else function_
            # By no comprehension: Python 3.12 runs it in this frame, and an interruption that comes as it is left would
            # not meet the handlers below.
            named = dict(zip(named, map(to_r, named.values()), strict=True))
            value = asked(*(to_r(argument) for argument in arguments), **named)
    except rinterface.embedded.RRuntimeError as error:
        raised = RError(_without_call(str(error)))
        raised.__cause__ = error
        hearing.raise_from(raised)
    except Exception as error:
        hearing.raise_from(error)
    finally:
        hearing.ending = True
        hearing.end()
    hearing.raise_from(None)
    if shown:
        callbacks.consolewrite_warnerror("".join(shown))
    return value


def to_r(value: Any) -> Any:
    """A Python value as an R object: scalars, strings, lists of strings, numpy arrays, tables; R objects pass."""
    rinterface = interface()
    if value is None:
        return rinterface.NULL
    if isinstance(value, bool | np.bool_):
        return rinterface.BoolSexpVector([bool(value)])
    if isinstance(value, int | np.integer):
        whole = int(value)
        return rinterface.IntSexpVector([whole]) if abs(whole) < 2**31 else rinterface.FloatSexpVector([value])
    if isinstance(value, float | np.floating):
        return rinterface.FloatSexpVector([float(value)])
    if isinstance(value, str):
        return rinterface.StrSexpVector([value])
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return rinterface.StrSexpVector(list(value))
    if isinstance(value, np.ndarray):
        return _vector(rinterface.FloatSexpVector, np.ascontiguousarray(value.ravel("F"), float))
    if isinstance(value, pd.DataFrame):
        return table(value)
    # An rpy2.robjects wrapper, as %R and ro.globalenv give, holds the same R object.
    return value


def table(frame: pd.DataFrame) -> Any:
    """A pandas table as an R ``data.frame``, column by column, without a copy row by row.

    Categories become factors with the same levels in the same order, strings stay strings, integers beyond R's 32 bits
    become doubles, missing values R's ``NA``.
    """
    rinterface = interface()
    columns = rinterface.ListSexpVector([_column(frame[name]) for name in frame.columns])
    columns.names = rinterface.StrSexpVector([str(name) for name in frame.columns])
    rows = rinterface.IntSexpVector([rinterface.NA_Integer, -len(frame)])
    return call("structure", columns, **{"class": "data.frame", "row.names": rows})


def _vector(kind: Any, array: np.ndarray) -> Any:
    """A vector of R that holds what a numpy array does, in the same order."""
    return kind.from_memoryview(memoryview(array))  # type: ignore[arg-type]  # buffers have types from Python 3.12 on


def _column(series: pd.Series) -> Any:
    rinterface = interface()
    missing = series.isna().to_numpy()
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy().astype(np.int32) + 1
        codes[missing] = NA_INTEGER
        vector = _vector(rinterface.IntSexpVector, np.ascontiguousarray(codes))
        levels = [str(level) for level in series.cat.categories]
        kind = ["ordered", "factor"] if series.cat.ordered else "factor"
        return call("structure", vector, levels=rinterface.StrSexpVector(levels), **{"class": kind})
    if pd.api.types.is_bool_dtype(series.dtype):
        flags = series.to_numpy(bool, na_value=False).astype(np.int32)
        flags[missing] = NA_INTEGER  # R's NA is the same integer
        return _vector(rinterface.BoolSexpVector, flags)
    if pd.api.types.is_integer_dtype(series.dtype) and not missing.any():
        values = series.to_numpy()
        if len(values) == 0 or (values.min() > NA_INTEGER and values.max() <= np.iinfo(np.int32).max):
            return _vector(rinterface.IntSexpVector, values.astype(np.int32))
    if pd.api.types.is_numeric_dtype(series.dtype):
        values = np.array(series.to_numpy("float64", na_value=np.nan))
        # R's NA_real_ is a NaN with this payload; written as bits, for arithmetic would make a plain NaN of it.
        values.view(np.uint64)[missing] = 0x7FF00000000007A2
        return _vector(rinterface.FloatSexpVector, values)
    # Each text once, and R takes it from there for every row: a missing place gives a missing text.
    texts = series if isinstance(series.dtype, pd.StringDtype) else series.where(missing, series.map(str))
    places, distinct = pd.factorize(texts)
    places = places.astype(np.int32) + 1
    places[missing] = NA_INTEGER
    vector = rinterface.StrSexpVector([str(text) for text in distinct])
    return call("[", vector, _vector(rinterface.IntSexpVector, places))


def from_r(value: Any) -> Any:
    """An R object as Python: vectors as numpy arrays or lists of str, matrices with R's shape, named lists as dicts."""
    rinterface = interface()
    if value is rinterface.NULL or value.typeof == rinterface.RTYPES.NILSXP:
        return None
    if value.typeof == rinterface.RTYPES.VECSXP:
        names = from_r(call("names", value))
        values = [from_r(item) for item in value]
        return dict(zip(names, values, strict=True)) if names else values
    if value.typeof == rinterface.RTYPES.STRSXP:
        return _texts(value)
    if value.typeof in (rinterface.RTYPES.REALSXP, rinterface.RTYPES.INTSXP, rinterface.RTYPES.LGLSXP):
        array = np.array(value)
        if value.typeof != rinterface.RTYPES.REALSXP and (array == NA_INTEGER).any():
            array = np.where(array == NA_INTEGER, np.nan, array)
        shape = call("dim", value)
        return array if shape is rinterface.NULL else array.reshape(tuple(shape), order="F")
    return value


def _texts(vector: Any) -> list[str | None]:
    """R's texts, None where one is missing; of many they come as one text, as each by itself takes long."""
    if len(vector) >= MANY and not call("anyNA", vector)[0]:
        together = str(call("paste", vector, collapse=BETWEEN)[0]).split(BETWEEN)
        if len(together) == len(vector):  # none of them has that character
            return [*together]
    missing = interface().NA_Character
    return [None if item is missing else str(item) for item in vector]


def texts(value: Any) -> tuple[str, ...]:
    """R's texts; none for NULL."""
    return tuple(from_r(value) or ())


def text(value: Any) -> str:
    """The first of R's texts."""
    return texts(value)[0]


def record(kind: type[Record], value: Any) -> Record:
    """A named list of R as a record, a dataclass with a field for every name, whose type says what R has there.

    ``str``, ``float``, ``int`` and ``bool`` stand for a vector of length one, an array for numbers, a list for texts or
    for an unnamed list. NULL is None where a field may be None, and elsewhere an empty list or array.

    Raises
    ------
    TypeError : the list has other names than the record
    """
    typed: Record = _typed(kind, from_r(value))
    return typed


def records(kind: type[Record], value: Any) -> list[Record]:
    """An unnamed list of such lists; see `record`."""
    return [_typed(kind, row) for row in from_r(value) or ()]


_fields = cache(get_type_hints)


def _typed(kind: Any, value: Any) -> Any:
    """What `from_r` gave, in the type of a record's field."""
    origin: Any = get_origin(kind) or kind
    inner = get_args(kind)
    if origin is UnionType:
        return None if value is None else _typed(inner[0], value)
    if isinstance(kind, type) and is_dataclass(kind):
        fields = _fields(kind)
        if set(fields) != set(value):
            raise TypeError(f"{kind}: R's list has the names {', '.join(value)}")
        return kind(**{name: _typed(fields[name], field) for name, field in value.items()})
    if inner == (str,) and value is not None and None not in value:
        return value
    if origin is list:
        return [_typed(inner[0], item) for item in (() if value is None else value)]
    if origin is np.ndarray and value is None:
        return np.zeros(0)
    if origin in (str, float, int, bool) and not isinstance(value, str):
        return None if value[0] is None else origin(value[0])
    return value


def _without_call(message: str) -> str:
    """R's error message without `Error in f(x, y) :`, on one line."""
    text = " ".join(message.split())
    return re.sub(r"^Error(?: in .*? :)?[: ]*", "", text) or text
