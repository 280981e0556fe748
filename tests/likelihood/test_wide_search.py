"""The wide search left at any moment, and gone on with, finds what it finds in one go."""

from __future__ import annotations

from collections import Counter
from itertools import count

import numpy as np
import pandas as pd
import pytest

from concord.likelihood import likelihood as likelihoods
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.likelihood.wide_search import WideSearch
from concord.models import model as models
from concord.models import preparation
from concord.models.formula import parse
from support.paths import CASES

CROSSED = "penicillin-crossed"


@pytest.fixture
def two_modes(make_model):
    frame = preparation.prepare(pd.read_csv(CASES / "two_modes_24rows.csv"), parse("y ~ x + (1 | g)")).frame
    return Likelihood(make_model(frame, "y ~ x + (1 | g)", "REML").design, True)


@pytest.fixture
def sparse(monkeypatch):
    monkeypatch.setattr(likelihoods, "SCANNED", 0)  # as if it were large: few points, one evaluation at a time
    found = Likelihood(models.get(CROSSED).design, True)
    found.dense = False
    return found


@pytest.mark.parametrize(("name", "steps"), [("two_modes", 1), ("sparse", 9)])
def test_a_search_that_is_left_goes_on_from_where_it_was(name, steps, request):
    likelihood = request.getfixturevalue(name)
    whole = likelihood.optima()
    scanned, criteria = Counter(), likelihood.criteria
    likelihood.criteria = lambda thetas: scanned.update([thetas.tobytes()]) or criteria(thetas)
    searched, turns = WideSearch(likelihood), 0
    while not searched.complete:
        asked = count()
        searched.go_on(lambda asked=asked: next(asked) >= steps)
        turns += 1
    assert turns > 3 and set(scanned.values()) == {1}  # no point is looked at twice
    parts = likelihood.optima_of(searched)
    assert [optimum.loglik for optimum in parts] == pytest.approx([optimum.loglik for optimum in whole], abs=1e-9)
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_allclose(np.abs(one.theta), np.abs(other.theta), rtol=1e-4, atol=1e-6)


def test_a_search_that_was_left_at_once_has_no_optimum(two_modes):
    searched = WideSearch(two_modes)
    searched.go_on(lambda: True)
    assert not searched.complete and searched.followed == 0
    with pytest.raises(LikelihoodError, match="no optimum"):
        two_modes.optima_of(searched)
