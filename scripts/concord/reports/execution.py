"""The execution of one notebook in a kernel of its own, by papermill."""

from __future__ import annotations

import copy
import html
import logging
import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from concord.errors import is_one_line, is_starved, out_of_memory, shorten
from concord.files import write
from concord.processes import kernels
from concord.reports.notebooks import parse, read
from concord.reports.tidying import ANSI, forget_run, merge_cell_streams, merge_streams, settle

COMPLETED, FAILED, TIMED_OUT, DIED = "completed", "failed", "timed out", "died"
UNFINISHED = "unfinished"

BANNER = "concord-failure"
"""Tag and id of the cell that says, at the top of an executed notebook, what went wrong and where."""


@dataclass(frozen=True)
class Execution:
    """What came of executing one notebook.

    `notebook` is the executed notebook as JSON; `status` one of completed, failed, timed out, died, unfinished; `error`
    the exception's name and message ("" when completed); `cell` the position, from 1, of the cell that did not finish
    in the notebook as written (None when no cell is to blame), of an unfinished one the last that did; `anchor` that
    cell's id; `seconds` wall-clock time; `unusable` whether the exception was an `InputError` or a `FootingError`, or
    memory ran out.
    """

    notebook: str
    status: str
    error: str = ""
    cell: int | None = None
    anchor: str | None = None
    seconds: float = 0.0
    unusable: bool = False


# Executing -------------------------------------------------------------------------------------------------------


class _CallerFailed(BaseException):
    """What the caller's own function raised (its cause), on its way past everything that takes errors for a cell's."""


@dataclass
class _Run:
    """A notebook being executed: what its engine must know, and what must be known of it when it goes wrong."""

    folder: str
    timeout: float | None
    done: Callable[[NotebookNode, int], None] | None = None
    server: str | None = None
    kernel: Any = None
    cell: int | None = None
    stopped: bool = False
    started: float = field(default_factory=time.monotonic)

    def remaining(self) -> float | None:
        """Seconds left, never zero (which nbclient takes for "no limit")."""
        return None if self.timeout is None else max(self.timeout - self.seconds, 0.01)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def late(self) -> bool:
        return self.timeout is not None and self.seconds >= self.timeout

    def kill(self) -> None:
        """End the kernel and whatever it started (it leads a process group of its own)."""
        pid = getattr(getattr(self.kernel, "provisioner", None), "pid", None)
        if pid:
            with suppress(ProcessLookupError, PermissionError):  # gone already
                os.killpg(pid, signal.SIGKILL)


_running: dict[str, _Run] = {}
_SILENT = logging.NullHandler()


def stop(tokens: list[str]) -> None:
    """End the kernels of those executions in this process that were given one of these tokens; `execute` returns."""
    for token in tokens:
        if run := _running.get(token):
            run.stopped = True
            run.kill()


def execute(
    notebook: str,
    parameters: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    token: str | None = None,
    done: Callable[[NotebookNode, int], None] | None = None,
    server: str | None = None,
) -> Execution:
    """Execute one notebook in a kernel of its own; never raises for what the notebook does.

    `notebook` is the notebook as JSON, `parameters` its parameters (see `check`), `timeout` the seconds that the whole
    notebook may take (None: no limit), `token` a name under which `stop` can end it. Nothing is read from or
    written to any folder but a temporary one, which is also where the kernel runs.

    `done` is called with each code cell, its outputs in it, as soon as that cell has completed, and with the cell's
    index in the notebook as written, from 0; not with the cell of parameters that papermill adds, nor with the one
    that fails, of which the Execution tells. The next cell waits for it. What it raises ends the kernel and is raised.

    `server` is the address of a fork server on this machine (see `concord.processes.kernels`), which makes the start
    of the kernel quick and changes nothing else.
    """
    source = parse(notebook)
    with _temporary_folder() as folder:
        run = _Run(folder, timeout, done, server)
        if token is not None:
            _running[token] = run
        after = os.path.join(folder, "executed.ipynb")
        try:
            status, error, unusable = _by_papermill(run, source, dict(parameters or {}), after)
        finally:
            run.kill()
            if token is not None:
                _running.pop(token, None)
        seconds = run.seconds
        executed = parse(Path(after).read_text(encoding="utf-8")) if os.path.exists(after) else source
    return replace(_finish(executed, status, ANSI.sub("", error).strip(), run.cell, seconds), unusable=unusable)


