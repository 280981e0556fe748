"""MixedLM fitted to one response after the other."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from statsmodels.regression.mixed_linear_model import MixedLM

from concord.engines.replicate import Refit, Replicate, with_response
from concord.engines.statsmodels.engine import DERIVATIVE_FREE, GRADIENT_BASED, unfitted
from concord.engines.statsmodels.formula import for_mixedlm
from concord.engines.statsmodels.result import coding_of, loglik
from concord.models.coding import shift
from concord.models.model import Model
from concord.models.parameters import Parameters


def refitters(model: Model, settings: str, *, warm: bool = False, thorough: bool = False) -> list[Refit]:
    """The ways to fit a model to a response: a fresh object from the arrays that the formula gave, and its ``fit``.

    Parameters
    ----------
    model : what is fitted
    settings : ``default``; or ``tuned``: the optimizers with tight tolerances, each from scratch
    warm : MixedLM has no warm start
    thorough : ``tuned`` only: where no gradient finds rest, as at a variance of zero, ask the slow optimizers without
        gradients too, as the engine's own ``tuned`` does; without them such a fit may stop far below

    Raises
    ------
    CannotExpress : MixedLM has no way to write the model down
    EngineError : MixedLM's columns are not those of the model
    """
    if warm:
        raise ValueError("MixedLM has no warm start")
    first = _Refit(model, settings, {})
    if settings != "tuned":
        return [first]
    ways: list[Refit] = [first.by({"method": name, **options}) for name, options in GRADIENT_BASED.items()]
    if thorough:
        # They are deaf to `free=`, which has the same model in MixedLM's other words.
        other = first if not first.free else _Refit(model, settings, {}, constrained=False)
        ways += [other.by({"method": name, **options}) for name, options in DERIVATIVE_FREE.items()]
    return ways


@dataclass(frozen=True, eq=False)
class _Refit:
    """MixedLM: a fresh object a response, from the arrays that the formula gave."""

    model: Model
    settings: str
    options: dict[str, Any]
    native: Any = None
    free: dict[str, Any] = field(default_factory=dict)
    coding: Any = None
    constrained: bool = True

    def __post_init__(self) -> None:
        if self.native is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                form = for_mixedlm(
                    self.model.formula, self.model.design, self.model.frame, constrained=self.constrained
                )
                model, free = unfitted(self.model, form)
            for name, value in {"native": model, "free": free, "coding": coding_of(model, self.model)}.items():
                object.__setattr__(self, name, value)

    def by(self, options: dict[str, Any]) -> _Refit:
        """The same model by other options of ``fit``."""
        return replace(self, options=options)

    def __call__(self, response: np.ndarray) -> Replicate:
        model, native = self.model, self.native
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                own = with_response(model.design, response).y
                fresh = MixedLM(own, native.exog, native.groups, native.exog_re, native.exog_vc)
                # Without its wrapper, which makes a table of every number that it gives.
                results = fresh.fit(reml=model.reml, **self.options, **self.free)._results  # noqa: SLF001
                level = float(loglik(results)) + model.design.log_weights / 2
                error = None
            except Exception as raised:  # MixedLM lets whatever its optimizers and its algebra raise pass through
                error = f"{type(raised).__name__}: {raised}"
        seconds = time.perf_counter() - started
        messages = tuple(dict.fromkeys(f"{message.category.__name__}: {message.message}" for message in said))
        if error:
            return Replicate.failed(model, "statsmodels", self.settings, error, seconds, messages)
        fixed, std_error = self.coding.fixed_effects(results)
        covariances, violation = self.coding.covariances(results)
        moved = shift(self.coding.fixed) if model.reml else 0.0
        return Replicate(
            "statsmodels",
            self.settings,
            level + moved,
            Parameters(fixed, tuple(covariances), float(results.scale)),
            std_error,
            bool(results.converged),
            seconds,
            violation,
            messages,
            joint=True,
        )
