"""The packages that fit: one folder each, with all that is asked of that package; no engine knows another."""

import os
import pkgutil
from typing import Any

import lazy_loader

FOLDERS = "CONCORD_ENGINES"
"""The environment variable that lists folders with more engines."""

FORMERLY = {"mixedlm": "statsmodels"}
"""The names that engines had, and have in files and in people's code."""

_handed_out, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[module.name for module in pkgutil.iter_modules(__path__) if module.ispkg],
    submod_attrs={
        "answers": ["Absence", "Answer", "answer"],
        "engine": ["CannotExpress", "Engine", "EngineError", "engines", "parties"],
        "fit": ["Attempt", "Fit"],
    },
)


def span() -> list[str]:
    """The folders of the environment variable, whose engines are imported as if they stood here.

    The variable is made absolute: a process that is started later may have another working directory.
    """
    named = [os.path.abspath(folder) for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]
    if named:
        os.environ[FOLDERS] = os.pathsep.join(named)
    __path__.extend(folder for folder in dict.fromkeys(named) if folder not in __path__)
    return named


span()


def __getattr__(name: str) -> Any:
    return _handed_out(FORMERLY.get(name, name))
