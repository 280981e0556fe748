"""The standard error that MixedLM prints for a variance, beside the exact one of a balanced design."""

import json
import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

warnings.simplefilter("ignore")
k, n = 20, 5
row = np.arange(k * n)
g = row // n + 1
y = 10 + 3 * np.sin(1.7 * g**2) + 2 * np.sin(3.1 * (row + 1) ** 2)


def both(unit):
    """By REML, with y in another unit: what is printed, and the mend; and what theory has for a balanced design."""
    table = pd.DataFrame({"y": unit * y, "g": g})
    fit = smf.mixedlm("y ~ 1", table, groups="g").fit()
    between = n * table.groupby("g")["y"].mean().var()
    within = table.groupby("g")["y"].var().mean()
    exact = np.sqrt(2 / n**2 * (between**2 / (k - 1) + within**2 / (k * (n - 1))))
    # The mend: the error of the ratio r to the residual variance s, and of s, which depends on r, by the delta method.
    r, s = fit.cov_re.iloc[0, 0] / fit.scale, fit.scale
    profiled = [
        fit.model.get_scale(fit.fe_params.values, np.array([[r * (1 + h)]]), np.zeros(0)) for h in (1e-5, -1e-5)
    ]
    slope = (profiled[0] - profiled[1]) / (2e-5 * r)
    of_ratio = fit.bse_re.iloc[0] / np.sqrt(s)
    mended = np.sqrt(of_ratio**2 * (s + r * slope) ** 2 + r**2 * 2 * s**2 / (k * n - 1))
    return fit.cov_re.iloc[0, 0], fit.bse_re.iloc[0], mended, exact


numbers = {}
for unit in (1, 100):
    variance, printed, mended, exact = both(unit)
    print(
        f"unit 1/{unit}: variance {variance:.5g}, printed error {printed:.4g}, mended {mended:.4g}, exact {exact:.4g}"
    )
    numbers |= {f"printed_{unit}": printed / exact, f"mended_{unit}": mended / exact - 1}
print(json.dumps(numbers))
