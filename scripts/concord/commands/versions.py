"""The versions command: the catalogue by several releases of the packages, side by side, kept for versions.ipynb."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from concord.commands import arguments


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "versions",
        help="fit every model with other releases of the packages, and say which mended or broke what",
        description="Run every model of the workbook in every lane that this machine can make: this environment, other "
        "releases of statsmodels over it, bare Debians (as root, with debootstrap), conda's environment. Or take what "
        "`concord verdicts` has written elsewhere. It is kept beside what earlier runs gave, and what differs is said. "
        "Exit status: 0 all lanes ran, 1 some did not, 2 for input that cannot be used.",
    )
    parser.add_argument(
        "--results",
        action="append",
        type=arguments.place,
        default=[],
        metavar="FOLDER",
        help="with what `concord verdicts --output` wrote; may be repeated; then no lane runs unless one is named",
    )
    parser.add_argument(
        "--lane", action="append", default=[], metavar="NAME", help="only this one (trixie, here); may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="say which lanes this machine can make, and run none")
    parser.add_argument(
        "--folder",
        type=arguments.place,
        default=Path("build/versions"),
        metavar="FOLDER",
        help="for lanes; default: build/versions",
    )
    parser.add_argument(
        "--output",
        type=arguments.place,
        metavar="FOLDER",
        help="where the results are kept; default: notebooks/versions",
    )
    arguments.add_models(parser)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Run the lanes, one after the other, and put what came of them beside what is kept.

    Returns
    -------
    exit status: 0 all lanes ran, 1 some did not

    Raises
    ------
    InputError : there is no such lane, model or folder of results, or what is in it is something else
    """
    from concord.commands import lanes
    from concord.errors import InputError
    from concord.files import claimed
    from concord.models import model
    from concord.releases import results

    for id in args.model:
        model.get(id)
    possible = lanes.possible()
    if args.list:
        print("\n".join(possible))
        return 0
    chosen = args.lane or ([] if args.results else [*possible])
    if unknown := [name for name in chosen if name not in possible]:
        raise InputError(f"no lane is called {unknown[0]!r} on this machine: there are {', '.join(possible)}")
    if args.model and not args.output:
        raise InputError("results of some of the models only: name a folder of their own with --output")
    output = args.output or results.place()
    with claimed(output, "--output"):
        return _kept(args, chosen, output)


def _kept(args: argparse.Namespace, chosen: list[str], output: Path) -> int:
    """Run the lanes, put what came of them beside what there is, and say what changed."""
    from concord.commands import lanes
    from concord.errors import InputError
    from concord.releases import changes, results

    possible = lanes.possible()
    kept = results.read(output) if (output / results.RUNS).exists() else None
    whole = None if args.output else kept  # a folder of one's own may have runs of some models only
    together = [kept] if kept else []
    together += [results.brought(folder, whole) for folder in args.results]
    failed = []
    for name in chosen:
        folder = args.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "verdicts.json").unlink(missing_ok=True)  # an earlier run's
        print(f"lane {name}", file=sys.stderr, flush=True)
        try:
            possible[name](folder, folder / "verdicts.json", arguments.of_models(args.model))
            together.append(results.brought(folder / "verdicts.json"))
        except InputError as error:
            failed.append(f"lane {name}: {error}")
    if together:
        kept = results.joined(together)
        said = changes.sentences(kept)  # of what cannot be read nothing is kept
        kept.keep(output)
        print(said)
        count = f"{len(kept.runs)} run{'s are' if len(kept.runs) > 1 else ' is'}"
        print(f"{count} in {output}: `make reports NOTEBOOK=versions` shows them", file=sys.stderr)
    for line in failed:
        print(f"concord: {line}", file=sys.stderr)
    return 1 if failed else 0
