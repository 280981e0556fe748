"""The observed information: closed forms, 40 digits, MixedLM's Hessian, lme4's and nlme's standard errors."""

from __future__ import annotations

import warnings
from dataclasses import replace

import mpmath
import numpy as np
import pandas as pd
import pytest

from concord import r, vocabulary
from concord.engines.engine import engines
from concord.inference import information
from concord.inference.information import InformationError
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.models import model as models
from concord.models.parameters import Parameters
from support.estimates import changed

rng = np.random.default_rng(20261122)
# Unbalanced: only there do the two standard errors of a fixed effect differ.
SMALL = pd.DataFrame({"g": pd.Categorical(list("aaaabbbbbcccdddddeefff")), "x": [float(i * i % 7) for i in range(22)]})
SMALL["y"] = 50 + 3 * SMALL["x"] + (np.array([9, -7, 3, 5, -8, -2]) + 0.0)[SMALL["g"].cat.codes]
SMALL["y"] += np.array([1.5, -1, 0.5, -2, 2, 0])[SMALL["g"].cat.codes] * SMALL["x"] + rng.normal(size=22).round(2)


def at_optimum(model):
    likelihood = Likelihood(model.design, model.reml)
    optimum = likelihood.optimum()
    return likelihood, optimum, information.observed(likelihood, optimum.parameters)


@pytest.mark.parametrize("method", vocabulary.METHODS)
def test_a_balanced_one_way_layout_has_the_information_of_its_closed_form(method):
    """At the optimum and beside it: -2 log L = a (k - 1) log s + W / s + f log t + (B + a k (mean - m)^2) / t, where
    s = sigma^2, t = sigma^2 + k sigma_b^2, and f = a under ML, a - 1 under REML.
    """
    model = models.get("dyestuff-random_intercept", method)
    likelihood, optimum, _ = at_optimum(model)
    groups = model.frame.groupby("Batch", observed=True)["Yield"]
    a, k, mean = 6, 5, model.frame["Yield"].mean()
    between = float((k * (groups.mean() - mean) ** 2).sum())
    within = float(((model.frame["Yield"] - groups.transform("mean")) ** 2).sum())
    degrees = a - 1 if method == "REML" else a
    for m, variance, s in (
        (optimum.fixed[0], optimum.covariances[0][0, 0], optimum.residual_variance),
        (1520, 1500, 2400),
    ):
        t = s + k * variance
        total = between + a * k * (mean - m) ** 2
        inner, outer = 2 * within / s**3 - a * (k - 1) / s**2, 2 * total / t**3 - degrees / t**2
        across = 2 * a * k * (mean - m) / t**2
        expected = 0.5 * np.array(
            [
                [2 * a * k / t, k * across, across],
                [k * across, k * k * outer, k * outer],
                [across, k * outer, inner + outer],
            ]
        )
        found = information.observed(likelihood, Parameters(np.array([m]), (np.array([[variance]]),), s))
        np.testing.assert_allclose(found.matrix, expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.covariance, np.linalg.inv(expected), rtol=1e-9, atol=1e-9)


