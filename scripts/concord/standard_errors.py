"""What packages say of how uncertain their estimates are: standard errors, degrees of freedom, p-values.

Each package's number is held to the independent one by that package's definition, at that package's own estimates
(`quantities`). The independent ones are those of `information` (standard errors) and `degrees` (degrees of freedom).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from scipy import stats

from concord import degrees, information, r, reference
from concord.agreement import Comparison
from concord.degrees import DegreesError
from concord.engines import lme4, mixedlm
from concord.fits import Fit
from concord.formulas import Design
from concord.information import Information, InformationError
from concord.likelihood import Likelihood, LikelihoodError
from concord.quantities import Line
from concord.translation import levels

ERRORS, TESTS = "standard errors", "tests"
LMERTEST, PBKRTEST = "lmerTest", "pbkrtest"

ASSUMES = {
    "z": "the variances are known, or estimated from so many groups that it does not matter: the normal distribution",
    "t, residual df": "every row counts as independent once the fixed effects are taken out: n - p degrees of freedom, "
    "too many for an effect that differs between groups only",
    "Satterthwaite": "the estimated variance of the effect is near a multiple of a chi-squared variable, whose degrees "
    "of freedom its own uncertainty (observed information) tells",
    "Kenward-Roger": "as Satterthwaite, by the expected information of REML, with the standard error enlarged for the "
    "uncertainty of the variances to the second order",
    "inner-outer": "the design is balanced, or nearly so: groups and columns are counted level by level",
}
"""What each kind of test of a fixed effect assumes, in a sentence."""

NEAR = (
    "the optimum is on the boundary, where its logarithms have no end: it stops somewhere near, and an error there "
    "depends on where"
)
WHY_NOT = (
    "it gives no standard errors of variances by design: their estimators are far from normal, so that such an error "
    "would tell little; it profiles the likelihood instead"
)
NO_P = "it states t without degrees of freedom or p: their null distribution is not known in general"
OTHER_CODING = "its columns are the model's in another coding, in which it states no number for this term"
# nlme's steps of the numerical Hessian (lmeControl's .relStep and minAbsParApVar).
STEP, LEAST = np.finfo(float).eps ** (1 / 3), 0.05

_R = Path(__file__).with_suffix(".R")


# ---- what packages say, asked where their own result is ------------------------------------------------------------


def said_by_mixedlm(fit: Fit) -> dict[str, Any]:
    """What MixedLM's result states, in the model's coding.

    Returns
    -------
    ``conditional``: standard errors from the fixed effects' block of minus its Hessian, shape (p,); ``z``, ``p``: its
    tests, shape (p,), NaN where its coding is another; ``printed``: what it prints as standard errors of variances and
    covariances, in the order of `Fit.estimates`, NaN for a combination of several; ``raises``: what ``bse_re`` raises
    """
    results = getattr(fit.native, "_results", fit.native)
    made = results.model
    back, places = mixedlm.layout(fit.native, fit.model)
    p = len(back)
    present = made.reml
    try:
        made.reml = results.reml  # the model object may have been fitted by the other method since
        hessian = np.asarray(made.hessian(results.params_object)[0])
    finally:
        made.reml = present
    block = np.linalg.inv(-hessian[:p, :p])
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore")  # of a variance's t, which is not asked for
        z, p_values = np.asarray(results.tvalues)[:p], np.asarray(results.pvalues)[:p]
        in_unit, raises = np.asarray(results.bse_re), ""
        try:
            _ = fit.native.bse_re
        except ValueError as error:
            # It names variance components by the random effects' names; its summary prints the numbers all the same.
            raises = f"bse_re raises {type(error).__name__}: {error}"
    printed = [np.nan if each is None else abs(each[1]) * in_unit[each[0]] for each in places]
    order = _permutation(back)
    nothing = np.full(p, np.nan)
    return {
        "conditional": np.sqrt(np.diag(back @ block @ back.T)),
        "z": nothing if order is None else z[order],
        "p": nothing if order is None else p_values[order],
        "printed": np.array(printed),
        "raises": raises,
    }


def said_by_lme4(fit: Fit) -> dict[str, Any]:
    """What lme4, lmerTest and pbkrtest state of lmer's fit, in the model's coding.

    Returns
    -------
    ``t``: lme4's own, shape (p,), NaN where its coding is another; ``satterthwaite``, ``kenward_roger``: estimate,
    standard error, degrees of freedom, t and p of every fixed effect, shape (p, 5), or None; ``components``: standard
    errors of variances and covariances that follow from lmerTest's covariance matrix of (theta, sigma), the residual
    one last; ``said``: what lmerTest and pbkrtest said; ``why_kenward_roger``, ``why_satterthwaite``: why None

    Raises
    ------
    RError : R, lmerTest or pbkrtest is missing
    """
    for name in (LMERTEST, PBKRTEST):
        r.package(name)
    room, native = r.source(_R), fit.native
    back, codings = lme4.codings(native, fit.model)
    contrasts = r.call("matrix", back, nrow=len(back))
    order = _permutation(back)
    own = r.from_r(r.call(room["own_t"], native))
    answer: dict[str, Any] = {
        "t": np.full(len(back), np.nan) if order is None else own[order],
        "satterthwaite": None, "why_satterthwaite": "", "kenward_roger": None, "why_kenward_roger": "",
        "components": None, "said": [],
    }  # fmt: skip
    try:
        got = r.from_r(r.call(room["satterthwaite"], native, contrasts))
        answer["satterthwaite"] = got["table"]
        answer["said"] += [f"lmerTest: {each}" for each in got["said"] or ()]
        answer["components"] = _from_factors(fit.model.design, got, codings)
    except r.RError as error:
        answer["why_satterthwaite"] = f"lmerTest stops with {error}"
    if not fit.model.reml:
        answer["why_kenward_roger"] = (
            "Kenward and Roger's method is one for REML: lmerTest refuses a fit by ML, and pbkrtest would make the fit "
            "again by REML"
        )
        return answer
    try:
        got = r.from_r(r.call(room["kenward_roger"], native, contrasts))
        answer["kenward_roger"] = got["table"]
        answer["said"] += [f"pbkrtest: {each}" for each in got["said"] or ()]
    except r.RError as error:
        answer["why_kenward_roger"] = f"pbkrtest stops with {error}"
    return answer


def said_by_nlme(fit: Fit) -> dict[str, Any]:
    """What nlme states, in the order of the model's parameters.

    Returns
    -------
    ``std_error``, ``df``, ``t``, ``p``: of its summary, shape (p,); ``at``: its log standard deviations and log((1 + r)
    / (1 - r)) of correlations, the residual's last, in the order of `Fit.estimates`; ``stated``: their approximate
    covariance matrix, or None with the reason ``why``; ``wide``: the same by steps that keep the digits
    """
    room, design = r.source(_R), fit.model.design
    got = r.from_r(r.call(room["lme_statements"], fit.native))
    order = [got["terms"].index(name) for name in design.names]
    table = got["table"][order]
    answer = {"std_error": table[:, 1], "df": table[:, 2], "t": table[:, 3], "p": table[:, 4]}
    answer |= {"at": None, "stated": None, "wide": None, "why": (got["why"] or [""])[0], "why_wide": ""}
    if got["covariance"] is None:
        return answer
    places = _places_in_nlme(design, got)
    answer |= {"at": got["at"][places], "stated": got["covariance"][np.ix_(places, places)]}
    try:
        wide = r.from_r(r.call(room["lme_by_wide_steps"], fit.native))
        answer["wide"] = wide["covariance"][np.ix_(places, places)]
    except r.RError as error:
        answer["why_wide"] = f"nlme stops with {error}"
    return answer


def _permutation(back: np.ndarray) -> list[int] | None:
    """Which of the package's fixed effects each of the model's is; None where one is a combination of several."""
    if not (np.isin(back, (0.0, 1.0)).all() and (back.sum(axis=1) == 1).all()):
        return None
    return list(back.argmax(axis=1))


def _from_factors(design: Design, got: dict[str, Any], codings: Sequence[lme4.Coding]) -> np.ndarray:
    """Standard errors of variances and covariances by the delta method, from lmerTest's matrix of (theta, sigma)."""
    found = list(zip(got["groups"], map(tuple, got["columns"]), strict=True))
    starts = np.cumsum([0, *(len(columns) * (len(columns) + 1) // 2 for _, columns in found)])
    theta, sigma = got["theta"], float(np.ravel(got["sigma"])[0])
    factors, places = [], []
    for group, columns, _ in codings:
        start = starts[found.index((group, columns))]
        q = len(columns)
        places.append(start + np.arange(q * (q + 1) // 2))
        factor = np.zeros((q, q))
        factor[np.triu_indices(q)[::-1]] = theta[places[-1]]
        factors.append(factor)
    order = [*np.concatenate(places), len(theta)]
    covariance = np.atleast_2d(got["covariance"])[np.ix_(order, order)]
    jacobian = _of_variances(factors, sigma, [back for _, _, back in codings])
    return np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))


def _of_variances(factors: Sequence[np.ndarray], sigma: float, backs: Sequence[np.ndarray]) -> np.ndarray:
    """Derivatives of variances and covariances, in the order of `Fit.estimates`, with respect to (theta, sigma)."""
    count = sum(len(each) * (len(each) + 1) // 2 for each in factors)
    jacobian, start = np.zeros((count + 1, count + 1)), 0
    for factor, back in zip(factors, backs, strict=True):
        q = len(factor)
        size = q * (q + 1) // 2
        rows, columns = np.triu_indices(q)[::-1]
        at = [(i, i) for i in range(q)] + [(i, j) for j in range(q) for i in range(j)]
        for k, (a, b) in enumerate(zip(rows, columns, strict=True)):
            unit = np.zeros((q, q))
            unit[a, b] = 1.0
            moved = sigma**2 * back @ (unit @ factor.T + factor @ unit.T) @ back.T
            jacobian[start : start + size, start + k] = [moved[place] for place in at]
        whole = 2 * sigma * back @ factor @ factor.T @ back.T
        jacobian[start : start + size, count] = [whole[place] for place in at]
        start += size
    jacobian[count, count] = 2 * sigma
    return jacobian


def _places_in_nlme(design: Design, got: dict[str, Any]) -> list[int]:
    """Where nlme has the variances and covariances, in the order of `Fit.estimates`; innermost level first there."""
    of, start = {}, 0
    for terms, columns, independent in zip(
        reversed(levels(design) or ()), got["columns"], np.ravel(got["independent"]), strict=True
    ):
        q = len(columns)
        owner = {name: i for i in terms for name in design.terms[i].names}
        for k, name in enumerate(columns):
            of[owner[name], name, name] = start + k
        start += q
        if q > 1 and not independent:
            # R takes the lower triangle column by column.
            for a, b in ((columns[i], columns[j]) for i in range(q) for j in range(i + 1, q)):
                of[owner[a], a, b] = of[owner[a], b, a] = start
                start += 1
    places = []
    for i, term in enumerate(design.terms):
        names = term.names
        pairs = [(a, a) for a in names] + [(names[a], names[b]) for b in range(len(names)) for a in range(b)]
        places += [of[i, a, b] for a, b in pairs]
    return [*places, start]


_answers: WeakKeyDictionary[Fit, dict[str, Any]] = WeakKeyDictionary()
_QUESTIONS = {"mixedlm": said_by_mixedlm, "lme4": said_by_lme4, "nlme": said_by_nlme}


def _said(fit: Fit) -> dict[str, Any]:
    """What the fit's package states, asked once."""
    if fit not in _answers:
        _answers[fit] = fit.ask(_QUESTIONS[fit.engine])
    return _answers[fit]


# ---- the independent values ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Expected:
    """The independent values by every definition, at one fit's estimates; None with a reason where there are none."""

    conditional: np.ndarray
    joint: np.ndarray | None
    printed: np.ndarray | None
    components: np.ndarray | None
    why: str = ""

    @classmethod
    def at(cls, likelihood: Likelihood, fit: Fit) -> _Expected:
        """At a fit's own estimates. Where they are no optimum it matters in which parameters one differentiates: it is
        done in each package's own.
        """
        conditional = likelihood.std_error(fit.covariances, fit.residual_variance)
        try:
            found = information.observed(likelihood, fit.fixed, fit.covariances, fit.residual_variance)
        except (InformationError, LikelihoodError) as error:
            joint = joint_on_boundary(likelihood, fit) if fit.engine == "mixedlm" else None
            return cls(conditional, joint, None, None, str(error))
        p = likelihood.p
        if fit.engine == "mixedlm":
            spread = _by_ratios(likelihood, fit, found)
            errors = np.sqrt(np.diag(spread))
            printed = math.sqrt(fit.residual_variance) * errors[p:]
            return cls(conditional, errors[:p], printed, found.components()["std_error"].to_numpy())
        components = found.components()["std_error"].to_numpy()
        if fit.engine == "lme4":
            components = _by_factors(likelihood, fit)
        return cls(conditional, found.joint, None, components)


def joint_on_boundary(likelihood: Likelihood, fit: Fit) -> np.ndarray | None:
    """Joint standard errors of MixedLM's fixed effects where a covariance matrix is singular, shape (p,), if there are
    any.

    In its parameters, unlike in standard deviations, the log-likelihood has ordinary derivatives there, though not all
    first ones are zero: their limit is taken from inside, as a ratio to the conditional errors, by a parabola through
    three points.
    """
    scale, found = fit.residual_variance, []
    for distance in (1e-4, 2e-4, 4e-4):
        inside = tuple(
            each + distance * scale * np.diag(1 / np.mean(np.square(term.matrix), axis=0))
            for each, term in zip(fit.covariances, fit.model.design.terms, strict=True)
        )
        try:
            there = information.observed(likelihood, fit.fixed, inside, scale)
            spread = _by_ratios(likelihood, replace(fit, covariances=inside), there)
        except (InformationError, LikelihoodError):
            return None
        found.append(np.sqrt(np.diag(spread)[: likelihood.p]) / there.conditional)
    near, middle, far = found
    return likelihood.std_error(fit.covariances, scale) * (8 * near - 6 * middle + far) / 3


def _by_ratios(likelihood: Likelihood, fit: Fit, found: Information) -> np.ndarray:
    """The inverse of minus the Hessian in MixedLM's parameters, shape (p + k, p + k): fixed effects and ratios to the
    residual variance, which is profiled out.
    """
    p, values = likelihood.p, found.estimates["estimate"].to_numpy()
    count, scale = len(values) - p - 1, fit.residual_variance
    jacobian = np.eye(len(values))
    jacobian[p:-1, p:-1] *= scale
    jacobian[p:-1, -1] = values[p:-1] / scale
    matrix = jacobian.T @ found.matrix @ jacobian
    # A variance is its ratio times the residual variance: where its slope is not zero, that product bends.
    slopes = _slopes(likelihood, fit)
    matrix[p : p + count, -1] -= slopes
    matrix[-1, p : p + count] -= slopes
    return np.linalg.inv(matrix)[:-1, :-1]


def _slopes(likelihood: Likelihood, fit: Fit) -> np.ndarray:
    """Derivatives of the log-likelihood with respect to variances and covariances, by differences, shape (k,)."""
    found = []
    for t, covariance in enumerate(fit.covariances):
        q = len(covariance)
        for i, j in [(k, k) for k in range(q)] + [(a, b) for b in range(q) for a in range(b)]:
            step = 1e-4 * math.sqrt(covariance[i, i] * covariance[j, j]) * _room(covariance)
            values = []
            for sign in (1, -1):
                moved = covariance.copy()
                moved[i, j] += sign * step
                moved[j, i] = moved[i, j]
                given = [moved if k == t else each for k, each in enumerate(fit.covariances)]
                values.append(likelihood.loglik(fit.fixed, given, fit.residual_variance))
            found.append((values[0] - values[1]) / (2 * step))
    return np.array(found)


def _room(covariance: np.ndarray) -> float:
    """How far a covariance matrix is from a singular one: the least eigenvalue of its correlations, 1 at most."""
    deviations = np.sqrt(np.diag(covariance))
    return float(np.linalg.eigvalsh(covariance / np.outer(deviations, deviations))[0])


def _by_factors(likelihood: Likelihood, fit: Fit) -> np.ndarray | None:
    """Standard errors of variances and covariances by way of (theta, sigma), lme4's parameters."""
    try:
        covariance = degrees.factor_covariance(likelihood, fit.covariances, fit.residual_variance)
    except DegreesError:
        return None
    sigma = math.sqrt(fit.residual_variance)
    factors = [np.linalg.cholesky(each) / sigma for each in fit.covariances]
    jacobian = _of_variances(factors, sigma, [np.eye(len(each)) for each in factors])
    return np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))


def _adjusted(fit: Fit) -> float:
    """What nlme's summary multiplies standard errors by: sqrt(n / (n - p)) under ML."""
    n, p = fit.model.design.X.shape
    return 1.0 if fit.model.reml else math.sqrt(n / (n - p))


def _from_logs(at: np.ndarray, covariance: np.ndarray, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of variances and covariances with respect to nlme's parameters, and the standard errors by them."""
    jacobian, start = np.zeros((len(at), len(at))), 0
    for term in design.terms:
        q = len(term.names)
        deviations = np.exp(at[start : start + q])
        jacobian[range(start, start + q), range(start, start + q)] = 2 * deviations**2
        k = start + q
        for j in range(q):
            for i in range(j):
                correlation, size = math.tanh(at[k] / 2), deviations[i] * deviations[j]
                jacobian[k, [start + i, start + j]] = correlation * size
                jacobian[k, k] = (1 - correlation**2) / 2 * size
                k += 1
        start = k
    jacobian[-1, -1] = 2 * math.exp(2 * at[-1])
    return jacobian, np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))


def _rounding(at: np.ndarray, covariance: np.ndarray, jacobian: np.ndarray, fit: Fit) -> np.ndarray:
    """What the rounding of nlme's log-likelihood can do to its standard errors, to the first order, shape (k,).

    Four values are differenced over the product of two steps. Each is a sum over groups, of terms of about one a row;
    their roundings add up as independent errors do.
    """
    steps = STEP * np.maximum(np.abs(at), LEAST)
    groups = max(len(term.levels) for term in fit.model.design.terms)
    value = np.finfo(float).eps * max(abs(fit.loglik), len(fit.model.design.y)) * math.sqrt(groups)
    error = 4 * value / np.outer(steps, steps)
    through = np.abs(jacobian @ covariance)
    moved = np.einsum("ki,ij,kj->k", through, error, through)
    variances = np.diag(jacobian @ covariance @ jacobian.T)
    return moved / (2 * np.sqrt(variances))


# ---- lines ---------------------------------------------------------------------------------------------------------


class _Reading:
    """A comparison's fits with what their packages state and what is expected of them."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.model = comparison, comparison.model
        self.design = self.model.design
        self.likelihood = reference.of(self.model).likelihood
        self.short = comparison.apart
        self.fits = dict(zip(comparison.labels, comparison.fits, strict=True))
        self.expected = {label: _Expected.at(self.likelihood, fit) for label, fit in self.fits.items()}

    def of(self, engine: str) -> dict[str, Fit]:
        """The fits of one engine by their labels."""
        return {label: fit for label, fit in self.fits.items() if fit.engine == engine}

    def line(self, section: str, quantity: str, tolerance: str, row: dict[str, str], **given: Any) -> Line | None:
        """A line of what is a number and of what is expected of it; None where no source is asked for one."""
        absent = {source: why for source, why in given.pop("absent", {}).items() if why}
        values = {}
        for source, value in given.pop("values").items():
            if value is not None and not np.isnan(value):
                values[source] = float(value)
            else:
                absent.setdefault(source, OTHER_CODING)
        if not values and not absent:
            return None
        expected = {s: float(value) for s, value in given.pop("expected").items() if s in values and value is not None}
        defined = {source: name for source, name in given.pop("definitions", {}).items() if source in values and name}
        return Line(section, quantity, tolerance, values, defined, expected, absent=absent, short=self.short, **row,
                    **given)  # fmt: skip


@cache
def _optimum(likelihood: Likelihood) -> Any:
    return likelihood.optimum()


def _information(likelihood: Likelihood) -> Information | None:
    try:
        return information.at(likelihood, _optimum(likelihood))
    except InformationError:
        return None


def lines(comparison: Comparison) -> list[Line]:
    """Standard errors of fixed effects and of variance components, by every definition, each held to its own.

    Raises
    ------
    RError : R, or one of lmerTest and pbkrtest, is missing
    """
    reading = _Reading(comparison)
    found = [*_of_fixed(reading), *_of_components(reading)]
    return [line for line in found if line is not None]


def _of_fixed(reading: _Reading) -> list[Line | None]:
    optimum = _optimum(reading.likelihood)
    best = _information(reading.likelihood)
    made: list[Line | None] = []
    for k, term in enumerate(reading.design.names):
        row = {"effect": "fixed", "term": term}
        stated, own, given = {}, {}, {}
        conditional, of_conditional, joint, of_joint = {}, {}, {}, {}
        absent: dict[str, str] = {}
        absent_joint: dict[str, str] = {}
        for label, fit in reading.fits.items():
            expected = reading.expected[label]
            of_conditional[label] = expected.conditional[k]
            if fit.engine == "mixedlm":
                stated[label] = joint[label] = fit.std_error[k]
                conditional[label] = _said(fit)["conditional"][k]
                given[label] = "joint_information"
                if np.isnan(fit.std_error[k]):
                    absent[label] = absent_joint[label] = "its Hessian is not negative definite: it gives none"
                if expected.joint is not None:
                    own[label] = of_joint[label] = expected.joint[k]
                continue
            conditional[label] = fit.std_error[k]
            absent_joint[label] = "it states none: its own holds the variances"
            if fit.engine == "nlme":
                stated[label] = _said(fit)["std_error"][k]
                own[label] = expected.conditional[k] * _adjusted(fit)
                given[label] = "" if fit.model.reml else "adjusted_for_fixed_effects"
            else:
                stated[label], own[label] = fit.std_error[k], expected.conditional[k]
        made += [
            reading.line(ERRORS, "standard error", "std_error", row, values=stated, definitions=given, expected=own,
                         absent=absent, independent=float(optimum.std_error[k])),
            reading.line(ERRORS, "standard error, conditional on the variances", "std_error", row, values=conditional,
                         expected=of_conditional, independent=float(optimum.std_error[k])),
            reading.line(ERRORS, "standard error, joint", "std_error", row, values=joint, expected=of_joint,
                         absent=absent_joint, independent=np.nan if best is None else float(best.joint[k])),
        ]  # fmt: skip
    return made


def _of_components(reading: _Reading) -> list[Line | None]:
    best = _information(reading.likelihood)
    table = _component_rows(reading.design)
    independent = None if best is None else best.components()["std_error"].to_numpy()
    made: list[Line | None] = []
    for k, row in enumerate(table):
        last = k == len(table) - 1
        values, own, given, absent = {}, {}, {}, {}
        differenced: dict[str, tuple[float, float, float]] = {}
        for label, fit in reading.fits.items():
            expected, said = reading.expected[label], _said(fit)
            if fit.engine == "mixedlm":
                if last:
                    absent[label] = "its likelihood has the residual variance profiled out: it has no error of it"
                elif expected.printed is None:
                    absent[label] = expected.why
                else:
                    values[label], own[label] = said["printed"][k], expected.printed[k]
                    given[label] = "error_of_ratio"
            elif fit.engine == "lme4":
                absent[label] = WHY_NOT
                name = label.replace("lme4", LMERTEST, 1)
                if said["components"] is None or expected.components is None:
                    absent[name] = said["why_satterthwaite"] or expected.why or "the deviance bends down somewhere"
                else:
                    values[name], own[name] = said["components"][k], expected.components[k]
            elif said["stated"] is None or expected.components is None or best is None:
                absent[label] = said["why"] or expected.why or NEAR
            else:
                jacobian, as_stated = _from_logs(said["at"], said["stated"], reading.design)
                off = _rounding(said["at"], said["stated"], jacobian, fit)
                differenced[label] = as_stated[k], expected.components[k], off[k]
                if said["wide"] is None:
                    absent[label] = said["why_wide"]
                else:
                    values[label] = _from_logs(said["at"], said["wide"], reading.design)[1][k]
                    own[label] = expected.components[k]
        made.append(
            reading.line(ERRORS, "standard error", "error_of_variance", row, values=values, definitions=given,
                         expected=own, absent=absent, independent=np.nan if independent is None else independent[k])
        )  # fmt: skip
        for label, (value, expected_value, off) in differenced.items():
            made.append(
                reading.line(ERRORS, "standard error by nlme's own steps", "differenced_error", row,
                             values={label: value}, definitions={label: "differenced_likelihood"},
                             expected={label: expected_value}, scale=float(off + 3e-3 * expected_value))
            )  # fmt: skip
    return made


def _component_rows(design: Design) -> list[dict[str, str]]:
    """``effect, group, term`` of variances and covariances, in the order of `Fit.estimates`, the residual one last."""
    rows = []
    for term in design.terms:
        names = term.names
        rows += [(term.group, f"var__{name}") for name in names]
        rows += [(term.group, f"cov__{names[i]}.{names[j]}") for j in range(len(names)) for i in range(j)]
    rows.append(("Residual", "var__Observation"))
    return [{"effect": "ran_pars", "group": group, "term": term} for group, term in rows]


# ---- tests ---------------------------------------------------------------------------------------------------------


def _degrees_at(reading: _Reading, fit: Fit) -> dict[str, Any]:
    """Degrees of freedom by every definition at a fit's estimates; a text where there are none."""
    given = fit.covariances, fit.residual_variance

    def tried(function: Callable[[], Any]) -> Any:
        try:
            return function()
        except (DegreesError, LikelihoodError) as error:
            return str(error)

    return {
        "satterthwaite": tried(lambda: degrees.satterthwaite(reading.likelihood, *given)),
        "kenward_roger": tried(lambda: degrees.kenward_roger(reading.design, *given)),
    }


def test_lines(comparison: Comparison) -> list[Line]:
    """Test statistics, degrees of freedom and p-values of the fixed effects, by every definition, each held to its own.

    Raises
    ------
    RError : R, or one of lmerTest and pbkrtest, is missing
    """
    reading = _Reading(comparison)
    made: list[Line | None] = []
    tests = [test for label, fit in reading.fits.items() for test in _tests(reading, label, fit)]
    for k, term in enumerate(reading.design.names):
        row = {"effect": "fixed", "term": term}
        for quantity, tolerance, stated, own, kind in (
            ("test statistic", "test_statistic", "statistic", "own_statistic", "by_statistic"),
            ("degrees of freedom", "degrees_of_freedom", "df", "own_df", "by_df"),
            ("p-value", "p_value_of_t", "p", "own_p", "by_p"),
        ):
            values = {each.source: getattr(each, stated)[k] for each in tests if getattr(each, stated) is not None}
            expected = {each.source: getattr(each, own)[k] for each in tests if getattr(each, own) is not None}
            sizes = [abs(value) for value in values.values() if np.isfinite(value)]
            made.append(
                reading.line(
                    TESTS, quantity, tolerance, row, values=values, expected=expected,
                    definitions={each.source: getattr(each, kind) for each in tests},
                    absent={each.source: each.absent.get(stated, "") for each in tests},
                    # Near zero a statistic has no size of its own: it counts standard errors.
                    scale=max([1.0, *sizes]) if stated == "statistic" else np.nan,
                )
            )  # fmt: skip
    return [line for line in made if line is not None]


@dataclass(frozen=True, eq=False)
class _Test:
    """What one source states of the tests of all fixed effects, arrays of shape (p,), and what is expected of it."""

    source: str
    statistic: np.ndarray | None = None
    df: np.ndarray | None = None
    p: np.ndarray | None = None
    own_statistic: np.ndarray | None = None
    own_df: np.ndarray | None = None
    own_p: np.ndarray | None = None
    by_statistic: str = ""
    by_df: str = ""
    by_p: str = ""
    std_error: np.ndarray | None = None
    kind: str = ""
    absent: dict[str, str] | None = None


def _tests(reading: _Reading, label: str, fit: Fit) -> list[_Test]:
    """The tests of one fit, by the packages that make any of it."""
    expected, said = reading.expected[label], _said(fit)
    plain = fit.fixed / expected.conditional
    if fit.engine == "mixedlm":
        z = None if expected.joint is None else fit.fixed / expected.joint
        return [
            _Test(
                label, said["z"], None, said["p"], z, None, None if z is None else 2 * stats.norm.sf(np.abs(z)),
                "z_joint", "", "p_normal", fit.std_error, "z",
                {"df": "it states z, by the normal distribution: there are no degrees of freedom"},
            )
        ]  # fmt: skip
    if fit.engine == "nlme":
        own = plain / _adjusted(fit)
        try:
            df = degrees.inner_outer(reading.design)
        except DegreesError:
            df = None
        adjusted = "" if fit.model.reml else "t_adjusted"
        return [
            _Test(
                label, said["t"], said["df"], said["p"], own, df, None if df is None else _p(own, df), adjusted,
                "df_inner_outer", "p_inner_outer", said["std_error"], "inner-outer", {},
            )
        ]  # fmt: skip
    found = [
        _Test(label, said["t"], None, None, plain, None, None, std_error=fit.std_error, kind="t, residual df",
              absent={"df": NO_P, "p": NO_P})
    ]  # fmt: skip
    computed = _degrees_at(reading, fit)
    for name, key, kind, by_t in (
        (LMERTEST, "satterthwaite", "Satterthwaite", ""),
        (PBKRTEST, "kenward_roger", "Kenward-Roger", "t_kenward_roger"),
    ):
        source = label.replace("lme4", name, 1)
        why = dict.fromkeys(("statistic", "df", "p"), said[f"why_{key}"])
        if said[key] is None:
            found.append(_Test(source, absent=why))
            continue
        _, std_error, df, t, p = said[key].T
        own_t, own_df = plain, computed[key]
        if key == "kenward_roger" and not isinstance(own_df, str):
            covariance, own_df = own_df
            own_t = fit.fixed / np.sqrt(np.diag(covariance))
        if isinstance(own_df, str):
            own_df, own_t = None, own_t if key == "satterthwaite" else None
        own_p = None if own_df is None else _p(own_t, own_df)
        found.append(_Test(source, t, df, p, own_t, own_df, own_p, by_t, f"df_{key}", f"p_{key}", std_error, kind, {}))
    return found


def _p(t: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Two-sided p-values of t."""
    return 2 * stats.t.sf(np.abs(t), df)


def tests_table(comparison: Comparison) -> pd.DataFrame:
    """Every test of every fixed effect that a package makes, beside lme4's t taken with n - p degrees of freedom.

    Returns
    -------
    one row a fixed effect, kind and source: ``term, kind, estimate, std_error, df, statistic, p_value, source``; what
    each kind assumes, and what is missing and why, stands in ``attrs["notes"]``

    Raises
    ------
    RError : R, or one of lmerTest and pbkrtest, is missing
    """
    reading = _Reading(comparison)
    n, p = reading.design.X.shape
    rows, notes = [], []
    for label, fit in reading.fits.items():
        for test in _tests(reading, label, fit):
            if test.statistic is None:
                notes.append(f"{test.source}: {(test.absent or {})['df']}")
                continue
            df, p_values = test.df, test.p
            if test.kind == "z":
                df = np.full(p, np.inf)
            elif df is None:
                df = np.full(p, float(n - p))
                p_values = _p(test.statistic, df)
            for k, term in enumerate(reading.design.names):
                rows.append((term, test.kind, fit.fixed[k], test.std_error[k], df[k], test.statistic[k], p_values[k],
                             test.source))  # fmt: skip
    columns = ["term", "kind", "estimate", "std_error", "df", "statistic", "p_value", "source"]
    table = pd.DataFrame(rows, columns=columns)
    order = {name: i for i, name in enumerate(reading.design.names)}, {name: i for i, name in enumerate(ASSUMES)}
    place = [(order[0][term], order[1][kind]) for term, kind in zip(table["term"], table["kind"], strict=True)]
    table = table.iloc[sorted(range(len(table)), key=place.__getitem__)].reset_index(drop=True)
    table.attrs["notes"] = [f"{kind}: {ASSUMES[kind]}." for kind in ASSUMES if kind in set(table["kind"])]
    table.attrs["notes"] += list(dict.fromkeys(f"{note}." for note in notes))
    return table


# ---- for reading ---------------------------------------------------------------------------------------------------


def components_table(fit: Fit) -> pd.DataFrame | str:
    """What MixedLM prints beside each variance and covariance, and the way from there to its standard error.

    Parameters
    ----------
    fit : any engine's: what MixedLM would print at these estimates; of MixedLM itself also what it does print

    Returns
    -------
    ``group, term, estimate, ratio, of_ratio, printed, in_unit, from_covariance, from_residual, std_error, factor`` as
    `information.Information.ratios` has them, all independent; for a fit by MixedLM ``stated`` beside ``printed``. Or a
    sentence, where a covariance matrix is singular or the estimates are not near an optimum
    """
    likelihood = reference.of(fit.model).likelihood
    try:
        table = information.observed(likelihood, fit.fixed, fit.covariances, fit.residual_variance).ratios
    except InformationError as error:
        return f"No table: {error}."
    if fit.engine == "mixedlm":
        table.insert(list(table.columns).index("printed"), "stated", _said(fit)["printed"])
    return table.reset_index(drop=True)
