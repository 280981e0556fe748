"""Studies: responses drawn from known parameters, refitted, judged, stored and counted; the judge is agreement's."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["case", "findings", "scenarios", "store", "study"],
    submod_attrs={"case": ["Case", "cases", "made_up"]},
)
