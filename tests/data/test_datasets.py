"""Datasets: read strictly, equal to what R has, and exported anew without a change."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from concord.data import datasets
from concord.data.datasets import DatasetError
from support.paths import ROOT

NONE: Callable[[str], str] = {}.__getitem__
"""The version of no package: a declaration that names none asks for none."""


@pytest.fixture
def dietox(tmp_path) -> Path:
    """A copy of the dietox folder, to be spoiled."""
    return Path(shutil.copytree(ROOT / "datasets" / "dietox", tmp_path / "dietox"))


def seal(folder: Path) -> None:
    """Write the table's present checksum into the TOML, so that only what follows can be at fault."""
    digest = hashlib.sha256((folder / f"{folder.name}.csv").read_bytes()).hexdigest()
    toml = folder / "dataset.toml"
    toml.write_text(re.sub(r'sha256 = "\w+"', f'sha256 = "{digest}"', toml.read_text("utf-8")), "utf-8")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def refusal(folder: Path) -> str:
    """The one-line message with which the dataset is refused."""
    with pytest.raises(DatasetError) as caught:
        datasets.read(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


# What is changed in dataset.toml, and the key that the message names.
TOML = {
    "unknown key": ('title = "Weights', 'colour = "red"\ntitle = "Weights', "colour: unknown key"),
    "unknown key of a column": ("[columns.Time]", '[columns.Time]\nlabel = "week"', "columns.Time.label: unknown key"),
    "unknown key of a model": (
        "[models.uncorrelated]",
        '[models.uncorrelated]\nfamily = "gaussian"',
        "models.uncorrelated.family: unknown key",
    ),
    "unknown key of a known disagreement": ("[models.uncorrelated.known]", "[models.uncorrelated.known]\nx = 1", "x:"),
    "unknown key of a tolerance": (
        "[models.uncorrelated.known]",
        '[models.uncorrelated.tolerance.loglik]\nrtol = 1e-3\nreason = "r"\nwhy = "w"\n[models.uncorrelated.known]',
        "models.uncorrelated.tolerance.loglik.why: unknown key",
    ),
    "unknown quantity": (
        "[models.uncorrelated.known]",
        '[models.uncorrelated.tolerance.mean]\nrtol = 1e-3\nreason = "r"\n[models.uncorrelated.known]',
        "models.uncorrelated.tolerance.mean",
    ),
    "tolerance without reason": (
        "[models.uncorrelated.known]",
        "[models.uncorrelated.tolerance.loglik]\nrtol = 1e-3\n[models.uncorrelated.known]",
        "models.uncorrelated.tolerance.loglik.reason: this key is missing",
    ),
    "text for a number": ("rows = 861", 'rows = "861"', "rows:"),
    "truth value for a number": ("rows = 861", "rows = true", "rows:"),
    "number for a text": ('version = "1.3.9"', "version = 1.3", "version:"),
    "empty text": ('version = "1.3.9"', 'version = ""', "version:"),
    "missing key": ("licence =", "#licence =", "licence: this key is missing"),
    "missing meaning": ('meaning = "Pig"', "", "columns.Pig.meaning: this key is missing"),
    "missing formula": (
        'formula = "Weight ~ Time + (1 | Pig)"',
        "",
        "models.random_intercept.formula: this key is missing",
    ),
    "source that is not an R object": ('source = "geepack::dietox"', 'source = "geepack"', "source:"),
    "unknown type": ('type = "integer"', 'type = "int"', "columns.Time.type:"),
    "levels of a number": ('type = "integer"', 'type = "integer"\nlevels = ["1"]', "columns.Time: levels belong"),
    "factor without levels": ('levels = ["Cu000", "Cu035", "Cu175"]', "", "columns.Cu: levels belong"),
    "level listed twice": (
        '["Cu000", "Cu035", "Cu175"]',
        '["Cu000", "Cu035", "Cu035", "Cu175"]',
        "columns.Cu: a level",
    ),
    "unknown verdict": ('verdict = "python short"', 'verdict = "python off"', "known.verdict:"),
    "unknown verdict among several": (
        "[models.uncorrelated.known]",
        '[[models.uncorrelated.known]]\nmethod = "ML"\nverdict = "differ"\nreason = "r"\n'
        '[[models.uncorrelated.known]]\nmethod = "ml"',
        "models.uncorrelated.known.1.method:",
    ),
    "method declared twice": (
        "[models.uncorrelated.known]",
        '[[models.uncorrelated.known]]\nmethod = "ML"\nverdict = "differ"\nreason = "r"\n'
        '[[models.uncorrelated.known]]\nmethod = "ML"',
        "models.uncorrelated: known: a method is declared twice",
    ),
    "method declared beside both": (
        "[models.uncorrelated.known]",
        '[[models.uncorrelated.known]]\nmethod = "ML"\nverdict = "differ"\nreason = "r"\n[[models.uncorrelated.known]]',
        "models.uncorrelated: known: a method is declared twice",
    ),
    "no range of versions": (
        "[models.uncorrelated.known]",
        '[models.uncorrelated.known]\nversions = { lme4 = "~1.1-31" }',
        "models.uncorrelated.known.versions.lme4: '~1.1-31' is no range",
    ),
    "method declared for versions and for all": (
        "[models.uncorrelated.known]",
        '[[models.uncorrelated.known]]\nversions = { lme4 = "<2" }\nverdict = "differ"\nreason = "r"\n'
        "[[models.uncorrelated.known]]",
        "models.uncorrelated: known: a method is declared twice",
    ),
    "model's name": ("[models.random_intercept]", '[models."Random intercept"]', "models.Random intercept"),
    "unlisted level": ('"Cu000", ', "", "columns.Cu.levels: 'Cu000' is missing"),
    "missing column": (
        "[columns.Feed]",
        '[columns.Food]\ntype = "number"\nmeaning = "m"\n[columns.Feed]',
        "columns.Food",
    ),
    "wrong row count": ("rows = 861", "rows = 860", "861 rows, dataset.toml has 860 under rows"),
    "checksum": ('sha256 = "37ac', 'sha256 = "47ac', "under sha256"),
    "malformed checksum": ('sha256 = "37ac', 'sha256 = "37AC', "sha256:"),
    "no TOML": ("rows = 861", "rows =", "not valid TOML"),
}


@pytest.mark.parametrize("case", TOML)
def test_a_toml_that_is_not_as_it_should_be_is_one_error_that_names_file_and_key(dietox, case):
    """Every departure from the record's form, or from the table, names the TOML and the key at fault."""
    old, new, named = TOML[case]
    edit(dietox / "dataset.toml", old, new)
    message = refusal(dietox)
    assert "dataset.toml" in message
    assert named in message


# What is changed in the CSV, and what the message names.
CSV = {
    "text for a number": (",26.5,,", ",heavy,,", ["dietox.csv: line 2", "'heavy'", "'Weight'", "columns.Weight.type"]),
    "missing spelled NA": (",26.5,,", ",NA,,", ["dietox.csv: line 2", "'NA'", "columns.Weight.type"]),
    "not a number": (",26.5,,", ",nan,,", ["dietox.csv: line 2", "'nan'", "columns.Weight.type"]),
    "infinity": (",26.5,,", ",inf,,", ["dietox.csv: line 2", "'inf'", "columns.Weight.type"]),
    "Python's digits": (",26.5,,", ",2_6.5,,", ["dietox.csv: line 2", "'2_6.5'", "columns.Weight.type"]),
    "fraction for an integer": (",1\n", ",1.5\n", ["dietox.csv: line 2", "'1.5'", "columns.Time.type"]),
    "unlisted level": ("Cu000", "Cu001", ["dataset.toml", "columns.Cu.levels", "'Cu001'"]),
    "another column": ("Pig,", "Extra,", ["'Pig'", "columns.Pig"]),
    "extra column": (",Time\n", ",Time,Extra\n", ["dataset.toml", "columns.Extra", "'Extra'"]),
    "column twice": ("Pig,Evit", "Pig,Pig", ["dietox.csv", "'Pig'"]),
    "short row": (",26.5,,", ",,", ["dietox.csv: line 2", "7 fields", "8"]),
    "lost row": (None, "", ["dietox.csv", "860 rows", "861 under rows"]),
}


@pytest.mark.parametrize("case", CSV)
def test_a_table_that_is_not_as_described_is_one_error_that_names_file_and_column(dietox, case):
    """A table with a true checksum is still held against its description, column by column and value by value."""
    old, new, named = CSV[case]
    table = dietox / "dietox.csv"
    edit(table, old or table.read_text().splitlines(keepends=True)[-1], new)
    seal(dietox)
    message = refusal(dietox)
    assert [each for each in named if each not in message] == []


def test_a_changed_table_is_refused_by_its_checksum(dietox):
    """One changed digit is noticed although it is a number, and the message names the CSV and the key."""
    edit(dietox / "dietox.csv", "26.5", "26.6")
    message = refusal(dietox)
    assert "dietox.csv" in message and "under sha256" in message


@pytest.mark.parametrize(("content", "named"), [(b"", "empty"), (b"Pig\n\xff\n", "UTF-8")])
def test_a_table_that_is_no_csv_is_one_error(dietox, content, named):
    """An empty file and one in another encoding are refused by name."""
    (dietox / "dietox.csv").write_bytes(content)
    seal(dietox)
    message = refusal(dietox)
    assert "dietox.csv" in message and named in message


def test_a_missing_table_is_one_error(dietox):
    """A folder without its CSV is refused by the CSV's name."""
    (dietox / "dietox.csv").unlink()
    assert "dietox.csv: cannot be read" in refusal(dietox)


def test_an_unknown_dataset_names_those_that_exist():
    """Asking for a dataset that is not there lists what is."""
    there = sorted(path.parent.name for path in (ROOT / "datasets").glob("*/dataset.toml"))
    with pytest.raises(DatasetError, match=f"'pigs': not found in .*there are {', '.join(there)}$") as caught:
        datasets.load("pigs")
    assert "\n" not in str(caught.value) and "dietox" in there


def test_levels_spelled_na_or_none_stay_levels_and_only_empty_fields_are_missing(tmp_path):
    """What other readers take for missing, "NA", "None", "nan" or "", is a level where it is listed as one."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "small.csv").write_text(
        "grade,word,flag,count,share\nNone,NA,true,1,0.5\nNA,nan,false,2,\nnan,None,,,-1e-3\n,,true,3,2\n"
    )
    (folder / "dataset.toml").write_text(
        'title = "t"\nsource = "a::b"\nversion = "1"\ncitation = "c"\nlicence = "l"\nrows = 4\n'
        f'sha256 = "{"0" * 64}"\n'
        '[columns.grade]\ntype = "ordered"\nmeaning = "m"\nlevels = ["nan", "None", "unused", "NA"]\n'
        '[columns.word]\ntype = "string"\nmeaning = "m"\n[columns.flag]\ntype = "boolean"\nmeaning = "m"\n'
        '[columns.count]\ntype = "integer"\nmeaning = "m"\n[columns.share]\ntype = "number"\nmeaning = "m"\n'
        '[models.m]\nformula = "share ~ (1 | grade)"\ntitle = "t"\n'
    )
    seal(folder)
    frame = datasets.read(folder).frame
    assert list(frame.grade.cat.categories) == ["nan", "None", "unused", "NA"] and frame.grade.cat.ordered
    assert frame.grade.isna().tolist() == [False, False, False, True]
    assert frame.grade.tolist()[:3] == ["None", "NA", "nan"]
    assert frame.word.tolist()[:3] == ["NA", "nan", "None"] and frame.word.isna().tolist() == [False] * 3 + [True]
    assert frame["flag"].isna().tolist() == [False, False, True, False] and list(frame["flag"][[0, 1, 3]]) == [1, 0, 1]
    assert frame["count"].isna().tolist() == [False, False, True, False]
    assert frame["share"].tolist()[::2] == [0.5, -0.001] and np.isnan(frame["share"][1])


def test_every_dataset_says_what_was_measured():
    assert all(len(datasets.load(id).measured) > 40 for id in datasets.catalogue())


def test_a_disagreement_is_known_by_both_methods_or_by_one(dietox):
    """A table without a method holds for both, an array of tables for those that it names."""
    both = datasets.read(dietox).models["uncorrelated"]
    assert both.known_by("REML", NONE) is both.known_by("ML", NONE) is both.known[0]
    assert datasets.read(dietox).models["random_intercept"].known_by("ML", NONE) is None
    edit(
        dietox / "dataset.toml",
        "[models.uncorrelated.known]",
        '[[models.uncorrelated.known]]\nmethod = "REML"\nverdict = "both short"\nreason = "two"\n'
        '[[models.uncorrelated.known]]\nmethod = "ML"',
    )
    record = datasets.read(dietox).models["uncorrelated"]
    assert (
        record.known_by("REML", NONE).verdict == "both short" and record.known_by("ML", NONE).verdict == "python short"
    )
    assert record.model_copy(update={"known": record.known[:1]}).known_by("ML", NONE) is None


def test_a_disagreement_is_known_with_some_versions(dietox):
    """Each of several ranges has its own verdict; outside of all agreement is expected, or what rounding may bring."""
    edit(
        dietox / "dataset.toml",
        "[models.uncorrelated.known]",
        '[[models.uncorrelated.known]]\nversions = { lme4 = ">=2", R = ">=4.5" }\nverdict = "r short"\nreason = "two"\n'
        '[[models.uncorrelated.known]]\nversions = { lme4 = "<1.1-37" }',
    )
    record = datasets.read(dietox).models["uncorrelated"]

    def word(lme4: str, r: str, by_rounding: bool = False) -> str | None:
        known = record.known_by("REML", {"lme4": lme4, "R": r}.__getitem__, by_rounding)
        return known and known.verdict

    assert [word("1.1-31", "4.2.2"), word("1.1-37", "4.5.0"), word("2.1.0", "4.6.2")] == [
        "python short",
        None,
        "r short",
    ]
    assert word("2.1.0", "4.4.3") is None and word("1.1-37", "4.5.0", by_rounding=True) is None
    first, second = record.known
    record = record.model_copy(update={"known": (first, second.model_copy(update={"by_rounding": True}))})
    assert word("1.1-37", "4.5.0") is None and word("1.1-37", "4.5.0", by_rounding=True) == "python short"
    assert word("2.1.0", "4.6.2", by_rounding=True) == "r short"
    # One that may come with any version does not hide the one that is due with these.
    record = record.model_copy(
        update={"known": tuple(known.model_copy(update={"by_rounding": True}) for known in (first, second))}
    )
    assert word("2.1.0", "4.6.2", by_rounding=True) == "r short"


def test_the_folder_of_the_datasets_can_be_named(dietox, monkeypatch):
    """CONCORD_DATASETS is where datasets are looked for, when it is set."""
    monkeypatch.setenv("CONCORD_DATASETS", str(dietox.parent))
    assert datasets.catalogue() == ["dietox"]
    assert len(datasets.load("dietox").frame) == 861


def test_a_dataset_that_was_edited_since_it_was_read_is_read_anew(dietox, monkeypatch):
    """And one that was not is the same one."""
    monkeypatch.setenv("CONCORD_DATASETS", str(dietox.parent))
    first = datasets.load("dietox")
    assert datasets.load("dietox") is first
    edit(dietox / "dietox.csv", "26.5,26.5,,", "26.5,99.25,,")
    with pytest.raises(DatasetError, match="its contents have changed"):
        datasets.load("dietox")
    seal(dietox)
    assert (datasets.load("dietox").frame["Weight"] == 99.25).any() and not (first.frame["Weight"] == 99.25).any()


def test_a_relative_folder_is_that_of_the_present_directory(dietox, monkeypatch, tmp_path):
    other = Path(shutil.copytree(dietox, tmp_path / "other" / "dietox"))
    edit(other / "dietox.csv", "26.5,26.5,,", "26.5,99.25,,")
    seal(other)
    monkeypatch.setenv("CONCORD_DATASETS", ".")
    seen = []
    for place in (dietox, other):
        monkeypatch.chdir(place.parent)
        seen.append((datasets.load("dietox").frame["Weight"] == 99.25).any())
    assert seen == [False, True]


def test_the_export_from_r_gives_every_csv_byte_for_byte(tmp_path):
    """Exporting all datasets from their R packages anew changes no byte of any table."""
    subprocess.run(
        ["Rscript", "--vanilla", ROOT / "scripts/export_datasets.R", tmp_path], check=True, capture_output=True
    )
    assert sorted(each.name for each in tmp_path.iterdir()) == datasets.catalogue()
    for id in datasets.catalogue():
        assert (tmp_path / id / f"{id}.csv").read_bytes() == (ROOT / "datasets" / id / f"{id}.csv").read_bytes()


@pytest.mark.parametrize("id", datasets.catalogue())
def test_the_table_is_what_the_r_package_has(id, r_table):
    """Every column of R's own table is there, in order, with the same values, levels and order of levels."""
    dataset = datasets.load(id)
    theirs, ours = r_table(dataset.source), dataset.frame
    assert list(ours.columns) == list(theirs.columns)
    assert len(ours) == len(theirs)
    for name in ours.columns:
        mine, original = ours[name], theirs[name]
        assert isinstance(mine.dtype, pd.CategoricalDtype) == isinstance(original.dtype, pd.CategoricalDtype), name
        assert mine.isna().tolist() == original.isna().tolist(), name
        if isinstance(mine.dtype, pd.CategoricalDtype):
            assert list(mine.cat.categories) == list(original.cat.categories), name
            assert mine.cat.ordered == original.cat.ordered, name
            assert mine.astype("str").tolist() == original.astype("str").tolist(), name
        else:
            # The very same doubles, not merely close ones.
            assert np.array_equal(mine.to_numpy(float), original.to_numpy(float), equal_nan=True), name
