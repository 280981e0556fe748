"""What is particular about a case, in words of the index: told by its numbers alone, and by no name."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from concord.arrays import Integers, Matrix, Vector
from concord.publication.difficulty import nested

# A correlation is 1 within what double precision leaves of it; residuals are next to nothing beside the response.
WHOLE, PERFECT = 1e-9, 1e-5
# How large a mean is beside a standard deviation, and the condition number of columns of length one.
FAR, COLLINEAR = 100.0, 100.0
SECONDS = 1e9
SIZES = (1000, 10_000, 100_000)


def kinds(case: dict[str, Any]) -> list[str]:
    """The kinds of a case, by its record."""
    return [*_rows(case), *_fixed(case), *_groups(case), *_optima(case)]


def _rows(case: dict[str, Any]) -> Iterator[str]:
    n = len(case["y"])
    yield from (f"{size} rows or more" for size in SIZES if n >= size)
    if case["weights"]:
        yield "weights"
    if case["offset"]:
        yield "offset"
    if case["rows"]:
        yield "missing values"


def _fixed(case: dict[str, Any]) -> Iterator[str]:
    X = np.column_stack([_floats(column) for column in case["X"]["columns"]])
    spread = X.std(axis=0)
    varying = X[:, spread > 0]
    columns = np.column_stack([varying, _floats(case["y"])])
    if (np.abs(columns.mean(axis=0)) >= FAR * columns.std(axis=0)).any():
        yield "an origin far away"
    if (X.min(axis=0) >= SECONDS).any():
        yield "Unix seconds"
    centred = varying - varying.mean(axis=0) if varying.shape[1] < X.shape[1] else varying
    if centred.shape[1] and np.linalg.cond(centred / np.linalg.norm(centred, axis=0)) >= COLLINEAR:
        yield "nearly collinear X"


def _groups(case: dict[str, Any]) -> Iterator[str]:
    yield from (f"{q} correlated effects" for q in sorted({len(term["names"]) for term in case["Z"]}) if q > 1)
    factors = {term["group"]: np.array(term["codes"]) for term in case["Z"]}
    sizes = [np.unique(codes, return_counts=True)[1] for codes in factors.values()]
    if any(len(set(counts.tolist())) > 1 for counts in sizes):
        yield "groups of unequal size"
    if any(1 in counts for counts in sizes):
        yield "groups of one row"
    crossed = [pair for pair in combinations(factors.values(), 2) if not nested(*pair)]
    if crossed:
        yield "crossed factors, balanced" if all(_balanced(*pair) for pair in crossed) else "crossed factors, in part"
    if any(all(not nested(*pair) for pair in combinations(three, 2)) for three in combinations(factors.values(), 3)):
        yield "three crossed factors"
    # Of factors each of which is nested within another, as many as are nested in each other pair by pair.
    deepest = max(
        (k for k in range(2, 1 + len(factors)) for chosen in combinations(factors.values(), k) if _chain(chosen)),
        default=1,
    )
    if deepest > 1:
        yield f"nested {deepest} deep"


def _optima(case: dict[str, Any]) -> Iterator[str]:
    optima = case["optimum"].values()
    matrices = [_matrix(matrix) for optimum in optima for matrix in optimum["covariances"]]
    several = sum(len(term["names"]) for term in case["Z"]) > 1
    if any((np.diag(matrix) == 0).any() for matrix in matrices):
        yield "a variance of zero among several" if several else "a variance of zero"
    correlations = np.concatenate([np.zeros(0), *map(_correlations, matrices)])
    if (correlations >= 1 - WHOLE).any():
        yield "a correlation of 1"
    if (correlations <= WHOLE - 1).any():
        yield "a correlation of -1"
    if any(optimum["other_optima"] for optimum in optima):
        yield "two optima"
    if any(float(optimum["residual_variance"]) < PERFECT * np.var(_floats(case["y"])) for optimum in optima):
        yield "a near-perfect fit"


def _floats(values: list[Any]) -> Vector:
    return np.array([float(value) for value in values])


def _matrix(rows: list[list[str]]) -> Matrix:
    return np.array([[float(value) for value in row] for row in rows])


def _correlations(matrix: Matrix) -> Vector:
    """Those of effects that vary."""
    varying = matrix[np.ix_(*2 * [np.diag(matrix) > 0])]
    deviations = np.sqrt(np.diag(varying))
    return np.array((varying / np.outer(deviations, deviations))[np.tril_indices(len(varying), -1)])


def _balanced(a: Integers, b: Integers) -> bool:
    """Whether every two levels of two factors meet in the same number of rows."""
    cells = np.unique(np.column_stack([a, b]), axis=0, return_counts=True)[1]
    return len(cells) == len(np.unique(a)) * len(np.unique(b)) and len(set(cells.tolist())) == 1


def _chain(factors: tuple[Integers, ...]) -> bool:
    return all(nested(a, b) and len(np.unique(a)) != len(np.unique(b)) for a, b in combinations(factors, 2))
