"""What nlme says of a fit beyond the estimates, in the model's order."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.arrays import Matrix, Vector
from concord.engines.error_definitions import resolution
from concord.engines.fit import Fit
from concord.engines.nlme.engine import RandomEffects, described_by
from concord.engines.statements import (
    NO_DEVIANCE,
    Criteria,
    ErrorOfVariance,
    Predictions,
    Statement,
    Test,
    Uncertainty,
    WaldIntervals,
    asked_in_r,
    collected,
    first_rows,
    of_whole_rows,
)
from concord.likelihood.likelihood import Likelihood
from concord.models.design import Design
from concord.models.nesting import levels
from concord.models.parameters import entries, keys

_R = Path(__file__).with_suffix(".R")

# The steps of nlme's numerical Hessian (lmeControl's .relStep and minAbsParApVar).
STEP, LEAST = np.finfo(float).eps ** (1 / 3), 0.05
# These are so small that they lose the derivatives in rounding where the log-likelihood is large; and this is a step in
# which they do not. By how much of its width an interval may be off.
WIDE, ROUNDED = 1e-4, 1e-3


def _room() -> Any:
    r.package("nlme")
    return r.source(_R)


# ---- standard errors and tests ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Summary:
    """What nlme's summary holds, and its approximate covariance matrix, in the order of the model's parameters.

    Attributes
    ----------
    std_error, df, t, p : of the fixed effects, shape (p,)
    at : log standard deviations and log((1 + r) / (1 - r)) of correlations, the residual's last, in the order of
        `Fit.estimates`; None where nlme gives no covariance matrix of them
    stated : their approximate covariance matrix, or None with the reason `why`
    wide : the same by steps that keep the digits, or None with the reason `why_wide`
    """

    std_error: np.ndarray
    df: np.ndarray
    t: np.ndarray
    p: np.ndarray
    at: np.ndarray | None = None
    stated: np.ndarray | None = None
    wide: np.ndarray | None = None
    why: str = ""
    why_wide: str = ""


@dataclass(frozen=True, eq=False)
class _Table:
    """nlme's summary as R has it: the fixed effects' table by their names; `at` and `covariance` of `Summary.stated`,
    in nlme's order, or `why` there are none; of every level of grouping, innermost first, the effects and whether they
    are independent.
    """

    terms: list[str]
    table: Matrix
    why: str | None
    covariance: Matrix | None
    at: Vector | None
    columns: list[list[str]]
    independent: Vector


@dataclass(frozen=True, eq=False)
class _Wide:
    covariance: Matrix
    at: Vector


def summary(fit: Fit) -> Summary:
    """What nlme's summary of a fit states; to be asked where the fit is."""
    room, design = _room(), fit.model.design
    got = r.record(_Table, r.call(room["summary_table"], fit.native))
    order = [got.terms.index(name) for name in design.names]
    _, std_error, df, t, p = got.table[order].T
    if got.covariance is None or got.at is None:
        return Summary(std_error, df, t, p, why=got.why or "")
    places = _places(design, got)
    square = np.ix_(places, places)
    wide, why = None, ""
    try:
        wide = r.record(_Wide, r.call(room["by_wide_steps"], fit.native)).covariance[square]
    except r.RError as error:
        why = f"nlme stops with {error}"
    return Summary(std_error, df, t, p, got.at[places], got.covariance[square], wide, why_wide=why)


def _places(design: Design, got: _Table) -> list[int]:
    """Where nlme has the variances and covariances, in the order of `Fit.estimates`; innermost level first there."""
    of, start = {}, 0
    for terms, columns, independent in zip(reversed(levels(design) or ()), got.columns, got.independent, strict=True):
        q = len(columns)
        owner = {name: i for i in terms for name in design.terms[i].names}
        for k, name in enumerate(columns):
            of[owner[name], name, name] = start + k
        start += q
        if q > 1 and not independent:
            # R takes the lower triangle column by column.
            for a, b in ((columns[i], columns[j]) for i in range(q) for j in range(i + 1, q)):
                of[owner[a], a, b] = of[owner[b], b, a] = start
                start += 1
    places = []
    for i, term in enumerate(design.terms):
        places += [of[i, term.names[a], term.names[b]] for a, b in entries(len(term.names))]
    return [*places, start]


