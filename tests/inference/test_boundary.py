"""How often a likelihood ratio is zero, against F in balanced layouts and against drawn quadratic forms elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from concord.inference.boundary import zero_share
from concord.inference.criteria import Candidate, likelihood_ratio, linear
from concord.models import model as models
from concord.models.design import Design, DesignTerm


def layout(codes, column=None, X=None):
    """A design of one random term with one column; of its response nothing is asked."""
    n = len(codes)
    column = np.ones(n) if column is None else column
    term = DesignTerm("g", ("column",), column[:, None], codes, tuple(map(str, range(codes.max() + 1))))
    X = np.ones((n, 1)) if X is None else X
    return Design(np.zeros(n), X, tuple(map(str, range(X.shape[1]))), (term,), np.arange(n))


@pytest.mark.parametrize(
    ("groups", "rows", "reml", "ml"), [(6, 5, 0.56, 0.66), (18, 10, 0.54, 0.60), (100, 10, 0.52, 0.54)]
)
def test_in_a_balanced_layout_it_is_where_f_is_small(groups, rows, reml, ml):
    """The numbers that inference.ipynb has in its prose."""
    design, freedom = layout(np.repeat(np.arange(groups), rows)), (groups - 1, groups * (rows - 1))
    shares = zero_share(design, True), zero_share(design, False)
    assert shares == pytest.approx((stats.f.cdf(1, *freedom), stats.f.cdf(groups / (groups - 1), *freedom)), abs=1e-9)
    assert [round(share, 2) for share in shares] == [reml, ml]


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("many", [4, 25])
def test_in_any_layout_it_is_how_often_drawn_forms_say_so(many, reml):
    """Unbalanced, with a random slope alone and two fixed effects; with nearly as many levels as rows, too."""
    stream = np.random.default_rng(7)
    codes = np.append(np.arange(many), stream.integers(0, many, 30 - many) ** 2 // many)
    x = stream.normal(size=30)
    X = np.column_stack([np.ones(30), x])
    Z = (codes[:, None] == np.arange(many)) * x[:, None]
    y = stream.normal(size=(30, 200_000))
    residuals = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    P = np.eye(30) - X @ np.linalg.pinv(X)
    ratio = ((Z.T @ residuals) ** 2).sum(axis=0) / (residuals**2).sum(axis=0)
    limit = np.trace(Z.T @ P @ Z) / 28 if reml else np.trace(Z.T @ Z) / 30
    drawn = (ratio <= limit).mean()
    assert zero_share(layout(codes, x, X), reml) == pytest.approx(drawn, abs=4 * np.sqrt(0.25 / 200_000))


@pytest.mark.parametrize("reml", [True, False])
def test_without_fixed_effects_the_share_is_that_of_sums_of_squares(reml):
    """y ~ 0 + (1 | g), 6 groups of 5: zero where the groups' mean square is at most all rows', F(6, 24) below 1."""
    layout_ = layout(np.repeat(np.arange(6), 5), None, np.zeros((30, 0)))
    assert zero_share(layout_, reml) == pytest.approx(stats.f.cdf(1.0, 6, 24), abs=1e-8)


def test_other_random_terms_are_refused():
    design = layout(np.repeat(np.arange(3), 4))
    for terms in ((), design.terms * 2, (replace(design.terms[0], matrix=np.ones((12, 2)), names=("a", "b")),)):
        with pytest.raises(ValueError, match="one random term of one column"):
            zero_share(replace(design, terms=terms), True)


@pytest.mark.parametrize(("method", "share"), [("REML", "56%"), ("ML", "66%")])
def test_a_ratio_says_so_of_one_variance_and_speaks_of_the_bootstrap_elsewhere(method, share):
    """Dyestuff: 6 batches of 5."""

    def ratio(id, null=None):
        model = models.get(id, method)
        smaller = linear(model.design, model.reml) if null is None else at(models.get(null, method))
        return likelihood_ratio(smaller, at(model))

    def at(model):
        return Candidate(model.name, model.design, model.reml, 0.0)

    assert f"zero in {share} of all samples" in ratio("dyestuff-random_intercept").remark
    several = ratio("sleepstudy-random_slope", "sleepstudy-random_intercept")
    assert several.zero_share is None and "bootstrap.ratio_test()" in several.remark
    inside = ratio("sleepstudy-random_slope", "sleepstudy-uncorrelated")
    assert inside.remark == ""
