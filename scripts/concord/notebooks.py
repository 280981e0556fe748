"""Notebooks: which there are, the parameters each takes, and what comes of executing one.

`execute` takes a notebook as text and gives the executed notebook back as text, so that it runs as well on another
machine as here. `refresh` executes a committed notebook in place and leaves nothing in it that changes by itself.
"""

from __future__ import annotations

import ast
import copy
import difflib
import hashlib
import html
import logging
import math
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_client.provisioning import LocalProvisioner
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from concord import forkserver
from concord.vocabulary import METHODS as METHODS

FOLDER = Path(__file__).parents[2] / "notebooks"

COMPLETED, FAILED, TIMED_OUT, DIED = "completed", "failed", "timed out", "died"

BANNER = "concord-failure"
"""Tag and id of the cell that says, at the top of an executed notebook, what went wrong and where."""

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class InputError(ValueError):
    """A request that cannot be met, in one line: what, where, what to do."""


@dataclass(frozen=True)
class Execution:
    """What came of executing one notebook.

    `notebook` is the executed notebook as JSON; `status` one of completed, failed, timed out, died; `error` the
    exception's name and message ("" when completed); `cell` the position, from 1, of the cell that did not finish
    in the notebook as written (None when no cell is to blame); `anchor` that cell's id; `seconds` wall-clock time.
    """

    notebook: str
    status: str
    error: str = ""
    cell: int | None = None
    anchor: str | None = None
    seconds: float = 0.0


# Finding and reading ---------------------------------------------------------------------------------------------


def discover(folder: Path | None = None) -> dict[str, Path]:
    """Every notebook of the folder (default: the repository's `notebooks/`), by name, sorted.

    Raises InputError where there is none.
    """
    folder = FOLDER if folder is None else Path(folder)
    found = {path.stem: path for path in sorted(folder.glob("*.ipynb")) if not path.name.startswith(".")}
    if not found:
        raise InputError(f"no notebook (*.ipynb) in {folder}: run from a checkout of the repository")
    return found


def choose(name: str, found: Mapping[str, Path]) -> str:
    """The discovered notebook that a user means by `sitka`, `sitka.ipynb` or `notebooks/sitka.ipynb`.

    Raises InputError, with the nearest name, where there is none.
    """
    stem = Path(name).name.removesuffix(".ipynb")
    if stem in found:
        return stem
    near = difflib.get_close_matches(stem, found, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(found)}"
    raise InputError(f"no notebook is called {name!r}: {advice}")


def read(path: Path) -> NotebookNode:
    """The notebook in a file, as nbformat 4.5 with an id for every cell; ids it lacks are made from their position.

    Raises InputError for a file that is not there or is not a notebook.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    try:
        return _parse(text)
    except Exception as error:  # nbformat raises many kinds, for JSON, for the schema and for the version
        raise InputError(f"{path}: is not a Jupyter notebook: {_one_line(str(error))}") from error


def _parse(text: str) -> NotebookNode:
    notebook = nbformat.reads(text, as_version=4, capture_validation_error={})
    if not isinstance(notebook.get("cells"), list):
        raise ValueError("it has no list of cells")
    seen: set[str] = set()
    for index, cell in enumerate(notebook.cells):
        if not cell.get("id") or cell.id in seen or notebook.nbformat_minor < 5:
            # nbformat would draw a random one at every reading
            cell["id"] = hashlib.sha256(f"{index}".encode()).hexdigest()[:8]
        seen.add(cell.id)
    notebook.nbformat_minor = max(5, notebook.nbformat_minor)
    return notebook


# Parameters ------------------------------------------------------------------------------------------------------


def parameters(notebook: NotebookNode) -> dict[str, Any]:
    """The notebook's own parameters and their defaults: the assignments of its first cell tagged `parameters`.

    A default that is not a literal is given as `...`: its type is not known. Raises InputError for a cell that is
    not Python.
    """
    cell = next((cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())), None)
    if cell is None:
        return {}
    try:
        statements = ast.parse(cell.source).body
    except SyntaxError as error:
        raise InputError(f"the cell tagged `parameters`, line {error.lineno}: {error.msg}") from error
    found: dict[str, Any] = {}
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and getattr(statement, "value", None) is not None:
                try:
                    found[target.id] = ast.literal_eval(statement.value)
                except ValueError:
                    found[target.id] = ...
    return found


def imports(notebook: NotebookNode) -> list[str]:
    """The statements by which the notebook's code cells import modules, loading an extension among them."""
    found: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            source = re.sub(r"^%load_ext +", "import ", cell.source, flags=re.MULTILINE)
            source = re.sub(r"^[%!].*", "", source, flags=re.MULTILINE)
            with suppress(SyntaxError):  # not Python
                statements = ast.parse(source).body
                found += [ast.unparse(each) for each in statements if isinstance(each, ast.Import | ast.ImportFrom)]
    return list(dict.fromkeys(found))


