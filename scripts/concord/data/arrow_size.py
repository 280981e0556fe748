"""How large a table in Arrow's formats would be, before it is unpacked: a small file may hold any amount."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from concord.data.limits import limits

_BATCH = 2**16


def read_parquet(source: pa.Buffer, where: str) -> pa.Table:
    """A Parquet file's table, read bit by bit, as what the file says of its size may be untrue.

    Texts are read as a dictionary and so many places, as one that is stored once may stand in every row; columns that
    are no variable of a formula are not read, and empty.

    Raises
    ------
    SourceError : it is larger than `limits`
    """
    file, most = pa.parquet.ParquetFile(pa.BufferReader(source)), limits()
    fields, rows = file.schema_arrow, file.metadata.num_rows
    most.check_rows(rows, where)
    read = [field.name for field in fields if not _is_other(field.type)]
    plain = sum(rows * field.type.bit_width // 8 for field in fields if pa.types.is_primitive(field.type))
    most.check_bytes(plain, where)
    texts = [field.name for field in fields if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    file, batches, rows, size = pa.parquet.ParquetFile(pa.BufferReader(source), read_dictionary=texts), [], 0, 0
    for batch in file.iter_batches(_BATCH, columns=read):
        rows, size = rows + batch.num_rows, size + sum(map(_size, batch.columns))
        most.check_rows(rows, where)
        most.check_bytes(size, where)
        batches.append(batch)
    table = pa.Table.from_batches(batches) if batches else fields.empty_table().select(read)
    come = {name: table.column(place) for place, name in enumerate(table.column_names)}
    columns = [
        come[field.name].cast(field.type) if field.name in come else pa.nulls(rows, field.type) for field in fields
    ]
    return pa.table(columns, schema=fields)


def _is_other(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _size(column: pa.Array) -> int:
    """How many bytes a column has, each of its texts counted where it stands."""
    if not pa.types.is_dictionary(column.type) or not len(column.dictionary):
        return int(column.nbytes)
    lengths = pa.compute.binary_length(column.dictionary.cast(pa.string())).cast(pa.int64())
    return pa.compute.sum(lengths.take(column.indices)).as_py() or 0


def check_arrow(source: pa.Buffer, where: str) -> None:
    """Raise a SourceError where an Arrow file or stream holds more than `limits`: each buffer says how large it is.

    What is damaged is passed over here, as its reader tells of it.
    """
    most, rows, size = limits(), 0, 0
    begins = 8 if source[:8].to_pybytes() == b"ARROW1\0\0" else 0
    reader = pa.ipc.MessageReader.open_stream(source[begins:])
    while True:
        try:
            message = reader.read_next_message()
            if message.type not in ("record batch", "dictionary"):
                continue
            length, buffers = _batch(memoryview(message.metadata), memoryview(message.body), message.type)
        except (StopIteration, EOFError, pa.ArrowException, OSError, struct.error):
            return
        rows, size = rows + (length if message.type == "record batch" else 0), size + buffers
        most.check_rows(rows, where)
        most.check_bytes(size, where)


def _batch(told: memoryview, body: memoryview, kind: str) -> tuple[int, int]:
    """How many rows a batch has, and how many bytes its buffers, once they are unpacked.

    Parameters
    ----------
    told : the flatbuffer ``Message`` of Arrow's format, whose tables say where each of their fields stands
    body : the buffers; one that is packed begins with its size, or with -1 where it is as it is
    """

    def number(form: str, place: int) -> Any:
        return struct.unpack_from(f"<{form}", told, place)[0]

    def field(table: int, slot: int) -> int:
        """Where a field of a table stands; 0 where it has none."""
        slots = table - number("i", table)
        offset = number("H", slots + 4 + 2 * slot) if 4 + 2 * slot < number("H", slots) else 0
        return table + offset if offset else 0

    def pointed(place: int) -> int:
        return place + int(number("I", place))

    batch = pointed(field(pointed(0), 2))
    if kind == "dictionary":
        batch = pointed(field(batch, 1))
    length = number("q", place) if (place := field(batch, 0)) else 0
    packed, buffers, size = field(batch, 3), pointed(field(batch, 2)), 0
    for place in range(buffers + 4, buffers + 4 + 16 * number("I", buffers), 16):
        begins, stored = number("q", place), number("q", place + 8)
        said = struct.unpack_from("<q", body, begins)[0] if packed and stored >= 8 else -1
        size += stored if said < 0 else said
    return length, size
