"""What an array holds. numpy's types do not carry shapes: they stand in docstrings and beside attributes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
"""Doubles, in any number of dimensions."""
Floats: TypeAlias = npt.NDArray[np.floating[Any]]
"""Doubles of which numpy's types say less: what `numpy.linalg` makes of an array."""
Vector: TypeAlias = Array
Matrix: TypeAlias = Array
Integers: TypeAlias = npt.NDArray[np.intp]
"""Levels of a grouping factor, numbers of rows or places in an array."""
Mask: TypeAlias = npt.NDArray[np.bool_]


def total(arrays: Iterable[Array]) -> Array:
    """The sum of arrays of one shape; a zero without a shape of none."""
    return sum(arrays, start=np.zeros(()))
