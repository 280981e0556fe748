"""The terms of a model's fixed effects, as R takes the formula apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

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
    matrices: list[str]
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
    of = {column: str(one) for one in model.made if len(one.columns) > 1 for column in one.columns}
    # R's labels of every term, the columns of a spline taken as the spline.
    wholes: dict[tuple[str, frozenset[str]], list[str]] = {}
    for label, column in zip(got.labels, uses.T, strict=True):
        variables = [name for name, used in zip(got.variables, column, strict=True) if used]
        splines = [name for name in variables if name in of]
        named = ":".join(of.get(part, part) for part in label.split(":")) if splines else label
        wholes.setdefault((named, frozenset(of.get(name, name) for name in variables)), []).append(label)
    number = {label: k for k, parts in enumerate(wholes.values(), 1) for label in parts}
    place = np.array([0, *(number[label] for label in got.labels)])
    return FixedTerms(
        labels=tuple(label for label, _ in wholes),
        of_column=place[got.of_column.astype(int)],
        variables=tuple(variables for _, variables in wholes),
        numeric=frozenset(of.get(name, name) for name in got.numeric),
        full=got.full,
        of_full=place[got.of_full.astype(int)],
        not_first=got.not_first.astype(bool),
        matrices=frozenset(got.matrices),
        parts=tuple(map(tuple, wholes.values())),
    )
