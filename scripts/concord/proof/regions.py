"""Regions of a random term's relative covariance matrices, each inside a polytope whose corners are known in balls.

One effect: an interval of its variance, possibly without end. Two effects: with

    Sigma = t [[1 + x, y], [y, 1 - x]],   (x, y) = s (cos phi, sin phi),   t >= 0, 0 <= s <= 1,

a sector of a shell of the cone of covariance matrices, t from a to b, s from c to d, phi from e to f; a singular matrix
has s = 1. Such a shell lies inside the frustum over the quadrilateral whose corners are at s = c and s = d / cos((f -
e) / 2): beyond the cone by an amount of second order only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from flint import arb, arb_mat

INFINITY = math.inf
# Where a region that begins at zero or ends at infinity is cut, as a factor.
STEP = 4.0
# With variances in units of 1 / Z'Z, less than this is next to nothing.
SMALL = 0.5


@dataclass(frozen=True)
class Interval:
    """Variances from `low` to `high` of a term with one effect."""

    low: float
    high: float

    @property
    def endless(self) -> bool:
        """Whether there is no largest matrix."""
        return self.high == INFINITY

    def corners(self) -> list[arb_mat]:
        """The matrices at the corners of a polytope around the region; one below all of it, where it is endless."""
        ends = (self.low,) if self.endless else (self.low, self.high)
        return [arb_mat([[arb(end)]]) for end in ends]

    def inside(self) -> arb_mat:
        """A matrix of the region."""
        return arb_mat([[arb(_middle(self.low, self.high))]])

    def widths(self) -> list[float]:
        """How far it reaches in each direction, in units of the matrix itself."""
        return [2.0 if self.endless else _span(self.low, self.high)]

    def split(self, direction: int) -> Iterator[Interval]:
        """Its two halves in a direction."""
        cut = _middle(self.low, self.high)
        yield replace(self, high=cut)
        yield replace(self, low=cut)

    def factor(self) -> list[arb]:
        """Enclosure of the factors' lower triangles, column by column, their diagonals not negative."""
        return [arb(self.low).sqrt().union(arb(self.high).sqrt())]


