"""A rank-deficient fixed part: the columns that lme4 drops are dropped for all, and each is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from concord import r
from concord.models.of_table import model_of
from support.prepared import CLEAN

lformula = "function(text, data) { X <- lme4::lFormula(as.formula(text), data)$X; names(attr(X, 'col.dropped')) }"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """With an empty cell (a is always u), copies, sums, constants, dummies, a level within a level."""
    f, x = CLEAN["f"], CLEAN["x"]
    rng = np.random.default_rng(17)
    z = rng.normal(size=len(CLEAN)).round(3)
    h = np.where(f == "a", "u", np.where(rng.random(len(CLEAN)) < 0.5, "u", "v"))
    dummies = {f"d{level}": (f == level) * 1.0 for level in "abc"}
    return CLEAN.assign(
        z=z, h=h, copy=x, s=x + 3 * z, k=1e9, zero=0.0, far=2e9 + x, n=f.map(dict(a="p", b="q", c="q")), **dummies
    )


DEFICIENT = {
    "y ~ f * h + (1 | g)": {"fc:hv": "a combination of hv, fb:hv"},
    "y ~ f:h + (1 | g)": {"fa:hv": "zero in every row", "fc:hv": "a combination of (Intercept), fa:hu"},
    "y ~ x + copy + (1 | g)": {"copy": "a combination of x"},
    "y ~ copy + x + (1 | g)": {"x": "a combination of copy"},
    "y ~ x + z + s + (x | g)": {"s": "a combination of x, z"},
    "y ~ s + x + z + (1 | g)": {"z": "a combination of s, x"},
    "y ~ k + x + (1 | g)": {"k": "a combination of (Intercept)"},
    "y ~ zero + x + (1 | g)": {"zero": "zero in every row"},
    "y ~ 0 + zero + (1 | g)": {"zero": "zero in every row"},
    "y ~ far + (1 | g)": {"far": "almost a combination of (Intercept) (if it is a matter of its origin, centre"},
    "y ~ 0 + da + db + dc + f + (1 | g)": dict(fa="a combination of da", fb="a combination of db", fc="a combination"),
    "y ~ f + n + (1 | g)": {"nq": "a combination of fb, fc"},
    "y ~ poly(x, 2) + I(x^2) + (1 | g)": {"I(x^2)": "a combination of (Intercept), poly(x, 2)1, poly(x, 2)2"},
    "y ~ f * h * z + (1 | g)": {"fc:hv": "a combination of hv, fb:hv", "fc:hv:z": "a combination of hv:z, fb:hv:z"},
}


@pytest.mark.parametrize("text", DEFICIENT)
def test_the_columns_that_lme4_drops_are_dropped_and_said(text, table):
    """By lme4's own word; with what each column is made of, in a sentence beside the verdict."""
    model, notes = model_of(table, text, "REML", None, "data")
    r.package("lme4")
    dropped = r.texts(r.call(r.call("eval", r.call("str2lang", lformula)), text, table))
    assert list(model.design.dropped) == list(DEFICIENT[text])
    assert set(dropped) == set(DEFICIENT[text]) or not model.design.names  # where none is kept lme4 names none
    for name, why in DEFICIENT[text].items():
        assert set(why.split(", ")) <= set(model.design.dropped[name].split(", ")) or why in model.design.dropped[name]
    columns = "1 column of it is" if len(model.design.dropped) == 1 else f"{len(dropped)} columns of it are"
    assert notes[-1].startswith(
        f"the fixed part is rank-deficient, and {columns} dropped for all engines, as lme4 does"
    )
    assert all(f"{name} is " in notes[-1] for name in model.design.dropped)
    assert np.linalg.matrix_rank(model.design.X) == model.design.X.shape[1] == len(model.design.names)


@pytest.mark.parametrize("unit", [1e-100, 1e-6, 1e6, 1e100])
def test_which_columns_are_dropped_does_not_depend_on_units(unit, table):
    """A copy is one whatever it is measured in."""
    model, _ = model_of(table.assign(copy=unit * table["copy"]), "y ~ x + copy + (1 | g)", "REML", None, "data")
    assert list(model.design.dropped) == ["copy"]


def test_nothing_is_said_where_all_columns_stay(table):
    """A full-rank model is what it was."""
    model, notes = model_of(table, "y ~ x * f + (1 | g)", "REML", None, "data")
    assert model.design.dropped == {} and notes == ()


CELLS = {
    "y ~ f * h + (1 | g)": "No row has f=a with h=v, so nothing can be known of that. The other coefficients are",
    "y ~ f * h * z + (1 | g)": "No row has f=a with h=v, so nothing can be known of that. The other coefficients are",
    "y ~ f + n + (1 | g)": "nq is a combination of fb, fc. The other coefficients are those with it held at 0",
    "y ~ zero + x + (1 | g)": "zero is zero in every row. The other coefficients mean what they would mean with it",
}


@pytest.mark.parametrize("text", CELLS)
def test_the_cells_without_rows_and_the_meaning_of_the_rest_are_told(text, table):
    """The reader learns what their table has not, and not only which column is gone."""
    assert CELLS[text] in model_of(table, text, "REML", None, "data")[1][-1]


def test_what_is_said_of_fitted_values_holds(table):
    """The other coefficients are those with the dropped one held at 0: whichever is dropped, the fit is the same."""
    one, other = (
        model_of(table, f"y ~ {fixed} + (1 | g)", "REML", None, "data")[0].design for fixed in ("f + n", "n + f")
    )
    assert set(one.dropped) != set(other.dropped)
    projections = [X @ np.linalg.pinv(X) for X in (one.X, other.X)]
    np.testing.assert_allclose(*projections, atol=1e-12)
