"""The judgement of one fit: how far below the reference it lies, and how many digits are right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from concord.agreement.measures import doubted
from concord.engines.fit import Fit
from concord.engines.tuning import recomputed, slope
from concord.models.parameters import KEY
from concord.reference import reference
from concord.reference.reference import Reference
from concord.vocabulary import SILENT, WARNED

MAXIMUM_DIGITS = 15.0


@dataclass(frozen=True)
class Judgement:
    """One fit against the reference.

    Attributes
    ----------
    fit : what is judged
    against : the reference
    gap : log-likelihood units below the reference, both in the independent likelihood; inf where the estimates are no
        parameters of the model
    digits : correct significant digits of every estimate, worst first; index ``effect, group, term``
    slope : largest absolute derivative of the criterion where the fit stopped, in whitened coordinates; NaN where it
        has none
    """

    fit: Fit
    against: Reference
    gap: float
    digits: pd.Series
    slope: float

    @property
    def worst(self) -> float:
        """Correct significant digits of the worst estimate."""
        return float(self.digits.iloc[0]) if len(self.digits) else float("nan")

    @property
    def doubted(self) -> bool:
        """Whether the engine itself expressed doubt about its convergence."""
        return doubted(self.fit.converged, self.fit.messages)

    @property
    def said_so(self) -> str:
        """The same in a word: ``warned`` or ``silent``."""
        return WARNED if self.doubted else SILENT


def lre(value: float, correct: float) -> float:
    """Correct significant digits: the log relative error of McCullough 1998 (The American Statistician 52(4), 358-366).

    -log10(|value - correct| / |correct|), from 0 to 15; of a correct value of zero, -log10 |value|.
    """
    error = abs(value - correct) / (abs(correct) or 1.0)
    if np.isnan(error):
        return 0.0
    return MAXIMUM_DIGITS if error == 0 else float(np.clip(-np.log10(error), 0.0, MAXIMUM_DIGITS))


def judge(fit: Fit, against: Reference | None = None) -> Judgement:
    """A fit against the reference of its model, or another one that is given."""
    against = against or reference.of(fit.model)
    value = recomputed(fit, against.likelihood)
    steepness = slope(fit, against.likelihood) if np.isfinite(value) else float("nan")
    return Judgement(fit, against, against.level - value, correct_digits(fit, against), steepness)


def correct_digits(fit: Fit, against: Reference) -> pd.Series:
    """Correct significant digits of every estimate, worst first; index ``effect, group, term``."""
    correct = against.estimates.set_index(KEY)["estimate"]
    stated = fit.estimates.set_index(KEY)["estimate"]
    digits = [lre(value, right) for value, right in zip(stated.reindex(correct.index), correct, strict=True)]
    return pd.Series(digits, index=correct.index, name="digits", dtype=float).sort_values(kind="stable")
