"""Answers of engines kept in a folder, so that a comparison which was interrupted goes on where it was.

Each is kept under a digest of all that it is about: table, formula, method, engine, settings, and the versions of all
that it depends on. The package's own result is not kept; what is asked of it later fits the model again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord.engines.answers import Absence, Answer
from concord.engines.fit import Attempt, Fit
from concord.files import write
from concord.models.model import Model
from concord.models.parameters import Parameters
from concord.processes.worker import WorkerStopped

_PLAIN = ("settings", "engine", "stated_loglik", "converged", "seconds", "call", "shift", "violation")


class Kept:
    """A folder of answers.

    Parameters
    ----------
    folder : made when the first answer is kept; None: nothing is kept, and nothing found
    versions : of all that answers depend on, by name
    """

    def __init__(self, folder: Path | None, versions: Callable[[], dict[str, str]]) -> None:
        self.folder, self._versions = folder, cache(versions)

    def answer(self, model: Model, fingerprint: str, limit: float | None, anew: Callable[[], Answer]) -> Answer | None:
        """The answer to a question, if there is one.

        Parameters
        ----------
        model : what was asked about
        fingerprint : of the question, as `concord.engines.remote.fingerprint` has it
        limit : seconds that a fit may take: that one was stopped after others says nothing
        anew : asks the question again, where the package's own result is wanted
        """
        if self.folder is None:
            return None
        # One that was half written, or by another version of this file, is no answer.
        with suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads(self._file(fingerprint).read_text(encoding="utf-8"))
            if said["about"] != self._about(fingerprint):
                return None
            if "kind" in said:
                return Absence(model, kind="stopped", **said["rest"]) if said["limit"] == limit else None
            return _fit(model, said, anew)
        return None

    def keep(self, answer: Answer, fingerprint: str, limit: float | None) -> None:
        """Keep a fit, or that there was none in the time that it had; what failed otherwise may do better next time."""
        if self.folder is None:
            return
        said: dict[str, Any] = {"about": self._about(fingerprint)}
        if isinstance(answer, Fit):
            said |= {name: getattr(answer, name) for name in _PLAIN}
            said |= {"messages": list(answer.messages), "attempts": [asdict(attempt) for attempt in answer.attempts]}
            joint, parameters = answer.joint_std_error, answer.parameters
            said |= {"std_error": answer.std_error.tolist(), "joint": None if joint is None else joint.tolist()}
            said["fixed"], said["residual_variance"] = parameters.fixed.tolist(), parameters.residual_variance
            said["covariances"] = [covariance.tolist() for covariance in parameters.covariances]
        elif answer.kind == "stopped" and answer.seconds == limit:
            names = ("engine", "settings", "reason", "seconds")
            said |= {"kind": answer.kind, "limit": limit, "rest": {name: getattr(answer, name) for name in names}}
        else:
            return
        write(self._file(fingerprint), json.dumps(said))

    def _file(self, fingerprint: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{self._about(fingerprint)[:32]}.json"

    def _about(self, fingerprint: str) -> str:
        return hashlib.sha256(repr((fingerprint, sorted(self._versions().items()))).encode()).hexdigest()


def _fit(model: Model, said: dict[str, Any], anew: Callable[[], Answer]) -> Fit:
    again = _Again(anew)
    covariances = tuple(np.array(covariance, float) for covariance in said["covariances"])
    return Fit(
        model,
        **{name: said[name] for name in _PLAIN},
        parameters=Parameters(np.array(said["fixed"], float), covariances, said["residual_variance"]),
        std_error=np.array(said["std_error"], float),
        joint_std_error=None if said["joint"] is None else np.array(said["joint"], float),
        messages=tuple(said["messages"]),
        attempts=tuple(Attempt(**{**one, "messages": tuple(one["messages"])}) for one in said["attempts"]),
        summarize=again.summary,
        predict=again.random_effects,
        elsewhere=again.ask,
    )


class _Again:
    """The fit made again, when something is first asked of the package's own result."""

    def __init__(self, anew: Callable[[], Answer]) -> None:
        self._anew = anew
        self._made: Fit | None = None

    @property
    def fit(self) -> Fit:
        if self._made is None:
            made = self._anew()
            if isinstance(made, Absence):
                raise WorkerStopped(f"the fit was kept, and could not be made again: {made.reason}")
            self._made = made
        return self._made

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.fit.ask(function, *arguments)

    def summary(self) -> str:
        return self.fit.summary

    def random_effects(self) -> pd.DataFrame:
        return self.fit.random_effects


@dataclass(frozen=True)
class Known:
    """A question whose answer was kept; it is asked as `concord.engines.remote.Asked` is."""

    known: Answer

    def arrived(self, timeout: float | None = None) -> bool:
        """The answer is there."""
        return True

    def answer(self, timeout: float | None = None) -> Answer:
        """The answer."""
        return self.known

    def abandon(self) -> None:
        """Nobody is at work on it."""
