"""A shelf of the catalogue's fits: each is made once, by the process that needs it first, and kept for the next run.

A folder in `KEPT` holds the fits of one state of all that a fit depends on; what another left days ago is removed.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import pickle
import platform
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from concord import r
from concord.engines.fit import Fit
from concord.models.model import Model
from support.paths import ROOT
from support.sources import AT_START, key, sources

KEPT = ROOT / "build" / "fits"
DAY = 86400.0
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE")
# What hangs on the package's own result stays in the process that made it.
NUMBERS = [each.name for each in fields(Fit) if each.name not in ("model", "native", "summarize", "predict")]
SAID = ("summary", "random_effects")


def versions() -> list[str]:
    """Of Python's packages, R's, the machine and its libraries of linear algebra."""
    python = sorted({f"{each.name} {each.version}" for each in importlib.metadata.distributions()})
    of_r = [r.call(name) for name in ("extSoftVersion", "La_library")] + [r.call("paste", r.call("getRversion"))]
    of_r.append(r.call(r.function("utils::installed.packages")))  # each with the R that it was built by
    told = [*python, *(str(value) for vector in of_r for value in vector)]
    threads = [f"{name}={os.environ.get(name)}" for name in THREADS]
    return [*told, platform.platform(), platform.python_version(), *threads]


class Shelf:
    """A folder of fits; those beside it that nobody has used for a day are removed.

    Another run, with another key, may use one of them at this moment.
    """

    @classmethod
    def of_now(cls) -> Shelf:
        """That of the checkout, the packages and the machine as they were when this process began."""
        return cls(KEPT / key([], others=[AT_START, *versions()]), AT_START)

    def __init__(self, folder: Path, state: str | None = None) -> None:
        self.folder, self.state = folder, state
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        for other in folder.parent.iterdir():
            if other != folder and time.time() - other.stat().st_mtime > DAY:
                shutil.rmtree(other, ignore_errors=True)

    def fit(self, model: Model, name: str, make: Callable[[], Fit]) -> Fit:
        """A fit of a model without the package's own result: what that says is kept with it."""
        numbers, (summary, effects) = self.kept(name, make)
        return Fit(model=model, **numbers, summarize=lambda: summary, predict=lambda: effects.copy())

    def kept(self, name: str, make: Callable[[], Fit]) -> tuple[dict[str, object], list[object]]:
        """The numbers of a fit and what it says; not there yet, it is made while all others that want it wait."""
        with (self.folder / name).open("a+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            held.seek(0)
            with suppress(EOFError, pickle.UnpicklingError):  # nobody has made it, or not to the end
                return pickle.load(held)
            made = make()
            content = {name: getattr(made, name) for name in NUMBERS}, [getattr(made, name) for name in SAID]
            held.truncate(0)
            if self.state in (None, key(sources())):  # else the code that made it is no longer what the files say
                held.write(pickle.dumps(content))
            return content
