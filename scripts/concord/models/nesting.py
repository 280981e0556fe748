"""Whether one mixed model is a special case of another, and which of its parameters that holds fixed.

Judged by what the designs span, and not by how the formulas are written. The fixed effects of the smaller model must
lie in the span of the larger one's. Its random terms give the response the covariance matrix sum of J o (M Psi M'),
with J the indicator of equal levels and o the entrywise product; every such matrix must be one of the larger model's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from concord.arrays import Integers, Matrix
from concord.models.coding import same_groups
from concord.models.design import Design, DesignTerm
from concord.models.structure import taken_apart

# Of a column of length one, what may be left outside of a span: rounding.
OUTSIDE = 1e-9
# Pairs of rows that share a level: beyond so many, covariance matrices are not compared entry by entry.
MOST_PAIRS = 2_000_000


class NotNested(ValueError):
    """One model is not a special case of the other, or they are not of the same response; the message says why."""


@dataclass(frozen=True)
class Restriction:
    """What the smaller model holds fixed.

    Attributes
    ----------
    fixed : how many fixed effects
    random : how many variances and covariances
    removed : for every random term of the larger model how many of its effects have no variance in the smaller one

    With c effects of a term removed, the smaller model lies where a c x c covariance matrix is zero, on the boundary of
    the parameters; where none is removed, such as where a covariance is zero, it lies inside.
    """

    fixed: int
    random: int
    removed: tuple[int, ...]

    @property
    def kind(self) -> str:
        """What it restricts, in words."""
        parts = []
        if self.fixed:
            parts.append(f"{self.fixed} fixed effect{'s' * (self.fixed > 1)}")
        if self.random:
            parts.append(f"{self.random} {'variances or covariances' if self.random > 1 else 'variance or covariance'}")
        return " and ".join(parts)

    @property
    def boundary(self) -> int:
        """How many effects have no variance in the smaller model."""
        return sum(self.removed)

    @property
    def cone(self) -> int:
        """How many of the restricted variances and covariances belong to matrices that are zero: the dimension of the
        cone that the larger model opens there, without the straight lines in it.
        """
        return sum(c * (c + 1) // 2 for c in self.removed)


def restriction(null: Design, alternative: Design) -> Restriction:
    """What `null` holds fixed of `alternative`.

    Raises
    ------
    NotNested : it is not a special case of it
    """
    if len(null.rows) != len(alternative.rows):
        raise NotNested(
            f"the models are of other rows, {len(null.rows)} and {len(alternative.rows)}: where a variable of one has "
            "missing values, fit both to the rows that are complete"
        )
    if not np.array_equal(null.rows, alternative.rows):
        raise NotNested("the models are of other rows of the table")
    if not np.array_equal(null.row_weights, alternative.row_weights):
        raise NotNested("the models' rows have other weights")
    null, alternative = null.as_coded, alternative.as_coded
    offsets = [np.zeros(len(design.y)) if design.offset is None else design.offset for design in (null, alternative)]
    responses = [design.y + offset for design, offset in zip((null, alternative), offsets, strict=True)]
    if not np.allclose(responses[0], responses[1], rtol=1e-12, atol=0):
        raise NotNested("the models are of other responses")
    if any(term.structure for term in (*null.terms, *alternative.terms)):
        raise NotNested("a covariance matrix has a structure, of which no special cases are known here")
    difference = (offsets[0] - offsets[1])[:, None]
    if not _spanned(np.hstack([null.X, difference]), alternative.X):
        raise NotNested("the fixed effects of neither model span those of the other")
    images = _images(null.terms, alternative.terms)
    if images is None:
        raise NotNested("the random terms of the one are not a special case of the other's")
    removed = tuple(
        len(term.names) - int(np.linalg.matrix_rank(image, tol=1e-8 * max(np.abs(image).max(), 1e-300)))
        for term, image in zip(alternative.terms, images, strict=True)
    )
    fixed = alternative.X.shape[1] - null.X.shape[1]
    random = count(alternative) - count(null)
    if fixed < 0 or random < 0:
        raise NotNested("the model with fewer parameters spans the other: some of the other's are redundant")
    return Restriction(fixed, random, removed)


def count(design: Design) -> int:
    """How many variances and covariances the random terms have."""
    return sum(_count(term) for term in design.terms)


def _count(term: DesignTerm) -> int:
    q = len(term.names)
    if not term.structure:
        return q * (q + 1) // 2
    return (1 if taken_apart(term.structure)[1] else q) + (q > 1)


def _images(null: tuple[DesignTerm, ...], alternative: tuple[DesignTerm, ...]) -> list[Matrix] | None:
    """For every term of the alternative the covariance matrix that it has where those of the null are identities, in
    units of the columns' lengths; None where it has none.
    """
    images = [np.zeros((len(term.names), len(term.names))) for term in alternative]
    columns = [_unit(term.matrix) for term in alternative]
    left = []
    for term in null:
        for other, image, within in zip(alternative, images, columns, strict=True):
            if same_groups(term.codes, other.codes) and _spanned(term.matrix, other.matrix):
                T = np.linalg.lstsq(within, _unit(term.matrix), rcond=None)[0]
                image += T @ T.T
                break
        else:
            left.append(term)
    for term in left:
        entrywise = _entrywise(term, alternative, columns)
        if entrywise is None:
            return None
        images = [image + matrix for image, matrix in zip(images, entrywise, strict=True)]
    return images


def _entrywise(term: DesignTerm, alternative: tuple[DesignTerm, ...], columns: list[Matrix]) -> list[Matrix] | None:
    """The alternative's covariance matrices that make a term of other levels, such as (1 | a:b) in (0 + b | a): from
    the equations that every pair of rows gives; None where none do.
    """
    pairs = _pairs([term, *alternative]) if alternative else None
    if pairs is None:
        return None
    first, second = pairs
    basis, places = [], []
    for t, (other, within) in enumerate(zip(alternative, columns, strict=True)):
        together = other.codes[first] == other.codes[second]
        for i, j in zip(*np.tril_indices(within.shape[1]), strict=True):
            product = within[first, i] * within[second, j]
            basis.append(together * (product if i == j else product + within[second, i] * within[first, j]))
            places.append((t, i, j))
    matrix = np.column_stack(basis)
    lengths = np.linalg.norm(matrix, axis=0)
    unit = _unit(term.matrix)
    together = term.codes[first] == term.codes[second]
    rng = np.random.default_rng(0)
    q = unit.shape[1]
    # Effects of every kind of one rank must be covariance matrices there; their sum, of full rank, is the image.
    total = None
    for v in [*np.eye(q), *rng.normal(size=(2 * q if q > 1 else 0, q))]:
        wanted = together * (unit[first] @ v) * (unit[second] @ v)
        solved = np.linalg.lstsq(matrix / lengths, wanted, rcond=1e-10)[0]
        if np.linalg.norm(matrix / lengths @ solved - wanted) > OUTSIDE * np.linalg.norm(wanted):
            return None
        matrices = [np.zeros((len(other.names), len(other.names))) for other in alternative]
        for (t, i, j), value in zip(places, solved / lengths, strict=True):
            matrices[t][i, j] = matrices[t][j, i] = value
        if any(np.linalg.eigvalsh(image)[0] < -1e-8 * np.abs(image).max() for image in matrices):
            return None
        total = matrices if total is None else [a + b for a, b in zip(total, matrices, strict=True)]
    return total


def _pairs(terms: list[DesignTerm]) -> tuple[Integers, Integers] | None:
    """The pairs of rows that share a level of any of the terms; None where there are too many."""
    n = len(terms[0].codes)
    if sum(float((np.bincount(term.codes) ** 2.0).sum()) for term in terms) > MOST_PAIRS:
        return None
    shared = sparse.csr_array((n, n))
    for term in terms:
        indicator = sparse.csr_array((np.ones(n), (np.arange(n), term.codes)))
        shared = shared + indicator @ indicator.T
    shared = shared.tocoo()
    lower = shared.row >= shared.col
    return shared.row[lower], shared.col[lower]


def _unit(columns: Matrix) -> Matrix:
    lengths = np.linalg.norm(columns, axis=0)
    return columns / np.where(lengths > 0, lengths, 1.0)


def _spanned(columns: Matrix, by: Matrix) -> bool:
    """Whether columns lie in the span of others."""
    columns = _unit(columns)
    if not by.shape[1]:
        return not columns.any()
    Q = np.linalg.qr(_unit(by))[0]
    return bool(np.linalg.norm(columns - Q @ (Q.T @ columns), axis=0).max(initial=0.0) < OUTSIDE)


def within_groups(fine: Integers, coarse: Integers) -> bool:
    """Whether every group of the one lies within one group of the other."""
    return len(np.unique(np.column_stack([fine, coarse]), axis=0)) == len(np.unique(fine))


def outermost(terms: tuple[DesignTerm, ...]) -> int | None:
    """A term whose factor all others are nested in, by the data; None where some are crossed."""
    order = sorted(range(len(terms)), key=lambda i: len(np.unique(terms[i].codes)))
    return order[0] if all(within_groups(term.codes, terms[order[0]].codes) for term in terms) else None


def levels(design: Design) -> tuple[tuple[int, ...], ...] | None:
    """The random terms by their grouping factors, outermost first; None where not every one is nested in the last.

    Returns
    -------
    for every level of grouping the numbers of its terms
    """
    nested: list[list[int]] = []
    for i in sorted(range(len(design.terms)), key=lambda i: len(np.unique(design.terms[i].codes))):
        term = design.terms[i]
        if nested and same_groups(term.codes, design.terms[nested[-1][0]].codes):
            nested[-1].append(i)
        elif nested and not within_groups(term.codes, design.terms[nested[-1][0]].codes):
            return None
        else:
            nested.append([i])
    return tuple(tuple(sorted(terms_within)) for terms_within in nested)
