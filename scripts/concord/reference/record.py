"""The record of a certified optimum: reference.json, what stands in it, and how it is read and written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from concord import files
from concord.data import datasets
from concord.data.datasets import StrictRecord
from concord.vocabulary import METHODS

NOT_PROVED = "that no better optimum lies elsewhere: the starts found none, and the proof"


class ReferenceError(datasets.DatasetError):
    """A reference.json is corrupt, edited or out of date; or an optimum could not be certified."""


_Decimal = Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?(e[+-]?\d+)?$")]


class _Finite(StrictRecord):
    model_config = ConfigDict(allow_inf_nan=False)


class ParameterRecord(_Finite):
    """One row of the estimates."""

    effect: Literal["fixed", "ran_pars"]
    group: str
    term: str
    estimate: _Decimal
    std_error: _Decimal | None = None


class OtherOptimum(_Finite):
    """An optimum that is lower than the certified one: where a search found it; whether it is proved to be a strict
    local one; its log-likelihood and estimates, which are the search's where it is not proved.
    """

    loglik: float
    theta: list[float]
    proved: bool
    decimals: _Decimal
    estimates: list[ParameterRecord]


class DoublePrecision(_Finite):
    """How far the optimum of the doubles, in double precision, is from the certified one: in log-likelihood units, and
    in standard errors the farthest fixed effect.
    """

    loglik: float
    standard_errors: float


class Checks(_Finite):
    """What was checked of the optimum, and how far it is proved."""

    starts: int
    other_optima: list[OtherOptimum]
    bits: list[int]
    digits_agreed: int
    krawczyk_box: float
    radius: float
    hessian: Literal["positive definite on the box"]
    boundary: list[int]
    proved: Literal["global", "reference"] = "reference"
    # Of the proof that no better optimum exists: how many boxes, how long, how; all stationary points of one variance.
    boxes: Annotated[int, Field(ge=0)] = 0
    seconds: Annotated[float, Field(ge=0)] = 0.0
    method: str = ""
    stationary: Annotated[int, Field(ge=1)] | None = None
    not_proved: str | None = None
    double_precision: DoublePrecision


class Provenance(_Finite):
    """When it was certified, and by which versions."""

    date: str
    versions: dict[str, str]


class Record(_Finite):
    """A certified optimum as reference.json has it."""

    formula: str
    data_sha256: str
    # What was certified: the decimals that the table prints, or the doubles nearest to them.
    data: Literal["decimals", "doubles"]
    loglik: _Decimal
    theta: list[_Decimal]
    # Where a covariance matrix is singular: for every term the order of its effects in its factor, counted from 0.
    order: list[list[int]] | None = None
    estimates: list[ParameterRecord]
    checks: Checks
    provenance: Provenance
    checksum: str


def path(dataset: datasets.Dataset) -> Path:
    """Where a dataset's references stand.

    Raises
    ------
    ReferenceError : it is a table without a folder of its own
    """
    if dataset.place is None:
        raise ReferenceError(f"{dataset.id}: a table that is not a dataset of the workbook has no references")
    return dataset.place / "reference.json"


def unknown(content: Any, dataset: datasets.Dataset) -> str | None:
    """Which key of a reference.json is not a model of the dataset or no method; None where all are."""
    if not isinstance(content, dict):
        return "it is not a table of models"
    for name, methods in content.items():
        if name not in dataset.models:
            return f"{name}: the dataset has no such model"
        if not isinstance(methods, dict):
            return f"{name}: it is not a table of methods"
        for method in methods:
            if method not in METHODS:
                return f"{name}.{method}: a method is one of {', '.join(METHODS)}"
    return None


def checksum(record: dict[str, Any]) -> str:
    """SHA-256 of a record without its checksum, in canonical JSON."""
    content = {key: value for key, value in record.items() if key != "checksum"}
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def write(dataset: datasets.Dataset, records: dict[tuple[str, str], dict[str, Any]]) -> Path:
    """Put records, by model and method, into a dataset's reference.json, whole or not at all; others there stay."""
    file = path(dataset)
    try:
        old = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        old = {}
    # What cannot be read, and what is not a model or method of the dataset any more, is left out.
    content: dict[str, dict[str, Any]] = {}
    for name in dataset.models:
        kept = old.get(name) if isinstance(old, dict) else None
        kept = kept if isinstance(kept, dict) else {}
        both = {method: records.get((name, method), kept.get(method)) for method in METHODS}
        if any(both.values()):
            content[name] = {method: record for method, record in both.items() if record}
    files.write(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return file


def told(checks: dict[str, Any]) -> str:
    """What a record's checks prove, in words."""
    within = f"proved within {checks['radius']:.0e}"
    if checks.get("proved") == "global":
        return f"the global optimum, {within}: {checks['method']}; {checks['boxes']} boxes, {checks['seconds']:.2f} s"
    count = 1 + len(checks["other_optima"])
    best = "the only optimum found" if count == 1 else f"the best of {count} optima found"
    return f"{best} from {checks['starts']} starts, {within}; not proved: {checks.get('not_proved', NOT_PROVED)}"
