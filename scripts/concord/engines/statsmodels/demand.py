"""What a fit by MixedLM takes: it goes through the groups one by one, and holds dense columns of variance components.

Of a group with n rows and k columns of random effects `MixedLM._augment_exog` keeps the dense n x k matrix beside the
parts that it is made of; `_smw_solver`, `_gen_dV_dPar` and `hessian` make some eight more of the largest group's. The
factors were measured with statsmodels 0.14.6, on crossed factors of 500 and 1000 levels, and on 1000 and 2000 groups.
"""

from __future__ import annotations

import numpy as np

from concord.arrays import Integers
from concord.engines.demand import Demand
from concord.engines.statsmodels.formula import groups_and_block
from concord.models.design import Design
from concord.models.model import Model

KEPT, TEMPORARY = 2.2, 8.0
"""Dense matrices that stay, and that come and go with the group at work."""
A_GROUP, AN_ENTRY = 1.5e-3, 7e-9
"""Seconds for a group's turns in Python, and, of its matrices' products, for n k^2."""


def demand(model: Model) -> Demand:
    """Time and memory of a default fit.

    Raises
    ------
    CannotExpress : MixedLM has no way to write the model down
    """
    codes, block = groups_and_block(model.formula, model.design, model.frame)
    rows, columns = _sizes(model.design, codes, block)
    entries = 8.0 * rows * columns
    largest = int(np.argmax(entries))
    which = "its largest group" if len(rows) > 1 else "the one group that all rows are in"
    return Demand(
        A_GROUP * len(rows) + AN_ENTRY * float((rows * columns**2).sum()),
        KEPT * float(entries.sum()) + TEMPORARY * float(entries[largest]),
        f"of {which} it makes some ten dense matrices of {int(rows[largest]):,} rows x {int(columns[largest]):,} "
        "random effects",
    )


def _sizes(design: Design, codes: Integers, block: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Every group's rows and columns of random effects, shapes (groups,)."""
    rows = np.bincount(codes).astype(float)
    columns = np.zeros(len(rows))
    for i, term in enumerate(design.terms):
        if i == block:
            columns += len(term.names)
            continue
        levels = np.unique(np.column_stack([codes, term.codes]), axis=0)[:, 0]
        columns += len(term.names) * np.bincount(levels, minlength=len(rows))
    return rows, columns
