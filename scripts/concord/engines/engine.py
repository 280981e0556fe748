"""Engines: one folder each, found here, with everything that is asked of the package that it stands for.

An engine is a Python package with the attributes of `Engine`. Its ``__init__`` states what is known without the package
that fits, and hands out the rest when it is first asked for. Engines are found

- in the folder of this file;
- in every folder that the environment variable ``CONCORD_ENGINES`` lists, where each folder is one engine; it is
  imported as if it stood here, also in processes that are started later;
- among the entry points of the group ``concord.engines``, which name packages.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Literal, Protocol, cast

import pandas as pd

from concord import r
from concord.engines import FOLDERS, FORMERLY, span
from concord.engines.demand import Demand
from concord.engines.fit import Fit
from concord.engines.replicate import Refit
from concord.errors import InputError, shorten
from concord.models.model import Model
from concord.vocabulary import LANGUAGES, ROLES


class Engine(Protocol):
    """A package that fits mixed models, and all that is asked of it.

    Attributes
    ----------
    name : what records call it, and the name of its folder
    title : what people call it
    language : ``Python`` or ``R``
    role : ``party``: the verdict is about it, and each language has one; ``arbiter`` or ``guest``: it is asked and
        judged beside the parties, and no party while they are there
    settings : ``default``, as the package ships; ``tuned``, the best of several of its optimizers
    packages : of its language, that its fits depend on, the one that fits first
    companions : packages that are asked about its fits too
    preload : the modules that a process imports ahead of its first fit
    orthogonal : whether it takes least squares by orthogonal factors, and not through the normal equations
    inverts : whether its log-likelihood takes the inverse of each covariance matrix of random effects
    sweep : so many default fits take as long as a fit by each of its optimizers in each coding of the predictors
    optimizers : gives the names of the package's optimizers; None where they are not to be told apart
    fit_by : fits a model by one of the optimizers, on the model's table or on one with recoded predictors; or None
    remedies : gives the other calls that a user can make for a model, the plainest first, each by the arguments that
        tell it from the default one; None or left out where there are none
    fit_remedy : fits a model by one of the remedies
    demand : what a default fit takes of the machine, as estimated beforehand; None or left out where that is little
    refitters : gives the ways to fit a model to one response after the other, asked in turn until one comes to rest;
        None where the engine has none
    statements : a module with what the package states beyond the estimates, as `concord.engines.statements.Statements`
        has it; None where it says nothing
    """

    name: str
    title: str
    language: Literal["Python", "R"]
    role: Literal["party", "arbiter", "guest"]
    settings: tuple[str, ...]
    packages: tuple[str, ...]
    companions: tuple[str, ...]
    preload: tuple[str, ...]
    orthogonal: bool
    inverts: bool
    sweep: int
    optimizers: Callable[[], Sequence[str]] | None
    fit_by: Callable[[Model, str, pd.DataFrame | None], Fit] | None
    remedies: Callable[[Model], Sequence[str]] | None
    fit_remedy: Callable[[Model, str], Fit] | None
    demand: Callable[[Model], Demand] | None
    refitters: Callable[..., Sequence[Refit]] | None
    statements: ModuleType | None

    @staticmethod
    def fit(model: Model, settings: str = "default") -> Fit:
        """Fit a model by one of the settings.

        Raises
        ------
        CannotExpress : the package has no way to write the model down
        EngineError : the package stopped with an error, or gave nothing that can be used
        """

    @staticmethod
    def from_native(
        native: Any, model: Model | str, data: pd.DataFrame | None = None, *, settings: str = "default"
    ) -> Fit:
        """A `Fit` of what the package itself returned.

        Parameters
        ----------
        model : the model that it is a fit of, or its formula
        data : the table, with a formula

        Raises
        ------
        EngineError : it is a fit of something else
        """

    @staticmethod
    def imports(model: Model) -> list[str]:
        """The lines that the code of `call` needs before it.

        Raises
        ------
        CannotExpress : the package has no way to write the model down
        """

    @staticmethod
    def call(model: Model) -> str:
        """The code that fits a model, ready to paste, for a table called like the dataset.

        Raises
        ------
        CannotExpress : the package has no way to write the model down
        """


_STATED = (
    "name",
    "title",
    "language",
    "role",
    "settings",
    "packages",
    "companions",
    "preload",
    "orthogonal",
    "inverts",
    "sweep",
    "fit",
    "from_native",
    "imports",
    "call",
)


class EngineError(RuntimeError):
    """An engine could not fit a model, or gave nothing that can be used; the message says which and why."""


class UnusableEngine(EngineError, InputError):
    """A folder or an entry point cannot be used as an engine; the message says which and why."""


class CannotExpress(ValueError):
    """An engine has no way to write this model down.

    Attributes
    ----------
    nearest : the nearest lme4 formula that the engine can express, if there is one
    lost : what the nearest one leaves out of the model, in a few words
    """

    def __init__(self, engine: str, what: str, nearest: str | None = None, lost: str = "") -> None:
        super().__init__(engine, what, nearest, lost)
        self.engine, self.what, self.nearest, self.lost = engine, what, nearest, lost

    def __str__(self) -> str:
        hint = f"; the nearest that it can is {self.nearest}" if self.nearest else ""
        return f"{self.engine} cannot express {self.what}{hint}"


def engines() -> dict[str, Engine]:
    """All engines by name: parties first, then arbiters, then guests; in each role Python's first.

    Raises
    ------
    InputError : a folder of engines is not there
    UnusableEngine : a folder or an entry point is not an engine or cannot be imported, or two have one name
    """
    return dict(_found(tuple(_folders())))


def parties() -> tuple[str, ...]:
    """The names of the engines that a verdict is about."""
    return tuple(name for name, engine in engines().items() if engine.role == "party")


def party(language: str) -> Engine:
    """The party that fits in a language."""
    return next(engine for engine in engines().values() if (engine.role, engine.language) == ("party", language))


def contenders() -> tuple[str, ...]:
    """The names of the engines that are fitted to other models and to parts of a table too: all but the arbiters."""
    return tuple(name for name, engine in engines().items() if engine.role != "arbiter")


def deciding(asked: Iterable[str]) -> set[str]:
    """Of the engines that were asked of one model those that the verdict is about: the parties, where all are there."""
    names = set(asked)
    return set(parties()) if names.issuperset(parties()) else names


def preloads() -> tuple[str, ...]:
    """The modules that a process imports ahead of the first fit by any engine."""
    return tuple(dict.fromkeys(module for engine in engines().values() for module in engine.preload))


LOAD_R = "from concord.engines.engine import load_r; load_r()"
"""The statement that workers of a cluster begin with: rpy2 wants R to be started by a process's main thread."""


