"""Random effects and predictions: what MixedLM states of a fit, in the model's coding."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import numpy as np
import pandas as pd

from concord.engines.fit import Fit
from concord.engines.statements import NotStated, Predictions, collected, first_rows, of_whole_rows
from concord.engines.statsmodels.formula import for_mixedlm
from concord.engines.statsmodels.result import results_of
from concord.inference import effects
from concord.inference.effects import Effect
from concord.models.coding import between, same_groups


def predictions(fit: Fit, new: pd.DataFrame) -> Predictions:
    """What MixedLM predicts, and the parts of the variance; see `Predictions`."""
    return fit.ask(_predictions, new)


def _predictions(fit: Fit, new: pd.DataFrame) -> Predictions:
    # MixedLM has no offsets: it is given the response less its offset.
    less = fit.model.design.offset is not None
    return collected(
        fit,
        new,
        (
            (("random", "errors"), _effects),
            (("conditional",), _conditional),
            (("standardized",), "it has no standardized random effects"),
            (("fitted",), lambda fit, new: {"fitted": _of_rows(fit, fit.native.fittedvalues)}),
            (("fitted_fixed", "predicted"), _predicted),
            (("residual",), lambda fit, new: {"residual": _of_rows(fit, fit.native.resid)}),
            (("pearson", "scaled"), "it has raw residuals only"),
            (("new_fixed",), of_whole_rows(_new)),
            (("new",), "predict() of MixedLM knows the fixed effects only"),
            (("variances",), _variances),
        ),
        definitions={"predicted": "predict_fixed_without_offset" if less else "predict_fixed"},
        parts={
            "conditional, across terms": "random_effects_cov of MixedLM, of a variance component, is taken for its "
            "variances only"
        },
        without_offset=less,
    )


def _effects(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    # Where it cannot predict it says why; its covariances, which the table holds too, stop there without a reason.
    _ = fit.native.random_effects
    return {}


def _conditional(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    """Of the correlated effects with each other, in the model's coding; of variance components, each alone."""
    design, results = fit.model.design, results_of(fit)
    model, spreads = results.model, results.random_effects_cov
    covariances: dict[tuple[Effect, Effect], np.ndarray] = {}
    for effect, errors in effects.by_effect(fit.random_effects, design, "std_error").items():
        covariances[effect, effect] = errors**2
    if model.k_re:
        matrix = np.asarray(model.exog_re).reshape(len(design.y), -1)
        candidates = [t for t, term in enumerate(design.terms) if same_groups(model.groups, term.codes)]
        for terms in chain.from_iterable(combinations(candidates, size + 1) for size in range(len(candidates))):
            columns = np.column_stack([design.terms[t].matrix for t in terms])
            back = between(matrix, columns)
            if back is not None:
                labels = np.asarray(model.groups)[first_rows(design.terms[terms[0]])]
                here = slice(0, model.k_re)
                spread = np.stack([np.asarray(spreads[label])[here, here] for label in labels])
                covariances |= effects.pairs(effects.effects_of(design, terms), back @ spread @ back.T)
                break
    return {"conditional": covariances}


def _predicted(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    return dict.fromkeys(("fitted_fixed", "predicted"), _of_rows(fit, fit.native.predict()))


def _of_rows(fit: Fit, values: Any) -> np.ndarray:
    """Values of MixedLM's rows in the response's own unit: those of a model with weights are multiplied by roots."""
    return fit.model.design.to_rows(np.asarray(values, float))


def _new(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    model = results_of(fit).model
    if not hasattr(model, "formula"):
        raise NotStated("MixedLM, fitted from arrays, has no formula to make columns of new rows with")
    form = for_mixedlm(fit.model.formula, fit.model.design, fit.model.frame)
    if not form.setup:
        return {"new_fixed": np.asarray(fit.native.predict(new), float)}
    if {"scale", "poly"} & set(fit.model.formula.functions):
        raise NotStated("MixedLM was given scale() or poly() as columns that were made of the whole table before")
    # The steps keep rows and levels of the table that was fitted: the new rows are put below it, and taken off again.
    frame = fit.model.frame
    below = new.assign(**{name: frame[name].iloc[fit.model.design.rows[0]] for name in set(frame) - set(new)})
    data = pd.concat([frame, below[list(frame)]], ignore_index=True)
    for name in new:
        if isinstance(new[name].dtype, pd.CategoricalDtype) and "predictor" in fit.model.formula.uses[name]:
            data[name] = data[name].astype(frame[name].dtype)
    return {"new_fixed": np.asarray(fit.native.predict(form.table(data).tail(len(new))), float)}


def _variances(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    if fit.model.formula.weights is not None:
        raise NotStated(
            "MixedLM was given rows times the square roots of weights: what its columns explain is of these"
        )
    results = results_of(fit)
    model = results.model
    n, random = len(model.endog), 0.0
    if model.k_re:
        matrix = np.asarray(model.exog_re).reshape(n, -1)
        random += float(np.einsum("ij,jk,ik->", matrix, np.asarray(results.cov_re), matrix)) / n
    for variance, matrices in zip(results.vcomp, model.exog_vc.mats, strict=True):
        squares = (matrix.power(2) if hasattr(matrix, "power") else np.asarray(matrix) ** 2 for matrix in matrices)
        random += float(variance) * sum(float(square.sum()) for square in squares) / n
    fixed = float(np.var(np.asarray(model.exog) @ np.asarray(results.fe_params), ddof=1))
    return {"variances": {"fixed": fixed, "random": random, "residual": float(results.scale)}}
