"""Unbalanced tables with factors in their fixed effects, for what rests on the terms of these."""

from __future__ import annotations

import numpy as np
import pandas as pd

from concord.data import datasets

FORMULAS = {
    "factors": "angle ~ recipe * temperature + (1 | recipe:replicate)",
    "ordered": "angle ~ recipe * temperature + (1 | recipe:replicate)",
    "slopes": "distance ~ Sex * age + (1 + age | Subject)",
    "weighted": "angle ~ recipe * temperature + (1 | recipe:replicate)",
    "additive": "angle ~ recipe + temp + warm + (1 | recipe:replicate)",
}


def table(name: str) -> pd.DataFrame:
    """Cake (its temperature as a factor or an ordered one) or Orthodont, without about every sixth row."""
    frame = datasets.load("orthodont" if name == "slopes" else "cake").frame.copy()
    lost = np.arange(len(frame)) ** 2 % 13 == 4 if name == "slopes" else np.arange(len(frame)) ** 2 % 7 == 2
    frame = frame[~lost].reset_index(drop=True)
    if name == "slopes":
        return frame
    levels = sorted(frame["temperature"].unique(), key=int)
    frame["temperature"] = pd.Categorical(frame["temperature"].astype(str), [str(level) for level in levels])
    if name == "ordered":
        # Three of the six, so that a quadratic is the most that is estimated.
        frame = frame[frame["temperature"].isin(["175", "195", "225"])].reset_index(drop=True)
        frame["temperature"] = frame["temperature"].cat.remove_unused_categories().cat.as_ordered()
    if name == "weighted":
        frame["w"] = 1.0 + np.arange(len(frame)) % 4
    frame["warm"] = (frame["temp"] > 190).map({True: "yes", False: "no"})
    return frame
