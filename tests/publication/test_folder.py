"""The collection in files: whole, by its own schema, the same each time, and true to the tables that it was made of."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import runpy
import zipfile
import zlib
from decimal import Decimal

import jsonschema
import pytest

from concord import files
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
    files = {str(path.relative_to(written)) for path in written.rglob("*") if path.suffix != ".zip" and path.is_file()}
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
    (archive,) = [path for path in made if path.suffix == ".zip"]  # all three are under the GPL
    made.remove(archive)
    assert archive.name == "concord-cases-gpl.zip" and len(made) == 3 * 3 + len(folder.COPIED)
    for path in made:
        assert path.read_bytes() == (written / path.relative_to(tmp_path)).read_bytes()


def test_what_is_free_and_what_is_under_the_gpl_are_archives_of_their_own(written, cases):
    """Each whole, with its index, and together the collection; the free one has no table and no terms of the other."""
    whole = json.loads((written / "index.json").read_text())
    by_part = {}
    for part in ("free", "gpl"):
        place = written / "archives" / f"concord-cases-{part}.zip"
        assert place.stat().st_size < 2_000_000
        with zipfile.ZipFile(place) as archive:
            assert archive.testzip() is None
            files = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        index = json.loads(files["index.json"])
        assert set(index["files"]) == set(files) - {"index.json"}
        for name, content in files.items() - {("index.json", files["index.json"])}:
            assert hashlib.sha256(content).hexdigest() == index["files"][name] == whole["files"][name], name
        for entry in index["cases"]:
            assert {entry["file"], entry["licence_file"], f"sheets/{entry['id']}.txt"} <= set(files)
        assert {"CHANGELOG.md", "schema.json", "checker.py", "checker.R", "README.md"} <= set(files)
        assert ("licences/GPL-2.txt" in files) == (part == "gpl")
        by_part[part] = {entry["id"] for entry in index["cases"]}
        assert {cases[id]["source"]["licence"].startswith("CC0") for id in by_part[part]} == {part == "free"}
    assert by_part["free"] | by_part["gpl"] == set(cases) and not by_part["free"] & by_part["gpl"]


# What the collection is to have, and a case of each that is made to be one.
KINDS = {
    "a variance of zero": "dyestuff2-random_intercept",
    "a variance of zero among several": "boundary_zero_slope-uncorrelated",
    "a correlation of 1": "boundary_plus_one-slope",
    "a correlation of -1": "boundary_minus_one-slope",
    "two optima": "two_optima-intercept",
    "a near-perfect fit": "perfect_6-slope",
    "nearly collinear X": "collinear_6-intercept",
    "an origin far away": "growth_late-slope",
    "Unix seconds": "growth_seconds-slope",
    "2 correlated effects": "sitka-random_slope",
    "3 correlated effects": "effects_3-correlated",
    "4 correlated effects": "effects_4-correlated",
    "6 correlated effects": "effects_6-correlated",
    "groups of unequal size": "unbalanced-slope",
    "groups of one row": "single_rows-slope",
    "crossed factors, balanced": "crossed_full-both",
    "crossed factors, in part": "crossed_sparse-both",
    "three crossed factors": "crossed_three-all",
    "nested 2 deep": "nested_three-two",
    "nested 3 deep": "nested_three-deep",
    "weights": "designs-weighted_slope",
    "offset": "designs-offset_slope",
    "1000 rows or more": "rows_1000-slope",
    "10000 rows or more": "rows_10000-slope",
}


def test_every_kind_of_case_is_there_and_stands_in_the_index(written):
    kinds = {entry["id"]: set(entry["kinds"]) for entry in json.loads((written / "index.json").read_text())["cases"]}
    assert {kind for told in kinds.values() for kind in told} == set(KINDS)
    for kind, id in KINDS.items():
        assert kind in kinds[id], (kind, id)
    assert {"crossed factors, balanced", "a variance of zero among several"} <= kinds["crossed_zero-both"]
    assert "a variance of zero among several" not in kinds["crossed_three-all"]
    assert kinds["oneway_01-intercept"] == set()


def test_a_lower_optimum_is_one_with_the_loglik_and_parameters_that_are_told_of_it(cases, checker):
    """By the checker's own likelihood: the value is right to the last digit, and whatever moves lowers it."""
    told = 0
    for id, case in cases.items():
        likelihood = checker.Likelihood(case)
        for method, optimum in case["optimum"].items():
            for other in optimum["other_optima"]:
                fixed = {name: Decimal(row["estimate"]) for name, row in other["fixed"].items()}
                covariances = [[[Decimal(value) for value in row] for row in m] for m in other["covariances"]]
                variance = Decimal(other["residual_variance"])

                def at(fixed, covariances, variance, likelihood=likelihood, method=method):
                    return likelihood.at(fixed, covariances, variance)[method]

                value = at(fixed, covariances, variance)
                assert abs(value - Decimal(other["loglik"])) < Decimal("1e-17") and other["proved"] == "local"
                assert value < Decimal(optimum["loglik"]) - 1
                step = Decimal("1e-4")
                moved = [at(fixed, covariances, variance * (1 + sign * step)) for sign in (-1, 1)]
                moved += [at({**fixed, name: b + step}, covariances, variance) for name, b in fixed.items()]
                for t, matrix in enumerate(covariances):
                    for k in range(len(matrix)):
                        larger = json.loads(json.dumps(covariances, default=str))
                        larger[t][k][k] = matrix[k][k] + variance * step
                        moved.append(at(fixed, larger, variance))
                assert max(moved) < value, (id, method)
                told += 1
    assert told == 6


