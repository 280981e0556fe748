"""The independent likelihood: against dense matrices in 40 digits, against the engines, and against itself."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import mpmath
import numpy as np
import pandas as pd
import pytest

from concord import vocabulary
from concord.engines.engine import engines
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.models import model as models
from concord.models.parameters import Parameters
from concord.reference import reference
from support.paths import PUBLISHED

OPTIMA = list(csv.DictReader((PUBLISHED / "optima.csv").open(encoding="utf-8")))
FITS = [
    pytest.param(model.id, model.method, engine, settings, id=f"{model.id}-{model.method}-{engine}-{settings}")
    for model in models.every()
    for engine, module in engines().items()
    for settings in module.settings
    if (model.id, engine) != ("penicillin-crossed", "nlme")  # which can nest factors, and not cross them
]


@pytest.mark.parametrize(("id", "method", "engine", "settings"), FITS)
def test_at_an_engines_estimates_it_gives_that_engines_loglikelihood(id, method, engine, settings, numbers):
    """MixedLM, lme4 and nlme state to 1e-8 what the likelihood says at their own estimates, however far they got.

    By the method asked for: by the other one it is not what they state.
    """
    fit = numbers(id, method, engine, settings)
    methods = (fit.model.reml, not fit.model.reml)
    own, other = (Likelihood(fit.model.design, reml).loglik(fit.parameters) for reml in methods)
    assert own == pytest.approx(fit.loglik, rel=0, abs=1e-8)
    assert abs(other - fit.loglik) > (1 if fit.model.dataset.id in ("dietox", "sitka") else 0.1)


@pytest.mark.parametrize("row", OPTIMA, ids=[row["model"] for row in OPTIMA])
def test_the_optimum_is_the_one_found_in_sixty_digits(row):
    """The REML optima of all six models are those of another program, within 1e-9."""
    found = reference.of(models.get(row["model"], row["method"]))
    assert found.loglik == pytest.approx(float(row["value"]), rel=0, abs=1e-9)


# ---- dense matrices ------------------------------------------------------------------------------------------------

rng = np.random.default_rng(20240611)
SMALL = pd.DataFrame(
    {
        "x": [0.0, 1, 2, 3, 0, 1, 2, 0, 4, 2, 1, 3, 5],
        "g": pd.Categorical(list("aaaabbbcdddee")),  # c has one row
        "h": pd.Categorical(list("uvwuuvwvwuvwu")),
        "k": pd.Categorical(list("ppqqppqpppqpq")),
        "alone": pd.Categorical(list("abcdefghijklm")[:12] + ["a"]),
    }
)
SMALL["y"] = (
    50 + 3 * SMALL["x"] + np.array([5, -3, 2, 8, -6])[SMALL["g"].cat.codes] + rng.normal(size=len(SMALL)).round(2)
)

INTERCEPT = np.ones((len(SMALL), 1))
SLOPE = SMALL[["x"]].to_numpy()
BOTH = np.hstack([INTERCEPT, SLOPE])
NESTED = SMALL["k"].astype(str) + ":" + SMALL["g"].astype(str)
PSI = np.array([[20.0, -1.5], [-1.5, 0.7]])

# Formula, then for every random term, written out by hand: the group of every row, the columns, a covariance matrix.
CASES = {
    "intercept": ("y ~ x + (1 | g)", [(SMALL["g"], INTERCEPT, [[20.0]])]),
    "slope": ("y ~ x + (1 + x | g)", [(SMALL["g"], BOTH, PSI)]),
    "uncorrelated": ("y ~ x + (x || g)", [(SMALL["g"], INTERCEPT, [[20.0]]), (SMALL["g"], SLOPE, [[0.7]])]),
    "nested": ("y ~ x + (1 | g/k)", [(NESTED, INTERCEPT, [[3.0]]), (SMALL["g"], INTERCEPT, [[20.0]])]),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", [(SMALL["g"], INTERCEPT, [[20.0]]), (SMALL["h"], INTERCEPT, [[2.0]])]),
    "crossed slopes": (
        "y ~ 1 + (1 + x | g) + (0 + x | h) + (1 | k)",
        [(SMALL["g"], BOTH, PSI), (SMALL["h"], SLOPE, [[0.3]]), (SMALL["k"], INTERCEPT, [[4.0]])],
    ),
    "no fixed effects": ("y ~ 0 + (1 | g)", [(SMALL["g"], INTERCEPT, [[2000.0]])]),
    "groups of one row": ("y ~ x + (1 | alone)", [(SMALL["alone"], INTERCEPT, [[20.0]])]),
    "one variance zero": (
        "y ~ x + (1 | g) + (1 | h)",
        [(SMALL["g"], INTERCEPT, [[20.0]]), (SMALL["h"], INTERCEPT, [[0.0]])],
    ),
    "all variances zero": ("y ~ x + (1 + x | g)", [(SMALL["g"], BOTH, np.zeros((2, 2)))]),
    "correlation one": ("y ~ x + (1 + x | g)", [(SMALL["g"], BOTH, [[4.0, 2.0], [2.0, 1.0]])]),
}
INTERIOR = [name for name in CASES if name not in ("one variance zero", "all variances zero", "correlation one")]


def fixed_matrix(formula: str) -> np.ndarray:
    return {"y ~ x": BOTH, "y ~ 1": INTERCEPT, "y ~ 0": INTERCEPT[:, :0]}[formula.partition(" + (")[0]]


def dense_parts(formula, terms, residual_variance):
    """|V|, |X'V^-1 X| and the function r'V^-1 r of the fixed effects, as mpmath numbers, from n x n matrices."""
    V = mpmath.eye(len(SMALL)) * residual_variance
    for group, columns, covariance in terms:
        codes = pd.factorize(np.asarray(group))[0]
        columns, covariance = mpmath.matrix(columns.tolist()), mpmath.matrix(covariance)
        for i in range(len(SMALL)):
            for j in range(len(SMALL)):
                if codes[i] == codes[j]:
                    V[i, j] += (columns[i, :] * covariance * columns[j, :].T)[0]
    inverse = V**-1
    X = fixed_matrix(formula)
    information = mpmath.matrix(X.tolist()).T * inverse * mpmath.matrix(X.tolist()) if X.shape[1] else None

    def quadratic(fixed):
        left = mpmath.matrix((SMALL["y"].to_numpy()).tolist())
        if X.shape[1]:
            left = left - mpmath.matrix(X.tolist()) * mpmath.matrix(fixed)
        return (left.T * inverse * left)[0]

    def solution():
        if not X.shape[1]:
            return []
        return list(information**-1 * (mpmath.matrix(X.tolist()).T * inverse * mpmath.matrix(SMALL["y"].tolist())))

    return mpmath.det(V), mpmath.det(information) if information else mpmath.mpf(1), quadratic, solution


def dense_loglik(formula, terms, residual_variance, fixed, reml):
    """The multivariate normal's log density, or the restricted one."""
    V, information, quadratic, _ = dense_parts(formula, terms, residual_variance)
    n, p = len(SMALL), fixed_matrix(formula).shape[1]
    value = mpmath.log(V) + quadratic(fixed) + (n - p * reml) * mpmath.log(2 * mpmath.pi)
    return -(value + (mpmath.log(information) if reml else 0)) / 2


