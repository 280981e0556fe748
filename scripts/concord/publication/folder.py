"""The collection as a folder: a file and a sheet a case, the licences of the data, checkers, an index of checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from concord import checkout, files
from concord.data import datasets
from concord.data.datasets import Dataset
from concord.errors import InputError
from concord.models.model import Model
from concord.publication import archives
from concord.publication.case import SCHEMA, case
from concord.publication.difficulty import RULE
from concord.publication.kinds import kinds
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
    "README.md": "README.md",
    "LICENSE": "LICENSE",
    "licences/GPL-2.txt": "licences/GPL-2.txt",
    "licences/GPL-3.txt": "licences/GPL-3.txt",
}
"""What stands in the folder as it stands in the package."""
MADE_HERE = ("cases", "sheets", "licences", "archives")


def certified(large: bool = False) -> Iterator[list[Model]]:
    """Every model that is certified, by REML and ML: those of the catalogue, then those of data that were made.

    Parameters
    ----------
    large : with those of tables that are made where they are wanted

    Raises
    ------
    InputError : a large table was not made
    """
    for dataset in _datasets(large):
        for name, record in dataset.models.items():
            yield [Model(dataset, name, record, method) for method in METHODS]


def _datasets(large: bool) -> Iterator[Dataset]:
    for id in datasets.catalogue():
        yield datasets.load(id)
    for toml in sorted(checkout.path(*PACKAGE, "datasets").glob("*/dataset.toml")):
        yield datasets.read(toml.parent)
    for certificates in sorted(checkout.path(*PACKAGE, "large").glob("*/reference.json")) if large else ():
        place = certificates.parent
        if not (place / "dataset.toml").is_file():
            raise InputError(f"{place.name}: its table is not there: run `make cases LARGE=1`, which makes it")
        yield datasets.read(place)


def write(
    folder: Path, tell: Callable[[str], None], chosen: Callable[[str], bool] = lambda _: True, large: bool = False
) -> Path:
    """Write the collection; the same files, byte for byte, wherever and whenever it is written.

    Parameters
    ----------
    tell : is given a line a case
    chosen : which cases, by their id; by default all
    large : with tables that are made where they are wanted

    Returns
    -------
    the index

    Raises
    ------
    InputError : a model is not certified by both methods, a large table was not made, or there is no such case
    OSError : a file cannot be written; then none is
    """
    contents = dict(_shared())
    cases, data = [], {}
    for models in certified(large):
        if not chosen(models[0].id):
            continue
        record = certified_case(models)
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
    zipped = {f"archives/{name}": content for name, content in archives.archives(index, contents).items()}
    written: dict[str, str | bytes] = {**contents, **zipped}
    written["index.json"] = json.dumps(index, indent=1, ensure_ascii=False) + "\n"
    files.write_all({folder / name: content for name, content in written.items()})
    _tidy(folder, written)
    return folder / "index.json"


def _shared() -> Iterator[tuple[str, str]]:
    for name, place in COPIED.items():
        yield name, checkout.path(*PACKAGE, place).read_text(encoding="utf-8")


def certified_case(models: Sequence[Model]) -> dict[str, Any]:
    """A model by every method as a record for JSON, with what is certified of it.

    Raises
    ------
    InputError : it is not certified by one of them
    """
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
        "kinds": kinds(record),
        "rows": len(record["y"]),
        "licence": record["source"]["licence"],
        "licence_file": record["source"]["licence_file"],
        "proved": {method: optimum["proved"] for method, optimum in record["optimum"].items()},
        "file": file,
        "sha256": _sha256(contents[file]),
    }


def _licence(dataset: Dataset) -> str:
    """Under which terms a table may be passed on, and whom to cite."""
    lines = [
        f"{dataset.id}: {dataset.title}",
        f"Taken from {dataset.source} {dataset.version}.",
        f"Licence: {dataset.licence}",
        f"Please cite: {dataset.citation}",
        "Anybody may use and pass on the table as they like."
        if archives.free(dataset.licence)
        else "GPL-2.txt and GPL-3.txt have the terms.",
        "The certified values, matrices and descriptions were made by Concord and are under the BSD 3-Clause licence.",
    ]
    return "\n\n".join(lines) + "\n"


def _sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _tidy(folder: Path, contents: Container[str]) -> None:
    """Take away the files of cases that are no more."""
    for made in MADE_HERE:
        for file in (folder / made).iterdir() if (folder / made).is_dir() else ():
            if f"{made}/{file.name}" not in contents:
                file.unlink()
