"""Tables as text: CSV in UTF-8, with commas, semicolons (European Excel) or tabs."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from concord.data import written
from concord.data.source import DECIMALS, NOTES, NUMERALS, SourceError, check_names
from concord.data.written import WRITTEN, Rest, Written

# What a number is made of: int() and float() take more, such as "1_000", "nan" or the digits of other scripts.
WHOLE = frozenset("0123456789+-")
NUMBER = WHOLE | frozenset(".eE")
SPECIAL = {
    **dict.fromkeys(("", "NA", "NaN", "nan", "-NaN", "-nan"), np.nan),
    **dict.fromkeys(("Inf", "inf", "+Inf", "+inf"), np.inf),
    **dict.fromkeys(("-Inf", "-inf"), -np.inf),
}
# A double holds any decimal of so many significant digits, and its shortest notation is that decimal again.
HELD = 15
TRUTH = {"TRUE": True, "true": True, "True": True, "FALSE": False, "false": False, "False": False}


@dataclass(frozen=True)
class _Text:
    """A table's text before its columns are told apart.

    Attributes
    ----------
    where : the file's name
    text : what stands in the file, without its byte order mark
    delimiter : what parts the fields
    quoted_na : what stands in `text` for a field that was ``NA`` in quotes
    """

    where: str
    text: str
    delimiter: str
    quoted_na: str

    def reader(self) -> Any:
        # newline="": CR, LF and CRLF all end a line, and a line break within quotes stays as it is.
        return csv.reader(io.StringIO(self.text, newline=""), delimiter=self.delimiter, strict=True)

    def told(self, value: str) -> str:
        """A field as it stands in the file."""
        return "NA" if value == self.quoted_na else value

    def after(self, records: int) -> int:
        """The line that follows so many records, empty ones counted."""
        reader = self.reader()
        for _ in range(records):
            next(reader)
        return int(reader.line_num) + 1

    def line(self, row: int) -> int:
        """The line on which a record begins; records are counted from 0, the header is the first."""
        reader, begins = self.reader(), 1
        for record in reader:
            if record:
                if row == 0:
                    return begins
                row -= 1
            begins = reader.line_num + 1
        raise AssertionError("no such record")


def parse(content: bytes, where: str, tabs: bool = False) -> pd.DataFrame:
    """The table that a text file holds.

    The text is UTF-8, with or without a byte order mark, its lines end in LF, CRLF or CR, and its first line names the
    columns. Fields are parted by the one of comma, semicolon and tab that the header has most of, and the line below
    it as many (a tab, if `tabs` and the header has one); they may stand in double quotes. With semicolons or tabs a
    decimal comma is understood; one file has one kind. Empty lines are passed over. A first column without a name, as
    R's ``write.csv`` writes its row names, is left out, and a note says so.

    A column is what all of its values are: TRUE or FALSE (also true, True) boolean; whole numbers ``int64``, with
    missing values ``Int64``; other numbers ``float64``, correctly rounded, with Inf and NaN; all else is text, kept
    letter by letter. Whole numbers beyond 64 bits are text too, which keeps them apart as levels.

    Missing is an empty field and an unquoted NA, in every column, and nothing else: None, nan, null and "NA" in quotes
    are values of a text column. R's ``write.csv`` writes just so. Both languages' own readers take more for missing:
    R's ``read.csv`` also a quoted "NA", in text and numbers alike; pandas' ``read_csv`` that and None, nan, null, N/A
    and others. A file that quotes nothing, such as pandas writes, cannot tell a level NA from a missing value: a note
    counts what was taken as missing in a text column. Beside numbers alone a quoted "NA" is missing too, and so is a
    NaN; the note says so of the first.

    Numbers with leading zeros, or of which one is written in two ways (1 and 01, 1.1 and 1.10), may be names: they are
    kept as text, and whoever uses them as numbers takes them for such (`numeral`). How the file is written stands in
    ``frame.attrs["written"]``.

    Raises
    ------
    SourceError : it is not text in UTF-8 or no table; the message has the line and the column
    """
    text = _decoded(content, where)
    split = _split(text, where, tabs)
    header, columns = _fields(split)
    notes: list[tuple[str | None, str]] = []
    unnamed: list[str] = []
    if len(header) > 1 and not header[0]:
        header, unnamed, columns = header[1:], columns[0], columns[1:]
        notes.append((None, f"the first column of {where} has no name, as row names have none: it is left out"))
    check_names(header, where)
    parsed = {name: _column(values, name, split) for name, values in zip(header, columns, strict=True)}
    _check_decimals({name: column.sign for name, column in parsed.items()}, where)
    frame = pd.DataFrame({name: column.values for name, column in parsed.items()})
    notes += [(name, note) for name, column in parsed.items() for note in column.notes]
    frame.attrs[NOTES] = notes
    frame.attrs[DECIMALS] = frozenset(name for name, column in parsed.items() if column.printed)
    frame.attrs[NUMERALS] = frozenset(name for name, column in parsed.items() if column.numerals)
    frame.attrs[WRITTEN] = _written(content, split, parsed, unnamed)
    return frame


def _written(content: bytes, split: _Text, parsed: dict[str, _Parsed], row_names: Sequence[str]) -> Written:
    """How the file is written; `row_names` are the fields of a first column that has no name."""
    skipped = int(_directive(split.text))
    records = (record for record in split.reader() if record)
    headers = next(itertools.islice(records, skipped, None))
    headers = [split.told(header) for header in headers]
    lines = [line for line in split.text[:100_000].splitlines() if line.strip()]
    names, quoted = (written.quoted_fields(line, split.delimiter) for line in lines[skipped : skipped + 2])
    signs = {column.sign for column in parsed.values()}
    # A line that ends within quotes does not tell.
    names, quoted = (told if len(told) >= len(parsed) else [False] * len(parsed) for told in (names, quoted))
    beside = (of[-len(parsed) :] for of in (headers, names, quoted))
    return Written(
        delimiter=split.delimiter,
        decimal="," if "," in signs else ".",
        skipped=skipped,
        mark=content.startswith(codecs.BOM_UTF8),
        ascii=content.removeprefix(codecs.BOM_UTF8).isascii(),
        quotes=written.quotes(split.text, split.delimiter),
        row_names=len(headers) == len(parsed) and len(set(row_names)) < len(row_names),
        columns={
            name: replace(column.written(header), header_quoted=name_quoted, quoted=is_quoted and not all(quoted))
            for (name, column), header, name_quoted, is_quoted in zip(parsed.items(), *beside, strict=True)
        },
    )


def _fields(content: _Text) -> tuple[list[str], list[list[str]]]:
    """The header, and the fields of every column."""
    # One flat list: a list of rows would be as many objects, which Python's collector goes through again and again.
    fields: list[str] = []
    lengths: list[int] = []
    try:
        for record in content.reader():
            fields += record
            lengths.append(len(record))
    except csv.Error as error:
        what = "a quote is opened and never closed" if "end of data" in str(error) else str(error)
        raise SourceError(
            f"{content.where}: line {content.after(len(lengths))}: {what}: check the quotes; one within a field is "
            "doubled"
        ) from None
    if _directive(content.text):
        del fields[: lengths[0]]
        lengths[0] = 0
    records = [i for i, length in enumerate(lengths) if length]
    if not records:
        raise SourceError(f"{content.where}: it is empty, but for blanks: expected a table with a header")
    width = lengths[records[0]]
    header = [content.told(name).strip() for name in fields[:width]]
    del fields[:width], records[0]
    if not records:
        raise SourceError(f"{content.where}: it has a header and no rows: expected one line for every observation")
    if all(lengths[i] == width + 1 for i in records):
        header.insert(0, "")  # as R's write.table: row names, and no name above them
    width = len(header)
    ragged = next((i for i in records if lengths[i] != width), None)
    if ragged is not None:
        raise SourceError(
            f"{content.where}: line {content.after(ragged)}: {lengths[ragged]} fields, the header has {width}: "
            "give every line as many, and quote a field that holds the delimiter"
        )
    return header, [fields[j::width] for j in range(width)]


def _decoded(content: bytes, where: str) -> str:
    for begin, what in _FOREIGN.items():
        if content.startswith(begin):
            raise SourceError(f"{where}: it holds {what}, and no text: save the table as CSV (UTF-8)")
    if b"\0" in content:
        raise SourceError(
            f"{where}: line {_lines(content[: content.index(0)])}: a NUL byte, so it is not text: {_SAVE}"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = _lines(content[: error.start]), content[error.start]
        raise SourceError(f"{where}: line {line}: byte 0x{byte:02x} is not UTF-8: {_SAVE}") from None
    if not text.strip():
        raise SourceError(f"{where}: it is empty, but for blanks: expected a table with a header")
    return text


_SAVE = "save the table as CSV (UTF-8)"
_FOREIGN = {
    b"PK\x03\x04": "a spreadsheet or an archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PAR1": "Parquet (name it .parquet)",
    b"ARROW1": "Feather (name it .feather)",
    b"\x1f\x8b": "compressed data (name it .csv.gz)",
    b"%PDF": "a PDF",
}


def _lines(before: bytes) -> int:
    """The number of the line that follows these bytes, from 1."""
    return 1 + len(re.findall(rb"\r\n|\r|\n", before))


def _directive(text: str) -> bool:
    """Whether the first line is Excel's own ``sep=;``."""
    return re.match(r"sep=[,;\t]\r?[\r\n]", text) is not None


