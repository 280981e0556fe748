"""Responses drawn from a model, each with random numbers of its own."""

from __future__ import annotations

import math

import numpy as np

from concord.models.design import Design
from concord.models.parameters import Parameters, spectrum


def draw(design: Design, parameters: Parameters, seed: int, replicate: int) -> np.ndarray:
    """A response drawn from a model, shape (n,): X b + sum of Z_t u_t + e, with the model's offset where it has one.

    Every replicate has a stream of random numbers of its own, so that it does not depend on which others are drawn,
    where, and in which order. Random effects are standard normal numbers times the symmetric root of the covariance
    matrix: the root is unique, also of a singular matrix, where the signs of eigenvectors are the library's choice.

    Parameters
    ----------
    design : the model in numbers
    parameters : their true values
    seed : of all replicates
    replicate : which of them, counted from 0

    Raises
    ------
    ValueError : a covariance matrix is not finite or has a negative eigenvalue, or the residual variance is negative
    """
    residual_variance = parameters.residual_variance
    if not 0 <= residual_variance < math.inf:
        raise ValueError(f"the residual variance is {residual_variance:g}: nothing can be drawn with it")
    stream = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(replicate,)))
    response = design.X @ parameters.fixed
    for term, covariance in zip(design.terms, parameters.covariances, strict=True):
        effects = stream.standard_normal((len(term.levels), len(term.names))) @ symmetric_root(covariance)
        response = response + np.einsum("ij,ij->i", term.matrix, effects[term.codes])
    response = response + math.sqrt(residual_variance) * stream.standard_normal(len(response))
    response = design.to_rows(response)
    return response if design.offset is None else response + design.offset


def symmetric_root(covariance: np.ndarray) -> np.ndarray:
    """A matrix whose square is, as correlations, the covariance matrix's: S with S'S the matrix, shape (q, q).

    Raises
    ------
    ValueError : the matrix is not finite, or has a negative eigenvalue
    """
    if not np.isfinite(covariance).all():
        raise ValueError("a covariance matrix is not finite")
    unit, vectors, roots = spectrum(covariance)
    return (vectors * roots) @ vectors.T * unit
