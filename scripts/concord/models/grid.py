"""The reference grid of a model: every combination of its factors' levels, its other predictors at their means.

Lenth, R. (2016), Least-squares means: the R package lsmeans, Journal of Statistical Software 69(1), section 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from concord.models.computed import FACTORS, of_new
from concord.models.design import NewRows
from concord.models.matrices import new_rows
from concord.models.model import Model, ModelError
from concord.models.syntax import Call, variables, walk

LARGEST = 100_000
TWO = 2


@dataclass(frozen=True, eq=False)
class Grid:
    """A reference grid.

    Attributes
    ----------
    factors : by name the levels; a number with two values has these for levels
    means : of the other predictors of the fixed part, by name
    cells : for every row the number of each factor's level, shape (m, factors)
    rows : the grid in the model's columns
    """

    factors: Mapping[str, tuple[Any, ...]]
    means: Mapping[str, float]
    cells: np.ndarray
    rows: NewRows


def grid(model: Model) -> Grid:
    """The reference grid of a model's fixed part.

    Raises
    ------
    ModelError : it would have more than `LARGEST` rows
    """
    frame, formula, design = model.frame.iloc[model.design.rows], model.formula, model.design
    coded = {
        name
        for node in walk(formula.tree.fixed)
        if isinstance(node, Call) and node.function in ("factor", "as.factor", "C")
        for name in variables(node)
    }
    factors: dict[str, tuple[Any, ...]] = {}
    means: dict[str, float] = {}
    # A spline is that of its number's mean, and not the mean of a spline.
    sources = {column: one.source for one in model.made for column in one.columns if one.function not in FACTORS}
    for name in dict.fromkeys(sources.get(name, name) for name in formula.variables if name in formula.of_fixed):
        column = frame[name]
        distinct = column.drop_duplicates()
        if name in design.factors:
            factors[name] = tuple(design.factors[name])
        elif name in coded or pd.api.types.is_bool_dtype(column) or len(distinct) == TWO:
            factors[name] = tuple(sorted(distinct))
        else:
            means[name] = float(column.mean())
    count = int(np.prod([len(levels) for levels in factors.values()]))
    if count > LARGEST:
        raise ModelError(f"the factors have {count} combinations of levels, and a grid at most {LARGEST} rows")
    cells = np.array(list(product(*(range(len(levels)) for levels in factors.values()))), int).reshape(count, -1)
    table = {}
    for name in (*formula.variables, *sources.values()):
        if name in sources:
            continue
        if name in factors:
            values = [factors[name][i] for i in cells[:, list(factors).index(name)]]
            table[name] = pd.Series(values, dtype=frame[name].dtype)
        else:
            table[name] = pd.Series([means.get(name, frame[name].iloc[0])] * count)
            if name not in means:
                table[name] = table[name].astype(frame[name].dtype)
    new = of_new(model.frame, model.made, pd.DataFrame(table))
    return Grid(factors, means, cells, new_rows(formula, design, model.frame, new))
