"""How each language reads a table, told what it would otherwise take differently from Concord: what is missing, what
is text, which sign parts fields and decimals. A file that its plain reader takes as it was meant gets plain code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from concord.data.source import GIVEN, INDEXED, MENDED
from concord.data.written import NUMBER, PANDAS_MISSING, TEXT, TRUTH, WRITTEN, Written, WrittenColumn, quoted_numbers
from concord.errors import one_line
from concord.models.model import Model
from concord.models.stand_in import made_factors
from concord.models.syntax import literal, r_literal

# How each language reads other files, by their suffix; rdata reads what R saved without running R.
_PYTHON = {
    ".csv": "pd.read_csv({file})",
    ".tsv": 'pd.read_csv({file}, sep="\\t")',
    ".parquet": "pd.read_parquet({file})",
    ".feather": "pd.read_feather({file})",
    ".rds": "rdata.read_rds({file})",
}
_R = {
    ".csv": "read.csv({file}, check.names = FALSE, stringsAsFactors = TRUE)",
    ".tsv": "read.delim({file}, check.names = FALSE, stringsAsFactors = TRUE)",
    ".parquet": "as.data.frame(arrow::read_parquet({file}))",
    ".feather": "as.data.frame(arrow::read_feather({file}))",
    ".rds": "readRDS({file})",
}
# A longer call is broken, so that a page shows it whole.
WIDTH = 100
_SAME = {".tab": ".tsv", ".txt": ".tsv", ".pq": ".parquet", ".arrow": ".feather"}
_COMPRESSED = {"gz": "gzip", "bz2": "bz2", "xz": "lzma"}
_ARROW = '# arrow reads it: install.packages("arrow")'
_MIXED = "# read.csv takes a quote within a bare field for the beginning of a quoted one: put such fields in quotes"

# An unquoted NA as a whole field: in Python's notation, whose match keeps what stands in quotes, and in Perl's.
_BARE_PYTHON = r'("(?:[^"]|"")*")|(?<![^{0}\r\n])NA(?![^{0}\r\n])'
_BARE_R = r'"(?:[^"]|"")*"(*SKIP)(*F)|(?<![^{0}\n])NA(?![^{0}\n])'


@dataclass(frozen=True)
class Statements:
    """The statements that read a table, those that follow where rows with missing values are left out, and the imports
    that they need.
    """

    read: Sequence[str]
    mend: Sequence[str] = ()
    imports: Sequence[str] = ()


def python(model: Model, source: str | None) -> Statements:
    """In Python; the file is `source`, None for a table in memory."""
    read = _read_python(model, source) if source else Statements([])
    mended = model.frame.attrs.get(MENDED, {})
    columns = {f"{model.dataset.id}[{literal(name)}]": mended.get(name) for name in model.columns}
    mend = [f"{column} = {column}.astype({kind})" for column, kind in columns.items() if kind]
    return replace(read, mend=[*read.mend, *mend])


def _read_python(model: Model, source: str) -> Statements:
    written = model.frame.attrs.get(WRITTEN)
    name, suffix = model.dataset.id, _suffix(source)
    if written is None:
        imports = ["import rdata"] if suffix == ".rds" else []
        index = ".reset_index()" if model.frame.attrs.get(INDEXED, frozenset()) & set(model.columns) else ""
        return Statements([f"{name} = {_PYTHON[suffix].format(file=literal(source))}{index}"], imports=imports)
    return _InPython(model, written).statements(source)


def r(model: Model, source: str | None) -> Statements:
    """In R; the file is `source`, None for a table in memory."""
    if source is None:
        return Statements([])
    written = model.frame.attrs.get(WRITTEN)
    name, suffix = model.dataset.id, _suffix(source)
    if written is None:
        needed = [_ARROW] if "arrow::" in _R[suffix] else []
        given = model.frame.attrs.get(GIVEN, {}).items()
        nul = ", ".join(one_line(name) for name, levels in given if any("\0" in text for _, text in levels.values()))
        needed += [f"# R has no NUL bytes: take them out of {nul}"] if nul else []
        return Statements([*needed, f"{name} <- {_R[suffix].format(file=r_literal(source))}"])
    return _InR(model, written).statements(source)


def levels(model: Model, factor: str) -> tuple[list[str], list[str]]:
    """A factor's levels as they stand in the table, in their order: as pandas writes them, and as R does."""
    given = model.frame.attrs.get(GIVEN, {}).get(factor, {})
    python, r = zip(*(given.get(level, (level, level)) for level in model.frame[factor].cat.categories), strict=True)
    return list(python), list(r)


def _suffix(source: str) -> str:
    """The suffix under which the ways to read stand."""
    parts = [f".{part.lower()}" for part in source.split(".")[1:] if part.lower() not in _COMPRESSED]
    suffix = _SAME.get(parts[-1], parts[-1]) if parts else ".csv"
    return suffix if suffix in _PYTHON else ".csv"


