"""Whatever ends a command, nothing is lost, nothing runs on, and the next run is clean: one kill now, and the tally."""

from __future__ import annotations

import csv
import random
import tempfile
from pathlib import Path

import pytest

from stress import kills

SIGNAL = "it ended by the signal, which a shell tells as 130 too; counted as a failure by an earlier rule"
FAILED = {
    ("compare", "SIGINT, twice"): SIGNAL,
    ("explain", "SIGINT"): SIGNAL,
    ("refresh", "SIGINT, twice"): SIGNAL,
    (
        "reports",
        "SIGINT, group",
    ): "tracebacks of the fork server and of workers as they start, which Ctrl-C reaches no more; once, status 0 as "
    "all was done",
    ("reports", "SIGKILL, a child"): "a traceback where a worker is killed as it starts, which is one line now",
    (
        "simulate",
        "SIGKILL",
    ): "the fork server was importing for more than 5 s, and ended when it had: 20 s are given now",
    (
        "simulate",
        "SIGKILL, a child",
    ): "a traceback beside results that were whole: of multiprocessing's own tracker, where that is what was killed",
    ("verdicts", "SIGINT"): "status 0, as all was done when it came",
    ("translate", "SIGKILL, a child"): "a traceback where the R that tells its folder is killed; one line now",
}
"""What failed in the campaign, and what it was; in none was a file lost or a process left."""


@pytest.fixture
def place():
    """A folder with a short name, as sockets need it."""
    with tempfile.TemporaryDirectory(prefix="kills-", dir="/tmp") as folder:
        yield Path(folder)


def test_a_killed_check_leaves_no_process_and_the_next_run_is_clean(place, monkeypatch):
    monkeypatch.setattr(random.Random, "uniform", lambda *_: 1.5)
    assert kills.trial("check", "SIGKILL, group", random.Random(1), place) == []


def test_the_tally_has_every_way_and_every_command(place):
    """What failed in it is known by its command and its signal."""
    with Path(kills.__file__).with_suffix(".tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert {row["signal"] for row in rows} == set(kills.WAYS)
    assert {row["command"] for row in rows} == set(kills.commands(place))
    assert {(row["command"], row["signal"]) for row in rows if row["failures"] != "0"} <= set(FAILED)
