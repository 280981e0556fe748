"""Tables, pictures and records as people and notebooks see them; nothing is computed here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["media", "picture", "records", "table", "vector"]
)
