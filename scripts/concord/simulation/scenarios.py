"""Scenarios: made-up designs, crossed from lists of group counts, group sizes, variance ratios and the like.

Every group is observed at the same equally spaced times t from -1 to 1, and the response is

    y = 1 + t + u0 + u1 t + e,

with a variance of 1 for e. The predictor that the engines see is x = scale (shift + t): the same data in another unit
and with another origin, and the same model too. So where an engine reaches the optimum at one scale and shift and not
at another, that is the engine's doing and not the data's.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import files
from concord.data import datasets
from concord.errors import InputError
from concord.models.model import Model

FORMULA = "y ~ x + (1 + x | g)"

DEFAULTS: Mapping[str, tuple[float, ...]] = {
    "groups": (8, 40),
    "size": (5,),
    "ratio": (0.1, 1.0, 10.0),
    "correlation": (0.0, 0.9),
    "scale": (1.0, 100.0),
    "shift": (0.0, 5.0),
    "missing": (0.0, 0.3),
}
"""The grid that is run where none is given: 96 scenarios."""


@dataclass(frozen=True)
class Scenario:
    """One design with its true parameters.

    Attributes
    ----------
    groups : number of groups, 3 or more
    size : times a group is observed at, 3 or more
    ratio : mean square of the random intercepts' contribution to the response, and of the random slopes', over the
        residual variance
    correlation : of a group's intercept and slope in the middle of its times, from -1 to 1
    scale : half of the range of the predictor
    shift : the middle of the predictor, in halves of its range
    missing : share of the rows that is missing, completely at random; at least one row of every group is there
    """

    groups: int = 20
    size: int = 5
    ratio: float = 1.0
    correlation: float = 0.0
    scale: float = 1.0
    shift: float = 0.0
    missing: float = 0.0

    def __post_init__(self) -> None:
        for name, (holds, wanted) in _LIMITS.items():
            value = getattr(self, name)
            if not holds(value):
                raise InputError(f"a scenario's {name} is {value!r}: give {wanted}")
        rows = self.groups * self.size
        if rows - round(self.missing * rows) <= 2 * self.groups:
            raise InputError(
                f"a scenario of {self.groups} groups of {self.size} rows with {self.missing:g} of them missing has no "
                "more rows than random effects: give a larger size, or fewer missing"
            )

    @property
    def name(self) -> str:
        """What its files are called: ``groups8_size5_ratio0.1_...``."""
        return "_".join(f"{name}{value:.12g}" for name, value in self.factors.items())

    @property
    def factors(self) -> dict[str, float]:
        """What it is made from, by name."""
        return asdict(self)

    @property
    def truth(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Fixed effects, shape (2,), and the random effects' covariance matrix, shape (2, 2), in the coding of x; the
        residual variance.
        """
        spread = float(np.mean(_times(self.size) ** 2))
        deviations = np.sqrt([self.ratio, self.ratio / spread])
        inner = np.outer(deviations, deviations) * np.array([[1.0, self.correlation], [self.correlation, 1.0]])
        # t = x / scale - shift
        back = np.array([[1.0, -self.shift], [0.0, 1.0 / self.scale]])
        return back @ np.ones(2), back @ inner @ back.T, 1.0

    def model(self, method: str, seed: int) -> Model:
        """The model on this design.

        Parameters
        ----------
        method : ``REML`` or ``ML``
        seed : which rows are missing follows from it, and from the numbers of groups and rows alone, so that more rows
            missing are the same ones and some more

        Its response is a draw that only stands in for those of the replicates.
        """
        rng = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(self.groups, self.size)))
        times = np.tile(_times(self.size), self.groups)
        codes = np.repeat(np.arange(self.groups), self.size)
        lost = _lost(rng.permutation(len(codes)), codes, round(self.missing * len(codes)))
        inner = rng.standard_normal((self.groups, 2)) * math.sqrt(self.ratio)
        y = 1 + times + inner[codes, 0] + inner[codes, 1] * times + rng.standard_normal(len(codes))
        width = len(str(self.groups))
        labels = [f"g{code + 1:0{width}}" for code in range(self.groups)]
        frame = pd.DataFrame(
            {"y": y, "x": self.scale * (self.shift + times), "g": pd.Categorical.from_codes(codes, labels)}
        )
        frame = frame[~np.isin(np.arange(len(codes)), lost)].reset_index(drop=True)
        record = datasets.ModelRecord(formula=FORMULA, title=f"{FORMULA} on made-up data")
        digest = hashlib.sha256(f"{self.name} {seed}".encode()).hexdigest()
        dataset = datasets.of_table(
            "made", frame, {self.name: record}, title=self.name, source="made up", sha256=digest
        )
        return Model(dataset, self.name, record, method)


