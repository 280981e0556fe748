"""A study: replicates of many cases, computed on a cluster and kept in a folder, batch by batch.

The replicates that no part of the folder holds are left to do: see `concord.simulation.store`.
"""

from __future__ import annotations

import importlib
import os
import queue
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

# A room, whose module with dask loads when a study begins: no comparison needs it.
import concord.processes
from concord.engines.engine import LOAD_R, preloads
from concord.errors import shorten
from concord.simulation.experiment import Failure, compute, unchanged
from concord.simulation.store import Batch, Plan, Store
from concord.simulation.work import Work

DEATHS = 1
"""So often a batch may lose its worker before it is divided, on the cluster of this machine."""
FAILURES = 20
"""After so many replicates without a result the study stops: something is wrong with all of them."""

# Modules that workers on this machine have when they are forked.
IMPORTED = "concord.simulation.experiment"


class StudyStopped(RuntimeError):
    """The study could not go on; one line that says why. All computed replicates are kept."""


class Lost(NamedTuple):
    """A replicate that gave no result: its case, its number, and the reason."""

    case: str
    number: int
    why: str

    def __str__(self) -> str:
        return f"{self.case}, replicate {self.number}: {self.why}"


@dataclass
class Progress:
    """How far a study is.

    Attributes
    ----------
    before, now : replicates that were there, and that were computed
    lost : replicates that gave no result
    """

    before: int = 0
    now: int = 0
    lost: list[Lost] = field(default_factory=list)


# Running ---------------------------------------------------------------------------------------------------------


