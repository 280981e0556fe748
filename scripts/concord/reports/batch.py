"""The batch: every notebook for both methods, in parallel, as HTML with an index and two tables.

What is kept of a run in `build/notebooks` says itself what came of it (`metadata.concord`); index and tables are made
from all that is kept there. So a single notebook can be run anew, an interrupted run keeps what it finished, and the
index gives the date of what is from an earlier run.
"""

from __future__ import annotations

import difflib
import math
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from tqdm import tqdm

# Rooms, whose modules load when they are first asked for: dask once the fork server is warming up, and pandas only
# where a model is named.
import concord.data
import concord.processes
from concord import errors, files
from concord.errors import InputError
from concord.processes import kernels
from concord.reports import notebooks, site
from concord.reports.execution import COMPLETED, DIED, FAILED, Execution, execute, labelled, mark_failure, stop
from concord.reports.page import page
from concord.vocabulary import METHODS

TIMEOUT = 900.0
"""Seconds that one notebook may take unless told otherwise."""
# What kernels have beside what their notebooks import, where these start R.
_LOAD_R = "from concord.engines.engine import load_r; load_r()"


@dataclass(frozen=True)
class Report:
    """One notebook run with one method; `method` is None for a notebook that takes none, `model` for its own."""

    name: str
    method: str | None
    path: Path
    model: str | None = None

    @property
    def id(self) -> str:
        """The name of its files."""
        return "-".join(filter(None, [self.name, self.model, self.method]))

    @property
    def title(self) -> str:
        """The notebook's name, with the model where that is not its own."""
        return f"{self.name}, {self.model}" if self.model else self.name

    @property
    def parameters(self) -> dict[str, Any]:
        """What the notebook is given."""
        return {name: value for name, value in (("model", self.model), ("method", self.method)) if value}


def plan(
    names: Iterable[str] = (), method: str | None = None, folder: Path | None = None, models: Iterable[str] = ()
) -> list[Report]:
    """What there is to run: each named notebook (default: all) for the method (default: REML and ML).

    A notebook without a parameter `method` runs once; one with a parameter `model` runs for each of `models` (``all``:
    every model of the workbook), or else for its own. Raises InputError, before anything runs, for a name that is no
    notebook or no model, for a method given to a named notebook that has none, and for a model that no notebook takes.
    """
    models_asked = _models(models)
    known = notebooks.discover(folder)
    chosen = [notebooks.choose(name, known) for name in names] or list(known)
    reports = []
    for name in dict.fromkeys(chosen):
        path = known[name]
        try:
            own = notebooks.parameters(notebooks.read(path))
        except InputError as error:
            raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
        takes_method = "method" in own
        if method and not takes_method and names:
            raise InputError(f"notebook {name} has no parameter `method`: run it without one")
        for one_method in ([method] if method else METHODS) if takes_method else [None]:
            for model in models_asked if models_asked and "model" in own else [None]:
                report = Report(name, one_method, path, model)
                notebooks.check(report.parameters, own, name)
                reports.append(report)
    if models_asked and not any(report.model for report in reports):
        raise InputError(f"no parameter `model` in {', '.join(chosen)}: leave out the model, or name another notebook")
    return reports


def _models(wanted: Iterable[str]) -> list[str]:
    """Ids of models, each once."""
    wanted = list(dict.fromkeys(wanted))
    if not wanted:
        return []
    datasets = concord.data.datasets
    known = [f"{id}-{name}" for id in datasets.catalogue() for name in datasets.load(id).models]
    if wanted == ["all"]:
        return known
    for wanted_id in wanted:
        if wanted_id not in known:
            near = difflib.get_close_matches(wanted_id, known, n=3) or known
            raise InputError(f"there is no model {wanted_id}: perhaps {', '.join(near)}; all of them: all")
    return wanted


# Running ---------------------------------------------------------------------------------------------------------


def run(
    reports: list[Report],
    done: Callable[[Report, Execution], None],
    running: Callable[[list[Report]], None] = lambda reports: None,
    timeout: float | None = TIMEOUT,
    scheduler: str | None = None,
) -> None:
    """Execute notebooks in parallel and call `done` with each as it finishes, in this thread.

    `running` is called with those that run, several times a second. `scheduler` is the address of a dask scheduler
    (None: a cluster of one-thread processes on this machine). When interrupted, the kernels end before this returns.
    Raises InputError where the scheduler does not answer or has no workers.
    """
    with ExitStack() as stack:
        server = None
        if not scheduler:  # the workers of another cluster may be on other machines
            read = [notebooks.read(path) for path in {report.path for report in reports}]
            imports = dict.fromkeys(statement for notebook in read for statement in notebooks.imports(notebook))
            loaded = [_LOAD_R] if kernels.wants_r(imports) else []
            server = stack.enter_context(kernels.start([*imports, *loaded]))
        # No death is forgiven: a notebook that kills its worker would kill the next ones too.
        client = stack.enter_context(
            concord.processes.cluster.cluster(
                scheduler, min(len(reports), concord.processes.cluster.CPU_COUNT), deaths=0
            )
        )
        mark = uuid.uuid4().hex
        waiting = list(reversed(reports))
        futures: dict[Any, Report] = {}
        try:
            while waiting or futures:
                finished = {future: futures.pop(future) for future in list(futures) if future.done()}
                # No more tasks than workers: what waits on a worker that is killed would be held to have killed it
                try:
                    free = sum(client.nthreads().values()) - len(futures) if waiting else 0
                except OSError:  # the scheduler is gone; what runs is given up by the client
                    free = 0
                    for report in waiting:
                        done(report, _lost(report, DIED, "ConnectionError: the scheduler was gone before it began"))
                    waiting = []
                for _ in range(min(free, len(waiting))):
                    report = waiting.pop()
                    source = report.path.read_text(encoding="utf-8")
                    key = f"{report.id}-{mark}"
                    future = client.submit(
                        execute, source, report.parameters, timeout, key, server=server, key=key, pure=False, retries=0
                    )
                    futures[future] = report
                running(list(futures.values()))
                for future, report in finished.items():
                    done(report, _outcome(future, report))
                if not finished:
                    time.sleep(0.1)
        except BaseException:
            with suppress(Exception):
                client.cancel(list(futures))
                client.run(stop, [future.key for future in futures], on_error="ignore")
            raise


