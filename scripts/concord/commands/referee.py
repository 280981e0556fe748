"""The referee command: every certified case by every package that is here, kept for referee.ipynb."""

from __future__ import annotations

import argparse
import sys

from concord.commands import arguments


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "referee",
        help="hold every package that fits mixed models to every certified case",
        description="Fit every certified case, those of the workbook and those of the reference data, by REML and ML "
        "with statsmodels, lme4 and every guest that is installed, as each ships, and keep how far each is from the "
        "optimum, what it states and claims, and its seconds. Only rows that are not there yet are made: of a new "
        "release, or after an interruption. Exit status: 0 all rows are there, 1 some are not, 2 input that cannot be "
        "used.",
    )
    parser.add_argument(
        "--case",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only cases whose id matches ('sitka-*'); may be repeated",
    )
    parser.add_argument(
        "--package", action="append", default=[], metavar="NAME", help="only this one (glmm); may be repeated"
    )
    parser.add_argument(
        "--fit-timeout",
        type=arguments.seconds,
        default=120.0,
        metavar="SECONDS",
        help="for one fit by one package; default: %(default)g",
    )
    parser.add_argument("--workers", type=arguments.whole, metavar="N", help="processes; default: one a core")
    parser.add_argument("--list", action="store_true", help="say which packages are here and which are not")
    parser.add_argument(
        "--output",
        type=arguments.place,
        metavar="FOLDER",
        help="where the results are kept; default: notebooks/referee",
    )
    arguments.add_scheduler(parser)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Make the rows that are missing.

    Returns
    -------
    exit status: 0 all rows are there, 1 some are not

    Raises
    ------
    InputError : there is no such case or package, or the results there are damaged
    """
    from concord import guests

    guests.invite()
    from concord.files import claimed
    from concord.referee import packages, results
    from concord.referee import run as runs

    if args.list:
        for name, version in packages.installed().items():
            print(f"{name} {version}")
        for line in packages.absent():
            print(f"not here: {line}")
        return 0
    output = args.output or results.place()
    options = {"limit": args.fit_timeout, "scheduler": args.scheduler, "workers": args.workers}
    with claimed(output, "--output"):
        lost = runs.run(output, runs.chosen(args.case), args.package, tell=_say, **options)
    for line in [*map("not here: {}".format, packages.absent()), *map("concord: no rows: {}".format, lost)]:
        _say(line)
    _say(f"results in {output}: `make reports NOTEBOOK=referee` shows them")
    return 1 if lost else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
