"""Findings: what a study says so far, added up part by part, with Monte-Carlo errors.

Parts are read one after the other in the order of their replicates, and sums grow by one replicate at a time: they take
no more room for a million replicates than for ten, and come out the same to the last bit however the replicates were
divided into parts.

Their Monte-Carlo errors are those of `monte_carlo`. Of several scenarios together they know that replicates of the same
number share their draws; for that a grid keeps a few bytes a fit, and a study of one case keeps none.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from concord import checkout
from concord.display import table as tables
from concord.display.records import as_csv
from concord.files import write_all
from concord.simulation import tables as tables_module
from concord.simulation.case import Case
from concord.simulation.experiment import pairs
from concord.simulation.monte_carlo import ClusteredSums, clustered_error, share_error, with_shares
from concord.simulation.store import Plan, Store
from concord.simulation.study import run
from concord.simulation.tables import Rendered
from concord.simulation.tally import COUNTS, GAPS, Tally, measured
from concord.vocabulary import INDEPENDENT, SETTINGS


class Findings:
    """What the folder of a study holds, added up.

    Parameters
    ----------
    folder : of the study; its `manifest` says what was drawn and fitted

    Attributes
    ----------
    manifest : cases, draws and fits of the study
    replicates : how many there are, over all cases
    draws : how many of them are independent: those of one number share their draws
    factors : of a grid, those that take several values, with these

    Raises
    ------
    InputError : the folder holds no study, or a part that does not belong to it
    """

    def __init__(self, folder: Path) -> None:
        store = Store(folder)
        self.folder, self.manifest, self.replicates = folder, store.manifest, 0
        most = max(self.manifest["replicates"], *store.stops(self.manifest))  # and every part is of this study
        self._tallies: dict[tuple[str, str, str], Tally] = {}
        kept = most if self._together else 0
        drawn = np.zeros(kept, bool)
        self._means: dict[tuple[str, str], ClusteredSums] = {}
        for name, case in self.manifest["cases"].items():
            names, truth = list(case["truth"]), np.array(list(case["truth"].values()))
            for part in map(pa.Table.to_pandas, store.rows(name, self.manifest)):
                fixed = sum(column.startswith("std_error: ") for column in part.columns)
                for (engine, settings), rows in part.groupby(["engine", "settings"], sort=False):
                    tally = self._tallies.setdefault((name, engine, settings), Tally(truth, kept=kept))
                    tally.add(rows, names, fixed)
                    if self._together:
                        drawn[rows["replicate"].to_numpy()] = True
                        means = self._means.setdefault((engine, settings), ClusteredSums.empty(2, kept))
                        means.add(rows["replicate"].to_numpy(), measured(rows))
                    self.replicates += len(rows) if engine == INDEPENDENT else 0
        self.draws = int(drawn.sum()) if self._together else self.replicates
        values: dict[str, list[float]] = {}
        for case in self.manifest["cases"].values():
            for factor, value in case["factors"].items():
                values.setdefault(factor, []).append(value)
        self.factors = {factor: sorted(set(levels)) for factor, levels in values.items() if len(set(levels)) > 1}

    def _fits(self) -> Iterator[tuple[dict[str, Any], Tally]]:
        """Every engine at every settings on every case."""
        for name, case in self.manifest["cases"].items():
            for kind in self.manifest["fits"]:
                engine, settings = kind.split(" ")
                if (name, engine, settings) in self._tallies:
                    head = {"case": name, **case["factors"], "engine": engine, "settings": settings}
                    yield head, self._tallies[name, engine, settings]

    @property
    def settings(self) -> list[str]:
        """The settings that were tried."""
        return list(dict.fromkeys(fit.split(" ")[1] for fit in self.manifest["fits"]))

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """How often each verdict: ``case``, the factors, ``settings, verdict, count, replicates, share, mc_error``."""
        rows, seen = [], set()
        for head, tally in self._fits():
            head.pop("engine")
            if (head["case"], head["settings"]) in seen:  # every engine's row has the verdict
                continue
            seen.add((head["case"], head["settings"]))
            for verdict, count in sorted(tally.verdicts.items(), key=lambda item: (-item[1], item[0])):
                rows.append({**head, "verdict": verdict, "count": count, "replicates": tally.replicates})
        return with_shares(pd.DataFrame(rows), "count")

    @cached_property
    def engines(self) -> pd.DataFrame:
        """Every engine at every settings: ``case``, the factors, ``engine, settings, replicates``, then of these

        ``failed`` : gave no estimates of the model
        ``short``, with ``share`` and ``mc_error``, and ``imprecise`` : as `concord.agreement.verdict` grades a gap
        ``silent`` : short without a word of doubt about convergence
        ``false_alarm`` : at the optimum, with such a word
        ``gap``, ``gap_error``, ``largest_gap`` : mean gap of those that are short, and the largest of all
        ``seconds``, ``seconds_error`` : mean wall time of a fit
        """
        rows = []
        for head, tally in self._fits():
            (seconds, gap), (seconds_error, gap_error) = tally.numbers.mean, tally.numbers.error
            counts = {name: getattr(tally, name) for name in COUNTS}
            gaps = {"gap": gap, "gap_error": gap_error, "largest_gap": tally.largest}
            rows.append({**head, **counts, **gaps, "seconds": seconds, "seconds_error": seconds_error})
        return with_shares(pd.DataFrame(rows), "short")

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """How many fits lie how far below the optimum: one row an engine and settings, over all cases."""
        counts: dict[tuple[str, str], np.ndarray] = {}
        for head, tally in self._fits():
            key = (head["engine"], head["settings"])
            counts[key] = counts.get(key, 0) + tally.gaps
        table = pd.DataFrame.from_dict(counts, orient="index", columns=list(GAPS))
        table.index = pd.MultiIndex.from_tuples(table.index, names=["engine", "settings"])
        return table.reset_index()

    @cached_property
    def parameters(self) -> pd.DataFrame:
        """Every parameter by every engine and by the optimum: ``case``, the factors, ``engine, settings, parameter``,
        ``truth``, ``replicates`` with an estimate, ``bias`` with ``bias_error``, standard ``deviation`` of the
        estimates, mean ``std_error`` (fixed effects), ``coverage`` of the Wald intervals with ``coverage_error``.
        """
        rows = []
        for (name, engine, settings), tally in self._tallies.items():
            case = self.manifest["cases"][name]
            head = {"case": name, **case["factors"], "engine": engine, "settings": settings}
            off, covers = tally.deviations, tally.covers
            for i, (parameter, truth) in enumerate(case["truth"].items()):
                counted = {"parameter": parameter, "truth": truth, "replicates": int(off.count[i])}
                estimates = {"bias": off.mean[i], "bias_error": off.error[i], "deviation": off.deviation[i]}
                wald = {"std_error": tally.errors.mean[i], "coverage": covers.mean[i]}
                wald["coverage_error"] = share_error(covers.total[i], covers.count[i])
                rows.append({**head, **counted, **estimates, **wald})
        return pd.DataFrame(rows)

    def by(self, *factors: str) -> pd.DataFrame:
        """How often each engine is short, over all cases with the same values of these factors.

        Parameters
        ----------
        factors : names of a grid's factors, or none for all cases together

        Returns
        -------
        ``factors, engine, settings, replicates, failed, short, imprecise, silent, false_alarm, share, mc_error``; the
        error knows that replicates of the same number share their draws

        Raises
        ------
        ValueError : the study has no such factor
        """
        if unknown := [factor for factor in factors if factor not in self.engines]:
            raise ValueError(f"the study has no factor {unknown[0]!r}: it has {', '.join(self.factors) or 'none'}")
        key = [*factors, "engine", "settings"]
        grouped = self.engines.groupby(key, sort=False)
        summed = grouped[COUNTS].sum().reset_index()
        cases = [names.to_list() for _, names in grouped["case"]]
        table = with_shares(summed, "short")
        table["mc_error"] = [
            clustered_error([self._tallies[name, row.engine, row.settings].shorts for name in names])
            if len(names) > 1
            else row.mc_error
            for names, row in zip(cases, table.itertuples(), strict=True)
        ]
        return table.sort_values([*factors], kind="stable", ignore_index=True)

    def write(self) -> list[Path]:
        """Write the tables as CSV into the folder; gives the files."""
        names = ("verdicts", "engines", "gaps", "parameters")
        contents = {self.folder / f"{name}.csv": as_csv(getattr(self, name)) for name in names}
        write_all(contents)
        return [*contents]

    # Several cases together

    def _tallies_of(self, engine: str, settings: str) -> list[Tally]:
        """Those of one engine at one of its settings, a case each."""
        return [tally for (_, *kind), tally in self._tallies.items() if kind == [engine, settings]]

    @property
    def _together(self) -> bool:
        return len(self.manifest["cases"]) > 1

    def _verdicts_together(self) -> pd.DataFrame:
        """`verdicts` of all cases: ``settings, verdict, count, replicates, share, mc_error``."""
        table = self.verdicts.groupby(["settings", "verdict"], sort=False, as_index=False)[["count"]].sum()
        table["replicates"] = table["settings"].map(table.groupby("settings")["count"].sum())
        table = with_shares(table, "count")
        if self._together:
            engine = {kind.split(" ")[1]: kind.split(" ")[0] for kind in self.manifest["fits"]}
            table["mc_error"] = [
                clustered_error(
                    [tally.verdict(row.verdict) for tally in self._tallies_of(engine[row.settings], row.settings)]
                )
                for row in table.itertuples()
            ]
        return table

    def _means_together(self) -> pd.DataFrame:
        """Means over all cases: ``engine, settings, gap, gap_error, largest_gap, seconds, seconds_error``."""
        rows = []
        for row in self.by().itertuples():
            tallies = self._tallies_of(row.engine, row.settings)
            means = self._means[row.engine, row.settings] if self._together else tallies[0].numbers
            (seconds, gap), (seconds_error, gap_error) = means.mean, means.error
            largest = max(tally.largest for tally in tallies)
            rows.append((row.engine, row.settings, gap, gap_error, largest, seconds, seconds_error))
        columns = ["engine", "settings", "gap", "gap_error", "largest_gap", "seconds", "seconds_error"]
        return pd.DataFrame(rows, columns=columns)

    def coverage(self) -> pd.DataFrame:
        """How often the Wald intervals of the fixed effects hold the true value, the cases of a grid taken together:
        ``parameter, engine, settings, covered, replicates, coverage, error``.
        """
        table = self.parameters.dropna(subset=["coverage"])
        table = table[table["engine"] != INDEPENDENT]
        key = ["parameter", "engine", "settings"]
        rows = []
        for (parameter, engine, settings), group in table.groupby(key, sort=False):
            tallies = [self._tallies[name, engine, settings] for name in group["case"]]
            i = list(self.manifest["cases"][group["case"].iloc[0]]["truth"]).index(parameter)
            covered, counted = (sum(getattr(tally.covers, of)[i] for tally in tallies) for of in ("total", "count"))
            error = (
                clustered_error([tally.covered[i] for tally in tallies])
                if len(tallies) > 1
                else share_error(covered, counted)
            )
            rows.append((parameter, engine, settings, covered, int(counted), covered / counted, error))
        return pd.DataFrame(rows, columns=[*key, "covered", "replicates", "coverage", "error"])

    # Showing

    def _rendered(self) -> Iterator[Rendered]:
        """The tables for reading."""
        cases = self.manifest["cases"]
        name = f"{len(cases)} scenarios" if self._together else next(iter(cases))
        caption = f"{name}, by {self.manifest['method']}: {self.replicates} replicates, seed {self.manifest['seed']}"
        shared = (self.replicates, self.draws) if self._together else None
        yield tables_module.verdicts(self._verdicts_together(), caption, shared)
        yield tables_module.short(self.by())
        yield tables_module.means(self._means_together())
        for factor, values in self.factors.items():
            yield tables_module.by_factor(self.by(factor), factor, values)
        if not self._together:
            yield tables_module.parameters(self.parameters)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        rendered = list(self._rendered())
        return {"text/plain": repr(self), "text/html": "\n".join(tables.render_html(*table) for table in rendered)}

    def __repr__(self) -> str:
        return "\n\n".join(tables.render_text(*table) for table in self._rendered())


def stored(name: str) -> Findings:
    """The findings of a study that is kept beside the notebooks, with its manifest: ``grid-REML``.

    Raises
    ------
    InputError : there is no checkout, or no such study in it
    """
    return Findings(checkout.path("notebooks", "simulation", name))


def provenance(*studies: Findings) -> pd.DataFrame:
    """Where studies came from, a column each: what was drawn and fitted how often, with which seed and versions."""
    columns = {}
    for study in studies:
        about = study.manifest
        told = {name: about[name] for name in ("method", "seed", "replicates")} | {"cases": len(about["cases"])}
        columns[study.folder.name] = told | {"fits": ", ".join(about["fits"])} | about["versions"]
    return pd.DataFrame(columns)


def quick(
    cases: Sequence[Case], replicates: int, seed: int = 1, settings: Sequence[str] = SETTINGS, workers: int = 0
) -> Findings:
    """The findings of a small study that is not kept.

    Parameters
    ----------
    cases : what is drawn from, see `concord.simulation.case.cases`
    replicates : of every case
    seed : of all draws
    settings : ``default``, ``tuned`` or both
    workers : processes on this machine; 0: none but this one, which is quicker where there is little to do
    """
    with tempfile.TemporaryDirectory(prefix="concord-study-") as folder:
        run(Plan(tuple(cases), seed, replicates, pairs(settings)), Path(folder), workers=workers, batch=replicates)
        return Findings(Path(folder))
