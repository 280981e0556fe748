"""The certified optimum that every fit is held to: its record, and how it is certified anew; no fit is judged here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"certification": ["certify"], "record": ["ReferenceError"], "reference": ["Reference"]}
)
