"""The name that statsmodels' engine had, for code that imports it."""

import sys

from concord.engines import statsmodels

sys.modules[__name__] = statsmodels
