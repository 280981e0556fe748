"""Workers: processes that run what they are sent, and that can be stopped in the middle of it."""

from __future__ import annotations

import gc
import itertools
import os
import pickle
import signal
import struct
import subprocess
import sys
import textwrap
import time
import traceback
from contextlib import suppress
from multiprocessing import connection
from pathlib import Path

import pytest

from concord.processes import worker as workers
from concord.processes.worker import QuestionClosed, Worker, WorkerStopped


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


def children() -> set[int]:
    """The processes that this one has started, those that it may have lost among them."""
    found = [each.read_text().split() for each in Path("/proc/self/task").glob("*/children")]
    return {pid for pid in map(int, itertools.chain(*found)) if running(pid)}


def test_it_works_in_a_process_of_its_own_one_piece_after_the_other(worker):
    first, second = worker.run(os.getpid), worker.run(os.getpid)
    assert first == second != os.getpid()


def test_whether_an_answer_is_there_is_seen_without_waiting_and_its_time_counts_from_its_beginning(worker):
    question = worker.send(time.sleep, 0.3)
    assert not question.arrived(60)
    deadline = time.monotonic() + 20
    while not question.arrived(60) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert question.arrived(60) and question.answer(60) is None and question.arrived()
    late = worker.send(time.sleep, 60)
    began = time.monotonic()
    while not late.arrived(0.5):  # nobody waits for it: who asked is at work
        time.sleep(0.02)
    assert 0.4 < time.monotonic() - began < 5
    with pytest.raises(WorkerStopped):
        late.answer(0.5)
    assert time.monotonic() - began < 5


def test_it_is_a_fresh_interpreter_whatever_this_process_holds(monkeypatch):
    """A fork would have what this process has, and hang on a lock that another thread of this one held."""
    monkeypatch.setitem(sys.modules, "left_here", sys)
    worker = Worker()
    assert worker.run(eval, "'left_here' in __import__('sys').modules") is False
    worker.stop()


def test_work_waits_for_what_is_called_first_and_outlives_its_failure():
    for first, told in (((setattr, Awkward, "left_here", 1), True), ((divmod, 1, 0), False)):
        worker = Worker((), first)
        assert worker.run(hasattr, Awkward, "left_here") is told
        worker.stop()


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
    with pytest.raises(Exception, match="pickle|local object"):  # as Python has said it until 3.12, and since
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


def test_time_counts_from_the_beginning_of_the_work_and_not_from_what_goes_before(tmp_path, monkeypatch):
    """A worker that still imports has not begun."""
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(2)\n")
    monkeypatch.syspath_prepend(tmp_path)
    worker = Worker(["slow_to_import"])
    assert worker.run(abs, -2, timeout=1.5) == 2
    worker.stop()


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
        from concord.processes.worker import Worker
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
    assert os.getpgid(worker.run(os.getpid)) != os.getpgid(0)
    question = worker.send(time.sleep, 0.5)
    time.sleep(0.2)
    os.kill(worker._process.pid, signal.SIGINT)
    assert question.answer(5) is None


# ---- an answer belongs to its question


@pytest.fixture
def ctrl_c():
    """Interruptions are raised in this process, whatever the test runner has made of them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_question_is_answered_once(worker):
    question = worker.send(abs, -1)
    assert question.answer() == 1
    with pytest.raises(QuestionClosed):
        question.answer()


def test_a_question_that_was_given_up_has_no_answer_and_the_next_one_has_its_own(worker):
    pid = worker.run(os.getpid)
    first = worker.send(abs, -1)
    first.abandon()
    forgotten = worker.send(abs, -2)
    assert worker.run(abs, -3) == 3
    for each in (first, forgotten):
        with pytest.raises(QuestionClosed):
            each.answer()
    assert worker.run(os.getpid) == pid


def test_what_is_said_about_another_question_is_passed_over(worker):
    """However it came into the pipe."""
    assert worker.run(_says_of, 3, "another's") is None
    assert worker.run(abs, -1) == 1


def _says_of(many: int, what: str) -> None:
    """In a worker: answers to questions that nobody asked, before and after the true one's number."""
    pipe = next(
        each for each in (frame.f_locals.get("pipe") for frame, _ in traceback.walk_stack(None)) if each is not None
    )
    for number in range(many):
        pipe.send_bytes(workers._HEAD.pack(workers.number() - number - 1, workers._VALUE) + pickle.dumps(what))
        pipe.send_bytes(workers._HEAD.pack(workers.number() + number + 1, workers._VALUE) + pickle.dumps(what))


@pytest.mark.parametrize("given_up", ["at once", "by the next question"])
def test_a_worker_that_goes_on_with_what_was_given_up_is_ended(worker, given_up):
    pid = worker.run(os.getpid)
    question = worker.send(time.sleep, 60)
    began = time.monotonic()
    if given_up == "at once":
        question.abandon()
    else:
        with pytest.raises(WorkerStopped, match="interrupted"):
            worker.send(abs, -1)
    assert time.monotonic() - began < 10 and not worker.alive and not running(pid)
    for what in (question.answer, lambda: worker.send(abs, -1)):
        with pytest.raises(WorkerStopped, match="interrupted"):
            what()


def test_arguments_that_cannot_be_sent_leave_the_worker_as_it_is(worker):
    with pytest.raises(Exception, match="pickle|local object"):  # as Python has said it until 3.12, and since
        worker.run(abs, lambda: None)
    assert worker.run(abs, -1) == 1


class Late:
    """Raises where it is unpickled, as an interruption may be there."""

    def __reduce__(self):
        return _interrupted, ()


def _interrupted():
    if workers.number() == 0:
        raise KeyboardInterrupt


