"""The translate command: one lme4 formula as code in both languages, without a fit."""

from __future__ import annotations

import argparse

from concord.commands import arguments


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "translate",
        help="write one lme4 formula as code for both packages, without fitting it",
        description="Write one lme4 formula as code for MixedLM and for lmer, ready to paste; nothing is fitted. Exit "
        "status: 0, also where MixedLM cannot express the model (it says so); 2 input that cannot be used.",
    )
    parser.add_argument(
        "formula",
        metavar="FORMULA",
        help='in lme4\'s notation: "y ~ x + (1 + x | subject)"; or a call of lmer or of MixedLM',
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help="the table, or a dataset's id: the code reads it, and knows its factors and which groups are nested. "
        "Without one, data.csv stands for it, its groups are crossed where the formula does not nest them, and what is "
        "no group is a number",
    )
    parser.add_argument("--method", choices=("REML", "ML"), default="REML", help="default: REML")
    arguments.add_weights(parser)
    arguments.add_limits(parser)
    parser.set_defaults(command=run)


def run(given: argparse.Namespace) -> int:
    """Print the code; see `concord.session.translate`.

    Returns
    -------
    exit status: 0

    Raises
    ------
    InputError : the table or the formula cannot be used
    """
    from concord.explanation import of_call
    from concord.session import translate

    if (call := of_call(given.formula, given.data)) is not None:
        print(call.listings)
        return 0
    print(translate(given.formula, given.data, given.method, weights=given.weights))
    return 0
