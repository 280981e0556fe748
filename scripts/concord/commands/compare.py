"""The compare command: compare.ipynb on a person's table, with the verdicts told as they come and the report kept."""

from __future__ import annotations

import argparse
from pathlib import Path

from concord.commands import arguments


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "compare",
        help="fit one lme4 formula to your own table by every engine, and judge",
        description="Fit one lme4 formula to your own table by every engine, and judge each. Prints the verdicts; "
        "writes the executed notebook, its HTML page, estimates.csv, fits.csv and quantities.csv. Exit status: 0 "
        "agree, or imprecise without --strict, and all that the fits say is explained; 1 any other verdict, or a line "
        "that nothing explains; 2 input that cannot be used, or no R.",
    )
    parser.add_argument("data", metavar="DATA", help="CSV, TSV, Parquet, Feather or R's .rds; or a dataset's id")
    parser.add_argument("formula", metavar="FORMULA", help='in lme4\'s notation: "y ~ x + (1 + x | subject)"')
    arguments.add_weights(parser)
    parser.add_argument("--method", choices=("REML", "ML", "both"), default="REML", help="default: REML")
    parser.add_argument(
        "--output", type=arguments.place, default=Path("build/compare"), metavar="FOLDER", help="default: build/compare"
    )
    parser.add_argument(
        "--settings",
        choices=("default", "both"),
        default="both",
        help="default: leave the tuned fits out, which take several times as long; default: both",
    )
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        metavar="NAME",
        help="ask this one only (statsmodels, lme4, nlme); may be repeated; default: all",
    )
    parser.add_argument(
        "--guests",
        action="store_true",
        help="ask other packages too, those that are installed: glmm, mixedlm and mixedlm-rs of PyPI, R's glmmTMB; the "
        "verdict stays the one of statsmodels and lme4",
    )
    parser.add_argument(
        "--search",
        type=arguments.seconds_or_none,
        default=120.0,
        metavar="SECONDS",
        help="look so long for a better optimum than where the engines stopped; 0: not at all; default: %(default)g",
    )
    parser.add_argument(
        "--sweep",
        type=arguments.seconds_or_none,
        default=60.0,
        metavar="SECONDS",
        help="let every optimizer try, if that would take no longer; 0: not at all; default: %(default)g",
    )
    parser.add_argument(
        "--details",
        type=arguments.seconds_or_none,
        default=300.0,
        metavar="SECONDS",
        help="standard errors, tests, intervals and all else that fits say: a section, if it would take no longer; 0: "
        "none; default: %(default)g",
    )
    parser.add_argument(
        "--bootstrap",
        type=arguments.whole,
        default=0,
        metavar="REPLICATES",
        help="intervals by the parametric bootstrap of each engine; default: none",
    )
    parser.add_argument("--certify", action="store_true", help="prove the optimum, and judge against that")
    arguments.add_fits(parser)
    arguments.add_limits(parser)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Compare the engines on one formula and one table; see `concord.reports.own_table.compare`."""
    if args.guests:
        from concord import guests

        guests.invite()
    from concord.models.given import arranged
    from concord.reports.own_table import compare

    args.data, args.formula = arranged(args.data, args.formula)
    limits = {"engine_timeout": args.engine_timeout, "search_seconds": args.search}
    limits |= {"sweep_seconds": args.sweep, "details_seconds": args.details}
    asked = {"weights": args.weights or "", "settings": args.settings, "engines": " ".join(args.engine)}
    parameters = {"formula": args.formula, **asked, **limits, "replicates": args.bootstrap, "certify": args.certify}
    methods = ("REML", "ML") if args.method == "both" else (args.method,)
    return compare(args.data, methods, parameters, args.output, args.strict)
