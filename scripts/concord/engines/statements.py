"""What the account asks of a package, section by section, and the records in which the package's folder answers.

Each engine's folder has a module ``statements`` with the functions of `Statements`, or with those of them that the
package has an answer to. A function takes a `Fit` of that engine, asks the package's own result where that is
(`Fit.ask`), carries what it says over to the model's coding, and names the definition of every number
(`concord.account.definitions`). What a number should be by its definition is worked out independently, by who asks;
only a number that makes sense in the package's own parameters alone comes with what is expected of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.engines.engine import engines
from concord.engines.fit import Fit
from concord.errors import first_line
from concord.likelihood.likelihood import Likelihood
from concord.models.design import DesignTerm
from concord.models.model import Model

NOT_ASKED = "it is asked for its estimates only"
"""Why an engine states nothing that has no functions for the account, as guests have none."""


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
class Predictions:
    """What a package says of random effects, of the rows that were fitted, and of new ones.

    Attributes
    ----------
    values : by name, in the model's order: ``conditional`` (by pair of effects of one level, shape (levels,)),
        ``standardized`` (by effect, shape (levels,)), ``fitted``, ``fitted_fixed``, ``predicted``, ``residual``,
        ``pearson``, ``scaled`` (a number a row), ``new_fixed``, ``new`` (a number a new row), ``variances`` (a dict of
        ``fixed, random, residual``). The random effects themselves are the fit's own, `Fit.random_effects`
    absent : by name, why it says nothing; ``random`` and ``errors`` where there are no random effects
    definitions : by name, the definition of what is not the common one
    parts : why it says nothing of a part: of ``conditional, across terms``, of ``new, unknown levels``, of ``errors``
    without_offset : whether it was given the response less the model's offset
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    without_offset: bool = False


Question = Callable[[Fit, pd.DataFrame], dict[str, Any]]
"""Of a fit and new rows: what its package says, by name."""


class NotStated(Exception):
    """A package says nothing of a quantity; the message says why."""


def collected(
    fit: Fit,
    new: pd.DataFrame,
    questions: Iterable[tuple[Sequence[str], Question | str]],
    definitions: Mapping[str, str] | None = None,
    parts: Mapping[str, str] | None = None,
    without_offset: bool = False,
) -> Predictions:
    """What a package says to questions, each of which is asked even where the package stops at another.

    Parameters
    ----------
    fit : with the package's own result
    new : new rows to predict at
    questions : names of what is asked, and the question; or the names, and why nothing is said of them
    definitions, parts, without_offset : see `Predictions`
    """
    values: dict[str, Any] = {}
    absent: dict[str, str] = {}
    for names, question in questions:
        try:
            if isinstance(question, str):
                raise NotStated(question)
            values |= question(fit, new)
        except NotStated as reason:
            absent |= dict.fromkeys(names, str(reason))
        except Exception as error:  # whatever a package stops with is what it has to say
            absent |= dict.fromkeys(names, f"it stopped with: {first_line(error)}")
    of_response = ("fitted", "fitted_fixed", "predicted", "new_fixed", "new")
    common = dict.fromkeys(of_response, "fitted_without_offset") if without_offset else {}
    return Predictions(values, absent, common | dict(definitions or {}), parts or {}, without_offset)


