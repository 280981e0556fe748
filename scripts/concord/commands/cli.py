"""The command line: arguments in, exit status out. 0 all well, 1 something failed, 2 asked for what cannot be."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
from pathlib import Path

from concord.errors import InputError

# What a subcommand needs is imported by it: `--help` and a mistyped option answer at once.


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        """One line, like every other error, in place of the usage."""
        self.exit(2, f"concord: {message}: see `{self.prog} --help`\n")


def parser() -> argparse.ArgumentParser:
    """The subcommands and their options."""
    top = _Parser(prog="python -m concord", description="Do statsmodels and lme4 agree on this mixed model?")
    commands = top.add_subparsers(required=True, metavar="COMMAND", title="commands")

    reports = commands.add_parser(
        "reports",
        help="run the notebooks for REML and ML into HTML reports with an index",
        description="Run every notebook for REML and ML in parallel; write HTML reports, index.html and two CSV files.",
    )
    reports.add_argument("--method", choices=("REML", "ML"), help="only this method (default: both)")
    reports.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="MODEL",
        help="for notebooks with a parameter `model`: this one, such as sitka-random_slope, or all; may be repeated",
    )
    reports.add_argument("--output", type=Path, default=Path("build"), metavar="FOLDER", help="default: build")
    reports.set_defaults(command=_reports)

    compare = commands.add_parser(
        "compare",
        help="fit one lme4 formula to your own table by both engines, and judge",
        description="Fit one lme4 formula to your own table by MixedLM and lme4, and judge both. Prints the verdicts; "
        "writes the executed notebook, its HTML page, estimates.csv and fits.csv. Exit status: 0 agree, and all that "
        "the fits say is explained; 1 any other verdict, or a line that nothing explains; 2 input that cannot be used.",
    )
    compare.add_argument("data", metavar="DATA", help="CSV, TSV, Parquet, Feather or R's .rds; or a dataset's id")
    compare.add_argument("formula", metavar="FORMULA", help='in lme4\'s notation: "y ~ x + (1 + x | subject)"')
    compare.add_argument("--method", choices=("REML", "ML", "both"), default="REML", help="default: REML")
    compare.add_argument(
        "--output", type=Path, default=Path("build/compare"), metavar="FOLDER", help="default: build/compare"
    )
    compare.add_argument(
        "--sweep",
        type=_seconds_or_none,
        default=60.0,
        metavar="SECONDS",
        help="let every optimizer of both try, if that would take no longer; 0: not at all; default: %(default)g",
    )
    compare.add_argument(
        "--details",
        type=_seconds_or_none,
        default=300.0,
        metavar="SECONDS",
        help="standard errors, tests, intervals and all else that fits say: a section, if it would take no longer; 0: "
        "none; default: %(default)g",
    )
    compare.add_argument(
        "--bootstrap",
        type=_whole,
        default=0,
        metavar="REPLICATES",
        help="intervals by the parametric bootstrap of both engines; default: none",
    )
    compare.add_argument("--certify", action="store_true", help="prove the optimum, and judge against that")
    compare.set_defaults(command=_compare)

    check = commands.add_parser(
        "check",
        help="compare a team's own models, listed in its concord.toml, with the verdicts that it expects",
        description="Compare every model of a concord.toml by both engines, at default and at tuned settings, and say "
        "which verdicts are not those expected. Exit status: 0 all as expected and explained, 1 something is not, 2 "
        "input that cannot be used.",
    )
    check.add_argument(
        "file", nargs="?", type=Path, default=Path("concord.toml"), metavar="FILE", help="default: concord.toml"
    )
    check.add_argument(
        "--changed",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="only the models whose table is among these files; all, if FILE is; comes last",
    )
    check.add_argument("--junit-xml", type=Path, metavar="PATH", help="write JUnit XML here")
    check.add_argument("--summary", type=Path, metavar="PATH", help="write a summary in Markdown here")
    check.add_argument("--baseline", type=Path, metavar="PATH", help="say what has changed since this was recorded")
    check.add_argument("--record", type=Path, metavar="PATH", help="write a baseline here")
    check.set_defaults(command=_check)

    verdicts = commands.add_parser(
        "verdicts",
        help="compare every model of the workbook, and write verdicts and estimates as JSON",
        description="Compare every model of the workbook at default and at tuned settings, and write a baseline.",
    )
    verdicts.add_argument("--output", type=Path, required=True, metavar="PATH", help="the JSON to write")
    verdicts.set_defaults(command=_verdicts)

    upgrade = commands.add_parser(
        "upgrade",
        help="say which verdicts change with the newest statsmodels",
        description="Make an environment beside this one with the newest statsmodels, compare every model of the "
        "workbook in both, and say what changes. Exit status: 0 nothing, 1 something, 2 they cannot be compared.",
    )
    upgrade.add_argument(
        "requirements",
        nargs="*",
        metavar="REQUIREMENT",
        help="as for pip: 'statsmodels==0.14.6' 'pandas<3'; default: statsmodels, the newest",
    )
    upgrade.add_argument("--pre", action="store_true", help="pre-releases too")
    upgrade.add_argument(
        "--folder", type=Path, default=Path("build/upgrade"), metavar="FOLDER", help="default: build/upgrade"
    )
    upgrade.set_defaults(command=_upgrade)

    simulate = commands.add_parser(
        "simulate",
        help="draw responses from a model, fit them by both engines, and count verdicts, gaps, bias and coverage",
        description="Draw responses from a model of the workbook at its optimum, or from a grid of made-up designs; "
        "fit each by both engines, judge, and add up. The same command goes on where it stopped. Exit status: 0 all "
        "replicates are there, 1 some are not, 2 input that cannot be used.",
    )
    simulate.add_argument("model", metavar="MODEL", help="a model's id, such as sleepstudy-random_slope; or grid")
    simulate.add_argument("--method", choices=("REML", "ML"), default="REML", help="default: REML")
    simulate.add_argument(
        "--replicates", type=_count, default=200, metavar="N", help="of the model, or of every scenario; default: 200"
    )
    simulate.add_argument("--seed", type=_whole, default=1, metavar="SEED", help="of all draws; default: 1")
    simulate.add_argument(
        "--settings",
        choices=("default", "tuned", "both"),
        help="as the packages ship, or the best of several of their optimizers; default: both, and of a grid default",
    )
    simulate.add_argument("--grid", type=Path, metavar="FILE", help="with `grid`: TOML, a list of values a factor")
    simulate.add_argument("--output", type=Path, metavar="FOLDER", help="default: build/simulation/MODEL-METHOD")
    simulate.add_argument(
        "--workers", type=_whole, metavar="N", help="processes on this machine; default: one a core; 0: in this one"
    )
    simulate.add_argument(
        "--batch", type=_count, metavar="N", help="replicates a task; default: as many as take some seconds"
    )
    simulate.set_defaults(command=_simulate)

    refresh = commands.add_parser(
        "refresh",
        help="execute the committed notebooks anew, in place, and take README's grid from them",
        description="Execute the committed notebooks anew, in place, with their defaults; one that fails is left. "
        "README's grid of verdicts is taken from agreement.ipynb.",
    )
    refresh.set_defaults(command=_refresh)

    certify = commands.add_parser(
        "certify",
        help="prove the optimum of every model in high precision, into datasets/*/reference.json",
        description="Solve every model in high precision, prove the optimum, and write datasets/*/reference.json.",
    )
    certify.set_defaults(command=_certify)

    for command in (compare, check):
        command.add_argument(
            "--engine-timeout",
            type=_seconds,
            default=600.0,
            metavar="SECONDS",
            help="stop an engine whose fit takes longer, and judge the other; default: %(default)g",
        )
        command.add_argument("--strict", action="store_true", help="exit status 1 for a fit that is imprecise, too")
    for command in (certify, verdicts, upgrade):
        command.add_argument(
            "--model", action="append", default=[], metavar="ID", help="only this one; may be repeated"
        )
    for command in (reports, simulate):
        command.add_argument(
            "--scheduler",
            default=os.environ.get("SCHEDULER") or None,
            metavar="ADDRESS",
            help="run on this dask cluster, as tcp://host:port (default: $SCHEDULER, else processes on this machine)",
        )
    for command in (reports, refresh):
        command.add_argument(
            "--notebook", action="append", default=[], metavar="NAME", help="only this one (sitka); may be repeated"
        )
        command.add_argument(
            "--timeout", type=_seconds, default=900.0, metavar="SECONDS", help="for one notebook; default: %(default)g"
        )
        command.add_argument("--folder", type=Path, metavar="FOLDER", help="with the notebooks; default: notebooks")
    return top


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError
    return value


def _seconds_or_none(text: str) -> float:
    return 0.0 if float(text) == 0 else _seconds(text)


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _count(text: str) -> int:
    value = _whole(text)
    if value == 0:
        raise ValueError
    return value


# argparse names the type in its error
_seconds.__name__, _seconds_or_none.__name__ = "number of seconds above 0", "number of seconds"
_whole.__name__, _count.__name__ = "whole number", "whole number above 0"


def _reports(given: argparse.Namespace) -> int:
    from concord.reports.batch import batch, plan

    planned = plan(given.notebook, given.method, given.folder, given.model)
    return batch(planned, given.output, given.timeout, given.scheduler, given.folder)


def _compare(given: argparse.Namespace) -> int:
    from concord.commands.compare import run

    methods = ("REML", "ML") if given.method == "both" else (given.method,)
    limits = (given.engine_timeout, given.sweep, given.details)
    return run(given.data, given.formula, methods, given.output, *limits, given.bootstrap, given.certify, given.strict)


def _check(given: argparse.Namespace) -> int:
    from concord.commands.check import run

    return run(
        given.file,
        changed=given.changed,
        junit=given.junit_xml,
        summary=given.summary,
        against=given.baseline,
        record=given.record,
        engine_timeout=given.engine_timeout,
        strict=given.strict,
    )


def _verdicts(given: argparse.Namespace) -> int:
    from concord.commands.upgrade import verdicts

    return verdicts(given.output, given.model)


def _upgrade(given: argparse.Namespace) -> int:
    from concord.commands.upgrade import run

    return run(given.requirements, given.folder, given.model, given.pre)


def _simulate(given: argparse.Namespace) -> int:
    from concord.commands.simulate import simulate

    return simulate(
        given.model,
        given.method,
        given.replicates,
        given.seed,
        given.settings,
        given.output,
        given.grid,
        given.scheduler,
        given.workers,
        given.batch,
    )


def _refresh(given: argparse.Namespace) -> int:
    from concord import checkout, errors
    from concord.commands import refresh as readme
    from concord.reports import execution as execution_module
    from concord.reports import notebooks

    found = notebooks.discover(given.folder)
    failed = []
    for name in [notebooks.choose(name, found) for name in given.notebook] or list(found):
        execution = execution_module.refresh(found[name], given.timeout)
        print(f"{name} {execution.status}, {execution.seconds:.1f} s", file=sys.stderr, flush=True)
        if execution.status != execution_module.COMPLETED:
            failed.append((found[name], execution))
    for path, execution in failed:
        where = f", cell {execution.cell}" if execution.cell else ""
        print(f"concord: {path}{where}: {errors.shorten(execution.error)}; left as it was", file=sys.stderr)
    if failed:
        return 1
    if readme.SOURCE in found and not given.folder and (not given.notebook or readme.SOURCE in given.notebook):
        place = checkout.path("README.md")
        readme.refresh(place, readme.shown(json.loads(found[readme.SOURCE].read_text(encoding="utf-8"))))
        print(f"{place.name}: the grid is written", file=sys.stderr)
    return 0


def _certify(given: argparse.Namespace) -> int:
    from concord import vocabulary
    from concord.models import model
    from concord.reference import certification as certifying

    chosen = [model.get(id, method) for id in given.model for method in vocabulary.METHODS] or list(model.every())
    failed = certifying.renew(chosen, print)
    for line in failed:
        print(f"concord: {line}", file=sys.stderr)
    return 1 if failed else 0


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    # A polite kill is an interruption: the kernels end and what is finished is kept
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = parser().parse_args(arguments)
    try:
        return _told(given)
    except KeyboardInterrupt:
        print("concord: interrupted", file=sys.stderr)
        return 130


def _told(given: argparse.Namespace) -> int:
    """Run the command; what it cannot do is one line on stderr."""
    try:
        return int(given.command(given))
    except InputError as error:
        print(f"concord: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that may not be written
        where = f"{error.filename}: " if error.filename else ""
        print(f"concord: {where}{error.strerror or error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
