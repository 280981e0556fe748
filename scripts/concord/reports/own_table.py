"""The report on a person's own table: compare.ipynb executed on it, the verdicts told as they come, all of it kept."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from tqdm import tqdm

from concord import checkout, errors, files
from concord.display.media import MEDIA_TYPE, REFERENCE_TYPE
from concord.display.records import as_csv, collect, collect_quantities, displayed, unexplained
from concord.reports import notebooks
from concord.reports.answer import REMEDIES
from concord.reports.execution import COMPLETED, Execution, execute, labelled, unfinished
from concord.reports.page import page
from concord.vocabulary import AGREE as AGREED
from concord.vocabulary import KEPT_IN, passes

NOTEBOOK, VERDICT, SUMMARY = notebooks.OWN_TABLE, "verdict", "summary"
AGREE, DISAGREE, BAD_INPUT = 0, 1, 2
# So many seconds after the last time what there is is written with the next verdict, and not only at the end.
LONG = 5.0
# Where the answers of a comparison that is not through are kept, in its folder.
UNFINISHED_ANSWERS = ".unfinished"
TABLES, REFERENCE = ("estimates.csv", "fits.csv", "quantities.csv"), "reference.json"


def notebook_file() -> Path:
    """compare.ipynb: the checkout's, or the copy that a wheel brings beside this module."""
    folder = checkout.path("notebooks") if checkout.root() else Path(__file__).parent
    return folder / f"{NOTEBOOK}.ipynb"


def compare(
    data: str, methods: Sequence[str], parameters: Mapping[str, Any], output: Path, strict: bool = False
) -> int:
    """Compare the engines on one formula and one table, tell the verdicts, and write what came of it.

    Verdicts go to stdout as soon as their cells are done; progress and what fails go to stderr. Written are for every
    method the executed notebook and its HTML, and over all ``estimates.csv``, ``fits.csv`` and ``quantities.csv``,
    everything that the fits say beyond their estimates; ``reference.json``, where the optimum was certified. It is
    written at the end, where that takes long with verdicts too, and where it is interrupted as far as it has come;
    the engines' answers are kept meanwhile, so that the same command goes on from there.

    Parameters
    ----------
    data : a file, or the id of a dataset of the workbook
    methods : ``REML``, ``ML`` or both
    parameters : of the notebook, but for its table and its method
    output : folder; made where there is none
    strict : a fit that is imprecise fails too

    Returns
    -------
    exit status: 0 where every verdict is ``agree``, or imprecise and not `strict`, and every line of everything else is
    explained; 1 where one is not or a notebook fails, 2 for input that cannot be used, R that is missing or memory that
    ran out (written is what was done before, mostly nothing)

    Raises
    ------
    InputError : nothing can be written in the folder, or another run writes there
    """
    names = [
        *TABLES,
        REFERENCE,
        *(f"{_stem(data)}-{method}.{suffix}" for method in methods for suffix in ("html", "ipynb")),
    ]
    files.check_spared([(output / name, "--output") for name in names], [Path(data)])
    with files.claimed(output, "--output"):
        return _compared(data, methods, parameters, output, strict)


def _compared(data: str, methods: Sequence[str], parameters: Mapping[str, Any], output: Path, strict: bool) -> int:
    notebook = notebooks.read(notebook_file())
    # The notebook runs in a folder of its own.
    place = str(Path(data).resolve()) if Path(data).exists() or re.search(r"\W", data) else data
    executions: dict[str, Execution] = {}
    for method in methods:
        values = {**parameters, "data": place, "method": method}
        notebooks.check(values, notebooks.parameters(notebook), NOTEBOOK)
        run = _Run(notebook, values, partial(_write_too, executions, method, data, output))
        try:
            with _kept_in(output / UNFINISHED_ANSWERS):
                executions[method] = execution = run.executed()
        except KeyboardInterrupt:
            _keep(run, output)
            raise
        if execution.unusable:
            _keep(run, output)
            print(f"concord: {execution.error.partition(': ')[2]}", file=sys.stderr)
            return BAD_INPUT
        if execution.status != COMPLETED:
            where = f", cell {execution.cell}" if execution.cell else ""
            print(f"concord: {method} {execution.status}{where}: {errors.shorten(execution.error)}", file=sys.stderr)
    verdicts, open_lines = _write(executions, data, output)
    for name in executions:
        print(f"report: {output / f'{_stem(data)}-{name}.html'}")
    shutil.rmtree(output / UNFINISHED_ANSWERS, ignore_errors=True)
    for line in open_lines:
        print(f"nothing explains: {line}")
    complete = all(execution.status == COMPLETED for execution in executions.values())
    passed = verdicts and all(passes(word, strict) for word in verdicts) and not open_lines
    return AGREE if complete and passed else DISAGREE


