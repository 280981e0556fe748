"""Whatever files, formulas and TOML a command is given, it does its work or says in one line why not: no traceback.

The same 2,000 cases at every run; with CONCORD_FUZZ=50 (``make fuzz``) 50 times as many, and others every time. Nothing
is fitted: `concord translate` reads a table and a formula as every command does, and `concord check` the team's file.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from concord.commands import baseline
from concord.commands.cli import main
from concord.data.tables import read
from concord.errors import InputError
from concord.files import read_json
from concord.releases import results
from concord.simulation import scenarios
from support.paths import ROOT

MORE = int(os.environ.get("CONCORD_FUZZ", 0))
set_hypothesis_home_dir(ROOT / "build" / "hypothesis")  # else beside the code


def cases(count: int):
    return settings(
        max_examples=count * max(1, MORE),
        derandomize=not MORE,
        database=None,
        deadline=None,
        suppress_health_check=[*HealthCheck],
    )


def of_command(capsys, *words: str) -> None:
    """Run a command: it ends well, or with one line and status 2."""
    try:
        status = main([*words])
    except SystemExit as ended:
        status = ended.code
    out, err = capsys.readouterr()
    if status == 0:
        assert out
    else:
        assert status == 2 and out == "" and re.fullmatch(r"concord: [^\n]+\n", err)
        assert not {unicodedata.category(letter) for letter in err[:-1]} & {"Cc", "Cf", "Cs", "Zl", "Zp"}, err


def of_reader(reader, path) -> None:
    try:
        reader(path)
    except InputError as error:
        assert str(path.name) in str(error) and "\n" not in str(error)


# ---- tables

NUMERALS = st.one_of(
    st.integers(-10, 10).map(str),
    st.floats().map(repr),
    st.sampled_from(
        ["", "NA", "nan", "abc", "1,5", "1O", "n/a ", "#DIV/0!", "-", ".", "1e999", "1e-320", "TRUE", "001"]
    ),
)
FIELDS = st.one_of(
    NUMERALS,
    st.text(max_size=6),
    st.sampled_from(
        ['"', '""', '"a""b"', '"a\nb"', "'", "\ufeff", "\0", "a;b", "\t", "é", "=1+1", "\x1b[31m", "::error::"]
    ),
)
NAMES = st.one_of(st.sampled_from(["y", "x", "g", "w", "", "y", "x y", "Intercept", "if", "NA"]), st.text(max_size=4))


@st.composite
def texts(draw) -> bytes:
    """A delimited table: a mostly whole one, some of whose fields, rows or bytes are something else."""
    separator = draw(st.sampled_from([",", ",", ",", ";", "\t", "|", " "]))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    names = draw(st.one_of(st.just(["y", "x", "g"]), st.lists(NAMES, max_size=4)))
    width = max(1, len(names))
    usual = [[f"{i * 7 % 11}.5", str(i * 3 % 8), f"g{i % 4}"][:width] + ["a"] * (width - 3) for i in range(16)]
    for _ in range(draw(st.integers(0, 4))):
        usual[draw(st.integers(0, 15))][draw(st.integers(0, width - 1))] = draw(FIELDS)
    if draw(st.integers(0, 9)) == 0:
        usual.insert(draw(st.integers(0, 15)), draw(st.lists(FIELDS, max_size=5)))
    content = end.join(separator.join(row) for row in [names, *usual]) + end
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    return damaged(draw, content.encode(encoding, "surrogatepass" if encoding != "latin-1" else "replace"), 3)


def damaged(draw, content: bytes, odds: int) -> bytes:
    """The bytes, one time in so many cut, or with some of them changed, doubled or taken out."""
    if not content or draw(st.integers(1, odds)) > 1:
        return content
    kept = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(kept)))
        much = draw(st.sampled_from([0, 1, 4, 50, len(kept)]))
        kept[at : at + much] = draw(st.one_of(st.binary(max_size=4), st.just(bytes(kept[at : at + much]) * 2)))
    return bytes(kept)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """A table in every columnar format, and in R's."""
    place = tmp_path_factory.mktemp("whole")
    frame = pd.DataFrame({"y": np.arange(16) % 7 + 0.5, "x": np.arange(16) % 5, "g": pd.Categorical([*"abcd"] * 4)})
    frame.to_parquet(place / "t.parquet")
    frame.to_feather(place / "t.feather")
    contents = {suffix: (place / f"t{suffix}").read_bytes() for suffix in (".parquet", ".feather")}
    frame.to_csv(place / "t.csv.gz", index=False)
    contents[".csv.gz"] = (place / "t.csv.gz").read_bytes()
    rds = next((ROOT / "tests").rglob("*.rds"), None)
    contents[".rds"] = rds.read_bytes() if rds else b"RDX3\n"
    return contents


@cases(350)
@given(texts(), st.sampled_from([".csv", ".csv", ".tsv", ".txt"]))
def test_a_text_is_a_table_or_one_line(tmp_path_factory, capsys, content, suffix):
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(content)
    of_command(capsys, "translate", "y ~ x + (1 | g)", str(path))


