"""The parameters of a linear mixed model: fixed effects, covariance matrices and residual variance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from concord.arrays import Matrix, Vector
from concord.models.design import Design
from concord.vocabulary import SETTINGS as SETTINGS


def parameters(estimates: pd.DataFrame, design: Design) -> tuple[Vector, list[Matrix], float]:
    """Fixed effects, covariance matrices and residual variance out of a tidy table, in the design's order."""
    values = {(row.effect, row.group, row.term): row.estimate for row in estimates.itertuples()}
    fixed = np.array([values["fixed", "", name] for name in design.names])
    covariances = []
    for term in design.terms:
        matrix = np.diag([values["ran_pars", term.group, f"var__{name}"] for name in term.names])
        for j, second in enumerate(term.names):
            for i, first in enumerate(term.names[:j]):
                matrix[i, j] = matrix[j, i] = values["ran_pars", term.group, f"cov__{first}.{second}"]
        covariances.append(matrix)
    return fixed, covariances, values["ran_pars", "Residual", "var__Observation"]


KEY = ["effect", "group", "term"]
ESTIMATES = [*KEY, "estimate", "std_error"]
RANDOM_EFFECTS = ["group", "level", "term", "estimate", "std_error"]


def tidy(
    design: Design,
    fixed: Vector,
    std_error: Vector,
    covariances: Sequence[Matrix],
    residual_variance: float,
    exact: bool = False,
) -> pd.DataFrame:
    """Estimates as a table with one row per parameter, columns ``effect, group, term, estimate, std_error``.

    Numbers become doubles, unless they are to stay `exact`: what they are, such as balls.
    """
    rows = [("fixed", "", *row) for row in zip(design.names, fixed, std_error, strict=True)]
    for term, covariance in zip(design.terms, covariances, strict=True):
        for i, name in enumerate(term.names):
            rows.append(("ran_pars", term.group, f"var__{name}", covariance[i, i], np.nan))
        for j, second in enumerate(term.names):
            for i, first in enumerate(term.names[:j]):
                rows.append(("ran_pars", term.group, f"cov__{first}.{second}", covariance[i, j], np.nan))
    rows.append(("ran_pars", "Residual", "var__Observation", residual_variance, np.nan))
    table = pd.DataFrame(rows, columns=ESTIMATES)
    return table if exact else table.astype({"estimate": float, "std_error": float})


# theta^2 below this is rounding about a variance of zero: a share of the residual variance in the response. The same
# number rules the square of what a correlation leaves of its second effect.
ZERO = 1e-8
