"""The check command: a team's own models against what the team expects of them, for a job or a commit hook."""

from __future__ import annotations

import math
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tqdm import tqdm

from concord.agreement.comparison import Comparison
from concord.agreement.tolerances import allowed_gap
from concord.commands import baseline, team
from concord.commands.baseline import Baseline, Change
from concord.commands.team import TeamModel
from concord.engines.engine import title
from concord.engines.remote import stop_workers
from concord.errors import InputError, shorten
from concord.files import check_place, write
from concord.session import Inquiry
from concord.vocabulary import AGREE, SETTINGS, SHORT, passes

AS_EXPECTED, NOT_AS_EXPECTED, BAD_INPUT = 0, 1, 2
# Seconds that a section of everything else may take, as estimated.
DETAILS = 300.0
# What XML 1.0 cannot hold, not even escaped.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class Case:
    """What came of one model by one method.

    Attributes
    ----------
    model : with what is expected of it
    comparisons : by settings; none where the table is missing, or it or the formula cannot be used
    entries : what a baseline keeps of each
    unexplained : the lines of everything else that the tuned fits say which nothing explains, a sentence each
    left_out : what of everything else was not looked at, and why, in a few words; empty where all was
    error : why they cannot, in a sentence
    trace : where Concord itself failed, its traceback
    seconds : wall time
    strict : whether a fit that is imprecise fails where agreement is expected
    """

    model: TeamModel
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    entries: Sequence[Mapping[str, Any]] = ()
    unexplained: Sequence[str] = ()
    left_out: str = ""
    error: str = ""
    trace: str = ""
    seconds: float = math.nan
    strict: bool = False

    @property
    def failures(self) -> dict[str, str]:
        """What is not as expected: the reason, by settings."""
        return {
            settings: self._better(settings) if each.verdict.word == AGREE else each.verdict.reason
            for settings, each in self.comparisons.items()
            if not self._as_expected(settings, each.verdict.word)
        }

    def _as_expected(self, settings: str, word: str) -> bool:
        """Whether a verdict is the one that is expected; or a want of precision, which is no failure unless strictly:
        where agreement is expected, or where a file older than the word says that the same engine is short.
        """
        expected = self.model.expected[settings]
        mild = word != AGREE and passes(word, self.strict)
        return word == expected or (mild and (expected == AGREE or expected == f"{word.split()[0]} {SHORT}"))

    def _better(self, settings: str) -> str:
        key = "expect" if settings == "default" else "expect_tuned"
        return f"better than declared, so take {key} out; the reason there was: {self.model.reason}"

    @property
    def passed(self) -> bool:
        """Whether all is as expected, and every line of everything else explained."""
        return not self.error and not self.wrong

    @property
    def wrong(self) -> dict[str, str]:
        """What is not as expected, and what nothing explains: the reason, by what it is about."""
        found = {self.told(settings): why for settings, why in self.failures.items()}
        if self.unexplained:
            found[self._counted] = "; ".join(self.unexplained)
        return found

    @property
    def _counted(self) -> str:
        count = len(self.unexplained)
        return f"{count} {'lines' if count > 1 else 'line'} that nothing explains"

    def verdict(self, settings: str) -> str:
        """The verdict by settings; empty where there is none."""
        return self.comparisons[settings].verdict.word if settings in self.comparisons else ""

    def told(self, settings: str) -> str:
        """Settings and verdict, and what was expected where that is another one."""
        expected = self.model.expected[settings]
        other = f" (expected {expected})" if settings in self.failures else ""
        return f"{settings} {self.verdict(settings)}{other}"

    @property
    def line(self) -> str:
        """The case on one line: verdicts and reason."""
        head = f"{self.model.name}, {self.model.method}: "
        if self.error:
            return f"{head}error: {self.error}"
        told = [*map(self.told, self.comparisons), *([self._counted] if self.unexplained else [])]
        verdicts, left = ", ".join(told), f"; {self.left_out}" if self.left_out else ""
        if self.wrong:
            return f"{head}not as expected: {verdicts}: {'; '.join(dict.fromkeys(self.wrong.values()))}{left}"
        declared = f" ({self.model.reason})" if self.model.reason else ""
        return f"{head}as expected: {verdicts}{declared}: {self.comparisons['default'].verdict.reason}{left}"


