"""How difficult a case is, by a rule that anybody can apply: *lower*, *average* or *higher*, as in NIST's data sets."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from concord.arrays import Integers, Matrix
from concord.models.design import Design
from concord.models.parameters import Parameters

RULE = (
    "higher: by REML or ML the optimum lies on the boundary (a variance of zero, a singular covariance matrix), or "
    "there is a lower optimum beside it, or two effects of a term correlate by 0.99 or more, or a random effect's "
    "share in the response is less than 0.001 or more than 10000 residual variances, or the columns of X, or those of "
    "Z that belong to one grouping factor, each divided by its length, have a condition number of 1000 or more. "
    "average: not so, and a random term has two or more correlated effects, or grouping factors are crossed, or rows "
    "have weights, or such a condition number is 10 or more. lower: all others."
)
CORRELATED, SHARES, CONDITION, ILL = 0.99, (1e-3, 1e4), 10.0, 1000.0


def grade(design: Design, optima: Iterable[tuple[Parameters, bool]]) -> str:
    """The difficulty of a model.

    Parameters
    ----------
    optima : by every method the certified parameters, and whether a lower optimum is known beside them
    """
    design = design.as_coded
    condition = _condition(design)
    if condition >= ILL or any(other or _hard(design, at) for at, other in optima):
        return "higher"
    correlated = any(len(term.names) > 1 for term in design.terms)
    crossed = not all(nested(a.codes, b.codes) for a in design.terms for b in design.terms)
    return "average" if correlated or crossed or design.weights is not None or condition >= CONDITION else "lower"


def _hard(design: Design, at: Parameters) -> bool:
    shares = np.concatenate([np.zeros(0), *at.shares(design)])
    extreme = ((shares < SHARES[0]) | (shares > SHARES[1])).any()
    return bool(extreme) or at.singular(design) or any(map(_correlate, at.covariances))


def _correlate(covariance: Matrix) -> bool:
    deviations = np.sqrt(np.diag(covariance))
    correlations = covariance / np.outer(deviations, deviations) - np.eye(len(covariance))
    return bool(np.abs(correlations).max() >= CORRELATED)


def _condition(design: Design) -> float:
    """The largest condition number of X and of the columns that belong to one grouping factor."""
    columns = {"": [design.X]}
    for term in design.terms:
        columns.setdefault(term.group, []).append(term.matrix)
    return max(_condition_of(np.column_stack(parts)) for parts in columns.values())


def _condition_of(matrix: Matrix) -> float:
    return float(np.linalg.cond(matrix / np.linalg.norm(matrix, axis=0))) if matrix.shape[1] else 1.0


def nested(a: Integers, b: Integers) -> bool:
    """Whether the groups of one of two factors are nested within those of the other."""
    pairs = len(set(zip(a.tolist(), b.tolist(), strict=True)))
    return pairs == max(len(set(a.tolist())), len(set(b.tolist())))
