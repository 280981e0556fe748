"""The benchmarks: sides that alternate, ratios round by round, and units that show them."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts/bench.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bench"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, timeout=200)


def test_sides_alternate_and_their_own_seconds_count(bench):
    """Who goes first changes from round to round; a side that measures itself is believed, another one is timed."""
    order = []

    def ours(folder, notebooks):
        assert folder.is_dir() and not any(folder.iterdir())
        order.append("concord")
        return 0.25

    seconds = bench.measure(bench.Benchmark("title", ours, lambda *_: order.append("plain"), 1.0), 3)
    assert order == ["concord", "plain", "plain", "concord", "concord", "plain"]
    assert seconds["concord"] == [0.25] * 3 and all(0 < each < 0.25 for each in seconds["plain"])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ([12.34], "12.3 s"),
        ([0.1, 0.12, 0.2], "120.0 (100.0 to 200.0) ms"),
        ([51e-6, 49e-6, 60e-6], "51 (49 to 60) us"),
        ([0.0], "0 us"),
    ],
)
def test_seconds_are_told_in_a_unit_that_shows_them(bench, seconds, text):
    """Reports take seconds, fits milliseconds, an evaluation microseconds."""
    assert bench._time(seconds) == text


@pytest.mark.parametrize("name", ["judge", "optimum"])
def test_one_benchmark_runs_by_its_name_and_prints_its_ratio(name, tmp_path):
    """The likelihood is timed beside lme4 in one process, and the ratio of every round is kept.

    How large the ratio is a busy machine must not decide: `make bench` says it beside the goal.
    """
    done = run(name, "--rounds", "2", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    number = r"[\d.]+ \([\d.]+ to [\d.]+\)"
    line = rf"{name}: concord {number} (us|ms|s), plain {number} (us|ms|s), ratio {number}, goal at most 1\n"
    assert re.fullmatch(line, done.stdout)
    written = json.loads((tmp_path / "bench.json").read_text())["benchmarks"]
    assert list(written) == [name] and len(written[name]["ratios"]) == 2
    assert all(0 < ratio < 10 for ratio in written[name]["ratios"])


@pytest.mark.parametrize(
    ("words", "said"),
    [(["judges"], "no benchmark is called judges"), (["judge", "--rounds", "0"], "must be 1 or more")],
)
def test_what_cannot_be_measured_is_said(words, said):
    """A name that there is not, and no rounds at all, end with exit status 2."""
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "") and said in done.stderr
