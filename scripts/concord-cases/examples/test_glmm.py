"""glmm of PyPI against the certified cases, by its formula."""

import glmm
import numpy as np
import pytest

from concord_cases import CannotExpress, plain
from concord_cases.grid import *  # noqa: F403


@pytest.fixture(scope="session")
def concord_fit():
    """Fits a case from columns of plain names."""

    def fit(case, method):
        if case["weights"] or any("(Intercept)" not in term["names"] for term in case["Z"]):
            raise CannotExpress("weights, or random effects without an intercept")
        table, formula = plain(case)
        result = glmm.fit(table, formula, reml=method == "REML")
        return {
            "fixed": result.beta,
            "covariances": [square(values) for values in result.varcorr],
            "residual_variance": result.dispersion,
            "stated_loglik": result.loglik,
        }

    return fit


def square(triangle):
    """A matrix of its lower triangle, column by column."""
    size = int((2 * len(triangle)) ** 0.5)
    matrix = np.zeros((size, size))
    rows, columns = np.triu_indices(size)
    matrix[rows, columns] = matrix[columns, rows] = triangle
    return matrix
