"""statsmodels' MixedLM."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from concord import formulas
from concord.coding import between, shift
from concord.engines import EngineError
from concord.engines.best import STATIONARY, best, likelihood_of, same_groups, slope
from concord.fits import RANDOM_EFFECTS, Attempt, Fit
from concord.models import Model

SETTINGS = ("default", "tuned")

# Each starts from scratch: MixedLM's own retries go on from the point where the first optimizer failed. bfgs and cg
# with a tight gradient tolerance; statsmodels 0.15 drops lbfgs's tolerances (pgtol, factr) before they reach it.
GRADIENT_BASED = {
    "bfgs": {"gtol": 1e-9, "maxiter": 2000},
    "cg": {"gtol": 1e-9, "maxiter": 2000},
    "lbfgs": {"maxiter": 2000},
}
# Slow, and deaf to `free=`: asked only where none of the others came to rest.
DERIVATIVE_FREE = {"powell": {"ftol": 1e-14, "maxiter": 2000}, "nm": {"ftol": 1e-14, "maxiter": 4000}}


def fit(model: Model, settings: str = "default") -> Fit:
    """Fit a model by MixedLM.

    Parameters
    ----------
    model : what to fit
    settings : ``default``, as the package ships; or ``tuned``, the best of several of its optimizers, from scratch

    Raises
    ------
    CannotExpress : MixedLM has no way to write the model down
    EngineError : MixedLM raised, or gave nothing that can be used
    """
    if settings not in SETTINGS:
        raise ValueError(f"settings {settings!r}: one of {', '.join(SETTINGS)}")
    form = _form(model)
    if settings == "default":
        return _run(model, form, {})
    likelihood = likelihood_of(model)
    fits: list[tuple[str, Fit]] = []
    failed: list[Attempt] = []

    def attempt(optimizers: dict[str, dict[str, Any]]) -> None:
        for name, options in optimizers.items():
            started = time.perf_counter()
            try:
                fits.append((name, _run(model, form, {"method": name, **options})))
            except EngineError as error:
                failed.append(Attempt(name, -np.inf, np.nan, False, time.perf_counter() - started, (str(error),)))

    attempt(GRADIENT_BASED)
    if not form.independent and not any(slope(each, likelihood) < STATIONARY for _, each in fits):
        attempt(DERIVATIVE_FREE)
    return replace(best(fits, failed, likelihood), settings="tuned")


def optimizers() -> tuple[str, ...]:
    """The optimizers of MixedLM's ``method=``; newton and ncg it refuses, basinhopping and minimize wrap others."""
    return (*GRADIENT_BASED, *DERIVATIVE_FREE)


def fit_by(model: Model, optimizer: str, frame: pd.DataFrame | None = None) -> Fit:
    """Fit a model by one of MixedLM's optimizers at its own default tolerances, from scratch.

    Parameters
    ----------
    model : what to fit
    optimizer : one of `optimizers`
    frame : the model's table with its predictors in another coding (centred, scaled), from which the estimates are
        carried back; None for the table as it is

    Raises
    ------
    CannotExpress : MixedLM has no way to write the model down
    EngineError : MixedLM raised, or gave nothing that can be used
    """
    if optimizer not in optimizers():
        raise ValueError(f"optimizer {optimizer!r}: one of {', '.join(optimizers())}")
    return replace(_run(model, _form(model), {"method": optimizer}, frame=frame), settings=optimizer)


def call(model: Model, options: dict[str, Any] | None = None) -> str:
    """The code that fits the model, ready to paste, for a table called like the dataset."""
    form = formulas.for_mixedlm(model.formula)
    data = model.dataset.id
    random = "" if form.re_formula == "1" else f', re_formula="~{form.re_formula}"'
    named = {"reml": model.reml, **(options or {})}
    arguments = ", ".join(f"{key}={value!r}" for key, value in named.items())
    if not form.independent:
        return f'smf.mixedlm("{form.fixed}", {data}, groups={data}["{form.group}"]{random}).fit({arguments})'
    return (
        f'model = smf.mixedlm("{form.fixed}", {data}, groups={data}["{form.group}"]{random})\n'
        "free = MixedLMParams.from_components(np.ones(model.k_fe), np.eye(model.k_re))\n"
        f"model.fit(free=free, {arguments})"
    )


def _form(model: Model) -> formulas.MixedLMForm:
    form = formulas.for_mixedlm(model.formula)
    if form.independent and any(len(term.names) > 1 for term in model.design.terms):
        raise formulas.CannotExpress("MixedLM", "a factor's effects correlated with each other and not with the rest")
    return form


def _run(
    model: Model, form: formulas.MixedLMForm, options: dict[str, Any], *, frame: pd.DataFrame | None = None
) -> Fit:
    import statsmodels.formula.api as smf
    from statsmodels.regression.mixed_linear_model import MixedLMParams

    frame = (model.frame if frame is None else frame).iloc[model.design.rows]
    random = None if form.re_formula == "1" else f"~{form.re_formula}"
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            native = smf.mixedlm(form.fixed, frame, groups=frame[form.group], re_formula=random)
            free = MixedLMParams.from_components(np.ones(native.k_fe), np.eye(native.k_re))
            result = native.fit(reml=model.reml, **options, **({"free": free} if form.independent else {}))
        except Exception as error:  # MixedLM lets whatever its optimizers and its algebra raise pass through
            raise EngineError(f"MixedLM stopped with {type(error).__name__}: {error}") from error
    seconds = time.perf_counter() - started
    messages = tuple(dict.fromkeys(f"{each.category.__name__}: {each.message}" for each in said))
    return from_native(result, model, messages=messages, seconds=seconds, call=call(model, options))


