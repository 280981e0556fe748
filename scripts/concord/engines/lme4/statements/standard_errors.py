"""Standard errors and tests: what lme4, lmerTest and pbkrtest state of a fit by lmer, in the model's coding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from concord import r
from concord.arrays import Matrix, Vector
from concord.engines.error_definitions import in_factors, of_variances
from concord.engines.fit import Fit
from concord.engines.lme4.engine import Coding, codings
from concord.engines.statements import ErrorOfVariance, Statement, Test, Uncertainty, permutation
from concord.inference import degrees_of_freedom
from concord.inference.degrees_of_freedom import DegreesError
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.models.parameters import triangle

LMERTEST, PBKRTEST = "lmerTest", "pbkrtest"

# numDeriv's, in lmerTest: steps of a tenth of a parameter, or of 1e-4 where it is all but zero, halved three times.
NUMDERIV_SHARE, NUMDERIV_LEAST, NUMDERIV_ZERO, NUMDERIV_HALVED = 0.1, 1e-4, 1.78e-5, 8

_R = Path(__file__).with_suffix(".R")


def _room() -> Any:
    r.package("lme4")
    return r.source(_R)


@dataclass(frozen=True, eq=False)
class _Tests:
    """Estimate, standard error, degrees of freedom, t and p of every contrast, shape (k, 5); what the package says."""

    table: Matrix
    said: list[str]


@dataclass(frozen=True, eq=False)
class _Satterthwaite(_Tests):
    """With lmerTest's covariance matrix of (theta, sigma), and theta's random terms: their groups and columns."""

    groups: list[str]
    columns: list[list[str]]
    covariance: Matrix
    theta: Vector
    sigma: float


_Made = TypeVar("_Made", bound=_Tests)


@dataclass(frozen=True, eq=False)
class Summary:
    """What lme4, lmerTest and pbkrtest state of lmer's fit, in the model's coding.

    Attributes
    ----------
    t : lme4's own, shape (p,), NaN where its coding is another
    satterthwaite, kenward_roger : estimate, standard error, degrees of freedom, t and p of every fixed effect, shape
        (p, 5); None with the reason in `why_satterthwaite` or `why_kenward_roger`
    components : standard errors of variances and covariances that follow from lmerTest's covariance matrix of (theta,
        sigma), the residual one last
    said : what lmerTest and pbkrtest said
    """

    t: np.ndarray
    satterthwaite: np.ndarray | None
    kenward_roger: np.ndarray | None
    components: np.ndarray | None
    why_satterthwaite: str
    why_kenward_roger: str
    said: tuple[str, ...]


def summary(fit: Fit) -> Summary:
    """What lme4, lmerTest and pbkrtest state of a fit; to be asked where the fit is.

    Raises
    ------
    RError : R, lmerTest or pbkrtest is missing
    """
    for name in (LMERTEST, PBKRTEST):
        r.package(name)
    room, native = _room(), fit.native
    back, columns = codings(native, fit.model)
    contrasts = r.call("matrix", back, nrow=len(back))
    order = permutation(back)
    own = r.from_r(r.call(room["own_t"], native))
    by_satterthwaite, why_not, said = _tables(_Satterthwaite, LMERTEST, room["satterthwaite"], native, contrasts)
    by_kenward_roger: _Tests | None = None
    more: tuple[str, ...] = ()
    if fit.model.formula.weights is not None:
        why = "pbkrtest leaves weights out: its covariance matrix of the response has residuals of one variance"
    elif fit.model.reml:
        by_kenward_roger, why, more = _tables(_Tests, PBKRTEST, room["kenward_roger"], native, contrasts)
    else:
        why = (
            "Kenward and Roger's method is one for REML: lmerTest refuses a fit by ML, and pbkrtest would make the fit "
            "again by REML"
        )
    return Summary(
        np.full(len(back), np.nan) if order is None else own[order],
        None if by_satterthwaite is None else by_satterthwaite.table,
        None if by_kenward_roger is None else by_kenward_roger.table,
        None if by_satterthwaite is None else _from_factors(by_satterthwaite, columns),
        why_not,
        why,
        (*said, *more),
    )


def _tables(
    kind: type[_Made], package: str, function: Any, native: Any, contrasts: Any
) -> tuple[_Made | None, str, tuple[str, ...]]:
    """What a package says of the contrasts, or None and why; and what it says besides."""
    try:
        got = r.record(kind, r.call(function, native, contrasts))
    except r.RError as error:
        return None, f"{package} stops with {error}", ()
    return got, "", tuple(f"{package}: {message}" for message in got.said)


def _from_factors(got: _Satterthwaite, columns: Sequence[Coding]) -> np.ndarray:
    """Standard errors of variances and covariances by the delta method, from lmerTest's matrix of (theta, sigma)."""
    blocks = list(zip(got.groups, map(tuple, got.columns), strict=True))
    starts = np.cumsum([0, *(len(names) * (len(names) + 1) // 2 for _, names in blocks)])
    theta, sigma = got.theta, got.sigma
    factors, places = [], []
    for group, names, _ in columns:
        start = starts[blocks.index((group, names))]
        q = len(names)
        places.append(start + np.arange(q * (q + 1) // 2))
        factor = np.zeros((q, q))
        factor[triangle(q)] = theta[places[-1]]
        factors.append(factor)
    order = [*np.concatenate(places), len(theta)]
    covariance = np.atleast_2d(got.covariance)[np.ix_(order, order)]
    jacobian = of_variances(factors, sigma, [back for _, _, back in columns])
    return np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))


def uncertainty(fit: Fit, likelihood: Likelihood, lost: float) -> Uncertainty:
    """The standard errors and tests of lme4, lmerTest and pbkrtest; see `concord.engines.statements`."""
    said: Summary = fit.ask(summary)
    own = Statement(fit.std_error)
    no_errors = (
        "it gives no standard errors of variances by design: their estimators are far from normal, so that such an "
        "error would tell little; it profiles the likelihood instead"
    )
    no_p = Statement(why="it states t without degrees of freedom or p: their null distribution is not known in general")
    of_errors, of_degrees = lost_by_differences(likelihood, fit, lost)
    tests = [Test("", "t, residual df", Statement(said.t), no_p, no_p, own)]
    for source, kind, table, why, key in (
        (LMERTEST, "Satterthwaite", said.satterthwaite, said.why_satterthwaite, "satterthwaite"),
        (PBKRTEST, "Kenward-Roger", said.kenward_roger, said.why_kenward_roger, "kenward_roger"),
    ):
        if table is None:
            nothing = Statement(why=why)
            tests.append(Test(source, "", nothing, nothing, nothing))
            continue
        _, error, df, t, p = table.T
        adjusted = key == "kenward_roger"
        tests.append(
            Test(
                source,
                kind,
                Statement(t, "t_kenward_roger" if adjusted else ""),
                Statement(df, f"df_{key}", rounding=None if adjusted else of_degrees),
                Statement(p, f"p_{key}"),
                Statement(error, "error_kenward_roger" if adjusted else ""),
                own_error=True,
            )
        )
    by_lmertest = ErrorOfVariance(
        said.components, why=said.why_satterthwaite, source=LMERTEST, rounding=of_errors, parameters="factors"
    )
    none = ErrorOfVariance(why=no_errors)
    joint = Statement(why="it states none: its own holds the variances")
    return Uncertainty(own, own, joint, (none, by_lmertest), tuple(tests))


def lost_by_differences(likelihood: Likelihood, fit: Fit, value: float) -> tuple[np.ndarray, np.ndarray]:
    """What rounding can do to the standard errors of variances and covariances that follow from lmerTest's differences
    of the deviance, shape (k,), and to its degrees of freedom, shape (p,), to the first order; zero where there are
    none.

    Parameters
    ----------
    value : what rounding can do to the log-likelihood
    """
    try:
        at, jacobian = in_factors(fit)
        covariance = degrees_of_freedom.factor_covariance(likelihood, fit.parameters)
        # The narrowest of numDeriv's steps, from which Richardson's extrapolation takes its digits.
        steps = np.where(np.abs(at) < NUMDERIV_ZERO, NUMDERIV_LEAST, NUMDERIV_SHARE * np.abs(at)) / NUMDERIV_HALVED
        moved = np.abs(covariance) @ (8 * value / np.outer(steps, steps)) @ np.abs(covariance)
        errors = np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))
        off = np.diag(np.abs(jacobian) @ moved @ np.abs(jacobian).T) / (2 * errors)
        return off, degrees_of_freedom.satterthwaite_off(likelihood, fit.parameters, moved)
    except (DegreesError, LikelihoodError, np.linalg.LinAlgError):
        return np.zeros(sum(len(c) * (len(c) + 1) // 2 for c in fit.covariances) + 1), np.zeros(likelihood.p)
