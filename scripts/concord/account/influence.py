"""Influence: what leaving out a group does to the estimates, as the packages find it by refitting.

The independent values are exact (`influence`). All engines but arbiters are fitted anew without the levels that matter
most. A package's own measures, such as lme4's ``influence()``, leave out every level; since it refits them all, they
are asked for only where they are wanted. MixedLM has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from concord.account.line import Line
from concord.agreement.comparison import Comparison
from concord.agreement.tolerances import allowed_gap
from concord.arrays import Mask, Matrix
from concord.data.datasets import ModelRecord
from concord.engines.answers import Absence, Answer, answer
from concord.engines.engine import contenders
from concord.engines.fit import Fit
from concord.engines.statements import statements
from concord.engines.tuning import recomputed
from concord.inference.influence import Influence, influence
from concord.models.coding import between, same_numbers, shift
from concord.models.model import Model
from concord.models.parameters import Parameters
from concord.reference import reference

SECTION = "influence"


def groups(comparison: Comparison) -> tuple[str, ...]:
    """The grouping factors of a comparison's model, each once, in the order of its random terms."""
    return tuple(dict.fromkeys(term.group for term in comparison.model.design.terms))


def at_reference(comparison: Comparison, group: str | None = None, refit: int = 5) -> Influence:
    """The influence of every level of a grouping factor at the reference.

    Parameters
    ----------
    comparison : of fits of one model
    group : the grouping factor; by default that of the first random term
    refit : how many levels to refit without, those with the largest Cook's distances where theta is held
    """
    against, design = comparison.against, comparison.model.design
    likelihood = against.likelihood
    best = against.parameters
    optimum = likelihood.optimum([likelihood.theta_at(best)])
    group = group or design.terms[0].group
    held = influence(likelihood, optimum, group, refit=False)
    return influence(likelihood, optimum, group, refit=most(held, refit)) if refit else held


def most(influences: Influence, count: int) -> list[str]:
    """The levels with the largest Cook's distances, theta held, the largest first."""
    distance = influences.cooks_distance(influences.held)
    order = np.argsort(-np.where(np.isnan(distance), -np.inf, distance), kind="stable")
    return [influences.levels[i] for i in order[:count] if not np.isnan(distance[i])]


def table(influences: Influence, names: tuple[str, ...], count: int = 5) -> pd.DataFrame:
    """The levels that matter most.

    Parameters
    ----------
    influences : the influence of all levels
    names : of the fixed effects
    count : how many levels

    Returns
    -------
    pandas.DataFrame : one row a level, the largest Cook's distance first: ``level, rows, cooks_distance_held,
        cooks_distance_refitted, displacement_held, displacement_refitted, dfbetas, effect``: the largest standardized
        change of a fixed effect, theta held, and which one it is
    """
    whole = influences.table.set_index("level")
    standardized = pd.DataFrame(influences.dfbetas(influences.held), index=list(influences.levels), columns=list(names))
    rows = []
    for level in most(influences, count):
        effect = standardized.loc[level].abs().idxmax()
        kept = [key for key in whole.columns if not key.startswith("loglik")]
        rows.append(
            {"level": level, **whole.loc[level, kept], "dfbetas": standardized.loc[level, effect], "effect": effect}
        )
    columns = [
        "level",
        "rows",
        "cooks_distance_held",
        "cooks_distance_refitted",
        "displacement_held",
        "displacement_refitted",
        "dfbetas",
        "effect",
    ]
    return pd.DataFrame(rows, columns=columns).astype({"rows": int})


def without(model: Model, group: str, level: str) -> Model:
    """The same model on the table without the rows of a level. What a formula makes of a whole column, as poly() and
    scale() do, it makes of the rows that are left: see `in_columns_of`.
    """
    design = model.design
    gone = _rows_of(model, group, level)
    frame = model.frame.iloc[design.rows[~gone]].reset_index(drop=True)
    for name in frame.select_dtypes("category"):
        frame[name] = frame[name].cat.remove_unused_categories()
    name = f"without {group} {level}"
    record = ModelRecord(formula=model.record.formula, title=name, weights=model.record.weights)
    return Model(replace(model.dataset, frame=frame, place=None), name, record, model.method)


