"""Datasets: a folder with a CSV and the TOML that describes it, read strictly.

``datasets/<id>/dataset.toml`` says where the table comes from, what its columns mean and which models are fitted to
it; ``datasets/<id>/<id>.csv`` is the table. Everything that the TOML states is checked when the dataset is loaded:
whatever does not hold is one `DatasetError` that names the file and the key.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from concord import checkout, files
from concord.data import written
from concord.data.delimited import printed
from concord.data.source import DECIMALS
from concord.data.version_ranges import contains, outside
from concord.data.written import WRITTEN, Written
from concord.errors import InputError

# How a value is written: a number in decimals and nothing else that a parser would take, such as "nan" or "1_000".
_WRITTEN = {
    "integer": r"[+-]?[0-9]+",
    "boolean": r"true|false",
    "number": r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?",
}

Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


def _range(text: str) -> str:
    contains(text, "0")
    return text


Range = Annotated[str, AfterValidator(_range)]


class DatasetError(InputError):
    """A dataset's folder, TOML or CSV is not what it should be; the message names the file and the key."""


class StrictRecord(BaseModel):
    """A table of a file: what is not one of its keys, or of another type, is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def first_mistake(error: ValidationError) -> tuple[tuple[str | int, ...], str]:
    """Where the first thing stands that a record does not allow, key by key, and what is wrong with it."""
    first = error.errors()[0]
    what = {"extra_forbidden": "unknown key", "missing": "this key is missing"}.get(first["type"], first["msg"])
    return first["loc"], what.removeprefix("Value error, ")


class ColumnRecord(StrictRecord):
    """What one column of the table holds."""

    type: Literal["number", "integer", "boolean", "string", "factor", "ordered"]
    meaning: Text
    unit: Text | None = None
    levels: list[str] | None = None

    @model_validator(mode="after")
    def _levels_belong_to_factors(self) -> ColumnRecord:
        if (self.levels is not None) != (self.type in ("factor", "ordered")):
            raise ValueError("levels belong to the types factor and ordered, and to no other")
        if self.levels is not None and len(set(self.levels)) != len(self.levels):
            raise ValueError("a level is listed twice")
        return self


class Known(StrictRecord):
    """A disagreement of the default settings that is expected, with its reason; by one method, or by both.

    Attributes
    ----------
    versions : by package the range of versions with which it is expected; with others the packages should agree
    by_rounding : whether the last bits of an engine's criterion decide: with other versions, too, it may come
    """

    verdict: Literal[
        "python short",
        "r short",
        "both short",
        "python imprecise",
        "r imprecise",
        "both imprecise",
        "differ",
        "no fit",
        "cannot express",
    ]
    reason: Text
    method: Literal["REML", "ML"] | None = None
    versions: dict[Text, Range] = Field(default_factory=dict)
    by_rounding: bool = False


class Tolerance(StrictRecord):
    """A tolerance of this model's own for one quantity, with the reason why it needs it."""

    rtol: Annotated[float, Field(ge=0)] = 0.0
    atol: Annotated[float, Field(ge=0)] = 0.0
    reason: Text


class ModelRecord(StrictRecord):
    """A model that is fitted to the dataset: an lme4 formula, and the column of weights where rows have some."""

    formula: Text
    title: Text
    weights: Text | None = None
    note: Text | None = None
    known: tuple[Known, ...] = ()
    tolerance: dict[Literal["loglik", "std_error"], Tolerance] = Field(default_factory=dict)

    @field_validator("known", mode="before")
    @classmethod
    def _one_or_several(cls, known: Any) -> Any:
        """A table, or an array of tables with a method each."""
        return (known,) if isinstance(known, dict) else tuple(known) if isinstance(known, list) else known

    @model_validator(mode="after")
    def _declared_once(self) -> ModelRecord:
        always = [known.method for known in self.known if not known.versions]
        if len(set(always)) < len(always) or (None in always and len(self.known) > 1):
            raise ValueError("known: a method is declared twice")
        return self

    def known_by(self, method: str, version_of: Callable[[str], str], by_rounding: bool = False) -> Known | None:
        """The disagreement that is expected by a method, the first that is declared for these versions; None where none
        is.

        Parameters
        ----------
        version_of : the version of a package, asked only of those that a declaration names
        by_rounding : whether to give, where none is expected with these versions, one that may come with them
        """
        declared = [known for known in self.known if known.method in (None, method)]
        due = next((known for known in declared if not outside(known.versions, version_of)), None)
        if due is None and by_rounding:
            return next((known for known in declared if known.by_rounding), None)
        return due


