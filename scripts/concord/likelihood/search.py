"""The wide search: where a criterion of random effects may have its minima, from a scan over many decades.

A likelihood of variances can have several optima (Welham and Thompson 1997, Journal of the Royal Statistical Society B
59(3), 701-714; Henn and Hodges 2014, Bernoulli 20(2), 579-616), and they may lie decades apart: one where a random
effect is all but zero and the fixed effects are those of ordinary least squares, one where it is so large that they are
the within-group ones. A search from a few starts finds the nearest. So the criterion is looked at first, at relative
standard deviations of every size and correlations near -1, 0 and 1, and every dip of that grid is a start; then along
each effect from every optimum that was found.

All coordinates are whitened (`concord.likelihood.likelihood`): a standard deviation of 1 contributes as much to the
response as the residuals do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import scipy  # its rooms load when they are first asked for: most processes that fit search nothing

from concord.arrays import Array, Matrix, Vector
from concord.models.parameters import factor_of, triangle

# A relative standard deviation that is as good as zero.
NEARLY_ZERO = 1e-3
# The decades that a scan spans, of one effect and of several (beyond, a double does not hold the sum of their squares
# and 1), and where most optima lie: there it looks more closely.
NEAREST, FARTHEST = -3.0, (9.0, 6.5)
USUAL = (-1.2, 1.6)
# A grid has at most so many points; beyond three effects that many points are drawn instead.
POINTS = 8000
# Two correlated effects make a valley as narrow as the second's standard deviation given the first, so that, and no
# correlation, is what a scan goes through: of these it takes all, or where that leaves fewer than `ENOUGH` standard
# deviations of each effect some.
GIVEN = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
ENOUGH = 10
# The decades of what is drawn.
DRAWN = (-1.5, 5.0)
# At most so many dips are followed, and of those of a large block of crossed factors.
DIPS, FEW = 12, 3
# A scan along one effect from an optimum: factors of its standard deviation, and these values in place of it.
ALONG = np.logspace(-5, 5, 41)

Criteria = Callable[[Matrix], Vector]
"""The criterion at each of several thetas, shape (k, m) to (k,); infinite where it has no value."""


class Shape:
    """How theta holds the terms' factors: the lower triangles, column by column.

    Parameters
    ----------
    sizes : the number of effects of every random term
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self.effects = sum(sizes)
        self.triangles = [triangle(q) for q in sizes]
        self.m = sum(len(rows) for rows, _ in self.triangles)

    def factors(self, theta: Vector) -> list[Matrix]:
        """The terms' factors, shapes (q, q)."""
        matrices, start = [], 0
        for q, (rows, _) in zip(self.sizes, self.triangles, strict=True):
            matrices.append(factor_of(theta[start : start + len(rows)], q))
            start += len(rows)
        return matrices

    def steepness(self, theta: Vector, levels: Sequence[int], n: int) -> Vector:
        """Roughly the criterion's second derivatives along each coordinate, shape (m,), as if every term, with so many
        levels, were alone and each of them had as many of the n rows.
        """
        curved = []
        for count, factor, (rows, columns) in zip(levels, self.factors(theta), self.triangles, strict=True):
            share = 1 / (count / n + (factor**2).sum(1)[rows])
            curved.append(count * np.maximum(2 * share, 4 * (factor[rows, columns] * share) ** 2))
        return np.concatenate(curved)

    def flat(self, factors: Sequence[Matrix]) -> Array:
        """Theta, shape (..., m), of the terms' factors, (..., q, q)."""
        pairs = zip(factors, self.triangles, strict=True)
        return np.concatenate([factor[..., rows, columns] for factor, (rows, columns) in pairs], axis=-1)


def dips(criteria: Criteria, shape: Shape, points: int = POINTS, dear: bool = False) -> list[Vector]:
    """Thetas at the local minima of the criterion over a grid, best first, each shape (m,).

    Parameters
    ----------
    criteria : the criterion at several thetas
    shape : how theta holds the factors
    points : the most points that may be looked at
    dear : no grid has more of them, however coarse that makes it, and few dips are kept
    """
    most = FEW if dear else DIPS
    if shape.effects > 3:
        return _drawn(criteria, shape, points)[:most]
    axes, thetas = _grid(shape, points)
    if dear and len(thetas) > points:
        return _drawn(criteria, shape, points)[:most]
    values = criteria(thetas).reshape(axes)
    lowest = scipy.ndimage.minimum_filter(values, size=3, mode="nearest")
    places = np.flatnonzero(((values <= lowest) & np.isfinite(values)).ravel())
    return _apart(thetas[places], values.ravel()[places])[:most]


