"""Versions of everything that a result depends on."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import version

import pandas as pd

from concord import r
from concord.engines.engine import engines


def collect(python: Iterable[str] | None = None, in_r: Iterable[str] | None = None) -> dict[str, str]:
    """The versions of Python and R and of packages of each, by name.

    Parameters
    ----------
    python, in_r : the packages; by default all that the engines' fits and statements depend on

    Raises
    ------
    RError : R or one of its packages is missing
    PackageNotFoundError : one of Python's is
    """
    by_name = {"Python": platform.python_version()} | {
        name: version(name) for name in (python_packages() if python is None else python)
    }
    by_name["R"] = ".".join(r.from_r(r.call("getRversion"))[0].astype(str))
    for name in _r_packages() if in_r is None else in_r:
        if not r.from_r(r.call("system.file", package=name))[0]:
            r.package(name)  # which says what is missing
        # From its description: to load lmerTest takes two seconds.
        by_name[name] = str(r.from_r(r.call(r.function("utils::packageDescription"), name, fields="Version"))[0])
    return by_name


def python_packages() -> tuple[str, ...]:
    """The packages of Python that results depend on."""
    fitting = [name for engine in engines().values() if engine.language == "Python" for name in engine.packages]
    return ("concord", *fitting, "numpy", "scipy", "pandas", "rpy2")


def _r_packages() -> tuple[str, ...]:
    """Those that fit first."""
    every = [engine for engine in engines().values() if engine.language == "R"]
    more = [name for engine in every for name in (*engine.packages[1:], *engine.companions)]
    return tuple(dict.fromkeys([*(engine.packages[0] for engine in every), *more]))


def versions() -> pd.DataFrame:
    """Python, R, the packages that fit, and R's options while they do, one row each: ``name, version``."""
    rows = [*collect().items(), *((f"R option {name}", value) for name, value in r.options().items())]
    return pd.DataFrame(rows, columns=["name", "version"]).set_index("name")
