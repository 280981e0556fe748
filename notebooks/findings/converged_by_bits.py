"""Whether MixedLM says "converged", and where it ends, can hang on the last bits of its likelihood."""

import json
import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams

warnings.simplefilter("ignore")
row = np.arange(60)
g, t = row // 5 + 1, row % 5 + 3.0
y = 10 + 5 * t + 4 * np.sin(1.7 * g**2) + 0.2 * t * np.sin(2.3 * g**2 + 1) + 2 * np.sin(3.1 * (row + 1) ** 2)
table = pd.DataFrame({"y": y, "t": t, "g": g})
loglike, score = MixedLM.loglike, MixedLM.score


def fits(times):
    """By ML and lbfgs, with the likelihood times 1 + k 2.2e-16, k from -2 to 2, as another processor may round it."""
    for seed in range(times):
        draw = np.random.default_rng(seed)

        def rounded(self, params, profile_fe=True, draw=draw):
            return loglike(self, params, profile_fe) * (1 + int(draw.integers(-2, 3)) * 2.0**-52)

        MixedLM.loglike = rounded
        yield smf.mixedlm("y ~ t", table, groups="g", re_formula="~t").fit(reml=False, method="lbfgs")


given = list(fits(12))
converged = sum(fit.converged for fit in given)
print("converged:", "in some runs of 12, in others not" if 0 < converged < 12 else f"in {converged} of 12 runs")


def mended(self, params, profile_fe=True):
    """The sign of the derivatives in a column of the factor whose diagonal entry is negative."""
    derivatives = score(self, params, profile_fe)
    if not isinstance(params, MixedLMParams):
        lower, column = np.tril_indices(self.k_re)
        derivatives *= np.where(np.asarray(params)[lower == column] < 0, -1, 1)[column]
    return derivatives


MixedLM.score = mended
right = list(fits(6))
spread = max(fit.llf for fit in right) - min(fit.llf for fit in right)
print("with the sign of the derivatives mended:", sum(fit.converged for fit in right), "of 6 runs converge")
print(
    json.dumps(
        {"converged": converged, "converged_mended": sum(fit.converged for fit in right), "spread_mended": spread}
    )
)
