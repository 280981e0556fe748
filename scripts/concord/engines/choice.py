"""The choice of engines for one model: which are asked, and of which it can be told beforehand that they take long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from concord.engines.engine import CannotExpress, engines, title
from concord.models.model import Model, ModelError
from concord.processes.memory import available

# Seconds; one that takes no longer is nothing to speak of.
LONG = 30.0


def chosen(names: Sequence[str] | None) -> list[str]:
    """The engines with these names, all where there are none, in the order of `engines`.

    Raises
    ------
    ModelError : there is no such engine
    """
    if names is None:
        return list(engines())
    wanted = set(names)
    if not wanted or not wanted.issubset(engines()):
        unknown = ", ".join(sorted(wanted.difference(engines()))) or "none at all"
        raise ModelError(f"engine {unknown}: it is one of {', '.join(engines())}")
    return [name for name in engines() if name in wanted]


def slow(model: Model, names: Sequence[str], limit: float | None) -> Iterator[str]:
    """A sentence for each of the engines whose default fit will take long. One that cannot even begin says so itself.

    Parameters
    ----------
    limit : seconds after which a fit is stopped; None for none
    """
    for name in names:
        demand = getattr(engines()[name], "demand", None)
        with suppress(CannotExpress):
            if demand and (needed := demand(model)).seconds > LONG and not needed.refusal(available()):
                others = " ".join(f"--engine {other}" for other in names if other != name)
                stopped = f", and is stopped after {limit:g} s" if limit is not None and needed.seconds > limit else ""
                left_out = f"; to leave it out: {others}" if others else ""
                yield f"{needed.told(title(name))}{stopped}{left_out}."