class _Run:
    """The notebook while it is executed, its verdicts told as their cells are done.

    Parameters
    ----------
    notebook : as written
    values : its parameters
    write : writes what has been executed so far
    """

    def __init__(self, notebook: NotebookNode, values: Mapping[str, Any], write: Callable[[Execution], object]) -> None:
        self.notebook, self.values, self.write = notebook, values, write
        self.so_far = copy.deepcopy(notebook)
        self.began = self.written = time.monotonic()
        self.index = -1  # of the last cell that was done

    def executed(self) -> Execution:
        cells = sum(cell.cell_type == "code" for cell in self.notebook.cells) - 1
        with tqdm(total=cells, unit="cell", dynamic_ncols=True, leave=False, disable=not sys.stderr.isatty()) as bar:
            bar.set_postfix_str(f"{self.values['method']}: reading, fitting")
            said: dict[str, str] = {}

            def done(cell: NotebookNode, index: int) -> None:
                bar.update()
                bar.set_postfix_str(f"{self.values['method']}: {_heading(self.notebook, index)}")
                self.so_far.cells[index], self.index = cell, index
                if text := _told(cell, said, _model(self.values)):
                    bar.clear()
                    print(f"{text}\n", flush=True)
                if VERDICT in cell.metadata.get("tags", ()) and time.monotonic() - self.written > LONG:
                    self.write(self.unfinished)
                    self.written = time.monotonic()

            return execute(nbformat.writes(self.notebook), self.values, done=done)

    @property
    def unfinished(self) -> Execution:
        return unfinished(self.so_far, self.values, self.index, time.monotonic() - self.began)

    @property
    def missing(self) -> list[str]:
        """The headings of what has not been executed."""
        left = [place for place, cell in enumerate(self.notebook.cells) if place > self.index and _is_code(cell)]
        return list(dict.fromkeys(_heading(self.notebook, place - 1) for place in left))


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Kernels that start meanwhile keep the engines' answers in a folder."""
    before = os.environ.get(KEPT_IN)
    os.environ[KEPT_IN] = str(folder.resolve())
    try:
        yield
    finally:
        os.environ.pop(KEPT_IN)
        if before is not None:
            os.environ[KEPT_IN] = before


def _keep(run: _Run, output: Path) -> None:
    """Write what there is, and say what there is not."""
    if not any(_is_code(cell) and cell.outputs for cell in run.so_far.cells[: run.index + 1]):
        return
    run.write(run.unfinished)
    print(
        f"concord: {run.values['method']}: what was done is in {output}; not yet: {'; '.join(run.missing)}; "
        "the same command goes on from there",
        file=sys.stderr,
    )


def _is_code(cell: NotebookNode) -> bool:
    return bool(cell.cell_type == "code")


def _heading(notebook: NotebookNode, index: int) -> str:
    """The heading under which the next cell of code after a place stands."""
    after = next((place for place in range(index + 1, len(notebook.cells)) if _is_code(notebook.cells[place])), index)
    lines = [line for cell in notebook.cells[: after + 1] if not _is_code(cell) for line in cell.source.splitlines()]
    return next((line.lstrip("# ") for line in reversed(lines) if line.startswith("#")), "")


def _model(values: Mapping[str, Any]) -> str:
    """Which model it is, in a line: its formula, with what changes it beside that."""
    weights = f", weights {values['weights']}" if values.get("weights") else ""
    return errors.escaped(f"{values['formula']}{weights}")


def _told(cell: NotebookNode, said: dict[str, str], model: str) -> str:
    """What of a cell is to be told: the first verdict with its table, of the next ones the verdict and its reason, and
    of all at the end only where one has changed; what to write instead, where not all agree; the summary of everything
    else. `said` keeps the verdicts told, by settings; under the title of each stands the `model`.
    """
    tags = cell.metadata.get("tags", ())
    if not {VERDICT, REMEDIES, SUMMARY} & set(tags):
        return ""
    text = "\n".join("".join(output.get("data", {}).get("text/plain", "")) for output in cell.outputs)
    if SUMMARY in tags:
        return f"Everything else that the fits say, counted; every line of it is in the report.\n{text}"
    if REMEDIES in tags:  # there are none where all agree
        return "" if set(said.values()) <= {AGREED} else text
    verdicts = {
        row["settings"]: row["verdict"]
        for record in displayed([{"cells": [cell]}], MEDIA_TYPE)
        for row in record["fits"]
    }
    first, known = not said, verdicts.items() <= said.items()
    said.update(verdicts)
    text = re.sub(
        r"^(\S+, (?:RE)?ML, .+ settings: .+)$", lambda title: f"{title[1]}\n{model}", text, flags=re.MULTILINE
    )
    return text if first else "" if known else text.split("\n\n")[0]


def _write_too(executions: Mapping[str, Execution], method: str, data: str, output: Path, so_far: Execution) -> None:
    """Write what there is, with what has been executed so far by one more method."""
    _write({**executions, method: so_far}, data, output)


def _write(executions: Mapping[str, Execution], data: str, output: Path) -> tuple[set[str], list[str]]:
    """Write notebooks, pages and tables; the verdicts that came of it, and the lines that nothing explains."""
    stem = _stem(data)
    methods = [(method, f"{stem}-{method}") for method in executions]
    notebooks = {
        f"{stem}-{method}": labelled(execution, f"{stem}-{method}", stem, method, alone=True, methods=methods)
        for method, execution in executions.items()
    }
    executed = list(notebooks.values())
    contents = {f"{name}.ipynb": nbformat.writes(notebook) + "\n" for name, notebook in notebooks.items()}
    (estimates, fits), lines = collect(executed), collect_quantities(executed)
    contents |= {name: as_csv(table) for name, table in zip(TABLES, (estimates, fits, lines), strict=True)}
    references: dict[str, Any] = {}
    for record in displayed(executed, REFERENCE_TYPE):
        for name, methods in record.items():
            references.setdefault(name, {}).update(methods)
    if references:
        contents[REFERENCE] = json.dumps(references, indent=1, ensure_ascii=False) + "\n"
    try:
        contents |= {f"{name}.html": page(notebook) for name, notebook in notebooks.items()}
    finally:  # without nbconvert's templates there are no pages, and the numbers are still there
        files.write_all({output / name: content for name, content in contents.items()})
    return set(fits["verdict"]), unexplained(lines)


def _stem(data: str) -> str:
    """The name of the files written: the table's, without what a file name should not hold."""
    return re.sub(r"[^\w.-]+", "_", Path(data).name.split(".")[0]).strip("._-") or "data"