@dataclass(frozen=True)
class _Told:
    """What a language's reader of text must be told of a table.

    Attributes
    ----------
    model : whose variables are read
    written : how the file is written
    """

    model: Model
    written: Written

    @cached_property
    def columns(self) -> dict[str, WrittenColumn]:
        """The formula's columns, as they are used: numerals as names or as numbers."""
        return {name: self._used(name, self.written.columns[name]) for name in self.model.columns}

    def _used(self, name: str, column: WrittenColumn) -> WrittenColumn:
        values = self.model.frame[name]
        levels = isinstance(values.dtype, pd.CategoricalDtype)
        if column.kind == TEXT and pd.api.types.is_numeric_dtype(values):
            return replace(column, kind=NUMBER, taken=frozenset(), python=False, r=False, padded=False)
        if column.kind == NUMBER and levels:
            # Groups by numbers: R merges what agrees to 15 digits, pandas whole ones beyond 2^53 beside a missing one.
            numbers = [float(level) for level in values.cat.categories]
            merged = len({f"{number:.15g}" for number in numbers}) < len(numbers)
            rounded = bool(column.missing) and len(set(numbers)) < len(numbers)
            return replace(column, kind=TEXT if merged else NUMBER, python=rounded, r=merged)
        return column

    @cached_property
    def notes(self) -> list[str]:
        """What is to be said of the columns, as comments."""
        frame, uses, factors = self.model.frame, self.model.formula.uses, made_factors(self.model.formula)
        return [
            f"# {quoted_numbers(name, frame[name])}"
            for name, column in self.columns.items()
            if column.quoted
            and column.kind == NUMBER
            and "predictor" in uses.get(name, {"predictor"})
            and name not in factors
        ]

    @cached_property
    def bare(self) -> bool:
        """Whether a column has both a bare NA, which is missing, and one in quotes, which is a level."""
        return any(column.bare for column in self.columns.values())

    def missing(self, column: WrittenColumn) -> set[str]:
        """The fields that are missing, where a bare NA is left out before the table is read if that is needed."""
        if not self.bare or "NA" not in column.missing:
            return set(column.missing)
        # One in quotes beside numbers stays.
        return {*column.missing - {"NA"}, ""} if column.kind == TEXT else {*column.missing, ""}

    def of(self, meets: Callable[[WrittenColumn], bool]) -> list[str]:
        """The names of the columns that meet a condition."""
        return [name for name, column in self.columns.items() if meets(column)]


class _InPython(_Told):
    """What pandas' read_csv must be told."""

    def statements(self, source: str) -> Statements:
        table = self.model.dataset.id
        file, before, imports = self._without_bare(source) if self.bare else (literal(source), [], [])
        arguments = [file, *self._file(), *self._missing(), *self._types()]
        rename = ".rename(columns=str.strip)" if self.of(lambda column: column.header != column.header.strip()) else ""
        read = [*self.notes, *before, f"{_call(f'{table} = pd.read_csv', arguments)}{rename}"]
        mend = [f"{table}[{literal(name)}] = {table}[{literal(name)}].str.strip()" for name in self.of(_padded)]
        return Statements(read, mend, imports)

    def _file(self) -> list[str]:
        written = self.written
        told = {",": [], "\t": ['sep="\\t"']}.get(written.delimiter, [f"sep={literal(written.delimiter)}"])
        told += [f"decimal={literal(written.decimal)}"] if written.decimal != "." else []
        return told + ([f"skiprows={written.skipped}"] if written.skipped else [])

    def _missing(self) -> list[str]:
        columns = self.columns.values()
        taken = frozenset[str]().union(*(column.taken for column in columns))
        missing = set[str]().union(*map(self.missing, columns))
        default = not taken & PANDAS_MISSING
        told = [] if default else ["keep_default_na=False"]
        if not taken & missing:
            extra = missing - PANDAS_MISSING if default else missing
            return told + ([f"na_values={_listed(extra)}"] if extra else [])
        apart = {column.header: self.missing(column) for column in columns if column.missing}
        pairs = ", ".join(f"{literal(header)}: {_listed(fields)}" for header, fields in apart.items())
        return [*told, f"na_values={{{pairs}}}"]

    def _types(self) -> list[str]:
        texts = self.of(lambda column: column.kind == TEXT and column.python)
        pairs = ", ".join(f"{literal(self.columns[name].header)}: str" for name in texts)
        return [f"dtype={{{pairs}}}"] if texts else []

    def _without_bare(self, source: str) -> tuple[str, list[str], list[str]]:
        """The file without bare NA: how it is called, the statements for it, and their imports."""
        packed = _COMPRESSED.get(source.rpartition(".")[2].lower())
        opened = f'{packed}.open({literal(source)}, "rt", ' if packed else f"open({literal(source)}, "
        pattern = _BARE_PYTHON.format(self.written.delimiter)
        before = [
            f'text = {opened}encoding="utf-8-sig", newline="").read()',
            f"text = re.sub({literal(pattern)}, lambda match: match[1] or '', text)",
        ]
        return "io.StringIO(text)", before, ["import io", "import re", *([f"import {packed}"] if packed else [])]


