"""R's nlme, the arbiter: a third implementation of the same model, where it can express it."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import formulas, r
from concord.coding import same_numbers
from concord.engines import EngineError
from concord.engines.best import check, tuned
from concord.fits import RANDOM_EFFECTS, Fit
from concord.models import Model

SETTINGS = ("default", "tuned")

_R = Path(__file__).with_suffix(".R")
_SLOPE = re.compile(r"0 \+ (.+)")


def fit(model: Model, settings: str = "default") -> Fit:
    """Fit a model by lme.

    Parameters
    ----------
    model : what to fit
    settings : ``default``, as the package ships; or ``tuned``, the best of its two optimizers, from scratch

    Raises
    ------
    CannotExpress : lme has no way to write the model down, or none that is written here: several grouping factors
    RError : R or nlme is missing
    EngineError : lme stopped with an error, or gave nothing that can be used
    """
    if settings not in SETTINGS:
        raise ValueError(f"settings {settings!r}: one of {', '.join(SETTINGS)}")
    if settings == "default":
        return _run(model, None)
    optimizers = dict.fromkeys(r.from_r(r.call("names", _room()["controls"])))
    return tuned(model, optimizers, lambda name, _: _run(model, name))


def call(model: Model, optimizer: str | None = None) -> str:
    """The code that fits the model, ready to paste, for a table called like the dataset."""
    arguments = (*_form(model), model.dataset.id, model.method, optimizer)
    return r.from_r(r.call(_room()["call_text"], *arguments))[0]


def _form(model: Model) -> tuple[Any, str, str, bool]:
    """Fixed formula, columns of the random part, group, and whether they are independent."""
    formula = model.formula
    groups = {term.group for term in formula.random}
    if len(groups) > 1 or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", formula.random[0].group):
        raise formulas.CannotExpress("nlme", f"{' + '.join(map(str, formula.random))} with one group factor")
    fixed = r.call(r.source(_R.parents[1] / "formulas.R")["fixed_formula"], formula.expression)
    columns = [term.columns for term in formula.random]
    if len(columns) == 1:
        return fixed, columns[0], groups.pop(), False
    singles = [_SLOPE.fullmatch(each) or each == "1" for each in columns]
    if not all(singles) or any(len(term.names) > 1 for term in model.design.terms):
        raise formulas.CannotExpress("nlme", "some effects correlated, some not, on one group factor")
    parts = ["1" if "1" in columns else "0", *(m[1] for m in map(_SLOPE.fullmatch, columns) if m)]
    return fixed, " + ".join(parts), groups.pop(), True


def _room() -> Any:
    r.package("nlme")
    return r.source(_R)


def _run(model: Model, optimizer: str | None) -> Fit:
    form = _form(model)
    observe = r.source(_R.with_name("lme4.R"))["observe"]
    frame = model.frame.iloc[model.design.rows][list(model.formula.variables)]
    arguments = (*form, model.dataset.id, frame, model.method, optimizer)
    try:
        value, messages, seconds = r.call(_room()["fit"], observe, *arguments)
    except r.RError as error:
        raise EngineError(f"lme stopped with {error}") from error
    said = tuple(r.from_r(messages) or ())
    return from_native(value, model, messages=said, seconds=float(seconds[0]))


def from_native(
    native: Any,
    model: Model,
    *,
    settings: str = "default",
    messages: tuple[str, ...] = (),
    seconds: float = np.nan,
    call: str = "",
) -> Fit:
    """A `Fit` of what lme returned.

    lme raises where it does not converge, so a fit that it returns claims to have converged.

    Raises
    ------
    EngineError : it is a fit of something else: by another method, on other rows, with other terms
    """
    try:
        got = r.from_r(r.call(_room()["describe"], native))
    except r.RError as error:
        raise EngineError(f"this is not a fit by lme that can be read: {error}") from error
    design = model.design
    check("lme fit", model, bool(got["reml"][0]), got["y"])
    if got["levels"][0] != 1:
        raise EngineError(f"the lme fit has other groups than {model.id} ({design.terms[0].group}): several factors")
    check("lme fit", model, bool(got["reml"][0]), got["y"], [(design.terms[0], got["codes"])])
    if not got["plain"][0]:
        raise EngineError("the lme fit has weights or correlations of the residuals, which this model has not")
    names = [name for term in design.terms for name in term.names]
    if sorted(got["names"]) != sorted(design.names) or sorted(got["columns"]) != sorted(names):
        raise EngineError(f"the lme fit has other terms than {model.id}")
    fixed = [got["names"].index(name) for name in design.names]
    if not same_numbers(got["expected"], design.X @ got["fixed"][fixed]):
        raise EngineError(f"the lme fit has other numbers in its fixed effects than {model.id}: another coding")
    covariances = []
    for term in design.terms:
        order = [got["columns"].index(name) for name in term.names]
        covariances.append(got["covariance"][np.ix_(order, order)])
    return Fit(
        model=model,
        engine="nlme",
        settings=settings,
        loglik=float(got["loglik"][0]),
        fixed=got["fixed"][fixed],
        std_error=got["std_error"][fixed],
        covariances=tuple(covariances),
        residual_variance=float(got["sigma2"][0]),
        converged=True,
        messages=messages,
        seconds=seconds,
        call=call or got["call"][0],
        summarize=lambda: r.from_r(r.call(_room()["summary_text"], native))[0],
        predict=partial(_random_effects, native, design.terms[0].group),
        native=native,
    )


def _random_effects(native: Any, group: str) -> pd.DataFrame:
    """Without standard errors: nlme gives none."""
    got = r.from_r(r.call(_room()["random_effects"], native))
    rows = [
        (group, level, term, float(got["estimate"][i, j]), np.nan)
        for i, level in enumerate(got["level"])
        for j, term in enumerate(got["term"])
    ]
    return pd.DataFrame(rows, columns=RANDOM_EFFECTS)
