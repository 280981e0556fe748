"""Parts: files with the rows of some replicates, each of which carries what it belongs to and is held to it.

A part's name says which replicates it has; its Parquet metadata says of which study they are, and has a digest of the
rows. A part that lies where it does not belong, under another's name, or with other rows than were written, is refused
in one line: never counted, and never quietly left out.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from concord.errors import InputError, shorten
from concord.vocabulary import INDEPENDENT

FORMAT = 3
"""Of a study's folder: 2 since parts carry what they belong to, 3 since rows say more of each fit."""
OPTIMUM = "optimum"
"""In the place of settings: the row of `INDEPENDENT` with the optimum that the others are judged against."""

ANEW = "delete it, and the simulate command computes it anew"
ELSEWHERE = "move it elsewhere, or delete it: the simulate command computes what is missing"

_KEY = b"concord"
_NAME = re.compile(r"(\d{9,})-(\d{9,})\.parquet")
# A Parquet file begins and ends with it; before the last one stands its metadata's length, in four bytes.
_MAGIC = b"PAR1"


@dataclass(frozen=True)
class Identity:
    """The study, the case and the replicates of a part.

    Attributes
    ----------
    case, digest : name of what was drawn from, and the digest of its numbers
    seed : of the study
    fits : engines and settings: ``("lme4 default", ...)``
    thorough : whether MixedLM's tuned fits ask its slow optimizers too, where no gradient finds rest
    level : of the Wald intervals
    versions : of all that made the rows
    first, stop : its replicates are those from `first` up to and without `stop`
    format : of the folder
    """

    case: str
    digest: str
    seed: int
    fits: tuple[str, ...]
    thorough: bool
    level: float
    versions: Mapping[str, str]
    first: int
    stop: int
    format: int = FORMAT

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"{self.first:09}-{self.stop:09}.parquet"

    @property
    def rows(self) -> int:
        """How many there are: one of the optimum, and one an engine and settings, a replicate."""
        return (self.stop - self.first) * (1 + len(self.fits))


