"""A package's author who has no Concord: an empty environment with two packages of the registry, the wheel of
concord-cases, and nothing else, in which pytest holds both to certified cases.

    python tests/stress/fresh_environment.py [PATTERN]

Needs the network, and the collection that `make cases` writes; half a minute. Ends with 0 where every package is as far
from the optimum of Sitka's random slope as is known of it, and tells what every test of the grid said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "scripts" / "concord-cases"
PACKAGES = {"glmm": "glmm==0.6.2", "lme_python": "lme-python==0.2.7"}
PATTERN = "sitka-random_slope"
# What is expected of the estimates by REML: nothing said, or how many log-likelihood units they are short.
EXPECTED = {"glmm": "", "lme_python": "short: 19.8 log-likelihood units below the certified optimum"}


def run(*words: str | Path, cwd: Path, status: tuple[int, ...] = (0,)) -> None:
    """Run a command without anything of this checkout or environment around it."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "PYTEST", "CONCORD", "VIRTUAL"))
    }
    done = subprocess.run(words, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    if done.returncode not in status:
        sys.exit(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")


def made(place: Path) -> Path:
    """The interpreter of an environment with the wheel, pytest and the packages."""
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", place, HERE, cwd=place)
    (wheel,) = place.glob("concord_cases-*.whl")
    venv.create(place / "venv", with_pip=True)
    python = place / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", f"{wheel}[test]", *PACKAGES.values(), cwd=place)
    return python


def outcomes(python: Path, place: Path, pattern: str) -> dict[tuple[str, str], str]:
    """What pytest said of every package and test: empty where it passed."""
    for name in PACKAGES:
        shutil.copy(HERE / "examples" / f"test_{name}.py", place)
    run(python, "-m", "pytest", "-q", "--concord-cases", pattern, "--junit-xml", "out.xml", cwd=place, status=(0, 1))
    return {
        (case.get("classname", "").removeprefix("test_"), case.get("name", "")): "; ".join(
            f"{child.tag}: {child.get('message')}" for child in case if child.tag in ("failure", "skipped", "error")
        )
        for case in ET.parse(place / "out.xml").iter("testcase")
    }


def main(pattern: str = PATTERN) -> int:
    """The exit status: 0 where what is known of the packages is what was found."""
    with tempfile.TemporaryDirectory() as folder:
        said = outcomes(made(Path(folder)), Path(folder), pattern)
    for (name, test), message in sorted(said.items()):
        print(f"{name:11} {test}: {message or 'passed'}")
    known = f"test_estimates[{PATTERN}-REML]"
    wrong = [
        name
        for name, expected in EXPECTED.items()
        if (name, known) in said and not (expected in said[name, known] if expected else not said[name, known])
    ]
    return 1 if wrong or not said else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
