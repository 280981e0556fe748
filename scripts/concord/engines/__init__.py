"""Engines: one short module each, with the same three functions.

``fit(model, settings)`` fits a model by one of the settings, ``from_native(native, model)`` makes a `Fit` of what the
package itself returned, and ``SETTINGS`` lists the settings. Every module in this folder with a function ``fit`` is an
engine; the contract tests find it here.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


class EngineError(RuntimeError):
    """An engine could not fit a model, or gave nothing that can be used; the message says which and why."""


def engines() -> dict[str, ModuleType]:
    """All engines by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "fit")}
