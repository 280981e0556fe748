"""Fixtures that several test files of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from concord.data import datasets
from support.team import CROSSED, GROWTH, PIGS


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A team's repository."""
    folder = tmp_path_factory.mktemp("team")
    (folder / "data").mkdir()
    sleep = datasets.load("sleepstudy").frame
    sleep.assign(week=[f"w{i % 3}" for i in range(len(sleep))]).to_csv(folder / "data" / "sleep.csv", index=False)
    datasets.load("dietox").frame.to_csv(folder / "data" / "pigs.csv", index=False)
    (folder / "concord.toml").write_text(GROWTH + PIGS + CROSSED)
    return folder
