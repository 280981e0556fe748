"""The check command: a team's own models against what the team expects of them, for a job or a commit hook."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from concord.commands import arguments
from concord.errors import InputError, escaped

AS_EXPECTED, NOT_AS_EXPECTED, BAD_INPUT = 0, 1, 2


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "check",
        help="compare a team's own models, listed in its concord.toml, with the verdicts that it expects",
        description="Compare every model of a concord.toml by every engine, at default and at tuned settings, and say "
        "which verdicts are not those expected. Exit status: 0 all as expected and explained, 1 something is not, 2 "
        "input that cannot be used.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=arguments.place,
        default=Path("concord.toml"),
        metavar="FILE",
        help="default: concord.toml",
    )
    parser.add_argument(
        "--changed",
        action="store_true",
        help="only the models whose table is among the files that follow, as `--changed -- PATH ...`; all, if FILE is "
        "among them; comes last",
    )
    parser.add_argument("--junit-xml", type=arguments.place, metavar="PATH", help="write JUnit XML here")
    parser.add_argument("--summary", type=arguments.place, metavar="PATH", help="write a summary in Markdown here")
    parser.add_argument(
        "--baseline", type=arguments.place, metavar="PATH", help="say what has changed since this was recorded"
    )
    parser.add_argument("--record", type=arguments.place, metavar="PATH", help="write a baseline here")
    parser.add_argument(
        "--tables",
        action="append",
        type=arguments.place,
        default=[],
        metavar="FOLDER",
        help="tables may lie here too, outside of FILE's repository; may be repeated",
    )
    arguments.add_fits(parser)
    arguments.add_limits(parser)
    parser.set_defaults(command=run, names=None)


def names_apart(words: list[str]) -> tuple[list[str], list[Path] | None]:
    """The words of a check without the files that follow ``--changed``, and those; None where they are not asked for.

    A job or a hook hands over names that others chose: none of them is an option, which argparse cannot be told.

    Raises
    ------
    InputError : one of them looks like an option, and they do not stand after ``--``
    """
    if "--changed" not in words or "--" in words[: words.index("--changed")]:
        return words, None
    place = words.index("--changed") + 1
    own, names = words[:place], words[place:]
    if names[:1] == ["--"]:
        return own, [Path(name) for name in names[1:]]
    if options := [name for name in names if name.startswith("-")]:
        raise InputError(f"--changed: {options[0]}: options come before --changed, and names after `--changed --`")
    return own, [Path(name) for name in names]


def run(args: argparse.Namespace) -> int:
    """Compare every model of a team by its methods, at default and at tuned settings, and say what is not as expected.

    A line for each goes to stdout as soon as it is done, then what has changed since the baseline. The files are
    written at the end, each in one step.

    Returns
    -------
    exit status: 0 where all is as expected and explained, 1 where anything is not, 2 where a table or a formula cannot
    be used

    Raises
    ------
    InputError : the team's file or the baseline cannot be used, or a file cannot be written where an option says;
        nothing is compared then
    """
    from concord.commands import baseline, junit, markdown, team_file
    from concord.commands.checked_model import compared, headline
    from concord.files import check_place, check_spared, write

    models = team_file.read(args.file, args.tables)
    then = baseline.read(args.baseline) if args.baseline else None
    chosen = models if args.names is None else team_file.touched(models, args.file, args.names)
    if args.record and len(chosen) < len(models):
        raise InputError("--record with --changed: a baseline holds all models")
    options = {"--junit-xml": args.junit_xml, "--summary": args.summary, "--record": args.record}
    written = {option: path for option, path in options.items() if path}
    for option, path in written.items():
        check_place(path, option)
    # A baseline may be recorded in the place of the one that was compared with
    reports = [(path, option) for option, path in written.items() if option != "--record"]
    check_spared(reports, [args.baseline] if args.baseline else [])
    check_spared([(path, option) for option, path in written.items()], [args.file, *(each.data for each in models)])
    began = datetime.now(UTC)
    cases = compared(chosen, args.engine_timeout, args.strict)
    now = baseline.collected(entry for case in cases for entry in case.entries) if then or written else None
    changes = None
    if then and now:
        # What could not be compared this time is an error already, and not gone.
        partial = len(chosen) < len(models) or any(case.error for case in cases)
        changes = baseline.changes(then, now, partial=partial)
        for line in baseline.told(then, now, changes):
            print(escaped(line))
    if now:
        texts = {
            "--junit-xml": lambda: junit.junit_xml(cases, now.versions, began),
            "--summary": lambda: markdown.summary(cases, now, then, changes),
            "--record": now.text,
        }
        for option, path in written.items():
            write(path, texts[option]())
    print(headline(cases, len(models)), flush=True)
    if any(case.error and not case.trace for case in cases):
        return BAD_INPUT
    return AS_EXPECTED if all(case.passed for case in cases) else NOT_AS_EXPECTED