class _DatasetRecord(StrictRecord):
    title: Text
    # In a few sentences: on whom and how; catalogues older than the pages of data sets have none. A citation has the
    # DOI behind each work: ``doi:10.1007/b98882``.
    measured: str = ""
    source: Annotated[str, Field(pattern=r"^[A-Za-z0-9.]+::[A-Za-z0-9._]+$")]
    version: Text
    citation: Text
    licence: Text
    rows: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    columns: Annotated[dict[str, ColumnRecord], Field(min_length=1)]
    models: Annotated[dict[Name, ModelRecord], Field(min_length=1)]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A table with its description.

    Attributes
    ----------
    id : the folder's name
    frame : the table, one row per observation; factors are ``category`` columns with the levels in R's order
    columns, models : what the TOML says of each column and of each model, by name
    title, measured : what it is in a line, and what was measured in a few sentences
    source, version, citation, licence : where the table comes from and under which terms
    sha256 : checksum of the CSV
    place : the folder; None for a table that is not a dataset of the workbook
    """

    id: str
    frame: pd.DataFrame
    columns: dict[str, ColumnRecord]
    models: dict[str, ModelRecord]
    title: str
    measured: str
    source: str
    version: str
    citation: str
    licence: str
    sha256: str
    place: Path | None

    def __repr__(self) -> str:
        return f"<Dataset {self.id}: {len(self.frame)} rows, {len(self.frame.columns)} columns ({self.source})>"


def folder() -> Path:
    """The folder that holds the datasets: the checkout's, or the environment's ``CONCORD_DATASETS``.

    Raises
    ------
    InputError : there is neither
    """
    named = os.environ.get("CONCORD_DATASETS")
    return Path(named) if named else checkout.path("datasets")


def has(id: str) -> bool:
    """Whether there is a catalogue that has a dataset with this id."""
    there = os.environ.get("CONCORD_DATASETS") or checkout.root()
    return there is not None and id in catalogue()


def catalogue() -> list[str]:
    """Ids of all datasets, sorted."""
    return sorted(path.parent.name for path in folder().glob("*/dataset.toml"))


def load(id: str) -> Dataset:
    """The dataset with this id.

    Raises
    ------
    DatasetError : no such dataset, or its TOML or CSV is not what it should be
    """
    place = folder() / id
    if Path(id).name != id or not (place / "dataset.toml").is_file():  # an id is no way to another folder
        raise DatasetError(f"dataset {id!r}: not found in {folder()}; there are {', '.join(catalogue()) or 'none'}")
    return _load(place.absolute(), tuple(map(_stamp, (place / "dataset.toml", place / f"{id}.csv"))))


@cache
def _load(place: Path, stamps: tuple[object, ...]) -> Dataset:
    return read(place)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What is another one when the file is: a dataset that was edited since it was read is read anew."""
    try:
        status = path.stat()
    except OSError:  # which reading it will tell
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def read(place: Path) -> Dataset:
    """The dataset in the folder `place`, with everything that its TOML states checked."""
    toml, table = place / "dataset.toml", place / f"{place.name}.csv"
    record = _read_record(toml)
    frame = _read_table(table, toml, record)
    told = record.title, record.measured, record.source, record.version, record.citation, record.licence
    return Dataset(place.name, frame, record.columns, record.models, *told, record.sha256, place)


def of_table(
    id: str, frame: pd.DataFrame, models: dict[str, ModelRecord], title: str, source: str, sha256: str
) -> Dataset:
    """A table that is not a dataset of the catalogue, of which nothing more is known; see `Dataset`."""
    return Dataset(
        id, frame, {}, models, title, "", source, version="", citation="", licence="", sha256=sha256, place=None
    )


