"""The weighted likelihood: against the dense normal density, in double precision, in balls and without some rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from concord.data.source import DECIMALS
from concord.inference import criteria, influence
from concord.inference.prediction import Solution
from concord.likelihood.deviance import Deviance
from concord.likelihood.likelihood import Likelihood
from concord.likelihood.precise import Precise
from concord.models.decimals import Columns
from concord.models.parameters import Parameters
from concord.proof import global_proof
from support.dense import METHODS, certified
from support.weighed import TABLE

PSI = np.array([[1.3, -0.2], [-0.2, 0.4]])
# Formula, and for every random term its group, its columns and a covariance matrix.
CASES = {
    "slope": ("y ~ x + (1 + x | g)", [("g", ["one", "x"], PSI)]),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", [("g", ["one"], [[1.1]]), ("h", ["one"], [[0.3]])]),
    "offset": ("y ~ x + offset(z) + (0 + x | g)", [("g", ["x"], [[0.5]])]),
}
FIXED, VARIANCE = np.array([2.7, 1.9]), 0.8


def density(frame, random, reml: bool, offset=0.0) -> float:
    """The log-likelihood from the n x n covariance matrix, whose residual part is sigma^2 / w."""
    columns = {"one": np.ones(len(frame)), "x": frame["x"].to_numpy()}
    V = VARIANCE * np.diag(1 / frame["w"].to_numpy())
    for group, names, psi in random:
        Z = np.column_stack([columns[name] for name in names])
        same = frame[group].to_numpy()[:, None] == frame[group].to_numpy()
        V = V + (Z @ np.asarray(psi) @ Z.T) * same
    X = np.column_stack([columns["one"], columns["x"]])
    value = stats.multivariate_normal(X @ FIXED + offset, V).logpdf(frame["y"])
    if reml:
        value += np.log(2 * np.pi) * X.shape[1] / 2 - np.linalg.slogdet(X.T @ np.linalg.solve(V, X))[1] / 2
    return float(value)


@pytest.mark.parametrize("reml", METHODS)
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_dense_density_with_residual_variances_over_the_weights(case, reml, make_model):
    """To 1e-9, in doubles and in balls, and with everything profiled out."""
    formula, random = CASES[case]
    design = make_model(TABLE, formula, weights="w").design
    at = Parameters(FIXED, tuple(np.asarray(psi) for _, _, psi in random), VARIANCE)
    wanted = density(TABLE, random, reml, TABLE["z"] if case == "offset" else 0.0)
    likelihood = Likelihood(design, reml)
    assert likelihood.loglik(at) == pytest.approx(wanted, rel=0, abs=1e-9)
    assert Precise(design, reml).loglik(at) == pytest.approx(wanted, rel=0, abs=1e-9)
    theta, deviance = likelihood.theta_at(at), Deviance(likelihood)
    joint = deviance.joint(theta, np.log(VARIANCE) / 2, deviance.orthonormalized(FIXED))[0]
    assert -joint / 2 == pytest.approx(wanted, rel=0, abs=1e-9)
    # At the optimum, where nothing moves, the criterion says the same as the density.
    optimum = likelihood.optimum()
    assert likelihood.loglik(optimum.parameters) == pytest.approx(optimum.loglik, rel=0, abs=1e-9)
    np.testing.assert_allclose(likelihood.criteria(optimum.theta[None]), -2 * optimum.loglik, rtol=0, atol=1e-9)


@pytest.mark.parametrize("reml", METHODS)
def test_weights_that_are_all_the_same_change_the_residual_variance_only(reml, make_model):
    """Weights of 4: the same effects and covariances and log-likelihood, and a residual variance of four times."""
    plain = Likelihood(make_model(TABLE, CASES["slope"][0]).design, reml).optimum()
    same = Likelihood(make_model(TABLE.assign(w=4.0), CASES["slope"][0], weights="w").design, reml).optimum()
    np.testing.assert_allclose(same.fixed, plain.fixed, rtol=1e-8)
    np.testing.assert_allclose(same.covariances[0], plain.covariances[0], rtol=1e-6)
    assert same.residual_variance == pytest.approx(4 * plain.residual_variance, rel=1e-7)
    assert same.loglik == pytest.approx(plain.loglik, rel=0, abs=1e-9)


def test_the_linear_model_has_the_weights_too(make_model):
    """Without random effects it is weighted least squares."""
    design = make_model(TABLE, CASES["slope"][0], weights="w").design
    X, y, w = np.column_stack([np.ones(len(TABLE)), TABLE["x"]]), TABLE["y"], TABLE["w"].to_numpy()
    fixed = np.linalg.solve(X.T * w @ X, X.T * w @ y)
    variance = float(np.mean(w * (y - X @ fixed) ** 2))
    wanted = stats.norm(X @ fixed, np.sqrt(variance / w)).logpdf(y).sum()
    assert criteria.linear(design, reml=False).loglik == pytest.approx(wanted, rel=0, abs=1e-9)


def test_the_certificate_is_of_the_tables_decimals(make_model):
    """The optimum is solved and proved, weights and all, and is the one of double precision; no box is better."""
    table = TABLE.copy()
    table.attrs[DECIMALS] = frozenset(table)
    model = make_model(table, "y ~ x + (1 | g)", weights="w")
    proved, _ = certified(model)
    optimum = Likelihood(model.design, model.reml).optimum()
    assert proved.data == "decimals" and proved.agreed >= 30
    assert float(proved.loglik) == pytest.approx(optimum.loglik, rel=0, abs=1e-9)
    np.testing.assert_allclose([float(each) for each in proved.estimates["fixed"]], optimum.fixed, rtol=1e-7)
    columns = Columns(model.formula, model.frame, model.design)
    assert global_proof.prove_model(model.design, True, proved.theta, 60.0, columns).method


def test_without_a_level_it_is_the_likelihood_of_the_other_rows(make_model):
    """Deleting a level takes its weights' logarithms along."""
    model = make_model(TABLE, "y ~ x + (1 | g)", weights="w")
    likelihood = Likelihood(model.design, model.reml)
    without = influence.influence(likelihood, likelihood.optimum(), "g", refit=True)
    left = TABLE[TABLE["g"] != "g3"].reset_index(drop=True)
    wanted = Likelihood(make_model(left, "y ~ x + (1 | g)", weights="w").design, True).optimum()
    place = without.levels.index("g3")
    assert without.refitted.loglik[place] == pytest.approx(wanted.loglik, rel=0, abs=1e-8)


