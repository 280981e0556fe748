"""Listings read every kind of file as Concord did: pasted into a fresh Python and a fresh R, all into one process of
each language, they have the same rows, the same levels in the same order and the same likelihood.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from concord import r
from concord.data import datasets
from concord.data.tables import read
from concord.engines.engine import party
from concord.listing import Listings
from concord.models.model import Model
from concord.session import Inquiry
from concord.vocabulary import LANGUAGES

X = [0, 1, 2, 3, 4, 5]
Y = [
    5.013,
    4.621,
    4.506,
    4.642,
    5.504,
    5.113,
    6.214,
    5.837,
    6.958,
    6.311,
    7.402,
    7.295,
    3.912,
    4.488,
    4.027,
    5.206,
    4.815,
    5.618,
]


def table(*groups: str, others: dict[str, list[str]] | None = None, sep: str = ",", decimal: str = ".") -> str:
    """A file with ``y``, ``x`` and groups ``g`` of six rows each, and other columns, whose fields are repeated."""
    others = others or {}
    lines = [sep.join(["y", "x", "g", *others])]
    for i, y in enumerate(Y[: 6 * len(groups)]):
        fields = [str(y).replace(".", decimal), str(X[i % 6]), groups[i // 6]]
        lines.append(sep.join([*fields, *(values[i % len(values)] for values in others.values())]))
    return "\n".join(lines) + "\n"


PLAIN = table("a", "b", "c")
# Of every kind of file the formula, the rows that are left, and the levels of the column that is named.
TRAPS: dict[str, tuple[str | bytes, str, int, str, list[str]]] = {
    "plain.csv": (PLAIN, "x", 18, "g", ["a", "b", "c"]),
    "empty.csv": (table("a", "b", "", others={"f": ["p", "", "q"]}), "x + f", 8, "f", ["p", "q"]),
    "none.csv": (table("None", "null", "n/a"), "x", 18, "g", ["None", "n/a", "null"]),
    "none_missing.csv": (table("None", "b", "NA", others={"z": ["1", "NA", "3"]}), "x + z", 8, "g", ["None", "b"]),
    "level_na.csv": (table('"NA"', '"b"', '"c"', others={"z": ["1", "NA", "3"]}), "x + z", 12, "g", ["NA", "b", "c"]),
    "level_na_flag.csv": (
        table('"NA"', '"b"', '"c"', others={"z": ["TRUE", "NA", "FALSE"]}),
        "x + z",
        12,
        "g",
        ["NA", "b", "c"],
    ),
    "other_na.csv": (table('"NA"', '"b"', '"c"', others={'"f"': ['"p"', "NA", '"q"']}), "x + f", 12, "f", ["p", "q"]),
    "both_na.csv": (table("NA", '"NA"', '"b"', others={"f": ['"x,NA,y"', '"q"']}), "x + f", 12, "g", ["NA", "b"]),
    "both_na.csv.gz": (table("NA", '"NA"', '"b"', others={"z": ["1", "NA", "3"]}), "x + z", 8, "g", ["NA", "b"]),
    "semicolons.csv": (
        table("a", "b", "c", others={"z": ["1,5", "", "3"]}, sep=";", decimal=","),
        "x + z",
        12,
        "g",
        ["a", "b", "c"],
    ),
    "semicolons_na.csv": (
        table('"NA"', '"b"', '"c"', others={"z": ["1,5", "NA", "3"]}, sep=";", decimal=","),
        "x + z",
        12,
        "g",
        ["NA", "b", "c"],
    ),
    "tabs.txt": (table("a", "b", "c", sep="\t"), "x", 18, "g", ["a", "b", "c"]),
    "commas.txt": (PLAIN, "x", 18, "g", ["a", "b", "c"]),
    "tabs.csv": (table("a", "", "c", sep="\t"), "x", 12, "g", ["a", "c"]),
    "directive.csv": ("sep=;\n" + table("a", "b", "c", sep=";"), "x", 18, "g", ["a", "b", "c"]),
    "letters.csv": (table("a", "b", "c", others={"T": ["T", "F", "T"]}), "x + T", 18, "T", ["F", "T"]),
    "groups_tf.csv": (table("T", "F", "T"), "x", 18, "g", ["F", "T"]),
    "flags.csv": (table("a", "b", "c", others={"f": ["True", "False", "True", ""]}), "x + f", 14, "f", []),
    "flags_quoted.csv": (table("a", "b", "c", others={"f": ['"true"', '"false"', "NA"]}), "x + f", 12, "f", []),
    "flag_number.csv": (table("a", "b", "c", others={"f": ["true", "false", "NA"]}), "x + I(f * 2)", 12, "f", []),
    "zeros.csv": (table("01", "1", "001"), "x", 18, "g", ["001", "01", "1"]),
    "zeros_missing.csv": (table("01", "1", "NA", others={"z": ["1", "2", ""]}), "x + z", 8, "g", ["01", "1"]),
    "zeros_padded.csv": (table(" 01", " 1", " 001 "), "x", 18, "g", ["001", "01", "1"]),
    "zeros_padded_na.csv": (table(" 01", " NA", "1"), "x", 12, "g", ["01", "1"]),
    "blanks.csv": (table("a", "b", "c", others={"f": ["  ", "1e", "2e"]}), "x + f", 18, "f", ["  ", "1e", "2e"]),
    "versions.csv": (table("1.1", "1.10", "1.2"), "x", 18, "g", ["1.1", "1.10", "1.2"]),
    "months.csv": (table("a", "b", "c", others={"m": ["01", "02", "10"]}), "x + m", 18, "m", []),
    "hexadecimal.csv": (table("0x1", "0x01", "0xA"), "x", 18, "g", ["0x01", "0x1", "0xA"]),
    "exponents.csv": (table("a", "b", "c", others={"f": ["1e", "2e", "10e"]}), "x + f", 18, "f", ["10e", "1e", "2e"]),
    "complex.csv": (table("1i", "2i", "1+2i"), "x", 18, "g", ["1+2i", "1i", "2i"]),
    "infinity.csv": (table("Infinity", "1", "2"), "x", 18, "g", ["1", "2", "Infinity"]),
    "long_ids.csv": (
        table("9007199254740993", "9007199254740992", "3", others={"z": ["1", "2", "3"]}),
        "x + z",
        18,
        "g",
        ["3", "9007199254740992", "9007199254740993"],
    ),
    "longer_ids.csv": (
        table("98765432109876543210", "98765432109876543211", "98765432109876543212"),
        "x",
        18,
        "g",
        ["98765432109876543210", "98765432109876543211", "98765432109876543212"],
    ),
    "longer_ids_and_names.csv": (
        table("98765432109876543210", "", "c", others={"f": ["p", "q", "r", "p"]}),
        "x + f",
        12,
        "g",
        ["98765432109876543210", "c"],
    ),
    "close.csv": (table("0.10000000000000001", "0.1000000000000001", "0.2"), "x", 18, "g", []),
    "padded.csv": (table("a", "b", "c", others={" z": [" 1", " NA", " 3"]}), "x + z", 12, "g", ["a", "b", "c"]),
    "padded_quoted.csv": (
        table("a", "b", "c", others={'" z "': ["1", " ", "3", "5", "2"], '" T "': ["T", "F", "T", "T"]}),
        "x + z + T",
        14,
        "T",
        ["F", "T"],
    ),
    "mark.csv": ("\ufeff" + PLAIN, "x", 18, "g", ["a", "b", "c"]),
    "accents.csv": (table("é", "ß", "z", others={"größe": ["µ", "o", "Ω"]}), "x + größe", 18, "größe", ["o", "µ", "Ω"]),
    "inches.csv": (table('5"', '6"', '7"'), "x", 18, "g", ['5"', '6"', '7"']),
    "inches_quoted.csv": (table('"5"""', '"6"', '"7"""'), "x", 18, "g", ['5"', "6", '7"']),
    "apostrophes.csv": (table("o'b", "#c", "\\n"), "x", 18, "g", ["#c", "\\n", "o'b"]),
    "lines.csv": (
        table("a", "b", "c", others={"f": ['"p\r\nq"', '"r\ns"', "t"]}),
        "x + f",
        18,
        "f",
        ["p\r\nq", "r\ns", "t"],
    ),
    "returns.csv": (PLAIN.replace("\n", "\r"), "x", 18, "g", ["a", "b", "c"]),
    "blank_lines.csv": (PLAIN.replace("\n", "\n\n", 4), "x", 18, "g", ["a", "b", "c"]),
    "escapes.csv": (
        table("a", "b", "c", others={"f": ["\x1b[31mred", "\x07bell", "plain"]}),
        "x + f",
        18,
        "f",
        ["\x07bell", "\x1b[31mred", "plain"],
    ),
    "header_line.csv": (
        table("a", "b", "c", others={'"z\nlog"': ["1", "2", "4"]}),
        "x + `z\nlog`",
        18,
        "g",
        ["a", "b", "c"],
    ),
    "equals.csv": (
        table("a", "b", "c", others={"=1+1|cmd": ["1", "2", "4"]}),
        "x + `=1+1|cmd`",
        18,
        "g",
        ["a", "b", "c"],
    ),
    "row_names.csv": (
        "\n".join([PLAIN.split("\n")[0], *(f"r{i % 3},{line}" for i, line in enumerate(PLAIN.split("\n")[1:-1]))]),
        "x",
        18,
        "g",
        ["a", "b", "c"],
    ),
    "order.csv": (table("a", "b", "c", others={"f": ["B", "a", "C"]}), "x + f", 18, "f", ["B", "C", "a"]),
    # Tables that are called as what the pasted code calls.
    "I.csv": (PLAIN, "x + I(x^2)", 18, "g", ["a", "b", "c"]),
    "np.csv": (PLAIN, "log(x + 1)", 18, "g", ["a", "b", "c"]),
    "quoted_levels.csv": (table("a", "b", "c", others={"f": ['"1"', '"2"', '"4"']}), "x + factor(f)", 18, "f", []),
}