def check(given: Mapping[str, Any], own: Mapping[str, Any], name: str) -> None:
    """Hold given parameters against a notebook's own.

    Papermill only warns of an unknown parameter and then runs the defaults; this raises InputError for a name the
    notebook does not have, for a value of another type than its default, and for a `method` other than REML or ML.
    """
    for key, value in given.items():
        if key not in own:
            near = difflib.get_close_matches(key, own, n=1, cutoff=0.5)
            advice = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(own) or 'none'}"
            raise InputError(f"notebook {name} has no parameter `{key}`: {advice}")
        if key == "method" and value not in METHODS:
            raise InputError(f"notebook {name}: `method` is {value!r}: give one of {', '.join(METHODS)}")
        default = own[key]
        if not _plain(value):
            raise InputError(
                f"notebook {name}: `{key}` is a {type(value).__name__}, which a notebook cannot take: "
                "give a number, text, truth value, None, list or dict of Python's own"
            )
        if not _alike(value, default):
            raise InputError(
                f"notebook {name}: `{key}` is {value!r}, of type {type(value).__name__}: "
                f"give a {'list' if type(default) is tuple else type(default).__name__}, like its default {default!r}"
            )


def _plain(value: Any) -> bool:
    # exact types: papermill writes tuples and numpy's integers into the notebook as text
    if type(value) is list:
        return all(map(_plain, value))
    if type(value) is dict:
        return all(type(key) is str and _plain(item) for key, item in value.items())
    return value is None or type(value) in (bool, int, float, str)


def _alike(value: Any, default: Any) -> bool:
    if default is None or default is ...:
        return True
    if type(default) is float:
        return type(value) in (int, float)
    if type(default) is tuple:
        return type(value) is list
    return type(value) is type(default)


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


def stop(tokens: list[str]) -> None:
    """End the kernels of those executions in this process that were given one of these tokens; `execute` returns."""
    for token in tokens:
        if run := _running.get(token):
            run.stopped = True
            run.kill()


