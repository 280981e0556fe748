"""What stands on both sides of the lines of predictions: what every package says, and the solution at its estimates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from concord.account.line import Line
from concord.agreement.comparison import Comparison
from concord.engines.fit import Fit
from concord.engines.statements import NOT_ASKED, Predictions, statements
from concord.errors import first_line
from concord.inference.prediction import Solution


@dataclass(frozen=True)
class Source:
    """One fit of a comparison: what its package says, and the solution at its estimates."""

    label: str
    fit: Fit
    said: Predictions
    solution: Solution

    @property
    def without_offset(self) -> bool:
        """Whether the package was given the response less the model's offset."""
        return self.said.without_offset


class Sources:
    """All fits of a comparison that can be asked, and why the others cannot.

    Parameters
    ----------
    comparison : fits of one model
    new : new rows to predict at
    """

    def __init__(self, comparison: Comparison, new: pd.DataFrame) -> None:
        self.comparison, self.new = comparison, new
        self.all: list[Source] = []
        self.absent = {absence.engine: f"no fit: {absence.reason}" for absence in comparison.absent}
        for label, fit in zip(comparison.labels, comparison.fits, strict=True):
            if fit.violation:
                self.absent[label] = f"its fit is of another model: {fit.violation}"
                continue
            question = statements(fit.engine).predictions
            if question is None:
                self.absent[label] = NOT_ASKED
                continue
            try:
                solution = Solution(fit.model.design, fit.parameters)
            except ValueError as error:
                self.absent[label] = f"its estimates are not parameters of the model: {error}"
                continue
            self.all.append(Source(label, fit, _with_effects(fit, question(fit, new)), solution))
        self.short = comparison.apart

    @property
    def deviation(self) -> float:
        """The largest residual standard deviation of the fits."""
        return float(np.sqrt(max(source.fit.residual_variance for source in self.all)))

    def line(
        self,
        section: str,
        quantity: str,
        tolerance: str,
        name: str,
        expected: Callable[[Source], Any],
        *,
        part: Callable[[Any], Any] = lambda value: value,
        otherwise: str = "",
        **more: Any,
    ) -> list[Line]:
        """The line of what every package says by one name; none where nobody says it.

        Parameters
        ----------
        name : its name in `Predictions`
        expected : the solution's at a source's estimates, by that source's definition
        part : takes it out of what goes by the name; None where a package does not say this part
        otherwise : the name of the part among `Predictions.parts`, where its own reason is told there
        more : of the line
        """
        values, wanted, definitions, absent = {}, {}, {}, dict(self.absent)
        for source in self.all:
            value = part(source.said.values[name]) if name in source.said.values else None
            if value is None:
                why = source.said.absent.get(name, f"{source.fit.engine} does not give it")
                absent[source.label] = source.said.parts.get(otherwise, why)
                continue
            values[source.label], wanted[source.label] = value, expected(source)
            if named := source.said.definitions.get(name):
                definitions[source.label] = named
        if not values:
            return []
        return [
            Line(section, quantity, tolerance, values, definitions, wanted, absent=absent, short=self.short, **more)
        ]


def _with_effects(fit: Fit, predictions: Predictions) -> Predictions:
    """What a package says, with the random effects that the fit holds, which tables and pictures show: ``random`` and
    ``errors``, the same table twice.
    """
    if "random" in predictions.absent:
        return predictions
    try:
        table = fit.random_effects
    except Exception as error:  # whatever a package stops with is what it has to say
        why = dict.fromkeys(("random", "errors"), f"it stopped with: {first_line(error)}")
        return replace(predictions, absent=why | dict(predictions.absent))
    held = {name: table for name in ("random", "errors") if name not in predictions.absent}
    return replace(predictions, values={**predictions.values, **held})


def at_reference(comparison: Comparison) -> Solution | None:
    """The solution at the reference's estimates; None where those are not parameters of the model."""
    best = comparison.against.parameters
    try:
        return Solution(comparison.model.design, best)
    except ValueError:
        return None
