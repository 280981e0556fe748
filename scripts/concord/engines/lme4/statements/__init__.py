"""What lme4 says of a fit beyond the estimates, and lmerTest and pbkrtest of the same fit: a module a subject."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "confidence": ["intervals", "own_profile", "profiles", "spline_ends"],
        "optimum": ["checks", "criteria"],
        "random_effects": ["predictions"],
        "refits": ["anova", "influence"],
        "standard_errors": ["uncertainty"],
    },
)
