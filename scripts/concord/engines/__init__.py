"""The packages that fit: one folder each, with all that is asked of that package; no engine knows another."""

import os
from typing import Any

import lazy_loader

# Folders with more engines, each one imported as if it stood beside the others.
__path__ += [each for each in os.environ.get("CONCORD_ENGINES", "").split(os.pathsep) if each]

_handed_out, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["lme4", "nlme", "statsmodels"],
    submod_attrs={
        "answers": ["Absence", "Answer", "answer"],
        "engine": ["CannotExpress", "Engine", "EngineError", "arbiters", "engines", "parties"],
        "fit": ["Attempt", "Fit"],
    },
)


def __getattr__(name: str) -> Any:
    # The name that statsmodels' engine had, and has in people's code.
    return _handed_out("statsmodels" if name == "mixedlm" else name)
