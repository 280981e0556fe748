"""Parameters: their order, their table and their vector, and the boundary of their space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from concord.models.design import Design, DesignTerm
from concord.models.parameters import Parameters, keys, names, spectrum

EFFECTS = ("(Intercept)", "a.b", "x", "c.d")  # dots, as in names that make.names() gives


def drawn(seed: int) -> tuple[Design, Parameters]:
    """A design of up to three terms of up to four effects each, and values of its parameters, all of them random."""
    stream = np.random.default_rng(seed)
    n, p = 40, int(stream.integers(0, 4))
    terms, covariances = [], []
    for number in range(stream.integers(1, 4)):
        q = int(stream.integers(1, 5))
        codes = stream.integers(0, 6, n)
        levels = tuple("abcdef")
        matrix = stream.standard_normal((n, q)) * 10.0 ** stream.integers(-3, 4, q)
        terms.append(DesignTerm(f"g{number}", EFFECTS[:q], matrix, codes, levels))
        factor = stream.standard_normal((q, q)) * 10.0 ** stream.integers(-4, 5)
        covariances.append(factor @ factor.T)
    X = stream.standard_normal((n, p))
    design = Design(stream.standard_normal(n), X, tuple(f"x{j}" for j in range(p)), tuple(terms), np.arange(n))
    return design, Parameters(stream.standard_normal(p), tuple(covariances), float(stream.chisquare(3)))


def same(one: Parameters, other: Parameters) -> bool:
    """Whether two are the same to the last bit, but for what a matrix has below its diagonal by rounding."""
    return (
        np.array_equal(one.fixed, other.fixed)
        and all(np.array_equal(np.triu(a), np.triu(b)) for a, b in zip(one.covariances, other.covariances, strict=True))
        and one.residual_variance == other.residual_variance
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_table_holds_the_parameters_in_any_order_of_its_rows(seed):
    """From values to a table, to values of shuffled rows and back again: nothing is lost, nothing changes places."""
    design, given = drawn(seed)
    errors = np.linspace(1, 2, len(given.fixed))
    table = given.table(design, errors)
    shuffled = table.sample(frac=1, random_state=seed)
    assert same(given, Parameters.from_table(shuffled, design))
    pd.testing.assert_frame_equal(Parameters.from_table(shuffled, design).table(design, errors), table)
    assert given.table(design)["std_error"].isna().all()


@pytest.mark.parametrize("seed", range(20))
def test_a_vector_holds_the_parameters(seed):
    """Packed and unpacked, in the order of the table and of the names."""
    design, given = drawn(seed)
    unpacked = Parameters.from_packed(given.packed, design)
    assert same(given, unpacked)
    for matrix in unpacked.covariances:
        assert np.array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(given.packed, given.table(design)["estimate"])
    assert len(keys(design)) == len(names(design)) == len(given.packed)
    assert [tuple(row) for row in given.table(design)[["effect", "group", "term"]].to_numpy()] == keys(design)


def test_covariances_stand_after_the_variances_by_the_later_effect():
    """Of four effects, written out; of three the order by the earlier effect would be the same."""
    term = DesignTerm("g", ("x", "y", "z", "u"), np.ones((4, 4)), np.zeros(4, int), ("1",))
    design = Design(np.ones(4), np.ones((4, 1)), ("(Intercept)",), (term,), np.arange(4))
    matrix = np.array([[1.0, 12, 13, 14], [12, 2, 23, 24], [13, 23, 3, 34], [14, 24, 34, 4]])
    packed = Parameters(np.array([9.0]), (matrix,), 8.0).packed.tolist()
    assert packed == [9, 1, 2, 3, 4, 12, 13, 23, 14, 24, 34, 8]
    assert names(design) == [
        "(Intercept)",
        "g var__x",
        "g var__y",
        "g var__z",
        "g var__u",
        "g cov__x.y",
        "g cov__x.z",
        "g cov__y.z",
        "g cov__x.u",
        "g cov__y.u",
        "g cov__z.u",
        "Residual var__Observation",
    ]


def test_a_table_without_a_parameter_of_the_design_is_refused():
    """The missing one is named."""
    design, given = drawn(1)
    with pytest.raises(KeyError, match="var__Observation"):
        Parameters.from_table(given.table(design).iloc[:-1], design)


# The boundary -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_matrix_that_has_lost_its_rank_is_on_the_boundary(seed):
    """Whether by a variance of zero or by effects that depend on each other; a matrix of full rank is not there."""
    design, given = drawn(seed)
    stream = np.random.default_rng(100 + seed)
    for number, term in enumerate(design.terms):
        q = len(term.names)
        # One residual variance's worth of each effect in the response, with correlations of any size.
        unit = np.sqrt(given.residual_variance / np.mean(term.matrix**2, axis=0))
        root = stream.standard_normal((q, q)) + 2 * np.eye(q)
        for rank in range(q + 1):
            lost = root[:, :rank] * unit[:, None]
            covariances = list(regular(design, given))
            covariances[number] = lost @ lost.T
            assert replace(given, covariances=tuple(covariances)).singular(design) == (rank < q)


def regular(design: Design, given: Parameters) -> list[np.ndarray]:
    """Covariance matrices of independent effects, each as large as the residuals in the response."""
    return [np.diag(given.residual_variance / np.mean(term.matrix**2, axis=0)) for term in design.terms]


@pytest.mark.parametrize("seed", range(20))
def test_the_zeros_and_the_units_of_predictors_do_not_matter(seed):
    """Columns coded anew, with the same effects: on the boundary before and after, or neither."""
    stream, q, n = np.random.default_rng(seed), 2, 40
    x = stream.standard_normal(n)
    root = stream.standard_normal((q, q)) + 2 * np.eye(q)
    zero, unit = 10.0 ** stream.integers(0, 5), 10.0 ** stream.integers(-3, 4)
    coding = np.array([[1.0, zero * unit], [0.0, unit]])  # from (1, x) to (1, (x + zero) unit)
    back = np.linalg.inv(coding)
    for rank in range(1, q + 1):
        matrix = root[:, :rank] @ root[:, :rank].T
        for columns, covariance in (
            (np.column_stack([np.ones(n), x]), matrix),
            (np.column_stack([np.ones(n), x]) @ coding, back @ matrix @ back.T),
        ):
            term = DesignTerm("g", ("(Intercept)", "x"), columns, np.arange(n) // 4, tuple(map(str, range(10))))
            design = Design(x, columns[:, :1], ("(Intercept)",), (term,), np.arange(n))
            assert Parameters(np.zeros(1), (covariance,), 1.0).singular(design) == (rank < q)


@pytest.mark.parametrize(("share", "singular"), [(2e-8, False), (0.5e-8, True), (0.0, True)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_units_of_the_response_and_of_a_predictor_do_not_matter(share, singular, scale):
    """A variance of a hundred-millionth of the residuals' in the response counts as zero, in any units."""
    x = np.array([1.0, 2, 3, 4]) * scale
    term = DesignTerm("g", ("x",), x[:, None], np.arange(4) // 2, ("1", "2"))
    design = Design(np.ones(4), np.ones((4, 1)), ("(Intercept)",), (term,), np.arange(4))
    for unit in (1e-5, 1.0, 1e5):
        variance = share * unit**2 / np.mean(x**2)
        assert Parameters(np.zeros(1), (np.array([[variance]]),), unit**2).singular(design) is singular


@pytest.mark.parametrize(("left", "singular"), [(1e-6, False), (1e-10, True), (0.0, True)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_correlation_of_one_is_on_the_boundary(left, singular, sign):
    """By what it leaves of one: the least eigenvalue of two effects' correlations is 1 - |r|."""
    term = DesignTerm("g", ("a", "b"), np.eye(4)[:, :2] + 1, np.arange(4) // 2, ("1", "2"))
    design = Design(np.ones(4), np.ones((4, 1)), ("(Intercept)",), (term,), np.arange(4))
    covariance = sign * (1 - left) * 1e3
    matrix = np.array([[1e6, covariance], [covariance, 1.0]])
    assert Parameters(np.zeros(1), (matrix,), 1.0).singular(design) is singular


def test_a_correlation_of_one_is_on_the_boundary_however_large_the_variances():
    """The least variance of a combination is 1e-3 / 4 of the residuals', and the effects are correlated to 1e-9."""
    term = DesignTerm("g", ("a", "b"), np.eye(4)[:, :2], np.arange(4) // 2, ("1", "2"))
    design = Design(np.ones(4), np.ones((4, 1)), ("(Intercept)",), (term,), np.arange(4))
    for left, singular in ((1e-9, True), (1e-6, False)):
        matrix = 1e6 * np.array([[1, 1 - left], [1 - left, 1]])
        assert Parameters(np.zeros(1), (matrix,), 1.0).singular(design) is singular


def test_shares_are_mean_squares_in_residual_variances():
    """Of columns with mean squares of 1 and 16: 4 / 2 and 9 * 16 / 2."""
    columns = np.array([[1.0, 4], [1, -4], [-1, 4], [1, 4]])
    term = DesignTerm("g", ("a", "b"), columns, np.arange(4) // 2, ("1", "2"))
    design = Design(np.ones(4), np.ones((4, 1)), ("(Intercept)",), (term,), np.arange(4))
    (shares,) = Parameters(np.zeros(1), (np.array([[4.0, 1], [1, 9]]),), 2.0).shares(design)
    assert shares.tolist() == [2, 72]


@pytest.mark.parametrize("seed", range(10))
def test_the_spectrum_of_a_covariance_matrix_gives_it_back(seed):
    """D H H' D is the matrix, whatever its rank and its units; an indefinite matrix is refused."""
    stream = np.random.default_rng(seed)
    q = int(stream.integers(1, 5))
    root = stream.standard_normal((q, q))[:, : stream.integers(0, q + 1)] * 10.0 ** stream.integers(-6, 7, (q, 1))
    matrix = root @ root.T
    unit, vectors, roots = spectrum(matrix)
    half = unit[:, None] * vectors * roots
    np.testing.assert_allclose(half @ half.T, matrix, rtol=1e-9, atol=1e-9 * np.outer(unit, unit).min())
    with pytest.raises(ValueError, match="negative eigenvalue"):
        spectrum(np.array([[1.0, 2.0], [2.0, 1.0]]))