def dense_loglik(columns, covariance, residual_variance, fixed, reml):
    """The log density of SMALL's y in mpmath's numbers, group by group."""
    X = np.column_stack([np.ones(len(SMALL)), SMALL["x"]])
    value, cross = mpmath.mpf(0), mpmath.zeros(2)
    for code in range(6):
        rows = np.flatnonzero(SMALL["g"].cat.codes == code)
        Z, A = mpmath.matrix(columns[rows].tolist()), mpmath.matrix(X[rows].tolist())
        V = Z * covariance * Z.T + mpmath.eye(len(rows)) * residual_variance
        left = mpmath.matrix(SMALL["y"].to_numpy()[rows].tolist()) - A * fixed
        inverse = V**-1
        value += mpmath.log(mpmath.det(V)) + (left.T * inverse * left)[0]
        cross += A.T * inverse * A
    nu = len(SMALL) - 2 * reml
    return -(value + nu * mpmath.log(2 * mpmath.pi) + (mpmath.log(mpmath.det(cross)) if reml else 0)) / 2


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (1 + x | g)"])
def test_the_information_is_the_dense_densitys_in_forty_digits(formula, reml, make_model):
    """Beside the optimum, where slopes do not vanish, differences of the normal density are its negative Hessian."""
    likelihood = Likelihood(make_model(SMALL, formula, "REML" if reml else "ML").design, reml)
    optimum = likelihood.optimum()
    columns = likelihood.design.terms[0].matrix
    q = columns.shape[1]
    tidied = [(i, i) for i in range(q)] + [(i, j) for j in range(q) for i in range(j)]
    covariance = 1.05 * optimum.covariances[0]
    point = [
        *(optimum.fixed + [0.1, -0.05]),
        *(covariance[place] for place in tidied),
        0.97 * optimum.residual_variance,
    ]
    with mpmath.workdps(40):

        def value(*moved):
            full = mpmath.matrix(q)
            for (i, j), entry in zip(tidied, moved[2:-1], strict=True):
                full[i, j] = full[j, i] = entry
            return dense_loglik(columns, full, moved[-1], mpmath.matrix(moved[:2]), reml)

        h, k = mpmath.mpf("1e-9"), len(point)
        given = [mpmath.mpf(float(each)) for each in point]

        def second(a, b):
            def at(s, t):
                return value(*(each + h * (s * (i == a) + t * (i == b)) for i, each in enumerate(given)))

            return (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / (4 * h * h)

        expected = np.array([[float(-second(min(a, b), max(a, b))) for b in range(k)] for a in range(k)])
    found = information.observed(likelihood, Parameters(np.array(point[:2]), (covariance,), point[-1]))
    scale = np.sqrt(np.abs(np.outer(np.diag(expected), np.diag(expected))))
    np.testing.assert_allclose(found.matrix / scale, expected / scale, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found.covariance @ found.matrix, np.eye(k), atol=1e-9)
    assert list(found.estimates["estimate"]) == pytest.approx(point)


# ---- MixedLM -------------------------------------------------------------------------------------------------------

BY_MIXEDLM = ["dietox-random_intercept", "dietox-random_slope", "sitka-random_intercept", "sleepstudy-random_slope"]


def from_ratios(found, of_ratios: np.ndarray, scale: float, nu: float) -> np.ndarray:
    """The covariance matrix of variances and covariances from that of MixedLM's ratios to the residual variance, the
    block of its ``cov_params()`` after the fixed effects.
    """
    p, ratios = len(found.conditional), found.ratios["ratio"].to_numpy()
    # Derivatives of the profiled residual variance: the Schur complement over the fixed effects, in (Psi, sigma^2).
    jacobian = scale * np.eye(len(ratios) + 1)
    jacobian[:, -1] = [*ratios, 1.0]
    both = jacobian.T @ np.linalg.inv(found.covariance[p:, p:]) @ jacobian
    moved = scale * np.eye(len(ratios)) + np.outer(ratios, -both[-1, :-1] / both[-1, -1])
    return moved @ of_ratios @ moved.T + 2 * scale**2 / nu * np.outer(ratios, ratios)


@pytest.mark.parametrize("method", vocabulary.METHODS)
@pytest.mark.parametrize("id", BY_MIXEDLM)
def test_mixedlms_standard_errors_are_the_joint_ones_and_those_of_its_ratios(id, method, fits):
    """At MixedLM's own estimates: its fixed effects', joint; what it prints for variances, `printed`; and by the
    converting formula its whole Hessian gives our covariance matrix of the variances.
    """
    fit = fits(id, method, "statsmodels", "tuned")
    likelihood = Likelihood(fit.model.design, fit.model.reml)
    found = information.observed(likelihood, fit.parameters)
    np.testing.assert_allclose(found.joint, fit.joint_std_error, rtol=1e-7)
    q = len(fit.covariances[0])
    # MixedLM has the lower triangle row by row; in X's own coding the columns of these models are in our order.
    places = [(i, i) for i in range(q)] + [(i, j) for j in range(q) for i in range(j)]
    rows = [(i, j) for i in range(q) for j in range(i + 1)]
    order = [rows.index((max(place), min(place))) for place in places]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        printed = np.asarray(fit.native.bse_re)[order]
    table = found.ratios
    np.testing.assert_allclose(table["printed"], printed, rtol=1e-6)
    of_ratios = np.asarray(fit.native.cov_params())[likelihood.p :, likelihood.p :][np.ix_(order, order)]
    made = from_ratios(found, of_ratios, fit.residual_variance, likelihood.nu)
    expected = found.covariance[likelihood.p : -1, likelihood.p : -1]
    sizes = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(made / sizes, expected / sizes, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(made)), table["std_error"], rtol=1e-6)
    together = table["in_unit"] ** 2 + table["from_covariance"] + table["from_residual"]
    np.testing.assert_allclose(together, table["std_error"] ** 2, rtol=1e-9)


