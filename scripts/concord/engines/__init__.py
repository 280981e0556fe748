"""The packages that fit: one folder each, with all that is asked of that package; no engine knows another."""

import os
from typing import Any

import lazy_loader

# Folders with more engines, each one imported as if it stood beside the others.
__path__ += [each for each in os.environ.get("CONCORD_ENGINES", "").split(os.pathsep) if each]

FORMERLY = {"mixedlm": "statsmodels"}
"""The names that engines had, and have in files and in people's code."""

_handed_out, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["lme4", "nlme", "statsmodels"],
    submod_attrs={
        "answers": ["Absence", "Answer", "answer"],
        "engine": ["CannotExpress", "Engine", "EngineError", "engines", "parties"],
        "fit": ["Attempt", "Fit"],
    },
)


def __getattr__(name: str) -> Any:
    return _handed_out(FORMERLY.get(name, name))
