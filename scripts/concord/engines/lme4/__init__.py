"""lme4, by R: one party of every comparison."""

import lazy_loader

name, title, language, role = "lme4", "lme4", "R", "party"
settings = ("default", "tuned")
packages, companions = ("lme4", "Matrix"), ("lmerTest", "pbkrtest")
preload = (f"{__name__}.engine",)
orthogonal, inverts, sweep = False, False, 40

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["statements"],
    submod_attrs={
        "explanation": ["calls", "explained"],
        "engine": ["call", "fit", "fit_by", "fit_remedy", "from_native", "imports", "optimizers", "remedies"],
        "refit": ["refitters"],
    },
)
