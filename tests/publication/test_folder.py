"""The collection in files: whole, by its own schema, the same each time, and true to the tables that it was made of."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import runpy
import zlib
from decimal import Decimal

import jsonschema
import pytest

from concord.commands.cli import main
from concord.data import datasets
from concord.models import model as models
from concord.publication import folder
from support.paths import ROOT

# Bytes of a file from which on a case is one of many rows, and like a smaller one.
LARGE = 200_000


def test_every_certified_model_of_the_catalogue_is_a_case(cases):
    assert {model.id for model in models.every()} <= set(cases)


def test_every_case_is_by_the_schema_that_stands_beside_it(written):
    schema = json.loads((written / "schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in (written / "cases").glob("*.json"):
        if path.stat().st_size < LARGE:
            validator.validate(json.loads(path.read_text()))


def test_the_index_has_the_checksum_of_every_file(written):
    index = json.loads((written / "index.json").read_text())
    files = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    assert files - {"index.json"} == set(index["files"])
    for name, checksum in index["files"].items():
        assert hashlib.sha256((written / name).read_bytes()).hexdigest() == checksum, name
    for entry in index["cases"]:
        assert entry["sha256"] == index["files"][entry["file"]]
        assert entry["difficulty"] in ("lower", "average", "higher")


def test_it_is_the_same_to_the_byte_and_what_is_no_case_any_more_goes(written, tmp_path):
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "gone-model.json").write_text("{}")
    folder.write(tmp_path, lambda line: None, lambda id: id.startswith(("oats", "rail", "dyestuff2")))
    made = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "index.json"]
    assert len(made) == 3 * 3 + len(folder.COPIED)
    for path in made:
        assert path.read_bytes() == (written / path.relative_to(tmp_path)).read_bytes()


def test_data_are_the_decimals_of_the_table(cases):
    for id, case in cases.items():
        if case["source"]["dataset"] not in datasets.catalogue():
            continue
        with open(ROOT / "datasets" / case["source"]["dataset"] / f"{case['source']['dataset']}.csv") as file:
            rows = list(csv.DictReader(file))
        for name, values in case["data"].items():
            for row, value in zip(rows, values, strict=True):
                assert str(value) == row[name] or Decimal(value) == Decimal(row[name]), (id, name)


def test_matrices_are_written_as_exact_decimals(cases):
    """X of a covariate has the table's own numbers, a polynomial contrast thirty digits, orthonormal to the last."""
    sitka = cases["sitka-random_slope"]
    assert sitka["X"]["columns"][1] == sitka["data"]["Time"] == sitka["Z"][0]["columns"][1]
    linear = cases["cake-split_plot"]["X"]["columns"][cases["cake-split_plot"]["X"]["names"].index("temperature.L")]
    assert abs(sum(value * value for value in set(linear)) - 1) < Decimal("1e-27")


def test_a_sheet_has_the_certified_values_and_the_data(written):
    sheet = (written / "sheets" / "rail-random_intercept.txt").read_text()
    case = json.loads((written / "cases" / "rail-random_intercept.json").read_text())
    for method in ("REML", "ML"):
        assert case["optimum"][method]["loglik"] in sheet
    assert sheet.splitlines()[-1].split("\t") == [str(values[-1]) for values in case["data"].values()]


def test_every_table_has_its_licence_beside_it(written, cases):
    for case in cases.values():
        text = (written / case["source"]["licence_file"]).read_text()
        assert case["source"]["licence"] in text and case["source"]["citation"] in text


def test_a_model_that_is_not_certified_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("concord.reference.reference.written", lambda model: None)
    assert main(["cases", "--output", str(tmp_path / "out")]) == 2
    assert "not certified by REML and ML" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("id", "difficulty"),
    [
        ("dyestuff2-random_intercept", "higher"),  # a variance of zero
        ("penicillin-crossed", "average"),  # crossed factors
        ("sitka-uncorrelated", "average"),  # days from 152 to 258 beside a column of ones
        ("rail-random_intercept", "lower"),
    ],
)
def test_difficulty_follows_the_rule(cases, id, difficulty):
    assert cases[id]["difficulty"] == difficulty


def test_the_collection_is_large_enough_and_small_enough(written, cases):
    """120 models by both methods, of every difficulty, in 2 MB."""
    assert len(cases) >= 120
    assert {case["difficulty"] for case in cases.values()} == {"lower", "average", "higher"}
    files = [path for path in sorted(written.rglob("*")) if path.is_file()]
    whole = b"".join(path.read_bytes() for path in files if "rows_10000" not in path.name)
    assert len(zlib.compress(whole)) < 2_000_000


# What the log-likelihood by REML gains: the response's unit counts once a residual, a predictor's once a coefficient.
UNITS = {
    "growth_thousandfold": lambda n, p: -(n - p) * math.log(1000),
    "growth_thousandth": lambda n, p: (n - p) * math.log(1000),
    "growth_fast": lambda n, p: -math.log(1000),
    "growth_slow": lambda n, p: math.log(1000),
    "growth_late": lambda n, p: 0.0,
    "growth_high": lambda n, p: 0.0,
    "growth_seconds": lambda n, p: -math.log(86400),
}


@pytest.mark.parametrize("model", ["intercept", "slope"])
@pytest.mark.parametrize("name", UNITS)
def test_a_certificate_in_other_units_is_the_first_ones_moved(cases, name, model):
    base, moved = cases[f"growth-{model}"], cases[f"{name}-{model}"]
    first, other = (case["optimum"]["REML"] for case in (base, moved))
    gained = float(Decimal(other["loglik"]) - Decimal(first["loglik"]))
    assert math.isclose(gained, UNITS[name](len(base["y"]), 2), abs_tol=1e-12)
    scale = {"growth_thousandfold": 10**6, "growth_thousandth": Decimal("1e-6")}.get(name, 1)
    assert abs(Decimal(other["residual_variance"]) / scale / Decimal(first["residual_variance"]) - 1) < Decimal("1e-18")


def test_made_tables_are_what_the_script_makes(tmp_path):
    run = runpy.run_path(str(ROOT / "scripts" / "concord-cases" / "make_datasets.py"))
    for folder_made in run["write"](tmp_path):
        kept = ROOT / "scripts" / "concord-cases" / "datasets" / folder_made.name
        for path in folder_made.iterdir():
            assert path.read_bytes() == (kept / path.name).read_bytes(), path.name
