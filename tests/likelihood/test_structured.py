"""Structured covariance matrices: the criterion against dense matrices, its top against other ways to find it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from concord import r
from concord.engines.lme4 import engine as lme4
from concord.inference import information
from concord.inference.curvature import Curvature
from concord.inference.information import InformationError
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.likelihood.structured import Structure, StructuredLikelihood, likelihood_of
from concord.models import identifiability, matrices
from concord.models import model as models
from concord.models.design import Design, DesignTerm
from concord.models.formula import parse
from concord.models.parameters import Parameters
from concord.reference import reference

STRUCTURES = ("cs", "homcs", "ar1", "homar1")


@pytest.fixture(scope="module")
def machines():
    return models.get("machines-unstructured").design


def structured(design, structure):
    return replace(design, terms=tuple(replace(term, structure=structure) for term in design.terms))


def covariance(structure, deviations, rho):
    """Entry by entry as lme4's vignette has it."""
    q = 3
    sizes = np.full(q, deviations[0]) if structure.startswith("hom") else np.asarray(deviations)
    power = [[(abs(i - j) if structure.endswith("ar1") else int(i != j)) for j in range(q)] for i in range(q)]
    return np.outer(sizes, sizes) * np.power(rho, power)


def dense(design, at, reml=True):
    """The log-likelihood from the n x n covariance matrix of the response, at given parameters."""
    V = at.residual_variance * np.eye(len(design.y))
    for term, matrix in zip(design.terms, at.covariances, strict=True):
        V += term.matrix @ matrix @ term.matrix.T * (term.codes[:, None] == term.codes)
    left = design.y - design.X @ at.fixed
    information = design.X.T @ np.linalg.solve(V, design.X)
    logs = np.linalg.slogdet(V)[1] + (np.linalg.slogdet(information)[1] if reml else 0.0)
    count = len(left) - (design.X.shape[1] if reml else 0)
    return -0.5 * (count * np.log(2 * np.pi) + logs + left @ np.linalg.solve(V, left))


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("reml", [True, False])
def test_it_is_the_normal_density_and_its_gradient_and_top_are_its_own(structure, reml, machines):
    """At random parameters; the top is as high as a search on dense matrices comes, from several starts."""
    design = structured(machines, structure)
    likelihood = likelihood_of(design, reml)
    count = 1 if structure.startswith("hom") else 3
    rng = np.random.default_rng(2)

    def parameters(free):
        rho = -0.5 + 1.5 / (1 + np.exp(-free[count]))
        at = Parameters(np.zeros(3), (covariance(structure, np.exp(free[:count]), rho),), np.exp(free[-1]))
        return replace(at, fixed=likelihood.solution(at))

    free = np.append(rng.normal(1.0, 0.3, count), [0.7, -0.2])
    at = replace(parameters(free), fixed=rng.normal(50, 1, 3))
    assert likelihood.loglik(at) == pytest.approx(dense(design, at, reml), abs=1e-9)
    theta = likelihood.theta_at(at)
    slopes = optimize.approx_fprime(theta, likelihood.criterion, 1e-7)
    np.testing.assert_allclose(likelihood.criterion_and_gradient(theta)[1], slopes, rtol=1e-4, atol=1e-4)
    (best, *_) = likelihood.optima()
    assert dense(design, best.parameters, reml) == pytest.approx(best.loglik, abs=1e-8) and best.slope < 1e-6
    found = [
        optimize.minimize(lambda free: -dense(design, parameters(free), reml), start, method="BFGS").fun
        for start in (free, np.append(np.full(count, 1.5), [-0.5, 0.3]))
    ]
    assert -min(found) == pytest.approx(best.loglik, abs=1e-6)
    scale = np.maximum(1.0, np.abs(best.theta))
    assert np.linalg.eigvalsh(scale[:, None] * likelihood.hessian(best.theta) * scale).min() > 1e-3


def test_one_common_correlation_is_that_of_effects_added_up(machines, make_model):
    """With the same variances, cs is a group's effect and an effect of each of its columns: lme4 fits these."""
    frame = models.get("machines-unstructured").frame
    added = lme4.fit(make_model(frame, "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)"), "tuned")
    best = likelihood_of(structured(machines, "homcs"), True).optimum()
    assert best.loglik == pytest.approx(added.loglik, abs=1e-8)
    (whole,) = best.covariances
    own, common = (float(matrix[0, 0]) for matrix in sorted(added.covariances, key=lambda one: one[0, 0]))
    assert whole[0, 1] == pytest.approx(common, rel=1e-4) and whole[0, 0] == pytest.approx(common + own, rel=1e-4)