def _by_papermill(run: _Run, source: NotebookNode, parameters: dict[str, Any], after: str) -> tuple[str, str, bool]:
    """Have papermill execute a notebook into a file; the status, the error, and whether it is a line for people."""
    papermill_engines.register("concord", _Engine)
    # What papermill logs of a failure, the Execution says again; without a handler it would go to stderr.
    logging.getLogger("papermill").addHandler(_SILENT)
    before = os.path.join(run.folder, "notebook.ipynb")
    nbformat.write(source, before)
    kernelspec = source.metadata.get("kernelspec", {})
    try:
        papermill.execute_notebook(
            before,
            after,
            parameters=parameters,
            engine_name="concord",
            kernel_name=kernelspec.get("name", "python3"),
            language=kernelspec.get("language", "python"),
            progress_bar=False,
            run=run,
        )
    except papermill.PapermillExecutionError as failure:
        # papermill also raises for a cell that is tagged as one that should raise
        if "raises-exception" not in _papermill_cell(failure, after).metadata.get("tags", ()):
            run.cell = failure.cell_index
            return _failed(failure.ename, failure.evalue, failure.traceback)
    except CellTimeoutError:
        return TIMED_OUT, f"TimeoutError: stopped after {run.timeout:g} s", False
    except DeadKernelError:
        return DIED, "DeadKernelError: the kernel's process ended while this cell ran", False
    except NoSuchKernel as failure:
        return FAILED, f"NoSuchKernel: no Jupyter kernel is called {failure.name!r} here", False
    except KeyboardInterrupt:
        # The task of the interrupted cell ends with its kernel, and asyncio would print that nobody asked how.
        logging.getLogger("asyncio").addHandler(_SILENT)
        raise
    except _CallerFailed as failure:
        raise (failure.__cause__ or failure) from None
    except Exception as failure:
        # nbclient tells of a kernel that does not start by RuntimeError only
        status = TIMED_OUT if run.late else DIED if run.stopped or "ernel died" in str(failure) else FAILED
        return status, f"{type(failure).__name__}: {failure}", False
    return COMPLETED, "", False


def _failed(name: str, message: str, traceback: Sequence[str]) -> tuple[str, str, bool]:
    # A kernel without memory may not even have sent the error, for which papermill then has a name of its own.
    starved = is_starved(message) and not is_one_line(traceback)
    if starved or name == "MemoryError" or (name == "CellExecutionError" and not message.strip()):
        return FAILED, f"MemoryError: {out_of_memory(message)}", True
    return FAILED, f"{name}: {message}", is_one_line(traceback)


def _papermill_cell(failure: Any, path: str) -> NotebookNode:
    cells: list[NotebookNode] = nbformat.read(path, as_version=4).cells
    cell: NotebookNode = [cell for cell in cells if not _is_papermill_marker(cell)][failure.cell_index]
    return cell


def unfinished(notebook: NotebookNode, parameters: Mapping[str, Any], index: int, seconds: float) -> Execution:
    """What has been executed of a notebook so far, as an Execution that says so at its top.

    `notebook` is the notebook as written, with the outputs of its cells up to `index`, from 0.
    """
    cell = notebook.cells[index]
    notebook = copy.deepcopy(notebook)
    source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    added = nbformat.v4.new_code_cell(f"# Parameters\n{source}", metadata={"tags": ["injected-parameters"]})
    places = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
    notebook.cells.insert(places[0] + 1 if places else 0, added)
    merge_streams(notebook)
    forget_run(notebook)
    where = f'<a href="#cell-id={html.escape(cell.id)}">cell {index + 1}</a>'
    _put_banner(
        notebook,
        f"<strong>This notebook is not finished</strong>: {where} was done {seconds:.1f} s after its start, and what "
        "follows had not run when this was written.",
    )
    return Execution(nbformat.writes(notebook), UNFINISHED, "", index + 1, cell.id, seconds)


