"""Proofs of the global optimum: what is proved is so, what is not so is refused, and every bound holds where tried."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from flint import arb, arb_mat, ctx
from scipy import optimize

from concord.likelihood.certificate import CertificateError, Exact, certify
from concord.likelihood.likelihood import Likelihood
from concord.models import formula as formulas
from concord.models import matrices
from concord.models import model as models
from concord.models.design import Design
from concord.proof import covering, stationary
from concord.proof.convexity import curvature
from concord.proof.covering import _Cover
from concord.proof.global_proof import BetterOptimumError, of
from concord.proof.regions import Interval, Shell, regions
from concord.proof.surface import Surface, limit
from concord.reference import record as record_file
from concord.reference import reference
from support.paths import CASES

METHODS = [pytest.param(True, id="REML"), pytest.param(False, id="ML")]


def design_of(formula: str, table: pd.DataFrame):
    return matrices.design(formulas.parse(formula), table)


def exact_of(design, reml: bool) -> Exact:
    kept, ctx.prec = ctx.prec, 400
    try:
        return Exact(design, reml)
    finally:
        ctx.prec = kept


def committed(model: models.Model) -> tuple[Design, list[arb]]:
    """The design with its effects in the record's order, and the record's theta."""
    record = json.loads(record_file.path(model.dataset).read_text(encoding="utf-8"))[model.name][model.method]
    kept, ctx.prec = ctx.prec, 200
    try:
        return model.design, [arb(each).mid() for each in record["theta"]]
    finally:
        ctx.prec = kept


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
        proof = of(design, model.reml, theta)
        assert proof.stationary == 1 and len(proof.optima) == 1, model
        assert proof.optima[0][0][0] == pytest.approx(float(theta[0]), rel=1e-15)
        assert 3 < proof.boxes < 100 and "[0, infinity)" in proof.method


@pytest.mark.parametrize(("reml", "best", "at"), [(True, 0.7945, 122), (False, 1.4640, 117)])
def test_of_two_optima_the_lower_one_is_refused_and_both_are_enclosed(reml, best, at):
    """Where both engines stop, 12.43 and 8.74 below the optimum, the proof names the better one."""
    design = design_of("y ~ x + (1 | g)", pd.read_csv(CASES / "two_modes_24rows.csv"))
    with pytest.raises(BetterOptimumError, match="a better optimum was found: logLik") as refused:
        of(design, reml, [arb(0)])
    theta, loglik = refused.value.theta[0], refused.value.loglik
    assert loglik == pytest.approx(best, abs=1e-4) and theta == pytest.approx(at, abs=1)
    _, found = certified(design, reml, [theta])
    proof = of(design, reml, found.theta)
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
    proof = of(design, True, [theta])
    assert proof.optima[0][0][0] == pytest.approx(theta, rel=1e-6) and proof.stationary == 1
    assert proof.optima[0][1] == pytest.approx(-4.686697, abs=1e-6)


def test_a_point_that_is_no_optimum_is_refused_with_those_there_are():
    """It is neither the optimum nor near one."""
    design = design_of("y ~ x + (1 | g)", pd.read_csv(CASES / "two_modes_24rows.csv"))
    for theta in (0.5, 120.0, 1e6):
        with pytest.raises(CertificateError, match=r"is no optimum; they lie at theta = 121\.74\d*, 0"):
            of(design, True, [theta])


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
    proof = of(design, model.reml, theta)
    assert 200 < proof.boxes < 20000 and proof.stationary is None and "convex around the optimum" in proof.method
    assert [float(each) for each in theta] == list(proof.optima[0][0])


def crossed(seed: int = 1) -> pd.DataFrame:
    """Thirty rows in which x tells little beside five groups: an optimum with and one without their variance."""
    rng = np.random.default_rng(seed)
    g, h, k = np.repeat(np.arange(5), 6), np.tile(np.arange(6), 5), np.arange(30) // 2
    x = np.round(g + rng.normal(0, 0.3, 30), 1)
    errors = rng.normal(0, 0.5, 30) + rng.normal(0, 1, 6)[h] + rng.normal(0, 0.5, 15)[k]
    y = np.round(2 * x - 6 * g + errors, 1)
    return pd.DataFrame({"y": y, "x": x, "g": g.astype(str), "h": h.astype(str), "k": k.astype(str)})


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
        of(lower[0], reml, lower[1].theta)
    assert refused.value.loglik == pytest.approx(float(best[1].loglik), abs=1e-6)
    proof = of(best[0], reml, best[1].theta)
    assert proof.optima[0][1] == pytest.approx(float(best[1].loglik), abs=1e-9)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_a_balanced_design_has_its_optimum_proved_in_closed_form(method):
    """Three effects and six parameters; a point beside the optimum, or a row less, and nothing is proved."""
    model = models.get("machines-unstructured", method)
    design, theta = committed(model)
    proof = of(design, model.reml, theta)
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
        of(design, model.reml, [*theta[:-1], theta[-1] * arb(1.001)])
    less = model.dataset.frame.iloc[1:]
    fewer = design_of(model.record.formula, less)
    with pytest.raises(CertificateError, match="more than two correlated effects are not covered"):
        of(fewer, model.reml, theta)


def test_a_point_that_is_not_stationary_is_refused():
    """Not far below the optimum, and no optimum: nothing is proved of it."""
    model = models.get("pastes-nested", "REML")
    with pytest.raises(CertificateError, match="no stationary point"):
        of(model.design, True, [3.5, 1.5])


def test_it_is_given_up_after_the_time_that_it_is_given():
    """What is left is said; and three correlated effects are not tried."""
    design, theta = committed(models.get("sleepstudy-random_slope", "REML"))
    with pytest.raises(CertificateError, match=r"gave up after 0 s with \d+ boxes left"):
        of(design, True, theta, seconds=0.2)
    design, theta = committed(models.get("cake-split_plot", "REML"))
    with pytest.raises(CertificateError, match=r"gave up after 0 s with \d boxes left"):
        of(design, True, theta, seconds=0.0)


def test_a_criterion_without_a_limit_is_refused():
    """Each row is a group of its own in one of the terms: as it grows it may reproduce the response."""
    table = crossed()
    table["row"] = [str(k) for k in range(len(table))]
    table.loc[len(table)] = table.loc[0]
    design = design_of("y ~ x + (1 | row)", table.head(30))
    with pytest.raises(CertificateError, match="reproduce the response"):
        of(design, True, [1.0])


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


# ---- bounds, where they are tried ----------------------------------------------------------------------------------


def cover_of(id: str, method: str):
    model = models.get(id, method)
    design, theta = committed(model)
    ctx.prec = covering.BITS
    return model, _Cover(exact_of(design, model.reml), theta, math.inf)


def drawn(region, rng) -> np.ndarray:
    """A matrix of a region at random."""

    def between(low, high):
        return low + (min(high, 10 * low + 10) - low) * rng.choice([0.0, 1.0, rng.uniform()])

    if isinstance(region, Interval):
        return np.array([[between(region.low, region.high)]])
    t, s = between(region.near, region.far), between(region.inner, region.outer)
    phi = math.pi * between(region.start, region.end)
    x, y = s * math.cos(phi), s * math.sin(phi)
    return t * np.array([[1 + x, y], [y, 1 - x]])


def sampled(cover, rng, count: int):
    """Boxes as the proof meets them, from large to small, at random."""
    for _ in range(count):
        cell = tuple(rng.choice(regions(q)) for q in cover.sizes)
        for _ in range(rng.integers(1, 26)):
            halves = cover._halves(cell)
            cell = halves[rng.integers(2)]
        yield cell


def violations(cover, model, cells, rng) -> tuple[int, int]:
    """How many boxes have a bound, and how many points lie below it, as the independent likelihood has them."""
    likelihood = Likelihood(model.design, model.reml)
    back = [np.linalg.inv([[float(x) for x in row] for row in W.tolist()]) for W in cover.whiteners]

    def criterion(matrices):
        own = [W @ each @ W.T for W, each in zip(back, matrices, strict=True)]
        # A matrix on the cone's edge is no covariance matrix but for rounding.
        own = [each + 1e-12 * np.trace(each) * np.eye(len(each)) for each in own]
        return likelihood.criterion(likelihood.theta_of(own))

    best = criterion(
        [
            np.array([[float(x.mid()) for x in row] for row in S.tolist()])
            for S in covering._matrices(cover.sizes, cover.theta)
        ]
    )
    bounded = wrong = 0
    for cell in cells:
        bound = cover._bound(cell)
        if bound is None or not bound.is_finite():
            continue
        bounded += 1
        least = float((bound - cover.best).mid())
        for _ in range(4):
            value = criterion([drawn(part, rng) for part in cell]) - best
            wrong += bool(value < least - 1e-6 * (1 + abs(least)))
    return bounded, wrong


@pytest.fixture
def precision():
    """The working precision of the proof, put back afterwards."""
    kept = ctx.prec
    yield
    ctx.prec = kept


TRIED = [
    ("pastes-nested", "REML"),
    ("machines-nested", "ML"),
    ("sleepstudy-random_slope", "REML"),
    ("orthodont-random_slope", "ML"),
]


@pytest.mark.parametrize(("id", "method"), TRIED)
def test_no_point_of_a_box_lies_below_its_bound(id, method, precision):
    """In boxes of every size, at their corners, edges and inside."""
    model, cover = cover_of(id, method)
    rng = np.random.default_rng(8)
    bounded, wrong = violations(cover, model, sampled(cover, rng, 60), rng)
    assert bounded > 25 and wrong == 0


def test_a_wrong_bound_is_seen(precision, monkeypatch):
    """The slope left out, the limit of the residuals too large, corners left out: each time points lie below."""
    for id, spoil in itertools.product(("pastes-nested", "sleepstudy-random_slope"), ("slope", "floor", "corner")):
        model, cover = cover_of(id, "REML")
        rng = np.random.default_rng(8)
        with monkeypatch.context() as patch:
            if spoil == "slope":
                patch.setattr(covering, "_inner", lambda a, b: arb(0))
            elif spoil == "floor":
                cover.floor = cover.best
            else:
                for kind in (Interval, Shell):
                    whole = kind.corners
                    patch.setattr(kind, "corners", lambda self, whole=whole: whole(self)[-1:])
            assert violations(cover, model, sampled(cover, rng, 60), rng)[1] > 0, (id, spoil)


def test_regions_cover_all_matrices_and_halves_cover_their_whole():
    """A covariance matrix at random lies in a region, and in half of it, and so on; within the corners' hull."""
    rng = np.random.default_rng(5)
    for effects, _ in itertools.product((1, 2), range(40)):
        root = rng.normal(size=(effects, effects)) * np.exp(rng.normal(0, 2, size=(effects, 1)))
        if rng.uniform() < 0.3:
            root[:, -1] = 0.0  # singular
        matrix = root @ root.T
        inside = [each for each in regions(effects) if holds(each, matrix)]
        assert inside
        region = inside[0]
        for _ in range(20):
            halves = list(region.split(rng.integers(3) if effects == 2 else 0))
            inside = [each for each in halves if holds(each, matrix)]
            assert inside, (region, matrix)
            region = inside[0]
            assert enclosed(region, matrix), (region, matrix)


