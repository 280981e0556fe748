"""Findings: what a study says so far, added up part by part, with Monte-Carlo errors.

Parts are read one after the other in the order of their replicates, and sums grow by one replicate at a time: they take
no more room for a million replicates than for ten, and come out the same to the last bit however the replicates were
divided into parts.

The Monte-Carlo error of a share p of N replicates is sqrt(p (1 - p) / N), that of a mean its standard deviation over
sqrt(N) (Morris, White and Crowther 2019, Statistics in Medicine 38(11), table 6; doi 10.1002/sim.8086).

Of several scenarios together it is another: replicates of the same number begin with the same stream of random numbers
in all of them, on purpose, so that scenarios are told apart by their factors and not by luck. So what is independent is
the draw, which is the number of the replicate. With s_r things counted in n_r fits of draw r, the share is
p = sum s_r / sum n_r and its error sqrt(sum (s_r - p n_r)^2) / sum n_r, that of a ratio over clusters (Cochran 1977,
Sampling Techniques, 3rd edition, chapter 9A); with one fit a draw that is sqrt(p (1 - p) / N) again. For it a grid
keeps a few bytes a fit; a study of one case keeps none.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from concord import tables
from concord.fits import SETTINGS
from concord.simulation import INDEPENDENT, LEVEL, Case, doubted, pairs
from concord.study import Plan, Store, read_part, run

DECADES = np.array([1e-8, 1e-6, 1e-4, 1e-2, 1.0, 100.0])
"""Where gaps are counted apart, in log-likelihood units."""
# So many rows are counted at a time.
ROWS = 5000
_GAPS = ("up to 1e-8", "to 1e-6", "to 1e-4", "to 0.01", "to 1", "to 100", "above", "no estimates")


@dataclass
class _Sums:
    """Sums over replicates of some numbers each, those that are missing left out."""

    count: np.ndarray
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def empty(cls, size: int) -> _Sums:
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
        with np.errstate(invalid="ignore"):
            return self.total / self.count

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviations; NaN of fewer than two."""
        with np.errstate(invalid="ignore", divide="ignore"):
            squares = np.maximum(self.squares - self.total**2 / self.count, 0.0)
            return np.sqrt(np.where(self.count > 1, squares / (self.count - 1), np.nan))

    @property
    def error(self) -> np.ndarray:
        """Monte-Carlo errors of the means."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.deviation / np.sqrt(self.count)


@dataclass
class _Means:
    """Seconds of the fits and gaps of the short ones, added up by number of the replicate over the cases of a grid."""

    totals: np.ndarray
    counts: np.ndarray

    @classmethod
    def empty(cls, replicates: int) -> _Means:
        return cls(np.zeros((2, replicates)), np.zeros((2, replicates), int))

    def add(self, rows: pd.DataFrame) -> None:
        numbers = rows["replicate"].to_numpy()
        for place, values in enumerate(_measured(rows).T):
            there = np.isfinite(values)
            self.totals[place, numbers] += np.where(there, values, 0.0)
            self.counts[place, numbers] += there

    @property
    def mean(self) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return self.totals.sum(axis=1) / self.counts.sum(axis=1)

    @property
    def error(self) -> np.ndarray:
        """Monte-Carlo errors of the means, clustered by draw; NaN of fewer than two draws."""
        draws = (self.counts > 0).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.nan_to_num(self.totals - self.mean[:, None] * self.counts)
            error = np.sqrt((off**2).sum(axis=1) * draws / (draws - 1)) / self.counts.sum(axis=1)
        return np.where(draws > 1, error, np.nan)


def _measured(rows: pd.DataFrame) -> np.ndarray:
    """Seconds of every fit, and its gap where it is short; shape (rows, 2)."""
    short = rows["error"].isna().to_numpy() & (rows["short"].to_numpy(dtype=float, na_value=0.0) > 0)
    return np.column_stack([rows["seconds"].to_numpy(float), np.where(short, rows["gap"].to_numpy(float), np.nan)])


@dataclass
class _Tally:
    """What is counted of one engine at one of its settings, on the replicates of one case."""

    truth: np.ndarray
    replicates: int = 0
    failed: int = 0
    short: int = 0
    silent: int = 0
    false_alarm: int = 0
    largest: float = 0.0
    kept: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    gaps: np.ndarray = field(default_factory=lambda: np.zeros(len(_GAPS), int))

    def __post_init__(self) -> None:
        self.numbers = _Sums.empty(2)
        self.deviations, self.errors, self.covers = (_Sums.empty(len(self.truth)) for _ in range(3))
        # By number of the replicate, where `kept` of them are: 1 or 0, and -1 where there is none.
        self.shorts = np.full(self.kept, -1, np.int8)
        self.words = np.full(self.kept, -1, np.int8)
        self.covered = np.full((len(self.truth), self.kept), -1, np.int8)

    def add(self, rows: pd.DataFrame, names: Sequence[str], fixed: int) -> None:
        """Count the rows of some replicates, in their order; the first `fixed` parameters are fixed effects."""
        there, gap = rows["error"].isna().to_numpy(), rows["gap"].to_numpy(float)
        short = rows["short"].to_numpy(dtype=float, na_value=0.0) > 0
        # From the messages, and not from `alarmed`: a study may have been begun when more of them counted.
        said = zip(rows["converged"], rows["messages"].fillna(""), strict=True)
        alarmed = np.array([not pd.isna(flag) and doubted(flag, text.split("\n")) for flag, text in said], bool)
        self.replicates += len(rows)
        self.failed += int((~there).sum())
        self.short += int((short & there).sum())
        self.silent += int((short & there & ~alarmed).sum())
        self.false_alarm += int((~short & there & alarmed).sum())
        self.largest = max(self.largest, np.max(gap[np.isfinite(gap)], initial=0.0))
        for word, count in rows["verdict"].value_counts().items():
            self.verdicts[word] = self.verdicts.get(word, 0) + int(count)
        places = np.where(np.isfinite(gap), np.searchsorted(DECADES, gap), len(DECADES) + 1)
        self.gaps += np.bincount(places, minlength=len(_GAPS))
        self.numbers.add(_measured(rows))
        self.deviations.add(rows[[f"estimate: {name}" for name in names]].to_numpy(float) - self.truth)
        nothing = np.full((len(rows), len(names) - fixed), np.nan)
        for sums, kind in ((self.errors, "std_error"), (self.covers, "covers")):
            given = rows[[f"{kind}: {name}" for name in names[:fixed]]].astype("Float64")
            values = np.column_stack([given.to_numpy(dtype=float, na_value=np.nan), nothing])
            sums.add(values)
        if self.kept:
            numbers = rows["replicate"].to_numpy()
            self.shorts[numbers] = short & there
            # a verdict's place in the order in which the verdicts of this case came up
            places = {word: place for place, word in enumerate(self.verdicts)}
            self.words[numbers] = [places.get(word, -1) for word in rows["verdict"]]
            self.covered[:, numbers] = np.where(np.isfinite(values), values, -1).T  # the last of the two are the covers

    def verdict(self, word: str) -> np.ndarray:
        """By number of the replicate: 1 where the verdict is this one, 0 where another, -1 where there is none."""
        places = {each: place for place, each in enumerate(self.verdicts)}
        return np.where(self.words < 0, -1, self.words == places.get(word, -2)).astype(np.int8)


def share_error(count: float, of: float) -> float:
    """The Monte-Carlo error of a share; NaN of none."""
    return float(np.sqrt(count / of * (1 - count / of) / of)) if of else float("nan")


def clustered_error(outcomes: Sequence[np.ndarray]) -> float:
    """The Monte-Carlo error of a share over several scenarios, whose replicates of one number share their draws.

    Parameters
    ----------
    outcomes : of every scenario, by number of the replicate: 1 or 0, and -1 where there is none

    NaN of fewer than two draws.
    """
    counted, fits = np.zeros(len(outcomes[0]), int), np.zeros(len(outcomes[0]), int)
    for each in outcomes:
        counted += each > 0
        fits += each >= 0
    if (fits > 0).sum() < 2:
        return float("nan")
    off = counted - counted.sum() / fits.sum() * fits
    return float(np.sqrt((off**2).sum()) / fits.sum())


class Findings:
    """What the folder of a study holds, added up.

    Parameters
    ----------
    folder : of the study; its `manifest` says what was drawn and fitted

    Attributes
    ----------
    manifest : what the study is
    replicates : how many there are, over all cases
    draws : how many of them are independent: those of one number share their draws
    factors : of a grid, those that take several values, with these

    Raises
    ------
    InputError : the folder holds no study, or a part that another one has too
    """

    def __init__(self, folder: Path) -> None:
        store = Store(folder)
        self.folder, self.manifest, self.replicates = folder, store.manifest, 0
        self._tallies: dict[tuple[str, str, str], _Tally] = {}
        together = len(self.manifest["cases"]) > 1
        kept = self.manifest["replicates"] if together else 0
        drawn = np.zeros(kept, bool)
        self._means: dict[tuple[str, str], _Means] = {}
        for name, case in self.manifest["cases"].items():
            names, truth = list(case["truth"]), np.array(list(case["truth"].values()))
            for part in _parts(store, name):
                fixed = sum(column.startswith("std_error: ") for column in part.columns)
                for (engine, settings), rows in part.groupby(["engine", "settings"], sort=False):
                    tally = self._tallies.setdefault((name, engine, settings), _Tally(truth, kept=kept))
                    tally.add(rows, names, fixed)
                    if together:
                        drawn[rows["replicate"].to_numpy()] = True
                        self._means.setdefault((engine, settings), _Means.empty(kept)).add(rows)
                    self.replicates += len(rows) if engine == INDEPENDENT else 0
        self.draws = int(drawn.sum()) if together else self.replicates
        values: dict[str, list[float]] = {}
        for case in self.manifest["cases"].values():
            for factor, value in case["factors"].items():
                values.setdefault(factor, []).append(value)
        self.factors = {factor: sorted(set(each)) for factor, each in values.items() if len(set(each)) > 1}

    def _fits(self) -> Iterator[tuple[dict[str, Any], _Tally]]:
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
        return list(dict.fromkeys(each.split(" ")[1] for each in self.manifest["fits"]))

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """How often each verdict: ``case``, the factors, ``settings, verdict, count, replicates, share, mc_error``."""
        rows, seen = [], set()
        for head, tally in self._fits():
            head.pop("engine")
            if (head["case"], head["settings"]) in seen:  # both engines' rows have the verdict
                continue
            seen.add((head["case"], head["settings"]))
            for verdict, count in sorted(tally.verdicts.items(), key=lambda each: (-each[1], each[0])):
                rows.append({**head, "verdict": verdict, "count": count, "replicates": tally.replicates})
        return _with_shares(pd.DataFrame(rows), "count")

    @cached_property
    def engines(self) -> pd.DataFrame:
        """Every engine at every settings: ``case``, the factors, ``engine, settings, replicates``, then of these

        ``failed`` : gave no estimates of the model
        ``short``, with ``share`` and ``mc_error`` : below the optimum by more than the tolerance
        ``silent`` : short without a word of doubt about convergence
        ``false_alarm`` : at the optimum, with such a word
        ``gap``, ``gap_error``, ``largest_gap`` : mean gap of those that are short, and the largest of all
        ``seconds``, ``seconds_error`` : mean wall time of a fit
        """
        rows = []
        for head, tally in self._fits():
            (seconds, gap), (seconds_error, gap_error) = tally.numbers.mean, tally.numbers.error
            counts = {name: getattr(tally, name) for name in ("replicates", "failed", "short", "silent", "false_alarm")}
            measured = {
                "gap": gap, "gap_error": gap_error, "largest_gap": tally.largest,
                "seconds": seconds, "seconds_error": seconds_error,
            }  # fmt: skip
            rows.append({**head, **counts, **measured})
        return _with_shares(pd.DataFrame(rows), "short")

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """How many fits lie how far below the optimum: one row an engine and settings, over all cases."""
        counts: dict[tuple[str, str], np.ndarray] = {}
        for head, tally in self._fits():
            key = (head["engine"], head["settings"])
            counts[key] = counts.get(key, 0) + tally.gaps
        table = pd.DataFrame.from_dict(counts, orient="index", columns=list(_GAPS))
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
            coverage = tally.covers.mean
            for i, (parameter, truth) in enumerate(case["truth"].items()):
                counted = tally.covers.count[i]
                rows.append(
                    {
                        **head, "parameter": parameter, "truth": truth, "replicates": int(tally.deviations.count[i]),
                        "bias": tally.deviations.mean[i], "bias_error": tally.deviations.error[i],
                        "deviation": tally.deviations.deviation[i], "std_error": tally.errors.mean[i],
                        "coverage": coverage[i], "coverage_error": share_error(tally.covers.total[i], counted),
                    }
                )  # fmt: skip
        return pd.DataFrame(rows)

    def by(self, *factors: str) -> pd.DataFrame:
        """How often each engine is short, over all cases with the same values of these factors.

        Parameters
        ----------
        factors : names of a grid's factors, or none for all cases together

        Returns
        -------
        ``factors, engine, settings, replicates, failed, short, silent, false_alarm, share, mc_error``; the error
        knows that replicates of the same number share their draws

        Raises
        ------
        ValueError : the study has no such factor
        """
        if unknown := [each for each in factors if each not in self.engines]:
            raise ValueError(f"the study has no factor {unknown[0]!r}: it has {', '.join(self.factors) or 'none'}")
        key = [*factors, "engine", "settings"]
        counts = ["replicates", "failed", "short", "silent", "false_alarm"]
        grouped = self.engines.groupby(key, sort=False)
        summed = grouped[counts].sum().reset_index()
        cases = [each.to_list() for _, each in grouped["case"]]
        table = _with_shares(summed, "short")
        table["mc_error"] = [
            clustered_error([self._tallies[name, row.engine, row.settings].shorts for name in names])
            if len(names) > 1
            else row.mc_error
            for names, row in zip(cases, table.itertuples(), strict=True)
        ]
        return table.sort_values([*factors], kind="stable", ignore_index=True)

    def write(self) -> list[Path]:
        """Write the tables as CSV into the folder; gives the files."""
        from concord.notebooks import write_text

        written = []
        for name in ("verdicts", "engines", "gaps", "parameters"):
            path = self.folder / f"{name}.csv"
            write_text(path, getattr(self, name).to_csv(index=False, lineterminator="\n"))
            written.append(path)
        return written

    # Showing

    def map(self, x: str, y: str, settings: str = "default") -> Any:
        """A picture: how often each engine falls short, over two factors of a grid.

        Parameters
        ----------
        x, y : factors; over the others the replicates are taken together
        settings : ``default`` or ``tuned``
        """
        from concord import plots
        from concord.pictures import described

        table = self.by(x, y)
        table = table[table["settings"] == settings]
        engines = list(dict.fromkeys(table["engine"]))
        figure, panels = plots.subplots(1, len(engines), figsize=(4.3 * len(engines), 3.4), squeeze=False)
        for axes, engine in zip(panels[0], engines, strict=True):
            shares = table[table["engine"] == engine].pivot(index=y, columns=x, values="share")
            shown = axes.imshow(shares, vmin=0, vmax=1, cmap="YlOrBr", aspect="auto", origin="lower")
            for (row, column), share in np.ndenumerate(shares.to_numpy()):
                ink = "white" if share > 0.6 else "black"
                axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=ink)
            axes.set_xticks(range(len(shares.columns)), [f"{each:g}" for each in shares.columns])
            axes.set_yticks(range(len(shares.index)), [f"{each:g}" for each in shares.index])
            axes.set(xlabel=x, ylabel=y)
            axes.set_title(f"{engine}, {settings}", fontsize=10, loc="left")
        figure.colorbar(shown, ax=panels, label="share of replicates short of the optimum")
        worst = table.loc[table.groupby("engine", sort=False)["share"].idxmax()]
        found = "; ".join(
            f"{row['engine']} at most {row['share']:.0%}, at {x} {row[x]:g} and {y} {row[y]:g}"
            for _, row in worst.iterrows()
        )
        alt = f"Heat maps, one an engine, of the share of replicates short of the optimum over {x} and {y}: {found}."
        return described(figure, alt, table.reset_index(drop=True))

    def coverage(self) -> Any:
        """A picture: how often the Wald intervals of the fixed effects hold the true value, with Monte-Carlo errors.

        The cases of a grid are taken together.
        """
        from concord import plots
        from concord.pictures import described

        table = self.parameters.dropna(subset=["coverage"])
        table = table[table["engine"] != INDEPENDENT]
        key = ["parameter", "engine", "settings"]
        rows = []
        for (parameter, engine, settings), each in table.groupby(key, sort=False):
            tallies = [self._tallies[name, engine, settings] for name in each["case"]]
            i = list(self.manifest["cases"][each["case"].iloc[0]]["truth"]).index(parameter)
            covered, counted = (sum(getattr(tally.covers, of)[i] for tally in tallies) for of in ("total", "count"))
            together = len(tallies) > 1
            error = (
                clustered_error([tally.covered[i] for tally in tallies]) if together else share_error(covered, counted)
            )
            rows.append((parameter, engine, settings, covered, int(counted), covered / counted, error))
        table = pd.DataFrame(rows, columns=[*key, "covered", "replicates", "coverage", "error"])
        names = list(dict.fromkeys(table["parameter"]))
        lines = len(table) // len(names)
        size = (4.2 * len(names), 1.2 + 0.35 * lines)
        figure, grid = plots.subplots(1, len(names), figsize=size, sharey=True, squeeze=False)
        for axes, name in zip(grid[0], names, strict=True):
            axes.axvline(self.manifest["level"], color=plots.GREY, linewidth=1, linestyle="--")
            mine = table[table["parameter"] == name].reset_index(drop=True)
            for line, row in mine.iterrows():
                color, marker = plots.STYLE[row["engine"]]
                filled = color if row["settings"] == "tuned" else "white"
                ends = [min(2 * row["error"], row["coverage"])], [min(2 * row["error"], 1 - row["coverage"])]
                axes.errorbar(
                    row["coverage"], line, xerr=ends, color=color, marker=marker, markerfacecolor=filled, capsize=3
                )
            axes.set_yticks(range(len(mine)), [f"{row['engine']}, {row['settings']}" for _, row in mine.iterrows()])
            axes.set_ylim(len(mine) - 0.5, -0.5)
            axes.set_title(plots.plain(name), fontsize=10)
        figure.supxlabel("coverage; whiskers: two Monte-Carlo errors; dashed: the level", fontsize=9)
        low, high = table["coverage"].min(), table["coverage"].max()
        alt = (
            f"Dots with whiskers: coverage of the {self.manifest['level']:.0%} Wald intervals of {', '.join(names)}, "
            f"by engine and settings; from {low:.1%} to {high:.1%}."
        )
        return described(figure, alt, table)

    def _rendered(self) -> Iterator[tuple[str, list[str], list[list[object]], int, list[str]]]:
        """The tables for reading."""
        cases = self.manifest["cases"]
        one = len(cases) == 1
        name = next(iter(cases)) if one else f"{len(cases)} scenarios"
        number = _number
        word = self.verdicts.groupby(["settings", "verdict"], sort=False, as_index=False)[["count"]].sum()
        word["replicates"] = word["settings"].map(word.groupby("settings")["count"].sum())
        word = _with_shares(word, "count")
        if not one:
            engine = {kind.split(" ")[1]: kind.split(" ")[0] for kind in self.manifest["fits"]}
            word["mc_error"] = [
                clustered_error([
                    tally.verdict(row.verdict)
                    for (_, *kind), tally in self._tallies.items()
                    if kind == [engine[row.settings], row.settings]
                ])
                for row in word.itertuples()
            ]  # fmt: skip
        rows = [
            [row.settings, row.verdict, row.count_, percent(row.share, row.mc_error)]
            for row in word.rename(columns={"count": "count_"}).itertuples()
        ]
        caption = f"{name}, by {self.manifest['method']}: {self.replicates} replicates, seed {self.manifest['seed']}"
        note = "± : one Monte-Carlo error. Where none of N replicates shows a thing, its share may well be up to 3 / N."
        if not one:
            note = (
                f"± : one Monte-Carlo error. The {self.replicates} replicates are {self.draws} draws: those of one "
                "number share their draws in all scenarios. Where none of N draws shows a thing, its share may well be "
                "up to 3 / N."
            )
        yield f"Verdicts\n{caption}", ["settings", "verdict", "count", "share"], rows, 2, [note]

        together = self.by()
        rows = [
            [
                row.engine,
                row.settings,
                row.failed,
                row.short,
                percent(row.share, row.mc_error),
                row.silent,
                row.false_alarm,
            ]
            for row in together.itertuples()
        ]
        notes = [
            "no fit: no estimates of the model; short: below the optimum by more than the tolerance; silent: short "
            "without a word of doubt; false alarm: at the optimum, with a word of doubt. Doubt is about convergence: a "
            "note that estimates lie on the boundary, or that a covariance matrix is singular, is none."
        ]
        header = ["engine", "settings", "no fit", "short", "share", "silent", "false alarm"]
        yield "Short of the optimum", header, rows, 2, notes

        rows = []
        for row in together.itertuples():
            kind = (row.engine, row.settings)
            tallies = [tally for (_, *each), tally in self._tallies.items() if tuple(each) == kind]
            means = tallies[0].numbers if one else self._means[kind]
            (seconds, gap), (seconds_error, gap_error) = means.mean, means.error
            largest = max(tally.largest for tally in tallies)
            measured = [number(gap, 3), number(gap_error, 2), number(largest, 3)]
            rows.append([*kind, *measured, number(seconds, 3), number(seconds_error, 2)])
        header = ["engine", "settings", "gap of the short", "±", "largest gap", "seconds a fit", "±"]
        notes = [
            "gap: log-likelihood units below the optimum, the mean of the fits that are short; the largest of all."
        ]
        yield "How far short, and how long", header, rows, 2, notes

        for factor, values in self.factors.items():
            table = self.by(factor)
            kinds = list(dict.fromkeys(zip(table["engine"], table["settings"], strict=True)))
            shares = table.set_index([factor, "engine", "settings"])[["share", "mc_error"]]
            rows = [[f"{value:g}", *(percent(*shares.loc[(value, *kind)]) for kind in kinds)] for value in values]
            yield f"Share short, by {factor}", [factor, *(" ".join(kind) for kind in kinds)], rows, 1, []

        if one:
            rows = [
                [
                    row.engine, row.settings, row.parameter, number(row.truth, 5), number(row.bias, 3),
                    number(row.bias_error, 2), number(row.deviation, 4), number(row.std_error, 4),
                    "" if np.isnan(row.coverage) else percent(row.coverage, row.coverage_error),
                ]
                for row in self.parameters.itertuples()
            ]  # fmt: skip
            header = [
                "engine",
                "settings",
                "parameter",
                "truth",
                "bias",
                "±",
                "deviation",
                "mean std. error",
                "coverage",
            ]
            notes = [f"coverage: of the {LEVEL:.0%} Wald interval of a fixed effect."]
            yield "Bias and coverage", header, rows, 3, notes

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        rendered = list(self._rendered())
        return {"text/plain": repr(self), "text/html": "\n".join(tables.render_html(*each) for each in rendered)}

    def __repr__(self) -> str:
        return "\n\n".join(tables.render_text(*each) for each in self._rendered())


def quick(
    cases: Sequence[Case], replicates: int, seed: int = 1, settings: Sequence[str] = SETTINGS, workers: int = 0
) -> Findings:
    """The findings of a small study that is not kept.

    Parameters
    ----------
    cases : what is drawn from, see `concord.simulate_command.cases`
    replicates : of every case
    seed : of all draws
    settings : ``default``, ``tuned`` or both
    workers : processes on this machine; 0: none but this one, which is quicker where there is little to do
    """
    with tempfile.TemporaryDirectory(prefix="concord-study-") as folder:
        run(Plan(tuple(cases), seed, replicates, pairs(settings)), Path(folder), workers=workers, batch=replicates)
        return Findings(Path(folder))


def _number(value: float, digits: int) -> str:
    """As `concord.tables.number`, without a power of ten where the number is of common size: 230, and not 2.3e+02."""
    if np.isfinite(value) and 1e-4 <= abs(value) < 1e7:
        shown = np.format_float_positional(value, precision=digits, unique=False, fractional=False, trim="-")
        return tables.Number(shown, value)
    return tables.number(value, digits)


def percent(share: float, error: float) -> str:
    """A share with its Monte-Carlo error: ``12.0 ± 3.2 %``."""
    return f"{100 * share:.1f} ± {100 * error:.1f} %"


def _with_shares(table: pd.DataFrame, counted: str) -> pd.DataFrame:
    """The table with ``share`` and ``mc_error`` of what is counted, of its replicates."""
    if not len(table):
        return table
    table["share"] = table[counted] / table["replicates"]
    table["mc_error"] = np.sqrt(table["share"] * (1 - table["share"]) / table["replicates"])
    return table


def _parts(store: Store, case: str) -> Iterator[pd.DataFrame]:
    """The rows of a case in the order of their replicates, as many at a time as are worth the trouble."""
    held: list[pa.Table] = []
    for _, _, path in store.parts(case):
        held.append(read_part(path))
        if sum(len(each) for each in held) >= ROWS:
            yield pa.concat_tables(held).to_pandas()
            held.clear()
    if held:
        yield pa.concat_tables(held).to_pandas()
