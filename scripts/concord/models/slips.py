"""Slips of the pen: a text among numbers makes a whole column one of levels, a blank, a capital or a letter of another
alphabet makes two levels of one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set

import numpy as np

from concord.arrays import Integers, Mask
from concord.data.columns import LEVELS, Column, PreparationError, counted, row_of
from concord.models import letters

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WITH_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+")
# So many different numbers are no names of levels; nor are fewer, where hardly one comes twice.
MANY = 10
# A text in fewer than one row of so many is no level that somebody gave a name to.
RARE = 20


def found(name: str, column: Column, uses: Set[str], rows: Integers, told: str = "") -> list[str]:
    """What to say of the texts in a column that has numbers otherwise, where they are few enough to be levels.

    Parameters
    ----------
    column : complete, in the rows that are used
    uses : ``response``, ``predictor``, ``group`` and ``weight``, whichever the formula makes of it
    rows : where each row was in the table that was given, counted from 0
    told : what its file's reader says of it, with the line

    Raises
    ------
    PreparationError : the column must have numbers, or has so many that it is meant to
    """
    needed = [what for what in ("response", "weight") if what in uses]
    if column.kind != LEVELS or uses <= {"group"} or not (column.text or needed):
        return []
    number = np.array([bool(_NUMBER.fullmatch(level)) for level in column.levels], bool)
    used = np.unique(column.values)
    of_rows, different = number[column.values], int(number[used].sum())
    texts = used[~number[used]]
    if needed:
        wrong = ~of_rows if len(texts) else of_rows
        if needed == ["weight"]:
            value = column.levels[column.values[np.flatnonzero(wrong)[0]]]
            raise PreparationError(
                f"the weights {name!r} are not numbers, but such as {value!r} in {row_of(rows, wrong)}: name a column "
                "of numbers, or correct it"
            )
        raise PreparationError(f"the response {name!r} {_told(column, wrong, rows, told)}")
    commas = [level for level in (column.levels[code] for code in used) if _WITH_COMMA.fullmatch(level)]
    if len(commas) > len(used) / 2:
        raise PreparationError(
            f"column {name!r} has numbers with a decimal comma, such as {commas[0]!r}: write them with a point, or "
            "part the fields by semicolons, where commas are read so"
        )
    if not len(texts) or different <= len(texts):
        return []
    rare = (~of_rows).sum() * RARE < len(rows)
    if rare or different > MANY or different > of_rows.sum() / 2:
        raise PreparationError(
            f"column {name!r} {_told(column, ~of_rows, rows, told)}; or write factor({name}) if its values are names"
        )
    if told:
        return []
    first = column.levels[column.values[np.flatnonzero(~of_rows)[0]]]
    return [
        f"{name}: numbers but for {counted(int((~of_rows).sum()), 'row')}, the first {first!r} in "
        f"{row_of(rows, ~of_rows)}: taken for a factor of {len(used)} levels"
    ]


def alike(name: str, column: Column) -> list[str]:
    """What to say of levels that are two only because of blanks, capitals or letters that look alike.

    Parameters
    ----------
    column : complete, in the rows that are used
    """
    if column.kind != LEVELS:
        return []
    used = [column.levels[code] for code in np.unique(column.values)]
    plain = {level: " ".join(level.split()).casefold() for level in used}
    said = []
    if twins := _twins(plain):
        *first, last = map(repr, twins[0][:3])
        shown = f"{', '.join(first)} and {last} differ in blanks or capitals only{_and_others(twins)}"
        said.append(f"{name}: {shown}: they stay apart; write them alike to merge them")
    # One of each kind, as the others of it have been told
    seen = {each: letters.drawn(each, "NFC").casefold() for each in dict.fromkeys(plain.values())}
    if twins := _twins(seen):
        one, other = (next(level for level in used if plain[level] == each) for each in twins[0][:2])
        mine, theirs = letters.differing(one, other)
        shown = f"{one!r} and {other!r} look alike, but have {mine} and {theirs}{_and_others(twins)}"
        said.append(f"{name}: {shown}: they stay apart; write them alike to merge them")
    return said


def _twins(written: Mapping[str, str]) -> list[list[str]]:
    """The texts that are written, or drawn, the same way, where there is more than one."""
    groups: dict[str, list[str]] = {}
    for text, key in written.items():
        groups.setdefault(key, []).append(text)
    return [group for group in groups.values() if len(group) > 1]


def _and_others(twins: list[list[str]]) -> str:
    return {1: "", 2: ", and so does 1 other pair"}.get(len(twins), f", and so do {len(twins) - 1} other pairs")


def _told(column: Column, wrong: Mask, rows: Integers, told: str) -> str:
    value = column.levels[column.values[np.flatnonzero(wrong)[0]]]
    few = f" in {counted(int(wrong.sum()), 'row')}" if 1 < wrong.sum() < len(wrong) else ""
    line = re.search(r"on (line \d+)$", told)
    place = row_of(rows, wrong) + (f" ({line[1]})" if line else "")
    return f"is not a number{few}: {place} has {value!r}; correct it, or leave it empty if it is missing"