def _put_banner(notebook: NotebookNode, content: str) -> None:
    """Say at the top of a notebook, in HTML, what has become of it."""
    text = f'<div class="{BANNER}" role="alert">{content}</div>'
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(text, id=BANNER, metadata={"tags": [BANNER]}))


def _is_papermill_marker(cell: NotebookNode) -> bool:
    return "papermill-error-cell-tag" in cell.metadata.get("tags", ())


def _finish(notebook: NotebookNode, status: str, error: str, index: int | None, seconds: float) -> Execution:
    """Make the executed notebook say what happened, whatever papermill wrote into it."""
    notebook.cells = [cell for cell in notebook.cells if not _is_papermill_marker(cell)]
    if status == COMPLETED:
        # A cell that calls exit() ends the notebook early, which papermill counts as success
        skipped = [i for i, cell in enumerate(notebook.cells) if _has_to_run(cell) and cell.execution_count is None]
        if skipped:
            status, index = FAILED, max(skipped[0] - 1, 0)
            error = "SystemExit: this cell ended the notebook before its last cell"
        else:
            index = None
    merge_streams(notebook)
    forget_run(notebook)
    if status == COMPLETED:
        return Execution(nbformat.writes(notebook), status, seconds=seconds)
    return mark_failure(notebook, status, error, index, seconds)


def _is_added(cell: NotebookNode) -> bool:
    """Whether papermill added this cell, to set the parameters given."""
    return "injected-parameters" in cell.metadata.get("tags", ())


def _index_as_written(notebook: NotebookNode, index: int) -> int:
    return index - sum(map(_is_added, notebook.cells[:index]))


def _has_to_run(cell: NotebookNode) -> bool:
    skipped_by_tag = "skip-execution" in cell.metadata.get("tags", ())
    return cell.cell_type == "code" and bool(cell.source.strip()) and not skipped_by_tag


def mark_failure(
    notebook: NotebookNode, status: str, error: str, index: int | None = None, seconds: float = 0.0
) -> Execution:
    """The notebook as an Execution that failed, with a banner at its top and the error below the guilty cell.

    `index` counts from 0 in `notebook.cells` (None: no cell is to blame). The banner links to the cell.
    """
    notebook = copy.deepcopy(notebook)
    position = anchor = None
    where = "before its first cell"
    if index is not None:
        cell = notebook.cells[index]
        anchor = cell.id
        position = _index_as_written(notebook, index) + 1
        where = f'in <a href="#cell-id={html.escape(anchor)}">cell {position}</a>'
        if not any(output.output_type == "error" for output in cell.get("outputs", ())):
            name, _, message = error.partition(": ")
            cell.setdefault("outputs", []).append(
                nbformat.v4.new_output("error", ename=name, evalue=message, traceback=error.splitlines())
            )
    _put_banner(
        notebook,
        f"<strong>This notebook {_STORY[status]} {where}</strong>, {seconds:.1f} s after its start. What follows that "
        f"point did not run.<br><code>{html.escape(shorten(error))}</code>",
    )
    return Execution(nbformat.writes(notebook), status, error, position, anchor, seconds)


def labelled(execution: Execution, id: str, name: str, method: str | None, **more: Any) -> NotebookNode:
    """The executed notebook with what came of it in `metadata.concord`; `more` goes there too."""
    notebook: NotebookNode = nbformat.reads(execution.notebook, as_version=4)
    notebook.metadata["concord"] = {
        "id": id,
        "name": name,
        "method": method,
        "status": execution.status,
        "error": shorten(execution.error),
        "cell": execution.cell,
        "anchor": execution.anchor,
        "seconds": round(execution.seconds, 3),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }
    return notebook


_STORY = {FAILED: "failed", TIMED_OUT: "ran out of time", DIED: "died"}


