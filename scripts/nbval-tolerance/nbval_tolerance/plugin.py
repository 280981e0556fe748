"""The plugin: its options, and nbval's notebook and cell with the tolerant comparison."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import nbval.kernel
import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbCell, IPyNbFile

from nbval_tolerance.cells import reason_not_compared, tolerance, tolerances
from nbval_tolerance.numbers import ATOL, RTOL
from nbval_tolerance.outputs import by_kind, differences
from nbval_tolerance.versions import Part, outside, parts

SHOWN = 5
NOT_COMPARED = "nbval not compared"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two options, in nbval's own group, and three settings of the configuration file."""
    group = parser.getgroup("nbval")
    group.addoption("--nbval-rtol", default=RTOL, help=f"relative tolerance of numbers in outputs (default {RTOL:g})")
    group.addoption("--nbval-atol", default=ATOL, help=f"absolute tolerance of numbers in outputs (default {ATOL:g})")
    parser.addini("nbval_not_compared", "media types whose contents nbval does not compare", "linelist", default=[])
    parser.addini("nbval_versions", "function, module:name: which versions lie outside of ranges", default="")
    parser.addini("nbval_strict", "fail cells that nbval passes or skips unseen", "bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a tolerance that is none, and, where that is asked for, the option that compares nothing."""
    if config.getini("nbval_strict") and config.getoption("nbval_lax", False):
        raise pytest.UsageError("--nbval-lax compares nothing; use --nbval, and give each exempt cell its reason")
    try:
        config.option.nbval_rtol = tolerance("rtol", str(config.option.nbval_rtol))
        config.option.nbval_atol = tolerance("atol", str(config.option.nbval_atol))
    except ValueError as error:
        raise pytest.UsageError(f"--nbval-{error}") from None
    if os.name == "posix":
        nbval.kernel.KernelManager = PortlessKernels


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Generator[None, list[Any], list[Any]]:
    """Where nbval collects a notebook, collect it as a `TolerantNotebook`, or as a strict one."""
    from nbval_tolerance.strict import StrictNotebook  # noqa: PLC0415  which stands on this module

    collectors = yield
    kind = StrictNotebook if parent.config.getini("nbval_strict") else TolerantNotebook
    return [
        kind.from_parent(parent, path=file_path) if type(collector) is IPyNbFile else collector
        for collector in collectors
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was not compared with these versions, and why."""
    listed = [report for some in terminalreporter.stats.values() for report in some]
    told = {
        f"{report.nodeid}: {text}": None
        for report in listed
        for name, text in getattr(report, "user_properties", ())
        if name == NOT_COMPARED
    }
    if told:
        terminalreporter.section("not compared with these versions")
        for line in told:
            terminalreporter.write_line(line)


class PortlessKernels(nbval.kernel.KernelManager):
    """nbval's manager of a kernel, with Unix sockets in a folder: a free port may be another's when it is opened."""

    def __init__(self, **given: Any) -> None:
        base = tempfile.gettempdir()  # a socket's path is at most 107 bytes long, or 103
        self._folder = tempfile.TemporaryDirectory(prefix="nbval-", dir=base if len(base) < 60 else "/tmp")
        kernel = os.path.join(self._folder.name, "kernel")
        super().__init__(transport="ipc", ip=kernel, connection_file=f"{kernel}.json", **given)

    def cleanup_connection_file(self) -> None:
        """And the folder that it is in, once the kernel has ended."""
        super().cleanup_connection_file()
        self._folder.cleanup()


class TolerantCell(IPyNbCell):
    """A code cell: run and reported by nbval, its outputs compared with a tolerance."""

    def __init__(self, name: str, parent: IPyNbFile, cell_num: int, cell: NotebookNode, options: dict[str, bool]):
        super().__init__(name, parent, cell_num, cell, options)
        self.reason = reason_not_compared(cell.source)
        self.left_out: list[Part] = []
        if self.reason is not None:
            options["check"] = False

    def runtest(self) -> None:
        """Execute and compare; a tag that means to give a tolerance and does not is an error."""
        wrong = list(self.leave_out())
        super().runtest()
        try:
            self.tolerances()
        except ValueError as error:
            wrong.append(f"bad tag {error}")
        if wrong:
            self.raise_cell_error("\n".join(wrong))

    def leave_out(self) -> Iterator[str]:
        """Leave out what is not compared with these versions, and tell it; what is wrong with how it is written."""
        self.left_out = []
        try:
            for part in parts(self.cell.metadata.get("compared_with", [])):
                beyond = outside(self.config.getini("nbval_versions"))(part.versions)
                if part.text and not any(part.without(text) != text for text in self._texts()):
                    yield f"compared_with: {part.text!r} matches nothing that is committed"
                if beyond:
                    self.left_out.append(part)
                    self.user_properties.append((NOT_COMPARED, f"here {', '.join(beyond)}; {part}"))
        except Exception as error:  # whatever the function that is named may raise
            yield f"compared_with: {error!r}"
        if any(not part.text for part in self.left_out):
            self.reason, self.options["check"] = "; ".join(map(str, self.left_out)), False

    def _texts(self) -> list[str]:
        places = [place for some in by_kind(self.cell.outputs).values() for place in some]
        return [str(self.sanitize(side[key])) for side, key in places]

    def tolerances(self) -> tuple[float, float]:
        """This cell's rtol and atol; ValueError for a malformed tag."""
        options = self.config.option
        return tolerances(self.cell.metadata.get("tags", []), options.nbval_rtol, options.nbval_atol)

    def compare_outputs(
        self, test: list[NotebookNode], ref: list[NotebookNode], skip_compare: Sequence[str] | None = None
    ) -> bool:
        """nbval's comparison, after each content that agrees within tolerance has been put equal to the committed one.

        A content is put equal as a whole or not at all, so nbval's diff shows what was really printed.
        """
        try:
            rtol, atol = self.tolerances()
        except ValueError:  # reported elsewhere
            rtol, atol = self.config.option.nbval_rtol, self.config.option.nbval_atol
        broken: list[str] = []
        committed, fresh = by_kind(ref), by_kind(test)
        for kind in sorted(committed.keys() & fresh.keys() - set(skip_compare or self.parent.skip_compare)):
            if len(committed[kind]) == len(fresh[kind]):  # otherwise nbval says so
                for (old_in, key), (new_in, _) in zip(committed[kind], fresh[kind], strict=True):
                    was, now = (self._compared(self.sanitize(side[key])) for side in (old_in, new_in))
                    found = differences(kind, was, now, rtol, atol)
                    if found:
                        broken += [f"{kind}, {sentence}" for sentence in found]
                    else:
                        new_in[key] = old_in[key]
        same = super().compare_outputs(test, ref, skip_compare)
        if broken:
            more = [f"... and {len(broken) - SHOWN} more"] if len(broken) > SHOWN else []
            self.comparison_traceback[:0] = [*broken[:SHOWN], *more]
        return same and not broken  # in JSON, nbval takes true for 1

    def _compared(self, content: Any) -> Any:
        """What of a content is compared with these versions."""
        for part in self.left_out if isinstance(content, str) else ():
            content = part.without(content)
        return content


class TolerantNotebook(IPyNbFile):
    """A notebook of such cells."""

    cell_type = TolerantCell
    cells: list[TolerantCell]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.skip_compare += tuple(self.config.getini("nbval_not_compared"))

    def collect(self) -> Iterator[TolerantCell]:
        """nbval's cells, each as a cell of this kind."""
        self.cells = [
            self.cell_type.from_parent(self, name=it.name, cell_num=it.cell_num, cell=it.cell, options=it.options)
            for it in super().collect()
        ]
        yield from self.cells
