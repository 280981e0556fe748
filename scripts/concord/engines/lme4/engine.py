"""R's lme4, through rpy2."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.arrays import Integers, Matrix, Vector
from concord.engines.engine import CannotExpress, EngineError
from concord.engines.fit import Fit
from concord.engines.tuning import as_model, check, check_rank, tuned
from concord.models.coding import between, same_groups, same_numbers, shift
from concord.models.formula import expression
from concord.models.model import Model
from concord.models.parameters import RANDOM_EFFECTS, Parameters
from concord.vocabulary import SETTINGS

_R = Path(__file__).with_name("fit.R")

Coding = tuple[str, tuple[str, ...], Matrix]
"""A random term as lmer has it: group, names of its columns, and the way back to the model's columns."""


@dataclass(frozen=True, eq=False)
class Term:
    """A random term as lmer has it.

    Attributes
    ----------
    group : the grouping factor
    columns, matrix : its columns' names, length q, and the columns, shape (n, q)
    codes : for every row the number of its group, counted from 1, shape (n,)
    covariance : covariance matrix of the effects, shape (q, q)
    structure : the structure of that, as `DesignTerm` has it
    """

    group: str
    columns: list[str]
    matrix: Matrix
    codes: Integers
    covariance: Matrix
    structure: str


@dataclass(frozen=True, eq=False)
class Described:
    """What an lmer fit holds.

    Attributes
    ----------
    reml, loglik : whether it is by REML, and its log-likelihood
    weights : of the rows, 1 where none were given, shape (n,)
    y, offset : the response, offset included, and the offset, shape (n,)
    X, names : the fixed effects' columns, shape (n, p), and their names
    fixed, vcov : the fixed effects, shape (p,), and their covariance matrix, shape (p, p)
    terms : the random terms, in lmer's order
    sigma2 : variance of the residuals
    converged, said : what it claims, and what it says of that
    call : the call that made it
    """

    reml: bool
    loglik: float
    weights: Vector
    y: Vector
    offset: Vector
    X: Matrix
    names: list[str]
    fixed: Vector
    vcov: Matrix
    terms: list[Term]
    sigma2: float
    converged: bool
    said: list[str]
    call: str


def fit(model: Model, settings: str = "default") -> Fit:
    """Fit a model by lmer.

    Parameters
    ----------
    model : what to fit
    settings : ``default``, as the package ships; or ``tuned``, the best of several of its optimizers, from scratch

    Raises
    ------
    RError : R or lme4 is missing
    EngineError : lmer stopped with an error, or gave nothing that can be used
    """
    if settings not in SETTINGS:
        raise ValueError(f"settings {settings!r}: one of {', '.join(SETTINGS)}")
    if settings == "default":
        return _run(model, None)
    optimizers = dict.fromkeys(r.texts(r.call("names", room()["controls"])))
    return tuned(model, optimizers, lambda name, _: _run(model, name))


def optimizers() -> tuple[str, ...]:
    """The optimizers that lme4's allFit tries, and nlminb by way of optimx; as allFit writes them, optimizer.method.

    Raises
    ------
    RError : R, lme4, or one of the packages dfoptim and optimx is missing
    """
    here = room()
    for name in ("dfoptim", "optimx"):  # without them allFit leaves their optimizers out, and says nothing
        r.package(name)
    return r.texts(r.call("names", r.call(here["plain_controls"])))


def fit_by(model: Model, optimizer: str, frame: pd.DataFrame | None = None) -> Fit:
    """Fit a model by one of lme4's optimizers at its own default tolerances, from scratch.

    Parameters
    ----------
    model : what to fit
    optimizer : one of `optimizers`
    frame : the model's table with its predictors in another coding (centred, scaled), from which the estimates are
        carried back; None for the table as it is

    Raises
    ------
    RError : R or one of its packages is missing
    EngineError : lmer stopped with an error, or gave nothing that can be used
    """
    if optimizer not in optimizers():
        raise ValueError(f"optimizer {optimizer!r}: one of {', '.join(optimizers())}")
    return replace(_run(model, optimizer, frame=frame, among="plain"), settings=optimizer)


def remedies(model: Model) -> tuple[str, ...]:
    """The other controls to try for a model, the plainest first, as they are written: the same for every model.

    Raises
    ------
    RError : R or lme4 is missing
    """
    return r.texts(r.call("names", room()["remedies"]))


