"""The Makefile with a stand-in for Python that prints the words which it is given."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from support.paths import ROOT


def stand_in(place: Path, *named: str) -> Callable[..., str]:
    """Runs make in a folder with a copy of the Makefile; returns what it prints.

    Parameters
    ----------
    named : how the variables begin that make is not to have from this environment, beside conda's and its own
    """
    shutil.copy(ROOT / "Makefile", place)
    for path, script in {"scripts/setup.sh": "exit 0", ".venv/bin/python": 'printf "%s\\n" "$@"'}.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (place / path).chmod(0o755)
    outer = ("CONDA", "MAKE", "MFLAGS", *named)
    bare = {name: value for name, value in os.environ.items() if not name.startswith(outer)}

    def make(*words: str, environment: Mapping[str, str] | None = None) -> str:
        return subprocess.run(
            ["make", "-s", *words],
            cwd=place,
            env=bare | {**(environment or {})},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    return make


def handed_on(printed: str) -> list[str]:
    """The words of a command of Concord's, after ``-P -m concord``."""
    return printed.splitlines()[3:]
