"""Fixtures of all tests: fits, each made once, models on tables made in a test, and a folder for its kernels.

A room of the package has its tests in the folder of its name, ``tests/<room>/test_<module>.py``; what belongs to no
room alone (README, the set-up, printed values, hostile input) is in ``tests/workbook``. No test file imports from
another: what several need is in ``tests/support``, and is imported as ``from support.paths import CASES``. ``cases``
has tables, ``published`` printed values with their sources, ``stress`` tables with many optima and what made them.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from functools import cache, partial
from pathlib import Path

import pandas as pd
import pytest

import support.sources  # noqa: F401  # the digest of the sources is taken before they are imported

# isort: split
from concord import r
from concord.data import datasets
from concord.engines.engine import engines
from concord.engines.fit import Fit
from concord.models import model
from support.paths import NOTEBOOKS, TESTS
from support.shelf import Shelf

# R starts here, before any test file is read, and as Concord starts it: where `from rpy2 import robjects` does it,
# LD_LIBRARY_PATH is R's from then on, and another Python, started by a test, finds the system's libpython in place of
# its own. Where R is missing, the tests that need it say so.
with suppress(r.RError):
    r.interface()


# What is imported and collected is there to the end: to look through it for garbage takes a third of the collection.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


# Those that take longest begin first, so that none is left to run alone at the end.
LONGEST = ("workbook/test_readme", "notebooks/agreement", "commands/test_compare", "commands/test_check")
LONGEST += ("simulation/test_study", "engines/test_guest", "session/test_interruptions", "processes/test_worker")
LONGEST += ("session/test_session", "reports/test_site", "reports/test_batch", "agreement/test_comparison")
LONGEST += ("r/test_startup", "account/test_account", "likelihood/test_stress", "workbook/test_wheel")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files in the order of `LONGEST`, then the others as they were found."""
    files = {each.path for each in items}
    rank = {file: i for i, name in enumerate(LONGEST) for file in files if name in file.as_posix()}
    items.sort(key=lambda item: rank.get(item.path, len(LONGEST)))
    for notebook in {item.parent for item in items if item.path == NOTEBOOKS / "agreement.ipynb"}:
        notebook.setup = partial(_with_the_shelf, notebook.setup)


def _with_the_shelf(start: Callable[[], None]) -> None:
    """Start the kernel of the notebook that fits the whole catalogue, as these tests do: each fit is made once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONSTARTUP", str(TESTS / "support" / "shelved.py"))
        start()


@cache
def _fit(id: str, method: str, engine: str, settings: str) -> Fit:
    return engines()[engine].fit(model.get(id, method), settings)


@pytest.fixture(scope="session")
def _shelf() -> Shelf:
    return Shelf.of_now()


@pytest.fixture(scope="session")
def fits(_shelf):
    """The fit of a model by one engine and settings: ``fits("sitka-random_slope", "ML", "lme4", "tuned")``."""

    @cache
    def of(*key: str) -> Fit:
        fit = _fit(*key)
        _shelf.kept("-".join(key), lambda: fit)
        return fit

    return of


@pytest.fixture(scope="session")
def numbers(_shelf):
    """As `fits`, without the package's own result: from whichever process or run has made it."""

    @cache
    def of(*key: str) -> Fit:
        return _shelf.fit(model.get(*key[:2]), "-".join(key), lambda: _fit(*key))

    return of


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
) -> model.Model:
    made = datasets.ModelRecord(formula=formula, title="made in a test", **record)
    given = {
        "id": id,
        "frame": frame,
        "columns": {},
        "models": {name: made},
        "title": "made in a test",
        "measured": "nothing",
        "source": "a::b",
        "version": "0",
        "citation": "none",
        "licence": "none",
        "sha256": "0" * 64,
        "place": Path("/nonexistent"),
    }
    dataset = datasets.Dataset(**{each.name: given[each.name] for each in fields(datasets.Dataset)})
    return model.Model(dataset, name, made, method)


@pytest.fixture(scope="session")
def make_model():
    """A model on a table that is not a dataset of the workbook: ``make_model(frame, "y ~ x + (1 | g)", "ML")``."""
    return _make_model


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A temporary folder of this test's own, so that its kernels can be told from anyone else's."""
    folder = tempfile.mkdtemp(prefix="scratch-", dir="/tmp")
    monkeypatch.setattr(tempfile, "tempdir", folder)
    monkeypatch.setenv("TMPDIR", folder)
    yield Path(folder)
    shutil.rmtree(folder)
