"""An optimum: where the criterion of a model is smallest."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from concord.arrays import Vector
from concord.models.design import Design
from concord.models.parameters import Estimated, Parameters


@dataclass(frozen=True, eq=False)
class Optimum(Estimated):
    """Where the criterion is smallest.

    Attributes
    ----------
    design : the model in numbers
    loglik : log-likelihood (the REML one under REML)
    parameters : the values of all parameters there
    std_error : standard errors of the fixed effects conditional on theta, shape (p,)
    theta : where the search ended, in whitened coordinates, shape (m,)
    gradient : largest absolute derivative of the criterion there
    slope : the same, for an entry of theta beyond 1 with respect to its logarithm
    """

    design: Design
    loglik: float
    parameters: Parameters
    std_error: Vector
    theta: Vector
    gradient: float
    slope: float = 0.0

    @property
    def estimates(self) -> pd.DataFrame:
        """One row per parameter: ``effect, group, term, estimate, std_error``."""
        return self.parameters.table(self.design, self.std_error)
