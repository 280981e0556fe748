"""Confidence intervals and profiles: what packages state, and the independent ones."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[],
    submod_attrs={
        "intervals": ["IntervalError", "lines", "of", "signed_root", "table"],
        "profile_curves": ["curves", "sheet"],
    },
)
