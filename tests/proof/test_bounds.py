"""The bounds of the proof, where they are tried: no drawn point lies outside of what is enclosed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from flint import arb, arb_mat, ctx
from scipy import optimize

from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.proof import covering
from concord.proof.convexity import curvature
from concord.proof.covering import _Cover
from concord.proof.regions import Interval, Shell, regions
from concord.proof.surface import Surface
from support.proofs import committed, crossed, design_of, exact_of


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
        # A matrix on the cone's edge is not a covariance matrix but for rounding.
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
