"""Of a user's table, what both engines get; and what the data cannot carry, in one line."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from concord import r
from concord.data import source, tables
from concord.engines.engine import engines
from concord.models import formula as formulas
from concord.models import preparation
from concord.models.preparation import prepare
from concord.models.syntax import FormulaError
from support.prepared import CLEAN, FORMULA, G, design, n, refused, rng, with_value

# ---- the same answer as the clean table ----------------------------------------------------------------------------


def written(tmp_path: Path, frame: pd.DataFrame, change=lambda text: text, **options) -> pd.DataFrame:
    """The table by way of a CSV, whose text is changed on the way."""
    path = tmp_path / "t.csv"
    path.write_bytes(change(frame.to_csv(index=False, lineterminator="\n", **options)).encode())
    return tables.read(path)


def by_r(tmp_path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    path = tmp_path / "t.rds"
    r.call("saveRDS", r.table(frame), str(path))
    return tables.read(path)


def by_pandas(tmp_path: Path, frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    path = tmp_path / f"t.{kind}"
    getattr(frame, f"to_{kind}")(path)
    return tables.read(path)


def factors(frame: pd.DataFrame) -> pd.DataFrame:
    """Text as factors, with levels that no row has."""
    return frame.assign(
        f=pd.Categorical(frame["f"], ["a", "unused", "b", "c"]),
        g=pd.Categorical(frame["g"], [*sorted(set(frame["g"])), "g98", "g99"]),
    )


WIDE = 2**53 + 1  # from here on doubles cannot tell neighbours apart
VARIANTS = {
    "CSV": lambda t, at: written(at, t),
    "byte order mark": lambda t, at: written(at, t, lambda text: "\ufeff" + text),
    "CRLF": lambda t, at: written(at, t, lambda text: text.replace("\n", "\r\n")),
    "CR": lambda t, at: written(at, t, lambda text: text.replace("\n", "\r")),
    "tabs": lambda t, at: written(at, t, sep="\t"),
    "semicolons and decimal commas": lambda t, at: written(at, t, sep=";", decimal=","),
    "everything in quotes": lambda t, at: written(at, t, quoting=1),
    "row names": lambda t, at: written(at, t.reset_index(), lambda text: text.replace("index", "", 1)),
    "Parquet": lambda t, at: by_pandas(at, t, "parquet"),
    "Feather": lambda t, at: by_pandas(at, t, "feather"),
    "Feather, factors with unused levels": lambda t, at: by_pandas(at, factors(t), "feather"),
    "saved by R": lambda t, at: by_r(at, t),
    "saved by R, factors with unused levels": lambda t, at: by_r(at, factors(t)),
    "an index that is no row numbers": lambda t, at: t.set_index(np.arange(n)[::-1] * 7),
    "texts as objects": lambda t, at: t.astype({"f": object, "g": object}),
    "nullable": lambda t, at: t.convert_dtypes(dtype_backend="numpy_nullable"),
    "Arrow": lambda t, at: t.convert_dtypes(dtype_backend="pyarrow"),
    "Arrow's dictionaries": lambda t, at: t.astype({"g": "category"}).convert_dtypes(dtype_backend="pyarrow"),
    "decimals": lambda t, at: t.assign(y=[Decimal(f"{y}") for y in t["y"]]),
    "Arrow's decimals": lambda t, at: t.assign(
        y=pd.array([Decimal(f"{y}") for y in t["y"]], pd.ArrowDtype(pa.decimal128(12, 3)))
    ),
    "sparse": lambda t, at: t.assign(x=pd.arrays.SparseArray(t["x"])),
    "a categorical of numbers as groups": lambda t, at: t.assign(g=pd.Categorical(G * 10)),
    "groups in numbers": lambda t, at: t.assign(g=G + 1),
    "groups in small numbers": lambda t, at: t.assign(g=G.astype("int8")),
    "groups in doubles": lambda t, at: t.assign(g=G / 8),
    "groups beyond 32 bits": lambda t, at: t.assign(g=2**31 + G),
    "groups beyond doubles": lambda t, at: t.assign(g=WIDE + G),
    "groups far below zero": lambda t, at: t.assign(g=-WIDE - 100 + G),
    "groups beyond 63 bits": lambda t, at: t.assign(g=(2**64 - 100 + G.astype("uint64"))),
    "groups beyond 64 bits": lambda t, at: written(at, t.assign(g=[str(10**20 + int(g)) for g in G])),
    "groups that R would merge": lambda t, at: t.assign(g=1 + G * 2.0**-52),
    "levels that look like missing": lambda t, at: written(
        at, t, lambda text: text.replace(",g00,", ',"NA",').replace(",g01,", ",None,").replace(",g02,", ",nan,")
    ),
    "other scripts": lambda t, at: t.assign(g=t["g"].str.replace("g", "größe 木 "), f=t["f"] + "'`\"\\"),
}
# In these the groups sort otherwise, and so the columns of Z.
OTHER_ORDER = {"levels that look like missing"}


@pytest.fixture(scope="module")
def clean():
    """Matrices, and lme4's log-likelihood at its default settings, of the clean table."""
    return design(CLEAN)