def fit_remedy(model: Model, remedy: str) -> Fit:
    """Fit a model by one of `remedies`.

    Raises
    ------
    RError : R or lme4 is missing
    EngineError : lmer stopped with an error, or gave nothing that can be used
    """
    return replace(_run(model, remedy, among="remedy"), settings=remedy)


def call(model: Model, optimizer: str | None = None) -> str:
    """The code that fits the model, ready to paste, for a table called like the dataset."""
    text = r.call(
        room()["call_text"], written(model), model.dataset.id, model.reml, optimizer, weights=model.formula.weights
    )
    return r.text(text)


def imports(model: Model) -> list[str]:
    """The lines that the code of `call` needs before it: the same for every model."""
    return ["library(lme4)"]


def written(model: Model) -> Any:
    """The model's formula as lmer takes it, an object of R.

    Raises
    ------
    CannotExpress : it structures a covariance matrix, and this lme4 does not
    """
    structured = model.formula.structured
    if structured and not r.from_r(r.call(room()["has_structures"]))[0]:
        raise CannotExpress("lme4", f"{structured}: it has structures of covariance matrices from version 2 on")
    return expression(model.formula, structured=True)


def room() -> Any:
    """The R functions of this engine's fits."""
    r.package("lme4")
    return r.source(_R)


def _run(model: Model, optimizer: str | None, *, frame: pd.DataFrame | None = None, among: str = "tight") -> Fit:
    here = room()
    frame = (model.frame if frame is None else frame)[list(model.formula.variables)]
    try:
        arguments = (model.dataset.id, frame, model.reml, optimizer, among, model.formula.weights)
        ran = r.call(here["fit"], written(model), *arguments)
    except r.RError as error:
        raise EngineError(f"lmer stopped with {error}") from error
    value, messages, seconds = ran
    return from_native(value, model, messages=r.texts(messages), seconds=float(seconds[0]))


def from_native(
    native: Any,
    model: Model | str,
    data: pd.DataFrame | None = None,
    *,
    settings: str = "default",
    messages: tuple[str, ...] | None = None,
    seconds: float = np.nan,
    call: str = "",
) -> Fit:
    """A `Fit` of what lmer returned: an S4 object, from here or from a notebook's ``robjects.globalenv``.

    Parameters
    ----------
    native : an ``lmerMod``
    model : the model that it is a fit of, or its formula
    data : the table, with a formula
    settings, messages, seconds, call : what the object itself does not tell, or tells otherwise

    Raises
    ------
    EngineError : it is a fit of something else: by another method, on other rows or groups, with other terms
    """
    here = room()
    try:
        got = described_by(native)
    except r.RError as error:
        raise EngineError(f"this is not a fit by lmer that can be read: {error}") from error
    model = as_model(model, data, got.reml)
    # Without fixed effects REML is ML, and lmer calls it that.
    reml = got.reml or model.reml and not model.design.X.shape[1]
    design = model.design.as_coded
    offset = np.zeros(len(got.y)) if design.offset is None else design.offset
    weights = np.ones(len(got.y)) if model.design.weights is None else model.design.weights
    if not same_numbers(got.weights, weights) or not same_numbers(got.offset, offset):
        raise EngineError(f"the lmer fit has weights or an offset other than those of {model.id}")
    check("lmer fit", model, reml, got.y - got.offset)
    try:
        back = _fixed(got, model)
        covariances, codings = _covariances(got.terms, model)
    except EngineError as error:
        raise EngineError(f"{error}: it is a fit of {r.text(r.call(here['formula_text'], native))}") from error
    return Fit(
        model=model,
        engine="lme4",
        settings=settings,
        stated_loglik=got.loglik,
        parameters=Parameters(back @ got.fixed, covariances, got.sigma2),
        std_error=np.sqrt(np.diag(back @ got.vcov @ back.T)),
        converged=got.converged,
        messages=tuple(got.said) if messages is None else messages,
        seconds=seconds,
        call=call or got.call,
        shift=shift(back) if model.reml else 0.0,
        summarize=lambda: r.text(r.call(here["summary_text"], native)),
        predict=partial(_random_effects, native, model, codings),
        native=native,
    )


