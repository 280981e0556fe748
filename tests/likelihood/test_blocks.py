"""The blocks of the likelihood: whatever way they are taken, the criterion is one, and size costs what it should."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from concord.engines.engine import engines
from concord.likelihood import blocks, schur
from concord.likelihood import sparse_blocks as crossed
from concord.likelihood.likelihood import Likelihood
from concord.likelihood.sparse_blocks import Crossed
from concord.models.design import Design, DesignTerm


def term(name: str, codes: np.ndarray, matrix: np.ndarray) -> DesignTerm:
    levels = tuple(map(str, range(int(codes.max()) + 1)))
    return DesignTerm(name, tuple(f"c{j}" for j in range(matrix.shape[1])), matrix, codes, levels)


def crossed_frame(rows: int, *levels: int) -> pd.DataFrame:
    """A response with one crossed factor for every number of levels, unbalanced, with a slope in the first."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"x": rng.normal(size=rows).round(3)})
    frame["y"] = 5 + 2 * frame["x"] + rng.normal(size=rows)
    for name, count in zip("abc", levels, strict=False):
        codes = np.concatenate([np.arange(count), rng.integers(0, count, rows - count)])
        frame[name] = codes
        frame["y"] += rng.normal(size=count)[codes] * (0.5 if name == "c" else 1.0)
    frame["y"] += 0.4 * rng.normal(size=levels[0])[frame["a"]] * frame["x"]
    return frame


def crossed_design(frame: pd.DataFrame, *terms: tuple[str, str]) -> Design:
    one, x = np.ones((len(frame), 1)), frame[["x"]].to_numpy()
    columns = {"1": one, "x": x, "1 + x": np.hstack([one, x])}
    made = tuple(term(group, frame[group].to_numpy(), columns[each]) for each, group in terms)
    return Design(frame["y"].to_numpy(), columns["1 + x"], ("(Intercept)", "x"), made, np.arange(len(frame)))


SMALL = crossed_frame(400, 40, 25, 6)
CASES = {
    "two factors": [("1", "a"), ("1", "b")],
    "slope in the larger": [("1 + x", "a"), ("1", "b")],
    "slope in the smaller": [("1", "a"), ("1 + x", "b")],
    "two terms on the larger": [("1", "a"), ("1", "b"), ("x", "a")],
    "three factors": [("1 + x", "a"), ("x", "c"), ("1 + x", "b")],
    "one factor": [("1 + x", "a")],
}


# How a block of crossed factors is taken, by the most columns that a dense Schur complement may have.
WAYS = {"Schur complement": 2000, "CHOLMOD": -1}


