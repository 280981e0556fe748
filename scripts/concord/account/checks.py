"""Checks: what each package looks at to say that a fit is at the optimum or on the boundary, and whether it is right.

lme4 takes derivatives of the deviance by differences, in theta, and compares theta's diagonal with its bound. MixedLM
has an exact score, in the entries of a Cholesky factor of the covariance matrix over the residual variance, and
compares variances with 0.01. Each is held against the independent criterion's derivatives in the package's own
parameters; what makes them comparable is the relative gradient, 2 F' G F for a factor F of a covariance matrix and the
deviance's derivatives G with respect to that matrix: its eigenvalues are the same in every coding and for every factor,
and for a single effect they are the derivative with respect to the logarithm of its standard deviation.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import linalg

from concord import r
from concord.account.line import Line
from concord.agreement.comparison import Comparison
from concord.engines import engine
from concord.engines.fit import Fit
from concord.engines.statsmodels.engine import coding_of
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.models.design import DesignTerm

_R = Path(__file__).with_suffix(".R")
_LME4 = Path(engine.__file__).parent / "lme4" / "fit.R"

SECTION = "checks"
# lme4's own: the step of its differences, the least diagonal of theta, and the largest gradient that it lets pass.
STEP, LEAST_THETA, LARGEST_GRADIENT = 1e-4, 1e-4, 0.002
# MixedLM's own: a variance below this is on the boundary, in whatever units the response is.
LEAST_VARIANCE = 0.01
# A factor's diagonal is measured on what it adds to the response; steps of differences are this share of that.
_SHARE = 1e-3
_ALARM = "may be on the boundary"

_ASKED: dict[str, Callable[[Fit], dict[str, Any]]] = {}


# ---- factors and their derivatives ---------------------------------------------------------------------------------


def relative_gradient(factor: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Eigenvalues of 2 F' G F, shape (q,), from the derivatives with respect to the lower triangle of F.

    The derivatives of a function of F F' are 2 G F, of which the lower triangle, multiplied by F', gives that of the
    symmetric matrix 2 F' G F.

    Parameters
    ----------
    factor : lower triangular, shape (q, q)
    slopes : derivatives with respect to its entries, in its lower triangle, shape (q, q)
    """
    product = np.tril(factor.T @ np.tril(slopes))
    return np.linalg.eigvalsh(product + np.tril(product, -1).T)


def _largest(factors: Sequence[np.ndarray], slopes: Sequence[np.ndarray]) -> float:
    """The largest absolute eigenvalue of all terms' relative gradients."""
    found = [
        np.abs(relative_gradient(factor, slope)).max(initial=0.0) for factor, slope in zip(factors, slopes, strict=True)
    ]
    return float(max(found, default=0.0))


def _filled(values: np.ndarray, sizes: Sequence[int], by_column: bool) -> list[np.ndarray]:
    """Lower triangles out of one vector, each column by column, as lme4 has them, or row by row, as MixedLM has."""
    made, start = [], 0
    for q in sizes:
        rows, columns = np.triu_indices(q)[::-1] if by_column else np.tril_indices(q)
        matrix = np.zeros((q, q))
        matrix[rows, columns] = values[start : start + len(rows)]
        made.append(matrix)
        start += len(rows)
    return made


