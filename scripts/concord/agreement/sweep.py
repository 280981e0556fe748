"""The optimizer sweep, R's allFit for every engine: each optimizer at its own default tolerances, from scratch, with
the predictors as they are, centred and scaled. All are judged in one likelihood and in the model's own coding.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from concord.agreement.judgement import judge
from concord.agreement.tolerances import allowed_gap
from concord.arrays import Matrix
from concord.display import table as tables
from concord.engines.engine import CannotExpress, EngineError, engines, title
from concord.engines.fit import Fit
from concord.likelihood.likelihood import LikelihoodError
from concord.models import matrices, syntax
from concord.models.coding import between, same_numbers
from concord.models.model import Model
from concord.reference import reference
from concord.reference.reference import Reference

COLUMNS = ("engine", "optimizer", "predictors", "gap", "digits", "loglik", "seconds", "converged", "message", "error")


@dataclass(frozen=True, eq=False, repr=False)
class Sweep(tables.Shown):
    """What every optimizer of every engine gives for one model.

    Attributes
    ----------
    model : what was fitted
    against : the reference
    tolerance : gap up to which a fit is at the optimum, in log-likelihood units: the one of default settings
    table : one row per engine, optimizer and coding of the predictors, none left out:

        - ``engine``, ``optimizer``, and ``predictors``: ``raw``, ``centred`` or ``scaled``
        - ``gap``: log-likelihood units below the reference, both in the independent likelihood and in the model's own
          coding; inf where there are no estimates of this model
        - ``digits``: correct significant digits of the worst estimate; NaN where the gap is inf
        - ``loglik``: the log-likelihood that the engine states, shifted to the model's coding under REML; or NaN
        - ``seconds``: wall time
        - ``converged``: what the engine claims
        - ``message``: the first thing that it said, or nothing
        - ``error``: what it raised, or how its estimates leave the model; or nothing
    notes : what the codings are, and which engine cannot express the model
    """

    model: Model
    against: Reference
    tolerance: float
    table: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """``sitka-random_slope, REML, every optimizer at its defaults``."""
        return f"{self.model.id}, {self.model.method}, every optimizer at its defaults"

    @property
    def reached(self) -> pd.Series:
        """Which rows are at the optimum, within the tolerance."""
        return self.table["gap"] <= self.tolerance

    def _rendered(self) -> tables.Rendered:
        rows = []
        for row, reached in zip(self.table.to_dict("records"), self.reached, strict=True):
            # Below the tolerance a gap, and the digits with it, is the noise of the last steps.
            shown = f"< {self.tolerance:.0e}" if abs(row["gap"]) <= self.tolerance else tables.number(row["gap"], 4)
            digits = "" if np.isnan(row["digits"]) else f"{np.floor(row['digits']):.0f}"
            claim = "converged" if row["converged"] else "not converged"
            said = textwrap.shorten(row["error"] or row["message"], 90, placeholder=" ...")
            head = [row["engine"], row["optimizer"], row["predictors"]]
            rows.append([*head, "✓" if reached else "✗", claim, shown, digits, said])
        counts = []
        for (engine, predictors), fits in self.table.groupby(["engine", "predictors"], sort=False):
            reached = self.reached[fits.index]
            counts.append(f"{title(engine)} {predictors} {reached.sum()} of {len(fits)}")
        silent = (self.table["converged"] & ~self.reached).sum()
        notes = [f"At the optimum: {'; '.join(counts)}. Short and yet said to have converged: {silent}.", *self.notes]
        header = ["engine", "optimizer", "predictors", "optimum", "claim", "gap", "digits", "message"]
        caption = (
            f"{self.title}\ngap: log-likelihood units below the {self.against.noun}, in the model's own coding; "
            "digits: whole correct digits of the worst estimate."
        )
        return caption, header, rows, 5, notes


def run(model: Model, against: Reference | None = None, without: Collection[str] = ()) -> Sweep:
    """Fit a model by every optimizer of every engine that lists its optimizers, in every coding of the predictors.

    Parameters
    ----------
    model : what to fit; many optimizers each take as long as a fit of it
    against : what they are judged against; by default the model's own reference
    without : engines that are left out

    Raises
    ------
    RError : R is missing, or a package that has some of lme4's optimizers
    """
    allowed = allowed_gap("default", model)
    frames, notes = recoded(model)
    tried: list[tuple[dict[str, Any], Fit | None]] = []
    for engine, module in sorted(engines().items()):
        if engine in without or module.optimizers is None or module.fit_by is None:
            continue
        try:
            tried += [
                _try(module.fit_by, model, engine, optimizer, predictors, frame)
                for optimizer in module.optimizers()
                for predictors, frame in frames.items()
            ]
        except CannotExpress as error:
            notes.append(f"{error}.")
    against = against or reference.of(model)
    rows = [_judged(row, fit, against) for row, fit in tried]
    best = int(np.argmin([row["gap"] for row in rows])) if rows else 0
    highest = tried[best][1] if rows else None
    if highest is not None and not against.certified and rows[best]["gap"] < -allowed:
        against = against.surpassed(against.level - rows[best]["gap"], highest, "the sweep")
        rows = [_judged(row, fit, against) for row, fit in tried]
    return Sweep(model, against, allowed, pd.DataFrame(rows, columns=list(COLUMNS)), tuple(notes))


def recoded(model: Model) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The model's table with its numeric predictors raw, centred, and centred and divided by their standard deviation.

    A predictor is a numeric variable that is a column of the fixed effects or of a random term as it stands. It is
    recoded only as far as the model stays the same one: uncorrelated effects depend on where their predictor is zero,
    so that it is divided there and not centred.

    Returns
    -------
    tables by the name of the coding, ``raw`` first; and a sentence for each other coding that was made or not
    """
    design, frame = model.design.as_coded, model.frame
    columns = np.column_stack([design.X, *(term.matrix for term in design.terms)])
    centred: dict[str, pd.Series] = {}
    scaled: dict[str, pd.Series] = {}
    for name in (name for name in model.formula.variables if name != model.formula.weights):
        values = frame[name]
        if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            continue
        used = values.iloc[design.rows].astype(float)
        if not used.std() > 0 or not any(same_numbers(used.to_numpy(), column) for column in columns.T):
            continue
        moved, divided = values.astype(float) - used.mean(), values.astype(float) / used.std()
        if _same_model(model, {name: moved}):
            centred[name], scaled[name] = moved, moved / used.std()
        elif _same_model(model, {name: divided}):
            scaled[name] = divided
    frames, notes = {"raw": frame}, []
    for coding, chosen in (("centred", centred), ("scaled", scaled)):
        if chosen and _same_model(model, chosen):
            frames[coding] = frame.assign(**chosen)
            does = "minus the mean" + (", divided by the standard deviation" if coding == "scaled" else "")
            notes += [f"{coding}: {', '.join(centred)} {does}."] if centred else []
    held = [name for name in scaled if name not in centred]
    if held and "scaled" in frames:
        notes.append(
            f"scaled: {', '.join(held)} divided by the standard deviation and not centred, for that would be another "
            "model: effects that are uncorrelated at one zero are not so at another."
        )
    if len(frames) == 1:
        notes.append("No predictor can be recoded without changing the model.")
    return frames, notes


