"""How a text file is written: what the languages' own readers must be told to take from it what Concord takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import pandas as pd

from concord.errors import one_line

WRITTEN = "written"
"""Key of ``frame.attrs``: how the file was written, `Written`; for a table that no text file held there is none."""

TEXT, TRUTH, NUMBER = "text", "truth value", "number"

# What pandas' read_csv takes for missing, in quotes and without; R's read.csv takes NA.
PANDAS_MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"]
    + ["NULL", "NaN", "None", "n/a", "nan", "null"]
)

# What the readers take for numbers and truth values; R also hexadecimal and complex numbers, and an exponent without
# digits, and by the letter T or F what pandas takes for text.
_PYTHON_NUMBER = re.compile(r"\s*[+-]?((\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?|inf(inity)?|nan)\s*", re.I | re.A)
_UNSIGNED = r"(0x[\da-f.]+(p[+-]?\d*)?|(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d*)?|inf(inity)?|nan|na)"
_R_NUMBER = re.compile(rf"\s*([+-]?{_UNSIGNED}i?|[+-]?{_UNSIGNED}[+-]{_UNSIGNED}i)\s*", re.I | re.A)
_PYTHON_TRUTH = frozenset(["TRUE", "True", "true", "FALSE", "False", "false"])
_R_TRUTH = _PYTHON_TRUTH | {"T", "F"}
# Whole numbers that are written the same way again: R writes 100000 with an exponent.
_AS_WRITTEN = re.compile(r"0|-?[1-9]\d{0,4}", re.A)
_BEYOND = re.compile(r"\s*[+-]?\d{19,}\s*", re.A)
# pandas reads a larger file in pieces, and tells a column's kind anew in each.
PIECE = 2**17


@dataclass(frozen=True)
class WrittenColumn:
    """How a column is written.

    Attributes
    ----------
    header : its name, letter by letter
    kind : TEXT, TRUTH or NUMBER
    missing : the fields that are missing values
    taken : the levels that a language's own reader takes for missing, or would beside blanks
    bare : whether an NA without quotes is missing and one in quotes a level
    python, r : whether that language's reader takes the column for another kind
    padded : whether blanks stand beside its numbers
    quoted : whether its values stand in quotes, and others in the file do not
    header_quoted : whether its name does
    """

    header: str
    kind: str
    missing: frozenset[str] = frozenset()
    taken: frozenset[str] = frozenset()
    bare: bool = False
    python: bool = False
    r: bool = False
    padded: bool = False
    quoted: bool = False
    header_quoted: bool = False


@dataclass(frozen=True)
class Written:
    """How a text file is written.

    Attributes
    ----------
    delimiter : what parts the fields
    decimal : the decimal sign of its numbers
    skipped : lines before the header
    mark : whether it begins with a byte order mark
    ascii : whether all of its letters are ASCII
    quotes : "", or what stands in the way of R's reader: ``bare`` quotes within fields, and none around them; or
        ``mixed``, both
    row_names : whether its first column are row names, which the header does not count and which are not unique
    columns : of every column, by its name
    """

    delimiter: str = ","
    decimal: str = "."
    skipped: int = 0
    mark: bool = False
    ascii: bool = True
    quotes: str = ""
    row_names: bool = False
    columns: Mapping[str, WrittenColumn] = field(default_factory=dict)

    def __deepcopy__(self, _: object) -> Self:
        return self  # pandas copies what stands in attrs with every column that is taken from a table


Rest = Callable[[str], WrittenColumn]
"""A column's facts, but for its header."""


def text(distinct: Iterable[str], missing: frozenset[str], *, bare: bool, large: bool, padded: bool = False) -> Rest:
    """The facts of a column of text.

    Parameters
    ----------
    distinct : its levels
    missing : the fields that are missing values
    bare : whether an NA without quotes is among them, and one in quotes among the levels
    large : whether the file is one that pandas reads in pieces
    padded : whether blanks stand beside its levels, which are not part of them
    """
    levels = frozenset(distinct)
    # Beside a whole number beyond 64 bits pandas does not know what is missing.
    large = large or any(map(_BEYOND.fullmatch, levels))
    numbers = [bool(_PYTHON_NUMBER.fullmatch(level)) for level in levels]
    exact = not padded and all(map(_AS_WRITTEN.fullmatch, levels))
    return partial(
        WrittenColumn,
        kind=TEXT,
        missing=missing,
        taken=frozenset(level for level in levels if level.strip() in PANDAS_MISSING),
        bare=bare,
        python=any(numbers) and (large or all(numbers)) and not (exact and not missing) or levels <= _PYTHON_TRUTH,
        r=not exact and all(map(_R_NUMBER.fullmatch, filter(str.strip, levels))) or levels <= _R_TRUTH,
        padded=padded,
    )


def truth(distinct: Iterable[str], missing: frozenset[str]) -> Rest:
    """The facts of a column of truth values: R's reader knows capitals alone."""
    return partial(WrittenColumn, kind=TRUTH, missing=missing, r=not frozenset(distinct) <= {"TRUE", "FALSE"})


def number(missing: frozenset[str]) -> Rest:
    """The facts of a column of numbers."""
    return partial(WrittenColumn, kind=NUMBER, missing=missing)


# A field in quotes, and whatever stands before its end.
_FIELD = r'"(?:[^"]|"")*"(?=[{0}\r\n]|\Z)'


def quotes(content: str, delimiter: str) -> str:
    """Whether quotes stand within fields that have none around them, see `Written`."""
    if '"' not in content:
        return ""
    rest, fields = re.subn(rf"(?:(?<=[{delimiter}\r\n])|\A){_FIELD.format(delimiter)}", "", content)
    if '"' not in rest:
        return ""
    return "mixed" if fields else "bare"


def quoted_numbers(name: str, values: pd.Series) -> str:
    """What is to be said of numbers in quotes, as R writes the levels of factors, where they are taken for numbers."""
    kind = "whole numbers" if (values == values.round()).all() else "numbers"
    plain = one_line(name)
    return (
        f"{plain} has {values.nunique()} {kind} in quotes and is taken as a number; if they are levels, "
        f"write factor({plain})"
    )


def quoted_fields(line: str, delimiter: str) -> list[bool]:
    """Which fields of a line stand in quotes."""
    fields = re.findall(rf'(?:\A|{delimiter})("(?:[^"]|"")*"|[^{delimiter}]*)', line)
    return [one.startswith('"') for one in fields]
