"""Jets: numbers that carry their first and second derivatives, over the balls of Arb.

Every operation encloses the exact result (Johansson 2017, IEEE Transactions on Computers 66(8), 1281-1292, for balls;
Griewank and Walther 2008, Evaluating Derivatives, chapter 13, for second-order propagation). So a criterion written in
jets gives its value, gradient and Hessian at once, each proved to lie in its ball.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flint import arb


@dataclass(frozen=True, slots=True)
class Jet:
    """A number with its derivatives with respect to m variables.

    Attributes
    ----------
    value : the number
    gradient : first derivatives, length m; empty for a constant
    hessian : second derivatives, row by row of the lower triangle, length m (m + 1) / 2; empty where none are wanted
    """

    value: arb
    gradient: tuple[arb, ...] = ()
    hessian: tuple[arb, ...] = ()

    def __add__(self, other: Jet | arb) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.value + other, self.gradient, self.hessian)
        return Jet(self.value + other.value, _sum(self.gradient, other.gradient), _sum(self.hessian, other.hessian))

    __radd__ = __add__

    def __neg__(self) -> Jet:
        return Jet(-self.value, tuple(-slope for slope in self.gradient), tuple(-entry for entry in self.hessian))

    def __sub__(self, other: Jet | arb) -> Jet:
        return self + (-other)

    def __rsub__(self, other: arb) -> Jet:
        return -self + other

    def __mul__(self, other: Jet | arb) -> Jet:
        if not isinstance(other, Jet) or not other.gradient:
            factor = other.value if isinstance(other, Jet) else other
            scaled = tuple(slope * factor for slope in self.gradient), tuple(entry * factor for entry in self.hessian)
            return Jet(self.value * factor, *scaled)
        if not self.gradient:
            return other * self
        a, b, da, db = self.value, other.value, self.gradient, other.gradient
        gradient = tuple(x * b + a * y for x, y in zip(da, db, strict=True))
        hessian, place = [], 0
        if self.hessian and other.hessian:
            for i in range(len(da)):
                for j in range(i + 1):
                    cross = da[i] * db[j] + da[j] * db[i]
                    hessian.append(self.hessian[place] * b + a * other.hessian[place] + cross)
                    place += 1
        return Jet(a * b, gradient, tuple(hessian))

    __rmul__ = __mul__

    def __truediv__(self, other: Jet | arb) -> Jet:
        return self * (other.inverse() if isinstance(other, Jet) else arb(1) / other)

    def inverse(self) -> Jet:
        """One over it."""
        inverse = 1 / self.value
        square = inverse * inverse
        return self._chain(inverse, lambda: -square, lambda: 2 * square * inverse)

    def log(self) -> Jet:
        """Its natural logarithm."""
        inverse = 1 / self.value
        return self._chain(self.value.log(), lambda: inverse, lambda: -inverse * inverse)

    def _chain(self, value: arb, first: Callable[[], arb], second: Callable[[], arb]) -> Jet:
        """f of it, given f, f' and f'' at its value."""
        if not self.gradient:
            return Jet(value)
        slope = first()
        gradient = tuple(slope * entry for entry in self.gradient)
        if not self.hessian:
            return Jet(value, gradient)
        bend, hessian, place = second(), [], 0
        for i in range(len(gradient)):
            for j in range(i + 1):
                hessian.append(slope * self.hessian[place] + bend * self.gradient[i] * self.gradient[j])
                place += 1
        return Jet(value, gradient, tuple(hessian))


def variables(point: Sequence[arb], order: int) -> list[Jet]:
    """The variables themselves, at a point or on a box, with derivatives up to `order` (0, 1 or 2)."""
    m, zero, one = len(point), arb(0), arb(1)
    flat = tuple(zero for _ in range(m * (m + 1) // 2)) if order > 1 else ()
    unit = [tuple(one if i == j else zero for j in range(m)) if order > 0 else () for i in range(m)]
    return [Jet(value, unit[i], flat) for i, value in enumerate(point)]


def _sum(a: tuple[arb, ...], b: tuple[arb, ...]) -> tuple[arb, ...]:
    # A constant has no derivatives, and adds none.
    if not a or not b:
        return a or b
    return tuple(x + y for x, y in zip(a, b, strict=True))
