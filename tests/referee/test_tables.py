"""The tables count what the rows say, those that are kept among them."""

from __future__ import annotations

import pytest

from concord.errors import InputError
from concord.referee import packages, results, tables, trial


@pytest.fixture(scope="module")
def kept():
    return results.read()


def test_every_fit_is_counted_once_and_by_difficulty_as_in_all(kept):
    counted = tables.by_difficulty(kept).as_frame().fillna(0)
    words = [*trial.OUTCOMES, "fits"]
    assert (counted[list(trial.OUTCOMES)].sum(axis=1) == counted["fits"]).all()
    whole = counted[counted["cases"] == "all"].groupby("package")[words].sum()
    assert (counted[counted["cases"] != "all"].groupby("package")[words].sum() == whole).all(axis=None)
    assert whole["fits"].sum() == len(kept.rows)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_the_grid_is_empty_where_a_package_is_at_the_optimum(kept, method):
    shown = tables.grid(kept, method).as_frame()
    mine = kept.rows[kept.rows["method"] == method]
    assert shown.isna().to_numpy().sum() == (mine["outcome"] == trial.OPTIMUM).sum()
    assert len(shown) == mine["model"].nunique() >= 120


def test_what_is_kept_is_of_the_certificates_that_are_here(kept):
    """Rows of a case that is certified anew are to be made anew, by `make referee`; a new case may wait for that."""
    rows = kept.rows[["model", "method", "certificate"]].drop_duplicates().itertuples(index=False)
    assert [row for row in rows if trial.certificate(trial.models()[row.model, row.method]) != row.certificate] == []


def test_the_two_known_stories_are_in_it(kept):
    """lme4 on the spruces, and dietox by MixedLM, as everywhere in this workbook."""
    rows = kept.rows.set_index(["model", "method", "package"])
    assert rows.loc[("sitka-random_slope", "REML", "lme4"), "gap"] == pytest.approx(14.2, abs=0.05)
    assert rows.loc[("dietox-random_slope", "REML", "statsmodels"), "gap"] == pytest.approx(3.34, abs=0.05)


def test_a_case_in_full_has_the_exact_calls_and_another_is_refused(kept):
    shown = tables.of_case(kept, "sitka-random_slope").as_frame()
    assert any(call.startswith("lmer(formula = size ~ Time") for call in shown["call"])
    with pytest.raises(InputError, match="no case is called 'nothing'"):
        tables.of_case(kept, "nothing")


def test_a_guest_that_is_not_here_has_its_line(monkeypatch):
    monkeypatch.setattr(packages, "installed", lambda: {"statsmodels": "1", "lme4": "1", "glmm": "1"})
    assert 'glmmTMB: install.packages("glmmTMB")' in packages.absent()
    assert "mixedlm (PyPI): pip install mixedlm" in packages.absent()
