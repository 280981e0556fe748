"""What an object of MixedLM holds, in the model's coding: estimates, random effects, and where its parameters are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from concord.engines.engine import EngineError
from concord.engines.fit import Fit
from concord.engines.tuning import check_rank
from concord.models.coding import between, same_groups, same_numbers
from concord.models.design import DesignTerm
from concord.models.model import Model
from concord.models.parameters import RANDOM_EFFECTS


def results_of(fit: Fit) -> Any:
    """MixedLM's own result, without the wrapper that statsmodels puts around it."""
    return getattr(fit.native, "_results", fit.native)


@contextmanager
def as_fitted(results: Any) -> Iterator[Any]:
    """The model object by the method of the result: it may have been fitted by the other one since."""
    model, present = results.model, results.model.reml
    try:
        model.reml = results.reml
        yield model
    finally:
        model.reml = present


def loglik(results: Any) -> float:
    """The log-likelihood by the method that was used: `llf` reads the model object's present one."""
    with as_fitted(results) as model:
        return float(model.loglike(results.params_object, profile_fe=False))


@dataclass(frozen=True, eq=False)
class Coding:
    """How a model's columns stand in an object of MixedLM, and the way back; one serves any response.

    Attributes
    ----------
    terms : the model's random terms
    fixed, random : the ways back from MixedLM's columns to the model's, shapes (p, p) and (q, q); see
        `concord.models.coding`
    correlated : the numbers of the terms that MixedLM has as its correlated effects, in their order
    components : which terms its variance components are
    """

    terms: tuple[DesignTerm, ...]
    fixed: np.ndarray
    random: np.ndarray
    correlated: list[int]
    components: list[_Component]

    def fixed_effects(self, results: Any) -> tuple[np.ndarray, np.ndarray]:
        """A result's fixed effects and their standard errors, shape (p,), in the model's coding."""
        p = len(self.fixed)
        spread = self.fixed @ np.asarray(results.cov_params())[:p, :p] @ self.fixed.T
        with np.errstate(invalid="ignore"):  # away from an optimum the Hessian may give none
            return self.fixed @ np.asarray(results.fe_params), np.sqrt(np.diag(spread))

    def covariances(self, results: Any) -> tuple[tuple[np.ndarray, ...], str | None]:
        """A result's covariance matrices in the model's coding, one a term; and how they leave the model, if so."""
        covariance = self.random @ np.asarray(results.cov_re) @ self.random.T
        covariances: list[np.ndarray] = [np.empty(0)] * len(self.terms)
        rest, start = covariance.copy(), 0
        for i in self.correlated:
            block = slice(start, start + len(self.terms[i].names))
            covariances[i] = covariance[block, block]
            rest[block, block] = 0.0
            start = block.stop
        for number, component in enumerate(self.components):
            covariances[component.term] = np.array([[component.ratio**2 * float(results.vcomp[number])]])
        if not np.any(rest):
            return tuple(covariances), None
        held = rest[np.nonzero(rest)][0]
        # Columns in another order or unit only: uncorrelated effects are so in the model's coding too.
        alone = (np.count_nonzero(self.random, axis=0) == 1).all()
        what = "constraint ignored" if alone else "another model: uncorrelated effects in another coding"
        return tuple(covariances), f"{what}: a covariance that the model holds at zero is {held:.6g}"


def coding_of(native: Any, model: Model) -> Coding:
    """How a model's columns stand in an object of MixedLM.

    Raises
    ------
    EngineError : it is an object of another model: other groups or columns
    """
    design = model.design
    components = _components(native, model)
    correlated = [i for i in range(len(design.terms)) if i not in {component.term for component in components}]
    terms = [design.terms[i] for i in correlated]
    for term in terms:
        if not same_groups(native.groups, term.codes):
            raise EngineError(f"the MixedLM result has other groups than {model.id} ({term.group})")
    check_rank(model, native.exog.shape[1])
    fixed = _coding(np.asarray(native.exog), design.X, design.names, "fixed effects")
    names = [name for term in terms for name in term.names]
    columns = np.column_stack([np.empty((len(design.y), 0)), *(term.matrix for term in terms)])
    X = np.asarray(native.exog_re).reshape(len(design.y), -1) if native.k_re else columns[:, :0]
    random = _coding(X, columns, names, "random effects")
    return Coding(design.terms, fixed, random, correlated, components)


def _coding(matrix: np.ndarray, wanted: np.ndarray, names: Sequence[str], what: str) -> np.ndarray:
    """The way back from the columns that MixedLM was given to the model's; see `concord.models.coding`."""
    if matrix.shape[1] != wanted.shape[1]:
        raise EngineError(f"the MixedLM result has {matrix.shape[1]} {what}, the model has {wanted.shape[1]}")
    back = between(matrix, wanted)
    if back is None:
        raise EngineError(f"the MixedLM result's {what} are not a coding of {', '.join(names)}: another model")
    # Of a column's length less than this is rounding: effects held uncorrelated must stay so when units change.
    shares = np.abs(back) * np.linalg.norm(wanted, axis=0)[:, None] / np.linalg.norm(matrix, axis=0)
    return np.where(shares < 1e-12, 0.0, back)