def _times(size: int) -> np.ndarray:
    return np.linspace(-1.0, 1.0, size)


def _lost(order: np.ndarray, codes: np.ndarray, count: int) -> list[int]:
    """The first rows of an order, as many as are to be missing, but never the last of a group."""
    left = np.bincount(codes)
    lost: list[int] = []
    for row in order:
        if len(lost) == count:
            break
        if left[codes[row]] > 1:
            left[codes[row]] -= 1
            lost.append(int(row))
    return lost


Limit = tuple[Callable[[Any], bool], str]
"""What holds of a value, and what to say of one of which it does not."""


def _whole(least: int, most: int) -> Limit:
    return lambda value: isinstance(value, int) and least <= value <= most, f"a whole number from {least} to {most}"


def _within(least: float, most: float, wanted: str) -> Limit:
    return lambda value: isinstance(value, int | float) and least <= value <= most, wanted


_LIMITS: dict[str, Limit] = {
    "groups": _whole(3, 100_000),
    "size": _whole(3, 10_000),
    "ratio": _within(0.0, 1e6, "a number from 0 to 1e6"),
    "correlation": _within(-1.0, 1.0, "a number from -1 to 1"),
    "scale": _within(1e-6, 1e6, "a number from 1e-6 to 1e6"),
    "shift": _within(-1e4, 1e4, "a number from -1e4 to 1e4"),
    "missing": _within(0.0, 0.9, "a share from 0 to 0.9"),
}


MOST = 100_000
"""Scenarios of a grid."""
_LARGEST = 1e15


def cross(factors: Mapping[str, Sequence[float]]) -> list[Scenario]:
    """Every combination of the factors' values; a factor that is not named has `Scenario`'s own value.

    Raises
    ------
    InputError : a factor is unknown or has no values, or a value is out of range
    """
    known = [field.name for field in fields(Scenario)]
    for name, values in factors.items():
        if name not in known:
            raise InputError(f"a grid has no factor {name!r}: it has {', '.join(known)}")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise InputError(f"a grid's {name} is {values!r}: give a list of values, such as [1, 10]")
        for value in values:
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise InputError(f"a grid's {name} is {reprlib.repr(value)}: give numbers")
        if any(abs(value) > _LARGEST for value in values) or len(set(values)) < len(values):
            raise InputError(
                f"a grid's {name} is {reprlib.repr(list(values))}: give different numbers, none above {_LARGEST:g}"
            )
    if (count := math.prod(map(len, factors.values()))) > MOST:
        raise InputError(f"a grid of {count} scenarios: give fewer values, of at most {MOST} scenarios")
    crossed: list[Any] = [dict(zip(factors, chosen, strict=True)) for chosen in itertools.product(*factors.values())]
    return [Scenario(**settings) for settings in crossed]


def read(path: Path) -> list[Scenario]:
    """The scenarios of a grid in a TOML file: a list of values a factor, ``groups = [8, 40]``.

    Raises
    ------
    InputError : the file cannot be read or is not TOML, or its content is not a grid
    """
    content = files.read_toml(path)
    try:
        return cross(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
