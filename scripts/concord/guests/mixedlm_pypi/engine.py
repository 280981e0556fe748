"""mixedlm's fits, by its lmer on the model's own columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from concord.engines.fit import Fit
from concord.engines.tuning import as_model, check
from concord.guests.columns import asked, columns, fixed_effects, in_order, package
from concord.models.model import Model
from concord.models.parameters import Parameters

TITLE = "mixedlm (PyPI)"


def fit(model: Model, settings: str = "default") -> Fit:
    """Fit a model by ``mixedlm.lmer``, as it ships.

    Raises
    ------
    EngineError : mixedlm is not installed, stopped with an error, or gave nothing that can be used
    """
    mixedlm = package(TITLE, "mixedlm")
    written = columns(model)
    result, messages, seconds = asked(TITLE, lambda: mixedlm.lmer(written.formula, written.table, REML=model.reml))
    return from_native(result, model, messages=messages, seconds=seconds)


def call(model: Model) -> str:
    """The code that fits the model, ready to paste, for a table of the model's columns called like the dataset."""
    return f'mixedlm.lmer("{columns(model).formula}", {model.dataset.id}, REML={model.reml})'


def imports(model: Model) -> list[str]:
    """The lines that the code of `call` needs before it: the same for every model."""
    return ["import mixedlm"]


def from_native(
    native: Any,
    model: Model | str,
    data: pd.DataFrame | None = None,
    *,
    settings: str = "default",
    messages: tuple[str, ...] = (),
    seconds: float = np.nan,
) -> Fit:
    """A `Fit` of what ``mixedlm.lmer`` returned on the columns of the model.

    Raises
    ------
    EngineError : it is a fit of something else
    """
    model = as_model(model, data, bool(native.REML))
    written = columns(model)
    check(f"{TITLE} fit", model, bool(native.REML), native.matrices.y)
    effects = native.fixef()
    errors = np.sqrt(np.diag(native.vcov()))
    fixed, std_error = fixed_effects(TITLE, written, list(effects), list(effects.values()), errors)
    terms = [(term.grouping_factor, term.term_names, term.cov) for term in native.VarCorr().groups.values()]
    return Fit(
        model=model,
        engine="mixedlm_pypi",
        settings=settings,
        stated_loglik=float(native.logLik()),
        parameters=Parameters(fixed, in_order(TITLE, model, written, terms), float(native.sigma) ** 2),
        std_error=std_error,
        converged=bool(native.converged),
        messages=messages,
        seconds=seconds,
        call=call(model),
        native=native,
        summarize=lambda: str(native.summary()),
    )
