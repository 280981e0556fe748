"""Resolve every Python package from nothing, for every lane of scripts/lanes.tsv, into scripts/constraints/LANE.txt."""

import csv
import itertools
import os
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LANES = ROOT / "scripts" / "lanes.tsv"
CONSTRAINTS = ROOT / "scripts" / "constraints"
RPY2 = ("rpy2", "rpy2-rinterface", "rpy2-robjects")
# It resolves for a Python that is not on this machine, down to the release of it.
RESOLVER = "uv==0.13.9"
CHOSEN = {
    # From 4.25 on it compiles a grammar of web addresses when it is imported: a second in each process that reads a
    # notebook, for nothing that a notebook has.
    "jsonschema": "4.24.1"
}
HEAD = """\
# With R {r}. Written by `make lock` from scripts/lanes.tsv and pyproject.toml: what pip may install, exactly.
# All lanes have the same packages but for rpy2, so that what they differ in is R, rpy2 and Python.
"""


def lanes() -> list[dict[str, str]]:
    """Return the rows of the table, each by column."""
    lines = LANES.read_text().splitlines()
    names = [line for line in lines if line.startswith("#")][-1].removeprefix("# ").split("\t")
    return list(csv.DictReader((line for line in lines if not line.startswith("#")), names, delimiter="\t"))


def pythons() -> list[str]:
    """Return the oldest release of every Python from the oldest lane's to the newest lane's, in this order."""
    of_lanes = {int(lane["Python"].split(".")[1]): lane["Python"] for lane in lanes()}
    # One between them may want what neither of its neighbours does: papermill has a package for 3.12 alone.
    return [of_lanes.get(minor, f"3.{minor}.0") for minor in range(min(of_lanes), max(of_lanes) + 1)]


def resolve(resolver: Path, python: str, chosen: dict[str, str], work: Path) -> dict[str, str]:
    """Return each package's version, the newest that this Python on Linux takes as it is, within what was chosen."""
    wanted = work / "chosen.txt"
    wanted.write_text(written(chosen))
    command = [resolver, "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--extra", "test"]
    command += ["--extra", "browser", "--extra", "guests", "--constraints", wanted, "--python-version", python]
    # rpy2 is compiled against R; all else must be there for this Python without a compiler.
    command += ["--python-platform", "linux", "--only-binary", ":all:", "--no-binary", "rpy2-rinterface"]
    run = subprocess.run([*command, "pyproject.toml"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return dict(line.split("==") for line in run.stdout.splitlines())


def written(pins: dict[str, str]) -> str:
    """Return the pins as lines that pip reads."""
    return "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))


def main() -> None:
    """Resolve for each Python, within what those before it got: every lane's pins are good for all of them."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        venv.create(work / "venv", with_pip=True)
        subprocess.run([work / "venv/bin/python", "-m", "pip", "install", "-q", RESOLVER], check=True)
        pins = dict(CHOSEN)
        for python, lane in itertools.product(pythons(), lanes()):
            print(f"resolving for Python {python} and R {lane['R from']}", flush=True)
            pins |= resolve(work / "venv/bin/uv", python, pins | {name: lane[name] for name in RPY2}, work)
    CONSTRAINTS.mkdir(exist_ok=True)
    for lane in lanes():
        below = "" if lane["below"] == "-" else f", < {lane['below']}"
        text = HEAD.format(r=f">= {lane['R from']}{below}") + written(pins | {name: lane[name] for name in RPY2})
        # Written aside and moved, so that an interruption leaves the old file whole.
        part = CONSTRAINTS / f"{lane['lane']}.part"
        part.write_text(text)
        os.replace(part, part.with_suffix(".txt"))
    print(f"{CONSTRAINTS.relative_to(ROOT)}: {len(pins)} packages each")


if __name__ == "__main__":
    main()
