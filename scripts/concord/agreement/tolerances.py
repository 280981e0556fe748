"""How far numbers may be apart: what ``tolerances.toml`` says, with each reason, and what follows for a model."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from concord.data.datasets import Tolerance
from concord.models.model import Model


class QuantityTolerance(Tolerance):
    """Of a quantity beyond the estimates: `rtol` and `atol` hold a package to its own definition at its own estimates;
    between packages `across` is added to `rtol`, for their estimates are not quite the same.
    """

    across: float = 0.0


@cache
def tolerances() -> Mapping[str, Mapping[str, Tolerance]]:
    """The tolerances of every quantity: of gaps for default and for tuned settings, of what fits state, and beyond."""
    content = tomllib.loads(Path(__file__).with_name("tolerances.toml").read_text(encoding="utf-8"))
    classes = {"quantities": QuantityTolerance}
    return {
        kind: {name: classes.get(kind, Tolerance)(**entry) for name, entry in table.items()}
        for kind, table in content.items()
    }


def allowed_gap(settings: str, model: Model) -> float:
    """How many log-likelihood units below the reference a fit may be; settings other than ``tuned`` are ``default``."""
    own = model.record.tolerance.get("loglik")
    allowed = own or tolerances()["tuned" if settings == "tuned" else "default"]["loglik"]
    return allowed.atol + allowed.rtol * len(model.design.y)


def of_stated(quantity: str, model: Model) -> Tolerance:
    """How far what a fit states may be from what holds at its own estimates: ``loglik``, ``std_error``, or
    ``singular_std_error`` where a covariance matrix is singular.
    """
    own = model.record.tolerance.get("std_error") if quantity.endswith("std_error") else None
    return own or tolerances()["stated"][quantity]
