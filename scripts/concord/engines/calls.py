"""Calls: what people have written for a package becomes an lme4 formula, with what they probably meant by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from concord.errors import InputError
from concord.models.model import Model


class CallError(InputError):
    """A call that cannot be read; the message says what in it, and what is expected."""


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
    notes : how the arguments come to this formula, a sentence each
    meant : what the author may have had in mind, the likeliest first; without a formula the nearest ones
    frame : the table, where the call's own objects hold one
    weights : the column of the rows' weights; None where all weigh the same
    native : the package's own result, where there is one
    stops : whether the package would stop at the call as it is written, so that the code of the formula is to be shown
    holds : whether the call's own columns and groups are those of a model, by their numbers; None where not tried
    """

    called: str
    formula: str | None
    method: str
    problem: str = ""
    notes: tuple[str, ...] = ()
    meant: tuple[Meant, ...] = ()
    frame: pd.DataFrame | None = None
    weights: str | None = None
    native: object = None
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
