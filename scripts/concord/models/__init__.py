"""A formula on a table becomes a design; no value of a parameter is estimated here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["parameters"],
    submod_attrs={"model": ["Model", "ModelError", "every", "get"], "parameters": ["Parameters"]},
)
