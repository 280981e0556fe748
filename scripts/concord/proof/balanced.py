"""Balanced growth curves: models whose optimum inside the space of covariances is the only one, whatever their size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import arb, fmpq, fmpq_mat

from concord.likelihood.certificate import Exact
from concord.models.design import Design
from concord.proof.convexity import curvature
from concord.proof.surface import Surface

# What rounding of theta may leave of a zero gradient, over a step that changes the criterion by a half: in units
# of theta it says nothing where theta is large.
ZERO = 1e-9


def unique(design: Design, exact: Exact, theta: Sequence[arb]) -> bool:
    """Whether a stationary point is proved to be the global optimum because the design is balanced.

    Let every one of J groups have the same Z and the same X = Z C with C square and invertible. The groups' own
    least-squares effects are then normal about C b with covariance M = sigma^2 (Sigma + (Z'Z)^-1), independent of the
    residuals about them; b is estimated by their mean whatever M is, and -2 log-likelihood is, but for a constant,

        f log sigma^2 + R / sigma^2 + k log |M| + tr(M^-1 Q),   k = J (ML) or J - 1 (REML),

    with R, Q and f free of the parameters. With sigma^2 and M free it has one stationary point, its global minimum.
    Sigma = sigma^-2 M - (Z'Z)^-1 confines M to a part of the space; a stationary point in the interior of that part is
    the one of the whole. At theta the factor of Sigma is regular, which makes it such a point, and the gradient zero.
    """
    if len(exact.sizes) != 1 or exact.p != exact.sizes[0] or not _same(design):
        return False
    q, entries = exact.p, iter(theta)
    diagonal = [entry for column in range(q) for row in range(column, q) for entry in [next(entries)] if row == column]
    if any(entry.contains(0) for entry in diagonal):
        return False
    gradient, hessian = curvature(Surface(exact), theta)
    bends = [hessian[i, i] for i in range(len(gradient))]
    return all(bend > 0 and abs(slope) / bend.sqrt() < ZERO for slope, bend in zip(gradient, bends, strict=True))


def _same(design: Design) -> bool:
    """Whether every group has the same rows of Z and X, of the same weights, and X is Z C with C invertible."""
    design, weights = design.as_coded, design.row_weights
    term = design.terms[0]
    blocks = []
    for code in np.unique(term.codes):
        rows = np.column_stack([term.matrix, design.X, weights])[term.codes == code]
        blocks.append(rows[np.lexsort(rows.T[::-1])])
    if any(block.shape != blocks[0].shape or (block != blocks[0]).any() for block in blocks):
        return False
    q = term.matrix.shape[1]
    rational = [[fmpq(*float(value).as_integer_ratio()) for value in row] for row in blocks[0]]
    Z, X = fmpq_mat([row[:q] for row in rational]), fmpq_mat([row[q:-1] for row in rational])
    gram = Z.transpose() * Z
    if gram.det() == 0:
        return False
    C = gram.inv() * (Z.transpose() * X)
    return bool(Z * C == X and C.det() != 0)
