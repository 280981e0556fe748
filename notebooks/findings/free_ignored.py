"""MixedLM's free= holds parameters through the gradient only: optimizers without a gradient ignore it."""

import json
import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.base.model import LikelihoodModel
from statsmodels.regression.mixed_linear_model import MixedLMParams

warnings.simplefilter("ignore")
row = np.arange(100)
g, t = row // 5 + 1, row % 5 + 6.0
y = 10 + 5 * t + 10 * np.sin(1.7 * g**2) + t * np.sin(2.3 * g**2 + 1) + np.sin(3.1 * (row + 1) ** 2)
table = pd.DataFrame({"y": y, "t": t, "g": g})
# Uncorrelated intercepts and slopes: the covariance is held at zero.
free = MixedLMParams.from_components(np.ones(2), np.eye(2))


def covariance(method):
    fit = smf.mixedlm("y ~ t", table, groups="g", re_formula="~t").fit(method=method, free=free)
    return float(fit.cov_re.iloc[0, 1])


given = {method: covariance(method) for method in ("bfgs", "powell", "nm")}
for method, value in given.items():
    print(f"{method}: covariance {'held at 0' if value == 0 else f'{value:.1f}, though it is held at 0'}")

# The mend: search over the free entries only, whatever the optimizer.
search = LikelihoodModel.fit


def mended(self, start_params=None, **options):
    pattern = self._freepat
    if pattern is None:
        return search(self, start_params=start_params, **options)
    held = np.concatenate([pattern.cov_re[pattern._ix], pattern.vcomp]) == 0
    loglike = self.loglike
    packed = lambda params: np.where(held, start_params, params)  # noqa: E731
    self.loglike = lambda params, *rest, **more: loglike(packed(params), *rest, **more)
    try:
        result = search(self, start_params=start_params, **options)
    finally:
        del self.loglike
    result.params = packed(result.params)
    return result


LikelihoodModel.fit = mended
mend = {method: covariance(method) for method in ("powell", "nm")}
print("mended:", ", ".join(f"{method} {value:.0f}" for method, value in mend.items()))
print(
    json.dumps(
        {
            "bfgs": given["bfgs"],
            "powell": abs(given["powell"]),
            "nm": abs(given["nm"]),
            "mended": max(map(abs, mend.values())),
        }
    )
)
