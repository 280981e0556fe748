"""nlme, by R: the arbiter where the parties differ."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"engine": ["SETTINGS", "call", "fit", "from_native"]}
)
