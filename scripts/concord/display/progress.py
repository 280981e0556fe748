"""Progress: what is being done, and for how long, where that takes more than a moment and somebody is there to see.

In a notebook it is an output that changes and is empty in the end; in a terminal a line on stderr that goes away. Where
a notebook is executed by no person, as a report or by nbval, there is none.
"""

from __future__ import annotations

import contextvars
import html
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from concord.errors import escaped

DELAY, PERIOD = 3.0, 1.0
"""Seconds before anything is shown, and between one look and the next."""


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Show for how long something has been done, while it is done.

    Parameters
    ----------
    what : in a clause, such as ``fitting by lme4``
    """
    show = _screen()
    if show is None:
        yield
        return
    over, began = threading.Event(), time.monotonic()

    def tell() -> None:
        wait = DELAY
        while not over.wait(wait):
            show(f"{what}: {time.monotonic() - began:.0f} s")
            wait = PERIOD
        if wait == PERIOD:
            show("")

    # The kernel knows by the context which cell an output belongs to.
    teller = threading.Thread(target=contextvars.copy_context().run, args=(tell,), daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _screen() -> Callable[[str], None] | None:
    """What shows a line in place of the one before, none where it is empty; None where nobody is there."""
    kernel = getattr(shell(), "kernel", None)
    if kernel is not None:
        # Who can be asked for input is a person; papermill, nbclient and nbval say that they cannot.
        return _output() if getattr(kernel, "_allow_stdin", False) else None
    if not sys.stderr.isatty():
        return None

    def line(text: str) -> None:
        sys.stderr.write(f"\r\033[K{escaped(text)}")
        sys.stderr.flush()

    return line


def shell() -> Any:
    """IPython's shell, where it is loaded, as in every kernel."""
    loaded = sys.modules.get("IPython")
    return loaded and loaded.get_ipython()


def _output() -> Callable[[str], None]:
    """An output of the cell that is at work."""
    shown = sys.modules["IPython"].display
    handle: list[Any] = []

    def show(text: str) -> None:
        content = shown.HTML(f"<em>{html.escape(text)}</em>" if text else "")
        if handle:
            handle[0].update(content)
        else:
            handle.append(shown.display(content, display_id=True))

    return show
