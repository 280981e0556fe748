"""glmmTMB's fits, by its formula on the model's own columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.arrays import Matrix, Vector
from concord.engines.engine import EngineError
from concord.engines.fit import Fit
from concord.engines.tuning import as_model, check
from concord.guests.columns import columns, fixed_effects, in_order
from concord.models.model import Model
from concord.models.parameters import Parameters

TITLE = "glmmTMB"
_R = Path(__file__).with_name("fit.R")


@dataclass(frozen=True, eq=False)
class Term:
    """The random effects of one term: the columns' names, and the effects' covariance matrix, shape (q, q)."""

    columns: list[str]
    covariance: Matrix


@dataclass(frozen=True, eq=False)
class Described:
    """What a glmmTMB fit holds.

    Attributes
    ----------
    reml, loglik : whether it is by REML, and its log-likelihood
    names, fixed, std_error : the fixed effects, shapes (p,)
    y : the response, shape (n,)
    groups, terms : the grouping factor of every random term, and the term
    sigma : standard deviation of the residuals
    converged : whether its optimizer says so
    """

    reml: bool
    loglik: float
    names: list[str]
    fixed: Vector
    std_error: Vector
    y: Vector
    groups: list[str]
    terms: list[Term]
    sigma: float
    converged: bool


def fit(model: Model, settings: str = "default") -> Fit:
    """Fit a model by ``glmmTMB``, as it ships.

    Raises
    ------
    RError : R or glmmTMB is missing
    EngineError : glmmTMB stopped with an error, or gave nothing that can be used
    """
    r.package(TITLE)
    written = columns(model)
    arguments = (written.formula, model.dataset.id, written.table, model.reml)
    try:
        value, messages, seconds = r.call(r.source(_R)["fit"], *arguments)
    except r.RError as error:
        raise EngineError(f"{TITLE} stopped with {error}") from error
    return from_native(value, model, messages=r.texts(messages), seconds=float(seconds[0]))


def call(model: Model) -> str:
    """The code that fits the model, ready to paste, for a table of the model's columns called like the dataset."""
    return f"glmmTMB({columns(model).formula}, data = {model.dataset.id}, REML = {str(model.reml).upper()})"


def imports(model: Model) -> list[str]:
    """The lines that the code of `call` needs before it: the same for every model."""
    return ["library(glmmTMB)"]


def from_native(
    native: Any,
    model: Model | str,
    data: pd.DataFrame | None = None,
    *,
    settings: str = "default",
    messages: tuple[str, ...] = (),
    seconds: float = np.nan,
) -> Fit:
    """A `Fit` of what ``glmmTMB`` returned on the columns of the model.

    Raises
    ------
    EngineError : it is a fit of something else
    """
    try:
        got = r.record(Described, r.call(r.source(_R)["describe"], native))
    except r.RError as error:
        raise EngineError(f"this is not a fit by {TITLE} that can be read: {error}") from error
    model = as_model(model, data, got.reml)
    written = columns(model)
    check(f"{TITLE} fit", model, got.reml, got.y)
    fixed, std_error = fixed_effects(TITLE, written, got.names, got.fixed, got.std_error)
    terms = [(group, term.columns, term.covariance) for group, term in zip(got.groups, got.terms, strict=True)]
    return Fit(
        model=model,
        engine="glmmtmb",
        settings=settings,
        stated_loglik=got.loglik,
        parameters=Parameters(fixed, in_order(TITLE, model, written, terms), got.sigma**2),
        std_error=std_error,
        converged=got.converged,
        messages=messages,
        seconds=seconds,
        call=call(model),
        native=native,
        summarize=lambda: r.text(r.call(r.source(_R)["summary_text"], native)),
    )
