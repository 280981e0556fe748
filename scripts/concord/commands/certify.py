"""The certify command: the optimum of every model proved, into datasets/*/reference.json."""

from __future__ import annotations

import argparse
import sys

from concord.commands import arguments


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "certify",
        help="prove the optimum of every model in high precision, into datasets/*/reference.json",
        description="Solve every model in high precision, prove the optimum, and write datasets/*/reference.json.",
    )
    arguments.add_models(parser)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Prove the optima and write them.

    Returns
    -------
    exit status: 0 where all are proved, 1 where one is not

    Raises
    ------
    InputError : there is no such model
    """
    from concord.models import model
    from concord.reference import certification
    from concord.vocabulary import METHODS

    chosen = [model.get(id, method) for id in args.model for method in METHODS] or list(model.every())
    failed = certification.renew(chosen, print)
    for line in failed:
        print(f"concord: {line}", file=sys.stderr)
    return 1 if failed else 0
