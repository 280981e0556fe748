"""R's lme4, through rpy2."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.engines.engine import EngineError
from concord.engines.fit import Fit
from concord.engines.tuning import check, check_rank, tuned
from concord.models.coding import between, same_groups, same_numbers, shift
from concord.models.formula import expression
from concord.models.model import Model
from concord.models.parameters import RANDOM_EFFECTS
from concord.vocabulary import SETTINGS

_R = Path(__file__).with_name("fit.R")

Coding = tuple[str, tuple[str, ...], np.ndarray]
"""A random term as lmer has it: group, names of its columns, and the way back to the model's columns."""


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
    optimizers = dict.fromkeys(r.from_r(r.call("names", room()["controls"])))
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
    return tuple(r.from_r(r.call("names", r.call(here["plain_controls"]))))


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
    return replace(_run(model, optimizer, frame=frame, tight=False), settings=optimizer)


def call(model: Model, optimizer: str | None = None) -> str:
    """The code that fits the model, ready to paste, for a table called like the dataset."""
    text = r.call(room()["call_text"], expression(model.formula), model.dataset.id, model.reml, optimizer)
    return r.from_r(text)[0]


def room() -> Any:
    """The R functions of this engine's fits."""
    r.package("lme4")
    return r.source(_R)


def _run(model: Model, optimizer: str | None, *, frame: pd.DataFrame | None = None, tight: bool = True) -> Fit:
    here = room()
    frame = (model.frame if frame is None else frame)[list(model.formula.variables)]
    try:
        ran = r.call(here["fit"], expression(model.formula), model.dataset.id, frame, model.reml, optimizer, tight)
    except r.RError as error:
        raise EngineError(f"lmer stopped with {error}") from error
    value, messages, seconds = ran
    return from_native(value, model, messages=tuple(r.from_r(messages) or ()), seconds=float(seconds[0]))


def from_native(
    native: Any,
    model: Model,
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
    model : the model that it is a fit of
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
    design, got["names"] = model.design, got["names"] or []
    offset = np.zeros(len(got["y"])) if design.offset is None else design.offset
    if not got["plain"][0] or not same_numbers(got["offset"], offset):
        raise EngineError("the lmer fit has weights or an offset, which this model has not")
    check("lmer fit", model, bool(got["reml"][0]), got["y"] - got["offset"])
    X = got["X"].reshape(len(design.y), -1)
    check_rank(model, X.shape[1])
    if X.shape[1] != design.X.shape[1]:
        raise EngineError(f"the lmer fit has {X.shape[1]} fixed effects, {model.id} has {design.X.shape[1]}")
    back = between(X, design.X)
    if back is None:
        raise EngineError(f"the lmer fit's fixed effects {', '.join(got['names'])} are not a coding of {model.id}'s")
    covariances, codings = _covariances(got, model)
    return Fit(
        model=model,
        engine="lme4",
        settings=settings,
        loglik=float(got["loglik"][0]),
        fixed=back @ got["fixed"],
        std_error=np.sqrt(np.diag(back @ got["vcov"] @ back.T)),
        covariances=covariances,
        residual_variance=float(got["sigma2"][0]),
        converged=bool(got["converged"][0]),
        messages=tuple(got["said"] or ()) if messages is None else messages,
        seconds=seconds,
        call=call or got["call"][0],
        shift=shift(back) if model.reml else 0.0,
        summarize=lambda: r.from_r(r.call(here["summary_text"], native))[0],
        predict=partial(_random_effects, native, model, codings),
        native=native,
    )


def _covariances(got: dict[str, Any], model: Model) -> tuple[tuple[np.ndarray, ...], list[Coding]]:
    """The covariance matrices in the order of the model's terms, and how lmer has each term's columns.

    lmer sorts terms by their number of levels.
    """
    found = list(zip(*(got[key] for key in ("groups", "columns", "covariances", "matrices", "codes")), strict=True))
    covariances, codings = [], []
    for term in model.design.terms:
        wanted = f"({', '.join(term.names)} | {term.group})"
        same = [each for each in found if each[0] == term.group and len(each[1]) == len(term.names)]
        if not same:
            raise EngineError(f"the lmer fit has no random term {wanted}")
        backs = [between(each[3].reshape(len(each[4]), -1), term.matrix) for each in same]
        places = [i for i, back in enumerate(backs) if back is not None and same_groups(same[i][4], term.codes)]
        if not places:
            raise EngineError(f"the lmer fit has other groups or numbers in {wanted}")
        chosen, back = same[places[0]], backs[places[0]]
        found = [each for each in found if each is not chosen]
        covariances.append(back @ chosen[2] @ back.T)
        codings.append((term.group, tuple(chosen[1]), back))
    if found:
        raise EngineError(f"the lmer fit has a random term ({', '.join(found[0][1])} | {found[0][0]}) too many")
    return tuple(covariances), codings


def _random_effects(native: Any, model: Model, codings: list[Coding]) -> pd.DataFrame:
    """In the model's coding; where lmer had a recombination of its columns, without standard errors."""
    given = pd.DataFrame(r.from_r(r.call(room()["random_effects"], native)))
    tables = []
    for term, (group, columns, back) in zip(model.design.terms, codings, strict=True):
        mine = given[(given["group"] == group) & given["term"].isin(columns)]
        values = mine.pivot(index="level", columns="term", values="estimate")[list(columns)]
        errors = mine.pivot(index="level", columns="term", values="std_error")[list(columns)].to_numpy()
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


def described_by(native: Any) -> dict[str, Any]:
    """What an lmer fit holds, as the R function ``describe`` has it."""
    return r.from_r(r.call(room()["describe"], native))


def codings(native: Any, model: Model) -> tuple[np.ndarray, list[Coding]]:
    """How lmer has the model's columns: the way back from its fixed effects to the model's, shape (p, p), and every
    random term's coding, in the order of the model's terms.

    Raises
    ------
    EngineError : it is a fit of something else
    """
    got = described_by(native)
    back = between(got["X"].reshape(len(model.design.y), -1), model.design.X)
    if back is None:
        raise EngineError(f"the lmer fit's fixed effects are not a coding of {model.id}'s")
    return back, _covariances(got, model)[1]
