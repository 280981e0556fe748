"""What is a number in a text, and when two numbers are equal.

A number stands by itself: `-0.12`, `1e-05`, `12.5%`. What is part of a name is text: `x1`, `Evit000`, `12px`, `1.1-31`,
`3.11.2`, `2026-11-28`, `17:12:07.5`, a hash. Text is compared exactly, so no tolerance makes two dates equal.
"""

from __future__ import annotations

import re
from decimal import Decimal

RTOL, ATOL = 1e-6, 0.0

SIGN = "[-+\N{MINUS SIGN}]"
# One number, wherever it stands: a path in SVG writes them without anything between
BARE = rf"{SIGN}?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]{{1,3}})?"
# A number that stands by itself. (?x) is the caller's
NUMBER = rf"""
    (?<! [\w.] ) (?<! \w[-+/\N{{MINUS SIGN}}] ) (?<! [0-9]: )  # not inside x1, 1.1-31, 3.11.2, 2026/08/01, 17:12:07.5
    {SIGN}?
    (?: [0-9]+ \. [0-9]* [eE] [-+]? [0-9]{{1,3}}  # 1.2e-05 and numpy's 1.e-12
      | [0-9] [eE] [-+]? [0-9]{{1,3}}             # 1e-05; not 4512e06, which is no way to print a number but a hash
      | [0-9]* \. [0-9]+
      | [0-9]+ \. (?= [ ]*[],] | [ ]+[-+]?\.?[0-9] )   # numpy's [1. 2.]; not the end of a sentence
      | [0-9]+
    )
    (?! \w ) (?! \.\w ) (?! [-+:/]\w )            # nor 12px, 4601:Time, 1.5.csv, 1.1-31
"""
# Python's and numpy's 1.5-2j, 1.+0.j, 2j; R's 1.5-2i. Its two parts are two numbers
COMPLEX = rf"""
    (?<! [\w.] ) (?<! \w[-+/\N{{MINUS SIGN}}] )
    (?: (?P<real> {BARE} ) (?P<imaginary> (?= {SIGN} ) {BARE} ) | (?P<alone> {BARE} ) )
    (?P<unit> [ij] ) (?! \w )
"""
_SIGNS = "-+\N{MINUS SIGN}"
_WHOLE = re.compile(rf"{SIGN}?[0-9]+\.?")


def decimal(text: str) -> Decimal:
    """The number that `text` spells, exactly."""
    return Decimal(text.replace("\N{MINUS SIGN}", "-"))


def number_difference(old: str, new: str, rtol: float = RTOL, atol: float = ATOL) -> str | None:
    """In a sentence how `new` differs from `old`; None if |new - old| <= atol + rtol * |old|.

    - Decimals, not floats, so that 0.1234 and 0.1235 are exactly 0.0001 apart.
    - Two whole numbers, with neither point nor exponent, are counts, years, codes: they must be equal, as within rtol
      1000000 rows and 1000001 would agree. `1` and `0.9999999` are two spellings of a real number, as R prints them.
    - `-0.0` equals `0.0`. To any other zero nothing but zero is equal unless `atol` allows it: with an absolute
      tolerance by default, no matter how small, all p-values below it would be equal.
    - No unit in the last printed place is given away: where 0.1235 may become 0.1234, `atol` has to say so.
    """
    if old == new:
        return None
    was, now = decimal(old), decimal(new)
    if _WHOLE.fullmatch(old) and _WHOLE.fullmatch(new):
        same = was == now and old.lstrip(_SIGNS) == new.lstrip(_SIGNS)
        return None if same else f"{old} became {new}: whole numbers must be equal"
    off, allowed = abs(now - was), Decimal(str(atol)) + Decimal(str(rtol)) * abs(was)
    if off <= allowed:
        return None
    relative = f"relative {_short(off / abs(was))}, " if was else ""
    limit = f"{atol:g} + {rtol:g} x |{old}|" if atol else f"{rtol:g} x |{old}|"
    return f"{old} became {new}: off by {_short(off)}, {relative}allowed {_short(allowed)} = {limit}"


def _short(number: Decimal) -> str:
    """Three digits, also where a float has no room for the exponent."""
    shown = f"{number:.3g}"
    return f"{float(shown):g}" if number == 0 or abs(number.adjusted()) < 300 else shown