def encode(rows: Sequence[Mapping[str, object]] | pa.Table, identity: Identity, columns: pa.Schema) -> bytes:
    """Rows as a part, with checksums and with what they belong to.

    Raises
    ------
    ValueError : they are not the rows of these replicates
    """
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=columns)
    if wrong := _other_rows(table, identity):
        raise ValueError(wrong)
    said = json.dumps(asdict(identity) | {"rows": digest(table)}, ensure_ascii=False)
    buffer = io.BytesIO()
    table = table.replace_schema_metadata({_KEY: said.encode()})
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def digest(table: pa.Table) -> str:
    """SHA-256 of a table's values, with the names and types of its columns; the same however it is stored."""
    checksum = hashlib.sha256(str(table.num_rows).encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        checksum.update(f"\0{name}\0{column.type}\0".encode())
        for column_part in _flat(column):
            checksum.update(np.packbits(column_part.is_null().to_numpy().astype(bool)).tobytes())
            if pa.types.is_string(column_part.type):
                texts = column_part.fill_null("")
                checksum.update(pc.binary_length(texts).to_numpy().astype(np.int64).tobytes())
                checksum.update("".join(texts.to_pylist()).encode())
            elif pa.types.is_boolean(column_part.type):
                checksum.update(np.packbits(column_part.fill_null(False).to_numpy().astype(bool)).tobytes())
            else:
                checksum.update(np.ascontiguousarray(column_part.fill_null(0).to_numpy()).tobytes())
    return checksum.hexdigest()


def _flat(column: pa.ChunkedArray) -> list[pa.ChunkedArray]:
    """A column as columns without lists: of a column of lists their lengths, and everything that is in them."""
    return [pc.list_value_length(column), pc.list_flatten(column)] if pa.types.is_list(column.type) else [column]


def identify(path: Path) -> Identity:
    """The identity that a part states; its rows are not read, which `read` does.

    Raises
    ------
    InputError : it is not a whole Parquet file, states no identity, or has another name than its replicates
    """
    match = _NAME.fullmatch(path.name)
    if not match:
        raise InputError(f"{path}: is not the name of a part: {ELSEWHERE}")
    identity = _said(path, _metadata(path))[0]
    if identity.name != path.name:
        last, named = identity.stop - 1, int(match[2]) - 1
        raise InputError(
            f"{path}: holds replicates {identity.first} to {last}, and its name says {int(match[1])} to {named}: {ANEW}"
        )
    return identity


def refuse(path: Path, identity: Identity, study: Mapping[str, Any]) -> None:
    """Raise InputError where a part in a case's folder is not of this study.

    Parameters
    ----------
    path, identity : the part, and what it says of itself
    study : a manifest, see `concord.simulation.store.Plan`
    """
    if identity.case != path.parent.name:
        raise InputError(f"{path}: belongs to {identity.case}, and lies with {path.parent.name}: {ELSEWHERE}")
    case = study["cases"].get(identity.case)
    if case is None:
        raise InputError(f"{path}: belongs to {identity.case}, which this study does not have: {ELSEWHERE}")
    for name in ("seed", "fits", "thorough", "level"):
        there, here = getattr(identity, name), study[name]
        there = list(there) if isinstance(there, tuple) else there
        if there != here:
            raise InputError(
                f"{path}: belongs to another study: {name} is {there} there, {here} in this one: {ELSEWHERE}"
            )
    for name in {**study["versions"], **identity.versions}:
        there, here = identity.versions.get(name), study["versions"].get(name)
        if there != here:
            raise InputError(f"{path}: was computed with {name} {there}, and this study with {here}: {ELSEWHERE}")
    if identity.digest != case["digest"]:
        raise InputError(
            f"{path}: belongs to another study: the table or the truth of {identity.case} is another one: {ELSEWHERE}"
        )


def read(path: Path) -> pa.Table:
    """The rows of a part.

    Raises
    ------
    InputError : they are not what was written, or not exactly the replicates that the part says it has
    """
    identity = identify(path)
    try:
        table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: is damaged ({shorten(str(error))}): {ANEW}") from error
    said = _said(path, table.schema.metadata or {})[1]
    if wrong := _other_rows(table, identity):
        raise InputError(f"{path}: {wrong}: {ANEW}")
    if digest(table) != said:
        raise InputError(f"{path}: has other values than were written: {ANEW}")
    return table


def _metadata(path: Path) -> Mapping[bytes, bytes]:
    """The metadata of a part, after a check that it begins and ends as Parquet does.

    Raises
    ------
    InputError : it does not, as after a power cut, or it cannot be read
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8))
            length, tail = file.read(4), file.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}: {ANEW}") from error
    if head != _MAGIC or tail != _MAGIC or not 0 < int.from_bytes(length, "little") <= size - 12:
        raise InputError(f"{path}: is not a whole Parquet file: {ANEW}")
    try:
        return pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: is damaged ({shorten(str(error))}): {ANEW}") from error


def _said(path: Path, metadata: Mapping[bytes, bytes]) -> tuple[Identity, str]:
    """The identity that a part states, and the digest of its rows."""
    try:
        said = json.loads(metadata[_KEY])
        there = said["format"]
        if there == FORMAT:
            rows = said.pop("rows")
            identity = Identity(**{**said, "fits": tuple(said["fits"])})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: does not say which study it belongs to: {ANEW}") from error
    if there != FORMAT:
        raise InputError(f"{path}: has format {there}, and this version {FORMAT}: {ANEW}")
    return identity, rows


def _other_rows(table: pa.Table, identity: Identity) -> str:
    """The error where rows are not, in order, one of the optimum and one of each fit a replicate; or empty."""
    fits = [(INDEPENDENT, OPTIMUM), *(tuple(fit.split(" ")) for fit in identity.fits)]
    numbers = range(identity.first, identity.stop)
    wanted = {
        "case": [identity.case] * identity.rows,
        "replicate": [number for number in numbers for _ in fits],
        "engine": [engine for engine, _ in fits] * len(numbers),
        "settings": [settings for _, settings in fits] * len(numbers),
    }
    for name, values in wanted.items():
        if name not in table.column_names or table[name].to_pylist() != values:
            last = identity.stop - 1
            return f"its rows are not those of the replicates {identity.first} to {last}, each once (column {name})"
    return ""
