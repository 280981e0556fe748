"""The observed information of all parameters, and the standard errors that follow, in the independent likelihood.

With I the negative Hessian of the log-likelihood in (fixed effects, variances and covariances, residual variance), the
inverse of I holds the squared standard errors (Pinheiro and Bates 2000, Mixed-Effects Models in S and S-PLUS, section
2.3). Of fixed effects there are two:

- *joint*, from the inverse of I: MixedLM's definition;
- *conditional* on the variances, from the inverse of I's own block, sigma^2 (X'V^-1 X)^-1: lme4's and nlme's.

They differ because I is not block diagonal: only its expectation is. The likelihood is differentiated exactly in the
coordinates of its factors (`deviance`) and the chain rule carries the result over, slopes included, so that it also
holds at estimates that are not an optimum.

What MixedLM prints for a variance is of another quantity. Its parameters are the ratios r = Psi / sigma^2, with the
residual variance profiled out, and it prints sqrt(sigma^2) se(r) beside Psi = sigma^2 r (its `bse_re`). As a standard
error of Psi that has two faults. The unit: sigma^2 se(r) = sqrt(sigma^2) times what is printed. And the residual
variance, which is estimated from the same data, is taken for known; with it, by the delta method,

    var(Psi_k) = sigma^4 var(r_k) + 2 sigma^2 r_k cov(r_k, sigma^2) + r_k^2 var(sigma^2).

With C = var(r) of all ratios, s the derivatives of the profiled residual variance with respect to them and nu the
degrees of freedom (n - p under REML, n under ML), cov(r, sigma^2) = C s and var(sigma^2) = 2 sigma^4 / nu + s'C s, so

    var(Psi) = (sigma^2 1 + r s') C (sigma^2 1 + r s')' + 2 sigma^4 / nu r r'.

Beside a pig's variance in dietox's random intercept (REML) 2.149 is printed; the unit makes it 7.245, and the residual
variance, which falls as the ratio rises, 6.939.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import linalg

from concord.arrays import Matrix, Vector
from concord.likelihood.deviance import Deviance
from concord.likelihood.likelihood import Likelihood
from concord.models.parameters import KEY, ZERO, Parameters, entries, triangle

SCALES = ("variance", "sd", "log-sd")


class InformationError(ValueError):
    """There are no standard errors of this kind; the message says why."""


@dataclass(frozen=True, eq=False)
class Information:
    """The observed information at given estimates.

    Attributes
    ----------
    estimates : one row per parameter, ``effect, group, term, estimate``: fixed effects, then each term's variances and
        covariances, then the residual variance
    matrix : the observed information in their order, shape (k, k); in the reciprocals of their squared units
    covariance : its inverse, shape (k, k)
    conditional : standard errors of the fixed effects conditional on the variances, shape (p,)
    nu : n - p under REML, n under ML
    """

    estimates: pd.DataFrame
    matrix: Matrix
    covariance: Matrix
    conditional: Vector
    nu: int

    @property
    def joint(self) -> Vector:
        """Standard errors of the fixed effects from the joint Hessian, shape (p,), as MixedLM defines them."""
        p = len(self.conditional)
        return np.sqrt(np.diag(self.covariance)[:p])

    @property
    def fixed(self) -> pd.DataFrame:
        """Both standard errors of every fixed effect: ``term, estimate, conditional, joint, ratio``."""
        rows = self.estimates.iloc[: len(self.conditional)]
        table = rows[["term", "estimate"]].assign(conditional=self.conditional, joint=self.joint)
        return table.assign(ratio=table["joint"] / table["conditional"])

    def components(self, scale: str = "variance") -> pd.DataFrame:
        """Variance components with standard errors by the delta method: ``effect, group, term, estimate, std_error``.

        Parameters
        ----------
        scale : ``variance``: variances and covariances; ``sd``: standard deviations and correlations; ``log-sd``: the
            logarithms of standard deviations and log((1 + r) / (1 - r)) of correlations, which nlme takes for normal
        """
        if scale not in SCALES:
            raise InformationError(f"scale {scale!r}: one of {', '.join(SCALES)}")
        p = len(self.conditional)
        rows, values = self.estimates.iloc[p:], self.estimates["estimate"].to_numpy()[p:]
        places = {(row.group, row.term): i for i, row in enumerate(rows.itertuples())}
        jacobian, shown, terms = np.zeros((len(rows), len(rows))), np.empty(len(rows)), []
        for i, row in enumerate(rows.itertuples()):
            kind, _, name = row.term.partition("__")
            if scale == "variance":
                jacobian[i, i], shown[i] = 1.0, values[i]
            elif kind == "var":
                deviation = math.sqrt(values[i])
                jacobian[i, i], shown[i] = 0.5 / deviation, deviation
                if scale == "log-sd":
                    jacobian[i, i], shown[i] = 0.5 / values[i], math.log(deviation)
            else:
                first, second = (places[row.group, f"var__{entry}"] for entry in _pair(name, row.group, places))
                r = values[i] / math.sqrt(values[first] * values[second])
                at = [i, first, second]
                jacobian[i, at] = (
                    r / values[i] if values[i] else 1 / math.sqrt(values[first] * values[second]),
                    *(-0.5 * r / values[place] for place in (first, second)),
                )
                shown[i] = r
                if scale == "log-sd":
                    jacobian[i] *= 2 / (1 - r * r)
                    shown[i] = 2 * math.atanh(r)
            renamed = {"variance": kind, "sd": {"var": "sd", "cov": "cor"}[kind]}
            terms.append(f"{renamed.get(scale, {'var': 'log_sd', 'cov': 'logit_cor'}[kind])}__{name}")
        spread = jacobian @ self.covariance[p:, p:] @ jacobian.T
        return rows[KEY].assign(term=terms, estimate=shown, std_error=np.sqrt(np.diag(spread)))

    @property
    def ratios(self) -> pd.DataFrame:
        """What MixedLM prints, and the way from there to the standard error of a variance or covariance.

        ``group, term, estimate, ratio``, then the standard error ``of_ratio``, ``printed`` by MixedLM, times
        sqrt(sigma^2) ``in_unit``, and ``std_error`` with the residual variance estimated; its square is that of
        ``in_unit`` and the two terms ``from_covariance`` and ``from_residual``; ``factor`` is std_error / printed.
        """
        p = len(self.conditional)
        table = self.estimates.iloc[p:-1][["group", "term", "estimate"]]
        values, scale = table["estimate"].to_numpy(), float(self.estimates["estimate"].iloc[-1])
        count = len(values)
        ratio = values / scale
        jacobian = np.column_stack([np.eye(count), -ratio]) / scale
        spread = self.covariance[p:, p:]
        of_ratio = np.sqrt(np.diag(jacobian @ spread @ jacobian.T))
        across = (jacobian @ spread)[:, -1]
        std_error = np.sqrt(np.diag(spread)[:count])
        printed = math.sqrt(scale) * of_ratio
        return table.assign(
            ratio=ratio,
            of_ratio=of_ratio,
            printed=printed,
            in_unit=scale * of_ratio,
            from_covariance=2 * scale * ratio * across,
            from_residual=ratio**2 * spread[-1, -1],
            std_error=std_error,
            factor=std_error / printed,
        )


def observed(likelihood: Likelihood, at: Parameters) -> Information:
    """The observed information at values of all parameters.

    Raises
    ------
    InformationError : a covariance matrix is singular, or the log-likelihood does not bend down in every direction
    LikelihoodError : the estimates are not parameters of the model
    """
    whitened, _ = _whitened(likelihood, at)
    try:
        root = np.linalg.cholesky(whitened)
    except np.linalg.LinAlgError as error:
        raise InformationError(
            "the log-likelihood does not bend down in every direction: the estimates are not near an optimum"
        ) from error
    back, forth = _coding(likelihood)
    half = np.linalg.solve(root, back.T)
    return Information(
        estimates=at.table(likelihood.design).drop(columns="std_error"),
        matrix=forth.T @ whitened @ forth,
        covariance=half.T @ half,
        conditional=likelihood.std_error(at),
        nu=likelihood.nu,
    )


def curvature(likelihood: Likelihood, at: Parameters) -> tuple[Matrix, Vector]:
    """Minus the Hessian of the log-likelihood, shape (k, k), and its gradient, shape (k,), bent down or not.

    Both at values of all parameters and in their order.

    Raises
    ------
    InformationError : a covariance matrix is singular, or has a structure
    LikelihoodError : the estimates are not parameters of the model
    """
    if any(term.structure for term in likelihood.design.terms):
        raise InformationError("a covariance matrix has a structure: its entries are no parameters")
    whitened, slopes = _whitened(likelihood, at)
    _, forth = _coding(likelihood)
    return forth.T @ whitened @ forth, forth.T @ slopes


def _whitened(likelihood: Likelihood, at: Parameters) -> tuple[Matrix, Matrix]:
    """As `curvature`, in (u, lower triangles of every covariance matrix in whitened coordinates, sigma^2)."""
    design, deviance = likelihood.design, Deviance(likelihood)
    residual_variance = at.residual_variance
    theta, log_sigma = likelihood.theta_at(at), 0.5 * math.log(residual_variance)
    m, p = likelihood.m, likelihood.p
    factors = likelihood.factors(theta)
    for term, factor in zip(design.terms, factors, strict=True):
        if np.diag(factor).min() ** 2 < ZERO * max(1.0, float(np.square(factor).sum())):
            raise InformationError(
                f"the covariance matrix of ({', '.join(term.names)} | {term.group}) is singular: on the boundary of "
                "the parameter space the estimate is not normal in any sample size, and Wald standard errors are "
                "undefined; take the profile"
            )
    _, gradient, hessian = deviance.joint(theta, log_sigma, deviance.orthonormalized(at.fixed))
    # From x = (theta, log sigma, u) to y = (u, lower triangles of every Omega = sigma^2 L L', sigma^2), Omega being the
    # covariance matrix in whitened coordinates.
    jacobian = np.zeros((p + m + 1, m + 1 + p))
    jacobian[:p, m + 1 :] = np.eye(p)
    jacobian[p + m, m] = 2 * residual_variance
    start = 0
    for factor in factors:
        rows, columns = triangle(len(factor))
        for i, (a, b) in enumerate(zip(rows, columns, strict=True), start):
            for j, (r, c) in enumerate(zip(rows, columns, strict=True), start):
                jacobian[p + i, j] = residual_variance * ((a == r) * factor[b, c] + (b == r) * factor[a, c])
            jacobian[p + i, m] = 2 * residual_variance * float(factor[a] @ factor[b])
        start += len(rows)
    slopes = np.linalg.solve(jacobian.T, gradient)
    # What bends because y does: the second derivatives of y, weighted by the slopes in y.
    bent = np.zeros_like(hessian)
    bent[m, m] = 4 * residual_variance * slopes[-1]
    start = 0
    for factor in factors:
        q = len(factor)
        rows, columns = triangle(q)
        own = slice(start, start + len(rows))
        weight = np.zeros((q, q))
        weight[rows, columns] = slopes[p:][own] / 2
        weight = weight + weight.T
        same = columns[:, None] == columns
        bent[own, own] = 2 * residual_variance * weight[np.ix_(rows, rows)] * same
        bent[own, m] = bent[m, own] = 4 * residual_variance * (weight @ factor)[rows, columns]
        bent[m, m] += 4 * residual_variance * float(np.sum(weight * (factor @ factor.T)))
        start += len(rows)
    backwards = np.linalg.inv(jacobian)
    whitened = backwards.T @ (hessian - bent) @ backwards / 2
    return (whitened + whitened.T) / 2, -slopes / 2


def _coding(likelihood: Likelihood) -> tuple[Matrix, Matrix]:
    """The derivatives of (fixed effects, variances and covariances in their order, residual variance) with respect to
    (u, entries of Omega, sigma^2), and their inverse: beta = ols - scale R^-1 u, and Psi = W^-1 Omega W^-T for the
    whitener W.
    """
    blocks_back = [-likelihood.scale * linalg.solve_triangular(likelihood.R, np.eye(likelihood.p))]
    blocks_forth = [-likelihood.R / likelihood.scale]
    for whitener in likelihood.whiteners:
        q = len(whitener)
        rows, columns = triangle(q)
        tidied = entries(q)
        inverse = linalg.solve_triangular(whitener, np.eye(q))
        back, forth = np.empty((len(rows), len(rows))), np.empty((len(rows), len(rows)))
        for k, (r, c) in enumerate(zip(rows, columns, strict=True)):
            unit = np.zeros((q, q))
            unit[r, c] = unit[c, r] = 1.0
            moved = inverse @ unit @ inverse.T
            back[:, k] = [moved[i, j] for i, j in tidied]
        for k, (i, j) in enumerate(tidied):
            unit = np.zeros((q, q))
            unit[i, j] = unit[j, i] = 1.0
            forth[:, k] = (whitener @ unit @ whitener.T)[rows, columns]
        blocks_back.append(back)
        blocks_forth.append(forth)
    one = np.ones((1, 1))
    return linalg.block_diag(*blocks_back, one), linalg.block_diag(*blocks_forth, one)


def _pair(name: str, group: str, places: dict[tuple[str, str], int]) -> tuple[str, str]:
    """The two effects of a covariance ``first.second``; names may hold dots themselves."""
    cuts = (i for i, letter in enumerate(name) if letter == ".")
    pairs = ((name[:i], name[i + 1 :]) for i in cuts)
    return next(pair for pair in pairs if all((group, f"var__{entry}") in places for entry in pair))
