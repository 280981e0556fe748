"""The collection as a folder: a file and a sheet a case, the licences of the data, checkers, an index of checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from concord import checkout, files
from concord.data import datasets
from concord.data.datasets import Dataset
from concord.errors import InputError
from concord.models.model import Model
from concord.publication.case import SCHEMA, case
from concord.publication.difficulty import RULE
from concord.publication.numerals import dumps
from concord.publication.sheet import sheet
from concord.reference import reference
from concord.vocabulary import METHODS

NAME = "Concord reference data for linear mixed models"
PACKAGE = ("scripts", "concord-cases")
COPIED = {
    "schema.json": "concord_cases/schema.json",
    "checker.py": "concord_cases/checker.py",
    "checker.R": "concord_cases/checker.R",
    "CHANGELOG.md": "CHANGELOG.md",
    "licences/GPL-2.txt": "licences/GPL-2.txt",
    "licences/GPL-3.txt": "licences/GPL-3.txt",
}
"""What stands in the folder as it stands in the package."""
MADE_HERE = ("cases", "sheets", "licences")


def certified() -> Iterator[list[Model]]:
    """Every model that is certified, by REML and ML: those of the catalogue, then those of data that were made."""
    for dataset in _datasets():
        for name, record in dataset.models.items():
            yield [Model(dataset, name, record, method) for method in METHODS]


def _datasets() -> Iterator[Dataset]:
    for id in datasets.catalogue():
        yield datasets.load(id)
    for toml in sorted(checkout.path(*PACKAGE, "datasets").glob("*/dataset.toml")):
        yield datasets.read(toml.parent)


def write(folder: Path, tell: Callable[[str], None], chosen: Callable[[str], bool] = lambda _: True) -> Path:
    """Write the collection; the same files, byte for byte, wherever and whenever it is written.

    Parameters
    ----------
    tell : is given a line a case
    chosen : which cases, by their id; by default all

    Returns
    -------
    the index

    Raises
    ------
    InputError : a model is not certified by both methods, or there is no such case
    """
    contents = dict(_shared())
    cases, data = [], {}
    for models in certified():
        if not chosen(models[0].id):
            continue
        record = _case(models)
        contents[f"cases/{record['id']}.json"] = dumps(record) + "\n"
        contents[f"sheets/{record['id']}.txt"] = sheet(record)
        data[models[0].dataset.id] = models[0].dataset
        cases.append(record)
        tell(f"{record['id']}: {record['difficulty']}")
    if not cases:
        raise InputError("there is no such case")
    contents |= {f"licences/{id}.txt": _licence(dataset) for id, dataset in data.items()}
    index = {
        "name": NAME,
        "schema": SCHEMA,
        "rule_of_difficulty": RULE,
        "cases": [_entry(record, contents) for record in cases],
        "files": {name: _sha256(content) for name, content in sorted(contents.items())},
    }
    for name, content in contents.items():
        files.write(folder / name, content)
    _tidy(folder, contents)
    files.write(folder / "index.json", json.dumps(index, indent=1, ensure_ascii=False) + "\n")
    return folder / "index.json"


def _shared() -> Iterator[tuple[str, str]]:
    for name, place in COPIED.items():
        yield name, checkout.path(*PACKAGE, place).read_text(encoding="utf-8")


def _case(models: list[Model]) -> dict[str, Any]:
    records = [(model, reference.written(model)) for model in models]
    missing = [model.method for model, record in records if record is None]
    if missing:
        raise InputError(f"{models[0].id}: not certified by {' and '.join(missing)}: run `make certify`")
    return case(models, [record for _, record in records if record is not None])


def _entry(record: dict[str, Any], contents: dict[str, str]) -> dict[str, Any]:
    """What the index says of a case."""
    file = f"cases/{record['id']}.json"
    return {
        "id": record["id"],
        "version": record["version"],
        "title": record["title"],
        "formula": record["formula"],
        "difficulty": record["difficulty"],
        "rows": len(record["y"]),
        "licence": record["source"]["licence"],
        "proved": {method: optimum["proved"] for method, optimum in record["optimum"].items()},
        "file": file,
        "sha256": _sha256(contents[file]),
    }


def _licence(dataset: Dataset) -> str:
    """Under which terms a table may be passed on, and whom to cite."""
    free = dataset.licence.startswith("CC0")
    lines = [
        f"{dataset.id}: {dataset.title}",
        f"Taken from {dataset.source} {dataset.version}.",
        f"Licence: {dataset.licence}",
        f"Please cite: {dataset.citation}",
        "Anybody may use and pass on the table as they like." if free else "GPL-2.txt and GPL-3.txt have the terms.",
        "The certified values, matrices and descriptions were made by Concord and are under the BSD 3-Clause licence.",
    ]
    return "\n\n".join(lines) + "\n"


def _sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _tidy(folder: Path, contents: dict[str, str]) -> None:
    """Take away the files of cases that are no more."""
    for made in MADE_HERE:
        for file in (folder / made).iterdir() if (folder / made).is_dir() else ():
            if f"{made}/{file.name}" not in contents:
                file.unlink()
