"""statsmodels' MixedLM against the certified cases: an adapter and nothing else."""

import numpy as np
import pytest
from statsmodels.regression.mixed_linear_model import MixedLM

from concord_cases import CannotExpress
from concord_cases.grid import *  # noqa: F403


@pytest.fixture(scope="session")
def concord_fit():
    """Fits a case from its matrices."""

    def fit(case, method):
        if len(case["Z"]) > 1 or case["weights"]:
            raise CannotExpress("several random terms, or weights")
        (term,) = case["Z"]
        X, Z = np.column_stack(case["X"]["columns"]), np.column_stack(term["columns"])
        result = MixedLM(case["y"], X, term["codes"], Z).fit(reml=method == "REML")
        return {
            "fixed": result.fe_params,
            "covariances": [result.cov_re],
            "residual_variance": result.scale,
            "stated_loglik": result.llf,
        }

    return fit
