"""Kernels forked from a server: the same as others but for how they start, and none outlives what it belongs to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from concord.processes import kernels as forkserver
from concord.reports import tidying
from support.forked import kernel
from support.notebooks import execute
from support.paths import TESTS
from support.processes import kernels, until

pytestmark = pytest.mark.usefixtures("scratch")

IMPORTS = [
    "import numpy as np",
    "import statsmodels.formula.api as smf",
    "import rpy2.ipython",
    "from concord.plots import estimates",
]


@pytest.fixture(scope="module")
def server():
    """The address of a server that is ready."""
    with forkserver.start(IMPORTS) as address:
        with tempfile.TemporaryDirectory() as folder:
            kernel(address, folder).kill()
        yield address


SHOWS_ALL = [
    # what a kernel is given and finds
    """
        import os, signal, sys, tempfile, threading, warnings
        print(sorted(dir()), sys.path, sys.argv[0], sys.flags, sys.stdin.read())
        print(os.path.basename(os.getcwd())[:8], os.getcwd() == tempfile.gettempdir() == os.environ["TMPDIR"])
        print(os.getsid(0) == os.getpgid(0) == os.getpid(), threading.current_thread() is threading.main_thread())
        print([signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)])
        print([os.readlink(f"/proc/self/fd/{each}").split(":")[0] for each in (1, 2)], os.umask(0o22))
    """,
    # magics that are not loaded, packages that are not attached, names that are not imported
    """
        print(get_ipython().find_line_magic("R"))
        try:
            np
        except NameError as error:
            print(error)
    """,
    "%load_ext rpy2.ipython",
    # R changes the environment when it starts, which in a server is earlier; what it does to one path is undone there
    """
        for key in "LD_LIBRARY_PATH", "R_SESSION_TMPDIR", "__DASK_PARENT_PID":
            os.environ.pop(key, None)
        here = {str(os.getpid()): "PID", str(os.getppid()): "PARENT", os.getcwd(): "FOLDER"}
        for key, value in sorted(os.environ.items()):
            for each in here:
                value = value.replace(each, here[each])
            print(key, value)
    """,
    """
        %%R
        print(search())
        print(exists("lmer"))
        print(exists(".Random.seed"))
    """,
    "%R library(lme4)",
    """
        %%R
        print(exists("lmer"))
        plot(1:3)
    """,
    """
        import matplotlib.pyplot as plt
        import numpy as np
        import pandas as pd
        import statsmodels.formula.api as smf
        table = pd.DataFrame({"x": np.arange(60.0) % 7, "g": np.arange(60) // 6})
        table["y"] = np.sin(np.arange(60.0)) + table.x + np.cos(table.g * 9.0)
        from concord.plots import style as plots
        print(*sorted(map(str, warnings.filters)), sep="\\n")
        table.head()
    """,
    "fit = smf.mixedlm('y ~ x', table, groups='g').fit(); fit.summary()",
    "plt.plot(table.x, table.y, 'o');",
    """
        %%R -i table
        print(summary(lmer(y ~ x + (1 | g), table, REML = FALSE)))
    """,
]


def test_a_forked_kernel_shows_what_any_other_shows(server, monkeypatch):
    """Variables, folders, descriptors, filters of warnings, what is and is not loaded; tables, pictures, fits."""
    monkeypatch.setenv("GIVEN", "to the kernel and not to the server")
    monkeypatch.delenv("HOME", raising=False)
    plain, forked = (execute(*SHOWS_ALL, timeout=120, server=address) for address in (None, server))
    assert (plain[0].status, forked[0].status) == ("completed", "completed"), forked[0].error
    for node in (plain[1], forked[1]):
        tidying.settle(node)
    for cold, warm in zip(plain[1].cells, forked[1].cells, strict=True):
        for mine, its in zip(warm.outputs, cold.outputs, strict=True):
            assert mine.get("text", "").splitlines() == its.get("text", "").splitlines()
            assert mine == its


DRAWS = """
    import random
    import numpy as np
    from concord import r
    folder, draw = (r.from_r(each)[0] for each in (r.call("tempdir"), r.call(r.function("stats::runif"), 1)))
    print(folder, random.random(), np.random.random(), draw, os.path.isdir(folder), folder.startswith(os.getcwd()))
"""


def test_forks_share_neither_random_numbers_nor_a_temporary_folder(server):
    """Of two at once the first ends first: the folder of the other's R is still there."""
    mark = str(Path(tempfile.gettempdir()) / "mark")
    wait = f"import time\nwhile not os.path.exists({mark!r}): time.sleep(0.05)"
    with ThreadPoolExecutor() as pool:
        second = pool.submit(execute, "import os", wait, DRAWS, server=server)
        texts = [execute("import os", DRAWS, server=server)[1].cells[1].outputs[0].text]
        Path(mark).touch()
        texts.append(second.result()[1].cells[2].outputs[0].text)
    one, other = (text.split() for text in texts)
    assert one[4:] == other[4:] == ["True", "True"]
    assert all(mine != its for mine, its in zip(one[:4], other[:4], strict=True))


@pytest.mark.parametrize(
    ("status", "cell", "timeout"),
    [
        ("died", "import os; os.kill(os.getpid(), 9)", 60),
        ("timed out", "import time; time.sleep(60)", 5),
        ("failed", "1/0", 60),
    ],
)
def test_a_forked_kernel_that_does_not_complete_is_told_and_gone(server, status, cell, timeout):
    """With what it started; death, time-out and failure are those of any other kernel."""
    sleeper = "import subprocess; subprocess.Popen(['sleep', '100'])"
    execution, _ = execute("1", sleeper, cell, "'never'", timeout=timeout, server=server)
    assert (execution.status, execution.cell) == (status, 3)
    until(lambda: not kernels(), 5)


def test_a_process_says_how_it_ended(server, tmp_path):
    """By its exit status, negative for a signal's, now and later."""
    first, second = (kernel(server, str(tmp_path)) for _ in range(2))
    assert first.poll() is second.poll() is None
    os.kill(first.pid, signal.SIGTERM)
    assert (first.wait(), first.poll()) == (-signal.SIGTERM, -signal.SIGTERM)
    second.kill()
    assert second.wait() == -signal.SIGKILL
    second.terminate()  # its number may be another's by now: nothing is sent


CLIENT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from support.forked import kernel
forked = kernel(*sys.argv[2:])
print(forked.pid, flush=True)
time.sleep(100)
"""


def test_a_kernel_ends_with_the_process_that_asked_for_it(server, tmp_path):
    """A worker is killed: its kernel does not run on for nobody."""
    words = [sys.executable, "-c", CLIENT, str(TESTS), server, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
        pid = int(client.stdout.readline())
        assert alive(pid)
        client.kill()
    until(lambda: not alive(pid), 5)


def alive(pid: int) -> bool:
    """Whether it runs; one that is dead and not yet buried does not."""
    try:
        return stat(pid)[0] != "Z"
    except OSError:
        return False


def stat(pid: int) -> list[str]:
    """State, parent and so on, which follow the command in brackets."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


BATCH = """
import sys
sys.path.insert(0, sys.argv[1])
from concord.processes import kernels as forkserver
from support.forked import kernel
with forkserver.start() as address:
    forked = [kernel(address, sys.argv[2]) for _ in range(2)]
    print(*(each.pid for each in forked), address, flush=True)
    sys.stdin.readline()
    print([each.poll() for each in forked], kernel(address, sys.argv[2]), flush=True)
"""


@pytest.fixture
def batch(tmp_path):
    """A process that has a server and two kernels; the server's id, the kernels', and the server's folder."""
    words = [sys.executable, "-c", BATCH, str(TESTS), str(tmp_path)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(words, text=True, **pipes) as process:
        *pids, address = process.stdout.readline().split()
        yield process, int(stat(pids[0])[1]), [int(pid) for pid in pids], Path(address).parent
        process.kill()


def test_a_killed_batch_takes_server_and_kernels_with_it(batch):
    """Nobody else is left to end them and to remove the folder."""
    process, server, pids, folder = batch
    assert server != process.pid and all(map(alive, [server, *pids])) and folder.exists()
    process.kill()
    until(lambda: not any(map(alive, [server, *pids])) and not folder.exists(), 5)


def test_a_killed_server_takes_its_kernels_with_it_and_is_told(batch):
    """Those that run are dead, those that follow start cold, and the batch says so when it ends."""
    process, server, pids, folder = batch
    os.kill(server, signal.SIGKILL)
    until(lambda: not any(map(alive, [server, *pids])), 5)
    said, errors = process.communicate("go on\n", timeout=20)
    assert (said, process.returncode) == ("[-9, -9] None\n", 0)
    assert errors.splitlines()[-1] == "concord: the fork server ended early (-9): kernels started cold"
    assert not folder.exists()


def test_without_r_kernels_start_as_ever_and_it_is_told(monkeypatch, capfd):
    """One line on stderr says why; the notebook has its own error in its own cell."""
    monkeypatch.setenv("R_HOME", "/nonexistent")
    with forkserver.start(["import rpy2"]) as address:
        execution, _ = execute("print('runs')", "from concord import r; r.interface()", server=address)
    assert (execution.status, execution.cell) == ("failed", 2)
    assert execution.error.startswith("NoRError: R does not start")
    assert capfd.readouterr().err.splitlines()[-1].startswith("concord: kernels start cold: NoRError: R does not start")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import warnings; warnings.warn('old')", "an import warns, which belongs into the notebook: old"),
        ("import threading, time; threading.Thread(target=time.sleep, args=[9], daemon=True).start()", "1 thread"),
    ],
)
def test_what_would_show_in_a_notebook_or_in_a_fork_is_not_done_for_it(source, said, tmp_path):
    """A warning that a cell would show; threads that a fork would not have."""
    (tmp_path / "stray.py").write_text(source)
    code = "from concord.processes import kernels; kernels.warm(['import stray'])"
    environment = os.environ | forkserver.FORKABLE | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode and said in done.stderr.splitlines()[-1]


def test_a_file_of_the_current_folder_is_not_taken_for_the_librarys(tmp_path, monkeypatch, capfd):
    """The server starts where the batch was started, and its kernels have nothing of that folder either."""
    (tmp_path / "json.py").write_text("raise SystemExit('it was run')")
    monkeypatch.chdir(tmp_path)
    with forkserver.start() as address, tempfile.TemporaryDirectory() as folder:
        forked = kernel(address, folder)
        assert forked is not None
        forked.kill()
    assert capfd.readouterr().err == ""
