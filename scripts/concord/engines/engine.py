"""Engines: one short module each, with the same three functions.

``fit(model, settings)`` fits a model by one of the settings, ``from_native(native, model)`` makes a `Fit` of what the
package itself returned, and ``SETTINGS`` lists the settings. Every module in this folder with a function ``fit`` is an
engine; the contract tests find it here.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType


class EngineError(RuntimeError):
    """An engine could not fit a model, or gave nothing that can be used; the message says which and why."""


def engines() -> dict[str, ModuleType]:
    """All engines by name."""
    folders = [file.parent.name for file in Path(__file__).parent.glob("*/engine.py")]
    modules = {
        "mixedlm" if folder == "statsmodels" else folder: importlib.import_module(f"{__package__}.{folder}.engine")
        for folder in folders
    }
    return dict(sorted(modules.items()))


class CannotExpress(ValueError):
    """An engine has no way to write this model down.

    Attributes
    ----------
    nearest : the nearest lme4 formula that the engine can express, if there is one
    """

    def __init__(self, engine: str, what: str, nearest: str | None = None) -> None:
        super().__init__(engine, what, nearest)
        self.engine, self.what, self.nearest = engine, what, nearest

    def __str__(self) -> str:
        hint = f"; the nearest that it can is {self.nearest}" if self.nearest else ""
        return f"{self.engine} cannot express {self.what}{hint}"