def test_nlme_finds_the_same_top_of_its_own_compound_symmetry(machines):
    code = """function(data) as.numeric(logLik(nlme::lme(
      score ~ Machine, data, list(Worker = nlme::pdCompSymm(~ 0 + Machine)), method = "REML")))"""
    r.package("nlme")
    said = r.from_r(r.call(r.interface().evalr(code), models.get("machines-unstructured").frame))[0]
    assert likelihood_of(structured(machines, "homcs"), True).optimum().loglik == pytest.approx(said, abs=1e-6)


def test_with_a_row_an_effect_it_is_nlmes_serial_correlation_with_a_nugget():
    """rho^|i - j| beside residuals, of days one after the other: gls has it as an exponential correlation."""
    frame = models.get("sleepstudy-random_slope").frame
    code = """function(data) as.numeric(logLik(nlme::gls(
      Reaction ~ Days, data, nlme::corExp(c(5, 0.1), ~ Days | Subject, nugget = TRUE), method = "REML")))"""
    r.package("nlme")
    said = r.from_r(r.call(r.interface().evalr(code), frame))[0]
    formula = parse("Reaction ~ Days + ar1(0 + factor(Days) | Subject)")
    design = matrices.design(formula, frame)
    identifiability.check(design, formula)
    assert likelihood_of(design, True).optimum().loglik == pytest.approx(said, abs=1e-5)


def test_variances_that_no_row_tells_apart_are_named(make_model):
    """A row an effect, and one common correlation: what a row has of its own is a residual too."""
    frame = models.get("sleepstudy-random_slope").frame
    model = make_model(frame, "Reaction ~ Days + cs(0 + factor(Days) | Subject, hom = TRUE)")
    with pytest.raises(LikelihoodError, match="do not tell the model's variances apart"):
        reference.of(model)


def test_where_all_effects_of_a_group_are_one_the_top_is_on_the_boundary():
    """Then the model is that of one effect a group, whose top is there too."""
    rng = np.random.default_rng(5)
    g, f = np.repeat(np.arange(12), 9), np.tile(np.repeat(["a", "b", "c"], 3), 12)
    noise = rng.normal(size=108).reshape(12, 3, 3)
    noise -= noise.mean(axis=2, keepdims=True)  # nothing that a column of a group has of its own
    frame = pd.DataFrame({"y": 2 * rng.normal(size=12)[g] + noise.ravel(), "f": pd.Categorical(f), "g": g})
    plain = matrices.design(parse("y ~ f + (1 | g)"), frame)
    best = likelihood_of(matrices.design(parse("y ~ f + cs(0 + f | g, hom = TRUE)"), frame), True).optimum()
    assert best.loglik == pytest.approx(Likelihood(plain, True).optimum().loglik, abs=1e-7)
    assert best.parameters.singular(best.design)
    assert best.covariances[0][0, 1] == pytest.approx(best.covariances[0][0, 0], rel=1e-6)


def one_term(structure, matrix, codes, x, y):
    names, levels = tuple(map(str, range(matrix.shape[1]))), tuple(map(str, range(codes.max() + 1)))
    term = DesignTerm("g", names, matrix, codes, levels, structure)
    return Design(y, np.column_stack([np.ones(len(y)), x]), ("a", "x"), (term,), np.arange(len(y)))


@pytest.mark.parametrize("seed", [0, 3])
def test_no_search_ends_at_effects_of_unlike_signs(seed):
    """One effect goes against the others: with a negative deviation it would fit better, but to another structure."""
    rng = np.random.default_rng(seed)
    g, f = np.repeat(np.arange(8), 8), np.tile(np.repeat(np.arange(4), 2), 8)
    x = rng.normal(size=64)
    y = x + 0.3 * rng.normal(size=8)[g] * np.array([1, 1, -1, 1])[f] + rng.normal(size=64)
    likelihood = likelihood_of(one_term("cs", np.eye(4)[f], g, x, y), True)
    for top in likelihood.optima():
        assert likelihood.loglik(top.parameters) == pytest.approx(top.loglik, abs=1e-8)
        (matrix,) = top.covariances
        sizes = np.sqrt(np.diag(matrix))
        shares = [
            matrix[i, j] / (sizes[i] * sizes[j]) for i in range(4) for j in range(i) if sizes[i] * sizes[j] > 1e-9
        ]
        assert np.ptp(shares) < 1e-6


