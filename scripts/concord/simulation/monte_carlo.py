"""Monte-Carlo errors of shares and of means, added up as replicates come.

The error of a share p of N replicates is sqrt(p (1 - p) / N), that of a mean its standard deviation over sqrt(N)
(Morris, White and Crowther 2019, Statistics in Medicine 38(11), table 6; doi 10.1002/sim.8086).

Of several scenarios together it is another: replicates of the same number begin with the same stream of random numbers
in all of them, on purpose, so that scenarios are told apart by their factors and not by luck. So what is independent is
the draw, which is the number of the replicate. With s_r things counted in n_r fits of draw r, the share is
p = sum s_r / sum n_r and its error sqrt(sum (s_r - p n_r)^2) / sum n_r, that of a ratio over clusters (Cochran 1977,
Sampling Techniques, 3rd edition, chapter 9A); with one fit a draw that is sqrt(p (1 - p) / N) again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from concord.arrays import Vector


@dataclass
class Sums:
    """Sums over replicates of some numbers each, those that are missing left out."""

    count: np.ndarray
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def empty(cls, size: int) -> Sums:
        """The sums of no replicates."""
        return cls(*(np.zeros(size) for _ in range(3)))

    def add(self, values: np.ndarray) -> None:
        """Add rows, shape (rows, size), one after the other."""
        there = np.isfinite(values)
        values = np.where(there, values, 0.0)
        self.count = self.count + there.sum(axis=0)
        self.total = np.add.accumulate(np.vstack([self.total, values]))[-1]
        self.squares = np.add.accumulate(np.vstack([self.squares, values**2]))[-1]

    @property
    def mean(self) -> np.ndarray:
        """Means of the numbers that are not missing; NaN where all are."""
        with np.errstate(invalid="ignore"):
            mean: Vector = self.total / self.count
        return mean

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviations; NaN of fewer than two."""
        with np.errstate(invalid="ignore", divide="ignore"):
            squares = np.maximum(self.squares - self.total**2 / self.count, 0.0)
            deviation: Vector = np.sqrt(np.where(self.count > 1, squares / (self.count - 1), np.nan))
        return deviation

    @property
    def error(self) -> np.ndarray:
        """Monte-Carlo errors of the means."""
        with np.errstate(invalid="ignore", divide="ignore"):
            error: Vector = self.deviation / np.sqrt(self.count)
        return error


@dataclass
class ClusteredSums:
    """Sums of some numbers over scenarios, by number of the replicate: those of one number share their draws."""

    totals: np.ndarray
    counts: np.ndarray

    @classmethod
    def empty(cls, size: int, replicates: int) -> ClusteredSums:
        """The sums of no replicates, with room for so many."""
        return cls(np.zeros((size, replicates)), np.zeros((size, replicates), int))

    def add(self, numbers: np.ndarray, values: np.ndarray) -> None:
        """Add rows, shape (rows, size), of the replicates with these numbers, each only once."""
        for place, column in enumerate(values.T):
            there = np.isfinite(column)
            self.totals[place, numbers] += np.where(there, column, 0.0)
            self.counts[place, numbers] += there

    @property
    def mean(self) -> np.ndarray:
        """Means of the numbers that are not missing; NaN where all are."""
        with np.errstate(invalid="ignore"):
            mean: Vector = self.totals.sum(axis=1) / self.counts.sum(axis=1)
        return mean

    @property
    def error(self) -> np.ndarray:
        """Monte-Carlo errors of the means, clustered by draw; NaN of fewer than two draws."""
        draws = (self.counts > 0).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.nan_to_num(self.totals - self.mean[:, None] * self.counts)
            error = np.sqrt((off**2).sum(axis=1) * draws / (draws - 1)) / self.counts.sum(axis=1)
        return np.where(draws > 1, error, np.nan)


def share_error(count: Any, of: Any) -> Any:
    """The Monte-Carlo error of a share, or of an array of shares; NaN where nothing was counted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.divide(count, of)
        return np.sqrt(share * (1 - share) / of)


def with_shares(table: pd.DataFrame, counted: str) -> pd.DataFrame:
    """The table with ``share`` and ``mc_error`` of what is counted, of its replicates."""
    if not len(table):
        return table
    table["share"] = table[counted] / table["replicates"]
    table["mc_error"] = share_error(table[counted], table["replicates"])
    return table


def clustered_error(outcomes: Sequence[np.ndarray]) -> float:
    """The Monte-Carlo error of a share over several scenarios, whose replicates of one number share their draws.

    Parameters
    ----------
    outcomes : of every scenario, by number of the replicate: 1 or 0, and -1 where the replicate is missing

    NaN of fewer than two draws.
    """
    counted, fits = np.zeros(len(outcomes[0]), int), np.zeros(len(outcomes[0]), int)
    for outcome in outcomes:
        counted += outcome > 0
        fits += outcome >= 0
    if (fits > 0).sum() < 2:
        return float("nan")
    off = counted - counted.sum() / fits.sum() * fits
    return float(np.sqrt((off**2).sum()) / fits.sum())
