"""Tests of the fixed effects: statistics, degrees of freedom and p-values, as packages state them and each by its own
definition at its own estimates (`quantities`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from concord.account.line import Line
from concord.account.standard_errors import Reading
from concord.agreement.comparison import Comparison
from concord.engines.error_definitions import adjusted
from concord.engines.error_questions import LMERTEST, PBKRTEST, asked
from concord.engines.fit import Fit
from concord.inference import degrees_of_freedom
from concord.inference.degrees_of_freedom import DegreesError
from concord.likelihood.likelihood import LikelihoodError

TESTS = "tests"

ASSUMES = {
    "z": "the variances are known, or estimated from so many groups that it does not matter: the normal distribution",
    "t, residual df": "every row counts as independent once the fixed effects are taken out: n - p degrees of freedom, "
    "too many for an effect that differs between groups only",
    "Satterthwaite": "the estimated variance of the effect is near a multiple of a chi-squared variable, whose degrees "
    "of freedom its own uncertainty (observed information) tells",
    "Kenward-Roger": "as Satterthwaite, by the expected information of REML, with the standard error enlarged for the "
    "uncertainty of the variances to the second order",
    "inner-outer": "the design is balanced, or nearly so: groups and columns are counted level by level",
}
"""What each kind of test of a fixed effect assumes, in a sentence."""

NO_P = "it states t without degrees of freedom or p: their null distribution is not known in general"


def lines(comparison: Comparison) -> list[Line]:
    """Test statistics, degrees of freedom and p-values of the fixed effects, by every definition, each held to its own.

    Raises
    ------
    RError : R, or one of lmerTest and pbkrtest, is missing
    """
    reading = Reading(comparison)
    made: list[Line | None] = []
    by_label = {label: _tests(reading, label, fit) for label, fit in reading.fits.items()}
    tests, lost = [test for made in by_label.values() for test in made], _lost(reading, by_label)
    for k, term in enumerate(reading.design.names):
        row = {"effect": "fixed", "term": term}
        # The packages that only test state the standard errors they test by; the others' are in their own section.
        those = [each for each in tests if each.own_std_error is not None]
        if those:
            made.append(
                reading.line(
                    TESTS,
                    "standard error of the test",
                    "std_error",
                    row,
                    values={each.source: each.std_error[k] for each in those},
                    expected={each.source: each.own_std_error[k] for each in those},
                    definitions={each.source: each.by_std_error for each in those},
                    rounding={each.source: float(lost[each.source]["std_error"][k]) for each in those},
                )
            )
        for quantity, tolerance, stated, own, kind in (
            ("test statistic", "test_statistic", "statistic", "own_statistic", "by_statistic"),
            ("degrees of freedom", "degrees_of_freedom", "df", "own_df", "by_df"),
            ("p-value", "p_value_of_t", "p", "own_p", "by_p"),
        ):
            values = {each.source: getattr(each, stated)[k] for each in tests if getattr(each, stated) is not None}
            expected = {each.source: getattr(each, own)[k] for each in tests if getattr(each, own) is not None}
            sizes = [abs(value) for value in values.values() if np.isfinite(value)]
            made.append(
                reading.line(
                    TESTS,
                    quantity,
                    tolerance,
                    row,
                    values=values,
                    expected=expected,
                    definitions={each.source: getattr(each, kind) for each in tests},
                    absent={each.source: each.absent.get(stated, "") for each in tests},
                    # Near zero a statistic has no size of its own: it counts standard errors.
                    scale=max([1.0, *sizes]) if stated == "statistic" else np.nan,
                    scales=_of_p(tests, k) if stated == "p" else {},
                    rounding={source: float(each[stated][k]) for source, each in lost.items() if stated in each},
                )
            )
    return [line for line in made if line is not None]


@dataclass(frozen=True, eq=False)
class _Test:
    """What one source states of the tests of all fixed effects, arrays of shape (p,), and what is expected of it."""

    source: str
    statistic: np.ndarray | None = None
    df: np.ndarray | None = None
    p: np.ndarray | None = None
    own_statistic: np.ndarray | None = None
    own_df: np.ndarray | None = None
    own_p: np.ndarray | None = None
    by_statistic: str = ""
    by_df: str = ""
    by_p: str = ""
    std_error: np.ndarray | None = None
    own_std_error: np.ndarray | None = None
    by_std_error: str = ""
    kind: str = ""
    absent: dict[str, str] | None = None


def _tests(reading: Reading, label: str, fit: Fit) -> list[_Test]:
    """The tests of one fit, by the packages that make any of it."""
    expected, said = reading.expected[label], asked(fit)
    plain = fit.fixed / expected.conditional
    if fit.engine == "statsmodels":
        z = None if expected.joint is None else fit.fixed / expected.joint
        return [
            _Test(
                label,
                said["z"],
                None,
                said["p"],
                z,
                None,
                None if z is None else 2 * stats.norm.sf(np.abs(z)),
                "z_joint",
                "",
                "p_normal",
                fit.std_error,
                None,
                "",
                "z",
                {"df": "it states z, by the normal distribution: there are no degrees of freedom"},
            )
        ]
    if fit.engine == "nlme":
        own = plain / adjusted(fit)
        try:
            df = degrees_of_freedom.inner_outer(reading.design)
        except DegreesError:
            df = None
        by_adjusted = "" if fit.model.reml else "t_adjusted"
        return [
            _Test(
                label,
                said["t"],
                said["df"],
                said["p"],
                own,
                df,
                None if df is None else _p(own, df),
                by_adjusted,
                "df_inner_outer",
                "p_inner_outer",
                said["std_error"],
                None,
                "",
                "inner-outer",
                {},
            )
        ]
    found = [
        _Test(
            label,
            said["t"],
            None,
            None,
            plain,
            None,
            None,
            std_error=fit.std_error,
            kind="t, residual df",
            absent={"df": NO_P, "p": NO_P},
        )
    ]
    computed = _degrees_at(reading, fit)
    for name, key, kind, by_t in (
        (LMERTEST, "satterthwaite", "Satterthwaite", ""),
        (PBKRTEST, "kenward_roger", "Kenward-Roger", "t_kenward_roger"),
    ):
        source = label.replace("lme4", name, 1)
        why = dict.fromkeys(("statistic", "df", "p"), said[f"why_{key}"])
        if said[key] is None:
            found.append(_Test(source, absent=why))
            continue
        _, std_error, df, t, p = said[key].T
        own_t, own_df, own_error, by_error = plain, computed[key], expected.conditional, ""
        if key == "kenward_roger" and not isinstance(own_df, str):
            covariance, own_df = own_df
            own_error, by_error = np.sqrt(np.diag(covariance)), "error_kenward_roger"
            own_t = fit.fixed / own_error
        if isinstance(own_df, str):
            own_df = None
            own_t, own_error = (own_t, own_error) if key == "satterthwaite" else (None, None)
        own_p = None if own_df is None else _p(own_t, own_df)
        found.append(
            _Test(
                source,
                t,
                df,
                p,
                own_t,
                own_df,
                own_p,
                by_t,
                f"df_{key}",
                f"p_{key}",
                std_error,
                own_error,
                by_error,
                kind,
                {},
            )
        )
    return found


def _degrees_at(reading: Reading, fit: Fit) -> dict[str, Any]:
    """Degrees of freedom by every definition at a fit's estimates; a text where there are none."""
    given = fit.covariances, fit.residual_variance

    def tried(function: Callable[[], Any]) -> Any:
        try:
            return function()
        except (DegreesError, LikelihoodError) as error:
            return str(error)

    return {
        "satterthwaite": tried(lambda: degrees_of_freedom.satterthwaite(reading.likelihood, *given)),
        "kenward_roger": tried(lambda: degrees_of_freedom.kenward_roger(reading.design, *given)),
    }


