"""What of a cell's outputs is compared with some versions of packages only, as the cell's metadata say.

    "compared_with": [{"text": "1[.]5 iterations", "versions": {"numpy": "<2.4"}, "reason": "another stopping rule"}]

With a numpy outside of the range, what matches `text` is taken out of the committed outputs and of the new ones, and
the rest is compared. Without `text` that is all that the cell shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Part:
    """A part of a cell's outputs that is compared with some versions only.

    Attributes
    ----------
    text : a regular expression for it, where ^ and $ are a line's; empty for all
    versions : by package the range of versions with which it is compared
    reason : why it is another one with others
    """

    text: str
    versions: Mapping[str, str]
    reason: str

    def __str__(self) -> str:
        ranges = ", ".join(f"{name} {given}" for name, given in self.versions.items())
        return f"{repr(self.text) if self.text else 'all output'} is compared with {ranges} only: {self.reason}"

    def without(self, content: str) -> str:
        """A content with this part of it taken out."""
        return re.sub(self.text, "", content, flags=re.MULTILINE) if self.text else content


def parts(given: Any) -> list[Part]:
    """The parts that a cell's metadata name under ``compared_with``; ValueError for what is written otherwise."""
    if not isinstance(given, list):
        raise ValueError(f"it must be a list, not {given!r}")
    return [_part(entry) for entry in given]


def _part(given: Any) -> Part:
    if not isinstance(given, dict) or not given.keys() <= {"text", "versions", "reason"}:
        raise ValueError(f"it takes text, versions and reason, not {given!r}")
    text, versions, reason = (given.get(key, "") for key in ("text", "versions", "reason"))
    if not isinstance(text, str) or not isinstance(reason, str) or not reason.strip():
        raise ValueError(f"it wants a reason, and text to be text: {given!r}")
    if not isinstance(versions, dict) or not versions:
        raise ValueError(f"it wants versions, a range by the name of each package: {given!r}")
    try:
        if text and re.search(text, ""):
            raise ValueError(f"{text!r} matches the empty text")
    except re.error as error:
        raise ValueError(f"{text!r}: {error}") from None
    return Part(text, versions, reason)


@cache
def outside(named: str) -> Callable[[Mapping[str, str]], list[str]]:
    """The function ``module:name`` that says which versions lie outside of ranges; ValueError where none is named."""
    module, _, name = named.partition(":")
    if not module or not name:
        raise ValueError("the setting nbval_versions must name a function, module:name, that knows versions")
    return getattr(import_module(module), name)
