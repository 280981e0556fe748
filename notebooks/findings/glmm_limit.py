"""glmm of PyPI stops at a limit of its search where residuals are small beside the random effects."""

import json
import warnings

import glmm
import numpy as np
import pandas as pd

warnings.simplefilter("ignore")
row = np.arange(160)
g, t = row // 8, row % 8 + 0.0
effects = 10 + 5 * t + 2 * np.sin(1.7 * (g + 1) ** 2) + 0.5 * t * np.sin(2.3 * (g + 1) ** 2 + 1)


def short(size):
    """How far below the optimum, which a balanced table has in closed form, and its warnings."""
    y = effects + size * np.sin(3.1 * (row + 1) ** 2)
    table = pd.DataFrame({"y": y, "t": t, "g": [f"g{i}" for i in g]})
    fit = glmm.fit(table, "y ~ 1 + t + (1 + t | g)", reml=True)
    X = np.column_stack([np.ones(8), t[:8]])
    lines = np.linalg.lstsq(X, y.reshape(20, 8).T, rcond=None)[0]
    residual = ((y.reshape(20, 8).T - X @ lines) ** 2).sum() / (160 - 40)
    logdet = 120 * np.log(residual) + 19 * np.linalg.slogdet(np.cov(lines))[1] + 20 * np.linalg.slogdet(X.T @ X)[1]
    best = -(158 * (np.log(2 * np.pi) + 1) + logdet + np.linalg.slogdet(20 * np.eye(2))[1]) / 2
    return best - fit.loglik, fit.converged, [warning["kind"] for warning in fit.warnings]


for size in (0.1, 0.001, 0.0001):
    lost, converged, kinds = short(size)
    warned = ", ".join(kinds) or "nothing"
    print(f"residuals of {size}: short by {abs(lost):.1f}; converged: {converged}; it warns of: {warned}")

# The mend would be a limit that the data set; where the one that there is is not reached, nothing is lost.
lost, converged, kinds = short(0.0001)
print(json.dumps({"short": lost, "converged": converged, "warned": len(kinds), "short_mended": abs(short(0.1)[0])}))