def _read_record(toml: Path) -> _DatasetRecord:
    content = files.read_toml(toml, DatasetError)
    try:
        return _DatasetRecord.model_validate(content)
    except ValidationError as error:
        loc, what = first_mistake(error)
        # One table of known disagreements is read as an array of one: its place there is nothing to tell.
        places = [place for place in loc if place != "[key]"]
        key = ".".join(
            str(place) for before, place in zip(["", *places], places, strict=False) if (before, place) != ("known", 0)
        )
        raise DatasetError(f"{toml}: {key}: {what}") from None


def _read_table(table: Path, toml: Path, record: _DatasetRecord) -> pd.DataFrame:
    try:
        content = table.read_bytes()
    except OSError as error:
        raise DatasetError(f"{table}: cannot be read: {error.strerror}") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != record.sha256:
        raise DatasetError(
            f"{table}: its contents have changed: sha256 is {digest}, {toml.name} has {record.sha256} under sha256"
        )
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table}: not a CSV in UTF-8: {error}") from None
    if not rows:
        raise DatasetError(f"{table}: it is empty")
    header, rows = rows[0], rows[1:]
    _check_header(header, table, toml, record)
    if len(rows) != record.rows:
        raise DatasetError(f"{table}: {len(rows)} rows, {toml.name} has {record.rows} under rows")
    for line, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise DatasetError(f"{table}: line {line}: {len(row)} fields, the header has {len(header)}")
    values = dict(zip(header, zip(*rows, strict=True), strict=True))
    frame = pd.DataFrame({name: _column(values[name], name, record.columns[name], table, toml) for name in header})
    frame.attrs[WRITTEN] = Written(
        ascii=content.isascii(),
        columns={name: _facts(set(values[name]), record.columns[name].type)(name) for name in header},
    )
    frame.attrs[DECIMALS] = frozenset(
        name for name in header if record.columns[name].type == "number" and printed(values[name])
    )
    return frame


def _facts(fields: set[str], kind: str) -> written.Rest:
    """How a column is written; only an empty field is missing."""
    missing, present = frozenset(fields & {""}), fields - {""}
    if kind == "boolean":
        return written.truth(present, missing)
    if kind in ("factor", "ordered", "string"):
        return written.text(present, missing, bare=False, large=False)
    return written.number(missing)


def _check_header(header: Sequence[str], table: Path, toml: Path, record: _DatasetRecord) -> None:
    """The table has the columns that its record describes, each once, and no others."""
    for name in header:
        if header.count(name) > 1:
            raise DatasetError(f"{table}: two columns are called {name!r}")
    for name in record.columns:
        if name not in header:
            raise DatasetError(f"{table}: column {name!r} is missing, {toml.name} describes it under columns.{name}")
    for name in header:
        if name not in record.columns:
            raise DatasetError(f"{toml}: columns.{name}: this key is missing, the table has a column {name!r}")


def _column(values: tuple[str, ...], name: str, column: ColumnRecord, table: Path, toml: Path) -> pd.Series:
    """One column as its declared type; only an empty field is missing, so levels like "NA" or "None" stay levels."""
    texts = [value if value != "" else None for value in values]

    def refuse(value: str) -> DatasetError:
        line = values.index(value) + 2
        return DatasetError(
            f"{table}: line {line}: {value!r} in column {name!r} is no {column.type}, as columns.{name}.type in "
            f"{toml.name} has it"
        )

    if column.type in ("factor", "ordered"):
        for value in texts:
            if value is not None and value not in (column.levels or ()):
                raise DatasetError(f"{toml}: columns.{name}.levels: {value!r} is missing, the table has it")
        return pd.Series(pd.Categorical(texts, column.levels, ordered=column.type == "ordered"), name=name)
    if column.type == "string":
        return pd.Series(texts, dtype="str", name=name)
    for value in texts:
        if value is not None and not re.fullmatch(_WRITTEN[column.type], value):
            raise refuse(value)
    numbers = [float("nan") if value is None else _number(value, column.type) for value in texts]
    if column.type == "integer" and None not in texts:
        return pd.Series([int(value) for value in values], dtype="int64", name=name)
    if column.type == "boolean" and None not in texts:
        return pd.Series([bool(value) for value in numbers], name=name)
    return pd.Series(numbers, dtype="float64", name=name)


def _number(value: str, type: str) -> float:
    return float(value == "true") if type == "boolean" else float(value)
