"""Pictures of random effects: what is drawn is what the packages gave."""

from __future__ import annotations

from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest

from concord.agreement.comparison import compare
from concord.plots.random_effects import bland_altman, bland_altman_data, caterpillar, caterpillar_data
from concord.plots.style import STYLE

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def slopes(fits):
    """Tuned fits of the sleep study, all three engines."""
    return compare(
        *(fits("sleepstudy-random_slope", "REML", engine, "tuned") for engine in ("statsmodels", "lme4", "nlme"))
    )


@pytest.fixture(scope="module")
def apart(slopes):
    """The same, with lme4's effects moved: the intercepts by 2 and by 1 less in every other level, slopes doubled."""
    mixedlm, lme4, _ = slopes.fits
    moved = lme4.random_effects.copy()
    intercept = moved["term"] == "(Intercept)"
    moved.loc[intercept, "estimate"] += np.where(np.arange(intercept.sum()) % 2, 1.0, 2.0)
    moved.loc[~intercept, "estimate"] *= 2
    return compare(mixedlm, replace(lme4, predict=lambda: moved))


def drawn(axes, label: str) -> np.ndarray:
    """The points of a line of the picture, sorted."""
    [line] = [each for each in axes.lines if each.get_label() == label]
    return np.array(sorted(map(tuple, line.get_xydata())))


def test_the_caterpillar_draws_both_packages_and_the_independent_solution(slopes):
    """One panel an effect; each point is a level's effect at its place, in the order of the independent estimates."""
    figure = caterpillar(slopes)
    data = caterpillar_data(slopes)
    names = [axes.get_xlabel() for axes in figure.axes]
    assert names == ["random effect: (Intercept) (ms)", "random effect: Days (ms / days)"]
    assert data["source"].unique().tolist() == ["statsmodels", "lme4", "independent"]  # the arbiter is not a party
    for axes, term in zip(figure.axes, ("(Intercept)", "Days"), strict=True):
        for source in ("statsmodels", "lme4", "independent"):
            mine = data[(data["term"] == term) & (data["source"] == source)].sort_values("place")
            np.testing.assert_allclose(np.sort(drawn(axes, source)[:, 0]), np.sort(mine["estimate"]), rtol=1e-12)
            assert mine["place"].tolist() == list(range(18))
        assert mine["estimate"].is_monotonic_increasing
        assert len(axes.collections) == 3  # the intervals
    fit = slopes.fits[0].random_effects.set_index(["term", "level"])
    own = data[data["source"] == "statsmodels"].set_index(["term", "level"])
    width = own["upper"] - own["lower"]
    np.testing.assert_allclose(width / fit["std_error"].reindex(own.index), 2 * 1.959963984540054, rtol=1e-12)
    assert "cannot be told apart" in figure.alt and figure.data["The data of this picture"].equals(data)


def test_of_many_levels_some_are_shown_evenly_spread(slopes):
    """The lowest, the highest and those between; the axis says how many there are in all."""
    data, every = caterpillar_data(slopes, most=5), caterpillar_data(slopes)
    for term in ("(Intercept)", "Days"):
        few, all_ = (each[(each["term"] == term) & (each["source"] == "independent")] for each in (data, every))
        ranked = all_.sort_values("place")["level"].tolist()
        assert few.sort_values("place")["level"].tolist() == [ranked[i] for i in (0, 4, 8, 13, 17)]
    assert caterpillar(slopes, most=5).axes[0].get_ylabel() == "5 levels of Subject of 18, evenly spread, sorted"


