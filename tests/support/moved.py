"""Fits that differ by as much as a test says."""

from __future__ import annotations

import pandas as pd

from concord.agreement.comparison import Comparison, compare
from concord.engines.fit import Fit
from support.estimates import changed


def twin(fit: Fit, **changes) -> Fit:
    """The same fit by the other engine: whatever differs then is what was put in."""
    return changed(fit, engine="statsmodels", **changes)


def row(comparison: Comparison, key) -> pd.Series:
    return comparison.table.set_index(["effect", "group", "term"]).loc[key]


def allowance(fit: Fit, key) -> float:
    return float(row(compare(fit, twin(fit)), key)["tolerance"])
