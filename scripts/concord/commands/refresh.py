"""The grid of verdicts in README.md, which is the one that agreement.ipynb shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from concord.errors import InputError
from concord.files import write

BEGIN, END = "<!-- grid: from notebooks/agreement.ipynb, by `make refresh` -->", "<!-- end of the grid -->"
SOURCE, TAG = "agreement", "grid"


def shown(notebook: Mapping[str, Any]) -> str:
    """The grid in an executed agreement.ipynb: the Markdown output of the cell that is tagged ``grid``.

    Raises
    ------
    InputError : there is no such cell, or it shows no Markdown
    """
    for cell in notebook["cells"]:
        if TAG in cell["metadata"].get("tags", ()):
            for output in cell.get("outputs", ()):
                if "text/markdown" in output.get("data", {}):
                    text = output["data"]["text/markdown"]
                    return (text if isinstance(text, str) else "".join(text)).strip()
    raise InputError(f"agreement.ipynb: no cell tagged {TAG!r} shows a table in Markdown: run `make refresh`")


def written(text: str) -> str:
    """The grid that stands in README's text.

    Raises
    ------
    InputError : the markers are missing
    """
    return text[slice(*_place(text))].strip()


def refresh(path: Path, new: str) -> None:
    """Put a new grid in place of the one in README, whole or not at all."""
    text = path.read_text(encoding="utf-8")
    start, stop = _place(text)
    write(path, f"{text[:start]}\n{new}\n{text[stop:]}")


def _place(text: str) -> tuple[int, int]:
    start, stop = text.find(BEGIN), text.find(END)
    if not 0 <= start < stop:
        raise InputError(f"README.md: the lines {BEGIN!r} and {END!r} are missing: put them where the grid belongs")
    return start + len(BEGIN), stop
