"""Cases and changes in Markdown: the summary of a job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from concord.agreement.tolerances import allowed_gap
from concord.commands import baseline, both_environments
from concord.commands.baseline import Baseline, Change
from concord.commands.checked_model import CheckedModel, headline
from concord.engines.engine import title
from concord.errors import escaped
from concord.vocabulary import SETTINGS


def summary(
    cases: Sequence[CheckedModel], now: Baseline, then: Baseline | None = None, changes: Sequence[Change] | None = None
) -> str:
    """The summary: a row a model and method, what is not as expected, what has changed, and the versions."""
    rows = [[*_row(case)] for case in cases]
    header = ["", "model", "method", "default", "tuned", "expected", "gap at default settings"]
    failed = [
        f"- **{_text(case.model.name)}, {case.model.method}**: {_text(line)}"
        for case in cases
        for line in ([f"error: {case.error}"] if case.error else case.sentences)
    ]
    left = [
        f"- {_text(case.model.name)}, {case.model.method}: {_text(case.left_out)}" for case in cases if case.left_out
    ]
    known = [
        f"- {_text(case.model.name)}, {case.model.method}: {_text(case.model.reason)}"
        for case in cases
        if case.passed and case.model.reason
    ]
    parts = [f"## Concord: {headline(cases, len(cases))}"]
    parts += [table(header, rows)] if rows else []
    parts += ["### Not as expected", "\n".join(failed)] if failed else []
    parts += ["### Expected, and why", "\n".join(known)] if known else []
    parts += ["### Not looked at", "\n".join(left)] if left else []
    if then is not None and changes is not None:
        parts += ["### Since the baseline", *as_lists(changes)]
        moved = baseline.versions_changed(then.versions, now.versions)
        parts += [table(["", "then", "now"], moved)] if moved else ["All versions are the same."]
    parts += ["Versions: " + ", ".join(f"{name} {version}" for name, version in now.versions.items()) + "."]
    return "\n\n".join(parts) + "\n"


def as_lists(changes: Sequence[Change]) -> list[str]:
    """Changes as paragraphs and lists, the verdicts first."""
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
        chosen = [change for change in changes if change.kind == kind]
        if chosen:
            lines = [
                f"- {_text(f'{change.name}, {change.method}, {change.settings}: {change.what}')}" for change in chosen
            ]
            parts += [f"**{head}** ({len(chosen)})", "\n".join(lines)]
    return parts


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are text, already escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(case: CheckedModel) -> list[str]:
    model = case.model
    words = list(dict.fromkeys(model.expected.values()))
    expected = words[0] if len(words) == 1 else f"{words[0]}, tuned {words[1]}"
    verdicts = [_verdict(case, settings) for settings in SETTINGS]
    mark = "✓" if case.passed else "error" if case.error else "✗"
    return [mark, _text(model.name), model.method, *verdicts, expected, _gaps(case)]


def _verdict(case: CheckedModel, settings: str) -> str:
    word = case.verdict(settings)
    return f"**{word}**" if settings in case.failures else word


def _gaps(case: CheckedModel) -> str:
    """How far below the optimum each engine's default fit is."""
    comparison = case.comparisons.get("default")
    if comparison is None:
        return ""
    limit = allowed_gap("default", comparison.model)
    gaps = []
    for i in comparison.parties if comparison.fits else ():
        judgement, grade = comparison.judgements[i], comparison.grades[i]
        gap = f"{judgement.gap:.3g} ({grade}, {judgement.said_so})" if grade else f"< {limit:.0e}"
        gaps.append(f"{title(judgement.fit.engine)} {_text(gap)}")
    gaps += [f"{title(absence.engine)} no fit" for absence in comparison.missing]
    return ", ".join(gaps)


def _text(text: Any) -> str:
    """Text of others, so that Markdown shows it as it is and on one line."""
    one = escaped(" ".join(str(text).split()))
    made = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", one.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return re.sub(r":(?=//)|(?<=www)\.|@", lambda letter: f"&#{ord(letter[0])};", made)  # no link by itself


def upgrade_summary(
    present: Baseline, other: Baseline, upgraded: Sequence[tuple[str, str, str]], changes: Sequence[Change]
) -> str:
    """The summary of an upgrade check: what was upgraded, what changes with it, and the versions of both sides.

    Parameters
    ----------
    upgraded : name, version here and version there of every package that is another one
    """
    what_changed = ", ".join(f"{name} {before or 'none'} to {now}" for name, before, now in upgraded)
    count = len(other.entries)
    changed = len({(change.name, change.method, change.settings) for change in changes})
    verdict = sum(change.kind == "verdict" for change in changes)
    words = f"{verdict} of {count} verdicts change, and {changed} comparisons in anything beyond tolerance"
    parts = [f"## Upgrade check: {what_changed}", f"{words[0].upper()}{words[1:]}."]
    parts += as_lists(changes)
    values, share, what = baseline.nearest(present, other)
    parts.append(f"Of {values} values in both, the largest move is {share:.2g} of its tolerance: {what}.")
    names = list(dict.fromkeys([*present.versions, *other.versions, *(name for name, _, _ in upgraded)]))
    more = {name: (before, now) for name, before, now in upgraded}
    rows = []
    for name in names:
        before, now = (side.versions.get(name, "") for side in (present, other))
        before, now = more.get(name, (before, now))
        rows.append([name, before, now if now == before else f"**{now}**"])
    parts += ["### Versions", table(["", both_environments.PRESENT, both_environments.OTHER], rows)]
    return "\n\n".join(parts) + "\n"
