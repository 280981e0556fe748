"""Workers: processes that run what is sent to them and can be stopped, whatever they are in the middle of.

An engine that would not finish, or that takes the memory of the machine, must not take the comparison with it. Workers
are forked, so that they have what is imported and loaded, R included; a worker can be started ahead of its work, to
import in the meantime what is not.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from concord.forkserver import die_with_parent

_FORK = multiprocessing.get_context("fork")
# What arrives from a worker: that it begins a piece of work, what came of it, or what it raised.
_BEGAN, _VALUE, _ERROR = "began", "value", "error"


class WorkerStopped(RuntimeError):
    """A worker ended before its work did: it was stopped when its time was over, or it died.

    Attributes
    ----------
    late : whether it was stopped because its time was over
    """

    def __init__(self, message: str, late: bool) -> None:
        super().__init__(message)
        self.late = late


class Worker:
    """A process that runs functions, one after the other.

    Parameters
    ----------
    modules : what it imports before its first piece of work
    """

    def __init__(self, modules: Iterable[str] = ()) -> None:
        self._pipe, theirs = _FORK.Pipe()
        self._process = _FORK.Process(
            target=_serve, args=(theirs, self._pipe, tuple(modules), os.getpid()), daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def alive(self) -> bool:
        """Whether it can be given work."""
        return self._process.is_alive()

    def send(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have it run a function of a module with arguments that can be pickled; `receive` waits for what comes."""
        with suppress(BrokenPipeError, ConnectionResetError):  # it has died; `receive` says so
            self._pipe.send((function, arguments))

    def receive(self, timeout: float | None = None) -> Any:
        """What the function returned.

        Parameters
        ----------
        timeout : seconds that it may take, counted from when it begins; None for no limit

        Raises
        ------
        WorkerStopped : it was stopped when the time was over, or died
        Exception : whatever the function raised
        """
        deadline = None
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                if not self._pipe.poll(left):
                    self.stop()
                    raise WorkerStopped(f"stopped after {timeout:g} s", late=True)
                kind, value = self._pipe.recv()
            except (EOFError, ConnectionResetError):
                self._process.join()
                raise WorkerStopped(f"its process died ({_ending(self._process.exitcode)})", late=False) from None
            if kind == _VALUE:
                return value
            if kind == _ERROR:
                raise value
            if timeout is not None:
                deadline = time.monotonic() + timeout

    def run(self, function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Any:
        """`send` and `receive`."""
        self.send(function, *arguments)
        return self.receive(timeout)

    def stop(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, theirs: Connection, modules: tuple[str, ...], parent: int) -> None:
    theirs.close()
    # It must not outlive who asked: a killed parent closes no pipes in the middle of a computation.
    die_with_parent(parent)
    # Ctrl-C reaches every process of a terminal; who asked decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:  # the work that needs it will raise it again, and be heard
            continue
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        pipe.send((_BEGAN, None))
        try:
            answer = pickle.dumps((_VALUE, function(*arguments)))
        except Exception as error:
            answer = _pickled(error)
        pipe.send_bytes(answer)


def _pickled(error: Exception) -> bytes:
    """The error, or one that says the same where it does not survive the pipe."""
    try:
        answer = pickle.dumps((_ERROR, error))
        pickle.loads(answer)
        return answer
    except Exception:
        return pickle.dumps((_ERROR, RuntimeError(f"{type(error).__name__}: {error}")))


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        return f"{name}, as when memory runs out" if name == "SIGKILL" else name
    return f"exit status {status}"
