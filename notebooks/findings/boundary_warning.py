"""MixedLM's warning of the boundary depends on the unit of the response."""

import json
import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

row = np.arange(100)
g = row // 5 + 1
metres = 1.7 + 0.06 * np.sin(1.7 * g**2) + 0.04 * np.sin(3.1 * (row + 1) ** 2)
numbers = {}
for unit, factor in (("metres", 1), ("centimetres", 100)):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit = smf.mixedlm("y ~ 1", pd.DataFrame({"y": factor * metres, "g": g}), groups="g").fit()
    warned = any("boundary" in str(told.message) for told in said)
    # The mend: judge the variance by its ratio to the residual variance, which has no unit.
    ratio = fit.cov_re_unscaled.iloc[0, 0]
    print(
        f"in {unit}: variance {fit.cov_re.iloc[0, 0]:.4g}, warning of the boundary: {'yes' if warned else 'no'};",
        end=" ",
    )
    print(f"over the residual variance {ratio:.2f}, on the boundary: {'yes' if ratio < 1e-6 else 'no'}")
    numbers |= {f"warned_{unit}": float(warned), f"mended_{unit}": float(ratio < 1e-6)}
print(json.dumps(numbers))
