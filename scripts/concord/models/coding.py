"""Codings: the same columns in another order, centred, scaled or otherwise recombined, and the way back.

With given columns X_g = X T, coefficients b_g of X_g are b = T b_g of X, and a covariance matrix P_g of random effects
is T P_g T'. The ML log-likelihood does not notice. The REML one does: it holds -0.5 log |X'V^-1 X|, so that in the
coding X it is larger by log |det T| = 0.5 (log |X_g'X_g| - log |X'X|).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from concord.arrays import Integers, Matrix


def same_numbers(matrix: Matrix, wanted: Matrix) -> bool:
    """Whether two arrays are equal within rounding: a predictor may have come out of another language's arithmetic."""
    return matrix.shape == wanted.shape and bool(
        np.allclose(matrix, wanted, rtol=1e-10, atol=1e-12 * np.abs(wanted).max(initial=0.0))
    )


def same_groups(groups: Integers | Sequence[str], wanted: Integers) -> bool:
    """Whether two grouping factors put the same rows together, whatever the groups are called."""
    return np.array_equal(pd.factorize(np.asarray(groups))[0], pd.factorize(np.asarray(wanted))[0])


def between(matrix: Matrix, wanted: Matrix) -> Matrix | None:
    """The matrix T, shape (k, k), with ``matrix = wanted @ T``; None where the columns span different spaces.

    Exact zeros and ones where the columns are the same in another order.

    Parameters
    ----------
    matrix, wanted : columns, shape (n, k)
    """
    if matrix.shape != wanted.shape:
        return None
    count = wanted.shape[1]
    T, left = np.zeros((count, count)), list(range(count))
    for j, column in enumerate(matrix.T):
        place = next((i for i in left if same_numbers(column, wanted[:, i])), None)
        if place is None:
            break
        left.remove(place)
        T[place, j] = 1.0
    if not left:
        return T
    # Columns of length one: how well they are reproduced must not depend on their units.
    lengths = np.linalg.norm(wanted, axis=0)
    sizes = np.linalg.norm(matrix, axis=0)
    if not (lengths.min() > 0 and sizes.min() > 0):
        return None
    T = np.linalg.lstsq(wanted / lengths, matrix / sizes, rcond=None)[0]
    if np.abs(wanted / lengths @ T - matrix / sizes).max() > 1e-10 or np.linalg.cond(T) > 1e10:
        return None
    recoded: Matrix = T * sizes / lengths[:, None]
    return recoded


def shift(T: Matrix) -> float:
    """What to add to the REML log-likelihood of the given coding to have that of the wanted one: log |det T|."""
    return float(np.linalg.slogdet(T)[1])
