"""The work that a study hands to its workers, in batches of a good length."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace

from concord.simulation.store import Batch, Plan, Store

LONG = 5.0
"""Seconds that a batch is to take, where its size is not given: so much is lost with a worker, and no more."""
SHORT = 0.5
"""Seconds that a batch takes at least: less would go to sending it about."""
LARGEST = 1000


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
        gaps = store.missing(plan)
        self.left = sum(stop - first for own in gaps.values() for first, stop in own)
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
        least, enough = (max(1, min(LARGEST, int(wanted / max(self.seconds, 1e-6)))) for wanted in (SHORT, LONG))
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