@cases(450)
@given(st.sampled_from([".parquet", ".feather", ".csv.gz", ".rds"]), st.data())
def test_a_damaged_file_is_a_table_or_one_line(tmp_path_factory, whole, suffix, data):
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(damaged(data.draw, whole[suffix], 1))
    of_reader(read, path)


# ---- formulas

ATOMS = st.sampled_from(
    ["x", "x", "z", "f", "y", "1", "0", "log(z)", "factor(f)", "I(x^2)", "poly(x, 2)", "`x`", "nope"]
)
TERMS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from(["+", "*", ":", "-", "/"]), inner),
        st.builds("({})".format, inner),
        st.builds("({})^{}".format, inner, st.integers(0, 3)),
    ),
    max_leaves=4,
)
GROUPS = st.sampled_from(["g", "g", "h", "g/h", "g:h", "f", "x", "nope", "1", "(g)"])
BARS = st.builds("({} {} {})".format, TERMS, st.sampled_from(["|", "|", "|", "||"]), GROUPS)
FORMULAS = st.builds(
    "{} ~ {} + {}".format,
    st.sampled_from(["y", "y", "y", "log(z)", "x", "", "y + x"]),
    TERMS,
    st.lists(BARS, min_size=1, max_size=2).map(" + ".join),
)


@st.composite
def mutated(draw) -> str:
    """A formula with letters put in, taken out or doubled."""
    formula = draw(FORMULAS)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(formula)))
        put = draw(
            st.one_of(
                st.sampled_from([*"~|()+-*:^/`\"'\\0%$@#,\n \x1b\ufeffé", "offset(x)", "%in%"]), st.text(max_size=2)
            )
        )
        formula = formula[:at] + put + formula[at + draw(st.integers(0, 2)) :]
    return formula


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> str:
    rows = np.arange(48)
    frame = pd.DataFrame({"y": rows * 7 % 11 + 0.5, "x": rows * 5 % 13 - 6.25, "z": rows % 9 + 1.5, "f": rows % 3})
    frame["f"] = frame["f"].map({0: "a", 1: "b", 2: "c"})
    path = tmp_path_factory.mktemp("formulas") / "table.csv"
    frame.assign(g=rows // 6, h=rows // 2 % 4).to_csv(path, index=False)
    return str(path)


@cases(350)
@given(st.one_of(FORMULAS, mutated()), st.booleans())
def test_a_formula_is_translated_or_refused_in_one_line(capsys, table, formula, with_table):
    of_command(capsys, "translate", *(["--method", "ML"] if with_table else []), "--", formula, *[table] * with_table)


# ---- TOML and JSON

VALUES = st.recursive(
    st.one_of(
        st.text(max_size=5),
        st.integers(),
        st.floats(),
        st.booleans(),
        st.sampled_from(["REML", "agree", "both", "y ~ (1 | g)", "table.csv", "r short"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=4,
)
KEYS = ("name", "data", "formula", "weights", "method", "expect", "expect_tuned", "reason", "details", "other")


def toml(value: object) -> str:
    """A value in TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value)


@st.composite
def team_files(draw) -> bytes:
    lines = draw(st.sampled_from([[], ["details = true"], ["\ufeffdetails = 1"]]))[:]
    for number in range(draw(st.integers(0, 2))):
        usual = {"name": f"m{number}", "data": "table.csv", "formula": "y ~ x + (1 | g)"}
        usual |= draw(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2))
        lines += ["[[models]]", *(f"{key} = {toml(value)}" for key, value in usual.items())]
    return damaged(draw, "\n".join(lines).encode("utf-8", "surrogatepass"), 3)


@cases(450)
@given(team_files())
def test_a_teams_file_is_read_or_refused_in_one_line(tmp_path_factory, capsys, content):
    path = tmp_path_factory.getbasetemp() / "concord.toml"
    path.write_bytes(content)
    of_command(capsys, "check", str(path), "--changed", "--", "nothing.csv")


@cases(150)
@given(st.dictionaries(st.sampled_from([*scenarios.DEFAULTS, "other"]), VALUES, max_size=3), st.data())
def test_a_grid_is_read_or_refused_in_one_line(tmp_path_factory, content, data):
    path = tmp_path_factory.getbasetemp() / "grid.toml"
    lines = "\n".join(f"{key} = {toml(value)}" for key, value in content.items())
    path.write_bytes(damaged(data.draw, lines.encode("utf-8", "surrogatepass"), 3))
    of_reader(scenarios.read, path)


@cases(250)
@given(
    st.one_of(
        VALUES,
        st.fixed_dictionaries(
            {"format": st.one_of(st.integers(1, 3), VALUES), "versions": VALUES},
            optional={"comparisons": VALUES, "fits": VALUES, "provenance": VALUES},
        ),
    ),
    st.sampled_from([baseline.read, results.brought, read_json]),
    st.data(),
)
def test_json_that_concord_wrote_is_read_or_refused_in_one_line(tmp_path_factory, content, reader, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_bytes(damaged(data.draw, json.dumps(content).encode(), 3))
    of_reader(reader, path)
