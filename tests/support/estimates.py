"""Fits and optima with other estimates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any


def changed(given: Any, **values: Any) -> Any:
    """With other values of its parameters (`fixed`, `covariances`, `residual_variance`) or of its fields."""
    own = {name: values.pop(name) for name in ("fixed", "covariances", "residual_variance") if name in values}
    return replace(given, parameters=replace(given.parameters, **own), **values)
