"""Two JSON values, as a notebook has them: numbers within a tolerance, texts as texts, and the rest as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from typing import Any

from nbval_tolerance import texts
from nbval_tolerance.numbers import ATOL, RTOL, number_difference


def differences(old: Any, new: Any, rtol: float = RTOL, atol: float = ATOL) -> list[str]:
    """What makes `new` another value than `old`, one sentence each, with the place as a path; empty when they agree.

    - The order of an object's keys means nothing, and that of a list does.
    - Two whole numbers must be equal. `1` and `1.0` are: JavaScript, and so a notebook that JupyterLab saved, has no
      `1.0`. `true` is not a number.
    - `NaN` and `Infinity` are equal to themselves and to nothing else.
    - A text is compared as a text: within it, too, numbers have the tolerance.
    """
    return list(_walk("$", old, new, rtol, atol))


def _walk(place: str, old: Any, new: Any, rtol: float, atol: float) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from (f"{place}.{key} is gone" for key in old.keys() - new.keys())
        yield from (f"{place}.{key} is new" for key in new.keys() - old.keys())
        for key in (key for key in old if key in new):
            yield from _walk(f"{place}.{key}", old[key], new[key], rtol, atol)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{place}: {len(old)} items became {len(new)}"
        for i, (a, b) in enumerate(zip(old, new, strict=False)):
            yield from _walk(f"{place}[{i}]", a, b, rtol, atol)
    elif isinstance(old, str) and isinstance(new, str):
        yield from (f"{place}, {sentence}" for sentence in texts.differences(old, new, rtol, atol))
    elif _is_finite(old) and _is_finite(new):
        if breach := number_difference(repr(old), repr(new), rtol, atol):
            yield f"{place}: {breach}"
    elif json.dumps(old) != json.dumps(new):
        yield f"{place}: {json.dumps(old)} became {json.dumps(new)}"


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
