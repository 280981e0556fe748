"""The base of every "cannot be used": from it follows exit status 2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar


class _OneLine(Exception):
    """An exception that IPython shows as its line, with the name of its base before it: a kernel sends the name of an
    exception's own class, but not of its base.
    """

    base: ClassVar[str]

    def _render_traceback_(self) -> list[str]:
        return [f"{self.base}: {self}"]


class InputError(_OneLine, ValueError):
    """A request that cannot be met, in one line: what, where, what to do.

    The base of every error that a table, a formula, a file or an option causes.
    """

    base = "InputError"


class FootingError(_OneLine, RuntimeError):
    """What Concord stands on, as R or one of its packages, is missing or died: one line, and exit status 2."""

    base = "FootingError"


def is_one_line(traceback: Sequence[str]) -> bool:
    """Whether what a kernel sent as the traceback of an exception is that of an `InputError` or a `FootingError`."""
    bases = tuple(f"{each.base}: " for each in (InputError, FootingError))
    return len(traceback) == 1 and traceback[0].startswith(bases)


def out_of_memory(why: str = "") -> str:
    """The line for a process that could get no more memory; `why` is what it said itself."""
    # Around the one line that says it packages write pages of advice
    why = next((line for line in why.splitlines() if is_starved(line)), why)
    said = f" ({one_line(why)})" if why.strip() else ""
    return f"memory ran out{said}: close other programs, raise the limit (ulimit -v), or take a smaller table or model"


_STARVED = re.compile(r"cannot allocate|failed to map segment|bad_alloc|memory exhausted", re.IGNORECASE)


def is_starved(text: str) -> bool:
    """Whether a message, of R, of the system's loader or of a package, says that memory ran out."""
    return bool(_STARVED.search(text))


def one_line(text: str) -> str:
    """The words of a text on one line."""
    return " ".join(text.split())


def first_line(error: Exception) -> str:
    """The first line of an error's message; the name of its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def named(error: Exception) -> str:
    """An error by the name of its class and what it says, on one line."""
    return f"{type(error).__name__}: {one_line(str(error))}"


# Control characters, ends of lines, letters that nobody sees or that turn the direction of writing, and what is no
# letter at all, as the bytes of a name that is no UTF-8.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def escaped(text: str) -> str:
    """A text with all that a terminal would obey, and not show, written as an escape: ``\\x1b[31m``."""
    return _CONTROL.sub(lambda letter: letter[0].encode("unicode_escape").decode(), text)


def shorten(text: str, limit: int = 300) -> str:
    """The lines of a message as one, of at most this many characters."""
    line = " / ".join(one_line(line) for line in text.splitlines() if line.strip())
    return line if len(line) <= limit else line[: limit - 1] + "…"