def loglik(make_model, frame: pd.DataFrame, formula: str = FORMULA, engine: str = "lme4") -> float:
    prepared = prepare(frame, formulas.parse(formula))
    return engines()[engine].fit(make_model(prepared.frame, formula), "default").loglik


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_table_gives_the_clean_tables_answer_however_it_comes(variant, clean, make_model, tmp_path):
    """File format, types and spelling of the groups leave every number of the model what it is, and lme4's fit."""
    frame = VARIANTS[variant](CLEAN, tmp_path)
    found = design(frame)
    np.testing.assert_array_equal(found.y, clean.y)
    np.testing.assert_array_equal(found.X, clean.X)
    np.testing.assert_array_equal(found.terms[0].matrix, clean.terms[0].matrix)
    if variant not in OTHER_ORDER:
        np.testing.assert_array_equal(found.terms[0].codes, clean.terms[0].codes)
    assert len(found.terms[0].levels) == 12
    same = 1e-12 if variant not in OTHER_ORDER else 1e-9
    assert loglik(make_model, frame) == pytest.approx(loglik(make_model, CLEAN), rel=same, abs=0)


@pytest.mark.parametrize("variant", ["nullable", "groups beyond doubles", "groups in numbers", "saved by R"])
def test_mixedlm_gets_the_clean_tables_answer_too(variant, make_model, tmp_path):
    """The other language reads the same table."""
    frame = VARIANTS[variant](CLEAN, tmp_path)
    wanted = loglik(make_model, CLEAN, engine="statsmodels")
    assert loglik(make_model, frame, engine="statsmodels") == pytest.approx(wanted, rel=1e-12, abs=0)


def test_rows_in_any_order_give_the_clean_tables_answer(clean, make_model):
    """Groups need not be sorted: the same numbers, each in its row's place."""
    order = rng.permutation(n)
    shuffled = CLEAN.iloc[order]
    found = design(shuffled)
    np.testing.assert_array_equal(found.y, clean.y[order])
    np.testing.assert_array_equal(found.X, clean.X[order])
    np.testing.assert_array_equal(found.terms[0].codes, clean.terms[0].codes[order])
    for engine in ("lme4", "statsmodels"):
        wanted = loglik(make_model, CLEAN, engine=engine)
        assert loglik(make_model, shuffled, engine=engine) == pytest.approx(wanted, rel=1e-9)


TRUTH = pd.Series(G % 2 == 0)
TWO = {
    "TRUE and FALSE": TRUTH,
    "nullable": TRUTH.astype("boolean"),
    "objects": TRUTH.astype(object),
    "texts": TRUTH.map({True: "TRUE", False: "FALSE"}).astype("str"),
    "numbers": TRUTH.astype(int),
    "Arrow": TRUTH.convert_dtypes(dtype_backend="pyarrow"),
}


