"""The optimum: MixedLM's criteria, and what it checks to say that a fit is there or on the boundary."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import linalg

import concord.engines.statsmodels
from concord.engines.fit import Fit
from concord.engines.statements import NO_DEVIANCE, Checks, Criteria, Statement, Stop
from concord.engines.statsmodels.result import Coding, as_fitted, coding_of, results_of
from concord.inference.gradients import Criterion, largest
from concord.models.design import DesignTerm

# A variance below this is on the boundary for MixedLM, in whatever units the response is.
LEAST_VARIANCE = 0.01


def criteria(fit: Fit) -> Criteria:
    """What a MixedLM result's attributes say."""
    return fit.ask(_criteria)


def _criteria(fit: Fit) -> Criteria:
    results = results_of(fit)
    with as_fitted(results):  # AIC and BIC read `llf`, and that the model object's present method
        # Of the rows as they are, and not of what they were multiplied to.
        both = [float(value) - fit.model.design.log_weights for value in (results.aic, results.bic)]
    aic, bic = (Statement(why="it gives NaN under REML") if math.isnan(value) else Statement(value) for value in both)
    held = results.freepat is not None
    counted = "parameters_with_those_held" if held else "parameters_without_the_residual_variance"
    return Criteria(
        df=Statement(float(results.df_modelwc), counted),
        aic=aic,
        bic=bic,
        deviance=NO_DEVIANCE,
        df_residual=Statement(float(results.df_resid), "rows_less_fixed_effects"),
        nobs=Statement(float(results.nobs)),
    )


def checks(fit: Fit, lost: float) -> Checks:
    """MixedLM's score, in its own parameters, and its boundary; of a fit by default settings also where its first
    optimizer stopped.
    """
    said: Checks = fit.ask(_checks)
    alarm = any("may be on the boundary" in message for message in fit.messages)
    boundary = Statement(alarm, "boundary_by_variance", expected=said.least.expected < LEAST_VARIANCE)
    return replace(said, boundary=boundary)


def _checks(fit: Fit) -> Checks:
    results = results_of(fit)
    coding = coding_of(results.model, fit.model)
    criterion, free = _criterion(fit, results, coding)
    with as_fitted(results) as model:
        at = results.params_object.get_packed(use_sqrt=True, has_fe=False)
        score = np.asarray(model.score(results.params_object.copy()), float)
        stopped = _stopped(model) if fit.settings == "default" else None
        stop_score = None if stopped is None else np.asarray(model.score(stopped.copy()), float)
    variances = [*np.diag(np.asarray(results.cov_re)), *np.asarray(results.vcomp)]
    # The fit's own covariance matrices, back in the columns that MixedLM was given.
    back = np.linalg.inv(coding.random)
    kept = [fit.covariances[i] for i in coding.correlated]
    ratios = [*np.diag(back @ linalg.block_diag(*kept) @ back.T)] if kept else []
    ratios += [float(fit.covariances[component.term][0, 0]) / component.ratio**2 for component in coding.components]
    factors = criterion.factors(at)
    slopes = criterion.slopes(at) * free
    name = "score in the factor's entries"
    derivatives = [Statement(score, "score_in_the_factor", quantity=name, expected=-slopes / 2)]
    stop = None
    if stopped is not None:
        there = -criterion.slopes(stopped) * free / 2
        stop = Stop(stopped, there, there * _signs(criterion.factors(stopped)))
        turned = not np.array_equal(stop.slopes, stop.mirrored)
        derivatives.append(
            Statement(
                stop_score,
                "score_at_a_negative_diagonal" if turned else "score_in_the_factor",
                quantity="score where its first optimizer stopped",
                expected=stop.mirrored,
            )
        )
    return Checks(
        derivatives=tuple(derivatives),
        relative=Statement(
            largest(factors, criterion.factors(-2 * score)), expected=largest(factors, criterion.factors(slopes))
        ),
        least=Statement(
            float(np.min(np.abs(variances))), quantity="smallest variance", expected=float(np.min(np.abs(ratios)))
        ),
        threshold=LEAST_VARIANCE,
        boundary=Statement(),
        stop=stop,
    )


def _criterion(fit: Fit, results: Any, coding: Coding) -> tuple[Criterion, np.ndarray]:
    """The independent criterion in MixedLM's columns, and which of its parameters are free: what MixedLM holds at zero
    by `free=` has no derivative there.
    """
    model, terms = results.model, []
    if model.k_re:
        codes, labels = pd.factorize(np.asarray(model.groups))
        columns = np.asarray(model.exog_re).reshape(len(codes), -1)
        names = tuple(map(str, range(columns.shape[1])))
        terms.append(DesignTerm("groups", names, columns, codes, tuple(map(str, labels))))
    for component in coding.components:
        term = fit.model.design.terms[component.term]
        terms.append(replace(term, matrix=component.ratio * term.matrix))
    criterion = Criterion(fit.model.design, fit.model.reml, terms, by_column=False)
    free = np.ones(len(criterion.units))
    if results.freepat is not None:
        free[: model.k_re2] = results.freepat.cov_re[np.tril_indices(model.k_re)]
    return criterion, free


def _stopped(model: Any) -> np.ndarray:
    """Where MixedLM's first optimizer, bfgs from identity matrices, stops: in the factor that it moves, whose diagonal
    may have become negative, and which the result no longer tells.
    """
    upstream = concord.engines.statsmodels.upstream
    start = upstream.MixedLMParams(model.k_fe, model.k_re, model.k_vc)
    start.fe_params, start.cov_re, start.vcomp = np.zeros(model.k_fe), np.eye(model.k_re), np.ones(model.k_vc)
    packed = start.get_packed(use_sqrt=model.use_sqrt, has_fe=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stopped = upstream.LikelihoodModel.fit(model, start_params=packed, skip_hessian=True, method="bfgs", disp=False)
    return np.atleast_1d(np.asarray(stopped.params, float))


def _signs(factors: Sequence[np.ndarray]) -> np.ndarray:
    """For every packed entry the sign of its column's diagonal entry: F and F times these signs make one matrix."""
    signs = []
    for factor in factors:
        rows, columns = np.tril_indices(len(factor))
        signs.append(np.where(np.diag(factor) < 0, -1.0, 1.0)[columns])
    return np.concatenate(signs)
