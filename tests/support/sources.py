"""The sources that a fit depends on, and a digest of them that is taken before any of them is imported."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from support.paths import ROOT

# The rooms above the engines, none of which a fit may read (the contracts of `make lint` hold that). A room that is
# missing here costs time, and hides nothing.
ABOVE = {"account", "agreement", "bench", "bootstrap", "commands", "plots", "reference", "reports", "simulation"}


def sources(root: Path = ROOT) -> list[Path]:
    """Every file that a fit may depend on: of the package all but the rooms above the engines, and the data."""
    package = root / "scripts" / "concord"
    found = [file for file in package.rglob("*") if file.relative_to(package).parts[0] not in ABOVE]
    found += (root / "datasets").rglob("*")
    return sorted(file for file in found if file.is_file() and "__pycache__" not in file.parts)


def key(files: list[Path], root: Path = ROOT, others: list[str] = ()) -> str:
    """A digest of files, by name and by content, and of whatever else is told."""
    digest = hashlib.sha256("\0".join(others).encode())
    for file in files:
        content = file.read_bytes()
        digest.update(f"\0{file.relative_to(root)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:32]


# As they are before the package is imported. A file that is edited later, between this and its import too, is not what
# they were: see `Shelf.kept`. Where the package is there already nobody can tell, and this is no state of the sources.
AT_START = "" if "concord" in sys.modules else key(sources())
