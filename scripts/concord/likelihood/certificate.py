"""Certificates: the optimum of a model in high precision, and the proof that it is one.

The data are exact numbers (`concord.models.decimals`): the decimals of the table as printed, or else the doubles that
the engines see. The cross-products of fractions are fractions without error, those of other numbers are enclosed.
The criterion is that of `likelihood` (Bates et al. 2015, equations 34 and 41), evaluated in jets of balls from those
cross-products, so that rounding is enclosed and nothing is shared with the double-precision code but the formula.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from flint import arb, arb_mat, ctx, fmpq, fmpq_mat

from concord.arrays import Integers
from concord.likelihood.blocks import components, ranks_within
from concord.likelihood.jets import Jet, variables
from concord.models.decimals import GUARD, Columns, Doubles, InexactError, Number
from concord.models.design import Design

Numbers = Sequence[Sequence[Number]]
"""A matrix, row by row."""


class CertificateError(ArithmeticError):
    """An optimum could not be proved; the message says which step failed."""


@dataclass(frozen=True, eq=False)
class _Pattern:
    """The blocks with one and the same Z: their number, Z'Z, and the sums of what their X and y contribute."""

    count: int
    gram: list[list[arb]]  # (q, q): Z'Z
    outer: list[list[list[arb]]]  # for a >= b the lower triangle, row by row, of the sums of U[a]'U[b] + U[b]'U[a]
    factor: dict[tuple[int, int], int]  # row and column in the block's factor -> which theta stands there
    exact: tuple[Numbers, list[list[list[Number]]]]  # gram and outer, without rounding where rational


