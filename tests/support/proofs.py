"""Designs, and their certified optima."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from flint import arb, ctx

from concord.likelihood.certificate import Exact
from concord.models import formula as formulas
from concord.models import matrices
from concord.models import model as models
from concord.models.design import Design
from concord.reference import record as record_file


def design_of(formula: str, table: pd.DataFrame):
    return matrices.design(formulas.parse(formula), table)


def exact_of(design, reml: bool) -> Exact:
    kept, ctx.prec = ctx.prec, 400
    try:
        return Exact(design, reml)
    finally:
        ctx.prec = kept


def committed(model: models.Model) -> tuple[Design, list[arb]]:
    """The design with its effects in the record's order, and the record's theta."""
    record = json.loads(record_file.path(model.dataset).read_text(encoding="utf-8"))[model.name][model.method]
    kept, ctx.prec = ctx.prec, 200
    try:
        return model.design, [arb(each).mid() for each in record["theta"]]
    finally:
        ctx.prec = kept


def crossed(seed: int = 1) -> pd.DataFrame:
    """Thirty rows in which x tells little beside five groups: an optimum with and one without their variance."""
    rng = np.random.default_rng(seed)
    g, h, k = np.repeat(np.arange(5), 6), np.tile(np.arange(6), 5), np.arange(30) // 2
    x = np.round(g + rng.normal(0, 0.3, 30), 1)
    errors = rng.normal(0, 0.5, 30) + rng.normal(0, 1, 6)[h] + rng.normal(0, 0.5, 15)[k]
    y = np.round(2 * x - 6 * g + errors, 1)
    return pd.DataFrame({"y": y, "x": x, "g": g.astype(str), "h": h.astype(str), "k": k.astype(str)})
