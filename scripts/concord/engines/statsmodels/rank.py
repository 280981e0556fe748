"""MixedLM on a rank-deficient fixed part: which of patsy's columns are left out, so that those that lme4 keeps remain.

MixedLM solves for all columns that it is given, and stops at a singular matrix. patsy's columns may have another order
than R's, and may be fewer: it codes some interactions without a column too many.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import concord.engines.statsmodels
from concord.arrays import Matrix
from concord.engines.engine import CannotExpress
from concord.models.coding import between, same_numbers
from concord.models.design import Design
from concord.models.identifiability import independent


def left_out(fixed: str, data: pd.DataFrame, design: Design) -> tuple[int, ...]:
    """The places, from 0, of the columns that patsy makes of a formula and MixedLM is not given.

    Not their names: those of a factor's levels depend on whether a reader of the table takes them for whole numbers.

    Parameters
    ----------
    fixed : the formula of response and fixed part
    data : the table that MixedLM is given
    design : the model, whose `Design.dropped` are not among its columns

    Raises
    ------
    CannotExpress : no choice of patsy's columns is a coding of the model's
    """
    patsy = concord.engines.statsmodels.upstream.patsy
    right = fixed.partition("~")[2]
    room = patsy.EvalEnvironment([{"np": np}])  # np is all that a translated formula calls by its own name
    made = patsy.dmatrix(right, data, eval_env=room, return_type="dataframe")
    matrix, wanted = made.to_numpy(float), design.as_coded.X
    kept = _alike(matrix, wanted)
    if len(kept) < wanted.shape[1]:
        kept = independent(matrix)
    if between(matrix[:, kept], wanted) is None:
        raise CannotExpress("MixedLM", f"a fixed part without {', '.join(design.dropped)}, which lme4 drops")
    return tuple(j for j in range(matrix.shape[1]) if j not in kept)


def _alike(matrix: Matrix, wanted: Matrix) -> list[int]:
    """The columns that are those of the model, in their order; a column that is there twice counts once."""
    kept: list[int] = []
    for column in wanted.T:
        kept += [j for j in range(matrix.shape[1]) if j not in kept and same_numbers(matrix[:, j], column)][:1]
    return sorted(kept)