def _split(text: str, where: str, tabs: bool) -> _Text:
    """How the text is parted into fields, by its header."""
    if _directive(text):
        delimiter = text[4]
    else:
        # The first two lines, without what stands in quotes.
        lines = [line for line in re.sub(r'"[^"]*"', "", text[:100_000]).splitlines() if line.strip()][:2]
        counts = {sign: [line.count(sign) for line in lines] for sign in "\t;,"}
        # What the header has most of; rather what the line below it has as many of, for a name may hold the others.
        delimiter = max(counts, key=lambda sign: (len(set(counts[sign])) == 1 and counts[sign][0] > 0, counts[sign][0]))
        if tabs and counts["\t"][0]:
            delimiter = "\t"
        if not counts[delimiter][0]:
            raise SourceError(
                f"{where}: line 1: no comma, semicolon or tab, so it is not a table of two or more columns: {_SAVE}"
            )
    quoted_na = "NA"
    if '"NA"' in text:
        # csv tells no quoted field from a bare one: mark the quoted NA by a letter that is nowhere else. Within a
        # quoted field every quote is doubled, so a field is all that can look like this.
        mark = next(letter for letter in map(chr, range(0xE000, 0xF8FF)) if letter not in text)
        quoted_na = f"{mark}NA"
        edge = rf"[{delimiter}\r\n]"
        text = re.sub(rf'((?<={edge})|\A)"NA"(?={edge}|\Z)', quoted_na, text)
    return _Text(where, text, delimiter, quoted_na)


