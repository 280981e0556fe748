"""lme-python of PyPI against the certified cases, by its formula."""

import lme_python
import numpy as np
import polars
import pytest

from concord_cases import CannotExpress, plain
from concord_cases.grid import *  # noqa: F403


@pytest.fixture(scope="session")
def concord_fit():
    """Fits a case from columns of plain names."""

    def fit(case, method):
        if case["weights"] or len({term["group"] for term in case["Z"]}) < len(case["Z"]):
            raise CannotExpress("weights, or two terms of one group")
        table, formula = plain(case)
        result = lme_python.lmer(formula, polars.DataFrame(table, strict=False), reml=method == "REML")
        groups = sorted(name for name in table if name.startswith("g"))
        return {
            "fixed": result.coefficients,
            "covariances": [square(result.var_corr, group) for group in groups],
            "residual_variance": result.sigma2,
            "stated_loglik": result.log_likelihood,
        }

    return fit


def square(rows, group):
    """A group's covariance matrix of rows with two effects each, in the order of the effects' variances."""
    pairs = {(one, other): value for name, one, other, value, _ in rows if name == group}
    effects = [one for one, other in pairs if one == other]
    return np.array(
        [[pairs[one, other] if (one, other) in pairs else pairs[other, one] for other in effects] for one in effects]
    )
