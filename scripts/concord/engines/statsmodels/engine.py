"""statsmodels' MixedLM."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from keyword import iskeyword
from typing import Any

import numpy as np
import pandas as pd

import concord.engines.statsmodels
from concord.engines.engine import EngineError
from concord.engines.fit import Fit
from concord.engines.statsmodels.formula import MixedLMForm, for_mixedlm
from concord.engines.statsmodels.result import coding_of, loglik, random_effects
from concord.engines.tuning import as_model, check, tuned
from concord.errors import named
from concord.models.coding import shift
from concord.models.model import Model
from concord.models.parameters import Parameters
from concord.models.syntax import literal
from concord.vocabulary import SETTINGS

# Each starts from scratch: MixedLM's own retries go on from the point where the first optimizer failed. bfgs and cg
# with a tight gradient tolerance; statsmodels 0.15 drops lbfgs's tolerances (pgtol, factr) before they reach it.
GRADIENT_BASED: dict[str, dict[str, Any]] = {
    "bfgs": {"gtol": 1e-9, "maxiter": 2000},
    "cg": {"gtol": 1e-9, "maxiter": 2000},
    "lbfgs": {"maxiter": 2000},
}
# Slow, and deaf to `free=`: asked only where none of the others came to rest, and not with `free=`.
DERIVATIVE_FREE: dict[str, dict[str, Any]] = {
    "powell": {"ftol": 1e-14, "maxiter": 2000},
    "nm": {"ftol": 1e-14, "maxiter": 4000},
}


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
    if not form.independent:
        return tuned(
            model, GRADIENT_BASED, lambda name, options: _run(model, form, {"method": name, **options}), DERIVATIVE_FREE
        )
    # Where no search comes to rest, such as at a variance of zero, the same model in MixedLM's other words.
    components = _form(model, constrained=False)
    written = {name: (form, {"method": name, **options}) for name, options in GRADIENT_BASED.items()}
    otherwise = {
        f"{name} on variance components": (components, {"method": name, **options})
        for name, options in DERIVATIVE_FREE.items()
    }
    return tuned(model, written, lambda _, options: _run(model, *options), otherwise)


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


def remedies(model: Model) -> list[str]:
    """The other calls of ``fit`` to try for a model, the plainest first, by the arguments that make them.

    Raises
    ------
    CannotExpress : MixedLM has no way to write the model down
    """
    return list(_remedies(model))


def fit_remedy(model: Model, remedy: str) -> Fit:
    """Fit a model by one of `remedies`.

    Raises
    ------
    CannotExpress : MixedLM has no way to write the model down
    EngineError : MixedLM raised, or gave nothing that can be used
    """
    form, options = _remedies(model)[remedy]
    return replace(_run(model, form, options), settings=remedy)


def _remedies(model: Model) -> dict[str, tuple[MixedLMForm, dict[str, Any]]]:
    form = _form(model)
    # Uncorrelated effects are held so by `free=`, to which some are deaf: as variance components they need none.
    components = _form(model, constrained=False) if form.independent else form
    tried = [(form, {"method": name}) for name in ("lbfgs", "cg", "bfgs")]
    tried += [(components, {"method": name}) for name in DERIVATIVE_FREE]
    tried += [(form, {"method": name, **options}) for name, options in GRADIENT_BASED.items()]
    tried += [(components, {"method": name, **options}) for name, options in DERIVATIVE_FREE.items()]
    return {
        _arguments(options) + (" on variance components" if one is not form else ""): (one, options)
        for one, options in tried
    }


def _arguments(options: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items())


def call(model: Model, options: dict[str, Any] | None = None) -> str:
    """The code that fits the model, ready to paste, for a table called like the dataset.

    Raises
    ------
    CannotExpress : MixedLM has no way to write the model down
    """
    return _code(model, _form(model), options)


def _code(model: Model, form: MixedLMForm, options: dict[str, Any] | None) -> str:
    name = model.dataset.id if model.dataset.id.isidentifier() and not iskeyword(model.dataset.id) else "table"
    table = "data" if form.setup else name
    setup = [f"data = {name}.copy()", *form.setup] if form.setup else []
    groups = f"np.ones(len({table}))" if form.group is None else f"{table}[{literal(form.group)}]"
    random = "".join(f", {key}={value}" for key, value in _random(form, literal).items())
    arguments = _arguments({"reml": model.reml, **(options or {})})
    made = f"smf.mixedlm({literal(form.fixed)}, {table}, groups={groups}{random})"
    if model.formula.weights is None and not form.independent and not form.left_out:
        return "\n".join([*setup, f"{made}.fit({arguments})"])
    steps = [*setup, f"model = {made}", *_without(form)]
    if model.formula.weights is not None:
        steps += _times_roots(
            f"{'model.data.frame' if table == 'model' else table}[{literal(model.formula.weights)}]", form
        )
    if form.independent:
        steps.append("free = MixedLMParams.from_components(np.ones(model.k_fe), np.eye(model.k_re))")
        arguments = f"free=free, {arguments}"
    return "\n".join([*steps, f"model.fit({arguments})"])


def _without(form: MixedLMForm) -> list[str]:
    """The statements that leave columns of the fixed part out of a MixedLM: none where it has all."""
    if not form.left_out:
        return []
    steps = [
        "# A combination of other columns, or zero throughout: left out, as lme4 leaves it out.",
        "fixed = pd.DataFrame(model.exog, columns=model.exog_names)",
        f"fixed = fixed.drop(columns=fixed.columns[{list(form.left_out)}])",
    ]
    if form.re_formula == "1" and not form.vc_formula:
        return [*steps, "model = MixedLM(model.endog, fixed, model.groups)"]
    random, components = "None", ", model.exog_vc" if form.vc_formula else ""
    if form.re_formula is not None:
        random = "random"
        steps.append("random = pd.DataFrame(model.exog_re, columns=model.data.exog_re_names)")
    return [*steps, f"model = MixedLM(model.endog, fixed, model.groups, {random}{components})"]


def _times_roots(weights: str, form: MixedLMForm) -> list[str]:
    """The statements that multiply the rows of a MixedLM by the square roots of weights: it takes none itself."""
    steps = [
        "# MixedLM takes no weights: every row is multiplied by the square root of its own.",
        f"roots = np.sqrt({weights}.to_numpy(float))[:, None]",
    ]
    if form.vc_formula:
        steps += [
            "by_group = [roots[model.row_indices[group]] for group in model.group_labels]",
            "for blocks in model.exog_vc.mats:",
            "    blocks[:] = [root * block for root, block in zip(by_group, blocks)]",
        ]
    steps.append("fixed = pd.DataFrame(model.exog * roots, columns=model.exog_names)")
    if form.re_formula is not None:
        steps.append("random = pd.DataFrame(model.exog_re * roots, columns=model.data.exog_re_names)")
    random = "None" if form.re_formula is None else "random"
    return [*steps, f"model = MixedLM(model.endog * roots[:, 0], fixed, model.groups, {random}, model.exog_vc)"]


def imports(model: Model) -> list[str]:
    """The lines that the code of `call` needs before it.

    Raises
    ------
    CannotExpress : MixedLM has no way to write the model down
    """
    form = _form(model)
    texts = (form.fixed, form.re_formula or "", *form.vc_formula.values(), *form.setup)
    needed = ["import statsmodels.formula.api as smf"]
    weighted = model.formula.weights is not None
    if form.independent or weighted or form.group is None or any("np." in text for text in texts):
        needed.insert(0, "import numpy as np")
    classes = [*(["MixedLM"] if weighted or form.left_out else []), *(["MixedLMParams"] if form.independent else [])]
    if classes:
        needed.append(f"from statsmodels.regression.mixed_linear_model import {', '.join(classes)}")
    return needed


def _form(model: Model, constrained: bool = True) -> MixedLMForm:
    return for_mixedlm(model.formula, model.design, model.frame, constrained=constrained)


def _random(form: MixedLMForm, write: Callable[[str], str] = str) -> dict[str, Any]:
    """The arguments of the random part: written as code, or as they are.

    MixedLM has an intercept by default, and none where there are variance components.
    """
    if not form.vc_formula:
        return {} if form.re_formula == "1" else {"re_formula": write(f"~{form.re_formula}")}
    components: Any = {write(name): write(text) for name, text in form.vc_formula.items()}
    if write is not str:
        components = f"{{{', '.join(f'{name}: {text}' for name, text in components.items())}}}"
    if form.re_formula is None:
        return {"vc_formula": components}
    return {"re_formula": write("1" if form.re_formula == "1" else f"~{form.re_formula}"), "vc_formula": components}


def _run(model: Model, form: MixedLMForm, options: dict[str, Any], *, frame: pd.DataFrame | None = None) -> Fit:
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            native, constraints = unfitted(model, form, frame)
            result = native.fit(reml=model.reml, **options, **constraints)
        except Exception as error:  # MixedLM lets whatever its optimizers and its algebra raise pass through
            raise EngineError(f"MixedLM stopped with {named(error)}") from error
    seconds = time.perf_counter() - started
    messages = tuple(dict.fromkeys(f"{message.category.__name__}: {message.message}" for message in said))
    return from_native(result, model, messages=messages, seconds=seconds, call=_code(model, form, options))


def unfitted(
    model: Model, form: MixedLMForm | None = None, frame: pd.DataFrame | None = None
) -> tuple[Any, dict[str, Any]]:
    """MixedLM's own object of a model, not fitted, and what its ``fit`` has to be told of the model (``free``).

    Parameters
    ----------
    model : what is to be fitted
    form : the formula in MixedLM's terms
    frame : the model's table with its predictors in another coding; None for the table as it is

    Raises
    ------
    CannotExpress : MixedLM has no way to write the model down
    """
    upstream = concord.engines.statsmodels.upstream
    form = form or _form(model)
    data = form.table(model.frame if frame is None else frame)
    groups = np.ones(len(data)) if form.group is None else data[form.group]
    native = upstream.smf.mixedlm(form.fixed, data, groups=groups, **_random(form))
    if form.left_out:
        fixed_part = pd.DataFrame(native.exog, columns=native.exog_names)
        fixed_part = fixed_part.drop(columns=fixed_part.columns[list(form.left_out)])
        random = pd.DataFrame(native.exog_re, columns=native.data.exog_re_names) if native.k_re else None
        components = native.exog_vc if form.vc_formula else None
        native = upstream.MixedLM(native.endog, fixed_part, native.groups, random, components)
    if model.design.weights is not None:
        native = _multiplied(native, np.sqrt(model.design.weights)[:, None])
    free = upstream.MixedLMParams.from_components(np.ones(native.k_fe), np.eye(native.k_re))
    return native, {"free": free} if form.independent else {}


def _multiplied(native: Any, roots: np.ndarray) -> Any:
    """A MixedLM whose rows are multiplied by numbers, shape (n, 1), as `_times_roots` writes it."""
    upstream, spec = concord.engines.statsmodels.upstream, native.exog_vc
    # Row by row of every group, in the order in which MixedLM sorts the groups.
    rows = [roots[native.row_indices[group]] for group in native.group_labels]
    mats = [[root * block for root, block in zip(rows, blocks, strict=True)] for blocks in spec.mats]
    random = None
    if native.k_re:
        random = pd.DataFrame(native.exog_re * roots, columns=native.data.exog_re_names)
    return upstream.MixedLM(
        native.endog * roots[:, 0],
        pd.DataFrame(native.exog * roots, columns=native.exog_names),
        native.groups,
        random,
        upstream.VCSpec(spec.names, spec.colnames, mats),
    )


def from_native(
    native: Any,
    model: Model | str,
    data: pd.DataFrame | None = None,
    *,
    settings: str = "default",
    messages: tuple[str, ...] = (),
    seconds: float = np.nan,
    call: str = "",
) -> Fit:
    """A `Fit` of what MixedLM returned, made by formula or from arrays.

    Columns are recognized by their values, whatever they are called and in whichever order they stand; from another
    coding of the same columns (centred, scaled) the estimates are carried back. Of a model with weights it is a fit of
    rows multiplied by the weights' square roots, and its log-likelihood is made that of the rows themselves.

    Parameters
    ----------
    native : a ``MixedLMResults``
    model : the model that it is a fit of, or its formula
    data : the table, with a formula; None for the one that the result itself holds
    settings, messages, seconds, call : what the result itself does not tell

    Raises
    ------
    EngineError : it is a fit of something else: by another method, on other rows, groups or columns
    """
    results = getattr(native, "_results", native)
    if not hasattr(results, "cov_re"):
        raise EngineError(f"this is not a result of MixedLM: {type(native).__name__}")
    native_model = results.model
    own = getattr(native_model.data, "frame", None)
    model = as_model(model, own if data is None and isinstance(own, pd.DataFrame) else data, bool(results.reml))
    check("MixedLM result", model, bool(results.reml), model.design.to_rows(np.asarray(native_model.endog, float)))
    try:
        coding = coding_of(native_model, model)
    except EngineError as error:
        told = concord.engines.statsmodels.misplaced(native, model)
        raise EngineError(f"{error}: {told}" if told else str(error)) from error
    covariances, violation = coding.covariances(results)
    fixed, std_error = coding.fixed_effects(results)
    return Fit(
        model=model,
        engine="statsmodels",
        settings=settings,
        stated_loglik=loglik(results) + model.design.log_weights / 2,
        parameters=Parameters(fixed, covariances, float(results.scale)),
        std_error=std_error,
        joint_std_error=std_error,
        converged=bool(results.converged),
        messages=messages,
        seconds=seconds,
        call=call,
        shift=shift(coding.fixed) if model.reml else 0.0,
        violation=violation,
        summarize=partial(_summary, results),
        predict=partial(random_effects, results, model, coding.random, coding.correlated, coding.components),
        native=native,
    )


def _summary(results: Any) -> str:
    return str(results.summary())