def _fixed(got: Described, model: Model) -> Matrix:
    """The way back from lmer's fixed effects to the model's, shape (p, p)."""
    wanted = model.design.as_coded.X
    X = got.X.reshape(len(wanted), -1)
    check_rank(model, X.shape[1])
    if X.shape[1] != wanted.shape[1]:
        raise EngineError(f"the lmer fit has {X.shape[1]} fixed effects, {model.id} has {wanted.shape[1]}")
    back = between(X, wanted)
    if back is None:
        raise EngineError(f"the lmer fit's fixed effects {', '.join(got.names)} are not a coding of {model.id}'s")
    return back


def _covariances(terms: list[Term], model: Model) -> tuple[tuple[Matrix, ...], list[Coding]]:
    """The covariance matrices in the order of the model's terms, and how lmer has each term's columns.

    lmer sorts terms by their number of levels.
    """
    left, coded = list(terms), model.design.as_coded.terms
    covariances, codings = [], []
    known = {term.structure for term in coded}
    for part in terms:
        if part.structure not in known:
            shown = f"({', '.join(part.columns)} | {part.group})"
            raise EngineError(f"the lmer fit's {shown} has the covariance structure {part.structure or 'us'}")
    for term in coded:
        wanted = f"({', '.join(term.names)} | {term.group})"
        same = [part for part in left if part.group == term.group and len(part.columns) == len(term.names)]
        same = [part for part in same if part.structure == term.structure]
        if not same:
            raise EngineError(f"the lmer fit has no random term {wanted}")
        recoded = [(part, between(part.matrix.reshape(len(part.codes), -1), term.matrix)) for part in same]
        fitting = [(part, back) for part, back in recoded if back is not None and same_groups(part.codes, term.codes)]
        if not fitting:
            raise EngineError(f"the lmer fit has other groups or numbers in {wanted}")
        chosen, back = fitting[0]
        if term.structure and not np.allclose(back, np.eye(len(back)), atol=1e-9):
            raise EngineError(f"the lmer fit has other columns in {wanted}, whose covariance matrix has a structure")
        left.remove(chosen)
        covariances.append(back @ chosen.covariance @ back.T)
        codings.append((term.group, tuple(chosen.columns), back))
    if left:
        raise EngineError(f"the lmer fit has a random term ({', '.join(left[0].columns)} | {left[0].group}) too many")
    return tuple(covariances), codings


def _random_effects(native: Any, model: Model, codings: list[Coding]) -> pd.DataFrame:
    """In the model's coding; where lmer had a recombination of its columns, without standard errors."""
    effects = pd.DataFrame(r.from_r(r.call(room()["random_effects"], native)))
    tables = []
    for term, (group, columns, back) in zip(model.design.terms, codings, strict=True):
        rows = effects[(effects["group"] == group) & effects["term"].isin(columns)]
        values = rows.pivot(index="level", columns="term", values="estimate")[list(columns)]
        errors = rows.pivot(index="level", columns="term", values="std_error")[list(columns)].to_numpy()
        permuted = np.isin(back, (0.0, 1.0)).all()
        carried = values.to_numpy() @ back.T
        spread = errors @ back.T if permuted else np.full_like(carried, np.nan)
        for j, name in enumerate(term.names):
            tables.append(
                pd.DataFrame(
                    {
                        "group": group,
                        "level": values.index,
                        "term": name,
                        "estimate": carried[:, j],
                        "std_error": spread[:, j],
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)[RANDOM_EFFECTS]


def described_by(native: Any) -> Described:
    """What an lmer fit holds.

    Raises
    ------
    RError : it is not an lmer fit
    """
    return r.record(Described, r.call(room()["describe"], native))


def codings(native: Any, model: Model) -> tuple[Matrix, list[Coding]]:
    """How lmer has the model's columns: the way back from its fixed effects to the model's, shape (p, p), and every
    random term's coding, in the order of the model's terms.

    Raises
    ------
    EngineError : it is a fit of something else
    """
    got = described_by(native)
    back = between(got.X.reshape(len(model.design.y), -1), model.design.as_coded.X)
    if back is None:
        raise EngineError(f"the lmer fit's fixed effects are not a coding of {model.id}'s")
    return back, _covariances(got.terms, model)[1]
