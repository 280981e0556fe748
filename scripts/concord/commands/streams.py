"""What is printed: to a reader who has gone, such as ``head``, nothing is, and the work goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO


class _Patient:
    """A stream whose reader may go: from then on what is printed goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._leave()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._leave()

    def _leave(self) -> None:
        """Have what still waits, and what processes print that are started later, go nowhere too."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextmanager
def patient() -> Iterator[None]:
    """Meanwhile a closed pipe ends nothing but the printing; the exit status is that of the work.

    Where a stream was closed from the start its number is taken by the null device, and not by the next file opened.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    before = sys.stdout, sys.stderr
    with ExitStack() as stack:
        streams = [stream or stack.enter_context(open(os.devnull, "w", encoding="utf-8")) for stream in before]
        try:
            sys.stdout, sys.stderr = map(_Patient, streams)
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            sys.stdout, sys.stderr = before
