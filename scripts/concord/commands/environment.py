"""Another environment over the one that runs: it has what pip installs for some requirements, and all else is the same.

So what differs between the two comes from what was installed.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

from concord.errors import InputError, shorten

# What statsmodels has to give; where it cannot be imported there is nothing to compare.
_IMPORTS = "import statsmodels.formula.api, statsmodels.regression.mixed_linear_model"


def make(place: Path) -> Path:
    """Make an empty environment over the one that runs; its Python."""
    shutil.rmtree(place, ignore_errors=True)
    venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt").create(place)
    python = place.absolute() / "bin" / "python"
    folders = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    # Behind the environment's own packages; addsitedir reads the .pth files there too, such as Concord's own.
    lines = [f"import site; site.addsitedir({folder!r})\n" for folder in folders]
    (_packages(python) / "present.pth").write_text("".join(lines), encoding="utf-8")
    return python


def _packages(python: Path) -> Path:
    """Where an environment's own packages are."""
    base = str(python.parents[1])
    return Path(sysconfig.get_path("purelib", "venv", {"base": base, "platbase": base}))


def install(python: Path, requirements: Sequence[str], pre: bool, log: Path) -> None:
    """Have pip install the newest releases that the requirements allow, `pre` pre-releases too.

    Raises
    ------
    InputError : it cannot
    """
    command: list[str | Path] = [python, "-P", "-m", "pip", "install", "--upgrade", "--progress-bar", "off"]
    command += ["--pre"] if pre else []
    # What needs no other version keeps the one that is here: pip's own way, stated since it can be configured.
    command += ["--upgrade-strategy", "only-if-needed", "--", *requirements]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        variables = os.environ | {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False)
    if done.returncode:
        lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("ERROR:")]
        said = lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with status {done.returncode}"
        raise InputError(f"{' '.join(requirements)}: cannot be installed: {shorten(said)} (all of it: {log})")


def installed(python: Path) -> list[tuple[str, str, str]]:
    """What pip has put there: name, version here (empty where it is not installed) and version there."""
    distributions = importlib.metadata.distributions(path=[str(_packages(python))])
    return sorted((one.metadata["Name"], _version(one.metadata["Name"]), one.version) for one in distributions)


def check_import(python: Path, upgraded: Sequence[tuple[str, str, str]]) -> None:
    """Import statsmodels there.

    Raises
    ------
    InputError : it cannot be imported
    """
    done = subprocess.run([python, "-P", "-c", _IMPORTS], capture_output=True, text=True, check=False)
    if done.returncode:
        names = ", ".join(f"{name} {now}" for name, _, now in upgraded)
        said = shorten(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it died")
        raise InputError(
            f"with {names} statsmodels cannot be imported: {said}; where it needs an older or a newer release of "
            'something else, name that too, as in UPGRADE="statsmodels==0.14.4 scipy<1.16"'
        )


def nothing_newer(requirements: Sequence[str]) -> str:
    """The sentence for requirements that are met already."""
    names = [re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in requirements]
    have = [f"{name} {version}" for name in names if (version := _version(name))]
    return f"pip finds nothing newer than what is installed: {', '.join(have) or ', '.join(requirements)}."


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ""
