"""Cases: the models, with parameters, that a study draws from."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from concord.errors import InputError
from concord.models import model as models
from concord.models.model import Model
from concord.models.parameters import Parameters, names
from concord.reference import reference
from concord.simulation import scenarios
from concord.simulation.responses import draw
from concord.simulation.scenarios import Scenario


@dataclass(frozen=True, eq=False)
class Case:
    """A model with the true values of its parameters, from which responses are drawn.

    Attributes
    ----------
    name : stands in its rows, and is the name of a folder
    model : the formula on a table; its own response plays no part
    parameters : their true values
    factors : of a scenario, by name
    origin : the case whose responses are drawn in the place of its own: the same model with its predictors in another
        unit or from another zero, which has the same distribution and, drawn anew, other numbers
    """

    name: str
    model: Model
    parameters: Parameters
    factors: Mapping[str, float] = field(default_factory=dict)
    origin: Case | None = None

    @classmethod
    def of(cls, model: Model) -> Case:
        """A model of the workbook at its optimum, which is then the truth.

        Raises
        ------
        LikelihoodError, ReferenceError : the model has no optimum
        """
        return cls(f"{model.id}-{model.method}", model, reference.of(model).parameters)

    def response(self, seed: int, replicate: int) -> np.ndarray:
        """The response of the replicate with this number, shape (n,); see `draw`."""
        case = self.origin or self
        return draw(case.model.design, case.parameters, seed, replicate)

    @cached_property
    def truth(self) -> dict[str, float]:
        """The true value of every parameter, by its name, in the order of a fit's estimates."""
        return dict(zip(names(self.model.design), self.parameters.packed.tolist(), strict=True))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the model's numbers and of the truth: two cases with the same one give the same rows."""
        design = self.model.design
        checksum = hashlib.sha256(repr((self.model.notation, self.model.method, self.truth)).encode())
        columns = [design.X, *(array for term in design.terms for array in (term.matrix, term.codes))]
        for column in [*columns, *([] if design.offset is None else [design.offset])]:
            checksum.update(repr(column.shape).encode() + np.ascontiguousarray(column, float).tobytes())
        if self.origin is not None:
            checksum.update(self.origin.digest.encode())
        return checksum.hexdigest()

    @cached_property
    def content(self) -> bytes:
        """The case as it goes out to a worker: everything it needs, formula and design taken apart already."""
        for case in (self, self.origin):
            assert case is None or len(case.model.design.y)
        return pickle.dumps(self)


GRID = "grid"
"""In the place of a model's id: scenarios, crossed."""


def cases(model: str, method: str, seed: int, grid: Path | None = None) -> list[Case]:
    """The cases of a study: one model of the workbook at its optimum, or every scenario of a grid.

    Raises
    ------
    InputError : a grid's file is given for a model, or its content is not a grid
    ModelError, DatasetError : there is no such model or method
    """
    if model == GRID:
        chosen = scenarios.cross(scenarios.DEFAULTS) if grid is None else scenarios.read(grid)
        return [made_up(scenario, method, seed) for scenario in chosen]
    if grid is not None:
        raise InputError(f"--grid belongs to `simulate {GRID}`: leave it out for a model of the workbook")
    if "-" not in model:
        raise models.ModelError(f"model {model!r}: give an id such as sleepstudy-random_slope, or {GRID}")
    return [Case.of(models.get(model, method))]


def made_up(scenario: Scenario, method: str, seed: int) -> Case:
    """The case of a scenario."""
    fixed, covariance, residual_variance = scenario.truth
    plain = replace(scenario, scale=1.0, shift=0.0)
    return Case(
        scenario.name,
        scenario.model(method, seed),
        Parameters(fixed, (covariance,), residual_variance),
        scenario.factors,
        origin=made_up(plain, method, seed) if plain != scenario else None,
    )