@pytest.mark.parametrize("structure", ["cs", "homar1"])
def test_a_better_optimum_decades_away_is_found(structure):
    """Effects that undo the slope between groups: ordinary least squares' optimum, and one of effects thirty times the
    residuals, with a correlation of nearly 1; dense matrices have the second as the higher.
    """
    rng = np.random.default_rng(2)
    g, f = np.repeat(np.arange(8), 6), np.tile(np.arange(2), 24)
    x = g + 0.1 * rng.normal(size=48)
    design = one_term(structure, np.eye(2)[f], g, x, x - g + 0.05 * rng.normal(size=48))
    likelihood = likelihood_of(design, True)
    tops = likelihood.optima()

    def parameters(free):
        at = Parameters(np.zeros(2), (np.exp(free[0]) * np.array([[1, free[1]], [free[1], 1]]),), np.exp(free[2]))
        return replace(at, fixed=likelihood.solution(at))

    def height(free):
        return dense(design, parameters(free)) if abs(free[1]) < 1 else -np.inf

    there = optimize.minimize(lambda free: -height(free), [1.4, 0.9999, -6.0], method="Nelder-Mead")
    assert -there.fun > tops[-1].loglik + 1 and tops[0].loglik >= -there.fun - 1e-6
    assert dense(design, tops[0].parameters) == pytest.approx(tops[0].loglik, abs=1e-7)


@pytest.mark.parametrize("name", ["cs", "ar1"])
@pytest.mark.parametrize("homogeneous", [True, False])
def test_coordinates_come_back_from_the_matrix_and_what_is_not_structured_has_none(name, homogeneous):
    structure = Structure(name, np.ones(4), homogeneous)
    at = np.append(np.linspace(1.0, 2.0, structure.deviations), 0.4)
    matrix = structure.factor(at) @ structure.factor(at).T
    np.testing.assert_allclose(structure.at(matrix), at, rtol=1e-12)
    lags = np.abs(np.subtract.outer(range(4), range(4))) if name == "ar1" else 1 - np.eye(4)
    sizes = np.sqrt(np.diag(matrix))
    np.testing.assert_allclose(matrix, np.outer(sizes, sizes) * np.real(structure.correlation(0.4)) ** lags)
    off = matrix.copy()
    off[0, 3] = off[3, 0] = off[0, 3] * 1.001
    assert structure.at(off) is None
    np.testing.assert_array_equal(structure.at(np.zeros((4, 4)))[:-1], 0.0)


def test_what_is_not_structured_is_no_parameter_of_the_model(machines):
    likelihood = likelihood_of(structured(machines, "cs"), True)
    free = Likelihood(machines, True).optimum()
    assert likelihood.loglik(free.parameters) == -np.inf
    with pytest.raises(LikelihoodError, match="not a covariance matrix"):
        likelihood.theta_at(free.parameters)


def test_what_knows_no_structure_refuses_one(machines):
    """A plain likelihood of the same columns is that of another model."""
    with pytest.raises(LikelihoodError, match="structure such as cs or ar1"):
        Likelihood(structured(machines, "cs"), True)
    with pytest.raises(LikelihoodError, match="no likelihood of the structure toep"):
        likelihood_of(structured(machines, "toep"), True)
    assert type(likelihood_of(machines, True)) is Likelihood
    likelihood = likelihood_of(structured(machines, "cs"), True)
    assert isinstance(likelihood, StructuredLikelihood)
    with pytest.raises(InformationError, match="structure"):
        information.curvature(likelihood, likelihood.optimum().parameters)


def test_standard_errors_are_those_of_the_plain_model_where_the_structure_is_none():
    """Two effects with one correlation are two effects."""
    frame = models.get("sleepstudy-random_slope").frame
    plain, same = (
        matrices.design(parse(f"Reaction ~ Days + {term}"), frame)
        for term in ("(Days | Subject)", "cs(Days | Subject)")
    )
    tops = []
    for likelihood in (Likelihood(plain, True), likelihood_of(same, True)):
        best = likelihood.optimum()
        tops.append(Curvature(likelihood, best.parameters, likelihood.loglik(best.parameters)))
    assert tops[0].level == pytest.approx(tops[1].level, abs=1e-8)
    np.testing.assert_allclose(tops[1].std_error, tops[0].std_error, rtol=1e-4)
    np.testing.assert_allclose(tops[1].errors_explained(1e-3), tops[0].errors_explained(1e-3), rtol=1e-3)
