"""CSV: what a file means, and in one line what is wrong with it, where, and what to do."""

from __future__ import annotations

import gzip
import os
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from concord import r
from concord.data import tables
from concord.data.source import NOTES, SourceError
from support.files import PLAIN, SPELLINGS, same

# ---- CSV: what it means --------------------------------------------------------------------------------------------

TABLE = pd.DataFrame(
    {"y": [1.5, -2000.0, 0.25], "g": pd.Series(["a", "b", "a"], dtype="str"), "n": [1, -2, 3], "t": [True, False, True]}
)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_table_is_read_alike_however_it_is_written(spelling, write):
    """Line ends, delimiters, decimal signs, quotes and a byte order mark are not part of the data."""
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
NO_TABLE = f"line 1: no comma, semicolon or tab, so it is not a table of two or more columns: {SAVE}"
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
    "Latin-1": ("y,g\n1,a\n2,größe\n".encode("latin-1"), f"line 3: byte 0xf6 is not UTF-8: {SAVE}"),
    "UTF-16": ("y,g\n1,a\n".encode("utf-16"), "it holds UTF-16, and no text: save the table as CSV (UTF-8)"),
    "a NUL": (b"y,g\r\n1,a\r\n2,\0\r\n", f"line 3: a NUL byte, so it is not text: {SAVE}"),
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
        ("t.parquet", "it is not a Parquet or Feather file, or is damaged: save it anew"),
        ("t.feather", "it is not a Parquet or Feather file, or is damaged: save it anew"),
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
    Path("gone.csv").symlink_to("elsewhere.csv")
    cases = {
        "grwth.csv": "grwth.csv: there is no such file; did you mean growth.csv?",
        "zzzzz.rds": "zzzzz.rds: there is no such file: check the name and the folder",
        "nowhere/t.csv": "nowhere/t.csv: there is no such file; there is no folder nowhere either",
        "folder.csv": "folder.csv: it is a folder: name the file in it",
        "pipe.csv": "pipe.csv: it is a pipe or a device: save the table to a file first",
        "device.csv": "device.csv: it is a pipe or a device: save the table to a file first",
        "growth.csv/t.csv": "growth.csv/t.csv: it cannot be read: Not a directory",
        "gone.csv": "gone.csv: it is a link to elsewhere.csv, which is not there",
        "loop.csv": "loop.csv: it cannot be read: Too many levels of symbolic links",
        "a" * 300 + ".csv": "a" * 300 + ".csv: it cannot be read: File name too long",
        "a\0b.csv": "'a\\x00b.csv': it is not a file name",
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
