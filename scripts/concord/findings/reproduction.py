"""Reproductions run: each a file of a package's own code, in a process of its own, which prints what it finds."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from concord.errors import shorten
from concord.findings.record import LANGUAGES
from concord.processes.kernels import die_with_parent
from concord.processes.worker import Worker, WorkerStopped

TIMEOUT = 300.0
"""Seconds that one of them may take."""
STARTING = 60.0
"""Seconds that R may take to start with its packages."""
_LATE = "it was stopped after {:g} s"
# What takes long to load is loaded once, and every reproduction is a fork of that: it finds a fresh interpreter with a
# few modules in memory, attached to nothing.
_IN_PYTHON = ("statsmodels.formula.api",)
_IN_R = """
options(warn = 1L)
local({
  given <- commandArgs(TRUE)
  seconds <- as.numeric(given[1L])
  invisible(lapply(c("lme4", "nlme", "lmerTest", "pbkrtest"), requireNamespace, quietly = TRUE))
  for (path in given[-1L]) {
    job <- parallel::mcparallel({
      to <- lapply(paste0(path, c(".out", ".err")), file, open = "w")
      sink(to[[1L]])
      sink(to[[2L]], type = "message")
      # In the workspace, as where it is pasted: lme4's allFit looks for the data there and nowhere else.
      done <- tryCatch({ source(path, local = FALSE, echo = FALSE); TRUE }, error = function(e) {
        message(conditionMessage(e))
        FALSE
      })
      sink(type = "message")
      sink()
      for (connection in to) close(connection)
      done
    }, silent = TRUE)
    began <- proc.time()[["elapsed"]]
    came <- parallel::mccollect(job, wait = FALSE, timeout = seconds)
    late <- !length(came) && proc.time()[["elapsed"]] - began >= seconds
    if (late) tools::pskill(job$pid, tools::SIGKILL)
    suppressWarnings(parallel::mccollect(job))
    cat(if (late) "late" else if (length(came) && isTRUE(came[[1L]])) "0" else "1", file = paste0(path, ".status"))
  }
})
"""


class ReproductionError(RuntimeError):
    """A reproduction failed, or ended without its line of numbers."""


@dataclass(frozen=True)
class Run:
    """What came of a reproduction.

    Attributes
    ----------
    printed : what it printed, without the line of numbers
    numbers : those of that line, by name
    """

    printed: str
    numbers: Mapping[str, float]


def run(paths: Iterable[Path]) -> dict[str, Run]:
    """Run reproductions, those in Python and those in R each one after the other.

    Parameters
    ----------
    paths : the files, of any language

    Returns
    -------
    by the name of the file without its ending

    Raises
    ------
    ReproductionError : one failed, took longer than `TIMEOUT`, or ended without its numbers
    """
    paths = list(paths)
    runs: dict[str, Run] = {}
    by_language = {"Python": _in_python, "R": _in_r}
    for language, runner in by_language.items():
        mine = [path for path in paths if LANGUAGES[path.suffix] == language]
        if mine:
            runs |= {path.stem: _read(path, *came) for path, came in zip(mine, runner(mine), strict=True)}
    return {path.stem: runs[path.stem] for path in paths}


Came = tuple[bool, str, str]
"""Whether it ran to its end, what it printed, and what it said beside that."""


def _read(path: Path, done: bool, printed: str, said: str) -> Run:
    text, _, last = printed.rstrip().rpartition("\n")
    if not done:
        raise ReproductionError(f"{path.name} failed: {shorten((said.strip().splitlines() or ['it ended'])[-1])}")
    try:
        numbers = {str(name): float(number) for name, number in json.loads(last).items()}
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        raise ReproductionError(f"{path.name}: its last line is no line of numbers: {last[:80]!r}") from None
    return Run(text.strip("\n"), numbers)


def _in_python(paths: Iterable[Path]) -> list[Came]:
    worker = Worker(_IN_PYTHON)
    try:
        came = []
        for path in paths:
            try:
                came.append(worker.run(forked, str(path), timeout=TIMEOUT))
            except WorkerStopped as error:
                raise ReproductionError(f"{path.name}: {_LATE.format(TIMEOUT) if error.late else error}") from error
        return came
    finally:
        worker.stop()


def forked(path: str) -> Came:
    """Run a file of Python in a fork of this process, which must have one thread: what it printed, and its warnings."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        parent = os.getpid()
        child = os.fork()
        if not child:
            _be(path, parent, out.fileno(), err.fileno())
        _, status = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return status == 0, texts[0], texts[1]


def _be(path: str, parent: int, out: int, err: int) -> None:
    """Be the process of a reproduction; it does not return."""
    status = 1
    try:
        die_with_parent(parent)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.argv[:] = [path]
        runpy.run_path(path, run_name="__main__")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _in_r(paths: Iterable[Path]) -> list[Came]:
    """In copies, as what each prints stands beside it."""
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / path.name for path in paths]
        for path, copy in zip(paths, copies, strict=True):
            copy.write_bytes(path.read_bytes())
        try:
            done = subprocess.run(
                ["Rscript", "--vanilla", "-e", _IN_R, str(TIMEOUT), *map(str, copies)],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=STARTING + TIMEOUT * len(copies),
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ReproductionError(f"reproductions in R: {error}") from error
        if done.returncode:
            raise ReproductionError(f"reproductions in R: {shorten(done.stderr)}")
        texts = [[_text(f"{copy}{ending}") for ending in (".status", ".out", ".err")] for copy in copies]
    late = [path.name for path, (status, *_) in zip(paths, texts, strict=True) if status == "late"]
    if late:
        raise ReproductionError(f"{late[0]}: {_LATE.format(TIMEOUT)}")
    return [(status == "0", out, err) for status, out, err in texts]


def _text(path: str) -> str:
    file = Path(path)
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