def _lost(reading: Reading, tests: dict[str, list[_Test]]) -> dict[str, dict[str, np.ndarray]]:
    """What rounding can do to what every source states, by quantity, arrays of shape (p,): to a standard error and t by
    the condition of X, to lmerTest's degrees of freedom by its differences of the deviance, to p by both.

    Parameters
    ----------
    tests : by the fit's label
    """
    found = {}
    for label, each in ((label, each) for label, made in tests.items() for each in made):
        share = 2 * reading.resolved[label].std_error
        found[each.source] = lost = {"std_error": share * reading.expected[label].conditional}
        if each.own_statistic is None:
            continue
        lost["statistic"] = share * np.abs(each.own_statistic)
        if each.by_df == "df_satterthwaite" and each.own_df is not None:
            lost["df"] = reading.lost_by_lmertest(label)[1]
        if each.own_p is not None:
            t = (1 - share) * np.abs(each.own_statistic)
            df = None if each.own_df is None else np.maximum(each.own_df - lost.get("df", 0.0), 1e-9)
            lost["p"] = np.maximum((2 * stats.norm.sf(t) if df is None else _p(t, df)) - each.own_p, 0.0)
    return found


def _of_p(tests: list[_Test], k: int) -> dict[str, float]:
    """What a relative tolerance of a p-value is relative to, by source: far out in the tail a small part of t is t^2
    times as large a part of p.
    """
    return {
        each.source: float(each.own_p[k] * max(1.0, each.own_statistic[k] ** 2))
        for each in tests
        if each.own_p is not None and each.own_statistic is not None
    }


def _p(t: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Two-sided p-values of t."""
    return 2 * stats.t.sf(np.abs(t), df)


def tests_table(comparison: Comparison) -> pd.DataFrame:
    """Every test of every fixed effect that a package makes, beside lme4's t taken with n - p degrees of freedom.

    Returns
    -------
    one row a fixed effect, kind and source: ``term, kind, estimate, std_error, df, statistic, p_value, source``; what
    each kind assumes, and what is missing and why, stands in ``attrs["notes"]``

    Raises
    ------
    RError : R, or one of lmerTest and pbkrtest, is missing
    """
    reading = Reading(comparison)
    n, p = reading.design.X.shape
    rows, notes = [], []
    for label, fit in reading.fits.items():
        for test in _tests(reading, label, fit):
            if test.statistic is None:
                notes.append(f"{test.source}: {(test.absent or {})['df']}")
                continue
            df, p_values = test.df, test.p
            if test.kind == "z":
                df = np.full(p, np.inf)
            elif df is None:
                df = np.full(p, float(n - p))
                p_values = _p(test.statistic, df)
            for k, term in enumerate(reading.design.names):
                rows.append(
                    (
                        term,
                        test.kind,
                        fit.fixed[k],
                        test.std_error[k],
                        df[k],
                        test.statistic[k],
                        p_values[k],
                        test.source,
                    )
                )
    columns = ["term", "kind", "estimate", "std_error", "df", "statistic", "p_value", "source"]
    table = pd.DataFrame(rows, columns=columns)
    order = {name: i for i, name in enumerate(reading.design.names)}, {name: i for i, name in enumerate(ASSUMES)}
    place = [(order[0][term], order[1][kind]) for term, kind in zip(table["term"], table["kind"], strict=True)]
    table = table.iloc[sorted(range(len(table)), key=place.__getitem__)].reset_index(drop=True)
    table.attrs["notes"] = [f"{kind}: {ASSUMES[kind]}." for kind in ASSUMES if kind in set(table["kind"])]
    table.attrs["notes"] += list(dict.fromkeys(f"{note}." for note in notes))
    return table
