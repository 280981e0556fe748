"""What is said of the columns that a rank-deficient fixed part loses."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import prod

from concord.data.columns import counted, level_name
from concord.models.fixed_terms import fixed_terms
from concord.models.model import Model

# So many columns, and so many cells without rows, are named in a sentence.
SHOWN = 6
# Of more cells than this none is looked for.
CELLS = 10_000


def dropped_note(model: Model) -> list[str]:
    """A sentence on the columns that the fixed part has not, because it is rank-deficient: which, why, and what the
    others then mean; none where it has all.

    Raises
    ------
    RError : R or lme4 is missing
    """
    dropped = model.design.dropped
    if not dropped:
        return []
    why = [f"{name} is {what}" for name, what in dropped.items()]
    columns = f"{counted(len(why), 'column')} of it {'is' if len(why) == 1 else 'are'}"
    cells = _empty_cells(model)
    told = f". No row has {_few(cells, ', nor ')}, so nothing can be known of that" if cells else ""
    said = f"the fixed part is rank-deficient, and {columns} dropped for all engines, as lme4 does: {_few(why, '; ')}"
    return [f"{said}{told}. {_meaning(dropped)}"]


def _meaning(dropped: Mapping[str, str]) -> str:
    """What the coefficients that are left mean, in a sentence."""
    if set(dropped.values()) == {"zero in every row"}:
        return "The other coefficients mean what they would mean with it"
    held = "it" if len(dropped) == 1 else "them"
    return (
        f"The other coefficients are those with {held} held at 0; fitted values and variances are the same "
        "whichever of such columns is dropped"
    )


def _few(texts: list[str], between: str) -> str:
    more = f"{between}{len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return between.join(texts[:SHOWN]) + more


def _empty_cells(model: Model) -> list[str]:
    """The combinations of levels that no row has, by the smallest interaction of factors that misses them."""
    frame, factors = model.frame.iloc[model.design.rows], model.design.factors
    terms = fixed_terms(model)
    interactions = {tuple(sorted(names - terms.numeric)) for names in terms.variables}
    empty: list[dict[str, str]] = []
    for names in sorted(interactions, key=lambda names: (len(names), names)):
        if len(names) < 2 or not set(names) <= set(factors) or prod(len(factors[name]) for name in names) > CELLS:
            continue
        there = set(zip(*(frame[name].map(level_name) for name in names), strict=True))
        cells = [cell for cell in product(*(factors[name] for name in names)) if cell not in there]
        wider = [dict(zip(names, cell, strict=True)) for cell in cells]
        empty += [cell for cell in wider if not any(smaller.items() <= cell.items() for smaller in empty)]
    return [" with ".join(f"{name}={level}" for name, level in cell.items()) for cell in empty]
