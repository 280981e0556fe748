"""What packages are asked about how uncertain their estimates are, and what they say, in the model's coding.

Each function is called where the package's own result is (`Fit.ask`). R's side is in the R file beside this one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from concord import r
from concord.engines.error_definitions import of_variances
from concord.engines.fit import Fit
from concord.engines.lme4 import engine as lme4
from concord.engines.statsmodels import engine as mixedlm
from concord.models.design import Design
from concord.models.nesting import levels

LMERTEST, PBKRTEST = "lmerTest", "pbkrtest"

_R = Path(__file__).with_suffix(".R")
_answers: WeakKeyDictionary[Fit, dict[str, Any]] = WeakKeyDictionary()


def asked(fit: Fit) -> dict[str, Any]:
    """What the fit's package states, asked once: by `said_by_mixedlm`, `said_by_lme4` or `said_by_nlme`.

    Raises
    ------
    RError : R, or one of lmerTest and pbkrtest, is missing
    """
    if fit not in _answers:
        _answers[fit] = fit.ask(QUESTIONS[fit.engine])
    return _answers[fit]


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
        "satterthwaite": None,
        "why_satterthwaite": "",
        "kenward_roger": None,
        "why_kenward_roger": "",
        "components": None,
        "said": [],
    }
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


QUESTIONS = {"statsmodels": said_by_mixedlm, "lme4": said_by_lme4, "nlme": said_by_nlme}


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
    jacobian = of_variances(factors, sigma, [back for _, _, back in codings])
    return np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))


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
