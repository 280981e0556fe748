"""The wide search for all optima of a criterion, which can be left at any time, and gone on with.

Where it begins is `concord.likelihood.search`'s: the dips of a scan, and of lines through every optimum. For a large
model an evaluation takes a second, and hundreds are needed; whoever waits for an answer sooner leaves the search, has
the optima that are known so far, and goes on later from where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np

from concord.arrays import Matrix, Vector
from concord.likelihood import newton, search

Leave = Callable[[], bool]
"""Whether to leave a search now."""


class Criterion(Protocol):
    """What a search asks of a criterion; see `concord.likelihood.likelihood.Likelihood`."""

    m: int
    n: int
    nu: int
    dense: bool
    shape: search.Shape

    def starts(self, criteria: search.Criteria) -> list[Vector]:
        """Where searches begin, each of shape (m,)."""

    def criteria(self, thetas: Matrix) -> Vector:
        """The values at several thetas, shape (k, m) to (k,)."""

    def criterion_and_gradient(self, theta: Vector) -> tuple[float, Vector]:
        """The value and its derivatives, shape (m,)."""

    def expand(self, theta: Vector) -> tuple[float, Vector, Matrix]:
        """The value, its derivatives and its second derivatives, shape (m, m)."""

    def differences(self, theta: Vector) -> Matrix:
        """The second derivatives by differences, shape (m, m)."""

    def steepness(self, theta: Vector) -> Vector:
        """Roughly the second derivatives' diagonal, shape (m,), all positive."""

    def factors(self, theta: Vector) -> list[Matrix]:
        """The terms' relative factors, shapes (q, q)."""


class _Left(Exception):
    """The search is left for now."""


class WideSearch:
    """A search from every dip of a criterion, or from given starts.

    Parameters
    ----------
    criterion : what is to be as small as it can be
    starts : whitened thetas, shape (m,), to search from and nowhere else; by default every dip of a wide scan, and then
        every dip along one effect from each optimum found
    along : search from these dips after given starts too

    Attributes
    ----------
    minima : all distinct ones found so far, in the order in which they were found
    complete : whether all starts have been followed
    followed : how many have been
    """

    def __init__(self, criterion: Criterion, starts: Sequence[Vector] | None = None, along: bool = False) -> None:
        self.criterion = criterion
        self.minima: list[newton.Minimum] = []
        self.complete, self.followed = False, 0
        self._waiting = None if starts is None else [np.asarray(start, float) for start in starts]
        self._along: list[newton.Minimum] | None = None if along or starts is None else []
        self._looked_at: dict[bytes, float] = {}
        self._leave: Leave = _never

    def go_on(self, leave: Leave | None = None) -> None:
        """Search to the end, or until `leave` says so; it is asked before every evaluation that takes long."""
        self._leave = leave or _never
        with suppress(_Left):
            if self._waiting is None:
                self._waiting = self.criterion.starts(self._criteria)
            self._follow_all(self._waiting)
            if self._along is None:
                lines = self.criterion.m > 1 and self.criterion.dense
                self._along = list(self.minima) if lines else []
            while self._along:
                self._ask()
                self._waiting += search.along(self._criteria, self.criterion.shape, self._along[0].point)
                del self._along[0]
                self._follow_all(self._waiting)
            self.complete = True

    def _ask(self) -> None:
        if self._leave():
            raise _Left

    def _criteria(self, thetas: Matrix) -> Vector:
        """The criterion at each of several thetas, shape (k, m) to (k,)."""
        if self.criterion.dense:
            self._ask()
            return self.criterion.criteria(thetas)
        return np.array([self._value(theta) for theta in thetas])

    def _value(self, theta: Vector) -> float:
        """One value; a search that is gone on with has been there already."""
        key = theta.tobytes()
        if key not in self._looked_at:
            self._ask()
            self._looked_at[key] = float(self.criterion.criteria(theta[None])[0])
        return self._looked_at[key]

    def _follow_all(self, waiting: list[Vector]) -> None:
        while waiting:
            self._ask()
            # A search that leaves what doubles can hold ends in this: it led nowhere, another one may not.
            with suppress(np.linalg.LinAlgError):
                self._follow(waiting)
            del waiting[0]
            self.followed += 1

    def _follow(self, waiting: list[Vector]) -> None:
        """Add where a search from the first start ends to the minima found, unless it is one of them."""
        criterion, start = self.criterion, waiting[0]
        expand: newton.Expand = criterion.expand
        if not criterion.dense:
            # A differenced Hessian costs as much as 2 m gradients.
            value, start = newton.approach(self._from(waiting), start, criterion.steepness(start))
            if any(same(criterion, (known.value, known.point), (value, start)) for known in self.minima):
                return
            expand = newton.sparing(criterion.criterion_and_gradient, criterion.differences)
        new = newton.descend(expand, start, criterion.nu)
        for place, known in enumerate(self.minima):
            if same(criterion, (known.value, known.point), (new.value, new.point)):
                self.minima[place] = min(known, new, key=lambda minimum: minimum.value)
                return
        self.minima.append(new)

    def _from(self, waiting: list[Vector]) -> Callable[[Vector], tuple[float, Vector]]:
        """The criterion and its gradient for one descent; where that is left, it begins again from its lowest point."""
        lowest = math.inf

        def function(theta: Vector) -> tuple[float, Vector]:
            nonlocal lowest
            self._ask()
            value, gradient = self.criterion.criterion_and_gradient(theta)
            if value < lowest:
                lowest, waiting[0] = value, theta.copy()
            return value, gradient

        return function


def same(criterion: Criterion, one: tuple[float, Vector], other: tuple[float, Vector], noise: float = 0.0) -> bool:
    """Whether two searches, each a value and a theta, ended at one optimum: at one height, with one relative covariance
    matrix.
    """
    if abs(one[0] - other[0]) > 1e-6 * max(1.0, 1e-6 * criterion.n) + noise:
        return False
    products = ([factor @ factor.T for factor in criterion.factors(point)] for point in (one[1], other[1]))
    return all(
        np.abs(a - b).max() <= (1e-2 + math.sqrt(noise)) * max(1.0, np.abs(a).max(), np.abs(b).max())
        for a, b in zip(*products, strict=True)
    )


def _never() -> bool:
    return False
