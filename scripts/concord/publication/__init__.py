"""The certified models as files that every language reads, the *Concord reference data for linear mixed models*: what
is certified is written down, and nothing is solved here.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["archives", "case", "difficulty", "folder", "kinds", "numerals", "sheet"]
)
