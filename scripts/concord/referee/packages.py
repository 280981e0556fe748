"""Which packages are held to the cases: the parties and the guests, those that are here with their versions."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

from concord import guests, versions
from concord.engines.engine import Engine, engines, parties, party
from concord.r import RError

INSTALL = {"Python": "pip install {}", "R": 'install.packages("{}")'}


def contestants() -> dict[str, Engine]:
    """The parties and all guests by name, whether they are installed or not; guests are invited."""
    guests.invite()
    return {name: engine for name, engine in engines().items() if engine.role in ("party", "guest")}


def installed() -> dict[str, str]:
    """The versions of those that are here, by engine."""
    found = {}
    for name, engine in contestants().items():
        try:
            found[name] = versions.of(engine.packages[0])
        except (PackageNotFoundError, RError):
            if name in parties():
                raise
    return found


def yardstick() -> str:
    """The engine whose seconds the others' are put beside: R's party."""
    return party("R").name


def absent() -> list[str]:
    """The guests that are not here, each with the line that installs it."""
    here = installed()
    missing = [engine for name, engine in contestants().items() if name not in here]
    return [f"{engine.title}: {INSTALL[engine.language].format(engine.packages[0])}" for engine in missing]
