"""Marginal means of factors and their differences, from every package's estimates, each with its own errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from concord.agreement.comparison import Comparison
from concord.arrays import Mask, Matrix, Vector
from concord.inference import marginal_means as linear
from concord.inference.degrees_of_freedom import DegreesError, adjustment
from concord.inference.marginal_means import Linear, averages, differences
from concord.likelihood.likelihood import LikelihoodError
from concord.models.grid import Grid, grid
from concord.models.model import Model, ModelError
from concord.models.parameters import Parameters
from concord.vocabulary import INDEPENDENT

METHODS = ("Kenward-Roger", "Satterthwaite", "z")
# The studentized range costs a hundredth of a second a difference.
MOST_AT_ONCE = 12
# What rounding leaves of a column that others make up.
ESTIMABLE = 1e-8


@dataclass(frozen=True, eq=False)
class _Cells:
    """The combinations of some factors' levels, the rows of their means, shape (k, p), and the offsets' means; and the
    means of `NewRows.beyond`, shape (k, d).
    """

    names: tuple[str, ...]
    labels: tuple[tuple[object, ...], ...]
    L: Matrix
    offset: Vector
    beyond: Matrix
    notes: tuple[str, ...]


def means_table(
    comparison: Comparison, factors: str | Sequence[str], method: str | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Marginal means of a factor, or of the combinations of several, by every package's estimates.

    Parameters
    ----------
    comparison : fits of one model
    factors : predictors of the fixed part with levels
    method : one of `METHODS`; by default Kenward and Roger's under REML and Satterthwaite's under ML
    level : of the confidence intervals, each by itself

    Returns
    -------
    one row a mean and source: the factors' columns, ``source, mean, std_error, df, low, high``; what they are averaged
    over, and what was done, stands in ``attrs["notes"]``

    Raises
    ------
    ModelError : the fixed part has no such factor, or there is no such method
    """
    cells = _cells(comparison.model, factors)
    rows = []
    notes = list(cells.notes)
    told = _told(cells.beyond, [" ".join(map(str, label)) for label in cells.labels], notes)
    for source, known in _by_source(comparison, cells.L, cells.offset, method, notes):
        estimates = known.where(told)
        low, high = estimates.interval(level)
        columns = (estimates.estimate, estimates.std_error, estimates.df, low, high)
        for i, numbers in enumerate(zip(*columns, strict=True)):
            rows.append((i, *cells.labels[i], source, *numbers))
    columns_of = ["place", *cells.names, "source", "mean", "std_error", "df", "low", "high"]
    return _sorted(rows, columns_of, notes)


def contrasts_table(comparison: Comparison, factors: str | Sequence[str], method: str | None = None) -> pd.DataFrame:
    """The differences of all marginal means of a factor, or of the combinations of several; see `means_table`.

    Returns
    -------
    one row a difference and source: ``contrast, source, estimate, std_error, df, t, p, p_tukey``, the last for all
    differences at once; missing beyond `MOST_AT_ONCE` means
    """
    cells = _cells(comparison.model, factors)
    names = [" ".join(map(str, label)) for label in cells.labels]
    pairs, rows_of = differences(len(names))
    rows = []
    notes = list(cells.notes)
    if len(names) > MOST_AT_ONCE:
        notes.append(f"p_tukey is left out beyond {MOST_AT_ONCE} means: multiply p by the number of differences.")
    shown = [f"{names[one]} - {names[other]}" for one, other in pairs]
    told = _told(rows_of @ cells.beyond, shown, notes)
    for source, known in _by_source(comparison, rows_of @ cells.L, rows_of @ cells.offset, method, notes):
        estimates = known.where(told)
        columns = (estimates.estimate, estimates.std_error, estimates.df, estimates.t, estimates.p)
        together = estimates.tukey(len(names)) if len(names) <= MOST_AT_ONCE else np.full(len(pairs), np.nan)
        for i, (numbers, tukey) in enumerate(zip(zip(*columns, strict=True), together, strict=True)):
            rows.append((i, shown[i], source, *numbers, tukey))
    return _sorted(rows, ["place", "contrast", "source", "estimate", "std_error", "df", "t", "p", "p_tukey"], notes)