def asked_in_r(functions: Callable[[], Any], name: str, of_new_rows: bool = False) -> Question:
    """A function in R of the package's own result, and perhaps of new rows; its list has the names of `Predictions`.

    Parameters
    ----------
    functions : gives the package's R functions by name, once R and the package are wanted
    name : of the function
    of_new_rows : whether it is given them
    """

    def question(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
        said: dict[str, Any] = r.from_r(r.call(functions()[name], fit.native, *([new] if of_new_rows else [])))
        return said

    return question


def of_whole_rows(question: Question) -> Question:
    """Predictions for the rows that have all predictors, and missing numbers for the others, which some packages drop
    without a word.
    """

    def asked(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
        uses = fit.model.formula.uses
        whole = new[[name for name in new if "predictor" in uses.get(name, ())]].notna().all(axis=1).to_numpy()
        if not whole.any():
            raise NotStated("every new row lacks a predictor")
        spread = {}
        for name, values in question(fit, new[whole].reset_index(drop=True)).items():
            spread[name] = np.full(len(whole), np.nan)
            spread[name][whole] = values
        return spread

    return asked


def first_rows(term: DesignTerm) -> np.ndarray:
    """For every level a row that belongs to it."""
    return np.unique(term.codes, return_index=True)[1]


OTHER_CODING = "the fit has its columns in another coding than the model"


@dataclass(frozen=True, eq=False)
class WaldIntervals:
    """A package's intervals by standard errors; the value of each statement is the lower and the upper end.

    Attributes
    ----------
    fixed : of the fixed effects, by name
    components : of other parameters, by group and term: ``var__`` and ``cov__``, or ``sd__`` and ``cor__``, as the
        package has them; several where it has other arithmetic for the same, with its own `source`. The rounding is
        that of the standard error on the logarithm's scale
    without : why it has none of a variance
    why : why it has none at all
    """

    fixed: Mapping[str, Statement] = field(default_factory=dict)
    components: Mapping[tuple[str, str], tuple[Statement, ...]] = field(default_factory=dict)
    without: str = ""
    why: str = ""


@dataclass(frozen=True, eq=False)
class StatedProfile:
    """A package's profile of one parameter, on the scale of standard deviations and correlations, by ML.

    Attributes
    ----------
    value, zeta : its points, shape (k,); k is 0 where it has none
    possible : of each point 0 where the package's search ended at correlations that no covariance matrix has
    ends, crossed : of the interval that the package makes of it, shape (2,), and whether the profile crosses the
        quantile there
    at : zeta at the values asked for, by the package's interpolation
    said : what the package says besides
    note : how it was made
    why : why there is none
    """

    value: np.ndarray = field(default_factory=lambda: np.empty(0))
    zeta: np.ndarray = field(default_factory=lambda: np.empty(0))
    possible: np.ndarray = field(default_factory=lambda: np.empty(0))
    ends: np.ndarray = field(default_factory=lambda: np.empty(0))
    crossed: np.ndarray = field(default_factory=lambda: np.empty(0))
    at: np.ndarray = field(default_factory=lambda: np.empty(0))
    said: tuple[str, ...] = ()
    note: str = ""
    why: str = ""


@dataclass(frozen=True, eq=False)
class AnovaTable:
    """A package's own analysis of nested models.

    Attributes
    ----------
    text : as the package prints it
    numbers : its table, one row a model, NaN where it has no number
    names : of the models, in the order of the rows
    said : what the package says besides
    own : by the model's name, the independent log-likelihood at the estimates that the table rests on
    """

    text: str
    numbers: np.ndarray
    names: tuple[str, ...]
    said: tuple[str, ...]
    own: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Deletion:
    """A package's own measures of influence, from refits without each level of a grouping factor.

    Attributes
    ----------
    levels : of the grouping factor, in the order of the rows
    whole : the fixed effects of all rows, shape (p,)
    fixed : those without each level, shape (L, p)
    dfbeta : the changes, shape (L, p)
    distance : Cook's distances, shape (L,)
    """

    levels: tuple[str, ...]
    whole: np.ndarray
    fixed: Statement
    dfbeta: Statement
    distance: Statement


@dataclass(frozen=True)
class Statements:
    """What a package can be asked; None for what it says nothing of.

    Attributes
    ----------
    uncertainty : of a fit, the independent likelihood of its model, and what rounding can do to the log-likelihood
    criteria : of a fit
    checks : of a fit, and what rounding can do to the log-likelihood
    predictions : of a fit, and new rows to predict at
    intervals : of a fit, a level, and what rounding can do to the log-likelihood
    profiles : of a fit, labels of parameters, a level, and whether in finer steps than the package's own: by name
    spline_ends : of the points of a profile, value and zeta, and a level: the ends, NaN where there are none, by the
        interpolation that the package makes intervals by
    ratio_profile : of a fit, group and term of a variance, how far below and above the estimate: the points ``value,
        loglik`` of a profile that holds the ratio to the residual variance; every point is a fit
    own_profile : of a profile that the package itself returned, and the parameter's label: its points, ``value,
        zeta``, or ``value, loglik`` where the ratio is held
    anova : of a fit, other models, and whether fits by REML are made anew by ML
    influence : of a fit, and a grouping factor
    """

    uncertainty: Callable[[Fit, Likelihood, float], Uncertainty] | None = None
    criteria: Callable[[Fit], Criteria] | None = None
    checks: Callable[[Fit, float], Checks] | None = None
    predictions: Callable[[Fit, pd.DataFrame], Predictions] | None = None
    intervals: Callable[[Fit, float, float], WaldIntervals] | None = None
    profiles: Callable[[Fit, Sequence[str], float, bool], Mapping[str, StatedProfile]] | None = None
    spline_ends: Callable[[np.ndarray, np.ndarray, float], np.ndarray] | None = None
    ratio_profile: Callable[[Fit, tuple[str, str], float, float], pd.DataFrame] | None = None
    own_profile: Callable[[Any, str], pd.DataFrame] | None = None
    anova: Callable[[Fit, Sequence[Model], bool], AnovaTable] | None = None
    influence: Callable[[Fit, str], Deletion] | None = None


def permutation(back: np.ndarray) -> list[int] | None:
    """Which of the package's fixed effects each of the model's is; None where one is a combination of several."""
    if not (np.isin(back, (0.0, 1.0)).all() and (back.sum(axis=1) == 1).all()):
        return None
    return [int(np.flatnonzero(row)[0]) for row in back]


@cache
def statements(engine: str) -> Statements:
    """What an engine's package can be asked: the functions of its folder's module ``statements``."""
    module = engines()[engine].statements
    return Statements(**{part.name: getattr(module, part.name, None) for part in fields(Statements)})
