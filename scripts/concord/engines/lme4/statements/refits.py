"""Refits: what lme4 says of a fit by fitting anew: other models in anova(), without each group in influence()."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from concord import r
from concord.arrays import Matrix, Vector
from concord.engines.engine import EngineError
from concord.engines.fit import Fit
from concord.engines.lme4.engine import fit as fitted
from concord.engines.lme4.engine import from_native
from concord.engines.statements import AnovaTable, Deletion, Statement
from concord.engines.tuning import recomputed
from concord.likelihood.likelihood import Likelihood
from concord.models.coding import between
from concord.models.model import Model

# A name that no column of a table has.
_COLUMN = ".left_out"

_R = Path(__file__).with_suffix(".R")


def _room() -> Any:
    r.package("lme4")
    return r.source(_R)


def anova(fit: Fit, others: Sequence[Model], refit: bool) -> AnovaTable:
    """R's ``anova()`` of a fit and of lme4's fits of other models, which are made where the fit is.

    Raises
    ------
    EngineError : lme4 gives no fit of one of them
    """
    return fit.ask(_anova, others, refit)


def _anova(fit: Fit, others: Sequence[Model], refit: bool) -> AnovaTable:
    fits = [fit, *(fitted(other, fit.settings) for other in others)]
    ordered = sorted(fits, key=lambda one: one.model.size)
    names = [one.model.name for one in ordered]
    try:
        got = r.call(_room()["anova_of"], r.interface().ListSexpVector([one.native for one in ordered]), names, refit)
    except r.RError as error:
        raise EngineError(f"anova() stopped with {error}") from error
    parts = dict(zip(r.from_r(r.call("names", got)), got, strict=True))
    own = {}
    for one, native in zip(ordered, parts["fits"], strict=True):
        model = replace(one.model, method="ML") if refit else one.model
        own[model.name] = recomputed(from_native(native, model), Likelihood(model.design, model.reml))
    return AnovaTable(
        text=r.from_r(parts["text"])[0],
        numbers=np.asarray(r.from_r(parts["numbers"]), float),
        names=tuple(r.from_r(parts["names"])),
        said=tuple(r.from_r(parts["said"]) or ()),
        own=own,
    )


@dataclass(frozen=True, eq=False)
class _Deleted:
    """The fixed effects of all rows, shape (p,), and without each of L levels; their distances, (L,)."""

    levels: list[str]
    fixed: Matrix
    whole: Vector
    dfbeta: Matrix
    distance: Vector


def influence(fit: Fit, group: str) -> Deletion:
    """lme4's ``influence()``, ``dfbeta()`` and ``cooks.distance()``, in the model's coding. It leaves rows out by
    ``subset``, after the columns are made: poly() and scale() stay those of the whole table.
    """
    return fit.ask(_influence, group)


def _influence(fit: Fit, group: str) -> Deletion:
    design = fit.model.design.as_coded
    term = next(term for term in design.terms if term.group == group)
    frame = fit.model.frame.iloc[design.rows].reset_index(drop=True)
    frame[_COLUMN] = np.array(term.levels, dtype=object)[term.codes]
    got = r.record(_Deleted, r.call(_room()["influence_of"], fit.native, frame, _COLUMN))
    p = design.X.shape[1]
    X = np.asarray(r.from_r(r.call(r.function("lme4::getME"), fit.native, "X"))).reshape(len(design.y), p)
    back = between(X, design.X)
    if back is None:
        raise EngineError(f"the lmer fit's fixed effects are not a coding of {fit.model.id}'s")
    return Deletion(
        levels=tuple(got.levels),
        whole=back @ got.whole,
        fixed=Statement(got.fixed.reshape(-1, p) @ back.T, quantity="fixed effects by lme4's influence()"),
        dfbeta=Statement(got.dfbeta.reshape(-1, p) @ back.T, "dfbeta_of_the_opposite_sign"),
        distance=Statement(got.distance, "cooks_distance_by_levels"),
    )
