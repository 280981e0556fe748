"""MixedLM with method="lbfgs": a log-likelihood of infinity, all coefficients wrong, and "converged"."""

import json
import math
import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.regression.mixed_linear_model import MixedLM

warnings.simplefilter("ignore")
row = np.arange(300)
g = row // 30 + 1
y = 10 + np.sin(1.7 * g**2) + 6 * np.sin(3.1 * (row + 1) ** 2)
table = pd.DataFrame({"y": y, "g": g})


def fit():
    return smf.mixedlm("y ~ 1", table, groups="g").fit(method="lbfgs")


given = fit()
print(f"mean of y {y.mean():.2f}; intercept {given.fe_params.iloc[0]:.2f}, variance {given.cov_re.iloc[0, 0]:.1f}")
print(f"llf {given.llf}, converged {given.converged}")

# The path: the search begins at 1, its first step has length 1 and ends at a variance of exactly 0.
made, visited = smf.mixedlm("y ~ 1", table, groups="g"), []
loglike = made.loglike
made.loglike = lambda params, *rest, **more: visited.append(params) or loglike(params, *rest, **more)
made.fit(method="lbfgs")
print(
    "square roots of the variance that the search visits:", *[float(v[0]) for v in visited if isinstance(v, np.ndarray)]
)

# The mend: there the likelihood is not infinite, and its derivative 0 is no maximum: the search is to turn back.
original = MixedLM.loglike


def mended(self, params, profile_fe=True):
    value = original(self, params, profile_fe)
    return -1e10 if value == math.inf else value


MixedLM.loglike = mended
right = fit()
print(f"mended: intercept {right.fe_params.iloc[0]:.2f}, llf {right.llf:.2f}, converged {right.converged}")
wrong = {"infinite": float(given.llf == math.inf), "converged": float(given.converged)}
off = abs(right.fe_params.iloc[0] - y.mean())
print(json.dumps({**wrong, "off": abs(given.fe_params.iloc[0] - y.mean()), "off_mended": off}))
