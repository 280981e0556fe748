"""mixedlm-rs of PyPI against the certified cases, by its matrices."""

import mixedlm_rs
import numpy as np
import pytest

from concord_cases import CannotExpress
from concord_cases.grid import *  # noqa: F403


@pytest.fixture(scope="session")
def concord_fit():
    """Fits a case from its matrices."""

    def fit(case, method):
        if len(case["Z"]) > 1 or case["weights"]:
            raise CannotExpress("several random terms, or weights")
        (term,) = case["Z"]
        X, Z = np.column_stack(case["X"]["columns"]).astype(float), np.column_stack(term["columns"]).astype(float)
        groups = np.array(term["levels"], dtype=object)[term["codes"]]
        result = mixedlm_rs.MixedLM(np.array(case["y"], float), X, groups, Z).fit(reml=method == "REML")
        return {
            "fixed": result.fe_params,
            "covariances": [result.cov_re],
            "residual_variance": result.scale,
            "stated_loglik": result.llf,
        }

    return fit
