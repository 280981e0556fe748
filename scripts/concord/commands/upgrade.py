"""The upgrade check: which verdicts change with another statsmodels?

The other environment lies over the one that runs: it has what pip installs for the requirements given, and everything
else, R included, is the very same. So what differs between the two comes from what is listed as upgraded.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from concord import vocabulary
from concord.commands import baseline
from concord.commands.baseline import Baseline, Change
from concord.commands.check import changes_markdown, table
from concord.engines.engine import party
from concord.errors import InputError, shorten
from concord.files import write
from concord.models import model

SAME, CHANGED = 0, 1
PRESENT, OTHER = "present", "upgraded"
# Seconds between two lines of progress where there is no terminal.
_PAUSE = 15.0
# What statsmodels has to give; where it cannot be imported there is nothing to compare.
_IMPORTS = "import statsmodels.formula.api, statsmodels.regression.mixed_linear_model"


def verdicts(output: Path, ids: Sequence[str] = ()) -> int:
    """Compare models of the workbook, at default and at tuned settings, and write what came of it as a baseline.

    A line for each comparison goes to stdout as soon as it is done.

    Parameters
    ----------
    output : the JSON, written at the end in one step
    ids : such as ``dietox-random_slope``; none for all

    Returns
    -------
    exit status: 0, whatever the verdicts are

    Raises
    ------
    ModelError, DatasetError : there is no such model
    """
    from concord.agreement.gate import everything

    chosen = [model.get(id, method) for id in ids for method in vocabulary.METHODS] or list(model.every())
    entries = []
    for comparison in everything(chosen):
        entries.append(baseline.entry(comparison.model.id, comparison))
        done, all_ = len(entries), 2 * len(chosen)
        print(f"[{done}/{all_}] {comparison.title}: {comparison.verdict.word}", flush=True)
    write(output, baseline.of(entries).text())
    return 0


def run(requirements: Sequence[str], folder: Path, ids: Sequence[str] = (), pre: bool = False) -> int:
    """Install the requirements beside this environment, compare every model in both, and say what changes.

    Written into the folder: ``present.json`` and ``upgraded.json``, the baselines; ``summary.md``, which goes to stdout
    too; ``pip.log``; and ``environment``, which each run makes anew.

    Parameters
    ----------
    requirements : as for pip, by default Python's party; the newest releases that they allow are taken
    folder : made where there is none
    ids : models of the workbook; none for all
    pre : pre-releases too

    Returns
    -------
    exit status: 0 nothing changes, 1 something does, 2 they cannot be compared

    Raises
    ------
    InputError : pip cannot install the requirements, or what it installed cannot be imported
    ModelError, DatasetError : there is no such model
    """
    requirements = requirements or party("Python").packages
    for id in ids:
        model.get(id)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is not a folder: name another one with --folder")
    (folder / "summary.md").unlink(missing_ok=True)  # an earlier run's, which must not be taken for this one's
    _say(f"installing {' '.join(requirements)} beside {sys.prefix}")
    python = _environment(folder / "environment")
    _install(python, requirements, pre, folder / "pip.log")
    installed = _installed(python)
    upgraded = [(name, before, now) for name, before, now in installed if before != now]
    if not upgraded:
        text = f"## Upgrade check: nothing to compare\n\n{_nothing(requirements)}\n"
        write(folder / "summary.md", text)
        print(text, end="")
        return SAME
    _say("upgraded: " + ", ".join(f"{name} {before or 'none'} to {now}" for name, before, now in upgraded))
    _import(python, upgraded)
    found = _both(python, folder, ids)
    changes = baseline.changes(found[PRESENT], found[OTHER])
    text = markdown(found[PRESENT], found[OTHER], upgraded, changes)
    write(folder / "summary.md", text)
    print(text, end="")
    return CHANGED if changes else SAME


def markdown(
    present: Baseline, other: Baseline, upgraded: Sequence[tuple[str, str, str]], changes: Sequence[Change]
) -> str:
    """The summary: what was upgraded, what changes with it, and the versions of both sides.

    Parameters
    ----------
    upgraded : name, version here and version there of every package that is another one
    """
    what_changed = ", ".join(f"{name} {before or 'none'} to {now}" for name, before, now in upgraded)
    count = len(other.entries)
    changed = len({(each.name, each.method, each.settings) for each in changes})
    verdict = sum(each.kind == "verdict" for each in changes)
    words = f"{verdict} of {count} verdicts change, and {changed} comparisons in anything beyond tolerance"
    parts = [f"## Upgrade check: {what_changed}", f"{words[0].upper()}{words[1:]}."]
    parts += changes_markdown(changes)
    values, share, what = baseline.nearest(present, other)
    parts.append(f"Of {values} values in both, the largest move is {share:.2g} of its tolerance: {what}.")
    names = list(dict.fromkeys([*present.versions, *other.versions, *(name for name, _, _ in upgraded)]))
    more = {name: (before, now) for name, before, now in upgraded}
    rows = []
    for name in names:
        before, now = (each.versions.get(name, "") for each in (present, other))
        before, now = more.get(name, (before, now))
        rows.append([name, before, now if now == before else f"**{now}**"])
    parts += ["### Versions", table(["", PRESENT, OTHER], rows)]
    return "\n\n".join(parts) + "\n"


def _nothing(requirements: Sequence[str]) -> str:
    names = [re.split(r"[^A-Za-z0-9._-]", each, maxsplit=1)[0] for each in requirements]
    have = [f"{name} {version}" for name in names if (version := _version(name))]
    return f"pip finds nothing newer than what is installed: {', '.join(have) or ', '.join(requirements)}."


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ""


# ---- the other environment ---------------------------------------------------------------------------------------


def _environment(place: Path) -> Path:
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


def _install(python: Path, requirements: Sequence[str], pre: bool, log: Path) -> None:
    command: list[str | Path] = [python, "-m", "pip", "install", "--upgrade", "--progress-bar", "off"]
    command += ["--pre"] if pre else []
    # What needs no other version keeps the one that is here: pip's own way, stated since it can be configured.
    command += ["--upgrade-strategy", "only-if-needed", "--", *requirements]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        given = os.environ | {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = subprocess.run(command, env=given, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False)
    if done.returncode:
        lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("ERROR:")]
        said = lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with status {done.returncode}"
        raise InputError(f"{' '.join(requirements)}: cannot be installed: {shorten(said)} (all of it: {log})")


def _installed(python: Path) -> list[tuple[str, str, str]]:
    """What pip has put there: name, version here (empty for none) and version there."""
    found = importlib.metadata.distributions(path=[str(_packages(python))])
    return sorted((each.metadata["Name"], _version(each.metadata["Name"]), each.version) for each in found)


def _import(python: Path, upgraded: Sequence[tuple[str, str, str]]) -> None:
    done = subprocess.run([python, "-c", _IMPORTS], capture_output=True, text=True, check=False)
    if done.returncode:
        names = ", ".join(f"{name} {now}" for name, _, now in upgraded)
        said = shorten(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it died")
        raise InputError(
            f"with {names} statsmodels cannot be imported: {said}; where it needs an older or a newer release of "
            'something else, name that too, as in UPGRADE="statsmodels==0.14.4 scipy<1.16"'
        )


# ---- both sides --------------------------------------------------------------------------------------------------


def _both(python: Path, folder: Path, ids: Sequence[str]) -> dict[str, Baseline]:
    """The baselines of both environments, made side by side."""
    pythons = {PRESENT: Path(sys.executable), OTHER: python}
    files = {side: folder / f"{side}.json" for side in pythons}
    for file in files.values():
        file.unlink(missing_ok=True)
    more = [word for id in ids for word in ("--model", id)]
    commands: dict[str, Sequence[str | Path]] = {
        side: [each, "-m", "concord", "verdicts", "--output", files[side].absolute(), *more]
        for side, each in pythons.items()
    }
    with _running(commands) as sides:
        failed = _follow(sides)
    if failed:
        lines = sides[failed].said.strip().splitlines()
        said = shorten(lines[-1]) if lines else f"status {sides[failed].returncode}"
        raise InputError(f"the {failed} environment ended before it had compared everything: {said}")
    return {side: baseline.read(file) for side, file in files.items()}


class _Side:
    """One environment at work: its process, its last line of progress, and what it says on stderr."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.done, self.all, self.latest, self.said = 0, 0, "starting", ""
        self.threads = [threading.Thread(target=each, daemon=True) for each in (self._read, self._hear)]
        for each in self.threads:
            each.start()

    @property
    def returncode(self) -> int | None:
        return self.process.poll()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            found = re.match(r"\[(\d+)/(\d+)\] (.*)", line)
            if found:
                self.done, self.all, self.latest = int(found[1]), int(found[2]), found[3]

    def _hear(self) -> None:
        self.said = self.process.stderr.read() if self.process.stderr else ""

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for each in self.threads:
            each.join(5)


