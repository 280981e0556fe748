"""A table that stands in for one that is not there: every column that a formula names, and groups in which each of its
terms can be told from the others.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from concord.models.syntax import Call, Formula, FormulaError, Name, walk

# So many combinations of groups there may be, and so many rows has each, where they are few and where they are many.
MOST, FEW = 4096, 216
ROWS, ROWS_OF_MANY = 24, 6
# So many values has a number that is made a factor.
VALUES = 3


def table(formula: Formula) -> pd.DataFrame:
    """Made-up values for a formula: what only groups rows is a factor, crossed with every other one; all else are
    numbers above 0, whole and few ones where they group rows too or are made a factor.

    Returns
    -------
    a column for each variable of the formula

    Raises
    ------
    FormulaError : it has too many grouping columns
    """
    groups = [name for name, uses in formula.uses.items() if "group" in uses]
    count = 6 if len(groups) < 3 else 3 if len(groups) < 7 else 2
    if count ** len(groups) > MOST:
        raise FormulaError(f"{len(groups)} grouping columns are too many without a table: name the table, too")
    times = ROWS if count ** len(groups) <= FEW else ROWS_OF_MANY
    rows = [one for one in product(range(count), repeat=len(groups)) for _ in range(times)]
    made = pd.DataFrame(rows, columns=groups)
    for name in groups:
        made[name] = made[name] + 1.0 if formula.uses[name] > {"group"} else made[name].map(dict(enumerate("abcdef")))
    chance = np.random.default_rng(1)
    factors = made_factors(formula)
    for name in formula.variables:
        if name not in made:
            few, many = chance.integers(1, VALUES + 1, len(made)).astype(float), chance.uniform(1.0, 2.0, len(made))
            made[name] = few if name in factors else many
    return made[list(formula.variables)]


def made_factors(formula: Formula) -> set[str]:
    """The variables that stand in ``factor``."""
    tree = formula.tree
    calls = [part for node in (tree.fixed, *(term.columns for term in tree.random)) for part in walk(node)]
    arguments = [
        call.arguments[0] for call in calls if isinstance(call, Call) and call.function in ("factor", "as.factor", "C")
    ]
    return {argument.name for argument in arguments if isinstance(argument, Name)}