def dense_criterion(formula, terms, reml):
    """-2 log-likelihood with fixed effects and residual variance profiled out; `terms` relative to the latter."""
    V, information, quadratic, solution = dense_parts(formula, terms, mpmath.mpf(1))
    nu = len(SMALL) - reml * fixed_matrix(formula).shape[1]
    variance = quadratic(solution()) / nu
    value = mpmath.log(V) + nu * (1 + mpmath.log(2 * mpmath.pi * variance))
    return value + (mpmath.log(information) if reml else 0)


@pytest.fixture(autouse=True)
def forty_digits():
    with mpmath.workdps(40):
        yield


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("case", CASES)
def test_the_loglikelihood_is_the_normal_density_in_dense_matrices(case, reml, make_model):
    """At any parameters, fixed effects away from their best values among them, it is the density of y, to 1e-10."""
    formula, terms = CASES[case]
    likelihood = Likelihood(make_model(SMALL, formula).design, reml)
    covariances = [np.array(covariance, float) for *_, covariance in terms]
    for fixed in ([51.0, 2.5], [40.0, -1.0]):
        fixed = fixed[: likelihood.p]
        expected = dense_loglik(formula, terms, mpmath.mpf("1.75"), fixed, reml)
        assert likelihood.loglik(Parameters(np.array(fixed), tuple(covariances), 1.75)) == pytest.approx(
            float(expected), rel=1e-12, abs=1e-10
        )


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("case", INTERIOR)
def test_the_criterion_is_the_profiled_one_in_dense_matrices(case, reml, make_model):
    """With fixed effects and residual variance at their best, it is -2 times the dense log-likelihood there."""
    formula, terms = CASES[case]
    likelihood = Likelihood(make_model(SMALL, formula).design, reml)
    theta = likelihood.theta_of([np.array(covariance, float) for *_, covariance in terms])
    assert likelihood.criterion(theta) == pytest.approx(float(dense_criterion(formula, terms, reml)), rel=1e-12)
    assert likelihood.criterion_and_gradient(theta)[0] == pytest.approx(likelihood.criterion(theta), rel=1e-14)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("case", INTERIOR)
