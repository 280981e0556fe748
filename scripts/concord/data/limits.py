"""How large a table may be: what a small file could unpack to would else take all memory there is."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import IO, NamedTuple

from concord.data.source import SourceError

MAX_ROWS, MAX_BYTES = "CONCORD_MAX_ROWS", "CONCORD_MAX_BYTES"
"""Variables of the environment that hold other limits than `DEFAULT`, for this process and those that it starts."""
_PIECE = 2**20
_MORE = "--max-{0}, in Python max_{0}=, or {1}"
_OPENED: MappingProxyType[bytes, Callable[[IO[bytes]], IO[bytes]]] = MappingProxyType(
    {
        b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),  # type: ignore[dict-item, return-value]
        b"BZh": bz2.BZ2File,
        b"\xfd7zXZ\0": lzma.LZMAFile,
    }
)


class Limits(NamedTuple):
    """Most rows that a table may have, and most bytes that it may be once it is unpacked."""

    rows: int
    bytes: int

    def check_rows(self, rows: int, where: str) -> None:
        """Raise a SourceError where a table has more rows."""
        if rows > self.rows:
            more = _MORE.format("rows", MAX_ROWS)
            raise SourceError(f"{where}: it has more than {self.rows} rows: allow more with {more}")

    def check_bytes(self, size: int, where: str) -> None:
        """Raise a SourceError where a table is larger."""
        if size > self.bytes:
            more = _MORE.format("bytes", MAX_BYTES)
            raise SourceError(f"{where}: it is of more than {self.bytes} bytes, unpacked: allow more with {more}")


DEFAULT = Limits(10_000_000, 2 * 2**30)


def limits() -> Limits:
    """Those that hold here.

    Raises
    ------
    SourceError : a variable of the environment holds no whole number above 0
    """
    values = []
    for name, default in zip((MAX_ROWS, MAX_BYTES), DEFAULT, strict=True):
        text = os.environ.get(name) or str(default)
        if not (text.isascii() and text.isdigit() and int(text[:20])):
            raise SourceError(f"{name}={text}: expected a whole number above 0")
        values.append(int(text[:20]))
    return Limits(*values)


@contextmanager
def limited(rows: int | None = None, bytes: int | None = None) -> Iterator[None]:
    """Other limits meanwhile, here and in processes that are started from here; None leaves one as it is."""
    given = {name: str(value) for name, value in ((MAX_ROWS, rows), (MAX_BYTES, bytes)) if value is not None}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.update({name: value or "" for name, value in before.items()})


def unpacked(content: bytes, where: str, begins: bytes | None = None) -> bytes:
    """What gzip, bzip2 or xz packed, and anything else as it is; it stops where that is too much.

    Parameters
    ----------
    begins : how it should begin, which says by which it was packed; None for how it does

    Raises
    ------
    SourceError : it is larger than `limits`
    OSError, EOFError, ValueError, lzma.LZMAError, zlib.error : it is damaged
    """
    opened = next((opened for begin, opened in _OPENED.items() if (begins or content).startswith(begin)), None)
    if opened is None:
        return content
    most, whole = limits(), io.BytesIO()
    with opened(io.BytesIO(content)) as file:
        while piece := file.read(_PIECE):
            whole.write(piece)
            most.check_bytes(whole.tell(), where)
    return whole.getvalue()


def check_text(content: bytes, where: str) -> None:
    """Raise a SourceError where a text has more lines than a table may have rows, those within quotes not counted."""
    most = limits()
    if max(map(content.count, (b"\n", b"\r"))) > most.rows:
        outside = content.split(b'"')[::2]
        most.check_rows(max(sum(part.count(end) for part in outside) for end in (b"\n", b"\r")) - 1, where)
