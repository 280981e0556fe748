"""A user's own file becomes the table that it holds, or one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import datetime
import random
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
from support.files import PLAIN, SPELLINGS, same

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
    """A decimal becomes the nearest double, dates are dates; what no formula can use stands there as such."""
    odd = {"d": [Decimal("0.1"), None, Decimal("12345.67")], "l": [[1], [2], None], "b": [b"a"] * 3, "z": [None] * 3}
    odd |= {"when": pd.to_datetime(["2020-01-01"] * 3), "long": pd.to_timedelta([1, 2, 3], "h")}
    frame = pd.DataFrame({"y": np.array([1.5, 2, 3], "float32"), **odd})
    frame.to_parquet(tmp_path / "t.parquet")
    found = tables.read(tmp_path / "t.parquet")
    np.testing.assert_array_equal(found["d"], [0.1, np.nan, 12345.67])
    assert found["y"].tolist() == [1.5, 2, 3] and found["y"].dtype == float and found["z"].isna().all()
    assert found["when"].tolist() == [pd.Timestamp("2020-01-01")] * 3
    what = {name: found[name].iloc[0].what for name in ("l", "b", "long")}
    assert what["long"] == "time spans" and what["b"] == "values of kind binary"
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
    damaged = "t.parquet: it is not a Parquet or Feather file, or is damaged: save it anew ("
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
    """Lists, matrices, complex numbers stand there as such; one column of scale() is a column, and dates are dates."""
    code = (
        "{d <- data.frame(y = 1:2); d$date <- Sys.Date() + 0:1; d$time <- Sys.time() + 0:1; d$lt <- as.POSIXlt(d$time);"
        " d$span <- as.difftime(1:2, units = 'days'); d$z <- 1i + 1:2; d$l <- list(1, sum); d$m <- matrix(1:4, 2);"
        " d$one <- scale(c(1, 3)); d$big <- structure(c(4.94065645841247e-324, 0), class = 'integer64');"
        " d$odd <- structure(1:2, class = 'strange'); d$na <- addNA(factor(c('a', NA))); d}"
    )
    found = tables.read(save(code))
    what = {name: found[name].iloc[0].what for name in found if isinstance(found[name].iloc[0], Unusable)}
    assert what == {
        "lt": "dates",
        "span": "time spans",
        "z": "complex numbers",
        "l": "lists",
        "m": "a matrix",
        "odd": "an object of class 'strange'",
        "na": "a factor with a missing level (see R's droplevels)",
    }
    today = pd.Timestamp(datetime.datetime.now(datetime.UTC)).tz_localize(None)
    for name in ("date", "time"):
        assert abs(found[name].iloc[0] - today) < pd.Timedelta(days=2)
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
