"""The bootstrap of a likelihood ratio, against F in a balanced one-way layout, where the ratio is a function of F."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from concord.bootstrap import ratio, ratio_test
from concord.inference.criteria import NotComparable
from concord.likelihood.likelihood import LikelihoodError
from concord.models import model as models

# Dyestuff: 6 batches of 5. Its F is the one that analysis of variance gives (R: anova(lm(Yield ~ Batch, Dyestuff))).
BATCHES, ROWS, F = 6, 30, 4.5983
FREEDOM = BATCHES - 1, ROWS - BATCHES
DRAWS = 300


def ratio_of(f):
    """The REML ratio where F is at least 1, from the mean squares."""
    between, within = FREEDOM
    pooled = (between * f + within) / (between + within)
    return (between + within) * np.log(pooled) - between * np.log(f)


@pytest.fixture(scope="module")
def tested():
    return ratio_test(None, models.get("dyestuff-random_intercept"), DRAWS)


def test_the_ratio_of_the_data_is_that_of_their_f(tested):
    assert tested.ratio.statistic == pytest.approx(ratio_of(F), abs=1e-3)


@pytest.mark.parametrize("tail", [0.3, 0.1])
def test_draws_have_the_distribution_that_f_gives_them(tested, tail):
    beyond = (tested.drawn >= ratio_of(stats.f.isf(tail, *FREEDOM))).mean()
    assert beyond == pytest.approx(tail, abs=4 * np.sqrt(tail * (1 - tail) / DRAWS))


def test_zero_comes_as_often_as_f_is_below_one_and_more_often_than_the_mixture_says(tested):
    share = stats.f.cdf(1, *FREEDOM)
    assert tested.zero_share == pytest.approx(share, abs=4 * np.sqrt(0.25 / DRAWS))
    assert tested.p_value == pytest.approx(stats.f.sf(F, *FREEDOM), abs=4 * tested.error)
    assert f"{tested.zero_share:.0%} have a ratio of zero" in repr(tested)


def test_the_larger_model_may_come_first():
    small, large = (models.get(f"sleepstudy-{name}") for name in ("random_intercept", "random_slope"))
    one, other = ratio_test(small, large, 3), ratio_test(large, small, 3)
    assert one.ratio.statistic == pytest.approx(42.8368, abs=1e-3)
    assert one.drawn.tolist() == other.drawn.tolist() and one.p_value == 0.25


def test_a_draw_whose_larger_optimum_was_missed_counts_for_nothing(monkeypatch):
    """No larger model's optimum is lower than the smaller one's: of such a draw the statistic is not known."""
    highest, asked = ratio._highest, []

    def lower(model, candidate, response):
        asked.append(model)
        return highest(model, candidate, response) - (3.0 if len(asked) == 2 and model else 0.0)

    monkeypatch.setattr(ratio, "_highest", lower)
    whole = ratio_test(None, models.get("dyestuff-random_intercept"), 3, seed=4)
    assert len(whole.drawn) == 2 and whole.missed == 1 and np.isfinite(whole.drawn).all()
    assert whole.p_value == pytest.approx(1 / 3) and "of 1 more draws an optimum was missed" in repr(whole)
    monkeypatch.setattr(ratio, "_highest", lambda model, candidate, response: -1e3 if model else 0.0)
    with pytest.raises(LikelihoodError, match="all 2 draws"):
        ratio_test(None, models.get("dyestuff-random_intercept"), 2)


def test_what_means_nothing_is_refused():
    with pytest.raises(NotComparable, match="by REML with other fixed effects"):
        ratio_test(models.get("orthodont-random_slope"), models.get("orthodont-interaction"), 1)
