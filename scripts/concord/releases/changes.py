"""What differs between releases of what fits: which mended or broke what, what is the same in all, what they say.

A fit is held against the same engine's fit of the same model by other releases of that engine's package. Where two runs
with the same release differ, it is not the release that made the difference, and a sentence says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

from concord.data import datasets
from concord.data.version_ranges import ordered
from concord.display import table
from concord.display.media import RELEASES_TYPE
from concord.engines.engine import engines, party, title
from concord.errors import InputError
from concord.releases.results import BETWEEN, Key, Results, packages, system
from concord.vocabulary import AGREE, CANNOT_EXPRESS, IMPRECISE, LANGUAGES, METHODS, NO_FIT, SETTINGS, SHORT, side

MENDED, BROKE, MOVED, SAID, OTHERWISE, ROUNDING = "mended", "broke", "moved", "said", "otherwise", "rounding"
_HEADS = {
    MENDED: "Mended by a newer release",
    BROKE: "Broken by a newer release",
    MOVED: "Still below the optimum with a newer release, by another gap",
    SAID: "As before with a newer release, but the package says so now, or no more",
    OTHERWISE: "Not the same with the same release of the package: something else decides",
    ROUNDING: "Not the same with a newer release, but not by it: the last bits of the criterion decide, a build's own",
}
_APART = 1.2
"""Gaps of two releases are called the same within this factor: where a failing search stops hangs on the last bits."""
_DIGITS, _OTHER = 6, 0.5
"""Estimates of two releases are called the same with so many right digits, or where they differ by fewer than that."""
_GRADES = ("", IMPRECISE, SHORT, NO_FIT, CANNOT_EXPRESS)
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d.]*(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class State:
    """What came of a fit: its grade, empty at the optimum, ``no fit`` or ``cannot express`` where there is none; gap;
    whether it said so.
    """

    grade: str
    gap: float
    said: str

    @classmethod
    def of(cls, fit: Mapping[str, Any]) -> State:
        """Of a row of fits."""
        grade = fit["grade"]
        if math.isnan(fit["gap"]):
            grade = CANNOT_EXPRESS if CANNOT_EXPRESS in fit["message"] else NO_FIT
        return cls(grade, fit["gap"], fit["said_so"] if grade else "")

    def like(self, other: State) -> bool:
        """Whether a reader would be told the same."""
        return (self.grade, self.said) == (other.grade, other.said) and not self.moved(other)

    def moved(self, other: State) -> bool:
        """Whether two fits below the optimum are so by other gaps."""
        low, high = sorted((self.gap, other.gap))
        return self.grade in _GRADES[1:3] and not high <= _APART * low

    def __str__(self) -> str:
        if not self.grade:
            return "at the optimum"
        return self.grade if math.isnan(self.gap) else f"{self.grade} by {self.gap:.2g} ({self.said})"


@dataclass(frozen=True)
class Change:
    """One thing that is not the same with another release, or with the same one elsewhere.

    Attributes
    ----------
    kind : `MENDED`, `BROKE`, `MOVED` (another gap), `SAID` (says so now, or no more), `OTHERWISE` (the same release),
        `ROUNDING` (declared so in the catalogue: the last bits decide)
    fit : what is not the same
    what : in a sentence
    """

    kind: str
    fit: Key
    what: str

    def __str__(self) -> str:
        return f"{self.fit.model}, {self.fit.method}, {self.fit.settings} settings: {self.what}"


def label(results: Results, run: str) -> str:
    """A run by its system and the packages that verdicts are about: ``Debian 12: lme4 1.1-31, statsmodels 0.15.0``."""
    about = results.runs.loc[run]
    return f"{system(about['system'])}: {', '.join(f'{name} {about[name]}' for name in packages())}"


def changes(results: Results) -> list[Change]:
    """What changes from release to release of each engine's package, by model, method, settings and engine."""
    changed = []
    for key, states in _states(results).items():
        package = engines()[key.engine].packages[0]
        version = results.runs[package]
        for old, new in pairwise(sorted(states, key=lambda run: ordered(version[run]))):
            was, now = states[old], states[new]
            if not was.like(now):
                names = [version[run] for run in (old, new)]
                kind = _kind(was, now) if version[old] != version[new] else OTHERWISE
                if kind == OTHERWISE:
                    names = [f"{version[run]} on {system(results.runs.loc[run, 'system'])}" for run in (old, new)]
                elif _by_rounding(key):
                    kind = ROUNDING
                changed.append(Change(kind, key, f"{package} {names[0]} was {was}; {names[1]} is {now}"))
    return changed


def _by_rounding(fit: Key) -> bool:
    """Whether the catalogue declares that the last bits of this engine's criterion decide where its default stops."""
    dataset, _, name = fit.model.partition("-")
    record = datasets.load(dataset).models.get(name) if datasets.has(dataset) else None
    language = engines()[fit.engine].language.lower()
    return fit.settings == "default" and any(
        known.by_rounding and known.method in (None, fit.method) and language in side(known.verdict)
        for known in (record.known if record else ())
    )


