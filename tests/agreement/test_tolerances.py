"""What may differ and by how much: the tolerances, and the records that carry what was compared."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest

from concord.agreement import tolerances
from concord.agreement.comparison import Disagreement, compare
from concord.display.media import MEDIA_TYPE
from concord.display.records import ESTIMATES_COLUMNS, FITS_COLUMNS
from concord.models import model as models
from support.moved import allowance, twin
from support.paths import ROOT


def test_the_record_is_rows_of_the_two_tables(numbers):
    """A row a fit and one an estimate, as plain JSON, with the columns of fits.csv and estimates.csv, and the call."""
    comparison = compare(
        *(numbers("dietox-random_slope", "ML", engine, "default") for engine in ("statsmodels", "lme4"))
    )
    record = comparison.record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert [tuple(each) for each in record["fits"]] == [(*FITS_COLUMNS, "language", "role", "title", "call")] * 2
    assert [tuple(each) for each in record["estimates"]] == [ESTIMATES_COLUMNS] * 12
    first = record["fits"][0]
    assert [each["call"] for each in record["fits"]] == [fit.call for fit in comparison.fits] and first["call"]
    assert (first["dataset"], first["model"], first["method"], first["settings"], first["engine"]) == (
        "dietox",
        "random_slope",
        "ML",
        "default",
        "statsmodels",
    )
    assert first["gap"] == pytest.approx(3.70, abs=0.01) and first["converged"] is False and first["messages"]
    assert first["verdict"] == "python short" and first["loglik"] == comparison.fits[0].loglik
    variances = [each for each in record["estimates"] if each["effect"] == "ran_pars"]
    assert all(each["std_error"] is None for each in variances) and len(variances) == 8


def test_a_missing_number_is_null_in_the_record(numbers):
    """NaN and infinity, which JSON has not, become null."""
    fit = numbers("sitka-random_intercept", "REML", "lme4", "tuned")
    bad = twin(fit, stated_loglik=np.nan, fixed=np.array([np.nan, np.inf]), seconds=np.nan)
    record = compare(fit, bad).record()
    (row,) = [each for each in record["fits"] if each["engine"] == "statsmodels"]
    assert row["loglik"] is row["gap"] is row["seconds"] is None
    assert [each["estimate"] for each in record["estimates"] if each["engine"] == "statsmodels"][:2] == [None, None]
    json.dumps(record, allow_nan=False)


def test_a_comparison_shows_itself_with_its_record(numbers):
    """As text, as HTML and as the record that a batch collects; verdict and breaches are in the words."""
    comparison = compare(
        *(numbers("sitka-random_slope", "REML", engine, "default") for engine in ("statsmodels", "lme4"))
    )
    shown = comparison._repr_mimebundle_()
    assert shown[MEDIA_TYPE] == comparison.record()
    assert shown["text/plain"] == repr(comparison)
    for text in (shown["text/plain"], shown["text/html"]):
        text = text.replace("<wbr/>", "")  # where a name may break
        assert "r short" in text and "✗" in text and "14.2" in text and "var__Time" in text
    assert "<table" in shown["text/html"]


def test_every_tolerance_is_positive_and_has_its_reason():
    """Gaps for both kinds of settings and what is stated have a tolerance above zero, and a reason in words."""
    content = tomllib.loads((ROOT / "scripts/concord/agreement/tolerances.toml").read_text(encoding="utf-8"))
    assert set(content) == {"default", "tuned", "stated", "quantities"}
    assert set(content["default"]) == set(content["tuned"]) == {"loglik"}
    assert set(content["stated"]) == {"loglik", "std_error", "singular_std_error"}
    for kind in ("default", "tuned", "stated"):
        for quantity, record in content[kind].items():
            assert set(record) <= {"atol", "rtol", "reason"}
            assert max(record.get("atol", 0), record.get("rtol", 0)) > 0
            assert min(record.get("atol", 0), record.get("rtol", 0)) >= 0
            assert len(record["reason"].split()) > 4
            read = tolerances.tolerances()[kind][quantity]
            assert (read.atol, read.rtol) == (record.get("atol", 0.0), record.get("rtol", 0.0))


def test_tuned_variances_may_be_apart_by_little(numbers):
    """What an estimate alone may move before the log-likelihood has fallen by 1e-8: by the curvature, a closed form.

    Of the residual variance of n rows in g groups, all within, minus the second derivative is (n - g) / (2 s^4) where
    the groups take one degree of freedom each.
    """
    tuned = tolerances.tolerances()["tuned"]
    assert tuned["loglik"].atol <= 1e-8 and tuned["loglik"].rtol <= 1e-13
    fit = numbers("dyestuff-random_intercept", "ML", "lme4", "tuned")
    n, g = 30, 6
    psi, residual = fit.covariances[0][0, 0], fit.residual_variance
    between = residual + n / g * psi
    bend = (n - g) / (2 * residual**2) + g / (2 * between**2)
    gap = tolerances.allowed_gap("tuned", fit.model)
    assert allowance(fit, ("ran_pars", "Residual", "var__Observation")) == pytest.approx(
        np.sqrt(2 * gap / bend), rel=0.02
    )


def test_a_gap_may_grow_with_the_rows_as_stopping_rules_do():
    """MixedLM stops at a gradient of 1e-5 a row, which leaves half of 1e-10 a row: no shortfall worth the name."""
    model = models.get("dietox-random_slope")
    assert tolerances.allowed_gap("default", model) == pytest.approx(1e-6 + 861e-10)
    assert tolerances.allowed_gap("tuned", model) == pytest.approx(1e-8 + 861e-13)


def test_the_same_wrong_claim_by_both_is_red(numbers):
    """Two engines that state one and the same wrong log-likelihood agree with each other, and not with the judge."""
    fit = numbers("sitka-random_intercept", "REML", "lme4", "tuned")
    comparison = compare(
        replace(fit, stated_loglik=fit.stated_loglik + 1), twin(fit, stated_loglik=fit.stated_loglik + 1)
    )
    assert comparison.table["difference"].max() == 0 and comparison.verdict.word == "differ"
    assert comparison.table["ok"].tolist() == [False] + 6 * [True]
    with pytest.raises(Disagreement, match="states a log-likelihood"):
        comparison.check()
