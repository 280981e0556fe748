"""MixedLM with many groups and a random slope: far below the optimum, after long."""

import json
import time
import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams

warnings.simplefilter("ignore")
groups = 100  # 10000 for 100000 rows
row = np.arange(10 * groups)
g, t = row // 10 + 1, row % 10 + 1.0
y = 10 + 5 * t + 4 * np.sin(1.7 * g**2) + t * np.sin(2.3 * g**2 + 1) + 3 * np.sin(3.1 * (row + 1) ** 2)
table = pd.DataFrame({"y": y, "t": t, "g": g})


def fit():
    began = time.perf_counter()
    result = smf.mixedlm("y ~ t", table, groups="g", re_formula="~t").fit()
    return result, time.perf_counter() - began


default, seconds = fit()
score = MixedLM.score


def mended(self, params, profile_fe=True):
    """The sign of the derivatives in a column of the factor whose diagonal entry is negative."""
    derivatives = score(self, params, profile_fe)
    if not isinstance(params, MixedLMParams):
        lower, column = np.tril_indices(self.k_re)
        derivatives *= np.where(np.asarray(params)[lower == column] < 0, -1, 1)[column]
    return derivatives


# The mend is that of the gradient's sign: the default then ends at the optimum, and sooner.
MixedLM.score = mended
right, less = fit()
short = right.llf - default.llf
print(f"{groups} groups of 10: {short:.1f} log-likelihood units below the optimum")
print(f"mended: converged: {right.converged}")
if groups > 1000:
    print(f"{seconds:.0f} s; mended, {less:.0f} s")
print(json.dumps({"short": short, "converged_mended": right.converged}))