def test_an_interruption_while_an_answer_is_unpickled_costs_that_answer_only(worker):
    with pytest.raises(KeyboardInterrupt):
        worker.run(Late)
    assert worker.run(abs, -1) == 1 and worker.alive


def dies_in_its_answer() -> None:
    """In a worker: say that an answer of a million bytes comes, send some, and die."""
    pipe = next(
        each for each in (frame.f_locals.get("pipe") for frame, _ in traceback.walk_stack(None)) if each is not None
    )
    os.write(pipe.fileno(), struct.pack("!i", 1_000_000) + b"some")
    os.kill(os.getpid(), signal.SIGKILL)


def test_one_that_dies_in_the_middle_of_its_answer_has_died(worker):
    with pytest.raises(WorkerStopped, match="SIGKILL"):
        worker.run(dies_in_its_answer)


class Interrupting:
    """Interrupts the process that traces itself by it, at one of its steps in the code that asks workers.

    Attributes
    ----------
    step : at which one, counted from 1
    fine : whether every bytecode of `concord.processes.worker` is a step, and not every line
    steps : how many were seen
    """

    def __init__(self, step: int, fine: bool = False) -> None:
        self.step, self.fine, self.steps = step, fine, 0

    def __call__(self, frame, event, argument):
        code = frame.f_code
        # What is raised in a finalizer reaches nobody.
        if code.co_filename not in TRACED or code.co_name == "__del__":
            return None
        frame.f_trace_opcodes = self.fine and code.co_filename == workers.__file__
        if event != "call":
            self.steps += 1
            if self.steps == self.step:
                signal.raise_signal(signal.SIGINT)
        return self


TRACED = (workers.__file__, connection.__file__, subprocess.__file__)


def big(seed: int) -> bytes:
    """More than a pipe holds at once."""
    return bytes([seed]) * 300_000


def test_interrupted_at_every_step_the_next_answer_is_the_next_questions(ctrl_c, monkeypatch):
    """Every bytecode of `Worker.run` and every line of the pipe's own code, the reading of half a message included."""
    monkeypatch.setattr(workers, "GRACE", 60.0)  # a busy machine ends no process that would have answered
    worker, told, step, pids = Worker(), [], 0, set()
    while True:
        step += 1
        interrupting = Interrupting(step, fine=True)
        sys.settrace(interrupting)
        try:
            got = worker.run(big, step % 251)
        except KeyboardInterrupt:
            got = None
        finally:
            sys.settrace(None)
        if got is not None:
            assert got == big(step % 251)
        if interrupting.steps < step:
            break
        pids.add(worker._process.pid)
        if not worker.alive:
            worker.stop()
            worker = Worker()
        told.append(worker.run(divmod, step, 7) == divmod(step, 7))
    worker.stop()
    assert len(told) > 300 and all(told), f"{told.count(False)} of {len(told)} answers were another question's"
    assert 1 < len(pids) < len(told) and not any(map(running, pids))


def pipes() -> int:
    """How many sockets this process holds: a worker ends by itself once the other end of its own is closed."""
    held = 0
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the folder itself
            held += os.readlink(file).startswith("socket:")
    return held


def test_interrupted_at_every_step_of_its_start_and_its_end_no_worker_is_left_behind(ctrl_c, monkeypatch):
    """Of those that were started and are known to nobody each tenth ends by itself. To begin, only to see that its pipe
    is closed, takes it longer than all else: that of the others is looked at here, and they are killed.
    """
    # Each variable of the environment is the same steps once more.
    for name in os.environ.keys() - {"PATH", "LD_LIBRARY_PATH"}:
        monkeypatch.delenv(name)
    before, held = children(), pipes()
    for begin, end in ((True, False), (False, True)):
        step, seen = 0, 1
        while seen >= step:
            step += 1
            interrupting, made = Interrupting(step), None if begin else Worker()
            sys.settrace(interrupting)
            try:
                if begin:
                    made = Worker()
                if end:
                    made.stop()
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(None)
            seen = interrupting.steps
            if made is None and step % 10:
                if pipes() != held:
                    gc.collect()  # an interruption's own frames may hold it a little longer
                assert pipes() == held, f"step {step}"
                for pid in children() - before:
                    os.kill(pid, signal.SIGKILL)
            if made is not None:
                # One that is to be ended is, or knows nothing of it yet.
                assert made.alive or not running(made._process.pid)
                assert not made.alive or made.run(abs, -step) == step
                made.stop()
        assert step > 30
    gc.collect()
    deadline = time.monotonic() + 10
    while children() - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not children() - before


def test_no_worker_holds_another_ones_pipe_open():
    """One that nobody can ask any more ends, though others were started while it was there."""
    first = Worker()
    pid, second = first.run(os.getpid), Worker()
    second.run(abs, 1)
    first._pipe.close()
    deadline = time.monotonic() + 10
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running(pid) and second.run(abs, -1) == 1
    first.stop()
    second.stop()


FORKED = """
import os, threading
from concord.processes.worker import Worker, WorkerStopped

worker = Worker()
question = worker.send(bytes, 300_000)
assert threading.active_count() == 1  # with another one the fork may hang
child = os.fork()
if not child:
    refused = not worker.alive
    for what in (question.answer, lambda: worker.run(abs, -1)):
        try:
            what()
            refused = False
        except WorkerStopped:
            continue
    os._exit(not refused)
assert os.waitpid(child, 0)[1] == 0
assert question.answer() == bytes(300_000) and worker.run(abs, -1) == 1
"""


def test_a_process_that_is_forked_takes_no_answer_that_its_parent_waits_for():
    """In a fresh process, as this one has threads."""
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60)


def test_a_file_of_the_current_folder_is_not_taken_for_the_librarys(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('it was run')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])  # no text, as of whoever puts a Path there
    worker = Worker()
    assert worker.run(abs, -1) == 1
    worker.stop()
