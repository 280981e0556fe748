"""Results: a row for each case, method and package, and what the runs that made them ran on; kept as two tables.

``results.csv`` has the rows, each with its package's version, ``runs.csv`` the machines and all other versions. A row
takes the place of that of the same case and package by another version: there is one of each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from concord import checkout, files, versions
from concord.display.records import as_csv, in_forms, read_csv
from concord.errors import InputError, one_line
from concord.referee.trial import OUTCOMES
from concord.vocabulary import METHODS

KEY = ("model", "method", "package")
CURRENT = ("version", "certificate")
"""What tells that a row is of what is here now: another version of the package, or of the case, is fitted anew."""
STATED = ("difficulty", "outcome", "gap", "digits", "stated", "stated_error", "claims", "seconds", "beside", "limit")
COLUMNS = (*KEY, *CURRENT, *STATED, "date", "run", "message", "call")
NUMBERS = {"gap": ".3e", "digits": ".1f", "stated_error": ".6g", "seconds": ".2g", "beside": ".2g", "limit": "g"}
RESULTS, RUNS = "results.csv", "runs.csv"


@dataclass(frozen=True, eq=False)
class Results:
    """What came of the cases.

    Attributes
    ----------
    rows : a row for each case, method and package; `COLUMNS`
    runs : on what they were made, by ``run``
    """

    rows: pd.DataFrame
    runs: pd.DataFrame

    def missing(
        self, wanted: Sequence[tuple[str, str]], here: Mapping[str, str], certificates: Mapping[tuple[str, str], str]
    ) -> dict[tuple[str, str], list[str]]:
        """Of some cases the packages without a row of the version and the certificate that are here.

        Parameters
        ----------
        wanted : ids and methods
        here : the version of every package
        certificates : of every case
        """
        there = set(self.rows[[*KEY, *CURRENT]].itertuples(index=False, name=None))
        left = {
            pair: [name for name in here if (*pair, name, here[name], certificates[pair]) not in there]
            for pair in wanted
        }
        return {pair: names for pair, names in left.items() if names}

    def with_rows(self, rows: Sequence[Mapping[str, Any]], about: Mapping[str, str]) -> Results:
        """These and more rows, made on a machine with versions as `about` has them."""
        run = _run(about)
        more = pd.DataFrame([{**row, "run": run} for row in rows], columns=list(COLUMNS))
        keys = list(KEY)
        kept = self.rows[~pd.MultiIndex.from_frame(self.rows[keys]).isin(pd.MultiIndex.from_frame(more[keys]))]
        every = pd.concat([kept, more], ignore_index=True) if len(kept) else more
        runs = {**self.runs.to_dict("index"), run: dict(about)}
        runs = {name: about for name, about in runs.items() if name in set(every["run"])}
        return Results(every.sort_values(keys, ignore_index=True), _runs(runs))

    def keep(self, folder: Path) -> None:
        """Write both tables."""
        rows, runs = in_forms(self.rows, NUMBERS), self.runs.rename_axis("run").reset_index()
        files.write_all({folder / RESULTS: as_csv(rows), folder / RUNS: as_csv(runs)})


def place() -> Path:
    """Where the repository keeps them: beside referee.ipynb, which shows them."""
    return checkout.path("notebooks", "referee")


def empty() -> Results:
    """No results yet."""
    return Results(pd.DataFrame(columns=list(COLUMNS)), _runs({}))


def read(folder: Path | None = None) -> Results:
    """The results in a folder, by default that of the repository.

    Raises
    ------
    InputError : there are none, or they are damaged
    """
    folder = folder or place()
    rows, runs = (read_csv(folder / name) for name in (RESULTS, RUNS))
    try:
        rows = rows[list(COLUMNS)].assign(**{name: _numbers(rows[name]) for name in NUMBERS})
        _check(rows, runs)
        return Results(rows, runs.set_index("run"))
    except (KeyError, ValueError) as error:
        raise InputError(f"{folder}: damaged results: {one_line(str(error))}: run `make referee`") from None


def about() -> dict[str, str]:
    """The machine and the versions of everything that decides here, but for the packages that rows name."""
    told = {name: str(value) for name, value in versions.provenance().items() if name != "finished"}
    return told | versions.collect()


def _runs(runs: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(runs, orient="index").fillna("").sort_index()


def _run(about: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(about), sort_keys=True).encode()).hexdigest()[:8]


def _numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column.replace("", None)).astype(float)


def _check(rows: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Raises ValueError where a word is unknown, a row is there twice, or names a run that is not there."""
    for name, words in (("method", METHODS), ("outcome", OUTCOMES), ("claims", ("yes", "no", ""))):
        if odd := sorted(set(rows[name]) - set(words)):
            raise ValueError(f"{name} {odd[0]!r} is none of {', '.join(words)}")
    if len(twice := rows[rows.duplicated(list(KEY))]):
        raise ValueError(f"{', '.join(twice.iloc[0][list(KEY)])}: there twice")
    if odd := sorted(set(rows["run"]) - set(runs["run"])):
        raise ValueError(f"run {odd[0]}: not in {RUNS}")
