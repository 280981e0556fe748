"""MixedLM's profile_re is not the profile likelihood of the variance that it is shown over."""

import json
import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy.optimize import minimize_scalar

warnings.simplefilter("ignore")
k, n = 20, 5
row = np.arange(k * n)
g = row // n + 1
table = pd.DataFrame({"y": 10 + 3 * np.sin(1.7 * g**2) + 3 * np.sin(3.1 * (row + 1) ** 2), "g": g})
fit = smf.mixedlm("y ~ 1", table, groups="g").fit()
variance, scale = fit.cov_re.iloc[0, 0], fit.scale
curve = fit.profile_re(0, "re", num_low=1, dist_low=0.7 * variance, num_high=1, dist_high=2 * variance)
at, printed = curve[[0, -1], 0], fit.llf - curve[[0, -1], 1]

# The exact profile of the variance in a balanced design, from the sums of squares.
between = n * (table.groupby("g")["y"].mean() - table["y"].mean()).pow(2).sum()
within = (table["y"] - table.groupby("g")["y"].transform("mean")).pow(2).sum()


def deviance(psi, s):
    """Minus twice the REML log-likelihood, but for a constant."""
    total = s + n * psi
    return (k - 1) * np.log(total) + between / total + k * (n - 1) * np.log(s) + within / s


def lowest(function):
    return minimize_scalar(function, bounds=(scale / 20, scale * 20), method="bounded", options={"xatol": 1e-10}).fun


top = deviance(variance, scale)
exact = np.array([lowest(lambda s, psi=psi: deviance(psi, s)) - top for psi in at]) / 2


# The mend: hold the variance and not its ratio r to the residual variance s; with both given, the log-likelihood is
# that of r with s at its best, less what s is away from that.
def below(psi):
    def criterion(s):
        r = np.array([[psi / s]])
        effects, _ = fit.model.get_fe_params(r, np.zeros(0))
        ratio = fit.model.get_scale(effects, r, np.zeros(0)) / s
        return -fit.model.loglike(np.sqrt(r.ravel())) + (k * n - 1) / 2 * (ratio - 1 - np.log(ratio))

    return lowest(criterion) + fit.llf


mended = np.array([below(psi) for psi in at])
for place, *values in zip(("low", "high"), at, printed, mended, exact, strict=True):
    print("{}: at a variance of {:.3f}, below the top by {:.3f}; mended {:.3f}; exact {:.3f}".format(place, *values))
print(json.dumps({"off": min(printed / exact) - 1, "off_mended": float(max(abs(mended / exact - 1)))}))
