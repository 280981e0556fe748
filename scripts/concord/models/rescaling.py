"""Rescalings: the same model with a predictor or the response in other units or counted from another zero, by round
numbers that a person would take, and the way back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from concord.arrays import Matrix, Vector
from concord.models.coding import between, same_numbers
from concord.models.model import Model
from concord.models.parameters import Parameters
from concord.models.syntax import FormulaError, Name, literal, r_literal

# A predictor whose mean is so many standard deviations away from zero is counted from a nearer one too.
FAR = 1.0

Steps = Mapping[str, tuple[float, float]]
"""Of every column that is changed what is taken off, and by what the rest is divided."""


@dataclass(frozen=True, eq=False)
class Rescaling:
    """A model on a table with some columns rescaled.

    Attributes
    ----------
    model : the model on the rescaled table; its estimates are in the new units
    steps : what was done to which columns
    fixed, random : the ways back of the fixed effects, shape (p, p), and of every random term's effects, shapes (q, q)
    unit : what the response was divided by
    """

    model: Model
    steps: Steps
    fixed: Matrix
    random: tuple[Matrix, ...]
    unit: float

    def back(self, parameters: Parameters) -> Parameters:
        """Parameters of the rescaled model as those of the original one."""
        return Parameters(
            self.unit * (self.fixed @ parameters.fixed),
            tuple(
                self.unit**2 * (T @ matrix @ T.T) for T, matrix in zip(self.random, parameters.covariances, strict=True)
            ),
            self.unit**2 * parameters.residual_variance,
        )

    def __str__(self) -> str:
        """``divide Time by 100``."""
        said = []
        for name, (zero, unit) in self.steps.items():
            moved = [f"subtract {zero!r} from {name}"] if zero else []
            divided = [f"divide {'it' if zero else name} by {unit!r}"] if unit != 1 else []
            said.append(" and ".join(moved + divided))
        return ", ".join(said)

    def python(self, table: str) -> list[str]:
        """The statements that rescale a table of pandas with this name."""
        # With a point: columns of narrow integers would wrap around below zero.
        steps = {name: (float(zero) if zero else 0, unit) for name, (zero, unit) in self.steps.items()}
        return [_statement(f"{table}[{literal(name)}]", "=", *step) for name, step in steps.items()]

    def r(self, table: str) -> list[str]:
        """The statements that rescale a data frame with this name."""
        return [_statement(f"{table}[[{r_literal(name)}]]", "<-", *step) for name, step in self.steps.items()]


def _statement(column: str, becomes: str, zero: float, unit: float) -> str:
    moved = f"{column} - {zero!r}" if zero > 0 else f"{column} + {-zero!r}" if zero else column
    right = moved if unit == 1 else f"({moved}) / {unit!r}" if zero else f"{moved} / {unit!r}"
    return f"{column} {becomes} {right}"


def rescalings(model: Model) -> Iterator[Rescaling]:
    """The same model in other units, the plainest first: predictors divided by a power of ten, counted from a round
    number, both; the response divided by a power of ten; all of it. First those that have random effects, then others.

    Made one by one, as they are asked for. A rescaling that would make another model, or change nothing, is none, and
    where a covariance matrix has a structure there is none.
    """
    design = model.design
    if model.formula.structured:
        return
    coded = design.as_coded
    slopes = _predictors(model, [column for term in coded.terms for column in term.matrix.T])
    everything = _predictors(model, list(coded.X.T)) | slopes
    response = _response(model)
    seen: list[Steps] = []
    for chosen in (slopes, everything):
        divided = {name: (0, unit) for name, (_, unit) in chosen.items() if unit != 1}
        moved = {name: (zero, 1) for name, (zero, _) in chosen.items() if zero}
        both = {name: step for name, step in chosen.items() if step != (0, 1)}
        for steps in (divided, moved, both, response, {**both, **response}):
            if steps and steps not in seen:
                seen.append(steps)
                if (made := _made(model, steps)) is not None:
                    yield made


def _predictors(model: Model, columns: list[Vector]) -> dict[str, tuple[float, float]]:
    """The numeric variables that are one of the columns as they stand, each with a round zero and a power of ten."""
    found: dict[str, tuple[float, float]] = {}
    for name in model.formula.variables:
        values = None if name == model.formula.weights else _numbers(model, name)
        if values is not None and any(same_numbers(values, column) for column in columns):
            found[name] = (_zero(float(values.mean()), float(values.std())), _unit(values))
    return found


def _response(model: Model) -> dict[str, tuple[float, float]]:
    tree = model.formula.tree
    if not isinstance(tree.response, Name) or tree.offsets:
        return {}
    values = _numbers(model, tree.response.name)
    unit = 1.0 if values is None else _unit(values)
    return {tree.response.name: (0, unit)} if unit != 1 else {}


def _numbers(model: Model, name: str) -> Vector | None:
    """A numeric variable's values on the rows that are used; None where it is none, or does not vary."""
    column = model.frame[name]
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return None
    values: Vector = column.iloc[model.design.rows].to_numpy(float)
    return values if np.isfinite(values).all() and values.std() > 0 else None


def _zero(mean: float, deviation: float) -> float:
    """The roundest number within half a standard deviation of the mean; 0 where that is near enough."""
    if abs(mean) <= FAR * deviation:
        return 0
    place = math.ceil(math.log10(abs(mean)))
    while abs(round(mean, -place) - mean) > deviation / 2:
        place -= 1
    return _whole(round(mean, -place))


def _unit(values: Vector) -> float:
    """The power of ten nearest to the standard deviation."""
    return _whole(10.0 ** round(math.log10(values.std())))


def _whole(value: float) -> float:
    """The same number, as a whole one where it is one: it is written without a point then."""
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else value


def _made(model: Model, steps: Steps) -> Rescaling | None:
    """The rescaled model; None where that is another model."""
    columns = {name: (model.frame[name].astype(float) - zero) / unit for name, (zero, unit) in steps.items()}
    dataset = replace(model.dataset, frame=model.frame.assign(**columns), place=None)
    made = Model(dataset, model.name, model.record, model.method)
    old = model.design
    tree = model.formula.tree
    unit = steps.get(tree.response.name, (0, 1))[1] if isinstance(tree.response, Name) else 1
    try:
        new = made.design
    except FormulaError:
        return None
    if not np.array_equal(new.rows, old.rows) or not same_numbers(new.y * unit, old.y):
        return None
    if not all(np.array_equal(one.codes, other.codes) for one, other in zip(new.terms, old.terms, strict=True)):
        return None
    fixed = between(new.X, old.X)
    random = [between(one.matrix, other.matrix) for one, other in zip(new.terms, old.terms, strict=True)]
    found = [T for T in random if T is not None]
    return (
        Rescaling(made, steps, fixed, tuple(found), unit) if fixed is not None and len(found) == len(random) else None
    )
