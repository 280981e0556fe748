"""Lanes: the ways to run the catalogue by other releases that this machine has, each in a folder of its own.

`here` is the environment that runs. Beside it there are other releases of Python's package in environments over this
one, bare Debians where this is root and has debootstrap, and conda's environment where there is conda.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from concord import checkout
from concord.commands import environment
from concord.data.version_ranges import contains
from concord.engines.engine import party
from concord.errors import InputError
from concord.versions import collect

HERE, CONDA = "here", "conda"
Lane = Callable[[Path, Path, Sequence[str]], None]
"""Runs `concord verdicts` in a lane, with its folder, the JSON to write and more words for the command.

Raises InputError where the lane cannot be made, or where what runs in it ends with another status than 0.
"""


def possible() -> dict[str, Lane]:
    """The lanes that this machine can make, by name: this environment, then releases, Debians and conda's."""
    declared = tomllib.loads(Path(__file__).with_name("lanes.toml").read_text(encoding="utf-8"))
    package = party("Python").packages[0]
    installed = collect([package], [])[package]
    lanes: dict[str, Lane] = {HERE: _here}
    for release in declared["releases"]:
        if release["version"] != installed and contains(release["python"], platform.python_version()):
            requirements = (f"{package}=={release['version']}", *release["needs"])
            lanes[f"{package}-{release['version']}"] = partial(_over_this, requirements)
    if _root() and all(map(shutil.which, ("debootstrap", "unshare", "git"))):
        lanes |= {suite: partial(_debian, suite) for suite in _suites() if suite != _codename()}
    if shutil.which(CONDA) and checkout.root():
        lanes[CONDA] = _conda
    return lanes


def _here(folder: Path, file: Path, words: Sequence[str]) -> None:
    _verdicts([sys.executable], file, words)


def _over_this(requirements: Sequence[str], folder: Path, file: Path, words: Sequence[str]) -> None:
    """Another release over this environment: all else is as it is here, but for what the release needs older."""
    python = environment.make(folder / "environment")
    environment.install(python, requirements, False, folder / "pip.log")
    environment.check_import(python, environment.installed(python))
    _verdicts([python], file, words)


def _debian(suite: str, folder: Path, file: Path, words: Sequence[str]) -> None:
    """A bare Debian, in which this checkout is set up as anywhere."""
    root = folder.absolute() / "root"
    inside = ".venv/bin/python -P -m concord verdicts --output build/verdicts.json"
    _run(
        [
            checkout.path("scripts", "chroot.sh"),
            suite,
            root,
            "make -s setup && " + shlex.join([*inside.split(), *words]),
        ]
    )
    shutil.copyfile(root / "root" / "concord" / "build" / "verdicts.json", file)


def _conda(folder: Path, file: Path, words: Sequence[str]) -> None:
    place = folder.absolute() / "environment"
    if not place.is_dir():
        _run([CONDA, "env", "create", "--yes", "--prefix", place, "--file", checkout.path("environment.yml")])
    _verdicts([CONDA, "run", "--no-capture-output", "--prefix", place, "python"], file, words)


def _verdicts(python: Sequence[str | Path], file: Path, words: Sequence[str]) -> None:
    _run([*python, "-P", "-m", "concord", "verdicts", "--output", file.absolute(), *words])


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise InputError(f"{Path(command[0]).name} ended with status {done.returncode}: its own words stand above")


def _root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _suites() -> list[str]:
    """The Debians that the set-up knows, in which this checkout can be set up."""
    if checkout.root() is None:
        return []
    lines = checkout.path("scripts", "lanes.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[0] for line in lines if line and not line.startswith("#")]


def _codename() -> str:
    """This Debian's own name, such as ``bookworm``; empty on other systems."""
    with suppress(OSError):
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    return ""
