"""Workers: processes that run what is sent to them and can be stopped, whatever they are in the middle of.

An engine that would not finish, or that takes the memory of the machine, must not take the comparison with it. A worker
is a fresh interpreter: who asks may have threads, as a notebook's kernel has, and a fork of such a process may hang. It
can be started ahead of its work, to import and load in the meantime what that needs.

An answer belongs to its question. Every question of a process has a number, and everything that a worker says begins
with the number of the question that it is about; a worker has one open question at most. Whoever asked may be
interrupted at any moment: what was only half sent or half read ends the worker, and a question that was given up is
closed, its answer dropped, before the next one is sent.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import itertools
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any
from weakref import WeakSet

from concord.errors import FootingError
from concord.interruptions import POLITE
from concord.processes.kernels import die_with_parent

GRACE = 0.5
"""Seconds that a worker has to end its work on a question that was given up; then it is ended itself."""

# What a worker's interpreter runs: modules are found where they are found here, whatever has been put on the path.
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from concord.processes import worker; worker.serve()"
# What stands before everything in a pipe: the number of the question, and what follows. Which function is to be run;
# that this begins; what came of it, or what it raised.
_HEAD = struct.Struct("<QB")
# When that was, by the clock of the machine: who asked may be at work itself, and read of it late.
_WHEN = struct.Struct("<d")
_ASKED, _BEGAN, _VALUE, _ERROR = range(4)

_numbers = itertools.count(1)
_workers: WeakSet[Worker] = WeakSet()
_at_work = 0


class WorkerStopped(FootingError):
    """A worker ended before its work did: it was stopped when its time was over, or it died.

    Attributes
    ----------
    late : whether it was stopped because its time was over
    """

    def __init__(self, message: str, late: bool = False) -> None:
        super().__init__(message)
        self.late = late


class QuestionClosed(RuntimeError):
    """A question has been answered already, or was given up."""


class Question:
    """A piece of work that a worker has been sent; its answer can be had for nothing else.

    Attributes
    ----------
    worker : where it was sent
    number : of all questions of this process it alone has it
    """

    def __init__(self, worker: Worker, number: int) -> None:
        self.worker, self.number = worker, number

    def answer(self, timeout: float | None = None) -> Any:
        """Wait for what the function returned. It can be had once.

        Parameters
        ----------
        timeout : seconds that it may take, counted from when it begins; None for no limit

        Raises
        ------
        WorkerStopped : the worker was stopped when the time was over, or died
        QuestionClosed : it has been answered already, or was given up
        Exception : whatever the function raised
        """
        return self.worker.answer_of(self.number, timeout)

    def arrived(self, timeout: float | None = None) -> bool:
        """Whether its answer is there, or will never be: then `answer` does not wait.

        Parameters
        ----------
        timeout : as of `answer`
        """
        return self.worker.arrived(self.number, timeout)

    def abandon(self) -> None:
        """Give it up: its answer is dropped, or its worker ended where that has not come within `GRACE` seconds."""
        if self.worker.asked == self.number:
            self.worker.settle()


class Worker:
    """A process that runs functions, one after the other, for one thread of this process.

    Parameters
    ----------
    modules : what it imports before its first piece of work
    first : a function of a module, and its arguments: what it calls then. Work that needs what fails here fails in turn
    """

    def __init__(self, modules: Iterable[str] = (), first: tuple[Any, ...] = ()) -> None:
        self.asked = 0  # the number of the question whose answer has not come
        self._midway = False  # whether a message is half sent or half read: for good, where that was interrupted
        self._ended = ""  # why it was ended, or how it died
        self._began = 0.0  # when the open question's work began; 0 where that has not been heard
        self._owner = os.getpid()
        path = json.dumps(sys.path, default=lambda _: None)  # what is no text Python does not look in
        with uninterrupted():
            # What it and its R leave there when they are ended goes with them
            self._folder = tempfile.mkdtemp(prefix="worker-")
            self._pipe, theirs = multiprocessing.Pipe()
            with theirs:
                self._process = subprocess.Popen(
                    # Without the current folder on the path: a file json.py there would be taken for the library's.
                    [sys.executable, "-P", "-c", _START, path, str(theirs.fileno()), str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    # What R has set in this process and Python knows nothing of is this R's own.
                    env=os.environ | {"TMPDIR": self._folder},
                    process_group=0,  # Ctrl-C reaches every process of a terminal; who asked decides what ends
                )
            _workers.add(self)
            with suppress(OSError):  # it has died already, as the first question will tell
                self._pipe.send_bytes(ForkingPickler.dumps((tuple(modules), first)))

    @property
    def alive(self) -> bool:
        """Whether it can be given work: by the process that made it, and by none that was forked from that one."""
        return os.getpid() == self._owner and not self._ended and not self._midway and self._process.poll() is None

    def send(self, function: Callable[..., Any], *arguments: Any) -> Question:
        """Have it run a function of a module with arguments that can be pickled.

        A question that is still open is given up before.

        Raises
        ------
        WorkerStopped : it was stopped or has died, and was not asked
        """
        number = next(_numbers)
        content = _HEAD.pack(number, _ASKED) + bytes(ForkingPickler.dumps((function, arguments)))
        self.settle()
        if self._ended:
            raise WorkerStopped(self._ended)
        self._midway, self.asked, self._began = True, number, 0.0
        try:
            self._pipe.send_bytes(content)
        except OSError:
            raise self._died() from None
        self._midway = False
        return Question(self, number)

    def run(self, function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Any:
        """`send`, and wait for the answer."""
        question = self.send(function, *arguments)
        try:
            return question.answer(timeout)
        except BaseException:
            question.abandon()
            raise

    def stop(self, why: str = "stopped") -> None:
        """End it at once."""
        with uninterrupted():
            self._ended = self._ended or why
            if os.getpid() == self._owner:
                self._process.kill()
                self._process.wait()
                shutil.rmtree(self._folder, ignore_errors=True)
            self.asked = 0
            self._pipe.close()

    def answer_of(self, number: int, timeout: float | None) -> Any:
        """The answer to a question; see `Question.answer`."""
        if self._midway:
            self.stop("ended: it was interrupted in the middle of an answer")
        if os.getpid() != self._owner:
            self.stop("left to the process that it belongs to")
        while True:
            if self._ended:
                raise WorkerStopped(self._ended)
            if self.asked != number:
                raise QuestionClosed("a question is answered once, and not at all once it was given up")
            if not self._pipe.poll(self._left(timeout)):
                self.stop(f"stopped after {timeout:g} s")
                raise WorkerStopped(self._ended, late=True)
            about, kind, content = self._next()
            if about != number or kind == _BEGAN:
                continue
            value = pickle.loads(content)
            if kind == _ERROR:
                raise value
            return value

    def arrived(self, number: int, timeout: float | None) -> bool:
        """Whether the answer to a question need not be waited for; see `Question.arrived`."""
        if self._midway or self._ended or self.asked != number or os.getpid() != self._owner:
            return True  # that it has none will be said by who asks for it
        with suppress(WorkerStopped):
            while not self._began:
                if not self._pipe.poll(0):
                    return False
                self._next()
            return self._pipe.poll(0) or self._left(timeout) == 0
        return True

    def _left(self, timeout: float | None) -> float | None:
        """Seconds that the open question's work still has; None where there is no limit, or it has not begun."""
        if timeout is None or not self._began:
            return None
        return max(0.0, self._began + timeout - time.monotonic())

    def _next(self) -> tuple[int, int, memoryview]:
        """The next thing that it says: the number of the question, what it is, and the content, still pickled.

        Raises
        ------
        WorkerStopped : it has died
        """
        self._midway = True
        try:
            said = memoryview(self._pipe.recv_bytes())
        except (EOFError, OSError):
            raise self._died() from None
        about, kind = _HEAD.unpack_from(said)
        if about == self.asked:
            if kind == _BEGAN:
                (self._began,) = _WHEN.unpack_from(said, _HEAD.size)
            else:
                self.asked = 0
        self._midway = False
        return about, kind, said[_HEAD.size :]

    def settle(self) -> None:
        """Close the open question: drop its answer, or end the process where it does not come."""
        if os.getpid() != self._owner:
            self.stop("left to the process that it belongs to")
        deadline = time.monotonic() + GRACE
        with suppress(WorkerStopped):
            while self.asked and not self._ended:
                if self._midway or not self._pipe.poll(max(0.0, deadline - time.monotonic())):
                    self.stop("ended: its work was interrupted")
                else:
                    self._next()
        if self._midway or self._ended:
            self.stop("ended: its work was interrupted")

    def _died(self) -> WorkerStopped:
        """What to raise where nobody is at the other end of the pipe."""
        self.stop(f"its process died ({_ending(self._process.wait())})")
        return WorkerStopped(self._ended)


