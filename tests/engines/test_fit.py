"""Fits: tidy, with the vocabulary of broom.mixed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from concord.engines.fit import Fit
from concord.models import model as models
from concord.models.parameters import ESTIMATES, RANDOM_EFFECTS, Parameters
from support.estimates import changed


def made(model: models.Model, covariances, **more) -> Fit:
    given = {"stated_loglik": -1.0, "converged": True, "messages": (), "seconds": 0.1, "call": "f()"}
    return Fit(
        model,
        "lme4",
        "default",
        parameters=Parameters(np.array([1.0, 2.0]), covariances, 5.0),
        std_error=np.array([0.1, 0.2]),
        **given | more,
    )


def test_estimates_are_one_row_a_parameter_named_as_in_r():
    """Fixed effects, then variances and covariances of every term, then the residual variance."""
    fit = made(models.get("dietox-random_slope"), (np.array([[4.0, 0.5], [0.5, 1.0]]),))
    expected = pd.DataFrame(
        [
            ("fixed", "", "(Intercept)", 1.0, 0.1),
            ("fixed", "", "Time", 2.0, 0.2),
            ("ran_pars", "Pig", "var__(Intercept)", 4.0, np.nan),
            ("ran_pars", "Pig", "var__Time", 1.0, np.nan),
            ("ran_pars", "Pig", "cov__(Intercept).Time", 0.5, np.nan),
            ("ran_pars", "Residual", "var__Observation", 5.0, np.nan),
        ],
        columns=["effect", "group", "term", "estimate", "std_error"],
    )
    pd.testing.assert_frame_equal(fit.estimates, expected)
    assert list(expected.columns) == ESTIMATES


def test_terms_that_are_independent_have_no_covariance():
    """Two terms on one factor give two variances and no covariance."""
    fit = made(models.get("sitka-uncorrelated"), (np.array([[4.0]]), np.array([[1.0]])))
    assert fit.estimates["term"].tolist()[2:] == ["var__(Intercept)", "var__Time", "var__Observation"]
    assert fit.estimates["group"].tolist()[2:] == ["tree", "tree", "Residual"]


def test_the_correlation_follows_from_the_covariance():
    """0.5 between variances 4 and 1 is a correlation of 0.25."""
    fit = made(models.get("dietox-random_slope"), (np.array([[4.0, 0.5], [0.5, 1.0]]),))
    np.testing.assert_allclose(fit.correlation(), [[1, 0.25], [0.25, 1]], rtol=1e-15)


def test_a_table_needs_as_many_estimates_as_names():
    """A fit with an estimate too few is an error, not a shorter table."""
    fit = made(models.get("dietox-random_slope"), (np.eye(2),))
    with pytest.raises(ValueError):
        _ = changed(fit, fixed=np.array([1.0])).estimates
    with pytest.raises(ValueError):
        _ = changed(fit, covariances=()).estimates


def test_summary_and_random_effects_are_made_when_asked_for_and_once():
    """What takes time is left until it is wanted, and kept."""
    asked = []
    table = pd.DataFrame([("Pig", "4601", "(Intercept)", 1.0, 0.5)], columns=RANDOM_EFFECTS)
    fit = made(
        models.get("dietox-random_intercept"),
        (np.eye(1),),
        summarize=lambda: asked.append("summary") or "text",
        predict=lambda: asked.append("effects") or table,
    )
    assert asked == []
    assert (fit.summary, fit.summary) == ("text", "text") and fit.random_effects is fit.random_effects
    assert asked == ["summary", "effects"]


def test_a_fit_is_shown_in_one_line():
    """Model, method, engine, settings and log-likelihood, and not the package's whole result."""
    fit = made(models.get("dietox-random_intercept", "ML"), (np.eye(1),), native=object())
    assert repr(fit) == "<Fit of dietox-random_intercept, ML: lme4 default, logLik -1.000000>"