def _rows_of(model: Model, group: str, level: str) -> Mask:
    """Which rows of the design are of a level, shape (n,)."""
    term = next(term for term in model.design.terms if term.group == group)
    rows: Mask = term.codes == term.levels.index(level)
    return rows


def in_columns_of(model: Model, fit: Fit, other: Model, kept: np.ndarray) -> Fit | None:
    """A fit of `other`, the model without a level, in the columns of the whole table, of which the rows `kept` are
    left; None where the two span different spaces, or the response is another.

    The log-likelihood by REML is that of these columns too, with the difference in `Fit.shift`.
    """
    design = other.design
    back = between(design.X, model.design.X[kept])
    backs = [between(own.matrix, term.matrix[kept]) for own, term in zip(design.terms, model.design.terms, strict=True)]
    if not same_numbers(design.y, model.design.y[kept]) or back is None:
        return None
    covariances = [
        back @ covariance @ back.T for back, covariance in zip(backs, fit.covariances, strict=True) if back is not None
    ]
    if len(covariances) < len(backs):
        return None
    return replace(
        fit,
        parameters=Parameters(back @ fit.fixed, tuple(covariances), fit.residual_variance),
        shift=fit.shift + (shift(back) if model.reml else 0.0),
    )


def lines(
    comparison: Comparison, influences: Influence, count: int = 2, fitted: Callable[[Model, str], Answer] | None = None
) -> list[Line]:
    """Real refits without the levels that matter most, beside the exact ones.

    Parameters
    ----------
    comparison : of fits of one model
    influences : the influence of its levels, refitted at least for those that matter most
    count : how many levels
    fitted : how a model is fitted; by default here and now, at tuned settings
    """
    model, all_lines = comparison.model, []
    fitted = fitted or (lambda other, engine: answer(other, engine, "tuned"))
    fits = {fit.engine for fit in comparison.fits}
    for level in most(influences, count):
        place = influences.levels.index(level)
        if np.isnan(influences.refitted.loglik[place]):
            continue
        other = without(model, influences.group, level)
        got = {engine: fitted(other, engine) for engine in contenders() if engine in fits}
        absent = {engine: absence.reason for engine, absence in got.items() if isinstance(absence, Absence)}
        fits_there = {engine: refit for engine, refit in got.items() if isinstance(refit, Fit) and not refit.violation}
        absent |= {e: fit.violation for e, fit in got.items() if isinstance(fit, Fit) and fit.violation}
        likelihood = reference.of(other).likelihood
        levels, there = {}, {}
        for engine, fit in fits_there.items():
            held = in_columns_of(model, fit, other, ~_rows_of(model, influences.group, level))
            if held is None:
                absent[engine] = f"without {level} the formula gives another response, or columns of another space"
                continue
            there[engine] = held
            levels[engine] = recomputed(fit, likelihood) + held.shift - fit.shift
        top, allowed = influences.refitted.loglik[place], allowed_gap("tuned", other)
        short = {engine: top - own for engine, own in levels.items() if not top - own <= allowed}
        exact = influences.refitted
        key: dict[str, Any] = {"group": influences.group, "term": f"without {level}"}
        all_lines.append(
            Line(
                SECTION,
                "log-likelihood",
                "criterion",
                {e: fit.loglik for e, fit in there.items()},
                expected={engine: own if engine in short else top for engine, own in levels.items()},
                independent=float(top),
                absent=absent,
                short=bool(short),
                **key,
            )
        )
        # Where the estimates are not parameters of the model, no other quantity gets a line.
        there = {engine: fit for engine, fit in there.items() if engine not in short}
        reasons = {e: f"without {level} it stops {gap:.2g} log-likelihood units short" for e, gap in short.items()}
        absent = {**absent, **reasons}
        quantities: list[tuple[str, str, Callable[[Fit], Any], Any, float]] = [
            (
                "fixed effects",
                "refitted_fixed",
                lambda fit: fit.fixed,
                exact.fixed[place],
                float(exact.std_error[place].min()),
            ),
            (
                "residual variance",
                "refitted_variance",
                lambda fit: fit.residual_variance,
                exact.residual_variance[place],
                np.nan,
            ),
        ]
        for i, term in enumerate(model.design.terms):
            wanted = exact.covariances[i][place]
            name = f"variances and covariances of ({', '.join(term.names)} | {term.group})"
            # Correlations and shares of the response: a variance that is zero has no size of its own.
            unit = _units(term.matrix, wanted, exact.residual_variance[place])
            quantities.append((name, "refitted_variance", partial(_in_units, i, unit), wanted / unit, 1.0))
        for name, tolerance, value, wanted, scale in quantities:
            values = {engine: value(fit) for engine, fit in there.items()}
            expected = dict.fromkeys(values, wanted)
            alone = float(wanted) if np.ndim(wanted) == 0 else np.nan
            all_lines.append(
                Line(
                    SECTION,
                    name,
                    tolerance,
                    values,
                    expected=expected,
                    independent=alone,
                    absent=absent,
                    scale=scale,
                    **key,
                )
            )
    return all_lines