def holds(region, matrix: np.ndarray) -> bool:
    """Whether a matrix lies in a region, but for rounding."""
    if isinstance(region, Interval):
        return region.low * (1 - 1e-9) <= matrix[0, 0] <= region.high * (1 + 1e-9)
    t = np.trace(matrix) / 2
    x, y = (matrix[0, 0] - matrix[1, 1]) / 2, matrix[0, 1]
    s, phi = math.hypot(x, y) / t, math.atan2(y, x) / math.pi
    return (
        region.near * (1 - 1e-9) <= t <= region.far * (1 + 1e-9)
        and region.inner - 1e-9 <= s <= region.outer + 1e-9
        and region.start - 1e-9 <= phi <= region.end + 1e-9
    )


def enclosed(region, matrix: np.ndarray) -> bool:
    """Whether a matrix lies in the hull of the corners of its region's polytope, or above the one below all."""
    corners = [np.array([[float(x.mid()) for x in row] for row in each.tolist()]) for each in region.corners()]
    if region.endless:
        return all(np.linalg.eigvalsh(matrix - each).min() >= -1e-7 * np.trace(matrix) for each in corners)
    flat = np.array([each[np.tril_indices(len(matrix))] for each in corners]).T
    size = np.abs(flat).max()
    system = np.vstack([flat / size, np.ones(len(corners))])
    target = np.append(matrix[np.tril_indices(len(matrix))] / size, 1.0)
    slack = optimize.linprog(
        np.append(np.zeros(len(corners)), 1.0),
        A_ub=np.block([[system, -np.ones((len(target), 1))], [-system, -np.ones((len(target), 1))]]),
        b_ub=np.append(target, -target),
    )
    return slack.fun < 1e-7


