"""A baseline: what came of comparisons, kept as JSON, and what has changed since.

A verdict can change because a package changed, or because the table or the formula did. So a baseline holds, beside
the verdicts and every estimate, the versions of all packages and a checksum of every table. An estimate has changed
where it moved by more than the tolerance by which Concord would call two fits apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from concord import files, versions
from concord.agreement.comparison import Comparison
from concord.display import table
from concord.engines import FORMERLY
from concord.engines.engine import engines, title
from concord.errors import InputError
from concord.models.parameters import KEY

FORMAT = 1
"""What `Baseline.text` writes; a file by another version is refused."""
# A standard error may move by this share of itself between two runs: it follows variances within their tolerance.
ERROR_MOVES = 1e-3
_QUANTITY = {"loglik": "log-likelihood", "fixed": "fixed effect", "std_error": "standard error", "ran_pars": ""}

Kind = Literal["new", "gone", "input", "verdict", "gap", "estimate"]


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was.

    Attributes
    ----------
    kind : ``new`` or ``gone``, a comparison that only one side has; ``input``, another table or formula, after which
        nothing else is compared; ``verdict``; ``gap``, the distance of a fit to the optimum; ``estimate``
    name, method, settings : of the comparison
    what : in a sentence
    """

    kind: Kind
    name: str
    method: str
    settings: str
    what: str

    def __str__(self) -> str:
        return f"{self.name}, {self.method}, {self.settings}: {self.what}"


