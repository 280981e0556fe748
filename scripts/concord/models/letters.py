"""Letters that look alike: a name whose letters are not those of the column that it looks like."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

# Cyrillic, Greek and phonetic letters beside the Latin ones that most fonts draw the same way.
_LATIN = str.maketrans(
    "авеімнорстухјѕԁһԛԝӏАВЕІКМНОРСТУХЈЅԌԚԜ" + "αικνορυΑΒΕΖΗΙΚΜΝΟΡΤΥΧϲ" + "ɑɡıℓ",
    "aBeiMHopcTyxjsdhqwlABEIKMHOPCTYXJSGQW" + "aiKvopuABEZHIKMNOPTYXc" + "agil",
)


def alike(name: str, columns: Iterable[str]) -> str | None:
    """Which column a name looks like, and the first letter in which they differ, as what to say; None for no column."""
    for column in map(str, columns):
        if column != name and _drawn(column) == _drawn(name):
            mine, theirs = next(_differing(name, column))
            return f"{column!r} looks like it, but has {theirs} where this has {mine}: copy the name from the table"
    return None


def _drawn(name: str) -> str:
    """What a name looks like: without letters that nobody sees, and Latin for what looks Latin."""
    seen = (letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter) != "Cf")
    return "".join(seen).translate(_LATIN)


def _differing(name: str, column: str) -> Iterator[tuple[str, str]]:
    length = max(len(name), len(column))
    pairs = zip(name.ljust(length, "\0"), column.ljust(length, "\0"), strict=True)
    return ((_called(mine), _called(theirs)) for mine, theirs in pairs if mine != theirs)


def _called(letter: str) -> str:
    """A letter by its number and its name in Unicode."""
    return "nothing" if letter == "\0" else f"U+{ord(letter):04X} {unicodedata.name(letter, '')}".strip()
