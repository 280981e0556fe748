"""Intervals and profiles: what lme4 states of a fit, as lme4 has its parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.engines.fit import Fit
from concord.engines.statements import OTHER_CODING, NotStated, StatedProfile, Statement, WaldIntervals
from concord.inference.profile import parameters

# lme4's own number of steps to its farthest point, and one at which its spline has the profile's digits.
STEPS, FINE = 8, 32

_R = Path(__file__).with_suffix(".R")


def _room() -> Any:
    r.package("lme4")
    return r.source(_R)


def intervals(fit: Fit, level: float, lost: float) -> WaldIntervals:
    """lme4's ``confint(method = "Wald")``, of the fixed effects."""
    return fit.ask(_intervals, level)


def _intervals(fit: Fit, level: float) -> WaldIntervals:
    shown, expected = r.from_r(r.call(_room()["parameters"], fit.native)), _values(fit)
    own = dict(zip(shown["names"], shown["estimates"], strict=True))
    without = 'confint(method = "Wald") gives none of a variance'
    if own.keys() != expected.keys() or not _same(own, expected):
        return WaldIntervals(without=without, why=OTHER_CODING)
    got = r.from_r(r.call(_room()["wald"], fit.native, level))
    ends = zip(got["names"] or (), got["ends"], strict=True)  # no names where there are no fixed effects
    return WaldIntervals({name: Statement((float(a), float(b))) for name, (a, b) in ends}, without=without)


def _values(fit: Fit) -> dict[str, float]:
    """A fit's estimates of all parameters by their labels: standard deviations and correlations, fixed effects."""
    design = fit.model.design
    values = {}
    for term, covariance in zip(design.terms, fit.covariances, strict=True):
        deviations = np.sqrt(np.diag(covariance))
        for i, first in enumerate(term.names):
            values[term.group, f"sd__{first}"] = deviations[i]
            for j in range(i):
                product = deviations[i] * deviations[j]
                values[term.group, f"cor__{term.names[j]}.{first}"] = (
                    covariance[i, j] / product if product > 0 else math.nan
                )
    values["Residual", "sd__Observation"] = math.sqrt(fit.residual_variance)
    values |= {("", name): value for name, value in zip(design.names, fit.fixed, strict=True)}
    return {parameter.label: values[parameter.group, parameter.term] for parameter in parameters(design)}


def _same(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether estimates are the same within what carrying them over leaves; a correlation may be undefined in both."""
    values = np.array([[one[label], other[label]] for label in one])
    both = values[np.isfinite(values).all(axis=1)]
    return bool(np.allclose(both[:, 0], both[:, 1], rtol=1e-6, atol=1e-8))


def profiles(fit: Fit, labels: Sequence[str], level: float, fine: bool = False) -> Mapping[str, StatedProfile]:
    """lme4's profiles of parameters, by name; each is by ML, whatever the fit."""
    return fit.ask(profiles_by, list(labels), level, FINE if fine else STEPS)


def profiles_by(
    fit: Fit,
    labels: Sequence[str],
    level: float,
    steps: int = STEPS,
    at: np.ndarray | None = None,
    optimizer: str | None = None,
) -> dict[str, StatedProfile]:
    """lme4's profiles of parameters; to be asked where the fit is.

    Parameters
    ----------
    labels : as `Parameter` has them, which lme4 has by ``signames = FALSE``
    level : of the ends
    steps : how many to the farthest point on either side
    at : values at which zeta is wanted, shape (m,)
    optimizer : ``nloptwrap``, ``Nelder_Mead`` or ``bobyqa`` alone; by default each in turn until one has no complaint
    """
    values = np.empty(0) if at is None else np.asarray(at, float)
    try:
        got = r.from_r(r.call(_room()["profile_each"], fit.native, list(labels), level, steps, values, optimizer))
    except r.RError as error:
        return dict.fromkeys(labels, StatedProfile(why=_stopped([str(error)])))
    return {label: _profile(got["profiles"][label], steps) for label in labels}


def _profile(got: dict[str, Any], steps: int) -> StatedProfile:
    said = tuple(got["said"] or ())
    if got.get("value") is None or len(got["ends"]) != 2:
        return StatedProfile(said=said, why=_stopped(got["reason"]))
    return StatedProfile(
        value=got["value"],
        zeta=got["zeta"],
        possible=got["possible"],
        ends=got["ends"],
        crossed=got["crossed"],
        at=got["at"],
        said=said,
        note=f"optimizer {', '.join(np.atleast_1d(got['optimizer']))}, in {steps} steps",
    )


def _stopped(reason: Sequence[str] | None) -> str:
    return f"R stopped with: {' '.join((reason or ['no profile'])[0].split())}"


def spline_ends(value: np.ndarray, zeta: np.ndarray, level: float) -> np.ndarray:
    """The ends, shape (2,), that lme4's ``confint`` would find by R's spline through points, shape (k,); NaN beyond.

    It asks R itself and no fit.

    Raises
    ------
    RError : the points bear no spline
    """
    ends: np.ndarray = r.from_r(r.call(_room()["ends_by_spline"], value, zeta, level))
    return ends


def own_profile(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """The points of ``as.data.frame(profile(fit, which = label, signames = FALSE))``: ``value, zeta``.

    Raises
    ------
    NotStated : it is a profile of something else, or by lme4's numbers, ``.sig01``, which mean what its version says
    """
    if label not in table:
        raise NotStated(f"the profile has no column {label!r}: give profile(fit, which = ..., signames = FALSE)")
    return pd.DataFrame({"value": table[label].to_numpy(float), "zeta": table[".zeta"].to_numpy(float)})
