"""A model of a user's own table."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pandas as pd

from concord.data import datasets
from concord.models import computed, preparation
from concord.models import formula as formulas
from concord.models.model import Model


def model_of(
    table: pd.DataFrame, formula: str, method: str, source: str | None, name: str
) -> tuple[Model, tuple[str, ...]]:
    """A formula on the rows of a table that all engines get, and what was done to the table, a sentence each.

    Parameters
    ----------
    table, formula : what a user has, and a formula in lme4's notation, with what people of Python write in it
    method : ``REML`` or ``ML``
    source : the file's name; None for a table in memory
    name : what the table is called in code

    Raises
    ------
    FormulaError : the formula cannot be used, or not with this table
    PreparationError : the table cannot be used for this formula
    """
    reading = formulas.read(formula, table)
    parsed = formulas.parse(reading.text)
    prepared = preparation.prepare(computed.ordered(table, reading.orders), formulas.parse(reading.sources))
    prepared = replace(prepared, frame=computed.added(prepared.frame, reading.made, reading.orders))
    record = datasets.ModelRecord(formula=reading.text, title=f"{formula} on {source or 'a table'}")
    dataset = datasets.of_table(
        name,
        prepared.frame,
        {"model": record},
        title=source or name,
        source=source or "a table in memory",
        sha256=_checksum(prepared.frame),
    )
    model = Model(dataset, "model", record, method, reading.made)
    preparation.check(model.design, parsed, prepared)
    return model, reading.notes + prepared.notes


def _checksum(frame: pd.DataFrame) -> str:
    """SHA-256 of a table's contents."""
    digest = hashlib.sha256(repr(list(frame.columns)).encode())
    digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()