def execute(
    notebook: str,
    given: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    token: str | None = None,
    done: Callable[[NotebookNode, int], None] | None = None,
    server: str | None = None,
) -> Execution:
    """Execute one notebook in a kernel of its own; never raises for what the notebook does.

    `notebook` is the notebook as JSON, `given` its parameters (see `check`), `timeout` the seconds that the whole
    notebook may take (None: no limit), `token` a name under which `stop` can end it. Nothing is read from or
    written to any folder but a temporary one, which is also where the kernel runs.

    `done` is called with each code cell, its outputs in it, as soon as that cell has completed, and with the cell's
    index in the notebook as written, from 0; not with the cell of parameters that papermill adds, nor with the one
    that fails, of which the Execution tells. The next cell waits for it. What it raises ends the kernel and is raised.

    `server` is the address of a fork server on this machine (see `concord.forkserver`), which makes the start of the
    kernel quick and changes nothing else.
    """
    source = _parse(notebook)
    with _temporary_folder() as folder:
        run = _Run(folder, timeout, done, server)
        if token is not None:
            _running[token] = run
        before, after = os.path.join(folder, "notebook.ipynb"), os.path.join(folder, "executed.ipynb")
        nbformat.write(source, before)
        kernelspec = source.metadata.get("kernelspec", {})
        status, error = COMPLETED, ""
        try:
            papermill.execute_notebook(
                before,
                after,
                parameters=dict(given or {}),
                engine_name="concord",
                kernel_name=kernelspec.get("name", "python3"),
                language=kernelspec.get("language", "python"),
                progress_bar=False,
                run=run,
            )
        except papermill.PapermillExecutionError as failure:
            # papermill also raises for a cell that is tagged as one that should raise
            if "raises-exception" not in _papermill_cell(failure, after).metadata.get("tags", ()):
                status, error, run.cell = FAILED, f"{failure.ename}: {failure.evalue}", failure.cell_index
        except CellTimeoutError:
            status, error = TIMED_OUT, f"TimeoutError: stopped after {timeout:g} s"
        except DeadKernelError:
            status, error = DIED, "DeadKernelError: the kernel's process ended while this cell ran"
        except NoSuchKernel as failure:
            status, error = FAILED, f"NoSuchKernel: no Jupyter kernel is called {failure.name!r} here"
        except _CallerFailed as failure:
            raise failure.__cause__ from None
        except Exception as failure:
            # nbclient tells of a kernel that does not start by RuntimeError only
            status = TIMED_OUT if run.late else DIED if run.stopped or "ernel died" in str(failure) else FAILED
            error = f"{type(failure).__name__}: {failure}"
        finally:
            run.kill()
            if token is not None:
                _running.pop(token, None)
        seconds = run.seconds
        executed = _parse(Path(after).read_text(encoding="utf-8")) if os.path.exists(after) else source

    return _finish(executed, status, _plain_text(error), run.cell, seconds)


def _papermill_cell(failure: Any, path: str) -> NotebookNode:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if not _is_papermill_marker(cell)]
    return cells[failure.cell_index]


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
    _forget_run(notebook)
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
    banner = nbformat.v4.new_markdown_cell(
        f'<div class="{BANNER}" role="alert"><strong>This notebook {_STORY[status]} {where}</strong>, '
        f"{seconds:.1f} s after its start. What follows that point did not run.<br>"
        f"<code>{html.escape(shorten(error))}</code></div>",
        id=BANNER,
        metadata={"tags": [BANNER]},
    )
    notebook.cells.insert(0, banner)
    return Execution(nbformat.writes(notebook), status, error, position, anchor, seconds)


def labelled(execution: Execution, id: str, name: str, method: str | None, **more: Any) -> NotebookNode:
    """The executed notebook with what came of it in `metadata.concord`; `more` goes there too."""
    notebook = nbformat.reads(execution.notebook, as_version=4)
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
        executed = super().execute_cell(cell, cell_index, **more)
        if self.run.done and _has_to_run(cell) and not _is_added(cell):
            # A copy: a later cell may still change what this one displays, found by its place among the outputs
            told = copy.deepcopy(cell)
            _merge_streams(told)
            try:
                self.run.done(told, _index_as_written(self.nb, cell_index))
            except Exception as error:
                raise _CallerFailed from error
        return executed


class _Provisioner(LocalProvisioner):
    """Jupyter's own way to a kernel's process, unless the run's fork server gives one."""

    run: _Run

    async def launch_kernel(self, cmd: list[str], **given: Any) -> dict[str, Any]:
        forked = None
        if self.run.server:
            patience = min(forkserver.PATIENCE, self.run.remaining() or forkserver.PATIENCE)
            forked = forkserver.fork(self.run.server, cmd, given["cwd"], given["env"], patience)
        if forked is None:
            return await super().launch_kernel(cmd, **given)
        self.process, self.cwd = forked, given["cwd"]
        self.pid = self.pgid = forked.pid
        return self.connection_info


