"""Tests and criteria: what follows from log-likelihoods and the numbers of parameters, in every package's convention,
and likelihood-ratio tests of nested models with the distribution that a boundary gives them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from concord.arrays import Matrix
from concord.inference import boundary
from concord.likelihood.likelihood import Likelihood
from concord.models import nesting
from concord.models.design import Design
from concord.models.nesting import NotNested, Restriction

# A log-likelihood that is lower by less than this is so by rounding.
ROUNDING = 1e-7
# A statistic that is further below zero than this is not so by rounding.
MISSED = 1e-5


class NotComparable(ValueError):
    """A test of two models would mean nothing; the message says why."""


@dataclass(frozen=True)
class Candidate:
    """A fitted model, as far as criteria and tests are concerned.

    Attributes
    ----------
    name : what to call it
    design : the model in numbers; without random terms, a linear model
    reml : whether by REML
    loglik : its log-likelihood, for the design's coding of X
    formula : as it was given, where there is one
    """

    name: str
    design: Design
    reml: bool
    loglik: float
    formula: str = ""

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.design.y)

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return int(self.design.X.shape[1])

    @property
    def df(self) -> int:
        """Number of parameters: fixed effects, variances and covariances, and the residual variance. All three packages
        count so, under REML too.
        """
        return self.p + nesting.count(self.design) + 1

    @property
    def deviance(self) -> float:
        """-2 log-likelihood; under REML, the REML criterion. There is no saturated mixed model to count from."""
        return -2 * self.loglik

    @property
    def aic(self) -> float:
        """Akaike's criterion, -2 l + 2 df."""
        return self.deviance + 2 * self.df

    def bic(self, of_contrasts: bool = False) -> float:
        """Schwarz's criterion, -2 l + df log n, with the number of rows n; or `of_contrasts`, under REML, with the
        number of contrasts that the restricted likelihood is of, n - p (Pinheiro and Bates 2000, Mixed-Effects Models
        in S and S-PLUS, section 2.4.1).
        """
        n = self.n - self.p if of_contrasts and self.reml else self.n
        return self.deviance + self.df * math.log(n)

    def by_ml(self) -> Candidate:
        """The same model at its ML optimum in the independent likelihood; itself where it is by ML."""
        if not self.reml:
            return self
        if not self.design.terms:
            return linear(self.design, reml=False, name=self.name, formula=self.formula)
        return replace(self, reml=False, loglik=Likelihood(self.design, False).optimum().loglik)


def linear(design: Design, reml: bool, name: str = "linear", formula: str = "") -> Candidate:
    """The linear model of a design's fixed effects alone, without random ones, fitted by least squares."""
    n, p = design.X.shape
    Q, R = np.linalg.qr(design.X)
    residuals = design.y - Q @ (Q.T @ design.y)
    nu = n - p if reml else n
    loglik = -0.5 * nu * (1 + math.log(2 * math.pi * float(residuals @ residuals) / nu))
    loglik += design.log_weights / 2
    if reml:
        loglik -= float(np.log(np.abs(np.diag(R))).sum())
    unweighted = design.unweighted and replace(design.unweighted, terms=())
    return Candidate(name, replace(design, terms=(), unweighted=unweighted), reml, loglik, formula)


