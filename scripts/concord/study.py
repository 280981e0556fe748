"""A study: replicates of many cases, computed on a cluster and kept in a folder, batch by batch.

``manifest.json`` says what the study is; ``parts/<case>/<first>-<stop>.parquet`` holds the rows of the replicates from
`first` up to and without `stop`. A part is there whole or not at all, so what is left to do is what no part holds:
nothing is lost or counted twice, whatever ends the command, and the same command goes on where it stopped.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import math
import os
import queue
import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from concord.cluster import PATIENCE, cluster
from concord.notebooks import InputError, shorten
from concord.simulation import LEVEL, Case, Failure, compute, made_with, unchanged

if TYPE_CHECKING:
    from distributed import Client, Future

FORMAT = 2
LONG = 5.0
"""Seconds that a batch is to take, where its size is not given: so much is lost with a worker, and no more."""
SHORT = 0.5
"""Seconds that a batch takes at least: less would go to sending it about."""
LARGEST = 1000
DEATHS = 1
"""So often a batch may lose its worker before it is divided, on the cluster of this machine."""
FAILURES = 20
"""After so many replicates without a result the study stops: something is wrong with all of them."""

ANEW = "delete it, and the simulate command computes it anew"

# What workers on this machine have when they are forked.
IMPORTED = ("concord.simulation", "statsmodels.formula.api")
R = "from concord import r; r.package('lme4')"
"""What they begin with: rpy2 wants R to be started by a process's main thread."""

_PART = re.compile(r"(\d+)-(\d+)\.parquet")
# A Parquet file begins and ends with it; before the last one stands its metadata's length, in four bytes.
_MAGIC = b"PAR1"


class StudyStopped(RuntimeError):
    """The study could not go on; one line that says why. What was computed is kept."""


@dataclass(frozen=True)
class Plan:
    """What a study is.

    Attributes
    ----------
    cases : what is drawn from
    seed : of all draws
    replicates : of every case
    pairs : engines and settings
    """

    cases: tuple[Case, ...]
    seed: int
    replicates: int
    pairs: tuple[tuple[str, str], ...]

    @property
    def manifest(self) -> dict[str, Any]:
        """What is written in the folder."""
        return {
            "format": FORMAT,
            "method": self.cases[0].model.method,
            "seed": self.seed,
            "replicates": self.replicates,
            "fits": [f"{engine} {settings}" for engine, settings in self.pairs],
            "level": LEVEL,
            "versions": made_with(),
            "cases": {
                case.name: {
                    "formula": case.model.record.formula,
                    "digest": case.digest,
                    "factors": dict(case.factors),
                    "truth": case.truth,
                }
                for case in self.cases
            },
        }


@dataclass(frozen=True)
class Batch:
    """Replicates of one case, from `first` up to and without `stop`.

    Attributes
    ----------
    tries : how often the one replicate that it is gave no result
    suspect : whether it was on a worker that died; which of all that was there is to blame is seen when each is alone
    """

    case: Case
    first: int
    stop: int
    tries: int = 0
    suspect: bool = False

    def __len__(self) -> int:
        return self.stop - self.first

    @property
    def parts(self) -> tuple[Batch, ...]:
        """Its halves; of a single replicate, itself for another try."""
        if len(self) == 1:
            return (replace(self, tries=self.tries + 1),)
        middle = (self.first + self.stop) // 2
        return replace(self, stop=middle), replace(self, first=middle)


@dataclass
class Outcome:
    """What came of running a study.

    Attributes
    ----------
    before, now : replicates that were there, and that were computed
    failed : replicates that gave no result, as ``case, replicate 7: why``
    """

    before: int = 0
    now: int = 0
    failed: list[str] = field(default_factory=list)


# The folder ------------------------------------------------------------------------------------------------------


