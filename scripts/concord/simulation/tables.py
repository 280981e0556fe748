"""Tables of findings for reading: a caption, a header, rows, how many columns are words, and notes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from concord.display import table as tables
from concord.simulation.experiment import LEVEL

# What `tables.render_text` and `tables.render_html` take.
Rendered = tables.Rendered


def verdicts(table: pd.DataFrame, caption: str, shared: tuple[int, int] | None = None) -> Rendered:
    """How often each verdict.

    Parameters
    ----------
    table : ``settings, verdict, count, share, mc_error``
    caption : what the study is, in a line
    shared : how many replicates there are, and how many draws they share; None where every replicate is a draw
    """
    rows = [
        [row.settings, row.verdict, row.count_, percent(row.share, row.mc_error)]
        for row in table.rename(columns={"count": "count_"}).itertuples()
    ]
    draws = shared[1] if shared else int(table.groupby("settings")["count"].sum().max())
    notes = ["± : one Monte-Carlo error; none stands where every draw showed the same, which so few may do by chance."]
    if shared:
        notes.append(
            f"The {shared[0]} replicates are {draws} draws: those of one number share their draws in all scenarios."
        )
    notes.append(f"What none of {draws} draws shows may have a share of up to {unseen(draws):.2g} (95 %, one-sided).")
    return f"Verdicts\n{caption}", ["settings", "verdict", "count", "share"], rows, 2, [" ".join(notes)]


def short(table: pd.DataFrame) -> Rendered:
    """How many fits are short, of ``engine, settings`` and the counts of `concord.simulation.tally.Tally`, ``share,
    mc_error``."""
    rows = [
        [row.engine, row.settings, row.failed, row.short, percent(row.share, row.mc_error)]
        + [row.imprecise, row.silent, row.false_alarm]
        for row in table.itertuples()
    ]
    notes = [
        "no fit: no estimates of the model; short: below the optimum by 0.01 log-likelihood units or more, or a "
        "tenth of a standard error; imprecise: by less, and by more than the tolerance; silent: short "
        "without a word of doubt; false alarm: at the optimum, with a word of doubt. Doubt is about convergence: a "
        "note that estimates lie on the boundary, or that a covariance matrix is singular, is not one."
    ]
    header = ["engine", "settings", "no fit", "short", "share", "imprecise", "silent", "false alarm"]
    return "Short of the optimum", header, rows, 2, notes


def means(table: pd.DataFrame) -> Rendered:
    """Mean gaps and times, of ``engine, settings, gap, gap_error, largest_gap, seconds, seconds_error``."""
    rows = [
        [row.engine, row.settings, number(row.gap, 3), number(row.gap_error, 2), number(row.largest_gap, 3)]
        + [number(row.seconds, 3), number(row.seconds_error, 2)]
        for row in table.itertuples()
    ]
    header = ["engine", "settings", "gap of the short", "±", "largest gap", "seconds a fit", "±"]
    notes = ["gap: log-likelihood units below the optimum, the mean of the fits that are short; the largest of all."]
    return "How far short, and how long", header, rows, 2, notes


def by_factor(table: pd.DataFrame, factor: str, values: Sequence[float]) -> Rendered:
    """Shares by the values of a factor, of ``engine, settings, share, mc_error`` with the factor's own column."""
    kinds = list(dict.fromkeys(zip(table["engine"], table["settings"], strict=True)))
    shares = table.set_index([factor, "engine", "settings"])[["share", "mc_error"]]
    # An unfinished study need not have all of them yet.
    there = [value for value in values if value in shares.index.get_level_values(factor)]
    rows = [[f"{value:g}", *(percent(*shares.loc[(value, *kind)]) for kind in kinds)] for value in there]
    return f"Share short, by {factor}", [factor, *(" ".join(kind) for kind in kinds)], rows, 1, []


def parameters(table: pd.DataFrame) -> Rendered:
    """Bias and coverage of every parameter, of `Findings.parameters`."""
    rows = [
        [row.engine, row.settings, row.parameter, number(row.truth, 5), number(row.bias, 3), number(row.bias_error, 2)]
        + [number(row.deviation, 4), number(row.std_error, 4)]
        + ["" if np.isnan(row.coverage) else percent(row.coverage, row.coverage_error)]
        for row in table.itertuples()
    ]
    header = ["engine", "settings", "parameter", "truth", "bias", "±", "deviation", "mean std. error", "coverage"]
    notes = [f"coverage: of the {LEVEL:.0%} Wald interval of a fixed effect."]
    return "Bias and coverage", header, rows, 3, notes


def number(value: float, digits: int) -> str:
    """As `concord.display.table.number`, without a power of ten where the number is of common size: 230, and not
    2.3e+02."""
    if np.isfinite(value) and 1e-4 <= abs(value) < 1e7:
        shown = np.format_float_positional(value, precision=digits, unique=False, fractional=False, trim="-")
        return tables.Number(shown, value)
    return tables.number(value, digits)


def percent(share: float, error: float) -> str:
    """A share with its Monte-Carlo error: ``12.0 ± 3.2 %``; without one that is estimated as zero."""
    return f"{100 * share:.1f} ± {100 * error:.1f} %" if error > 0 else f"{100 * share:.1f} %"


def unseen(draws: int) -> float:
    """The largest share that shows itself in none of so many independent draws with probability 0.05: the exact upper
    bound of Clopper and Pearson (1934, Biometrika 26, 404-413), near 3 / N where N is large."""
    return float(-np.expm1(np.log(0.05) / draws))