def test_what_is_in_other_units_has_the_same_data_moved(cases):
    """Every decimal of them, and not only nearly."""
    moves = {
        "growth_thousandfold": ("y", lambda y: 1000 * y),
        "growth_thousandth": ("y", lambda y: y / 1000),
        "growth_high": ("y", lambda y: y + 1_000_000),
        "growth_fast": ("x", lambda x: 1000 * x),
        "growth_slow": ("x", lambda x: x / 1000),
        "growth_late": ("x", lambda x: x + 1000),
        "growth_seconds": ("x", lambda x: 1_767_225_600 + 86_400 * x),
    }
    base = cases["growth-slope"]["data"]
    for name, (column, move) in moves.items():
        data = cases[f"{name}-slope"]["data"]
        assert [Decimal(v) for v in data[column]] == [move(Decimal(v)) for v in base[column]], name
        assert all(data[other] == base[other] for other in base if other != column), name


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
    whole = b"".join(path.read_bytes() for path in files if path.suffix != ".zip")
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
    (large,) = run["write"](tmp_path, [run["largest"]])
    kept = json.loads((ROOT / "scripts" / "concord-cases" / "large" / large.name / "reference.json").read_text())
    table = (large / f"{large.name}.csv").read_bytes()
    assert table.count(b"\n") == 100_001
    certified = {hashlib.sha256(table).hexdigest()}
    assert {record["data_sha256"] for methods in kept.values() for record in methods.values()} == certified


def test_a_large_table_that_was_not_made_is_asked_for(monkeypatch, tmp_path, capsys):
    kept = ROOT / "scripts" / "concord-cases" / "large" / "rows_100000" / "reference.json"
    (tmp_path / "large" / "rows_100000").mkdir(parents=True)
    (tmp_path / "large" / "rows_100000" / "reference.json").write_bytes(kept.read_bytes())
    for place in folder.COPIED.values():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("")
    monkeypatch.setattr("concord.publication.folder.PACKAGE", (str(tmp_path),))
    monkeypatch.setattr("concord.data.datasets.catalogue", lambda: [])
    assert main(["cases", "--large", "--output", str(tmp_path / "out")]) == 2
    assert "rows_100000: its table is not there: run `make cases LARGE=1`" in capsys.readouterr().err


def test_a_disk_that_is_full_has_the_collection_that_was_there_or_none(tmp_path, monkeypatch):
    """The archives come last: where they cannot be written no case is, and the file is named."""
    beside = files._beside

    def full(path):
        if path.suffix == ".zip":
            raise OSError(28, "No space left on device")
        return beside(path)

    monkeypatch.setattr(files, "_beside", full)
    with pytest.raises(OSError, match="No space left") as told:
        folder.write(tmp_path, lambda line: None, lambda id: id.startswith("rail"))
    assert told.value.filename.endswith(".zip") and not [path for path in tmp_path.rglob("*") if path.is_file()]
