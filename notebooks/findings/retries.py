"""MixedLM's retries begin where the optimizer before them failed, and not where that one began."""

import json
import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

warnings.simplefilter("ignore")
row = np.arange(180)
g, t = row // 6 + 1, row % 6 + 6.0
y = 10 + 5 * t + 20 * np.sin(1.7 * g**2) + 2 * t * np.sin(2.3 * g**2 + 1) + 3 * np.sin(3.1 * (row + 1) ** 2)
table = pd.DataFrame({"y": y, "t": t, "g": g})


def model():
    return smf.mixedlm("y ~ t", table, groups="g", re_formula="~t")


# The default is a list of three optimizers: bfgs, and lbfgs and cg for retries.
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    default = model().fit()
print(*dict.fromkeys(str(told.message) for told in said if "etrying" in str(told.message)), sep="\n")

# The mend: every optimizer of the list from the start, and the best of them.
afresh = {name: model().fit(method=name) for name in ("bfgs", "lbfgs", "cg")}
best = max(afresh, key=lambda name: afresh[name].llf)
lost = afresh[best].llf - default.llf
print(f"one after the other, each from where the last one stopped: {lost:.0f} units below the best")
print(f"each from the start: {best} is the best, converged: {afresh[best].converged}")
variances = {name: np.diag(fit.cov_re)[0] for name, fit in (("default", default), ("afresh", afresh[best]))}
print(f"variance of the intercepts: {variances['default']:.0f} by default, {variances['afresh']:.0f} afresh")
print(json.dumps({"lost": lost, "converged_afresh": afresh[best].converged}))