def run(
    file: Path,
    *,
    changed: Sequence[Path] | None = None,
    junit: Path | None = None,
    summary: Path | None = None,
    against: Path | None = None,
    record: Path | None = None,
    engine_timeout: float = 600.0,
    strict: bool = False,
) -> int:
    """Compare every model of a team by its methods, at default and at tuned settings, and say what is not as expected.

    A line for each goes to stdout as soon as it is done, then what has changed since the baseline. The files are
    written at the end, each in one step.

    Parameters
    ----------
    file : the team's ``concord.toml``
    changed : compare only the models whose table is among these files (all, where `file` is); None for all
    junit : write JUnit XML here: a test case a model and method
    summary : write a summary in Markdown here
    against : a baseline, to say what has changed since
    record : write a baseline here
    engine_timeout : seconds that an engine may take for one fit
    strict : a fit that is imprecise fails where agreement is expected

    Returns
    -------
    exit status: 0 where all is as expected and explained, 1 where anything is not, 2 where a table or a formula cannot
    be used

    Raises
    ------
    InputError : the team's file or the baseline cannot be used, or a file to be written has a place where none can be;
        nothing is compared then
    """
    models = team.read(file)
    then = baseline.read(against) if against else None
    chosen = models if changed is None else team.touched(models, file, changed)
    if record and len(chosen) < len(models):
        raise InputError("--record with --changed: a baseline holds all models")
    for option, path in {"--junit-xml": junit, "--summary": summary, "--record": record}.items():
        if path:
            check_place(path, option)
    began = datetime.now(UTC)
    cases = _compared(chosen, engine_timeout, strict)
    now = baseline.of(each for case in cases for each in case.entries) if then or record or junit or summary else None
    changes = None
    if then is not None and now is not None:
        # What could not be compared this time is an error already, and not gone.
        partial = len(chosen) < len(models) or any(case.error for case in cases)
        changes = baseline.changes(then, now, partial=partial)
        for line in _changed_lines(then, now, changes):
            print(line)
    if now is not None:
        _write(junit, lambda: junit_xml(cases, now.versions, began))
        _write(summary, lambda: markdown(cases, now, then, changes))
        _write(record, now.text)
    print(_headline(cases, len(models)), flush=True)
    if any(case.error and not case.trace for case in cases):
        return BAD_INPUT
    return AS_EXPECTED if all(case.passed for case in cases) else NOT_AS_EXPECTED


def _write(path: Path | None, text: Callable[[], str]) -> None:
    if path:
        write(path, text())


def _compared(chosen: Sequence[TeamModel], engine_timeout: float, strict: bool = False) -> list[Case]:
    """All cases, told one by one."""
    cases = []
    try:
        with tqdm(
            total=len(chosen), unit="model", dynamic_ncols=True, leave=False, disable=not sys.stderr.isatty()
        ) as bar:
            for number, model in enumerate(chosen, 1):
                bar.set_postfix_str(f"{model.name}, {model.method}")
                cases.append(case := _case(model, engine_timeout, strict))
                bar.clear()
                print(f"[{number}/{len(chosen)}] {case.line}", flush=True)
                bar.update()
    finally:
        stop_workers()
    return cases


def _case(model: TeamModel, engine_timeout: float, strict: bool = False) -> Case:
    started = time.perf_counter()
    case = Case(model, strict=strict)
    try:
        inquiry = Inquiry(model.data, model.formula, model.method, engine_timeout=engine_timeout)
        for settings in SETTINGS:
            inquiry.compare(settings)
        # Once more, all against the best optimum that is known by now.
        comparisons = inquiry.gate().comparisons
        case.entries = [baseline.entry(model.name, each) for each in comparisons]
        case.comparisons = dict(zip(SETTINGS, comparisons, strict=True))
        _look_closer(case, inquiry)
    except InputError as error:
        case.error = shorten(str(error))
    except Exception as error:  # one model's failure must not stop the others
        case.error = shorten(f"{type(error).__name__}: {error}")
        case.trace = traceback.format_exc()
    case.seconds = time.perf_counter() - started
    return case


