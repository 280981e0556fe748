"""What a notebook's outputs lose before they are committed or compared: paths, colours, split streams."""

from __future__ import annotations

import re

from nbformat import NotebookNode

from concord.display.media import CASES_TYPE, MEDIA_TYPE

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Each begins where a path does: tried at every letter, a line of 300,000 would take minutes.
_BEGIN = r"(?<![^\s'\"(])[^\s'\"(]*"
_OF_KERNEL = re.compile(_BEGIN + r"/ipykernel_\d+/(\d+)\.py")
_OF_PACKAGE = re.compile(_BEGIN + r"/(site|dist)-packages/")


# Tidying ---------------------------------------------------------------------------------------------------------


def merge_streams(notebook: NotebookNode) -> None:
    """Join the pieces of printed output: R's lines arrive in many, cut and interleaved differently at every run.

    Between two displayed outputs at most one block of stdout and one of stderr remain, in this order, with plain
    paths (see `plain_paths`).
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            merge_cell_streams(cell)


def merge_cell_streams(cell: NotebookNode) -> None:
    """The same as `merge_streams`, of one cell."""
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


def forget_run(notebook: NotebookNode) -> None:
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
    text = _OF_KERNEL.sub(r"ipykernel/\1.py", text)
    return _OF_PACKAGE.sub(r"\1-packages/", text)


def settle(notebook: NotebookNode) -> None:
    """Take from an executed notebook, in place, everything that changes though the notebook did not."""
    forget_run(notebook)
    merge_streams(notebook)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            for media_type in (MEDIA_TYPE, CASES_TYPE):  # which hold how long each fit took, and its last digits
                output.get("data", {}).pop(media_type, None)
                output.get("metadata", {}).pop(media_type, None)
            if output.output_type == "error":
                output.traceback = [plain_paths(ANSI.sub("", line)) for line in output.traceback]
        cell.outputs = [output for output in cell.outputs if output.get("data") != {}]
