"""The command line: arguments in, exit status out. 0 all well, 1 something failed, 2 asked for what cannot be."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from pathlib import Path

from concord import interruptions

# Each imports what it needs when it runs: `--help` and a mistyped option answer at once.
from concord.commands import (
    cases,
    certify,
    check,
    compare,
    explain,
    referee,
    refresh,
    reports,
    simulate,
    translate,
    upgrade,
    verdicts,
    versions,
)
from concord.commands.streams import patient
from concord.data.limits import limited
from concord.display.screen import screen
from concord.errors import FootingError, InputError, escaped, out_of_memory
from concord.processes import scratch

_NO_PLACE = (errno.ENAMETOOLONG, errno.ELOOP)  # of the words themselves, whatever the disk
COMMANDS = (
    reports,
    compare,
    explain,
    translate,
    check,
    verdicts,
    upgrade,
    versions,
    simulate,
    refresh,
    certify,
    cases,
    referee,
)


class _Parser(argparse.ArgumentParser):
    color = False  # Python 3.14's would be written as escapes

    def error(self, message: str) -> None:  # type: ignore[override]  # argparse's own never returns
        """One line, like every other error, in place of the usage."""
        self.exit(2, f"concord: {escaped(message)}: see `{self.prog} --help`\n")


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    prog = "concord" if Path(sys.argv[0]).name == "concord" else "python -m concord"
    top = _Parser(prog=prog, description="Do statsmodels and lme4 agree on this mixed model?")
    commands = top.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in COMMANDS:
        command.add(commands)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if arguments is None:  # this process is for the command alone
        # None that is started from here looks for modules in the current folder, which others may have filled
        os.environ["PYTHONSAFEPATH"] = "yes"
    with patient(), screen():
        try:
            # A polite kill is an interruption: the kernels end and what is finished is kept
            signal.signal(signal.SIGTERM, interruptions.interrupt)
            if arguments is None:  # this process is for the command alone
                interruptions.handle(interruptions.interrupt)
                scratch.begin()
            status = _told(words)
            if arguments is None:
                interruptions.end()
            return status
        except KeyboardInterrupt:
            if arguments is None:
                interruptions.end()
            print("concord: interrupted", file=sys.stderr)
            return interruptions.STATUS


def _told(words: list[str]) -> int:
    """Run the command; what it cannot do is one line on stderr."""
    try:
        words, names = check.names_apart(words) if words[:1] == ["check"] else (words, None)
        for word in words:
            _check_text(word)
        args = parser().parse_args(words)
        args.names = names
        with limited(getattr(args, "max_rows", None), getattr(args, "max_bytes", None)):
            return int(args.command(args))
    except (InputError, FootingError) as error:
        print(f"concord: {escaped(str(error))}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"concord: {escaped(out_of_memory(str(error)))}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that may not be written
        where = f"{error.filename}: " if error.filename else ""
        print(f"concord: {escaped(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return 2 if error.errno in _NO_PLACE else 1


def _check_text(word: str) -> None:
    if "\0" in word:  # no shell can hand one over, and no name of a file has one
        raise InputError(f"argument {word}: holds a NUL: write it without")
    try:
        word.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(word).decode(errors="backslashreplace")
        raise InputError(f"argument {shown}: is not text in UTF-8: rename the file, or write it in UTF-8") from None


if __name__ == "__main__":
    sys.exit(main())
