"""The referee's rows as tables: by package and difficulty, case by case, what is stated, how fast, with what."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from concord.display.table import Sheet, number
from concord.errors import InputError, shorten
from concord.referee import packages, trial
from concord.referee.results import Results

GRADES = ("lower", "average", "higher")
SAID = {
    trial.OPTIMUM: "no more below the certified optimum than rounding and stopping rules leave",
    trial.IMPRECISE: "below it by less than 0.01 log-likelihood units and a tenth of a standard error",
    trial.SHORT: "below it by more, and the package has its doubts",
    trial.CLAIMED: "below it by more, and the package says that it has converged",
    trial.CANNOT: "the package has no way to write the model down, or is not asked about such a one",
    trial.FAILS: "an error, or estimates that are no parameters of the model",
    trial.SLOW: "the time for one fit was over",
}
_FIGURES = re.compile(r"\b\d+/2\b")


def by_difficulty(results: Results) -> Sheet:
    """How often each outcome came, by package and difficulty of the cases."""
    rows = []
    for grade in ("all", *reversed(GRADES)):
        for name in _order(results):
            mine = results.rows[results.rows["package"] == name]
            part = mine if grade == "all" else mine[mine["difficulty"] == grade]
            rows.append([_title(name, mine), grade, *_counts(part), len(part)])
    notes = [f"{word}: {what}." for word, what in SAID.items()]
    return Sheet(
        "Fits by package, difficulty and outcome", ["package", "cases", *trial.OUTCOMES, "fits"], rows, 2, notes
    )


def grid(results: Results, method: str) -> Sheet:
    """Every case by every package, the difficult ones first; empty at the optimum."""
    chosen, order = results.rows[results.rows["method"] == method], _order(results)
    told = {(row["model"], row["package"]): _cell(row) for row in chosen.to_dict("records")}
    difficulty = dict(zip(chosen["model"], chosen["difficulty"], strict=True))
    cases = sorted(difficulty, key=lambda id: (-GRADES.index(difficulty[id]), id))
    rows = [[id, difficulty[id], *(told.get((id, name), "not asked") for name in order)] for id in cases]
    notes = [
        "Empty: at the optimum. A number: so many log-likelihood units below it. claims: the package says that it has "
        "converged."
    ]
    return Sheet(f"{len(cases)} cases by {method}", ["case", "difficulty", *map(_name, order)], rows, notes=notes)


def claimed(results: Results) -> Sheet:
    """The fits that are short while their package says that it has converged, the farthest first."""
    rows = results.rows[results.rows["outcome"] == trial.CLAIMED].sort_values("gap", ascending=False)
    told = [
        [_name(row["package"]), row["model"], row["method"], number(row["gap"], 3), _line(row["call"])]
        for row in rows.to_dict("records")
    ]
    return Sheet("Short, and says that it has converged", ["package", "case", "method", "short by", "call"], told)


def stated(results: Results) -> Sheet:
    """Which number each package states as its log-likelihood, at its own estimates, where it is not that."""
    rows = []
    for name in _order(results):
        mine = results.rows[(results.rows["package"] == name) & (results.rows["stated"] != "")]
        kinds = Counter(_FIGURES.sub("m/2", words) for words in mine["stated"])
        for kind, count in sorted(kinds.items(), key=lambda pair: (pair[0] != "right", -pair[1])):
            example = mine[[_FIGURES.sub("m/2", words) == kind for words in mine["stated"]]].iloc[0]
            where = "" if kind == "right" else f"{example['model']}, {example['method']}"
            off = "" if kind == "right" else number(example["stated_error"], 4)
            rows.append([_name(name), kind, count, where, off])
    notes = [
        "not recognised: off by what no constant explains: rounding, where columns are nearly collinear, an origin far "
        "away, or residuals next to nothing."
    ]
    header = ["package", "what it is", "fits", "such as", "off there by"]
    return Sheet("The stated log-likelihood", header, rows, 2, notes)


def speed(results: Results) -> Sheet:
    """Seconds of a package's fits as shares of those of the yardstick's fits of the same cases, made beside them."""
    rows = []
    for name in _order(results):
        mine = results.rows[results.rows["package"] == name].dropna(subset=["seconds", "beside"])
        if not len(mine):
            continue
        ratio = (mine["seconds"] / mine["beside"]).to_numpy()
        shares = [number(float(np.quantile(ratio, at)), 2) for at in (0.1, 0.5, 0.9)]
        rows.append([_name(name), len(mine), *shares, number(float(mine["seconds"].max()), 2)])
    beside = _name(packages.yardstick())
    header = ["package", "fits", "a tenth below", "median", "a tenth above", "longest, s"]
    return Sheet(f"Seconds of a fit, as a share of those of {beside}", header, rows)


def of_case(results: Results, id: str) -> Sheet:
    """One case in full: by every package and method the outcome, digits, what was stated and said, and the exact call.

    Raises
    ------
    InputError : there are no rows of such a case
    """
    mine = results.rows[results.rows["model"] == id]
    if not len(mine):
        raise InputError(f"no case is called {id!r}: there are {', '.join(sorted(set(results.rows['model'])))}")
    return _full(f"{id}, {mine['difficulty'].iloc[0]} difficulty", mine, _order(results))


def live(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    """Rows that were made just now."""
    table = pd.DataFrame(rows)
    return _full("Fitted now", table, list(dict.fromkeys(table["package"])))


def proofs() -> Sheet:
    """How many cases have which proof."""
    counts = Counter((trial.proved(model), method) for (_, method), model in trial.models().items())
    words = dict.fromkeys(word for word, _ in sorted(counts))
    rows = [[word, counts[word, "REML"], counts[word, "ML"]] for word in words]
    return Sheet("What is proved of the cases' optima", ["proved", "by REML", "by ML"], rows)


def provenance(results: Results) -> Sheet:
    """Versions, days and machines."""
    rows = []
    for name in _order(results):
        mine = results.rows[results.rows["package"] == name]
        days = sorted(set(mine["date"]))
        span = " to ".join(dict.fromkeys([days[0], days[-1]]))
        limits = ", ".join(f"{limit:g}" for limit in sorted(set(mine["limit"])))
        rows.append([_name(name), ", ".join(sorted(set(mine["version"]))), span, limits])
    notes = [", ".join(f"{name} {value}" for name, value in run.items() if value) for _, run in results.runs.iterrows()]
    return Sheet("Versions and days", ["package", "version", "fitted on", "seconds for a fit"], rows, notes=notes)


def _full(caption: str, rows: pd.DataFrame, order: Sequence[str]) -> Sheet:
    told = [
        [
            _name(row["package"]),
            row["method"],
            _cell(row) or trial.OPTIMUM,
            "" if math.isnan(row["digits"]) else number(row["digits"], 3),
            row["stated"],
            "" if math.isnan(row["seconds"]) else number(row["seconds"], 2),
            _line(row["call"]),
            shorten(row["message"], 120),
        ]
        for name in order
        for row in rows[rows["package"] == name].sort_values("method", ascending=False).to_dict("records")
    ]
    header = ["package", "method", "outcome", "digits", "stated logLik", "seconds", "call", "message"]
    return Sheet(caption, header, told)


def _cell(row: Mapping[str, Any]) -> str:
    word = row["outcome"]
    if word == trial.OPTIMUM:
        return ""
    if word not in (trial.IMPRECISE, trial.SHORT, trial.CLAIMED):
        return str(word)
    return f"{trial.IMPRECISE if word == trial.IMPRECISE else trial.SHORT} {number(row['gap'], 2)}" + (
        ", claims" if word == trial.CLAIMED else ""
    )


def _counts(rows: pd.DataFrame) -> list[object]:
    counts = Counter(rows["outcome"])
    return [counts[word] or "" for word in trial.OUTCOMES]


def _order(results: Results) -> list[str]:
    """The packages that have rows, parties first."""
    there = set(results.rows["package"])
    return [name for name in packages.contestants() if name in there] + sorted(there - set(packages.contestants()))


def _line(call: str) -> str:
    """Statements of Python on lines of their own as one line, which runs as they do."""
    return call.replace("\n", "; ")


def _name(name: str) -> str:
    known = packages.contestants()
    return known[name].title if name in known else name


def _title(name: str, rows: pd.DataFrame) -> str:
    return f"{_name(name)} {', '.join(sorted(set(rows['version'])))}"
