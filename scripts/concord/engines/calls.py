"""Calls: what people have written for a package becomes an lme4 formula, with what they probably meant by it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

import pandas as pd

from concord.engines.fit import Fit
from concord.errors import InputError
from concord.models.model import Model


class CallError(InputError):
    """A call that cannot be read; the message says what in it, and what is expected."""


def check_length(code: str, longest: int) -> None:
    """Raise CallError where a text of code has more characters than are read."""
    if len(code) > longest:
        raise CallError(f"the code is too long: {len(code)} characters; give the call and what it needs")


def instead(name: str, known: Collection[str]) -> str:
    """The name that was probably meant by one that is not known, as the end of a message; empty where none is near."""
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.7)
    return f": did you mean {near[0]}?" if near else ""


@dataclass(frozen=True)
class Placed:
    """One of the calls in a text.

    Attributes
    ----------
    text : all of the text, whose other statements the call's names come from
    number : which of the calls in it, from 0
    line : where the call begins, from 1; its fit, where the same model is fitted several times
    """

    text: str
    number: int
    line: int


@dataclass(frozen=True)
class Meant:
    """Another formula than the one that a call fits, which its author may have had in mind.

    Attributes
    ----------
    formula, because : the formula, and why it may be
    probable : whether the call itself speaks for it; else it depends on what the levels are
    """

    formula: str
    because: str
    probable: bool = True


@dataclass(frozen=True, eq=False)
class Reading:
    """What a call of a package fits.

    Attributes
    ----------
    called : what the call is of, as people say it
    formula : the lme4 formula; None where lme4 has none, or the package itself stops
    method : ``REML`` or ``ML``
    problem : why there is no formula, in a sentence
    outcome : what that comes to, in place of "lme4 cannot express it"; empty where that is so
    notes : how the arguments come to this formula, a sentence each
    meant : what the author may have had in mind, the likeliest first; without a formula the nearest ones
    frame : the table, where the call's own objects hold one
    weights : the column of the rows' weights; None where all weigh the same
    native : the package's own result, where there is one
    own : fits a model as the call does, by its own search; None where that is the package's default one, or unknown
    search : the arguments of that search, as they are written
    stops : whether the package would stop at the call as it is written, so that the code of the formula is to be shown
    holds : whether the call's own columns and groups are those of a model, by their numbers; None where not tried
    """

    called: str
    formula: str | None
    method: str
    problem: str = ""
    outcome: str = ""
    notes: tuple[str, ...] = ()
    meant: tuple[Meant, ...] = ()
    frame: pd.DataFrame | None = None
    weights: str | None = None
    native: object = None
    own: Callable[[Model], Fit] | None = field(default=None, repr=False)
    search: str = ""
    stops: bool = False
    holds: Callable[[Model], bool | None] = field(default=lambda _: None, repr=False)


@dataclass(frozen=True)
class Given:
    """What an author has given by name, in place of a text of the call.

    Attributes
    ----------
    arguments : by the package's own names
    frame : the table that they are columns of, where there is one
    """

    arguments: Mapping[str, object]
    frame: pd.DataFrame | None = None
