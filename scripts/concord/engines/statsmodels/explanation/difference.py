"""Of a result that is no fit of a formula: which of its terms have no place there, and the formula that it is of."""

from __future__ import annotations

from typing import Any

from concord.engines.statsmodels.explanation.given import explained
from concord.errors import InputError
from concord.models.coding import between, same_groups
from concord.models.design import DesignTerm
from concord.models.model import Model
from concord.models.of_table import model_of


def misplaced(native: Any, model: Model) -> str:
    """What of an object of MixedLM has no place in a model, and the formula that it is of, in a sentence.

    Parameters
    ----------
    native : a ``MixedLMResults``
    model : a model that it is no fit of, on the same rows

    Returns
    -------
    nothing, where the object itself cannot be explained
    """
    frame = model.frame if len(model.frame) == len(getattr(native, "_results", native).model.endog) else None
    try:
        reading = explained(native, frame if getattr(native.model, "formula", None) is None else None)
        if reading is None or reading.frame is None:
            return ""
        if reading.formula is None:
            nearest = f"; the nearest formula is {reading.meant[0].formula}" if reading.meant else ""
            return f"there is no lme4 formula for it: {reading.problem}{nearest}"
        own, _ = model_of(reading.frame, reading.formula, model.method, None, "data")
        return _told(own, model, reading.formula)
    except InputError:
        return ""


def _told(own: Model, model: Model, formula: str) -> str:
    given = model.record.formula
    extra = [_shown(own, i) for i, term in enumerate(own.design.terms) if not _among(term, model.design.terms)]
    lacking = [_shown(model, i) for i, term in enumerate(model.design.terms) if not _among(term, own.design.terms)]
    fixed = [name for name in own.design.names if name not in model.design.names]
    absent = [name for name in model.design.names if name not in own.design.names]
    said = []
    if extra or fixed:
        said.append(f"its {' and '.join([*fixed, *extra])} {_have(len(extra) + len(fixed))} no place in {given}")
    if lacking or absent:
        said.append(f"it has no {' and no '.join([*absent, *lacking])}")
    return "; ".join([*said, f"it is a fit of {formula}"])


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _among(term: DesignTerm, others: tuple[DesignTerm, ...]) -> bool:
    """Whether one of the terms has the same groups, and the same columns or a coding of them."""
    return any(
        same_groups(term.codes, other.codes) and between(term.matrix, other.matrix) is not None for other in others
    )


def _shown(model: Model, i: int) -> str:
    term = model.formula.random[i]
    return f"({term.columns} | {term.group})"