def run(
    plan: Plan,
    folder: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    batch: int | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Progress:
    """Compute the replicates of a study that its folder does not hold yet.

    Parameters
    ----------
    plan : the study
    folder : where it is kept
    scheduler : address of a dask scheduler; None for one-thread worker processes on this machine
    workers : how many of them, by default one a core; 0: none, in this process
    batch : replicates a batch; by default as many as take some seconds
    tell : is called with the replicates that are there and all that are wanted, as they come

    Raises
    ------
    InputError : the folder holds another study, or there is no scheduler
    StudyStopped : it could not go on: the scheduler or all workers are gone, the disk is full, all replicates fail
    """
    store = Store(folder)
    with store.held(plan) as manifest:
        work = Work(plan, store, batch)
        total = plan.replicates * len(plan.cases)
        progress = Progress(before=total - work.left)
        runner = _Runner(
            plan, store, work, progress, manifest["versions"], lambda: tell(progress.before + progress.now, total)
        )
        tell(progress.before, total)
        if not work:
            return progress
        if workers == 0 and not scheduler:
            runner.alone()
        else:
            count = min(workers or os.cpu_count() or 1, work.left)
            with concord.processes.cluster.cluster(scheduler, count, DEATHS, LOAD_R, (IMPORTED, *preloads())) as client:
                runner.on(client)
    return progress


@dataclass
class _Runner:
    plan: Plan
    store: Store
    work: Work
    progress: Progress
    versions: dict[str, str]
    tell: Callable[[], None]

    def alone(self) -> None:
        """In this process."""
        while self.work:
            batch = self.work.take(1)
            self._take(batch, compute(batch.case.content, *self._asked(batch)))

    def _asked(self, batch: Batch) -> tuple[Any, ...]:
        """The arguments of `compute` for a batch, after the content of its case."""
        plan = self.plan
        return batch.case.digest, plan.seed, plan.pairs, plan.thorough, batch.first, batch.stop

    def on(self, client: concord.processes.cluster.Client) -> None:
        """On the workers of a cluster, a few batches more in flight than there are workers."""
        mark = uuid.uuid4().hex[:8]
        came: queue.SimpleQueue[Any] = queue.SimpleQueue()
        flying: dict[Any, Batch] = {}
        held: dict[str, Any] = {}
        count, seen, looked = 0, time.monotonic(), 0.0
        _check(client)
        try:
            while self.work or flying:
                if client.status != "running":
                    raise StudyStopped("the scheduler is gone")
                now = time.monotonic()
                if now - looked > 1 or not count:
                    with suppress(OSError):
                        count, looked = len(client.nthreads()), now
                    seen = now if count else seen
                    if now - seen > 3 * concord.processes.cluster.PATIENCE:
                        raise StudyStopped("all workers are gone")
                while self.work and len(flying) < (1 if self.work.alone else count + 2):
                    batch = self.work.take(count)
                    future = self._submit(client, batch, held, mark)
                    flying[future] = batch
                    future.add_done_callback(came.put)
                needed = {batch.case.digest for batch in flying.values()}
                for digest in held.keys() - needed:
                    del held[digest]
                with suppress(queue.Empty):
                    future = came.get(timeout=0.2)
                    batch = flying.pop(future)
                    if future.status == "error":  # it may be the case that is lost, with the worker that made it
                        held.pop(batch.case.digest, None)
                    self._received(client, future, batch)
        finally:
            with suppress(Exception):
                client.cancel(list(flying))

    def _submit(self, client: concord.processes.cluster.Client, batch: Batch, held: dict[str, Any], mark: str) -> Any:
        case = batch.case
        if case.digest not in held:
            # A task, and no scattered value: what a lost worker held of it is made again
            held[case.digest] = client.submit(unchanged, case.content, key=f"case-{uuid.uuid4().hex}", pure=False)
        key = f"replicates-{case.name}-{batch.first}-{batch.stop}-{batch.suspect:d}{batch.tries}-{mark}"
        return client.submit(compute, held[case.digest], *self._asked(batch), key=key, pure=False)

    def _received(self, client: concord.processes.cluster.Client, future: Any, batch: Batch) -> None:
        if future.status in ("cancelled", "lost"):
            raise StudyStopped("the scheduler is gone")
        try:
            got = future.result(timeout=60)
        except Exception as error:
            if client.status != "running":
                raise StudyStopped("the scheduler is gone") from error
            if type(error).__name__ != "KilledWorker":
                self._without(batch, f"{type(error).__name__}: {error}")
            elif batch.suspect:
                # Dask has tried it again itself, as often as its scheduler allows
                self._without(replace(batch, tries=1), "it killed its worker again and again")
            else:
                self.work.suspect(batch)
        else:
            self._take(batch, got)

    def _take(self, batch: Batch, got: tuple[bytes, float, dict[str, str]] | Failure) -> None:
        if isinstance(got, Failure):
            self._without(batch, got)
        else:
            self._keep(batch, *got)

    def _keep(self, batch: Batch, content: bytes, seconds: float, used: dict[str, str]) -> None:
        for name, version in self.versions.items():
            if used.get(name) != version:
                raise StudyStopped(f"a worker has {name} {used.get(name)}, and here it is {version}: install the same")
        try:
            self.store.keep(batch, content)
        except OSError as error:
            raise StudyStopped(f"{error.filename or self.store.folder}: cannot be written: {error.strerror}") from error
        self.work.took(seconds)
        self.progress.now += len(batch)
        self.tell()

    def _without(self, batch: Batch, why: str) -> None:
        """A batch gave no result: halve it, until the one replicate is found that is to blame."""
        if len(batch) > 1 or batch.tries < 1:
            self.work.again(batch)
            return
        self.progress.lost.append(Lost(batch.case.name, batch.first, shorten(why)))
        if len(self.progress.lost) >= FAILURES:
            raise StudyStopped(f"{FAILURES} replicates gave no result; the last: {self.progress.lost[-1]}")


def _check(client: concord.processes.cluster.Client) -> None:
    """Every worker can import what it is to run: one that cannot would end when it is asked to.

    Raises
    ------
    StudyStopped : one cannot
    """
    try:
        client.run(importlib.import_module, compute.__module__)
    except ImportError as error:
        raise StudyStopped(f"a worker lacks what it needs ({error}): install this Concord there") from error
