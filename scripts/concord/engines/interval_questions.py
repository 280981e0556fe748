"""What the packages are asked of confidence intervals and profiles, where their results are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from concord import r
from concord.engines.fit import Fit

# lme4's own number of steps to its farthest point.
STEPS = 8
# MixedLM's points on either side of its estimate.
POINTS = 4

_R = Path(__file__).with_suffix(".R")


def _room(package: str = "lme4") -> Any:
    r.package(package)
    return r.source(_R)


def ask_lme4_profiles(
    fit: Fit,
    labels: Sequence[str],
    level: float,
    steps: int = STEPS,
    at: np.ndarray | None = None,
    optimizer: str | None = None,
) -> dict[str, Any]:
    """lme4's profiles of parameters, on the scale of standard deviations and correlations, by ML; for `Fit.ask`.

    Returns
    -------
    dict : ``loglik`` and ``estimates`` of the fit by ML; ``profiles``: by label ``value, zeta``, shape (k,);
        ``possible``, shape (k,): 0 where lme4's search ended at correlations that no covariance matrix has; ``ends``
        and ``crossed``, shape (2,); ``at``: zeta at the values asked for, by lme4's spline; ``said``, ``optimizer``;
        where R stopped, ``reason`` and no ``value``

    Parameters
    ----------
    labels : lme4's names: ``.sig01``, ..., ``.sigma``, the fixed effects
    level : of the ends
    steps : how many to the farthest point on either side
    at : values at which zeta is wanted, shape (m,)
    optimizer : ``nloptwrap``, ``Nelder_Mead`` or ``bobyqa`` alone; by default each in turn until one has no complaint
    """
    values = np.empty(0) if at is None else np.asarray(at, float)
    got = r.from_r(r.call(_room()["profile_each"], fit.native, list(labels), level, steps, values, optimizer))
    got["loglik"] = float(got["loglik"][0])
    return got


def ask_lme4_parameters(fit: Fit) -> dict[str, Any]:
    """``names`` and ``estimates``, shape (k,), of every parameter as and in the order that profile() has them."""
    return r.from_r(r.call(_room()["parameters"], fit.native))


def ask_lme4_wald(fit: Fit, level: float) -> dict[str, Any]:
    """lme4's ``confint(method = "Wald")``: ``names`` and ``ends``, shape (p, 2), of the fixed effects."""
    return r.from_r(r.call(_room()["wald_lme4"], fit.native, level))


def ask_nlme_wald(fit: Fit, level: float, step: float | None = None) -> dict[str, Any]:
    """nlme's ``intervals``.

    Returns
    -------
    dict : ``fixed``: names, and their ``ends``, shape (p, 2), ``df``, shape (p,); by level of grouping, outermost
        first, ``names`` and ``components``, shape (k, 2), of standard deviations and correlations; ``sigma``, shape
        (2,); ``reason``: why there are none of these

    Parameters
    ----------
    step : relative step of nlme's differences, for which it fits anew; by default its own
    """
    return r.from_r(r.call(_room("nlme")["wald_nlme"], fit.native, level, step))


def ask_spline(value: np.ndarray, zeta: np.ndarray, level: float) -> np.ndarray:
    """The ends, shape (2,), that lme4's ``confint`` would find by R's spline through points, shape (k,); NaN beyond.

    It asks R itself and no fit.

    Raises
    ------
    RError : the points bear no spline
    """
    return r.from_r(r.call(_room()["ends_by_spline"], value, zeta, level))


def ask_mixedlm_wald(fit: Fit, level: float) -> dict[str, Any]:
    """MixedLM's ``conf_int``: of fixed effects, and of the ratios of (co)variances to the residual variance."""
    native = getattr(fit.native, "_results", fit.native)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ends = np.asarray(native.conf_int(1 - level), float)
    p, q = native.model.k_fe, native.model.k_re
    pairs = [(i, j) for i in range(q) for j in range(i + 1)]
    return {
        "fixed": ends[:p],
        "estimates": np.asarray(native.fe_params, float),
        "cov_re": np.asarray(native.cov_re, float),
        "vcomp": np.asarray(native.vcomp, float).reshape(-1),
        "pairs": pairs,
        "ratios": ends[p : p + len(pairs)],
        "components": ends[p + len(pairs) :],
        "names": list(native.model.exog_vc.names),
    }


def ask_mixedlm_profile(
    fit: Fit, kind: str, which: int | str, below: float, above: float, points: int = POINTS
) -> np.ndarray:
    """MixedLM's ``profile_re`` of one variance, for `Fit.ask`: value and log-likelihood, shape (2 points + 1, 2).

    Parameters
    ----------
    kind, which : ``re`` and the number of the effect, or ``vc`` and the component's name
    below, above : how far out it goes, in units of the variance
    points : how many on either side of the estimate
    """
    native = getattr(fit.native, "_results", fit.native)
    with warnings.catch_warnings():
        # Every refit repeats the warnings of the fit.
        warnings.simplefilter("ignore")
        return native.profile_re(which, kind, num_low=points, dist_low=below, num_high=points, dist_high=above)
