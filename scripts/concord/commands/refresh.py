"""The refresh command: the committed notebooks executed anew, and README's grid taken from agreement.ipynb."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from concord import checkout
from concord.commands import arguments
from concord.errors import InputError, shorten
from concord.files import write

BEGIN, END = "<!-- grid: from notebooks/agreement.ipynb, by `make refresh` -->", "<!-- end of the grid -->"
SOURCE, TAG = "agreement", "grid"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "refresh",
        help="execute the committed notebooks anew, in place, and take README's grid from them",
        description="Execute the committed notebooks anew, in place, with their defaults; one that fails is left. "
        "README's grid of verdicts is taken from agreement.ipynb.",
    )
    arguments.add_notebooks(parser)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Execute notebooks in place; one that fails is left as it was.

    Returns
    -------
    exit status: 0 where all complete, 1 where one does not

    Raises
    ------
    InputError : there is no such notebook, or no place for the grid
    """
    from concord.reports import execution, notebooks

    known = notebooks.discover(args.folder)
    failed = []
    for name in [notebooks.choose(name, known) for name in args.notebook] or list(known):
        done = execution.refresh(known[name], args.timeout)
        print(f"{name} {done.status}, {done.seconds:.1f} s", file=sys.stderr, flush=True)
        if done.status != execution.COMPLETED:
            failed.append((known[name], done))
    for path, done in failed:
        where = f", cell {done.cell}" if done.cell else ""
        print(f"concord: {path}{where}: {shorten(done.error)}; left as it was", file=sys.stderr)
    if failed:
        return 1
    if SOURCE in known and not args.folder and (not args.notebook or SOURCE in args.notebook):
        readme = checkout.path("README.md")
        put(readme, shown(json.loads(known[SOURCE].read_text(encoding="utf-8"))))
        print(f"{readme.name}: the grid is written", file=sys.stderr)
    return 0


def shown(notebook: Mapping[str, Any]) -> str:
    """The grid in an executed agreement.ipynb, and what it was made with: the Markdown of the cells tagged ``grid``.

    Raises
    ------
    InputError : there is no such cell, or it shows no Markdown
    """
    cells = [cell for cell in notebook["cells"] if TAG in cell["metadata"].get("tags", ())]
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", ())]
    texts = ["".join(bundle["text/markdown"]).strip() for bundle in data if "text/markdown" in bundle]
    if not texts:
        raise InputError(f"agreement.ipynb: no cell tagged {TAG!r} shows a table in Markdown: run `make refresh`")
    return "\n\n".join(texts)


def written(text: str) -> str:
    """The grid that stands in README's text.

    Raises
    ------
    InputError : the markers are missing
    """
    return text[slice(*_place(text))].strip()


def put(path: Path, new: str) -> None:
    """Put a new grid in place of the one in README, whole or not at all."""
    text = path.read_text(encoding="utf-8")
    start, stop = _place(text)
    write(path, f"{text[:start]}\n{new}\n{text[stop:]}")


def _place(text: str) -> tuple[int, int]:
    start, stop = text.find(BEGIN), text.find(END)
    if not 0 <= start < stop:
        raise InputError(f"README.md: the lines {BEGIN!r} and {END!r} are missing: put them where the grid belongs")
    return start + len(BEGIN), stop
