"""JSON whose numbers are decimals as they are printed, for readers that take doubles of them and for all others."""

from __future__ import annotations

import json
from typing import Any

from flint import arb, fmpq

from concord.models.decimals import Number

DIGITS = 30
"""So many digits of a number that is no decimal, such as a third or a logarithm."""


class Numeral(str):
    """A number that stands in JSON as it is written here."""


def numeral(number: Number | float | int) -> Numeral:
    """A number in decimals: all of them where they end, or else 30 digits; a float in its shortest decimals."""
    if isinstance(number, fmpq):
        return Numeral(_decimals(int(number.p), int(number.q)) or arb(number).str(DIGITS, radius=False))
    if isinstance(number, arb):
        return Numeral(number.str(DIGITS, radius=False))
    return Numeral(repr(number))


def _decimals(p: int, q: int) -> str:
    """A fraction in decimals; empty where they do not end."""
    places, rest = 0, q
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest, power = rest // prime, power + 1
        places = max(places, power)
    if rest != 1:
        return ""
    digits = f"{abs(p) * 10**places // q:0{places + 1}d}"
    whole, part = digits[: len(digits) - places], digits[len(digits) - places :]
    return f"{'-' if p < 0 else ''}{whole}{'.' if part else ''}{part}"


def dumps(value: Any, indent: int = 0) -> str:
    """A value as JSON, a key a line and a list a line, numerals as they are written."""
    if isinstance(value, Numeral):
        return str(value)
    if isinstance(value, dict) and value:
        inner = " " * (indent + 1)
        lines = (
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {dumps(part, indent + 1)}" for key, part in value.items()
        )
        return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"
    if isinstance(value, list | tuple) and any(isinstance(part, dict) for part in value):
        inner = " " * (indent + 1)
        return "[\n" + ",\n".join(inner + dumps(part, indent + 1) for part in value) + "\n" + " " * indent + "]"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(dumps, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
