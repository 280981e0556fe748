"""The result of a parametric bootstrap: the replicates of every source, their failures, and percentile intervals.

Percentile intervals have the quantiles of their replicates as ends (Efron and Tibshirani 1993, An Introduction to the
Bootstrap, chapter 13; quantiles of R's type 7), and an end has a Monte-Carlo error, for there are only so many
replicates.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from concord.agreement.tolerances import allowed_gap
from concord.display import table as tables
from concord.engines.engine import title
from concord.models.model import Model
from concord.models.parameters import KEY, keys
from concord.simulation.case import Case
from concord.vocabulary import INDEPENDENT

LEVEL = 0.95
# The numbers in a message, which are others in every replicate.
_NUMBER = re.compile(r"\d+\.\d+(e[+-]?\d+)?")


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap(tables.Shown):
    """Replicates of a model, by every source on the same draws.

    Attributes
    ----------
    case : the model, and the parameters that were drawn from
    origin : whose estimates the draws are from, in words
    seed, settings : of the draws, and of the engines
    sources : the engines, and ``independent``
    rows : a row a replicate and source, in the order of the replicates, as `concord.simulation.experiment.schema` has
        them; with nothing but ``replicate, engine, error`` where a replicate was lost
    absent : the engines that are left out, with the reason
    seconds : wall time of it all
    """

    case: Case
    origin: str
    seed: int
    settings: str
    sources: list[str]
    rows: pd.DataFrame
    absent: dict[str, str] = field(default_factory=dict)
    seconds: float = math.nan

    @property
    def model(self) -> Model:
        """The model that was drawn from and refitted."""
        return self.case.model

    @property
    def truth(self) -> np.ndarray:
        """The estimates that are drawn from, in the order of `key`."""
        return self.case.parameters.packed

    @cached_property
    def key(self) -> pd.DataFrame:
        """The parameters: ``effect, group, term``, as in `Fit.estimates`."""
        return pd.DataFrame(keys(self.model.design), columns=KEY)

    @property
    def replicates(self) -> int:
        """How many responses were drawn."""
        return int(self.rows["replicate"].nunique())

    @property
    def allowed(self) -> float:
        """How many log-likelihood units below its optimum a replicate may be before it is short."""
        return allowed_gap(self.settings, self.model)

    @cached_property
    def by_source(self) -> dict[str, pd.DataFrame]:
        """The rows of every source, with a column ``finite``: whether all its estimates are numbers."""
        estimates = ["loglik", *(f"estimate: {name}" for name in self.case.truth)]
        finite = self.rows["error"].isna() & np.isfinite(self.rows[estimates].to_numpy(float)).all(axis=1)
        rows = self.rows.assign(finite=finite)
        return {source: rows[rows["engine"] == source] for source in self.sources}

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """By source the estimates, shape (replicates, parameters); a row of NaN where a replicate failed."""
        names = [f"estimate: {name}" for name in self.case.truth]
        return {
            source: np.where(rows[["finite"]], rows[names].to_numpy(float), np.nan)
            for source, rows in self.by_source.items()
        }

    @property
    def gaps(self) -> dict[str, np.ndarray]:
        """By source the gap of every replicate, shape (replicates,)."""
        return {source: rows["gap"].to_numpy(float) for source, rows in self.by_source.items()}

    @property
    def failed(self) -> pd.DataFrame:
        """By source how many replicates failed or are doubtful, and the worst gap.

        ``error``: it stopped with one, or its estimates leave the model; ``not finite``: an estimate or the stated
        log-likelihood is not finite; both are left out of the intervals, which leaves ``kept``. ``short`` and
        ``imprecise``: it is below the optimum of its response, as a verdict grades it; ``not converged``: the package
        says so; all are kept.
        ``unsaid``: it is short, and the package claims to have converged.
        """
        counts = {}
        for source, rows in self.by_source.items():
            kept, error = rows[rows["finite"]], rows["error"].notna()
            short, converged = kept["short"].eq(True), kept["converged"].eq(True)
            counts[source] = {
                "replicates": len(rows),
                "kept": len(kept),
                "error": error.sum(),
                "not finite": (~error & ~rows["finite"]).sum(),
                "short": short.sum(),
                "imprecise": kept["imprecise"].eq(True).sum(),
                "not converged": (~converged).sum(),
                "unsaid": (short & converged).sum(),
                "worst gap": kept["gap"].max(),
            }
        return pd.DataFrame.from_dict(counts, orient="index").rename_axis("source")

    @property
    def errors(self) -> pd.DataFrame:
        """Errors and messages of the engines, numbers left out, and how often each came: ``source, kind, text, count``,
        where `kind` is ``error`` or ``message``.
        """
        told = []
        for source, rows in self.by_source.items():
            said = Counter(("error", text) for text in rows["error"].dropna())
            texts = rows["messages"].dropna().explode().dropna()
            said += Counter(("message", _NUMBER.sub("…", text)) for text in texts)
            told += [(source, kind, text, count) for (kind, text), count in said.most_common()]
        return pd.DataFrame(told, columns=["source", "kind", "text", "count"])

    @property
    def times(self) -> pd.DataFrame:
        """By source the seconds a replicate: ``own``, the package's; ``added``, what is done here to hand it a response
        and to read its estimates. And in the row ``judge``: the optimum, and every source's gap.
        """
        means = self.rows.groupby("engine")[["seconds", "added"]].mean().rename(columns={"seconds": "own"})
        engines = [source for source in self.sources if source != INDEPENDENT]
        return means.rename(index={INDEPENDENT: "judge"}).loc[[*engines, "judge"]].rename_axis(None)

    def intervals(self, level: float = LEVEL) -> pd.DataFrame:
        """Percentile intervals of every parameter by every source.

        Returns
        -------
        DataFrame : ``effect, group, term, source, lower, upper, lower_error, upper_error, replicates``: the ends, their
            Monte-Carlo standard errors, and how many replicates they are from
        """
        if not 0 < level < 1:
            raise ValueError(f"a level of {level:g}: give a number between 0 and 1")
        at = np.array([(1 - level) / 2, (1 + level) / 2])
        tables_ = []
        for source, values in self.values.items():
            kept = values[np.isfinite(values).all(axis=1)]
            ends, errors = percentiles(kept, at)
            table = self.key.assign(source=source)
            table["lower"], table["upper"] = ends
            table["lower_error"], table["upper_error"] = errors
            tables_.append(table.assign(replicates=len(kept)))
        return pd.concat(tables_, ignore_index=True)

    @property
    def table(self) -> pd.DataFrame:
        """The 95 percent intervals beside what was drawn from: `intervals` with a column ``estimate``."""
        return self.intervals().merge(self.key.assign(estimate=self.truth), on=KEY)[
            [*KEY, "estimate", "source", "lower", "upper", "lower_error", "upper_error", "replicates"]
        ]

    def _rendered(self) -> tables.Rendered:
        by_source = {(row.effect, row.group, row.term, row.source): row for row in self.intervals().itertuples()}
        rows = []
        for place, (effect, group, term) in enumerate(self.key.itertuples(index=False)):
            own = [by_source[effect, group, term, source] for source in self.sources]
            cells = [f"{tables.number(row.lower, 5)} to {tables.number(row.upper, 5)}" for row in own]
            errors = np.array([(row.lower_error, row.upper_error) for row in own]).max(axis=0)
            kind = "fixed effect" if effect == "fixed" else "(co)variance"
            noise = f"{tables.number(errors[0], 2)}, {tables.number(errors[1], 2)}"
            rows.append([kind, group, term, tables.number(float(self.truth[place]), 5), *cells, noise])
        header = ["quantity", "group", "term", "drawn from", *self.sources, "Monte-Carlo error of the ends"]
        head = f"{self.model.id}, {self.model.method}, {self.settings} settings: parametric bootstrap"
        what = f"95 percent percentile intervals from {self.replicates} replicates, drawn from {self.origin}"
        return f"{head}\n{what}.", header, rows, 3, self._notes()

    def _notes(self) -> list[str]:
        notes = []
        for source, row in self.failed.iterrows():
            left_out = int(row["error"] + row["not finite"])
            words = [f"{left_out} left out ({int(row['error'])} with an error)"] if left_out else []
            if row["short"]:
                words.append(
                    f"{int(row['short'])} kept that are short of the optimum of their response, by up to "
                    f"{tables.number(row['worst gap'], 2)}; of these {int(row['unsaid'])} claim to have converged"
                )
            if row["imprecise"]:
                words.append(f"{int(row['imprecise'])} kept that are imprecise")
            if row["not converged"]:
                words.append(f"{int(row['not converged'])} said not to have converged")
            if words:
                notes.append(f"{title(source)}, of {int(row['replicates'])}: {'; '.join(words)}.")
        if not notes:
            notes.append("Every replicate of every source reached the optimum of its response, and says so.")
        return [*notes, *(f"{title(engine)}: {why}." for engine, why in self.absent.items())]


def percentiles(values: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of every column (R's type 7) and their Monte-Carlo standard errors, each of shape (quantiles, columns).

    The errors are the standard deviations of the order statistic under resampling, in closed form (Maritz and Jarrett
    1978, Journal of the American Statistical Association 73, 194-196); NaN where there are fewer than two rows.

    Parameters
    ----------
    values : one row a replicate, shape (n, k)
    at : probabilities
    """
    n, k = values.shape
    if n < 2:
        return np.full((len(at), k), np.nan), np.full((len(at), k), np.nan)
    ends = np.quantile(values, at, axis=0)
    # A quantile of type 7 stands where the order statistic of this rank, whole or not, would.
    ranks = (n - 1) * np.asarray(at) + 1
    ordered, edges = np.sort(values, axis=0), np.arange(n + 1) / n
    errors = []
    for rank, end in zip(ranks, ends, strict=True):
        weights = np.diff(stats.beta.cdf(edges, rank, n + 1 - rank))
        # About the end itself, so that no digits cancel where the mean is large.
        off = ordered - end
        errors.append(np.sqrt(np.maximum(weights @ off**2 - (weights @ off) ** 2, 0.0)))
    return ends, np.array(errors)
