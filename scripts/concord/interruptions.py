"""Interruptions: Ctrl-C, or a polite kill, reaches whoever is at work, wherever Python was when it came.

What a signal's handler raises in a finalizer, in a callback of a weak reference or in one of C can be raised to nobody:
Python only writes that it is ignored, and goes on. rpy2 frees every object of R in a finalizer, and R calls back.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

DELAY = 0.001
"""Seconds after which one that was lost comes again: by then Python is mostly where it can be raised."""

TWICE = 2.0
"""Seconds in which another one says what the first one said, and does not disturb what that has begun to tidy."""
POLITE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that interrupt: Ctrl-C, a polite kill, the end of the terminal."""
STATUS = 130
"""The exit status of what was interrupted."""

_lost: list[None] = []
_coming_again: list[None] = []
_last = float("-inf")


def interrupt(code: int, frame: Any) -> None:
    """A signal's handler: raise KeyboardInterrupt, once where it comes twice in a row."""
    global _last
    now, again = time.monotonic(), bool(_coming_again)
    _coming_again.clear()
    if again or now - _last > TWICE:
        _last = now
        raise KeyboardInterrupt


def leave(code: int, frame: Any) -> None:
    """A signal's handler: end this process at once, with a line; there is nothing yet that it would have to tidy."""
    os.write(2, b"concord: interrupted\n")
    os._exit(STATUS)


def end() -> None:
    """The work is done, or interrupted: what comes from now on ends this process only where it does not end itself."""
    global _last
    _last = time.monotonic()
    handle(_hurry)


def _hurry(code: int, frame: Any) -> None:
    if time.monotonic() - _last > TWICE:
        os._exit(STATUS)


def handle(handler: Callable[[int, Any], None]) -> None:
    """Have a handler of these for all that interrupts, but for what whoever started this process wants ignored."""
    for code in POLITE:
        if signal.getsignal(code) is not signal.SIG_IGN:
            signal.signal(code, handler)


class _Hook:
    """What Python calls with what it can raise to nobody; all but interruptions go on to the hook before."""

    def __init__(self, before: Callable[[Any], object]) -> None:
        self._before = before

    def __call__(self, ignored: Any) -> None:
        if not _is_interruption(ignored):
            self._before(ignored)
            return
        _lost.append(None)
        _thread.start_new_thread(_again, ())  # which waits for nothing that this thread may hold


def heed() -> None:
    """From now on an interruption that can be raised to nobody comes again."""
    hook = sys.unraisablehook
    if not isinstance(hook, _Hook) and not isinstance(getattr(hook, "__self__", None), Hearing):
        sys.unraisablehook = _Hook(hook)


def lost() -> bool:
    """Whether one was lost and has not come again; it is then for who asks to raise it, and does not come any more."""
    taken = bool(_lost)
    _lost.clear()
    return taken


def _again() -> None:
    time.sleep(DELAY)
    wanted = [code for code in POLITE if callable(signal.getsignal(code))]
    if lost() and wanted and (main := threading.main_thread().ident):
        _coming_again.append(None)
        signal.pthread_kill(main, wanted[0])


def _is_interruption(ignored: Any) -> bool:
    here = threading.current_thread() is threading.main_thread()  # signals are for the main thread
    return here and issubclass(ignored.exc_type, KeyboardInterrupt)


class Hearing:
    """What comes while something runs that may swallow it, as R does where it calls back into Python.

        hearing = Hearing()
        try:
            hearing.begin()
            ...
        except Exception as error:
            hearing.raise_from(error)
        finally:
            hearing.ending = True
            hearing.end()
        hearing.raise_from(None)

    A ``with`` would not do: an interruption as it is left would leave this process with handlers that were meant to go.

    Attributes
    ----------
    ending : whether it only remains to put back what `begin` has replaced; what comes meanwhile waits for that
    """

    def __init__(self) -> None:
        self.ending = False
        self._came: list[int] = []
        self._waiting: list[tuple[int, Any]] = []
        self._before: dict[int, Callable[..., Any]] = {}
        self._hook = sys.unraisablehook

    def begin(self) -> None:
        """Note from now on what comes."""
        if threading.current_thread() is not threading.main_thread():
            return
        heed()
        self._hook = sys.unraisablehook
        handlers = ((code, signal.getsignal(code)) for code in POLITE)
        self._before = {code: handler for code, handler in handlers if callable(handler)}
        sys.unraisablehook = self._ignored
        for code in self._before:
            signal.signal(code, self._noted)

    def end(self) -> None:
        """Put back what was there before; what came meanwhile comes now."""
        if threading.current_thread() is not threading.main_thread():
            return
        if sys.unraisablehook == self._ignored:
            sys.unraisablehook = self._hook
        try:
            for code in self._before.keys() - {signal.SIGINT}:
                signal.signal(code, self._before[code])
        finally:
            if signal.SIGINT in self._before:
                signal.signal(signal.SIGINT, self._before[signal.SIGINT])
        for code, frame in self._waiting:
            self._before[code](code, frame)

    def raise_from(self, error: Exception | None) -> None:
        """Raise the interruption that came; the error, where none did.

        Raises
        ------
        KeyboardInterrupt : one came, or was lost before
        """
        here = threading.current_thread() is threading.main_thread()
        again = here and lost()
        if self._came or again:
            raise KeyboardInterrupt from error
        if error is not None:
            raise error

    def _noted(self, code: int, frame: Any) -> None:
        if self.ending:
            self._waiting.append((code, frame))
            return
        try:
            self._before[code](code, frame)
        except KeyboardInterrupt:
            self._came.append(code)
            raise

    def _ignored(self, ignored: Any) -> None:
        """Of an interruption it is known already that it came, or it is told now."""
        if self.ending or not _is_interruption(ignored):
            self._hook(ignored)
        else:
            self._came.append(signal.SIGINT)
