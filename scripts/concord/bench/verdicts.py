"""The first verdict on a large table beside lmer's own time for its fit: how long the judge makes a user wait."""

from __future__ import annotations

import time
from functools import cache, partial
from pathlib import Path

import pandas as pd
import psutil

from concord import r, session
from concord.bench.comparisons import FORMULA, GROUPS, ROWS, drawn_slopes, sleepstudy
from concord.bench.sides import Side, SideFailed

# InstEval of lme4: 73,421 ratings of 1,128 lecturers by 2,972 students, crossed.
CROSSED, SLOPES = "y ~ service + (1 | s) + (1 | d)", "y ~ x + (1 + x | g)"


def crossed() -> pd.DataFrame:
    """The ratings, as R has them."""
    return pd.DataFrame(r.from_r(r.interface().evalr("lme4::InstEval[c('y', 's', 'd', 'service')]")))


def slopes() -> pd.DataFrame:
    """A random intercept and slope in many groups."""
    return drawn_slopes(ROWS, GROUPS)


_TABLES = {CROSSED: crossed, SLOPES: slopes}


def sides(formula: str) -> tuple[Side, Side]:
    """Seconds of this process up to the first verdict with lme4, and of lme4's process, which fits and no more."""
    return partial(_side, formula, 0), partial(_side, formula, 1)


def _side(formula: str, side: int, folder: Path, notebooks: Path | None) -> float:
    return _verdict(formula)[side]


@cache
def _verdict(formula: str) -> tuple[float, float]:
    """Both sides of one comparison, in seconds of the processor; packages are loaded beforehand."""
    repr(session.Inquiry(sleepstudy(), FORMULA, asked=["lme4"]).compare())
    table = _TABLES[formula]()
    (process,) = psutil.Process().children()
    began, before = time.process_time(), process.cpu_times()
    comparison = session.Inquiry(table, formula, asked=["lme4"]).compare()
    repr(comparison)
    own = time.process_time() - began
    if not comparison.fits:
        raise SideFailed("; ".join(absence.reason for absence in comparison.absent))
    after = process.cpu_times()
    return own, after.user + after.system - before.user - before.system
