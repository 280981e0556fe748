"""Tables of what is tried, a line each with the test that tries it, which there must be."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from support.paths import ROOT


def read(file: Path) -> pd.DataFrame:
    """A table of tries, all of it text; ``held by`` is ``tests/<room>/<file>.py::<function>``."""
    return pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False, quoting=3)


def exists(held: str) -> bool:
    """Whether there is such a test."""
    file, _, name = held.partition("::")
    return re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE) is not None
