"""Resolve every Python package from nothing and write the pins to scripts/constraints.txt."""

import json
import os
import subprocess
import tempfile
import venv
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "scripts" / "constraints.txt"
MARK = "# ---- resolved by `make lock`\n"
# Debian 12's: some packages refuse it although they accept later releases of 3.11, with which this may run.
OLDEST_PYTHON = "3.11.2"


def resolve(python: Path, constraints: str, work: Path) -> list[dict[str, str]]:
    """Return the metadata of every package that an empty environment would get under these constraints."""
    chosen, report = work / "chosen.txt", work / "report.json"
    chosen.write_text(constraints)
    command = [python, "-m", "pip", "install", "-q", "--dry-run", "--report", report, "-c", chosen, ".[test,browser]"]
    subprocess.run(command, cwd=ROOT, check=True)
    found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return [package for package in found if package["name"] != "concord"]


def resolve_for_oldest_python(chosen: str) -> dict[str, str]:
    """Return each package's version, the newest that the oldest Python takes too."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        venv.create(work / "venv", with_pip=True)
        bounds = ""
        while True:
            print("resolving", *(["without", *bounds.split()] if bounds else []), flush=True)
            packages = resolve(work / "venv/bin/python", chosen + bounds, work)
            too_new = [p for p in packages if OLDEST_PYTHON not in SpecifierSet(p.get("requires_python", ""))]
            if not too_new:
                return {canonicalize_name(p["name"]): p["version"] for p in packages}
            bounds += "".join(f"{p['name']}!={p['version']}\n" for p in too_new)


def main() -> None:
    """Keep the hand-made head of the file, replace the rest."""
    head, _, _ = CONSTRAINTS.read_text().partition(MARK)
    by_hand = {canonicalize_name(line.split("==")[0]) for line in head.splitlines() if line and line[0] != "#"}
    versions = resolve_for_oldest_python(head)
    pins = [f"{name}=={version}\n" for name, version in sorted(versions.items()) if name not in by_hand]
    # Written aside and moved, so that an interruption leaves the old file whole.
    part = CONSTRAINTS.with_suffix(".part")
    part.write_text(head + MARK + "".join(pins))
    os.replace(part, CONSTRAINTS)
    print(f"{CONSTRAINTS.relative_to(ROOT)}: {len(pins)} packages resolved, {len(by_hand)} chosen by hand")


if __name__ == "__main__":
    main()