@pytest.mark.parametrize("case", TWO)
def test_truth_values_group_rows_and_predict_as_their_names_do(case, make_model):
    """As groups, and as a predictor: FALSE is the baseline, as it is of 0 and 1 and of the texts."""
    frame = CLEAN.assign(t=TWO[case], y=CLEAN["y"] + 3 * TRUTH)
    for formula in ("y ~ x + (1 | t)", "y ~ x + t + (1 | g)"):
        found, wanted = design(frame, formula), design(frame.assign(t=TWO["texts"]), formula)
        np.testing.assert_array_equal(found.X, wanted.X)
        np.testing.assert_array_equal(found.terms[0].codes, wanted.terms[0].codes)
    for engine in ("lme4", "statsmodels"):
        found = loglik(make_model, frame, "y ~ x + t + (1 | g)", engine)
        assert found == pytest.approx(
            loglik(make_model, frame.assign(t=TRUTH), "y ~ x + t + (1 | g)", engine), rel=1e-12
        )


NAMES = [
    "x 1",
    "x.1",
    ".x",
    "größe",
    "木",
    "if",
    "TRUE",
    "NA",
    "lambda",
    "class",
    "None",
    "_x",
    "1x",
    "x-1",
    "a`b",
    "x\ty",
    "c",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_column_may_have_any_name(name, clean, make_model, tmp_path):
    """Blanks, dots, other scripts, words that either language keeps for itself: quoted in the formula, as in R."""
    frame = CLEAN.rename(columns={"x": name, "g": f"{name} too", "y": f"{name} again"})
    quoted = [f"`{each}`".replace("a`b", "a\\`b") for each in (f"{name} again", name, f"{name} too")]
    formula = f"{quoted[0]} ~ {quoted[1]} + f + (1 + {quoted[1]} | {quoted[2]})"
    frame = written(tmp_path, frame)
    found = design(frame, formula)
    np.testing.assert_array_equal(found.X, clean.X)
    np.testing.assert_array_equal(found.terms[0].codes, clean.terms[0].codes)
    assert loglik(make_model, frame, formula) == pytest.approx(loglik(make_model, CLEAN), rel=1e-12, abs=0)


CODE = [
    "x'); system('touch mark'); ('",
    'x"); system("touch mark"); ("',
    "__import__('os').system('touch mark')",
    "x`); system('touch mark'); (`",
    "${system('touch mark')}",
    "x, system('touch mark')",
    "a\\",
]


@pytest.mark.parametrize("name", CODE)
def test_a_column_name_is_never_code(name, tmp_path, monkeypatch):
    """Names and levels with code in them go all the way to the matrices, and are not run."""
    monkeypatch.chdir(tmp_path)
    frame = CLEAN.rename(columns={"x": name}).assign(g=CLEAN["g"] + name, f=CLEAN["f"] + name)
    quoted = "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
    found = design(written(tmp_path, frame), f"y ~ {quoted} + f + (1 + {quoted} | g)")
    assert found.X.shape == (n, 4) and len(found.terms[0].levels) == 12
    with pytest.raises(FormulaError):
        design(written(tmp_path, frame), "y ~ x + system('touch mark') + (1 | g)")
    assert not Path("mark").exists()


# ---- what is prepared ----------------------------------------------------------------------------------------------


def test_both_engines_get_the_formulas_variables_and_complete_rows_only():
    """Rows with a missing value in a variable of the formula go, and are counted; other columns do not matter."""
    frame = CLEAN.assign(unused=np.nan, when=datetime.date(2020, 1, 1), u=[[1]] * n)
    frame.loc[[3, 5], "y"] = np.nan
    frame.loc[[5, 70], "g"] = None
    prepared = prepare(frame, formulas.parse(FORMULA))
    assert list(prepared.frame) == ["y", "x", "f", "g"] and list(prepared.frame.index) == list(range(n - 3))
    assert prepared.rows.tolist() == [i for i in range(n) if i not in (3, 5, 70)]
    assert prepared.notes == ("3 of 120 rows are dropped: missing in y (2), g (2)",)
    assert prepared.frame["y"].tolist() == frame["y"].drop([3, 5, 70]).tolist()
    assert prepare(CLEAN, formulas.parse(FORMULA)).notes == ()
    one = prepare(CLEAN.assign(x=CLEAN["x"].where(CLEAN.index != 4)), formulas.parse(FORMULA))
    assert one.notes == ("1 of 120 rows is dropped: missing in x (1)",)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_every_kind_of_missing_is_missing(missing):
    """In numbers, texts and truth values."""
    for name, values in {"x": CLEAN["x"], "g": CLEAN["g"], "f": CLEAN["f"]}.items():
        values = values.astype(object).tolist()
        values[7] = missing
        frame = CLEAN.assign(**{name: pd.Series(values, dtype=object)})
        assert prepare(frame, formulas.parse(FORMULA)).rows.tolist() == [i for i in range(n) if i != 7]


def test_levels_that_only_dropped_rows_have_are_dropped():
    """A factor has the levels of the rows that are used; ordered ones stay ordered, and keep their order."""
    frame = factors(CLEAN).assign(o=pd.Categorical(CLEAN["f"], ["c", "b", "a", "none"], ordered=True))
    frame.loc[frame["f"] == "c", "y"] = np.nan
    prepared = prepare(frame, formulas.parse("y ~ x + f + o + (1 | g)")).frame
    assert list(prepared["f"].cat.categories) == ["a", "b"] and list(prepared["o"].cat.categories) == ["b", "a"]
    assert prepared["o"].cat.ordered and not prepared["f"].cat.ordered


def test_text_sorts_by_code_point_and_a_note_says_where_r_would_not():
    """The baseline is the same in both languages, whatever the machine's; where R's usual one differs, it is said."""
    frame = CLEAN.assign(f=CLEAN["f"].map({"a": "Zebra", "b": "apple", "c": "Äpfel"}).astype("str"))
    prepared = prepare(frame, formulas.parse(FORMULA))
    assert list(prepared.frame["f"].cat.categories) == ["Zebra", "apple", "Äpfel"]
    (note,) = prepared.notes
    assert note.startswith("f: the levels are sorted by code point, so 'Zebra' is the first, the baseline")
    assert "'Äpfel' first" in note
    # Not where the order is the user's own, or no baseline is taken.
    own = frame.assign(f=frame["f"].astype("category"))
    assert prepare(own, formulas.parse(FORMULA)).notes == ()
    assert prepare(frame.assign(g=frame["f"]), formulas.parse("y ~ x + (1 | g)")).notes == ()


def test_dates_as_text_are_levels_and_a_note_says_so():
    """What a CSV has for dates is not a trend."""
    frame = CLEAN.assign(f=CLEAN["f"].map({"a": "2020-01-01", "b": "2020-02-01", "c": "2020-03-01"}).astype("str"))
    said = "f: dates are taken for the 3 levels of a factor; for a trend, count days"
    assert prepare(frame, formulas.parse(FORMULA)).notes == (said,)


@pytest.mark.parametrize("made", [pd.to_datetime, lambda days: [pd.Timestamp(day).date() for day in days]])
def test_dates_that_group_rows_are_levels_as_in_a_csv(made):
    """Whether a table has them as text, as in a CSV, or as dates."""
    days = np.array(["2021-01-15", "2021-02-15", "2022-01-01"])[np.tile(np.arange(3), 40)]
    text, dates = (
        prepare(CLEAN.assign(g=values), formulas.parse("y ~ x + (1 | g)")).frame["g"]
        for values in (pd.array(days, dtype="str"), made(days))
    )
    pd.testing.assert_series_equal(dates, text)


def test_control_characters_of_levels_are_escapes_and_said():
    """A terminal would obey them, and R ends a text at a NUL."""
    frame = CLEAN.assign(f=CLEAN["f"].map({"a": "a\0x", "b": "a\0y", "c": "\x1b[31mred"}).astype("str"))
    prepared = prepare(frame, formulas.parse(FORMULA))
    assert prepared.frame["f"].cat.categories.tolist() == ["\\x1b[31mred", "a\\x00x", "a\\x00y"]
    assert prepared.notes == ("f: 3 levels with control characters, shown as \\x1b[31mred",)
    twice = frame.assign(f=pd.Categorical(["\x1b", "\\x1b", "a"] * 40))
    assert "two levels that are both written" in refused(twice, FORMULA)


def test_numbers_beyond_doubles_are_rounded_and_counted():
    """As in R, which has no others; the note counts those that change."""
    frame = CLEAN.assign(x=2**53 + np.tile(np.arange(10), 12))
    prepared = prepare(frame, formulas.parse("y ~ x + (1 | g)"))
    assert prepared.frame["x"].dtype == float
    assert prepared.notes == ("x: 60 whole numbers beyond 2^53, rounded to the nearest double",)


def test_notes_of_the_file_are_passed_on_for_the_columns_in_use(tmp_path):
    """What was decided on reading is said where it matters."""
    frame = written(tmp_path, CLEAN.assign(z="NA"), lambda text: text.replace("g00", "NA"))
    assert prepare(frame, formulas.parse(FORMULA)).notes[0].startswith("g: an NA without quotes is a missing")
    assert prepare(frame, formulas.parse("y ~ x + (1 | f)")).notes == ()


# ---- what the table cannot be --------------------------------------------------------------------------------------

TABLES = {
    "unknown variable": (
        CLEAN.rename(columns={"x": "time"}),
        "y ~ Tme + (1 | g)",
        "no column 'Tme'; did you mean 'time'?",
    ),
    "response missing": (CLEAN.drop(columns="y"), FORMULA, "the data have no column 'y'"),
    "no rows": (CLEAN[:0], FORMULA, "the table has no rows: expected one for every observation"),
    "no columns": (pd.DataFrame(index=range(3)), FORMULA, "the table has no columns"),
    "two columns of one name": (
        pd.concat([CLEAN, CLEAN[["x"]]], axis=1),
        FORMULA,
        "columns 1 and 5 are both called 'x': rename one",
    ),
    "a name that is not text": (
        CLEAN.rename(columns={"f": 3}),
        "y ~ x + (1 | g)",
        "column 2 is called 3, a name that is not text: rename it, or all with frame.columns = frame.columns.map(str)",
    ),
    "an empty name": (CLEAN.rename(columns={"f": " "}), "y ~ x + (1 | g)", "column 2 of 4 has no name: give it one"),
    "two rows of names": (
        CLEAN.set_axis(pd.MultiIndex.from_product([["a"], list("xfgy")]), axis=1),
        FORMULA,
        "the table has 2 rows of column names: give every column one name, with "
        "frame.columns = frame.columns.map('_'.join)",
    ),
    "a response of texts": (
        CLEAN.assign(y="a"),
        FORMULA,
        "the response 'y' is not a number: row 1 has 'a'; correct it, or leave it empty if it is missing",
    ),
    "a response with a slip": (
        CLEAN.assign(y=[*map(str, CLEAN["y"][:7]), "1,5", *map(str, CLEAN["y"][8:])]),
        FORMULA,
        "the response 'y' is not a number: row 8 has '1,5'; correct it, or leave it empty if it is missing",
    ),
    "a response of truth values": (
        CLEAN.assign(y=TRUTH),
        FORMULA,
        "the response 'y' is TRUE or FALSE: a linear mixed model needs numbers (0 and 1, if that is meant)",
    ),
    "a constant response": (
        CLEAN.assign(y=3.5),
        FORMULA,
        "the response 'y' is 3.5 in all 120 rows that are used: nothing varies that a model could explain",
    ),
    "a response that is constant where complete": (
        CLEAN.assign(y=np.where(G < 9, 2, 5), x=CLEAN["x"].where(G < 9)),
        FORMULA,
        "the response 'y' is 2 in all 90 rows that are used: nothing varies that a model could explain",
    ),
    "infinity": (
        with_value("x", np.inf, 7, 9),
        FORMULA,
        "column 'x' has 2 infinite values, the first in row 8: correct it, or leave it empty if it is missing",
    ),
    "minus infinity in the response": (
        with_value("y", -np.inf, 119),
        FORMULA,
        "column 'y' has 1 infinite value, the first in row 120: correct it, or leave it empty if it is missing",
    ),
    "infinity among groups": (
        CLEAN.assign(g=np.where(G == 3, np.inf, G)),
        FORMULA,
        "column 'g' has 10 infinite values, the first in row 31",
    ),
    "all rows missing": (
        CLEAN.assign(x=np.nan),
        FORMULA,
        "all 120 rows have a missing value, in x (120): no row is left to fit",
    ),
    "all rows missing, by halves": (
        CLEAN.assign(x=CLEAN["x"].where(G < 6), y=CLEAN["y"].where(G >= 6)),
        FORMULA,
        "all 120 rows have a missing value, in y (60), x (60): no row is left to fit",
    ),
    "a factor with one level": (
        CLEAN.assign(f="a"),
        FORMULA,
        "factor 'f' has one level only, 'a', in the 120 rows that are used: take it out of the formula",
    ),
    "a factor with one level left": (
        CLEAN.assign(y=CLEAN["y"].where(CLEAN["f"] == "b")),
        FORMULA,
        "factor 'f' has one level only, 'b', in the 40 rows that are used: take it out of the formula",
    ),
    "one truth value": (CLEAN.assign(f=True), FORMULA, "factor 'f' has one level only, 'TRUE', in the 120 rows"),
    "dates": (
        CLEAN.assign(x=pd.Timestamp("2020-01-01")),
        FORMULA,
        "column 'x' holds dates, which no formula can use: make a number of it, such as the days since the first",
    ),
    "dates as objects": (CLEAN.assign(x=datetime.date(2020, 1, 1)), FORMULA, "column 'x' holds dates, which no"),
    "time spans": (CLEAN.assign(x=pd.Timedelta("1h")), FORMULA, "column 'x' holds time spans, which no formula"),
    "complex numbers": (CLEAN.assign(x=1j), FORMULA, "column 'x' holds complex numbers, which no formula can use"),
    "lists": (CLEAN.assign(x=[[1]] * n), FORMULA, "column 'x' holds values of kind list, which no formula can use"),
    "a mix": (with_value("x", "a", 3), FORMULA, "column 'x' holds values of kind float, str, which no formula can use"),
    "a matrix in a file": (
        CLEAN.assign(x=source.Unusable.column("a matrix", n)),
        FORMULA,
        "column 'x' holds a matrix, which no formula",
    ),
    "two levels written alike": (
        CLEAN.assign(f=pd.Categorical([1, "1", 2] * 40)),
        FORMULA,
        "column 'f' has two levels that are both written '1': rename one",
    ),
    "combinations that R would merge": (
        CLEAN.assign(g=np.where(G < 6, "p:q", "p"), h=np.where(G < 6, "r", "q:r")),
        "y ~ x + (1 | g:h)",
        "groups g:h: two combinations of levels are both written 'p:q:r': take the colon out of the levels",
    ),
    "a number whose groups R would merge": (
        CLEAN.assign(x=1 + np.tile(np.arange(10), 12) * 2.0**-52),
        "y ~ x + (1 | x)",
        "column 'x' is a number and groups rows too, where R takes 1.0 and 1.0000000000000002 for one group: round it",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_cannot_be_used_is_one_line(case):
    """What is wrong, in which column and row, and what to do; rows are counted from 1, below the header."""
    frame, formula, message = TABLES[case]
    assert message in refused(frame, formula)


def test_a_variable_that_is_in_the_index_is_told_to_be_there():
    """As after groupby: the column is not missing, it only is elsewhere."""
    frame = pd.DataFrame({"y": [1.0, 2.0, 4.0, 3.0], "g": list("aabb")}).set_index("g")
    with pytest.raises(preparation.PreparationError, match=r"'g' is in the table's index, .*reset_index"):
        prepare(frame, formulas.parse("y ~ 1 + (1 | g)"))
