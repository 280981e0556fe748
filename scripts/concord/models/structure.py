"""The structure of a random term's covariance matrix, as one word: ``cs``, ``homcs``, ``ar1`` or ``homar1``."""

from __future__ import annotations


def taken_apart(structure: str) -> tuple[str, bool]:
    """The name of a random term's structure, and whether all of its variances are the same."""
    return structure.removeprefix("hom"), structure.startswith("hom")
