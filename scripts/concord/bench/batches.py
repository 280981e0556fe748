"""The batch of reports beside a loop over the papermill command."""

from __future__ import annotations

import sys
from pathlib import Path

from concord.bench.sides import command
from concord.reports.batch import plan


def reports_batch(folder: Path, notebooks: Path | None) -> None:
    """All reports, by `python -m concord reports`."""
    where = ["--folder", str(notebooks)] if notebooks else []
    command([sys.executable, "-P", "-m", "concord", "reports", "--output", str(folder / "build"), *where], folder)


def reports_loop(folder: Path, notebooks: Path | None) -> None:
    """The same notebooks with the same methods, one after another, by the `papermill` command."""
    papermill = str(Path(sys.executable).with_name("papermill"))
    for report in plan(folder=notebooks):
        arguments = [word for key, value in report.parameters.items() for word in ("-p", key, value)]
        command([papermill, str(report.path), f"{report.id}.ipynb", *arguments], folder)
