"""Results: what came of every fit of the catalogue, run by run, each run with the versions of all that made it.

They are kept as two tables. ``runs.csv`` has a row a run: its name, when it was finished, the system and the machine,
and the version of Python, R and every package. ``fits.csv`` has a row for each run, model, method, settings and engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from concord import checkout, files
from concord.data.version_ranges import ordered
from concord.display.records import as_csv, in_forms, read_csv
from concord.engines.engine import engines, party
from concord.errors import InputError, one_line, shorten
from concord.vocabulary import IMPRECISE, LANGUAGES, METHODS, SETTINGS, SHORT, VERDICTS

PROVENANCE = ("finished", "system", "machine", "processor", "processors", "BLAS")
"""What `concord.versions.provenance` says of a run, before the versions."""
STATED = ("verdict", "grade", "gap", "digits", "loglik", "converged", "said_so", "seconds", "message")
"""What came of it: the verdict of its comparison, its own grade (empty at the optimum) and gap, the right digits of its
worst estimate, the log-likelihood that its package states, what that package claims and says, and how long it took.
Without a fit gap, digits and log-likelihood are missing, and the message says why."""
RUNS, FITS = "runs.csv", "fits.csv"
_LENGTH = 160
BETWEEN = " / "
"""Between the messages of one fit, each on one line."""


class Key(NamedTuple):
    """What names a fit in every run."""

    model: str
    method: str
    settings: str
    engine: str


KEY = Key._fields


@dataclass(frozen=True, eq=False)
class Results:
    """Runs of the catalogue.

    Attributes
    ----------
    runs : a row a run, in the order of the releases: `PROVENANCE`, then the versions by the names of what has them;
        index ``run``
    fits : a row a fit: ``run``, `KEY` and `STATED`
    """

    runs: pd.DataFrame
    fits: pd.DataFrame

    def keep(self, folder: Path | None = None) -> None:
        """Write both tables into a folder, by default that of the repository."""
        folder = folder or place()
        fits = in_forms(self.fits, {"gap": ".2e", "digits": ".1f", "loglik": ".10g", "seconds": ".2g"})
        files.write_all({folder / RUNS: as_csv(self.runs.reset_index()), folder / FITS: as_csv(fits)})


def place() -> Path:
    """Where the repository keeps them: beside versions.ipynb, which shows them."""
    return checkout.path("notebooks", "versions")


def read(folder: Path | None = None) -> Results:
    """The results in a folder, by default that of the repository.

    Raises
    ------
    InputError : there are none, or they are damaged
    """
    folder = folder or place()
    runs, fits = tables = [read_csv(folder / name) for name in (RUNS, FITS)]
    for path, table, wanted in zip((RUNS, FITS), tables, (("run", *PROVENANCE), ("run", *KEY, *STATED)), strict=True):
        if missing := [name for name in wanted if name not in table]:
            raise InputError(f"{folder / path}: has no column {missing[0]}: write it anew with `make versions`")
    try:
        return _sorted(runs.set_index("run"), _typed(fits))
    except (KeyError, ValueError) as error:
        raise InputError(f"{folder}: damaged results: {one_line(str(error))}") from None


def joined(results: Sequence[Results]) -> Results:
    """All of several results; a run takes the place of those of its name before it."""
    last = {run: i for i, part in enumerate(results) for run in part.runs.index}
    runs = [part.runs[[last[run] == i for run in part.runs.index]] for i, part in enumerate(results)]
    fits = [part.fits[part.fits["run"].map(last) == i] for i, part in enumerate(results)]
    return _sorted(pd.concat(runs).fillna(""), pd.concat(fits, ignore_index=True))


def brought(given: Path, kept: Results | None = None) -> Results:
    """What `concord verdicts` wrote, here or on another machine: a file, or all that are in a folder.

    Parameters
    ----------
    kept : results whose runs it may take the place of, but for a run of only some of their models

    Raises
    ------
    InputError : there is none, it is something else, or it is of some of the models only
    """
    paths = sorted(given.glob("*.json")) if given.is_dir() else [given]
    if not paths:
        wanted = f"`python -m concord verdicts --output {given}/verdicts.json` writes them"
        raise InputError(f"{given}: no results (*.json) in this folder: {wanted}")
    more = joined([*map(_run, paths)])
    if kept is None:
        return more
    for run in more.runs.index:
        models, others = ({*part.fits.loc[part.fits["run"] == run, "model"]} for part in (more, kept))
        if lost := sorted(others - models):
            raise InputError(
                f"{given}: {run} would take the place of a run that has {lost[0]} too: run all models, or name a "
                "folder of their own with --output"
            )
    return more


def _run(path: Path) -> Results:
    """The one run in a file."""
    try:
        content = files.read_json(path)
    except InputError as error:
        raise InputError(
            f"{error}: it is not what `python -m concord verdicts --output` writes: write it anew"
        ) from None
    try:
        rows = [_row(fit) for fit in content["fits"]]
        about = {name: str(content["provenance"][name]) for name in PROVENANCE}
        about |= {name: version for name, version in content["versions"].items() if not name.startswith("R option ")}
        name = run_name(about)
        fits = _typed(pd.DataFrame(rows, columns=[*KEY, *STATED]).assign(run=name))
        return _sorted(pd.DataFrame([about], index=pd.Index([name], name="run")), fits)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        said = f"{type(error).__name__}: {shorten(str(error), 100)}"
        raise InputError(
            f"{path}: is not what `python -m concord verdicts --output` writes ({said}): write it anew"
        ) from None


def _row(fit: Mapping[str, Any]) -> list[Any]:
    """A row of fits.csv from one of Concord's own record of a fit."""
    lines = [shorten(one_line(message), _LENGTH) for message in fit["messages"] if message.strip()]
    message = BETWEEN.join(dict.fromkeys(lines))
    made = {**fit, "model": f"{fit['dataset']}-{fit['model']}", "message": message}
    return [made[name] for name in (*KEY, *STATED)]


