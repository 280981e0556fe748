"""Progress is shown to a person who waits, in a kernel and in a terminal, and to nobody else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import pytest
from jupyter_client.manager import start_new_kernel

WAITS = """
import time
from concord.display import progress
progress.DELAY, progress.PERIOD = 0.2, 0.1
with progress.progress("fitting by <lme4>"):
    time.sleep(0.8)
"""


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(env=os.environ | {"JUPYTER_PLATFORM_DIRS": "1"})
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def shown(client, person: bool) -> list[tuple[str, str]]:
    """The outputs of a cell: the kind of its message, and its HTML."""
    outputs = []

    def take(message):
        if "data" in message["content"]:
            outputs.append((message["msg_type"], message["content"]["data"]["text/html"]))

    client.execute_interactive(WAITS, allow_stdin=person, output_hook=take, stdin_hook=lambda _: None, timeout=60)
    time.sleep(0.1)
    return outputs


def test_in_a_notebook_of_a_person_an_output_changes_and_is_empty_in_the_end(kernel):
    first, *middle, last = shown(kernel, person=True)
    assert first[0] == "display_data" and "<em>fitting by &lt;lme4&gt;: 0 s</em>" in first[1]
    assert middle and {kind for kind, _ in [*middle, last]} == {"update_display_data"} and last[1] == ""


def test_in_a_notebook_that_a_program_executes_there_is_none(kernel):
    assert shown(kernel, person=False) == []


def test_in_a_terminal_a_line_goes_away_and_into_a_file_there_is_none():
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", WAITS], stderr=theirs, check=True, timeout=60)
    said = os.read(ours, 10000).decode()
    os.close(ours), os.close(theirs)
    assert "fitting by <lme4>: 0 s" in said and said.endswith("\r\x1b[K")
    done = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, check=True, timeout=60)
    assert done.stderr == b""
