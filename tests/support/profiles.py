"""Profiles of models of the workbook, and their ends."""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats

from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.models.parameters import Parameters

CHI = stats.chi2.ppf(0.95, 1)
CORRELATION = "cor_Days.(Intercept)|Subject"


def of(id: str, method: str = "ML") -> tuple[Likelihood, object]:
    model = models.get(id, method)
    likelihood = Likelihood(model.design, model.reml)
    return likelihood, likelihood.optimum()


def deviance(likelihood, covariance, residual_variance, fixed):
    return -2 * likelihood.loglik(Parameters(fixed, (covariance,), residual_variance))


def brute(likelihood, held: str, value: float, starts) -> float:
    """The smallest deviance of an intercept and a slope with one parameter held, by Nelder and Mead's simplex.

    Fixed effects are at their generalized least-squares solution, from dense matrices.
    """
    design = likelihood.design
    term = design.terms[0]

    def at(x):
        log_sigma, first, second, angle = x
        deviations = np.exp(np.clip([first, second], -20, 20))
        if held.startswith("sd_"):
            deviations[int(not held.startswith("sd_(Intercept)"))] = value
        correlation = value if held.startswith("cor_") else np.tanh(angle)
        sigma = value if held == "sigma" else np.exp(log_sigma)
        covariance = np.outer(deviations, deviations) * np.array([[1, correlation], [correlation, 1]])
        weighted, right = 0.0, 0.0
        for code in range(len(term.levels)):
            rows = term.codes == code
            V = term.matrix[rows] @ covariance @ term.matrix[rows].T + sigma**2 * np.eye(rows.sum())
            solved = np.linalg.solve(V, design.X[rows])
            weighted, right = weighted + design.X[rows].T @ solved, right + solved.T @ design.y[rows]
        return deviance(likelihood, covariance, sigma**2, np.linalg.solve(weighted, right))

    options = {"xatol": 1e-6, "fatol": 1e-8, "maxfev": 1500}
    return min(optimize.minimize(at, start, method="Nelder-Mead", options=options).fun for start in starts)
