"""Two pieces of HTML or SVG: their sources, as texts, with what a run makes up taken out.

The source is what is compared, tags and attributes with it: a number in an attribute (`value="1.5"`, `width: 33.3%`) is
a number, a name or a colour there is text. Nothing is deleted, but for an SVG file's `<metadata>`, which is about the
file: when it was made, and by which version of what.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from nbval_tolerance import texts
from nbval_tolerance.numbers import ATOL, BARE, RTOL

_ID = re.compile(r"""(?<![\w-])id\s*=\s*["']([^"'\s]+)["']""")
# What libraries make their ids unique with: a piece of a hash, a UUID, an address
_MADE_UP = re.compile(r"[0-9a-fA-F]{5,}(?:-[0-9a-fA-F]{4,})*")
_GEOMETRY = re.compile(r"""(?<![\w-])(?:d|points|transform|viewBox|width|height)\s*=\s*(?:"[^"]*"|'[^']*')""")
_BARE = re.compile(BARE)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)


def differences(old: str, new: str, rtol: float = RTOL, atol: float = ATOL) -> list[str]:
    """What makes `new` another piece of markup than `old`, one sentence each; empty when they agree."""
    if old == new:
        return []
    return texts.differences(_plain(old), _plain(with_ids_of(old, new)), rtol, atol)


def with_ids_of(old: str, new: str) -> str:
    """`new`, with each id that was made up for the run as `old` has it, wherever it is referred to.

    An id is made up when it differs from the one in its place only in runs of five or more hexadecimal digits, as in
    `T_a3f09_row0_col1` (pandas), `m3fa2b41c07` (matplotlib) or a UUID. Which element refers to which must stay: where
    one old id would stand for two new ones, two for one, or an old one is still there, nothing is renamed.
    """
    before, after = _ID.findall(old), _ID.findall(new)
    if len(before) != len(after):
        return new
    pairs = {(a, b) for a, b in zip(before, after, strict=True) if a != b}
    names = {b: a for a, b in pairs if _made_up(a, b)}
    one_for_one = len(pairs) == len(names) == len(set(names.values()))
    if not names or not one_for_one or _any_of(names.values()).search(new):
        return new
    return _any_of(names).sub(lambda match: names[match[0]], new)


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, names))})(?![\w-])")


def _made_up(one: str, other: str) -> bool:
    """Whether two ids differ in what is made up only; one of digits alone could as well be a number that is shown."""
    return not one.isdecimal() and not other.isdecimal() and _MADE_UP.split(one) == _MADE_UP.split(other)


def _plain(source: str) -> str:
    """The source without metadata, and with each number of a path or a size standing by itself: `M1.5-2`, `460.8pt`."""
    return _GEOMETRY.sub(lambda match: _BARE.sub(r" \g<0> ", match[0]), _METADATA.sub("<metadata/>", source))