def uncertainty(fit: Fit, likelihood: Likelihood, lost: float) -> Uncertainty:
    """nlme's standard errors and tests; see `concord.engines.statements`."""
    said: Summary = fit.ask(summary)
    by_ml = not fit.model.reml
    own = components = ErrorOfVariance(why=said.why, tolerance="error_by_differences")
    if said.at is not None and said.stated is not None:
        jacobian, errors = from_logarithms(said.at, said.stated, fit.model.design)
        own = ErrorOfVariance(
            errors,
            "differenced_likelihood",
            quantity="standard error by nlme's own steps",
            tolerance="error_by_differences",
            rounding=rounding(said.at, said.stated, jacobian, fit, lost),
        )
        wide = None if said.wide is None else from_logarithms(said.at, said.wide, fit.model.design)[1]
        components = ErrorOfVariance(wide, why=said.why_wide, tolerance="error_by_differences")
    test = Test(
        kind="inner-outer",
        statistic=Statement(said.t, "t_adjusted" if by_ml else ""),
        df=Statement(said.df, "df_inner_outer"),
        p=Statement(said.p, "p_inner_outer"),
        std_error=Statement(said.std_error),
    )
    return Uncertainty(
        Statement(said.std_error, "adjusted_for_fixed_effects" if by_ml else ""),
        Statement(fit.std_error),
        Statement(why="it states none: its own holds the variances"),
        (components, own) if own is not components else (components,),
        (test,),
    )


def from_logarithms(at: np.ndarray, covariance: np.ndarray, design: Design) -> tuple[np.ndarray, np.ndarray]:
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


def rounding(
    at: np.ndarray, covariance: np.ndarray, jacobian: np.ndarray, fit: Fit, value: float = 0.0, step: float = STEP
) -> np.ndarray:
    """What the rounding of nlme's log-likelihood can do to its standard errors, to the first order, shape (k,).

    Four values are differenced over the product of two steps, `step` of the parameters; the rounding of each value is
    that of `resolution`, or `value` where that is more.
    """
    steps = step * np.maximum(np.abs(at), LEAST)
    error = 4 * max(resolution(fit), value) / np.outer(steps, steps)
    through = np.abs(jacobian @ covariance)
    moved = np.einsum("ki,ij,kj->k", through, error, through)
    variances = np.diag(jacobian @ covariance @ jacobian.T)
    errors: np.ndarray = moved / (2 * np.sqrt(variances))
    return errors


# ---- criteria --------------------------------------------------------------------------------------------------------


def criteria(fit: Fit) -> Criteria:
    """``logLik``, ``AIC``, ``BIC`` and ``nobs`` of a fit."""
    return fit.ask(_criteria)


def _criteria(fit: Fit) -> Criteria:
    got = {key: float(value[0]) for key, value in r.from_r(r.call(_room()["criteria"], fit.native)).items()}
    return Criteria(
        df=Statement(got["df"]),
        aic=Statement(got["aic"]),
        bic=Statement(got["bic"], "bic_of_contrasts" if fit.model.reml else ""),
        deviance=NO_DEVIANCE,
        df_residual=Statement(why="it has residual degrees of freedom of every term, none of the model"),
        nobs=Statement(got["nobs"]),
    )


# ---- random effects and predictions ----------------------------------------------------------------------------------


def predictions(fit: Fit, new: pd.DataFrame) -> Predictions:
    """What nlme predicts, and the parts of the variance; see `Predictions`."""
    return fit.ask(_predictions, new)


_OF_EFFECTS = ("random", "standardized", "fitted", "predicted", "residual", "pearson", "scaled", "new")
_WITHOUT_FIXED = (
    "without fixed effects nlme divides the last group's effects once too often, so that what it predicts there is "
    "wrong: see the finding nlme_without_fixed"
)


def _predictions(fit: Fit, new: pd.DataFrame) -> Predictions:
    said = collected(
        fit,
        new,
        (
            (("errors", "conditional"), "nlme gives no conditional variances of random effects"),
            (("standardized",), _standardized),
            (("fitted", "fitted_fixed", "predicted", "residual", "pearson", "scaled"), asked_in_r(_room, "rows")),
            (("new_fixed", "new"), of_whole_rows(asked_in_r(_room, "new_rows", of_new_rows=True))),
            (("variances",), _variances),
        ),
        definitions={"standardized": "standardized_by_deviation"},
        parts={"new, unknown levels": "predict() of nlme gives NA where a level is unknown"},
        # lme leaves offsets out without a word: it is given the response less its offset.
        without_offset=fit.model.design.offset is not None,
    )
    if fit.model.design.names:
        return said
    right = {name: value for name, value in said.values.items() if name not in _OF_EFFECTS}
    return replace(said, values=right, absent={**said.absent, **dict.fromkeys(_OF_EFFECTS, _WITHOUT_FIXED)})


