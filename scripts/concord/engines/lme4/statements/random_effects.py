"""Random effects and predictions: what lme4 states of a fit, in the model's coding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.arrays import Array, Integers, Matrix
from concord.engines.fit import Fit
from concord.engines.lme4.engine import room as engine_room
from concord.engines.statements import NotStated, Predictions, asked_in_r, collected, first_rows, of_whole_rows
from concord.inference import effects
from concord.models.coding import between, same_groups

_R = Path(__file__).with_suffix(".R")


def _room() -> Any:
    r.package("lme4")
    return r.source(_R)


def predictions(fit: Fit, new: pd.DataFrame) -> Predictions:
    """What lme4 predicts, and the parts of the variance; see `Predictions`."""
    return fit.ask(_predictions, new)


def _predictions(fit: Fit, new: pd.DataFrame) -> Predictions:
    return collected(
        fit,
        new,
        (
            (("conditional",), _conditional),
            (("standardized",), "lme4 has no standardized random effects"),
            (("fitted", "fitted_fixed", "predicted", "residual", "pearson", "scaled"), asked_in_r(_room, "rows")),
            (("new_fixed", "new"), of_whole_rows(asked_in_r(_room, "new_rows", of_new_rows=True))),
            (("variances",), _variances),
        ),
        definitions={"pearson": "pearson_not_scaled"}
        | ({"scaled": "scaled_without_weights"} if fit.model.formula.weights else {}),
        parts={
            "errors": "lmer's columns are a recombination of the model's",
            "conditional, across terms": "ranef() of lme4 has the covariances within a term only",
        },
    )


def _variances(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    got = r.from_r(r.call(_room()["variances"], fit.native, engine_room()["columns_of"]))
    return {"variances": {part: float(value[0]) for part, value in got.items()}}


@dataclass(frozen=True, eq=False)
class _Conditional:
    """For every random term of lmer's its group, its columns, shape (n, q), the number of each row's level, from 1 on,
    and the covariance matrices of its levels' effects, shape (q, q, levels).
    """

    groups: list[str]
    matrices: list[Matrix]
    codes: list[Integers]
    spreads: list[Array]


def _conditional(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    """Within every term."""
    got = r.record(_Conditional, r.call(_room()["conditional"], fit.native, engine_room()["columns_of"]))
    covariances: dict[tuple[effects.Effect, effects.Effect], np.ndarray] = {}
    left = list(range(len(got.groups)))
    for t, term in enumerate(fit.model.design.as_coded.terms):
        for place in left:
            matrix = got.matrices[place].reshape(len(term.codes), -1)
            back = between(matrix, term.matrix)
            if back is not None and same_groups(got.codes[place], term.codes):
                break
        else:
            raise NotStated(f"the lmer fit has no term ({', '.join(term.names)} | {term.group})")
        left.remove(place)
        codes = np.asarray(got.codes[place], int) - 1
        spread = np.moveaxis(got.spreads[place], 2, 0)[codes[first_rows(term)]]
        covariances |= effects.pairs(effects.effects_of(fit.model.design, [t]), back @ spread @ back.T)
    return {"conditional": covariances}
