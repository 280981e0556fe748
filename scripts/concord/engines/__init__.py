"""The packages that fit: one folder each, with all that is asked of that package; no engine knows another."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["lme4", "nlme", "statsmodels"],
    submod_attrs={
        "answers": ["Absence", "Answer", "answer"],
        "engine": ["CannotExpress", "EngineError", "engines"],
        "fit": ["Attempt", "Fit"],
    },
)
