"""The verdicts command: every model of the workbook compared, and what came of it written as a baseline, which
`concord versions` puts beside those of other versions."""

from __future__ import annotations

import argparse

from concord.commands import arguments


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "verdicts",
        help="compare every model of the workbook, and write verdicts and estimates as JSON",
        description="Compare every model of the workbook at default and at tuned settings, by REML and by ML, and "
        "write a baseline. Exit status: 0 whatever the verdicts are, 2 input that cannot be used.",
    )
    parser.add_argument(
        "--output", type=arguments.place, required=True, metavar="PATH", help="the JSON to write, or a folder for it"
    )
    arguments.add_models(parser)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Compare models of the workbook, at default and at tuned settings, and write what came of it as a baseline.

    A line for each comparison goes to stdout as soon as it is done; the file is written at the end, in one step. Beside
    what a baseline holds it has `provenance`, and `fits`, the rows of fits.csv with the grade of each.

    Returns
    -------
    exit status: 0, whatever the verdicts are

    Raises
    ------
    InputError : there is no such model, or the file cannot be written; nothing is compared then
    """
    from dataclasses import replace

    from concord import versions
    from concord.agreement.gate import everything
    from concord.commands import baseline
    from concord.files import check_place, write
    from concord.models import model
    from concord.vocabulary import METHODS

    file = args.output if args.output.suffix and not args.output.is_dir() else args.output / "verdicts.json"
    check_place(file, "--output")
    chosen = [model.get(id, method) for id in args.model for method in METHODS] or list(model.every())
    entries, fits = [], []
    for comparison in everything(chosen):
        entries.append(baseline.entry(comparison.model.id, comparison))
        grades = [*comparison.grades, *("" for _ in comparison.absent)]
        fits += [{**fit, "grade": grade} for fit, grade in zip(comparison.record()["fits"], grades, strict=True)]
        print(f"[{len(entries)}/{2 * len(chosen)}] {comparison.title}: {comparison.verdict.word}", flush=True)
    more = {"provenance": versions.provenance(), "fits": fits}
    write(file, replace(baseline.collected(entries), more=more).text())
    return 0
