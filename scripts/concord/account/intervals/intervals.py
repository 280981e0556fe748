"""Confidence intervals of every parameter, by every package and independently; and the profiles behind them.

Three kinds. *Wald*: an estimate and so many standard errors, on some scale. *Profile*: where the log-likelihood, the
parameter held and everything else at its best, falls by no more than half the chi-squared quantile (`profile`).
*Bootstrap*: any table of them that is given.

Packages mean different things by each:

- Wald, fixed effects: lme4 takes standard errors conditional on the variances and normal quantiles; MixedLM those of
  the joint Hessian; nlme conditional ones and quantiles of Student's t, with degrees of freedom counted by level of
  grouping (Pinheiro and Bates 2000, Mixed-Effects Models in S and S-PLUS, page 91).
- Wald, variances: MixedLM's are of ratios Psi / sigma^2; nlme's of log standard deviations and of
  log((1 + r) / (1 - r)); lme4 has none.
- Profile: lme4 holds standard deviations and correlations, by ML whatever the fit; MixedLM's `profile_re` holds the
  ratio Psi / sigma^2, by the fit's own method, and shows it times the residual variance there.

So a table names scale and method with every interval, and a line holds each against the independent one of its kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import pandas as pd

from concord.account.intervals import interval_lines, interval_table
from concord.account.intervals.interval_lines import SECTION
from concord.account.intervals.interval_table import COLUMNS
from concord.account.intervals.interval_values import IntervalError, Intervals, signed_root
from concord.account.line import Line
from concord.agreement.comparison import Comparison

__all__ = ["COLUMNS", "SECTION", "IntervalError", "Intervals", "lines", "of", "signed_root", "table"]


def of(comparison: Comparison, level: float = 0.95) -> Intervals:
    """The intervals of a comparison; kept, so that table, lines and pictures ask the packages once."""
    return _kept(comparison, float(level))


@lru_cache(maxsize=8)
def _kept(comparison: Comparison, level: float) -> Intervals:
    return Intervals(comparison, level)


def table(
    comparison: Comparison,
    level: float = 0.95,
    bootstrap: pd.DataFrame | None = None,
    *,
    which: Sequence[str] | None = None,
    with_profile_re: bool = False,
    scale: str = "sd",
    with_profile: bool = True,
) -> pd.DataFrame:
    """Intervals of one level for every parameter, by kind and source.

    Parameters
    ----------
    comparison : fits of one model, tuned ones for a profile by lme4
    level : of all intervals
    bootstrap : a table ``effect, group, term, source, lower, upper`` to set beside them
    which : labels of the parameters wanted, ``sd_Time|tree``, ``sigma``, a fixed effect's name; all by default
    with_profile_re : whether to add what MixedLM's profile_re implies; each of its points is a fit
    scale : ``sd`` or ``variance``: what intervals of variances are converted to. A covariance stays one, and a
        correlation too: an interval of the one does not give an interval of the other
    with_profile : whether to have profiles at all

    Returns
    -------
    DataFrame : ``effect, group, term``, ``kind`` (Wald, profile, bootstrap), ``source`` (statsmodels, lme4, nlme,
        independent), ``method``, ``lower, upper``, ``lower_reached, upper_reached``: whether the curve crosses the
        quantile there, or the end is that of the parameter space; ``scale``, ``note``
    """
    return interval_table.table(
        of(comparison, level),
        bootstrap,
        which=which,
        with_profile_re=with_profile_re,
        scale=scale,
        with_profile=with_profile,
    )


def lines(
    comparison: Comparison,
    level: float = 0.95,
    *,
    which: Sequence[str] | None = None,
    with_profile: bool = True,
    with_profile_re: bool = False,
) -> list[Line]:
    """Every interval's ends, each held to the independent ones by the package's own definition.

    Parameters
    ----------
    comparison : fits of one model, tuned ones for a profile by lme4
    level : of all intervals
    which : labels of the parameters wanted; all by default
    with_profile : whether to ask lme4 for its profiles, some tenths of a second to seconds a parameter
    with_profile_re : whether to ask MixedLM for its own; each point is a fit
    """
    known = of(comparison, level)
    return interval_lines.lines(known, which, with_profile=with_profile, with_profile_re=with_profile_re)
