"""What fits predict, line by line and in tables: random effects and their conditional covariances, fitted values and
residuals, predictions for new rows, and the variance explained.

Every package's statements are its own functions' (``random_effects_cov``, ``ranef``, ``fitted``, ``predict``, ...),
asked where its result is; beside each stands what the mixed-model equations give at that package's estimates
(`concord.inference.prediction`), in the order of the model's terms, levels and rows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from concord.account.line import Line
from concord.account.predictions import effects, explained, fitted
from concord.account.predictions.sources import Sources, at_reference
from concord.agreement.comparison import Comparison
from concord.models.matrices import new_rows
from concord.models.new_rows import new_table
from concord.vocabulary import INDEPENDENT

SECTIONS = (effects.SECTION, fitted.FITTED, fitted.PREDICTED, explained.SECTION)


def lines(comparison: Comparison, new: pd.DataFrame | None = None) -> list[Line]:
    """Everything that the fits of one model predict.

    Parameters
    ----------
    comparison : fits of one model
    new : new rows to predict at; by default `new_table`

    Returns
    -------
    list of Line : sections ``random effects``, ``fitted values``, ``predictions`` and ``explained variance``
    """
    sources = Sources(comparison, new_table(comparison.model) if new is None else new)
    if not sources.all:
        return []
    return [
        *effects.lines(sources),
        *fitted.fitted_lines(sources),
        *fitted.new_lines(sources),
        *explained.lines(sources),
    ]


def predictions_table(comparison: Comparison, new: pd.DataFrame | None = None) -> pd.DataFrame:
    """Predictions for new rows from all sources, beside the independent ones with their standard errors.

    Parameters
    ----------
    comparison : fits of one model
    new : new rows; by default `new_table`

    Returns
    -------
    pandas.DataFrame : two rows a new row, first of the fixed effects only, then with the random ones: the new row's
        columns, ``random`` (``none``, ``known``, or ``unknown`` where a level is not the model's), every fit's
        prediction under its label (missing where it gives none), ``independent`` at the reference's estimates, and
        `concord.inference.prediction.PREDICTIONS`' three standard errors
    """
    model = comparison.model
    new = new_table(model) if new is None else new
    rows = new_rows(model.formula, model.design, model.frame, new)
    sources = Sources(comparison, new)
    solution = at_reference(comparison)
    halves = []
    for name, random in (("new_fixed", False), ("new", True)):
        table = new.copy()
        table["random"] = np.where(rows.known, "known", "unknown") if random else "none"
        for source in sources.all:
            values = np.asarray(source.said.values.get(name, np.full(len(new), np.nan)), float)
            table[source.label] = values + (rows.offset if source.without_offset else 0.0)
        if solution:
            errors = solution.predict(rows, random)
            table[INDEPENDENT] = errors.pop("estimate").to_numpy()
            table[list(errors)] = errors.to_numpy()
        halves.append(table)
    return pd.concat(halves).sort_index(kind="stable").reset_index(drop=True)
