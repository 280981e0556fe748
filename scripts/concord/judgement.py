"""The judgement of one fit: how far below the reference it lies, how many digits are right, and what is seen there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from concord import reference
from concord.engines.best import STATIONARY, recomputed, slope
from concord.fits import KEY, Fit
from concord.likelihood import LikelihoodError
from concord.reference import ZERO, Reference

MAXIMUM_DIGITS = 15.0
# An engine states the log-likelihood of its own estimates, if it states it within this.
OWN = 1e-8
EPS = float(np.finfo(float).eps)
# What an engine says where it has doubts about its own fit.
ALARMS = ("converge", "boundary", "singular", "unidentifiable", "positive definite")


@dataclass(frozen=True)
class Judgement:
    """One fit against the reference.

    Attributes
    ----------
    fit : what is judged
    against : the reference
    gap : log-likelihood units below the reference, both in the independent likelihood; inf where the estimates are no
        parameters of the model
    digits : correct significant digits of every estimate, worst first; index ``effect, group, term``
    slope : largest absolute derivative of the criterion where the fit stopped, in whitened coordinates; NaN where it
        has none
    """

    fit: Fit
    against: Reference
    gap: float
    digits: pd.Series
    slope: float

    @property
    def worst(self) -> float:
        """Correct significant digits of the worst estimate."""
        return float(self.digits.iloc[0]) if len(self.digits) else float("nan")

    @property
    def alarmed(self) -> bool:
        """Whether the engine said that something may be wrong: a warning, or that it has not converged."""
        said = (message for message in self.fit.messages if any(word in message.lower() for word in ALARMS))
        return not self.fit.converged or any(said)

    @property
    def rounding(self) -> float:
        """What rounding can do to the log-likelihood that the engine itself searches by, in log-likelihood units.

        MixedLM takes the inverse of each covariance matrix of random effects into it. Its relative error is that of
        numbers times the matrix's condition, for every group anew; in units of the random effects that do not matter,
        the reciprocal of the least eigenvalue of their correlations. The others take factors, which need no inverse.
        """
        if self.fit.engine != "mixedlm":
            return 0.0
        terms = zip(self.fit.model.design.terms, self.fit.covariances, strict=True)
        return float(sum(len(term.levels) * EPS / max(_least(covariance), EPS) for term, covariance in terms
                         if len(covariance) > 1))  # fmt: skip

    @property
    def rounded(self) -> str:
        """`rounding` in words."""
        return (
            f"its own log-likelihood has a rounding error of up to {self.rounding:.1g} there, for it inverts a "
            "covariance matrix that is all but singular"
        )

    @property
    def shortfall(self) -> tuple[tuple[str, ...], str]:
        """Why a fit is short, from what is seen where it stopped: the kinds of evidence, and a sentence.

        Kinds: ``constraint ignored``, ``no parameters`` of the model, ``stopped early``, ``another optimum``,
        ``boundary``, ``rounding``, ``silent failure``.
        """
        fit = self.fit
        silent = ("silent failure",) if fit.converged else ()
        if fit.violation:
            return ("constraint ignored", *silent), fit.violation
        if not np.isfinite(self.gap):
            return ("no parameters", *silent), "its estimates are no parameters of the model"
        likelihood = self.against.likelihood
        claim = "it claims to have converged all the same" if fit.converged else "it says that it has not converged"
        where = f"stopped {self.gap:.3g} log-likelihood units below the {self.against.noun}"
        theta = likelihood.theta_at(fit.covariances, fit.residual_variance)
        kinds: list[str] = []
        if self.slope > STATIONARY:
            kinds.append("stopped early")
            why = f"the criterion's largest derivative there is {self.slope:.2g}"
            try:
                # What remains to be gained is the evidence: another search, from the very point where it stopped.
                gained = likelihood.optimum([theta]).loglik - (self.against.level - self.gap)
                why += f", and a search that goes on from there gains {gained:.3g}"
            except (LikelihoodError, np.linalg.LinAlgError):
                pass
        else:
            kinds.append("another optimum")
            why = "the criterion is flat there: it is a stationary point, and not the best one"
        if singular(fit) and not self.against.boundary:
            kinds.append("boundary")
            why += "; its covariance matrix is singular, the optimum's is not"
        if self.gap <= self.rounding:
            kinds.append("rounding")
            why += f"; {self.rounded}"
        return (*kinds, *silent), f"{where}: {why}; {claim}"


def singular(fit: Fit) -> bool:
    """Whether a variance is zero, or a covariance matrix singular, at a fit's estimates."""
    for term, covariance in zip(fit.model.design.terms, fit.covariances, strict=True):
        share = np.diag(covariance) * np.mean(term.matrix**2, axis=0) / fit.residual_variance
        if share.min() < ZERO:
            return True
        if _least(covariance) < ZERO:
            return True
    return False


def _least(covariance: np.ndarray) -> float:
    """The least eigenvalue of the correlations in a covariance matrix."""
    deviation = np.sqrt(np.diag(covariance))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(covariance == 0, np.eye(len(covariance)), covariance / np.outer(deviation, deviation))
    return float(np.linalg.eigvalsh(correlation)[0])


def lre(value: float, correct: float) -> float:
    """Correct significant digits: the log relative error of McCullough 1998 (The American Statistician 52(4), 358-366).

    -log10(|value - correct| / |correct|), from 0 to 15; of a correct value of zero, -log10 |value|.
    """
    error = abs(value - correct) / (abs(correct) or 1.0)
    if np.isnan(error):
        return 0.0
    return MAXIMUM_DIGITS if error == 0 else float(np.clip(-np.log10(error), 0.0, MAXIMUM_DIGITS))


def judge(fit: Fit, against: Reference | None = None) -> Judgement:
    """A fit against the reference of its model, or another one that is given."""
    against = against or reference.of(fit.model)
    value = recomputed(fit, against.likelihood)
    correct = against.estimates.set_index(KEY)["estimate"]
    given = fit.estimates.set_index(KEY)["estimate"]
    digits = pd.Series({key: lre(given[key], correct[key]) for key in correct.index}, name="digits", dtype=float)
    steepness = slope(fit, against.likelihood) if np.isfinite(value) else float("nan")
    return Judgement(fit, against, against.level - value, digits.sort_values(kind="stable"), steepness)