def _look_closer(case: Case, inquiry: Inquiry) -> None:
    """Everything that the tuned fits say beyond their estimates, profile intervals excepted, for a line that nothing
    explains.
    """
    if not case.model.details:
        case.left_out = "details left out, as concord.toml says"
        return
    try:
        account = inquiry.account(case.comparisons["tuned"], seconds=DETAILS, profiled=False)
        case.unexplained = account.unexplained
        case.left_out = f"details left out: {', '.join(account.left_out)}" if account.left_out else ""
    except Exception as error:  # the verdicts stand all the same
        case.unexplained = [shorten(f"details could not be looked at: {type(error).__name__}: {error}")]


def _sentences(case: Case) -> str:
    """What is not as expected, a line each."""
    return "\n".join(f"{what}: {why}" for what, why in case.wrong.items())


def _headline(cases: Sequence[Case], models: int) -> str:
    if not cases:
        return "no model's table is among the changed files: nothing to compare"
    unusable = sum(bool(case.error) for case in cases)
    failed = sum(bool(case.wrong) for case in cases)
    parts = [f"{len(cases) - unusable - failed} of {len(cases)} comparisons as expected"]
    parts += [f"{failed} not"] if failed else []
    parts += [f"{unusable} without a verdict"] if unusable else []
    left = models - len(cases)
    parts += [f"{left} left out, whose tables have not changed"] if left else []
    return ", ".join(parts)


def _changed_lines(then: Baseline, now: Baseline, changes: Sequence[Change]) -> list[str]:
    moved = baseline.versions_changed(then.versions, now.versions)
    versions = ", ".join(f"{name} {old or 'none'} to {new or 'none'}" for name, old, new in moved)
    lines = [f"since the baseline, {versions or 'with the same versions'}: {len(changes) or 'no'} changes"]
    return lines + [f"  {each}" for each in changes]


# ---- JUnit XML -------------------------------------------------------------------------------------------------------


def junit_xml(cases: Sequence[Case], versions: Mapping[str, str], began: datetime) -> str:
    """The cases as JUnit XML, in the form that pytest writes and CI servers read.

    A verdict that is not expected is a failure; a table that cannot be used, or a crash, is an error.
    """
    failed = sum(bool(case.wrong) for case in cases)
    errors = sum(bool(case.error) for case in cases)
    seconds = f"{sum(case.seconds for case in cases):.3f}"
    counts = {"tests": len(cases), "failures": failed, "errors": errors, "skipped": 0}
    root = ElementTree.Element("testsuites", {"name": "concord"})
    attributes = {"name": "concord", **{name: str(count) for name, count in counts.items()}, "time": seconds}
    suite = ElementTree.SubElement(root, "testsuite", {**attributes, "timestamp": began.isoformat()})
    properties = ElementTree.SubElement(suite, "properties")
    for name, version in versions.items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": version})
    for case in cases:
        named = {"classname": f"concord.{_xml(case.model.name)}", "name": case.model.method}
        element = ElementTree.SubElement(suite, "testcase", {**named, "time": f"{case.seconds:.3f}"})
        if case.error:
            given = {"message": _xml(case.error), "type": "crash" if case.trace else "unusable input"}
            ElementTree.SubElement(element, "error", given).text = _xml(case.trace or case.error)
        elif case.wrong:
            given = {"message": _xml(", ".join(case.wrong)), "type": "verdict" if case.failures else "unexplained"}
            ElementTree.SubElement(element, "failure", given).text = _xml(_sentences(case))
        if case.comparisons:
            tables = "\n\n".join(map(repr, case.comparisons.values()))
            ElementTree.SubElement(element, "system-out").text = _xml(tables)
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