@dataclass(frozen=True)
class Shell:
    """Covariance matrices of two effects: t from `near` to `far`, s from `inner` to `outer`, phi / pi in a range."""

    near: float
    far: float
    inner: float
    outer: float
    start: float
    end: float

    @property
    def endless(self) -> bool:
        """Whether there is no largest matrix."""
        return self.far == INFINITY

    def corners(self) -> list[arb_mat]:
        """The matrices at the corners of a polytope around the region; one below all of it, where it is endless."""
        if self.endless:
            return [self._below()]
        half = ((arb(self.end) - arb(self.start)) / 2).cos_pi()
        shares = [arb(self.inner)] * (self.inner > 0) + [arb(self.outer) / half]
        flat = [(s * x, s * y) for s in shares for y, x in (arb(self.start).sin_cos_pi(), arb(self.end).sin_cos_pi())]
        if self.inner == 0:
            flat.append((arb(0), arb(0)))
        sizes = [arb(radius) for radius in (self.near, self.far) if radius > 0]
        corners = [arb_mat([[t * (1 + x), t * y], [t * y, t * (1 - x)]]) for t in sizes for x, y in flat]
        return corners + [arb_mat(2, 2)] * (self.near == 0)

    def _below(self) -> arb_mat:
        """A matrix that is below all of the region's in the Loewner order; not always a positive semidefinite one.

        Sigma = t ((1 + s) vv' + (1 - s) ww') for orthonormal v and w, at angles of phi / 2. With v at an angle d from
        the middle one, m, and n orthonormal to m, vv' is at least (1 - h) cos(d)^2 mm' - (1 / h - 1) sin(d)^2 nn' for
        any 0 < h < 1.
        """
        t, inner, outer = arb(self.near), arb(self.inner), arb(self.outer)
        sine, cosine = ((arb(self.end) - arb(self.start)) / 4).sin_cos_pi()
        lost = float(t * (inner + outer) * sine * sine)
        h = arb(max(lost / (lost + SMALL / 4), 1e-9))
        n, m = ((arb(self.start) + arb(self.end)) / 4).sin_cos_pi()
        along = t * (1 - outer + (inner + outer) * (1 - h) * cosine * cosine)
        across = t * (1 - outer - (inner + outer) * (1 / h - 1) * sine * sine)
        mixed = (along - across) * m * n
        return arb_mat([[along * m * m + across * n * n, mixed], [mixed, along * n * n + across * m * m]])

    def inside(self) -> arb_mat:
        """A matrix of the region."""
        t, s = arb(_middle(self.near, self.far)), arb((self.inner + self.outer) / 2)
        y, x = arb((self.start + self.end) / 2).sin_cos_pi()
        return arb_mat([[t * (1 + s * x), t * s * y], [t * s * y, t * (1 - s * x)]])

    def widths(self) -> list[float]:
        """How far it reaches in t, s and phi, in units of the matrix itself."""
        if self.endless:
            # The angle first, as the bound needs it; then the size.
            turn = math.pi * (self.end - self.start) * math.sqrt(self.near / SMALL)
            return [2.0, self.outer - self.inner, turn]
        t, s = _middle(self.near, self.far), (self.inner + self.outer) / 2
        # The larger and the smaller eigenvalue, and the turn between them.
        small, large = t * (1 - s) + SMALL, t * (1 + s) + SMALL
        radial = math.hypot(_log(t * (1 - self.inner), t * (1 - self.outer)), t * (self.outer - self.inner) / large)
        turn = 1.414 * t * self.outer * math.pi * (self.end - self.start) / math.sqrt(small * large)
        scale = _span(self.near, self.far)
        return [scale * math.hypot(t * (1 - s) / small, t * (1 + s) / large) if self.near else scale, radial, turn]

    def split(self, direction: int) -> Iterator[Shell]:
        """Its two halves in a direction."""
        if direction == 0:
            cut = _middle(self.near, self.far)
            yield replace(self, far=cut)
            yield replace(self, near=cut)
        elif direction == 1:
            # By ratio of the smaller eigenvalues.
            least = SMALL / (SMALL if self.endless else _middle(self.near, self.far))
            cut = 1 + least - math.sqrt((1 - self.inner + least) * (1 - self.outer + least))
            yield replace(self, outer=cut)
            yield replace(self, inner=cut)
        else:
            cut = (self.start + self.end) / 2
            yield replace(self, end=cut)
            yield replace(self, start=cut)

    def factor(self) -> list[arb]:
        """Enclosure of the factors' lower triangles, column by column, their diagonals not negative."""
        t, s = _hull(arb(self.near), arb(self.far)), _hull(arb(self.inner), arb(self.outer))
        y, x = _hull(arb(self.start), arb(self.end)).sin_cos_pi()
        size, most = _root(t * (1 + s * x)), _root(t * (1 - s * x)).upper()
        # Neither a covariance nor what is left of a variance is larger than the variance allows.
        rest = _root(t * (1 - s * s) / (1 + s * x)) if 1 + s * x > 0 else arb(0).union(most)
        slope = t * s * y / size if size > 0 else arb(0, most)
        return [size, slope.intersection(arb(0, most)), rest.intersection(arb(0, most))]


def regions(effects: int) -> Sequence[Interval | Shell]:
    """Regions that cover all covariance matrices of a term with one effect or two."""
    if effects == 1:
        return [Interval(0.0, INFINITY)]
    return [Shell(0.0, INFINITY, 0.0, 1.0, k / 2, (k + 1) / 2) for k in range(-2, 2)]


def _middle(low: float, high: float) -> float:
    """Between two sizes: by ratio where both are large, by difference where they are small."""
    if high == INFINITY:
        return max(SMALL, low * STEP)
    return math.sqrt((low + SMALL) * (high + SMALL)) - SMALL


def _span(low: float, high: float) -> float:
    return math.log((high + SMALL) / (low + SMALL))


def _log(a: float, b: float) -> float:
    return abs(math.log((a + SMALL) / (b + SMALL)))


def _hull(a: arb, b: arb) -> arb:
    return a.union(b)


def _root(value: arb) -> arb:
    """The square root of a number that is not negative, whatever its enclosure says."""
    return value.sqrt() if value > 0 else arb(0).union(value.upper().max(arb(0)).sqrt())
