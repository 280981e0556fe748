"""The report on a person's own table: compare.ipynb executed on it, the verdicts told as they come, all of it kept."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from tqdm import tqdm

from concord import checkout, errors, files
from concord.display.media import MEDIA_TYPE, REFERENCE_TYPE
from concord.display.records import as_csv, collect, collect_quantities, displayed, unexplained
from concord.errors import InputError
from concord.reports import notebooks
from concord.reports.execution import COMPLETED, Execution, execute, labelled
from concord.reports.page import page
from concord.vocabulary import AGREE as AGREED
from concord.vocabulary import passes

NOTEBOOK, VERDICT, REMEDIES, SUMMARY = notebooks.OWN_TABLE, "verdict", "remedies", "summary"
AGREE, DISAGREE, BAD_INPUT = 0, 1, 2


def notebook_file() -> Path:
    """compare.ipynb: the checkout's, or the copy that a wheel brings beside this module."""
    folder = checkout.path("notebooks") if checkout.root() else Path(__file__).parent
    return folder / f"{NOTEBOOK}.ipynb"


def compare(
    data: str, methods: Sequence[str], parameters: Mapping[str, Any], output: Path, strict: bool = False
) -> int:
    """Compare the engines on one formula and one table, tell the verdicts, and write what came of it.

    Verdicts go to stdout as soon as their cells are done; progress and what fails go to stderr. Written, all at the
    end: for every method the executed notebook and its HTML, and over all ``estimates.csv``, ``fits.csv`` and
    ``quantities.csv``, everything that the fits say beyond their estimates; ``reference.json``, where the optimum was
    certified.

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
    explained; 1 where one is not or a notebook fails, 2 for input that cannot be used (nothing is written then)

    Raises
    ------
    InputError : the output cannot be a folder
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is not a folder: name another one with --output")
    notebook = notebooks.read(notebook_file())
    # The notebook runs in a folder of its own.
    place = str(Path(data).resolve()) if Path(data).exists() or re.search(r"\W", data) else data
    executions: dict[str, Execution] = {}
    for method in methods:
        values = {**parameters, "data": place, "method": method}
        notebooks.check(values, notebooks.parameters(notebook), NOTEBOOK)
        executions[method] = execution = _executed(notebook, values)
        if execution.unusable:
            print(f"concord: {execution.error.partition(': ')[2]}", file=sys.stderr)
            return BAD_INPUT
        if execution.status != COMPLETED:
            where = f", cell {execution.cell}" if execution.cell else ""
            print(f"concord: {method} {execution.status}{where}: {errors.shorten(execution.error)}", file=sys.stderr)
    verdicts, open_lines = _write(executions, _stem(data), output)
    for line in open_lines:
        print(f"nothing explains: {line}")
    complete = all(execution.status == COMPLETED for execution in executions.values())
    passed = verdicts and all(passes(word, strict) for word in verdicts) and not open_lines
    return AGREE if complete and passed else DISAGREE


def _executed(notebook: NotebookNode, values: Mapping[str, Any]) -> Execution:
    """The notebook executed, its verdicts told as their cells are done."""
    cells = sum(cell.cell_type == "code" for cell in notebook.cells) - 1
    with tqdm(total=cells, unit="cell", dynamic_ncols=True, leave=False, disable=not sys.stderr.isatty()) as bar:
        bar.set_postfix_str(f"{values['method']}: reading, fitting")
        said: dict[str, str] = {}

        def done(cell: NotebookNode, index: int) -> None:
            bar.update()
            if text := _told(cell, said):
                bar.clear()
                print(f"{text}\n", flush=True)

        return execute(nbformat.writes(notebook), values, done=done)


def _told(cell: NotebookNode, said: dict[str, str]) -> str:
    """What of a cell is to be told: the first verdict with its table, of the next ones the verdict and its reason, and
    of all at the end only where one has changed; what to write instead, where not all agree; the summary of everything
    else. `said` keeps the verdicts told, by settings.
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
    return text if first else "" if known else text.split("\n\n")[0]


def _write(executions: dict[str, Execution], stem: str, output: Path) -> tuple[set[str], list[str]]:
    """Write notebooks, pages and tables; the verdicts that came of it, and the lines that nothing explains."""
    methods = [(method, f"{stem}-{method}") for method in executions]
    notebooks = {
        f"{stem}-{method}": labelled(execution, f"{stem}-{method}", stem, method, alone=True, methods=methods)
        for method, execution in executions.items()
    }
    executed = list(notebooks.values())
    for name, notebook in notebooks.items():
        files.write(output / f"{name}.ipynb", nbformat.writes(notebook) + "\n")
    estimates, fits = collect(executed)
    files.write(output / "estimates.csv", as_csv(estimates))
    files.write(output / "fits.csv", as_csv(fits))
    lines = collect_quantities(executed)
    files.write(output / "quantities.csv", as_csv(lines))
    references: dict[str, Any] = {}
    for record in displayed(executed, REFERENCE_TYPE):
        for name, methods in record.items():
            references.setdefault(name, {}).update(methods)
    if references:
        content = json.dumps(references, indent=1, ensure_ascii=False) + "\n"
        files.write(output / "reference.json", content)
    # The pages last: without nbconvert's templates there are none, and the numbers are still there.
    for name, notebook in notebooks.items():
        files.write(output / f"{name}.html", page(notebook))
        print(f"report: {output / f'{name}.html'}")
    return set(fits["verdict"]), unexplained(lines)


def _stem(data: str) -> str:
    """The name of the files written: the table's, without what a file name should not hold."""
    return re.sub(r"[^\w.-]+", "_", Path(data).name.split(".")[0]).strip("._-") or "data"
