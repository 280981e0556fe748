"""The terms of a model's fixed effects, as R takes the formula apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from concord import r
from concord.arrays import Integers, Matrix
from concord.models.design import FixedTerms
from concord.models.formula import expression
from concord.models.model import Model

_R = Path(__file__).with_suffix(".R")


@dataclass(frozen=True, eq=False)
class _Terms:
    """`FixedTerms` as R has them; `uses` is 1 where a variable, by row, is in a term, by column; so is `not_first`."""

    labels: list[str]
    variables: list[str]
    numeric: list[str]
    uses: Matrix
    of_column: Integers
    full: Matrix
    of_full: Integers
    not_first: Integers


@lru_cache(maxsize=8)
def fixed_terms(model: Model) -> FixedTerms:
    """The terms of a model's fixed effects.

    Raises
    ------
    RError : R or lme4 is missing
    """
    frame = model.frame[list(model.formula.variables)]
    got = r.record(_Terms, r.call(r.source(_R)["fixed_terms"], expression(model.formula), frame))
    uses = got.uses.reshape(len(got.variables), len(got.labels))
    return FixedTerms(
        labels=tuple(got.labels),
        of_column=got.of_column.astype(int),
        variables=tuple(
            frozenset(name for name, used in zip(got.variables, column, strict=True) if used) for column in uses.T
        ),
        numeric=frozenset(got.numeric),
        full=got.full,
        of_full=got.of_full.astype(int),
        not_first=got.not_first.astype(bool),
    )
