"""Workers: processes that run what they are sent, and that can be stopped in the middle of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from concord.workers import Worker, WorkerStopped


@pytest.fixture
def worker():
    started = Worker()
    yield started
    started.stop()


def running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_works_in_a_process_of_its_own_one_piece_after_the_other(worker):
    first, second = worker.run(os.getpid), worker.run(os.getpid)
    assert first == second != os.getpid()


def test_what_its_work_raises_is_raised_here_and_it_goes_on(worker):
    with pytest.raises(ZeroDivisionError):
        worker.run(divmod, 1, 0)
    assert worker.run(divmod, 7, 2) == (3, 1)


def unpicklable():
    return lambda: None


class Awkward(Exception):
    def __init__(self, one, two):
        super().__init__("both")


def awkward():
    raise Awkward(1, 2)


def test_what_cannot_be_carried_is_an_error_and_no_death(worker):
    with pytest.raises(Exception, match="pickle"):
        worker.run(unpicklable)
    # Where dask was imported it can be carried after all.
    with pytest.raises((RuntimeError, Awkward), match="both"):
        worker.run(awkward)
    assert worker.run(abs, -1) == 1


def test_work_that_takes_too_long_is_stopped_and_said_to_be_late(worker):
    pid = worker.run(os.getpid)
    began = time.monotonic()
    with pytest.raises(WorkerStopped, match=r"stopped after 0\.3 s") as caught:
        worker.run(time.sleep, 60, timeout=0.3)
    assert caught.value.late and time.monotonic() - began < 10
    assert not worker.alive and not running(pid)


def test_time_counts_from_the_beginning_of_the_work_and_not_from_what_goes_before(worker):
    """A worker that still imports, or works on something else, has not begun."""
    worker.send(time.sleep, 0.6)
    worker.send(abs, -2)
    time.sleep(0.8)
    assert worker.receive(5) is None
    assert worker.receive(0.2) == 2


def test_one_that_dies_says_how(worker):
    with pytest.raises(WorkerStopped, match="SIGUSR1") as caught:
        worker.run(os.kill, worker.run(os.getpid), signal.SIGUSR1)
    assert not caught.value.late
    with pytest.raises(WorkerStopped):
        worker.run(abs, 1)


def test_one_that_runs_out_of_memory_says_so():
    worker = Worker()
    with pytest.raises(WorkerStopped, match="memory"):
        worker.run(os.kill, worker.run(os.getpid), signal.SIGKILL)


def test_a_module_that_does_not_import_spoils_no_other_work():
    worker = Worker(["no_such_module"])
    assert worker.run(abs, -3) == 3
    worker.stop()


def test_it_does_not_outlive_a_killed_parent_though_it_works():
    """A parent that is killed closes nothing; its worker, in the middle of a long piece of work, ends with it."""
    code = """
        import os, time
        from concord.workers import Worker
        worker = Worker()
        print(worker.run(os.getpid), flush=True)
        worker.send(time.sleep, 120)
        worker._pipe.poll(None)
        print("it has begun", flush=True)
        time.sleep(120)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline() and running(pid)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 10
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(pid)


def test_ctrl_c_is_for_who_asked(worker):
    """An interrupt reaches every process of a terminal; a worker leaves it to its parent to stop it."""
    worker.send(time.sleep, 0.5)
    time.sleep(0.2)
    os.kill(worker._process.pid, signal.SIGINT)
    assert worker.receive(5) is None
