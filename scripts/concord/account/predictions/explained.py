"""Lines of the explained variance: R-squared and ICC of the parts that a package's own result holds."""

from __future__ import annotations

import numpy as np

from concord.account.line import Line
from concord.account.predictions.sources import Sources, at_reference

SECTION = "explained variance"
QUANTITIES = ("marginal R-squared", "conditional R-squared", "ICC, adjusted", "ICC, unadjusted")


def lines(sources: Sources) -> list[Line]:
    """R-squared and ICC: no package computes them itself."""
    against = at_reference(sources.comparison)

    def line(i: int, name: str) -> list[Line]:
        return sources.line(
            SECTION,
            name,
            "explained_variance",
            "variances",
            lambda source: (*source.solution.r_squared, *source.solution.icc)[i],
            part=lambda variances: shares(**variances)[i],
            independent=(*against.r_squared, *against.icc)[i] if against else np.nan,
            scale=1.0,
        )

    return [row for i, name in enumerate(QUANTITIES) for row in line(i, name)]


def shares(fixed: float, random: float, residual: float) -> tuple[float, float, float, float]:
    """Marginal and conditional R-squared, adjusted and unadjusted ICC, of three variances; see `Solution.r_squared`.

    What fixed effects share without a covariate is the rounding of a constant's variance: below a double's precision of
    the total it is zero.
    """
    if fixed < np.finfo(float).eps * (random + residual):
        fixed = 0.0
    total = fixed + random + residual
    return fixed / total, (fixed + random) / total, random / (random + residual), random / total
