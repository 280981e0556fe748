"""Findings with what came of their reproductions here: a table, a section for each, and whether any is mended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from concord import versions
from concord.data import version_ranges
from concord.display.media import FINDINGS_TYPE
from concord.findings import reproduction
from concord.findings.record import Bounds, Finding, read, within
from concord.findings.reproduction import ReproductionError, Run
from concord.findings.section import Shown, section

HOLDS, MENDED, UNMENDED, ELSEWHERE = "holds", "mended", "the mend fails", "other versions"
"""Of a finding here: it holds, and its mend works; it holds no more; it holds, and its mend does not work; it is said
to hold with other versions than those here, and was not looked for."""


class Unrecorded(RuntimeError):
    """A finding is not what its record says, which is to be changed: a success, where a release has mended it."""


@dataclass(frozen=True)
class State:
    """What a finding is here.

    Attributes
    ----------
    word : `HOLDS`, `MENDED`, `UNMENDED` or `ELSEWHERE`
    sentence : the same with versions, and the numbers that decide
    """

    word: str
    sentence: str


class Shelf:
    """All findings, reproduced when that is first asked for.

    Parameters
    ----------
    findings : by id; by default those of the repository
    run : what runs reproductions
    version_of : the version here of a package, or of R or Python
    unfolded : whether a section shows the code of its reproduction at once
    """

    def __init__(
        self,
        findings: Mapping[str, Finding] | None = None,
        run: Callable[[Iterable[Any]], Mapping[str, Run]] = reproduction.run,
        version_of: Callable[[str], str] = versions.of,
        unfolded: bool = False,
    ) -> None:
        self.findings = read() if findings is None else findings
        self._run, self._version_of, self._unfolded = run, version_of, unfolded

    @cached_property
    def runs(self) -> Mapping[str, Run]:
        """What came of every reproduction of a finding that is said to hold with the versions here, by id."""
        return self._run([finding.path for finding in self.findings.values() if not self._outside(finding)])

    def _outside(self, finding: Finding) -> list[str]:
        return version_ranges.outside(finding.holds, self._version_of)

    def state(self, id: str) -> State:
        """Whether a finding holds here, from the numbers of its reproduction.

        Raises
        ------
        ReproductionError : its reproduction failed, or prints no number of a name that is asked for
        """
        finding = self.findings[id]
        if self._outside(finding):
            ranges = ", ".join(f"{name} {range_}" for name, range_ in finding.holds.items())
            return State(ELSEWHERE, f"It holds with {ranges}, and is looked for with these only.")
        numbers = self.runs[id].numbers
        if missing := [name for name in (*finding.defect, *finding.mended) if name not in numbers]:
            raise ReproductionError(f"{finding.path.name} prints no number {', '.join(missing)}")
        gone, failing = (_beyond(bounds, numbers) for bounds in (finding.defect, finding.mended))
        here = f"{finding.package} {self._version_of(finding.package)}"
        if gone:
            return State(MENDED, f"Mended in {here}: {'; '.join(gone)}. To be recorded under `holds`.")
        if failing:
            return State(UNMENDED, f"It holds with {here}, and the mend does not work: {'; '.join(failing)}.")
        return State(HOLDS, "It holds with the versions at the end of this page, and the mend works.")

    @property
    def table(self) -> Shown:
        """Every finding in a line, with a link to its section."""
        lines = ["| finding | says so itself? | here |", "|---|---|---|"]
        records = []
        for id, finding in self.findings.items():
            word = self.state(id).word
            title = finding.title.replace("|", "\\|")
            lines.append(f"| [{title}](#{id}) ({finding.package}) | {finding.says_so} | {word} |")
            told = ("id", "title", "package", "says_so", "affects", "remedy", "card")
            records.append({**{name: getattr(finding, name) for name in told}, "state": word})
        text = "\n".join(lines)
        return Shown(text, {"text/markdown": text, FINDINGS_TYPE: records})

    def __getitem__(self, id: str) -> Shown:
        """The section of a finding, under its heading."""
        state = self.state(id)
        printed = None if state.word == ELSEWHERE else self.runs[id].printed
        return section(self.findings[id], state.sentence, printed, self._unfolded)

    def check(self) -> None:
        """Hold every finding to its record.

        Raises
        ------
        Unrecorded : some hold no more, or are not mended by what is said to mend them
        """
        states = {id: self.state(id) for id in self.findings}
        wrong = [f"{id}: {state.sentence}" for id, state in states.items() if state.word in (MENDED, UNMENDED)]
        if wrong:
            raise Unrecorded("\n".join(wrong))
        print(f"{len(states)} findings are what their records say.")


def _beyond(bounds: Bounds, numbers: Mapping[str, float]) -> list[str]:
    """Which numbers do not lie between their bounds, each told."""
    return [
        f"{name} is {numbers[name]:.3g}, not {bound}"
        for name, bound in bounds.items()
        if not within(bound, numbers[name])
    ]
