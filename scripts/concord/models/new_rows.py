"""New data: rows that a model was not fitted to, to predict at."""

from __future__ import annotations

import numpy as np
import pandas as pd

from concord.models.model import Model


def new_table(model: Model) -> pd.DataFrame:
    """New rows to predict at: the first row of one level and the last of the next, and the same of unknown levels.

    Columns that only group get a level that is not in the table; a column that is a predictor too keeps its own, for no
    package predicts at an unknown level of a predictor. The response is left out.

    Returns
    -------
    pandas.DataFrame : two to four rows, all columns of the formula but the response
    """
    uses, design = model.formula.uses, model.design
    codes = design.terms[0].codes
    others = codes[codes != codes[0]][:1]
    chosen = design.rows[[0, *(np.flatnonzero(codes == other)[-1] for other in others)]]
    names = [name for name in model.formula.variables if uses[name] != {"response"}]
    known = model.frame[names].iloc[chosen].reset_index(drop=True)
    unknown = known.copy()
    for name in names:
        if uses[name] == {"group"}:
            known[name], unknown[name] = _beyond(model.frame[name], known[name])
    return pd.concat([known, unknown], ignore_index=True)


def _beyond(column: pd.Series, known: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Some of a column's values, and as many of a level that it does not have, in one type."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        fresh = _unheard({str(level) for level in column.cat.categories})
        both = pd.CategoricalDtype([*map(str, column.cat.categories), fresh])
        return known.astype(str).astype(both), pd.Series([fresh] * len(known), dtype=both)
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return known, pd.Series([column.max() + 1] * len(known), dtype=column.dtype)
    if pd.api.types.is_bool_dtype(column.dtype):
        return known.map({True: "TRUE", False: "FALSE"}), pd.Series(["new"] * len(known))
    return known, pd.Series([_unheard(set(column.dropna().map(str)))] * len(known), dtype=known.dtype)


def _unheard(levels: set[str]) -> str:
    name, count = "new", 1
    while name in levels:
        name, count = f"new {count + 1}", count + 1
    return name
