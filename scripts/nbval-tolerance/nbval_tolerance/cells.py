"""What a cell asks for: a tolerance of its own by a tag, or not to be compared by a comment with the reason."""

from __future__ import annotations

import re
from math import isfinite


def tolerance(kind: str, text: str) -> float:
    """The `rtol` or `atol` that `text` spells; ValueError unless finite, not negative, and for rtol below 1."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{kind}={text}: not a number") from None
    if not isfinite(value) or value < 0 or (kind == "rtol" and value >= 1):
        raise ValueError(f"{kind}={text}: must be finite, not negative, and below 1 if it is rtol")
    return value


def tolerances(tags: object, rtol: float, atol: float) -> tuple[float, float]:
    """`rtol` and `atol` as a cell's tags override them; ValueError for a tag that means to and does not."""
    if not isinstance(tags, list):
        raise ValueError(f"tags must be a list, not {tags!r}")
    given: dict[str, float] = {}
    for tag in tags:
        if re.match(r"\W*[ra]?tol", str(tag), re.IGNORECASE):
            kind, _, text = str(tag).partition("=")
            if kind not in ("rtol", "atol"):
                raise ValueError(f"{tag}: a tolerance is tagged as rtol=1e-4 or atol=1e-6")
            if kind in given:
                raise ValueError(f"{tag}: a second {kind} on one cell")
            given[kind] = tolerance(kind, text)
    return given.get("rtol", rtol), given.get("atol", atol)


def reason_not_compared(source: str) -> str | None:
    """The reason in a cell's `# not compared: <reason>`, empty if it gives none; None without such a comment.

    It counts only above the first line of code, where a reader cannot overlook it.
    """
    for line in source.splitlines():
        text = line.strip()
        if match := re.fullmatch(r"#+\s*not compared\s*:\s*(.*)", text, re.IGNORECASE):
            return match[1]
        if text and not text.startswith(("#", "%%")):
            return None
    return None
