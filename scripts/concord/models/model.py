"""Models: a formula on a dataset, fitted by one method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from concord.data import datasets
from concord.errors import InputError
from concord.models import formula as formulas
from concord.models import matrices, nesting
from concord.models.computed import Computed
from concord.models.design import Design, weighted
from concord.models.syntax import Formula
from concord.vocabulary import METHODS


class ModelError(InputError):
    """There is no such model, no such method, or there are no such settings."""


@dataclass(frozen=True, eq=False)
class Model:
    """A formula on a dataset, fitted by one method.

    Attributes
    ----------
    dataset : the table with its description
    name : the model's name in the dataset
    record : the formula with its title, and what is declared about it
    method : ``REML`` or ``ML``
    made : columns of the table that were computed of others, which a listing has to make too
    """

    dataset: datasets.Dataset
    name: str
    record: datasets.ModelRecord
    method: str
    made: tuple[Computed, ...] = ()

    @property
    def id(self) -> str:
        """``dietox-random_slope``."""
        return f"{self.dataset.id}-{self.name}"

    @property
    def reml(self) -> bool:
        """Whether the method is REML."""
        return self.method == "REML"

    @cached_property
    def formula(self) -> Formula:
        """The formula in its parts."""
        return formulas.parse(self.record.formula, self.record.weights)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a user's table has to have: the formula's, and what computed ones are made of."""
        sources = {column: one.source for one in self.made for column in one.columns}
        return tuple(dict.fromkeys(sources.get(name, name) for name in self.formula.variables))

    @property
    def notation(self) -> str:
        """The formula, and the weights that are named beside it: ``y ~ x + (1 | g), weights w``."""
        return self.record.formula + (f", weights {self.record.weights}" if self.record.weights else "")

    @property
    def frame(self) -> pd.DataFrame:
        """The dataset's table."""
        return self.dataset.frame

    @cached_property
    def design(self) -> Design:
        """The model in numbers, coded as R codes it."""
        coded, name = matrices.design(self.formula, self.frame), self.record.weights
        if name is None:
            return coded
        weights = self.frame[name].to_numpy(float)[coded.rows]
        if not (np.isfinite(weights) & (weights > 0)).all():
            raise ModelError(f"{self.id}: the weights {name!r} are not all above 0 and finite")
        return weighted(coded, weights)

    @property
    def size(self) -> int:
        """How many fixed effects, variances and covariances it has, without the residual variance."""
        return int(self.design.X.shape[1]) + nesting.count(self.design)

    def __repr__(self) -> str:
        return f"<Model {self.id}, {self.method}: {self.notation}>"


def get(id: str, method: str = "REML") -> Model:
    """The model with this id, such as ``dietox-random_slope``.

    Raises
    ------
    ModelError : the dataset has no such model, or the method is neither ``REML`` nor ``ML``
    DatasetError : there is no such dataset, or it is not what it should be
    """
    if method not in METHODS:
        raise ModelError(f"method {method!r}: it is one of {', '.join(METHODS)}")
    dataset, _, name = id.partition("-")
    loaded = datasets.load(dataset)
    if name not in loaded.models:
        raise ModelError(f"model {id!r}: dataset {dataset} has {', '.join(loaded.models)}")
    return Model(loaded, name, loaded.models[name], method)


def every() -> Iterator[Model]:
    """Every model of every dataset, by every method."""
    for id in datasets.catalogue():
        for name in datasets.load(id).models:
            for method in METHODS:
                yield get(f"{id}-{name}", method)
