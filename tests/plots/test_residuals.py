"""The quantile plot of residuals: its line is that of their quartiles, and their spread is what theory says."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot
from scipy import stats

from concord.plots.residuals import residuals


def drawn(fit):
    """The points of the quantile plot, and its line, each as quantiles and values."""
    figure = residuals(fit)
    points, line = (each.get_xydata() for each in figure.axes[1].lines)
    pyplot.close(figure)
    return points, line


@pytest.mark.parametrize("id", ["sitka-random_slope", "sleepstudy-random_slope"])
def test_the_line_goes_through_the_quartiles(numbers, id):
    points, line = drawn(numbers(id, "REML", "lme4", "tuned"))
    slope, intercept = np.polyfit(*line.T, 1)
    for share in (0.25, 0.75):
        at = slope * stats.norm.ppf(share) + intercept
        assert at == pytest.approx(np.quantile(points[:, 1], share), abs=1e-9)


@pytest.mark.parametrize(("id", "spread"), [("sitka-random_slope", 0.818), ("sleepstudy-random_slope", 0.916)])
def test_a_true_models_residuals_are_narrower_than_sigma(numbers, id, spread):
    """The square root of 1 - tr(H) / n, from the dense hat matrix: no slope of one is to be expected of them."""
    fit = numbers(id, "REML", "lme4", "tuned")
    (term,), design, at = fit.model.design.terms, fit.model.design, fit.parameters
    V = (term.codes[:, None] == term.codes) * (term.matrix @ at.covariances[0] @ term.matrix.T)
    V += at.residual_variance * np.eye(len(V))
    weights = np.linalg.inv(V)
    across = weights @ design.X
    left = at.residual_variance * (weights - across @ np.linalg.solve(design.X.T @ across, across.T))
    assert np.sqrt(np.trace(left) / len(left)) == pytest.approx(spread, abs=5e-4)
    points, _ = drawn(fit)
    assert points[:, 1].std() == pytest.approx(spread, abs=2e-3)
