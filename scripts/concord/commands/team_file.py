"""A team's own models: the file ``concord.toml`` in their repository, read strictly.

Every table ``[[models]]`` is one lme4 formula on one file, with the verdict that the team expects of it. Whatever the
file gets wrong is one `InputError` that names the file, the model and the key, before anything is fitted; a table that
is missing or cannot be used is an error of its own model only.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from concord import files
from concord.data.datasets import StrictRecord, Text, first_mistake
from concord.errors import InputError, one_line
from concord.models import formula as formulas
from concord.vocabulary import METHODS, VERDICTS


class _ModelTable(StrictRecord):
    name: Text
    data: Text
    formula: Text
    weights: Text | None = None
    method: Literal["REML", "ML", "both"] = "REML"
    expect: dict[str, str] = Field(default_factory=dict)
    expect_tuned: dict[str, str] = Field(default_factory=dict)
    reason: str = ""
    details: bool | None = None

    @field_validator("name")
    @classmethod
    def _one_line(cls, name: str) -> str:
        if not name.isprintable() or name != name.strip():
            raise ValueError(f"{name!r}: a name is one line, without blanks around it")
        return name

    @field_validator("data")
    @classmethod
    def _names_a_file(cls, data: str) -> str:
        if "\0" in data:
            raise ValueError(f"{data!r} is not a file name")
        return data

    @field_validator("formula")
    @classmethod
    def _parses(cls, formula: str) -> str:
        formulas.parse(formulas.read(formula).text)
        return formula

    @field_validator("expect", "expect_tuned", mode="before")
    @classmethod
    def _by_method(cls, known: Any) -> Any:
        """One verdict, or a table with one for each method."""
        table = known if isinstance(known, dict) else {"both": known}
        for method, verdict in table.items():
            if method not in METHODS and table is known:
                raise ValueError(f"{method!r}: a table of verdicts has the keys {' and '.join(METHODS)}")
            if verdict not in VERDICTS:
                near = difflib.get_close_matches(str(verdict), VERDICTS, 1)
                advice = f": did you mean {near[0]!r}?" if near else f": it is one of {', '.join(VERDICTS)}"
                raise ValueError(f"{verdict!r} is not a verdict{advice}")
        return table

    @model_validator(mode="after")
    def _with_reason(self) -> _ModelTable:
        for key, table in (("expect", self.expect), ("expect_tuned", self.expect_tuned)):
            for method in table:
                if method not in ("both", self.method) and self.method != "both":
                    raise ValueError(f"{key}.{method}: the model is compared by {self.method} only")
        declared = {*self.expect.values(), *self.expect_tuned.values()} - {"agree"}
        if declared and not self.reason.strip():
            raise ValueError(f"reason: say why {declared.pop()!r} is expected")
        return self


class _File(StrictRecord):
    details: bool = True
    models: Annotated[list[_ModelTable], Field(min_length=1)]


@dataclass(frozen=True)
class TeamModel:
    """One model of a team, by one method.

    Attributes
    ----------
    name : unique in the file
    data : the table's file
    shown : that file as the team wrote it
    formula : in lme4's notation
    method : ``REML`` or ``ML``
    expected : the verdict that is expected, by settings: ``default`` and ``tuned``
    reason : why, where one of them is not ``agree``
    details : whether everything that the tuned fits say beyond their estimates is looked at too
    weights : the column of the rows' weights; None where all weigh the same
    """

    name: str
    data: Path
    shown: str
    formula: str
    method: str
    expected: dict[str, str]
    reason: str
    details: bool = True
    weights: str | None = None


def read(file: Path, also: Sequence[Path] = ()) -> list[TeamModel]:
    """The models in a file, each by each of its methods, in the order of the file; their tables are not looked at.

    Parameters
    ----------
    also : folders in which tables may lie, beside the repository that the file is in

    Raises
    ------
    InputError : the file cannot be read, or something in it does not hold
    """
    if not os.path.lexists(file):
        raise InputError(f"{file}: there is no such file: name yours, or write one with a table [[models]]")
    content = files.read_toml(file)
    try:
        whole = _File.model_validate(content)
        records = whole.models
    except ValidationError as error:
        raise InputError(f"{file}: {_told(error, content)}") from None
    names = [record.name for record in records]
    models = []
    for number, record in enumerate(records):
        if names.index(record.name) != number:
            where = f"{file}: model {number + 1} ({record.name})"
            raise InputError(f"{where}: name: model {names.index(record.name) + 1} has it already")
        data = file.parent / record.data
        if (root := _repository(file)) and not _within(data, [root, *also]):
            raise InputError(
                f"{file}: model {number + 1} ({record.name}): data: {record.data} is outside of the repository {root}, "
                "and a check reads nothing else: have the table in it, or name its folder with --tables"
            )
        for method in METHODS if record.method == "both" else (record.method,):
            default = _of(record.expect, method, "agree")
            # No settings let a package write down what it cannot.
            tuned = _of(record.expect_tuned, method, default if default == "cannot express" else "agree")
            expected = {"default": default, "tuned": tuned}
            details = whole.details if record.details is None else record.details
            reason, weights = record.reason.strip(), record.weights
            models.append(
                TeamModel(record.name, data, record.data, record.formula, method, expected, reason, details, weights)
            )
    return models


def _within(data: Path, folders: Sequence[Path]) -> bool:
    return any(folder.resolve() in data.resolve().parents for folder in folders)


def _repository(file: Path) -> Path | None:
    """The folder of the repository that a file is in; None where it is in none."""
    return next((folder for folder in file.resolve().parents if (folder / ".git").exists()), None)


def touched(models: Iterable[TeamModel], file: Path, changed: Iterable[Path]) -> list[TeamModel]:
    """The models whose table is among the changed files; all, where the file that lists them is."""
    paths = {path.resolve() for path in changed}
    everything = file.resolve() in paths
    return [model for model in models if everything or model.data.resolve() in paths]


def _of(table: dict[str, str], method: str, otherwise: str) -> str:
    return table.get(method, table.get("both", otherwise))


def _told(error: ValidationError, content: dict[str, Any]) -> str:
    """The first thing that does not hold: the model, the key, and what is wrong."""
    loc, what = first_mistake(error)
    place, unknown, what = list(loc), what == "unknown key", one_line(what)
    where = []
    if place[:1] == ["models"] and len(place) > 1 and isinstance(number := place[1], int):
        record = content["models"][number]
        name = record.get("name") if isinstance(record, dict) else None
        named = f" ({name})" if isinstance(name, str) and name and name.isprintable() else ""
        where.append(f"model {number + 1}{named}")
        place = place[2:]
    if place:
        where.append(".".join(map(str, place)))
    if unknown:
        known = _ModelTable.model_fields if len(where) > 1 else _File.model_fields
        near = difflib.get_close_matches(str(place[-1]), known, 1)
        what += f": did you mean {near[0]!r}?" if near else f": there are {', '.join(known)}"
    return ": ".join([*where, what])
