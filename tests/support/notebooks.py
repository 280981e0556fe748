"""Notebooks of a few cells, and their execution."""

from __future__ import annotations

import textwrap

import nbformat

from concord.reports import execution as execution_module

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def notebook(*cells: str, tags: tuple[str, ...] = ()) -> nbformat.NotebookNode:
    """A notebook of code cells; the first is the parameters cell, `tags` are those of the last."""
    nodes = [nbformat.v4.new_code_cell(textwrap.dedent(cell), id=f"cell-{i}") for i, cell in enumerate(cells)]
    nodes[0].metadata["tags"] = ["parameters"]
    if tags:
        nodes[-1].metadata["tags"] = list(tags)
    return nbformat.v4.new_notebook(cells=nodes, metadata={"kernelspec": dict(KERNEL)})


def made_with(page: nbformat.NotebookNode) -> dict[str, str]:
    """The versions with which a committed notebook was made, as its last cell shows them."""
    cell = page.cells[-1]
    assert cell.source.endswith("versions()")
    lines = cell.outputs[0]["data"]["text/plain"].splitlines()[2:]
    return dict(line.split() for line in lines if not line.startswith("R option"))


def execute(
    *cells, given=None, timeout=60.0, tags=(), **more
) -> tuple[execution_module.Execution, nbformat.NotebookNode]:
    execution = execution_module.execute(nbformat.writes(notebook(*cells, tags=tags)), given, timeout, **more)
    return execution, nbformat.reads(execution.notebook, as_version=4)
