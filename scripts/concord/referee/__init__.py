"""The referee: every package that fits mixed models, party or guest, held to the certified cases as it ships; which
cases those are belongs to publication, how a package is called to its engine, and what the numbers mean to the checker.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["packages", "results", "run", "tables", "trial"],
    submod_attrs={"results": ["Results", "read"], "trial": ["live"]},
)