@dataclass(frozen=True)
class Baseline:
    """What came of several comparisons, with the versions of what made them.

    Attributes
    ----------
    versions : of Python, R and the packages that fit, by name
    entries : of every comparison, as `entry` makes them
    more : what is written beside them, and never compared
    """

    versions: Mapping[str, str]
    entries: Sequence[Mapping[str, Any]]
    more: Mapping[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """As JSON, a line for each quantity, so that a version control system shows what moved."""
        entries = ",\n".join(map(_entry_text, self.entries))
        head = json.dumps(
            {"format": FORMAT, "versions": dict(self.versions), **self.more}, indent=1, ensure_ascii=False
        )
        return f'{head[:-2]},\n "comparisons": [\n{entries}\n ]\n}}\n'


def collected(entries: Iterable[Mapping[str, Any]]) -> Baseline:
    """Entries with the versions of what made them."""
    return Baseline(versions.versions()["version"].to_dict(), list(entries))


def entry(name: str, comparison: Comparison) -> dict[str, Any]:
    """What is kept of one comparison: verdict, gaps, all estimates and by how much each may move.

    Parameters
    ----------
    name : of the model, by which it is found again
    """
    model = comparison.model
    fits: dict[str, dict[str, Any]] = {
        judgement.fit.engine: {"gap": _finite(judgement.gap), "converged": judgement.fit.converged, "absent": None}
        for judgement in comparison.judgements
    }
    fits |= {
        absence.engine: {"gap": None, "converged": None, "absent": absence.reason} for absence in comparison.absent
    }
    rows = comparison.table.to_dict("records") if comparison.fits else []
    quantities = [
        {name: row[name] for name in KEY}
        | {"allowed": _finite(_movement(row, comparison))}
        | {engine: _finite(row[engine]) for engine in comparison.labels}
        for row in rows
    ]
    return {
        "name": name,
        "method": model.method,
        "settings": comparison.settings,
        "formula": model.notation,
        "data": model.dataset.sha256,
        "verdict": comparison.verdict.word,
        "reason": comparison.verdict.reason,
        "fits": {engine: fits[engine] for engine in engines() if engine in fits},
        "quantities": quantities,
    }


def _movement(row: Mapping[str, Any], comparison: Comparison) -> float:
    """How far a quantity may move between two runs: as far as two fits at the optimum may be apart in it."""
    if math.isfinite(row["limit"]):
        return float(row["limit"])
    return ERROR_MOVES * abs(float(row[comparison.labels[0]]))


def read(path: Path) -> Baseline:
    """The baseline in a file.

    Raises
    ------
    InputError : there is no such file, or it is not a baseline that this version reads
    """
    content = files.read_json(path)
    if not isinstance(content, dict) or not {"format", "versions", "comparisons"} <= content.keys():
        raise InputError(f"{path}: is not a baseline: record one with --record")
    if content["format"] != FORMAT:
        raise InputError(f"{path}: is a baseline of format {content['format']!r}, not {FORMAT}: record it anew")
    try:
        recorded = Baseline(content["versions"], [_renamed(row) for row in content["comparisons"]])
        changes(recorded, recorded)
        dict(recorded.versions)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: is a damaged baseline ({type(error).__name__}: {error}): record it anew") from None
    return recorded


def _renamed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry by today's names of the engines."""

    def by_engine(values: Mapping[str, Any]) -> dict[str, Any]:
        return {FORMERLY.get(name, name): value for name, value in values.items()}

    return {**entry, "fits": by_engine(entry["fits"]), "quantities": [by_engine(row) for row in entry["quantities"]]}


def changes(then: Baseline, now: Baseline, *, partial: bool = False) -> list[Change]:
    """What is not as it was, comparison by comparison, in the order of now; at last what is gone.

    Parameters
    ----------
    partial : now holds some of the models only, on purpose: what it has not is not called gone
    """
    before = {_key(row): row for row in then.entries}
    listed: list[Change] = []
    for row in now.entries:
        old = before.pop(_key(row), None)
        if old is None:
            listed.append(Change("new", *_key(row), f"is new: {row['verdict']}"))
        else:
            listed += [Change(kind, *_key(row), what) for kind, what in _differences(old, row)]
    if not partial:
        listed += [Change("gone", *key, f"is gone; it was {old['verdict']}") for key, old in before.items()]
    return listed


def nearest(then: Baseline, now: Baseline) -> tuple[int, float, str]:
    """How close anything came to its tolerance: how many values both sides have, the largest move as a share of what
    is allowed, and a sentence that names it.
    """
    before = {_key(row): row for row in then.entries}
    shares = [
        (move.share, f"{', '.join(_key(new))}: {title(engine)}, {move}")
        for new in now.entries
        if (old := before.get(_key(new))) and (old["data"], old["formula"]) == (new["data"], new["formula"])
        for engine in new["fits"]
        for move in _moves(engine, old, new)
        if move.then is not None and move.now is not None
    ]
    share, what = max(shares, default=(0.0, "nothing is in both"))
    return len(shares), share, what


def versions_changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """The packages whose version has changed: name, version then and now; empty where a side lacks the package."""
    names = [*now, *(name for name in then if name not in now)]
    return [(name, then.get(name, ""), now.get(name, "")) for name in names if then.get(name) != now.get(name)]


def told(then: Baseline, now: Baseline, changes: Sequence[Change]) -> list[str]:
    """What has changed, a line each, below a line with the packages whose version has."""
    moved = versions_changed(then.versions, now.versions)
    packages = ", ".join(f"{name} {old or 'none'} to {new or 'none'}" for name, old, new in moved)
    lines = [f"since the baseline, {packages or 'with the same versions'}: {len(changes) or 'no'} changes"]
    return lines + [f"  {change}" for change in changes]


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[Kind, str]]:
    """What differs between two entries of one comparison."""
    if old["formula"] != new["formula"]:
        return [("input", f"another formula than then, {old['formula']}: nothing else is compared")]
    if old["data"] != new["data"]:
        return [("input", "another table than then: nothing else is compared")]
    differences: list[tuple[Kind, str]] = []
    if old["verdict"] != new["verdict"]:
        differences.append(("verdict", f"was {old['verdict']}, is {new['verdict']}: {new['reason']}"))
    for engine in [*new["fits"], *(engine for engine in old["fits"] if engine not in new["fits"])]:
        was, is_ = old["fits"].get(engine), new["fits"].get(engine)
        if was is None or is_ is None or (was["absent"] is None) != (is_["absent"] is None):
            differences.append(("estimate", f"{title(engine)}: {_presence(was)}, {_presence(is_, now=True)}"))
        elif is_["absent"] is None:
            differences += _moved(engine, old, new)
    return differences


