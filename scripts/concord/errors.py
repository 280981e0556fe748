"""The base of every "cannot be used": from it follows exit status 2."""

from __future__ import annotations


class InputError(ValueError):
    """A request that cannot be met, in one line: what, where, what to do."""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def shorten(text: str, limit: int = 300) -> str:
    """The lines of a message as one, of at most this many characters."""
    line = " / ".join(_one_line(line) for line in text.splitlines() if line.strip())
    return line if len(line) <= limit else line[: limit - 1] + "…"
