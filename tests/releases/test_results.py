"""What came of the catalogue by several releases: the tables that are kept, and files that are brought."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from concord import releases
from concord.agreement.tolerances import allowed_gap
from concord.commands.cli import main
from concord.data.version_ranges import ordered
from concord.errors import InputError
from concord.models import model
from concord.releases import results as kept_results
from concord.vocabulary import METHODS, SETTINGS, VERDICTS
from support import releases as support
from support.references import committed as certified
from support.releases import fit, results, run

MODEL = "dyestuff-random_intercept"


@pytest.fixture(scope="module")
def committed() -> releases.Results:
    return releases.read()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """A folder with what `concord verdicts` writes, of one model."""
    folder = tmp_path_factory.mktemp("elsewhere")
    assert main(["verdicts", "--output", str(folder), "--model", MODEL]) == 0
    return folder


def test_debian_12_13_and_sid_and_three_releases_of_statsmodels_are_kept_with_their_provenance(committed):
    runs = committed.runs
    systems = runs["system"].str.extract(r"(12|13|sid)\b")[0]
    assert set(systems) == {"12", "13", "sid"} and set(runs["statsmodels"]) >= {"0.13.5", "0.14.6", "0.15.0"}
    assert runs.groupby(systems)["lme4"].nunique().eq(1).all() and runs["lme4"].nunique() == 3
    # Those of statsmodels differ in nothing of R.
    one = runs[systems == "12"]
    assert one["statsmodels"].nunique() == 3 and (one[["R", "lme4", "nlme", "Matrix"]].nunique() == 1).all()
    needed = [
        *kept_results.PROVENANCE,
        "Python",
        "R",
        "lme4",
        "nlme",
        "statsmodels",
        "numpy",
        "scipy",
        "pandas",
        "rpy2",
    ]
    assert (runs[needed] != "").all().all()
    assert all(datetime.fromisoformat(time).tzinfo for time in runs["finished"])
    assert [ordered(version) for version in runs["lme4"]] == sorted(map(ordered, runs["lme4"]))


def test_every_run_has_every_model_method_setting_and_engine_once(committed):
    every = {each.id for each in model.every()}
    wanted = set(product(every, METHODS, SETTINGS, ("statsmodels", "lme4", "nlme")))
    for _, fits in committed.fits.groupby("run"):
        assert (
            len(fits) == len(wanted) and set(fits[list(kept_results.KEY)].itertuples(index=False, name=None)) == wanted
        )
        assert fits.groupby(["model", "method", "settings"])["verdict"].nunique().eq(1).all()
    assert set(committed.fits["verdict"]) <= set(VERDICTS)
    assert set(committed.fits["grade"]) <= {"", "short", "imprecise"}
    assert (committed.fits["seconds"].dropna() > 0).all()


def test_log_likelihoods_are_those_of_the_certified_optimum_less_the_gap(committed):
    """As the packages state them, beside datasets/*/reference.json; gaps are kept to three digits."""
    fits = committed.fits.dropna(subset=["gap"])
    every = list(model.every())
    optimum = {(each.id, each.method): float(certified(each.id, each.method)["loglik"]) for each in every}
    for each in fits[fits["engine"] != "nlme"].itertuples():
        loglik = optimum[each.model, each.method] - each.gap
        assert each.loglik == pytest.approx(loglik, rel=0, abs=1e-6 + 5e-3 * each.gap), each
    tuned = fits[fits["settings"] == "tuned"]
    assert (tuned["gap"] <= allowed_gap("tuned", model.get(MODEL))).mean() > 0.9


def test_what_is_kept_is_read_as_it_was(tmp_path, committed):
    committed.keep(tmp_path)
    again = releases.read(tmp_path)
    pd.testing.assert_frame_equal(again.runs, committed.runs)
    pd.testing.assert_frame_equal(again.fits, committed.fits)
    assert all(
        (tmp_path / name).read_bytes() == (kept_results.place() / name).read_bytes()
        for name in ("runs.csv", "fits.csv")
    )


def test_a_run_takes_the_place_of_the_one_of_its_name_and_no_other(tmp_path):
    old = results([run("0.14", "1.1-9"), run("0.15", "1.1-9")], [fit("0.14"), fit("0.15", gap=3.0, grade="short")])
    new = results([run("0.15", "1.1-9", finished="2027-01-01T00:00:00+00:00")], [fit("0.15")])
    both = releases.joined([old, new])
    assert list(both.runs["finished"].str[:4]) == ["2026", "2027"] and list(both.fits["gap"]) == [0.0, 0.0]
    assert list(releases.joined([new, old]).fits["gap"]) == [0.0, 3.0]


def test_releases_are_in_the_order_of_their_numbers_not_of_their_letters():
    found = results([run("0.15", lme4, run=lme4) for lme4 in ("1.1-9", "2.0.1", "1.1-31", "1.1-4")], [])
    assert list(found.runs["lme4"]) == ["1.1-4", "1.1-9", "1.1-31", "2.0.1"]


def test_what_verdicts_writes_is_brought_with_what_each_package_said(elsewhere):
    brought = releases.brought(elsewhere)
    written = json.loads((elsewhere / "verdicts.json").read_text())
    (about,) = brought.runs.to_dict("records")
    assert about["lme4"] == written["versions"]["lme4"] and about["system"] and "numpy" in about and "BLAS" in about
    assert not [name for name in about if name.startswith("R option")]
    assert len(brought.fits) == 12 == len(written["fits"])
    assert set(brought.fits["verdict"]) == {"agree"} and set(brought.fits["model"]) == {MODEL}
    logliks = {(each["method"], each["settings"], each["engine"]): each["loglik"] for each in written["fits"]}
    assert all(each.loglik == logliks[each.method, each.settings, each.engine] for each in brought.fits.itertuples())
    assert brought.fits["run"].unique() == brought.runs.index


def test_messages_are_kept_on_one_line_each_and_once(tmp_path, elsewhere):
    written = json.loads((elsewhere / "verdicts.json").read_text())
    written["fits"][0]["messages"] = ["warning: near\n - Rescale?", "warning: near - Rescale?", "long " * 40]
    (tmp_path / "a.json").write_text(json.dumps(written))
    message = releases.brought(tmp_path).fits["message"].iloc[0]
    first, long = message.split(" / ")
    assert first == "warning: near - Rescale?"
    assert long.startswith("long long") and len(long) == 160 and long.endswith("…")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no results"),
        ("nothing", "not valid JSON"),
        ('{"format": 1, "versions": {}, "comparisons": []}', "KeyError: 'fits'"),
        ("[]", "TypeError"),
    ],
)
def test_what_is_something_else_is_one_line_that_says_how_it_is_made(tmp_path, content, said):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match="concord verdicts --output") as caught:
        releases.brought(tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda fits: fits.assign(verdict="so so"), "verdict 'so so' is none of agree"),
        (lambda fits: fits.assign(converged="maybe"), "converged 'maybe' is neither True nor False"),
        (lambda fits: fits.assign(converged=""), "is neither True nor False"),
        (lambda fits: pd.concat([fits, fits]), "there twice"),
        (lambda fits: fits.assign(run="another"), "not in both, runs and fits"),
        (lambda fits: fits.assign(gap="much"), "much"),
        (lambda fits: fits.drop(columns="gap"), "has no column gap"),
    ],
)
def test_damaged_results_are_one_line(tmp_path, change, said):
    results([run("0.15", "1.1-9")], [fit("0.15")]).keep(tmp_path)
    path = tmp_path / "fits.csv"
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)
    with pytest.raises(InputError) as caught:
        releases.read(tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_without_results_is_one_line(tmp_path):
    with pytest.raises(InputError, match="runs.csv: cannot be read"):
        releases.read(tmp_path)


def test_what_readme_says_of_every_release(committed):
    """Who is short by default in one run is short by as much in all of them, between the releases that README names."""
    default = committed.fits.query("settings == 'default' and grade == 'short'")
    fits = default.groupby(["model", "method", "engine"])["gap"].agg(["count", "min", "max"])
    assert len(fits) >= 9 and (fits["count"] == len(committed.runs)).all()
    assert (fits["max"] < 1.001 * fits["min"]).all()
    readme = " ".join((Path(__file__).parents[2] / "README.md").read_text().split())
    tried = {name: sorted(set(committed.runs[name]), key=ordered) for name in ("statsmodels", "lme4")}
    said = ", ".join(f"{name} {versions[0]} to {versions[-1]}" for name, versions in tried.items())
    assert f"in all releases tried ({said})" in readme


def test_a_run_of_some_models_takes_no_whole_ones_place(tmp_path):
    support.brought(tmp_path, "a.json", "1.1-31")
    part = releases.brought(tmp_path)
    (run,) = part.runs.index
    more = part.fits.assign(model="pigs-other")
    whole = replace(part, fits=pd.concat([part.fits, more], ignore_index=True))
    assert list(releases.brought(tmp_path, part).runs.index) == [run]
    with pytest.raises(InputError, match=r"the place of a run that has pigs-other too: .*--output"):
        releases.brought(tmp_path, whole)