def load_r(*names: str) -> None:
    """Start R with the packages of engines that fit there, by default of all; a guest's may be missing.

    Raises
    ------
    RError : R is missing, or the package of a party or an arbiter
    """
    for engine in (engines()[name] for name in names or engines()):
        if engine.language == "R":
            r.interface()
            with suppress(*([r.RError] if engine.role == "guest" else [])):
                r.package(engine.packages[0])


def title(label: str) -> str:
    """The label of a fit or of a source, ``statsmodels default`` or ``nlme, wider steps``, as it is said to people."""
    name = label.partition(" ")[0].rstrip(",")
    return engines()[name].title + label[len(name) :] if name in engines() else label


def called(label: str) -> str:
    """The same, and of a guest that it is one: ``guest glmm (PyPI) default``."""
    return f"guest {title(label)}" if _is_guest(label) else title(label)


def heading(label: str) -> str:
    """What stands over the column of a label: the label, and of a guest what it is called."""
    return called(label) if _is_guest(label) else label


def _is_guest(label: str) -> bool:
    name = label.partition(" ")[0].rstrip(",")
    return name in engines() and engines()[name].role == "guest"


def _folders() -> list[str]:
    """The folders that hold engines: this one, and those of the environment, which the package then spans too."""
    for folder in span():
        if not os.path.isdir(folder):
            raise InputError(f"{FOLDERS}: {folder}: there is no such folder: correct the path, or unset the variable")
    return list(sys.modules[__package__].__path__)


def _names(folders: Sequence[str]) -> list[str]:
    """The packages in the folders, and those of the entry points."""
    own = folders[0]
    seen: dict[str, bool] = {}
    for folder in folders:
        for module in pkgutil.iter_modules([folder], f"{__package__}."):
            if folder != own and module.ispkg and module.name in seen:
                called = module.name.rpartition(".")[2]
                raise UnusableEngine(f"{os.path.join(folder, called)}: that name is taken: rename the folder")
            if folder == own or module.ispkg:
                seen[module.name] = module.ispkg
    return [name for name, package in seen.items() if package] + [e.value for e in entry_points(group=__package__)]


def _imported(name: str) -> Engine:
    """An engine that has all that each of them must have; what it hands out lazily is not loaded where it is listed."""
    try:
        engine = importlib.import_module(name)
        listed = {*vars(engine), *dir(engine)}
        missing = [attribute for attribute in _STATED if attribute not in listed and not hasattr(engine, attribute)]
    except Exception as error:  # a guest's code may raise anything
        raise UnusableEngine(f"{name}: cannot be imported: {type(error).__name__}: {shorten(str(error))}") from error
    if missing:
        raise UnusableEngine(f"{name} is not an engine: it states no {', '.join(missing)}")
    for what, words in (("role", ROLES), ("language", LANGUAGES)):
        if (word := getattr(engine, what)) not in words:
            raise UnusableEngine(f"{name}: its {what} is {word!r}, not one of {', '.join(words)}")
    return cast(Engine, engine)


@cache
def _found(folders: tuple[str, ...]) -> dict[str, Engine]:
    known: dict[str, Engine] = {}
    for name in _names(folders):
        engine = _imported(name)
        if engine.name in {*known, *FORMERLY}:
            raise UnusableEngine(f"{name}: there is an engine of the name {engine.name} already")
        if engine.role == "party" and any(
            (other.role, other.language) == ("party", engine.language) for other in known.values()
        ):
            raise UnusableEngine(f"{name}: {engine.language} has a party already: its role is guest")
        known[engine.name] = engine
    ranks = {
        engine.name: (ROLES.index(engine.role), LANGUAGES.index(engine.language), engine.name)
        for engine in known.values()
    }
    return {name: known[name] for name in sorted(known, key=ranks.__getitem__)}
