"""Responses drawn from a model: their mean and covariance, and a stream of random numbers for each."""

from dataclasses import replace

import numpy as np
import pytest

from concord.models import model as models
from concord.reference import reference
from concord.simulation.responses import draw, symmetric_root

SEED = 20


@pytest.fixture(scope="module")
def sleepstudy():
    return models.get("sleepstudy-random_slope")


def truth(model):
    return reference.of(model).parameters


def test_a_draw_has_a_stream_of_its_own(sleepstudy):
    """A replicate's response depends on seed and number only, not on what was drawn before."""
    one = [draw(sleepstudy.design, truth(sleepstudy), SEED, k) for k in range(3)]
    other = [draw(sleepstudy.design, truth(sleepstudy), SEED, k) for k in (2, 0)]
    assert np.array_equal(one[2], other[0]) and np.array_equal(one[0], other[1])
    assert not np.array_equal(one[0], one[1])
    assert not np.array_equal(one[0], draw(sleepstudy.design, truth(sleepstudy), SEED + 1, 0))


def test_draws_have_the_mean_and_covariance_of_the_model(sleepstudy):
    """Over many draws, the first two subjects' responses have mean X b and covariance Z Psi Z' + sigma^2 I."""
    design, known = sleepstudy.design, truth(sleepstudy)
    rows = np.flatnonzero(design.terms[0].codes < 2)
    draws = np.array([draw(design, known, SEED, k)[rows] for k in range(3000)])
    term = design.terms[0]
    Z = np.zeros((len(rows), 4))
    for i, row in enumerate(rows):
        Z[i, 2 * term.codes[row] : 2 * term.codes[row] + 2] = term.matrix[row]
    V = Z @ np.kron(np.eye(2), known.covariances[0]) @ Z.T + known.residual_variance * np.eye(len(rows))
    # Whitened by the model they are standard normal: mean 0, covariance I, each within 4.5 of its standard errors.
    white = np.linalg.solve(np.linalg.cholesky(V), (draws - design.X[rows] @ known.fixed).T)
    assert np.abs(white.mean(axis=1)).max() < 4.5 / np.sqrt(3000)
    off = white @ white.T / 3000 - np.eye(len(rows))
    assert np.abs(off - np.diag(np.diag(off))).max() < 4.5 / np.sqrt(3000)
    assert np.abs(np.diag(off)).max() < 4.5 * np.sqrt(2 / 3000)


def test_a_singular_covariance_matrix_is_drawn_from(sleepstudy):
    """With a correlation of one, the slopes are a multiple of the intercepts in every draw."""
    singular = replace(truth(sleepstudy), covariances=(np.array([[4.0, -2.0], [-2.0, 1.0]]),), residual_variance=0.0)
    response = draw(sleepstudy.design, singular, SEED, 0)
    rest = response - sleepstudy.design.X @ singular.fixed
    days, subject = sleepstudy.frame["Days"].to_numpy(), sleepstudy.design.terms[0].codes
    slopes = np.array([np.polyfit(days[subject == k], rest[subject == k], 1) for k in range(18)])
    np.testing.assert_allclose(slopes[:, 0], -slopes[:, 1] / 2, atol=1e-9)
    assert slopes[:, 1].std() > 0.5


def test_the_root_is_one_of_the_matrix_and_refuses_what_is_none():
    """S'S is the matrix, in any units; an indefinite one is refused."""
    made = np.array([[1e8, 30.0], [30.0, 1e-4]])
    root = symmetric_root(made)
    np.testing.assert_allclose(root.T @ root, made, rtol=1e-12)
    assert not symmetric_root(np.zeros((2, 2))).any()
    with pytest.raises(ValueError, match="negative eigenvalue"):
        symmetric_root(np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ValueError, match="not finite"):
        symmetric_root(np.array([[np.nan]]))


def test_a_negative_residual_variance_is_refused(sleepstudy):
    """It says so, and draws nothing."""
    with pytest.raises(ValueError, match="residual variance"):
        draw(sleepstudy.design, replace(truth(sleepstudy), residual_variance=-1.0), SEED, 0)
