"""Proofs that an optimum is the best there is, over all values of the random effects' covariances.

A certificate proves that one point is a strict local minimum of the criterion. Here the whole space is covered, limits
of infinite variances included. A model with one variance has every one of its stationary points isolated
(`stationary`); with more, boxes are excluded in which the criterion is proved to be above its value at the optimum,
until what is left lies where it is proved convex (`covering`). Both rest on bounds that follow from the criterion's
shape and from values at points in balls (`surface`), so that no rounding and no step between points is left out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from flint import arb, ctx
from scipy import optimize

from concord.arrays import Vector
from concord.likelihood.certificate import CertificateError, Exact
from concord.models.decimals import Columns, Doubles
from concord.models.design import Design
from concord.proof.balanced import unique
from concord.proof.covering import BetterPoint, cover
from concord.proof.stationary import Stationary, isolate

SECONDS = 600.0
# Working precision for single values.
BITS = 192
# Terms with more correlated effects than this are not covered by boxes.
MOST = 2
BALANCED = "the design is balanced: in closed form an optimum with a regular covariance matrix is the only one"
# The optimum that is handed in must be one of those found, as near as this relative to theta.
NEAR = 1e-6


class BetterOptimumError(CertificateError):
    """The optimum that was to be proved is not the best one.

    Attributes
    ----------
    theta, loglik : a better one
    """

    def __init__(self, theta: tuple[float, ...], loglik: float, gain: float) -> None:
        self.theta, self.loglik = theta, loglik
        place = ", ".join(f"{entry:.9g}" for entry in theta)
        super().__init__(f"a better optimum was found: logLik {loglik:.9g} at theta = ({place}), {gain:.4g} higher")


@dataclass(frozen=True, eq=False)
class GlobalProof:
    """The proof that an optimum is the global one.

    Attributes
    ----------
    boxes : number of boxes that were examined
    seconds : time that it took
    optima : theta and log-likelihood of the optima, best first: all of them with one variance, else the global one
    stationary : number of stationary points, a minimum at a variance of zero included; None with several parameters
    method : how it was proved, in words
    """

    boxes: int
    seconds: float
    optima: tuple[tuple[tuple[float, ...], float], ...]
    stationary: int | None
    method: str


def prove(exact: Exact, optimum: Sequence[arb | float], seconds: float = SECONDS) -> GlobalProof:
    """Prove that the criterion has its global minimum at an optimum.

    Parameters
    ----------
    exact : the criterion, made at a high precision
    optimum : theta there, shape (m,); its terms' effects in an order in which only trailing columns of a factor vanish
    seconds : the proof is given up after this time

    Raises
    ------
    BetterOptimumError : there is a better one
    CertificateError : it cannot be proved; the message says why
    """
    begin = time.perf_counter()
    theta = [entry if isinstance(entry, arb) else arb(float(entry)) for entry in optimum]
    kept, ctx.prec = ctx.prec, BITS
    try:
        return (_isolated if exact.m == 1 else _covered)(exact, theta, seconds, begin)
    finally:
        ctx.prec = kept


def prove_model(
    design: Design,
    reml: bool,
    optimum: Sequence[arb],
    seconds: float = SECONDS,
    columns: Columns | Doubles | None = None,
) -> GlobalProof:
    """The proof for a model in numbers, `columns` its exact ones (by default the doubles); see `prove`.

    Where a term has too many correlated effects for boxes, it is in closed form if the design is balanced.
    """
    begin = time.perf_counter()
    kept, ctx.prec = ctx.prec, 2 * BITS
    try:
        exact = Exact(design, reml, columns)
        if max(exact.sizes) > MOST and unique(design, exact, optimum):
            optima = ((tuple(float(entry.mid()) for entry in optimum), float(_loglik(exact, optimum).mid())),)
            return GlobalProof(0, time.perf_counter() - begin, optima, None, BALANCED)
    finally:
        ctx.prec = kept
    return prove(exact, optimum, seconds)


def _isolated(exact: Exact, theta: list[arb], seconds: float, begin: float) -> GlobalProof:
    """The proof for one variance: the best of all stationary points."""
    points, boxes = isolate(exact, seconds)
    optima = [(point.gamma.sqrt(), _loglik(exact, [point.gamma.sqrt()])) for point in points if point.minimum]
    optima.sort(key=lambda optimum: -float(optimum[1].mid()))
    here = [k for k, (at, _) in enumerate(optima) if abs(at - theta[0]) <= NEAR * at or at == 0 and theta[0] == 0]
    if len(here) != 1:
        places = ", ".join(f"{float(at.mid()):.9g}" for at, _ in optima)
        raise CertificateError(f"theta = {float(theta[0].mid()):.9g} is not an optimum; they lie at theta = {places}")
    level = optima[here[0]][1]
    for k, (at, other) in enumerate(optima):
        if k not in here and not other < level:
            if other > level:
                raise BetterOptimumError((float(at.mid()),), float(other.mid()), float((other - level).mid()))
            raise CertificateError("two optima are equally good")
    return GlobalProof(
        boxes,
        time.perf_counter() - begin,
        tuple(((float(at.mid()),), float(level.mid())) for at, level in optima),
        len(points),
        _words(points),
    )


def _words(points: list[Stationary]) -> str:
    count = "the only stationary point" if len(points) == 1 else f"all {len(points)} stationary points"
    return f"{count} isolated over theta in [0, infinity)"


def _covered(exact: Exact, theta: list[arb], seconds: float, begin: float) -> GlobalProof:
    """The proof for several parameters: nowhere is the criterion less."""
    level = _loglik(exact, theta)
    try:
        boxes = cover(exact, theta, seconds)
    except BetterPoint as better:
        at = _descended(exact, better.theta)
        best = _loglik(exact, [arb(entry) for entry in at])
        raise BetterOptimumError(at, float(best.mid()), float((best - level).mid())) from None
    optimum = tuple(float(entry.mid()) for entry in theta), float(level.mid())
    method = "boxes over all covariances, infinite ones included, hold nothing better; convex around the optimum"
    return GlobalProof(boxes, time.perf_counter() - begin, (optimum,), None, method)


def _descended(exact: Exact, start: Sequence[float]) -> tuple[float, ...]:
    """Downhill from a point, as far as a search by values goes."""

    def criterion(theta: Vector) -> float:
        try:
            value = float(exact([arb(float(entry)) for entry in theta], 0).value.mid())
        except ZeroDivisionError:
            return math.inf
        return value if math.isfinite(value) else math.inf

    options = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 400 * exact.m}
    return tuple(map(float, optimize.minimize(criterion, start, method="Nelder-Mead", options=options).x))


def _loglik(exact: Exact, theta: Sequence[arb]) -> arb:
    return exact(theta, 0).value / -2