def _moved(engine: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[Kind, str]]:
    """What one engine has moved: its gap, then its estimates in one sentence with the worst."""
    moves: list[tuple[Kind, str]] = []
    was, is_ = (row["fits"][engine]["gap"] for row in (old, new))
    moved = []
    for move in _moves(engine, old, new):
        if move.row["effect"] == "loglik" and _apart(was, is_) > move.allowed:
            moves.append(("gap", f"{title(engine)}: was {_gap(was, move.allowed)}, is {_gap(is_, move.allowed)}"))
        elif move.share > 1.0:  # where the gap moved, the log-likelihood moved with it
            moved.append(move)
    if moved:
        worst = max(moved, key=lambda move: move.share)
        count = f"{len(moved)} of {len(new['quantities'])} quantities moved beyond tolerance, most of all"
        moves.append(("estimate", f"{title(engine)}: {count if len(moved) > 1 else 'moved beyond tolerance:'} {worst}"))
    return moves


@dataclass(frozen=True)
class _Move:
    """One quantity of one engine, then and now.

    Attributes
    ----------
    row : what it is
    then, now : its values; None where a side lacks it
    allowed : by how much it may move, in its own unit
    """

    row: Mapping[str, Any]
    then: float | None
    now: float | None
    allowed: float

    @property
    def share(self) -> float:
        """By how much it moved, as a share of what it may."""
        distance = _apart(self.then, self.now)
        return distance / self.allowed if self.allowed else math.inf if distance else 0.0

    def __str__(self) -> str:
        named = " ".join(filter(None, (_QUANTITY[self.row["effect"]], self.row["group"], self.row["term"])))
        return f"{named}, from {_number(self.then)} to {_number(self.now)} ({self.allowed:.2g} allowed)"


def _moves(engine: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[_Move]:
    """Every quantity of one engine, by name."""
    rows = {tuple(row[name] for name in KEY): row for row in old["quantities"]}
    for row in new["quantities"]:
        before = rows.get(tuple(row[name] for name in KEY), {"allowed": None})
        allowed = max((one["allowed"] for one in (before, row) if one["allowed"] is not None), default=0.0)
        yield _Move(row, before.get(engine), row.get(engine), allowed)


def _key(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return entry["name"], entry["method"], entry["settings"]


def _apart(one: float | None, other: float | None) -> float:
    """How far apart two values are; two that are missing are not."""
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    return abs(one - other)


def _presence(fit: Mapping[str, Any] | None, now: bool = False) -> str:
    verb = ("is" if now else "was") if fit is None else ("gives" if now else "gave")
    if fit is None:
        return f"{verb} not asked"
    return f"{verb} a fit" if fit["absent"] is None else f"{verb} none: {fit['absent']}"


def _gap(value: float | None, allowed: float) -> str:
    if value is None:
        return "at no parameters of the model"
    return "at the optimum" if abs(value) <= allowed else f"{value:.3g} log-likelihood units below the optimum"


def _number(value: float | None) -> str:
    return "none" if value is None else table.number(value, 8)


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _entry_text(entry: Mapping[str, Any]) -> str:
    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    head = [f"   {line(key)}: {line(value)}" for key, value in entry.items() if key != "quantities"]
    rows = ",\n".join(f"    {line(row)}" for row in entry["quantities"])
    return "  {\n" + ",\n".join([*head, f'   "quantities": [\n{rows}\n   ]']) + "\n  }"
