"""Tables that several test files make."""

from __future__ import annotations

import numpy as np
import pandas as pd


def large(groups: int = 2000) -> pd.DataFrame:
    """A table on which lme4 takes a second and MixedLM much longer."""
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(groups), 8)
    x = rng.normal(size=len(g))
    effects = rng.normal(size=(groups, 2))
    return pd.DataFrame({"y": 1 + x + effects[g, 0] + effects[g, 1] * x + rng.normal(size=len(g)), "x": x, "g": g})


def table_of(effects: list[tuple[float, float]], x: list[float], noise: float, mirrored: bool) -> pd.DataFrame:
    """Groups with their own intercepts and slopes; mirrored, each group comes twice, with x and with -x."""
    made, rows = np.random.default_rng(5), []
    for number_, (intercept, slope) in enumerate(effects):
        y = [round(10 + intercept + (0 if mirrored else 1 + slope) * each + noise * made.normal(), 2) for each in x]
        if mirrored:
            centre = sum(y) / len(y)
            y = [round(slope * each + value - centre, 2) for each, value in zip(x, y, strict=True)]
        for sign in (1, -1) if mirrored else (1,):
            rows += [(sign * each, value, f"g{number_}{sign}") for each, value in zip(x, y, strict=True)]
    return pd.DataFrame(rows, columns=["x", "y", "g"])


LINE = table_of([(2 * u, u) for u in (1.1, -0.4, 0.7, -1.6, 0.2, 1.3, -0.9, -0.6)], [0.0, 1, 2, 3, 4], 1.0, False)
MIRROR = table_of([(0.0, u) for u in (1.1, -0.8, 2.3, -1.6, 0.4)], [-2.0, -1, 0, 1, 2], 0.3, True)
