"""Proofs that an optimum is the best there is, over all values of the random effects' covariances.

A certificate proves that one point is a strict local minimum of the criterion. Here the whole space is covered, limits
of infinite variances included. A model with one variance has every one of its stationary points isolated
(`stationary`); with more, boxes are excluded in which the criterion is proved to be above its value at the optimum,
until what is left lies where it is proved convex (`covering`). Both rest on bounds that follow from the criterion's
shape and from values at points in balls (`surface`), so that no rounding and no step between points is left out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from flint import arb, ctx

from concord.certificate import CertificateError, Exact
from concord.covering import cover
from concord.stationary import Stationary, isolate

SECONDS = 600.0
# The optimum that is handed in must be one of those found, as near as this relative to theta.
NEAR = 1e-6


@dataclass(frozen=True, eq=False)
class GlobalProof:
    """The proof that an optimum is the global one.

    Attributes
    ----------
    boxes : number of boxes that were examined
    seconds : time that it took
    optima : theta and log-likelihood of the optima, best first: all of them with one variance, else the global one
    stationary : number of stationary points in all; None with more than one variance
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
    exact : the criterion
    optimum : theta there, shape (m,), in a form in which only trailing columns of a factor are zero
    seconds : the proof is given up after this time

    Raises
    ------
    CertificateError : it cannot be proved; the message says why, and names a better point where one was found
    """
    begin = time.perf_counter()
    theta = [each if isinstance(each, arb) else arb(float(each)) for each in optimum]
    if exact.m == 1:
        return _one(exact, theta[0], seconds, begin)
    covering = cover(exact, theta, seconds)
    level = loglik(exact, theta)
    optimum = tuple(float(each.mid()) for each in theta), float(level.mid())
    method = "boxes over all covariances, limits included, hold no better point; around the optimum: convex"
    return GlobalProof(covering.boxes, time.perf_counter() - begin, (optimum,), None, method)


def _one(exact: Exact, theta: arb, seconds: float, begin: float) -> GlobalProof:
    points, boxes = isolate(exact, seconds)
    kept, ctx.prec = ctx.prec, 192
    try:
        optima = [(each.gamma.sqrt(), loglik(exact, [each.gamma.sqrt()])) for each in points if each.minimum]
        here = [k for k, (at, _) in enumerate(optima) if abs(at - theta) <= NEAR * at or at == 0 and theta.contains(0)]
        if len(here) != 1:
            raise CertificateError(f"theta = {float(theta.mid()):.9g} is none of the {_listed(optima)}")
        level = optima[here[0]][1]
        for k, (_, other) in enumerate(optima):
            if k not in here and not other < level:
                raise CertificateError(better(optima[k], level) if other > level else "two optima are equally good")
    finally:
        ctx.prec = kept
    optima.sort(key=lambda each: -float(each[1].mid()))
    return GlobalProof(
        boxes, time.perf_counter() - begin,
        tuple(((float(at.mid()),), float(level.mid())) for at, level in optima), len(points), _isolated(points),
    )  # fmt: skip


def loglik(exact: Exact, theta: Sequence[arb]) -> arb:
    """The log-likelihood at a point."""
    return exact(theta, 0).value / -2


def better(found: tuple[arb, arb], level: arb) -> str:
    """What to say of a better optimum."""
    at, value = found
    return (
        f"a better optimum was found: log-likelihood {float(value.mid()):.9g} at theta = {float(at.mid()):.9g}, "
        f"{float((value - level).mid()):.4g} higher"
    )


def _listed(optima: list[tuple[arb, arb]]) -> str:
    places = ", ".join(f"{float(at.mid()):.9g}" for at, _ in optima)
    return f"optima, which lie at theta = {places}"


def _isolated(points: list[Stationary]) -> str:
    count = "the only stationary point was" if len(points) == 1 else f"all {len(points)} stationary points were"
    return f"{count} isolated over theta in [0, infinity), limits included"
