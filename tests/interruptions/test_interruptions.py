"""An interruption that came where Python can raise it to nobody comes again; and only that."""

from __future__ import annotations

import linecache
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pandas as pd
import pytest

from concord import interruptions, r


@pytest.fixture(autouse=True)
def ctrl_c():
    """Interruptions are raised in this process, whatever the test runner has made of them and of what is ignored."""
    handler, hook = signal.signal(signal.SIGINT, signal.default_int_handler), sys.unraisablehook
    told: list[str] = []
    sys.unraisablehook = lambda ignored: told.append(ignored.exc_type.__name__)
    yield told
    signal.signal(signal.SIGINT, handler)
    sys.unraisablehook = hook


class Freed:
    """As an object of R: a finalizer runs as the last one lets it go, and is interrupted."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def waits() -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        time.sleep(0.001)


def comes_no_more() -> None:
    time.sleep(0.005)
    assert not interruptions.lost()


def test_one_that_comes_in_a_finalizer_comes_again(ctrl_c):
    interruptions.heed()
    interruptions.heed()
    with pytest.raises(KeyboardInterrupt):
        Freed()
        waits()
    assert ctrl_c == [] and not interruptions.lost()


def test_it_comes_once(ctrl_c):
    """Who has asked for it has it to raise."""
    interruptions.heed()
    Freed()
    assert interruptions.lost() and not interruptions.lost()
    comes_no_more()


def test_what_else_is_ignored_is_told_as_ever(ctrl_c):
    class Fails:
        def __del__(self) -> None:
            raise ZeroDivisionError

    interruptions.heed()
    Fails()
    assert ctrl_c == ["ZeroDivisionError"]


def test_where_interruptions_are_not_wanted_none_comes_again(ctrl_c):
    interruptions.heed()
    Freed()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(0.05)
    signal.signal(signal.SIGTERM, before)
    assert not interruptions.lost()


def test_one_that_comes_as_an_object_of_r_is_freed_comes_again(monkeypatch):
    """rpy2 does that in a finalizer, long after the call."""
    from rpy2.rinterface_lib import _rinterface_capi as capsules

    held, release = r.call("c", 1.0), capsules._release

    def interrupted(address):
        monkeypatch.undo()
        release(address)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        monkeypatch.setattr(capsules, "_release", interrupted)
        del held
        waits()


def test_one_that_comes_as_r_looks_a_name_up_is_no_error_of_what_was_found(monkeypatch):
    """The name then stands for nothing, which cannot be called."""
    rinterface = r.interface()

    def nothing(*_):
        sys.unraisablehook(SimpleNamespace(exc_type=KeyboardInterrupt))
        return rinterface.NULL

    monkeypatch.setattr(type(rinterface.baseenv), "__getitem__", nothing)
    with pytest.raises(KeyboardInterrupt):
        r.call("c", 1.0)
    monkeypatch.undo()
    assert r.from_r(r.call("c", 1.0)) == [1.0]


def test_one_that_is_lost_in_a_call_of_r_is_raised_at_its_end_and_comes_once(monkeypatch):
    """After calls in the arguments of the call too."""
    table = r.table

    def interrupted(frame):
        in_r = table(frame)
        Freed()
        return in_r

    monkeypatch.setattr(r, "table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        r.call("nrow", pd.DataFrame({"x": [1.0]}))
    comes_no_more()


def test_after_a_call_of_r_handlers_and_hook_are_what_they_were():
    interruptions.heed()
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook
    r.call("nrow", pd.DataFrame({"x": [1.0]}))  # with calls in its arguments
    with pytest.raises(r.RError):
        r.call("stop", "no")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before


class AtStep:
    """Interrupts this process, traced by it, at one of the lines of `r` and `interruptions`, counted from 1."""

    def __init__(self, step: int) -> None:
        self.step, self.seen = step, 0

    def __call__(self, frame, event, _):
        file = frame.f_code.co_filename
        if file not in (interruptions.__file__, r.__file__):
            return None
        # Python looks for signals as it calls, begins a function or goes back in a loop: never before this line.
        if event == "line" and "hearing.ending = True" not in linecache.getline(file, frame.f_lineno):
            self.seen += 1
            if self.seen == self.step:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return self


def test_interrupted_at_every_step_of_a_call_of_r_nothing_stays_replaced():
    """Whatever line of its own code an interruption comes at, it is raised, and handlers and hook are back."""
    interruptions.heed()
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook
    for step in range(1, 1000):
        interrupting, raised = AtStep(step), False
        try:
            sys.settrace(interrupting)
            r.call("nrow", pd.DataFrame({"x": [1.0]}))  # with calls in its arguments
            sys.settrace(None)
            if interrupting.seen >= step:
                waits()
        except KeyboardInterrupt:
            raised = True
        finally:
            sys.settrace(None)
        now = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook
        assert now == before, step
        if interrupting.seen < step:
            break
        assert raised, step
        comes_no_more()
    assert 100 < step < 999


def test_in_another_thread_nothing_is_replaced():
    """Signals are for the main thread."""
    said: list[object] = []
    thread = threading.Thread(target=lambda: said.append(r.from_r(r.call("c", 2.0))[0]))
    thread.start()
    thread.join()
    assert said == [2.0]
