"""What every reader of a table shares: its error, its notes and the names that it accepts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from concord.errors import InputError

DECIMALS = "decimals"
"""Key of ``frame.attrs``: the names of the columns whose doubles are those of printed decimals."""
NUMERALS = "numerals"
"""Key of ``frame.attrs``: the names of the columns of text that could be numbers, such as ids with leading zeros."""
BESIDE = "beside"
"""Key of ``frame.attrs``: the names of the columns of the table that was given which are not in this one."""
GIVEN = "given"
"""Key of ``frame.attrs``: of columns whose levels' names are not what stands in the table, what does, by the name: as
pandas writes it and as R does."""
INDEXED = "indexed"
"""Key of ``frame.attrs``: the names of the columns that pandas, reading the same file, has as the table's index."""
MENDED = "mended"
"""Key of ``frame.attrs``: of columns whose values pandas has as objects, ``bool`` or ``float``, which they are."""
NOTES = "notes"
"""Key of ``frame.attrs``: what to say aloud of a table, as pairs of a column (None: of the whole table) and a
sentence."""


class SourceError(InputError):
    """A file that gives no table; the message is one line: what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Unusable:
    """Stands for every value of a column that can be no variable of a formula, such as lists; `what` it holds."""

    what: str

    @classmethod
    def column(cls, what: str, length: int) -> np.ndarray:
        """A column of this length that holds nothing else."""
        values = np.empty(length, object)
        values[:] = cls(what)
        return values


def shown(name: object) -> str:
    """A path or name as it stands in a message: on one line, whatever it holds."""
    text = str(name)
    return text if text.isprintable() else repr(text)


def check_names(names: list[str], where: str) -> None:
    """Every column has a name, and no two the same.

    Raises
    ------
    SourceError : one has none, or two share one; the message counts columns from 1
    """
    first: dict[str, int] = {}
    for position, name in enumerate(names, 1):
        if not name:
            raise SourceError(f"{where}: column {position} of {len(names)} has no name: name it in the header")
        if name in first:
            raise SourceError(f"{where}: columns {first[name]} and {position} are both called {name!r}: rename one")
        first[name] = position
