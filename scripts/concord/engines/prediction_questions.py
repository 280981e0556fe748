"""What the packages are asked of what a fit predicts, where their results are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.engines.fit import Fit
from concord.engines.lme4 import engine as lme4
from concord.engines.statsmodels.formula import for_mixedlm
from concord.inference import effects
from concord.inference.effects import Effect
from concord.models.coding import between, same_groups
from concord.models.design import DesignTerm
from concord.models.nesting import levels

_R = Path(__file__).with_suffix(".R")

# Of a fit and new rows: what its package says, by name.
_Question = Callable[[Fit, pd.DataFrame], dict[str, Any]]


class _Nothing(Exception):
    """That a package says nothing of something, and why."""


@dataclass(frozen=True)
class Said:
    """What a package says of one fit.

    Attributes
    ----------
    values : by name, in the model's order: ``conditional`` (by pair of effects of one level, shape (levels,)),
        ``standardized`` (by effect, shape (levels,)), ``fitted``, ``fitted_fixed``, ``predicted``, ``residual``,
        ``pearson``, ``scaled`` (a number a row), ``new_fixed``, ``new`` (a number a new row), ``variances`` (a dict of
        ``fixed, random, residual``). The random effects themselves are the fit's own, `Fit.random_effects`
    absent : by name, why it says nothing; ``random`` and ``errors`` where there are no random effects
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)


def said(fit: Fit, new: pd.DataFrame) -> Said:
    """What the package says; a question for `Fit.ask`.

    Parameters
    ----------
    fit : with the package's own result
    new : new rows, as `new_table` makes them
    """
    values, absent = {}, {}
    for names, question in _QUESTIONS[fit.engine]:
        if isinstance(question, str):
            absent |= dict.fromkeys(names, question)
            continue
        try:
            values |= question(fit, new)
        except _Nothing as reason:
            absent |= dict.fromkeys(names, str(reason))
        except Exception as error:  # whatever a package stops with is what it has to say
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            absent |= dict.fromkeys(names, f"it stopped with: {first}")
    return Said(values, absent)