def run_name(about: Mapping[str, str]) -> str:
    """``debian-12 lme4-1.1-31 statsmodels-0.15.0``: the system, and the packages that verdicts are about."""
    where = re.sub(r"[^a-z0-9.]+", "-", system(about["system"]).lower())
    return " ".join([where, *(f"{name}-{about[name]}" for name in packages())])


def system(name: str) -> str:
    """A system's name without what every one of its kind has: ``Debian 12``."""
    return re.sub(r"\s*\(.*\)|GNU/Linux\s*", "", name).strip()


def packages() -> list[str]:
    """The packages that verdicts are about, R's first."""
    return [party(language).packages[0] for language in reversed(LANGUAGES)]


def _typed(fits: pd.DataFrame) -> pd.DataFrame:
    """The table of fits with numbers and truth values as such.

    Raises
    ------
    ValueError : one is none, a word is unknown, or a fit is there twice
    """
    fits = fits[["run", *KEY, *STATED]].copy()
    fits = fits.fillna({"grade": "", "said_so": "", "message": ""})
    known = (("method", METHODS), ("settings", SETTINGS), ("verdict", VERDICTS), ("grade", ("", IMPRECISE, SHORT)))
    for name, words in known:
        if unknown := sorted({*fits[name]} - {*words}):
            raise ValueError(f"{name} {unknown[0]!r} is none of {', '.join(words)}")
    for name in ("gap", "digits", "loglik", "seconds"):
        fits[name] = pd.to_numeric(fits[name].replace("", None)).astype(float)
    truth = {True: True, False: False, "True": True, "False": False}
    if len(odd := fits["converged"][~fits["converged"].isin(list(truth))]):
        raise ValueError(f"converged {odd.iloc[0]!r} is neither True nor False")
    fits["converged"] = fits["converged"].map(truth).astype(bool)
    if len(twice := fits[fits.duplicated(["run", *KEY])]):
        raise ValueError(f"{', '.join(twice.iloc[0][['run', *KEY]])}: there twice")
    return fits


def _sorted(runs: pd.DataFrame, fits: pd.DataFrame) -> Results:
    """By the releases of what fits, R's first; runs and fits name each other.

    Raises
    ------
    ValueError : a version is none; a run has no fits, or fits have no run
    """
    if odd := sorted({*runs.index} ^ {*fits["run"]}):
        raise ValueError(f"{odd[0]}: not in both, runs and fits")
    for run, engine in fits[["run", "engine"]].drop_duplicates().itertuples(index=False):
        if engine in engines():
            ordered(runs.loc[run].get(engines()[engine].packages[0], ""))
    places = {run: ([ordered(about[name]) for name in packages()], run) for run, about in runs.iterrows()}
    runs = runs.loc[sorted(runs.index, key=places.__getitem__)]
    orders = {"run": runs.index, "method": METHODS, "settings": SETTINGS, "engine": [*engines()]}
    ranks = {name: {word: rank for rank, word in enumerate(words)} for name, words in orders.items()}
    fits = fits.sort_values(["run", *KEY], key=lambda column: column.map(ranks.get(column.name, str)))
    return Results(runs, fits.reset_index(drop=True))
