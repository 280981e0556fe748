"""The picture of a likelihood with several optima: the way from one to the other, and where every engine stopped."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from concord.agreement.comparison import Comparison
from concord.display.picture import described
from concord.engines.fit import Fit
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.likelihood.optimum import Optimum
from concord.plots.style import listed, mark, subplots

# A ratio of standard deviations is shown down to this part of the larger optimum's, and up to this multiple of it.
DOWN, UP = 1e-4, 30.0
POINTS = 241
OPTIMUM = "optimum "


def optima(comparison: Comparison) -> Figure | str:
    """The log-likelihood over all optima that the search found; or a sentence, where it found one only.

    With one parameter of covariance it is the profile over the ratio of its standard deviation to the residuals', from
    zero to beyond the largest optimum. With several it is drawn on the straight line, in the factors of the covariance
    matrices, between the two best optima. Engines stand where they stopped; on a line, where that is nearest to it.
    """
    known = comparison.against.optima
    if len(known) < 2:
        return "No picture: the search found one optimum only."
    likelihood = comparison.against.likelihood
    ends = [abs(end.theta) if likelihood.m == 1 else end.theta for end in known[:2]]
    label, places, thetas = (_ratios if likelihood.m == 1 else _line)(likelihood, ends)
    curve = pd.DataFrame({label: places, "log-likelihood": -likelihood.criteria(thetas) / 2})
    points = _points(comparison, likelihood, known, ends)
    figure, axes = subplots(figsize=(7.5, 4.2))
    axes.plot(curve[label], curve["log-likelihood"], color="black", linewidth=1.5)
    for row in points.itertuples():
        color, marker = mark(row.who)
        optimum = row.who.startswith(OPTIMUM)
        size = 160 if optimum else 60
        axes.scatter(row.place, row.loglik, size, color, marker=marker, zorder=2 if optimum else 3, label=row.shown)
    if likelihood.m == 1:
        axes.set_xscale("symlog", linthresh=places[1], linscale=0.4)
        axes.set_xlim(left=0)
    low = min(points["loglik"].min(), curve["log-likelihood"].median())
    top = points["loglik"].max()
    axes.set_ylim(low - 0.35 * (top - low) - 0.1, top + 0.12 * (top - low) + 0.1)
    axes.set_xlabel(label)
    axes.set_ylabel("log-likelihood")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    gaps = [f"{known[0].loglik - end.loglik:.3g} below" for end in known[1:]]
    stopped = points[~points["who"].str.startswith(OPTIMUM)]
    alt = (
        f"Line chart of the log-likelihood over the {label}. It has {len(known)} optima: the best at "
        f"{known[0].loglik:.6g}, the others {listed(gaps)}. Where the engines stopped: "
        f"{listed([f'{row.who} at {row.loglik:.6g}' for row in stopped.itertuples()])}."
    )
    return described(figure, alt, {"The curve": curve, "Optima and engines": points.drop(columns="shown")})


def _ratios(likelihood: Likelihood, ends: list[np.ndarray]) -> tuple[str, np.ndarray, np.ndarray]:
    """The axis of a model with one parameter: ratios of standard deviations, zero first."""
    unit = float(likelihood.whiteners[0][0, 0])
    largest = max(float(end[0]) for end in ends)
    places = np.append(0.0, np.geomspace(DOWN * largest, UP * largest, POINTS))
    return "ratio of the effect's standard deviation to the residuals'", places / unit, places[:, None]


def _line(likelihood: Likelihood, ends: list[np.ndarray]) -> tuple[str, np.ndarray, np.ndarray]:
    """The axis of a model with several: the share of the way from the best optimum to the second."""
    places = np.linspace(-0.25, 1.25, POINTS)
    return "way from the best optimum (0) to the second (1)", places, ends[0] + places[:, None] * (ends[1] - ends[0])


def _points(
    comparison: Comparison, likelihood: Likelihood, known: tuple[Optimum, ...], ends: list[np.ndarray]
) -> pd.DataFrame:
    """The optima and where the engines stopped: ``who, place, loglik, shown``."""
    rows = []
    for number, end in enumerate(known if likelihood.m == 1 else known[:2]):
        rows.append((f"{OPTIMUM}{number + 1}", _place(likelihood, end.theta, ends), end.loglik))
    for fit in comparison.fits:
        theta = _theta(likelihood, fit)
        if theta is not None:
            level = likelihood.loglik(fit.parameters)
            rows.append((fit.engine, _place(likelihood, theta, ends), level))
    table = pd.DataFrame(rows, columns=["who", "place", "loglik"])
    return table.assign(shown=[f"{row.who}, {row.loglik:.5g}" for row in table.itertuples()])


def _place(likelihood: Likelihood, theta: np.ndarray, ends: list[np.ndarray]) -> float:
    if likelihood.m == 1:
        return abs(float(theta[0])) / float(likelihood.whiteners[0][0, 0])
    way = ends[1] - ends[0]
    return float((theta - ends[0]) @ way / (way @ way))


def _theta(likelihood: Likelihood, fit: Fit) -> np.ndarray | None:
    with suppress(LikelihoodError):
        return likelihood.theta_at(fit.parameters)
    return None