def number() -> int:
    """In a worker: the number of the question that it is at work on."""
    return _at_work


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold an interruption back until the block is done.

    A process that was started and is known to nobody, or known and not started, would be what it leaves behind.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are for the main thread
        return
    came: list[tuple[Any, ...]] = []
    handlers = ((code, signal.getsignal(code)) for code in POLITE)
    before: dict[int, Callable[..., Any]] = {code: handler for code, handler in handlers if callable(handler)}
    try:
        for code in before:
            signal.signal(code, lambda *signal_and_frame: came.append(signal_and_frame))
        yield
    finally:
        for code, handler in before.items():
            signal.signal(code, handler)
        if came:
            before[came[0][0]](*came[0])


@atexit.register
def _stop_all() -> None:
    for worker in list(_workers):
        worker.stop()


def serve() -> None:
    """Be a worker: the process that a `Worker` starts."""
    global _at_work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # It must not outlive who asked: a killed parent closes no pipes in the middle of a computation.
    pipe, parent = Connection(int(sys.argv[2])), int(sys.argv[3])
    die_with_parent(parent)
    sys.argv[:] = [""]
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    modules, first = pickle.loads(pipe.recv_bytes())
    gc.disable()  # what is imported stays, and looking through it again and again takes a tenth of the start
    for module in modules:
        with suppress(Exception):  # the work that needs it will raise it again, and be heard
            importlib.import_module(module)
    if first:
        function, *arguments = first
        with suppress(Exception):
            function(*arguments)
    gc.freeze()
    gc.enable()
    while True:
        try:
            asked = memoryview(pipe.recv_bytes())
            _at_work, _ = _HEAD.unpack_from(asked)
            pipe.send_bytes(_HEAD.pack(_at_work, _BEGAN) + _WHEN.pack(time.monotonic()))
            try:
                function, arguments = pickle.loads(asked[_HEAD.size :])
                kind, content = _VALUE, pickle.dumps(function(*arguments))
            except Exception as error:
                kind, content = _ERROR, _pickled(error)
            pipe.send_bytes(_HEAD.pack(_at_work, kind) + content)
        except (EOFError, BrokenPipeError, ConnectionResetError):  # nobody asks any more
            return


def _pickled(error: Exception) -> bytes:
    """The error, or one that says the same where it does not survive the pipe."""
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
        return content
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        return f"{name}, as when memory runs out" if name == "SIGKILL" else name
    return f"exit status {status}"