def _grid(shape: Shape, points: int) -> tuple[tuple[int, ...], Matrix]:
    """The lengths of a grid's axes, an axis an effect's standard deviation or a term's correlation, and its thetas."""
    for dear in (False, True):
        bends = [_bends(q, dear) for q in shape.sizes]
        count = int((points / math.prod(len(bend) for bend in bends)) ** (1 / shape.effects))
        if count >= ENOUGH:
            break
    deviations = _deviations(count, FARTHEST[shape.effects > 1])
    sizes = np.array([*product(*[deviations] * shape.effects)])
    parts = np.split(sizes, np.cumsum(shape.sizes)[:-1], axis=1)
    thetas = [
        shape.flat([_factor(part, bend) for part, bend in zip(parts, chosen, strict=True)])
        for chosen in product(*bends)
    ]
    stacked = np.stack(thetas, axis=1)
    axes = (*[len(deviations)] * shape.effects, *(len(bend) for bend in bends))
    return axes, stacked.reshape(-1, stacked.shape[-1])


def _deviations(count: int, farthest: float) -> Vector:
    """Some `count` standard deviations, at least 5, from nearly zero on: two thirds of them where most optima lie."""
    count = int(np.clip(count, 5, 48))
    near = max(2, 2 * count // 3)
    inside = np.linspace(*USUAL, near)
    below = np.linspace(NEAREST, USUAL[0], 1 + max(1, count // 12), endpoint=False)[1:]
    above = np.linspace(USUAL[1], farthest, 1 + max(1, count - 1 - near - len(below)))[1:]
    return np.append(NEARLY_ZERO / 10, 10 ** np.concatenate([below, inside, above]))


def _bends(q: int, dear: bool) -> list[Matrix]:
    """How a term's effects go together, neighbours side by side: of two effects the sign of their correlation and the
    second's standard deviation given the first; of more a root, shape (q, q), of a matrix with one common correlation.
    """
    if q == 1:
        return [np.eye(1)]
    if q == 2:
        ratios = np.array(GIVEN[::3] if dear else GIVEN)
        return [*(np.array([-1.0, ratio]) for ratio in ratios), *(np.array([1.0, ratio]) for ratio in ratios[::-1])]
    # A common correlation of q effects cannot be below -1 / (q - 1).
    lowest = -1 / (q - 1)
    roots = []
    for c in (
        (lowest, 0.8 * lowest, 0.0, 0.8, 1.0) if dear else (lowest, 0.95 * lowest, 0.6 * lowest, 0.0, 0.6, 0.95, 1.0)
    ):
        values, vectors = np.linalg.eigh(np.eye(q) + c * (1 - np.eye(q)))
        R = np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0.0))).T)[1]
        roots.append(R.T * np.where(np.diag(R) < 0, -1.0, 1.0))
    return roots


def _factor(deviations: Matrix, bend: Array) -> Array:
    """A term's factors, shape (k, q, q), of its effects' standard deviations, (k, q), and one of `_bends`."""
    if bend.shape != (2,):
        return deviations[:, :, None] * bend
    sign, ratio = bend
    factor = np.zeros((*deviations.shape, 2))
    factor[:, 0, 0] = deviations[:, 0]
    factor[:, 1, 1] = np.minimum(ratio, deviations[:, 1])
    factor[:, 1, 0] = sign * np.sqrt(deviations[:, 1] ** 2 - factor[:, 1, 1] ** 2)
    return factor