def from_native(
    native: Any,
    model: Model,
    *,
    settings: str = "default",
    messages: tuple[str, ...] = (),
    seconds: float = np.nan,
    call: str = "",
) -> Fit:
    """A `Fit` of what MixedLM returned, made by formula or from arrays.

    Columns are recognized by their values, whatever they are called and in whichever order they stand; from another
    coding of the same columns (centred, scaled) the estimates are carried back.

    Parameters
    ----------
    native : a ``MixedLMResults``
    model : the model that it is a fit of
    settings, messages, seconds, call : what the result itself does not tell

    Raises
    ------
    EngineError : it is a fit of something else: by another method, on other rows, groups or columns
    """
    results = getattr(native, "_results", native)
    if not hasattr(results, "cov_re"):
        raise EngineError(f"this is no result of MixedLM: {type(native).__name__}")
    made, design = results.model, model.design
    if bool(results.reml) != model.reml:
        raise EngineError(f"the MixedLM result was fitted by {results.method}, the model says {model.method}")
    if getattr(made, "k_vc", 0):
        raise EngineError("the MixedLM result has variance components (vc_formula), which this model has not")
    if len(made.endog) != len(design.y) or not np.array_equal(np.asarray(made.endog, float), design.y):
        raise EngineError(f"the MixedLM result has another response than {model.id}: other rows, or another order")
    if not same_groups(made.groups, design.terms[0].codes):
        raise EngineError(f"the MixedLM result has other groups than {model.id} ({design.terms[0].group})")
    fixed = _coding(np.asarray(made.exog), design.X, design.names, "fixed effects")
    names = [name for term in design.terms for name in term.names]
    columns = np.column_stack([term.matrix for term in design.terms])
    random = _coding(np.asarray(made.exog_re).reshape(len(design.y), -1), columns, names, "random effects")
    covariance = random @ np.asarray(results.cov_re) @ random.T
    covariances, rest, start = [], covariance.copy(), 0
    for term in design.terms:
        block = slice(start, start + len(term.names))
        covariances.append(covariance[block, block])
        rest[block, block] = 0.0
        start = block.stop
    violation = None
    if np.any(rest):
        held = rest[np.nonzero(rest)][0]
        # Columns in another order or unit only: uncorrelated effects are so in the model's coding too.
        alone = (np.count_nonzero(random, axis=0) == 1).all()
        what = "constraint ignored" if alone else "another model: uncorrelated effects in another coding"
        violation = f"{what}: a covariance that the model holds at zero is {held:.6g}"
    spread = fixed @ np.asarray(results.cov_params())[: len(fixed), : len(fixed)] @ fixed.T
    std_error = np.sqrt(np.diag(spread))
    return Fit(
        model=model,
        engine="mixedlm",
        settings=settings,
        loglik=_loglik(results),
        fixed=fixed @ np.asarray(results.fe_params),
        std_error=std_error,
        joint_std_error=std_error,
        covariances=tuple(covariances),
        residual_variance=float(results.scale),
        converged=bool(results.converged),
        messages=messages,
        seconds=seconds,
        call=call,
        shift=shift(fixed) if model.reml else 0.0,
        violation=violation,
        summarize=lambda: str(results.summary()),
        predict=partial(_random_effects, results, model, random),
        native=native,
    )


def _loglik(results: Any) -> float:
    """The log-likelihood by the method that was used: `llf` reads the model object's present one."""
    made, present = results.model, results.model.reml
    try:
        made.reml = results.reml
        return float(made.loglike(results.params_object, profile_fe=False))
    finally:
        made.reml = present


def _coding(given: np.ndarray, wanted: np.ndarray, names: Sequence[str], what: str) -> np.ndarray:
    """The way back from the columns that MixedLM was given to the model's; see `concord.coding`."""
    if given.shape[1] != wanted.shape[1]:
        raise EngineError(f"the MixedLM result has {given.shape[1]} {what}, the model has {wanted.shape[1]}")
    back = between(given, wanted)
    if back is None:
        raise EngineError(f"the MixedLM result's {what} are not a coding of {', '.join(names)}: another model")
    # Of a column's length less than this is rounding: effects held uncorrelated must stay so when units change.
    shares = np.abs(back) * np.linalg.norm(wanted, axis=0)[:, None] / np.linalg.norm(given, axis=0)
    return np.where(shares < 1e-12, 0.0, back)


def _random_effects(results: Any, model: Model, back: np.ndarray) -> pd.DataFrame:
    names = [name for term in model.design.terms for name in term.names]
    group = model.design.terms[0].group
    spreads = results.random_effects_cov
    rows = []
    for level, effects in results.random_effects.items():
        values = back @ np.asarray(effects)
        errors = np.sqrt(np.diag(back @ np.asarray(spreads[level]) @ back.T))
        rows += [(group, str(level), *row) for row in zip(names, values, errors, strict=True)]
    return pd.DataFrame(rows, columns=RANDOM_EFFECTS)
