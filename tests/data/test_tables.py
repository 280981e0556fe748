"""A user's own file becomes the table that it holds, or one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import gzip
import os
import random
import re
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from concord import r
from concord.data import tables
from concord.data.source import NOTES, SourceError, Unusable


@pytest.fixture
def write(tmp_path):
    """Write a file and give its path: ``write("y,g\\n1,a\\n")``, ``write(b"...", "t.rds")``."""

    def write(content: str | bytes, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def refused(write):
    """What `read` says of a file, without the folder; one line always."""

    def refused(content: str | bytes, name: str = "t.csv") -> str:
        path = write(content, name)
        with pytest.raises(SourceError) as caught:
            tables.read(path)
        message = str(caught.value)
        assert "\n" not in message and message.startswith(f"{path}: ")
        return message.removeprefix(f"{path.parent}{os.sep}")

    return refused


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Equal to the last bit, and of the same types."""
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)


# ---- CSV: what it means --------------------------------------------------------------------------------------------

PLAIN = "y,g,n,t\n1.5,a,1,TRUE\n-2e3,b,-2,FALSE\n.25,a,3,TRUE\n"
TABLE = pd.DataFrame(
    {"y": [1.5, -2000.0, 0.25], "g": pd.Series(["a", "b", "a"], dtype="str"), "n": [1, -2, 3], "t": [True, False, True]}
)
SPELLINGS = {
    "plain": PLAIN,
    "no last line end": PLAIN.rstrip(),
    "byte order mark": "\ufeff" + PLAIN,
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "CR": PLAIN.replace("\n", "\r"),
    "semicolons": PLAIN.replace(",", ";"),
    "decimal commas": PLAIN.replace(",", ";").replace(".", ","),
    "Excel's own first line": "sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"),
    "tabs": PLAIN.replace(",", "\t"),
    "tabs and decimal commas": PLAIN.replace(",", "\t").replace(".", ","),
    "texts in quotes, as R writes them": PLAIN.replace("a", '"a"')
    .replace("b", '"b"')
    .replace("y,g,n,t", '"y","g","n","t"'),
    "everything in quotes": "".join(
        ",".join(f'"{field}"' for field in line.split(",")) + "\n" for line in PLAIN.splitlines()
    ),
    "empty lines": "\n" + PLAIN.replace("\n", "\n\n"),
    "blanks around names and numbers": PLAIN.replace("y,g", " y ,g").replace("1.5", " 1.5 ").replace(",1,", ", 1,"),
    "truth in small letters": PLAIN.replace("TRUE", "true").replace("FALSE", "false"),
    "Python's truth": PLAIN.replace("TRUE", "True").replace("FALSE", "False"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_table_is_read_alike_however_it_is_written(spelling, write):
    """Line ends, delimiters, decimal signs, quotes and a byte order mark are no part of the data."""
    found = tables.read(write(SPELLINGS[spelling]))
    same(found, TABLE)
    assert found.attrs[NOTES] == []


@pytest.mark.parametrize("name", ["t.CSV", "t.txt", "t.tab", "t.tsv"])
def test_the_suffix_of_a_text_is_one_of_several(name, write):
    """In a .tsv a tab is the delimiter, however many commas there are in the names."""
    same(tables.read(write(PLAIN.replace(",", "\t"), name)), TABLE)
    if name == "t.tsv":
        assert list(tables.read(write("a,b,c,d\te\nw,x,y,z\t2\n", name))) == ["a,b,c,d", "e"]


def test_a_column_may_be_called_na(write):
    """In quotes or bare: a header has no missing values."""
    for header in ('"NA","g"', "NA,g"):
        assert list(tables.read(write(f'{header}\n1,"NA"\n'))) == ["NA", "g"]


def test_a_name_may_hold_other_delimiters(write):
    """The delimiter is what the next line has as many of."""
    assert list(tables.read(write("a;b;c;d,e\tf\n1,2\n"))) == ["a;b;c;d", "e\tf"]
    assert list(tables.read(write("a,b,c;d\n1,5;2\n"))) == ["a,b,c", "d"]


def test_a_compressed_text_is_read(write):
    """.csv.gz and its kin."""
    same(tables.read(write(gzip.compress(PLAIN.encode()), "t.csv.gz")), TABLE)


COLUMNS = {
    "integers": ("1|-2|+3", np.array([1, -2, 3])),
    "64 bits": ("9223372036854775807|-9223372036854775808|0", np.array([2**63 - 1, -(2**63), 0])),
    "integers, one missing": ("1||9007199254740993", pd.array([1, None, 2**53 + 1], "Int64")),
    "integers, one NA": ("1|NA|3", pd.array([1, None, 3], "Int64")),
    "numbers": ("0.1|1e-320|123456789.123456789", np.array([0.1, 1e-320, 123456789.123456789])),
    "a number halfway between doubles": ("0.1|5e-324|9007199254740993.0", np.array([0.1, 5e-324, 2.0**53])),
    "numbers, some missing": ("1.5||NA", np.array([1.5, np.nan, np.nan])),
    "NaN and infinity as R and Python write them": ("NaN|Inf|-inf", np.array([np.nan, np.inf, -np.inf])),
    "beyond doubles": ("1e999|-1e999|1", np.array([np.inf, -np.inf, 1])),
    "truth, one missing": ("TRUE||FALSE", pd.array([True, None, False], "boolean")),
    "nothing at all": ("||NA", np.array([np.nan] * 3)),
    "no number: underscores": ("1_0|2_0|3_0", ["1_0", "2_0", "3_0"]),
    "no number: hexadecimal": ("0x1A|0x1B|0x1C", ["0x1A", "0x1B", "0x1C"]),
    "no number: other digits": ("١|٢|٣", ["١", "٢", "٣"]),
    "no number: a decimal comma where commas part fields": ('"1,5"|"2,5"|"3,5"', ["1,5", "2,5", "3,5"]),
    "no number: two in one": ("1 2|3 4|5 6", ["1 2", "3 4", "5 6"]),
    "no number: 65 bits and text": ("1a|18446744073709551616|b", ["1a", "18446744073709551616", "b"]),
    "no truth: T and F": ("T|F|T", ["T", "F", "T"]),
    "words that other readers lose": ("None|nan|null", ["None", "nan", "null"]),
    "NaN alone": ("NaN|NaN|NaN", ["NaN"] * 3),
    "a quoted NA": ('"NA"|a|', ["NA", "a", None]),
    "quoted NAs alone": ('"NA"|"NA"|NA', ["NA", "NA", None]),
    "quoted, and nothing in it": ('""|a|b', [None, "a", "b"]),
    "quotes, delimiters and lines in quotes": ('"a ""b"""|"c,d"|"e\nf"', ['a "b"', "c,d", "e\nf"]),
    "a quoted text about a quoted NA": ('"say ""NA"", or"|"NA"|"x"', ['say "NA", or', "NA", "x"]),
    "line ends in quotes stay": ('"a\r\nb"|"c\rd"|e', ["a\r\nb", "c\rd", "e"]),
    "blanks are part of a text": (" a|a |a", [" a", "a ", "a"]),
    "other scripts": ("größe|木|🌲", ["größe", "木", "🌲"]),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_a_column_is_what_all_its_values_are(case, write):
    """Strictly: what only looks like a number is text, and no text is lost that means missing to other readers."""
    values, wanted = COLUMNS[case]
    path = write("i,x\n" + "".join(f"{i},{field}\n" for i, field in enumerate(values.split("|"))))
    if isinstance(wanted, list):
        wanted = pd.array(wanted, dtype="str")
    pd.testing.assert_series_equal(tables.read(path)["x"], pd.Series(wanted, name="x"), check_exact=True)


def test_points_between_thousands_are_no_numbers(write):
    """Where commas are decimal signs, 1.234,5 is refused a meaning: it would be a guess."""
    assert tables.read(write("y;g\n1.234,5;a\n2.345,5;b\n"))["y"].tolist() == ["1.234,5", "2.345,5"]


def test_numbers_are_correctly_rounded(write):
    """Every double comes back from its own digits to the last bit."""
    bits = np.random.default_rng(5).integers(0, 2**63, 4000, dtype=np.uint64)
    values = bits.view(np.float64)
    values = values[np.isfinite(values)]
    path = write("x,i\n" + "".join(f"{value!r},1.\n" for value in values.tolist()))
    assert (tables.read(path)["x"].to_numpy() == values).all()


NOTED = {
    "row names of R's write.csv": ('"","y","g"\n"1",1,"a"\n"2",2,"b"\n', "the first column of .* has no name"),
    "row names of R's write.table": ("y\tg\n1\t1\ta\n2\t2\tb\n", "the first column of .* has no name"),
    "a bare NA where nothing is quoted": ("y,g\n1,NA\n2,b\n", r"g: an NA without quotes is a missing value \(1\)"),
    "a quoted NA beside numbers": ('y,g\n"NA",a\n2,b\n', r'y: "NA" beside numbers is taken for a missing value \(1\)'),
    "a slip among numbers": ("y,g\n1,a\n1O,b\n3,c\n", "y: text and no number, because of '1O' on line 3"),
    "a slip after a text of two lines": ('y,g\n1,"a\nb"\n1O,b\n3,c\n', "because of '1O' on line 4"),
    "beyond 64 bits": ("y,g\n1,18446744073709551616\n2,3\n", "g: whole numbers beyond 64 bits, kept as text"),
}


@pytest.mark.parametrize("case", NOTED)
def test_what_was_decided_for_the_user_is_said_aloud(case, write):
    """One note of the column that it is about."""
    content, said = NOTED[case]
    found = tables.read(write(content))
    assert list(found) == ["y", "g"] and len(found) >= 2
    ((column, note),) = found.attrs[NOTES]
    assert re.search(said, note)
    assert column == (None if "first column" in said else note.partition(":")[0])


def test_r_and_this_read_what_r_writes_alike(tmp_path):
    """R's write.csv, with missing values, "NA" as a level, quotes and row names, comes back as what R had."""
    path = tmp_path / "r.csv"
    code = (
        "write.csv(data.frame(y = c(1.5, NA, 1/3, -Inf), n = c(1L, NA, 3L, 4L), t = c(TRUE, NA, FALSE, TRUE),"
        f" g = c('NA', NA, 'a \"b\", c', 'None')), {str(path)!r})"
    )
    r.call("eval", r.call("parse", text=code), r.interface().globalenv)
    wanted = pd.DataFrame(
        {
            "y": [1.5, np.nan, 0.333333333333333, -np.inf],  # R writes 15 digits
            "n": pd.array([1, None, 3, 4], "Int64"),
            "t": pd.array([True, None, False, True], "boolean"),
            "g": pd.Series(["NA", None, 'a "b", c', "None"], dtype="str"),
        }
    )
    same(tables.read(path), wanted)


def test_a_hundred_thousand_rows_are_read_at_once(tmp_path):
    """In a fraction of a second, and exactly what pandas wrote."""
    rng, n = np.random.default_rng(0), 100_000
    frame = pd.DataFrame({"y": rng.normal(size=n), "k": rng.integers(0, 999, n), "t": rng.random(n) < 0.5})
    frame["g"] = pd.Series(rng.choice(list("abcdefgh"), n), dtype="str")
    frame.to_csv(tmp_path / "big.csv", index=False)
    seconds = []
    for _ in range(3):
        started = time.process_time()
        found = tables.read(tmp_path / "big.csv")
        seconds.append(time.process_time() - started)
    same(found, frame)
    assert min(seconds) < 1.5  # a third of a second, where nothing else runs


# ---- CSV: what is wrong with it ------------------------------------------------------------------------------------

SAVE = "save the table as CSV (UTF-8)"
NO_TABLE = f"line 1: no comma, semicolon or tab, so it is no table of two or more columns: {SAVE}"
REFUSED = {
    "nothing": ("", "it is empty (0 bytes): expected a table with a header"),
    "blanks": (" \n\n", "it is empty, but for blanks: expected a table with a header"),
    "a byte order mark": ("\ufeff", "it is empty, but for blanks: expected a table with a header"),
    "Excel's own first line only": ("sep=;\n", "it is empty, but for blanks: expected a table with a header"),
    "a header only": ("y,g\n", "it has a header and no rows: expected one line for every observation"),
    "one column": ("y\n1\n2\n", NO_TABLE),
    "prose": ("Once upon a time\n", NO_TABLE),
    "a line too short": (
        "y,g\n1,a\n\n2\n3,c\n",
        "line 4: 1 fields, the header has 2: give every line as many, and quote a field that holds the delimiter",
    ),
    "a line too long": (
        'y,g\n1,"a\nb"\n2,b,c\n',
        "line 4: 3 fields, the header has 2: give every line as many, and quote a field that holds the delimiter",
    ),
    "decimal commas in a file of commas": (
        "y,g\n1,5,a\n2,b\n",
        "line 2: 3 fields, the header has 2: give every line as many, and quote a field that holds the delimiter",
    ),
    "an open quote": (
        'y,g\n1,"a\nb"\n2,"b\n3,c\n',
        "line 4: a quote is opened and never closed: check the quotes; one within a field is doubled",
    ),
    "a quote within": (
        'y,g\n1,"a"b\n',
        "line 2: ',' expected after '\"': check the quotes; one within a field is doubled",
    ),
    "the same name twice": ("y,g,y\n1,a,2\n", "columns 1 and 3 are both called 'y': rename one"),
    "no name": ("y,,g\n1,2,a\n", "column 2 of 3 has no name: name it in the header"),
    "a delimiter at every line's end": ("y,g,\n1,a,\n", "column 3 of 3 has no name: name it in the header"),
    "two decimal signs": (
        "y;x;g\n1,5;2.5;a\n2,5;1.5;b\n",
        "column 'y' has decimal commas and column 'x' decimal points: write all columns with the same",
    ),
    "Latin-1": ("y,g\n1,a\n2,größe\n".encode("latin-1"), f"line 3: byte 0xf6 is no UTF-8: {SAVE}"),
    "UTF-16": ("y,g\n1,a\n".encode("utf-16"), "it holds UTF-16, and no text: save the table as CSV (UTF-8)"),
    "a NUL": (b"y,g\r\n1,a\r\n2,\0\r\n", f"line 3: a NUL byte, so it is no text: {SAVE}"),
    "a spreadsheet in disguise": (b"PK\x03\x04\x14\0", f"it holds a spreadsheet or an archive, and no text: {SAVE}"),
    "Parquet in disguise": (b"PAR1\x15\0", f"it holds Parquet (name it .parquet), and no text: {SAVE}"),
    "gzip in disguise": (
        gzip.compress(b"y,g\n1,a\n"),
        f"it holds compressed data (name it .csv.gz), and no text: {SAVE}",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_text_that_is_no_table_is_one_line(case, refused):
    """What is wrong, on which line, in which column, and what to do."""
    content, message = REFUSED[case]
    assert refused(content) == f"t.csv: {message}"


NO_SUFFIX = "its suffix says of no table: expected .csv, .tsv, .tab, .txt, .parquet, .pq, .feather, .arrow, .rds"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t.xlsx", "a spreadsheet: save the sheet as CSV (UTF-8)"),
        ("t.XLS", "a spreadsheet: save the sheet as CSV (UTF-8)"),
        ("t.RData", "an R workspace: save the one data frame with saveRDS(table, 'table.rds')"),
        ("t.sav", "another package's file: export it as CSV"),
        ("t.json", "JSON: save the table as CSV"),
        ("t.zip", "an archive: unpack it first"),
        ("t", NO_SUFFIX),
        ("t.foo", NO_SUFFIX),
        ("t.rds.gz", NO_SUFFIX),
        ("t.csv.gz", "it cannot be unpacked (Not a gzipped file (b'y,')): compress it anew"),
        ("t.parquet", "it is no Parquet or Feather file, or is damaged: save it anew"),
        ("t.feather", "it is no Parquet or Feather file, or is damaged: save it anew"),
        (
            "t.rds",
            "it is damaged, or holds R objects other than a data frame: save one anew with "
            "saveRDS(as.data.frame(table), 'table.rds')",
        ),
    ],
)
def test_a_suffix_that_is_none_of_a_table_or_not_this_files_is_one_line(name, message, refused):
    """Each with the way out."""
    assert refused("y,g\n1,a\n", name).startswith(f"{name}: {message}")


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.feather", "t.rds", "t.csv.gz"])
def test_an_empty_file_is_one_line(name, refused):
    """Whatever it calls itself."""
    assert refused(b"", name) == f"{name}: it is empty (0 bytes): expected a table with a header"


def test_what_is_no_file_is_one_line(tmp_path, write, monkeypatch):
    """A missing file, with the nearest name; a folder, a pipe, a device, no permission, no file name."""
    monkeypatch.chdir(tmp_path)
    write(PLAIN, "growth.csv")
    os.mkfifo("pipe.csv")
    Path("folder.csv").mkdir()
    Path("loop.csv").symlink_to("loop.csv")
    Path("device.csv").symlink_to(os.devnull)
    cases = {
        "grwth.csv": "grwth.csv: there is no such file; did you mean growth.csv?",
        "zzzzz.rds": "zzzzz.rds: there is no such file: check the name and the folder",
        "nowhere/t.csv": "nowhere/t.csv: there is no such file; there is no folder nowhere either",
        "folder.csv": "folder.csv: it is a folder: name the file in it",
        "pipe.csv": "pipe.csv: it is a pipe or a device: save the table to a file first",
        "device.csv": "device.csv: it is a pipe or a device: save the table to a file first",
        "growth.csv/t.csv": "growth.csv/t.csv: it cannot be read: Not a directory",
        "loop.csv": "loop.csv: it cannot be read: Too many levels of symbolic links",
        "a" * 300 + ".csv": "a" * 300 + ".csv: it cannot be read: File name too long",
        "a\0b.csv": "'a\\x00b.csv': it is no file name",
        "a\nb.csv": "'a\\nb.csv': there is no such file: check the name and the folder",
    }
    for path, message in cases.items():
        with pytest.raises(SourceError) as caught:
            tables.read(path)
        assert str(caught.value) == message

    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(SourceError, match="^growth.csv: it cannot be read: Permission denied$"):
        tables.read("growth.csv")


# ---- Parquet, Feather ----------------------------------------------------------------------------------------------

MIXED = pd.DataFrame(
    {
        "y": [1.5, np.nan, 3.0],
        "n": [1, 2, 2**62 + 1],
        "N": pd.array([1, None, 2**62 + 1], "Int64"),
        "u": np.array([1, 2, 2**64 - 1], "uint64"),
        "t": [True, False, True],
        "T": pd.array([True, None, False], "boolean"),
        "s": pd.Series(["NA", None, "größe"], dtype="str"),
        "f": pd.Categorical(["b", None, "a"], ["b", "unused", "a"]),
        "o": pd.Categorical(["lo", "hi", "lo"], ["lo", "hi"], ordered=True),
    }
)


@pytest.mark.parametrize("name", ["t.parquet", "t.pq", "t.feather", "t.arrow"])
def test_arrows_formats_keep_what_a_csv_forgets(name, tmp_path):
    """Levels with their order, unused ones too; 64-bit integers; what is missing; texts that look like missing."""
    path = tmp_path / name
    (MIXED.to_parquet if name in ("t.parquet", "t.pq") else MIXED.to_feather)(path)
    found = tables.read(path)
    same(found, MIXED)
    assert found.attrs[NOTES] == []


def test_decimals_dates_and_lists_in_parquet(tmp_path):
    """A decimal becomes the nearest double; what no formula can use stands there as such, and harms nobody."""
    odd = {"d": [Decimal("0.1"), None, Decimal("12345.67")], "l": [[1], [2], None], "b": [b"a"] * 3, "z": [None] * 3}
    odd |= {"when": pd.to_datetime(["2020-01-01"] * 3), "long": pd.to_timedelta([1, 2, 3], "h")}
    frame = pd.DataFrame({"y": np.array([1.5, 2, 3], "float32"), **odd})
    frame.to_parquet(tmp_path / "t.parquet")
    found = tables.read(tmp_path / "t.parquet")
    np.testing.assert_array_equal(found["d"], [0.1, np.nan, 12345.67])
    assert found["y"].tolist() == [1.5, 2, 3] and found["y"].dtype == float and found["z"].isna().all()
    what = {name: found[name].iloc[0].what for name in ("l", "b", "when", "long")}
    assert what["when"] == "dates" and what["long"] == "time spans" and what["b"] == "values of kind binary"
    assert what["l"].startswith("values of kind list") and isinstance(found["l"].iloc[0], Unusable)


def test_an_index_that_pandas_saved_is_a_column_if_it_has_a_name(tmp_path):
    """An index with a name may be the groups; one without is row numbers."""
    frame = pd.DataFrame({"y": [1.0, 2.0]}, index=pd.Index(["a", "b"], name="g", dtype="str"))
    frame.to_parquet(tmp_path / "named.parquet")
    assert set(tables.read(tmp_path / "named.parquet")) == {"y", "g"}
    frame.rename_axis(None).to_parquet(tmp_path / "bare.parquet")
    assert list(tables.read(tmp_path / "bare.parquet")) == ["y"]


def test_a_parquet_file_with_nothing_in_it_or_unclear_names_is_one_line(tmp_path, refused):
    """No rows, no columns, one name twice, half a file."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    def written(table: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        parquet.write_table(table, sink)
        return sink.getvalue().to_pybytes()

    one = pa.array([1.0])
    twice, empty = pa.table([one, one], names=["y", "y"]), pa.table({"y": one[:0]})
    unnamed = pa.table([one, one], names=["y", ""])
    assert refused(written(twice), "t.parquet") == "t.parquet: columns 1 and 2 are both called 'y': rename one"
    assert refused(written(unnamed), "t.parquet") == "t.parquet: column 2 of 2 has no name: name it in the header"
    expected = "t.parquet: it has columns and no rows: expected one row for every observation"
    assert refused(written(empty), "t.parquet") == expected
    damaged = "t.parquet: it is no Parquet or Feather file, or is damaged: save it anew ("
    assert refused(written(twice)[:-5], "t.parquet").startswith(damaged)


def test_a_csv_waits_for_no_other_formats_packages(write):
    """rdata, and Arrow's readers, are imported for their own files only."""
    code = (
        "import sys; from concord.data import tables; tables.read(sys.argv[1])\n"
        "print([name for name in ('rdata', 'xarray', 'pyarrow.parquet', 'pyarrow.feather') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code, write(PLAIN)], capture_output=True, text=True)
    assert ran.stdout.strip() == "[]", ran.stderr


# ---- R's saved data frames -----------------------------------------------------------------------------------------

IN_R = (
    "data.frame(y = c(1.5, NA, -Inf), n = c(1L, NA, -3L), m = 1:3, t = c(TRUE, NA, FALSE), s = c('NA', NA, 'größe'),"
    " f = factor(c('b', NA, 'a'), c('b', 'unused', 'a')), o = ordered(c('lo', 'hi', 'lo'), c('lo', 'hi')),"
    " row.names = c('p', 'q', 'r'), stringsAsFactors = FALSE)"
)
FROM_R = pd.DataFrame(
    {
        "y": [1.5, np.nan, -np.inf],
        "n": pd.array([1, None, -3], "Int64"),
        "m": [1, 2, 3],
        "t": pd.array([True, None, False], "boolean"),
        "s": pd.Series(["NA", None, "größe"], dtype="str"),
        "f": pd.Categorical(["b", None, "a"], ["b", "unused", "a"]),
        "o": pd.Categorical(["lo", "hi", "lo"], ["lo", "hi"], ordered=True),
    }
)


@pytest.fixture
def save(tmp_path):
    """Have R evaluate some code and save what it gives: ``save("data.frame(y = 1)", "version = 2")``."""

    def save(code: str, options: str = "compress = TRUE") -> Path:
        path = tmp_path / "t.rds"
        text = f"saveRDS({code}, {str(path)!r}, {options})"
        r.call(
            "eval",
            r.call("parse", text=text, **{"keep.source": False}),
            r.call("new.env", parent=r.interface().globalenv),
        )
        return path

    return save


@pytest.mark.parametrize(
    "options",
    ["compress = TRUE", "compress = FALSE", "compress = 'xz'", "compress = 'bzip2'", "ascii = TRUE", "version = 2"],
)
def test_a_data_frame_that_r_saved_comes_back(options, save):
    """In every encoding that saveRDS has; row names are left out, as in R's own formulas."""
    found = tables.read(save(IN_R, options))
    same(found, FROM_R)
    assert found.attrs[NOTES] == []


def test_vectors_that_r_has_not_made_yet_come_back(save):
    """Sequences, and texts of numbers, that R saves by their recipe are what R would have made."""
    code = (
        "{i <- 1:4; x <- c(0.1 + 0.2, 1e5, NA, 123456.7); data.frame(i = i, s = as.character(i), x = as.character(x))}"
    )
    found = tables.read(save(code))
    assert found["i"].tolist() == [1, 2, 3, 4] and found["s"].tolist() == ["1", "2", "3", "4"]
    assert found["x"].tolist()[:2] == ["0.3", "1e+05"] and found["x"].isna().tolist() == [False, False, True, False]


def test_tables_of_other_classes_come_back(save):
    """nlme's groupedData, a model frame, a tibble's classes: code in their attributes is neither looked at nor run."""
    grouped = tables.read(save("nlme::Orthodont"))
    assert grouped.shape == (108, 4) and grouped["Subject"].cat.ordered and grouped["Sex"].iloc[0] == "Male"
    assert list(tables.read(save("model.frame(y ~ x, data.frame(y = 1:3, x = 4:6))"))) == ["y", "x"]
    tibble = "structure(list(y = c(1, 2)), row.names = c(NA, -2L), class = c('tbl_df', 'tbl', 'data.frame'))"
    assert tables.read(save(tibble))["y"].tolist() == [1, 2]


def test_columns_that_no_formula_can_use_harm_nobody(save):
    """Dates, lists, matrices, complex numbers stand there as such; one column of scale() is a column."""
    code = (
        "{d <- data.frame(y = 1:2); d$date <- Sys.Date() + 0:1; d$time <- Sys.time() + 0:1; d$lt <- as.POSIXlt(d$time);"
        " d$span <- as.difftime(1:2, units = 'days'); d$z <- 1i + 1:2; d$l <- list(1, sum); d$m <- matrix(1:4, 2);"
        " d$one <- scale(c(1, 3)); d$big <- structure(c(4.94065645841247e-324, 0), class = 'integer64');"
        " d$odd <- structure(1:2, class = 'strange'); d$na <- addNA(factor(c('a', NA))); d}"
    )
    found = tables.read(save(code))
    what = {name: found[name].iloc[0].what for name in found if isinstance(found[name].iloc[0], Unusable)}
    assert what == {
        "date": "dates",
        "time": "dates",
        "lt": "dates",
        "span": "time spans",
        "z": "complex numbers",
        "l": "lists",
        "m": "a matrix",
        "odd": "an object of class 'strange'",
        "na": "a factor with a missing level (see R's droplevels)",
    }
    assert found["one"].tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5]) and found["big"].tolist() == [1, 0]


def test_texts_in_latin_1_come_back(save):
    """R marks each text with its encoding."""
    code = "{x <- 'gr\\xf6\\xdfe'; Encoding(x) <- 'latin1'; data.frame(g = c(x, 'b'), y = 1:2)}"
    assert tables.read(save(code))["g"].tolist() == ["größe", "b"]


A_COLUMN = "structure(list(y = 1, x = {}), class = 'data.frame', row.names = 1L)"
CODE = {
    "a function": ("function(x) system('touch mark')", "holds a function, which is code and not run,"),
    "an environment": ("new.env()", "holds an environment, which is code and not run,"),
    "an expression": ("quote(system('touch mark'))", "holds an expression, which is code and not run,"),
    "a vector": ("1:3", "holds a vector and no data frame"),
    "a list": ("list(1, 2)", "holds a list and no data frame"),
    "a model": ("structure(list(1), class = 'lm')", "holds an object of class 'lm' and no data frame"),
    "a function as a column": (A_COLUMN.format("function(x) system('touch mark')"), "column 'x' is a function"),
    "an environment as a column": (A_COLUMN.format("globalenv()"), "column 'x' is an environment"),
    "an expression as a column": (A_COLUMN.format("quote(system('touch mark'))"), "column 'x' is an expression"),
    "expressions as a column": (A_COLUMN.format("expression(system('touch mark'))"), "column 'x' is an expression"),
    "columns of unlike lengths": (A_COLUMN.format("1:2"), "column 'x' has 2 values for 1 rows: save the table anew"),
    "one name twice": ("setNames(data.frame(a = 1, b = 2), c('y', 'y'))", "columns 1 and 2 are both called 'y'"),
    "no name": ("setNames(data.frame(a = 1, b = 2), c('y', NA))", "column 2 of 2 has no name"),
    "no columns": ("data.frame()", "it has no columns"),
    "no rows": ("data.frame(y = numeric())", "it has columns and no rows: expected one row for every observation"),
}


@pytest.mark.parametrize("case", CODE)
def test_what_is_code_or_no_data_frame_is_one_line_and_runs_nothing(case, save, tmp_path, monkeypatch):
    """Functions, environments and expressions are named for what they are; nothing of them is run."""
    monkeypatch.chdir(tmp_path)
    code, message = CODE[case]
    path = save(code)
    with pytest.raises(SourceError) as caught:
        tables.read(path)
    assert message in str(caught.value) and "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert not Path("mark").exists()


@pytest.mark.parametrize("where", ["as the object", "as a column", "as an attribute"])
def test_a_promise_is_not_kept(where, save, tmp_path, monkeypatch):
    """What R before 4.4 runs as soon as readRDS touches it (CVE-2024-27322): here it is refused, or left lying."""
    monkeypatch.chdir(tmp_path)
    call = "quote(system('touch mark'))"
    code = {
        "as the object": call,
        "as a column": A_COLUMN.format(call),
        "as an attribute": f"structure(data.frame(y = 1), note = {call})",
    }[where]
    path = save(code, "compress = FALSE")
    language, promise = b"\0\0\0\x06\0\0\0\x01", b"\0\0\0\x05\0\0\0\x01"  # its first part is the symbol `system`
    content = path.read_bytes()
    assert content.count(language) == 1
    path.write_bytes(content.replace(language, promise))
    if where == "as an attribute":
        assert tables.read(path)["y"].tolist() == [1]
    else:
        with pytest.raises(SourceError, match="a promise, which is code and not run"):
            tables.read(path)
    assert not Path("mark").exists()


def test_a_few_bytes_cannot_ask_for_any_amount_of_memory(save):
    """A sequence is stored as its length: one that no table has is refused before it is made."""
    path = save("data.frame(y = 1:77777)", "compress = FALSE")
    content = path.read_bytes()
    long = np.array([77777.0, 1, 1], ">f8").tobytes()
    assert content.count(long) == 1
    path.write_bytes(content.replace(long, np.array([2e9, 1, 1], ">f8").tobytes()))
    started = time.process_time()
    with pytest.raises(SourceError, match="it is damaged"):
        tables.read(path)
    assert time.process_time() - started < 1


def test_a_workspace_in_disguise_is_named(save, tmp_path):
    """What save() writes is many objects; the way to save one is in the message."""
    path = tmp_path / "t.rds"
    code = f"{{table <- data.frame(y = 1); save(table, file = {str(path)!r})}}"
    r.call("eval", r.call("parse", text=code), r.call("new.env", parent=r.interface().globalenv))
    with pytest.raises(SourceError, match=r"an R workspace: save the one data frame with saveRDS\(table"):
        tables.read(path)


# ---- bytes of any kind ---------------------------------------------------------------------------------------------


def test_any_bytes_give_a_table_or_one_line(tmp_path, save):
    """Random bytes, and files that have lost or changed some: never another error, never two lines."""
    rng = random.Random(20)
    MIXED.to_parquet(tmp_path / "m.parquet")
    MIXED.to_feather(tmp_path / "m.feather")
    whole = {
        ".csv": [SPELLINGS["texts in quotes, as R writes them"].encode(), SPELLINGS["decimal commas"].encode()],
        ".parquet": [(tmp_path / "m.parquet").read_bytes()],
        ".feather": [(tmp_path / "m.feather").read_bytes()],
        ".rds": [save(IN_R, options).read_bytes() for options in ("compress = FALSE", "ascii = TRUE")],
    }
    outcomes = {suffix: set() for suffix in whole}
    for turn in range(1200):
        suffix = rng.choice(list(whole))
        content = bytearray(rng.choice(whole[suffix]))
        if turn % 6 == 0:
            content = rng.randbytes(rng.randrange(200))
        elif turn % 6 == 1:
            del content[rng.randrange(len(content)) :]
        else:
            for _ in range(rng.randrange(1, 6)):
                content[rng.randrange(len(content))] = rng.randrange(256)
        path = tmp_path / f"any{suffix}"
        path.write_bytes(content)
        try:
            outcomes[suffix].add(type(tables.read(path)))
        except SourceError as error:
            outcomes[suffix].add(SourceError)
            assert "\n" not in str(error)
    assert all(found == {pd.DataFrame, SourceError} for found in outcomes.values()), outcomes