# ---- Markdown --------------------------------------------------------------------------------------------------------


def markdown(
    cases: Sequence[Case], now: Baseline, then: Baseline | None = None, changes: Sequence[Change] | None = None
) -> str:
    """The summary: a row a model and method, what is not as expected, what has changed, and the versions."""
    rows = [[*_row(case)] for case in cases]
    header = ["", "model", "method", "default", "tuned", "expected", "gap at default settings"]
    failed = [
        f"- **{_text(case.model.name)}, {case.model.method}**: {_text(each)}"
        for case in cases
        for each in ([f"error: {case.error}"] if case.error else _sentences(case).splitlines())
    ]
    left = [
        f"- {_text(case.model.name)}, {case.model.method}: {_text(case.left_out)}" for case in cases if case.left_out
    ]
    known = [
        f"- {_text(case.model.name)}, {case.model.method}: {_text(case.model.reason)}"
        for case in cases
        if case.passed and case.model.reason
    ]
    parts = [f"## Concord: {_headline(cases, len(cases))}"]
    parts += [table(header, rows)] if rows else []
    parts += ["### Not as expected", "\n".join(failed)] if failed else []
    parts += ["### Expected, and why", "\n".join(known)] if known else []
    parts += ["### Not looked at", "\n".join(left)] if left else []
    if then is not None and changes is not None:
        parts += ["### Since the baseline", *changes_markdown(changes)]
        moved = baseline.versions_changed(then.versions, now.versions)
        parts += [table(["", "then", "now"], moved)] if moved else ["All versions are the same."]
    parts += ["Versions: " + ", ".join(f"{name} {version}" for name, version in now.versions.items()) + "."]
    return "\n\n".join(parts) + "\n"


def changes_markdown(changes: Sequence[Change]) -> list[str]:
    """Changes as paragraphs and lists of Markdown, the verdicts first."""
    if not changes:
        return ["Nothing has changed: no verdict, no gap, no estimate beyond its tolerance."]
    titles = {
        "verdict": "Verdicts",
        "gap": "Distances to the optimum",
        "estimate": "Estimates beyond tolerance",
        "input": "Other tables or formulas",
        "new": "New",
        "gone": "Gone",
    }
    parts = []
    for kind, head in titles.items():
        found = [each for each in changes if each.kind == kind]
        if found:
            lines = [f"- {_text(f'{each.name}, {each.method}, {each.settings}: {each.what}')}" for each in found]
            parts += [f"**{head}** ({len(found)})", "\n".join(lines)]
    return parts


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; cells are text, already escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(case: Case) -> list[str]:
    model = case.model
    words = list(dict.fromkeys(model.expected.values()))
    expected = words[0] if len(words) == 1 else f"{words[0]}, tuned {words[1]}"
    verdicts = [_verdict(case, settings) for settings in SETTINGS]
    mark = "✓" if case.passed else "error" if case.error else "✗"
    return [mark, _text(model.name), model.method, *verdicts, expected, _gaps(case)]


def _verdict(case: Case, settings: str) -> str:
    word = case.verdict(settings)
    return f"**{word}**" if settings in case.failures else word


def _gaps(case: Case) -> str:
    """How far below the optimum each engine's default fit is."""
    comparison = case.comparisons.get("default")
    if comparison is None:
        return ""
    limit = allowed_gap("default", comparison.model)
    found = []
    for i in comparison.parties if comparison.fits else ():
        judgement, grade = comparison.judgements[i], comparison.grades[i]
        gap = f"{judgement.gap:.3g} ({grade}, {judgement.said_so})" if grade else f"< {limit:.0e}"
        found.append(f"{title(judgement.fit.engine)} {_text(gap)}")
    found += [f"{title(each.engine)} no fit" for each in comparison.missing]
    return ", ".join(found)


def _text(text: Any) -> str:
    """Text of others, so that Markdown shows it as it is and on one line."""
    one = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", one.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
