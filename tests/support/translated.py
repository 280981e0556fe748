"""A table, and its models as MixedLM is given them."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from concord.engines.engine import engines
from concord.engines.statsmodels.formula import for_mixedlm

MIXEDLM, LME4, NLME = (engines()[name] for name in ("statsmodels", "lme4", "nlme"))
rng = np.random.default_rng(5)
N = 240
TABLE = pd.DataFrame(
    {
        "g": np.repeat([f"g{i}" for i in range(10)], 24),
        "b": np.tile(np.repeat(list("uvwx"), 6), 10),
        "h": np.tile([f"h{i}" for i in range(12)], 20),
        "x": rng.normal(3, 0.6, N).round(2),
        "z": rng.uniform(1, 5, N).round(2),
        "k": rng.integers(1, 9, N),
        "flag": rng.integers(0, 2, N).astype(bool),
        "f": pd.Categorical(rng.choice(list("abc"), N), ["c", "a", "b"]),
        "unused": pd.Categorical(rng.choice(list("pq"), N), ["q", "o", "p"]),
        "o": pd.Categorical(rng.choice(["lo", "mid", "hi", "top"], N), ["lo", "mid", "hi", "top"], ordered=True),
        "s": rng.choice(["B", "a", "c"], N),
    }
)
TABLE["gb"] = pd.Categorical(TABLE["g"] + TABLE["b"])
TABLE["number"] = TABLE["g"].str[1:].astype(int)
TABLE["half"], TABLE["side"] = TABLE["number"] / 2, TABLE["number"] > 4
TABLE["no"] = TABLE["g"].replace({"g0": "None", "g1": "NA", "g2": ""})


def effects(column: str, spread: float) -> np.ndarray:
    return spread * rng.normal(size=TABLE[column].nunique())[pd.factorize(TABLE[column])[0]]


TABLE["y"] = 10 + TABLE["x"] + effects("g", 2) + effects("gb", 1) + effects("h", 1.5) + rng.normal(size=N)
TABLE["y"] += (effects("g", 1) + effects("gb", 0.8)) * TABLE["z"]


def form(model):
    return for_mixedlm(model.formula, model.design, model.frame)


def built(model):
    """MixedLM's model object, not fitted, as the engine makes it."""
    import statsmodels.formula.api as smf

    made = form(model)
    room = {"np": np, "data": model.frame.copy()}
    exec("\n".join(made.setup), room)
    data = room["data"]
    groups = np.ones(len(data)) if made.group is None else data[made.group]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return smf.mixedlm(
            made.fixed, data, groups=groups, re_formula=made.re_formula, vc_formula=made.vc_formula or None
        )
