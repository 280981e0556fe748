"""Proofs of the global optimum: what is proved is so, what is not so is refused, and every bound holds where tried."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from flint import arb, ctx

from concord.likelihood.certificate import CertificateError, certify
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.proof import stationary
from concord.proof.global_proof import BetterOptimumError, prove_model
from concord.proof.surface import limit
from concord.reference import reference
from support.paths import CASES
from support.proofs import committed, crossed, design_of, exact_of

METHODS = [pytest.param(True, id="REML"), pytest.param(False, id="ML")]


def certified(design, reml: bool, start: list[float]):
    """The design as it is certified from a start near an optimum, and theta proved to be a local one."""
    found = Likelihood(design, reml)
    factors, entries = [], iter(start)
    for term in design.terms:
        factor = np.zeros((len(term.names), len(term.names)))
        for column in range(len(term.names)):
            factor[column:, column] = [next(entries) for _ in range(column, len(term.names))]
        factors.append(factor @ factor.T)
    optimum = found.optimum([found.theta_of(factors)])
    ordered, _, theta = reference.factored(design, optimum.parameters)
    return ordered, certify(ordered, reml, theta)


def deviance(theta: float, design, reml: bool) -> float:
    """The criterion of one random intercept by dense matrices, with nothing shared but the formula in the textbook."""
    Z = (design.terms[0].codes[:, None] == np.unique(design.terms[0].codes)).astype(float)
    n, p = design.X.shape
    V = np.eye(n) + theta**2 * Z @ Z.T
    inverse = np.linalg.inv(V)
    normal = design.X.T @ inverse @ design.X
    beta = np.linalg.solve(normal, design.X.T @ inverse @ design.y)
    residual = design.y - design.X @ beta
    nu = n - p if reml else n
    value = np.linalg.slogdet(V)[1] + nu * (1 + math.log(2 * math.pi * (residual @ inverse @ residual) / nu))
    return value + (np.linalg.slogdet(normal)[1] if reml else 0)


# ---- one variance: every stationary point ---------------------------------------------------------------------------


def _one() -> list[models.Model]:
    return [each for each in models.every() if sum(len(t.names) for t in each.design.terms) == 1]


def test_every_model_of_the_catalogue_with_one_variance_has_its_global_optimum_proved():
    """Thirteen models by both methods: one stationary point each, where the record says, and none beside it."""
    chosen = _one()
    assert len(chosen) == 26
    for model in chosen:
        design, theta = committed(model)
        proof = prove_model(design, model.reml, theta)
        assert proof.stationary == 1 and len(proof.optima) == 1, model
        assert proof.optima[0][0][0] == pytest.approx(float(theta[0]), rel=1e-15)
        assert 3 < proof.boxes < 100 and "[0, infinity)" in proof.method


@pytest.mark.parametrize(("reml", "best", "at"), [(True, 0.7945, 122), (False, 1.4640, 117)])
def test_of_two_optima_the_lower_one_is_refused_and_both_are_enclosed(reml, best, at):
    """Where both engines stop, 12.43 and 8.74 below the optimum, the proof names the better one."""
    design = design_of("y ~ x + (1 | g)", pd.read_csv(CASES / "two_modes_24rows.csv"))
    with pytest.raises(BetterOptimumError, match="a better optimum was found: logLik") as refused:
        prove_model(design, reml, [arb(0)])
    theta, loglik = refused.value.theta[0], refused.value.loglik
    assert loglik == pytest.approx(best, abs=1e-4) and theta == pytest.approx(at, abs=1)
    _, found = certified(design, reml, [theta])
    proof = prove_model(design, reml, found.theta)
    assert [each for (each,), _ in proof.optima] == [pytest.approx(theta), 0] and proof.stationary == 3
    # A program of its own: values at the two, and as many turns over twelve decades.
    for (each,), level in proof.optima:
        assert -deviance(each, design, reml) / 2 == pytest.approx(level, abs=1e-7)
    values = [deviance(t, design, reml) for t in np.logspace(-4, 5, 600)]
    turns = np.diff(np.sign(np.diff(values)))
    assert np.count_nonzero(turns) == 2  # the one at zero is no turn


def test_an_optimum_at_a_large_ratio_is_proved():
    """Variances of 9999.49995 and 0.00015 by the analysis of variance."""
    design = design_of("mass ~ 1 + (1 | item)", pd.read_csv(CASES / "balance_6rows.csv"))
    theta = math.sqrt(9999.49995 / 0.00015)
    proof = prove_model(design, True, [theta])
    assert proof.optima[0][0][0] == pytest.approx(theta, rel=1e-6) and proof.stationary == 1
    assert proof.optima[0][1] == pytest.approx(-4.686697, abs=1e-6)


def test_a_point_that_is_no_optimum_is_refused_with_those_there_are():
    """It is neither the optimum nor near one."""
    design = design_of("y ~ x + (1 | g)", pd.read_csv(CASES / "two_modes_24rows.csv"))
    for theta in (0.5, 120.0, 1e6):
        with pytest.raises(CertificateError, match=r"is not an optimum; they lie at theta = 121\.74\d*, 0"):
            prove_model(design, True, [theta])


@pytest.mark.parametrize("reml", METHODS)
def test_the_bounds_of_the_derivatives_hold_between_two_points(reml):
    """Wherever it is tried: the slope is not zero where that is proved, and monotone where that is."""
    design = design_of("y ~ x + (1 | g)", pd.read_csv(CASES / "two_modes_24rows.csv"))
    exact, rng, proved = exact_of(design, reml), np.random.default_rng(3), {"none": 0, "one": 0}
    kept, ctx.prec = ctx.prec, 160
    try:
        line, last = stationary.Line(exact), limit(exact)
        for _ in range(150):
            a = math.exp(rng.uniform(-7, 12))
            low, high = line.at(arb(a)), line.at(arb(a * math.exp(rng.exponential(0.4))))
            inside = [line.at(low.gamma + (high.gamma - low.gamma) * arb(share)) for share in rng.uniform(size=6)]
            slopes = [float(each.slope.mid()) for each in (low, *inside, high)]
            if stationary._none_between(low, high):
                proved["none"] += 1
                assert len(set(np.sign(slopes))) == 1
            if stationary._monotone(low, high):
                proved["one"] += 1
                places = np.argsort([float(each.gamma.mid()) for each in (low, *inside, high)])
                assert len(set(np.sign(np.diff(np.array(slopes)[places])))) == 1
            if stationary._none_beyond(low, last):
                assert all(line.at(low.gamma * arb(each)).slope > 0 for each in (1, 3, 1e3, 1e9))
        assert min(proved.values()) > 20
        # The slopes themselves, by differences of the dense criterion.
        for gamma in (0.01, 3.0, 2000.0):
            h = gamma * 1e-4
            ahead, behind = (deviance(math.sqrt(each), design, reml) for each in (gamma + h, gamma - h))
            here = line.at(arb(gamma))
            assert float(here.slope.mid()) == pytest.approx((ahead - behind) / (2 * h), rel=1e-4, abs=1e-8)
            bend = here.bend + here.nu * (here.turn / here.rss - (here.fall / here.rss) ** 2)
            ahead, behind = (line.at(arb(each)).slope for each in (gamma + h, gamma - h))
            assert float(bend.mid()) == pytest.approx(float((ahead - behind).mid()) / (2 * h), rel=1e-5)
    finally:
        ctx.prec = kept


# ---- several parameters --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "method"),
    [
        ("pastes-nested", "REML"),
        ("sitka-uncorrelated", "ML"),
        ("oats-split_plot", "ML"),
        ("sitka-random_slope", "REML"),
        ("orthodont-interaction", "ML"),
    ],
)
def test_models_with_two_and_three_parameters_are_proved(id, method):
    """Over the whole space of their covariances no point is better than the record."""
    model = models.get(id, method)
    design, theta = committed(model)
    proof = prove_model(design, model.reml, theta)
    assert 200 < proof.boxes < 20000 and proof.stationary is None and "convex around the optimum" in proof.method
    assert [float(each) for each in theta] == list(proof.optima[0][0])


def growing() -> pd.DataFrame:
    """The same of six groups in which each has a slope of its own."""
    rng = np.random.default_rng(0)
    g, t = np.repeat(np.arange(6), 5), np.tile(np.arange(5.0), 6)
    x = np.round(g + rng.normal(0, 0.4, 30), 1)
    y = np.round(2 * x - 4 * g + rng.normal(0, 1, 6)[g] * (t - 2) + rng.normal(0, 0.5, 30), 1)
    return pd.DataFrame({"y": y, "x": x, "t": t, "g": g.astype(str)})


PLANTED = [
    pytest.param(crossed(), "y ~ x + (1 | g) + (1 | h)", True, [13.2, 0.5], [0.19, 0.3], id="crossed"),
    pytest.param(crossed(0), "y ~ x + (1 | g) + (1 | h)", False, [0.47, 0.6], [5.9, 1.2], id="crossed-the-smaller"),
    pytest.param(crossed(), "y ~ x + (1 | g/k)", True, [1.1, 15.4], [1.25, 0.0], id="nested"),
    pytest.param(growing(), "y ~ x + t + (t || g)", True, [17, 1], [0, 0.2], id="uncorrelated"),
    pytest.param(growing(), "y ~ x + t + (t | g)", True, [16, -1, 0.5], [0.5, -0.5, 0.1], id="correlated"),
]


@pytest.mark.parametrize(("table", "formula", "reml", "high", "low"), PLANTED)
def test_of_two_planted_optima_the_lower_is_refused_and_the_higher_proved(table, formula, reml, high, low):
    """Both are certified as local optima, and only one of them is proved to be the best."""
    design = design_of(formula, table)
    best, lower = certified(design, reml, high), certified(design, reml, low)
    assert float(best[1].loglik) > float(lower[1].loglik) + 0.5
    with pytest.raises(BetterOptimumError) as refused:
        prove_model(lower[0], reml, lower[1].theta)
    assert refused.value.loglik == pytest.approx(float(best[1].loglik), abs=1e-6)
    proof = prove_model(best[0], reml, best[1].theta)
    assert proof.optima[0][1] == pytest.approx(float(best[1].loglik), abs=1e-9)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_a_balanced_design_has_its_optimum_proved_in_closed_form(method):
    """Three effects and six parameters; a point beside the optimum, or a row less, and nothing is proved."""
    model = models.get("machines-unstructured", method)
    design, theta = committed(model)
    proof = prove_model(design, model.reml, theta)
    assert proof.boxes == 0 and "balanced" in proof.method
    # The closed form itself: the covariance matrix of the workers' means, less what the residuals add to it.
    frame = model.frame.assign(cell=model.design.X @ [1, 10, 100])
    means = frame.pivot_table(index="Worker", columns="cell", values="score", aggfunc="mean").to_numpy()
    within = frame["score"] - frame.groupby(["Worker", "cell"], observed=True)["score"].transform("mean")
    variance = (within**2).sum() / (len(frame) - means.size)
    J = len(means)
    relative = np.cov(means.T) * ((J - 1) / (J - model.reml)) / variance - np.eye(3) / 3
    factor, entries = np.zeros((3, 3)), iter(float(each) for each in theta)
    for column in range(3):
        factor[column:, column] = [next(entries) for _ in range(column, 3)]
    rows = np.unique(design.terms[0].matrix, axis=0)  # one for each machine
    levels = rows @ factor @ factor.T @ rows.T
    assert np.sort(np.linalg.eigvalsh(levels)) == pytest.approx(np.sort(np.linalg.eigvalsh(relative)), rel=1e-8)
    with pytest.raises(CertificateError, match="more than two correlated effects are not covered"):
        prove_model(design, model.reml, [*theta[:-1], theta[-1] * arb(1.001)])
    less = model.dataset.frame.iloc[1:]
    fewer = design_of(model.record.formula, less)
    with pytest.raises(CertificateError, match="more than two correlated effects are not covered"):
        prove_model(fewer, model.reml, theta)


def test_a_point_that_is_not_stationary_is_refused():
    """Not far below the optimum, and no optimum: nothing is proved of it."""
    model = models.get("pastes-nested", "REML")
    with pytest.raises(CertificateError, match="not a stationary point"):
        prove_model(model.design, True, [3.5, 1.5])


def test_it_is_given_up_after_the_time_that_it_is_given():
    """What is left is said; and three correlated effects are not tried."""
    design, theta = committed(models.get("sleepstudy-random_slope", "REML"))
    with pytest.raises(CertificateError, match=r"gave up after 0 s with \d+ boxes left"):
        prove_model(design, True, theta, seconds=0.2)
    design, theta = committed(models.get("cake-split_plot", "REML"))
    with pytest.raises(CertificateError, match=r"gave up after 0 s with \d boxes left"):
        prove_model(design, True, theta, seconds=0.0)


def test_a_criterion_without_a_limit_is_refused():
    """Each row is a group of its own in one of the terms: as it grows it may reproduce the response."""
    table = crossed()
    table["row"] = [str(k) for k in range(len(table))]
    table.loc[len(table)] = table.loc[0]
    design = design_of("y ~ x + (1 | row)", table.head(30))
    with pytest.raises(CertificateError, match="reproduce the response"):
        prove_model(design, True, [1.0])


@pytest.mark.parametrize("reml", METHODS)
@pytest.mark.parametrize(
    "formula", ["y ~ x + (1 | g)", "y ~ x + (1 | g) + (1 | h)", "y ~ t + (t | g)", "y ~ 0 + (1 | g)"]
)
def test_the_limit_is_the_residual_sum_of_squares_with_all_effects_fixed(formula, reml):
    """As the least-squares fit with a column for every random effect has it, whatever depends on what."""
    table = crossed().assign(t=np.tile(np.arange(6.0), 5))
    design = design_of(formula, table)
    columns = [design.X]
    for term in design.terms:
        indicators = (term.codes[:, None] == np.unique(term.codes)).astype(float)
        columns += [indicators * term.matrix[:, [k]] for k in range(term.matrix.shape[1])]
    whole = np.column_stack(columns)
    residuals = design.y - whole @ np.linalg.lstsq(whole, design.y, rcond=None)[0]
    assert float(limit(exact_of(design, reml))) == pytest.approx(residuals @ residuals, rel=1e-9)