@dataclass(frozen=True)
class _Component:
    """A variance component that is a term of the model.

    Attributes
    ----------
    term : the number of the term
    ratio : the component's columns are this times the term's
    levels : for every group and column the number of the term's level; -1 for a column of zeros
    """

    term: int
    ratio: float
    levels: list[np.ndarray]


def _components(native: Any, model: Model) -> list[_Component]:
    """Which term of the model each of MixedLM's variance components is, by the numbers in its columns."""
    components: list[_Component] = []
    for number, name in enumerate(native.exog_vc.names):
        for i, term in enumerate(model.design.terms):
            if len(term.names) > 1 or any(component.term == i for component in components):
                continue
            component = _component(native, number, i, term)
            if component:
                components.append(component)
                break
        else:
            raise EngineError(f"of the MixedLM result's variance components {name!r} is not a term of {model.id}")
    return components


def _component(native: Any, number: int, i: int, term: DesignTerm) -> _Component | None:
    """A variance component as a term: each of its columns is the term's at the rows of one level, and every level has
    one column.
    """
    ratio, seen, levels = None, set(), []
    for label, matrix in zip(native.group_labels, native.exog_vc.mats[number], strict=True):
        rows = native.row_indices[label]
        codes, values = term.codes[rows], term.matrix[rows, 0]
        matrix = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)
        here = np.full(matrix.shape[1], -1)
        for j, column in enumerate(matrix.T):
            if not column.any():
                continue
            level = int(codes[np.abs(column).argmax()])
            wanted = np.where(codes == level, values, 0.0)
            if level in seen or not wanted.any():
                return None
            if ratio is None:
                ratio = float(column[np.abs(wanted).argmax()] / wanted[np.abs(wanted).argmax()])
            if not same_numbers(column, ratio * wanted):
                return None
            seen.add(level)
            here[j] = level
        levels.append(here)
    needed = set(np.unique(term.codes[term.matrix[:, 0] != 0]).tolist())
    return _Component(i, ratio, levels) if ratio and needed == seen else None


def random_effects(
    results: Any, model: Model, back: np.ndarray, correlated: Sequence[int], components: Sequence[_Component]
) -> pd.DataFrame:
    """By term and level, in the model's coding; nothing is predicted for a level whose column is zero."""
    native, terms = results.model, model.design.terms
    spreads = results.random_effects_cov
    rows: list[tuple[str, str, str, float, float]] = []
    for number, label in enumerate(native.group_labels):
        effects = np.asarray(results.random_effects[label])
        spread = np.asarray(spreads[label])
        first, count = native.row_indices[label][0], native.k_re
        values = back @ effects[:count]
        errors = np.sqrt(np.diag(back @ spread[:count, :count] @ back.T))
        names = [(terms[i], name) for i in correlated for name in terms[i].names]
        for (term, name), value, error in zip(names, values, errors, strict=True):
            rows.append((term.group, term.levels[term.codes[first]], name, value, error))
        for component in components:
            term, levels = terms[component.term], component.levels[number]
            for j, level in enumerate(levels, count):
                if level >= 0:
                    error = abs(component.ratio) * np.sqrt(spread[j, j])
                    rows.append((term.group, term.levels[level], term.names[0], component.ratio * effects[j], error))
            count += len(levels)
    for component in components:  # levels where the slope's predictor is zero in every row
        term, vcomp = terms[component.term], results.vcomp[list(components).index(component)]
        seen = {int(level) for levels in component.levels for level in levels}
        for level in sorted(set(range(len(term.levels))) - seen):
            rows.append((term.group, term.levels[level], term.names[0], 0.0, abs(component.ratio) * np.sqrt(vcomp)))
    return pd.DataFrame(rows, columns=RANDOM_EFFECTS)


def layout(native: Any, model: Model) -> tuple[np.ndarray, list[tuple[int, float] | None]]:
    """Where the model's parameters are among MixedLM's.

    Returns
    -------
    the way back from MixedLM's fixed effects to the model's, shape (p, p); and for every variance and covariance of the
    model, in the order of `Fit.estimates` and without the residual one, its place among MixedLM's and what to multiply
    that by; None where it is a combination of several

    Raises
    ------
    EngineError : it is a fit of something else
    """
    native_model, design = getattr(native, "_results", native).model, model.design
    coding = coding_of(native_model, model)
    random = coding.random
    components = {component.term: (number, component.ratio) for number, component in enumerate(coding.components)}
    alone = (np.count_nonzero(random, axis=0) == 1).all()
    # MixedLM has the lower triangle row by row, then the variance components.
    packed = {(int(i), int(j)): k for k, (i, j) in enumerate(zip(*np.tril_indices(native_model.k_re), strict=True))}
    places: list[tuple[int, float] | None] = []
    start = 0
    for number, term in enumerate(design.terms):
        q = len(term.names)
        if number in components:
            place, ratio = components[number]
            places.append((native_model.k_re2 + place, ratio**2))
            continue
        for a, b in [(k, k) for k in range(q)] + [(i, j) for j in range(q) for i in range(j)]:
            if not alone:
                places.append(None)
                continue
            one, other = (int(np.flatnonzero(random[start + which])[0]) for which in (a, b))
            place = packed[max(one, other), min(one, other)]
            places.append((place, float(random[start + a, one] * random[start + b, other])))
        start += q
    return coding.fixed, places
