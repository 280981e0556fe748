"""Intervals and profiles: what MixedLM states of a fit, by the model's names."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from concord.engines.fit import Fit
from concord.engines.statements import OTHER_CODING, NotStated, Statement, WaldIntervals
from concord.engines.statsmodels.result import results_of
from concord.errors import named
from concord.models.coding import same_numbers

# Points on either side of the estimate.
POINTS = 4


def intervals(fit: Fit, level: float, lost: float) -> WaldIntervals:
    """MixedLM's ``conf_int``: of fixed effects, and of ratios of (co)variances to the residual variance, times that."""
    return fit.ask(_intervals, level)


def _intervals(fit: Fit, level: float) -> WaldIntervals:
    results = results_of(fit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ends = np.asarray(results.conf_int(1 - level), float)
    p, names = results.model.k_fe, fit.model.design.names
    if same_numbers(np.asarray(results.fe_params, float), fit.fixed):
        fixed = {
            name: Statement(tuple(map(float, both)), "interval_joint")
            for name, both in zip(names, ends[:p], strict=True)
        }
    else:
        fixed = dict.fromkeys(names, Statement(why=OTHER_CODING))
    scale = fit.residual_variance
    components = {}
    for key, place, _, _ in _places(fit, results):
        low, high = ends[p + place]
        components[key] = (Statement((float(low * scale), float(high * scale)), "interval_of_ratio"),)
    return WaldIntervals(fixed, components)


def _places(fit: Fit, results: Any) -> list[tuple[tuple[str, str], int, str, int | str]]:
    """Which (co)variance of the model each of MixedLM's is: group and term; its place among MixedLM's; and what
    ``profile_re`` calls it. They are told by their values, and left out where two have the same, as two zeros do, or
    where a column is in another coding.
    """
    rows = fit.estimates[(fit.estimates["effect"] == "ran_pars") & (fit.estimates["group"] != "Residual")]
    own = [(row.group, row.term, row.estimate) for row in rows.itertuples()]

    def place(value: float, kind: str) -> tuple[str, str] | None:
        same = [(g, t) for g, t, e in own if t.startswith(kind) and abs(value - e) <= 1e-9 * abs(e)]
        return same[0] if len(same) == 1 else None

    covariance = np.asarray(results.cov_re, float)
    pairs = [(i, j) for i in range(results.model.k_re) for j in range(i + 1)]
    places = [
        (place(covariance[i, j], "var__" if i == j else "cov__"), number, "re", i)
        for number, (i, j) in enumerate(pairs)
    ]
    variances = zip(results.model.exog_vc.names, np.asarray(results.vcomp, float).reshape(-1), strict=True)
    places += [
        (place(value, "var__"), number, "vc", name) for number, (name, value) in enumerate(variances, len(pairs))
    ]
    return [(key, number, part, which) for key, number, part, which in places if key]


def ratio_profile(fit: Fit, key: tuple[str, str], below: float, above: float) -> pd.DataFrame:
    """MixedLM's ``profile_re`` of one variance, which holds its ratio to the residual variance: ``value, loglik``.

    Parameters
    ----------
    key : group and term of the variance
    below, above : how far out it goes, in units of the variance

    Raises
    ------
    NotStated : MixedLM has this variance in another coding, or stops
    """
    return fit.ask(_ratio_profile, key, below, above)


def _ratio_profile(fit: Fit, key: tuple[str, str], below: float, above: float) -> pd.DataFrame:
    results = results_of(fit)
    places = [(kind, which) for own, _, kind, which in _places(fit, results) if own == key]
    if not places:
        raise NotStated("MixedLM has this variance in another coding, or as zero like another")
    kind, which = places[0]
    span = {"num_low": POINTS, "dist_low": below, "num_high": POINTS, "dist_high": above}
    with warnings.catch_warnings():
        # Every refit repeats the warnings of the fit.
        warnings.simplefilter("ignore")
        try:
            return own_profile(results.profile_re(which, kind, **span))
        except Exception as error:  # MixedLM lets whatever its optimizers and its algebra raise pass through
            raise NotStated(f"profile_re stopped with {named(error)}") from error


def own_profile(curve: np.ndarray, label: str = "") -> pd.DataFrame:
    """The points of what ``profile_re`` returns: ``value, loglik``."""
    return pd.DataFrame(curve, columns=["value", "loglik"], dtype=float)
