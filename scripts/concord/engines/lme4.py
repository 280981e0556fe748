"""R's lme4, through rpy2."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.engines import EngineError
from concord.engines.best import best, same_groups, same_numbers
from concord.fits import RANDOM_EFFECTS, Attempt, Fit
from concord.likelihood import Likelihood
from concord.models import Model

SETTINGS = ("default", "tuned")

_R = Path(__file__).with_suffix(".R")


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
    fits, failed = [], []
    for name in r.from_r(r.call("names", _room()["controls"])):
        try:
            fits.append((name, _run(model, name)))
        except EngineError as error:
            failed.append(Attempt(name, -np.inf, np.nan, False, np.nan, (str(error),)))
    return replace(best(fits, failed, Likelihood(model.design, model.reml)), settings="tuned")


def call(model: Model, optimizer: str | None = None) -> str:
    """The code that fits the model, ready to paste, for a table called like the dataset."""
    text = r.call(_room()["call_text"], model.formula.expression, model.dataset.id, model.reml, optimizer)
    return r.from_r(text)[0]


def _room() -> Any:
    r.package("lme4")
    return r.source(_R)


def _run(model: Model, optimizer: str | None) -> Fit:
    room = _room()
    frame = model.frame[list(model.formula.variables)]
    try:
        ran = r.call(room["fit"], model.formula.expression, model.dataset.id, frame, model.reml, optimizer)
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
    room = _room()
    try:
        got = r.from_r(r.call(room["describe"], native))
    except r.RError as error:
        raise EngineError(f"this is not a fit by lmer that can be read: {error}") from error
    design, got["names"] = model.design, got["names"] or []
    if bool(got["reml"][0]) != model.reml:
        raise EngineError(f"the lmer fit is by {'REML' if got['reml'][0] else 'ML'}, the model says {model.method}")
    if not np.array_equal(got["y"], design.y):
        raise EngineError(f"the lmer fit has another response than {model.id}: other rows, or another order")
    if not got["plain"][0]:
        raise EngineError("the lmer fit has weights or an offset, which this model has not")
    if sorted(got["names"]) != sorted(design.names):
        raise EngineError(f"the lmer fit has the fixed effects {', '.join(got['names'])}: another coding or model")
    fixed = [got["names"].index(name) for name in design.names]
    if not same_numbers(got["X"][:, fixed], design.X):
        raise EngineError(f"the lmer fit has other numbers in its fixed effects than {model.id}: another coding")
    return Fit(
        model=model,
        engine="lme4",
        settings=settings,
        loglik=float(got["loglik"][0]),
        fixed=got["fixed"][fixed],
        std_error=got["std_error"][fixed],
        covariances=_covariances(got, model),
        residual_variance=float(got["sigma2"][0]),
        converged=bool(got["converged"][0]),
        messages=tuple(got["said"] or ()) if messages is None else messages,
        seconds=seconds,
        call=call or got["call"][0],
        summarize=lambda: r.from_r(r.call(room["summary_text"], native))[0],
        predict=partial(_random_effects, native),
        native=native,
    )


def _covariances(got: dict[str, Any], model: Model) -> tuple[np.ndarray, ...]:
    """The covariance matrices in the order of the model's terms: lmer sorts terms by their number of levels."""
    found = list(zip(*(got[key] for key in ("groups", "columns", "covariances", "matrices", "codes")), strict=True))
    covariances = []
    for term in model.design.terms:
        same = [each for each in found if each[0] == term.group and sorted(each[1]) == sorted(term.names)]
        if not same:
            raise EngineError(f"the lmer fit has no random term ({', '.join(term.names)} | {term.group})")
        found.remove(same[0])
        order = [same[0][1].index(name) for name in term.names]
        if not (same_numbers(same[0][3][:, order], term.matrix) and same_groups(same[0][4], term.codes)):
            raise EngineError(f"the lmer fit has other groups or numbers in ({', '.join(term.names)} | {term.group})")
        covariances.append(same[0][2][np.ix_(order, order)])
    if found:
        raise EngineError(f"the lmer fit has a random term ({', '.join(found[0][1])} | {found[0][0]}) too many")
    return tuple(covariances)


def _random_effects(native: Any) -> pd.DataFrame:
    return pd.DataFrame(r.from_r(r.call(_room()["random_effects"], native)))[RANDOM_EFFECTS]
