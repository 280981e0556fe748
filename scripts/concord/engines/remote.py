"""Engines in processes of their own: what each is asked of a model, what it answers, and its fits, which stay there.

A question has a fingerprint of all that it is about. The engine's process works it out from what it has received, and
sends it with the answer; one that is not the fingerprint of the question is not taken. A fit is known by its process
and by the number of the question that it answers, which no other question of this process has.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import pandas as pd

from concord import r
from concord.engines.answers import Absence, Answer, answer
from concord.engines.engine import EngineError, engines, load_r, title
from concord.engines.fit import Fit
from concord.models.model import Model
from concord.processes.worker import Question, Worker, WorkerStopped, number, uninterrupted

# What of a fit cannot be carried to another process.
_LEFT = {"model", "native", "summarize", "predict", "elsewhere"}

# Every engine has a process of its own: one that is stopped takes no other one's fits with it. Beside it, for what is
# only tried, it has another one while that lasts: its end leaves the fits that are kept where they are.
_workers: dict[tuple[str, bool], Worker] = {}


class StrayAnswer(RuntimeError):
    """An answer does not belong to the question: it is about another table, formula, method or settings."""


class Asked:
    """A question to an engine: what it makes of a model.

    Parameters
    ----------
    model : what is to be fitted
    engine : its name
    settings : ``default``, ``tuned`` or one of its remedies
    table : `table_digest` of the model's table, as it was when the model's design was made
    beside : whether it is only tried, in the engine's second process; see `stop_trials`

    Raises
    ------
    RError : R or the engine's package is missing
    """

    def __init__(self, model: Model, engine: str, settings: str, table: str, beside: bool = False) -> None:
        self.model, self.engine, self.settings, self.beside = model, engine, settings, beside
        self.fingerprint = fingerprint(model, engine, settings, table)
        self._stop: WorkerStopped | None = None
        load_r(engine)  # what is missing is said here, and not by the engine's process
        self._question = self._sent()

    def _sent(self) -> Question | None:
        for _ in range(2):  # a process may have died since it was seen alive; a new one that does so will not live
            try:
                return worker(self.engine, self.beside).send(_answer, self.model, self.engine, self.settings)
            except WorkerStopped as stop:
                self._stop = stop
        return None

    def answer(self, timeout: float | None = None) -> Answer:
        """Wait for the answer: a fit, or why there is none.

        Parameters
        ----------
        timeout : seconds that the engine may take, counted from when it begins; None for no limit

        Raises
        ------
        StrayAnswer : the answer is about something else; the engine's process is ended
        """
        try:
            if self._question is None:
                raise self._stop or WorkerStopped("the engine's process has ended")
            about, got = self._question.answer(timeout)
        except WorkerStopped as stop:
            seconds = timeout if stop.late and timeout is not None else float("nan")
            return Absence(self.model, self.engine, self.settings, "stopped", str(stop), seconds=seconds)
        if about != self.fingerprint:
            self._question.worker.stop("ended: it answered another question")
            raise StrayAnswer(
                f"{title(self.engine)} answered another question than the one asked: its table, formula, method or "
                "settings are others"
            )
        if isinstance(got, Absence):
            return replace(got, model=self.model)
        held = Held(self._question, about)
        return Fit(**got, model=self.model, summarize=held.summary, predict=held.random_effects, elsewhere=held.ask)

    def arrived(self, timeout: float | None = None) -> bool:
        """Whether `answer` would not wait; `timeout` as there."""
        return self._question is None or self._question.arrived(timeout)

    def abandon(self) -> None:
        """Give the question up: its answer is never taken for another one's."""
        if self._question is not None:
            self._question.abandon()


@dataclass(frozen=True)
class Held:
    """A fit that an engine's process holds.

    Attributes
    ----------
    question : what it is the answer to
    fingerprint : of what it is about
    """

    question: Question
    fingerprint: str

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the package's own result says: ``function(fit, *arguments)``, in the engine's process.

        Raises
        ------
        WorkerStopped : the process has ended, and the fit with it
        """
        try:
            return self.question.worker.run(_asked, self.question.number, self.fingerprint, function, arguments)
        except WorkerStopped as stop:
            raise WorkerStopped(f"the fit is gone with the engine's process ({stop}): compare again") from stop

    def random_effects(self) -> pd.DataFrame:
        """The random effects, as the package predicts them; raises what `ask` does."""
        return self.ask(_random_effects)

    def summary(self) -> str:
        """The package's own summary; a sentence, where the process has ended."""
        try:
            return str(self.ask(_summary))
        except WorkerStopped as stop:
            return f"no summary: {stop}"


