"""Newton's search for a minimum that also finds its way from where the function is not convex."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from concord.arrays import Matrix, Vector

# More steps than any search takes that leads somewhere.
STEPS = 200
# A point stands still where its largest derivative, in whitened coordinates, is below this: further steps would change
# no variance in its first six digits.
STATIONARY = 1e-4

# Within this of each other, relative to what is beyond 1, two points share a Hessian that costs much.
MOVED = 0.01

Expand = Callable[[Vector], tuple[float, Vector, Matrix]]
"""A function's value, gradient, shape (k,), and Hessian, shape (k, k), at a point; LinAlgError where it has none."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where a search ended, shapes (k,), (k,) and (k, k)."""

    value: float
    point: Vector
    gradient: Vector
    hessian: Matrix


def descend(expand: Expand, point: Vector, size: float, enough: float = 0.0, free: slice = slice(None)) -> Minimum:
    """Newton's steps, none longer than a radius, as long as they lower the function; near the minimum, where its last
    digits are rounding, as long as they lower the gradient.

    Parameters
    ----------
    expand : the function, -2 log-likelihood of a kind
    point : where to begin, shape (k,)
    size : the number of terms that the function is a sum of; its rounding grows with it
    enough : twice the gain at which the quadratic model is believed, and its step taken without another look: what the
        model leaves out is of the order of enough^1.5; 0: go on to rounding
    free : the coordinates that may move; the derivatives of all are in what is returned

    Raises
    ------
    numpy.linalg.LinAlgError : the function is not defined where the search begins
    """
    value, gradient, hessian = expand(point)
    rounding = 1e-12 * (size + abs(value))
    radius = 0.5 + 0.5 * min(math.sqrt(point @ point), math.sqrt(len(point)))
    for _ in range(STEPS):
        # A coordinate beyond 1 is taken relative to itself: far out the criterion's curvature in it is not a number of
        # its own, however well the coordinate is determined.
        scale = np.maximum(1.0, np.abs(point))[free]
        step = np.zeros(len(point))
        step[free] = scale * downhill(scale * gradient[free], scale[:, None] * hessian[free, free] * scale, radius)
        # At a saddle the slope vanishes, and only curvature promises a gain.
        curved = hessian @ step
        if max(abs(gradient @ step), abs(step @ curved)) < enough:
            return Minimum(float(value + gradient @ step + step @ curved / 2), point + step, gradient + curved, hessian)
        length = float(np.linalg.norm(step[free] / scale))
        try:
            new = expand(point + step)
        except np.linalg.LinAlgError:
            new = math.inf, gradient, hessian
        calmer = np.abs(new[1][free]).max(initial=0.0) < 0.5 * np.abs(gradient[free]).max(initial=0.0)
        if new[0] < value - rounding or (new[0] < value + rounding and calmer):
            point, (value, gradient, hessian) = point + step, new
            radius = max(radius, 2 * length)
        elif abs(gradient @ step) < rounding:
            break
        else:
            radius = length / 4
    return Minimum(value, point, gradient, hessian)


def downhill(gradient: Vector, hessian: Matrix, radius: float) -> Vector:
    """Newton's step downhill, shape (k,), also where the function is not convex: along every eigenvector of the Hessian
    as if its curvature were positive.
    """
    curvatures, vectors = np.linalg.eigh(hessian)
    slopes = gradient @ vectors
    sizes = np.abs(curvatures)
    largest = sizes.max(initial=0.0)
    # The criterion is even in the sign of a factor's column, so at zero its slope vanishes and only its curvature tells
    # that there is a way down.
    stuck = (curvatures < -1e-6 * largest) & (np.abs(slopes) < 1e-3 * sizes)
    slopes = np.where(stuck, np.where(slopes < 0, -1e-3, 1e-3) * sizes, slopes)
    # A curvature is in units of the criterion: below 1e-12 it is rounding, and the criterion flat.
    step = -vectors @ (slopes / np.maximum(sizes, max(1e-10 * largest, 1e-12)))
    shortened: Vector = step * min(1.0, radius / max(math.sqrt(step @ step), 1e-300))
    return shortened


def approach(
    function: Callable[[Vector], tuple[float, Vector]], point: Vector, curvatures: Vector
) -> tuple[float, Vector]:
    """The value near the minimum that lies downhill, and the point, shape (k,), by a function's value and gradient.

    `curvatures`, shape (k,), are what the second derivatives are taken for at first: how far the first step goes.
    """
    options = {"hess_inv0": np.diag(1 / curvatures)}
    near = scipy.optimize.minimize(function, point, jac=True, method="BFGS", tol=1e-2, options=options)
    return float(near.fun), near.x


def sparing(function: Callable[[Vector], tuple[float, Vector]], hessian: Callable[[Vector], Matrix]) -> Expand:
    """A function's value, gradient and Hessian for one search, with the Hessian anew only where the point has moved."""
    last, kept = np.empty(0), np.empty((0, 0))

    def expand(point: Vector) -> tuple[float, Vector, Matrix]:
        nonlocal last, kept
        value, gradient = function(point)
        if not len(last) or (np.abs(point - last) > MOVED * np.maximum(1.0, np.abs(point))).any():
            last, kept = point, hessian(point)
        return value, gradient, kept

    return expand
