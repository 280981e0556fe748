"""The batch: tiny notebooks, without R, on a real scheduler with real worker processes in another folder."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest

from concord.commands.cli import main
from concord.display.records import ESTIMATES_COLUMNS, FITS_COLUMNS
from concord.errors import InputError
from concord.models import model as models
from concord.reports import batch
from support.notebooks import notebook
from support.processes import kernels, session, until

METHOD = 'method = "REML"  # or "ML"'
PASSING = (METHOD, "print(method)")
FAILING = (METHOD, "if method == 'ML':\n    raise ValueError('no luck')")
SLEEPING = ("1", "import time; time.sleep(120)")
KILLS_WORKER = ("1", "import os, signal; os.kill(os.getppid(), signal.SIGKILL)", "import time; time.sleep(60)")
COMPARISON = """
    from IPython.display import display
    from concord.display import records
    key = dict(dataset="pigs", model="slope", method=method)
    fits = [
        key | dict(settings=settings, engine=engine, loglik=-0.1, gap=gap, digits=1 / 3, converged=True, seconds=0.5,
                   messages=["first\\nline", "second"], verdict=verdict)
        for settings, verdict in [("default", "python short"), ("tuned", "agree")]
        for engine, gap in [("lme4", 4e-8), ("statsmodels", None)]
    ]
    estimates = [key | dict(settings="tuned", engine="lme4", effect="fixed", group=None, term="Time",
                            estimate=0.1 + 0.2, std_error=None)]
    display({"text/plain": "table", records.MEDIA_TYPE: {"fits": fits, "estimates": estimates}}, raw=True)
