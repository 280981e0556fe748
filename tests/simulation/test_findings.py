"""What a study says: Monte-Carlo errors of several scenarios together, which share their draws, and what is shown."""

from __future__ import annotations

import shutil
import tomllib

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from concord.plots import simulation
from concord.simulation.case import made_up
from concord.simulation.experiment import pairs
from concord.simulation.findings import Findings, provenance, stored
from concord.simulation.scenarios import cross
from concord.simulation.store import Plan
from concord.simulation.study import run
from concord.simulation.tables import number, percent, unseen

REPLICATES = 6


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> tuple[Findings, pd.DataFrame]:
    """Eight scenarios; of one of them a replicate is not there."""
    folder = tmp_path_factory.mktemp("grid") / "study"
    chosen = cross({"groups": [6], "ratio": [0.1, 1.0], "scale": [1.0, 100.0], "shift": [0.0, 5.0]})
    plan = Plan(tuple(made_up(each, "REML", 1) for each in chosen), 1, REPLICATES, pairs(["default"]))
    run(plan, folder, workers=0, batch=1)
    sorted((folder / "parts" / plan.cases[3].name).iterdir())[2].unlink()
    rows = pd.concat(pd.read_parquet(path) for path in sorted(folder.glob("parts/*/*.parquet")))
    factors = pd.DataFrame([{"case": case.name, **case.factors} for case in plan.cases])
    return Findings(folder), rows.merge(factors, on="case")


def clustered(values: pd.Series, replicates: pd.Series) -> float:
    """The standard error of a mean by statsmodels' least squares on a constant, clustered by draw."""
    given = {"groups": replicates.to_numpy(), "use_correction": False}
    fit = sm.OLS(values.to_numpy(float), np.ones(len(values))).fit(cov_type="cluster", cov_kwds=given)
    return float(fit.bse[0])


@pytest.mark.parametrize("factors", [(), ("ratio",), ("scale",), ("shift", "scale"), ("ratio", "scale", "shift")])
def test_shares_over_scenarios_have_the_errors_of_their_draws(grid, factors):
    found, rows = grid
    for row in found.by(*factors).to_dict("records"):
        mine = rows[np.logical_and.reduce([rows[each] == row[each] for each in (*factors, "engine")])]
        assert (row["replicates"], row["share"]) == (len(mine), pytest.approx(mine["short"].mean()))
        assert row["mc_error"] == pytest.approx(clustered(mine["short"], mine["replicate"]), abs=1e-12)
        if len(factors) == 3:
            assert row["mc_error"] == pytest.approx(np.sqrt(row["share"] * (1 - row["share"]) / len(mine)))


def test_verdicts_and_coverage_over_scenarios_have_the_errors_of_their_draws(grid):
    found, rows = grid
    lme4 = rows[rows["engine"] == "lme4"]
    shown = repr(found)
    for word, count in lme4["verdict"].value_counts().items():
        error = clustered(lme4["verdict"] == word, lme4["replicate"])
        line = next(line for line in shown.splitlines() if f" {word} " in line)
        assert line.endswith(f"{count}  {100 * count / len(lme4):.1f} ± {100 * error:.1f} %".split("  ")[1])
    whiskers = simulation.coverage(found)
    assert whiskers.axes
    there = lme4[lme4["covers: x"].notna()]
    error = clustered(there["covers: x"], there["replicate"])
    (drawn,) = _whisker(whiskers, "x", "lme4, default")
    covered = float(there["covers: x"].astype(float).mean())
    assert drawn == pytest.approx((max(covered - 2 * error, 0), min(covered + 2 * error, 1)))


def _whisker(figure, title: str, label: str) -> list[tuple[float, float]]:
    """The ends of a parameter's whisker by one engine."""
    (axes,) = (each for each in figure.axes if each.get_title() == title)
    line = [text.get_text() for text in figure.axes[0].get_yticklabels()].index(label)
    ends = axes.containers[line][2][0].get_segments()[0]
    return [(ends[0][0], ends[1][0])]


def test_a_grid_says_how_many_of_its_replicates_are_draws(grid):
    found, _ = grid
    assert (found.replicates, found.draws) == (8 * REPLICATES - 1, REPLICATES)
    assert f"The {8 * REPLICATES - 1} replicates are {REPLICATES} draws" in repr(found)


def test_a_grid_that_is_not_finished_says_what_is_there(grid, tmp_path):
    """A value of a factor of which no replicate is there yet is left out, and comes when it is."""
    found, rows = grid
    folder = shutil.copytree(found.folder, tmp_path / "study")
    factor = next(name for name in found.factors if rows[name].nunique() > 1)
    last = rows.loc[rows[factor] == rows[factor].max(), "case"].unique()
    for case in last:
        shutil.rmtree(folder / "parts" / case)
    shown = repr(Findings(folder))
    head = f"Share short, by {factor}"
    assert head in shown and len(_below(shown, head)) == len(_below(repr(found), head)) - 1


def _below(text: str, head: str) -> list[str]:
    """The lines of a table under its caption."""
    return text.split(head, 1)[1].split("\n\n")[1].splitlines()


def test_gap_and_time_are_shown_with_the_errors_of_their_draws(grid):
    found, rows = grid
    for engine in ("statsmodels", "lme4"):
        mine = rows[rows["engine"] == engine]
        short = mine[mine["short"].astype(bool) & mine["error"].isna()]
        lines = repr(found).split("How far short, and how long")[1].splitlines()
        (line,) = (each.split() for each in lines if each.startswith(engine))
        for at, each, column in ((2, short, "gap"), (5, mine, "seconds")):
            draws = each["replicate"].nunique()
            error = clustered(each[column], each["replicate"]) * np.sqrt(draws / (draws - 1))
            assert float(line[at]) == pytest.approx(each[column].mean(), rel=0.01)
            assert float(line[at + 1]) == pytest.approx(error, rel=0.06)
        assert float(line[4]) == pytest.approx(mine["gap"].max(), rel=0.01)


@pytest.mark.parametrize(
    ("value", "shown"), [(101.3, "100"), (232.0, "230"), (27.84, "28"), (0.012345, "0.012"), (1e-9, "1e-09")]
)
def test_an_error_is_written_without_a_power_of_ten(value, shown):
    assert number(value, 2) == shown


def test_what_few_draws_show_of_nothing_and_of_everything():
    """Where none of N draws shows it: 53 % for 4, and 3 / N for many; no error where all showed the same."""
    assert unseen(4) == pytest.approx(1 - 0.05**0.25) and round(unseen(4), 2) == 0.53
    assert unseen(300) == pytest.approx(3 / 300, rel=0.01)
    assert (percent(0.5, 0.0), percent(0.5, 0.05)) == ("50.0 %", "50.0 ± 5.0 %")


def test_the_studies_that_are_kept_are_whole_and_say_where_they_come_from():
    """At least 200 replicates of every scenario, each judged; the made-up designs are those of the file beside them."""
    grid, one = stored("grid-REML"), stored("sleepstudy-random_slope-REML")
    for study in (grid, one):
        assert study.replicates == 200 * len(study.manifest["cases"])
    asked = tomllib.loads((grid.folder.parent / "grid.toml").read_text())
    assert grid.factors == {name: levels for name, levels in asked.items() if len(levels) > 1}
    table = provenance(grid, one)
    assert {"statsmodels", "lme4", "R", "seed"} <= set(table.index) and list(table.loc["replicates"]) == [200, 200]
