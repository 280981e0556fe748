"""Models: found by id and method."""

from __future__ import annotations

import re

import pytest

from concord import datasets, models
from concord.datasets import DatasetError
from concord.models import ModelError

SIX = [
    f"{dataset}-{name}"
    for dataset in ("dietox", "sitka")
    for name in ("random_intercept", "random_slope", "uncorrelated")
]


def test_every_model_of_every_dataset_comes_once_by_each_method():
    """The six models of the two datasets come by REML and by ML, in the order of the TOML."""
    assert [(model.id, model.method) for model in models.every()] == [(id, m) for id in SIX for m in ("REML", "ML")]


def test_a_model_is_found_by_its_id():
    """A model has its dataset's table, its formula in parts and its numbers."""
    model = models.get("dietox-random_slope", "ML")
    assert (model.id, model.name, model.method, model.reml) == ("dietox-random_slope", "random_slope", "ML", False)
    assert models.get("dietox-random_slope").reml
    assert model.frame is datasets.load("dietox").frame
    assert str(model.formula) == "Weight ~ Time + (1 + Time | Pig)"
    assert model.design.X.shape == (861, 2) and model.design.terms[0].names == ("(Intercept)", "Time")
    assert repr(model) == "<Model dietox-random_slope, ML: Weight ~ Time + (1 + Time | Pig)>"


@pytest.mark.parametrize(
    ("id", "method", "error", "message"),
    [
        (
            "dietox-slope",
            "REML",
            ModelError,
            "model 'dietox-slope': dataset dietox has random_intercept, ",
        ),
        ("dietox", "REML", ModelError, "model 'dietox': dataset dietox has"),
        ("pigs-random_slope", "ML", DatasetError, "dataset 'pigs': not found"),
        ("dietox-random_slope", "reml", ModelError, "method 'reml': it is one of REML, ML"),
    ],
)
def test_a_model_that_is_not_there_is_one_error_with_what_is(id, method, error, message):
    """A wrong dataset, name or method is refused with the right ones."""
    with pytest.raises(error, match=re.escape(message)):
        models.get(id, method)
