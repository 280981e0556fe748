"""Clusters of worker processes on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
    told = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=240)
    assert told.stdout.split() == ["1", "True"]
