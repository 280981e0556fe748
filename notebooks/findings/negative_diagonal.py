"""MixedLM's gradient, where the search has made a diagonal entry of the covariance matrix's factor negative."""

import json
import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams

warnings.simplefilter("ignore")
row = np.arange(100)
g, t = row // 5 + 1, row % 5 + 6.0
y = 10 + 5 * t + 10 * np.sin(1.7 * g**2) + t * np.sin(2.3 * g**2 + 1) + np.sin(3.1 * (row + 1) ** 2)
table = pd.DataFrame({"y": y, "t": t, "g": g})


def model():
    return smf.mixedlm("y ~ t", table, groups="g", re_formula="~t")


# One covariance matrix L L' (over the residual variance), by its factor L with a positive and with a negative diagonal.
fit = model().fit()
made = fit.model
ratios = []
for name, factor in [("positive", np.array([2.0, 0.5, 1.0])), ("negative", np.array([-2.0, -0.5, -1.0]))]:
    steps = np.diag([1e-5] * 3)
    slope = [(made.loglike(factor + step) - made.loglike(factor - step)) / 2e-5 for step in steps]
    stated = made.score(factor)
    ratios.append(float(np.mean(stated / slope)))
    print(f"{name} diagonal: score() / slope of loglike() = {', '.join(f'{q:+.3f}' for q in stated / slope)}")

# The design is balanced: the REML optimum is known in closed form, and loglike() tells its height.
groups = [(np.polyfit(part["t"], part["y"], 1)[::-1], part) for _, part in table.groupby("g")]
Z = np.column_stack([np.ones(5), t[:5]])
scale = sum(np.sum((part["y"] - Z @ b) ** 2) for b, part in groups) / (20 * (5 - 2))
psi = np.cov(np.array([b for b, _ in groups]).T) - scale * np.linalg.inv(Z.T @ Z)
highest = made.loglike(MixedLMParams.from_components(np.zeros(2), cov_re=psi / scale))

short = float(highest - fit.llf)
print(f"default fit: {short:.1f} log-likelihood units below the optimum")

# The mend: the sign of a column of L whose diagonal entry is negative belongs to the derivatives in that column.
score = MixedLM.score


def mended(self, params, profile_fe=True):
    derivatives = score(self, params, profile_fe)
    if not isinstance(params, MixedLMParams) and self.use_sqrt and profile_fe:
        lower, column = np.tril_indices(self.k_re)
        diagonal = np.asarray(params)[: self.k_re2][lower == column]
        signs = np.where(diagonal < 0, -1, 1)[column]
        derivatives *= np.concatenate([signs, np.where(np.asarray(params)[self.k_re2 :] < 0, -1, 1)])
    return derivatives


MixedLM.score = mended
fit = model().fit()
left = float(highest - fit.llf)
print(f"mended: {abs(left):.1f} units below the optimum; converged: {fit.converged}")
print(json.dumps({"ratio_positive": ratios[0], "ratio_negative": ratios[1], "short": short, "short_mended": left}))
