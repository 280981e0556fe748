"""A study on real processes: several workers, some of them killed, a killed scheduler, Ctrl-C, a full disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from concord.commands.cli import main
from concord.models import model
from concord.plots import simulation
from concord.simulation import experiment, parts, study
from concord.simulation.case import Case, cases
from concord.simulation.experiment import Experiment, schema
from concord.simulation.findings import Findings
from concord.simulation.store import Batch, Plan, Store
from concord.simulation.study import StudyStopped, run
from concord.simulation.work import Work
from support.processes import session, until
from support.studies import DEFAULT, MODEL, NAME, files, rows

FIRST, ALL = 60, 80
KILLER = 59
"""The replicate that ends the process of whoever computes it, where `PRELOAD` has been read."""
PRELOAD = f"""
import os, signal
from concord.simulation.experiment import Experiment
draw = getattr(Experiment.response, "draw", Experiment.response)  # dask reads it twice
def response(self, n):
    return os.kill(os.getpid(), signal.SIGKILL) if n == {KILLER} else draw(self, n)
response.draw, Experiment.response = draw, response
"""


@pytest.fixture(scope="module")
def case() -> Case:
    return Case.of(model.get(MODEL))


def made_up(plan: Plan, first: int, stop: int) -> bytes:
    """A part of a study, with rows that nobody computed."""
    (case,) = plan.cases
    manifest = plan.manifest
    fits = tuple(manifest["fits"])
    identity = parts.Identity(
        case.name, case.digest, plan.seed, fits, plan.thorough, manifest["level"], manifest["versions"], first, stop
    )
    of = [("independent", "optimum"), *plan.pairs]
    rows = [
        {"case": case.name, "replicate": number, "engine": engine, "settings": settings}
        for number in range(first, stop)
        for engine, settings in of
    ]
    return parts.encode(rows, identity, schema(case.model.design))


@pytest.fixture(scope="module")
def uninterrupted(case, tmp_path_factory) -> pd.DataFrame:
    """The rows of all replicates, one after the other in this process."""
    folder = tmp_path_factory.mktemp("serial")
    run(Plan((case,), 1, ALL, DEFAULT), folder, workers=0, batch=ALL)
    return rows(folder)


def command(folder: Path, *arguments: str, wrapped: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[str]:
    """The simulate command as a process of its own session."""
    words = [sys.executable, "-m", "concord", "simulate", MODEL, "--settings", "default", "--output", str(folder)]
    return subprocess.Popen(
        [*wrapped, *words, *arguments],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "SCHEDULER": "", **environment},
    )


def told(err: str) -> list[str]:
    """What a command wrote on stderr, without how far it is, which it writes now and then."""
    return [line for line in err.splitlines() if not re.fullmatch(r"\d+ of \d+ replicates", line)]


# On real processes: each fixture goes on in the folder that the one before has left


class Cluster:
    """A scheduler and its workers, started by dask's own commands."""

    def __init__(self, folder: Path, workers: int, *options: str):
        self.folder, self.processes = folder, []
        folder.mkdir()
        self.file = folder / "scheduler.json"
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self.file))
        until(lambda: self.file.exists() and self.file.stat().st_size, 90)
        self.address = json.loads(self.file.read_text())["address"]
        self._start(
            "worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--nworkers", str(workers), *options
        )

    def _start(self, what: str, *options: str) -> None:
        dask = str(Path(sys.executable).with_name("dask"))
        environment = {**os.environ, "TMPDIR": str(self.folder), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
        with (self.folder / f"{what}.log").open("w") as log:
            self.processes.append(
                subprocess.Popen(
                    [dask, what, *options, "--no-dashboard"],
                    cwd=self.folder,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    @property
    def workers(self) -> list[int]:
        """The worker processes: those of the workers' command that are not the command itself, nor keep its books."""
        leader = self.processes[1].pid
        found = []
        for pid in session(leader):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if pid != leader and b"spawn_main" in words:
                found.append(pid)
        return found

    def stop(self) -> None:
        for process in self.processes:
            for pid in session(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait(20)


@pytest.fixture(scope="module")
def after_scheduler(tmp_path_factory):
    """Three workers; two are killed, then the scheduler: what the command says, and what it leaves."""
    folder = tmp_path_factory.mktemp("study")
    cluster = Cluster(folder / "three", 3)
    process = command(folder / "kept", "--replicates", str(FIRST), "--batch", "1", SCHEDULER=cluster.address)
    try:
        until(lambda: len(files(folder / "kept")) >= 5, 120)
        before = len(files(folder / "kept"))
        for pid in cluster.workers[:2]:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(files(folder / "kept")) >= before + 5, 60)
        os.kill(cluster.processes[0].pid, signal.SIGKILL)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        cluster.stop()
    return folder / "kept", process.returncode, out, err, len(files(folder / "kept"))


def test_killed_workers_lose_nothing_and_a_killed_scheduler_is_one_line(after_scheduler, uninterrupted):
    folder, status, out, err, count = after_scheduler
    assert (status, out) == (1, "")
    assert told(err) == [
        f"concord: the scheduler is gone: {count} of {FIRST} replicates are kept in {folder}; the same command goes on"
    ]
    assert 10 <= count < FIRST
    there = rows(folder)
    assert not there.duplicated(["replicate", "engine", "settings"]).any()
    wanted = uninterrupted[uninterrupted["replicate"].isin(there["replicate"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(there, wanted, check_exact=True)


@pytest.fixture(scope="module")
def after_killer(after_scheduler, tmp_path_factory):
    """The same command goes on, on one worker, which one of the replicates kills whenever it is computed."""
    folder = after_scheduler[0]
    here = tmp_path_factory.mktemp("killer")
    (here / "preload.py").write_text(PRELOAD)
    cluster = Cluster(here / "one", 1, "--preload", str(here / "preload.py"))
    try:
        process = command(folder, "--replicates", str(FIRST), "--batch", "2", SCHEDULER=cluster.address)
        out, err = process.communicate(timeout=600)
    finally:
        process.kill()
        cluster.stop()
    return folder, process.returncode, out, err


def test_a_replicate_that_kills_its_worker_is_named_and_all_others_are_there(after_killer, uninterrupted):
    folder, status, out, err = after_killer
    assert status == 1
    assert told(err) == [
        f"concord: no result: {NAME}, replicate {KILLER}: it killed its worker again and again",
        f"concord: {FIRST - 1} of {FIRST} replicates are there; the same command tries again",
    ]
    assert out.startswith("Verdicts\n") and f"{FIRST - 1} replicates, seed 1" in out
    wanted = uninterrupted[uninterrupted["replicate"] < FIRST]
    wanted = wanted[wanted["replicate"] != KILLER].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows(folder), wanted, check_exact=True)


@pytest.fixture(scope="module")
def after_interrupt(after_killer):
    """More replicates, on two workers of this machine; Ctrl-C on the way."""
    folder = after_killer[0]
    before = len(files(folder))
    process = command(folder, "--replicates", str(ALL), "--batch", "1", "--workers", "2")
    try:
        until(lambda: len(files(folder)) >= before + 3, 120)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        until(lambda: not session(process.pid), 15)
    finally:
        for pid in session(process.pid):
            os.kill(pid, signal.SIGKILL)
    return folder, process.returncode, out, err


def test_ctrl_c_ends_it_with_one_line_and_no_process_left(after_interrupt, uninterrupted):
    folder, status, out, err = after_interrupt
    there = rows(folder)
    count = there["replicate"].nunique()
    assert (status, out) == (130, "")
    assert told(err) == [
        f"concord: interrupted: {count} of {ALL} replicates are kept in {folder}; the same command goes on"
    ]
    assert FIRST - 1 + 3 <= count < ALL
    wanted = uninterrupted[uninterrupted["replicate"].isin(there["replicate"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(there, wanted, check_exact=True)


def test_after_all_that_the_study_is_the_one_that_was_never_interrupted(after_interrupt, uninterrupted, capsys):
    folder = after_interrupt[0]
    given = ["simulate", MODEL, "--settings", "default", "--output", str(folder), "--workers", "0"]
    assert main([*given, "--replicates", str(ALL)]) == 0
    told = capsys.readouterr()
    assert told.err == "" and f"{ALL} replicates, seed 1" in told.out
    pd.testing.assert_frame_equal(rows(folder), uninterrupted, check_exact=True)
    assert not [*folder.rglob(".*.aside")]
    before = {path: path.stat().st_mtime_ns for path in files(folder)}
    assert main([*given, "--replicates", "10"]) == 0  # fewer than there are: nothing to do, and nothing forgotten
    assert f"{ALL} replicates, seed 1" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in files(folder)} == before
    for name in ("verdicts", "engines", "gaps", "parameters"):
        assert len(pd.read_csv(folder / f"{name}.csv")) > 1 or name == "verdicts"


def test_a_full_disk_is_one_line_and_what_was_written_is_whole(case, uninterrupted, tmp_path):
    """On a file system with room for a few parts; where no user may make one, no file may be of any length."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    mounted = f'D={disk}; mount -t tmpfs -o size=80k tmpfs $D && {{ "$@"; s=$?; cp -r $D/study {kept}; exit $s; }}'
    can = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True)
    if can.returncode == 0:
        wrapped, why = ("unshare", "-rm", "sh", "-c", mounted, "sh"), "No space left on device"
    else:
        wrapped, why = (
            ("sh", "-c", f'ulimit -f 12; "$@"; s=$?; cp -r {disk}/study {kept}; exit $s', "sh"),
            "File too large",
        )
    process = command(disk / "study", "--replicates", "30", "--batch", "2", "--workers", "0", wrapped=wrapped)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1 and out == ""
    count = 2 * len(files(kept))
    assert re.fullmatch(
        rf"concord: {disk / 'study'}\S*: cannot be written: {why}: {count} of 30 replicates are kept in "
        rf"{disk / 'study'}; the same command goes on\n",
        err,
    )
    assert not [*kept.rglob(".*.aside")]
    if can.returncode == 0:
        assert 0 < count < 30
    for path in files(kept):
        assert pq.read_table(path).num_rows == 6
    run(Plan((case,), 1, 30, DEFAULT), kept, workers=0)
    wanted = uninterrupted[uninterrupted["replicate"] < 30].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows(kept), wanted, check_exact=True)


@pytest.mark.parametrize(("package", "version"), [("lme4", "0.9"), ("concord", "0.1.0")])
def test_workers_with_other_versions_stop_the_study(case, tmp_path, monkeypatch, package, version):
    compute, here = experiment.compute, experiment.made_with()
    monkeypatch.setattr(study, "compute", lambda *given: (*compute(*given)[:2], here | {package: version}))
    with pytest.raises(StudyStopped, match=f"a worker has {package} {version}, and here it is .*: install the same"):
        run(Plan((case,), 1, 2, DEFAULT), tmp_path, workers=0)
    assert files(tmp_path) == []


def test_a_worker_with_another_layout_of_the_package_stops_the_study(case, tmp_path, monkeypatch):
    """There `concord.simulation` is a module, as it was before the package had rooms."""

    def without(function, name):
        raise ModuleNotFoundError(f"No module named '{name}'; 'concord.simulation' is not a package")

    client = SimpleNamespace(run=without, cancel=lambda futures: None)
    monkeypatch.setattr("concord.processes.cluster.cluster", lambda *given: nullcontext(client))
    with pytest.raises(StudyStopped, match="a worker lacks what it needs .*experiment.*: install this Concord there"):
        run(Plan((case,), 1, 2, DEFAULT), tmp_path, workers=2)


def test_a_study_has_the_version_of_the_project(case):
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert Plan((case,), 1, 1, DEFAULT).manifest["versions"]["concord"] == project["version"]


def test_threads_of_one_worker_refit_one_after_the_other(case, monkeypatch):
    """R is one interpreter, and a worker of somebody's cluster may have several threads."""
    replicate, inside, most = Experiment.replicate, [], []

    def watched(self, number):
        inside.append(number)
        time.sleep(0.05)
        most.append(len(inside))
        rows = replicate(self, number)
        inside.remove(number)
        return rows

    monkeypatch.setattr(Experiment, "replicate", watched)
    with ThreadPoolExecutor(2) as pool:
        asked = (case.content, case.digest, 1, DEFAULT, True)
        parts_ = list(pool.map(lambda number: experiment.compute(*asked, number, number + 1), range(4)))
    assert most == [1, 1, 1, 1] and not any(isinstance(each, experiment.Failure) for each in parts_)


def test_where_every_replicate_fails_the_study_stops_early(case, tmp_path, monkeypatch):
    def broken(self, number):
        raise MemoryError("too large")

    monkeypatch.setattr(Experiment, "replicate", broken)
    with pytest.raises(
        StudyStopped, match="20 replicates gave no result; the last: .*replicate.*MemoryError: too large"
    ):
        run(Plan((case,), 1, 500, DEFAULT), tmp_path, workers=0, batch=50)


def test_a_part_that_was_written_as_the_interruption_came_is_counted(tmp_path, monkeypatch, capsys):
    """Ctrl-C between a part and what counts it: after its name is in the folder, before the disk has it."""
    fsync = os.fsync

    def interrupted(file: int) -> None:
        if len([*tmp_path.glob(f"parts/{NAME}/*.parquet")]) == 3:
            raise KeyboardInterrupt
        fsync(file)

    monkeypatch.setattr(os, "fsync", interrupted)
    given = ["--settings", "default", "--output", str(tmp_path), "--workers", "0", "--batch", "1"]
    assert main(["simulate", MODEL, "--replicates", "5", *given]) == 130
    told = capsys.readouterr().err
    assert told == f"concord: interrupted: 3 of 5 replicates are kept in {tmp_path}; the same command goes on\n"


# What is to be done


@pytest.mark.parametrize("size", [None, 7])
def test_batches_are_every_missing_replicate_once(case, tmp_path, size):
    store, plan = Store(tmp_path), Plan((case,), 1, 45, DEFAULT)
    for first, stop in [(0, 5), (8, 9), (9, 20), (40, 50)]:
        store.keep(Batch(case, first, stop), made_up(plan, first, stop))
    work = Work(plan, store, size)
    assert work.left == 3 + 20
    taken, tried = [], 0
    while work:
        alone = work.alone
        batch = work.take(2)
        work.took(0.01)
        assert batch.suspect == alone and len(batch)
        if tried < 5:
            tried += 1
            (work.again if tried % 2 else work.suspect)(batch)
            continue
        taken += range(batch.first, batch.stop)
    assert sorted(taken) == [5, 6, 7, *range(20, 40)] and work.left == 0 and tried


def test_a_thousand_million_replicates_take_no_more_room_than_ten(case, tmp_path):
    assert case.digest  # made once, and not for these
    tracemalloc.start()
    work = Work(Plan((case,), 1, 10**9, DEFAULT), Store(tmp_path))
    for _ in range(1000):
        work.take(4)
        work.took(0.05)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000 and work.left > 9 * 10**8


# What it says


def test_findings_do_not_depend_on_how_replicates_are_divided_into_parts(case, tmp_path, monkeypatch):
    """To the last bit, though sums of floating-point numbers depend on their order."""
    monkeypatch.setattr("concord.simulation.store.ROWS", 1)  # one part at a time
    whole, divided = tmp_path / "whole", tmp_path / "divided"
    run(Plan((case,), 1, 12, DEFAULT), whole, workers=0, batch=12)
    shutil.copytree(whole, divided)
    (part,) = files(divided)
    table, whole_part = parts.read(part), parts.identify(part)
    part.unlink()
    for first, stop in [(0, 1), (1, 8), (8, 12)]:
        numbers = pyarrow.compute.field("replicate")
        identity = replace(whole_part, first=first, stop=stop)
        chosen = table.filter((numbers >= first) & (numbers < stop))
        part.with_name(identity.name).write_bytes(parts.encode(chosen, identity, table.schema))
    one, other = Findings(whole), Findings(divided)
    for name in ("verdicts", "engines", "gaps", "parameters"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)
    there = table.to_pandas()
    lme4 = there[there["engine"] == "lme4"]
    row = one.parameters.set_index(["engine", "parameter"]).loc["lme4", "Residual var__Observation"]
    off = lme4["estimate: Residual var__Observation"] - case.parameters.residual_variance
    assert row["bias"] == pytest.approx(off.mean()) and row["bias_error"] == pytest.approx(off.sem())
    row = one.engines.set_index("engine").loc["lme4"]
    assert row["seconds"] == pytest.approx(lme4["seconds"].mean())
    assert row["seconds_error"] == pytest.approx(lme4["seconds"].sem())
    assert (row["short"], row["failed"]) == (lme4["short"].sum(), lme4["error"].notna().sum())


def test_a_grid_is_told_by_its_factors_and_mapped(tmp_path):
    (tmp_path / "grid.toml").write_text("groups = [6]\nratio = [0.1, 1]\nshift = [0, 5]\n")
    chosen = tuple(cases("grid", "ML", 1, tmp_path / "grid.toml"))
    run(Plan(chosen, 1, 2, DEFAULT), tmp_path / "study", workers=0)
    found = Findings(tmp_path / "study")
    assert found.factors == {"ratio": [0.1, 1], "shift": [0, 5]} and found.replicates == 8
    every, by = found.engines, found.by("shift", "ratio")
    for row in by.to_dict("records"):
        mine = every[(every["shift"] == row["shift"]) & (every["ratio"] == row["ratio"])]
        assert row["short"] == mine[mine["engine"] == row["engine"]]["short"].sum() and row["replicates"] == 2
        share = row["short"] / 2
        assert (row["share"], row["mc_error"]) == (share, np.sqrt(share * (1 - share) / 2))
    assert found.by().set_index("engine")["replicates"].to_dict() == {"statsmodels": 8, "lme4": 8}
    with pytest.raises(ValueError, match="no factor 'size_': it has ratio, shift"):
        found.by("size_")
    picture = simulation.heat_maps(found, "shift", "ratio")
    panels = [axes for axes in picture.axes if axes.images]
    assert [axes.get_title("left") for axes in panels] == ["MixedLM (statsmodels), default", "lme4, default"]
    shares = by[by["engine"] == "statsmodels"].pivot(index="ratio", columns="shift", values="share")
    assert np.array_equal(panels[0].images[0].get_array(), shares)
    assert "Share short, by ratio" in repr(found)
    assert simulation.coverage(found).axes
