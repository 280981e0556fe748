"""The engines, and their estimates by name."""

from __future__ import annotations

import pandas as pd

from concord.engines.engine import engines
from concord.engines.fit import Fit
from concord.models.parameters import KEY

ENGINES = engines()


def keyed(fit: Fit) -> pd.Series:
    return fit.estimates.set_index(KEY)["estimate"]
