"""The simulate command: what cannot be simulated is one line and exit status 2."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from concord.commands.cli import main
from support.studies import MODEL


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing-here"], "dataset 'nothing': not found"),
        (["sleepstudy"], "model 'sleepstudy': give an id such as sleepstudy-random_slope, or grid"),
        (["sleepstudy-nothing"], "dataset sleepstudy has random_intercept"),
        (["grid", "--grid", "nowhere.toml"], "nowhere.toml: cannot be read"),
        ([MODEL, "--grid", "nowhere.toml"], "--grid belongs to `simulate grid`"),
        ([MODEL, "--scheduler", "tcp://127.0.0.1:9", "--output", "there"], "no dask scheduler answers at"),
        ([MODEL, "--output", __file__], "is not a folder"),
        ([MODEL, "--output", f"{__file__}/there"], "there: cannot be written: Not a directory: name another folder"),
        (
            [MODEL, "--output", "/proc/z"],
            "concord: /proc/z: cannot be written: No such file or directory: name another",
        ),
        ([MODEL, "--output", "/proc/self"], "concord: /proc/self: cannot be written: "),
    ],
)
def test_what_cannot_be_simulated_is_one_line_and_status_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("concord.processes.cluster.PATIENCE", 1)
    assert main(["simulate", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 1 and message in told.err


def test_what_is_no_scheduler_s_address_is_one_line_at_once():
    """In a process of its own: a client that was begun and not closed speaks when it is cleared away."""
    reasons = {
        "foo": "missing port number",
        "tcp://127.0.0.1:99999": "port 99999 is not from 1 to 65535",
        "http://127.0.0.1:8786": "unknown address scheme 'http'",
        "tls://127.0.0.1:9": "no certificates for tls",
    }
    code = """
import sys
from concord.processes import cluster
for address in sys.argv[1:]:
    try:
        with cluster.cluster(address, 1):
            pass
    except cluster.InputError as error:
        print(error)
"""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, *reasons], capture_output=True, text=True, timeout=90, check=False
    )
    assert (done.returncode, done.stderr) == (0, "") and time.monotonic() - began < 15
    for line, (address, why) in zip(done.stdout.splitlines(), reasons.items(), strict=True):
        assert line.startswith(f"{address}: is not the address of a dask scheduler: ") and why in line


@pytest.mark.parametrize(
    "given", [["--replicates", "0"], ["--replicates", "1.5"], ["--seed", "-1"], ["--workers", "-1"]]
)
def test_a_number_that_is_none_is_one_line_and_status_2(given, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["simulate", MODEL, *given])
    assert ended.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