@contextmanager
def _temporary_folder() -> Iterator[str]:
    # A Unix socket's path is at most 107 bytes long
    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="concord-", dir=base if len(base) < 70 else "/tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Client(PapermillNotebookClient):
    """Papermill's own client, which also tells of every cell that completed."""

    def __init__(self, nb_man: Any, run: _Run, **more: Any) -> None:
        super().__init__(nb_man, **more)
        self.run = run

    def execute_cell(self, cell: NotebookNode, cell_index: int, **more: Any) -> NotebookNode:
        executed: NotebookNode = super().execute_cell(cell, cell_index, **more)
        if self.run.done and _has_to_run(cell) and not _is_added(cell):
            # A copy: a later cell may still change what this one displays, found by its place among the outputs
            told = copy.deepcopy(cell)
            merge_cell_streams(told)
            try:
                self.run.done(told, _index_as_written(self.nb, cell_index))
            except Exception as error:
                raise _CallerFailed from error
        return executed


class _Provisioner(LocalProvisioner):
    """Jupyter's own way to a kernel's process, unless the run's fork server gives one."""

    run: _Run

    async def launch_kernel(self, cmd: list[str], **options: Any) -> KernelConnectionInfo:
        forked = None
        if self.run.server:
            patience = min(kernels.PATIENCE, self.run.remaining() or kernels.PATIENCE)
            forked = kernels.fork(self.run.server, cmd, options["cwd"], options["env"], patience)
        if forked is None:
            return await super().launch_kernel(cmd, **options)
        self.process = forked  # type: ignore[assignment]  # it has what of Popen is used there
        self.cwd = options["cwd"]
        self.pid = self.pgid = forked.pid
        return self.connection_info


class _Engine(NBClientEngine):
    """Papermill's own engine, with a kernel that opens no port, computes in one thread and does not outlive its run."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, *, run: _Run, start_timeout: float = 60, **_: Any
    ) -> Any:
        def begin(cell: NotebookNode, cell_index: int) -> None:
            run.cell = cell_index
            if run.stopped:  # `stop` may come before there is a kernel to end
                raise DeadKernelError("Kernel died: stopped on request")

        # Sockets in a folder: ports would be raced for by kernels that start together
        run.kernel = AsyncKernelManager(
            kernel_name=kernel_name,
            transport="ipc",
            ip=os.path.join(run.folder, "kernel"),
            connection_file=os.path.join(run.folder, "kernel.json"),
        )
        run.kernel.provisioner = _Provisioner(
            kernel_id=run.folder, kernel_spec=run.kernel.kernel_spec, parent=run.kernel
        )
        run.kernel.provisioner.run = run
        client = _Client(
            nb_man,
            run,
            km=run.kernel,
            kernel_name=kernel_name,
            startup_timeout=math.ceil(min(start_timeout, run.remaining() or start_timeout)),
            timeout_func=lambda cell: run.remaining(),
            iopub_timeout=30,  # on a busy machine the output of a cell can trail its reply
            shutdown_kernel="immediate",
            record_timing=False,
            on_cell_execute=begin,
            log=logging.getLogger("papermill"),
        )
        # TMPDIR: a kernel that is killed cannot take its (and R's) temporary files with it
        environment = os.environ | kernels.ONE_THREAD | {"TMPDIR": run.folder}
        # Papermill would write the notebook before and after each cell, for a second or so in all, while the kernel
        # idles; it also writes it in the end, whatever comes of it, and nobody reads it earlier.
        save, nb_man.save = nb_man.save, lambda **_: None
        try:
            return client.execute(cleanup_kc=True, env=environment, cwd=run.folder)
        finally:
            nb_man.save = save


def refresh(path: Path, timeout: float | None = None) -> Execution:
    """Execute a committed notebook with its own defaults and put the result in its place.

    Only a notebook that completed replaces the file, and in one step: the file is never half-written. Raises
    InputError for a file that is not a notebook.
    """
    source = read(path)
    execution = execute(nbformat.writes(source), timeout=timeout)
    if execution.status == COMPLETED:
        executed = parse(execution.notebook)
        settle(executed)
        write(path, nbformat.writes(executed) + "\n")
    return execution
