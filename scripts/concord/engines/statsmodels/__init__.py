"""statsmodels' MixedLM: one party of every comparison; not the package `mixedlm` of PyPI."""

import lazy_loader

name, title, language, role = "statsmodels", "MixedLM (statsmodels)", "Python", "party"
settings = ("default", "tuned")
packages, companions = ("statsmodels",), ()
preload = ("statsmodels.formula.api", f"{__name__}.engine")
orthogonal, inverts, sweep = False, True, 15

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["statements", "upstream"],
    submod_attrs={
        "demand": ["demand"],
        "engine": ["call", "fit", "fit_by", "fit_remedy", "from_native", "imports", "optimizers", "remedies"],
        "explanation": ["calls", "explained", "misplaced"],
        "refit": ["refitters"],
    },
)
