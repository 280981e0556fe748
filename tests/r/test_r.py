"""The way to R and back: tables and values arrive as they were, and what goes wrong is one clear error."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from concord import r
from concord.r import RError
from support.paths import ROOT


def evaluate(code: str):
    """What R makes of its own code: the other side of every comparison here."""
    return r.call("eval", r.call("str2lang", code), r.interface().globalenv)


def same(value, code: str) -> bool:
    """Whether R holds the two for the same, down to the type, the attributes and the kind of missing value."""
    return bool(r.call("identical", value, evaluate(code), **{"single.NA": False})[0])


TABLES = {
    "factor": (
        pd.Series(pd.Categorical(["b", None, "a"], ["b", "unused", "a"])),
        "factor(c('b', NA, 'a'), levels = c('b', 'unused', 'a'))",
    ),
    "ordered factor": (
        pd.Series(pd.Categorical(["lo", "hi", "lo"], ["lo", "mid", "hi"], ordered=True)),
        "factor(c('lo', 'hi', 'lo'), levels = c('lo', 'mid', 'hi'), ordered = TRUE)",
    ),
    "level NA": (
        pd.Series(pd.Categorical(["NA", None, "None"], ["NA", "None"])),
        "factor(c('NA', NA_character_, 'None'), levels = c('NA', 'None'), exclude = NULL)",
    ),
    "numbered groups": (pd.Series(pd.Categorical([11, 2, 11])), "factor(c(11, 2, 11), levels = c('2', '11'))"),
    "text": (pd.Series(["NA", None, "x"], dtype="str"), "c('NA', NA, 'x')"),
    "accents": (pd.Series(["größe", "木", ""], dtype="str"), r"c('gr\u00f6\u00dfe', '\u6728', '')"),
    "double": (pd.Series([1.5, np.nan, -1e300]), "c(1.5, NA, -1e300)"),
    "infinite": (pd.Series([np.inf, -np.inf, 0.1 + 0.2]), "c(Inf, -Inf, 0.1 + 0.2)"),
    "single precision": (pd.Series([1.5, 2.5, 0.25], dtype="float32"), "c(1.5, 2.5, 0.25)"),
    "integer": (pd.Series([1, -(2**31) + 1, 2**31 - 1]), "c(1L, -2147483647L, 2147483647L)"),
    "integer beyond 32 bits": (pd.Series([1, 2**31, 2**53]), "c(1, 2147483648, 9007199254740992)"),
    "integer where R has its NA": (pd.Series([1, -(2**31), 0]), "c(1, -2147483648, 0)"),
    "integer with missing": (pd.Series([1, None, 3], dtype="Int64"), "c(1, NA, 3)"),
    "unsigned beyond 63 bits": (pd.Series([1, 2**64 - 2**11], dtype="uint64"), "c(1, 18446744073709549568)"),
    "nullable integer, none missing": (pd.Series([1, 2], dtype="Int64"), "1:2"),
    "text, repeated": (pd.Series(["b", "NA", None, "b", "a"], dtype="str"), "c('b', 'NA', NA, 'b', 'a')"),
    "text as objects": (pd.Series(["b", None, "NA", np.nan], dtype=object), "c('b', NA, 'NA', NA)"),
    "text, all missing": (pd.Series([None, None], dtype="str"), "c(NA_character_, NA)"),
    "truth": (pd.Series([True, False, True]), "c(TRUE, FALSE, TRUE)"),
    "truth with missing": (pd.Series([True, None, False], dtype="boolean"), "c(TRUE, NA, FALSE)"),
    "truth, all missing": (pd.Series([None, None], dtype="boolean"), "c(NA, NA)"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_arrives_in_r_as_r_would_have_made_it(case):
    """R finds the column that it gets identical to the one that its own code makes."""
    column, code = TABLES[case]
    assert same(r.table(pd.DataFrame({"x": column})), f"data.frame(x = {code}, stringsAsFactors = FALSE)")


def test_a_tables_names_rows_and_order_arrive():
    """Names that are not R names stay as they are, the index is left behind, an empty table keeps its columns."""
    frame = pd.DataFrame({"größe x": [1.0, 2.0], "NA": [True, False]}, index=[7, 3])
    code = r"setNames(data.frame(c(1, 2), c(TRUE, FALSE)), c('gr\u00f6\u00dfe x', 'NA'))"
    assert same(r.table(frame), code)
    assert same(r.table(frame[:0]), code + "[0, ]")


def test_a_long_table_arrives_at_once():
    """Texts, truth values and factors go by numbers, not row by row: 100,000 rows in a fraction of a second."""
    rng, n = np.random.default_rng(1), 100_000
    texts = rng.choice([f"subject {i}" for i in range(3000)], n)
    frame = pd.DataFrame(
        {
            "text": pd.Series(texts, dtype="str"),
            "factor": pd.Categorical(texts),
            "truth": rng.random(n) < 0.5,
            "missing truth": pd.Series(rng.choice([True, None], n), dtype="boolean"),
            "number": rng.normal(size=n),
        }
    )
    r.table(frame[:10])
    started = time.process_time()
    table = r.table(frame)
    assert time.process_time() - started < 1
    assert r.from_r(table[0])[::999] == texts[::999].tolist()


WITHOUT_LOCALE = {"LC_ALL=C": {"LC_ALL": "C"}, "LANG unset": {"PYTHONCOERCECLOCALE": "0"}}


@pytest.mark.parametrize("case", WITHOUT_LOCALE)
def test_names_and_levels_beyond_ascii_arrive_whatever_the_locale(case):
    """R starts with UTF-8 where the environment has ASCII only, and the environment stays as it was."""
    code = (
        "import os, pandas as pd\n"
        "before = {key: value for key, value in os.environ.items() if key.startswith(('LC_', 'LANG'))}\n"
        "from concord import r\n"
        "table = r.table(pd.DataFrame({'größe 木': pd.Categorical(['ä', '木', 'ä']), 's': ['é', None, 'NA']}))\n"
        "symbol = r.call('parse', text='`größe 木`')  # not evaluated\n"
        "formula = r.call('all.vars', symbol)\n"
        "levels = r.call('levels', table[0]), r.call('levels', r.call('factor', table[1]))\n"
        "print(ascii([r.from_r(each) for each in (r.call('names', table), table[1], formula, *levels)]))\n"
        "print(before == {key: value for key, value in os.environ.items() if key.startswith(('LC_', 'LANG'))})\n"
    )
    given = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))}
    ran = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code], env=given | WITHOUT_LOCALE[case], capture_output=True, text=True
    )
    wanted = [["größe 木", "s"], ["é", None, "NA"], ["größe 木"], ["ä", "木"], ["NA", "é"]]
    assert ran.stdout.splitlines() == [ascii(wanted), "True"], ran.stderr


VALUES = {
    "None": (None, "NULL"),
    "truth": (True, "TRUE"),
    "integer": (np.int64(5), "5L"),
    "long integer": (2**40, "1099511627776"),
    "where R has its NA": (-(2**31), "-2147483648"),
    "double": (np.float32(1.5), "1.5"),
    "text": ("NA", "'NA'"),
    "texts": (("a", "NA"), "c('a', 'NA')"),
    "no texts": ([], "character()"),
    "matrix, column by column": (np.array([[1, 2], [3, 4]]), "c(1, 3, 2, 4)"),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_value_arrives_in_r_as_r_would_have_made_it(case):
    """Scalars, texts and arrays have R's own types on arrival."""
    value, code = VALUES[case]
    assert same(r.to_r(value), code)


