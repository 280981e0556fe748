"""What several test files share: fits, each made once a session, and models on tables made in a test."""

from __future__ import annotations

import os
from dataclasses import fields
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from concord import datasets, models, r
from concord.engines import engines

LIBRARY_PATH = os.environ.get("LD_LIBRARY_PATH")


@pytest.fixture(autouse=True)
def _library_path():
    """What a test starts must not see what an R, started by rpy2 itself in an earlier test, did to the environment."""
    r.restore_library_path(LIBRARY_PATH)
    yield
    r.restore_library_path(LIBRARY_PATH)


@cache
def _fit(id: str, method: str, engine: str, settings: str):
    return engines()[engine].fit(models.get(id, method), settings)


@pytest.fixture(scope="session")
def fits():
    """The fit of a model by one engine and settings: ``fits("sitka-random_slope", "ML", "lme4", "tuned")``."""
    return _fit


@cache
def _r_table(name: str) -> pd.DataFrame:
    from rpy2 import robjects
    from rpy2.robjects import pandas2ri
    from rpy2.robjects.conversion import localconverter

    package, _, data = name.partition("::")
    room = robjects.r["new.env"]()
    robjects.r["data"](data, package=package, envir=room)
    with localconverter(robjects.default_converter + pandas2ri.converter):
        return robjects.conversion.get_conversion().rpy2py(robjects.r["as.data.frame"](room[data]))


@pytest.fixture(scope="session")
def r_table():
    """A package's data frame, ``r_table("MASS::Sitka")``, by rpy2's own conversion and not by the one under test."""
    return _r_table


def _make_model(
    frame: pd.DataFrame, formula: str, method: str = "REML", id: str = "made", name: str = "model", **record: object
) -> models.Model:
    made = datasets.ModelRecord(formula=formula, title="made in a test", **record)
    given = {
        "id": id, "frame": frame, "columns": {}, "models": {name: made}, "title": "made in a test", "source": "a::b",
        "version": "0", "citation": "none", "licence": "none", "sha256": "0" * 64, "place": Path("/nonexistent"),
    }  # fmt: skip
    dataset = datasets.Dataset(**{each.name: given[each.name] for each in fields(datasets.Dataset)})
    return models.Model(dataset, name, made, method)


@pytest.fixture(scope="session")
def make_model():
    """A model on a table that is no dataset of the workbook: ``make_model(frame, "y ~ x + (1 | g)", "ML")``."""
    return _make_model
