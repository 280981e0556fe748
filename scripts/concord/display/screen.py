"""Where all that commands say passes: nothing in it is obeyed by the terminal, or by the job that reads along."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import TracebackType
from typing import IO, Any

from concord.errors import escaped

# What a bar, or a line in the place of the one before, begins with.
_PROGRESS = re.compile(r"(?:\r\x1b\[K|\r *\r?|\n*(?:\x1b\[A)+)?")
# What GitHub's runner takes for a command: at the beginning of a line, or anywhere in it.
_AT_FIRST, _ANYWHERE = re.compile(r"^(\s*):(?=:|$)"), re.compile(r"##(?=[\w-]*(?:\[|$))")


class Screen:
    """A stream of text in which what a terminal or a job would obey is written as an escape.

    Ends of lines and tabs stay; so does what a bar of progress is made of, where there is one.

    Parameters
    ----------
    stream : where it is written
    progress : whether bars are drawn on it
    """

    def __init__(self, stream: IO[str], progress: bool = False) -> None:
        self._stream, self._progress = stream, progress
        self._begun = False  # whether there is more than spaces on the line
        self._last = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, and give its length."""
        own = _PROGRESS.match(text) if self._progress else None
        head = own[0] if own else ""
        self._stream.write(head + "".join(map(self._shown, re.split(r"([\n\t])", text[len(head) :]))))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts one after the other."""
        for line in lines:
            self.write(line)

    def _shown(self, part: str) -> str:
        """A part of a line, or what parts it from the next."""
        if part in ("\n", "\t"):
            self._begun, self._last = self._begun and part == "\t", part
            return part
        part = escaped(part)
        if not self._begun:
            self._begun = bool(part.strip())
            part = _AT_FIRST.sub(r"\1\\x3a", part, count=1)
        if self._last == part[:1] == "#":
            part = f"\\x23{part[1:]}"
        self._last = part[-1:] or self._last
        return _ANYWHERE.sub(r"#\\x23", part)


@contextmanager
def screen() -> Iterator[None]:
    """Both of this process's streams are a `Screen` meanwhile, and so is, from then on, what tells of its crash."""
    sys.excepthook = _crashed
    with redirect_stdout(Screen(sys.stdout)), redirect_stderr(Screen(sys.stderr, progress=True)):
        yield


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    Screen(sys.stderr).writelines(traceback.format_exception(kind, error, trace))
