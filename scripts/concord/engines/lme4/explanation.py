"""A call of lmer as somebody wrote it, read by R's own parser and not evaluated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.engines.calls import CallError, Placed, Reading, check_length, instead

_R = Path(__file__).with_name("written_call.R")
LONGEST, LONGEST_FILE = 20_000, 500_000
# What has no part in which model it is.
_SEARCH = ("control", "start", "verbose")
_ARGUMENTS = ("formula", "data", "REML", *_SEARCH, "subset", "weights", "na.action", "offset", "contrasts")
_CALLED = re.compile(r"(?<![\w.])lmer\s*\(")
_OTHERS = re.compile(r"(?<![\w.])(glmer|nlmer|glmmTMB|lme|gls|glmer\.nb)\s*\(")


@dataclass(frozen=True)
class _Lines:
    """Where calls begin."""

    lines: np.ndarray


@dataclass(frozen=True)
class _Written:
    """A call as R has it: its formula, its ``REML``, and its other arguments with their texts."""

    problem: str | None
    formula: str
    reml: str
    arguments: list[str]
    texts: list[str]


def explained(given: Any, frame: pd.DataFrame | None = None) -> Reading | None:
    """What a call of lmer fits; None where what is given is none.

    Parameters
    ----------
    given : the call as text, with the statements before it that its names come from; or one of several in a text
    frame : not asked for: a formula says all

    Raises
    ------
    CallError : the call cannot be read
    RError : R or lme4 is missing
    """
    number, longest = 0, LONGEST
    if isinstance(given, Placed):
        given, number, longest = given.text, given.number + 1, LONGEST_FILE
    if not isinstance(given, str):
        return None
    if not _CALLED.search(given):
        other = _OTHERS.search(given)
        if other:
            raise CallError(f"{other[1]} is none of the calls that are explained here: lmer, and MixedLM in Python")
        return None
    check_length(given, longest)
    r.package("lme4")
    written = r.record(_Written, r.call(r.source(_R)["lmer_call"], _without_prompts(given), number))
    if written.problem:
        unused = re.search(r"unused argument \((\w+) =", written.problem)
        raise CallError(written.problem + (instead(unused[1], _ARGUMENTS) if unused else ""))
    arguments = dict(zip(written.arguments, written.texts, strict=True))
    return _reading(written, arguments)


def calls(text: str) -> list[Placed]:
    """Every call of lmer in a text of R.

    Raises
    ------
    CallError : the text is too long
    RError : R is missing
    """
    if not _CALLED.search(text):
        return []
    check_length(text, LONGEST_FILE)
    lines = r.record(_Lines, r.call(r.source(_R)["lmer_lines"], _without_prompts(text))).lines
    return [Placed(text, number, int(line)) for number, line in enumerate(lines)]


def _without_prompts(text: str) -> str:
    """The code of a session as a page shows it."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("> "):
        return text
    return "\n".join(line[2:] if line.startswith(("> ", "+ ")) else "" for line in lines)


def _column(text: str) -> str:
    """The column that an argument is: ``w``, or of a table, ``d$w`` or ``d[["w"]]``."""
    found = re.fullmatch(r"(?:[\w.]+\$)?([A-Za-z.][\w.]*)|[\w.]+\[\[\"([^\"]+)\"\]\]", text)
    if not found:
        raise CallError(f"weights = {text} is no column: make it one of the table first")
    return found[1] or found[2]


def _reading(written: _Written, arguments: dict[str, str]) -> Reading:
    formula, notes, weights = written.formula, [], None
    if written.reml not in ("TRUE", "FALSE", "T", "F", "1", "0", "1L", "0L"):
        raise CallError(f"REML is {written.reml}: expected TRUE or FALSE")
    if "subset" in arguments:
        raise CallError(
            f"subset = {arguments['subset']} cannot be read without running the code: subset the table first"
        )
    if "offset" in arguments:
        formula = f"{formula} + offset({arguments['offset']})"
        notes.append(f"offset = {arguments['offset']} is part of the model, as offset() in the formula is")
    if "weights" in arguments:
        weights = _column(arguments["weights"])
        notes.append(
            f"weights = {arguments['weights']}: MixedLM takes none, so that the code multiplies its rows by their roots"
        )
    table = arguments.get("data", "")
    if re.match(
        r"(subset|filter|na\.omit|droplevels|head|tail|\w+::filter|\w+::drop_na|drop_na)\(|[\w.]+\[.*,.*\]$", table
    ):
        notes.append(f"the call takes {table}, and what is said and compared here is of the whole table")
    if "contrasts" in arguments:
        notes.append("contrasts are another coding: the same model, with other fixed effects")
    search = [name for name in _SEARCH if name in arguments]
    if search:
        notes.append(f"{', '.join(search)}: another search, and the same model")
    return Reading(
        called="this call of lmer",
        formula=formula,
        method="REML" if written.reml in ("TRUE", "T", "1", "1L") else "ML",
        notes=tuple(notes),
        weights=weights,
        search=", ".join(f"{name} = {arguments[name]}" for name in search),
    )
