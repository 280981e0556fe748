"""Relative covariance factors in the order in which a certificate has them, with exact zeros where one is singular."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from concord.arrays import Integers, Matrix
from concord.models.design import Design, weighted
from concord.models.parameters import ZERO, Parameters


def factors(theta: Sequence[float], order: Sequence[Sequence[int]]) -> list[Matrix]:
    """The terms' relative factors that theta holds column by column, their rows in the model's own order."""
    factors, entries = [], iter(theta)
    for at in order:
        factor = np.zeros((len(at), len(at)))
        for column in range(len(at)):
            factor[at[column:], column] = [next(entries) for _ in at[column:]]
        factors.append(factor)
    return factors


def factored(design: Design, parameters: Parameters) -> tuple[Design, list[Integers], list[float]]:
    """The design with every singular term's columns in an order in which only trailing columns of its factor vanish.

    Returns
    -------
    the design, for every term the place of each original column in the new order, and theta with exact zeros
    """
    terms, places, theta = [], [], []
    coded = design.as_coded
    for term, own_term, relative in zip(design.terms, coded.terms, parameters.relative, strict=True):
        q = len(relative)
        order, rest, factor = list(range(q)), relative.copy(), np.zeros((q, q))
        own = np.diag(relative).copy()
        # A variance that is zero has no scale of its own: measure it on the effect's share in the response.
        spread = np.maximum(own, 1.0 / np.mean(term.matrix**2, axis=0))
        for k in range(q):
            shares = [rest[i, i] / spread[i] for i in order[k:]]
            if shares[0] <= ZERO:
                best = k + int(np.argmax(shares))
                order[k], order[best] = order[best], order[k]
                shares[0] = rest[order[k], order[k]] / spread[order[k]]
            if shares[0] <= ZERO:
                break
            at = order[k]
            factor[:, k] = rest[:, at] / np.sqrt(rest[at, at])
            rest = rest - np.outer(factor[:, k], factor[:, k])
        lower = factor[order]
        theta += [float(lower[row, column]) for column in range(q) for row in range(column, q)]
        terms.append(replace(own_term, names=tuple(term.names[i] for i in order), matrix=own_term.matrix[:, order]))
        places.append(np.argsort(order))
    reordered = replace(coded, terms=tuple(terms))
    return reordered if design.weights is None else weighted(reordered, design.weights), places, theta
