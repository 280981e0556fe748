"""Versions of everything that a result depends on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.data import version_ranges
from concord.display.media import VERSIONS_TYPE
from concord.engines.engine import engines, party
from concord.vocabulary import LANGUAGES


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
    of_python = {name: version(name) for name in (python_packages() if python is None else python)}
    of_r = {name: _in_r(name) for name in ("R", *(_r_packages() if in_r is None else in_r))}
    return {"Python": platform.python_version()} | of_python | of_r


@cache
def of(name: str) -> str:
    """The version of Python, of R, or of a package: one of Python's where there is one of that name, else of R's.

    Raises
    ------
    RError : R is missing, or no package has this name
    """
    if name == "Python":
        return platform.python_version()
    try:
        return version(name)
    except PackageNotFoundError:
        return _in_r(name)


def outside(ranges: Mapping[str, str]) -> list[str]:
    """Which versions here do not lie in the ranges of their packages, each told: ``lme4 1.1-37``."""
    return version_ranges.outside(ranges, of)


def _in_r(name: str) -> str:
    if name == "R":
        return ".".join(r.from_r(r.call("getRversion"))[0].astype(str))
    if not _is_in_r(name):
        r.package(name)  # which says what is missing
    # From its description: to load lmerTest takes two seconds.
    return str(r.from_r(r.call(r.function("utils::packageDescription"), name, fields="Version"))[0])


def _is_in_r(name: str) -> bool:
    return bool(r.from_r(r.call("system.file", package=name))[0])


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def python_packages() -> tuple[str, ...]:
    """The packages of Python that results depend on."""
    every = [engine for engine in engines().values() if engine.language == "Python"]
    fitting = [name for engine in every for name in engine.packages if engine.role != "guest" or _installed(name)]
    return ("concord", *fitting, "numpy", "scipy", "pandas", "rpy2")


def _r_packages() -> tuple[str, ...]:
    """Those that fit first."""
    every = [engine for engine in engines().values() if engine.language == "R"]
    every = [engine for engine in every if engine.role != "guest" or _is_in_r(engine.packages[0])]
    more = [name for engine in every for name in (*engine.packages[1:], *engine.companions)]
    return tuple(dict.fromkeys([*(engine.packages[0] for engine in every), *more]))


class Versions(pd.DataFrame):  # type: ignore[misc]  # pandas brings no types
    """A table of versions, which an executed notebook also carries as a record, under `VERSIONS_TYPE`."""

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame  # what is taken out of it is a table like any other

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {VERSIONS_TYPE: self["version"].to_dict()}


def versions() -> Versions:
    """Python, R, the packages that fit, and R's options while they do, one row each: ``name, version``."""
    rows = [*collect().items(), *((f"R option {name}", value) for name, value in r.options().items())]
    return Versions(pd.DataFrame(rows, columns=["name", "version"]).set_index("name"))


def made_with() -> str:
    """The sentence that belongs under verdicts: the packages that they are about, their languages, and the system."""
    packages = {language: party(language).packages[0] for language in LANGUAGES}
    told = [f"{package} {of(package)} ({language} {of(language)})" for language, package in packages.items()]
    return f"Made with {' and '.join(told)} on {_system()}."


def provenance() -> dict[str, Any]:
    """When and where: the time, the system, the machine with its processors, and what does linear algebra in Python and
    in R.
    """
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": _system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "BLAS": f"{_numpy_blas()}; R: {_r_blas()}",
    }


def _system() -> str:
    """The name that the system gives itself, such as ``Debian GNU/Linux 12 (bookworm)``."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}".strip()


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _numpy_blas() -> str:
    shown: Any = np.show_config(mode="dicts")
    blas = shown["Build Dependencies"]["blas"]
    return f"{blas['name']} {blas['version']}"


def _r_blas() -> str:
    """The file of R's BLAS, without its folder, and the version of its LAPACK."""
    library = Path(str(r.from_r(r.call("[[", r.call("extSoftVersion"), "BLAS"))[0]))
    return f"{library.resolve().name}, LAPACK {r.from_r(r.call('La_version'))[0]}"
