"""The table of a comparison: every quantity of every fit side by side, and whether the fits agree in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from concord.agreement.measures import Judge, Measure, by_definition
from concord.display import table
from concord.engines.engine import heading
from concord.models.parameters import KEY

# What the reference is called where it stands in a table beside a single fit.
OPTIMUM = "optimum"
_KIND = {"loglik": "log-likelihood", "fixed": "fixed effect", "std_error": "standard error", "ran_pars": "(co)variance"}
_ORDER = {"loglik": 0, "fixed": 1, "std_error": 2, "ran_pars": 3}

Key = tuple[str, str, str]


def name_of(row: Mapping[str, Any]) -> str:
    """A row's name in a sentence: ``(co)variance Pig var__Time``."""
    return " ".join(filter(None, [_KIND[row["effect"]], row["group"], row["term"]]))


def build(
    shown: Iterable[tuple[str, float, pd.DataFrame]],
    parties: Sequence[str],
    rows: Rows,
    optimum: tuple[float, pd.DataFrame],
) -> pd.DataFrame:
    """One row per quantity, the log-likelihood first: ``effect, group, term`` and the value in each fit, then

    ``difference`` : the largest of two fits; ``relative`` : to the value at the optimum, or to the larger one where
        there is none or it is zero
    ``tolerance`` : what this one number alone may be off in a fit, all else as it is: a stated one from the value at
        the fit's own estimates, an estimate before the fit has lost more likelihood than is allowed
    ``limit`` : how far two fits may be apart in it that are both at the optimum
    ``ok`` : whether they agree in it; ``definition`` : whether that is so only because the two go by another definition

    Parameters
    ----------
    shown : every fit, and beside a single one the reference: label, log-likelihood and estimates
    parties : the labels of those that are held against each other
    rows : what they are held to
    optimum : log-likelihood and estimates of the reference
    """
    # By name, and what only one fit has stays in sight.
    joined = pd.concat([_column(*column) for column in shown], axis=1, join="outer", sort=False)
    joined = joined.reindex(sorted(joined.index, key=lambda key: _ORDER[key[0]]))
    values = joined[[*parties]]
    joined["difference"] = values.max(axis=1, skipna=False) - values.min(axis=1, skipna=False)
    larger = values.abs().max(axis=1, skipna=False)
    right = _column(OPTIMUM, *optimum).abs().reindex(joined.index)
    joined["relative"] = joined["difference"] / right.where(right > 0, larger.where(larger > 0, 1.0))
    for name in ("tolerance", "limit"):
        joined[name] = [getattr(rows, name)(key) for key in joined.index]
    joined["definition"] = [rows.definition(key) for key in joined.index]
    joined["ok"] = [rows.ok(key, difference) for key, difference in joined["difference"].items()]
    return joined.reset_index()


