"""The intervals of a parametric bootstrap: their ends as an account's lines, and beside those of other kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from concord.account.account import Account
from concord.account.intervals import intervals
from concord.account.line import Line, Sheet
from concord.bootstrap import parametric
from concord.bootstrap.result import LEVEL, Bootstrap
from concord.display import table as tables
from concord.vocabulary import INDEPENDENT


def lines(bootstrap: Bootstrap, level: float = LEVEL) -> list[Line]:
    """Both ends of every parameter's percentile interval, by every engine and independently, on the same draws.

    An engine is expected to give the end that the independent optima give, but for those replicates in which
    the engine is short of the optimum: there it is the engine's own estimate, if that is where the engine's stated
    log-likelihood is. So an interval that differs because replicates ended elsewhere is one of another optimum, and one
    that differs otherwise differs. A replicate that failed for one engine is left out of all, so that they stay
    intervals from the same draws; an engine that has fewer than two is left out itself.
    """
    if INDEPENDENT not in bootstrap.sources:
        raise ValueError("the intervals can only be judged where the independent optima are among the replicates")
    at = np.array([(1 - level) / 2, (1 + level) / 2])
    engines = [source for source in bootstrap.sources if source != INDEPENDENT]
    values = bootstrap.values
    finite = {source: np.isfinite(draws).all(axis=1) for source, draws in values.items()}
    present = [engine for engine in engines if (finite[engine] & finite[INDEPENDENT]).sum() > 1]
    absent = dict(bootstrap.absent)
    absent |= {engine: "fewer than two replicates gave estimates" for engine in engines if engine not in present}
    kept = np.logical_and.reduce([finite[source] for source in (*present, INDEPENDENT)])
    if not present or kept.sum() < 2:
        return []
    optima = values[INDEPENDENT][kept]
    own, expected, any_short = {}, {}, False
    for engine in present:
        rows = bootstrap.by_source[engine][kept]
        elsewhere = (rows["own"].eq(True) & ~(rows["gap"] <= bootstrap.allowed)).to_numpy()
        any_short |= bool(elsewhere.any())
        draws = values[engine][kept]
        own[engine] = np.quantile(draws, at, axis=0)
        expected[engine] = np.quantile(np.where(elsewhere[:, None], draws, optima), at, axis=0)
    ends, spread = np.quantile(optima, at, axis=0), optima.std(axis=0)
    all_lines = []
    for k, (effect, group, term) in enumerate(bootstrap.key.itertuples(index=False)):
        for end, name in enumerate(("lower", "upper")):
            all_lines.append(
                Line(
                    "bootstrap",
                    f"bootstrap interval, {name}",
                    "interval_bootstrap",
                    {engine: float(quantiles[end, k]) for engine, quantiles in own.items()},
                    expected={engine: float(quantiles[end, k]) for engine, quantiles in expected.items()},
                    independent=float(ends[end, k]),
                    effect=effect,
                    group=group,
                    term=term,
                    absent=absent,
                    scale=float(spread[k]),
                    short=any_short,
                )
            )
    return all_lines


def sheet(account: Account, drawn: Bootstrap) -> Sheet:
    """The ends of a bootstrap's intervals as lines: each package's by the same draws as the independent ones."""
    title = f"bootstrap intervals, {account.comparison.title}, {drawn.replicates} replicates"
    return Sheet(title, lines(drawn, account.level), head=account.head)


def bootstrapped(
    account: Account, replicates: int, seed: int = 1, progress: bool = True, workers: int | None = None
) -> Bootstrapped | str:
    """The parametric bootstrap of all packages, with the other intervals beside it; or a sentence, for no replicates.

    There are no profiles where the account's section of intervals has nothing.
    """
    if not replicates:
        return "No bootstrap: replicates is 0."
    if account.nothing_beyond:
        return account.nothing_beyond
    drawn = parametric.bootstrap(account.comparison, replicates, seed, progress=progress, workers=workers)
    profiles, level = bool(account["intervals"].lines), account.level
    beside = intervals.table(account.comparison, level, drawn.intervals(level), with_profile=profiles)
    return Bootstrapped(drawn, beside, level, sheet(account, drawn))


@dataclass(frozen=True, eq=False)
class Bootstrapped:
    """A bootstrap, and its intervals beside those of the other kinds.

    Attributes
    ----------
    drawn : the bootstrap
    intervals : of every parameter, as `intervals.table` has them
    level : of all of these
    sheet : the ends of the bootstrap's own as lines
    """

    drawn: Bootstrap
    intervals: pd.DataFrame
    level: float
    sheet: Sheet

    def _rendered(self) -> tuple[str, list[str], list[list[object]], int]:
        shown = self.intervals.drop(columns=["effect", "lower_reached", "upper_reached", "scale"])
        words = ["group", "term", "kind", "source", "method", "note"]
        ends = [[tables.number(float(end), 6) for end in pair] for pair in shown[["lower", "upper"]].to_numpy()]
        rows = [[*told, *pair] for told, pair in zip(shown[words].to_numpy().tolist(), ends, strict=True)]
        caption = (
            f"{self.drawn.model.id}, {self.drawn.model.method}: {100 * self.level:g} percent intervals of every kind"
        )
        return caption, [*words, "lower", "upper"], rows, len(words)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        own = self.sheet._repr_mimebundle_()
        html = "\n".join(
            [self.drawn._repr_mimebundle_()["text/html"], own["text/html"], tables.render_html(*self._rendered())]
        )
        return own | {"text/plain": repr(self), "text/html": html}

    def __repr__(self) -> str:
        return f"{self.drawn!r}\n\n{self.sheet!r}\n\n{tables.render_text(*self._rendered())}"
