"""The referee's rows are kept as they come, and only those of what is new are made."""

from __future__ import annotations

import math

import pytest

from concord.errors import InputError
from concord.referee import packages, results, run, trial

ABOUT = {"system": "made up", "R": "4"}
PAIRS = [("a-one", "REML"), ("a-one", "ML"), ("b-two", "REML")]


def row(id="a-one", method="REML", package="glmm", version="1", certificate="c1", **more):
    made = dict.fromkeys(results.COLUMNS, "") | dict.fromkeys(results.NUMBERS, math.nan)
    names = {"model": id, "method": method, "package": package, "version": version, "certificate": certificate}
    return made | names | {"outcome": trial.OPTIMUM, "difficulty": "lower"} | more


def test_a_table_that_is_kept_is_read_as_it_was(tmp_path):
    kept = results.empty().with_rows([row(gap=19.8, call='f("=y ~ x", 1)', message="=a, b"), row(method="ML")], ABOUT)
    kept.keep(tmp_path)
    again = results.read(tmp_path)
    assert again.rows.to_dict("records")[1]["gap"] == 19.8
    assert again.rows["call"].tolist() == kept.rows["call"].tolist() == ["", 'f("=y ~ x", 1)']
    assert again.rows["message"].tolist() == ["", "=a, b"] and again.runs.to_dict() == kept.runs.to_dict()
    again.keep(tmp_path / "again")
    for name in (results.RESULTS, results.RUNS):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("here", "certificate", "left"),
    [
        ({"glmm": "1"}, "c1", {}),
        ({"glmm": "2"}, "c1", {("a-one", "REML"): ["glmm"]}),
        ({"glmm": "1"}, "c2", {("a-one", "REML"): ["glmm"]}),
        ({"glmm": "1", "other": "1"}, "c1", {("a-one", "REML"): ["other"]}),
    ],
)
def test_only_rows_of_another_version_or_certificate_or_package_are_missing(here, certificate, left):
    kept = results.empty().with_rows([row()], ABOUT)
    assert kept.missing(PAIRS[:1], here, {PAIRS[0]: certificate}) == left


def test_a_new_version_takes_the_place_of_the_old_row_and_of_no_other():
    kept = results.empty().with_rows([row(), row(package="other")], ABOUT)
    newer = kept.with_rows([row(version="2")], {**ABOUT, "R": "5"})
    assert newer.rows[["package", "version"]].to_numpy().tolist() == [["glmm", "2"], ["other", "1"]]
    assert len(newer.runs) == 2 and len(set(newer.rows["run"])) == 2


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace("optimum", "optimal"), "outcome 'optimal' is none of"),
        (lambda text: text + text.splitlines()[1] + "\n", "there twice"),
        (lambda text: text.replace("certificate", "sertificate"), "damaged results"),
    ],
)
def test_damage_is_told(tmp_path, damage, said):
    results.empty().with_rows([row()], ABOUT).keep(tmp_path)
    place = tmp_path / results.RESULTS
    place.write_text(damage(place.read_text()))
    with pytest.raises(InputError, match=said):
        results.read(tmp_path)


def test_a_run_that_is_interrupted_goes_on_where_it_was(tmp_path, monkeypatch):
    made = []

    def rows(id, method, wanted, limit):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append((id, method))
        return [row(id, method, name) for name in wanted]

    monkeypatch.setattr(packages, "installed", lambda: {"glmm": "1", "other": "1"})
    monkeypatch.setattr(results, "about", lambda: ABOUT)
    monkeypatch.setattr(trial, "models", lambda: dict.fromkeys(PAIRS))
    monkeypatch.setattr(trial, "certificate", lambda model: "c1")
    monkeypatch.setattr(trial, "rows", rows)
    with pytest.raises(KeyboardInterrupt):
        run.run(tmp_path, PAIRS, workers=0)
    assert len(results.read(tmp_path).rows) == 4
    monkeypatch.setattr(trial, "rows", lambda *of: [row(*of[:2], name) for name in made.append(of[:2]) or of[2]])
    assert run.run(tmp_path, PAIRS, workers=0) == []
    assert made == PAIRS and len(results.read(tmp_path).rows) == 6
    with pytest.raises(InputError, match="package 'nobody' is not here: there are glmm, other"):
        run.run(tmp_path, PAIRS, ["nobody"], workers=0)
