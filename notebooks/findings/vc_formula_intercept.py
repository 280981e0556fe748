"""vc_formula= without re_formula="1": the groups' random intercept is left out, and nothing says so."""

import json
import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.regression.mixed_linear_model import MixedLMParams

row = np.arange(120)
g, cask = row // 12 + 1, row // 4 % 3 + 1
y = 60 + 4 * np.sin(1.7 * g**2) + 2 * np.sin(2.3 * (3 * g + cask) ** 2) + np.sin(3.1 * (row + 1) ** 2)
table = pd.DataFrame({"y": y, "g": g, "cask": cask})


def fit(**more):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = smf.mixedlm("y ~ 1", table, groups="g", vc_formula={"cask": "0 + C(cask)"}, **more).fit()
    return result, sum("intercept" in str(told.message) or "re_formula" in str(told.message) for told in said)


without, said = fit()
print(f"without re_formula: {without.k_re} variances of the groups, llf {without.llf:.2f}, {said} warnings of it")
# The mend: write it, as the default of a model without vc_formula has it.
whole, _ = fit(re_formula="1")
print(f're_formula="1": {whole.k_re} variance of the groups, {whole.cov_re.iloc[0, 0]:.2f}, llf {whole.llf:.2f}')
print(f"the standard error of the mean: {without.bse_fe.iloc[0]:.2f} without, {whole.bse_fe.iloc[0]:.2f} with it")

# In a crossed model there is one group of all rows: there re_formula="1" adds a variance that no data determine.
table["all"], table["h"] = 1, row % 7
parts = {"vc_formula": {"g": "0 + C(g)", "h": "0 + C(h)"}, "groups": "all", "re_formula": "1"}
crossed = smf.mixedlm("y ~ 1", table, **parts)
warnings.simplefilter("ignore")
ended = crossed.fit(maxiter=3)
at = [
    crossed.loglike(MixedLMParams.from_components(ended.fe_params.values, np.array([[value]]), vcomp=np.ones(2)))
    for value in (1.0, 100.0)
]
flat = abs(at[1] - at[0])
same = "yes" if flat < 1e-6 else "no"
print(f"crossed, that variance over the residual one 1 or 100: one log-likelihood to 1e-6: {same}")
numbers = {"dropped": float(without.k_re == 0), "warnings": said, "gain": whole.llf - without.llf}
print(json.dumps({**numbers, "kept": whole.k_re, "flat": flat}))
