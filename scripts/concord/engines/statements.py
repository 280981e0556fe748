"""What the account asks of a package, section by section, and the records in which the package's folder answers.

Each engine's folder has a module ``statements`` with one `Statements`: a function a section, which takes a `Fit` of
that engine. It asks the package's own result where that is (`Fit.ask`), carries what it says over to the model's
coding, and names the definition of every number (`concord.account.definitions`). What a number should be by its
definition is worked out independently, by who asks; only a number that makes sense in the package's own parameters
alone comes with what is expected of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from concord.engines.engine import engines
from concord.engines.fit import Fit
from concord.likelihood.likelihood import Likelihood


@dataclass(frozen=True, eq=False)
class Statement:
    """One quantity as a package states it, or why it states none.

    Attributes
    ----------
    value : a number, or an array of them in the model's order, NaN where there is none; None where there is none at all
    definition : the name of its definition; empty for the common one
    why : why there is none; or the reason of every entry, in the order of `value`
    source : the package that states it, where that is another one than the engine (lmerTest of lme4's fits)
    quantity : its own name, where it is a quantity of its own
    tolerance : the name of its own tolerance, where its arithmetic cannot hold the common one
    rounding : what the rounding of its arithmetic can do to it, in the shape of `value`; None where that is nothing
    expected : the independent value, where it can be worked out in the package's own parameters only
    """

    value: Any = None
    definition: str = ""
    why: str | Sequence[str] = ""
    source: str = ""
    quantity: str = ""
    tolerance: str = ""
    rounding: Any = None
    expected: Any = None

    def entry(self, k: int) -> float | None:
        """The number at a place; None where there is none."""
        return None if self.value is None or np.isnan(self.value[k]) else float(self.value[k])

    def reason(self, k: int = 0) -> str:
        """Why there is no number at a place; empty where nothing is said of that."""
        return self.why if isinstance(self.why, str) else self.why[k]


@dataclass(frozen=True, eq=False)
class ErrorOfVariance(Statement):
    """The standard errors of variances and covariances, in the order of `Fit.estimates`, the residual one last.

    Attributes
    ----------
    parameters : in which they were differentiated: ``ratios`` to the residual variance, ``factors`` (Cholesky factors
        of these ratios, and the residual deviation), ``logarithms`` (of deviations, and log((1 + r) / (1 - r)))
    """

    parameters: str = "logarithms"


@dataclass(frozen=True, eq=False)
class Test:
    """What one package states of its tests of all fixed effects, arrays of shape (p,).

    Attributes
    ----------
    source : the package, where that is another one than the engine
    kind : ``z``, ``t, residual df``, ``Satterthwaite``, ``Kenward-Roger`` or ``inner-outer``
    statistic, df, p : what the table of tests has
    std_error : what it tests by
    own_error : whether no other section shows that standard error
    """

    source: str = ""
    kind: str = ""
    statistic: Statement = Statement()
    df: Statement = Statement()
    p: Statement = Statement()
    std_error: Statement = Statement()
    own_error: bool = False

    __test__ = False  # it is no test of pytest's


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Standard errors, and tests of the fixed effects.

    Attributes
    ----------
    fixed : standard errors of the fixed effects, shape (p,)
    conditional : those that take the variances for known
    joint : those from the joint Hessian of all parameters
    components : standard errors of variances and covariances, from every package that has them
    tests : of the fixed effects, from every package that makes them
    """

    fixed: Statement
    conditional: Statement
    joint: Statement
    components: tuple[ErrorOfVariance, ...]
    tests: tuple[Test, ...]


@dataclass(frozen=True, eq=False)
class Criteria:
    """What follows from the log-likelihood, which the fit itself holds, each a number."""

    df: Statement
    aic: Statement
    bic: Statement
    deviance: Statement
    df_residual: Statement
    nobs: Statement


NO_DEVIANCE = Statement(why="it has no deviance of a mixed model, -2 logLik says the same")


@dataclass(frozen=True, eq=False)
class Stop:
    """Where a package's first optimizer stopped.

    Attributes
    ----------
    at : the entries of the factor that it moves, shape (m,)
    slopes : the independent derivatives there
    mirrored : those at the same covariance matrix, its factor with a positive diagonal
    """

    at: np.ndarray
    slopes: np.ndarray
    mirrored: np.ndarray

    @property
    def turned(self) -> int:
        """How many derivatives have the other sign at the other factor."""
        return int((np.sign(self.slopes) != np.sign(self.mirrored)).sum())


@dataclass(frozen=True, eq=False)
class Checks:
    """What a package looks at to say that a fit is at the optimum or on the boundary, each with what is expected of it.

    Attributes
    ----------
    derivatives : in the package's own parameters, by their `quantity`
    relative : the largest relative gradient (`concord.inference.gradients`), where there are derivatives
    least : the smallest number that is compared with `threshold`
    threshold : below it the package says that the fit is on the boundary
    boundary : whether it says so
    compared : the number that is compared with `allowed`, beyond which it warns; None where none is
    looked : whether it does compare it
    stop : where its first optimizer stopped, where that can be told
    """

    derivatives: tuple[Statement, ...]
    relative: Statement | None
    least: Statement
    threshold: float
    boundary: Statement
    compared: float | None = None
    allowed: float = np.nan
    looked: bool = True
    stop: Stop | None = None


@dataclass(frozen=True)
class Statements:
    """What a package can be asked; None for what it says nothing of.

    Attributes
    ----------
    uncertainty : of a fit, the independent likelihood of its model, and what rounding can do to the log-likelihood
    criteria : of a fit
    checks : of a fit, and what rounding can do to the log-likelihood
    """

    uncertainty: Callable[[Fit, Likelihood, float], Uncertainty] | None = None
    criteria: Callable[[Fit], Criteria] | None = None
    checks: Callable[[Fit, float], Checks] | None = None


def first_line(error: Exception) -> str:
    """What a package stops with, on one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def permutation(back: np.ndarray) -> list[int] | None:
    """Which of the package's fixed effects each of the model's is; None where one is a combination of several."""
    if not (np.isin(back, (0.0, 1.0)).all() and (back.sum(axis=1) == 1).all()):
        return None
    return list(back.argmax(axis=1))


@cache
def statements(engine: str) -> Statements:
    """What an engine's package can be asked."""
    folder = engines()[engine].__package__
    return importlib.import_module(f"{folder}.statements").STATEMENTS
