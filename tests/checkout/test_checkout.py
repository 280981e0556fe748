"""The checkout: found from the package in it, and from no other project that the package is installed into."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT


def found(folder: Path) -> str:
    """What the package in a folder takes for the checkout."""
    (folder / "concord").mkdir(parents=True)
    for name in ("__init__.py", "checkout.py", "errors.py"):
        shutil.copy(ROOT / "scripts" / "concord" / name, folder / "concord" / name)
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from concord import checkout; print(checkout.root())"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("place", "missing", "held"),
    [
        ("scripts", "", True),
        ("scripts", "datasets", False),
        ("scripts", "notebooks", False),
        ("lib", "datasets", False),
        ("lib", "", False),
    ],
)
def test_a_project_of_ones_own_is_no_checkout(tmp_path, place, missing, held):
    """By ``pip install --target lib``, beside folders that may have the names of the checkout's."""
    (tmp_path / "pyproject.toml").touch()
    for name in {"notebooks", "datasets"} - {missing}:
        (tmp_path / name).mkdir()
    assert found(tmp_path / place) == (str(tmp_path) if held else "None")
