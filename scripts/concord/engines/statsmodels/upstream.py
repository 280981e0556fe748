"""What is used of statsmodels itself: half a second to import, for which only a process that fits has to wait."""

import patsy
import statsmodels.formula.api as smf
from statsmodels.base.model import LikelihoodModel
from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams, VCSpec

__all__ = ["LikelihoodModel", "MixedLM", "MixedLMParams", "VCSpec", "patsy", "smf"]