def test_the_gradient_is_that_of_the_dense_criterion(case, reml, make_model):
    """Along every entry of every covariance matrix, the exact gradient gives the dense criterion's derivative."""
    formula, terms = CASES[case]
    likelihood = Likelihood(make_model(SMALL, formula).design, reml)
    covariances = [np.array(covariance, float) for *_, covariance in terms]
    gradient = likelihood.criterion_and_gradient(likelihood.theta_of(covariances))[1]
    for number, covariance in enumerate(covariances):
        for i, j in zip(*np.tril_indices(len(covariance)), strict=True):

            def moved(step, number=number, i=i, j=j):
                changed = [mpmath.matrix(each.tolist()) for each in covariances]
                changed[number][i, j] += step
                if i != j:
                    changed[number][j, i] += step
                return changed

            def theta(step, moved=moved):
                return likelihood.theta_of(
                    [np.array(each.tolist(), float).reshape(each.rows, -1) for each in moved(step)]
                )

            def dense(step, moved=moved):
                given = [(*term[:2], each) for term, each in zip(terms, moved(step), strict=True)]
                return dense_criterion(formula, given, reml)

            # A difference in 40 digits for the criterion; in doubles, of fourth order, for the parameters' change.
            step = mpmath.mpf("1e-15")
            slope = float((dense(step) - dense(-step)) / (2 * step))
            h = 1e-3 * covariance[i, i]
            change = (8 * (theta(h) - theta(-h)) - (theta(2 * h) - theta(-2 * h))) / (12 * h)
            assert gradient @ change == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("id", ["dietox-random_slope", "sitka-uncorrelated", "sitka-random_slope"])