def test_what_is_printed_beside_the_pigs_variance_is_a_third_of_its_standard_error():
    """2.149 is printed; the unit of the ratio makes it 7.245, and the residual variance, estimated too, 6.939."""
    _, optimum, found = at_optimum(models.get("dietox-random_intercept"))
    (row,) = found.ratios.itertuples()
    assert (row.printed, row.in_unit, row.std_error) == pytest.approx((2.149, 7.245, 6.939), abs=6e-4)
    assert row.in_unit / row.printed == pytest.approx(np.sqrt(optimum.residual_variance), rel=1e-12)
    assert row.from_covariance < 0 < row.from_residual and row.factor == pytest.approx(3.229, abs=6e-4)


@pytest.mark.parametrize("method", vocabulary.METHODS)
def test_joint_and_conditional_standard_errors_differ_where_the_design_is_unbalanced(method, make_model):
    """MixedLM's Hessian agrees with the joint ones, lme4 with the conditional ones, on a table where they are apart."""
    model = make_model(SMALL, "y ~ x + (1 | g)", method)
    by = {name: engines()[name].fit(model, "tuned") for name in ("statsmodels", "lme4")}
    _, _, found = at_optimum(model)
    np.testing.assert_allclose(found.joint, by["statsmodels"].joint_std_error, rtol=1e-5)
    np.testing.assert_allclose(found.conditional, by["lme4"].std_error, rtol=1e-5)
    table = found.fixed
    assert list(table["term"]) == ["(Intercept)", "x"] and (table["ratio"] >= 1).all()
    assert table["ratio"].max() > 1.00005
    np.testing.assert_allclose(table["joint"] / table["conditional"], table["ratio"])


@pytest.mark.parametrize("id", ["sleepstudy-random_slope", "penicillin-crossed"])
def test_conditional_standard_errors_are_lme4s(id, numbers):
    """At lme4's estimates its own standard errors are ours to 7 digits."""
    fit = numbers(id, "REML", "lme4", "tuned")
    likelihood = Likelihood(fit.model.design, True)
    found = information.observed(likelihood, fit.parameters)
    np.testing.assert_allclose(found.conditional, fit.std_error, rtol=1e-7)


# ---- nlme ----------------------------------------------------------------------------------------------------------

# With the steps that nlme takes by itself (minAbsParApVar 0.05) differences of its log-likelihood lose two digits: a
# correlation's standard error comes out as 0.737 for 0.653.
NLME = """function(fixed, random, data, method) {
  control <- nlme::lmeControl(.relStep = 1e-4, minAbsParApVar = 1, tolerance = 1e-12, msTol = 1e-14)
  fit <- nlme::lme(as.formula(fixed), data, as.formula(random), method = method, control = control)
  sqrt(diag(fit$apVar))
}"""


@pytest.mark.parametrize("method", vocabulary.METHODS)
@pytest.mark.parametrize(
    ("id", "fixed", "random"),
    [
        ("dietox-random_intercept", "Weight ~ Time", "~ 1 | Pig"),
        ("sleepstudy-random_slope", "Reaction ~ Days", "~ Days | Subject"),
    ],
)
def test_nlmes_approximate_variances_are_the_information_on_its_scale(id, fixed, random, method):
    """nlme differences the log-likelihood in log standard deviations and log((1 + r) / (1 - r)): 3 digits agree."""
    model = models.get(id, method)
    r.package("nlme")
    function = r.call("eval", r.call("parse", text=NLME)[0])
    theirs = r.from_r(r.call(function, fixed, random, model.frame, method))
    ours = at_optimum(model)[2].components("log-sd")["std_error"]
    np.testing.assert_allclose(theirs, ours, rtol=1e-3)


# ---- scales --------------------------------------------------------------------------------------------------------


def test_scales_are_one_another_by_the_delta_method():
    """Estimates are transformed; standard errors follow by differences of the transformation itself."""
    _, optimum, found = at_optimum(models.get("machines-unstructured"))
    names = [f"{a}.{b}" for b in range(3) for a in range(b)]

    def transform(values, scale):
        variances, covariances, residual = values[:3], values[3:6], values[6]
        pairs = [tuple(map(int, name.split("."))) for name in names]
        correlations = [c / np.sqrt(variances[i] * variances[j]) for c, (i, j) in zip(covariances, pairs, strict=True)]
        deviations = np.sqrt([*variances, residual])
        if scale == "log-sd":
            deviations, correlations = np.log(deviations), [np.log((1 + c) / (1 - c)) for c in correlations]
        return np.array([*deviations[:3], *correlations, deviations[3]])

    values = found.components()["estimate"].to_numpy()
    spread = found.covariance[3:, 3:]
    assert list(found.components()["std_error"]) == pytest.approx(np.sqrt(np.diag(spread)))
    for scale in ("sd", "log-sd"):
        table = found.components(scale)
        np.testing.assert_allclose(table["estimate"], transform(values, scale), rtol=1e-12)
        steps = 1e-5 * np.diag(np.abs(values))
        jacobian = np.column_stack(
            [(transform(values + h, scale) - transform(values - h, scale)) / (2 * h.max()) for h in steps]
        )
        expected = np.sqrt(np.diag(jacobian @ spread @ jacobian.T))
        np.testing.assert_allclose(table["std_error"], expected, rtol=1e-7)
    assert list(found.components("sd")["term"])[2:5] == [
        "sd__MachineC",
        "cor__MachineA.MachineB",
        "cor__MachineA.MachineC",
    ]
    with pytest.raises(InformationError, match="one of variance, sd, log-sd"):
        found.components("log")


