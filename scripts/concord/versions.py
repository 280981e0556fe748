"""Versions of everything that a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import version

import pandas as pd

from concord import r

PYTHON_PACKAGES = ("concord", "statsmodels", "numpy", "scipy", "pandas", "rpy2")
R_PACKAGES = ("lme4", "nlme", "Matrix")


def versions() -> pd.DataFrame:
    """Python, R and the packages that fit, one row each: ``name, version``."""
    rows = [("Python", platform.python_version())]
    rows += [(name, version(name)) for name in PYTHON_PACKAGES]
    rows += [("R", ".".join(r.from_r(r.call("getRversion"))[0].astype(str)))]
    for name in R_PACKAGES:
        r.package(name)
        rows.append((name, r.from_r(r.call("getNamespaceVersion", name))[0]))
    return pd.DataFrame(rows, columns=["name", "version"]).set_index("name")
