"""Small notebooks, made and run: what the tests of the plugin share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

PLUGIN = ("-p", "nbval_tolerance")
RECORD_TYPE = "application/vnd.some.record+json"
STRICT = (*PLUGIN, "-o", "nbval_strict=true", "-o", f"nbval_not_compared={RECORD_TYPE}")
PICTURE = "iVBORw0KGgo="
RECORD = {RECORD_TYPE.replace("/", "_"): "seconds: 0.1"}


def code(source: str, *outputs: Any, tags: tuple[str, ...] = (), count: int | None = 1) -> nbformat.NotebookNode:
    metadata = {"tags": list(tags)} if tags else {}
    return nbformat.v4.new_code_cell(source, outputs=list(outputs), metadata=metadata, execution_count=count)


def stream(text: str, name: str = "stdout") -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name=name, text=text)


def shown(**data: str) -> nbformat.NotebookNode:
    """A display of several media types, their `/` spelt `_`."""
    return nbformat.v4.new_output("display_data", data={kind.replace("_", "/"): text for kind, text in data.items()})


def show(**data: str) -> str:
    return f"display({ {kind.replace('_', '/'): text for kind, text in data.items()} }, raw=True)"


def write(pytester: pytest.Pytester, *cells: nbformat.NotebookNode, name: str = "story.ipynb") -> Path:
    path = pytester.path / name
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells), metadata={"kernelspec": kernel}), path)
    return path


def run(pytester: pytest.Pytester, *arguments: str) -> dict[int, tuple[str, str]]:
    """Run nbval in this process; the outcome and the report of each cell, by nbval's cell number."""
    record = pytester.inline_run("--nbval", "-p", "no:cacheprovider", "--color=no", *arguments)
    return {
        int(report.nodeid.rsplit(" ", 1)[1]): (report.outcome, report.longreprtext)
        for report in record.getreports("pytest_runtest_logreport")
        if report.when == "call"
    }


def check(outcomes: dict[int, tuple[str, str]], cases: list[tuple[str, nbformat.NotebookNode, str]]) -> None:
    """Each case is (what it shows, its cell, a piece of the failure's report or '' if it is to pass)."""
    assert len({name for name, _, _ in cases}) == len(cases)
    assert {
        name: text if text and outcomes[n][0] == "failed" and text in outcomes[n][1] else outcomes[n]
        for n, (name, _, text) in enumerate(cases)
    } == {name: text if text else ("passed", "") for name, _, text in cases}