def test_a_bland_altman_plot_shows_differences_over_means_with_limits(apart):
    """By hand: 2 and 1 in turn have the mean 1.5 and its limits at 1.96 standard deviations; slopes are doubled."""
    data = bland_altman_data(apart)
    intercept, slope = data[data["term"] == "(Intercept)"], data[data["term"] == "Days"]
    spread = np.std([2.0, 1.0] * 9, ddof=1)
    np.testing.assert_allclose(intercept["bias"], 1.5, atol=1e-4)
    np.testing.assert_allclose(intercept["lower"], 1.5 - 1.96 * spread, atol=1e-4)
    np.testing.assert_allclose(intercept["upper"], 1.5 + 1.96 * spread, atol=1e-4)
    np.testing.assert_allclose(slope["difference"], slope["mean"] / 1.5, atol=1e-5)
    np.testing.assert_allclose(intercept["lme4"] - intercept["statsmodels"], intercept["difference"], rtol=1e-12)
    figure = bland_altman(apart)
    for axes, panel in zip(figure.axes, (intercept, slope), strict=True):
        points = next(line for line in axes.lines if line.get_marker() == STYLE["lme4"][1])
        np.testing.assert_allclose(points.get_xydata(), panel[["mean", "difference"]], rtol=1e-12)
        heights = {round(float(line.get_ydata()[0]), 6) for line in axes.lines if line is not points}
        expected = [0.0, *panel[["bias", "lower", "upper"]].iloc[0]]
        assert heights == {round(each, 6) for each in expected}
        assert axes.get_ylabel() == "lme4 − statsmodels"


def test_differences_of_rounding_are_shown_in_a_power_of_ten(slopes):
    """Points lie between -10 and 10 on the axis, whose label says what to multiply by."""
    figure = bland_altman(slopes)
    data = bland_altman_data(slopes)
    for axes, term in zip(figure.axes, ("(Intercept)", "Days"), strict=True):
        label = axes.get_ylabel()
        power = int(label.partition("(1e")[2].rstrip(")"))
        assert power <= -5
        points = next(line for line in axes.lines if line.get_marker() == STYLE["lme4"][1])
        np.testing.assert_allclose(
            np.asarray(points.get_ydata()) * 10.0**power, data[data["term"] == term]["difference"], rtol=1e-9
        )
        assert 0 < np.abs(points.get_ydata()).max() < 10
    assert "less than 1e-05 for (Intercept) of Subject" in figure.alt


def test_conditional_standard_errors_are_compared_too(slopes, fits):
    """Of the two that have them; nlme gives none, which is said."""
    data = bland_altman_data(slopes, "std_error")
    own = fits("sleepstudy-random_slope", "REML", "lme4", "tuned").random_effects
    joined = data.merge(own, on=["group", "term", "level"])
    np.testing.assert_array_equal(joined["lme4"], joined["std_error"])
    assert (
        data["difference"].abs().max() < 1e-4 and "conditional standard errors" in bland_altman(slopes, "std_error").alt
    )
    by_nlme = compare(slopes.fits[0], slopes.fits[2])
    with pytest.raises(ValueError, match="statsmodels has them"):
        bland_altman_data(by_nlme, "std_error")
    assert bland_altman_data(by_nlme).columns[3:5].tolist() == ["statsmodels", "nlme"]
    with pytest.raises(ValueError, match="one of estimate, std_error"):
        bland_altman_data(slopes, "variance")


def test_at_a_variance_of_zero_the_pictures_are_drawn_all_the_same(fits):
    """All effects are zero within rounding: a caterpillar, and differences in a power of ten."""
    pair = compare(*(fits("dyestuff2-random_intercept", "REML", engine, "tuned") for engine in ("statsmodels", "lme4")))
    assert "cannot be told apart" in caterpillar(pair).alt
    figure = bland_altman(pair)
    assert figure.axes[0].get_ylabel().startswith("lme4 − statsmodels  (1e-") and "less than 1e-05" in figure.alt
    figure.canvas.draw()
    same = bland_altman(compare(pair.fits[1], replace(pair.fits[1], settings="default")))
    assert isinstance(next(iter(same.data.values())), pd.DataFrame) and same.axes[0].get_ylabel().count("lme4") == 2
