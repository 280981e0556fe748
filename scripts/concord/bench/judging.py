"""The independent likelihood beside lme4: one evaluation, the optimum, the profile."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import numpy as np

from concord import r
from concord.bench.sides import SideFailed
from concord.inference import profile
from concord.likelihood.likelihood import Likelihood
from concord.likelihood.optimum import Optimum
from concord.models import model as models
from concord.models.formula import expression

JUDGED = "dietox-random_slope"
EVALUATIONS = 2000
# Timed inside R, where nothing of rpy2 is counted. The formula is lme4's own, with the data in R.
DEVIANCE = """function(formula, data, reml, theta, times) {
  deviance <- lme4::lmer(formula, data, REML = reml, devFunOnly = TRUE)
  for (i in seq_len(times %/% 10)) deviance(theta)
  c(system.time(for (i in seq_len(times)) deviance(theta))[["elapsed"]] / times, deviance(theta))
}"""
FIT = """function(formula, data, reml) {
  suppressWarnings(suppressMessages(system.time(lme4::lmer(formula, data, REML = reml))[["elapsed"]]))
}"""


def judge_by_likelihood(folder: Path, notebooks: Path | None) -> float:
    """One evaluation of the log-likelihood at a fit's estimates, on a prepared likelihood."""
    likelihood, optimum = _judged()
    point = optimum.parameters
    for _ in range(EVALUATIONS // 10):
        likelihood.loglik(point)
    began = time.perf_counter()
    for _ in range(EVALUATIONS):
        likelihood.loglik(point)
    return (time.perf_counter() - began) / EVALUATIONS


def judge_by_deviance(folder: Path, notebooks: Path | None) -> float:
    """One evaluation of the deviance function that lmer makes of the same model, at the same estimates."""
    _, optimum = _judged()
    relative = optimum.covariances[0] / optimum.residual_variance
    theta = np.linalg.cholesky(relative).T[np.triu_indices(len(relative))]
    model = models.get(JUDGED)
    seconds, value = _in_r(DEVIANCE, expression(model.formula), model.frame, model.reml, theta, EVALUATIONS)
    if not abs(value + 2 * optimum.loglik) < 1e-6:
        raise SideFailed(f"lme4's deviance is {value!r}, the likelihood's {-2 * optimum.loglik!r}: not the same work")
    return seconds


def optima_by_likelihood(folder: Path, notebooks: Path | None) -> float:
    """Every model's optimum by each method, from its numbers: cross-products, then a search from each start."""
    designs = [(model.design, model.reml) for model in models.every()]
    began = time.perf_counter()
    for design, reml in designs:
        Likelihood(design, reml).optimum()
    return time.perf_counter() - began


def optima_by_lmer(folder: Path, notebooks: Path | None) -> float:
    """The same models' fits by lmer as it ships, however far they get."""
    return sum(_in_r(FIT, expression(model.formula), model.frame, model.reml)[0] for model in models.every())


# The profile of the ML deviance, whatever the fit, as the reader asks for it; timed inside R.
PROFILE = """function(formula, data, labels) {
  fit <- lme4::lmer(formula, data, REML = FALSE)
  seconds <- system.time(found <- suppressWarnings(stats::profile(fit, signames = FALSE)))[["elapsed"]]
  c(seconds, stats::confint(found)[labels, ])
}"""


def profile_by_likelihood(folder: Path, notebooks: Path | None) -> float:
    """The profile of every parameter as far as lme4's goes, and all intervals, from the model's numbers on."""
    return _profiled()[0]


def profile_by_lme4(folder: Path, notebooks: Path | None) -> float:
    """The same by lme4's profile of a fit that it has: the fit and the intervals are not counted."""
    model = models.get(JUDGED, "ML")
    _, ours, labels = _profiled()
    seconds, *ends = _in_r(PROFILE, expression(model.formula), model.frame, labels)
    if len(ends) != len(ours) or any(abs(a - b) > 1e-4 * abs(b) for a, b in zip(ends, ours, strict=True)):
        raise SideFailed(f"lme4's intervals end at {ends}, the likelihood's at {ours}: not the same work")
    return seconds


def _profiled() -> tuple[float, list[float], list[str]]:
    """Seconds; the ends of the intervals, the lower ones before the upper ones; and the parameters' labels."""
    design = models.get(JUDGED, "ML").design
    began = time.perf_counter()
    profiles = profile.profiles(Likelihood(design, False))
    for curve in profiles:
        curve.walk()
    intervals = [curve.interval() for curve in profiles]
    seconds = time.perf_counter() - began
    ends = [interval.lower for interval in intervals] + [interval.upper for interval in intervals]
    return seconds, ends, [curve.parameter.label for curve in profiles]


@cache
def _judged() -> tuple[Likelihood, Optimum]:
    """The likelihood of the model that is judged, and its optimum for a fit."""
    model = models.get(JUDGED)
    likelihood = Likelihood(model.design, model.reml)
    return likelihood, likelihood.optimum()


def _in_r(function: str, *values: object) -> list[float]:
    try:
        r.package("lme4")
        return list(r.call(r.interface().evalr(function), *values))
    except r.RError as error:
        raise SideFailed(str(error)) from error
