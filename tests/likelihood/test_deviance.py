"""The deviance before profiling: the log-likelihood itself, its derivatives, and what profiling leaves of them."""

from __future__ import annotations

import numpy as np
import pytest

from concord.likelihood.deviance import Deviance
from concord.likelihood.likelihood import Likelihood
from concord.models import model
from concord.models.parameters import Parameters

CASES = ["sleepstudy-random_slope", "penicillin-crossed", "oats-split_plot", "machines-unstructured"]


@pytest.fixture(params=[True, False], ids=["REML", "ML"])
def reml(request):
    return request.param


def point(likelihood: Likelihood, seed: int = 3) -> tuple[np.ndarray, float, np.ndarray]:
    """Parameters that are not an optimum, nor far from one."""
    random, found = np.random.default_rng(seed), likelihood.optimum()
    theta = found.theta * random.uniform(0.8, 1.3, likelihood.m) + 0.05
    return theta, 0.5 * np.log(found.residual_variance) + 0.1, random.normal(scale=0.3, size=likelihood.p)


def differences(function, at: np.ndarray) -> np.ndarray:
    """Central differences of fourth order, a row a coordinate."""
    rows = []
    for h in 1e-3 * np.eye(len(at)):
        one, two = (np.asarray(function(at + s * h)) - function(at - s * h) for s in (1, 2))
        rows.append((8 * one - two) / (12 * 1e-3))
    return np.array(rows)


@pytest.mark.parametrize("id", CASES)
def test_it_is_minus_twice_the_loglikelihood_at_any_parameters(id, reml):
    """theta, log sigma and orthonormalized fixed effects, carried back, have the likelihood's own value."""
    likelihood = Likelihood(model.get(id).design, reml)
    deviance = Deviance(likelihood)
    theta, log_sigma, u = point(likelihood)
    variance = float(np.exp(2 * log_sigma))
    covariances = []
    for factor, whitener in zip(likelihood.factors(theta), likelihood.whiteners, strict=True):
        root = np.linalg.solve(whitener, factor)
        covariances.append(variance * root @ root.T)
    fixed = deviance.coefficients(u)
    value = deviance.joint(theta, log_sigma, u)[0]
    assert value == pytest.approx(-2 * likelihood.loglik(Parameters(fixed, tuple(covariances), variance)), rel=1e-12)
    np.testing.assert_allclose(deviance.orthonormalized(fixed), u, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("id", CASES)
def test_its_derivatives_are_those_of_its_values(id, reml):
    """Gradient and Hessian of the joint deviance, everything free, are differences of value and gradient."""
    likelihood = Likelihood(model.get(id).design, reml)
    deviance, m = Deviance(likelihood), likelihood.m
    theta, log_sigma, u = point(likelihood)

    def at(x):
        return deviance.joint(x[:m], x[m], x[m + 1 :])

    x = np.concatenate([theta, [log_sigma], u])
    _, gradient, hessian = at(x)
    size = np.abs(hessian).max()
    np.testing.assert_allclose(gradient, differences(lambda x: at(x)[0], x), rtol=1e-6, atol=1e-8 * size)
    np.testing.assert_allclose(hessian, differences(lambda x: at(x)[1], x), rtol=1e-6, atol=1e-8 * size)
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-14 * size)


def test_sparse_blocks_give_the_dense_ones_derivatives(reml, monkeypatch):
    """The gradient to rounding, the Hessian to the digits of central differences."""
    design = model.get("penicillin-crossed").design
    dense = Likelihood(design, reml)
    given = point(dense)
    monkeypatch.setattr("concord.likelihood.blocks.LARGE", 1)
    sparse = Likelihood(design, reml)
    assert dense.dense and not sparse.dense
    for ours, exact in zip(Deviance(sparse).joint(*given), Deviance(dense).joint(*given), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("held", [None, 0.4], ids=["all profiled", "last held"])
@pytest.mark.parametrize("id", CASES)
def test_profiled_it_is_the_least_over_the_fixed_effects(id, held, reml):
    """No fixed effects do better, the criterion follows at the best sigma, and derivatives are of the least value."""
    likelihood = Likelihood(model.get(id).design, reml)
    deviance, m, p = Deviance(likelihood), likelihood.m, likelihood.p
    theta, log_sigma, u = point(likelihood)

    def at(x):
        return deviance.profiled(x[:m], x[m], None if held is None else x[m + 1])

    x = np.array([*theta, log_sigma, *([] if held is None else [held])])
    value, gradient, hessian = at(x)
    for step in (0.0, 1e-3, -1e-2):
        other = step * u if held is None else np.append(step * u[: p - 1], held)
        assert deviance.joint(theta, log_sigma, other)[0] >= value - 1e-9
    size = np.abs(hessian).max()
    np.testing.assert_allclose(gradient, differences(lambda x: at(x)[0], x), rtol=1e-6, atol=1e-8 * size)
    np.testing.assert_allclose(hessian, differences(lambda x: at(x)[1], x), rtol=1e-6, atol=1e-8 * size)
    if held is None:
        # d(log sigma) = c + 2 nu log sigma + q / sigma^2 is least at sigma^2 = q / nu.
        quadratic = (2 * likelihood.nu - gradient[m]) / 2 * np.exp(2 * log_sigma)
        best = deviance.profiled(theta, 0.5 * np.log(quadratic / likelihood.nu))
        assert best[0] == pytest.approx(likelihood.criterion(theta), rel=1e-12)
        assert best[1][m] == pytest.approx(0.0, abs=1e-9 * likelihood.nu)
        assert best[1][:m] == pytest.approx(likelihood.criterion_and_gradient(theta)[1], rel=1e-8, abs=1e-8)


def test_what_doubles_cannot_hold_is_an_error():
    """A sigma whose square under- or overflows leaves no number, and says so."""
    deviance = Deviance(Likelihood(model.get("rail-random_intercept").design, False))
    for log_sigma in (-400.0, 400.0, np.nan):
        with pytest.raises(np.linalg.LinAlgError):
            deviance.profiled(np.ones(1), log_sigma)