FRAME = pd.DataFrame(
    {"y": Y, "x": X * 3, "g": np.repeat(pd.to_datetime(["2021-01-15", "2021-02-15", "2022-01-01"]), 6)}
)
FRAME["flag"] = pd.array([True, False, None, True] * 4 + [False, True], "boolean")
FRAME["dose"] = [Decimal(text) for text in ("0.5", "1.5", "2.25", "3", "0.1", "0.2", "1.1", "3.1", "1.9")] * 2
FRAME["f"] = pd.Categorical(["low", "high", "mid"] * 6, ["low", "mid", "high"])
SAVED = {
    "saved.parquet": ("x + flag + dose + f", 14, "f", ["low", "mid", "high"]),
    "indexed.parquet": ("x + dose", 18, "x", []),
    "saved.rds": ("x + flag + f", 14, "f", ["low", "mid", "high"]),
}

ASKED = {name: told[1:] for name, told in TRAPS.items()} | SAVED

PYTHON = """
import contextlib, io, json, sys, warnings
warnings.simplefilter("ignore")
for file, name, column in json.load(open("asked.json")):
    here = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(open(file, encoding="utf-8").read(), here)
    values, fit = here[name][column], here["fit"]
    levels = [str(level) for level in (values.cat.categories if values.dtype == "category" else sorted(set(values)))]
    print(json.dumps([len(fit.model.endog), fit.model.n_groups, levels, float(fit.llf)]))
"""
R = """
asked <- readLines("asked.txt", encoding = "UTF-8")
for (i in seq(1, length(asked), 3)) {
  here <- new.env()
  invisible(capture.output(source(asked[i], local = here, encoding = "UTF-8")))
  column <- eval(parse(text = asked[i + 2], encoding = "UTF-8"))
  values <- here[[asked[i + 1]]][[column]]
  levels <- sort(unique(as.character(values)), method = "radix")
  if (is.factor(values) && column != "g") levels <- levels(droplevels(values))
  fit <- here$fit
  cat(nobs(fit), lme4::ngrps(fit), sprintf("%.15g", as.numeric(logLik(fit))), encodeString(levels), sep = "\\t")
  cat("\\n")
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("pasted")
    for name, (content, *_) in TRAPS.items():
        raw = content.encode() if isinstance(content, str) else content
        (place / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    FRAME.to_parquet(place / "saved.parquet")
    pd.DataFrame(FRAME.set_index("g")).to_parquet(place / "indexed.parquet")
    r.call("saveRDS", FRAME.drop(columns=["dose", "g"]).assign(g=[*"aaaaaabbbbbbcccccc"]), str(place / "saved.rds"))
    return place


@pytest.fixture(scope="module")
def models(folder) -> dict[str, tuple[Model, Listings]]:
    made = {}
    for name, (formula, *_) in ASKED.items():
        asked = Inquiry(folder / name, f"y ~ {formula} + (1 | g)")
        made[name] = asked.model, asked.listings
    return made


def pasted(folder: Path, models: dict[str, tuple[Model, Listings]], language: str) -> dict[str, list[object]]:
    """Of every table rows, groups, levels and log-likelihood, as one new process of a language has them."""
    suffix, asked = {"Python": "py", "R": "R"}[language], []
    for name, (model, listings) in models.items():
        file = f"{name}.{suffix}"
        (folder / file).write_text(getattr(listings, language.lower()), encoding="utf-8")
        asked.append([file, model.dataset.id, ASKED[name][2]])
    if language == "Python":
        (folder / "asked.json").write_text(json.dumps(asked))
        command = [sys.executable, "-I", "-c", PYTHON]
    else:
        lines = [
            part if i != 2 else json.dumps(part, ensure_ascii=False) for one in asked for i, part in enumerate(one)
        ]
        (folder / "asked.txt").write_text("\n".join(lines), encoding="utf-8")
        command = ["Rscript", "--vanilla", "-e", R]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    told = []
    for line in done.stdout.splitlines():
        if language == "Python":
            told.append(json.loads(line))
        else:
            rows, groups, loglik, *levels = line.split("\t")
            told.append(
                [
                    int(rows),
                    int(groups),
                    [level.encode("latin-1", "backslashreplace").decode("unicode_escape") for level in levels],
                    float(loglik),
                ]
            )
    return dict(zip(models, told, strict=True))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_listing_reads_its_table_as_it_was_meant(language, folder, models):
    expected = {}
    # R reads Parquet by a package that is not always there.
    models = {name: made for name, made in models.items() if language == "Python" or not name.endswith(".parquet")}
    for name, (model, _) in models.items():
        _, rows, _, levels = ASKED[name]
        assert len(model.frame) == rows, name
        loglik = pytest.approx(party(language).fit(model).stated_loglik, abs=1e-6)
        if language == "R":  # whose ends of lines within fields are all alike
            levels = [level.replace("\r\n", "\n") for level in levels]
        expected[name] = [rows, len(model.design.terms[0].levels), levels, loglik]
    told = pasted(folder, models, language)
    for name, one in told.items():
        if not ASKED[name][3]:
            one[2] = []
    assert told == expected


def test_a_data_set_of_the_catalogue_is_read_as_it_was_meant_too(tmp_path):
    """There only an empty field is missing, and a level may be called as it likes."""
    content = "y,f,g\n" + "".join(f"{y},{'None' if i % 2 else '02'},{'T' if i < 9 else 'F'}\n" for i, y in enumerate(Y))
    head = [f'{key} = "a::b"' for key in ("title", "source", "version", "citation", "licence")]
    head += ["rows = 18", f'sha256 = "{hashlib.sha256(content.encode()).hexdigest()}"']
    kinds = {"y": '"number"', "f": '"factor"\nlevels = ["None", "02"]', "g": '"string"'}
    columns = [f'[columns.{name}]\nmeaning = "m"\ntype = {kind}' for name, kind in kinds.items()]
    place = tmp_path / "small"
    place.mkdir()
    (place / "small.csv").write_text(content)
    model = '[models.m]\ntitle = "t"\nformula = "y ~ f + (1 | g)"'
    (place / "dataset.toml").write_text("\n".join([*head, *columns, model]))
    loaded = datasets.read(place)
    code = Listings(Model(loaded, "m", loaded.models["m"], "REML"), "small.csv")
    assert 'pd.read_csv("small.csv", keep_default_na=False)' in code.python
    assert 'colClasses = c(g = "character")' in code.r


def test_a_plain_table_has_plain_code(models):
    assert 'plain = pd.read_csv("plain.csv")\n' in models["plain.csv"][1].python
    assert 'plain <- read.csv("plain.csv", check.names = FALSE, stringsAsFactors = TRUE)\n' in models["plain.csv"][1].r


def test_what_r_needs_for_parquet_is_one_line(models):
    assert '\n# arrow reads it: install.packages("arrow")\n' in models["saved.parquet"][1].r


def test_numbers_in_quotes_among_others_without_are_said_aloud(tmp_path):
    """R's write.csv quotes the levels of a factor; by themselves they are numbers."""
    (tmp_path / "rats.csv").write_text(table('"a"', '"b"', '"c"', others={"diet": ['"1"', '"2"', '"4"']}))
    sentence = "diet has 3 whole numbers in quotes and is taken as a number; if they are levels, write factor(diet)"
    asked = Inquiry(tmp_path / "rats.csv", "y ~ diet + (1 | g)")
    assert sentence in asked.notes
    assert f"# {sentence}\n" in asked.listings.python and f"# {sentence}\n" in asked.listings.r
    assert sentence not in Inquiry(tmp_path / "rats.csv", "y ~ factor(diet) + (1 | g)").notes


def test_a_negative_zero_is_no_name(tmp_path):
    """pandas writes -0.0 for what it rounds to it."""
    (tmp_path / "t.csv").write_text(table("a", "b", "c", others={"z": ["-0.0", "0.0", "1.5", "1.5"]}))
    assert read(tmp_path / "t.csv")["z"].dtype == float


def test_ids_that_one_number_would_merge_stay_apart_aloud(tmp_path):
    (tmp_path / "ids.csv").write_text(table("01", "1", "001"))
    asked = Inquiry(tmp_path / "ids.csv", "y ~ x + (1 | g)")
    assert asked.notes == (
        "g: '01' and '1' and '001' are groups of their own, and not one number: write them alike to merge them",
    )
    (tmp_path / "months.csv").write_text(table("a", "b", "c", others={"m": ["01", "02", "10"]}))
    months = Inquiry(tmp_path / "months.csv", "y ~ m + (1 | g)")
    assert months.model.frame["m"].tolist()[:3] == [1.0, 2.0, 10.0]
