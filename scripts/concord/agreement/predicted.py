"""What fits of one model predict for new rows, side by side, each from its own estimates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from concord.engines.fit import Fit
from concord.inference.prediction import Solution
from concord.models.computed import of_new
from concord.models.design import NewRows
from concord.models.given import in_memory
from concord.models.matrices import new_rows
from concord.models.model import Model, ModelError
from concord.models.syntax import FormulaError

LEVELS = "random effects"


def predict(
    fits: Mapping[str, Fit], new: pd.DataFrame | Mapping[str, Any], random: bool | Collection[str] = True
) -> pd.DataFrame:
    """Predictions of the response's mean at new rows.

    Parameters
    ----------
    fits : of one model, by what their columns are to be called
    new : new rows, as a table of pandas or of another package, columns by their names, or one row's values by their
        names; with all variables of the formula but the response, without random effects those of the fixed effects
        alone. Where a value is missing that enters, so is the prediction
    random : whether the predicted random effects of the rows' levels enter (``re.form = NULL`` in lme4) or not
        (``NA``); or the names of the grouping factors whose effects do

    Returns
    -------
    pandas.DataFrame : a row a new row, with its index: a column a fit, ``difference`` (the largest less the smallest),
        and where random effects enter also `LEVELS`: which of them did not, for a level that the fits have not seen
        has no predicted effects: there the prediction is the population's. Standard errors stand in `Solution.predict`

    Raises
    ------
    FormulaError : a variable is missing, is text where the fit has numbers, or a factor among the predictors has
        another level
    SourceError : the new rows are no table
    ModelError : there is no such grouping factor
    """
    model = next(iter(fits.values())).model
    table = _typed(model, _rows(new))
    terms = _chosen(model, random)
    if not len(table):
        return pd.DataFrame(index=table.index, columns=[*fits, "difference", *([LEVELS] if terms else [])], dtype=float)
    rows = new_rows(
        model.formula, model.design, model.frame, _as_fitted(model, of_new(model.frame, model.made, table), terms)
    )
    predicted = pd.DataFrame(index=table.index)
    for label, fit in fits.items():
        try:
            predicted[label] = Solution(model.design, fit.parameters).predict(rows, terms, errors=False).to_numpy()
        except ValueError:  # its estimates are not parameters of the model
            predicted[label] = np.nan
    columns = predicted.to_numpy()
    predicted["difference"] = columns.max(axis=1) - columns.min(axis=1)
    if terms:
        predicted[LEVELS] = _said(model, rows, terms)
    return predicted


def _rows(new: Any) -> pd.DataFrame:
    """New rows as a table of pandas; of plain values by their names the one row."""
    if isinstance(new, Mapping) and new and all(np.ndim(value) == 0 for value in new.values()):
        return pd.DataFrame([dict(new)])
    return in_memory(new)


def _typed(model: Model, table: pd.DataFrame) -> pd.DataFrame:
    """New rows with numbers where the table that was fitted has numbers, and levels in its order where it has these."""
    frame, made = model.frame, table.copy()
    for name in frame.columns.intersection(table.columns):
        column, own = table[name], frame[name]
        if pd.api.types.is_numeric_dtype(own):
            numbers = pd.to_numeric(column.astype(object), errors="coerce").astype(float)
            if (strange := column[numbers.isna() & column.notna()]).size:
                raise FormulaError(f"new rows: {name!r} is numbers in the fit, and here such as {strange.iloc[0]!r}")
            made[name] = numbers
        elif isinstance(own.dtype, pd.CategoricalDtype) and set(column.dropna()) <= set(own.cat.categories):
            made[name] = pd.Categorical(column, dtype=own.dtype)
    return made


def _chosen(model: Model, random: bool | Collection[str]) -> list[int]:
    """The numbers of the terms whose effects enter."""
    groups = [term.group for term in model.design.terms]
    if isinstance(random, bool):
        return [*range(len(groups))] if random else []
    wanted = {random} if isinstance(random, str) else set(random)
    if unknown := wanted - set(groups):
        raise ModelError(f"no grouping factor {', '.join(sorted(unknown))}: the model has {', '.join(groups)}")
    return [t for t, group in enumerate(groups) if group in wanted]


def _as_fitted(model: Model, table: pd.DataFrame, terms: Sequence[int]) -> pd.DataFrame:
    """New rows in the types of the table that was fitted: 175 is the level "175" of a factor. Without random effects,
    what only they need is filled in.
    """
    frame, formula = model.frame, model.formula
    made = table.copy()
    for name in formula.variables:
        if name not in made:
            if not terms and name not in formula.of_fixed:
                made[name] = [frame[name].iloc[model.design.rows[0]]] * len(made)
        elif not pd.api.types.is_numeric_dtype(frame[name]) and _numbers(made[name]):
            made[name] = [None if pd.isna(value) else f"{value:.15g}" for value in made[name]]
    return made


def _numbers(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _said(model: Model, rows: NewRows, terms: Sequence[int]) -> list[str]:
    """Of every row, in words: which random effects entered."""
    names = [model.design.terms[t].group for t in terms]
    unseen = [
        dict.fromkeys(name for name, t in zip(names, terms, strict=True) if rows.codes[t][i] < 0)
        for i in range(len(rows.X))
    ]
    return [
        "all" if not groups else f"none of {', '.join(groups)}: a new level, the population's mean" for groups in unseen
    ]
