"""A call of MixedLM in whatever form it was given, read; and whether its own columns are those of the formula."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

import concord.engines.statsmodels
from concord.engines.calls import Given, Placed, Reading
from concord.engines.engine import EngineError
from concord.engines.fit import Fit
from concord.engines.statsmodels.explanation import written_call
from concord.engines.statsmodels.explanation.notation import terms
from concord.engines.statsmodels.explanation.objects import is_native, of_arguments, of_native
from concord.engines.statsmodels.explanation.reading import columns_of, constant, read
from concord.engines.statsmodels.explanation.written_call import MixedLMCall
from concord.engines.statsmodels.result import coding_of
from concord.errors import named
from concord.models.model import Model

# Numbers of a dense matrix of variance components that are too many to be made for a check.
MOST = 20_000_000


def explained(given: Any, frame: pd.DataFrame | None = None) -> Reading | None:
    """What a call of MixedLM fits; None where what is given is none.

    Parameters
    ----------
    given : the call as text, one of several in a text, arguments by name (`Given`), a model object or a result
    frame : the table; None where there is none, or the object has one

    Raises
    ------
    CallError : the call cannot be read
    """
    if isinstance(given, str | Placed):
        text = given if isinstance(given, str) else given.text
        call = written_call.read(given) if "mixedlm" in text.lower() else None
        if call is None:
            return None
        native = None
    elif isinstance(given, Given):
        (call, frame), native = of_arguments(given.arguments, frame if frame is not None else given.frame), None
    elif is_native(given):
        (call, frame), native = of_native(given, frame), given
    else:
        return None
    reading = read(call, frame)
    call = call if not constant(call, frame) else replace(call, groups=())
    own = None if native is not None or not call.search else partial(fit, call, frame)
    fitted = native if native is not None and hasattr(getattr(native, "_results", native), "cov_re") else None
    reading = replace(reading, own=own, search=call.search)
    return replace(reading, frame=frame, native=fitted, holds=partial(holds, call, native, frame))


def calls(text: str) -> list[Placed]:
    """Every call of MixedLM in a text of Python.

    Raises
    ------
    CallError : the text does not parse
    """
    return written_call.placed(text) if "mixedlm" in text.lower() else []


def holds(call: MixedLMCall, native: Any, frame: pd.DataFrame | None, model: Model) -> bool | None:
    """Whether the columns and groups that the call itself makes are those of a model, by their numbers.

    Parameters
    ----------
    call : what is made anew of the model's table, where there is no object
    native : the object; None where there is none
    frame : the call's table, which has the columns that the formula does without

    Returns
    -------
    None where it was not tried: the call has functions that are not known here, or its matrices would be too large
    """
    made = getattr(getattr(native, "_results", native), "model", native)
    made = _anew(call, frame, model) if made is None else made
    if made is None or len(made.endog) != len(model.design.y):
        return None
    try:
        coding_of(made, model)
    except EngineError:
        return False
    return True


def fit(call: MixedLMCall, frame: pd.DataFrame | None, model: Model) -> Fit:
    """The fit by a call as it is written: its own columns, in its own order, by its own search.

    Parameters
    ----------
    call, frame : the call and its table
    model : what the call fits, on the rows without missing values

    Raises
    ------
    EngineError : MixedLM raised, or the call's functions are not all known here
    """
    upstream = concord.engines.statsmodels.upstream
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made = _anew(call, frame, model)
        if made is None:
            raise EngineError("the call could not be made of the table without running its code")
        given: dict[str, Any] = {"method": list(call.methods)} if call.methods else {}
        if call.free is not None:
            pattern = np.array(call.free, float) if call.free else np.eye(made.k_re)
            given["free"] = upstream.MixedLMParams.from_components(np.ones(made.k_fe), pattern)
        try:
            result = made.fit(reml=call.reml, **given, **call.options)
        except Exception as error:  # MixedLM lets whatever its optimizers and its algebra raise pass through
            raise EngineError(f"MixedLM stopped with {named(error)}") from error
    messages = tuple(dict.fromkeys(f"{message.category.__name__}: {message.message}" for message in said))
    seconds = time.perf_counter() - started
    fitted: Fit = concord.engines.statsmodels.from_native(
        result, model, settings="as written", messages=messages, seconds=seconds
    )
    return fitted


def _anew(call: MixedLMCall, frame: pd.DataFrame | None, model: Model) -> Any:
    """MixedLM's own object of a call on the rows of a model; None where it cannot be made."""
    beside = set(columns_of(call)) - set(model.frame.columns)
    if beside and (frame is None or len(frame) != len(model.frame)):
        return None
    more = {name: frame[name].to_numpy() for name in beside} if frame is not None else {}
    return _made(call, model.frame.assign(**more))


def _made(call: MixedLMCall, frame: pd.DataFrame) -> Any:
    """MixedLM's own object of a call, not fitted; formulas are evaluated only where all in them is known."""
    random = [call.re_formula] if call.re_formula else []
    factors = [one for text in (call.formula, *random, *call.vc_formula.values()) for one in terms(text).every]
    factors += terms(call.formula, left=True).every
    if not all(factor.known for factor in factors):
        return None
    data = frame.reset_index(drop=True)
    for column in call.made & set(data.columns):
        data[column] = data[column].astype(str)
    groups = np.ones(len(data)) if not call.groups else data.groupby(list(call.groups), observed=True).ngroup()
    widths = sum(data[one.column].nunique() for one in factors if one.column and one.column in data)
    if call.vc_formula and len(data) * widths > MOST:
        return None
    upstream = concord.engines.statsmodels.upstream
    given: dict[str, Any] = {"re_formula": call.re_formula} if call.re_formula else {}
    given |= {"vc_formula": dict(call.vc_formula)} if call.vc_formula else {}
    given |= {} if call.use_sqrt else {"use_sqrt": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return upstream.smf.mixedlm(call.formula, data, groups=groups, **given)
        except Exception:  # what MixedLM itself does not take, it says where it is asked to fit
            return None
