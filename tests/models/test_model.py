"""Models: found by id and method."""

from __future__ import annotations

import re

import pytest

from concord.data import datasets
from concord.data.datasets import DatasetError
from concord.models import model as models
from concord.models.model import ModelError
from support.paths import ROOT

FOLDER = ROOT / "datasets"
# What the catalogue is for: the workbook's own two, and the tables that lme4's and nlme's documentation is written on.
WORKBOOK = ["dietox", "sitka"]
LME4 = ["cake", "dyestuff", "dyestuff2", "pastes", "penicillin", "sleepstudy"]
NLME = ["ergostool", "machines", "oats", "orthodont", "oxboys", "rail"]


def test_every_model_of_every_dataset_comes_once_by_each_method():
    """Each model that a dataset.toml heads with its name comes by REML and by ML, in the order of the file."""
    headings = {
        toml.parent.name: re.findall(r"^\[models\.(\w+)\]$", toml.read_text("utf-8"), re.MULTILINE)
        for toml in sorted(FOLDER.glob("*/dataset.toml"))
    }
    assert sorted(headings) == sorted(WORKBOOK + LME4 + NLME) and all(headings.values())
    assert headings["sitka"] == headings["dietox"] == ["random_intercept", "random_slope", "uncorrelated"]
    assert [(model.id, model.method) for model in models.every()] == [
        (f"{dataset}-{name}", method) for dataset in headings for name in headings[dataset] for method in ("REML", "ML")
    ]


@pytest.mark.parametrize(
    ("id", "random"),
    [
        ("rail-random_intercept", "(1 | Rail)"),
        ("sleepstudy-random_slope", "(1 + Days | Subject)"),
        ("sleepstudy-uncorrelated", "(1 + Days || Subject)"),
        ("machines-unstructured", "(0 + Machine | Worker)"),
        ("pastes-nested", "(1 | batch/cask)"),
        ("penicillin-crossed", "(1 | plate) + (1 | sample)"),
        ("oats-split_plot", "(1 | Block/Variety)"),
        ("cake-split_plot", "(1 | recipe:replicate)"),
    ],
)
def test_the_catalogue_has_models_of_every_kind(id, random):
    """Intercepts, slopes, `||`, three effects at once, nested and crossed groups, split plots, as documented."""
    assert models.get(id).record.formula.endswith(f" + {random}")


@pytest.mark.parametrize(("package", "ids"), [("lme4", LME4), ("nlme", NLME)])
def test_the_documentations_tables_come_from_their_packages(package, ids):
    """Each is a table of the package whose documentation fits its models."""
    assert all(datasets.load(id).source.startswith(f"{package}::") for id in ids)


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
        ("dietox-slope", "REML", ModelError, "model 'dietox-slope': dataset dietox has random_intercept, "),
        ("dietox", "REML", ModelError, "model 'dietox': dataset dietox has"),
        ("pigs-random_slope", "ML", DatasetError, "dataset 'pigs': not found"),
        ("dietox-random_slope", "reml", ModelError, "method 'reml': it is one of REML, ML"),
    ],
)
def test_a_model_that_is_not_there_is_one_error_with_what_is(id, method, error, message):
    """A wrong dataset, name or method is refused with the right ones."""
    with pytest.raises(error, match=re.escape(message)):
        models.get(id, method)
