"""The wide search finds every optimum, wherever the engines stopped and however far apart the optima lie."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pandas as pd
import pytest

from concord.agreement.comparison import compare
from concord.engines.answers import answer
from concord.likelihood import search
from concord.likelihood.likelihood import Likelihood
from concord.models import preparation
from concord.models.formula import parse
from concord.plots.optima import optima
from concord.reference import reference
from support.paths import CASES


def made(make_model, name: str, formula: str, method: str):
    frame = preparation.prepare(pd.read_csv(CASES / name), parse(formula)).frame
    return make_model(frame, formula, method)


def dense(frame: pd.DataFrame, theta: mpmath.mpf, reml: bool) -> mpmath.mpf:
    """The profiled log-likelihood of ``y ~ x + (1 | g)`` from n x n matrices at 40 digits."""
    n = len(frame)
    with mpmath.workdps(40):
        V = mpmath.eye(n)
        groups = frame["g"].to_list()
        for i in range(n):
            for j in range(n):
                V[i, j] += theta**2 if groups[i] == groups[j] else 0
        X = mpmath.matrix([[1, mpmath.mpf(str(x))] for x in frame["x"]])
        y = mpmath.matrix([mpmath.mpf(str(each)) for each in frame["y"]])
        inverse = V**-1
        normal = X.T * inverse * X
        left = y - X * mpmath.lu_solve(normal, X.T * inverse * y)
        nu = n - 2 if reml else n
        rss = (left.T * inverse * left)[0]
        value = mpmath.log(mpmath.det(V)) + nu * (1 + mpmath.log(2 * mpmath.pi * rss / nu))
        return -(value + (mpmath.log(mpmath.det(normal)) if reml else 0)) / 2


@pytest.mark.parametrize(
    ("method", "best", "theta", "other"), [("REML", 0.794537, 122, -11.640), ("ML", 1.464, 117, -7.280)]
)
def test_both_of_two_optima_are_found_decades_apart(make_model, method, best, theta, other):
    model = made(make_model, "two_modes_24rows.csv", "y ~ x + (1 | g)", method)
    found = Likelihood(model.design, model.reml).optima()
    assert [each.loglik for each in found] == pytest.approx([best, other], abs=1e-3)
    assert abs(found[0].theta[0]) == pytest.approx(theta, abs=1) and found[1].theta[0] == pytest.approx(0, abs=1e-6)
    exact = dense(model.frame, mpmath.mpf(float(found[0].theta[0])), model.reml)
    assert found[0].loglik == pytest.approx(float(exact), abs=1e-9)
    assert found[0].fixed[1] == pytest.approx(1.985, abs=1e-3)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_engines_that_stopped_at_the_lower_optimum_do_not_agree(make_model, method):
    model = made(make_model, "two_modes_24rows.csv", "y ~ x + (1 | g)", method)
    found = compare(*(answer(model, engine, "tuned") for engine in ("statsmodels", "lme4")))
    assert found.verdict.word == "both short"
    assert all(judgement.gap > 8 for judgement in found.judgements)
    assert len(found.against.optima) == 2 and "2 optima" in found.verdict.reason


def test_the_picture_shows_both_optima_and_where_the_engines_stopped(make_model):
    model = made(make_model, "two_modes_24rows.csv", "y ~ x + (1 | g)", "REML")
    picture = optima(compare(*(answer(model, engine, "default") for engine in ("statsmodels", "lme4"))))
    curve, points = picture.data["The curve"], picture.data["Optima and engines"]
    for row in curve.iloc[[0, 100, 200]].itertuples(index=False):
        assert row[1] == pytest.approx(float(dense(model.frame, mpmath.mpf(row[0]), True)), abs=1e-8)
    assert points["who"].to_list() == ["optimum 1", "optimum 2", "statsmodels", "lme4"]
    assert points["loglik"].to_list() == pytest.approx([0.7945, -11.640, -11.640, -11.640], abs=1e-2)
    assert points["place"].iloc[0] == pytest.approx(121.74, abs=0.1) and points["place"].iloc[1:].max() < 0.1


def test_one_optimum_needs_no_picture(make_model):
    model = made(make_model, "balance_6rows.csv", "mass ~ 1 + (1 | item)", "REML")
    assert optima(compare(*(answer(model, engine, "default") for engine in ("lme4", "nlme")))).startswith("No picture")


def test_an_optimum_that_lmer_alone_found_is_found_without_it(r_table, make_model):
    # lmer ends at -1483.798; a search from ratios of 0.1, 1 and 3 ends at -1492.084
    frame = preparation.prepare(r_table("MASS::Boston"), parse("indus ~ crim + (crim | rad)")).frame
    model = make_model(frame, "indus ~ crim + (crim | rad)")
    found = Likelihood(model.design, True).optima()
    assert [each.loglik for each in found] == pytest.approx([-1483.798, -1492.084], abs=1e-3)
    assert answer(model, "lme4", "tuned").loglik == pytest.approx(found[0].loglik, abs=1e-6)


def test_a_ratio_of_thousands_is_an_optimum_like_any_other(make_model):
    # balanced one-way: ANOVA's closed form, (MS between - MS within) / 2 and MS within
    model = made(make_model, "balance_6rows.csv", "mass ~ 1 + (1 | item)", "REML")
    groups = model.frame.groupby("item", observed=True)["mass"]
    within = float((groups.var() * 1).mean())
    between = 2 * float(groups.mean().var())
    found = reference.of(model)
    values = found.estimates.set_index("term")["estimate"]
    assert values["var__(Intercept)"] == pytest.approx((between - within) / 2, rel=1e-9)
    assert values["var__Observation"] == pytest.approx(within, rel=1e-9)
    assert found.loglik == pytest.approx(-4.686697, abs=1e-6)


@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3, 1e6, 1e8])
def test_variances_are_told_apart_at_any_ratio(make_model, ratio):
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(12), 4)
    y = ratio * rng.normal(size=12)[group] + rng.normal(size=48)
    model = make_model(pd.DataFrame({"y": y, "g": group.astype(str)}), "y ~ 1 + (1 | g)")
    table = pd.DataFrame({"y": y, "g": group}).groupby("g")["y"]
    within, between = float(table.var().mean()), 4 * float(table.mean().var())
    found = reference.of(model)
    values = found.estimates.set_index("term")["estimate"]
    # what the doubles of y hold of the residuals
    held = 1e-13 * max(1.0, ratio) * 100
    if between > within:
        assert values["var__(Intercept)"] == pytest.approx((between - within) / 4, rel=max(1e-8, held))
        assert values["var__Observation"] == pytest.approx(within, rel=max(1e-8, held))
    else:
        assert found.boundary


def test_variances_that_no_data_tell_apart_are_refused(make_model):
    # the slope's predictor is constant within every group: three numbers for two variances
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(10), 6)
    y = 2 * rng.normal(size=10)[group] + rng.normal(size=60)
    frame = pd.DataFrame({"y": y, "arm": np.repeat([0.0, 1.0], 30), "g": [f"g{each}" for each in group]})
    with pytest.raises(ValueError, match="do not tell the model's variances apart"):
        reference.of(make_model(frame, "y ~ 1 + (1 + arm | g)"))


@pytest.mark.parametrize("dear", [False, True])
def test_a_scan_starts_at_every_dip_best_first(dear):
    centres = np.array([[0.1, 30.0], [300.0, 0.3]])

    def criteria(thetas: np.ndarray) -> np.ndarray:
        logs = np.log10(np.maximum(np.abs(thetas), 1e-6))
        distances = [np.sum((logs - np.log10(centre)) ** 2, axis=1) - k for k, centre in enumerate(centres)]
        return np.minimum(*distances)

    found = search.dips(criteria, search.Shape([1, 1]), dear=dear)
    assert len(found) == 2
    for start, centre in zip(found, centres[::-1], strict=True):
        assert np.abs(np.log10(start) - np.log10(centre)).max() < 0.5


@pytest.mark.parametrize("sizes", [[1], [2], [1, 1], [2, 1], [3], [1, 1, 1], [2, 2], [4]])
def test_every_start_is_a_theta_of_the_model(sizes):
    shape = search.Shape(sizes)
    m = sum(q * (q + 1) // 2 for q in sizes)
    seen = []

    def criteria(thetas: np.ndarray) -> np.ndarray:
        assert thetas.shape[1] == m and np.isfinite(thetas).all()
        seen.append(len(thetas))
        return (np.log(1e-3 + np.sum(thetas**2, axis=1)) - math.log(2)) ** 2

    starts = search.dips(criteria, shape)
    assert starts and all(start.shape == (m,) for start in starts)
    assert all(path.shape == (m,) for path in search.along(criteria, shape, starts[0]))
    assert sum(seen[:1]) <= search.POINTS + 50


def test_a_height_that_rounding_made_is_no_optimum(make_model):
    """From a variance of 1e12 a search ended 50 units too high, on a slope of 75 million; there is one optimum, whose
    height is that of dense matrices.
    """
    table = pd.read_csv(CASES / "crossed_31rows.csv").astype({"g": str, "h": str})
    found = Likelihood(made_of(make_model, table).design, True).optima()
    assert [each.loglik for each in found] == [pytest.approx(crossed(table, found[0].covariances, found[0]), abs=1e-9)]
    assert found[0].loglik == pytest.approx(-30.77235776, abs=1e-7)


def made_of(make_model, table: pd.DataFrame):
    formula = "y ~ x + (1 | g) + (1 | h)"
    return make_model(preparation.prepare(table, parse(formula)).frame, formula, "REML")


def crossed(table: pd.DataFrame, covariances, optimum) -> float:
    """The REML log-likelihood of two crossed variances at an optimum's parameters."""
    n = len(table)
    X = np.column_stack([np.ones(n), table["x"]])
    V = optimum.residual_variance * np.eye(n)
    for name, own in zip("gh", covariances, strict=True):
        values = table[name].to_numpy(object)
        V += own[0, 0] * (values[:, None] == values)
    VX = np.linalg.solve(V, X)
    left = table["y"].to_numpy() - X @ optimum.fixed
    value = np.linalg.slogdet(V)[1] + np.linalg.slogdet(X.T @ VX)[1] + left @ np.linalg.solve(V, left)
    return -(value + (n - 2) * math.log(2 * math.pi)) / 2
