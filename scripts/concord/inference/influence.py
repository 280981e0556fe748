"""The influence of every level of a grouping factor: the estimates without its rows.

Exact, from the cross-products of the independent blocks of rows (`concord.likelihood.blocks`): the criterion is a sum
over blocks, so that a level is left out by taking away what its blocks contribute, and adding what their remaining
rows do. Twice:

* with theta, the variances' ratios to the residual variance, held: the fixed effects are the generalized least-squares
  solution from the other rows, and the residual variance theirs (the one-step deletion of Christensen, Pearson and
  Johnson 1992, Technometrics 34, 38-45, and of Demidenko and Stukel 2005, Statistics in Medicine 24, 893-909);
* refitted, by the same method, in a search that starts at the optimum of all rows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from concord.arrays import Array, Floats, Integers, Matrix, Vector, total
from concord.likelihood.blocks import Blocks, components, gather
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.likelihood.optimum import Optimum
from concord.likelihood.sparse_blocks import Crossed
from concord.models.design import Design, DesignTerm
from concord.models.parameters import KEY, Parameters, entries

# Eigenvalues of the remaining rows' share in an orthonormal X below this: a fixed effect rests on the level left out.
SINGULAR = 1e-10


@dataclass(frozen=True, eq=False)
class Estimates:
    """The estimates from the rows without each of L levels; missing numbers where there are none.

    Attributes
    ----------
    fixed, std_error : fixed effects and their standard errors conditional on theta, shape (L, p)
    covariances : for every random term its covariance matrices, shape (L, q, q)
    residual_variance : shape (L,)
    loglik : log-likelihood of the remaining rows, shape (L,)
    all_rows : log-likelihood of all rows at the estimates without the level, shape (L,)
    """

    fixed: Matrix
    std_error: Matrix
    covariances: tuple[Array, ...]
    residual_variance: Vector
    loglik: Vector
    all_rows: Vector


@dataclass(frozen=True, eq=False)
class Influence:
    """What every level of a grouping factor does to the estimates.

    Attributes
    ----------
    group, levels : the factor and its levels' names
    rows : how many rows each level has, shape (L,)
    optimum : the estimates from all rows
    spread : covariance matrix of their fixed effects conditional on theta, shape (p, p)
    held : the estimates without each level, theta held
    refitted : the estimates without each level, refitted; missing numbers at a level that was not asked for
    reasons : for a level without estimates, why
    """

    group: str
    levels: tuple[str, ...]
    rows: Integers
    optimum: Optimum
    spread: Matrix
    held: Estimates
    refitted: Estimates
    reasons: dict[str, str]

    def dfbeta(self, of: Estimates) -> Matrix:
        """The fixed effects less those without the level, shape (L, p) (Belsley, Kuh and Welsch 1980, Regression
        Diagnostics, equation 2.1). lme4's ``dfbeta()`` of ``influence()`` has the opposite sign.
        """
        return self.optimum.fixed - of.fixed

    def dfbetas(self, of: Estimates) -> Matrix:
        """The same in units of the standard errors without the level, shape (L, p) (Nieuwenhuis, te Grotenhuis and
        Pelzer 2012, The R Journal 4(2), 38-47, as influence.ME has it; lme4's with the opposite sign).
        """
        return self.dfbeta(of) / of.std_error

    def cooks_distance(self, of: Estimates) -> Vector:
        """Cook's distance, d' Cov(b)^-1 d / p with d = `dfbeta` and the covariance matrix of all rows, shape (L,);
        missing where there are no fixed effects.

        Demidenko and Stukel (2005); influence.ME and HLMdiag have the same. lme4's ``cooks.distance()`` of an
        ``influence()`` is (L - p) / L times this, for L levels.
        """
        d = self.dfbeta(of)
        if not d.shape[1]:  # a distance of nothing
            return np.full(len(d), np.nan)
        distance: Vector = np.einsum("ij,ij->i", d, np.linalg.solve(self.spread, d.T).T) / d.shape[1]
        return distance

    def displacement(self, of: Estimates) -> Vector:
        """Likelihood displacement, 2 (l(all) - l(without the level)), both of all rows, shape (L,) (Cook 1986, Journal
        of the Royal Statistical Society B 48, 133-169).
        """
        return 2 * (self.optimum.loglik - of.all_rows)

    def changes(self, of: Estimates) -> pd.DataFrame:
        """All estimates less those without the level: a row a level, a column a parameter by ``effect, group, term`` as
        in `Fit.estimates`; variances and covariances in their own units.
        """
        values = [of.fixed]
        for covariances in of.covariances:
            rows, columns = np.transpose(entries(covariances.shape[1]))
            values.append(covariances[:, rows, columns])
        whole = self.optimum.estimates
        named = pd.MultiIndex.from_frame(whole[KEY])
        without = np.column_stack([*values, of.residual_variance])
        return pd.DataFrame(whole["estimate"].to_numpy() - without, index=list(self.levels), columns=named)

    @property
    def table(self) -> pd.DataFrame:
        """One row a level: rows, and with theta held and refitted Cook's distance, likelihood displacement, and the
        log-likelihood that the other rows have.
        """
        columns: dict[str, object] = {"level": self.levels, "rows": self.rows}
        for name, of in (("held", self.held), ("refitted", self.refitted)):
            columns[f"cooks_distance_{name}"] = self.cooks_distance(of)
            columns[f"displacement_{name}"] = self.displacement(of)
            columns[f"loglik_{name}"] = of.loglik
        return pd.DataFrame(columns)


def influence(
    likelihood: Likelihood,
    optimum: Optimum,
    group: str | tuple[Sequence[str], Integers],
    refit: bool | Collection[str] = True,
) -> Influence:
    """The influence of every level of a grouping factor.

    With theta held a level costs its own blocks alone. A refit costs a few evaluations of the whole criterion: as many
    small factorizations as there are different designs among the blocks; where that is too much, refit the levels that
    stand out with theta held.

    Parameters
    ----------
    likelihood, optimum : of all rows
    group : the name of a random term's grouping factor; or any factor: its levels' names and, for every row, the number
        of its level, shape (n,)
    refit : whether to refit, or the names of the levels without which to

    Raises
    ------
    ValueError : no random term has that grouping factor
    """
    name, levels, codes = _factor(likelihood.design, group)
    chosen = set(levels if refit is True else () if refit is False else refit)
    cases = _Cases(likelihood, optimum)
    held: list[_One | None] = []
    refitted: list[_One | None] = []
    reasons: dict[str, str] = {}
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes, minlength=len(levels)))[:-1])
    for level, gone in zip(levels, members, strict=True):
        reason = cases.impossible(gone)
        if reason:
            reasons[level] = reason
        remaining = None if reason else cases.without(gone)
        held.append(cases.held(remaining) if remaining else None)
        refitted.append(None)
        if remaining and level in chosen:
            try:
                refitted[-1] = cases.refitted(remaining)
            except LikelihoodError as error:
                reasons[level] = str(error)
    rows = np.array([len(gone) for gone in members])
    without, anew = _stacked(held, optimum), _stacked(refitted, optimum)
    return Influence(name, levels, rows, optimum, cases.spread, without, anew, reasons)


def _factor(design: Design, group: str | tuple[Sequence[str], Integers]) -> tuple[str, tuple[str, ...], Integers]:
    if not isinstance(group, str):
        levels, codes = group
        return "", tuple(levels), np.asarray(codes)
    terms = [term for term in design.terms if term.group == group]
    if not terms:
        raise ValueError(f"no random term has the group {group!r}: {', '.join(term.group for term in design.terms)}")
    return group, terms[0].levels, terms[0].codes


class _Remaining(Likelihood):
    """The likelihood without some rows, in the coordinates of the one of all rows, so that thetas are comparable.

    Its X is no longer orthonormal nor are its terms white, which no formula needs; they were so that no digits cancel,
    and what they lose is the share of the rows left out.

    Parameters
    ----------
    n : how many rows are left
    log_weights : the sum of the logarithms of the other rows' weights
    """

    def __init__(self, whole: Likelihood, blocks: Sequence[Blocks | Crossed], n: int, log_weights: float) -> None:
        vars(self).update(vars(whole))
        self.blocks, self.n = list(blocks), n
        self.nu = n - self.p if self.reml else n
        self.constant += log_weights


@dataclass(frozen=True, eq=False)
class _Without:
    """The likelihood without a level, and what is to be added to the whole's blocks for it."""

    likelihood: _Remaining
    change: list[Blocks | Crossed] | None  # None where all blocks are made anew


_One = tuple[Parameters, Vector, float, float]


class _Cases:
    """The cross-products of all rows, and what comes of them without some."""

    def __init__(self, likelihood: Likelihood, optimum: Optimum) -> None:
        self.whole, self.optimum, design = likelihood, optimum, likelihood.design
        self.block = components(design.terms)
        order = np.argsort(self.block, kind="stable")
        ends = np.cumsum(np.bincount(self.block))
        self.rows_of = np.split(order, ends[:-1])
        orthonormal = np.linalg.solve(likelihood.R.T, design.X.T).T
        self.table = np.column_stack([orthonormal, (design.y - design.X @ likelihood.ols) / likelihood.scale])
        self.whitened = [
            np.linalg.solve(whitener.T, term.matrix.T).T
            for term, whitener in zip(design.terms, likelihood.whiteners, strict=True)
        ]
        self.counts = [np.bincount(term.codes) for term in design.terms]
        self.logdet, self.cross, _ = likelihood.evaluate(optimum.theta)
        self.relative = optimum.parameters.relative
        inverse = np.linalg.inv(self.cross[:-1, :-1])
        self.spread = optimum.residual_variance * self._coded(inverse)

    def impossible(self, gone: Integers) -> str | None:
        """Why there are no estimates without the rows numbered `gone`; None where there are."""
        X = self.table[gone, :-1]
        if np.linalg.eigvalsh(np.eye(X.shape[1]) - X.T @ X).min(initial=1.0) < SINGULAR:
            return "the other rows do not determine all fixed effects"
        for term, columns, counts in zip(self.whole.design.terms, self.whitened, self.counts, strict=True):
            columns = columns[gone] / math.sqrt(self.whole.n)
            if np.linalg.eigvalsh(np.eye(columns.shape[1]) - columns.T @ columns).min() < SINGULAR:
                return f"the other rows do not determine the effects of ({', '.join(term.names)} | {term.group})"
            levels, without = np.unique(term.codes[gone], return_counts=True)
            if len(counts) - np.count_nonzero(counts[levels] == without) < 2:
                return f"of {term.group} one level is left"
        return None

    def without(self, gone: Integers) -> _Without:
        """The likelihood without the rows numbered `gone`."""
        n, weights = self.whole.n - len(gone), self.whole.design.weights
        log_weights = 0.0 if weights is None else float(np.log(weights[gone]).sum())
        if not self.whole.dense:
            kept = np.setdiff1d(np.arange(self.whole.n), gone)
            return _Without(_Remaining(self.whole, self._gathered(kept), n, log_weights), None)
        affected = np.concatenate([self.rows_of[block] for block in np.unique(self.block[gone])])
        # A block that is taken away is one that counts negatively: all that an evaluation sums is linear in these.
        change: list[Blocks | Crossed] = [
            replace(block, count=-block.count, products=-block.products, outside=-block.outside)
            for block in self._gathered(affected)
            if isinstance(block, Blocks)
        ]
        kept = np.setdiff1d(affected, gone)
        if len(kept):
            change += self._gathered(kept)
        return _Without(_Remaining(self.whole, [*self.whole.blocks, *change], n, log_weights), change)

    def _gathered(self, rows: Integers) -> list[Blocks | Crossed]:
        terms: list[DesignTerm] = []
        for term in self.whole.design.terms:
            present, codes = np.unique(term.codes[rows], return_inverse=True)
            terms.append(replace(term, matrix=term.matrix[rows], codes=codes, levels=("",) * len(present)))
        return gather(terms, [matrix[rows] for matrix in self.whitened], self.table[rows])

    def held(self, remaining: _Without) -> _One:
        """The estimates at the whole's theta."""
        theta, whole, of = self.optimum.theta, self.whole, remaining.likelihood
        if remaining.change is None:
            logdet, cross, _ = of.evaluate(theta)
        else:
            parts = [block.at(theta) for block in remaining.change]
            logdet = self.logdet + sum(part.logdet for part in parts)
            cross = self.cross + total(part.cross for part in parts)
        inverse = np.linalg.inv(cross[:-1, :-1])
        direction = np.append(-inverse @ cross[:-1, -1], 1.0)
        residual_variance = whole.scale**2 * float(direction @ cross @ direction) / of.nu
        fixed = whole.ols - whole.scale * np.linalg.solve(whole.R, direction[:-1])
        std_error = np.sqrt(residual_variance * np.diag(self._coded(inverse)))
        loglik = self._loglik(of, logdet, cross, direction, residual_variance)
        all_rows = self._loglik(whole, self.logdet, self.cross, direction, residual_variance)
        covariances = tuple(residual_variance * matrix for matrix in self.relative)
        return Parameters(fixed, covariances, residual_variance), std_error, loglik, all_rows

    def refitted(self, remaining: _Without) -> _One:
        """The estimates by a search from the whole's theta."""
        optimum = remaining.likelihood.optimum([self.optimum.theta])
        return optimum.parameters, optimum.std_error, optimum.loglik, self.whole.loglik(optimum.parameters)

    def _coded(self, inverse: Floats) -> Matrix:
        """(X'V^-1 X)^-1 in the coding of X."""
        half = np.linalg.solve(self.whole.R, inverse)
        return np.linalg.solve(self.whole.R, half.T)

    @staticmethod
    def _loglik(of: Likelihood, logdet: float, cross: Matrix, direction: Vector, residual_variance: float) -> float:
        """`Likelihood.loglik` where log |V| and the cross-products are at hand."""
        if of.reml:
            logdet = logdet + float(np.linalg.slogdet(cross[:-1, :-1])[1])
        quadratic = of.scale**2 * float(direction @ cross @ direction) / residual_variance
        return -0.5 * (of.nu * math.log(2 * math.pi * residual_variance) + logdet + quadratic + of.constant)


def _stacked(cases: Sequence[_One | None], optimum: Optimum) -> Estimates:
    shapes = [covariance.shape for covariance in optimum.covariances]
    nothing = np.full(len(optimum.fixed), np.nan)
    missing = (Parameters(nothing, tuple(np.full(shape, np.nan) for shape in shapes), np.nan), nothing, np.nan, np.nan)
    parameters, std_error, *logliks = zip(*(case or missing for case in cases), strict=True)
    return Estimates(
        np.array([parameter.fixed for parameter in parameters]),
        np.array(std_error),
        tuple(
            np.array(matrices) for matrices in zip(*(parameter.covariances for parameter in parameters), strict=True)
        ),
        np.array([parameter.residual_variance for parameter in parameters]),
        *(np.array(values) for values in logliks),
    )
