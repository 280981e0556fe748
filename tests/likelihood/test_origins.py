"""An origin far from zero and a unit far from one: fitted as the same numbers nearby are, or refused for what it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from concord.data.columns import PreparationError
from concord.likelihood.likelihood import Likelihood
from concord.models.of_table import model_of

rng = np.random.default_rng(5)
TABLE = pd.DataFrame({"x": np.tile(np.arange(5.0), 12), "g": np.repeat(np.arange(12), 5)})
TABLE["y"] = 2 + 0.8 * TABLE["x"] + rng.normal(size=12).repeat(5) + rng.normal(size=60)


def optimum(table: pd.DataFrame, formula: str = "y ~ x + (x | g)"):
    design = model_of(table, formula, "REML", None, "data")[0].design
    return Likelihood(design, True).optimum()


@pytest.mark.parametrize(("origin", "within"), [(1e6, 1e-9), (1e9, 1e-8), (1e12, 1e-6), (1e14, 1e-4)])
def test_a_response_far_from_zero_is_fitted_as_what_is_stored_of_it_is_near_zero(origin, within):
    """Less the origin the stored numbers are the same ones exactly: a difference of numbers so close does not round."""
    far = TABLE.assign(y=TABLE["y"] + origin)
    near = TABLE.assign(y=far["y"] - origin)
    one, other = optimum(far), optimum(near)
    assert one.loglik == pytest.approx(other.loglik, abs=within)
    assert one.parameters.fixed[1] == pytest.approx(other.parameters.fixed[1], abs=within)


@pytest.mark.parametrize("origin", [1e15, 1e16])
def test_where_too_little_is_stored_of_what_varies_that_is_the_reason(origin):
    step = np.spacing(origin)
    with pytest.raises(
        PreparationError, match=rf"near 1e\+\d\d, and so far from zero numbers are stored to {step:.2g} "
    ):
        optimum(TABLE.assign(y=TABLE["y"] + origin))


@pytest.mark.parametrize("unit", [2.0**-480, 2.0**-100, 2.0**100, 2.0**480])
def test_another_unit_of_the_response_moves_the_log_likelihood_by_its_logarithm(unit):
    one, other = optimum(TABLE), optimum(TABLE.assign(y=TABLE["y"] * unit))
    assert other.loglik == pytest.approx(one.loglik - 58 * np.log(unit), rel=1e-12)


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("unit", [1e-300, 1e-310, 1e-160, 1e160, 1e300])
def test_numbers_that_cannot_be_squared_are_refused_as_such(name, unit):
    size = "small" if unit < 1 else "large"
    with pytest.raises(PreparationError, match=rf"^{name} has values of at most .* square numbers so {size}: choose"):
        optimum(TABLE.assign(**{name: TABLE[name] * unit}))
