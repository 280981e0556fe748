"""The random effects of a design, each by the numbers of its term and of its column there."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from concord.arrays import Array, Matrix
from concord.models.design import Design

# One of the effects that a level has: the number of its term, and of its column there.
Effect = tuple[int, int]


def effects_of(design: Design, terms: Iterable[int] | None = None) -> list[Effect]:
    """The effects of some terms, by default of all."""
    every = range(len(design.terms)) if terms is None else terms
    return [(t, j) for t in every for j in range(len(design.terms[t].names))]


def pairs(effects: Sequence[Effect], matrices: Matrix) -> dict[tuple[Effect, Effect], Array]:
    """The entries of covariance matrices, shape (levels, w, w), by pair of effects."""
    every = itertools.combinations_with_replacement(enumerate(effects), 2)
    return {(one, other): matrices[:, a, b] for (a, one), (b, other) in every}


def by_effect(table: pd.DataFrame, design: Design, column: str) -> dict[Effect, Array]:
    """A column of a table of random effects, for every effect in the order of its levels: missing where the table has
    no row for a level, and throughout where it has a row too many.
    """
    arrays, used = {}, 0
    for t, j in effects_of(design):
        term = design.terms[t]
        rows = table[(table["group"] == term.group) & (table["term"] == term.names[j])]
        rows = rows[rows["level"].isin(term.levels)].drop_duplicates("level")
        used += len(rows)
        arrays[t, j] = rows.set_index("level")[column].reindex(list(term.levels)).to_numpy(float)
    return arrays if used == len(table) else {effect: np.full_like(array, np.nan) for effect, array in arrays.items()}


def unit(design: Design, effect: Effect, residual_variance: float) -> float:
    """How large an effect is that moves the response by one residual standard deviation, in the mean square over rows.

    What is small beside it is small whatever the effect's units, and also where its variance is zero.
    """
    column = design.terms[effect[0]].matrix[:, effect[1]]
    return float(np.sqrt(residual_variance / np.mean(column**2)))