class _Criterion:
    """The independent criterion as a function of a package's own factors, in the package's own columns.

    Parameters
    ----------
    fit : whose model and method it is
    terms : the random terms as the package has them
    by_column : how it packs the lower triangles
    """

    def __init__(self, fit: Fit, terms: Sequence[DesignTerm], by_column: bool) -> None:
        self._likelihood = Likelihood(replace(fit.model.design, terms=tuple(terms)), fit.model.reml)
        self.sizes, self.by_column = [len(term.names) for term in terms], by_column
        # In whichever order the entries stand, the row of each says whose effect's unit it has.
        units = [1 / np.sqrt(np.mean(term.matrix**2, axis=0)) for term in terms]
        rows = [np.triu_indices(q)[1] if by_column else np.tril_indices(q)[0] for q in self.sizes]
        self.units = np.concatenate([unit[row] for unit, row in zip(units, rows, strict=True)])

    def __call__(self, packed: np.ndarray) -> float:
        relative = [factor @ factor.T for factor in self.factors(packed)]
        return self._likelihood.criterion(self._likelihood.theta_of(relative))

    def factors(self, packed: np.ndarray) -> list[np.ndarray]:
        return _filled(packed, self.sizes, self.by_column)

    def slopes(self, packed: np.ndarray) -> np.ndarray:
        """Derivatives by differences of four values, with steps in the units of the effects, shape (m,)."""
        found = np.zeros(len(packed))
        for i, unit in enumerate(self.units):
            h = _SHARE * max(unit, abs(packed[i]))
            at = [self(packed + each * h * np.eye(len(packed))[i]) for each in (-2, -1, 1, 2)]
            found[i] = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h)
        return found

    def differences(self, packed: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and Hessian by differences with one step for all, as lme4 takes them, shapes (m,) and (m, m)."""
        m, here = len(packed), self(packed)
        ahead, behind = ([self(packed + s * step * e) for e in np.eye(m)] for s in (1, -1))
        gradient = (np.array(ahead) - behind) / (2 * step)
        hessian = np.diag((np.array(ahead) - 2 * here + behind) / step**2)
        for i in range(m):
            for j in range(i):
                corners = [
                    s * t * self(packed + step * (s * np.eye(m)[i] + t * np.eye(m)[j]))
                    for s in (1, -1)
                    for t in (1, -1)
                ]
                hessian[i, j] = hessian[j, i] = sum(corners) / (2 * step) ** 2
        return gradient, hessian


# ---- what the packages say -----------------------------------------------------------------------------------------


def asked_of_lme4(fit: Fit) -> dict[str, Any]:
    """What lme4 checks of a fit, and the independent values of the same, in lme4's own parameters.

    Returns
    -------
    dict : ``least`` (smallest entry of theta with a bound; ``expected_least`` from the covariance matrices),
        ``singular``, ``gradient`` (in theta, shape (m,)), ``checked`` (what is compared with 0.002), ``relative`` (the
        largest relative gradient), each derivative with its ``expected_``
    """
    got = r.from_r(r.call(r.source(_R)["checks"], fit.native))
    described = r.from_r(r.call(r.source(_LME4)["describe"], fit.native))
    terms = [
        DesignTerm(group, tuple(names), matrix.reshape(len(codes), -1), np.asarray(codes, int) - 1, ())
        for group, names, matrix, codes in zip(
            *(described[key] for key in ("groups", "columns", "matrices", "codes")), strict=True
        )
    ]
    terms = [replace(term, levels=("",) * (int(term.codes.max()) + 1)) for term in terms]
    criterion, theta = _Criterion(fit, terms, by_column=True), np.asarray(got["theta"], float)
    gradient, hessian = criterion.differences(theta, STEP)
    stated = np.asarray(got["gradient"], float)
    relative = [covariance / float(described["sigma2"][0]) for covariance in described["covariances"]]
    least = min(_least_diagonal(each) for each in relative)
    factors = criterion.factors(theta)
    made = {
        "least": float(np.min(got["bounded"])),
        "expected_least": least,
        "singular": bool(got["singular"][0]),
        "expected_gradient": gradient,
        "expected_checked": _checked(gradient, _scaled(gradient, hessian)),
        "expected_relative": _largest(factors, criterion.factors(gradient)),
    }
    if len(stated) == len(theta):
        made["gradient"] = stated
        made["checked"] = _checked(stated, np.asarray(got["scaled"], float))
        made["relative"] = _largest(factors, criterion.factors(stated))
    return made


def _scaled(gradient: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """The gradient by the inverse of the Hessian's upper Cholesky factor; NaN where the Hessian has none."""
    try:
        return np.linalg.solve(np.linalg.cholesky(hessian).T, gradient)
    except np.linalg.LinAlgError:
        return np.full(len(gradient), np.nan)


def _checked(gradient: np.ndarray, scaled: np.ndarray) -> float:
    """What lme4's check compares with 0.002: entry by entry the smaller one, and the largest of these."""
    return float(np.minimum(np.abs(gradient), np.abs(scaled)).max(initial=0.0))


def asked_of_mixedlm(fit: Fit) -> dict[str, Any]:
    """What MixedLM checks of a fit, and the independent values of the same, in MixedLM's own parameters.

    Returns
    -------
    dict : ``least`` (smallest variance; ``expected_least`` from the fit's estimates), ``score`` (of the log-likelihood,
        shape (m,)), ``relative`` (the largest relative gradient), each derivative with its ``expected_``; of a fit by
        default settings also ``stop`` (where its first optimizer stopped, in the entries of the factor), ``stop_score``
        (what MixedLM's score says there), ``stop_slopes`` (the derivatives there) and ``stop_mirrored`` (those at the
        same covariance matrix, its factor with a positive diagonal)
    """
    results = getattr(fit.native, "_results", fit.native)
    made = results.model
    coding = coding_of(made, fit.model)
    terms = []
    if made.k_re:
        codes, levels = pd.factorize(np.asarray(made.groups))
        columns = np.asarray(made.exog_re).reshape(len(codes), -1)
        names = tuple(map(str, range(columns.shape[1])))
        terms.append(DesignTerm("groups", names, columns, codes, tuple(map(str, levels))))
    for each in coding.components:
        term = fit.model.design.terms[each.term]
        terms.append(replace(term, matrix=each.ratio * term.matrix))
    criterion = _Criterion(fit, terms, by_column=False)
    # What MixedLM holds at zero by `free=` has no derivative there.
    free = np.ones(len(criterion.units))
    if results.freepat is not None:
        free[: made.k_re2] = results.freepat.cov_re[np.tril_indices(made.k_re)]
    present = made.reml
    try:
        made.reml = results.reml
        at = results.params_object.get_packed(use_sqrt=True, has_fe=False)
        score = np.asarray(made.score(results.params_object.copy()), float)
        stop = _stopped(made) if fit.settings == "default" else None
        stop_score = None if stop is None else np.asarray(made.score(stop.copy()), float)
    finally:
        made.reml = present
    variances = [*np.diag(np.asarray(results.cov_re)), *np.asarray(results.vcomp)]
    # The fit's own covariance matrices, back in the columns that MixedLM was given.
    back = np.linalg.inv(coding.random)
    kept = [fit.covariances[i] for i in coding.correlated]
    mine = [*np.diag(back @ linalg.block_diag(*kept) @ back.T)] if kept else []
    mine += [float(fit.covariances[each.term][0, 0]) / each.ratio**2 for each in coding.components]
    factors = criterion.factors(at)
    slopes = criterion.slopes(at) * free
    found = {
        "least": float(np.min(np.abs(variances))),
        "expected_least": float(np.min(np.abs(mine))),
        "score": score,
        "expected_score": -slopes / 2,
        "relative": _largest(factors, criterion.factors(-2 * score)),
        "expected_relative": _largest(factors, criterion.factors(slopes)),
    }
    if stop is not None:
        signs = _signs(criterion.factors(stop))
        there = -criterion.slopes(stop) * free / 2
        found |= {"stop": stop, "stop_score": stop_score, "stop_slopes": there, "stop_mirrored": there * signs}
    return found


_ASKED.update(lme4=asked_of_lme4, mixedlm=asked_of_mixedlm)


def _stopped(made: Any) -> np.ndarray:
    """Where MixedLM's first optimizer, bfgs from identity matrices, stops: in the factor that it moves, whose diagonal
    may have become negative, and which the result no longer tells.
    """
    from statsmodels.base.model import LikelihoodModel
    from statsmodels.regression.mixed_linear_model import MixedLMParams

    start = MixedLMParams(made.k_fe, made.k_re, made.k_vc)
    start.fe_params, start.cov_re, start.vcomp = np.zeros(made.k_fe), np.eye(made.k_re), np.ones(made.k_vc)
    packed = start.get_packed(use_sqrt=made.use_sqrt, has_fe=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = LikelihoodModel.fit(made, start_params=packed, skip_hessian=True, method="bfgs", disp=False)
    return np.atleast_1d(np.asarray(found.params, float))


def _signs(factors: Sequence[np.ndarray]) -> np.ndarray:
    """For every packed entry the sign of its column's diagonal entry: F and F times these signs make one matrix."""
    found = []
    for factor in factors:
        rows, columns = np.tril_indices(len(factor))
        found.append(np.where(np.diag(factor) < 0, -1.0, 1.0)[columns])
    return np.concatenate(found)


# ---- lines ---------------------------------------------------------------------------------------------------------


def answers(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """What was asked of every fit that can be asked, by its label; see `asked_of_lme4` and `asked_of_mixedlm`."""
    return {
        label: judgement.fit.ask(_ASKED[judgement.fit.engine])
        for label, judgement in comparison.judged
        if judgement.fit.engine in _ASKED and not judgement.fit.violation
    }


def lines(comparison: Comparison, asked: dict[str, dict[str, Any]] | None = None) -> list[Line]:
    """Gradients and boundaries as every package states them, beside the independent criterion's.

    Parameters
    ----------
    comparison : of fits of one model
    asked : what `answers` gave, where it was already asked for
    """
    asked = answers(comparison) if asked is None else asked
    fits = {label: judgement.fit for label, judgement in comparison.judged if label in asked}
    absent = {
        label: "it states neither gradient nor boundary"
        for label, judgement in comparison.judged
        if judgement.fit.engine not in _ASKED
    }
    made = []

    # By differences of the deviance over twice their step.
    lost = {
        label: 2 * each.resolution.stated / STEP
        for label, each in zip(comparison.labels, comparison.measures, strict=True)
        if each.fit.engine == "lme4"
    }

    def add(name: str, tolerance: str, values: dict[str, Any], **named: Any) -> None:
        if values:
            made.append(Line(SECTION, name, tolerance, values, short=comparison.apart, **named))

    for label, fit in fits.items():
        said = asked[label]
        if fit.engine == "lme4" and "gradient" in said:
            add(
                "gradient of the deviance in theta",
                "gradient",
                {label: said["gradient"]},
                definitions={label: "gradient_in_theta_by_differences"},
                expected={label: said["expected_gradient"]},
                scale=_size(said["gradient"]),
                rounding=lost,
            )
            if not math.isnan(said["checked"]):
                add(
                    "what lme4's check compares with 0.002",
                    "gradient",
                    {label: said["checked"]},
                    definitions={label: "smaller_of_gradient_and_scaled_gradient"},
                    expected={label: said["expected_checked"]},
                    rounding=lost,
                )
        if fit.engine == "mixedlm":
            add(
                "score in the factor's entries",
                "gradient",
                {label: said["score"]},
                definitions={label: "score_in_the_factor"},
                expected={label: said["expected_score"]},
                scale=_size(said["score"]),
            )
        if "stop" in said:
            turned = not np.array_equal(said["stop_slopes"], said["stop_mirrored"])
            add(
                "score where its first optimizer stopped",
                "gradient",
                {label: said["stop_score"]},
                definitions={label: "score_at_a_negative_diagonal" if turned else "score_in_the_factor"},
                expected={label: said["stop_mirrored"]},
                scale=_size(said["stop_score"]),
            )
    for label, fit in fits.items():
        name = "smallest diagonal entry of theta" if fit.engine == "lme4" else "smallest variance"
        expected = asked[label]["expected_least"]
        add(name, "least", {label: asked[label]["least"]}, expected={label: expected}, scale=max(1.0, expected))
    stated = {label: asked[label]["relative"] for label in fits if "relative" in asked[label]}
    add(
        "largest relative gradient",
        "gradient",
        stated,
        absent=absent,
        independent=_at_reference(comparison),
        definitions={label: "relative_gradient_by_differences" for label in stated if fits[label].engine == "lme4"},
        expected={label: asked[label]["expected_relative"] for label in stated},
        rounding={label: off * _reach(fits[label]) for label, off in lost.items() if label in stated},
    )
    on = {label: float(_says_boundary(fit, asked[label])) for label, fit in fits.items()}
    add(
        "on the boundary (1) or not (0)",
        "count",
        on,
        absent=absent,
        independent=float(comparison.against.boundary),
        definitions={label: _BOUNDARY[fit.engine] for label, fit in fits.items()},
        expected={label: float(_boundary_by_definition(fit, asked[label])) for label, fit in fits.items()},
    )
    return made


_BOUNDARY = {"lme4": "singular_by_theta", "mixedlm": "boundary_by_variance"}


def _reach(fit: Fit) -> float:
    """What an error of every derivative may be times in the largest eigenvalue of a relative gradient."""
    found = []
    for each in fit.covariances:
        values, vectors = np.linalg.eigh(each / fit.residual_variance)
        found.append(2 * math.sqrt(len(values)) * float(np.abs(vectors * np.sqrt(np.maximum(values, 0.0))).sum()))
    return max(found, default=0.0)


def _size(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0.0))


def _at_reference(comparison: Comparison) -> float:
    """The largest relative gradient at the reference, in the independent likelihood's own coordinates."""
    likelihood = comparison.against.likelihood
    best = comparison.against.parameters
    try:
        theta = likelihood.theta_at(best)
    except LikelihoodError:
        return math.nan
    sizes = [len(term.names) for term in comparison.model.design.terms]
    slopes = likelihood.criterion_and_gradient(theta)[1]
    return _largest(likelihood.factors(theta), _filled(slopes, sizes, by_column=True))


def _says_boundary(fit: Fit, said: dict[str, Any]) -> bool:
    """What the package itself says of the boundary."""
    if fit.engine == "lme4":
        return said["singular"]
    return any(_ALARM in message for message in fit.messages)


def _boundary_by_definition(fit: Fit, said: dict[str, Any]) -> bool:
    """The same, from the estimates by the package's definition."""
    return said["expected_least"] < (LEAST_THETA if fit.engine == "lme4" else LEAST_VARIANCE)


def _least_diagonal(relative: np.ndarray) -> float:
    """The smallest diagonal entry of a Cholesky factor: the root of what is left of each variance, given the effects
    before it. A singular matrix has one too.
    """
    found = []
    for k in range(len(relative)):
        before = np.linalg.lstsq(relative[:k, :k], relative[:k, k], rcond=1e-12)[0]
        found.append(math.sqrt(max(float(relative[k, k] - relative[k, :k] @ before), 0.0)))
    return min(found)


# ---- the table -----------------------------------------------------------------------------------------------------


def table(comparison: Comparison, asked: dict[str, dict[str, Any]] | None = None) -> pd.DataFrame:
    """What each package's checks say, and whether that is right.

    Parameters
    ----------
    comparison : of fits of one model
    asked : what `answers` gave, where it was already asked for

    Returns
    -------
    pandas.DataFrame : one row a fit and check, ``source, check, value, threshold, says, truth, right``. ``right`` is
        ``yes``, ``false alarm`` or ``missed``; of convergence the truth is whether the fit is at the optimum, of the
        boundary whether the optimum is on it
    """
    asked = answers(comparison) if asked is None else asked
    rows = []
    for label, judgement in comparison.judged:
        fit, said = judgement.fit, asked.get(label, {})
        short = comparison.below(judgement)
        where = f"{judgement.gap:.3g} below the optimum" if short else "at the optimum"
        converged = "says that it has converged" if fit.converged else "says that it has not"
        rows.append((label, "convergence", math.nan, math.nan, converged, where, _right(not fit.converged, short)))
        if "gradient" in said:
            # A singular fit's derivatives lme4 does not look at; one that cannot be scaled it warns of.
            if said["singular"]:
                rows.append((label, "gradient", said["checked"], LARGEST_GRADIENT, "not looked at", where, ""))
            else:
                alarm = not said["checked"] <= LARGEST_GRADIENT
                words = "warns" if alarm else "passes"
                row = (label, "gradient", said["checked"], LARGEST_GRADIENT, words, where, _right(alarm, short))
                rows.append(row)
        if said:
            on = comparison.against.boundary
            alarm = _says_boundary(fit, said)
            threshold = LEAST_THETA if fit.engine == "lme4" else LEAST_VARIANCE
            truth = "the optimum is on the boundary" if on else "the optimum is inside"
            words = "warns" if alarm else "passes"
            rows.append((label, "boundary", said["least"], threshold, words, truth, _right(alarm, on)))
        if "stop" in said:
            turned = int((np.sign(said["stop_slopes"]) != np.sign(said["stop_mirrored"])).sum())
            words = f"{turned} of {len(said['stop'])} derivatives have the wrong sign" if turned else "right signs"
            reason = (
                "a diagonal entry of the factor is negative there" if turned else "the factor's diagonal is positive"
            )
            verdict = "wrong sign" if turned else "yes"
            rows.append((label, "score at its first stop", math.nan, math.nan, words, reason, verdict))
    return pd.DataFrame(rows, columns=["source", "check", "value", "threshold", "says", "truth", "right"])


def _right(alarm: bool, wrong: bool) -> str:
    if alarm == wrong:
        return "yes"
    return "false alarm" if alarm else "missed"
