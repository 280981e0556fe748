"""A small study, its files and its rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.dataset

from concord.simulation.experiment import pairs

MODEL = "dyestuff-random_intercept"
NAME = f"{MODEL}-REML"
DEFAULT = pairs(("default",))
CLOCK = ["seconds", "added"]


def files(folder: Path) -> list[Path]:
    return sorted((folder / "parts" / NAME).glob("*.parquet"))


def rows(folder: Path) -> pd.DataFrame:
    """All rows but what a clock says, in one order whatever the parts are."""
    table = pyarrow.dataset.dataset(files(folder)).to_table().to_pandas().drop(columns=CLOCK)
    return table.sort_values(["replicate", "settings", "engine"], ignore_index=True)
