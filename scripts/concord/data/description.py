"""The description of a data set: what its TOML says of it, and what its columns hold, for pages and files."""

from __future__ import annotations

from typing import Any

import pandas as pd

from concord.data.datasets import ColumnRecord, Dataset

_TOLD = ("id", "title", "measured", "source", "version", "citation", "licence", "sha256")


def of(dataset: Dataset) -> dict[str, Any]:
    """A data set of the catalogue as JSON: all that is said of it and of its columns, ``rows``, and its ``csv``;
    without its models.
    """
    return {
        **{name: getattr(dataset, name) for name in _TOLD},
        "rows": len(dataset.frame),
        "columns": [_column(name, column, dataset.frame[name]) for name, column in dataset.columns.items()],
        "csv": (dataset.place / f"{dataset.id}.csv").read_text(encoding="utf-8") if dataset.place else "",
    }


def _column(name: str, column: ColumnRecord, values: pd.Series) -> dict[str, Any]:
    """A column: its values as a range, or as all of its levels."""
    said = {"name": name, "type": column.type, "unit": column.unit or "", "meaning": column.meaning}
    counted = {"missing": int(values.isna().sum()), "different": int(values.nunique())}
    if pd.api.types.is_numeric_dtype(values):
        return {**said, **counted, "values": f"{values.min():.6g} to {values.max():.6g}"}
    levels = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else sorted(set(values.dropna()))
    return {**said, **counted, "values": ", ".join(map(str, levels))}
