"""The collection as it is written, once for all tests here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from concord.publication import folder
from support.paths import ROOT

PACKAGE = ROOT / "scripts" / "concord-cases" / "concord_cases"


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("cases")
    folder.write(place, lambda line: None)
    return place


@pytest.fixture(scope="session")
def checker():
    """The checker as anybody has it: one file, loaded by its path."""
    spec = importlib.util.spec_from_file_location("checker", PACKAGE / "checker.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cases(written, checker):
    """Every case as it stands in its file, by its id."""
    return {path.stem: checker.read(path) for path in sorted((written / "cases").glob("*.json"))}