class Exact:
    """The criterion of one model in balls.

    Parameters
    ----------
    design : the model in numbers
    reml : the REML criterion, or the ML deviance
    columns : the same numbers exactly; by default the design's doubles

    Attributes
    ----------
    total : the lower triangle of [X y]'[X y] in balls
    cross : the same matrix, in fractions where its entries are rational

    Raises
    ------
    InexactError : one of the design's columns could not be made
    """

    def __init__(self, design: Design, reml: bool, columns: Columns | Doubles | None = None) -> None:
        columns = columns or Doubles(design)
        # Weights stand between the factors of a cross-product, where these are fractions: their roots are none.
        weights = columns.weights
        self.log_weights = sum((arb(weight).log() for weight in weights or columns.multiplied), arb(0))
        design = design.as_coded if weights else design
        self.n, self.p = len(design.X), int(design.X.shape[1])
        self.reml, self.nu = reml, self.n - (self.p if reml else 0)
        fixed = [columns.of(column, name) for column, name in zip(design.X.T, design.names, strict=True)]
        table = [list(row) for row in zip(*fixed, columns.response(), strict=True)]
        random = [
            [list(row) for row in zip(*map(columns.of, term.matrix.T, term.names), strict=True)]
            for term in design.terms
        ]
        # A ball tells no zero from what is nearly one: for whether columns depend on each other, fractions are kept.
        self.cross = _gram(_times(table, weights), table)
        self.total = _rows(self.cross)
        self.sizes = [len(term.names) for term in design.terms]
        self.m = sum(q * (q + 1) // 2 for q in self.sizes)
        self.patterns = _patterns(design, table, random, self.sizes, weights)

    def __call__(self, point: Sequence[arb], order: int = 2) -> Jet:
        """The criterion at theta, or on a box of thetas, with derivatives up to `order`.

        theta holds the lower triangles of the terms' relative covariance factors, column by column, as lme4's does.
        """
        logdet, _, (pivots, _) = self.evaluate(variables(point, order))
        constant = self.nu * (1 + (2 * arb.pi() / self.nu).log())
        value = logdet + pivots[-1].log() * arb(self.nu) + (constant - self.log_weights)
        if self.reml:
            for pivot in pivots[:-1]:
                value = value + pivot.log()
        return value

    def estimates(self, point: Sequence[arb]) -> dict[str, Any]:
        """Everything that theta determines: ``fixed, std_error, covariances, residual_variance``, in balls."""
        theta = variables(point, 0)
        _, cross, (pivots, lower) = self.evaluate(theta)
        variance = pivots[-1].value / self.nu
        p = self.p
        # Back substitution through L' for the coefficients; columns of the inverse for their variances.
        coefficients = [arb(0)] * p
        for i in reversed(range(p)):
            rest = sum((lower[j][i].value * coefficients[j] for j in range(i + 1, p)), arb(0))
            coefficients[i] = lower[p][i].value - rest
        normal = arb_mat([[cross[max(i, j)][min(i, j)].value for j in range(p)] for i in range(p)])
        inverse = normal.inv() if p else arb_mat(0, 0)
        errors = [(variance * inverse[i, i]).sqrt() for i in range(p)]
        covariances, start = [], 0
        for q in self.sizes:
            factor = [[arb(0)] * q for _ in range(q)]
            for column in range(q):
                for row in range(column, q):
                    factor[row][column] = point[start]
                    start += 1
            product = [
                [variance * sum((factor[i][k] * factor[j][k] for k in range(q)), arb(0)) for j in range(q)]
                for i in range(q)
            ]
            covariances.append(product)
        return {"fixed": coefficients, "std_error": errors, "covariances": covariances, "residual_variance": variance}

    def evaluate(self, theta: list[Jet]) -> tuple[Jet, list[list[Jet]], tuple[list[Jet], list[list[Jet]]]]:
        """log |V|, the lower triangle of [X y]'V^-1[X y], and its pivots and unit lower factor."""
        width = self.p + 1
        cross = [[Jet(self.total[i][j]) for j in range(i + 1)] for i in range(width)]
        logdet = Jet(arb(0))
        for pattern in self.patterns:
            q = len(pattern.gram)
            L = {place: theta[k] for place, k in pattern.factor.items()}
            rows = [[row for row in range(q) if (row, column) in L] for column in range(q)]
            half = [[_dot((L[r, c], pattern.gram[a][r]) for r in rows[c]) for c in range(q)] for a in range(q)]
            A = [[_dot((L[r, i], half[r][j]) for r in rows[i]) + arb(i == j) for j in range(i + 1)] for i in range(q)]
            pivots, unit = _ldl(A)
            for pivot in pivots:
                logdet = logdet + pivot.log() * arb(pattern.count)
            # With A = U D U', what X and y lose to the block is U'L A^-1 L'U = the sum over k of M[k]'M[k] / D[k].
            inverse = _inverse_lower(unit)
            M = [
                [_dot((inverse[k][c], L[a, c]) for c in range(k + 1) if (a, c) in L) for a in range(q)]
                for k in range(q)
            ]
            weighted = [[entry / pivots[k] for entry in M[k]] for k in range(q)]
            for a in range(q):
                for b in range(a + 1):
                    weight = _dot((M[k][a], weighted[k][b]) for k in range(q))
                    terms = iter(pattern.outer[a][b])
                    for s in range(width):
                        for t in range(s + 1):
                            cross[s][t] = cross[s][t] - weight * next(terms)
        return logdet, cross, _ldl(cross)


@dataclass(frozen=True, eq=False)
class Certificate:
    """A proved optimum.

    Attributes
    ----------
    theta : enclosures of theta at the stationary point; exactly 0 where it lies on the boundary
    loglik : enclosure of the log-likelihood there
    estimates : enclosures of everything that theta determines
    box : half-width of the box in theta that holds exactly one stationary point, with a positive definite Hessian
    bits : the two working precisions
    agreed : decimal digits to which they agree
    boundary : which entries of theta are zero because the optimum lies on the boundary
    data : what was certified: ``decimals`` of the table, or ``doubles``
    """

    theta: list[arb]
    loglik: arb
    estimates: dict[str, Any]
    box: float
    bits: tuple[int, int]
    agreed: int
    boundary: tuple[int, ...]
    data: str = "doubles"

    @property
    def radius(self) -> float:
        """Largest radius of an enclosure of theta."""
        return max((float(entry.rad()) for entry in self.theta), default=0.0)


def certify(
    design: Design,
    reml: bool,
    start: Sequence[float],
    columns: Columns | Doubles | None = None,
    bits: int = 400,
    box: float = 1e-40,
) -> Certificate:
    """Solve at two precisions from a start in double precision, and prove the result.

    A column of a factor that is zero throughout at the start stays zero: there the optimum lies on the boundary. The
    criterion does not change when a column of a factor changes its sign, so its derivatives with respect to such a
    column vanish, and its second derivatives are twice the derivatives with respect to the variances: a positive
    definite Hessian is the first-order condition on the boundary. Beside entries that are not zero a zero is a number
    like any other, and free.

    Raises
    ------
    CertificateError : a step fails
    """
    precisions = (bits * 3 // 4, bits)
    kept, ctx.prec = ctx.prec, bits
    try:
        exact = Exact(design, reml, columns)
        free = _free(exact.sizes, start)
        coarse, fine = (_newton(exact, start, free, precision) for precision in precisions)
        ctx.prec = bits
        enclosed = _prove(exact, fine, free, box)
        largest = max((abs(fine[i]) for i in free), default=arb(0))
        agreed = min((_digits(coarse[i], fine[i], largest) for i in free), default=int(bits * 0.30103))
        boundary = tuple(i for i in range(exact.m) if i not in free)
        loglik, estimates = exact(enclosed, 0).value / -2, exact.estimates(enclosed)
        data = columns.source if columns else Doubles.source
        return Certificate(enclosed, loglik, estimates, box, precisions, agreed, boundary, data)
    except InexactError as error:
        raise CertificateError(str(error)) from error
    except (ZeroDivisionError, ValueError) as error:
        raise CertificateError(f"no enclosure at {bits} bits: {error}") from error
    finally:
        ctx.prec = kept


def _free(sizes: Sequence[int], start: Sequence[float]) -> list[int]:
    """The entries of theta in columns that are not zero throughout."""
    free: list[int] = []
    place = 0
    for q in sizes:
        for column in range(q):
            entries = range(place, place + q - column)
            if any(start[i] != 0 for i in entries):
                free += entries
            place += q - column
    return free


def _newton(exact: Exact, start: Sequence[float], free: list[int], bits: int, steps: int = 60) -> list[arb]:
    """Newton's iteration on midpoints, over the free entries of theta, until its step is rounding."""
    ctx.prec = bits
    theta = [arb(float(value)) for value in start]
    if not free:
        return theta
    for _ in range(steps):
        jet = exact(theta)
        hessian = _square(jet.hessian)
        restricted = arb_mat([[hessian[i, j] for j in free] for i in free])
        step = restricted.solve(arb_mat([[jet.gradient[i]] for i in free]))
        for place, i in enumerate(free):
            theta[i] = (theta[i] - step[place, 0]).mid()
        # Where groups are many times what is left within them, rounding of theta is as many times larger.
        size = max(1.0, *(float(abs(theta[i])) for i in free))
        if max(float(abs(step[place, 0].mid())) for place in range(len(free))) < size * 2.0 ** (-bits * 0.75):
            return theta
    raise CertificateError(f"Newton's iteration did not settle in {steps} steps")


def _prove(exact: Exact, theta: Sequence[arb], free: list[int], radius: float) -> list[arb]:
    """Krawczyk's test: exactly one stationary point lies in the box around theta, and it is a strict local minimum.

    With J an enclosure of the Hessian on the box and Y an approximate inverse of it, K = theta - Y g + (I - Y J)(box -
    theta) inside the box proves that the gradient has exactly one zero there, in K (Krawczyk 1969, Computing 4,
    187-201; Neumaier 1990, Interval Methods for Systems of Equations, theorem 5.1.8). A factorization of the whole
    Hessian in balls with positive pivots proves it positive definite throughout the box.

    Returns
    -------
    enclosures of the stationary point, far inside the box
    """
    middle = [entry.mid() for entry in theta]
    box = [entry + arb(0, radius) if i in free else entry for i, entry in enumerate(middle)]
    whole = _square(exact(box).hessian)
    if not _positive_definite(whole):
        raise CertificateError("the Hessian is not proved positive definite on the box: no strict minimum is shown")
    if not free:
        return middle
    size = range(len(free))
    slope = exact(middle, 1).gradient
    gradient = arb_mat([[slope[i]] for i in free])
    J = arb_mat([[whole[i, j] for j in free] for i in free])
    Y = arb_mat([[entry.mid() for entry in row] for row in J.mid().inv().tolist()])
    shrink = arb_mat([[arb(i == j) for j in size] for i in size]) - Y * J
    moved = shrink * arb_mat([[box[i] - middle[i]] for i in free]) - Y * gradient
    enclosed = list(middle)
    for place, i in enumerate(free):
        enclosed[i] = middle[i] + moved[place, 0]
        if not box[i].contains_interior(enclosed[i]):
            raise CertificateError("Krawczyk's operator does not map the box into itself: no stationary point is shown")
    return enclosed


def _digits(a: arb, b: arb, largest: arb) -> int:
    """Decimal digits to which two numbers agree, at most what the working precision can tell.

    A number that is zero but for rounding has no digits of its own: the largest one beside it gives the measure.
    """
    limit = int(ctx.prec * 0.30103)
    error, size = abs(a.mid() - b.mid()), abs(b.mid())
    if error == 0:
        return limit
    if size < largest.mid() * arb(2) ** -(ctx.prec // 2):
        size = largest.mid()
    return min(limit, int(float((size / error).log()) / 2.302585092994046))


def _rows(matrix: Numbers) -> list[list[arb]]:
    return [[arb(entry) for entry in row] for row in matrix]


def _square(triangle: Sequence[arb]) -> arb_mat:
    size = int((8 * len(triangle) + 1) ** 0.5 - 1) // 2
    return arb_mat([[triangle[max(i, j) * (max(i, j) + 1) // 2 + min(i, j)] for j in range(size)] for i in range(size)])


def _positive_definite(matrix: arb_mat) -> bool:
    triangle = [[Jet(matrix[i, j]) for j in range(i + 1)] for i in range(matrix.nrows())]
    return all(pivot.value > 0 for pivot in _ldl(triangle)[0])


def _ldl(lower: list[list[Jet]]) -> tuple[list[Jet], list[list[Jet]]]:
    """Pivots and unit lower factor of a symmetric matrix given by its lower triangle."""
    size = len(lower)
    pivots: list[Jet] = []
    unit = [[Jet(arb(0))] * (i + 1) for i in range(size)]
    scaled = [[Jet(arb(0))] * (i + 1) for i in range(size)]
    inverses: list[Jet] = []
    for i in range(size):
        for j in range(i + 1):
            value = lower[i][j]
            for k in range(j):
                value = value - scaled[i][k] * unit[j][k]
            if i == j:
                pivots.append(value)
                inverses.append(value.inverse())
                unit[i][i] = Jet(arb(1))
            else:
                scaled[i][j] = value
                unit[i][j] = value * inverses[j]
    return pivots, unit


def _inverse_lower(unit: list[list[Jet]]) -> list[list[Jet]]:
    """The inverse of a unit lower triangular matrix, itself unit lower triangular."""
    inverse: list[list[Jet]] = []
    for i, row in enumerate(unit):
        left = [-_dot((row[k], inverse[k][j]) for k in range(j, i)) for j in range(i)]
        inverse.append([*left, Jet(arb(1))])
    return inverse


def _dot(pairs: Iterable[tuple[Jet, Jet | arb]]) -> Jet:
    total = Jet(arb(0))
    for a, b in pairs:
        total = total + a * b
    return total


def _patterns(
    design: Design,
    table: list[list[Number]],
    random: Sequence[list[list[Number]]],
    sizes: Sequence[int],
    weights: Sequence[Number] | None,
) -> list[_Pattern]:
    """The independent blocks, those with the same Z together, with their cross-products exact.

    Parameters
    ----------
    table : [X y], exact, a list a row
    random : for every random term its columns, exact, a list a row
    weights : of the rows, exact; None where all weigh the same
    """
    block = components(design.terms)
    local = [ranks_within(block, term.codes) for term in design.terms]
    starts = np.cumsum([0, *(q * (q + 1) // 2 for q in sizes)])
    by_pattern: dict[bytes, list[Integers]] = {}
    layouts: dict[bytes, dict[tuple[int, int], int]] = {}
    counted: dict[bytes, list[int]] = {}
    for members in np.split(np.argsort(block, kind="stable"), np.cumsum(np.bincount(block))[:-1]):
        counts = [int(rank[members].max()) + 1 for rank in local]
        Z = np.zeros((len(members), sum(count * q for count, q in zip(counts, sizes, strict=True))))
        offset, layout = 0, {}
        for term, rank, count, q, start in zip(design.terms, local, counts, sizes, starts, strict=False):
            for level in range(count):
                rows = rank[members] == level
                Z[rows, offset + level * q : offset + (level + 1) * q] = term.matrix[members[rows]]
                lower = ((row, column) for column in range(q) for row in range(column, q))
                for k, (row, column) in enumerate(lower):
                    layout[offset + level * q + row, offset + level * q + column] = int(start) + k
            offset += count * q
        # Rows with the same doubles are rows of the same numbers: both come from the same entries of the table.
        Z = Z if weights is None else np.column_stack([Z, [float(weights[row]) for row in members]])
        order = np.lexsort(Z.T[::-1])
        key = np.array([*counts, *Z.shape]).tobytes() + Z[order].tobytes()
        by_pattern.setdefault(key, []).append(members[order])
        layouts[key], counted[key] = layout, counts
    patterns = []
    for key, blocks in by_pattern.items():
        columns = _exact_block(random, local, counted[key], sizes, blocks[0])
        half = _times(columns, weights and [weights[row] for row in blocks[0]])
        gram = _gram(half, columns)
        q, width = len(columns[0]), len(table[0])
        sums: list[list[list[Any]]] = [[[fmpq(0)] * (width * (width + 1) // 2) for _ in range(a + 1)] for a in range(q)]
        for members in blocks:
            U = _gram(half, [table[row] for row in members])
            for a in range(q):
                for b in range(a + 1):
                    products = (U[a][s] * U[b][t] for s in range(width) for t in range(s + 1))
                    if a != b:
                        flipped = (U[b][s] * U[a][t] for s in range(width) for t in range(s + 1))
                        products = (x + y for x, y in zip(products, flipped, strict=True))
                    sums[a][b] = [total + product for total, product in zip(sums[a][b], products, strict=True)]
        outer = [[[arb(value) for value in cell] for cell in row] for row in sums]
        patterns.append(_Pattern(len(blocks), _rows(gram), outer, layouts[key], (gram, sums)))
    return patterns


def _exact_block(
    random: Sequence[list[list[Number]]],
    local: Sequence[Integers],
    counts: Sequence[int],
    sizes: Sequence[int],
    members: Integers,
) -> list[list[Number]]:
    """Z of one block, a list a row, exact."""
    Z: list[list[Number]] = []
    for row in members:
        entries: list[Number] = []
        for matrix, rank, count, q in zip(random, local, counts, sizes, strict=True):
            line: list[Number] = [fmpq(0)] * (count * q)
            line[rank[row] * q : (rank[row] + 1) * q] = matrix[row]
            entries += line
        Z.append(entries)
    return Z


def _times(rows: Numbers, weights: Sequence[Number] | None) -> Numbers:
    """Every row times its weight."""
    if weights is None:
        return rows
    return [[weight * value for value in row] for row, weight in zip(rows, weights, strict=True)]


def _rational(matrix: Numbers) -> TypeGuard[Sequence[Sequence[fmpq]]]:
    return all(isinstance(value, fmpq) for row in matrix for value in row)


def _gram(left: Numbers, right: Numbers) -> Numbers:
    """left' right, exact for fractions."""
    if _rational(left) and _rational(right):
        return (fmpq_mat(left).transpose() * fmpq_mat(right)).tolist()
    kept = ctx.prec
    try:
        ctx.prec = kept + GUARD
        a, b = (arb_mat([[arb(value) for value in row] for row in matrix]) for matrix in (left, right))
        return (a.transpose() * b).tolist()
    finally:
        ctx.prec = kept