def tried(
    engine: str, settings: str, fit: Callable[[Model], Fit], model: Model, timeout: float | None = None
) -> Answer:
    """What a function that fits makes of a model, in the engine's second process; see `stop_trials`.

    Parameters
    ----------
    engine, settings : what the answer is called
    fit : a function of a module, or a ``partial`` of one
    timeout : seconds that it may take; None for no limit
    """
    try:
        got = worker(engine, beside=True).send(_tried, fit, model).answer(timeout)
    except WorkerStopped as stop:
        return Absence(model, engine, settings, "stopped", str(stop))
    return Absence(model, engine, settings, "failed", got) if isinstance(got, str) else Fit(**got, model=model)


def worker(engine: str, beside: bool = False) -> Worker:
    """The process of one engine, or the one beside it; a new one where it has been ended or died."""
    running = _workers.get((engine, beside))
    if running is None or not running.alive:
        with uninterrupted():
            if running is not None:
                running.stop()
            begin = (_begin, engine, r.libraries())
            running = _workers[engine, beside] = Worker(engines()[engine].preload, begin)
    return running


def stop_trials() -> None:
    """End the engines' second processes, and the fits that were only tried with them."""
    for key in [key for key in _workers if key[1]]:
        _workers.pop(key).stop()


def stop_workers() -> None:
    """End the engines' processes; the next question starts new ones."""
    for running in _workers.values():
        running.stop()
    _workers.clear()


def table_digest(frame: pd.DataFrame) -> str:
    """SHA-256 of a table: the columns' names and types, the levels of factors in their order, and all values."""
    digest = hashlib.sha256()
    for name, column in frame.items():
        factor = isinstance(column.dtype, pd.CategoricalDtype)
        levels = (column.cat.categories.tolist(), column.cat.ordered) if factor else None
        digest.update(repr((name, str(column.dtype), levels)).encode())
    digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def fingerprint(model: Model, engine: str, settings: str, table: str) -> str:
    """SHA-256 of all that an answer is about: table, formula, method, engine and settings."""
    return hashlib.sha256(
        repr((table, model.record.formula, model.record.weights, model.method, engine, settings)).encode()
    ).hexdigest()


# ---- in an engine's process ------------------------------------------------------------------------------------------


def _begin(engine: str, libraries: Sequence[str]) -> None:
    """Load what the engine fits with; R's packages from where the session that asks has them."""
    if libraries:
        os.environ["R_LIBS"] = os.pathsep.join(libraries)
    load_r(engine)


_fits: dict[int, tuple[str, Fit]] = {}
"""The fits that this process has made, by the number of the question, each with the fingerprint of what it is about."""


def _answer(model: Model, engine: str, settings: str) -> tuple[str, Any]:
    """The engine's answer, in what can be carried to another process, and the fingerprint of what it is about."""
    about = fingerprint(model, engine, settings, table_digest(model.frame))
    got = answer(model, engine, settings)
    if isinstance(got, Absence):
        return about, replace(got, model=None)  # type: ignore[arg-type]  # who asked has the model, and puts it back
    _fits[number()] = about, got
    return about, {field.name: getattr(got, field.name) for field in fields(Fit) if field.name not in _LEFT}


def _tried(fit: Callable[[Model], Fit], model: Model) -> dict[str, Any] | str:
    """A fit in what can be carried to another process; or why there is none."""
    try:
        got = fit(model)
    except EngineError as error:
        return str(error)
    return {field.name: getattr(got, field.name) for field in fields(Fit) if field.name not in _LEFT}


def _asked(question: int, about: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What the package's own result of a fit says."""
    answered, fit = _fits.get(question, ("", None))
    if fit is None or answered != about:
        raise StrayAnswer("this process has made no such fit")
    return function(fit, *arguments)


def _summary(fit: Fit) -> str:
    return fit.summary


def _random_effects(fit: Fit) -> pd.DataFrame:
    return fit.random_effects
