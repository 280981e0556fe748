"""Counts and sums of one engine's fits in a study, replicate by replicate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from concord.simulation.monte_carlo import Sums

DECADES = np.array([1e-8, 1e-6, 1e-4, 1e-2, 1.0, 100.0])
"""Where gaps are counted apart, in log-likelihood units."""
GAPS = ("up to 1e-8", "to 1e-6", "to 1e-4", "to 0.01", "to 1", "to 100", "above", "no estimates")
COUNTS = ["replicates", "failed", "short", "imprecise", "silent", "false_alarm"]
"""The attributes of a `Tally` that are numbers of fits."""


@dataclass
class Tally:
    """Counts and sums of one engine at one of its settings, on the replicates of one case."""

    truth: np.ndarray
    replicates: int = 0
    failed: int = 0
    short: int = 0
    imprecise: int = 0
    silent: int = 0
    false_alarm: int = 0
    largest: float = 0.0
    kept: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    gaps: np.ndarray = field(default_factory=lambda: np.zeros(len(GAPS), int))

    def __post_init__(self) -> None:
        self.numbers = Sums.empty(2)
        self.deviations, self.errors, self.covers = (Sums.empty(len(self.truth)) for _ in range(3))
        # By number of the replicate, where `kept` of them are: 1 or 0, and -1 where the replicate is missing.
        self.shorts = np.full(self.kept, -1, np.int8)
        self.words = np.full(self.kept, -1, np.int8)
        self.covered = np.full((len(self.truth), self.kept), -1, np.int8)

    def add(self, rows: pd.DataFrame, names: Sequence[str], fixed: int) -> None:
        """Count the rows of some replicates, in their order; the first `fixed` parameters are fixed effects."""
        there, gap = rows["error"].isna().to_numpy(), rows["gap"].to_numpy(float)
        short = rows["short"].to_numpy(dtype=float, na_value=0.0) > 0
        alarmed = rows["alarmed"].to_numpy(dtype=float, na_value=0.0) > 0
        self.replicates += len(rows)
        self.failed += int((~there).sum())
        imprecise = rows["imprecise"].to_numpy(dtype=float, na_value=0.0) > 0
        self.short += int((short & there).sum())
        self.imprecise += int((imprecise & there).sum())
        self.silent += int((short & there & ~alarmed).sum())
        self.false_alarm += int((~short & ~imprecise & there & alarmed).sum())
        self.largest = max(self.largest, np.max(gap[np.isfinite(gap)], initial=0.0))
        for word, count in rows["verdict"].value_counts().items():
            self.verdicts[word] = self.verdicts.get(word, 0) + int(count)
        decades = np.where(np.isfinite(gap), np.searchsorted(DECADES, gap), len(DECADES) + 1)
        self.gaps += np.bincount(decades, minlength=len(GAPS))
        self.numbers.add(measured(rows))
        self.deviations.add(rows[[f"estimate: {name}" for name in names]].to_numpy(float) - self.truth)
        nothing = np.full((len(rows), len(names) - fixed), np.nan)
        for sums, kind in ((self.errors, "std_error"), (self.covers, "covers")):
            columns = rows[[f"{kind}: {name}" for name in names[:fixed]]].astype("Float64")
            values = np.column_stack([columns.to_numpy(dtype=float, na_value=np.nan), nothing])
            sums.add(values)
        if self.kept:
            numbers = rows["replicate"].to_numpy()
            self.shorts[numbers] = short & there
            # a verdict's place in the order in which the verdicts of this case came up
            places = {word: place for place, word in enumerate(self.verdicts)}
            self.words[numbers] = [places.get(word, -1) for word in rows["verdict"]]
            self.covered[:, numbers] = np.where(np.isfinite(values), values, -1).T  # the last of the two are the covers

    def verdict(self, word: str) -> np.ndarray:
        """By number of the replicate: 1 where the verdict is this one, 0 where another, -1 where it is missing."""
        places = {verdict: place for place, verdict in enumerate(self.verdicts)}
        return np.where(self.words < 0, -1, self.words == places.get(word, -2)).astype(np.int8)


def measured(rows: pd.DataFrame) -> np.ndarray:
    """Seconds of every fit, and its gap where it is short; shape (rows, 2)."""
    short = rows["error"].isna().to_numpy() & (rows["short"].to_numpy(dtype=float, na_value=0.0) > 0)
    return np.column_stack([rows["seconds"].to_numpy(float), np.where(short, rows["gap"].to_numpy(float), np.nan)])