def test_fitted_values_and_residuals_are_those_of_the_table(make_model):
    """In the response's own unit, offset included, as the dense covariance matrix gives them."""
    model = make_model(TABLE, CASES["offset"][0], weights="w")
    optimum = Likelihood(model.design, True).optimum()
    solution = Solution(model.design, optimum.parameters)
    x, same = TABLE["x"].to_numpy(), TABLE["g"].to_numpy()[:, None] == TABLE["g"].to_numpy()
    between = optimum.covariances[0][0, 0] * np.outer(x, x) * same
    V = between + np.diag(optimum.residual_variance / TABLE["w"])
    mean = np.column_stack([np.ones(len(x)), x]) @ optimum.fixed + TABLE["z"].to_numpy()
    fitted = mean + between @ np.linalg.solve(V, TABLE["y"] - mean)
    np.testing.assert_allclose(solution.fitted, fitted, rtol=1e-9)
    np.testing.assert_allclose(solution.residuals, TABLE["y"] - fitted, rtol=0, atol=1e-9)
    np.testing.assert_allclose(solution.predict()["estimate"], fitted, rtol=1e-9)
    assert solution.variances["fixed"] == pytest.approx(np.var(mean - TABLE["z"], ddof=1), rel=1e-9)


def test_a_column_of_weights_in_another_unit_changes_nothing_else(make_model):
    """Ten times all weights: ten times the residual variance."""
    once, tenfold = (
        Likelihood(make_model(TABLE.assign(w=factor * TABLE["w"]), "y ~ x + (1 | g)", weights="w").design, True)
        for factor in (1, 10)
    )
    at = once.optimum().parameters
    moved = replace(at, residual_variance=10 * at.residual_variance)
    assert tenfold.loglik(moved) == pytest.approx(once.loglik(at), rel=0, abs=1e-9)


def test_the_sparse_likelihood_of_crossed_factors_has_them_too(make_model):
    """To 1e-9 by the dense density, where the blocks are sparse."""
    chance = np.random.default_rng(3)
    frame = pd.DataFrame({"x": chance.normal(size=500), "w": chance.uniform(0.2, 5, 500), "y": chance.normal(size=500)})
    frame["g"], frame["h"] = (pd.Categorical(chance.integers(0, levels, 500).astype(str)) for levels in (140, 120))
    likelihood = Likelihood(make_model(frame, "y ~ x + (1 | g) + (1 | h)", weights="w").design, True)
    assert not likelihood.dense
    random = [("g", ["one"], [[1.1]]), ("h", ["one"], [[0.3]])]
    at = Parameters(FIXED, tuple(np.asarray(psi) for _, _, psi in random), VARIANCE)
    assert likelihood.loglik(at) == pytest.approx(density(frame, random, True), rel=0, abs=1e-9)
