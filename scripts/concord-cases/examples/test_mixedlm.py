"""mixedlm of PyPI against the certified cases, by its formula."""

import mixedlm
import pandas as pd
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
        result = mixedlm.lmer(formula, pd.DataFrame(table), REML=method == "REML")
        by_group = {term.grouping_factor: term.cov for term in result.VarCorr().groups.values()}
        return {
            "fixed": list(result.fixef().values()),
            "covariances": [by_group[group] for group in sorted(table) if group.startswith("g")],
            "residual_variance": result.sigma**2,
            "stated_loglik": result.logLik(),
        }

    return fit
