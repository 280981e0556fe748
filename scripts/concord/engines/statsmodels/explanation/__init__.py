"""What a call of MixedLM fits, as an lme4 formula: read from its text, its arguments or its objects, and never run."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"difference": ["misplaced"], "given": ["calls", "explained"]}
)
