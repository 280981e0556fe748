"""Units of a model's quantities."""

from __future__ import annotations

import pandas as pd
import pytest

from concord.models import units
from concord.models.model import get


@pytest.mark.parametrize(
    ("id", "term", "unit"),
    [
        ("sleepstudy-random_slope", "(Intercept)", "ms"),
        ("sleepstudy-random_slope", "Days", "ms / days"),
        ("sleepstudy-random_slope", "sd__Days", "ms / days"),
        ("sleepstudy-random_slope", "var__Days", "(ms / days)²"),
        ("sleepstudy-random_slope", "var__Observation", "ms²"),
        ("sleepstudy-random_slope", "cov__(Intercept).Days", "ms × (ms / days)"),
        ("sleepstudy-random_slope", "cor__(Intercept).Days", ""),
        ("sitka-random_intercept", "var__(Intercept)", "log(height x diameter^2)²"),
    ],
)
def test_a_parameter_has_the_unit_that_follows_from_its_columns(id, term, unit):
    assert units.parameter_unit(get(id, "REML"), term) == unit


def test_an_indicator_has_no_unit_and_what_is_not_known_is_not_guessed(make_model):
    """A level's effect is in the response's unit; a column without a unit, or a function of one, leaves none."""
    sleep = get("sleepstudy-random_slope", "REML")
    frame = pd.DataFrame({"y": [1.0, 2.0, 3.0], "x": [1.0, 2.0, 4.0], "f": ["a", "b", "b"], "g": ["u", "v", "v"]})
    own = make_model(frame, "y ~ x + f + (1 | g)", "ML")
    assert units.effect_unit(own, "x") == units.effect_unit(own, "fb") == ""
    assert units.effect_unit(sleep, "I(Days^2)") == units.parameter_unit(sleep, "var__I(Days^2)") == ""
    oats = get("oats-split_plot", "REML")
    assert units.effect_unit(oats, "VarietyMarvellous") == "bushels/acre"
    assert units.effect_unit(oats, "nitro") == "bushels/acre / (cwt/acre)"