"""


@pytest.fixture
def folder(tmp_path):
    """Where a test puts its notebooks."""
    (tmp_path / "notebooks").mkdir()
    return tmp_path / "notebooks"


def write(folder: Path, **cells: tuple[str, ...]) -> None:
    for name, sources in cells.items():
        nbformat.write(notebook(*sources), folder / f"{name}.ipynb")


@pytest.fixture(scope="module")
def cluster():
    """The address of a scheduler with two workers, started by their commands in a folder of their own."""
    scratch = Path(tempfile.mkdtemp(prefix="cluster-", dir="/tmp"))
    environment = os.environ | {"TMPDIR": str(scratch), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    dask = str(Path(sys.executable).with_name("dask"))
    file = scratch / "scheduler.json"
    commands = [
        [dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
        [
            dask,
            "worker",
            "--scheduler-file",
            str(file),
            "--host",
            "127.0.0.1",
            "--nworkers",
            "2",
            "--nthreads",
            "1",
            "--no-dashboard",
        ],
    ]
    processes = []
    with (scratch / "log").open("w") as log:
        for command in commands:
            processes.append(subprocess.Popen(command, cwd=scratch, env=environment, stdout=log, stderr=log))
            until(file.exists, 60)
    until(lambda: file.stat().st_size, 10)
    yield json.loads(file.read_text())["address"]
    for process in reversed(processes):
        process.terminate()
        process.wait(20)
    assert not kernels(str(scratch))
    shutil.rmtree(scratch)


@pytest.fixture
def concord(folder, cluster, capsys, monkeypatch):
    """Call the command on the folder and the cluster; returns its exit status and the lines it wrote."""
    monkeypatch.setenv("SCHEDULER", cluster)

    def call(*arguments: str) -> tuple[int, list[str]]:
        where = ["--folder", str(folder), "--output", str(folder.parent / "build")]
        status = main(["reports", *where, *arguments])
        return status, capsys.readouterr().err.splitlines()

    return call


def kept(folder: Path, name: str) -> nbformat.NotebookNode:
    return nbformat.read(folder.parent / "build" / "notebooks" / f"{name}.ipynb", as_version=4)


# The plan


def test_a_notebook_with_a_method_runs_for_both_and_another_once(folder):
    write(folder, pigs=PASSING, all=("1",))
    assert [report.id for report in batch.plan(folder=folder)] == ["all", "pigs-REML", "pigs-ML"]
    assert [report.id for report in batch.plan(method="ML", folder=folder)] == ["all", "pigs-ML"]
    assert [report.id for report in batch.plan(["notebooks/pigs.ipynb"] * 2, "ML", folder)] == ["pigs-ML"]


@pytest.mark.parametrize(
    ("names", "method", "message"),
    [
        (["pig"], None, "no notebook is called 'pig': did you mean pigs?"),
        (["zzz"], None, "there are all, pigs"),
        (["all"], "ML", "notebook all has no parameter `method`"),
        (["pigs"], "MLE", "`method` is 'MLE': give one of REML, ML"),
    ],
)
def test_what_cannot_be_run_is_an_error_before_anything_runs(folder, names, method, message):
    write(folder, pigs=PASSING, all=("1",))
    with pytest.raises(InputError) as error:
        batch.plan(names, method, folder)
    assert message in str(error.value)


def test_a_notebook_that_takes_a_model_runs_for_each_that_is_named(folder):
    write(folder, pigs=PASSING, any=('method = "REML"\nmodel = "dietox-random_slope"', "model"))
    two = batch.plan(method="ML", folder=folder, models=["sitka-random_slope", "pastes-nested"])
    assert [report.id for report in two] == ["any-sitka-random_slope-ML", "any-pastes-nested-ML", "pigs-ML"]
    assert two[0].parameters == {"model": "sitka-random_slope", "method": "ML"}
    every = batch.plan(["any"], "ML", folder, ["all"])
    assert [report.model for report in every] == list(dict.fromkeys(model.id for model in models.every()))
    assert [report.id for report in batch.plan(["any"], "ML", folder)] == ["any-ML"]
    for names, wanted, message in (
        (["any"], ["sitka-random_slop"], "there is no model sitka-random_slop: perhaps sitka-random_slope"),
        (["pigs"], ["all"], "no parameter `model` in pigs"),
    ):
        with pytest.raises(InputError, match=message):
            batch.plan(names, None, folder, wanted)


# The batch


def test_every_notebook_is_run_kept_and_shown_though_some_fail_die_or_take_too_long(folder, concord):
    write(folder, bad=FAILING, dead=("1", "import os; os._exit(3)"), good=PASSING, slow=SLEEPING)
    status, lines = concord("--timeout", "8")
    assert status == 1
    build = folder.parent / "build"
    names = ["bad-ML", "bad-REML", "dead", "good-ML", "good-REML", "slow"]
    assert sorted(path.stem for path in (build / "notebooks").iterdir()) == names
    statuses = {name: kept(folder, name).metadata.concord.status for name in names}
    assert statuses == {
        "bad-ML": "failed",
        "bad-REML": "completed",
        "dead": "died",
        "good-ML": "completed",
        "good-REML": "completed",
        "slow": "timed out",
    }
    assert kept(folder, "good-ML").cells[-1].outputs[0].text == "ML\n"
    # The last lines: what failed, the notebook and its cell, why, and where it is shown
    assert lines[-7] == f"3 of 6 reports completed: {build}/reports/index.html"
    assert lines[-6] == f"concord: bad-ML failed: {folder}/bad.ipynb, cell 2: ValueError: no luck"
    assert lines[-5] == f"  see {build}/reports/bad-ML.html#cell-id=cell-1"
    assert lines[-4].startswith(f"concord: dead died: {folder}/dead.ipynb, cell 2: DeadKernelError")
    assert lines[-2] == f"concord: slow timed out: {folder}/slow.ipynb, cell 2: TimeoutError: stopped after 8 s"
    for name, text in {"bad-ML": "ValueError: no luck", "dead": "DeadKernelError", "slow": "stopped after 8 s"}.items():
        page = (build / "reports" / f"{name}.html").read_text()
        assert 'class="concord-failure"' in page and 'href="#cell-id=cell-1"' in page
        assert 'id="cell-id=cell-1"' in page and re.sub("<[^>]*>", "", page).count(text) >= 2
    index = (build / "reports" / "index.html").read_text()
    assert 'href="bad-ML.html#cell-id=cell-1"' in index and "ValueError: no luck" in index
    assert not list(build.glob("**/.*"))


def test_a_killed_worker_is_told_and_stops_no_other(folder, concord):
    write(folder, after=PASSING, killer=KILLS_WORKER)
    status, lines = concord()
    assert status == 1
    assert kept(folder, "killer").metadata.concord.status == "died"
    assert kept(folder, "after-ML").metadata.concord.status == "completed"
    assert kept(folder, "after-REML").metadata.concord.status == "completed"
    assert lines[-2].startswith(f"concord: killer died: {folder}/killer.ipynb: KilledWorker")
    assert "KilledWorker" in (folder.parent / "build" / "reports" / "killer.html").read_text()


def test_one_notebook_alone_keeps_the_others_in_the_index_with_their_date(folder, concord):
    write(folder, pigs=PASSING, trees=PASSING)
    assert concord()[0] == 0
    path = folder.parent / "build" / "notebooks" / "pigs-ML.ipynb"
    old = json.loads(path.read_text())
    old["metadata"]["concord"]["finished"] = "2001-02-03T04:05:06+00:00"
    path.write_text(json.dumps(old))
    status, lines = concord("--notebook", "trees", "--method", "ML")
    assert status == 0 and lines[0].startswith("[1/1] trees-ML completed")
    index = (folder.parent / "build" / "reports" / "index.html").read_text()
    assert all(f'href="{name}.html"' in index for name in ("pigs-REML", "pigs-ML", "trees-REML", "trees-ML"))
    assert re.search(r"2001-02-03 04:05</time><br><span[^>]*>an earlier run", index)

    (folder / "pigs.ipynb").unlink()
    assert concord("--notebook", "trees")[0] == 0
    assert "pigs" not in (folder.parent / "build" / "reports" / "index.html").read_text()


def test_tables_and_verdicts_are_what_the_notebooks_show(folder, concord):
    write(folder, pigs=(METHOD, COMPARISON))
    assert concord()[0] == 0
    build = folder.parent / "build"
    fits = list(csv.DictReader((build / "fits.csv").open()))
    assert tuple(fits[0]) == FITS_COLUMNS and len(fits) == 8
    assert fits[0] == {
        "dataset": "pigs",
        "model": "slope",
        "method": "ML",
        "settings": "default",
        "engine": "lme4",
        "loglik": "-0.1",
        "gap": "4e-08",
        "digits": "0.3333333333333333",
        "converged": "True",
        "said_so": "",
        "seconds": "0.5",
        "messages": "first line | second",
        "verdict": "python short",
    }
    assert fits[1]["gap"] == ""
    estimates = list(csv.DictReader((build / "estimates.csv").open()))
    assert tuple(estimates[0]) == ESTIMATES_COLUMNS and len(estimates) == 2
    assert (estimates[0]["estimate"], estimates[0]["std_error"], estimates[0]["group"]) == (
        "0.30000000000000004",
        "",
        "",
    )
    index = (build / "reports" / "index.html").read_text()
    assert "<strong>0 of 2</strong> comparisons agree, default settings" in index
    assert "<strong>2 of 2</strong> comparisons agree, tuned settings" in index
    columns = re.findall(r'<th scope="col">(default, REML|default, ML|tuned, REML|tuned, ML)</th>', index)
    assert columns == ["default, REML", "default, ML", "tuned, REML", "tuned, ML"]
    assert re.search(
        r'<a href="pigs-REML.html#cell-id=[^"]+"><span class="chip v-python-short"><b[^>]*>P</b> python short</span>',
        index,
    )


def test_a_scheduler_that_does_not_answer_is_one_clear_line(folder, concord, monkeypatch):
    write(folder, pigs=PASSING)
    monkeypatch.setenv("SCHEDULER", "tcp://127.0.0.1:9")
    monkeypatch.setattr("concord.processes.cluster.PATIENCE", 2)
    status, lines = concord()
    assert status == 2
    assert lines[-1].startswith("concord: no dask scheduler answers at tcp://127.0.0.1:9: start one")
    assert not (folder.parent / "build").exists()


def test_a_scheduler_that_goes_away_is_told_for_what_runs_and_for_what_waits(folder, scratch):
    write(folder, pigs=(METHOD, "import time; time.sleep(60)"))
    file = scratch / "scheduler.json"
    dask = str(Path(sys.executable).with_name("dask"))
    near = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen([dask, "scheduler", "--port", "0", *near], **quiet)
    until(lambda: file.exists() and file.stat().st_size, 30)
    environment = os.environ | {"TMPDIR": str(scratch)}
    worker = subprocess.Popen([dask, "worker", "--nthreads", "1", *near], env=environment, **quiet)
    try:
        process = start(folder, scratch, "--scheduler", json.loads(file.read_text())["address"])
        until(lambda: kernels(str(scratch)), 40)
        scheduler.kill()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "Traceback" not in errors
        assert errors.count("CancelledError") == errors.count("gone before it began") == 1
        assert "0 of 2 reports completed" in errors
    finally:
        scheduler.kill()
        scheduler.wait()
        worker.terminate()
        worker.wait(20)


def start(folder: Path, scratch: Path, *arguments: str) -> subprocess.Popen[str]:
    where = ["--folder", str(folder), "--output", str(folder.parent / "build")]
    command = [sys.executable, "-m", "concord", "reports", *where, *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "SCHEDULER"} | {"TMPDIR": str(scratch)}
    return subprocess.Popen(
        command, cwd=scratch, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.fixture
def scratch():
    """A temporary folder with a short name."""
    folder = Path(tempfile.mkdtemp(prefix="scratch-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def test_by_default_processes_on_this_machine_do_the_work_and_end_with_it(folder, scratch):
    write(folder, pigs=PASSING)
    with socket.socket() as taken:
        with suppress(OSError):  # where it is taken already, so much the better
            taken.bind(("127.0.0.1", 8787))  # dask's port for its status pages, of which it would warn
            taken.listen()
        process = start(folder, scratch)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert errors.splitlines()[-1] == f"2 of 2 reports completed: {folder.parent}/build/reports/index.html"
    assert len(errors.splitlines()) == 3
    until(lambda: not kernels(str(scratch)) and not session(process.pid), 5)


def test_an_interrupted_run_keeps_what_it_finished_and_leaves_no_process(folder, scratch):
    write(folder, quick=("1",), slow=SLEEPING)
    process = start(folder, scratch)
    page = folder.parent / "build" / "reports" / "quick.html"
    until(lambda: page.exists() and kernels(str(scratch)), 40)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C: to every process of the terminal
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == "concord: interrupted; not finished: slow"
    assert "quick.html" in (folder.parent / "build" / "reports" / "index.html").read_text()
    until(lambda: not kernels(str(scratch)) and not session(process.pid), 5)


def test_a_terminated_run_also_ends_its_kernels_on_another_cluster(folder, scratch, cluster):
    write(folder, slow=SLEEPING)
    process = start(folder, scratch, "--scheduler", cluster)
    until(lambda: kernels("/tmp/cluster-"), 40)
    time.sleep(1)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 130
    until(lambda: not kernels("/tmp/cluster-"), 5)
