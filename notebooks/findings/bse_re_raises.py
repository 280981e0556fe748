"""MixedLM's bse_re raises for a model with variance components."""

import json
import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.regression.mixed_linear_model import MixedLMResultsWrapper

warnings.simplefilter("ignore")
row = np.arange(120)
g, cask = row // 12 + 1, row // 4 % 3 + 1
y = 60 + 4 * np.sin(1.7 * g**2) + 2 * np.sin(2.3 * (3 * g + cask) ** 2) + np.sin(3.1 * (row + 1) ** 2)
table = pd.DataFrame({"y": y, "g": g, "cask": cask})
fit = smf.mixedlm("y ~ 1", table, groups="g", re_formula="1", vc_formula={"cask": "0 + C(cask)"}).fit()


def read():
    try:
        return len(fit.bse_re), ""
    except ValueError as error:
        return 0, str(error)


raised = read()[1]
print(f"fit.bse_re: {'ValueError' if raised else 'no error'}")

# The mend: the names of the variance components are among those that the numbers are given.
wrapped = MixedLMResultsWrapper.__getattribute__


def mended(self, name):
    if name != "bse_re":
        return wrapped(self, name)
    results = wrapped(self, "_results")
    names = [*wrapped(self, "model").data.exog_re_names_full, *results.model.exog_vc.names]
    return pd.Series(results.bse_re, index=names)


MixedLMResultsWrapper.__getattribute__ = mended
count, still = read()
print(f"mended: {count} errors, of {', '.join(fit.bse_re.index)}")
print(json.dumps({"raised": float(bool(raised)), "raised_mended": float(bool(still)), "count": count}))
