"""Every stationary point of a criterion with one variance, isolated over the whole of [0, infinity).

In gamma = theta^2 the criterion is L + nu log r with L = sum log (1 + gamma l_i) + const and r = sum u_i^2 / (1 + gamma
l_i), where l_i are eigenvalues, none negative (see `surface`; they are never computed). So L' falls and L'' rises to
zero, and r, -r' and r'' all fall: bounds of the criterion's first and second derivatives on an interval follow from
their values at its ends.
"""

from __future__ import annotations

import heapq
import itertools
import time
from dataclasses import dataclass

from flint import arb, arb_mat, ctx, fmpq

from concord.likelihood.certificate import CertificateError, Exact
from concord.proof.surface import UNBOUNDED, Number, ball, limit

# Where an interval is split, as a share of its length in log gamma: no round number, lest a point fall on an edge.
SPLIT = 0.4871
# The first interval that ends at infinity begins here, in units of 1 / Z'Z, and its beginning grows by this factor. (At
# 1 itself lies the optimum of many a balanced table.)
FIRST = 1.0731
STEP = 7.3
# A box so small, relative to gamma, is given up.
FINE = 2.0**-70
# An isolated point is enclosed this well: at a large gamma the criterion loses as many digits as gamma has.
FINEST = 2.0**-110


@dataclass(frozen=True, eq=False)
class Stationary:
    """One stationary point.

    Attributes
    ----------
    gamma : enclosure of theta^2; 0 for a minimum on the boundary
    minimum : whether the criterion has a minimum there, or else a maximum
    """

    gamma: arb
    minimum: bool


@dataclass(frozen=True, eq=False)
class _Values:
    """At one gamma: the first two derivatives of L, and r with its first two."""

    gamma: arb
    rise: arb
    bend: arb
    rss: arb
    fall: arb
    turn: arb
    nu: int

    @property
    def slope(self) -> arb:
        """The criterion's derivative."""
        return self.rise + self.nu * self.fall / self.rss


class Line:
    """The derivatives of the criterion of a model with one variance, in balls."""

    def __init__(self, exact: Exact) -> None:
        self.p, self.nu, self.reml = exact.p, exact.nu, exact.reml
        width = exact.p + 1
        self.total = arb_mat([[ball(exact.total[max(i, j)][min(i, j)]) for j in range(width)] for i in range(width)])
        merged: dict[str | int, tuple[int, list[Number], Number]] = {}
        for number, pattern in enumerate(exact.patterns):
            gram, outer = pattern.exact[0][0][0], pattern.exact[1][0][0]
            # Of balls it is not known whether they hold the same number.
            key = str(gram) if isinstance(gram, fmpq) else number
            count, sums, _ = merged.get(key, (0, [arb(0)] * len(outer), gram))
            merged[key] = (count + pattern.count, [a + b for a, b in zip(sums, outer, strict=True)], gram)
        self.blocks = []
        for count, sums, gram in merged.values():
            square, place = arb_mat(width, width), 0
            for i in range(width):
                for j in range(i + 1):
                    square[i, j] = square[j, i] = ball(sums[place])
                    place += 1
            self.blocks.append((count, ball(gram), square))

    def at(self, gamma: arb) -> _Values:
        """L and r with their derivatives."""
        rise, bend = arb(0), arb(0)
        cross, first, second = self.total, arb_mat(self.p + 1, self.p + 1), arb_mat(self.p + 1, self.p + 1)
        for count, gram, outer in self.blocks:
            inverse = 1 / (1 + gamma * gram)
            rise += count * gram * inverse
            bend -= count * (gram * inverse) ** 2
            cross = cross - outer * (gamma * inverse)
            first = first - outer * inverse**2
            second = second + outer * (2 * gram * inverse**3)
        p = self.p
        direction = arb_mat([[arb(0)] for _ in range(p)] + [[arb(1)]])
        corner = arb(0)
        if p:
            spread = _part(cross, p, p).inv()
            right = arb_mat([[cross[i, p]] for i in range(p)])
            beta = spread * right
            direction = arb_mat([[-beta[i, 0]] for i in range(p)] + [[arb(1)]])
            moved = first * direction
            moved = arb_mat([[moved[i, 0]] for i in range(p)])
            corner = (moved.transpose() * spread * moved)[0, 0]
            if self.reml:
                share = spread * _part(first, p, p)
                rise += share.trace()
                bend += (spread * _part(second, p, p)).trace() - (share * share).trace()
        rss = (direction.transpose() * cross * direction)[0, 0]
        fall = (direction.transpose() * first * direction)[0, 0]
        turn = (direction.transpose() * second * direction)[0, 0] - 2 * corner
        if not rss > 0:
            raise CertificateError("the residual sum of squares is not proved positive at this precision")
        return _Values(gamma, rise, bend, rss, fall, turn, self.nu)


def isolate(exact: Exact, seconds: float, bits: int = 192) -> tuple[list[Stationary], int]:
    """All stationary points over gamma in [0, infinity), a minimum at 0 included, and the number of boxes it took.

    Raises
    ------
    CertificateError : there may be one that is not isolated
    """
    kept, ctx.prec = ctx.prec, bits
    try:
        return _isolate(Line(exact), limit(exact), time.perf_counter() + seconds)
    except (ZeroDivisionError, ValueError) as error:
        raise CertificateError(f"no enclosure at {bits} bits: {error}") from error
    finally:
        ctx.prec = kept