# ---- likelihood-ratio tests ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LikelihoodRatio:
    """A likelihood-ratio test of nested models.

    Under the null a variance may be zero, the end of its range. With more and more independent groups its estimate is
    then positive in half of all samples only, and the statistic comes near not a chi-squared variable but a mixture
    (chi-bar-squared): the squared length of a normal vector's projection onto the cone that the larger model opens at
    the null (Self and Liang 1987, Journal of the American Statistical Association 82, 605-610; Stram and Lee 1994,
    Biometrics 50, 1171-1177, with the correction in 51, 1196). With few groups the statistic is zero more often, and
    the mixture's p-value too large (Crainiceanu and Ruppert 2004, Journal of the Royal Statistical Society B 66,
    165-185); `zero_share` is exact for one variance.

    Attributes
    ----------
    null, alternative : the models
    restriction : what the null holds fixed
    statistic : twice the difference in log-likelihood, not less than zero
    notes : what is to be said of it
    shift : what the difference gains where REML's fixed effects are coded in other columns
    """

    null: Candidate
    alternative: Candidate
    restriction: Restriction
    statistic: float
    notes: tuple[str, ...] = ()
    shift: float = 0.0

    def of(self, null: float, alternative: float) -> float:
        """The statistic of two other log-likelihoods, of the same models for another response; missing where the larger
        model's is less than the smaller one's, which no two tops are: one of them was missed.
        """
        twice = 2 * (alternative - null + self.shift)
        return max(0.0, twice) if twice > -MISSED else math.nan

    @property
    def df(self) -> int:
        """The difference in the number of parameters."""
        return self.restriction.fixed + self.restriction.random

    @property
    def naive(self) -> float:
        """P-value by the chi-squared distribution with `df` degrees of freedom, as anova() prints it: too large where
        the null is on the boundary.
        """
        return mixture_p(self.statistic, ((self.df, 1.0),))

    @property
    def weights(self) -> tuple[tuple[int, float], ...] | None:
        """The mixture: degrees of freedom and their weights; None where these depend on more than the dimensions.

        * null inside: chi-squared with `df`;
        * one effect removed, with its covariances with those kept: half and half of df - 1 and df (Stram and Lee 1994,
          cases 1 to 3);
        * k effects removed that are independent of each other: binomial with probability one half, if their variances'
          estimates are (Self and Liang 1987, case 9); `p_bounds` hold whether they are or not;
        * several correlated effects removed at once: none; see `p_bounds`.
        """
        k, most = self.restriction.boundary, max(self.restriction.removed, default=0)
        if k == 0:
            return ((self.df, 1.0),)
        if most > 1:
            return None
        return tuple((self.df - k + j, math.comb(k, j) / 2**k) for j in range(k + 1))

    @property
    def exact(self) -> bool:
        """Whether the weights rest on the dimensions alone."""
        return self.restriction.boundary <= 1

    @property
    def p_value(self) -> float:
        """P-value by the mixture; missing where its weights are not known."""
        return mixture_p(self.statistic, self.weights) if self.weights else float("nan")

    @property
    def zero_share(self) -> float | None:
        """How often the statistic is zero where the null is true, in this very design, for a variance against no random
        effects; None for any other pair. The mixture says 0.5.
        """
        if self.null.design.terms or self.restriction.fixed or self.restriction.random != 1:
            return None
        try:
            return boundary.zero_share(self.alternative.design, self.alternative.reml)
        except ValueError:
            return None

    @property
    def remark(self) -> str:
        """What is to be known of a p-value by the mixture; empty where the null is not on the boundary."""
        if not self.restriction.boundary:
            return ""
        if (share := self.zero_share) is not None:
            return (
                f"were the variance zero, the ratio would be zero in {share:.0%} of all samples of this design, not in "
                "the half of them that the mixture supposes (Crainiceanu and Ruppert 2004)"
            )
        return (
            "the mixture is for many independent groups; with few its p-value tends to be too large (Crainiceanu and "
            "Ruppert 2004), and bootstrap.ratio_test() draws the ratio's own distribution"
        )

    @property
    def p_bounds(self) -> tuple[float, float]:
        """Between what the mixture's p-value lies, whatever its weights.

        Those of even and of odd degrees of freedom sum to one half each for any cone that is not a linear space, from
        the dimension of the lines in it to its own (Silvapulle and Sen 2005, Constrained Statistical Inference, section
        3.6; Baey, Cournède and Kuhn 2019, Computational Statistics and Data Analysis 135, 107-122).
        """
        if not self.restriction.boundary:
            return self.naive, self.naive
        lowest = self.df - self.restriction.cone
        low, high = (((df, 0.5), (df + 1, 0.5)) for df in (lowest, self.df - 1))
        return mixture_p(self.statistic, low), mixture_p(self.statistic, high)

    @property
    def assumes(self) -> tuple[str, ...]:
        """What the p-value rests on."""
        assumptions = ["many independent groups", "the null's own variances are positive"]
        if not self.exact:
            assumptions.append(
                "the removed effects' variances are estimated independently of each other"
                if self.weights
                else "the weights of the mixture depend on the data's information: bounds only"
            )
        return tuple(assumptions)

    def __repr__(self) -> str:
        if self.weights:
            mixture = " + ".join(f"{weight:g} chi2({df})" for df, weight in self.weights)
            by = f"p = {self.p_value:.4g} by {mixture}"
        else:
            by = "p between {:.4g} and {:.4g}".format(*self.p_bounds)
        head = f"{self.null.name} in {self.alternative.name}, {self.restriction.kind} less: LR = {self.statistic:.6g}"
        return f"<{head}, {by}; naive p = {self.naive:.4g} by chi2({self.df})>"


def likelihood_ratio(first: Candidate, second: Candidate) -> LikelihoodRatio:
    """The likelihood-ratio test of two models, of which one is a special case of the other.

    Raises
    ------
    NotComparable : neither is; they are of other rows or responses, by other methods, or by REML with other fixed
        effects
    """
    if first.reml != second.reml:
        raise NotComparable("one is fitted by REML and the other by ML: their log-likelihoods are of other things")
    null, alternative = sorted((first, second), key=lambda candidate: candidate.df)
    try:
        restriction = nesting.restriction(null.design, alternative.design)
    except NotNested as error:
        raise NotComparable(str(error)) from None
    if restriction.fixed and null.reml:
        raise NotComparable(
            "by REML with other fixed effects: each log-likelihood is that of the contrasts of the response that its "
            "own fixed effects leave, so their difference tests nothing: fit both by ML"
        )
    if not restriction.fixed and not restriction.random:
        raise NotComparable("the two models are one, written in two ways")
    gain, shift, notes = alternative.loglik - null.loglik, 0.0, []
    if null.reml:
        # The same fixed effects in another coding: REML's log-likelihoods differ by a constant.
        recoded = 0.5 * (_logdet_gram(alternative.design.X) - _logdet_gram(null.design.X))
        if abs(recoded) > 1e-9:
            shift = recoded
            gain += shift
            notes.append(f"the fixed effects are coded in other columns: REML's log-likelihoods shifted by {shift:.6g}")
    if gain < -ROUNDING * max(1.0, abs(null.loglik)):
        notes.append(
            f"the larger model has the lower log-likelihood, by {-gain:.4g}: its fit is short of its optimum, and the "
            "statistic was set to zero"
        )
    return LikelihoodRatio(null, alternative, restriction, max(0.0, 2 * gain), tuple(notes), shift)


def mixture_p(statistic: float, weights: Sequence[tuple[int, float]]) -> float:
    """The probability that a mixture of chi-squared variables is at least `statistic`.

    Parameters
    ----------
    statistic : not negative
    weights : degrees of freedom, 0 for the constant zero, and their weights
    """
    return sum(
        weight * (float(stats.chi2.sf(statistic, df)) if df else float(statistic <= 0)) for df, weight in weights
    )


def _logdet_gram(X: Matrix) -> float:
    """log |X'X|."""
    return 2 * float(np.log(np.abs(np.diag(np.linalg.qr(X, mode="r")))).sum())
