"""Two formulas on one table: R's own anova(), missing values, and what is not comparable."""

from __future__ import annotations

import numpy as np
import pytest
from rpy2 import robjects

import concord
from concord import r
from concord.data import datasets
from concord.vocabulary import INDEPENDENT

ANOVA = """function(d) {
  small <- lme4::lmer(distance ~ age + (1 | Subject), d)
  as.numeric(suppressMessages(anova(small, lme4::lmer(distance ~ age + Sex + (1 | Subject), d)))[2L, 6:8])
}"""


def test_other_fixed_parts_are_refitted_by_ml_on_the_rows_of_both_and_said_to_be():
    """A row without Sex is left out of both models; R's anova() refits the same rows by ML."""
    frame = datasets.load("orthodont").frame.copy()
    frame.loc[frame.index[:4], "Sex"] = None
    made = concord.likelihood_ratio(frame, "distance ~ age + (1 | Subject)", "distance ~ age + Sex + (1 | Subject)")
    wanted = r.from_r(r.call(robjects.r(ANOVA), r.table(frame.iloc[4:].reset_index(drop=True))))
    table = made.table.set_index("source")
    for source in ("statsmodels", "lme4", INDEPENDENT):
        np.testing.assert_allclose(table.loc[source, ["statistic", "df", "p"]].astype(float), wanted, rtol=1e-4)
    shown = " ".join(repr(made).split())
    assert "By REML the log-likelihoods of models with other fixed effects are not comparable" in shown
    assert "4 of 108 rows left out: missing in one of the two formulas." in shown


def test_formulas_of_which_none_is_a_special_case_of_the_other_are_refused():
    made = concord.likelihood_ratio("orthodont", "distance ~ age + (1 | Subject)", "distance ~ Sex + (1 | Subject)")
    assert made.table["statistic"].isna().all() and "Not tested: " in repr(made)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_a_slope_has_the_boundarys_p(method):
    """By the model's own method, for the fixed parts are the same."""
    made = concord.likelihood_ratio(
        "sleepstudy", "Reaction ~ Days + (1 + Days | Subject)", "Reaction ~ Days + (1 | Subject)", method
    )
    assert not made.tested.said and made.table["mixture"].iloc[0] == "0.5 chi2(1) + 0.5 chi2(2)"
