"""The reports command: every notebook for REML and ML, into HTML reports with an index."""

from __future__ import annotations

import argparse
from pathlib import Path

from concord.commands import arguments


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "reports",
        help="run the notebooks for REML and ML into HTML reports with an index",
        description="Run every notebook for REML and ML in parallel; write HTML reports, index.html, estimates.csv, "
        "fits.csv and quantities.csv.",
    )
    parser.add_argument("--method", choices=("REML", "ML"), help="only this method (default: both)")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="MODEL",
        help="for notebooks with a parameter `model`: this one, such as sitka-random_slope, or all; may be repeated",
    )
    parser.add_argument(
        "--output", type=arguments.place, default=Path("build"), metavar="FOLDER", help="default: build"
    )
    arguments.add_scheduler(parser)
    arguments.add_notebooks(parser)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Run the notebooks.

    Returns
    -------
    exit status: 0 where all complete, 1 where one does not

    Raises
    ------
    InputError : there is no such notebook, model or folder
    """
    from concord.reports.batch import batch, plan

    planned = plan(args.notebook, args.method, args.folder, args.model)
    return batch(planned, args.output, args.timeout, args.scheduler, args.folder)
