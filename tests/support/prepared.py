"""A clean table, and what is said of one that is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from concord.data.columns import PreparationError
from concord.models import formula as formulas
from concord.models import matrices
from concord.models.design import Design
from concord.models.preparation import check, prepare
from concord.models.syntax import FormulaError

rng = np.random.default_rng(11)
n = 120
G = np.repeat(np.arange(12), 10)
CLEAN = pd.DataFrame(
    {"x": np.tile(np.arange(10) / 4, 12).round(2), "f": pd.Series(np.tile(list("acb"), 40), dtype="str")}
)
CLEAN["g"] = pd.Series([f"g{g:02d}" for g in G], dtype="str")
CLEAN["y"] = (
    3 + CLEAN["x"] + (2 * rng.normal(size=12) + CLEAN["x"].to_numpy().reshape(12, 10).T * rng.normal(size=12)).T.ravel()
)
CLEAN["y"] = (CLEAN["y"] + (CLEAN["f"] == "b") + rng.normal(size=n)).round(3)
FORMULA = "y ~ x + f + (1 + x | g)"


def design(frame: pd.DataFrame, formula: str = FORMULA) -> Design:
    """The matrices of the prepared table, checked."""
    parsed = formulas.parse(formula)
    prepared = prepare(frame, parsed)
    found = matrices.design(parsed, prepared.frame)
    check(found, parsed, prepared)
    return found


def refused(frame: pd.DataFrame, formula: str = FORMULA) -> str:
    """What is said of a table that cannot carry the model: one line."""
    with pytest.raises((PreparationError, FormulaError)) as caught:
        design(frame, formula)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_value(column: str, value: object, *rows: int) -> pd.DataFrame:
    frame = CLEAN.astype({column: object})
    for row in rows:
        frame.loc[row, column] = value
    return frame.infer_objects()