def _kind(was: State, now: State) -> str:
    before, after = _GRADES.index(was.grade), _GRADES.index(now.grade)
    if before != after:
        return MENDED if after < before else BROKE
    return MOVED if was.moved(now) else SAID


def _states(results: Results) -> dict[Key, dict[str, State]]:
    """The states of every fit by run, in the order of the runs."""
    states: dict[Key, dict[str, State]] = {}
    for fit in results.fits.to_dict("records"):
        if fit["engine"] in engines():
            states.setdefault(Key(*(fit[name] for name in Key._fields)), {})[fit["run"]] = State.of(fit)
    return states


def sentences(results: Results) -> str:
    """Markdown: a sentence that names the kinds of change without any, and a list of what each other one came to."""
    every = changes(results)
    lists = {kind: [f"- {change}" for change in every if change.kind == kind] for kind in _HEADS}
    parts = ["\n".join([f"**{_HEADS[kind]}**: {len(lines)}.", "", *lines]) for kind, lines in lists.items() if lines]
    none = [f"{head[0].lower()}{head[1:]}" for kind, head in _HEADS.items() if not lists[kind]]
    return "\n\n".join([f"No fit came out in these ways: {'; '.join(none)}.", *parts] if none else parts)


def differing(results: Results, engine: str) -> table.Sheet:
    """An engine's fits that are not alike by all releases of its package, the newest first; the others are counted."""
    states = {key: of for key, of in _states(results).items() if key.engine == engine}
    apart = {change.fit for change in changes(results)}
    columns = _columns(results, engine)
    rows = [
        [*key[:-1], *(str(of.get(run, "")) for run in columns.values())] for key, of in states.items() if key in apart
    ]
    caption = f"{title(engine)}: {len(states) - len(rows)} of {len(states)} fits are alike by all releases"
    return table.Sheet(caption, [*Key._fields[:-1], *columns], rows)


def _columns(results: Results, engine: str) -> dict[str, str]:
    """Runs by the release of an engine's package, and by the system where several have it; the newest first. Of runs
    with the same it is the one with the newest else.
    """
    versions = results.runs[engines()[engine].packages[0]]
    systems = results.runs["system"].map(system)
    several = {version for version, mine in systems.groupby(versions) if mine.nunique() > 1}
    columns: dict[str, str] = {}
    for run in reversed(results.runs.index):
        name = f"{versions[run]} ({systems[run]})" if versions[run] in several else versions[run]
        columns.setdefault(name, run)
    return dict(sorted(columns.items(), key=lambda item: ordered(versions[item[1]]), reverse=True))


def lasting(results: Results) -> table.Sheet:
    """The fits below the optimum, or missing, alike in all runs."""
    rows = []
    apart = {change.fit for change in changes(results)}
    for key, of in _states(results).items():
        if [*of.values()][-1].grade and key not in apart:
            rows.append([*key, str([*of.values()][-1])])
    caption = f"{len(rows)} fits are as far below the optimum, or missing, in all {len(results.runs)} runs"
    return table.Sheet(caption, [*Key._fields, "in the newest run"], rows)


def digits(results: Results, engine: str) -> table.Sheet:
    """The right digits of an engine's worst estimate, of the fits that have fewer than six by some release and more by
    another: there estimates differ between releases by 1e-6 of themselves or more.
    """
    fits = results.fits[results.fits["engine"] == engine]
    columns = _columns(results, engine)
    by = fits.pivot(index=[*Key._fields[:-1]], columns="run", values="digits")[[*columns.values()]].dropna()
    apart = by[(by.min(axis=1) < _DIGITS) & (by.max(axis=1) - by.min(axis=1) > _OTHER)]
    rows = [[*key, *(table.number(value, 2) for value in values)] for key, *values in apart.itertuples()]
    caption = f"{title(engine)}: {len(by) - len(rows)} of {len(by)} fits have as many right digits by all releases"
    return table.Sheet(caption, [*Key._fields[:-1], *columns], rows, left=3)


def of_model(results: Results, model: str) -> table.Sheet:
    """Every fit of one model by every release of its engine's package, the newest first.

    Raises
    ------
    InputError : there are no results of such a model
    """
    fits = {key: mine.iloc[0] for key, mine in results.fits.groupby(["model", "run", *Key._fields[1:]], sort=False)}
    if model not in {key[0] for key in fits}:
        raise InputError(f"model {model!r}: there are results of {', '.join(dict.fromkeys(key[0] for key in fits))}")
    rows = []
    for engine, settings, method in product(engines(), SETTINGS, METHODS):
        above = ""
        for release, run in _columns(results, engine).items():
            fit = fits.get((model, run, method, settings, engine))
            if fit is not None:
                gap, loglik, seconds = (
                    table.number(fit[name], digits) for name, digits in (("gap", 2), ("loglik", 8), ("seconds", 2))
                )
                said = "as above" if fit["message"] and fit["message"] == above else fit["message"]
                above = fit["message"]
                words = [engine, settings, method, release, fit["verdict"]]
                rows.append([*words, gap, loglik, seconds, fit["said_so"], said])
    header = ["engine", "settings", "method", "release", "verdict", "gap", "log-likelihood", "seconds"]
    return table.Sheet(model, [*header, "said so?", "message"], rows)


