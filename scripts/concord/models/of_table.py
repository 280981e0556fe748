"""A model of a user's own table."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pandas as pd

from concord.data import datasets
from concord.models import computed, preparation
from concord.models import formula as formulas
from concord.models.dropped import dropped_note
from concord.models.model import Model
from concord.models.syntax import FormulaError


def model_of(
    table: pd.DataFrame, formula: str, method: str, source: str | None, name: str, weights: str | None = None
) -> tuple[Model, tuple[str, ...]]:
    """A formula on the rows of a table that all engines get, and what was done to the table, a sentence each.

    Parameters
    ----------
    table, formula : what a user has, and a formula in lme4's notation, with what people of Python write in it
    method : ``REML`` or ``ML``
    source : the file's name; None for a table in memory
    name : what the table is called in code
    weights : the column of the rows' weights; None where all weigh the same

    Raises
    ------
    FormulaError : the formula cannot be used, or not with this table
    PreparationError : the table cannot be used for this formula
    """
    reading = formulas.read(formula, table)
    parsed = formulas.parse(reading.text, _checked(weights))
    prepared = preparation.prepare(computed.ordered(table, reading.orders), formulas.parse(reading.sources, weights))
    prepared = replace(prepared, frame=computed.added(prepared.frame, reading.made, reading.orders))
    title = f"{formula} on {source or 'a table'}"
    record = datasets.ModelRecord(formula=reading.text, title=title, weights=weights)
    dataset = datasets.of_table(
        name,
        prepared.frame,
        {"model": record},
        title=source or name,
        source=source or "a table in memory",
        sha256=_checksum(prepared.frame),
    )
    model = Model(dataset, "model", record, method, reading.made)
    preparation.check(model.design.as_coded, parsed, prepared)
    return model, (*reading.notes, *prepared.notes, *dropped_note(model))


def _checked(weights: str | None) -> str | None:
    if weights is None or isinstance(weights, str) and weights:
        return weights
    given = repr(weights) if isinstance(weights, str) else type(weights).__name__
    raise FormulaError(f"weights is the name of a column, such as 'w', not {given}: make them a column of the table")


def _checksum(frame: pd.DataFrame) -> str:
    """SHA-256 of a table's contents."""
    digest = hashlib.sha256(repr(list(frame.columns)).encode())
    digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()
