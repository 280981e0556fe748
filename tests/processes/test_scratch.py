"""What a run puts on the disk meanwhile goes with it, or with the next run of the same user; nothing else goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from concord.processes import scratch

# A run that says where its temporary files go, and goes on until it is told to end.
RUN = """
import signal, sys, tempfile
from concord import interruptions
from concord.processes import scratch
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and stays so
interruptions.handle(interruptions.interrupt)
scratch.begin()
inside = tempfile.mkdtemp(prefix="of-a-run-")
try:
    print(inside, flush=True)
    sys.stdin.read()
except KeyboardInterrupt:
    sys.exit(interruptions.STATUS)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def running():
    command = [sys.executable, "-c", RUN]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return process, process.stdout.readline().decode().strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_nothing_and_says_nothing_of_its_own(place, number):
    process, inside = running()
    assert inside.startswith(f"{place}/concord-run-")
    process.send_signal(number)
    process.send_signal(number)
    assert process.communicate(timeout=20)[1] == b"" and process.returncode == 130
    assert list(place.iterdir()) == []


def test_the_next_run_takes_the_folder_of_one_that_was_killed_and_no_other(place):
    for name in ("concord-run-of-nobody", "other"):
        (place / name).mkdir()
    (place / "concord-run-link").symlink_to(place / "other")
    (place / "concord-run-file").touch()
    alive, of_alive = running()
    killed, of_killed = running()
    killed.kill()
    killed.communicate()
    assert os.path.isdir(of_killed)
    third, _ = running()
    third.communicate()
    left = {path.name for path in place.iterdir()}
    assert left == {"other", "concord-run-link", "concord-run-file", os.path.basename(os.path.dirname(of_alive))}
    assert os.path.isdir(of_alive)
    alive.communicate()
    assert not os.path.exists(of_alive)


def test_of_another_users_folder_nothing_goes(place, monkeypatch):
    (place / "concord-run-of-another").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    scratch.clear(place)
    assert (place / "concord-run-of-another").is_dir()
