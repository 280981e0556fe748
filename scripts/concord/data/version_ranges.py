"""Ranges of versions, of packages in Python and in R: what holds with some versions of a package and not with others.

A range is one clause or several with commas between, all of which hold: ``<1.1-37``, ``>=0.14, <0.15``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt, ne

from packaging.version import InvalidVersion, Version

_COMPARISONS = {"<=": le, ">=": ge, "==": eq, "!=": ne, "<": lt, ">": gt}
_CLAUSE = re.compile(rf"({'|'.join(_COMPARISONS)})(.+)")


def ordered(version: str) -> Version:
    """A version, to be compared: R's ``1.1-37``, where ``-`` parts as ``.`` does, as Python's ``1.1.37``; and of a
    Python that was built from its repository, ``3.14.0+``, without the ``+``.

    Raises
    ------
    ValueError : it is no version
    """
    try:
        return Version(version.strip().replace("-", ".").removesuffix("+"))
    except InvalidVersion:
        raise ValueError(f"{version!r} is no version") from None


def contains(range_: str, version: str) -> bool:
    """Whether a version lies in a range. All are in one order: ``0.15.0rc1`` is in ``<0.15.0``.

    Raises
    ------
    ValueError : it is no range, or no version
    """
    clauses = [_CLAUSE.fullmatch(text.strip()) for text in range_.split(",")]
    if None in clauses:
        raise ValueError(f"{range_!r} is no range of versions, such as '>=1.1-31, <1.1-37'")
    held = [_COMPARISONS[clause[1]](ordered(version), ordered(clause[2])) for clause in clauses if clause]
    return all(held)


def outside(ranges: Mapping[str, str], version_of: Callable[[str], str]) -> list[str]:
    """Which versions do not lie in the ranges of their packages, each told: ``lme4 1.1-37``."""
    versions = {name: version_of(name) for name in ranges}
    return [f"{name} {versions[name]}" for name, range_ in ranges.items() if not contains(range_, versions[name])]
