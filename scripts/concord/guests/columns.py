"""A model as columns and a formula on them: so each package fits the same numbers, whatever it calls a factor."""

from __future__ import annotations

import importlib
import re
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import pandas as pd

from concord.arrays import Matrix, Vector
from concord.engines.engine import EngineError
from concord.errors import named
from concord.models.model import Model

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Words that one of the packages, R or a formula reads otherwise.
_TAKEN = frozenset("T F C I Q NA TRUE FALSE NULL if else for in while function True False None and or not is".split())


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of a model's matrices, each under a plain name, and the model as lme4's notation has it on them.

    Attributes
    ----------
    table : the response, every column but a constant 1, and every grouping factor as text
    response : the response's name
    fixed : the names of the fixed effects' columns; ``1`` for the constant
    random : for every random term of the design the names of its columns, and that of its grouping factor
    """

    table: pd.DataFrame
    response: str
    fixed: tuple[str, ...]
    random: tuple[tuple[tuple[str, ...], str], ...]

    @property
    def formula(self) -> str:
        """lme4's notation; a term with uncorrelated effects is one term for each."""
        terms = [f"({_sum(names)} | {group})" for names, group in self.random]
        return f"{self.response} ~ {' + '.join([_sum(self.fixed), *terms])}"


def columns(model: Model) -> Columns:
    """The columns of a model, called as in the table where a name is plain, is its own and means that column."""
    design = model.design.as_coded
    names = _Names()
    response = names.give(model.formula.response, design.y, "y")
    fixed = tuple(names.give(name, column, "x") for name, column in zip(design.names, design.X.T, strict=True))
    random = []
    for term in design.terms:
        of_term = tuple(names.give(name, column, "z") for name, column in zip(term.names, term.matrix.T, strict=True))
        groups = np.asarray(term.levels, dtype=object)[term.codes]
        random.append((of_term, names.give(term.group, groups, "g")))
    return Columns(pd.DataFrame(names.columns), response, fixed, tuple(random))


class _Names:
    """Names that are given to columns, one to each."""

    def __init__(self) -> None:
        self.columns: dict[str, Any] = {}

    def give(self, name: str, column: Any, otherwise: str) -> str:
        """The name of a column: its own, or a letter with a number; ``1`` where it is 1 throughout."""
        if name == "(Intercept)" and (column == 1).all():
            return "1"
        plain = _PLAIN.fullmatch(name) and name not in _TAKEN
        if plain and name not in self.columns:
            self.columns[name] = column
            return name
        known = [called for called, values in self.columns.items() if _same(values, column)]
        if not known:
            free = (f"{otherwise}{number}" for number in count(1))
            known = [next(called for called in free if called not in self.columns)]
            self.columns[known[0]] = column
        return known[0]


def _same(one: Any, other: Any) -> bool:
    return one.dtype == other.dtype and bool((one == other).all())


def _sum(names: Sequence[str]) -> str:
    """Columns added up in a formula; without a constant of its own where there is none."""
    return " + ".join(names if names[:1] == ("1",) else ("0", *names))


def asked(title: str, fit: Callable[[], Any]) -> tuple[Any, tuple[str, ...], float]:
    """A package's own result, its warnings, and the seconds that it took.

    Raises
    ------
    EngineError : the package raised
    """
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            result = fit()
        except Exception as error:  # a package may raise anything
            raise EngineError(f"{title} stopped with {named(error)}") from error
    seconds = time.perf_counter() - started
    return result, tuple(dict.fromkeys(f"{one.category.__name__}: {one.message}" for one in said)), seconds


def package(title: str, module: str) -> Any:
    """A guest's package, which is loaded when it is asked.

    Raises
    ------
    EngineError : it is not installed, or cannot be loaded
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        advice = f"pip install {module.replace('_', '-')}; with 'concord[guests]' all guests of PyPI are"
        raise EngineError(f"{title} is not installed: {advice}") from error
    except Exception as error:  # a package may raise anything
        raise EngineError(f"{title} cannot be loaded: {type(error).__name__}: {error}") from error


def symmetric(packed: Sequence[float], size: int) -> Matrix:
    """A matrix from its lower triangle, column by column, shape (q, q)."""
    matrix = np.zeros((size, size))
    rows, cols = np.triu_indices(size)
    matrix[cols, rows] = matrix[rows, cols] = packed
    return matrix


def in_order(
    title: str, model: Model, wanted: Columns, given: Sequence[tuple[str, Sequence[str], Matrix]]
) -> tuple[Matrix, ...]:
    """Covariance matrices as a package has them, by grouping factor and columns, in the order of the model's terms.

    Raises
    ------
    EngineError : a term of the model is not among them
    """
    left = [(group, tuple("1" if name == "(Intercept)" else name for name in names), m) for group, names, m in given]
    matrices = []
    for names, group in wanted.random:
        found = [entry for entry in left if entry[0] == group and entry[1] == names]
        if not found:
            raise EngineError(f"{title} has no random term ({_sum(names)} | {group}) in its result: another model")
        left.remove(found[0])
        matrices.append(np.asarray(found[0][2], float))
    return tuple(matrices)


def fixed_effects(title: str, wanted: Columns, names: Sequence[str], *values: Iterable[float]) -> list[Vector]:
    """Values by a package's names of the fixed effects in the order of the model's columns, each shape (p,).

    Raises
    ------
    EngineError : it has other fixed effects
    """
    called = ["1" if name in ("(Intercept)", "Intercept") else name for name in names]
    if sorted(called) != sorted(wanted.fixed):
        raise EngineError(f"{title} has the fixed effects {', '.join(names)}; the model has {', '.join(wanted.fixed)}")
    order = [called.index(name) for name in wanted.fixed]
    return [np.array([*one], float)[order] for one in values]
