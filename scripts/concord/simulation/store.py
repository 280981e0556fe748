"""The folder of a study: what the study is, and which of its replicates are there.

``manifest.json`` says what the study is; ``parts/<case>/<first>-<stop>.parquet`` holds the rows of the replicates from
`first` up to and without `stop`. A part is there whole or not at all, so what is left to do is what no part holds:
nothing is lost or counted twice, whatever ends the command, and the same command goes on where it stopped. A part
that does not belong to the study is refused: see `concord.simulation.parts`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field, ValidationError

from concord import files
from concord.data.datasets import StrictRecord, first_mistake
from concord.errors import InputError
from concord.simulation import parts
from concord.simulation.case import Case
from concord.simulation.experiment import LEVEL, made_with
from concord.simulation.parts import FORMAT

# So many rows are read at a time.
ROWS = 5000
ANOTHER = "name another folder with --output, or delete this one"


@dataclass(frozen=True)
class Plan:
    """A study: its cases, its draws and its fits.

    Attributes
    ----------
    cases : models with true parameters
    seed : of all draws
    replicates : of every case
    pairs : engines and settings
    thorough : whether MixedLM's tuned fits ask its slow optimizers too, where no gradient finds rest
    """

    cases: tuple[Case, ...]
    seed: int
    replicates: int
    pairs: tuple[tuple[str, str], ...]
    thorough: bool = True

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the folder: all that tells this study from another."""
        return {
            "format": FORMAT,
            "method": self.cases[0].model.method,
            "seed": self.seed,
            "replicates": self.replicates,
            "fits": [f"{engine} {settings}" for engine, settings in self.pairs],
            "thorough": self.thorough,
            "level": LEVEL,
            "versions": made_with(),
            "cases": {
                case.name: {
                    "formula": case.model.notation,
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


class _CaseRecord(StrictRecord):
    formula: str
    digest: str
    factors: dict[str, float]
    truth: dict[str, Any]


class _Manifest(StrictRecord):
    """What stands in the manifest; see `Plan.manifest`."""

    format: int
    method: Literal["REML", "ML"]
    seed: int
    replicates: Annotated[int, Field(ge=0)]
    fits: list[str]
    thorough: bool
    level: float
    versions: dict[str, str | None]
    cases: dict[str, _CaseRecord]


# The folder ------------------------------------------------------------------------------------------------------


class Store:
    """The folder of a study.

    Parameters
    ----------
    folder : is made where it is missing
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.manifest_file = folder, folder / "manifest.json"

    @property
    def manifest(self) -> dict[str, Any]:
        """What the study is.

        Raises
        ------
        InputError : the manifest is missing, or is not of this format
        """
        if not os.path.lexists(self.manifest_file):
            advice = ": the simulate command that computed the parts beside it writes it anew" if self._places() else ""
            raise InputError(f"{self.manifest_file}: not found{advice}")
        content: Any = files.read_json(self.manifest_file)
        there = content.get("format") if isinstance(content, dict) else None
        if there in range(1, FORMAT):
            raise InputError(
                f"{self.folder}: was begun by an older version of Concord (format {there}, here it is {FORMAT}), whose "
                f"parts do not count in this one: {ANOTHER}"
            )
        if not isinstance(content, dict) or there != FORMAT:
            raise InputError(f"{self.manifest_file}: is not the manifest of a study of this version")
        try:
            _Manifest.model_validate(content)
        except ValidationError as error:
            loc, what = first_mistake(error)
            raise InputError(
                f"{self.manifest_file}: is damaged: {'.'.join(map(str, loc))}: {what}: {ANOTHER}"
            ) from None
        return content

    @contextmanager
    def held(self, plan: Plan) -> Iterator[dict[str, Any]]:
        """The folder for this plan and this process alone; gives its manifest.

        A manifest that is gone is written anew where every part proves to be of this very study.

        Raises
        ------
        InputError : another process is at work there, the folder or a part of it is of another study, or it cannot be
            written
        """
        with ExitStack() as stack:
            stack.enter_context(files.claimed(self.folder, "--output"))
            with _writing(self.folder):
                (self.folder / "parts").mkdir(exist_ok=True)
            wanted = plan.manifest
            if self.manifest_file.exists():
                there = self.manifest
                self._refuse(there, wanted)
            else:
                there = {"replicates": 0}
            wanted["replicates"] = max(there["replicates"], wanted["replicates"], *self.stops(wanted))
            if wanted["replicates"] > there["replicates"]:
                self._write_manifest(wanted)
            yield wanted

    def _write_manifest(self, content: dict[str, Any]) -> None:
        with _writing(self.folder):
            files.write(self.manifest_file, json.dumps(content, indent=1, ensure_ascii=False) + "\n", lasting=True)

    def _refuse(self, there: dict[str, Any], here: dict[str, Any]) -> None:
        """Raise InputError where the folder's study is another one; more or fewer replicates are the same one."""
        for name in ("method", "seed", "fits", "thorough", "level"):
            if there[name] != here[name]:
                raise InputError(
                    f"{self.folder}: holds another study: {name} is {there[name]} there, {here[name]} here: {ANOTHER}"
                )
        for name, version in here["versions"].items():
            if there["versions"].get(name) != version:
                was = there["versions"].get(name)
                raise InputError(f"{self.folder}: was computed with {name} {was}, here it is {version}: {ANOTHER}")
        names = [*there["cases"], *here["cases"]]
        for name in names:
            if name not in there["cases"] or name not in here["cases"]:
                where = "here" if name in there["cases"] else "there"
                raise InputError(f"{self.folder}: holds another study: {name} is missing {where}: {ANOTHER}")
            if there["cases"][name]["digest"] != here["cases"][name]["digest"]:
                raise InputError(
                    f"{self.folder}: holds another study: the table or the truth of {name} is another one: {ANOTHER}"
                )

    def _places(self) -> list[Path]:
        """The folders that hold parts, one a case."""
        return sorted({path.parent for path in self.folder.glob("parts/*/*.parquet")})

    def stops(self, study: Mapping[str, Any]) -> list[int]:
        """0, and the replicate after the last one of every part in the folder; all of them are held to the study.

        Raises
        ------
        InputError : see `parts`; or a part is of a case that the study does not have
        """
        return [0, *(stop for place in self._places() for _, stop, _ in self.parts(place.name, study))]

    def parts(self, case: str, study: Mapping[str, Any]) -> list[tuple[int, int, Path]]:
        """The parts of a case in order: first replicate, the one after the last, and the file.

        Parameters
        ----------
        study : the manifest that they are held to

        Raises
        ------
        InputError : a replicate is in two parts; or a part is not a whole Parquet file, or belongs elsewhere
        """
        ranges = []
        for path in sorted((self.folder / "parts" / case).glob("*.parquet")):
            if path.name.startswith("."):
                continue
            identity = parts.identify(path)
            parts.refuse(path, identity, study)
            ranges.append((identity.first, identity.stop, path))
        ranges.sort()
        for (_, stop, before), (first, _, after) in zip(ranges, ranges[1:], strict=False):
            if first < stop:
                raise InputError(f"{after}: has replicates that {before.name} has too: delete one of them")
        return ranges

    def rows(self, case: str, study: Mapping[str, Any]) -> Iterator[pa.Table]:
        """The rows of a case in the order of their replicates, as many at a time as are worth the trouble.

        Raises
        ------
        InputError : see `parts`, and `concord.simulation.parts.read`
        """
        held: list[pa.Table] = []
        for _, _, path in self.parts(case, study):
            held.append(parts.read(path))
            if sum(len(rows) for rows in held) >= ROWS:
                yield pa.concat_tables(held)
                held.clear()
        if held:
            yield pa.concat_tables(held)

    def missing(self, plan: Plan) -> dict[str, list[tuple[int, int]]]:
        """What no part of each case holds: first replicate, and the one after the last."""
        study = plan.manifest
        return {case.name: self._gaps(self.parts(case.name, study), plan.replicates) for case in plan.cases}

    @staticmethod
    def _gaps(ranges: list[tuple[int, int, Path]], replicates: int) -> list[tuple[int, int]]:
        gaps, at = [], 0
        for first, stop in [*((first, stop) for first, stop, _ in ranges), (replicates, replicates)]:
            if at < min(first, replicates):
                gaps.append((at, min(first, replicates)))
            at = max(at, stop)
        return gaps

    def count(self, plan: Plan) -> int:
        """How many of a plan's replicates are there."""
        gaps = [gap for of_case in self.missing(plan).values() for gap in of_case]
        return plan.replicates * len(plan.cases) - sum(stop - first for first, stop in gaps)

    def keep(self, batch: Batch, content: bytes) -> None:
        """Write a part, whole or not at all.

        Raises
        ------
        OSError : it cannot be written
        """
        name = f"{batch.first:09}-{batch.stop:09}.parquet"
        files.write(self.folder / "parts" / batch.case.name / name, content, lasting=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """A study's folder is begun: where that fails, another one is needed."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}: name another folder with --output") from error
