"""Letters that look alike: a name, or a level, whose letters are not those of the one that it looks like."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Literal

# Cyrillic, Greek and phonetic letters beside the Latin ones that most fonts draw the same way.
_LATIN = str.maketrans(
    "авеімнорстухјѕԁһԛԝӏАВЕІКМНОРСТУХЈЅԌԚԜ" + "αικνορυΑΒΕΖΗΙΚΜΝΟΡΤΥΧϲ" + "ɑɡıℓ",
    "aBeiMHopcTyxjsdhqwlABEIKMHOPCTYXJSGQW" + "aiKvopuABEZHIKMNOPTYXc" + "agil",
)


def alike(name: str, columns: Iterable[str]) -> str | None:
    """Which column a name looks like, and the first letter in which they differ, as what to say; None for no column."""
    for column in map(str, columns):
        if column != name and drawn(column) == drawn(name):
            mine, theirs = differing(name, column)
            return f"{column!r} looks like it, but has {theirs} where this has {mine}: copy the name from the table"
    return None


def drawn(name: str, form: Literal["NFC", "NFKC"] = "NFKC") -> str:
    """What a name looks like: without letters that nobody sees, and Latin for what looks Latin.

    Parameters
    ----------
    form : Unicode's normal form; by NFC a raised digit is not the digit
    """
    seen = (letter for letter in unicodedata.normalize(form, name) if unicodedata.category(letter) != "Cf")
    return "".join(seen).translate(_LATIN)


def differing(name: str, other: str) -> tuple[str, str]:
    """The first letters in which two names differ, by their numbers and their names in Unicode."""
    length = max(len(name), len(other))
    pairs = zip(name.ljust(length, "\0"), other.ljust(length, "\0"), strict=True)
    return next((_called(mine), _called(theirs)) for mine, theirs in pairs if mine != theirs)


def _called(letter: str) -> str:
    return "nothing" if letter == "\0" else f"U+{ord(letter):04X} {unicodedata.name(letter, '')}".strip()
