"""Answers: what an engine says of a model, be it a fit or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from concord.engines import FORMERLY
from concord.engines.engine import CannotExpress, Engine, EngineError, engines
from concord.engines.fit import Fit
from concord.models.model import Model
from concord.processes.memory import available
from concord.r import RError
from concord.vocabulary import SETTINGS


@dataclass(frozen=True, eq=False)
class Absence:
    """That an engine gave no fit of a model, and why.

    Attributes
    ----------
    model : what was to be fitted
    engine : its name
    settings : ``default``, ``tuned``, or the arguments of a remedy
    kind : ``cannot express``: there is no way to write the model down; ``failed``: it stopped with an error;
        ``stopped``: its time was over, or its process died; ``too large``: there is not the memory for it; ``left
        out``: it was not to be asked
    reason : in a sentence
    nearest : the nearest formula that it can express, where there is one
    lost : what that leaves out of the model, in a few words
    seconds : how long it was tried; NaN where it was not
    """

    model: Model
    engine: str
    settings: str
    kind: Literal["cannot express", "failed", "stopped", "too large", "left out"]
    reason: str
    nearest: str | None = None
    seconds: float = float("nan")
    lost: str = ""


Answer = Fit | Absence


def answer(model: Model, engine: str, settings: str) -> Answer:
    """What the engine with this name says of a model.

    Parameters
    ----------
    settings : ``default``, ``tuned``, or one of the engine's remedies

    Raises
    ------
    RError : R is missing, or the package of a party or an arbiter
    """
    engine = FORMERLY.get(engine, engine)
    asked = engines()[engine]
    weights = f"weights, here {model.formula.weights}" if model.formula.weights is not None else ""
    if asked.role == "guest" and (unusual := model.formula.structured or weights):
        return Absence(model, engine, settings, "cannot express", f"{engine} is not asked about {unusual}")
    if asked.role == "guest" and settings in SETTINGS and settings not in asked.settings:
        return Absence(model, engine, settings, "left out", f"{engine} is asked as it ships only")
    try:
        if refusal := _refusal(asked, model):
            return Absence(model, engine, settings, "too large", refusal)
        return (asked.fit if settings in SETTINGS else asked.fit_remedy)(model, settings)  # type: ignore[misc]
    except CannotExpress as error:
        return Absence(model, engine, settings, "cannot express", str(error), error.nearest, lost=error.lost)
    except Exception as error:  # whatever a guest raises, the parties have their verdict
        told = isinstance(error, EngineError)
        if not told and asked.role != "guest":
            raise
        reason = str(error) if told or isinstance(error, RError) else f"{type(error).__name__}: {error}"
        return Absence(model, engine, settings, "failed", reason)


def _refusal(engine: Engine, model: Model) -> str:
    """Why a fit is not begun: it would take more memory than there is; empty where it would not."""
    demand = getattr(engine, "demand", None)
    return demand(model).refusal(available()) if demand else ""