def test_names_with_dots_and_covariances_of_zero_are_no_trouble(make_model):
    """An effect called x.1 is told from the dot between two effects; a correlation of zero has a standard error."""
    frame = SMALL.rename(columns={"x": "x.1"})
    likelihood = Likelihood(make_model(frame, "y ~ x.1 + (1 + x.1 | g)").design, True)
    optimum = likelihood.optimum()
    found = information.observed(likelihood, optimum.parameters)
    assert list(found.components("sd")["term"])[:3] == ["sd__(Intercept)", "sd__x.1", "cor__(Intercept).x.1"]
    design = models.get("sleepstudy-random_slope").design
    likelihood = Likelihood(design, True)
    covariance = np.diag(np.diag(likelihood.optimum().covariances[0]))
    at = Parameters(likelihood.optimum().fixed, (covariance,), 650.0)
    found = information.observed(likelihood, at)
    table = found.components("sd").set_index("term")
    spread = found.components().set_index("term")["std_error"]["cov__(Intercept).Days"]
    correlation = table.loc["cor__(Intercept).Days"]
    assert correlation["estimate"] == 0.0
    assert correlation["std_error"] == pytest.approx(spread / np.sqrt(np.prod(np.diag(covariance))), rel=1e-9)


def test_a_sparse_block_has_the_dense_ones_information(monkeypatch):
    """Crossed factors through the sparse Cholesky give it to the digits of central differences."""
    model = models.get("penicillin-crossed")
    dense = at_optimum(model)[2].covariance
    monkeypatch.setattr("concord.likelihood.blocks.LARGE", 1)
    likelihood, _, found = at_optimum(model)
    assert not likelihood.dense
    np.testing.assert_allclose(found.covariance, dense, rtol=1e-6, atol=1e-8)


# ---- where there are none ------------------------------------------------------------------------------------------


def test_on_the_boundary_there_are_no_wald_standard_errors():
    """A variance of zero and a correlation of one are told by their term."""
    likelihood = Likelihood(models.get("dyestuff2-random_intercept").design, True)
    with pytest.raises(InformationError, match=r"\(\(Intercept\) \| Batch\) is singular.*Wald standard errors are"):
        information.observed(likelihood, likelihood.optimum().parameters)
    likelihood = Likelihood(models.get("sleepstudy-random_slope").design, True)
    optimum = likelihood.optimum()
    singular = np.array([[400.0, 80.0], [80.0, 16.0]])
    with pytest.raises(InformationError, match=r"\(\(Intercept\), Days \| Subject\) is singular"):
        information.observed(likelihood, changed(optimum, covariances=(singular,)).parameters)
    with pytest.raises(LikelihoodError, match="not a covariance matrix"):
        information.observed(likelihood, changed(optimum, covariances=(-singular,)).parameters)


def test_far_from_an_optimum_there_is_no_information():
    """Where the log-likelihood bends up, nothing is invented."""
    likelihood = Likelihood(models.get("sleepstudy-random_slope").design, True)
    optimum = likelihood.optimum()
    with pytest.raises(InformationError, match="not near an optimum"):
        information.observed(likelihood, changed(optimum, residual_variance=9 * optimum.residual_variance).parameters)


def test_another_unit_of_the_response_multiplies_standard_errors():
    """y times 1000: fixed effects' by 1000, variances' by a million; the ratio of both definitions stays."""
    design = models.get("sleepstudy-random_slope").design
    plain = Likelihood(design, True)
    large = Likelihood(replace(design, y=1000 * design.y), True)
    before, after = (information.observed(each, each.optimum().parameters) for each in (plain, large))
    np.testing.assert_allclose(after.joint, 1e3 * before.joint, rtol=1e-7)
    np.testing.assert_allclose(after.components()["std_error"], 1e6 * before.components()["std_error"], rtol=1e-6)
