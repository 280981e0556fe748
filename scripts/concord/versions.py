"""Versions of everything that a result depends on."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import version

import pandas as pd

from concord import r

PYTHON_PACKAGES = ("concord", "statsmodels", "numpy", "scipy", "pandas", "rpy2")
R_PACKAGES = ("lme4", "nlme", "Matrix", "lmerTest", "pbkrtest")


def collect(python: Iterable[str] = PYTHON_PACKAGES, in_r: Iterable[str] = R_PACKAGES) -> dict[str, str]:
    """The versions of Python and R and of packages of each, by name.

    Raises
    ------
    RError : R or one of its packages is missing
    PackageNotFoundError : one of Python's is
    """
    found = {"Python": platform.python_version()} | {name: version(name) for name in python}
    found["R"] = ".".join(r.from_r(r.call("getRversion"))[0].astype(str))
    for name in in_r:
        if not r.from_r(r.call("system.file", package=name))[0]:
            r.package(name)  # which says what is missing
        # From its description: to load lmerTest takes two seconds.
        found[name] = str(r.from_r(r.call(r.function("utils::packageDescription"), name, fields="Version"))[0])
    return found


def versions() -> pd.DataFrame:
    """Python, R, the packages that fit, and R's options while they do, one row each: ``name, version``."""
    rows = [*collect().items(), *((f"R option {name}", value) for name, value in r.options().items())]
    return pd.DataFrame(rows, columns=["name", "version"]).set_index("name")
