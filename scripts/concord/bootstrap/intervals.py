"""Lines of a parametric bootstrap: the ends of its intervals, by every engine and independently, on the same draws."""

from __future__ import annotations

import numpy as np

from concord.account.line import INDEPENDENT, Line
from concord.bootstrap.result import LEVEL, Bootstrap


def lines(bootstrap: Bootstrap, level: float = LEVEL) -> list[Line]:
    """Both ends of every parameter's percentile interval, by every engine and independently, on the same draws.

    What an engine is expected to give is the end that the independent optima give, but for those replicates in which
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
    finite = {source: np.isfinite(each).all(axis=1) for source, each in values.items()}
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
        mine = values[engine][kept]
        own[engine] = np.quantile(mine, at, axis=0)
        expected[engine] = np.quantile(np.where(elsewhere[:, None], mine, optima), at, axis=0)
    ends, spread = np.quantile(optima, at, axis=0), optima.std(axis=0)
    made = []
    for k, (effect, group, term) in enumerate(bootstrap.key.itertuples(index=False)):
        for end, name in enumerate(("lower", "upper")):
            made.append(
                Line(
                    "bootstrap",
                    f"bootstrap interval, {name}",
                    "interval_bootstrap",
                    {engine: float(each[end, k]) for engine, each in own.items()},
                    expected={engine: float(each[end, k]) for engine, each in expected.items()},
                    independent=float(ends[end, k]),
                    effect=effect,
                    group=group,
                    term=term,
                    absent=absent,
                    scale=float(spread[k]),
                    short=any_short,
                )
            )
    return made
