"""Concord: do statsmodels and lme4 agree on this mixed model, and if not, which one is right?"""

from __future__ import annotations

from typing import Any

__all__ = ["Inquiry", "compare_formula"]


def __getattr__(name: str) -> Any:
    # Not imported before it is asked for: a command that needs no engine answers at once.
    if name in __all__:
        from concord import inquiry

        return getattr(inquiry, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
