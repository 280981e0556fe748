"""Kinds of values on the command line, and the options that several commands have."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path


def seconds(text: str) -> float:
    """A finite number of seconds above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError
    return value


def seconds_or_none(text: str) -> float:
    """A finite number of seconds; 0 stands for leaving something out."""
    return 0.0 if float(text) == 0 else seconds(text)


def whole(text: str) -> int:
    """A whole number, 0 among them."""
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def count(text: str) -> int:
    """A whole number above 0."""
    value = whole(text)
    if value == 0:
        raise ValueError
    return value


def place(text: str) -> Path:
    """A file or a folder; an empty text, as of a variable that is not set, would be the current folder."""
    if not text:
        raise ValueError
    return Path(text)


# argparse names the type in its error
seconds.__name__, seconds_or_none.__name__ = "number of seconds above 0", "number of seconds"
whole.__name__, count.__name__ = "whole number", "whole number above 0"
place.__name__ = "file or folder"


def add_fits(parser: argparse.ArgumentParser) -> None:
    """Options of the commands that fit and judge a person's own models."""
    parser.add_argument(
        "--engine-timeout",
        type=seconds,
        default=600.0,
        metavar="SECONDS",
        help="stop an engine whose fit takes longer, and judge the other; default: %(default)g",
    )
    parser.add_argument("--strict", action="store_true", help="exit status 1 for a fit that is imprecise, too")


def add_weights(parser: argparse.ArgumentParser) -> None:
    """The rows' weights."""
    parser.add_argument(
        "--weights",
        metavar="COLUMN",
        help="a column by which the variances of the rows' residuals are divided, as lmer's weights; default: none",
    )


def add_limits(parser: argparse.ArgumentParser) -> None:
    """How large a table may be."""
    for option, what, default in (("rows", "rows", "10 million"), ("bytes", "bytes, unpacked,", "2 GiB")):
        parser.add_argument(
            f"--max-{option}",
            type=count,
            metavar="NUMBER",
            help=f"refuse a table of more {what} than this; default: $CONCORD_MAX_{option.upper()}, else {default}",
        )


def add_models(parser: argparse.ArgumentParser) -> None:
    """The choice among the models of the workbook."""
    parser.add_argument("--model", action="append", default=[], metavar="ID", help="only this one; may be repeated")


def of_models(ids: Sequence[str]) -> list[str]:
    """The words that hand a choice among the models on to another run of a command."""
    return [word for id in ids for word in ("--model", id)]


def add_scheduler(parser: argparse.ArgumentParser) -> None:
    """Where tasks run."""
    parser.add_argument(
        "--scheduler",
        default=os.environ.get("SCHEDULER") or None,
        metavar="ADDRESS",
        help="run on this dask cluster, as tcp://host:port (default: $SCHEDULER, else processes on this machine)",
    )


def add_notebooks(parser: argparse.ArgumentParser) -> None:
    """The choice among the notebooks, and how long one may take."""
    parser.add_argument(
        "--notebook", action="append", default=[], metavar="NAME", help="only this one (sitka); may be repeated"
    )
    parser.add_argument(
        "--timeout", type=seconds, default=900.0, metavar="SECONDS", help="for one notebook; default: %(default)g"
    )
    parser.add_argument("--folder", type=place, metavar="FOLDER", help="with the notebooks; default: notebooks")