def _same_model(model: Model, columns: dict[str, pd.Series]) -> bool:
    """Whether the formula on the table with these columns replaced is the same model in another coding."""
    try:
        changed = matrices.design(model.formula, model.frame.assign(**columns))
    except syntax.FormulaError:
        return False
    design = model.design.as_coded
    if not np.array_equal(changed.rows, design.rows) or not np.array_equal(changed.y, design.y):
        return False
    pairs: Sequence[tuple[Matrix, Matrix]] = [
        (changed.X, design.X),
        *((new.matrix, old.matrix) for new, old in zip(changed.terms, design.terms, strict=True)),
    ]
    groups = all(np.array_equal(new.codes, old.codes) for new, old in zip(changed.terms, design.terms, strict=True))
    return groups and all(between(new, old) is not None for new, old in pairs)


def _try(
    fit_by: Any, model: Model, engine: str, optimizer: str, predictors: str, frame: pd.DataFrame
) -> tuple[dict[str, Any], Fit | None]:
    """One optimizer's row, not judged yet, and its fit; None where it raised."""
    row = {"engine": engine, "optimizer": optimizer, "predictors": predictors}
    nothing = {"gap": np.inf, "digits": np.nan, "loglik": np.nan, "message": "", "error": ""}
    started = time.perf_counter()
    try:
        fit = fit_by(model, optimizer, frame)
    except EngineError as error:
        seconds = time.perf_counter() - started
        return {**row, **nothing, "seconds": seconds, "converged": False, "error": str(error)}, None
    said = {"message": fit.messages[0] if fit.messages else "", "converged": fit.converged, "seconds": fit.seconds}
    return {**row, **nothing, "loglik": fit.loglik, **said}, fit


def _judged(row: dict[str, Any], fit: Fit | None, against: Reference) -> dict[str, Any]:
    if fit is None:
        return row
    try:
        judgement = judge(fit, against)
    except (LikelihoodError, np.linalg.LinAlgError) as error:
        return {**row, "error": f"its estimates cannot be judged: {error}"}
    if not np.isfinite(judgement.gap):
        return {**row, "gap": np.inf, "error": fit.violation or "its estimates are not parameters of the model"}
    return {**row, "gap": judgement.gap, "digits": judgement.worst}
