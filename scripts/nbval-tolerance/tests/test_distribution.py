"""The distribution: pytest finds the plugin where it is installed, and it needs nothing but nbval."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from running import code, stream

ROOT = Path(__file__).resolve().parents[1]
BUILD = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = BUILD["project"]


def test_needs_nbval_and_what_nbval_brings() -> None:
    assert [re.match(r"[\w.-]+", each)[0] for each in PROJECT["dependencies"]] == ["nbval"]
    imported = set()
    for path in (ROOT / "nbval_tolerance").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level
                imported.add(node.module.partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"nbformat", "nbval", "nbval_tolerance", "pytest"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with what the wheel holds, as pyproject.toml says it: the packages and the entry points."""
    folder = tmp_path_factory.mktemp("installed")
    for package in BUILD["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    described = folder / f"{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n"
    )
    lines = []
    for group, points in PROJECT["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in points.items())]
    (described / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def run(installed: Path, folder: Path, *arguments: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "--color=no", *arguments],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(installed)},
        text=True,
        capture_output=True,
        check=False,
    ).stdout


def test_installed_it_is_there_by_itself(installed: Path, tmp_path: Path) -> None:
    cells = [code("print(0.5000001)", stream("0.5\n")), code("print(0.50001)", stream("0.5\n"))]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), tmp_path / "tiny.ipynb")
    for arguments in ((), ("-p", "nbval_tolerance")):  # named as well, it is still one plugin
        shown = run(installed, tmp_path, *arguments)
        assert "plugins:" in shown and f"nbval-tolerance-{PROJECT['version']}" in shown.partition("collected")[0]
        assert "1 failed, 1 passed" in shown
        assert "stdout, line 1: 0.5 became 0.50001: off by 1e-05, relative 2e-05, allowed 5e-07" in shown
