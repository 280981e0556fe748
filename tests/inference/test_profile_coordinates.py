"""Coordinates: each is a chart of the model, exact in value and derivatives, and holds what it says that it holds."""

from __future__ import annotations

import numpy as np
import pytest

from concord.inference import profile_coordinates
from concord.likelihood.likelihood import Likelihood
from concord.models import model

# What is held, and its place: of a fixed effect, of a term and its effects.
KINDS = {
    "fixed effect": lambda likelihood, given: profile_coordinates.fixed_effect(likelihood, given, 0),
    "residual": profile_coordinates.residual_deviation,
    "deviation": lambda likelihood, given: profile_coordinates.deviation(likelihood, given, 0, 1),
    "ratio": lambda likelihood, given: profile_coordinates.ratio(likelihood, given, 0, 1),
    "correlation": lambda likelihood, given: profile_coordinates.correlation(likelihood, given, 0, 2, 0),
    "covariance": lambda likelihood, given: profile_coordinates.covariance(likelihood, given, 0, 0, 2),
    "variance": lambda likelihood, given: profile_coordinates.squared(
        profile_coordinates.deviation(likelihood, given, 0, 2)
    ),
}


@pytest.fixture(scope="module")
def machines(make_model):
    """Three correlated effects of columns that are not orthogonal: order matters, in the factor and in whitening."""
    frame = model.get("machines-unstructured").frame
    likelihood = Likelihood(make_model(frame, "score ~ Machine + (1 + Machine | Worker)", "ML").design, False)
    optimum = likelihood.optimum()
    return likelihood, optimum, optimum.parameters


@pytest.mark.parametrize("kind", KINDS)
def test_they_start_at_the_parameters_given(kind, machines):
    """The deviance there is the likelihood's, its slope vanishes at an optimum, and the held one has its value."""
    likelihood, optimum, given = machines
    made = KINDS[kind](likelihood, given)
    covariance = optimum.covariances[0]
    deviation = np.sqrt(np.diag(covariance))
    expected = {
        "fixed effect": optimum.fixed[0],
        "residual": np.sqrt(optimum.residual_variance),
        "deviation": deviation[1],
        "ratio": covariance[1, 1] / optimum.residual_variance,
        "correlation": covariance[2, 0] / deviation[2] / deviation[0],
        "covariance": covariance[0, 2],
        "variance": covariance[2, 2],
    }
    assert made.value(made.start[-1]) == pytest.approx(expected[kind], rel=1e-9)
    assert made.at(expected[kind]) == pytest.approx(made.start[-1], rel=1e-9)
    assert made.sigma(made.start) == pytest.approx(np.sqrt(optimum.residual_variance), rel=1e-9)
    value, gradient, _ = made.expand(made.start)
    assert value == pytest.approx(-2 * optimum.loglik, rel=1e-12)
    assert np.abs(gradient).max() < 1e-7 and not made.wrong(made.start)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_those_of_the_value(kind, machines):
    """Away from the optimum, where every chart bends, gradient and Hessian are differences of value and gradient."""
    likelihood, _, given = machines
    made = KINDS[kind](likelihood, given)
    z = made.start * np.random.default_rng(5).uniform(0.9, 1.1, len(made.start))
    _, gradient, hessian = made.expand(z)
    for i, h in enumerate(np.diag(1e-4 * np.maximum(0.3, np.abs(z)))):
        (a, da), (b, db) = (
            [
                ahead - behind
                for ahead, behind in zip(made.expand(z + s * h)[:2], made.expand(z - s * h)[:2], strict=True)
            ]
            for s in (1, 2)
        )
        size = np.abs(hessian[i]).max()
        assert (8 * a - b) / (12 * h[i]) == pytest.approx(gradient[i], rel=1e-6, abs=1e-6 * size)
        np.testing.assert_allclose((8 * da - db) / (12 * h[i]), hessian[i], rtol=1e-6, atol=1e-7 * size)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_held_stays_whatever_the_others_do(kind, machines):
    """Moved in every free coordinate, the model's parameter is the held one's value still."""
    likelihood, _, given = machines
    made = KINDS[kind](likelihood, given)
    z = made.start.copy()
    z[:-1] *= np.random.default_rng(6).uniform(0.8, 1.2, len(z) - 1)
    own = made.deviance.likelihood
    x = made._chart(z)[0]
    sigma = float(np.exp(x[own.m]))
    (factor,), (whitener,) = own.factors(x[: own.m]), own.whiteners
    # The leading columns of the reordered term, in its own coding.
    coded = np.linalg.solve(whitener, factor)
    back = np.linalg.lstsq(likelihood.design.terms[0].matrix, own.design.terms[0].matrix, rcond=None)[0]
    covariance = sigma**2 * back @ coded @ coded.T @ back.T
    deviation = np.sqrt(np.diag(covariance))
    actual = {
        "residual": sigma,
        "deviation": deviation[1],
        "ratio": covariance[1, 1] / sigma**2,
        "correlation": covariance[2, 0] / deviation[2] / deviation[0],
        "covariance": covariance[0, 2],
        "variance": covariance[2, 2],
        "fixed effect": (own.ols - own.scale * np.linalg.solve(own.R, np.eye(own.p)[-1] * x[-1]))[-1],
    }
    assert actual[kind] == pytest.approx(made.value(z[-1]), rel=1e-9)


def test_a_deviation_of_zero_and_a_correlation_of_one_are_within():
    """There the deviance is even in the held coordinate: its slope vanishes, and it has a curvature."""
    for id, make, edge in (
        ("sleepstudy-random_intercept", lambda *given: profile_coordinates.deviation(*given, 0, 0), 0.0),
        ("sleepstudy-random_slope", lambda *given: profile_coordinates.correlation(*given, 0, 0, 1), np.pi / 2),
    ):
        likelihood = Likelihood(model.get(id).design, True)
        optimum = likelihood.optimum()
        made = make(likelihood, optimum.parameters)
        assert edge in made.limits
        z = np.append(made.start[:-1], edge)
        value, gradient, hessian = made.expand(z)
        assert np.isfinite(value) and abs(gradient[-1]) < 1e-9 * np.abs(hessian).max()
        step = np.append(np.zeros(len(z) - 1), 1e-3)
        assert made.expand(z + step)[0] == pytest.approx(made.expand(z - step)[0], rel=1e-12)


def test_a_correlation_whose_effect_has_turned_its_sign_is_wrong():
    """Beyond a standard deviation of zero the same coordinate means the opposite correlation, and is told."""
    likelihood = Likelihood(model.get("sleepstudy-random_slope").design, True)
    optimum = likelihood.optimum()
    made = profile_coordinates.correlation(likelihood, optimum.parameters, 0, 0, 1)
    turned = made.start.copy()
    turned[1] *= -1
    assert made.wrong(turned) and not made.wrong(made.start)
    assert len(made.instead) == 2
