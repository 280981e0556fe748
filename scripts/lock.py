"""Resolve every Python package from nothing and write the pins to scripts/constraints.txt."""

import json
import os
import re
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "scripts" / "constraints.txt"
MARK = "# ---- resolved by `make lock`\n"


def normalized(name: str) -> str:
    """Return a package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def resolve(chosen: Path, work: Path) -> dict[str, str]:
    """Return the version of every package that an empty environment would get, by normalized name."""
    venv.create(work / "venv", with_pip=True)
    report = work / "report.json"
    command = [
        work / "venv/bin/python",
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--report",
        report,
        "-c",
        chosen,
        ".[test]",
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return {normalized(package["name"]): package["version"] for package in found if package["name"] != "concord"}


def main() -> None:
    """Keep the hand-made head of the file, replace the rest."""
    head, _, _ = CONSTRAINTS.read_text().partition(MARK)
    by_hand = {normalized(line.split("==")[0]) for line in head.splitlines() if "==" in line and line[0] != "#"}
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder, "chosen.txt")
        chosen.write_text(head)
        versions = resolve(chosen, Path(folder))
    pins = [f"{name}=={version}\n" for name, version in sorted(versions.items()) if name not in by_hand]
    # Written aside and moved, so that an interruption leaves the old file whole.
    part = CONSTRAINTS.with_suffix(".part")
    part.write_text(head + MARK + "".join(pins))
    os.replace(part, CONSTRAINTS)
    print(f"{CONSTRAINTS.relative_to(ROOT)}: {len(pins)} packages resolved, {len(by_hand)} chosen by hand")


if __name__ == "__main__":
    main()
