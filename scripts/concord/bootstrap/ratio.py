"""The likelihood ratio's own distribution under the null, by drawing from the smaller model and maximising both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from concord.arrays import Vector
from concord.engines.replicate import likelihood_of, with_response
from concord.inference import criteria
from concord.inference.criteria import Candidate, LikelihoodRatio, likelihood_ratio
from concord.likelihood.likelihood import LikelihoodError
from concord.models.model import Model
from concord.models.parameters import Parameters
from concord.reference import reference
from concord.simulation.responses import draw

# A ratio below this is zero: what rounding leaves of two equal log-likelihoods.
ZERO = 1e-6


@dataclass(frozen=True, eq=False)
class RatioTest:
    """A likelihood-ratio test by the parametric bootstrap.

    Attributes
    ----------
    ratio : of the data, with its naive p-value and that by the mixture
    drawn : the statistic of every draw from the null, shape (draws,)
    missed : how many more draws there were, of which the search missed the larger model's optimum: they count for
        nothing
    """

    ratio: LikelihoodRatio
    drawn: Vector
    missed: int = 0

    @property
    def p_value(self) -> float:
        """The share of draws with no smaller a statistic, the data counted as one of them (Davison and Hinkley 1997,
        Bootstrap Methods and their Application, section 4.2.1).
        """
        return float((1 + (self.drawn >= self.ratio.statistic - ZERO).sum()) / (1 + len(self.drawn)))

    @property
    def error(self) -> float:
        """The Monte-Carlo error of the p-value."""
        return float(np.sqrt(self.p_value * (1 - self.p_value) / len(self.drawn)))

    @property
    def zero_share(self) -> float:
        """In what share of the draws the statistic is zero."""
        return float((self.drawn <= ZERO).mean())

    def __repr__(self) -> str:
        by = f"p = {self.p_value:.4g} ± {self.error:.1g} by {len(self.drawn)} draws from the null"
        lost = f"; of {self.missed} more draws an optimum was missed" if self.missed else ""
        return f"{self.ratio!r}; {by}, of which {self.zero_share:.0%} have a ratio of zero{lost}"


def ratio_test(null: Model | None, alternative: Model, replicates: int = 1000, seed: int = 1) -> RatioTest:
    """Test a model against a smaller one by the ratio's distribution over responses drawn from the smaller one.

    No package is asked: what is maximised is the independent likelihood.

    Parameters
    ----------
    null : the smaller model, drawn from at its optimum; None for the larger one's without random effects
    alternative : the larger model, of the same table
    replicates : how many responses
    seed : of all draws

    Raises
    ------
    ValueError : there are to be no replicates
    NotComparable : neither model is a special case of the other, or REML does not allow the test
    LikelihoodError : a likelihood is not defined, or has no optimum
    """
    if replicates < 1:
        raise ValueError(f"replicates {replicates}: one or more")
    if null is not None and null.size > alternative.size:
        null, alternative = alternative, null
    observed = likelihood_ratio(_at_optimum(null, alternative), _at_optimum(alternative, alternative))
    smaller, larger = observed.null, observed.alternative
    truth = _linear(alternative) if null is None else reference.of(null).parameters
    ratios = np.empty(replicates)
    for number in range(replicates):
        response = draw(smaller.design, truth, seed, number)
        ratios[number] = observed.of(_highest(null, smaller, response), _highest(alternative, larger, response))
    known = ratios[~np.isnan(ratios)]
    if not len(known):
        raise LikelihoodError(f"of all {replicates} draws the larger model's optimum was missed")
    return RatioTest(observed, known, replicates - len(known))


def _at_optimum(model: Model | None, alternative: Model) -> Candidate:
    if model is None:
        return criteria.linear(alternative.design, alternative.reml, "no random effects")
    return Candidate(model.name, model.design, model.reml, reference.of(model).level, model.formula.text)


def _highest(model: Model | None, candidate: Candidate, response: Vector) -> float:
    """The log-likelihood of another response at its optimum."""
    if model is None:
        return criteria.linear(with_response(candidate.design, response), candidate.reml).loglik
    return likelihood_of(model, response).optimum().loglik


def _linear(model: Model) -> Parameters:
    """The parameters of a model without random effects, by least squares."""
    X, y = model.design.X, model.design.y
    fixed = np.linalg.lstsq(X, y, rcond=None)[0].astype(float)
    freedom = len(y) - (X.shape[1] if model.reml else 0)
    return Parameters(fixed, (), float(np.sum((y - X @ fixed) ** 2)) / freedom)
