"""Interrupted at random moments, a process gives the next question the answer that a fresh process gives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from support.paths import TESTS

# By `make mutate` all of them, a few minutes; CONCORD_INTERRUPTIONS_SEED=7 for other moments.
TIMES = os.environ.get("CONCORD_INTERRUPTIONS", "300" if os.environ.get("CONCORD_MUTATE") == "all" else "30")
SEED = os.environ.get("CONCORD_INTERRUPTIONS_SEED", "1")


def left(mark: str) -> list[str]:
    """The processes whose environment has a mark."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (each / "environ").read_bytes():
                found.append((each / "cmdline").read_text())
        except OSError:  # it has ended, or is another user's
            continue
    return found


@pytest.mark.timeout(max(900, 6 * int(TIMES)))
def test_no_answer_is_an_interrupted_questions_and_no_process_is_left_behind():
    mark = f"CONCORD_TEST_MARK={uuid.uuid4()}"
    name, value = mark.split("=")
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "support.interruptions", TIMES, SEED],
        env={**os.environ, name: value, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["wrong"], "\n".join([*found["wrong"], done.stderr])
    outcomes = found["outcomes"]
    assert outcomes["interrupted"] == int(TIMES) and "interruption lost" not in outcomes, f"{outcomes}\n{done.stderr}"
    # Two of the formulas are refused, and no more than one process an engine lives.
    assert found["refused"] == 2 and found["children"] <= 3 and not left(mark), f"{found}\n{done.stderr}"
