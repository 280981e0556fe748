"""Profiles at boundaries: variances of zero, and correlations of one, are part of the curve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from concord import vocabulary
from concord.inference import profile
from concord.inference.profile_curve import ProfileError
from concord.likelihood.likelihood import Likelihood
from support.profiles import CHI, CORRELATION, brute, of

# ---- boundaries ----------------------------------------------------------------------------------------------------


def test_an_interval_that_reaches_a_variance_of_zero_ends_there():
    """Where the best variance is zero, the interval is one-sided, from 0, and says that nothing is crossed there."""
    for method in vocabulary.METHODS:
        likelihood, optimum = of("dyestuff2-random_intercept", method)
        (made,) = profile.profiles(likelihood, optimum, ["sd_(Intercept)|Batch"])
        got = made.interval()
        assert (made.estimate, got.lower, got.reached) == (0.0, 0.0, (False, True))
        assert made.zeta(got.upper) ** 2 == pytest.approx(CHI, rel=1e-8) and made.zeta(0.0) == 0.0
        made.walk()
        assert made.points["value"].iloc[0] == 0.0 and (np.diff(made.points["zeta"]) > 0).all()


def test_an_interval_that_a_positive_deviation_cannot_leave_ends_at_zero():
    """A deviation that is no better than zero by more than the quantile has the interval from 0 up to a crossing."""
    likelihood, optimum = of("pastes-nested")
    (made,) = profile.profiles(likelihood, optimum, ["sd_(Intercept)|batch"])
    got = made.interval()
    assert made.estimate > 0.5 and got.lower == 0.0 and got.reached == (False, True)
    assert made.zeta(0.0) ** 2 < CHI
    held = made.interval(2 * stats.norm.cdf(-made.zeta(0.0)) - 1 - 1e-4)
    assert held.reached == (True, True) and 0 < held.lower < 0.1
    # At zero it is another model, without the term.
    design = likelihood.design
    without = Likelihood(replace(design, terms=design.terms[1 - design_term(likelihood, made) :][:1]), False).optimum()
    assert made.loglik(0.0) == pytest.approx(without.loglik, abs=1e-9)


def design_term(likelihood, made) -> int:
    return [each.group for each in likelihood.design.terms].index(made.parameter.group)


def test_a_correlation_beside_a_deviation_that_may_be_zero_can_be_anything():
    """Its profile cannot exceed the deviance of a variance of zero, whatever is asked for first."""
    likelihood, optimum = of("orthodont-random_slope")
    first, second = (profile.profiles(likelihood, optimum, ["cor_age.(Intercept)|Subject"])[0] for _ in range(2))
    second.walk()
    (deviation,) = profile.profiles(likelihood, optimum, ["sd_(Intercept)|Subject"])
    for made in (first, second):
        got = made.interval()
        assert (got.lower, got.upper, got.reached) == (-1.0, 1.0, (False, False))
        assert made.zeta(-1.0) == pytest.approx(deviation.zeta(0.0), rel=1e-6)
        assert abs(made.points["zeta"]).max() <= abs(deviation.zeta(0.0)) + 1e-9


def test_a_correlation_of_one_is_a_point_like_any_other():
    """At -1 and 1 the profile has the deviance of a singular covariance matrix, and intervals may end there."""
    likelihood, optimum = of("sleepstudy-random_slope")
    (made,) = profile.profiles(likelihood, optimum, [CORRELATION])
    wide = made.interval(0.999)
    assert wide.upper == 1.0 and wide.reached == (True, False) and -1 < wide.lower < -0.6
    assert made.zeta(1.0) < made.zeta(0.99) + 0.1 and made.loglik(1.0) < made.loglik(0.9)
    starts = [[3.3, 3.0, 1.5, 0.0], [3.2, 2.5, 1.8, 0.0]]
    assert brute(likelihood, CORRELATION, 1.0, starts) == pytest.approx(-2 * made.loglik(1.0), abs=1e-5)


def test_no_correlation_where_a_variance_is_zero(make_model):
    """It is left out where all are asked for, and refused with the reason where it is named."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"g": pd.Categorical(np.repeat(list("abcdefgh"), 6)), "x": np.tile(np.arange(6.0) - 2.5, 8)})
    e = rng.normal(size=48)
    e -= np.repeat(e.reshape(8, 6).mean(1), 6)  # equal means: the intercepts do not vary
    frame["y"] = frame["x"] * np.repeat(rng.normal(size=8), 6) + e
    likelihood = Likelihood(make_model(frame, "y ~ x + (1 + x | g)", "ML").design, False)
    labels = [each.parameter.label for each in profile.profiles(likelihood)]
    assert "sd_(Intercept)|g" in labels and "cor_x.(Intercept)|g" not in labels
    with pytest.raises(ProfileError, match=r"cor_x\.\(Intercept\)\|g: at the optimum a standard deviation is zero"):
        profile.profiles(likelihood, which=["cor_x.(Intercept)|g"])