class Store:
    """The folder of a study.

    Parameters
    ----------
    folder : is made where there is none
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.manifest_file = folder, folder / "manifest.json"

    @property
    def manifest(self) -> dict[str, Any]:
        """What the study is.

        Raises
        ------
        InputError : there is none, or it is not of this format
        """
        try:
            content = json.loads(self.manifest_file.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{self.manifest_file}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise InputError(f"{self.manifest_file}: is not valid JSON: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(f"{self.manifest_file}: is not the manifest of a study of this version")
        return content

    @contextmanager
    def held(self, plan: Plan) -> Iterator[dict[str, Any]]:
        """The folder for this plan and this process alone; gives its manifest.

        Raises
        ------
        InputError : another process is at work there, the folder holds another study, or it cannot be written
        """
        with ExitStack() as stack:
            with _writing(self.folder):
                if self.folder.exists() and not self.folder.is_dir():
                    raise InputError(f"{self.folder}: is not a folder: name another one with --output")
                (self.folder / "parts").mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((self.folder / ".lock").open("a"))
                _lock(lock, self.folder)
                for left in (*self.folder.glob(".*.aside"), *self.folder.glob("parts/*/.*.aside")):
                    left.unlink()
            wanted = plan.manifest
            if self.manifest_file.exists():
                there = self.manifest
                self._refuse(there, wanted)
                wanted["replicates"] = max(there["replicates"], wanted["replicates"])
                if wanted["replicates"] > there["replicates"]:
                    self._write_manifest(wanted)
            else:
                self._write_manifest(wanted)
            yield wanted

    def _write_manifest(self, content: dict[str, Any]) -> None:
        with _writing(self.folder):
            write(self.manifest_file, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())

    def _refuse(self, there: dict[str, Any], here: dict[str, Any]) -> None:
        """Raise InputError where the folder's study is another one; more or fewer replicates are the same one."""
        advice = "name another folder with --output, or delete this one"
        for name in ("method", "seed", "fits", "level"):
            if there[name] != here[name]:
                raise InputError(
                    f"{self.folder}: holds another study: {name} is {there[name]} there, {here[name]} here: {advice}"
                )
        for name, version in here["versions"].items():
            if there["versions"].get(name) != version:
                was = there["versions"].get(name)
                raise InputError(f"{self.folder}: was computed with {name} {was}, here it is {version}: {advice}")
        names = [*there["cases"], *here["cases"]]
        for name in names:
            if name not in there["cases"] or name not in here["cases"]:
                where = "here" if name in there["cases"] else "there"
                raise InputError(f"{self.folder}: holds another study: there is no {name} {where}: {advice}")
            if there["cases"][name]["digest"] != here["cases"][name]["digest"]:
                raise InputError(
                    f"{self.folder}: holds another study: the table or the truth of {name} is another one: {advice}"
                )

    def parts(self, case: str) -> list[tuple[int, int, Path]]:
        """The parts of a case in order: first replicate, the one after the last, and the file.

        Raises
        ------
        InputError : a replicate is in two parts, or a part is no whole Parquet file
        """
        place = self.folder / "parts" / case
        found = []
        for path in place.iterdir() if place.is_dir() else ():
            match = _PART.fullmatch(path.name)
            if match:
                found.append((int(match[1]), int(match[2]), path))
        found.sort()
        for (_, stop, before), (first, _, after) in zip(found, found[1:], strict=False):
            if first < stop:
                raise InputError(f"{after}: has replicates that {before.name} has too: delete one of them")
        for _, _, path in found:
            _whole(path)
        return found

    def missing(self, case: str, replicates: int) -> list[tuple[int, int]]:
        """What no part of a case holds: first replicate, and the one after the last."""
        gaps, at = [], 0
        for first, stop, _ in [*self.parts(case), (replicates, replicates, None)]:
            if at < min(first, replicates):
                gaps.append((at, min(first, replicates)))
            at = max(at, stop)
        return gaps

    def count(self, plan: Plan) -> int:
        """How many of a plan's replicates are there."""
        gaps = (gap for case in plan.cases for gap in self.missing(case.name, plan.replicates))
        return plan.replicates * len(plan.cases) - sum(stop - first for first, stop in gaps)

    def keep(self, batch: Batch, content: bytes) -> None:
        """Write a part, whole or not at all.

        Raises
        ------
        OSError : it cannot be written
        """
        write(self.folder / "parts" / batch.case.name / f"{batch.first:09}-{batch.stop:09}.parquet", content)


def _lock(file: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"{folder}: another process is at work on this study: wait for it, or stop it") from error


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """A study's folder is begun: where that fails, another one is needed."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}: name another folder with --output") from error


def _whole(path: Path) -> None:
    """A part begins and ends as Parquet does, its metadata between; its rows are not read, which `read_part` does.

    Raises
    ------
    InputError : it does not, as after a power cut, or it cannot be read
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8))
            length, tail = file.read(4), file.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}: {ANEW}") from error
    if head != _MAGIC or tail != _MAGIC or not 0 < int.from_bytes(length, "little") <= size - 12:
        raise InputError(f"{path}: is no whole Parquet file: {ANEW}")


def read_part(path: Path) -> pa.Table:
    """The rows of a part.

    Raises
    ------
    InputError : they are not what was written, by the checksums that are kept with them
    """
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: is damaged ({shorten(str(error))}): {ANEW}") from error


