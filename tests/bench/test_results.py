"""The benchmarks: sides that alternate, ratios round by round, and units that show them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from concord.bench import growth, results, sides
from concord.bench.__main__ import main


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "concord.bench", *words], capture_output=True, text=True, timeout=600)


def test_sides_alternate_and_their_own_seconds_count():
    """Who goes first changes from round to round; a side that measures itself is believed, another one is timed."""
    order = []

    def ours(folder, notebooks):
        assert folder.is_dir() and not any(folder.iterdir())
        order.append("concord")
        return 0.25

    seconds = sides.measure(sides.Benchmark("title", ours, lambda *_: order.append("plain"), 1.0), 3)
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
def test_seconds_are_told_in_a_unit_that_shows_them(seconds, text):
    """Reports take seconds, fits milliseconds, an evaluation microseconds."""
    assert sides.time_text(seconds) == text


@pytest.mark.parametrize("name", ["judge"])
def test_one_benchmark_runs_by_its_name_and_prints_its_ratio(name, tmp_path):
    """The likelihood is timed beside lme4 in one process, and the ratio of every round is kept.

    How large the ratio is a busy machine must not decide: `make bench` says it beside the goal.
    """
    done = run(name, "--rounds", "2", "--results", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    number = r"[\d.]+ \([\d.]+ to [\d.]+\)"
    line = rf"{name}: concord {number} (us|ms|s), plain {number} (us|ms|s), ratio {number}, goal at most 1\n"
    assert re.fullmatch(line, done.stdout)
    (kept,) = results.runs(tmp_path / "kept")
    written = kept["benchmarks"]
    assert list(written) == [name] and len(written[name]["ratios"]) == 2
    assert all(0 < ratio < 10 for ratio in written[name]["ratios"])


@pytest.mark.parametrize(
    ("words", "said"),
    [(["judges"], "no benchmark is called judges"), (["judge", "--rounds", "0"], "must be 1 or more")],
)
def test_what_cannot_be_measured_is_said(words, said, monkeypatch, capsys):
    """A name that there is not, and no rounds at all, end with exit status 2."""
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    printed = capsys.readouterr()
    assert printed.out == "" and said in printed.err


def test_growth_is_measured_from_size_to_size_and_kept(tmp_path):
    """Two sizes, each in a process of its own: a line with the power of the rows, and the points for the page."""
    done = run("growth-likelihood", "--rows", "10000", "--results", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    number = r"[\d.]+ (us|ms|s)"
    assert re.fullmatch(
        rf"growth-likelihood: rows to the power -?[\d.]+, goal at most 1; 10000 rows {number}, \d+ MiB\n", done.stdout
    )
    points = results.growth(results.runs(tmp_path / "kept"))
    assert list(points["rows"]) == [1000, 10000] and (points["seconds"] > 0).all() and (points["peak"] >= 0).all()


@pytest.mark.parametrize("power", [1.0, 1.5])
def test_the_power_is_that_of_the_rows(power):
    """On times that are a known power of the rows."""
    sizes = [1e3, 1e4, 1e5]
    assert growth.exponent(sizes, [3e-4 * each**power for each in sizes]) == pytest.approx(power)


def test_runs_are_added_and_never_replaced(tmp_path):
    """A run is a line with the machine and the versions; the median stands between its spread."""
    kept = tmp_path / "kept"
    for ratios in ([0.5, 0.4, 0.6], [0.2]):
        results.keep({"judge": {"title": "t", "goal": 1.0, "ratios": ratios, "seconds": {}}}, kept)
    runs = results.runs(kept)
    assert len(runs) == 2 == len(kept.read_text().splitlines())
    assert {"statsmodels", "lme4", "R", "Python"} <= set(runs[0]["versions"]) and runs[0]["processors"] >= 1
    table = results.ratios(runs)
    assert table[["ratio", "lowest", "highest"]].to_numpy().tolist() == [[0.5, 0.4, 0.6], [0.2, 0.2, 0.2]]