def test_r_objects_pass_unchanged():
    """What is an R object already goes to R as it is, also wrapped as %R and globalenv give it."""
    from rpy2 import robjects

    assert same(robjects.r("list(a = 1L, b = factor('x'))"), "list(a = 1L, b = factor('x'))")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("NULL", None),
        ("c('a', NA, 'NA')", ["a", None, "NA"]),
        ("c(x = 'a')", ["a"]),
        ("list(a = 1, b = NULL)", {"a": [1.0], "b": None}),
        ("list('a', list(b = 'c'))", [["a"], {"b": ["c"]}]),
    ],
)
def test_texts_and_lists_come_back_from_r(code, expected):
    """Character vectors become lists, named lists dictionaries, NULL None; a missing text is not the text "NA"."""
    got = r.from_r(evaluate(code))
    assert (got if not isinstance(got, dict) else {**got}) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("matrix(1:6, 2)", [[1, 3, 5], [2, 4, 6]]),
        ("matrix(c(1.5, 2, 3, 4), 2)", [[1.5, 3], [2, 4]]),
        ("c(1, NA, Inf)", [1, np.nan, np.inf]),
        ("c(1L, NA)", [1, np.nan]),
        ("c(TRUE, NA, FALSE)", [1, np.nan, 0]),
        ("numeric()", []),
    ],
)
def test_numbers_come_back_from_r(code, expected):
    """Matrices keep R's shape, and a missing integer is missing, not the smallest integer."""
    np.testing.assert_array_equal(r.from_r(evaluate(code)), np.array(expected, float))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("stop('no\nway')", "no way"),
        ("(function(x) stop('too ', x))('long')", "too long"),
        ("log('a')", "non-numeric argument to mathematical function"),
        ("no_such_function(1)", 'could not find function "no_such_function"'),
    ],
)
def test_an_error_in_r_is_one_line_and_stands_nowhere_else(code, message, capfd):
    """The exception has R's message on one line, without its preface, and nothing is printed beside it."""
    with pytest.raises(RError) as caught:
        evaluate(code)
    assert str(caught.value) == message
    assert capfd.readouterr() == ("", "")


def test_what_r_says_without_an_error_is_passed_on(caplog):
    """Only errors are kept from the terminal, for the exception has them; a message reaches rpy2's log."""
    evaluate("message('take note')")
    assert "take note" in caplog.text


