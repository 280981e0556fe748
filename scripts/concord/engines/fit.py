"""Fits: what every engine returns, tidy.

The columns of the estimates follow R's broom.mixed: ``effect, group, term, estimate, std_error``. Fixed effects have
``effect = "fixed"``; variances and covariances ``effect = "ran_pars"`` and the terms ``var__(Intercept)``,
``cov__(Intercept).Time`` and, for the residual variance, ``var__Observation``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, TypeVarTuple

import numpy as np
import pandas as pd

from concord.arrays import Matrix, Vector
from concord.models.model import Model
from concord.models.parameters import RANDOM_EFFECTS, Estimated, Parameters

Arguments = TypeVarTuple("Arguments")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Attempt:
    """One optimizer's try at a model.

    Attributes
    ----------
    optimizer : its name and its settings
    loglik : the log-likelihood at its estimates in the independent likelihood; -inf where it gave none
    claimed : the log-likelihood that the engine stated; NaN where it gave none
    converged : what it claimed
    seconds : wall time
    messages : what it said
    """

    optimizer: str
    loglik: float
    claimed: float
    converged: bool
    seconds: float
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Fit(Estimated):
    """The tidy result of one engine on one model.

    Attributes
    ----------
    model : what was fitted
    engine : its name
    settings : ``default``, ``tuned``, or whatever made a native result
    stated_loglik : log-likelihood as the engine states it (the REML one under REML)
    parameters : its estimates of all parameters of ``model.design``
    std_error : standard errors of the fixed effects, shape (p,)
    converged : what the engine claims
    messages : everything that it said: R's messages and warnings, or Python's warnings
    seconds : wall time of the fit
    call : the code that ran
    shift : what to add to `stated_loglik` to have `loglik`, that for the model's own coding of X: log |det T| under
        REML where the engine was given other columns (`concord.models.coding`), else 0
    joint_std_error : standard errors from the inverse of the joint Hessian of all parameters, shape (p,), where that is
        what the engine has; None where its standard errors are conditional on theta
    violation : how the estimates leave the model that was asked for, where they do
    attempts : what each optimizer gave, where several were tried
    native : the package's own result
    summarize, predict : make `summary` and `random_effects` when they are first asked for
    elsewhere : where the package's own result is in another process: how to `ask` there
    """

    model: Model
    engine: str
    settings: str
    stated_loglik: float
    parameters: Parameters
    std_error: np.ndarray
    converged: bool
    messages: tuple[str, ...]
    seconds: float
    call: str
    shift: float = 0.0
    joint_std_error: np.ndarray | None = None
    violation: str | None = None
    attempts: tuple[Attempt, ...] = ()
    native: Any = field(default=None, repr=False)
    summarize: Callable[[], str] = field(default=str, repr=False)
    predict: Callable[[], pd.DataFrame] = field(default=lambda: pd.DataFrame(columns=RANDOM_EFFECTS), repr=False)
    elsewhere: Callable[..., Any] | None = field(default=None, repr=False)

    def ask(self, question: Callable[[Fit, *Arguments], Answer], *arguments: *Arguments) -> Answer:
        """What the package's own result says: ``question(fit, *arguments)``, in the process where that result is.

        Parameters
        ----------
        question : a function of a module, which takes a `Fit` with its `native`
        arguments : what can be pickled
        """
        if self.elsewhere is None:
            return question(self, *arguments)
        answer: Answer = self.elsewhere(question, *arguments)
        return answer

    @property
    def loglik(self) -> float:
        """The log-likelihood that the engine states, for the model's own coding of X."""
        return self.stated_loglik + self.shift

    @property
    def estimates(self) -> pd.DataFrame:
        """One row per parameter: ``effect, group, term, estimate, std_error``."""
        return self.parameters.table(self.model.design, self.std_error)

    @cached_property
    def summary(self) -> str:
        """The package's own summary."""
        return self.summarize()

    @cached_property
    def random_effects(self) -> pd.DataFrame:
        """Predicted random effects with conditional standard errors: ``group, level, term, estimate, std_error``."""
        return self.predict()

    @property
    def fitted(self) -> Vector:
        """Fitted values of every row used, fixed and predicted random effects together, shape (n,)."""
        design = self.model.design.as_coded
        values = design.X @ self.fixed
        effects = self.random_effects.set_index(["group", "term", "level"])["estimate"].sort_index()
        for term in design.terms:
            for name, column in zip(term.names, term.matrix.T, strict=True):
                values = values + column * effects[term.group, name].reindex(term.levels).to_numpy()[term.codes]
        return values

    @property
    def residuals(self) -> Vector:
        """The response less its fitted values, shape (n,)."""
        return self.model.design.as_coded.y - self.fitted

    @property
    def pearson(self) -> Vector:
        """The residuals in units of their standard deviations, sigma over the root of the row's weight, shape (n,)."""
        scaled: Vector = self.residuals / np.sqrt(self.residual_variance)
        weights = self.model.design.weights
        return scaled if weights is None else scaled * np.sqrt(weights)

    def correlation(self, term: int = 0) -> Matrix:
        """Correlations of the random effects of one random term, shape (q, q)."""
        covariance = self.covariances[term]
        deviation = np.sqrt(np.diag(covariance))
        correlation: Matrix = covariance / np.outer(deviation, deviation)
        return correlation

    def __repr__(self) -> str:
        who = f"{self.engine} {self.settings}, logLik {self.stated_loglik:.6f}"
        return f"<Fit of {self.model.id}, {self.model.method}: {who}>"
