"""Versions of everything that a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import version

import pandas as pd

from concord import r

PYTHON_PACKAGES = ("concord", "statsmodels", "numpy", "scipy", "pandas", "rpy2")
R_PACKAGES = ("lme4", "nlme", "Matrix", "lmerTest", "pbkrtest")


def versions() -> pd.DataFrame:
    """Python, R, the packages that fit, and R's options while they do, one row each: ``name, version``."""
    rows = [("Python", platform.python_version())]
    rows += [(name, version(name)) for name in PYTHON_PACKAGES]
    rows += [("R", ".".join(r.from_r(r.call("getRversion"))[0].astype(str)))]
    for name in R_PACKAGES:
        if not r.from_r(r.call("system.file", package=name))[0]:
            r.package(name)  # which says what is missing
        # From its description: to load lmerTest takes two seconds.
        rows.append((name, r.from_r(r.call(r.function("utils::packageDescription"), name, fields="Version"))[0]))
    rows += [(f"R option {name}", value) for name, value in r.options().items()]
    return pd.DataFrame(rows, columns=["name", "version"]).set_index("name")