def test_an_r_package_that_is_missing_is_one_error_with_the_way_out():
    """A package that is not installed is named, with what to install; asking again says the same."""
    for _ in range(2):
        with pytest.raises(
            RError, match="the R package nosuchpackage is not installed: run scripts/setup.sh"
        ) as caught:
            r.function("nosuchpackage::f")
        assert "\n" not in str(caught.value)


def test_an_r_package_that_is_there_and_does_not_load_says_why(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "DESCRIPTION").write_text("Package: broken\nVersion: 1.0\n")
    before = r.texts(r.call(".libPaths"))
    r.call(".libPaths", [str(tmp_path), *before])
    try:
        with pytest.raises(RError, match="the R package broken is there and cannot be loaded: .*broken"):
            r.package("broken")
    finally:
        r.call(".libPaths", list(before))
    assert r.texts(r.call(".libPaths")) == before


def without_r() -> dict[str, str]:
    """An environment in which rpy2 finds no R: neither named by R_HOME nor on the PATH."""
    hidden = {key: value for key, value in os.environ.items() if key not in ("R_HOME", "LD_LIBRARY_PATH")}
    return hidden | {"PATH": "/nonexistent"}


def test_r_missing_is_one_clear_error():
    """Without R every way to it raises one RError that says so and what to install."""
    code = (
        "from concord import models, r\n"
        "for ask in (r.interface, lambda: r.package('lme4'), lambda: models.get('sitka-random_slope').design):\n"
        "    try:\n        ask()\n    except r.RError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=without_r(), capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("R does not start (") and "apt-get install r-base-core" in line


def test_r_missing_fails_the_tests_and_skips_none():
    """A test run without R is red: what needs R fails, nothing is skipped."""
    chosen = "tests/models/test_formula.py::test_a_formula_is_taken_apart"
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-x", "--rootdir", ROOT]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, ROOT / chosen],
        env=without_r(),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "1 failed" in done.stdout and "skipped" not in done.stdout
    assert "RError: R does not start" in done.stdout


def test_what_a_test_starts_has_the_environment_that_the_run_was_given():
    """The test files of this run, read before this test, have left it as the system gave it to this process."""
    given = dict(each.partition("=")[::2] for each in Path("/proc/self/environ").read_text().split("\0"))
    assert os.environ.get("LD_LIBRARY_PATH") == given.get("LD_LIBRARY_PATH")
    python = subprocess.run([sys.executable, "-c", "import sys; print(sys.version)"], capture_output=True, text=True)
    assert python.stdout.strip() == sys.version


def test_starting_r_leaves_the_library_path_alone():
    """What is started afterwards, such as another Python, finds its own libraries and not those that R names."""
    code = (
        "import os, subprocess\n"
        "from concord import r\n"
        "r.interface()\n"
        "print(os.environ.get('LD_LIBRARY_PATH'), subprocess.run(['printenv', 'LD_LIBRARY_PATH'],"
        " capture_output=True, text=True).stdout.strip() or None)\n"
    )
    given = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    for more, wanted in (({}, "None None"), ({"LD_LIBRARY_PATH": "/nowhere"}, "/nowhere /nowhere")):
        ran = subprocess.run([sys.executable, "-c", code], env=given | more, capture_output=True, text=True)
        assert ran.stdout.strip() == wanted, ran.stderr


@dataclass(frozen=True)
class Named:
    name: str
    values: np.ndarray


@dataclass(frozen=True)
class Everything:
    count: int
    size: float
    known: bool
    text: str
    missing: str | None
    absent: float | None
    texts: list[str]
    none: list[str]
    numbers: np.ndarray
    empty: np.ndarray
    inside: Named
    several: list[Named]


def test_a_list_of_r_becomes_a_record_of_the_types_that_it_says():
    got = r.record(
        Everything,
        evaluate(
            "list(several = list(list(name = 'a', values = 1), list(name = 'b', values = c(2, 3))), count = 3L,"
            " size = 0.5, known = TRUE, text = 'x', missing = NA_character_, absent = NULL, texts = c('p', 'q'),"
            " none = NULL, numbers = matrix(1:4 + 0.5, 2), empty = NULL, inside = list(name = 'c', values = numeric()))"
        ),
    )
    assert (got.count, got.size, got.known, got.text, got.missing, got.absent) == (3, 0.5, True, "x", None, None)
    assert (type(got.count), type(got.size), type(got.known), got.texts, got.none) == (int, float, bool, ["p", "q"], [])
    assert got.numbers.tolist() == [[1.5, 3.5], [2.5, 4.5]] and got.empty.shape == (0,)
    assert got.inside.name == "c" and [(each.name, each.values.tolist()) for each in got.several] == [
        ("a", [1.0]),
        ("b", [2.0, 3.0]),
    ]


@pytest.mark.parametrize("code", ["list(name = 'a')", "list(name = 'a', values = 1, other = 2)"])
def test_a_list_with_other_names_is_not_the_record(code):
    with pytest.raises(TypeError, match="Named"):
        r.record(Named, evaluate(code))
