"""A copy of the checkout, and commands in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat

from support.paths import ROOT
from support.processes import kernels, session, until

IN_CONDA = (Path(sys.prefix) / "conda-meta").is_dir()


class Checkout:
    """A copy of this checkout as it is now, set up, with notebooks of the test's own."""

    def __init__(self, folder: Path, **notebooks: nbformat.NotebookNode | Path):
        self.folder = folder
        made = (".git", ".venv", "build", "notebooks", ".setup.lock", ".ipynb_checkpoints")
        # Not what `make lint` knows of these very sources, for which mypy would take longest of all commands.
        made += (".ruff_cache", ".pytest_cache", ".import_linter_cache")
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*made))
        (folder / "notebooks").mkdir()
        # A clone: what .gitignore names is nobody's concern
        subprocess.run(["git", "init", "-q"], cwd=folder, env=self.environment(folder), check=True)
        for name, each in notebooks.items():
            path = folder / "notebooks" / f"{name}.ipynb"
            _ = shutil.copy(each, path) if isinstance(each, Path) else nbformat.write(each, path)
        if not IN_CONDA:
            self._set_up()

    def _set_up(self) -> None:
        """The packages of this checkout's .venv. Never stale: make would then install into what it links to."""
        stamp = (ROOT / ".venv" / "concord-setup").read_text()
        read = [self.folder / path for path in ("pyproject.toml", "scripts/setup.sh", "scripts/lanes.tsv")]
        read += sorted((self.folder / "scripts" / "constraints").glob("*.txt"))
        wanted = hashlib.sha256(b"".join(path.read_bytes() for path in read)).hexdigest()
        assert wanted in stamp, "the set-up is not up to date: `make setup` first"
        (self.folder / ".venv").mkdir()
        for each in (ROOT / ".venv").iterdir():
            (self.folder / ".venv" / each.name).symlink_to(each)
        (self.folder / ".venv" / "concord-setup").unlink()
        (self.folder / ".venv" / "concord-setup").write_text(stamp.replace(str(ROOT), str(self.folder), 1))

    def environment(self, scratch: Path, **more: str) -> dict[str, str]:
        """What a reader's shell has: nothing of this test run or of the make around it."""
        outer = ("MAKE", "MFLAGS", "PYTEST", "JUPYTER", "DASK", "CONCORD", "DISPLAY", "WAYLAND", "BROWSER")
        outer += ("NOTEBOOK", "METHOD", "SCHEDULER", "TESTS", "GIT_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
        # The installed package is the checkout this is a copy of
        return kept | {"TMPDIR": str(scratch), "PYTHONPATH": str(self.folder / "scripts")} | more

    @contextmanager
    def started(self, command: str, **more: str) -> Iterator[subprocess.Popen[str]]:
        """A command that runs until the block ends; then it and all that it started are gone."""
        # In /tmp: the sockets of kernels have long names already
        scratch = Path(tempfile.mkdtemp(prefix="readme-", dir="/tmp"))
        if IN_CONDA:
            command = command.replace(".venv/bin/", "")
        with (scratch / "log").open("w+") as log:
            process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self.environment(scratch, **more),
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            process.log, process.scratch = scratch / "log", scratch
            try:
                yield process
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGTERM)
                process.wait(30)
                until(lambda: not session(process.pid) and not kernels(str(scratch)), 15)
            finally:
                for pid in [*session(process.pid), *kernels(str(scratch))]:
                    os.kill(pid, signal.SIGKILL)
                process.wait()
                shutil.rmtree(scratch, ignore_errors=True)

    def run(self, command: str, timeout: float = 600, **more: str) -> str:
        """Run a command to its end, successfully; returns what it wrote."""
        with self.started(command, **more) as process:
            status = process.wait(timeout)
            written = process.log.read_text(errors="replace")
        assert status == 0, f"{command}: exit status {status}\n{written[-4000:]}"
        return written

    def built(self, pattern: str) -> list[str]:
        return sorted(path.name for path in (self.folder / "build").glob(pattern))