def _drawn(criteria: Criteria, shape: Shape, points: int) -> list[Vector]:
    """The same for many effects: points of a low-discrepancy sequence, and of them those that no near one is below."""
    count = 1 << int(np.log2(max(points, 64)))
    unit = scipy.stats.qmc.Sobol(shape.effects + shape.m, scramble=True, rng=1).random(count)
    low, high = DRAWN
    deviations = 10 ** (low + (high - low) * unit[:, : shape.effects] ** 1.5)
    # A sixth of all standard deviations is as good as zero.
    deviations[unit[:, : shape.effects] < 1 / 6] = NEARLY_ZERO
    thetas = []
    for sizes, angles in zip(deviations, unit[:, shape.effects :], strict=True):
        factors, start = [], 0
        for q, factor in zip(shape.sizes, shape.factors(2 * angles - 1), strict=True):
            np.fill_diagonal(factor, np.abs(np.diag(factor)) ** 3 + 1e-3)  # the cube: often nearly singular
            factors.append(sizes[start : start + q, None] * factor / np.linalg.norm(factor, axis=1, keepdims=True))
            start += q
        thetas.append(shape.flat(factors))
    drawn = np.array(thetas)
    values = criteria(drawn)
    order = np.argsort(values)
    order = order[np.isfinite(values[order])][: 8 * DIPS]
    logs = np.log10(deviations)
    kept: list[int] = []
    for place in order:
        # A decade in one effect is far enough to be another dip.
        if all(np.abs(logs[place] - logs[other]).max() > 1.0 for other in kept):
            kept.append(int(place))
    return _apart(drawn[kept], values[kept])


def _apart(thetas: Matrix, values: Vector) -> list[Vector]:
    """The best of the points, best first; of those with one value, such as on a plateau, the first."""
    chosen: list[Vector] = []
    last = -np.inf
    for place in np.argsort(values, kind="stable"):
        if values[place] > last + 1e-9 * max(1.0, abs(values[place])):
            chosen.append(thetas[place])
            last = values[place]
    return chosen[:DIPS]


def corners(shape: Shape, dear: bool) -> list[Vector]:
    """Starts that no dip of a grid need be near: effects as large as the residuals, and, unless searches are dear, all
    of them much larger, and each of them much larger than the others. From there a search goes down into the valleys,
    too narrow for a grid, where one combination of the effects is huge. Each theta has shape (m,).
    """
    sizes = [np.ones(shape.effects)]
    if not dear:
        sizes += [np.full(shape.effects, 100.0), *(10.0 + 990.0 * np.eye(shape.effects))]
    parts = [np.split(size, np.cumsum(shape.sizes)[:-1]) for size in sizes]
    return [shape.flat([np.diag(part) for part in own]) for own in parts]


def along(criteria: Criteria, shape: Shape, theta: Vector) -> list[Vector]:
    """Thetas at dips of the criterion along each effect's standard deviation and each correlation from an optimum.

    The optimum's own dip is left out; each theta has shape (m,).
    """
    minima = []
    for path in _paths(shape, theta):
        values = criteria(path)
        lowest = scipy.ndimage.minimum_filter(values, size=3, mode="nearest")
        own = len(path) // 2
        for place in np.flatnonzero((values <= lowest) & np.isfinite(values)):
            if abs(int(place) - own) > 1 and values[place] < np.inf:
                minima.append((float(values[place]), path[place]))
    minima.sort(key=lambda dip: dip[0])
    return [point for _, point in minima[:DIPS]]


def _paths(shape: Shape, theta: Vector) -> list[Matrix]:
    """Lines of thetas through one, which is in the middle: shapes (k, m)."""
    factors = shape.factors(theta)
    paths = []
    for t, q in enumerate(shape.sizes):
        for i in range(q):
            own = np.linalg.norm(factors[t][i])
            unit = factors[t][i] / own if own > NEARLY_ZERO else np.eye(q)[i]
            path = []
            for factor in ALONG:
                moved = [factor.copy() for factor in factors]
                moved[t][i] = unit * max(own, 1.0) * factor
                path.append(shape.flat(moved))
            path[len(path) // 2] = theta
            paths.append(np.array(path))
        if q > 1:
            paths += _turned(shape, factors, t, theta)
    return paths


def _turned(shape: Shape, factors: Sequence[Matrix], t: int, theta: Vector) -> list[Matrix]:
    """Lines of thetas through one along which one effect's correlations with those before it go from -1 to 1."""
    paths = []
    for i in range(1, len(factors[t])):
        size = np.linalg.norm(factors[t][i])
        before = factors[t][i, :i]
        direction = before / np.linalg.norm(before) if np.linalg.norm(before) > 0 else np.eye(i)[0]
        path = []
        for cosine in np.cos(np.linspace(0.02, np.pi - 0.02, 13)):
            moved = [factor.copy() for factor in factors]
            moved[t][i, :i] = size * cosine * direction
            moved[t][i, i] = size * np.sqrt(1 - cosine**2)
            path.append(shape.flat(moved))
        middle = len(path) // 2
        paths.append(np.array([*path[:middle], theta, *path[middle:]]))
    return paths
