"""Pictures of profiles: the data behind them against R's and MixedLM's own points, and what is drawn of it."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from concord import r
from concord.account.intervals import profile_curves
from concord.account.intervals.interval_values import IntervalError
from concord.agreement.comparison import compare
from concord.likelihood.likelihood import Likelihood
from concord.models.parameters import Parameters
from concord.plots import profiles
from concord.vocabulary import INDEPENDENT

LABEL = "sd_(Intercept)|tree"
IN_R = """function(fit, label) {
  ml <- lme4::lmer(size ~ Time + (1 | tree), data = fit@frame, REML = FALSE)
  as.data.frame(stats::profile(ml, which = label, signames = FALSE))[, c(".zeta", label)]
}"""


@pytest.fixture(scope="module")
def sitka(fits):
    """Sitka's random intercept by REML: the comparison, MixedLM's curve and lme4's points, as a notebook has them."""
    comparison = compare(
        *(fits("sitka-random_intercept", "REML", engine, "tuned") for engine in ("statsmodels", "lme4"))
    )
    python, lmer = (fit.native for fit in comparison.fits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        curve = python.profile_re(0, "re", num_low=2, dist_low=0.15, num_high=2, dist_high=0.2)
    r.package("lme4")
    points = r.from_r(r.call(r.call("eval", r.call("parse", text=IN_R)[0]), lmer, LABEL))
    return comparison, curve, pd.DataFrame(points)


@pytest.fixture(scope="module")
def data(sitka):
    comparison, curve, points = sitka
    return profile_curves.curves(comparison, [LABEL], given(curve, points))


def given(curve: np.ndarray, points: pd.DataFrame) -> dict:
    return {"statsmodels": {LABEL: curve}, "lme4": {LABEL: points}}


def of(data: pd.DataFrame, source: str, method: str, holds: str = "variance") -> pd.DataFrame:
    return data[(data["source"] == source) & (data["method"] == method) & (data["holds"] == holds)]


def test_every_package_s_points_are_its_own_and_lie_on_the_curve_of_what_it_holds(sitka, data):
    """MixedLM's on the ratio's by REML, lme4's, squared, on the variance's by ML; and on no other."""
    comparison, curve, points = sitka
    python, lmer = of(data, "statsmodels", "REML", "ratio"), of(data, "lme4", "ML")
    assert python["value"].tolist() == curve[:, 0].tolist()
    assert python["deviance"].to_numpy() == pytest.approx(2 * (curve[2, 1] - curve[:, 1]), abs=1e-9)
    near = points[points[".zeta"].abs() <= profile_curves.OUT]
    assert lmer["value"].to_numpy() == pytest.approx(np.square(near[LABEL].to_numpy()))
    assert lmer["zeta"].to_numpy() == pytest.approx(near[".zeta"].to_numpy())
    drawn = {key: of(data, INDEPENDENT, *key) for key in (("REML", "ratio"), ("REML", "variance"), ("ML", "variance"))}

    def apart(points: pd.DataFrame, key: tuple[str, str]) -> float:
        own = drawn[key]
        inside = points[points["value"].between(own["value"].min(), own["value"].max())]
        return float(np.abs(np.interp(inside["value"], own["value"], own["zeta"]) - inside["zeta"]).max())

    assert apart(python, ("REML", "ratio")) < 5e-3 and apart(lmer, ("ML", "variance")) < 5e-3
    assert apart(python, ("REML", "variance")) > 0.1 and apart(python, ("ML", "variance")) > 0.1
    assert apart(lmer, ("REML", "variance")) > 0.05


def test_the_independent_curve_is_the_largest_likelihood_with_the_variance_held(sitka, data):
    """Against a plain search: at a few values nothing in the other variance reaches a larger one."""
    comparison, _, _ = sitka
    design = comparison.model.design
    for method in ("REML", "ML"):
        likelihood = Likelihood(design, method == "REML")
        top = likelihood.optimum()
        own = of(data, INDEPENDENT, method).iloc[[5, 20, 50]]
        for value, deviance in own[["value", "deviance"]].to_numpy():
            # Balanced: the fixed effects are the same at every variance.
            residuals = top.residual_variance * np.linspace(0.9, 1.1, 201)
            found = max(likelihood.loglik(Parameters(top.fixed, (np.array([[value]]),), each)) for each in residuals)
            assert 2 * (top.loglik - found) == pytest.approx(deviance, abs=1e-4)


def test_lines_explain_every_point_and_see_a_curve_that_is_none(sitka):
    """At MixedLM's points both packages are on the curves of their definitions; a point that is off is found."""
    comparison, curve, points = sitka
    sheet = profile_curves.sheet(comparison, LABEL, given(curve, points)).check()
    assert [line.verdict for line in sheet.lines] == ["by definition"] * 5
    assert {tuple(line.definitions.values()) for line in sheet.lines} == {("ratio_held", "profile_by_ml")}
    assert len(sheet.record()) == 10 and sheet.record()[0]["dataset"] == "sitka"
    # The variance itself held, which profile_re does not do, is told from the ratio held.
    assert sheet.lines[0].independent < sheet.lines[0].values["statsmodels"] - 0.5
    off = curve.copy()
    off[0, 1] += 0.01
    assert [line.verdict for line in profile_curves.lines(comparison, LABEL, given(off, points))].count("differ") == 1
    shifted = points.assign(**{LABEL: points[LABEL] * 1.002})
    assert "differ" in [line.verdict for line in profile_curves.lines(comparison, LABEL, given(curve, shifted))]


def test_a_deviance_plot_has_a_point_for_every_row_and_the_chi_squared_line(data):
    """One panel; what lies near is drawn; the legend says source, method and what is held."""
    figure = profiles.deviance(data, 0.9, {"var__(Intercept)": "the variance"})
    (axes,) = figure.axes
    limit = stats.chi2.ppf(0.9, 1)
    drawn = sorted(len(line.get_xdata()) for line in axes.lines)
    near = data[data["deviance"] <= 2.3 * limit].groupby(["source", "method", "holds"]).size()
    assert drawn == sorted([*near, 2])
    assert [line for line in axes.lines if np.allclose(line.get_ydata(), limit)]
    assert axes.get_xlabel() == "the variance"
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert (
        "MixedLM (statsmodels)'s profile, REML: holds the ratio to the residual variance, shown as a variance" in words
    )
    assert "lme4's profile, ML: holds the standard deviation, shown squared" in words
    assert sum(word.startswith("independent") for word in words) == 3
    # Lines are independent, points a package's.
    styles = {line.get_label(): (line.get_linestyle(), line.get_marker()) for line in axes.lines}
    assert len(styles) == len(axes.lines)
    assert sum(marker not in ("None", None, "") for _, marker in styles.values()) == 2


def test_a_zeta_plot_has_a_panel_a_parameter_and_a_pair_of_lines_a_level(sitka):
    """Under REML fixed effects have lme4's and the independent curve by ML only; a straight one for a mean."""
    comparison, _, points = sitka
    data = profile_curves.curves(comparison, [LABEL, "Time"], {"lme4": {LABEL: points}}, scale="sd")
    figure = profiles.zeta(data, levels=(0.5, 0.95))
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "tree sd__(Intercept) (log(height x diameter^2))",
        "Time (log(height x diameter^2) / days)",
    ]
    for axes in figure.axes:
        flat = [line for line in axes.lines if len(line.get_ydata()) == 2]
        heights = sorted(float(line.get_ydata()[0]) for line in flat)
        assert heights == pytest.approx([-1.959964, -0.6744898, 0, 0.6744898, 1.959964], rel=1e-6)
        # Beside the panel, clear of its edge and of the picture's
        figure.draw_without_rendering()
        panel, page = axes.get_window_extent(), figure.bbox
        for label in (text.get_window_extent() for text in axes.texts):
            assert panel.x1 + 1 < label.x0 and label.x1 < page.x1
    time = data[data["term"] == "Time"]
    assert set(time["method"]) == {"ML"} and set(time["holds"]) == {"fixed effect"}
    own = time[time["source"] == INDEPENDENT]
    slope, start = np.polyfit(own["value"], own["zeta"], 1)
    assert np.abs(slope * own["value"] + start - own["zeta"]).max() < 0.1
    assert set(data.loc[data["term"] == "sd__(Intercept)", "holds"]) == {"sd"}


def test_what_cannot_be_drawn_is_said(sitka):
    """A name that no parameter has, a scale that there is none of, and nothing to draw."""
    comparison, _, _ = sitka
    with pytest.raises(IntervalError, match=r"no parameter is called 'sd_Time\|tree': sd_\(Intercept\)\|tree, sigma"):
        profile_curves.curves(comparison, ["sd_Time|tree"])
    with pytest.raises(IntervalError, match="scale 'log'"):
        profile_curves.curves(comparison, scale="log")
    with pytest.raises(IntervalError, match="no curve"):
        profiles.deviance(pd.DataFrame(columns=profile_curves.CURVES, dtype=float))
