"""What a fit says beyond its parameters, solved independently of the engines: predicted random effects, fitted values,
predictions for new rows, explained variance.

All of it follows from the design and the estimates (fixed effects, covariance matrices, residual variance), which may
be an engine's or the reference's, through the mixed-model equations (`concord.inference.mixed_model_equations`). In
their notation, with u = Lambda v for all random effects, S = (X'V^-1 X)^-1 for V = I + W W', and B = A^-1 W'X:

* the predicted random effects (BLUPs, conditional modes) are Lambda A^-1 W'(y - X b);
* their covariance given the data, with variances and fixed effects taken for known, is sigma^2 Lambda A^-1 Lambda'
  (Bates, Mächler, Bolker and Walker 2015, Journal of Statistical Software 67(1), "Conditional variances of random
  effects"; lme4's ``condVar``, MixedLM's ``random_effects_cov``);
* the covariance of their errors of prediction, with the fixed effects estimated, is
  sigma^2 Lambda (A^-1 + B S B') Lambda' (Henderson 1975, Biometrics 31, 423-447: the random part of the inverse of the
  mixed-model equations' matrix). Variances are taken for known in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import linalg

from concord.arrays import Array, Vector
from concord.inference.mixed_model_equations import Equations, relative_factor
from concord.models.design import Design, NewRows, own_rows
from concord.models.parameters import RANDOM_EFFECTS, Estimated, Parameters

PREDICTIONS = ["estimate", "std_error", "std_error_level", "std_error_observation"]


class Solution(Estimated):
    """The independent solution of a model at given estimates.

    Parameters
    ----------
    design : the model in numbers
    parameters : the estimates

    Attributes
    ----------
    modes : for every term the predicted random effects of its levels, in the order of ``term.levels``, shape
        (levels, q)
    fixed_covariance : covariance matrix of the fixed effects conditional on the variances, sigma^2 S, shape (p, p)

    Raises
    ------
    ValueError : one of the matrices is not a covariance matrix
    """

    def __init__(self, design: Design, parameters: Parameters) -> None:
        self.design, self.parameters = design, parameters
        factors = [relative_factor(covariance, self.residual_variance) for covariance in self.covariances]
        self._equations = equations = Equations(design.terms, factors, len(design.y))
        self.marginal_residuals = design.y - design.X @ self.fixed
        Q, R = np.linalg.qr(design.X)
        # X = Q R: what is solved for the orthonormal columns is free of their units.
        right = equations.W.T @ np.column_stack([self.marginal_residuals, Q])
        solved = equations.solve(right)
        self._v, inner = solved[:, 0], solved[:, 1:]
        # Q'V^-1 Q as a sum of squares: Q'Q - Q'W A^-1 W'Q would cancel where groups explain most of X.
        left = Q - equations.W @ inner
        information = left.T @ left + inner.T @ inner
        self._half = linalg.solve_triangular(R, np.linalg.inv(np.linalg.cholesky(information)).T)  # S = half half'
        self._B = inner @ R
        self.modes = tuple(effects[:, :, 0] for effects in equations.by_level(self._v[:, None]))
        self.fixed_covariance = self.residual_variance * self._half @ self._half.T

    # ---- random effects ----------------------------------------------------------------------------------------------

    @cached_property
    def by_group(self) -> list[tuple[tuple[int, ...], Array, Array]]:
        """Covariance matrices of every level's random effects, for every grouping factor.

        Returns
        -------
        list of (terms, conditional, prediction) : the numbers of the terms with that factor, whose effects stand side
            by side; given the data with fixed effects taken for known, and of the errors of prediction, both of shape
            (levels, w, w) for w effects of a level
        """
        spread = self._equations.by_level(self._B @ self._half)
        covariances = []
        for terms, blocks in self._equations.inverse_blocks():
            design = np.concatenate([spread[t] for t in terms], axis=1)
            added = blocks + design @ design.transpose(0, 2, 1)
            covariances.append((terms, self.residual_variance * blocks, self.residual_variance * added))
        return covariances

    @property
    def conditional_covariances(self) -> tuple[Array, ...]:
        """For every term its levels' covariance matrices given the data, fixed effects known, shape (levels, q, q)."""
        return self._of_terms((terms, known) for terms, known, _ in self.by_group)

    @property
    def prediction_covariances(self) -> tuple[Array, ...]:
        """For every term its levels' covariance matrices of the errors of prediction, shape (levels, q, q)."""
        return self._of_terms((terms, errors) for terms, _, errors in self.by_group)

    def _of_terms(self, families: Iterable[tuple[tuple[int, ...], Array]]) -> tuple[Array, ...]:
        """For every term the covariance matrices of its own effects, out of those of a grouping factor's."""
        by_term: dict[int, Array] = {}
        for terms, covariances in families:
            start = 0
            for t in terms:
                place = slice(start, start + len(self.design.terms[t].names))
                by_term[t] = covariances[:, place, place]
                start = place.stop
        return tuple(by_term[t] for t in range(len(self.design.terms)))

    def random_effects(self, uncertain_fixed: bool = False) -> pd.DataFrame:
        """Predicted random effects as `Fit.random_effects` has them: ``group, level, term, estimate, std_error``.

        Parameters
        ----------
        uncertain_fixed : standard errors of prediction, in place of those given the data with fixed effects known
        """
        covariances = self.prediction_covariances if uncertain_fixed else self.conditional_covariances
        tables = []
        for term, modes, spread in zip(self.design.terms, self.modes, covariances, strict=True):
            for j, name in enumerate(term.names):
                errors = np.sqrt(np.maximum(spread[:, j, j], 0.0))
                columns = {"group": term.group, "level": term.levels, "term": name}
                tables.append(pd.DataFrame({**columns, "estimate": modes[:, j], "std_error": errors}))
        return pd.concat(tables, ignore_index=True)[RANDOM_EFFECTS] if tables else pd.DataFrame(columns=RANDOM_EFFECTS)

    # ---- fitted values and predictions -------------------------------------------------------------------------------

    @cached_property
    def fitted(self) -> Vector:
        """Fitted values of the rows used, on the response's scale (with its offset, as R's), shape (n,)."""
        offset = 0.0 if self.design.offset is None else self.design.offset
        fitted: Vector = self.design.to_rows(self.design.X @ self.fixed + self._equations.W @ self._v) + offset
        return fitted

    @property
    def residuals(self) -> Vector:
        """The response less its fitted values, shape (n,)."""
        return self.design.to_rows(self.residuals_of_one_variance)

    @property
    def residuals_of_one_variance(self) -> Vector:
        """The residuals times the square roots of the rows' weights, shape (n,): all have the residual variance."""
        residuals: Vector = self.marginal_residuals - self._equations.W @ self._v
        return residuals

    def predict(
        self, rows: NewRows | None = None, random: bool | Sequence[int] = True, errors: bool = True
    ) -> pd.DataFrame:
        """Predictions at rows, marginal or conditional on the groups.

        The estimate is x'b + z'u with the predicted effects u of the levels that are known and asked for; those of any
        other level are zero, their expectation. Its errors, nested in one another, with variances taken for known:

        * ``std_error``: of the mean x'b + z'u, in which any other level counts as an average one. The variance is
          x~'Cov(b)x~ + z'Cov(u)z with x~ = x - B'Lambda'z, Cov(u) given the data: the mixed-model equations' (Henderson
          1975; McLean, Sanders and Stroup 1991, The American Statistician 45, 54-64). Without random effects it is
          x'Cov(b)x, as lme4's later versions and SAS have it.
        * ``std_error_level``: of the mean of that very row's levels: the variances z'Psi z of the others are added.
        * ``std_error_observation``: of a new observation: the residual variance is added too.

        Parameters
        ----------
        rows : where; by default the design's own rows
        random : whether the predicted random effects enter (``re.form = NULL`` in lme4), or not (``NA``), or the
            numbers of the terms whose effects do
        errors : also the standard errors; in a design of crossed factors they cost a solution a row

        Returns
        -------
        pandas.DataFrame : one row a row, ``estimate, std_error, std_error_level, std_error_observation``
        """
        rows = own_rows(self.design) if rows is None else rows
        count = len(rows.X)
        every = range(len(self.design.terms))
        chosen = set(every if random is True else () if random is False else random)
        codes = [rows.codes[t] if t in chosen else np.full(count, -1) for t in every]
        W = self._equations.rows(rows.matrices, codes, count)
        with np.errstate(invalid="ignore"):  # a missing number makes its own row's prediction missing
            estimate = rows.X @ self.fixed + W @ self._v + rows.offset
            if not errors:
                return pd.DataFrame({"estimate": estimate})
            of_fixed = (rows.X - W @ self._B) @ self._half
            mean = (of_fixed**2).sum(1) + self._equations.quadratic(W)
        level = mean.copy()
        for matrix, code, covariance in zip(rows.matrices, codes, self.parameters.relative, strict=True):
            level += np.where(code < 0, np.einsum("ij,jk,ik->i", matrix, covariance, matrix), 0.0)
        variances = self.residual_variance * np.column_stack([mean, level, level + 1.0])
        return pd.DataFrame(np.column_stack([estimate, np.sqrt(variances)]), columns=PREDICTIONS)

    # ---- explained variance ------------------------------------------------------------------------------------------

    @cached_property
    def variances(self) -> dict[str, float | Array]:
        """The shares of the response's variance, in its squared unit.

        Returns
        -------
        dict : ``fixed``, the variance of X b over the rows (divisor n - 1, as R's var() in all R packages for it);
            ``random``, for every term the mean over the rows of z'Psi z, shape (terms,) (Johnson 2014, Methods in
            Ecology and Evolution 5, 944-946), which for an intercept is its variance; ``residual``, that of a row of
            weight 1
        """
        design = self.design.as_coded
        random = [
            float(np.einsum("ij,jk,ik->", term.matrix, covariance, term.matrix)) / len(design.y)
            for term, covariance in zip(design.terms, self.covariances, strict=True)
        ]
        fixed = float(np.var(design.X @ self.fixed, ddof=1))
        if fixed < np.finfo(float).eps * (sum(random) + self.residual_variance):
            fixed = 0.0  # the rounding of a constant
        return {"fixed": fixed, "random": np.array(random), "residual": self.residual_variance}

    @property
    def r_squared(self) -> tuple[float, float]:
        """Marginal and conditional R-squared: the shares of the fixed effects, and of fixed and random ones together.

        Nakagawa and Schielzeth (2013), Methods in Ecology and Evolution 4, 133-142; with random slopes, Johnson (2014).
        """
        fixed, random, total = self._shares()
        return fixed / total, (fixed + random) / total

    @property
    def icc(self) -> tuple[float, float]:
        """Intraclass correlation, adjusted and unadjusted: the share of the random effects in what the fixed effects
        leave, and in all.

        Nakagawa, Johnson and Schielzeth (2017), Journal of the Royal Society Interface 14: 20170213 (there "adjusted"
        and "conditional").
        """
        fixed, random, total = self._shares()
        return random / (total - fixed), random / total

    def _shares(self) -> tuple[float, float, float]:
        fixed, random = float(self.variances["fixed"]), float(np.sum(self.variances["random"]))
        return fixed, random, fixed + random + self.residual_variance
