"""Certified linear mixed models that any package can test itself against.

`names`, `kinds` and `load` give the cases, `plain` a case as columns and a formula of plain names, `check` holds
estimates to a case; `concord_cases.plugin` is the plugin for pytest, with the tests of `concord_cases.grid`.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import cache
from pathlib import Path

from concord_cases.checker import Likelihood, NotParameters, check, read, told

__all__ = [
    "CannotExpress",
    "Likelihood",
    "NotParameters",
    "check",
    "folder",
    "kinds",
    "load",
    "names",
    "plain",
    "read",
    "told",
]

FOLDER = "CONCORD_CASES"
"""The environment variable that names another folder of cases, such as ``build/cases``."""


class CannotExpress(Exception):  # noqa: N818  # said by adapters, where it is no error
    """A package has no way to write a case's model down: its test is skipped, with this reason."""


def folder() -> Path:
    """Where the cases are: the folder that ``CONCORD_CASES`` names, or the package's own.

    Raises
    ------
    FileNotFoundError : there are none
    """
    place = Path(os.environ.get(FOLDER) or Path(__file__).parent / "data")
    if not (place / "index.json").is_file():
        raise FileNotFoundError(f"no cases in {place}: install the wheel, or name a folder of cases by {FOLDER}")
    return place


def names(difficulty: str = "", kind: str = "") -> list[str]:
    """The ids of all cases, or of those of one difficulty, or of one kind, sorted."""
    return sorted(
        case["id"]
        for case in _index()
        if difficulty in ("", case["difficulty"]) and (not kind or kind in case["kinds"])
    )


def kinds() -> dict[str, int]:
    """What is particular about cases, such as ``two optima``, and of how many cases."""
    return dict(sorted(Counter(kind for case in _index() for kind in case["kinds"]).items()))


def _index() -> list[dict]:
    return json.loads((folder() / "index.json").read_text(encoding="utf-8"))["cases"]


@cache
def load(id: str, exact: bool = False) -> dict:
    """A case, its numbers as floats, or as the decimals that stand in its file."""
    path = folder() / "cases" / f"{id}.json"
    return read(path) if exact else json.loads(path.read_text(encoding="utf-8"))


def plain(case: dict) -> tuple[dict[str, list], str]:
    """A case's own numbers as columns of plain names, and its model on them in lme4's notation.

    ``y`` is the response less its offsets, ``w`` are the weights where it has some, ``x1``, ``x2``, ... the columns of
    X and Z that are not 1 throughout, ``g1``, ``g2``, ... the groups as text. A package that reads formulas, however
    it codes factors, fits the case by these.
    """
    table = {"y": case["y"]}
    if case["weights"]:
        table["w"] = case["weights"]

    def name(letter, values):
        for known, column in table.items():
            if known.startswith(letter) and column == values:
                return known
        called = f"{letter}{1 + sum(known.startswith(letter) for known in table)}"
        table[called] = values
        return called

    def named(columns):
        constant = [all(value == 1 for value in values) for values in columns]
        others = [name("x", values) for values, one in zip(columns, constant, strict=True) if not one]
        return ["1" if any(constant) else "0", *others]

    def group(term):
        return name("g", [f"{term['group']}{code}" for code in term["codes"]])

    fixed = named(case["X"]["columns"])
    random = [f"({' + '.join(named(term['columns']))} | {group(term)})" for term in case["Z"]]
    return table, f"y ~ {' + '.join([*fixed, *random])}"