def _variances(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    got = r.from_r(r.call(_room()["variances"], fit.native))
    return {"variances": {part: float(value[0]) for part, value in got.items()}}


def _standardized(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    """As the engine has the random effects themselves: by the names that nlme has for its groups."""
    design, effects = fit.model.design, {}
    got = r.records(RandomEffects, r.call(_room()["standardized"], fit.native))
    found_in = described_by(fit.native).levels
    for terms, table, level in zip(levels(design) or ((0,),), got, found_in, strict=True):
        for t in terms:
            term = design.terms[t]
            places = [table.level.index(level.groups[row]) for row in first_rows(term)]
            for j, name in enumerate(term.names):
                effects[t, j] = table.estimate[places, table.term.index(name)]
    return {"standardized": effects}


# ---- intervals -------------------------------------------------------------------------------------------------------


def intervals(fit: Fit, level: float, lost: float) -> WaldIntervals:
    """nlme's ``intervals``; where those of standard deviations and correlations are lost in the rounding of its
    differences, the same in wider steps beside them.
    """
    own: WaldIntervals = fit.ask(_intervals, level, None)
    if not own.components:
        return own
    wider: WaldIntervals = fit.ask(_intervals, level, WIDE)
    said, design = fit.ask(summary), fit.model.design
    off = off_wider = np.zeros(len(keys(design)))
    if said.at is not None and said.stated is not None:
        off = rounding(said.at, said.stated, np.eye(len(said.at)), fit, lost)
        # The covariance matrix by nlme's own steps may itself be lost.
        kept = said.stated if said.wide is None else said.wide
        off_wider = rounding(said.at, kept, np.eye(len(said.at)), fit, lost, WIDE)
    places = {key[1:]: k for k, key in enumerate(keys(design)[len(design.names) :])}
    components: dict[tuple[str, str], tuple[Statement, ...]] = {}
    for (group, term), (stated,) in own.components.items():
        place = places[group, term.replace("sd__", "var__").replace("cor__", "cov__")]
        components[group, term] = (replace(stated, rounding=float(off[place])),)
        for other in wider.components.get((group, term), ()):
            if is_lost(stated.value, other.value):
                source, quantity = f"{fit.engine}, wider steps", f".relStep = {WIDE:g}"
                better = replace(other, source=source, quantity=quantity, rounding=float(off_wider[place]))
                components[group, term] += (better,)
    return replace(own, components=components)


def is_lost(own: tuple[float, float], wider: tuple[float, float]) -> bool:
    """Whether an interval is lost in the rounding of nlme's differences: its own, in wider steps, is another."""
    # At a variance of zero its interval may reach from 0 to infinity, which none can be held against.
    if not np.isfinite(wider).all():
        return False
    apart = np.abs(np.subtract(own, wider)) / np.maximum(np.abs(wider), np.finfo(float).tiny)
    return bool(
        np.abs(np.subtract(own, wider)).max() > ROUNDED / 4 * (wider[1] - wider[0]) or apart.max() > ROUNDED / 4
    )


def _intervals(fit: Fit, level: float, step: float | None) -> WaldIntervals:
    """Of fixed effects by name; by group and term, of standard deviations and correlations.

    Parameters
    ----------
    step : relative step of nlme's differences, for which it fits anew; None for its own
    """
    design = fit.model.design
    try:
        got = r.from_r(r.call(_room()["wald"], fit.native, level, step))
    except r.RError as error:
        return WaldIntervals(without=f"R stopped with: {error}")
    ends = zip(got["fixed"] or (), got["ends"], strict=True)  # no names where there are no fixed effects
    fixed = {name: Statement((float(a), float(b)), "interval_student") for name, (a, b) in ends}
    if got["reason"]:
        return WaldIntervals(fixed, without=" ".join(got["reason"][0].split()))
    pairs = {("Residual", "sd__Observation"): got["sigma"]}
    for terms, names, both in zip(levels(design) or ((0,),), got["names"], got["components"], strict=True):
        own = dict(zip(names, both.reshape(-1, 2), strict=True))
        for term in (design.terms[i] for i in terms):
            for i, second in enumerate(term.names):
                pairs[term.group, f"sd__{second}"] = own[f"sd({second})"]
                for first in term.names[:i]:
                    pair = own.get(f"cor({first},{second})", own.get(f"cor({second},{first})"))
                    pairs[term.group, f"cor__{first}.{second}"] = pair
    return WaldIntervals(
        fixed, {key: (Statement(tuple(map(float, pair)), "interval_of_logarithm"),) for key, pair in pairs.items()}
    )
