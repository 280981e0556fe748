"""A table whose rows have weights."""

from __future__ import annotations

import numpy as np
import pandas as pd

rng = np.random.default_rng(16)
N = 72
TABLE = pd.DataFrame(
    {
        "x": rng.normal(2, 1, N).round(2),
        "g": np.repeat([f"g{i}" for i in range(12)], 6),
        "h": np.tile(list("pqrs"), 18),
        "z": rng.normal(size=N).round(2),
        "w": rng.uniform(0.2, 4, N).round(2),
    }
)
own = np.repeat(rng.normal(size=(12, 2)), 6, axis=0)
noise = rng.normal(size=N) / np.sqrt(TABLE["w"])
TABLE["y"] = (3 + 2 * TABLE["x"] + 2 * own[:, 0] + own[:, 1] * TABLE["x"] + noise).round(3)
