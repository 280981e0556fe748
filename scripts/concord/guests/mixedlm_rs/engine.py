"""mixedlm-rs's fits, by its MixedLM on the model's own matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from concord.engines.engine import CannotExpress, EngineError
from concord.engines.fit import Fit
from concord.engines.tuning import as_model, check
from concord.guests.columns import asked, columns, package
from concord.models.model import Model
from concord.models.parameters import Parameters

TITLE = "mixedlm-rs"


def fit(model: Model, settings: str = "default") -> Fit:
    """Fit a model by ``mixedlm_rs.MixedLM``, as it ships.

    Raises
    ------
    CannotExpress : mixedlm-rs has no way to write the model down
    EngineError : mixedlm-rs is not installed, stopped with an error, or gave nothing that can be used
    """
    _expressible(model)
    mixedlm_rs = package(TITLE, "mixedlm_rs")
    design = model.design.as_coded
    (term,) = design.terms
    groups = np.asarray(term.levels, dtype=object)[term.codes]
    result, messages, seconds = asked(
        TITLE, lambda: mixedlm_rs.MixedLM(design.y, design.X, groups, term.matrix).fit(reml=model.reml)
    )
    return from_native(result, model, messages=messages, seconds=seconds)


def call(model: Model) -> str:
    """The code that fits the model, ready to paste, for a table of the model's columns called like the dataset.

    Raises
    ------
    CannotExpress : mixedlm-rs has no way to write the model down
    """
    _expressible(model)
    written, table = columns(model), model.dataset.id
    (names, group) = written.random[0]

    def matrix(of: tuple[str, ...]) -> str:
        return f"{table}.assign(one=1.0)[{['one' if name == '1' else name for name in of]!r}].to_numpy()"

    arguments = [f"{table}[{written.response!r}].to_numpy()", matrix(written.fixed), f"{table}[{group!r}].to_numpy()"]
    return f"mixedlm_rs.MixedLM({', '.join([*arguments, matrix(names)])}).fit(reml={model.reml})"


def imports(model: Model) -> list[str]:
    """The lines that the code of `call` needs before it: the same for every model."""
    return ["import mixedlm_rs"]


def from_native(
    native: Any,
    model: Model | str,
    data: pd.DataFrame | None = None,
    *,
    settings: str = "default",
    messages: tuple[str, ...] = (),
    seconds: float = np.nan,
) -> Fit:
    """A `Fit` of what ``mixedlm_rs.MixedLM(...).fit()`` returned on the matrices of the model.

    Raises
    ------
    EngineError : it is a fit of something else
    """
    model = as_model(model, data, bool(native.reml))
    p, (term,) = len(model.design.names), model.design.terms
    if (native.k_fe, native.k_re) != (p, len(term.names)):
        raise EngineError(f"{TITLE} has {native.k_fe} fixed and {native.k_re} random effects: another model")
    check(f"{TITLE} result", model, bool(native.reml), native.model.endog)
    return Fit(
        model=model,
        engine="mixedlm_rs",
        settings=settings,
        stated_loglik=float(native.llf),
        parameters=Parameters(
            np.asarray(native.fe_params, float), (np.asarray(native.cov_re, float),), float(native.scale)
        ),
        std_error=np.asarray(native.bse_fe, float),
        converged=bool(native.converged),
        messages=messages,
        seconds=seconds,
        call=call(model),
        native=native,
        summarize=lambda: str(native.summary()),
    )


def _expressible(model: Model) -> None:
    if len(model.design.terms) != 1:
        raise CannotExpress(TITLE, "several random terms: it takes one grouping factor with correlated effects")
