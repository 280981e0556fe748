"""A result of MixedLM whose llf changes when its model is fitted again."""

import json
import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.regression.mixed_linear_model import MixedLMResults

warnings.simplefilter("ignore")
row = np.arange(100)
g = row // 5 + 1
table = pd.DataFrame({"y": 10 + 3 * np.sin(1.7 * g**2) + 2 * np.sin(3.1 * (row + 1) ** 2), "g": g})
model = smf.mixedlm("y ~ 1", table, groups="g")
first, again = model.fit(reml=True), model.fit(reml=True)
print(f"by REML, read at once: {again.llf:.4f}")
by_ml = model.fit(reml=False)
print(f"by REML, read after the model was fitted by ML: {first.llf:.4f} (method: {first.method})")
print(f"by ML: {by_ml.llf:.4f}")
numbers = {"moved": abs(first.llf - again.llf)}

# The mend: the result knows by which method it was made, and asks for the likelihood of that one.


def llf(self):
    present, self.model.reml = self.model.reml, self.reml
    try:
        return self.model.loglike(self.params_object, profile_fe=False)
    finally:
        self.model.reml = present


MixedLMResults.llf = property(llf)
print(f"mended: {first.llf:.4f} by REML, {by_ml.llf:.4f} by ML")
print(json.dumps({**numbers, "moved_mended": abs(first.llf - again.llf)}))