@pytest.mark.parametrize(("id", "method"), [*TRIED, ("penicillin-crossed", "REML"), ("machines-unstructured", "ML")])
def test_the_curvature_is_the_certificates_and_its_enclosure_holds(id, method, precision):
    """At a point it is that of the jets; on a box it holds that of every point tried."""
    model = models.get(id, method)
    exact = exact_of(model.design, model.reml)
    ctx.prec, rng = 200, np.random.default_rng(2)
    theta = [arb(float(each)) for each in rng.uniform(0.2, 1.0, exact.m)]
    surface = Surface(exact)
    gradient, hessian = curvature(surface, theta)
    jet, place = exact(theta), 0
    assert all(abs(a - b) < 1e-30 for a, b in zip(gradient, jet.gradient, strict=True))
    for j in range(exact.m):
        for k in range(j + 1):
            assert abs(hessian[j, k] - jet.hessian[place]) < 1e-30
            place += 1
    radius = 1e-3 if exact.m < 6 else 1e-5
    _, wide = curvature(surface, [each + arb(0, radius) for each in theta])
    for _ in range(3):
        _, inside = curvature(surface, [each + arb(radius * rng.uniform(-1, 1)) for each in theta])
        assert all(wide[j, k].contains(inside[j, k].mid()) for j in range(exact.m) for k in range(exact.m))


