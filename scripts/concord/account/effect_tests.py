"""Tests of the fixed effects: statistics, degrees of freedom and p-values, as packages state them and each by its own
definition at its own estimates (`quantities`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from concord.account.line import Line
from concord.account.standard_errors import Reading, reading
from concord.agreement.comparison import Comparison
from concord.engines.engine import title
from concord.engines.error_definitions import adjusted
from concord.engines.fit import Fit
from concord.engines.statements import Statement, Test
from concord.inference import degrees_of_freedom
from concord.inference.degrees_of_freedom import DegreesError
from concord.likelihood.likelihood import LikelihoodError

TESTS = "tests"

ASSUMES = {
    "z": "the variances are known, or estimated from so many groups that it does not matter: the normal distribution",
    "t, residual df": "every row counts as independent once the fixed effects are taken out: n - p degrees of freedom, "
    "too many for an effect that differs between groups only; no package states this p, lme4 only the t",
    "Satterthwaite": "the estimated variance of the effect is near a multiple of a chi-squared variable, whose degrees "
    "of freedom its own uncertainty (observed information) tells",
    "Kenward-Roger": "as Satterthwaite, by the expected information of REML, with the standard error enlarged for the "
    "uncertainty of the variances to the second order",
    "inner-outer": "the design is balanced, or nearly so, and no column that changes within groups has a random slope: "
    "it gets the rows' degrees of freedom, where only the groups' are right",
}
"""What each kind of test of a fixed effect assumes, in a sentence."""


def lines(comparison: Comparison) -> list[Line]:
    """Test statistics, degrees of freedom and p-values of the fixed effects, by every definition, each held to its own.

    Raises
    ------
    RError : R, or one of lmerTest and pbkrtest, is missing
    """
    known = reading(comparison)
    all_lines: list[Line | None] = []
    tests = _tests(known)
    for k, term in enumerate(known.design.names):
        row = {"effect": "fixed", "term": term}
        # The packages that only test state the standard errors they test by; the others' are in their own section.
        those = [test for test in tests if "std_error" in test.own]
        if those:
            all_lines.append(_line(known, those, k, row, "standard error of the test", "std_error", "std_error"))
        all_lines += [
            _line(known, tests, k, row, "test statistic", "test_statistic", "statistic"),
            _line(known, tests, k, row, "degrees of freedom", "degrees_of_freedom", "df"),
            _line(known, tests, k, row, "p-value", "p_value_of_t", "p"),
        ]
    return [line for line in all_lines if line is not None]


@dataclass(frozen=True, eq=False)
class _Held:
    """What one source states of the tests of all fixed effects, and what is expected of it, arrays of shape (p,).

    Attributes
    ----------
    source : what it is called
    label : whose fit it is
    stated : what it states
    own : what its definitions give, by ``statistic``, ``df``, ``p`` and ``std_error``
    lost : what rounding can do to what it states, by the same: to a standard error and t by the condition of X, to
        degrees of freedom by the package's own arithmetic, to p by both
    """

    source: str
    label: str
    stated: Test
    own: dict[str, np.ndarray]
    lost: dict[str, np.ndarray]


def _line(
    known: Reading, tests: list[_Held], k: int, row: dict[str, str], quantity: str, tolerance: str, attribute: str
) -> Line | None:
    stated: dict[str, Statement] = {test.source: getattr(test.stated, attribute) for test in tests}
    values = {source: statement.value[k] for source, statement in stated.items() if statement.value is not None}
    sizes = [abs(value) for value in values.values() if np.isfinite(value)]
    return known.line(
        TESTS,
        quantity,
        tolerance,
        row,
        values=values,
        expected={test.source: test.own[attribute][k] for test in tests if attribute in test.own},
        definitions={source: statement.definition for source, statement in stated.items()},
        absent={source: statement.reason(k) for source, statement in stated.items()} | known.absent,
        # Near zero a statistic has no size of its own: it counts standard errors.
        scale=max([1.0, *sizes]) if attribute == "statistic" else np.nan,
        scales=_of_p(tests, k) if attribute == "p" else {},
        rounding={test.source: float(test.lost[attribute][k]) for test in tests if attribute in test.lost},
    )


def _tests(known: Reading) -> list[_Held]:
    """The tests of all fits, by the packages that make any of it."""
    held = []
    for label, said in known.stated.items():
        degrees = _Degrees(known, known.fits[label])
        for test in said.tests:
            own = _by_definition(known, label, test, degrees)
            held.append(_Held(known.source(label, test.source), label, test, own, _lost(known, label, test, own)))
    return held


class _Degrees:
    """Degrees of freedom by every definition at a fit's estimates, each worked out where it is asked for."""

    def __init__(self, known: Reading, fit: Fit) -> None:
        self._known, self._given = known, fit.parameters

    def by(self, definition: str) -> np.ndarray | None:
        """By the definition of a name; None where there are none."""
        if definition == "df_kenward_roger":
            return None if self.kenward_roger is None else self.kenward_roger[1]
        try:
            if definition == "df_satterthwaite":
                return degrees_of_freedom.satterthwaite(self._known.likelihood, self._given)
            return degrees_of_freedom.inner_outer(self._known.design) if definition == "df_inner_outer" else None
        except (DegreesError, LikelihoodError):
            return None

    @cached_property
    def kenward_roger(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The adjusted covariance matrix of the fixed effects, shape (p, p), and the degrees of freedom."""
        try:
            return degrees_of_freedom.kenward_roger(self._known.design, self._given)
        except (DegreesError, LikelihoodError):
            return None


def _by_definition(known: Reading, label: str, test: Test, degrees: _Degrees) -> dict[str, np.ndarray]:
    """What the definitions of a test give at a fit's estimates, of what there is."""
    fit, errors = known.fits[label], known.expected[label]
    own: dict[str, np.ndarray] = {}
    error: np.ndarray | None = errors.conditional
    if test.statistic.definition == "z_joint":
        error = errors.joint
    elif test.statistic.definition == "t_kenward_roger":
        error = None if degrees.kenward_roger is None else np.sqrt(np.diag(degrees.kenward_roger[0]))
    if error is None or test.statistic.value is None:
        return own
    if test.own_error:
        own["std_error"] = error
    statistic = fit.fixed / error
    own["statistic"] = statistic / adjusted(fit) if test.statistic.definition == "t_adjusted" else statistic
    if test.p.definition == "p_normal":
        own["p"] = 2 * stats.norm.sf(np.abs(own["statistic"]))
    df = None if test.df.value is None else degrees.by(test.df.definition)
    if df is not None:
        own["df"], own["p"] = df, _p(own["statistic"], df)
    return own


def _lost(known: Reading, label: str, test: Test, own: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    share = 2 * known.resolved[label].std_error
    lost = {"std_error": share * known.expected[label].conditional}
    if "statistic" not in own:
        return lost
    lost["statistic"] = share * np.abs(own["statistic"])
    if test.df.rounding is not None and "df" in own:
        lost["df"] = test.df.rounding
    if "p" in own:
        t = (1 - share) * np.abs(own["statistic"])
        df = np.maximum(own["df"] - lost.get("df", 0.0), 1e-9) if "df" in own else None
        lost["p"] = np.maximum((2 * stats.norm.sf(t) if df is None else _p(t, df)) - own["p"], 0.0)
    return lost


def _of_p(tests: list[_Held], k: int) -> dict[str, float]:
    """What a relative tolerance of a p-value is relative to, by source: far out in the tail a small part of t is t^2
    times as large a part of p.
    """
    return {
        test.source: float(test.own["p"][k] * max(1.0, test.own["statistic"][k] ** 2))
        for test in tests
        if "p" in test.own
    }


def _p(t: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Two-sided p-values of t."""
    p: np.ndarray = 2 * stats.t.sf(np.abs(t), df)
    return p


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
    known = reading(comparison)
    n, p = known.design.X.shape
    rows, notes = [], [f"{title(label)}: {why}" for label, why in known.absent.items()]
    for source, label, test in (
        (known.source(label, test.source), label, test) for label, said in known.stated.items() for test in said.tests
    ):
        statistic, df, p_values = test.statistic.value, test.df.value, test.p.value
        if statistic is None:
            notes.append(f"{title(source)}: {test.df.reason()}")
            continue
        if test.kind == "z":
            df = np.full(p, np.inf)
        elif df is None:
            df = np.full(p, float(n - p))
            p_values = _p(statistic, df)
            source = f"from {source}'s t"
        estimates, errors = known.fits[label].fixed, test.std_error.value
        rows += [
            (term, test.kind, *numbers, source)
            for term, *numbers in zip(known.design.names, estimates, errors, df, statistic, p_values, strict=True)
        ]
    columns = ["term", "kind", "estimate", "std_error", "df", "statistic", "p_value", "source"]
    table = pd.DataFrame(rows, columns=columns)
    order = {name: i for i, name in enumerate(known.design.names)}, {name: i for i, name in enumerate(ASSUMES)}
    place = [(order[0][term], order[1][kind]) for term, kind in zip(table["term"], table["kind"], strict=True)]
    table = table.iloc[sorted(range(len(table)), key=place.__getitem__)].reset_index(drop=True)
    table.attrs["notes"] = [f"{kind}: {ASSUMES[kind]}." for kind in ASSUMES if kind in set(table["kind"])]
    table.attrs["notes"] += list(dict.fromkeys(f"{note}." for note in notes))
    return table
