"""The package as a package: a wheel of it, installed where no checkout is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from support.paths import ROOT

# In the folder where a person works: modules of these names must not take the place of the real ones.
OWN = ("concord", "numpy", "statistics", "token", "IPython")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `concord` command of an environment that has the wheel, and this one's packages but not its checkout: a .pth
    file in a folder that another .pth file names is not read.
    """
    place = tmp_path_factory.mktemp("environment")
    venv.EnvBuilder(symlinks=True).create(place)
    python = place / "bin" / "python"
    words = ["install", "--quiet", "--no-deps", "--no-index", "--no-cache-dir", wheel]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *words], check=True)
    (packages,) = place.glob("lib/*/site-packages")
    (packages / "shared.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return place / "bin" / "concord"


def run(command: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CONCORD"))}
    more = {"JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter"), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run([command, *words], cwd=folder, env=kept | more, capture_output=True, text=True, check=False)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A person's folder: a table, and modules of their own."""
    for name in OWN:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the working folder was imported')\n")
    (tmp_path / "table.csv").write_bytes((ROOT / "datasets" / "sleepstudy" / "sleepstudy.csv").read_bytes())
    return tmp_path


def test_a_wheel_holds_the_package_and_all_that_it_reads(wheel):
    """Every file of it that is committed, but no dataset and of the notebooks only the one that a command runs."""
    listed = subprocess.run(
        ["git", "ls-files", "scripts/concord"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    wanted = {path.removeprefix("scripts/") for path in listed.stdout.splitlines() if (ROOT / path).is_file()}
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert found == wanted | {"concord/reports/compare.ipynb"}
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert build["build-system"]["requires"][0] in build["project"]["optional-dependencies"]["test"]


def test_it_compares_a_table_outside_of_a_checkout(installed, desk):
    done = run(
        installed, desk, "compare", "table.csv", "Reaction ~ Days + (1 | Subject)", "--details", "0", "--sweep", "0"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("table-model, REML, default settings: agree")
    written = {path.name for path in (desk / "build" / "compare").iterdir()}
    assert written == {"estimates.csv", "fits.csv", "quantities.csv", "table-REML.html", "table-REML.ipynb"}
    assert "<style" in (desk / "build" / "compare" / "table-REML.html").read_text()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["verdicts", "--output", "x.json"], "datasets: not installed with the package"),
        (["simulate", "sleepstudy-random_slope"], "datasets: not installed with the package"),
        (["reports"], "notebooks: not installed with the package"),
        (["upgrade"], "datasets: not installed with the package"),
        (["compare", "sleepstudy", "Reaction ~ Days + (1 | Subject)"], "sleepstudy: there is no such file"),
    ],
)
def test_what_stands_in_the_repository_only_is_one_line_and_status_2(words, what, installed, desk):
    done = run(installed, desk, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("concord: ") and what in done.stderr and done.stderr.count("\n") == 1
    assert not (desk / "build").exists()


def test_what_is_timed_is_in_the_repository_only(installed, desk):
    done = run(installed.with_name("python"), desk, "-P", "-m", "concord.bench", "judge", "--rounds", "1")
    assert (done.returncode, done.stdout) == (2, "")
    what = "notebooks/speed.jsonl: not installed with the package: run from a checkout of the repository"
    assert done.stderr == f"bench: {what}\n"