@contextmanager
def _running(commands: Mapping[str, Sequence[str | Path]]) -> Iterator[dict[str, _Side]]:
    """The sides at work; whatever happens, none is left running."""
    sides: dict[str, _Side] = {}
    try:
        for side, command in commands.items():
            sides[side] = _Side(command)
        yield sides
    finally:
        for each in sides.values():
            each.end()


def _follow(sides: Mapping[str, _Side]) -> str | None:
    """Wait until all are done, or one has failed; which one. A bar in a terminal, a line now and then elsewhere."""
    shown = time.monotonic()
    with tqdm(unit="model", dynamic_ncols=True, leave=False, disable=not sys.stderr.isatty()) as bar:
        while True:
            ended = {side: each.returncode for side, each in sides.items()}
            failed = next((side for side, status in ended.items() if status), None)
            if failed or None not in ended.values():
                return failed
            bar.total = sum(each.all for each in sides.values()) or None
            bar.n = sum(each.done for each in sides.values())
            bar.set_postfix_str(sides[OTHER].latest.partition(",")[0])
            if not sys.stderr.isatty() and time.monotonic() - shown > _PAUSE:
                shown = time.monotonic()
                _say(", ".join(f"{side} {each.done} of {each.all or 'all'}" for side, each in sides.items()))
            time.sleep(0.1)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
