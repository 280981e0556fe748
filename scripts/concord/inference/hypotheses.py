"""What is tested where a term of the fixed effects is tested: L b = 0, by the types of sums of squares.

* I: each term after those that stand before it. With X = Q R the rows of R that are the term's.
* II: each term after all that do not contain it: the same with the columns in the order others, term, containing ones.
  Under a mixed model there are two such hypotheses. One takes X'X, as lmerTest does; the other X'V^-1 X, so that it is
  the term's own gain in the weighted sum of squares, as car's Anova() does (Fox and Weisberg 2019, An R Companion to
  Applied Regression, section 5.3.4). They are one where the data are balanced. What contains a term also differs: to
  lmerTest, as to SAS, x:f contains x, but not f, for it has another numeric variable; to car it contains both. Here
  poly(x, 2) and scale(x) are numeric; lmerTest takes a matrix for no number, and has another F of f in poly(x, 2) * f.
* III: of the hypotheses about a term and those that contain it, the ones that are orthogonal to all that are about the
  latter alone, in the coefficients of one column a level (SAS/STAT User's Guide, The Four Types of Estimable
  Functions). It does not depend on how factors are coded: means over the other factors' levels, all of equal weight.
* III as coded: the term's own coefficients are zero, as car's Anova(type = 3) has it. With R's default coding,
  contr.treatment, a main effect is then the one at the other factors' first levels, and not III.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from concord.arrays import Mask, Matrix
from concord.models.design import FixedTerms

TYPES = ("I", "II", "II (car)", "III", "III (car)")


def hypothesis(terms: FixedTerms, X: Matrix, term: int, kind: str, covariance: Matrix) -> Matrix:
    """The rows L of a term's hypothesis L b = 0, shape (q, p).

    Parameters
    ----------
    X : the fixed-effects matrix, shape (n, p)
    term : its number, from 1
    kind : one of `TYPES`
    covariance : of the fixed effects, shape (p, p)
    """
    own = np.flatnonzero(terms.of_column == term)
    if kind == "III (car)":
        return np.eye(X.shape[1])[own]
    if kind == "III":
        return _orthogonal(terms, X, term)
    later = [*range(term + 1, len(terms.labels) + 1)] if kind == "I" else terms.above(term, kind == "II")
    if kind.startswith("II") and not later:
        return np.eye(X.shape[1])[own]
    containing = np.flatnonzero(np.isin(terms.of_column, later))
    others = np.setdiff1d(np.arange(X.shape[1]), [*own, *containing])
    order = np.concatenate([others, own, containing])
    if kind == "II (car)":
        factor = linalg.cholesky(np.linalg.inv(covariance[np.ix_(order, order)]))
    else:
        factor = np.linalg.qr(X[:, order], mode="r")
    rows: Matrix = np.zeros((len(own), len(order)))
    rows[:, order] = (factor / np.diag(factor)[:, None])[len(others) : len(others) + len(own)]
    return rows


def _orthogonal(terms: FixedTerms, X: Matrix, term: int) -> Matrix:
    """The hypothesis of type III, shape (q, p).

    Column by column of `forms` stand the coefficients that b_j has in those of one column a level.
    """
    lengths = np.linalg.norm(X, axis=0)
    forms = (np.linalg.pinv(X / lengths) @ terms.full).T
    sizes = np.linalg.norm(terms.full, axis=0)[:, None]
    above = terms.above(term)
    about = _without(forms * sizes, ~np.isin(terms.of_full, [term, *above]))
    if above:
        of_others = _without(forms * sizes, ~np.isin(terms.of_full, above))
        about = about @ _null((forms @ of_others).T @ (forms @ about))
    # Written as differences from the first level, as lmerTest has them.
    own = forms[(terms.of_full == term) & terms.not_first] @ about
    if own.shape == (about.shape[1],) * 2 and np.linalg.cond(own) < 1e8:
        about = about @ np.linalg.inv(own)
    rows: Matrix = about.T * lengths
    return rows


def _without(forms: Matrix, outside: Mask) -> Matrix:
    """The combinations of forms, a column each, whose coefficients in some columns are zero, shape (p, k)."""
    return _null(forms[outside])


def _null(matrix: Matrix) -> Matrix:
    """A basis of what a matrix makes zero, shape (p, k)."""
    _, values, vectors = np.linalg.svd(matrix)
    rank = int((values > 1e-9 * values.max(initial=0.0)).sum())
    basis: Matrix = vectors[rank:].T
    return basis
