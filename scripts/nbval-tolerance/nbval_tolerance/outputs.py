"""Which output is compared by what: the rule for each media type, and where in a notebook's outputs they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from nbformat import NotebookNode

from nbval_tolerance import data, markup, texts
from nbval_tolerance.numbers import ATOL, RTOL

PICTURES = ("image/png", "image/jpeg")
# What is text although its type does not begin so; a stream goes by its name, the message of an error by its key
_TEXTS = {"stdout", "stderr", "evalue", "application/javascript"}
_MARKUP = {"text/html", "image/svg+xml"}


def differences(kind: str, old: Any, new: Any, rtol: float = RTOL, atol: float = ATOL) -> list[str]:
    """What makes one output of a media type (or of a stream) another than the committed one; empty when they agree."""
    if not isinstance(old, str) or not isinstance(new, str):
        return data.differences(old, new, rtol, atol)
    if kind in _MARKUP or kind.endswith("+xml"):
        return markup.differences(old, new, rtol, atol)
    if kind in _TEXTS or kind.startswith("text/") or kind.endswith(("/json", "+json")):
        return texts.differences(old, new, rtol, atol)
    return [] if old == new else ["another content, of a type that is compared exactly"]


def by_kind(outputs: Iterable[NotebookNode]) -> dict[str, list[tuple[NotebookNode, str]]]:
    """Media type or stream name -> where each of its contents is, in order: nbval's own pairing."""
    places: dict[str, list[tuple[NotebookNode, str]]] = defaultdict(list)
    for output in outputs:
        if output.output_type == "stream":
            places[output.name].append((output, "text"))
        elif output.output_type == "error":
            places["evalue"].append((output, "evalue"))
        for kind in output.get("data", {}):
            places[kind].append((output["data"], kind))
    return places