class _InR(_Told):
    """What R's read.csv must be told."""

    def statements(self, source: str) -> Statements:
        file, before = r_literal(source), []
        if self.bare:
            pattern = _BARE_R.format(self.written.delimiter)
            before = [
                f'text <- paste(readLines({file}, encoding = "UTF-8", warn = FALSE), collapse = "\\n")',
                f'text <- gsub({r_literal(pattern)}, "", text, perl = TRUE)',
            ]
            file = "text = text"
        reader = "read.delim" if self.written.delimiter == "\t" else "read.csv"
        arguments = [file, "check.names = FALSE", "stringsAsFactors = TRUE"]
        arguments += [*self._file(), *self._missing(), *self._types()]
        mixed = [_MIXED] if self.written.quotes == "mixed" else []
        read = [*self.notes, *mixed, *before, _call(f"{self.model.dataset.id} <- {reader}", arguments)]
        return Statements([*read, *self._renamed(), *self._mended()])

    def _file(self) -> list[str]:
        written = self.written
        told = [f"sep = {r_literal(written.delimiter)}"] if written.delimiter == ";" else []
        told += [f"dec = {r_literal(written.decimal)}"] if written.decimal != "." else []
        told += [f"skip = {written.skipped}"] if written.skipped else []
        told += ['fileEncoding = "UTF-8-BOM"'] if written.mark and not self.bare else []
        told += ['encoding = "UTF-8"'] if not written.ascii else []
        told += ['quote = ""'] if written.quotes == "bare" else []
        return told + (["row.names = NULL"] if written.row_names else [])

    @cached_property
    def _level(self) -> bool:
        """Whether NA is a level."""
        return any("NA" in column.taken for column in self.columns.values())

    def _missing(self) -> list[str]:
        empty = any("" in self.missing(column) for column in self.columns.values() if column.kind == TEXT)
        fields = [*([""] if empty or self._level else []), *([] if self._level else ["NA"])]
        return [] if fields == ["NA"] else [f"na.strings = {_combined(fields)}"]

    def _types(self) -> list[str]:
        texts = self.of(lambda column: column.kind == TEXT and column.r)
        pairs = ", ".join(f'{_argument(self._header(name))} = "character"' for name in texts)
        return [f"colClasses = c({pairs})"] if texts else []

    def _header(self, name: str) -> str:
        """A column's name as R has it, which strips blanks unless they stand in quotes."""
        column = self.columns[name]
        return column.header if column.header_quoted else name

    def _renamed(self) -> list[str]:
        table = self.model.dataset.id
        blanks = [name for name in self.columns if self._header(name) != name]
        return [f"names({table}) <- trimws(names({table}))"] if blanks else []

    def _mended(self) -> list[str]:
        """Statements on the columns that R's reader does not take as they are meant, whatever it is told."""
        statements = []
        for name, column in self.columns.items():
            of = f"{self.model.dataset.id}[[{r_literal(name)}]]"
            if column.kind == TRUTH and (column.r or (self._level and "NA" in column.missing)):
                statements.append(f"{of} <- as.logical({of})")
            elif column.kind == NUMBER and self._not_read(column):
                decimal = f", dec = {r_literal(self.written.decimal)}" if self.written.decimal != "." else ""
                texts = f"trimws(as.character({of}))"
                statements.append(f"{of} <- type.convert({texts}, as.is = TRUE{decimal})")
            elif column.kind == TEXT:
                statements += [f"{of} <- trimws({of})"] if column.padded else []
                fields = {field.strip() for field in self.missing(column)} if column.padded else self.missing(column)
                unread = sorted(fields - {"", "NA"}) + ["NA"] * ("NA" in fields and (self._level or column.padded))
                statements += [f"{of}[{of} %in% {_combined(unread)}] <- NA"] if unread else []
        return statements

    def _not_read(self, column: WrittenColumn) -> bool:
        """Whether R's reader takes a missing number for text: an NA that it was not told of, or one beside blanks."""
        spelled = {field for field in column.missing if field.strip() == "NA"}
        return bool(spelled) if self._level else bool(spelled - {"NA"})


def _call(function: str, arguments: Sequence[str]) -> str:
    """A call on lines that a page shows whole."""
    lines = [f"{function}({arguments[0]}"]
    for argument in arguments[1:]:
        if len(lines[-1]) + len(argument) + 2 <= WIDTH:
            lines[-1] += f", {argument}"
        else:
            lines[-1] += ","
            lines.append(f"  {argument}")
    return "\n".join(lines) + ")"


def _padded(column: WrittenColumn) -> bool:
    return column.kind == TEXT and column.padded


def _listed(fields: set[str]) -> str:
    return f"[{', '.join(map(literal, sorted(fields)))}]"


def _combined(fields: Sequence[str]) -> str:
    """A vector of texts in R."""
    return r_literal(fields[0]) if len(fields) == 1 else f"c({', '.join(map(r_literal, fields))})"


def _argument(name: str) -> str:
    """A name as that of an argument in R."""
    return name if re.fullmatch(r"[A-Za-z][A-Za-z0-9._]*", name) and name not in ("TRUE", "FALSE") else r_literal(name)
