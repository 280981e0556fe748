"""A table that stands in for one that is not there: every column that a formula names, and groups in which each of its
terms can be told from the others.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from concord.models.syntax import Formula

# So many rows has each combination of groups.
ROWS = 6


def table(formula: Formula) -> pd.DataFrame:
    """Made-up values for a formula: what groups rows is a factor, crossed with every other one; all else are numbers
    above 0.

    Returns
    -------
    a column for each variable of the formula
    """
    groups = [name for name, uses in formula.uses.items() if uses <= {"group"}]
    levels = "abcdef" if len(groups) < 3 else "abc"
    rows = [one for one in product(levels, repeat=len(groups)) for _ in range(ROWS)]
    made = pd.DataFrame(rows, columns=groups)
    chance = np.random.default_rng(1)
    for name in formula.variables:
        if name not in made:
            made[name] = chance.uniform(1.0, 2.0, len(made))
    return made[list(formula.variables)]
