"""Guests that are invited by one test are gone after it."""

from __future__ import annotations

import os

import pytest

import concord.engines
from concord.engines import FOLDERS


@pytest.fixture(autouse=True)
def _uninvited(monkeypatch):
    monkeypatch.setenv(FOLDERS, os.environ.get(FOLDERS, ""))
    monkeypatch.setattr(concord.engines, "__path__", [*concord.engines.__path__])
