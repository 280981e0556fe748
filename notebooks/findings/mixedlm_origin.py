"""mixedlm of PyPI fits a random slope to another optimum once its predictor is counted from far away."""

import json
import warnings

import mixedlm
import numpy as np
import pandas as pd

row = np.arange(160)
g, t = row // 8 + 1, row % 8 + 0.0
y = 10 + 5 * t + 4 * np.sin(1.7 * g**2) + 0.5 * t * np.sin(2.3 * g**2 + 1) + np.sin(3.1 * (row + 1) ** 2)
table = pd.DataFrame({"y": y, "near": t, "far": t + 1000, "g": [f"g{i}" for i in g]})

# One and the same model: with an intercept and a free correlation no zero of the predictor is better than another.
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    far = mixedlm.lmer("y ~ far + (far | g)", table, REML=True)
doubts = [str(told.message) for told in said if "converge" in str(told.message)]
near = mixedlm.lmer("y ~ near + (near | g)", table, REML=True)
short = near.logLik().value - far.logLik().value
print(f"log-likelihood, t counted from 0: {near.logLik().value:.4f}; from -1000: {far.logLik().value:.4f}")
print(f"short by {short:.2f}; it says that it has converged: {far.converged}; warnings of convergence: {len(doubts)}")

# The mend: columns centred inside.
table["centred"] = table["far"] - table["far"].mean()
centred = mixedlm.lmer("y ~ centred + (centred | g)", table, REML=True)
short_mended = near.logLik().value - centred.logLik().value
print(f"centred: short by {abs(short_mended):.4f}")
print(json.dumps({"short": short, "converged": far.converged, "short_mended": abs(short_mended)}))
