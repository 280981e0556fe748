"""A trial says of a fit what the reference data's checker says of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from concord.engines.answers import Absence
from concord.likelihood.likelihood import Likelihood
from concord.models import model
from concord.referee import trial

ID = "sitka-random_slope"


def test_the_gap_is_that_of_concords_own_likelihood(numbers):
    short = numbers(ID, "REML", "lme4", "default")
    outcome = trial._outcome(short)
    own = Likelihood(short.model.design, True).loglik(short.parameters)
    certified = float(trial._case(ID)["optimum"]["REML"]["loglik"])
    assert outcome["gap"] == pytest.approx(certified - own, abs=1e-9) and outcome["gap"] > 10
    assert (outcome["outcome"], outcome["claims"], outcome["stated"]) == (trial.SHORT, "no", "right")
    assert outcome["call"].startswith("lmer(")


def test_short_without_a_doubt_claims_convergence_and_another_constant_is_recognised(numbers):
    short = numbers(ID, "REML", "lme4", "default")
    X = short.model.design.as_coded.X
    moved = replace(
        short, converged=True, messages=(), stated_loglik=short.stated_loglik + np.linalg.slogdet(X.T @ X)[1] / 2
    )
    outcome = trial._outcome(moved)
    assert (outcome["outcome"], outcome["claims"]) == (trial.CLAIMED, "yes")
    assert outcome["stated"] == "the log-likelihood, with + log |X'X| / 2"


@pytest.mark.parametrize(
    ("kind", "seconds", "word"),
    [
        ("cannot express", np.nan, trial.CANNOT),
        ("failed", np.nan, trial.FAILS),
        ("stopped", 60.0, trial.SLOW),
        ("stopped", np.nan, trial.FAILS),
    ],
)
def test_what_gave_no_fit_says_why(kind, seconds, word):
    absent = Absence(model.get(ID), "lme4", "default", kind, "for a reason", seconds=seconds)
    outcome = trial._outcome(absent)
    assert (outcome["outcome"], outcome["message"]) == (word, "for a reason")
    assert outcome["call"].startswith("lmer(")


@pytest.mark.parametrize(
    ("converged", "messages", "claims"),
    [
        (True, (), True),
        (False, (), False),
        (True, ("SingularFitWarning: Caution: Singular fit. The random effects are too complex",), True),
        (True, ("VarianceAtLimitWarning: Caution: Variance at its search limit.",), False),
        (True, ("warning: Model failed to converge with max|grad| = 0.79",), False),
    ],
)
def test_a_singular_fit_is_no_doubt_and_a_search_that_ended_at_its_limit_is_one(numbers, converged, messages, claims):
    fit = replace(numbers(ID, "REML", "lme4", "default"), converged=converged, messages=messages)
    assert trial.claimed(fit) == claims
