"""Tables in Arrow's formats: Parquet and Feather."""

from __future__ import annotations

import json
import re
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

from concord.data.arrow_size import check_arrow, read_parquet
from concord.data.source import INDEXED, MENDED, NOTES, SourceError, Unusable, check_names
from concord.errors import one_line


def parse(content: bytes, where: str) -> pd.DataFrame:
    """The table that a Parquet or Feather file holds, whichever of the two its first bytes say.

    Numbers, truth values and texts become what `delimited.parse` makes of them; a dictionary becomes a category with
    its levels in their order, ordered if it is; a decimal the nearest double. What can be no variable of a formula
    (time spans, lists, bytes) is `Unusable`. An index that pandas saved is a column, or left out where it has no name.

    Raises
    ------
    SourceError : it is damaged, has no rows, or its columns' names do not tell them apart
    """
    try:
        parquet = content[:4] == b"PAR1"
        # Not `memory_map`, not `pandas_metadata`: what is read are the bytes and nothing that they point to.
        table = read_parquet(pa.py_buffer(content), where) if parquet else _feather(content, where)
        table.validate(full=True)
    except SourceError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise SourceError(
            f"{where}: it is not a Parquet or Feather file, or is damaged: save it anew ({_reason(error)})"
        ) from None
    names = [name for name in table.column_names if not re.fullmatch(r"__index_level_\d+__", name)]
    check_names(names, where)
    if not names:
        raise SourceError(f"{where}: it has no columns: expected a table")
    if not table.num_rows:
        raise SourceError(f"{where}: it has columns and no rows: expected one row for every observation")
    frame = pd.DataFrame({name: _column(table.column(name), where, name) for name in names})
    frame.attrs[NOTES] = []
    frame.attrs[MENDED] = {field.name: "float" for field in table.schema if pa.types.is_decimal(field.type)}
    frame.attrs[INDEXED] = _index(table.schema)
    return frame


def _index(schema: pa.Schema) -> frozenset[str]:
    """The columns that pandas saved as a table's index, and takes for it again."""
    try:
        told = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))["index_columns"]
        return frozenset(name for name in told if isinstance(name, str))
    except (ValueError, TypeError, KeyError):
        return frozenset()


def _reason(error: Exception) -> str:
    return one_line(str(error))[:150]


def _feather(content: bytes, where: str) -> pa.Table:
    check_arrow(pa.py_buffer(content), where)
    buffer = pa.BufferReader(content)
    try:
        return pa.feather.read_table(buffer)
    except pa.ArrowInvalid:
        buffer.seek(0)  # an .arrow file may also be a stream
        return pa.ipc.open_stream(buffer).read_all()


def _column(column: pa.ChunkedArray, where: str, name: str) -> Any:
    """One column as pandas holds it."""
    kind = column.type
    try:
        if pa.types.is_dictionary(kind):
            array = column.unify_dictionaries().combine_chunks()
            return array.to_pandas() if isinstance(array, pa.Array) else pd.Series(array.to_pandas())
        if pa.types.is_decimal(kind):
            return pd.Series([None if value is None else float(value) for value in column.to_pylist()], dtype="float64")
        if pa.types.is_integer(kind) and column.null_count:
            return column.to_pandas(types_mapper=_NULLABLE.get)
        if pa.types.is_boolean(kind) and column.null_count:
            return column.to_pandas(types_mapper=_NULLABLE.get)
        if pa.types.is_null(kind):
            return pd.Series([None] * len(column), dtype="float64")
        if pa.types.is_floating(kind):
            return column.cast(pa.float64()).to_pandas()
        if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or _is_text(kind):
            return column.to_pandas()
    except (pa.ArrowException, OverflowError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{where}: column {name!r} ({kind}) cannot be read: save it anew ({_reason(error)})"
        ) from None
    return _other(column)


def _other(column: pa.ChunkedArray) -> Any:
    """A column of dates, or one that no formula can use."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return column.to_pandas()
    return Unusable.column("time spans" if pa.types.is_temporal(kind) else f"values of kind {kind}", len(column))


_NULLABLE = {
    pa.bool_(): pd.BooleanDtype(),
    **{getattr(pa, f"int{bits}")(): getattr(pd, f"Int{bits}Dtype")() for bits in (8, 16, 32, 64)},
    **{getattr(pa, f"uint{bits}")(): getattr(pd, f"UInt{bits}Dtype")() for bits in (8, 16, 32, 64)},
}


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
