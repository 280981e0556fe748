"""A reader that goes, and a stream that is closed from the start, end nothing but the printing."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A command that prints until long after its reader has gone, and then leaves a file.
WORK = """
import sys
from pathlib import Path
from concord.commands import cli, translate
def work(args):
    for _ in range(20000): print("a line of what there is to say")
    print("aside", file=sys.stderr)
    Path(sys.argv[2]).write_text("done")
    return 1
translate.run = work
sys.exit(cli.main(["translate", "y ~ x + (1 | g)"]))
"""


@pytest.mark.parametrize(
    "shell", ['"$@" | head -1 >/dev/null', '"$@" 2>&1 | true', '"$@" >&-', '"$@" >&- 2>&- <&-', '"$@" 2>&- | head -1']
)
def test_the_work_is_done_and_the_status_is_its_own(tmp_path, shell):
    (tmp_path / "work.py").write_text(WORK)
    words = [sys.executable, str(tmp_path / "work.py"), "x", str(tmp_path / "report")]
    script = f"set -o pipefail; {shell}"
    done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True)
    assert (tmp_path / "report").read_text() == "done"
    assert done.returncode == 1 and "BrokenPipe" not in done.stderr and "Traceback" not in done.stderr