# ---- beside a singular covariance matrix ---------------------------------------------------------------------------


def three_effects(seed: int) -> pd.DataFrame:
    """Twelve small groups whose three random effects span two dimensions."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(12), rng.integers(3, 9, 12))
    dose = np.array(list("abc"))[rng.integers(0, 3, len(group))]
    u = 1.2 * rng.normal(size=(12, 2)) @ rng.normal(size=(2, 3))
    y = u[group, 0] + u[group, 1] * (dose == "b") + u[group, 2] * (dose == "c") + rng.normal(size=len(group))
    return pd.DataFrame({"y": y, "d": dose, "g": group})


def lowest_with_correlation(frame: pd.DataFrame, r: float, starts: int = 12) -> float:
    """-2 log-likelihood by ML with the correlation of the two doses' effects held, by a search over n x n matrices."""
    codes, n = frame["g"].to_numpy(), len(frame)
    within = codes[:, None] == codes
    Z = np.column_stack([frame["d"] == "b", frame["d"] == "c", np.ones(n)]).astype(float)

    def deviance(z):
        sizes, (a, b) = np.exp(np.clip(z[:3], -8, 4)), z[3:]
        rows = [(1, 0, 0), (r, np.sqrt(1 - r * r), 0), (np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a))]
        root = Z @ np.diag(sizes) @ np.array(rows)
        V = np.eye(n) + within * (root @ root.T)
        solve = np.linalg.inv(V)
        residual = frame["y"].to_numpy() - solve.sum(0) @ frame["y"].to_numpy() / solve.sum()
        size = residual @ solve @ residual
        return n * np.log(2 * np.pi * size / n) + n + np.linalg.slogdet(V)[1]

    rng = np.random.default_rng(3)
    return min(optimize.minimize(deviance, rng.normal(size=5), method="BFGS").fun for _ in range(starts))


@pytest.mark.parametrize("seed", [2, 7])
def test_of_several_valleys_the_profile_takes_the_lowest_in_whatever_order_it_is_asked(seed, make_model):
    """The three effects' covariance matrix is singular at the optimum, and a held correlation has several minima."""
    frame = three_effects(seed)
    model = make_model(frame, "y ~ 1 + (1 + d | g)", "ML")
    likelihood = Likelihood(model.design, False)
    optimum = likelihood.optimum()
    assert np.linalg.eigvalsh(optimum.covariances[0])[0] < 1e-8
    grid = np.linspace(-1, 1, 11)
    for name in ("cor__(Intercept).dc", "cor__db.dc"):
        there, back = (profile.profiles(likelihood, optimum, [name])[0] for _ in range(2))
        one = np.array([there.zeta(value) for value in grid])
        back.walk(3)
        other = np.array([back.zeta(value) for value in grid[::-1]])[::-1]
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert np.diff(one).min() > -1e-6
    found, sought = -2 * there.loglik(0.3), lowest_with_correlation(frame, 0.3)
    assert sought - 0.01 < found < sought + 1e-6