@pytest.mark.parametrize("formula", ["y ~ x + (t | g)", "y ~ x + (t | g) + (1 | h)"])
def test_where_v_is_not_positive_definite_there_is_no_value(formula, precision):
    """Whether one eigenvalue is negative or two, so that the determinant is positive again; and a value where it is."""
    ctx.prec = 100
    design = design_of(formula, crossed().assign(t=np.tile(np.arange(6.0), 5)))
    surface = Surface(exact_of(design, True))
    more = [arb_mat([[1]])] * (len(design.terms) - 1)
    for x, y, valued in [(-9, -9, False), (-9, 1, False), (1, -9, False), (1, -0.001, True), (-0.001, -0.001, True)]:
        value = surface.at([arb_mat([[x, 0], [0, y]]), *more], psd=False)
        assert (value is not None) == valued


def test_a_box_counts_as_closed_only_where_all_its_matrices_are_near(precision):
    """A factor of each matrix of a closed box lies in the box in theta on which the criterion is convex."""
    _, cover = cover_of("sleepstudy-random_slope", "REML")
    rng, seen = np.random.default_rng(4), 0
    cover.radius = [each * 40 for each in cover.radius]  # so that there is something to see
    at, half = np.array([float(each) for each in cover.theta]), np.array([float(each) for each in cover.radius])
    for _ in range(400):
        L = np.array([[at[0], 0], [at[1], at[2]]]) * (1 + rng.normal(0, 0.01, (2, 2)))
        t = np.trace(L @ L.T) / 2
        x, y = (L @ L.T)[0, 0] / t - 1, (L @ L.T)[0, 1] / t
        s, phi, width = math.hypot(x, y), math.atan2(y, x) / math.pi, math.exp(rng.uniform(-9, -2))
        cell = Shell(
            t * (1 - width),
            t * (1 + width),
            s * (1 - width / 9),
            min(1, s * (1 + width / 9)),
            phi - width / 9,
            phi + width / 9,
        )
        if cover._closed((cell,)):
            seen += 1
            for _ in range(5):
                factor = np.linalg.cholesky(drawn(cell, rng))[[0, 1, 1], [0, 0, 1]]
                assert (np.abs(factor - at) <= half * (1 + 1e-9)).all()
    assert seen > 20