def _told(beyond: Matrix, shown: Sequence[str], notes: list[str]) -> Mask:
    """Which means the data tell, shape (k,): the others hang on an effect that lme4 drops, and are noted."""
    told: Mask = np.all(np.abs(beyond) <= ESTIMABLE, axis=1)
    if not told.all():
        names = ", ".join(name for name, known in zip(shown, told, strict=True) if not known)
        notes.append(f"Not estimable, for want of rows: {names}.")
    return told


def factors_of(comparison: Comparison) -> list[str]:
    """The factors that a model's marginal means are of."""
    return list(_grid(comparison.model).factors)


def _sorted(rows: Sequence[tuple[object, ...]], columns: list[str], notes: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=columns).sort_values("place", kind="stable", ignore_index=True)
    table = table.drop(columns="place")
    table.attrs["notes"] = list(dict.fromkeys(notes))
    return table


_grid = lru_cache(maxsize=8)(grid)


def _cells(model: Model, factors: str | Sequence[str]) -> _Cells:
    """The cells of some factors in the model's reference grid."""
    whole: Grid = _grid(model)
    wanted = [factors] if isinstance(factors, str) else list(dict.fromkeys(factors))
    if unknown := [name for name in wanted if name not in whole.factors]:
        known = ", ".join(whole.factors) or "none"
        raise ModelError(f"no factor {', '.join(unknown)} among the fixed effects: their factors are {known}")
    if not wanted:
        raise ModelError("marginal means are of a factor: name one")
    places = [list(whole.factors).index(name) for name in wanted]
    # emmeans runs through the first factor fastest.
    order = whole.cells[:, places[::-1]]
    distinct, cells = np.unique(order, axis=0, return_inverse=True)
    L = averages(whole.rows.X, cells.reshape(-1))
    offset = averages(whole.rows.offset[:, None], cells.reshape(-1))[:, 0]
    labels = tuple(tuple(whole.factors[name][i] for name, i in zip(wanted, row[::-1], strict=True)) for row in distinct)
    others = [f"the levels of {name}, all of equal weight" for name in whole.factors if name not in wanted]
    notes = [f"Averaged over {' and '.join(others)}."] if others else []
    notes += [f"{name} stands at its mean, {value:.6g}." for name, value in whole.means.items()]
    beyond = averages(whole.rows.beyond, cells.reshape(-1))
    return _Cells(tuple(wanted), labels, L, offset, beyond, tuple(notes))


def _by_source(
    comparison: Comparison, L: Matrix, offset: Vector, method: str | None, notes: list[str]
) -> Iterator[tuple[str, Linear]]:
    """What every fit's estimates give, and the independent ones; what was done instead of what was asked is noted."""
    if method not in (None, *METHODS):
        raise ModelError(f"method {method!r}: one of {', '.join(METHODS)}")
    sources = dict(zip(comparison.labels, (fit.parameters for fit in comparison.fits), strict=True))
    for source, at in {**sources, INDEPENDENT: comparison.against.parameters}.items():
        for chosen in METHODS if method is None else (method,):
            if chosen == "Kenward-Roger" and not comparison.model.reml:
                if method:
                    raise ModelError("Kenward and Roger's method is one for REML: this fit is by ML")
                continue
            try:
                estimates = _estimated(comparison, at, chosen, L, offset)
            except (DegreesError, LikelihoodError) as error:
                notes.append(f"{source}, {chosen}: none, {error}.")
                continue
            notes.append(f"Degrees of freedom and errors of {source}: {chosen}.")
            yield source, estimates
            break


def _estimated(comparison: Comparison, at: Parameters, method: str, L: Matrix, offset: Vector) -> Linear:
    likelihood = comparison.against.likelihood
    if method == "Kenward-Roger":
        return linear.by_kenward_roger(adjustment(comparison.model.design, at), at, L, offset)
    by = linear.by_satterthwaite if method == "Satterthwaite" else linear.by_known_variances
    return by(likelihood, at, L, offset)