def _outcome(future: Any, report: Report) -> Execution:
    try:
        execution: Execution = future.result(timeout=60)
        return execution
    except concord.processes.cluster.KilledWorker as error:
        status, text = DIED, f"KilledWorker: the worker process that ran it ended ({error.last_worker.address})"
    except (CancelledError, concord.processes.cluster.FutureCancelledError):
        status, text = DIED, "CancelledError: the cluster gave it up, or its scheduler is gone"
    except Exception as error:  # of the cluster's making: `execute` raises nothing
        status, text = FAILED, f"{type(error).__name__}: {error}"
    return _lost(report, status, text)


def _lost(report: Report, status: str, error: str) -> Execution:
    """What came of a report of which no notebook came back."""
    return mark_failure(notebooks.read(report.path), status, error)


def batch(
    reports: list[Report],
    output: Path = Path("build"),
    timeout: float | None = TIMEOUT,
    scheduler: str | None = None,
    folder: Path | None = None,
) -> int:
    """Run the reports, keep what comes of each, write index and tables; tell on stderr; return the exit status.

    The status is 0 if all completed, 1 if any did not, 130 if interrupted. The last lines name what did not
    complete, where and why.
    """
    written = [(_notebook(report, output), "--output") for report in reports]
    files.check_spared(written, {report.path for report in reports})
    with files.claimed(output, "--output"):
        return _batch(reports, output, timeout, scheduler, folder)


def _batch(
    reports: list[Report], output: Path, timeout: float | None, scheduler: str | None, folder: Path | None
) -> int:
    began = datetime.now(UTC)
    planned = plan(folder=folder)  # all, now: a broken notebook is told before anything runs
    ids = {report.id for report in planned}
    before = {kept["id"]: kept["seconds"] for kept, _ in site.kept(output, ids)}
    # The longest first, and the unknown before them, so that none is left to run alone at the end
    reports = sorted(reports, key=lambda report: -before.get(report.id, math.inf))
    executions: dict[Report, Execution] = {}
    interrupted = False
    with _Progress(len(reports)) as progress:

        def done(report: Report, execution: Execution) -> None:
            keep(report, execution, output, reports)
            executions[report] = execution
            progress.done(report, execution)

        try:
            run(reports, done, progress.running, timeout, scheduler)
        except KeyboardInterrupt:
            interrupted = True
    site.publish(output, ids, began, {report.name for report in planned})
    index = output / "reports" / "index.html"
    failed = {report: execution for report, execution in executions.items() if execution.status != COMPLETED}
    _say(f"{len(executions) - len(failed)} of {len(reports)} reports completed: {index}")
    if interrupted:
        missing = [report.id for report in reports if report not in executions]
        _say(f"concord: interrupted; not finished: {', '.join(missing)}")
    for report in sorted(failed, key=lambda report: report.id):
        execution = failed[report]
        where = f", cell {execution.cell}" if execution.cell else ""
        _say(f"concord: {report.id} {execution.status}: {report.path}{where}: {errors.shorten(execution.error)}")
        anchor = f"#cell-id={execution.anchor}" if execution.anchor else ""
        _say(f"  see {output / 'reports' / report.id}.html{anchor}")
    return 130 if interrupted else 1 if failed else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Progress:
    """What runs and what is done: a bar in a terminal, a line for each report elsewhere."""

    def __init__(self, total: int) -> None:
        self.bar = tqdm(total=total, unit="report", dynamic_ncols=True, leave=False, disable=not sys.stderr.isatty())
        self.count, self.total, self.drawn = 0, total, 0.0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def running(self, reports: list[Report]) -> None:
        if time.monotonic() - self.drawn > 0.5:
            self.drawn = time.monotonic()
            self.bar.set_postfix_str(", ".join(report.id for report in reports))

    def done(self, report: Report, execution: Execution) -> None:
        self.count += 1
        self.bar.update()
        line = f"[{self.count}/{self.total}] {report.id} {execution.status}, {execution.seconds:.1f} s"
        self.bar.write(line, file=sys.stderr)
        sys.stderr.flush()


# Keeping ---------------------------------------------------------------------------------------------------------


def _notebook(report: Report, output: Path) -> Path:
    """Where the executed notebook of a report is kept."""
    return output / "notebooks" / f"{report.id}.ipynb"


def keep(report: Report, execution: Execution, output: Path, beside: Iterable[Report] = ()) -> None:
    """Write the executed notebook, with what came of it in `metadata.concord`, and its HTML.

    The page leads to the same place in the report by the other method, where that is among `beside` or was kept before.
    """
    methods = [(method, replace(report, method=method)) for method in METHODS if report.method]
    there = [
        (method, other.id)
        for method, other in methods
        if other in beside or other == report or (output / "reports" / f"{other.id}.html").is_file()
    ]
    notebook = labelled(execution, report.id, report.title, report.method, methods=there)
    both = {_notebook(report, output): nbformat.writes(notebook) + "\n"}
    files.write_all({**both, output / "reports" / f"{report.id}.html": page(notebook)})
