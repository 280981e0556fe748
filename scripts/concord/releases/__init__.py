"""The catalogue's fits by several releases of what fits, read and put side by side; nothing is fitted here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["changes", "results"], submod_attrs={"results": ["Results", "brought", "joined", "read"]}
)