class _Engine(NBClientEngine):
    """Papermill's own engine, with a kernel that opens no port, computes in one thread and does not outlive its run."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, *, run: _Run, start_timeout: float = 60, **_: Any):
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
        environment = os.environ | forkserver.ONE_THREAD | {"TMPDIR": run.folder}
        # Papermill would write the notebook before and after each cell, for a second or so in all, while the kernel
        # idles; it also writes it in the end, whatever comes of it, and nobody reads it earlier.
        save, nb_man.save = nb_man.save, lambda **_: None
        try:
            return client.execute(cleanup_kc=True, env=environment, cwd=run.folder)
        finally:
            nb_man.save = save


papermill_engines.register("concord", _Engine)
# What papermill logs of a failure, the Execution says again
logging.getLogger("papermill").addHandler(logging.NullHandler())


# Tidying ---------------------------------------------------------------------------------------------------------


def merge_streams(notebook: NotebookNode) -> None:
    """Join the pieces of printed output: R's lines arrive in many, cut and interleaved differently at every run.

    Between two displayed outputs at most one block of stdout and one of stderr remain, in this order, with plain
    paths (see `plain_paths`).
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            _merge_streams(cell)


def _merge_streams(cell: NotebookNode) -> None:
    merged: list[NotebookNode] = []
    block: dict[str, NotebookNode] = {}
    for output in cell.outputs:
        if output.output_type == "stream":
            if output.name in block:
                block[output.name].text += output.text
            else:
                block[output.name] = output
            continue
        merged += [block[name] for name in sorted(block, reverse=True)] + [output]
        block = {}
    cell.outputs = merged + [block[name] for name in sorted(block, reverse=True)]
    for output in cell.outputs:
        if output.output_type == "stream":
            output.text = plain_paths(output.text)


def _forget_run(notebook: NotebookNode) -> None:
    """Drop what papermill and nbclient noted about their run; after a time-out or a death it is not even true."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]


def plain_paths(text: str) -> str:
    """The text without what differs between machines and runs in the paths of warnings and tracebacks.

    `/tmp/ipykernel_17/2093.py` becomes `ipykernel/2093.py`, `/home/me/.venv/lib/python3.11/site-packages/x.py`
    becomes `site-packages/x.py`.
    """
    text = re.sub(r"[^\s'\"(]*/ipykernel_\d+/(\d+)\.py", r"ipykernel/\1.py", text)
    return re.sub(r"[^\s'\"(]*/(site|dist)-packages/", r"\1-packages/", text)


def settle(notebook: NotebookNode) -> None:
    """Take from an executed notebook, in place, everything that changes though the notebook did not."""
    from concord.records import MEDIA_TYPE  # with pandas, which a worker need not wait for

    _forget_run(notebook)
    merge_streams(notebook)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            output.get("data", {}).pop(MEDIA_TYPE, None)  # holds how long each fit took
            output.get("metadata", {}).pop(MEDIA_TYPE, None)
            if output.output_type == "error":
                output.traceback = [plain_paths(_ANSI.sub("", line)) for line in output.traceback]
        cell.outputs = [output for output in cell.outputs if output.get("data") != {}]


def refresh(path: Path, timeout: float | None = None) -> Execution:
    """Execute a committed notebook with its own defaults and put the result in its place.

    Only a notebook that completed replaces the file, and in one step: the file is never half-written. Raises
    InputError for a file that is not a notebook.
    """
    source = read(path)
    execution = execute(nbformat.writes(source), timeout=timeout)
    if execution.status == COMPLETED:
        executed = _parse(execution.notebook)
        settle(executed)
        write_text(path, nbformat.writes(executed) + "\n")
    return execution


def write_text(path: Path, text: str) -> None:
    """Write a file in one step, beside its place and then into it; creates its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(aside, mode)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _plain_text(text: str) -> str:
    return _ANSI.sub("", text).strip()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def shorten(text: str, limit: int = 300) -> str:
    """The lines of a message as one, of at most this many characters."""
    line = " / ".join(_one_line(line) for line in text.splitlines() if line.strip())
    return line if len(line) <= limit else line[: limit - 1] + "…"
