"""The cases command: every certified model as files that any language reads, into build/cases."""

from __future__ import annotations

import argparse
from pathlib import Path

from concord.commands import arguments


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "cases",
        help="write every certified model as a file for other packages to test themselves against",
        description="Write the Concord reference data for linear mixed models: one JSON file a case with its data, its "
        "matrices and its certified optima by REML and ML; a sheet of text; a schema, an index with checksums, "
        "licences, and a checker in Python and one in R that need nothing else; and all of it once more in zip files, "
        "what is free apart from what is under the GPL.",
    )
    parser.add_argument(
        "--output", type=arguments.place, default=Path("build/cases"), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument("--large", action="store_true", help="with tables that are made where they are wanted")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Write the collection.

    Returns
    -------
    exit status: 0

    Raises
    ------
    InputError : a model is not certified, or nothing can be written in the folder
    """
    from concord.files import claimed
    from concord.publication import folder

    with claimed(args.output, "--output"):
        print(folder.write(args.output, print, large=args.large))
    return 0
