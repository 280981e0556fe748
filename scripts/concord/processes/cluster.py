"""Clusters: dask's, at an address or of one-thread worker processes on this machine."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import dask
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed
from distributed.client import FutureCancelledError
from distributed.comm.addressing import get_address_host_port, parse_address
from distributed.comm.core import CommClosedError
from distributed.security import Security
from distributed.utils import get_mp_context

from concord.errors import FootingError, InputError, first_line, shorten
from concord.processes.kernels import FORKABLE
from concord.processes.worker import uninterrupted

__all__ = ["CPU_COUNT", "Client", "Future", "FutureCancelledError", "KilledWorker", "as_completed", "cluster"]

PATIENCE = 10
"""Seconds that a scheduler may take to answer; its workers may take three times as long to appear."""

_CERTIFICATE = """[req]
distinguished_name = name
x509_extensions = own
[name]
[own]
basicConstraints = critical, CA:TRUE
"""


# What a worker process begins with: it starts deaf, and what it starts itself must not be.
_IGNORING = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})"
)


@contextmanager
def _deaf() -> Iterator[None]:
    """Threads and processes that are started meanwhile are reached by no Ctrl-C, also while they import; this thread is
    at the end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _told() -> Iterator[None]:
    """What dask says where a worker dies as it starts, in a line."""
    try:
        yield
    except (RuntimeError, CommClosedError) as error:  # the latter where dask loses its scheduler as it clears up
        raise FootingError(
            f"a worker process did not start, or was killed as it did ({shorten(first_line(error))}): run it again, "
            "and where memory ran out close other programs"
        ) from error


@contextmanager
def cluster(
    scheduler: str | None, workers: int, deaths: int = 0, first: str = "pass", imported: Sequence[str] = ()
) -> Iterator[Client]:
    """A client of the cluster at an address, or of one of so many processes on this machine, which ends with it.

    Parameters
    ----------
    scheduler : address of a dask scheduler; None for worker processes on this machine
    workers : how many of them
    deaths : so often a task may lose its worker here before it is held to have killed it
    first : a statement that a worker process here runs when it starts, in its main thread
    imported : modules that worker processes here have when they start: they are forked from one that has imported them,
        and so is one that takes the place of one that was killed

    Raises
    ------
    InputError : the address is malformed, no scheduler answers there, or the scheduler has no workers; or there is no
        `openssl` to make the secret of processes on this machine
    FootingError : a worker process here did not start
    """
    if scheduler:
        _check(scheduler)
        # A failure of the cluster is told by the study or the report that it befalls
        for name in ("distributed.client", "distributed.core", "distributed.utils", "distributed.batched", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"no dask scheduler answers at {scheduler}: start one (`dask scheduler`) or leave SCHEDULER out"
            ) from error
        try:
            try:
                client.wait_for_workers(1, timeout=3 * PATIENCE)
            except TimeoutError as error:
                raise InputError(
                    f"the scheduler at {scheduler} has no workers: start some (`dask worker {scheduler}`)"
                ) from error
            yield client
        finally:
            with suppress(Exception):
                client.close(timeout=2)
        return
    secret = _secret()
    started = FORKABLE | {_SAFE: "yes"}
    given: dict[str, Any] = {"distributed.worker.multiprocessing-method": "forkserver" if imported else "spawn"}
    given |= {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in started.items()}
    # Nor do the status pages tell anybody anything
    given |= {f"distributed.{server}.http.routes": [] for server in ("scheduler", "worker", "nanny")}
    with dask.config.set(given):
        if imported:
            get_mp_context().set_forkserver_preload(["distributed", *imported])
        with _no_current_folder(), ExitStack() as running:
            # Who starts this process of multiprocessing's own hears Ctrl-C from then on, and so does what it starts
            resource_tracker.ensure_running()
            # One that is half started is known to nobody who would end it
            with uninterrupted(), _deaf(), _told():
                here = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    security=secret,
                    dashboard_address=None,
                    memory_limit=0,  # it would count the worker's memory, and a notebook's is its kernel's
                    # Without a dashboard dask's status pages are there all the same: on a local port of their own
                    scheduler_kwargs={"allowed_failures": deaths, "dashboard_address": "127.0.0.1:0"},
                    # Ctrl-C reaches every process of the terminal; this one decides what ends, and workers live to
                    # end it
                    preload=[f"{first}; {_IGNORING}"],
                    silence_logs=logging.CRITICAL,
                )
                client = running.enter_context(Client(running.enter_context(here), set_as_default=False))
            yield client


_SAFE = "PYTHONSAFEPATH"


@contextmanager
def _no_current_folder() -> Iterator[None]:
    """No interpreter that is started meanwhile looks for modules in the current folder: dask's or multiprocessing's."""
    before = os.environ.get(_SAFE)
    os.environ[_SAFE] = before or "yes"
    try:
        yield
    finally:
        os.environ[_SAFE] = before or ""
        if before is None:
            del os.environ[_SAFE]


def _secret() -> Security:
    """A key of this run's, without which nobody talks to its scheduler and its workers, which would run what they are
    sent. It is in no command line, and in no file that others can read.

    Raises
    ------
    InputError : there is no `openssl`, or it makes none
    """
    program = shutil.which("openssl") or shutil.which("openssl", path=str(Path(sys.executable).parent))
    if program is None:
        raise InputError("openssl is not found, which makes the key that processes here share: apt-get install openssl")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=concord -days 365 -config -"
    command = [program, *words.split(), "-keyout", "-", "-out", "-"]
    made = subprocess.run(command, input=_CERTIFICATE, capture_output=True, text=True, check=False)
    key, begin, certificate = made.stdout.partition("-----BEGIN CERTIFICATE-----")
    if made.returncode or not begin:
        raise InputError(f"openssl makes no key for the processes here: {shorten(made.stderr)}")
    certificate = begin + certificate
    roles = {f"tls_{role}_{part}" for role in ("client", "scheduler", "worker") for part in ("key", "cert")}
    held = {name: key if name.endswith("key") else certificate for name in roles}
    return Security(require_encryption=True, tls_ca_file=certificate, **held)


def _check(scheduler: str) -> None:
    """Refuse a malformed address: a client that fails on it would end with a traceback, long after.

    Raises
    ------
    InputError : it has no port, or no protocol that dask can use here
    """
    try:
        _, port = get_address_host_port(scheduler)
        if not 0 < port < 2**16:
            raise ValueError(f"port {port} is not from 1 to {2**16 - 1}")
        protocol, _ = parse_address(scheduler)
        if protocol in ("tls", "wss") and not Security().get_connection_args("client").get("ssl_context"):
            raise ValueError(f"dask's configuration has no certificates for {protocol}")
    except (ValueError, ImportError, OSError) as error:
        raise InputError(
            f"{scheduler}: is not the address of a dask scheduler: {error}: give one such as tcp://host:8786, "
            "or leave SCHEDULER out"
        ) from error
