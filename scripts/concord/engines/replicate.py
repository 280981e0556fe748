"""Replicates: a model fitted by an engine to one of many responses.

A replicate's estimates are read straight from the package's own result, without the record that a `Fit` is, so that
little is added to the time that the engines themselves take.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from concord.engines.fit import Fit
from concord.likelihood import structured
from concord.likelihood.likelihood import Likelihood
from concord.models.design import Design, weighted
from concord.models.model import Model
from concord.models.parameters import Estimated, Parameters, keys


@dataclass(frozen=True, eq=False)
class Replicate(Estimated):
    """One engine's fit of a model to one response.

    Attributes
    ----------
    engine : the engine's name, or ``independent``
    settings : ``default`` or ``tuned``
    loglik : log-likelihood as the engine states it, for the model's own coding of X (the REML one under REML)
    parameters : its estimates of all parameters
    std_error : standard errors of the fixed effects as the engine states them, shape (p,)
    converged : what the engine claims
    seconds : wall time of the package's own work
    error : why there are no estimates, or how they leave the model; None where all is well
    messages : everything that the engine said
    joint : whether the standard errors are from the joint Hessian of all parameters, and not conditional on theta
    """

    engine: str
    settings: str
    loglik: float
    parameters: Parameters
    std_error: np.ndarray
    converged: bool
    seconds: float
    error: str | None = None
    messages: tuple[str, ...] = ()
    joint: bool = False

    @classmethod
    def failed(
        cls,
        model: Model,
        engine: str,
        settings: str,
        error: str,
        seconds: float = math.nan,
        messages: Sequence[str] = (),
    ) -> Replicate:
        """A replicate of which there are no estimates, and why."""
        nothing = Parameters.from_packed(np.full(len(keys(model.design)), np.nan), model.design)
        return cls(engine, settings, np.nan, nothing, nothing.fixed, False, seconds, error, tuple(messages))

    @property
    def finite(self) -> bool:
        """Whether it has estimates, and all of them are numbers."""
        return self.error is None and self.parameters.finite and math.isfinite(self.loglik)

    @property
    def absent(self) -> bool:
        """Whether there are no estimates at all, because the engine failed."""
        return self.error is not None and not np.isfinite(self.parameters.packed).any()

    def as_fit(self, model: Model) -> Fit:
        """The same as a `Fit` of the model, to be measured as one."""
        return Fit(
            model,
            self.engine,
            self.settings,
            self.loglik,
            self.parameters,
            self.std_error,
            self.converged,
            self.messages,
            self.seconds,
            call="",
            joint_std_error=self.std_error if self.joint else None,
            violation=self.error,
        )


def likelihood_of(model: Model, response: np.ndarray) -> Likelihood:
    """The independent likelihood of a model with another response, shape (n,), its offset included.

    Raises
    ------
    LikelihoodError : it is not defined
    """
    return structured.likelihood_of(with_response(model.design, response), model.reml)


def with_response(design: Design, response: np.ndarray) -> Design:
    """A model's numbers with another response, shape (n,), its offset included."""
    response = np.asarray(response, float)
    coded = replace(design.as_coded, y=response if design.offset is None else response - design.offset)
    return coded if design.weights is None else weighted(coded, design.weights)


Refit = Callable[[np.ndarray], Replicate]
"""An engine's fit of one model to a response, shape (n,), in the model's own response: its offset included."""
