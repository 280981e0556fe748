"""Clusters of worker processes on this machine."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from concord.errors import FootingError
from concord.processes.cluster import _secret, cluster

ASKED = """
from concord.engines.engine import preloads
from concord.processes.cluster import cluster

if __name__ == "__main__":
    with cluster(None, 1, 0, "pass", ("pandas", *preloads())) as client:
        folder = "'/proc/' + str(__import__('os').getppid())"
        print(client.submit(eval, f"len(__import__('os').listdir({folder} + '/task'))").result())
        print(client.submit(eval, f"'forkserver' in open({folder} + '/cmdline').read()").result())
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not list threads")
def test_the_process_that_workers_are_forked_from_has_one_thread(tmp_path):
    """A fork has one of the threads only, and for good every lock that another one held."""
    script = tmp_path / "asked.py"
    script.write_text(ASKED)
    told = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=600)
    assert told.stdout.split() == ["1", "True"]


STRANGER = """
import sys
from distributed import Client
from distributed.security import Security

key = dict(zip(sys.argv[3::2], sys.argv[4::2]))
try:
    with Client(sys.argv[1], timeout=2, security=Security(require_encryption=True, **key) if key else None) as client:
        client.submit(open, sys.argv[2], "w").result(timeout=5)
    print("done")
except Exception:  # of dask's own many kinds
    print("refused")
"""


def test_no_other_process_of_this_machine_can_have_work_done(tmp_path):
    """Neither one that knows the address, nor one with a key of its own; and the scheduler's pages tell nothing."""
    mark, names = tmp_path / "mark", ("ca_file", "client_key", "client_cert")
    own = _secret()
    for name in names:
        (tmp_path / name).write_text(getattr(own, f"tls_{name}"))
    with cluster(None, 1) as client:
        assert client.scheduler.address.startswith("tls://127.0.0.1:") and client.submit(pow, 2, 5).result() == 32
        words = [word for name in names for word in (f"tls_{name}", tmp_path / name)]
        address = client.scheduler.address
        told = [
            subprocess.run(
                [sys.executable, "-c", STRANGER, place, mark, *key], capture_output=True, text=True, timeout=60
            ).stdout
            for place in (address, address.replace("tls:", "tcp:"))
            for key in ((), words)
        ]
        port = client.scheduler_info()["services"]["dashboard"]
        workers = client.scheduler_info()["workers"]
        with suppress(URLError):
            urlopen(f"http://127.0.0.1:{port}/info/main/workers.html", timeout=5)
            raise AssertionError("the scheduler's pages are open")
        assert all(address.startswith("tls:") for address in workers)
    assert told == ["refused\n"] * 4
    assert not mark.exists()


DEAF = """
from concord.processes.cluster import cluster

MASK = "signal.pthread_sigmask(signal.SIG_BLOCK, ())"
FIRST = f"import signal, sys; vars(sys).setdefault('deaf', signal.SIGINT in {MASK})"
if __name__ == "__main__":
    for imported in ((), ("json",)):
        with cluster(None, 2, 0, FIRST, imported) as client:
            print(*client.run(lambda: __import__("sys").deaf).values())
"""


def test_a_worker_is_deaf_to_ctrl_c_before_it_can_say_what_it_does_about_it(tmp_path):
    """Spawned or forked; else it would print a traceback of what it was importing."""
    script = tmp_path / "deaf.py"
    script.write_text(DEAF)
    told = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=600)
    assert told.stdout.split() == ["True"] * 4


def test_a_worker_that_is_killed_as_it_starts_is_one_line():
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(FootingError, match="a worker process .* run it again") as told, cluster(None, 1, 0, kill):
        pass
    assert "\n" not in str(told.value)