def both(monkeypatch, design: Design, reml: bool, way: str) -> tuple[Likelihood, Likelihood]:
    """The likelihood with every block dense, and with every block taken another way."""
    monkeypatch.setattr(crossed, "DENSE", WAYS[way])
    made = []
    for large in (10**9, 1):
        monkeypatch.setattr(blocks, "LARGE", large)
        made.append(Likelihood(design, reml))
    assert all((block.partition is None) == (way == "CHOLMOD") for block in made[1].blocks)
    return made[0], made[1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("case", CASES)
def test_large_and_dense_blocks_are_one_criterion(case, reml, way, monkeypatch):
    """Criterion, gradient and Hessian are the same by all ways, also where a factor is singular or nothing."""
    dense, sparse = both(monkeypatch, crossed_design(SMALL, *CASES[case]), reml, way)
    theta = np.random.default_rng(3).uniform(0.2, 1.5, dense.m)
    for point in (theta, -theta, theta * (np.arange(dense.m) > 0), theta * (np.arange(dense.m) % 2), 0 * theta):
        value, gradient = dense.criterion_and_gradient(point)
        other, slopes = sparse.criterion_and_gradient(point)
        assert other == pytest.approx(value, rel=1e-13)
        np.testing.assert_allclose(slopes, gradient, rtol=1e-11, atol=1e-10)
        hessian = dense.hessian(point)
        np.testing.assert_allclose(sparse.hessian(point), hessian, rtol=1e-5, atol=1e-6 * np.abs(hessian).max())


@pytest.mark.parametrize("way", WAYS)
def test_levels_with_fewer_rows_than_effects_keep_the_gradients_digits_at_large_ratios(way, monkeypatch):
    """There a level's own part of A is as good as singular; the dense blocks form no A."""
    design = crossed_design(crossed_frame(130, 70, 25), *CASES["slope in the larger"])
    dense, sparse = both(monkeypatch, design, True, way)
    for ratio in (1e3, 1e5):
        theta = ratio * np.array([0.9, -0.4, 0.7, 1.1])
        slopes, wanted = (ratio * made.criterion_and_gradient(theta)[1] for made in (sparse, dense))
        np.testing.assert_allclose(slopes, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(("way", "module"), [("Schur complement", schur), ("CHOLMOD", crossed)])
def test_a_few_columns_of_the_inverse_at_a_time_give_the_same_gradient(way, module, monkeypatch):
    """What a gradient holds of the inverse is bounded, and the bound changes no derivative."""
    _, sparse = both(monkeypatch, crossed_design(SMALL, *CASES["three factors"]), True, way)
    theta = np.linspace(0.3, 1.2, sparse.m)
    whole = sparse.criterion_and_gradient(theta)[1]
    for held in (1, 1000, 7000):
        monkeypatch.setattr(module, "HELD", held)
        np.testing.assert_allclose(sparse.criterion_and_gradient(theta)[1], whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("sparse", "pairs"),
    [(np.inf, 2**22), (0, 0), (0, 2**22)],
    ids=["every pair of levels as numbers", "pairs as they occur", "pairs as they occur, multiplied once"],
)
@pytest.mark.parametrize(
    "terms", [[("1", "a"), ("1", "b"), ("1", "c")], [("1", "a"), ("1 + x", "c")]], ids=["intercepts", "and a slope"]
)
def test_whatever_the_pairs_of_levels_are_held_as_the_criterion_is_one(terms, sparse, pairs, monkeypatch):
    """A product of dense matrices is the cheaper one only where many of the pairs occur."""
    monkeypatch.setattr(schur, "SPARSE", sparse)
    monkeypatch.setattr(schur, "PAIRS", pairs)
    dense, other = both(monkeypatch, crossed_design(SMALL, *terms), True, "Schur complement")
    assert [block.partition.pairs is not None for block in other.blocks] == [sparse == 0 and pairs > 0]
    for theta in (np.linspace(0.3, 1.2, dense.m), np.linspace(-40.0, 0.0, dense.m)):
        (value, gradient), (again, slopes) = dense.criterion_and_gradient(theta), other.criterion_and_gradient(theta)
        assert again == pytest.approx(value, rel=1e-13)
        np.testing.assert_allclose(slopes, gradient, rtol=1e-11, atol=1e-11 * np.abs(gradient).max())


@pytest.mark.parametrize("shapes", [[(3,), (3,)], [(700,), (700,)], [(700,), ()], [(700,), (9, 1)]], ids=str)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_products_of_many_small_matrices_are_numpys(size, shapes):
    """However many, and where one stands for all of them; a matrix that others are made from stays as it was."""
    random = np.random.default_rng(8)
    left, right = (random.normal(size=(*shape, size, size)) for shape in shapes)
    kept = left.copy(), right.copy()
    np.testing.assert_allclose(blocks.times(left, right), left @ right, rtol=1e-12, atol=1e-13)
    assert (left == kept[0]).all() and (right == kept[1]).all()


@pytest.mark.parametrize("case", ["two factors", "slope in the larger"])
def test_a_search_of_a_large_block_begins_with_steps_of_the_right_size(case):
    """What the second derivatives are taken for at first is a small factor from them near the optimum."""
    likelihood = Likelihood(crossed_design(SMALL, *CASES[case]), True)
    theta = likelihood.optimum().theta
    diagonal = np.diag(likelihood.hessian(theta))
    ratio = likelihood.steepness(theta) / diagonal
    assert (ratio > 0.2).all() and (ratio < 5).all()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["two factors", "two terms on the larger"])
def test_large_and_dense_blocks_have_one_optimum(case, way, monkeypatch):
    """The search ends in the same place, with the gradient at rounding."""
    dense, sparse = (each.optimum() for each in both(monkeypatch, crossed_design(SMALL, *CASES[case]), True, way))
    assert sparse.loglik == pytest.approx(dense.loglik, rel=0, abs=1e-10)
    assert max(sparse.gradient, dense.gradient) < 1e-8
    np.testing.assert_allclose(sparse.estimates["estimate"], dense.estimates["estimate"], rtol=1e-8)


@pytest.mark.parametrize("way", WAYS)
def test_both_of_two_optima_of_crossed_factors_are_found_decades_apart(way, monkeypatch):
    """The levels of one factor undo the slope between them: as ordinary least squares has it, and within them."""
    rng = np.random.default_rng(3)
    a, b = np.arange(150) % 8, np.concatenate([np.arange(100), rng.integers(0, 100, 50)])
    x = a + 0.1 * rng.normal(size=150)
    frame = pd.DataFrame({"y": x - a + 0.05 * rng.normal(size=150), "x": x, "a": a, "b": b})
    likelihoods = both(monkeypatch, crossed_design(frame, ("1", "a"), ("1", "b")), True, way)
    dense, sparse = (likelihood.optima() for likelihood in likelihoods)
    assert len(dense) == 2 and abs(dense[0].theta[0]) > 10 > 1 > abs(dense[1].theta[0])
    assert [top.loglik for top in sparse] == pytest.approx([top.loglik for top in dense], abs=1e-8)


@pytest.mark.parametrize("method", ["REML"])
def test_a_large_crossed_design_is_lme4s(method, make_model, monkeypatch):
    """300 + 200 crossed levels on 5000 rows: lme4's own log-likelihood at its estimates, and its optimum, to 1e-8."""
    frame = crossed_frame(5000, 300, 200).astype({"a": "category", "b": "category"})
    model = make_model(frame, "y ~ x + (1 | a) + (1 | b)", method)
    likelihood = Likelihood(model.design, model.reml)
    assert [type(each) for each in likelihood.blocks] == [Crossed]
    fit = engines()["lme4"].fit(model, "tuned")
    assert likelihood.loglik(fit.parameters) == pytest.approx(fit.loglik, rel=0, abs=1e-8)
    theta = likelihood.theta_at(fit.parameters)
    found = likelihood.optimum([theta])
    assert found.loglik == pytest.approx(fit.loglik, rel=0, abs=1e-8)
    np.testing.assert_allclose(found.std_error, fit.std_error, rtol=1e-6)
    dense, _ = both(monkeypatch, model.design, model.reml, "Schur complement")
    assert likelihood.criterion(theta + 0.1) == pytest.approx(dense.criterion(theta + 0.1), rel=0, abs=1e-8)
    np.testing.assert_allclose(
        likelihood.criterion_and_gradient(theta + 0.1)[1], dense.criterion_and_gradient(theta + 0.1)[1], rtol=1e-8
    )


def peak(work) -> int:
    """The most bytes that Python and numpy held during `work`, above what they held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def grouped_design(groups: int, rows: int, x: np.ndarray, columns: int) -> Design:
    rng = np.random.default_rng(11)
    codes = np.repeat(np.arange(groups), rows)
    X = np.column_stack([np.ones(groups * rows), x])
    y = X @ [1.0, 2.0] + (X * rng.normal(size=(groups, 2))[codes])[:, :columns].sum(1) + rng.normal(size=len(X))
    return Design(y, X, ("(Intercept)", "x"), (term("g", codes, X[:, :columns]),), np.arange(len(X)))


def test_a_hundred_thousand_rows_in_groups_alike_cost_what_one_group_costs():
    """10,000 groups with one design share one factorization; the optimum is the analysis of variance's."""
    groups, rows = 10_000, 10
    design = grouped_design(groups, rows, np.tile(np.arange(rows) - 4.5, groups), 1)
    held: list[Likelihood] = []
    assert peak(lambda: held.append(Likelihood(design, True))) < 100 * design.X.nbytes
    likelihood = held[0]
    assert sum(len(each.R) for each in likelihood.blocks) < 10
    assert peak(lambda: likelihood.criterion_and_gradient(np.array([0.7]))) < 100_000
    found = likelihood.optimum()
    y = design.y.reshape(groups, rows)
    slope = found.fixed[1] * design.X[:rows, 1]
    within = ((y - y.mean(1, keepdims=True) - slope) ** 2).sum() / (groups * (rows - 1) - 1)
    between = rows * ((y.mean(1) - y.mean()) ** 2).sum() / (groups - 1)
    assert found.residual_variance == pytest.approx(within, rel=1e-9)
    assert found.covariances[0][0, 0] == pytest.approx((between - within) / rows, rel=1e-8)


def test_with_groups_unlike_each_other_cost_grows_linearly_with_their_number():
    """Ten times the groups, no two with the same design, hold at most ten times the numbers: no n x n matrix."""
    peaks = []
    for groups in (1_000, 10_000):
        x = np.random.default_rng(5).normal(size=10 * groups)
        likelihood = Likelihood(grouped_design(groups, 10, x, 2), True)
        assert sum(len(each.R) for each in likelihood.blocks) == groups
        peaks.append(peak(lambda made=likelihood: made.criterion_and_gradient(np.array([0.7, 0.1, 0.4]))))
    assert peaks[1] < 11 * peaks[0] and peaks[1] < 10_000_000


def test_a_crossed_block_of_ten_thousand_levels_needs_no_dense_matrix():
    """10,000 + 20 crossed levels on 100,000 rows hold far less than the square of the levels."""
    frame = crossed_frame(100_000, 10_000, 20)
    likelihood = Likelihood(crossed_design(frame, ("1", "a"), ("1", "b")), True)
    theta = np.array([0.8, 0.6])
    assert peak(lambda: likelihood.criterion_and_gradient(theta)) < 10_020**2 * 8 / 10
    value, gradient = likelihood.criterion_and_gradient(theta)
    for i, h in enumerate(1e-4 * np.eye(2)):
        difference = (likelihood.criterion(theta + h) - likelihood.criterion(theta - h)) / 2e-4
        assert gradient[i] == pytest.approx(difference, rel=1e-5)
