"""glmm's fits, by its formula on the model's own columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from concord.engines.engine import CannotExpress, EngineError
from concord.engines.fit import Fit
from concord.engines.tuning import as_model, check
from concord.guests.columns import asked, columns, fixed_effects, in_order, package, symmetric
from concord.models.model import Model
from concord.models.parameters import Parameters

TITLE = "glmm"


def fit(model: Model, settings: str = "default") -> Fit:
    """Fit a model by ``glmm.fit``, as it ships.

    Raises
    ------
    CannotExpress : glmm has no way to write the model down
    EngineError : glmm is not installed, stopped with an error, or gave nothing that can be used
    """
    _expressible(model)
    glmm = package(TITLE, "glmm")
    written = columns(model)
    result, messages, seconds = asked(TITLE, lambda: glmm.fit(written.table, written.formula, reml=model.reml))
    return from_native(result, model, messages=messages, seconds=seconds)


def call(model: Model) -> str:
    """The code that fits the model, ready to paste, for a table of the model's columns called like the dataset.

    Raises
    ------
    CannotExpress : glmm has no way to write the model down
    """
    _expressible(model)
    return f'glmm.fit({model.dataset.id}, "{columns(model).formula}", reml={model.reml})'


def imports(model: Model) -> list[str]:
    """The lines that the code of `call` needs before it: the same for every model."""
    return ["import glmm"]


def from_native(
    native: Any,
    model: Model | str,
    data: pd.DataFrame | None = None,
    *,
    settings: str = "default",
    messages: tuple[str, ...] = (),
    seconds: float = np.nan,
) -> Fit:
    """A `Fit` of what ``glmm.fit`` returned on the columns of the model.

    Raises
    ------
    EngineError : it is a fit of something else
    """
    model = as_model(model, data, bool(native.reml))
    written = columns(model)
    if native.aliased is not None and np.any(native.aliased):
        raise EngineError(f"{TITLE} left out {', '.join(np.asarray(native.names)[native.aliased])}: another model")
    check(f"{TITLE} fit", model, bool(native.reml), native.y)
    fixed, std_error = fixed_effects(TITLE, written, native.names, native.beta, native.se)
    packed = zip(native.re_groups, native.varcorr, strict=True)
    terms = [(group, names, symmetric(values, len(names))) for (group, names), values in packed]
    return Fit(
        model=model,
        engine="glmm",
        settings=settings,
        stated_loglik=float(native.loglik),
        parameters=Parameters(fixed, in_order(TITLE, model, written, terms), float(native.dispersion)),
        std_error=std_error,
        converged=bool(native.converged),
        messages=tuple(dict.fromkeys([*messages, *map(str, native.warnings)])),
        seconds=seconds,
        call=call(model),
        native=native,
        summarize=lambda: str(native.summary_object()),
    )


def _expressible(model: Model) -> None:
    for term in model.design.terms:
        if "(Intercept)" not in term.names:
            raise CannotExpress(TITLE, "random effects without an intercept, nor uncorrelated ones")
    written = columns(model)
    if alone := {name for names, _ in written.random for name in names} - set(written.fixed):
        raise CannotExpress(TITLE, f"a random slope of what is no fixed effect, here {', '.join(sorted(alone))}")