def messages(results: Results, engine: str) -> table.Sheet:
    """What a package says, with the numbers in it left open, and of how many fits by each of its releases; what is said
    by some only comes first.
    """
    columns = _columns(results, engine)
    counts: dict[str, dict[str, int]] = {}
    for fit in results.fits[(results.fits["engine"] == engine) & results.fits["gap"].notna()].to_dict("records"):
        for line in {_NUMBER.sub("…", line) for line in fit["message"].split(BETWEEN) if line}:
            mine = counts.setdefault(line, dict.fromkeys(results.runs.index, 0))
            mine[fit["run"]] += 1
    rows = [[line, *(table.number(mine[run]) for run in columns.values())] for line, mine in counts.items()]
    rows.sort(key=lambda row: ("0" not in row[1:], row[0]))
    some = sum("0" in row[1:] for row in rows)
    told = f"{len(rows) - some} of {len(rows)} messages come with all releases" if rows else "says nothing of any fit"
    caption = f"{title(engine)}: {told}"
    return table.Sheet(caption, ["message", *columns] if rows else [], rows, left=1)


def seconds(results: Results) -> table.Sheet:
    """How long all fits of each engine took together, run by run, the newest first; and Python's party's seconds over
    those of R's. Seconds are the machine's and its load's, a ratio within a run is less so.
    """
    total = results.fits.groupby(["run", "settings", "engine"])["seconds"].sum()
    columns = [(settings, engine) for settings in SETTINGS for engine in engines()]
    ours, theirs = (party(language).name for language in LANGUAGES)
    rows = []
    for run in reversed(results.runs.index):
        ratios = [
            total.get((run, name, ours), math.nan) / total.get((run, name, theirs), math.nan) for name in SETTINGS
        ]
        values = [total.get((run, *column), math.nan) for column in columns]
        rows.append([label(results, run), *(table.number(value, 3) for value in [*values, *ratios])])
    header = [*(f"{engine}, {settings}" for settings, engine in columns), *(f"ratio, {name}" for name in SETTINGS)]
    return table.Sheet("Seconds of all fits together", ["run", *header], rows, left=1)


def provenance(results: Results) -> table.Sheet:
    """What the runs were made with, the newest releases first; what all of them share is in the note."""
    runs = results.runs.iloc[::-1]
    shared = [name for name in runs if runs[name].nunique() == 1]
    rows = [[name, *runs[name]] for name in runs if name not in shared]
    note = ", ".join(f"{name} {runs[name].iloc[0]}" for name in shared)
    return table.Sheet("Runs", ["", *map(str, range(1, len(runs) + 1))], rows, notes=[f"The same in all runs: {note}."])


class Newest(table.Sheet):
    """What came of every run, that with the newest releases first; carries the same as a record to the front page."""

    def __init__(self, results: Results) -> None:
        self.record = [_summary(results, run) for run in reversed(results.runs.index)]
        named = [name for name, _ in self.record[0]["versions"]]
        rows = [
            [
                run["finished"],
                run["system"],
                *(version for _, version in run["versions"]),
                *map(_share, run["agree"].values()),
                _told(run),
            ]
            for run in self.record
        ]
        settings = [f"agree, {name}" for name in SETTINGS]
        header = ["run on", "system", *named, *settings, "do not agree at default settings"]
        super().__init__(f"{len(rows)} runs of all models, the newest releases first", header, rows)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(), RELEASES_TYPE: self.record}


def _summary(results: Results, run: str) -> dict[str, Any]:
    """One run: when, where, with what, and what came of it."""
    about, fits = results.runs.loc[run], results.fits[results.fits["run"] == run]
    verdicts = fits.drop_duplicates(["model", "method", "settings"])
    words = {settings: verdicts.loc[verdicts["settings"] == settings, "verdict"] for settings in SETTINGS}
    off = verdicts[verdicts["verdict"] != AGREE]
    named = [*packages(), *reversed(LANGUAGES)]
    return {
        "finished": about["finished"][:10],
        "system": system(about["system"]),
        "versions": [[name, about[name]] for name in named],
        "agree": {settings: [int((mine == AGREE).sum()), len(mine)] for settings, mine in words.items()},
        "off": off[["model", "method", "settings", "verdict"]].to_dict("records"),
    }


def _share(counts: Sequence[int]) -> str:
    return f"{counts[0]} of {counts[1]}"


def _told(summary: Mapping[str, Any]) -> str:
    """How often each verdict but agreement came at default settings."""
    words = [off["verdict"] for off in summary["off"] if off["settings"] == SETTINGS[0]]
    return ", ".join(f"{word} {words.count(word)}" for word in dict.fromkeys(words))
