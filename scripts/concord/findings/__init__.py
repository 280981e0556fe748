"""Defects and traps of the packages: what is claimed of each, its reproduction run, whether it still holds here.

No model of the catalogue is fitted here: a reproduction is a package's own code, which knows nothing of Concord.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["record", "reproduction", "section", "shelf"],
    submod_attrs={"record": ["Finding", "read"], "shelf": ["Shelf", "Unrecorded"]},
)