def _asked(name: str, *, columns: bool = False, rows: bool = False) -> _Question:
    """An R function of a native fit; it may also need the engine's function for lme4's columns, or the new rows."""

    def question(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
        arguments = [r.source(Path(lme4.__file__).with_name("fit.R"))["columns_of"]] if columns else []
        if rows:
            arguments.append(new)
        return r.from_r(r.call(r.source(_R)[name], fit.native, *arguments))

    return question


def _random(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    if fit.engine == "statsmodels":
        # Where it cannot predict it says why; its covariances, which the table holds too, stop there without a reason.
        _ = fit.native.random_effects
    return {}


def _of_whole_rows(question: _Question) -> _Question:
    """Predictions for the rows that have all predictors, and missing numbers for the others, which some packages drop
    without a word.
    """

    def asked(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
        uses = fit.model.formula.uses
        whole = new[[name for name in new if "predictor" in uses.get(name, ())]].notna().all(axis=1).to_numpy()
        if not whole.any():
            raise _Nothing("every new row lacks a predictor")
        found = {}
        for name, values in question(fit, new[whole].reset_index(drop=True)).items():
            found[name] = np.full(len(whole), np.nan)
            found[name][whole] = values
        return found

    return asked


def _variances_of(asked: _Question) -> _Question:
    def question(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
        return {"variances": {part: float(value[0]) for part, value in asked(fit, new).items()}}

    return question


def _first_rows(term: DesignTerm) -> np.ndarray:
    """For every level a row that belongs to it."""
    return np.unique(term.codes, return_index=True)[1]


# -- lme4


def _lme4_conditional(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    """Within every term; in the model's coding."""
    got = _asked("lme4_conditional", columns=True)(fit, new)
    found, left = {}, list(range(len(got["groups"])))
    for t, term in enumerate(fit.model.design.terms):
        for place in left:
            matrix = np.asarray(got["matrices"][place]).reshape(len(term.codes), -1)
            back = between(matrix, term.matrix)
            if back is not None and same_groups(got["codes"][place], term.codes):
                break
        else:
            raise _Nothing(f"the lmer fit has no term ({', '.join(term.names)} | {term.group})")
        left.remove(place)
        codes = np.asarray(got["codes"][place], int) - 1
        spread = np.moveaxis(np.asarray(got["spreads"][place]), 2, 0)[codes[_first_rows(term)]]
        found |= effects.pairs(effects.of(fit.model.design, [t]), back @ spread @ back.T)
    return {"conditional": found}


# -- MixedLM


def _mixedlm_conditional(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    """Of the correlated effects with each other, in the model's coding; of variance components, each alone."""
    design, results = fit.model.design, getattr(fit.native, "_results", fit.native)
    made, spreads = results.model, results.random_effects_cov
    found: dict[tuple[Effect, Effect], np.ndarray] = {}
    for effect, errors in effects.by_effect(fit.random_effects, design, "std_error").items():
        found[effect, effect] = errors**2
    if made.k_re:
        given = np.asarray(made.exog_re).reshape(len(design.y), -1)
        candidates = [t for t, term in enumerate(design.terms) if same_groups(made.groups, term.codes)]
        for terms in chain.from_iterable(combinations(candidates, size + 1) for size in range(len(candidates))):
            columns = np.column_stack([design.terms[t].matrix for t in terms])
            back = between(given, columns)
            if back is not None:
                labels = np.asarray(made.groups)[_first_rows(design.terms[terms[0]])]
                here = slice(0, made.k_re)
                spread = np.stack([np.asarray(spreads[label])[here, here] for label in labels])
                found |= effects.pairs(effects.of(design, terms), back @ spread @ back.T)
                break
    return {"conditional": found}


def _mixedlm_predicted(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    return dict.fromkeys(("fitted_fixed", "predicted"), np.asarray(fit.native.predict(), float))


def _mixedlm_new(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    made = getattr(fit.native, "_results", fit.native).model
    if not hasattr(made, "formula"):
        raise _Nothing("MixedLM, fitted from arrays, has no formula to make columns of new rows with")
    form = for_mixedlm(fit.model.formula, fit.model.design, fit.model.frame)
    if not form.setup:
        return {"new_fixed": np.asarray(fit.native.predict(new), float)}
    if {"scale", "poly"} & set(fit.model.formula.functions):
        raise _Nothing("MixedLM was given scale() or poly() as columns that were made of the whole table before")
    # The steps keep rows and levels of the table that was fitted: the new rows are put below it, and taken off again.
    frame = fit.model.frame
    below = new.assign(**{name: frame[name].iloc[fit.model.design.rows[0]] for name in set(frame) - set(new)})
    data = pd.concat([frame, below[list(frame)]], ignore_index=True)
    for name in new:
        if isinstance(new[name].dtype, pd.CategoricalDtype) and "predictor" in fit.model.formula.uses[name]:
            data[name] = data[name].astype(frame[name].dtype)
    room = {"np": np, "data": data}
    exec(
        "\n".join(form.setup), room
    )  # written by `concord.engines.statsmodels.patsy` from the checked tree, as in the engine
    return {"new_fixed": np.asarray(fit.native.predict(room["data"].tail(len(new))), float)}


def _mixedlm_variances(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    results = getattr(fit.native, "_results", fit.native)
    made = results.model
    n, random = len(made.endog), 0.0
    if made.k_re:
        given = np.asarray(made.exog_re).reshape(n, -1)
        random += float(np.einsum("ij,jk,ik->", given, np.asarray(results.cov_re), given)) / n
    for variance, matrices in zip(results.vcomp, made.exog_vc.mats, strict=True):
        squares = (each.power(2) if hasattr(each, "power") else np.asarray(each) ** 2 for each in matrices)
        random += float(variance) * sum(float(each.sum()) for each in squares) / n
    fixed = float(np.var(np.asarray(made.exog) @ np.asarray(results.fe_params), ddof=1))
    return {"variances": {"fixed": fixed, "random": random, "residual": float(results.scale)}}


# -- nlme


def _nlme_standardized(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    """As the engine has the random effects themselves: by the names that nlme has for its groups."""
    design, found = fit.model.design, {}
    got = _asked("nlme_standardized")(fit, new)
    groups = r.from_r(r.call(r.source(Path(lme4.__file__).parents[1] / "nlme" / "fit.R")["describe"], fit.native))[
        "groups"
    ]
    for terms, table, names in zip(levels(design) or ((0,),), got, groups, strict=True):
        for t in terms:
            term = design.terms[t]
            places = [table["level"].index(names[row]) for row in _first_rows(term)]
            for j, name in enumerate(term.names):
                found[t, j] = table["estimate"][places, table["term"].index(name)]
    return {"standardized": found}


# -- all

_ROWS = ("fitted", "fitted_fixed", "predicted", "residual", "pearson", "scaled")
_QUESTIONS: dict[str, list[tuple[tuple[str, ...], _Question | str]]] = {
    "statsmodels": [
        (("random", "errors"), _random),
        (("conditional",), _mixedlm_conditional),
        (("standardized",), "MixedLM has no standardized random effects"),
        (("fitted",), lambda fit, new: {"fitted": np.asarray(fit.native.fittedvalues, float)}),
        (("fitted_fixed", "predicted"), _mixedlm_predicted),
        (("residual",), lambda fit, new: {"residual": np.asarray(fit.native.resid, float)}),
        (("pearson", "scaled"), "MixedLM has raw residuals only"),
        (("new_fixed",), _of_whole_rows(_mixedlm_new)),
        (("new",), "predict() of MixedLM knows the fixed effects only"),
        (("variances",), _mixedlm_variances),
    ],
    "lme4": [
        (("random", "errors"), _random),
        (("conditional",), _lme4_conditional),
        (("standardized",), "lme4 has no standardized random effects"),
        (_ROWS, _asked("lme4_rows")),
        (("new_fixed", "new"), _of_whole_rows(_asked("lme4_new", rows=True))),
        (("variances",), _variances_of(_asked("lme4_variances", columns=True))),
    ],
    "nlme": [
        (("random", "errors"), _random),
        (("errors", "conditional"), "nlme gives no conditional variances of random effects"),
        (("standardized",), _nlme_standardized),
        (_ROWS, _asked("nlme_rows")),
        (("new_fixed", "new"), _of_whole_rows(_asked("nlme_new", rows=True))),
        (("variances",), _variances_of(_asked("nlme_variances"))),
    ],
}