@dataclass(frozen=True)
class _Parsed:
    """A column with its values, what to say of it, the decimal sign that it uses ("" if none), whether its doubles are
    those of the printed decimals, whether it is text that could be numbers, and how it is written.
    """

    values: pd.api.extensions.ExtensionArray | np.ndarray
    notes: tuple[str, ...] = ()
    sign: str = ""
    printed: bool = False
    numerals: bool = False
    written: Rest = written.number(frozenset())


def _column(values: Sequence[str], name: str, content: _Text) -> _Parsed:
    present = [value for value in values if value and value != "NA"]
    if TRUTH.keys() >= set(present) and present:
        facts = written.truth(set(present), frozenset({"", "NA"} & set(values)))
        return _Parsed(_masked(values, present, TRUTH.__getitem__, bool, pd.arrays.BooleanArray), written=facts)
    number = _number(values, present, name, content)
    if number is not None and _may_be_names(present, number.values):
        return _numerals(values, number, name, content)
    if number is not None:
        lost = set(values) if pd.isna(number.values).any() else set()
        missing = frozenset(content.told(value) for value in lost if _is_missing(value, content))
        return replace(number, written=written.number(missing))
    # In this order: without a quoted NA in the file both keys are the same.
    meaning = {content.quoted_na: "NA", "": None, "NA": None}
    notes = []
    # A file whose header stands in quotes, as R's, quotes its texts too: its bare NA is no level.
    bare = 0 if content.text.startswith('"') else sum(value == "NA" for value in values)
    if bare:
        notes.append(f'{name}: an NA without quotes is a missing value ({bare}); a level NA is written "NA"')
    notes += _why_text(values, present, name, content)
    texts = [meaning.get(value, value) for value in values]
    return _Parsed(pd.array(texts, dtype="str"), tuple(notes), written=_text_facts(set(values), {"", "NA"}, content))


def _text_facts(distinct: set[str], missing: set[str], content: _Text, padded: bool = False) -> Rest:
    lost, levels = ({content.told(value) for value in part} for part in (distinct & missing, distinct - missing))
    large = len(content.text) > written.PIECE
    return written.text(levels, frozenset(lost), bare="NA" in lost & levels, large=large, padded=padded)


def _is_missing(value: str, content: _Text) -> bool:
    """Whether a field of a column of numbers is a missing value."""
    bare = value.strip(" \t")
    return bare == content.quoted_na or bare in SPECIAL and bool(np.isnan(SPECIAL[bare]))


_NEGATIVE_ZERO = re.compile(r"-(?=[0.]+\Z)")


def _may_be_names(present: Sequence[str], values: Any) -> bool:
    """Whether numbers may be names: one has leading zeros, or is written in two ways; of as many as there are half of
    all values nobody makes groups.
    """
    if re.search(r"(?:\A|\n)[ \t]*[+-]?0[0-9]", "\n".join(present)):
        return True
    distinct = set(present) - SPECIAL.keys()
    if 2 * len(distinct) > len(present):
        return False
    numbers = len(pd.unique(pd.Series(values).dropna()))
    # A rounded number below 0 is -0.0 to pandas: that is no other name.
    return len(distinct) > numbers and len({_NEGATIVE_ZERO.sub("", one.strip(" \t")) for one in distinct}) > numbers