class Rows:
    """What the rows of one comparison are held to.

    Parameters
    ----------
    parties : the fits that are held against each other, measured
    judge : of the model
    keys : effect, group and term of every parameter, in the order of the estimates
    comparable : whether all are of the very same table and formula
    within : whether none is short or imprecise
    """

    def __init__(
        self, parties: Sequence[Measure], judge: Judge, keys: Iterable[Key], comparable: bool, within: bool
    ) -> None:
        self.parties, self.comparable, self.within = parties, comparable, within
        self.allowed = allowed = judge.allowed
        self.names = judge.model.design.names
        self.places = {key: place for place, key in enumerate(keys)}
        rooms = [judge.room(party.fit) for party in self.parties if self.comparable and math.isfinite(party.gap)]
        self.alone = np.min([*rooms], axis=0) if rooms else judge.top.alone(allowed)
        self.far = 2 * judge.top.explained(allowed)
        reach = [judge.explained(party) for party in self.parties if math.isfinite(party.gap) and self.within]
        self.reach = np.sum(sorted(reach, key=np.sum)[-2:], axis=0) if reach and self.comparable else 0 * self.alone
        self.stated = [party.stated for party in self.parties if party.stated is not None]
        self.complete = len(self.stated) == len(self.parties)
        self.by_definition = np.zeros(len(self.names), bool)
        if self.comparable and self.complete and self.parties:
            self.by_definition = by_definition(self.parties)

    def tolerance(self, key: Key) -> float:
        """What one number alone may be off."""
        effect, _, term = key
        if effect == "loglik":
            return min((statement.loglik_room for statement in self.stated), default=math.nan)
        if effect == "std_error":
            place = self.names.index(term) if term in self.names else None
            if place is None:
                return math.nan
            return float(min((statement.error_rooms[place] for statement in self.stated), default=math.nan))
        return float(self.alone[self.places[key]]) if key in self.places else math.nan

    def limit(self, key: Key) -> float:
        """How far two fits at the optimum may be apart."""
        effect, _, term = key
        if effect == "loglik":
            return self.allowed
        if effect == "std_error":
            # The standard errors of two fits at the optimum follow their variances: no formula bounds them.
            return math.nan
        return float(self.far[self.places[key]]) if key in self.places else math.nan

    def definition(self, key: Key) -> bool:
        """Whether two right numbers are apart because they are numbers of two things."""
        return key[0] == "std_error" and key[2] in self.names and bool(self.by_definition[self.names.index(key[2])])

    def ok(self, key: Key, difference: float) -> bool:
        """Whether the fits agree; a comparison with NaN is false: a missing or infinite value is never ok."""
        if not math.isfinite(difference):
            return False
        effect = key[0]
        if effect == "loglik":
            return self._loglik_ok(difference)
        if effect == "std_error":
            return self._error_ok(key[2], difference)
        reach = float(self.reach[self.places[key]]) if key in self.places else 0.0
        # NaN: at the optimum by the gap, and nothing is known of the curvature.
        return bool(difference <= self.tolerance(key) or difference <= reach or math.isnan(reach))

    def _loglik_ok(self, difference: float) -> bool:
        if not self.complete or not all(statement.loglik_holds for statement in self.stated):
            return False
        return (self.comparable and self.within) or difference <= self.tolerance(("loglik", "", "logLik"))

    def _error_ok(self, term: str, difference: float) -> bool:
        if not self.complete or term not in self.names:
            return False
        place = self.names.index(term)
        if not all(statement.errors_hold[place] for statement in self.stated):
            return False
        if difference <= 2 * self.tolerance(("std_error", "", term)):
            return True
        # Each is what its definition gives at its own estimates: then they may be apart as far as the estimates are.
        return self.comparable and self.within


def rendered(frame: pd.DataFrame | None, labels: Sequence[str]) -> tuple[list[str], list[list[object]]]:
    """Header and rows of a table as they are shown; no row where there is no fit."""
    rows = []
    for row in () if frame is None else frame.to_dict("records"):
        # Where they agree a difference is the noise of the last steps: it would change from machine to machine.
        within = row["ok"] and not row["definition"]
        bound = row["limit"] if np.isfinite(row["limit"]) else 1e-3 * abs(row[labels[0]])
        noise = within and row["difference"] <= bound
        shown = f"within {bound:.1e}" if noise else table.number(row["difference"], 4) or "missing"
        blank = noise or np.isnan(row["relative"]) or row["effect"] == "loglik"
        percent = "" if blank else f"{100 * row['relative']:.3g} %"
        numbers = [row[label] for label in labels]
        values = table.aligned(numbers) if row["effect"] == "loglik" else map(table.number, numbers)
        mark = "by definition" if row["definition"] else "✓" if row["ok"] else "✗"
        rows.append([_KIND[row["effect"]], row["group"], row["term"], *values, shown, percent, mark])
    header = ["quantity", "group", "term", *map(heading, labels), table.DIFFERENCE, "relative to the optimum", "ok"]
    return header, rows


def _column(label: str, loglik: float, estimates: pd.DataFrame) -> pd.Series:
    """All quantities of one answer, by effect, group and term."""
    errors = estimates[estimates["effect"] == "fixed"].assign(effect="std_error")
    errors["estimate"] = errors["std_error"]
    first = pd.DataFrame([("loglik", "", "logLik", loglik)], columns=[*KEY, "estimate"])
    return pd.concat([first, estimates, errors])[[*KEY, "estimate"]].set_index(KEY)["estimate"].rename(label)
