"""A remedy: what one engine's user writes in the place of a call that misses the optimum, and what it gains."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from concord.agreement.measures import doubted
from concord.agreement.table import name_of
from concord.agreement.verdict import ERRORS
from concord.arrays import Vector
from concord.engines.engine import engines, title
from concord.engines.fit import Fit
from concord.listing.listings import Written
from concord.models.model import Model
from concord.models.rescaling import Rescaling

# A standard error that moves by a smaller share is not worth a word.
SHARE = 0.01


@dataclass(frozen=True, eq=False)
class Tried:
    """Something that was tried, and how it ended.

    Attributes
    ----------
    what : the arguments of the call, or how the table was rescaled
    fit : in the model's own units, the standard errors missing where it was rescaled; None where there was none
    gap : log-likelihood units below the optimum; inf without a fit
    reached : whether it is at the optimum, by the comparison's own measure
    rescaling : how the table was rescaled; None for another call
    """

    what: str
    fit: Fit | None = None
    gap: float = math.inf
    reached: bool = False
    rescaling: Rescaling | None = None

    @property
    def warning(self) -> str:
        """The doubt that its package expresses, if any."""
        if self.fit is None or not doubted(self.fit.converged, self.fit.messages):
            return ""
        said = " ".join(self.fit.messages[-1].split()) if self.fit.messages else "it says that it has not converged"
        return said.removeprefix("warning: ")

    def __str__(self) -> str:
        return f"{self.what} ({f'{self.gap:.2g} below' if math.isfinite(self.gap) else 'no fit'})"


@dataclass(frozen=True, eq=False)
class Remedy:
    """What one engine's user writes instead.

    Attributes
    ----------
    model, engine : of which model, by which engine
    fit, gap : the fit that misses the optimum, and by how many log-likelihood units; None and inf where there was none
    broken : what that fit states and does not hold, a clause each, where it is at the optimum all the same
    errors : the standard errors of all estimates at the optimum, shape (k,)
    tried : all that was tried, in its order
    note : what else is to be said
    nearest : the nearest model that the engine can express, where it cannot express this one
    """

    model: Model
    engine: str
    fit: Fit | None
    gap: float
    errors: Vector
    broken: tuple[str, ...] = ()
    tried: tuple[Tried, ...] = ()
    note: str = ""
    nearest: Model | None = None

    @property
    def call(self) -> Tried | None:
        """Another call that is at the optimum."""
        return _best([each for each in self.tried if each.rescaling is None])

    @property
    def rescaled(self) -> Tried | None:
        """The default call that is at the optimum on a rescaled table."""
        return _best([each for each in self.tried if each.rescaling is not None])

    @property
    def written(self) -> Written | None:
        """What to write instead; None where nothing that was tried is at the optimum."""
        if self.call is not None and self.call.fit is not None:
            return Written(self.call.fit.call)
        return Written(None, self._steps(self.rescaled)) if self.rescaled is not None else None

    def _steps(self, tried: Tried) -> list[str]:
        """The statements that rescale the table."""
        if tried.rescaling is None:
            return []
        write = tried.rescaling.r if engines()[self.engine].language == "R" else tried.rescaling.python
        return write(self.model.dataset.id)

    @property
    def condemned(self) -> str:
        """What is wrong with the default call, in a clause."""
        if self.fit is None:
            return "it gives no fit"
        if not math.isfinite(self.gap):
            return "its estimates are no parameters of the model"
        if self.broken:
            return f"it {'; it '.join(self.broken)}"
        return f"it stops {self.gap:.3g} log-likelihood units below the optimum"

    @property
    def told(self) -> list[str]:
        """What to write and what it gains, in a few sentences."""
        said: list[str] = []
        if self.call is not None:
            said.append(f"With {self.call.what} it reaches the optimum: {self._gain(self.call)}.")
            said += [f"It still warns ({self.call.warning})."] if self.call.warning else []
        if self.rescaled is not None:
            warns = ", though it warns" if self.rescaled.warning else ""
            steps = "; ".join(self._steps(self.rescaled))
            other = f"{self.rescaled.what}, {steps}: then the default call reaches the optimum{warns}"
            said.append(f"Or {other}." if said else f"{other[0].upper()}{other[1:]}: {self._gain(self.rescaled)}.")
            if self.rescaled.fit is not None:
                level = self.rescaled.fit.stated_loglik
                said.append(f"What it prints is then in the new units (log-likelihood {level:.7g}): the same fit.")
        if not said and self.tried:
            said.append(f"Nothing that was tried reached the optimum: {'; '.join(map(str, self.tried))}.")
        return [*said, *([self.note] if self.note else [])]

    def _gain(self, tried: Tried) -> str:
        """``+14.2 log-likelihood units; standard error (Intercept) 0.101 instead of 0.0747``."""
        if self.fit is None or tried.fit is None:
            return "it gives a fit where there was none"
        if not math.isfinite(self.gap):
            return "its estimates are parameters of the model there"
        if self.broken:
            return "what it states holds there"
        old, new = self.fit.estimates, tried.fit.estimates
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = (new["std_error"] / old["std_error"] - 1).abs().to_numpy(float)
            moves = (new["estimate"] - old["estimate"]).abs().to_numpy(float) / self.errors
        parts = [f"{self.gap - tried.gap:+.3g} log-likelihood units"]
        parts += _largest(shares, SHARE, old, new, "std_error")
        parts += _largest(moves, ERRORS, old, new, "estimate")
        return "; ".join(parts)

    @property
    def heading(self) -> str:
        """Whose remedy it is."""
        return f"{title(self.engine)}: {'do this instead' if self.written else 'no call of it reaches the optimum'}"


def _best(tried: list[Tried]) -> Tried | None:
    """The first that is at the optimum; one that its package does not doubt before one that it does."""
    there = [each for each in tried if each.reached]
    return next((each for each in there if not each.warning), there[0] if there else None)


def _largest(size: Vector, limit: float, old: pd.DataFrame, new: pd.DataFrame, column: str) -> list[str]:
    """The number that moves most, with what it was, if that is worth a word."""
    size = np.where(np.isfinite(size), size, 0.0)
    place = int(size.argmax())
    if not size[place] > limit:
        return []
    row = new.iloc[place].to_dict()
    name = name_of({**row, "effect": column} if column == "std_error" else row)
    return [f"{name} {row[column]:.3g} instead of {old[column].iloc[place]:.3g}"]