def test_the_gradient_is_that_of_the_criterion_on_the_real_tables(id, reml):
    """On hundreds of rows, at points far from the optimum and near it, central differences agree."""
    likelihood = Likelihood(models.get(id).design, reml)
    optimum = likelihood.optimum()
    for theta in (optimum.theta + 0.05, 0.3 * optimum.theta + 0.2, 4 * optimum.theta):
        gradient = likelihood.criterion_and_gradient(theta)[1]
        for i in range(likelihood.m):
            h = np.zeros(likelihood.m)
            h[i] = 1e-3
            a, b = (likelihood.criterion(theta + s * h) - likelihood.criterion(theta - s * h) for s in (1, 2))
            assert gradient[i] == pytest.approx((8 * a - b) / (12 * 1e-3), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("case", INTERIOR)
def test_the_hessian_is_that_of_the_gradient(case, reml, make_model):
    """In every direction, also at singular factors, it is the exact gradient's derivative; and it is symmetric."""
    likelihood = Likelihood(make_model(SMALL, CASES[case][0]).design, reml)
    theta = np.random.default_rng(4).uniform(0.3, 1.5, likelihood.m)
    for point in (theta, -0.5 * theta, theta * (np.arange(likelihood.m) > 0), 0 * theta):
        hessian = likelihood.hessian(point)
        np.testing.assert_array_equal(hessian, hessian.T)
        for i, h in enumerate(1e-3 * np.eye(likelihood.m)):
            a, b = (
                likelihood.criterion_and_gradient(point + s * h)[1]
                - likelihood.criterion_and_gradient(point - s * h)[1]
                for s in (1, 2)
            )
            np.testing.assert_allclose((8 * a - b) / (12 * 1e-3), hessian[i], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("id", ["dietox-random_slope", "sitka-uncorrelated", "sitka-random_slope"])
def test_a_start_where_a_variance_is_zero_is_no_trap(id):
    """The slope vanishes where a column of a factor does; the search finds the way down that only curvature shows."""
    likelihood = Likelihood(models.get(id).design, True)
    best = likelihood.optimum()
    assert best.gradient < 1e-9 and np.linalg.eigvalsh(likelihood.hessian(best.theta))[0] > 0
    for start in (np.zeros(likelihood.m), np.eye(likelihood.m)[0], best.theta * (np.arange(likelihood.m) == 0)):
        assert likelihood.optimum([start]).loglik == pytest.approx(best.loglik, rel=0, abs=1e-10)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("case", ["intercept", "slope", "uncorrelated", "crossed", "nested"])
def test_no_parameters_near_the_optimum_do_better_in_dense_matrices(case, reml, make_model):
    """The optimum's own log-likelihood is the dense one there, and every step away in any parameter lowers that."""
    formula, terms = CASES[case]
    found = Likelihood(make_model(SMALL, formula).design, reml).optimum()

    def dense(fixed, covariances, residual_variance):
        given = [(*term[:2], each) for term, each in zip(terms, covariances, strict=True)]
        return float(dense_loglik(formula, given, mpmath.mpf(residual_variance), [mpmath.mpf(b) for b in fixed], reml))

    top = dense(found.fixed, [each.tolist() for each in found.covariances], found.residual_variance)
    assert top == pytest.approx(found.loglik, rel=1e-11)
    for i in range(len(found.fixed)):
        for step in (1e-3, -1e-3):
            fixed = found.fixed.copy()
            fixed[i] *= 1 + step
            assert dense(fixed, [each.tolist() for each in found.covariances], found.residual_variance) < top
    for factor in (1.01, 0.99):
        assert dense(found.fixed, [each.tolist() for each in found.covariances], factor * found.residual_variance) < top
        for number, covariance in enumerate(found.covariances):
            if np.linalg.eigvalsh(covariance)[0] > 1e-8:
                changed = [(each * (factor if k == number else 1)).tolist() for k, each in enumerate(found.covariances)]
                assert dense(found.fixed, changed, found.residual_variance) < top


def test_the_standard_errors_of_the_optimum_are_the_dense_ones(make_model):
    """They are the roots of the diagonal of (X'V^-1 X)^-1 at the optimum."""
    formula, terms = CASES["slope"]
    found = Likelihood(make_model(SMALL, formula).design, True).optimum()
    V = found.residual_variance * np.eye(len(SMALL))
    codes = pd.factorize(np.asarray(SMALL["g"]))[0]
    V += (codes[:, None] == codes) * (BOTH @ found.covariances[0] @ BOTH.T)
    expected = np.sqrt(np.diag(np.linalg.inv(BOTH.T @ np.linalg.inv(V) @ BOTH)))
    np.testing.assert_allclose(found.std_error, expected, rtol=1e-9)


# ---- invariances ---------------------------------------------------------------------------------------------------

EVERY = [pytest.param(model.id, model.method, id=f"{model.id}-{model.method}") for model in models.every()]


def predictor(model) -> str | None:
    """The first of a model's predictors that is a number, by the dataset's description; None where there is none."""
    fixed = model.record.formula.partition(" ~ ")[2].partition("(")[0]
    numbers = [name for name, column in model.dataset.columns.items() if column.type in ("number", "integer")]
    return next((name for name in re.findall(r"\w+", fixed) if name in numbers), None)


PREDICTORS = {model.id: predictor(model) for model in models.every() if predictor(model)}


def remade(model, frame, make_model):
    return Likelihood(make_model(frame, model.record.formula, model.method).design, model.reml)


def same(new, old, model, rtol):
    """Two lists of estimates are the same; a variance of zero is small beside the residual one."""
    zero = 1e-7 * np.abs(np.asarray(old)[-1]) * reference.of(model).boundary
    np.testing.assert_allclose(new, old, rtol=rtol, atol=zero)


@pytest.mark.parametrize("method", vocabulary.METHODS)
@pytest.mark.parametrize("id", PREDICTORS)
def test_another_unit_of_the_predictor_shifts_reml_by_its_logarithm(id, method, make_model):
    """x times 7 lowers the REML log-likelihood by log 7 a column that holds it and leaves the ML one.

    Every coefficient falls by 7 for each time that its column holds x, a slope's variance by 49.
    """
    model, x = models.get(id, method), PREDICTORS[id]
    frame = model.frame.assign(**{x: 7.0 * model.frame[x]})
    old, new = reference.of(model), remade(model, frame, make_model).optimum()
    held = sum(x in name.split(":") for name in model.design.names)
    assert held == (2 if id == "orthodont-interaction" else 1) and len(PREDICTORS) >= 15
    assert new.loglik - old.loglik == pytest.approx(-held * np.log(7) if model.reml else 0.0, rel=0, abs=1e-9)

    def power(row) -> int:
        names = row.term.split(":") if row.effect == "fixed" else row.term.partition("__")[2].split(".")
        return names.count(x) * (2 if row.term.startswith("var__") else 1)

    powers = np.array([power(row) for row in old.estimates.itertuples()])
    np.testing.assert_allclose(new.estimates["estimate"] * 7.0**powers, old.estimates["estimate"], rtol=1e-6)


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_another_unit_of_the_response_shifts_by_its_logarithm_a_degree_of_freedom(id, method, make_model):
    """y x 1000 lowers the log-likelihood by (n - p) log 1000 under REML, n log 1000 under ML; variances grow by 1e6."""
    model = models.get(id, method)
    y = model.record.formula.partition(" ~ ")[0]
    frame = model.frame.assign(**{y: 1000.0 * model.frame[y]})
    old, new = reference.of(model), remade(model, frame, make_model).optimum()
    n, p = model.design.X.shape
    assert new.loglik - old.loglik == pytest.approx(-(n - p * model.reml) * np.log(1000), rel=1e-12)
    factors = np.where(old.estimates["effect"] == "fixed", 1e3, 1e6)
    same(new.estimates["estimate"], factors * old.estimates["estimate"], model, 1e-6)


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_neither_rows_order_nor_groups_names_matter(id, method, make_model):
    """Rows shuffled and groups renamed, log-likelihood and estimates stay."""
    model = models.get(id, method)
    frame = model.frame.sample(frac=1.0, random_state=3, ignore_index=True)
    fixed, _, random = model.record.formula.partition(" + (")
    groups = re.findall(r"\w+", random[random.index("|") :])
    # A factor that also has fixed effects, such as the recipe, must keep its levels.
    renamed = [group for group in frame.columns if group in groups and group not in re.findall(r"\w+", fixed)]
    assert renamed
    for group in renamed:
        frame[group] = "n" + frame[group].astype(str).str[::-1]
    old, new = reference.of(model), remade(model, frame, make_model).optimum()
    assert new.loglik == pytest.approx(old.loglik, rel=0, abs=1e-10)
    same(new.estimates["estimate"], old.estimates["estimate"], model, 1e-7)


def test_a_shifted_predictor_changes_neither_likelihood_nor_slope():
    """Time counted from another day leaves the random-slope model's likelihood, far means cancelling no digits."""
    design = models.get("sitka-random_slope").design
    moved = np.array([[1.0, 1e5], [0.0, 1.0]])
    term = replace(design.terms[0], matrix=design.terms[0].matrix @ moved)
    new = Likelihood(replace(design, X=design.X @ moved, terms=(term,)), True).optimum()
    assert new.loglik == pytest.approx(reference.of(models.get("sitka-random_slope")).loglik, rel=0, abs=1e-8)


# ---- where it is not defined ---------------------------------------------------------------------------------------


def design_of(make_model, formula="y ~ x + (1 | g)", frame=SMALL):
    return make_model(frame, formula).design


def test_dependent_columns_of_x_are_an_error(make_model):
    """A predictor that is a sum of others has no estimate; tiny units are not taken for dependence."""
    frame = SMALL.assign(tiny=1e-12 * np.arange(len(SMALL)) ** 2)
    design = design_of(make_model, "y ~ x + (1 | g)")
    more = np.column_stack([design.X, 2 * design.X[:, 1] + 1])
    with pytest.raises(LikelihoodError, match="the columns of X are linearly dependent"):
        Likelihood(replace(design, X=more, names=(*design.names, "z")), True)
    assert np.isfinite(Likelihood(design_of(make_model, "y ~ x + tiny + (1 | g)", frame), True).optimum().loglik)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_an_error(value, make_model):
    """NaN or infinity in y, in X or in a random term's columns is refused."""
    design = design_of(make_model, "y ~ x + (x | g)")
    y, X, Z = design.y.copy(), design.X.copy(), design.terms[0].matrix.copy()
    y[3] = X[3, 1] = Z[3, 1] = value
    for spoilt in (
        replace(design, y=y),
        replace(design, X=X),
        replace(design, terms=(replace(design.terms[0], matrix=Z),)),
    ):
        with pytest.raises(LikelihoodError, match="not finite"):
            Likelihood(spoilt, True)


def test_too_few_rows_are_an_error(make_model):
    """As many fixed effects as rows leave nothing to estimate a variance from."""
    with pytest.raises(LikelihoodError, match="2 rows are too few for 2 fixed effects"):
        Likelihood(design_of(make_model, frame=SMALL[2:4]), False)


def test_a_response_that_the_fixed_effects_reproduce_is_an_error(make_model):
    """Without residuals the likelihood has no bound; rounding errors are not taken for residuals."""
    with pytest.raises(LikelihoodError, match="reproduce the response exactly"):
        Likelihood(design_of(make_model, frame=SMALL.assign(y=1e6 / 3 + SMALL["x"] / 7)), True)


def test_a_random_column_of_zeros_is_an_error(make_model):
    """A column that is zero throughout has no variance; it is named by its term."""
    with pytest.raises(LikelihoodError, match=r"the columns of \(z \| g\) are linearly dependent: one is zero"):
        Likelihood(design_of(make_model, "y ~ x + (0 + z | g)", SMALL.assign(z=0.0)), True)


def test_estimates_that_are_no_parameters_have_no_likelihood(make_model):
    """A negative variance, a correlation beyond one, a missing value give -inf, and no theta."""
    likelihood = Likelihood(design_of(make_model, "y ~ x + (x | g)"), True)
    fixed, good = np.array([50.0, 3.0]), PSI
    assert np.isfinite(likelihood.loglik(Parameters(fixed, (good,), 1.0)))
    bad = (-good, np.array([[1.0, 2.0], [2.0, 1.0]]), np.full((2, 2), np.nan), np.diag([1.0, np.inf]))
    for covariance in bad:
        assert likelihood.loglik(Parameters(fixed, (covariance,), 1.0)) == -np.inf
        with pytest.raises(LikelihoodError, match="not a covariance matrix"):
            likelihood.theta_of([covariance])
    assert likelihood.loglik(Parameters(fixed, (1e200 * good,), 1.0)) == -np.inf  # more than doubles can square
    for variance in (0.0, -1.0, np.nan, np.inf):
        assert likelihood.loglik(Parameters(fixed, (good,), variance)) == -np.inf
    assert likelihood.loglik(Parameters(np.array([np.nan, 3.0]), (good,), 1.0)) == -np.inf


def test_a_singular_estimate_that_rounding_made_slightly_negative_is_a_parameter(make_model):
    """A correlation of one, a few roundings too large, has the likelihood of a correlation of one."""
    likelihood = Likelihood(design_of(make_model, "y ~ x + (x | g)"), True)
    exact = np.array([[4.0, 2.0], [2.0, 1.0]])
    rounded = exact - 1e-13 * np.eye(2)
    found, expected = (likelihood.loglik(Parameters(np.array([50.0, 3.0]), (each,), 1.0)) for each in (rounded, exact))
    assert found == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_an_optimum_on_the_boundary_is_the_linear_models(method):
    """Where the best variance is zero (lme4's Dyestuff2), the optimum is that of ordinary least squares."""
    model = models.get("dyestuff2-random_intercept", method)
    found = Likelihood(model.design, model.reml).optimum()
    y = model.frame["Yield"].to_numpy()
    n, rss = len(y), float(((y - y.mean()) ** 2).sum())
    nu = n - 1 if method == "REML" else n
    expected = -0.5 * (nu * (1 + np.log(2 * np.pi * rss / nu)) + (np.log(n) if method == "REML" else 0.0))
    assert found.loglik == pytest.approx(expected, rel=1e-12)
    estimates = found.estimates.set_index("term")["estimate"]
    assert estimates["var__(Intercept)"] == pytest.approx(0.0, abs=1e-8)
    assert estimates["var__Observation"] == pytest.approx(rss / nu, rel=1e-9)


@pytest.mark.filterwarnings("error")
def test_where_the_criterion_is_flat_the_search_ends_at_once(make_model):
    """With one row a group, two variances cannot be told apart: any theta is an optimum."""
    frame = SMALL.assign(row=pd.Categorical([f"r{i}" for i in range(len(SMALL))]))
    likelihood = Likelihood(design_of(make_model, "y ~ x + (1 | row)", frame), True)
    found = likelihood.optimum()
    assert found.loglik == pytest.approx(-likelihood.criterion(np.array([0.3])) / 2, rel=1e-12)


def test_no_start_that_leads_anywhere_is_an_error(make_model):
    """Starts at infinity lead nowhere, and that is said."""
    likelihood = Likelihood(design_of(make_model), True)
    with pytest.raises(LikelihoodError, match="no optimum was found"):
        likelihood.optimum([np.array([np.inf]), np.array([np.nan])])
    assert np.isfinite(likelihood.optimum([np.array([np.inf]), np.array([1.0])]).loglik)
