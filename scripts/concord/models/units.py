"""Units of a model's quantities, from those that its data set states of its columns."""

from __future__ import annotations

import pandas as pd

from concord.models.model import Model


def unit_of(model: Model, name: str) -> str:
    """The unit that the data set states of a column; empty where it states none."""
    column = model.dataset.columns.get(name)
    return (column.unit if column else None) or ""


def effect_unit(model: Model, term: str) -> str:
    """The unit of an effect, fixed or random: the response's, by that of every column that the term multiplies.

    Empty where the unit of one of them is not known, such as that of ``I(x^2)``. An indicator of a level has none.
    """
    own = unit_of(model, model.formula.response)
    parts = [] if term == "(Intercept)" else term.split(":")
    if not own or not all(_is_column(model, part) or _is_level(model, part) for part in parts):
        return ""
    numbers = [part for part in parts if _is_column(model, part)]
    units = [unit_of(model, part) for part in numbers]
    return " / ".join([own, *(f"({unit})" if "/" in unit else unit for unit in units)]) if all(units) else ""


def parameter_unit(model: Model, term: str) -> str:
    """The unit of a parameter by its term: a variance's is its effect's squared, a correlation has none."""
    kind, _, name = term.partition("__")
    if not name:
        return effect_unit(model, term)
    if kind == "cor":
        return ""
    effects = ["(Intercept)"] if name == "Observation" else _pair(model, name) if kind == "cov" else [name]
    units = [effect_unit(model, effect) for effect in effects]
    if not all(units):
        return ""
    if kind == "sd":
        return units[0]
    return _whole(units[0]) + "²" if units[0] == units[-1] else " × ".join(map(_whole, units))


def _whole(unit: str) -> str:
    """A unit that can be multiplied."""
    return f"({unit})" if "/" in unit or " " in unit and not unit.endswith(")") else unit


def _pair(model: Model, name: str) -> list[str]:
    """The two effects of a covariance, whose names may have points of their own."""
    known = [(one, other) for term in model.design.terms for one in term.names for other in term.names]
    return next(([one, other] for one, other in known if f"{one}.{other}" == name), [name])


def _is_column(model: Model, name: str) -> bool:
    return name in model.frame and pd.api.types.is_numeric_dtype(model.frame[name])


def _is_level(model: Model, name: str) -> bool:
    """Whether a part of a term is a factor's name with one of its levels, or a truth value's."""
    return any(
        name.startswith(column) and name[len(column) :] in map(str, pd.unique(model.frame[column]))
        for column in model.formula.variables
        if not pd.api.types.is_numeric_dtype(model.frame[column]) or pd.api.types.is_bool_dtype(model.frame[column])
    )
