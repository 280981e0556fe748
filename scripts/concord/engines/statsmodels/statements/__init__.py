"""What MixedLM says of a fit beyond the estimates: a module a subject."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "confidence": ["intervals", "own_profile", "ratio_profile"],
        "optimum": ["checks", "criteria"],
        "random_effects": ["predictions"],
        "standard_errors": ["uncertainty"],
    },
)
