"""Gradient and Hessian of the criterion in theta, enclosed on boxes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from flint import arb, arb_mat

from concord.proof.surface import Surface, corner, lower, squared, triangle

Moves = list[arb_mat]  # a change of the terms' matrices


def curvature(surface: Surface, theta: Sequence[arb]) -> tuple[list[arb], arb_mat]:
    """Gradient and Hessian of the criterion with respect to theta, at a point or on a box.

    V at the midpoint takes the identity's place, so that what varies is small. For a block, with T its matrix of
    relative covariances less that at the midpoint, G = Z'V^-1 Z there, N = (I + T G)^-1 and B = G N: log |V| has the
    derivatives tr(B T_k) and tr(B T_jk) - tr(B T_j B T_k), and the block takes from [X y]'V^-1[X y] the derivatives
    U'(N T_k N')U and U'(N T_jk N' - N T_j B T_k N' - N T_k B T_j N')U, where U = Z'V^-1[X y] at the midpoint.
    """
    factors, middle = lower(surface.sizes, theta), lower(surface.sizes, [factor.mid() for factor in theta])
    centre = [factor * factor.transpose() for factor in middle]
    step = [factor * factor.transpose() - still for factor, still in zip(factors, centre, strict=True)]
    return _differentiated(surface.recentred(centre), step, *_moves(surface.sizes, factors))


def _differentiated(
    surface: Surface, step: Moves, first: list[Moves], second: dict[tuple[int, int], Moves]
) -> tuple[list[arb], arb_mat]:
    m, p, nu = len(first), surface.p, surface.nu
    pairs = [(j, k) for j in range(m) for k in range(j + 1)]
    slopes, bends = [arb(0)] * m, dict.fromkeys(pairs, arb(0))
    cross, none = surface.total, arb_mat(1, surface.total.ncols())
    cross_k, cross_kl = [none] * m, dict.fromkeys(pairs, none)
    for group in surface.groups:
        spread, product = surface.product(step, group)
        N = product.inv()
        B, right = group.gram * N, N.transpose()
        T = [surface.product(slope, group)[0] for slope in first]
        BT = [B * matrix for matrix in T]
        cross = cross - triangle(N * spread) * group.outer
        for k in range(m):
            slopes[k] += BT[k].trace() * group.count
            cross_k[k] = cross_k[k] - triangle(N * T[k] * right) * group.outer
        for j, k in pairs:
            mixed = T[j] * BT[k]
            turned = -(mixed + mixed.transpose())
            bends[j, k] -= (BT[j] * BT[k]).trace() * group.count
            if (j, k) in second:
                own = surface.product(second[j, k], group)[0]
                bends[j, k] += (B * own).trace() * group.count
                turned = turned + own
            cross_kl[j, k] = cross_kl[j, k] - triangle(N * turned * right) * group.outer
    whole = squared(cross, p + 1)
    C_k = [squared(matrix, p + 1) for matrix in cross_k]
    C_kl = {at: squared(matrix, p + 1) for at, matrix in cross_kl.items()}
    inverse = corner(whole, p).inv() if p else arb_mat(0, 0)
    direction = _direction(whole, inverse)
    rss = _form(direction, whole, direction)
    r_k = [_form(direction, matrix, direction) for matrix in C_k]
    moved = [_top(matrix * direction) for matrix in C_k]
    shares = [inverse * corner(matrix, p) for matrix in C_k]
    gradient = [slopes[k] + nu * r_k[k] / rss + (shares[k].trace() if surface.reml else 0) for k in range(m)]
    hessian = arb_mat(m, m)
    for j, k in pairs:
        r_kl = _form(direction, C_kl[j, k], direction) - 2 * _form(moved[j], inverse, moved[k])
        value = bends[j, k] + nu * (r_kl / rss - r_k[j] * r_k[k] / rss**2)
        if surface.reml:
            value += (inverse * corner(C_kl[j, k], p)).trace() - (shares[j] * shares[k]).trace()
        hessian[j, k] = hessian[k, j] = value
    return gradient, hessian


def _direction(whole: arb_mat, inverse: arb_mat) -> arb_mat:
    """Minus the generalized least-squares coefficients, and 1."""
    p = inverse.nrows()
    beta = inverse * arb_mat([[whole[i, p]] for i in range(p)]) if p else arb_mat(0, 1)
    return arb_mat([[-beta[i, 0]] for i in range(p)] + [[arb(1)]])


def _top(column: arb_mat) -> arb_mat:
    """A column without its last entry."""
    size = column.nrows() - 1
    return arb_mat([[column[i, 0]] for i in range(size)]) if size else arb_mat(0, 1)


def _form(left: arb_mat, matrix: arb_mat, right: arb_mat) -> arb:
    return (left.transpose() * matrix * right)[0, 0] if matrix.nrows() else arb(0)


def _moves(sizes: Sequence[int], factors: list[arb_mat]) -> tuple[list[Moves], dict[tuple[int, int], Moves]]:
    """First derivatives of the terms' matrices with respect to theta, and the second ones that are not zero."""
    entries = [(term, row, column) for term, q in enumerate(sizes) for column in range(q) for row in range(column, q)]
    first, second = [], {}
    for term, row, column in entries:
        own = [arb_mat(q, q) for q in sizes]
        for i in range(sizes[term]):
            own[term][row, i] += factors[term][i, column]
            own[term][i, row] += factors[term][i, column]
        first.append(own)
    for (j, (term, row, column)), (k, (other, at, beside)) in itertools.product(enumerate(entries), repeat=2):
        if k <= j and (other, beside) == (term, column):
            own = [arb_mat(q, q) for q in sizes]
            own[term][row, at] += 1
            own[term][at, row] += 1
            second[j, k] = own
    return first, second
