"""lme4 fitted to one response after the other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from concord import r
from concord.arrays import Integers, Matrix, Vector
from concord.engines.engine import CannotExpress, EngineError
from concord.engines.replicate import Refit, Replicate
from concord.likelihood.search import Shape
from concord.models.coding import between, same_groups, shift
from concord.models.formula import expression
from concord.models.model import Model
from concord.models.parameters import Parameters

_R = Path(__file__).with_suffix(".R")

# The optimizers with tight tolerances, one after the other until one stands still: lme4's default one comes first.
TIGHT = ("nloptwrap", "bobyqa", "nlminbwrap", "Nelder_Mead")


def refitters(model: Model, settings: str, *, warm: bool = False, thorough: bool = False) -> list[Refit]:
    """The ways to fit a model to a response, by lme4's own modular functions, from ``lmer``'s own start.

    ``refit`` is something else. It starts at the theta of the fit that it is given, does not restart from the boundary
    or look whether the boundary is better, and falls back to the default tolerances whatever the fit had. And in lme4
    1.1-31 its REML criterion has n - 1 degrees of freedom where n - p are right, so that with other than one fixed
    effect it maximises, and states, another function: ``refit(fit)`` of the sleepstudy model has a log-likelihood 4.16
    below that of the fit.

    Parameters
    ----------
    model : what is fitted
    settings : ``default``: what ``lmer`` does after it has parsed the formula, the same to the last bit; or ``tuned``:
        the optimizers with tight tolerances, each from scratch
    warm : by ``refit`` all the same, as ``bootMer`` does, from a fit of the model's own response
    thorough : of no effect: every optimizer is asked in any case

    Raises
    ------
    EngineError : lmer's columns are not those of the model, or the fit to start from failed
    RError : R or lme4 is missing
    """
    if warm and settings != "default":
        raise ValueError("a warm start is lme4's refit, at default settings")
    return [_Refit(model, settings, optimizer, warm) for optimizer in (TIGHT if settings == "tuned" else [None])]


@dataclass(frozen=True, eq=False)
class _Layout:
    """lmer's columns: of the fixed effects, and for every random term its group, the number of its columns, and these;
    the levels' codes are counted from 1.
    """

    X: Matrix
    groups: list[str]
    widths: Integers
    matrices: list[Matrix]
    codes: list[Integers]


class _Refit:
    """lme4: what ``lmer`` does with a response after it has parsed the formula, or ``refit``."""

    def __init__(self, model: Model, settings: str, optimizer: str | None, warm: bool) -> None:
        self._model, self._settings = model, settings
        if model.formula.structured:
            raise CannotExpress("lme4", f"{model.formula.structured}, fitted to one response after the other")
        r.package("lme4")
        self._own, theirs = r.source(_R), r.source(_R.with_name("fit.R"))
        self._run = self._own["run"]
        control = None if optimizer is None else r.call("[[", theirs["controls"], optimizer)
        frame = model.frame[list(model.formula.variables)]
        try:
            self._prepared = r.call(
                self._own["prepare"],
                expression(model.formula),
                model.dataset.id,
                frame,
                model.reml,
                control,
                model.formula.weights,
            )
            got = r.record(_Layout, r.call(self._own["layout"], self._prepared))
        except r.RError as error:
            raise EngineError(f"lmer stopped with {error}") from error
        design = model.design.as_coded
        X = got.X.reshape(len(design.y), -1)
        back = between(X, design.X)
        if back is None:
            raise EngineError(f"lmer's fixed effects are not a coding of {model.id}'s")
        self._back, self._shift = back, shift(back) if model.reml else 0.0
        self._shape = Shape(list(map(int, got.widths)))
        self._places = self._match(got)
        self._from = None
        if warm:
            full = design.y if design.offset is None else design.y + design.offset
            try:
                self._from = r.call(self._own["fresh"], self._prepared, full)
            except r.RError as error:
                raise EngineError(f"lmer stopped with {error}") from error

    def _match(self, got: _Layout) -> list[tuple[int, Matrix]]:
        """For every term of the model which of lmer's it is, and the way back from its columns."""
        left, places = list(range(len(got.groups))), []
        for term in self._model.design.as_coded.terms:
            for i in left:
                matrix = got.matrices[i].reshape(len(term.codes), -1)
                back = between(matrix, term.matrix) if got.groups[i] == term.group else None
                if back is not None and same_groups(got.codes[i], term.codes):
                    places.append((i, back))
                    left.remove(i)
                    break
            else:
                raise EngineError(f"lmer has no random term ({', '.join(term.names)} | {term.group})")
        return places

    def __call__(self, response: Vector) -> Replicate:
        started = time.perf_counter()
        try:
            ran = r.call(self._run, self._prepared, np.asarray(response, float), self._from)
        except r.RError as error:
            seconds = time.perf_counter() - started
            return Replicate.failed(self._model, "lme4", self._settings, str(error), seconds, ())
        numbers, messages = np.array(ran[0]), tuple(str(message) for message in ran[1])
        loglik, residual_variance, converged, seconds = numbers[:4].tolist()
        p = len(self._back)
        factors, rest = self._shape.factors(numbers[4:]), numbers[4 + self._shape.m :]
        fixed, unscaled = rest[:p], rest[p:].reshape(p, p)
        covariances = []
        for i, back in self._places:
            half = back @ factors[i]
            covariances.append(residual_variance * (half @ half.T))
        spread = residual_variance * (self._back @ unscaled @ self._back.T)
        return Replicate(
            "lme4",
            self._settings,
            loglik + self._shift,
            Parameters(self._back @ fixed, tuple(covariances), residual_variance),
            np.sqrt(np.diag(spread)),
            bool(converged),
            seconds,
            None,
            messages,
        )
