"""A formula in the making: the random terms that a call fits, those that were meant, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from concord.engines.statsmodels.explanation.notation import Factor, Terms, in_r, terms
from concord.engines.statsmodels.explanation.written_call import MixedLMCall
from concord.models.syntax import quoted


class Term(NamedTuple):
    """A random term: its columns, and the columns that its groups are combinations of; none for one group of all."""

    columns: str
    group: tuple[str, ...]

    def __str__(self) -> str:
        return f"({self.columns} | {':'.join(map(quoted, self.group))})"


class Refused(Exception):
    """lme4 has no formula for it; the terms are the nearest ones.

    Attributes
    ----------
    problem : why, in a sentence
    nearest : the terms to put in its place
    because : what these are
    """

    def __init__(self, problem: str, nearest: Sequence[Term], because: str) -> None:
        super().__init__(problem)
        self.problem, self.nearest, self.because = problem, list(nearest), because


@dataclass
class Draft:
    """A formula in the making."""

    call: MixedLMCall
    fixed: str
    frame: pd.DataFrame | None
    notes: list[str]
    problems: list[str]
    reasons: list[str]  # why something else is meant
    random: list[Term]
    meant: list[Term]  # the same terms, with what was probably meant in their place
    crossed: list[str]  # grouping columns within the groups, which may be crossed with them
    outer: list[str]  # grouping columns in which the groups are nested by the data
    same: list[str]  # grouping columns that make the same groups
    apart: bool = False  # whether uncorrelated effects were meant, and are not

    @property
    def group(self) -> tuple[str, ...]:
        """The columns of MixedLM's groups."""
        return self.call.groups


def formula_of(fixed: str, random: Sequence[Term]) -> str:
    """The formula of a fixed part and random terms, each once."""
    return " + ".join([fixed, *dict.fromkeys(map(str, random))])


def is_category(draft: Draft, factor: Factor) -> bool:
    """Whether patsy takes a factor of a term for categories, as far as it is known."""
    if factor.categorical or factor.column in draft.call.made:
        return True
    if factor.column is None:
        return False
    if draft.frame is None:  # with one group a number would make a single slope, which nobody means
        components = map(terms, draft.call.vc_formula.values())
        return not draft.group and any(one.factors == ((factor,),) and not one.intercept for one in components)
    dtype = draft.frame[factor.column].dtype
    return not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)


def codes_of(call: MixedLMCall, frame: pd.DataFrame | None) -> frozenset[str]:
    """The columns that the call's own code has made categories, and which hold numbers in the table that is here."""
    if frame is None:
        return call.made
    return frozenset(
        name for name in call.made & set(frame.columns) if pd.api.types.is_numeric_dtype(frame[name].dtype)
    )


def columns_in_r(draft: Draft, text: str, described: Terms) -> str:
    """The columns of a random term in R's notation, with their intercept said."""
    shown = in_r(text, codes_of(draft.call, draft.frame))
    if not described.factors:
        return "1"
    plain = shown.replace(" ", "")
    if not described.intercept or plain.startswith("1+"):
        return shown
    return f"1 + {shown}"


def joined(names: list[str]) -> str:
    """The columns of a random term, with no intercept unless it is among them."""
    return " + ".join(names if names[0] == "1" else ["0", *names])