def _in_units(term: int, unit: Matrix, fit: Fit) -> Matrix:
    return fit.covariances[term] / unit


def _units(matrix: np.ndarray, covariance: np.ndarray, residual_variance: float) -> np.ndarray:
    """For every variance and covariance its size, or that at which the effect adds to the response as residuals do."""
    least = residual_variance / np.mean(matrix**2, axis=0)
    unit = np.sqrt(np.maximum(np.diag(covariance), least))
    return np.outer(unit, unit)


def stated_lines(comparison: Comparison, influences: Influence) -> list[Line]:
    """What a package's own measures of influence say of every level: fixed effects, ``dfbeta`` and Cook's distance.

    lme4's ``influence()`` refits without each level: slow with many. The refits, which stop by lme4's default rules,
    are held to the exact ones; Cook's distance, which is quadratic in what they leave, to its definition at lme4's own
    refits.

    Parameters
    ----------
    comparison : of fits of one model
    influences : the influence of all levels, refitted for all
    """
    all_lines = []
    for fit in {fit.engine: fit for fit in reversed(comparison.fits)}.values():
        question = statements(fit.engine).influence
        if question is None:
            continue
        got = question(fit, influences.group)
        order = [influences.levels.index(level) for level in got.levels]
        count, p = got.fixed.value.shape
        exact, error = influences.refitted, float(np.nanmin(influences.refitted.std_error))
        # By the definitions, at the package's own refits.
        less = got.fixed.value - got.whole
        spread = comparison.against.likelihood.fixed_covariance(fit.parameters)
        quadratic = np.einsum("ij,ij->i", less, np.linalg.solve(spread, less.T).T)
        of_distance = {"cooks_distance_by_levels": quadratic * (count - p) / (count * p), "": quadratic / p}
        sign = -1 if got.dfbeta.definition == "dfbeta_of_the_opposite_sign" else 1
        for quantity, tolerance, stated, expected, scale in (
            (got.fixed.quantity, "influence_refits", got.fixed, exact.fixed[order], error),
            ("dfbeta", "influence_refits", got.dfbeta, sign * influences.dfbeta(exact)[order], error),
            ("Cook's distance", "influence_measure", got.distance, of_distance[got.distance.definition], np.nan),
        ):
            all_lines.append(
                Line(
                    SECTION,
                    quantity,
                    tolerance,
                    {fit.engine: stated.value},
                    {fit.engine: stated.definition} if stated.definition else {},
                    {fit.engine: expected},
                    scale=scale,
                    group=influences.group,
                    term="every level",
                )
            )
    return all_lines
