"""The upgrade command: which verdicts change with another statsmodels?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from concord.commands import arguments


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "upgrade",
        help="say which verdicts change with the newest statsmodels",
        description="Make an environment beside this one with the newest statsmodels, compare every model of the "
        "workbook in both, and say what changes. Exit status: 0 nothing, 1 something, 2 they cannot be compared.",
    )
    parser.add_argument(
        "requirements",
        nargs="*",
        metavar="REQUIREMENT",
        help="as for pip: 'statsmodels==0.14.6' 'pandas<3'; default: statsmodels, the newest",
    )
    parser.add_argument("--pre", action="store_true", help="pre-releases too")
    parser.add_argument(
        "--folder", type=arguments.place, default=Path("build/upgrade"), metavar="FOLDER", help="default: build/upgrade"
    )
    arguments.add_models(parser)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Install the requirements beside this environment, compare every model in both, and say what changes.

    Written into the folder: ``present.json`` and ``upgraded.json``, the baselines; ``summary.md``, which goes to stdout
    too; ``pip.log``; and ``environment``, which each run makes anew.

    Returns
    -------
    exit status: 0 nothing changes, 1 something does

    Raises
    ------
    InputError : there are no models, or not this one; pip cannot install the requirements, or what it installed cannot
        be imported
    """
    from concord.data import datasets
    from concord.files import claimed
    from concord.models import model

    datasets.folder()  # without the workbook there is nothing to install for
    for id in args.model:
        model.get(id)
    with claimed(args.folder, "--folder"):
        return _upgraded(args)


def _upgraded(args: argparse.Namespace) -> int:
    """Install, compare and write into the folder, which is this run's."""
    from concord.commands import baseline, both_environments, environment
    from concord.commands.markdown import upgrade_summary
    from concord.engines.engine import party
    from concord.files import write

    folder, requirements = args.folder, args.requirements or party("Python").packages
    (folder / "summary.md").unlink(missing_ok=True)  # an earlier run's, which must not be taken for this one's
    both_environments.say(f"installing {' '.join(requirements)} beside {sys.prefix}")
    python = environment.make(folder / "environment")
    environment.install(python, requirements, args.pre, folder / "pip.log")
    installed = environment.installed(python)
    upgraded = [(name, before, now) for name, before, now in installed if before != now]
    if not upgraded:
        text = f"## Upgrade check: nothing to compare\n\n{environment.nothing_newer(requirements)}\n"
        write(folder / "summary.md", text)
        print(text, end="")
        return 0
    both_environments.say(
        "upgraded: " + ", ".join(f"{name} {before or 'none'} to {now}" for name, before, now in upgraded)
    )
    environment.check_import(python, upgraded)
    verdicts = both_environments.compare(python, folder, args.model)
    changes = baseline.changes(verdicts[both_environments.PRESENT], verdicts[both_environments.OTHER])
    text = upgrade_summary(verdicts[both_environments.PRESENT], verdicts[both_environments.OTHER], upgraded, changes)
    write(folder / "summary.md", text)
    print(text, end="")
    return 1 if changes else 0
