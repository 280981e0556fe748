"""The fork server: one process that imports what notebooks import, and from which every kernel of a batch is forked.

The imports of a notebook and the start of R take longer than many a notebook's own work; they are done once, and each
kernel begins with them done. It is a process of its own all the same, with a fresh namespace in which nothing is
imported and no R package attached. `start` runs the server beside a batch, `fork` asks it for a kernel. Where the
server cannot do it, it says so on stderr and kernels start in the ordinary way.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import json
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import concord  # R is started once a server warms up, and not where it is started
from concord.errors import escaped

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""For one kernel a core: linear algebra that starts its own threads would fight with the other kernels."""
FORKABLE = ONE_THREAD | {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""For a process that is forked, as a fork has only the thread that forked: pyarrow, which pandas imports, must not
start one that tidies memory."""

LAUNCHER = "ipykernel_launcher"
KERNEL = (
    # what every kernel imports when it starts
    *("ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.displayhook", "IPython.core.completerlib"),
    # and when it shows a table or a picture
    *("matplotlib.backends.backend_agg", "pandas.io.formats.html", "pandas.io.formats.string"),
)

PATIENCE = 60.0
"""Seconds that a kernel may wait for the server to be ready."""
END = 5.0
"""Seconds that the server may take to end its kernels and itself, and a client to say what it wants."""


# What the server's interpreter runs. Concord is found where it is found here; a module in the current folder, which a
# file json.py there would be, is not taken for another one; and the path of kernels is what it is without both.
_START = """import sys
own = sys.path[:] = [place for place in sys.path if place]
import json
sys.path = json.loads(sys.argv.pop(1))
from concord.processes import kernels
sys.path = own
del own, json
kernels.main()"""

_PID_WIDTH = 20  # all of them the same, for the exit status may follow at once


# The side that asks ----------------------------------------------------------------------------------------------


@contextmanager
def start(imports: Iterable[str] = ()) -> Iterator[str]:
    """Run a server; gives the address for `fork` at once. In the end it and all its kernels are gone.

    So they are if this process is killed: the server's standard input then comes to its end. `imports` are the
    statements that import what the notebooks do; R is started if one of them could need it.
    """
    base = tempfile.gettempdir()
    # A Unix socket's path is at most 107 bytes long; nobody else may enter the folder
    folder = tempfile.mkdtemp(prefix="forkserver-", dir=base if len(base) < 70 else "/tmp")
    address = os.path.join(folder, "forkserver")
    path = json.dumps(sys.path, default=lambda _: None)  # what is no text Python does not look in
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(64)  # who comes before the server is ready waits; if it ends, nobody listens any longer
            server = subprocess.Popen(
                [sys.executable, "-c", _START, path, str(listener.fileno()), folder, *imports],
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                env=os.environ | FORKABLE | {"TMPDIR": folder},
                process_group=0,  # Ctrl-C reaches every process of a terminal; the batch ends this one
            )
        with server:
            try:
                yield address
            finally:
                early = server.poll()
                if server.stdin is not None:
                    server.stdin.close()
                server.terminate()  # heard only while it warms up
                try:
                    server.wait(END)
                except subprocess.TimeoutExpired:
                    server.kill()
                if early:
                    print(f"concord: the fork server ended early ({early}): kernels started cold", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Forked:
    """A forked kernel's process, with what jupyter_client uses of `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._connection = connection  # the server ends the kernel when it is closed

    def poll(self) -> int | None:
        """The exit status, negative for a signal's, or None while it runs."""
        return self._receive(0)

    def wait(self) -> int | None:
        """Wait for its end."""
        return self._receive(None)

    def _receive(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                said = self._connection.recv(100)
            except BlockingIOError:
                return None
            except OSError:
                said = b""
            # The server says nothing when it is gone itself, and then its kernels are
            self.returncode = int(said or -signal.SIGKILL)
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def fork(
    address: str, command: list[str], cwd: str, environment: Mapping[str, str], patience: float = PATIENCE
) -> Forked | None:
    """The process of a kernel that would be started with this command; waits until the server is ready.

    None where the server has ended or is not ready in time, or where the command is not this Python's ordinary kernel.
    """
    if command[:3] != [sys.executable, "-m", LAUNCHER]:
        return None
    request = {"arguments": command[3:], "cwd": cwd, "environment": dict(environment)}
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(patience)
        connection.connect(address)
        connection.sendall(json.dumps(request).encode() + b"\n")
        return Forked(int(connection.recv(_PID_WIDTH)), connection)
    except (OSError, ValueError):  # ValueError: it ended before it answered
        connection.close()
        return None


# The server ------------------------------------------------------------------------------------------------------


def wants_r(imports: Iterable[str]) -> bool:
    """Whether statements import what starts R."""
    return any(re.search(r"\b(concord|rpy2)\b", statement) for statement in imports)


def warm(imports: Iterable[str]) -> None:
    """Import what kernels and notebooks import, and start R.

    Raises an exception if that cannot be done, or if it would show in a notebook or in a fork.
    """
    shown: list[str] = []
    # Not catch_warnings, which would undo what the modules themselves say about their warnings
    show, warnings.showwarning = warnings.showwarning, lambda message, *_, **__: shown.append(str(message))
    # In a kernel matplotlib finds this, which says where figures go, when it is imported
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    gc.disable()
    if wants_r(imports):
        _start_r()  # before rpy2, imported alone, starts it in its own way
    for statement in (*(f"import {name}" for name in KERNEL), *imports):
        with suppress(ImportError):  # which the notebook will show
            exec(statement, {})
    gc.freeze()
    gc.enable()
    warnings.showwarning = show
    if shown:
        raise RuntimeError(f"an import warns, which belongs into the notebook: {shown[0]}")
    tasks = Path("/proc/self/task")
    threads = len(list(tasks.iterdir())) if tasks.exists() else threading.active_count()
    if threads > 1:
        raise RuntimeError(f"an import has started {threads - 1} thread(s), which no fork would have")


def _start_r() -> None:
    concord.r.interface()
    # A fork finds its temporary folder missing, and makes one of its own
    concord.r.call("unlink", concord.r.call("tempdir"), recursive=True)


def serve(listener: socket.socket) -> dict[str, Any] | None:
    """Fork a kernel for every request until standard input ends; returns in each fork, with its request."""
    kernels: dict[int, socket.socket] = {}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # A signal is written to the pipe only if it has a handler
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with selectors.DefaultSelector() as selector:
        for file in (sys.stdin.fileno(), reading, listener):
            selector.register(file, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj == sys.stdin.fileno():
                    _end_all(kernels)
                    return None
                if key.fileobj == reading:
                    os.read(reading, 512)
                    _tell_ends(kernels, selector)
                elif key.fileobj is listener:
                    connection, request = _accept(listener)
                    if not request:
                        continue
                    pid = os.fork()
                    if not pid:
                        _leave_server(connection, kernels.values(), (reading, writing))
                        return request
                    kernels[pid] = connection
                    selector.register(connection, selectors.EVENT_READ, pid)
                elif key.data in kernels:  # who asked for it needs it no longer, or is gone
                    selector.unregister(key.fileobj)
                    kernels.pop(key.data).close()
                    _end(key.data)


def _end_all(kernels: Iterable[int]) -> None:
    for pid in kernels:
        _end(pid)


def _tell_ends(kernels: dict[int, socket.socket], selector: selectors.BaseSelector) -> None:
    """Tell those who asked for the kernels that have ended."""
    for pid, status in _ended():
        if connection := kernels.pop(pid, None):
            selector.unregister(connection)
            with connection, suppress(OSError):  # who asked for it may be gone
                connection.sendall(str(status).encode())


def _leave_server(connection: socket.socket, others: Iterable[socket.socket], pipe: Iterable[int]) -> None:
    """In a fork: tell who asked its number, and give back all that is the server's."""
    os.setsid()  # before anybody knows its number, by which it is ended with all that it starts
    with suppress(OSError):  # who asked is gone, and the server will notice
        connection.sendall(str(os.getpid()).rjust(_PID_WIDTH).encode())
    for end in (connection, *others):
        end.close()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for file in pipe:
        os.close(file)


def _accept(listener: socket.socket) -> tuple[socket.socket, dict[str, Any] | None]:
    connection, _ = listener.accept()
    connection.settimeout(END)
    try:
        with connection.makefile("rb") as lines:
            return connection, json.loads(lines.readline())
    except (OSError, ValueError):  # who asked is gone
        connection.close()
        return connection, None


def _end(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # the second for one that does not lead its group yet
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def _ended() -> Iterator[tuple[int, int]]:
    with suppress(ChildProcessError):  # none is left
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended[0], os.waitstatus_to_exitcode(ended[1])


# The fork --------------------------------------------------------------------------------------------------------


def be_kernel(request: Mapping[str, Any], parent: int, before: Mapping[str, str]) -> None:
    """Become the kernel that was asked for, as if this process had been started for it.

    `before` is the environment in which the server started.
    """
    die_with_parent(parent)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, sys.stdin.fileno())
    os.close(null)
    os.chdir(request["cwd"])
    # What R and its packages set when they started stays: they need it
    wanted = request["environment"] | {"JPY_PARENT_PID": str(parent)}
    for key in before.keys() - wanted.keys():
        os.environ.pop(key, None)
    os.environ.update((key, value) for key, value in wanted.items() if before.get(key) != value)
    launcher = importlib.util.find_spec(LAUNCHER)
    sys.argv = [str(launcher and launcher.origin), *request["arguments"]]

    # What each process draws or makes for itself when it starts, and what a fork would share. Python's own random
    # numbers start anew by themselves, and R's when the first one is drawn.
    tempfile.tempdir = None
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    if "rpy2" in sys.modules:
        _restart_r(request["cwd"], parent)

    # Imported by `warm`, and not by those who start a server of kernels.
    sys.modules["ipykernel.kernelapp"].IPKernelApp.launch_instance(request["arguments"], parent_handle=parent)


def _restart_r(cwd: str, parent: int) -> None:
    concord.r.call("tempdir", check=True)
    # These two rpy2 notes when it starts R
    os.environ["PWD"] = cwd
    if session := os.environ.get("PYTHON_SESSION_INITIALIZED"):
        os.environ["PYTHON_SESSION_INITIALIZED"] = session.replace(f"={parent}:", f"={os.getpid()}:")


def die_with_parent(parent: int) -> None:
    """End this process when its parent ends, where the system can be asked to (Linux)."""
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def main() -> None:
    """Warm up and serve; in a fork, be a kernel."""
    # Ctrl-C reaches every process of the terminal; the batch ends this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder = sys.argv[2]
    os.chdir(folder)  # as a kernel starts in an empty one, in which Python and R find no settings
    pid, before = os.getpid(), dict(os.environ)
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        try:
            warm(sys.argv[3:])
        except Exception as error:
            line = f"kernels start cold: {type(error).__name__}: {error}"
            print(f"concord: {escaped(line)}", file=sys.stderr, flush=True)
            return
        request = serve(listener)
    if request:
        be_kernel(request, pid, before)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)  # R would end its session