def _numerals(values: Sequence[str], number: _Parsed, name: str, content: _Text) -> _Parsed:
    """Numbers that may be names, as text."""
    bare = [value.strip(" \t") for value in values]
    texts = [None if _is_missing(value, content) else value for value in bare]
    distinct = set(values)
    missing = {value for value in distinct if _is_missing(value, content)}
    facts = _text_facts(distinct, missing, content, padded=bare != list(values))
    merged = next((value for value in sorted(distinct) if value != value.strip(" \t") in distinct), None)
    notes = (
        ()
        if merged is None
        else (f"{name}: blanks around numbers are left out, so that {merged!r} is one of {merged.strip()!r}",)
    )
    return replace(
        number, values=pd.array(texts, dtype="str"), numerals=True, written=facts, notes=number.notes + notes
    )


def _masked(
    values: Sequence[str],
    present: Sequence[str],
    convert: Callable[[str], object],
    dtype: Any,
    array: Callable[..., Any],
) -> Any:
    """The converted values as a numpy array, or where some are missing as pandas' array with a mask."""
    numbers: Any = np.array([convert(value) for value in present], dtype)
    if len(present) == len(values):
        return numbers
    missing = np.array([not value or value == "NA" for value in values])
    whole: Any = np.zeros(len(values), dtype)
    whole[~missing] = numbers
    return array(whole, missing)


def _number(values: Sequence[str], present: list[str], name: str, content: _Text) -> _Parsed | None:
    """The column as numbers; None if one of its values is not a number."""
    letters = set("".join(present))
    if letters & {" ", "\t"}:
        values = [value.strip(" \t") for value in values]
        present = [value for value in values if value and value != "NA"]
        letters = set("".join(present))
    if letters <= WHOLE and present:
        try:
            return _Parsed(_masked(values, present, int, np.int64, pd.arrays.IntegerArray))
        except (ValueError, OverflowError):
            return None
    if letters <= NUMBER | {","}:
        return _real(values, letters, SPECIAL, content.delimiter)
    special = SPECIAL | {content.quoted_na: np.nan}
    present = [value for value in present if value not in special]
    if not present and not any(np.isinf(special[value]) for value in values):
        return None
    column = _real(values, set("".join(present)), special, content.delimiter)
    quoted = sum(value == content.quoted_na for value in values) if content.quoted_na != "NA" else 0
    if column is None or not quoted:
        return column
    return replace(column, notes=(f'{name}: "NA" beside numbers is taken for a missing value ({quoted})',))


def _real(values: Sequence[str], letters: set[str], special: dict[str, float], delimiter: str) -> _Parsed | None:
    """The column as doubles; None if one of its values is not a number.

    Parameters
    ----------
    letters : of all values that are not special
    special : what is not a number in digits, and what it is
    """
    sign = "." if "." in letters else ""
    if "," in letters:
        if delimiter == ",":
            return None
        values, letters, sign = [value.replace(",", ".") for value in values], letters - {","}, ","
    if not letters <= NUMBER:
        return None
    try:
        numbers = np.array([special[value] if value in special else float(value) for value in values])
    except ValueError:
        return None
    return _Parsed(numbers, (), sign, printed([value for value in values if value not in special]))


def printed(texts: Sequence[str]) -> bool:
    """Whether every number is written in so few digits that its double's shortest notation is what is written."""
    if max(map(len, texts), default=0) <= HELD:
        return True
    return all(len(re.sub(r"[eE].*|[+.-]", "", text).strip("0")) <= HELD for text in texts)


def _is_number(value: str) -> bool:
    try:
        return set(value) <= NUMBER and np.isfinite(float(value))
    except ValueError:
        return False


def _why_text(values: Sequence[str], present: list[str], name: str, content: _Text) -> list[str]:
    """A note on a column that is text for a few of its values only: most likely they are slips."""
    distinct = dict.fromkeys(present)
    odd = [value for value in distinct if not _is_number(value)]
    if not odd:
        return [f"{name}: whole numbers beyond 64 bits, kept as text"]
    if len(odd) > len(distinct) / 2:
        return []
    line = content.line(values.index(odd[0]) + 1 + _directive(content.text))
    return [f"{name}: text and no number, because of {content.told(odd[0])!r} on line {line}"]


def _check_decimals(signs: dict[str, str], where: str) -> None:
    commas, points = ([name for name, sign in signs.items() if sign == mark] for mark in ",.")
    if commas and points:
        raise SourceError(
            f"{where}: column {commas[0]!r} has decimal commas and column {points[0]!r} decimal points: "
            "write all columns with the same"
        )
