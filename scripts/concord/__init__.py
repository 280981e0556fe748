"""Concord: do statsmodels and lme4 agree on this mixed model, and if not, which one is right?"""

from __future__ import annotations

import os
from typing import Any

# R that is started from here on, by rpy2 in this process or in one that it starts, reads no profile and no environment
# file, which would change a model without a word (options("contrasts")). Set to nothing, R does not look for its own.
os.environ.update(dict.fromkeys(("R_PROFILE", "R_PROFILE_USER", "R_ENVIRON", "R_ENVIRON_USER"), ""))

__all__ = ["Inquiry", "compare_formula"]


def __getattr__(name: str) -> Any:
    # Not imported before it is asked for: a command that needs no engine answers at once.
    if name in __all__:
        from concord import session as inquiry

        return getattr(inquiry, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