def write(path: Path, content: bytes) -> None:
    """Write a file beside its place, have it reach the disk, and put it into its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.aside")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    # That the name is there must reach the disk too
    place = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


# What is to be done ----------------------------------------------------------------------------------------------


class Work:
    """The batches that are left, made when they are asked for: a million replicates take no more room than ten.

    Parameters
    ----------
    plan : the study
    store : where its parts are
    size : replicates a batch; None: as many as take some seconds
    """

    def __init__(self, plan: Plan, store: Store, size: int | None = None) -> None:
        self.size, self.seconds = size, math.nan
        gaps = {case.name: store.missing(case.name, plan.replicates) for case in plan.cases}
        self.left = sum(stop - first for each in gaps.values() for first, stop in each)
        self._gaps = deque(Batch(case, *gap) for case in plan.cases for gap in gaps[case.name])
        self._again: deque[Batch] = deque()
        self._suspects: deque[Batch] = deque()

    def __bool__(self) -> bool:
        return bool(self._gaps or self._again or self._suspects)

    @property
    def alone(self) -> bool:
        """Whether what is left is to be computed one batch at a time: suspects, which come last."""
        return bool(self._suspects) and not (self._gaps or self._again)

    def take(self, workers: int) -> Batch:
        """The next batch for one of so many workers."""
        if self._again:
            batch = self._again.popleft()
        elif self.alone:
            batch = self._suspects.popleft()
        else:
            gap = self._gaps.popleft()
            batch = replace(gap, stop=min(gap.stop, gap.first + self._suitable(workers)))
            if batch.stop < gap.stop:
                self._gaps.appendleft(replace(gap, first=batch.stop))
        self.left -= len(batch)
        return batch

    def _suitable(self, workers: int) -> int:
        """So many replicates that a batch takes some seconds, and that no worker is left alone at the end."""
        if self.size:
            return self.size
        if math.isnan(self.seconds):
            return 1
        least, enough = (max(1, min(LARGEST, int(each / max(self.seconds, 1e-6)))) for each in (SHORT, LONG))
        return max(least, min(enough, self.left // (2 * max(workers, 1))))

    def again(self, batch: Batch) -> None:
        """Put back a batch that gave no result, in halves."""
        (self._suspects if batch.suspect else self._again).extend(batch.parts)
        self.left += len(batch)

    def suspect(self, batch: Batch) -> None:
        """Put back a batch that has lost its worker, to be computed when nothing else is."""
        self._suspects.append(replace(batch, suspect=True))
        self.left += len(batch)

    def took(self, seconds: float) -> None:
        """How long a replicate of a batch took."""
        self.seconds = seconds


# Running ---------------------------------------------------------------------------------------------------------


def run(
    plan: Plan,
    folder: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    batch: int | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
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
        outcome = Outcome(before=total - work.left)
        runner = _Runner(
            plan, store, work, outcome, manifest["versions"], lambda: tell(outcome.before + outcome.now, total)
        )
        tell(outcome.before, total)
        if not work:
            return outcome
        if workers == 0 and not scheduler:
            runner.alone()
        else:
            with cluster(scheduler, min(workers or os.cpu_count() or 1, work.left), DEATHS, R, IMPORTED) as client:
                runner.on(client)
    return outcome


@dataclass
class _Runner:
    plan: Plan
    store: Store
    work: Work
    outcome: Outcome
    versions: dict[str, str]
    tell: Callable[[], None]

    def alone(self) -> None:
        """In this process."""
        while self.work:
            batch = self.work.take(1)
            got = compute(
                batch.case.content, batch.case.digest, self.plan.seed, self.plan.pairs, batch.first, batch.stop
            )
            self._take(batch, got)

    def on(self, client: Client) -> None:
        """On the workers of a cluster, a few batches more in flight than there are workers."""
        mark = uuid.uuid4().hex[:8]
        came: queue.SimpleQueue[Future] = queue.SimpleQueue()
        flying: dict[Future, Batch] = {}
        held: dict[str, Future] = {}
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
                    if now - seen > 3 * PATIENCE:
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

    def _submit(self, client: Client, batch: Batch, held: dict[str, Future], mark: str) -> Future:
        case = batch.case
        if case.digest not in held:
            # A task, and no scattered value: what a lost worker held of it is made again
            held[case.digest] = client.submit(unchanged, case.content, key=f"case-{uuid.uuid4().hex}", pure=False)
        key = f"replicates-{case.name}-{batch.first}-{batch.stop}-{batch.suspect:d}{batch.tries}-{mark}"
        return client.submit(
            compute, held[case.digest], case.digest, self.plan.seed, self.plan.pairs, batch.first, batch.stop,
            key=key, pure=False,
        )  # fmt: skip

    def _received(self, client: Client, future: Future, batch: Batch) -> None:
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
        self.outcome.now += len(batch)
        self.tell()

    def _without(self, batch: Batch, why: str) -> None:
        """A batch gave no result: halve it, until the one replicate is found that is to blame."""
        if len(batch) > 1 or batch.tries < 1:
            self.work.again(batch)
            return
        self.outcome.failed.append(f"{batch.case.name}, replicate {batch.first}: {shorten(why)}")
        if len(self.outcome.failed) >= FAILURES:
            raise StudyStopped(f"{FAILURES} replicates gave no result; the last: {self.outcome.failed[-1]}")


def _check(client: Client) -> None:
    """Every worker can import what it is to run: one that cannot would end when it is asked to.

    Raises
    ------
    StudyStopped : one cannot
    """
    try:
        client.run(importlib.import_module, compute.__module__)
    except ImportError as error:
        raise StudyStopped(f"a worker lacks what it needs ({error}): install this Concord there") from error
