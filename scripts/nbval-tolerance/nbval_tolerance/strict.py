"""nbval without the holes through which a wrong notebook passes; the setting `nbval_strict` asks for it.

These fail here and pass, or are skipped, in nbval 0.11:

- a committed cell that was never executed, or whose output or picture is missing;
- a reply with an error that leaves no error output: an unloaded magic, a usage error;
- a cell tagged `raises-exception` that raises nothing; a cell that times out and swallows the interrupt;
- `nbval-skip`, and `nbval-ignore-output` without a reason; the option `--nbval-lax`.

One cell chosen by its id, or cells in another order, see the kernel as in the whole notebook: the cells before it are
executed first, unreported. A dead kernel fails within a second or two, where nbval waits for the cell's time-out. A
result before a `;` is not shown, as it is not in Jupyter; nbval's way to execute shows it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from queue import Empty
from typing import Any

from nbformat import NotebookNode
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, NbCellError

from nbval_tolerance.outputs import PICTURES, by_kind
from nbval_tolerance.plugin import TolerantCell, TolerantNotebook


class KernelDied(Exception):
    """The kernel's process ended while a reply was due."""


class WatchedKernel:
    """nbval's kernel; keeps the reply that nbval drops, and notices when no reply can come any more."""

    def __init__(self, kernel: RunningKernel) -> None:
        self._kernel = kernel
        self.reply: dict[str, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)

    def execute_cell_input(self, source: str, allow_stdin: bool | None = None) -> str:
        """Send a cell as Jupyter and papermill do, with history: without, IPython shows the result before a `;`."""
        return self._kernel.kc.execute(source, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)

    def await_reply(self, msg_id: str, timeout: float) -> None:
        """Wait for the reply and keep it; `queue.Empty` after `timeout` seconds, KernelDied as soon as that is so."""
        self.reply = None
        deadline = time.monotonic() + timeout
        while self.reply is None:
            try:
                message = self._kernel.get_message("shell", timeout=max(0.0, min(1.0, deadline - time.monotonic())))
            except Empty:
                if not self._kernel.is_alive():
                    raise KernelDied from None
                if time.monotonic() >= deadline:
                    raise
            else:
                if message["parent_header"].get("msg_id") == msg_id:
                    self.reply = message["content"]

    def failure(self) -> str | None:
        """The last reply's error, in a line; None if it was well."""
        if self.reply is None or self.reply["status"] == "ok":
            return None
        return f"{self.reply.get('ename', self.reply['status'])}: {self.reply.get('evalue', '')}"


class StrictCell(TolerantCell):
    """A code cell that cannot pass unseen."""

    def __init__(self, name: str, parent: StrictNotebook, cell_num: int, cell: NotebookNode, options: dict[str, bool]):
        unchecked = not options["check"]
        super().__init__(name, parent, cell_num, cell, options)
        self.unexplained = unchecked and self.reason is None
        self.skipped = options["skip"]
        options["skip"] = False  # executed, for the sake of the cells after it, and then failed

    def runtest(self) -> None:
        """Execute and compare; whatever is wrong is raised only then, so that later cells find what they need."""
        notebook: StrictNotebook = self.parent
        problems, traceback = list(self.wrong_as_committed()), None
        timed_out_before = notebook.timed_out
        try:
            notebook.catch_up(self)
            IPyNbCell.runtest(self)
        except KernelDied:
            problems.append("The kernel died while executing this cell")
        except NbCellError as error:
            problems.append(str(error))
            traceback = error.inner_traceback
        else:
            if notebook.timed_out and not timed_out_before:
                limit = self.config.option.nbval_cell_timeout
                problems.append(f"Timeout of {limit:g} seconds exceeded, and the cell swallowed the interrupt")
            else:
                problems += self.wrong_as_executed()
        if problems:
            self.raise_cell_error("\n".join(problems), traceback)

    def wrong_as_committed(self) -> Iterator[str]:
        """What is wrong before the cell runs."""
        if self.cell.source.strip() and self.cell.execution_count is None:
            yield "never executed: run and commit it, so that there is something to compare with"
        if self.skipped:
            yield "nbval-skip hides this cell: let it run, with `# not compared: <reason>` if it must be"
        if self.unexplained:
            yield "its outputs are not compared and it does not say why: write `# not compared: <reason>` instead"
        yield from self.leave_out()
        if self.reason == "":
            yield "`# not compared:` wants its reason after the colon"
        try:
            self.tolerances()
        except ValueError as error:
            yield f"bad tag {error}"

    def wrong_as_executed(self) -> Iterator[str]:
        """What nbval does not see in a run that it finds well."""
        failure = self.parent.kernel.failure()
        if self.options["check_exception"]:
            if not failure:
                yield "tagged to raise an exception, and it raised none"
        elif failure:
            yield f"The kernel answered with an error that nbval does not see: {failure}"
        if self.reason:
            committed, fresh = self.has_output(self.cell.outputs), self.has_output(self.test_outputs)
            if committed and not fresh:
                yield "its output is not compared, but there was one and this run gives none"
            if fresh and not committed:
                yield "its committed output is missing: run the notebook and commit it"

    def execute_unreported(self) -> str | None:
        """Run the cell for what it leaves in the kernel; the error that it should not have raised, if any."""
        kernel, limit = self.parent.kernel, self.config.option.nbval_cell_timeout
        msg_id = kernel.execute_cell_input(self.cell.source, allow_stdin=False)
        try:
            kernel.await_reply(msg_id, timeout=limit)
            kernel.await_idle(msg_id, self.output_timeout)
        except KernelDied:
            return "the kernel died"
        except Empty:
            kernel.interrupt()
            return f"timeout of {limit:g} seconds exceeded"
        return None if self.options["check_exception"] else kernel.failure()

    def compare_outputs(
        self, test: list[NotebookNode], ref: list[NotebookNode], skip_compare: Sequence[str] | None = None
    ) -> bool:
        """The tolerant comparison; and there must be as many pictures as were committed, whatever they show."""
        same = super().compare_outputs(test, ref, skip_compare)
        for kind in PICTURES:
            before, after = (sum(kind in output.get("data", {}) for output in side) for side in (ref, test))
            if before != after:
                self.comparison_traceback.insert(0, f"{before} {kind} committed, {after} in this run")
                same = False
        return same

    def has_output(self, outputs: Iterable[NotebookNode]) -> bool:
        """Whether there is anything to see; stderr comes and goes with an optimizer's path."""
        not_seen = {"stderr", *self.config.getini("nbval_not_compared")}
        return bool(by_kind(outputs).keys() - not_seen)


class StrictNotebook(TolerantNotebook):
    """A notebook whose kernel always stands where the cell about to run expects it."""

    cell_type = StrictCell
    cells: list[StrictCell]
    reached = 0  # the number of cells that the running kernel has been through

    def setup(self) -> None:
        """Start a kernel, which has executed nothing yet."""
        super().setup()
        self.kernel = WatchedKernel(self.kernel)
        self.reached = 0

    def catch_up(self, cell: StrictCell) -> None:
        """Execute what stands before `cell` and has not run, in a fresh kernel if the present one is past it."""
        if self.kernel.is_alive():
            if self.reached > cell.cell_num:
                self.kernel.stop()
                self.setup()
            for earlier in self.cells[self.reached : cell.cell_num]:
                self.reached += 1
                if problem := earlier.execute_unreported():
                    cell.raise_cell_error(f"Cell {earlier.cell_num}, which stands before this one, failed: {problem}")
        self.reached = cell.cell_num + 1