def _isolate(line: Line, last: arb, until: float) -> tuple[list[Stationary], int]:
    if not last > 0:
        raise CertificateError(UNBOUNDED)
    zero, begin = line.at(arb(0)), time.perf_counter()
    points = []
    if not (zero.slope > 0 or zero.slope < 0):
        raise CertificateError("the slope at a variance of zero is not told from zero")
    if zero.slope > 0:
        points.append(Stationary(arb(0), True))
    scale = max(float(gram.mid()) for _, gram, _ in line.blocks)
    middle = line.at(arb(FIRST / scale))
    # Widest first, so that a few boxes that cannot be settled do not hide the rest; None is infinity.
    boxes: list[tuple[float, int, _Values, _Values | None]] = [(0, 0, zero, middle), (0, 1, middle, None)]
    examined, order = 0, itertools.count(2)
    while boxes:
        depth, _, low, high = heapq.heappop(boxes)
        examined += 1
        if time.perf_counter() > until:
            spent = time.perf_counter() - begin
            raise CertificateError(f"gave up after {spent:.0f} s with {len(boxes) + 1} boxes left")
        place = _examine(line, low, high, last, points)
        if place is None:
            continue
        cut = line.at(place)
        for a, b in ((low, cut), (cut, high)):
            heapq.heappush(boxes, (depth + 1, next(order), a, b))
    points.sort(key=lambda point: float(point.gamma.mid()))
    # Minima and maxima take turns; the first is a minimum, at zero or beyond a fall from there, and so is the last.
    if (
        not points
        or [point.minimum for point in points] != [k % 2 == 0 for k in range(len(points))]
        or len(points) % 2 == 0
    ):
        raise CertificateError("minima and maxima do not take turns: the isolation is wrong")
    return points, examined


def _examine(line: Line, low: _Values, high: _Values | None, last: arb, points: list[Stationary]) -> arb | None:
    """Where a box is to be cut; None where it is settled, and the point in it, if there is one, is among `points`."""
    if high is None:
        return None if _none_beyond(low, last) else (low.gamma * arb(STEP)).mid()
    if _none_between(low, high):
        return None
    if _monotone(low, high):
        if low.slope > 0 and high.slope < 0 or low.slope < 0 and high.slope > 0:
            points.append(Stationary(_enclosed(line, low, high), bool(high.slope > 0)))
            return None
        if low.slope > 0 and high.slope > 0 or low.slope < 0 and high.slope < 0:
            return None
    return _between(low, high)


def _none_beyond(low: _Values, last: arb) -> bool:
    """Whether the criterion is proved to rise from here to infinity.

    gamma L' = sum x_i with x_i = gamma l_i / (1 + gamma l_i) rises; and -gamma r' = sum u_i^2 x_i / (1 + gamma l_i) is
    at most the sum of the u_i^2 / (1 + gamma l_i) with l_i > 0, that is r less its limit, which falls.
    """
    return bool(low.gamma * low.rise > low.nu * (low.rss - last) / last)


def _slopes(low: _Values, high: _Values) -> tuple[arb, arb]:
    """What the criterion's first derivative lies between."""
    least = high.rise + low.nu * low.fall / low.rss  # L' falls; the slope of the convex nu log r rises
    most = low.rise + low.nu * high.fall / high.rss
    return least, most


def _bends(low: _Values, high: _Values) -> tuple[arb, arb]:
    """What the criterion's second derivative lies between."""
    least = low.bend + low.nu * (high.turn / low.rss - (low.fall / high.rss) ** 2)
    most = high.bend + low.nu * (low.turn / high.rss - (high.fall / low.rss) ** 2)
    return least, most


def _none_between(low: _Values, high: _Values) -> bool:
    """Whether the slope is proved positive, or negative, throughout."""
    least, most = _slopes(low, high)
    return bool(least > 0 or most < 0)


def _monotone(low: _Values, high: _Values) -> bool:
    """Whether the second derivative is proved positive, or negative, throughout."""
    least, most = _bends(low, high)
    return bool(least > 0 or most < 0)


def _between(low: _Values, high: _Values) -> arb:
    a, b = low.gamma, high.gamma
    if a == 0:
        return (b / STEP).mid()
    if not b - a > a * FINE:
        raise CertificateError(f"a box at theta = {float(a.sqrt()):.9g} is not settled: minimum and maximum are one")
    return (a * ((b / a).log() * SPLIT).exp()).mid()


def _enclosed(line: Line, low: _Values, high: _Values) -> arb:
    """The one zero of a monotone slope between two ends, by bisection on its sign."""
    a, b, rising = low.gamma, high.gamma, bool(high.slope > 0)
    while not b - a < b * FINEST:
        cut = ((a + b) / 2).mid()
        slope = line.at(cut).slope
        if slope > 0:
            a, b = (a, cut) if rising else (cut, b)
        elif slope < 0:
            a, b = (cut, b) if rising else (a, cut)
        else:
            break
    return a.union(b)


def _part(matrix: arb_mat, rows: int, columns: int) -> arb_mat:
    return arb_mat([[matrix[i, j] for j in range(columns)] for i in range(rows)])
