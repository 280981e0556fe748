"""Guests: other packages that fit the same models, a folder each, an engine as every other; what the parties' verdict
says does not depend on them. They are there when they are invited (`invite`), and each fits where its package is
installed.
"""

import os
from pathlib import Path

from concord.engines import FOLDERS

FOLDER = str(Path(__file__).parent)


def invite() -> None:
    """Have the guests among the engines, in this process and in those that it starts."""
    named = [folder for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]
    if FOLDER not in named:
        os.environ[FOLDERS] = os.pathsep.join([*named, FOLDER])
