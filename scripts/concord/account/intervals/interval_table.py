"""The table of a comparison's confidence intervals: every parameter, by kind and source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from concord.account.intervals.interval_values import IntervalError, Intervals, wald
from concord.inference.information import Information
from concord.inference.profile import SCALES
from concord.inference.profile_curve import Parameter
from concord.models.parameters import KEY
from concord.vocabulary import INDEPENDENT, METHODS

NOTES = {
    "": "conditional on the variances",
    "interval_joint": "joint Hessian",
    "interval_student": "conditional on the variances, Student's t",
    "interval_of_ratio": "of the ratio, times the residual variance",
    "interval_of_logarithm": "of the logarithm",
}
"""What is said of a Wald interval, by its definition."""
COLUMNS = [*KEY, "kind", "source", "method", "lower", "upper", "lower_reached", "upper_reached", "scale", "note"]


@dataclass(frozen=True)
class _Row:
    """One interval; `term` says on which scale it is."""

    parameter: Parameter
    term: str
    kind: str
    source: str
    method: str
    ends: tuple[float, float]
    reached: tuple[bool, bool] = (True, True)
    note: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is an interval of: effect, group and term."""
        return self.parameter.effect, self.parameter.group, self.term


def table(
    known: Intervals,
    bootstrap: pd.DataFrame | None = None,
    *,
    which: Sequence[str] | None = None,
    with_profile_re: bool = False,
    scale: str = "sd",
    with_profile: bool = True,
) -> pd.DataFrame:
    """The table of `concord.account.intervals.intervals.table`, from the intervals of a comparison."""
    if scale not in SCALES:
        raise IntervalError(f"scale {scale!r}: one of {', '.join(SCALES)}")
    rows = [
        (entry.key, entry.kind, entry.source, entry.method, entry.ends, entry.reached, entry.note)
        for entry in _rows(known, which, with_profile_re=with_profile_re, with_profile=with_profile)
    ]
    if bootstrap is not None:
        for row in bootstrap.to_dict("records"):
            key = (row["effect"], row["group"], row["term"])
            ends = (float(row["lower"]), float(row["upper"]))
            rows.append((key, "bootstrap", row["source"], row.get("method", known.method), ends, (True, True), ""))
    order = {
        (parameter.group, parameter.term.partition("__")[2] or parameter.term): i
        for i, parameter in enumerate(known.parameters)
    }
    table_rows = []
    for (effect, group, term), kind, source, method, ends, reached, note in rows:
        shown = _on_scale(term, ends, reached, note, scale)
        table_rows.append((effect, group, shown[0], kind, source, method, *shown[1], *shown[2], shown[3], shown[4]))
    table = pd.DataFrame(table_rows, columns=COLUMNS)
    place = [
        order.get((g, t.partition("__")[2] or t), len(order))
        for g, t in zip(table["group"], table["term"], strict=True)
    ]
    return table.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)


def _rows(
    known: Intervals, which: Sequence[str] | None = None, *, with_profile_re: bool = False, with_profile: bool = True
) -> list[_Row]:
    """Every interval but a bootstrap's."""
    rows: list[_Row] = []
    if with_profile:
        known.ask_profiles([parameter.label for parameter in known.chosen(which)])
    for parameter in known.chosen(which):
        rows += _wald_rows(known, parameter)
        if with_profile:
            rows += _profile_rows(known, parameter, with_profile_re)
    return rows


def _wald_rows(known: Intervals, parameter: Parameter) -> list[_Row]:
    own, width = known.information(), stats.norm.ppf((1 + known.level) / 2)
    if parameter.effect == "fixed":
        return _wald_of_fixed(known, parameter, own, width)
    rows = []
    variance = parameter.term.replace("sd__", "var__").replace("cor__", "cov__")
    for engine, said in known.wald.items():
        for term in (variance, parameter.term):
            interval, *others = said.components.get((parameter.group, term), (None,))
            if interval is None:
                continue
            note = NOTES[interval.definition] + _unheld(known, engine)
            for better in others:
                low, high = better.value
                note += f", lost in rounding: {low:.6g} to {high:.6g} with {better.quantity}"
            rows.append(_wald(known, parameter, engine, interval.value, note, term))
    if not isinstance(own, str):
        ends = wald(own, "variance", parameter, width)
        rows.append(_wald(known, parameter, INDEPENDENT, ends, "of the variance", variance))
        rows.append(_wald(known, parameter, INDEPENDENT, wald(own, "log-sd", parameter, width), "of the logarithm"))
    return rows


def _wald_of_fixed(known: Intervals, parameter: Parameter, own: Information | str, width: float) -> list[_Row]:
    rows = []
    for engine, said in known.wald.items():
        interval = said.fixed.get(parameter.term)
        if interval is not None and interval.value is not None:
            rows.append(_wald(known, parameter, engine, interval.value, NOTES[interval.definition]))
    _, optimum = known.optima[known.method]
    place = known.design.names.index(parameter.term)
    errors = [(optimum.std_error[place], "conditional on the variances")]
    if not isinstance(own, str):
        errors.append((own.joint[place], "joint Hessian"))
    b = optimum.fixed[place]
    return rows + [_wald(known, parameter, INDEPENDENT, (b - width * se, b + width * se), note) for se, note in errors]


def _wald(
    known: Intervals, parameter: Parameter, source: str, ends: Sequence[float], note: str, term: str | None = None
) -> _Row:
    return _Row(
        parameter, term or parameter.term, "Wald", source, known.method, (float(ends[0]), float(ends[1])), note=note
    )


def _unheld(known: Intervals, engine: str) -> str:
    """Why an interval is held to nothing."""
    at = known.information(known.fits[engine])
    return f"; held to nothing, for its Hessian means nothing here: {at}" if isinstance(at, str) else ""


def _profile_rows(known: Intervals, parameter: Parameter, with_profile_re: bool) -> list[_Row]:
    rows = []
    for engine in known.profiling:
        try:
            got = known.stated_profile(engine, parameter.label)
            note = got.note if known.method == "ML" else f"refitted by ML; {got.note}"
            low, high = map(float, got.ends)
            crossed = bool(got.crossed[0]), bool(got.crossed[1])
            rows.append(_Row(parameter, parameter.term, "profile", engine, "ML", (low, high), crossed, note))
        except IntervalError as error:
            rows.append(
                _Row(parameter, parameter.term, "profile", engine, "ML", (math.nan,) * 2, (False, False), str(error))
            )
    for method in METHODS:
        try:
            own = known.interval(parameter, method)
        except IntervalError:
            continue
        rows.append(
            _Row(parameter, parameter.term, "profile", INDEPENDENT, method, (own.lower, own.upper), own.reached)
        )
    for engine in known.profiling_ratios if with_profile_re else ():
        try:
            ratio = known.ratio_interval(engine, parameter)
            variance = parameter.term.replace("sd__", "var__")
            ends = (ratio.lower, ratio.upper)
            note = "profile_re: the ratio held, shown times the residual variance there"
            rows.append(_Row(parameter, variance, "profile", engine, known.method, ends, ratio.reached, note))
        except IntervalError:
            pass
    return rows


def _on_scale(
    term: str, ends: tuple[float, float], reached: tuple[bool, bool], note: str, scale: str
) -> tuple[str, tuple[float, float], tuple[bool, bool], str, str]:
    """Term, ends, reached, scale and note of an interval on the scale that is wanted, where it can be carried there."""
    kind, _, name = term.partition("__")
    if kind == "sd" and scale == "variance":
        return f"var__{name}", (ends[0] ** 2, ends[1] ** 2), reached, "variance", note
    if kind == "var" and scale == "sd":
        if ends[0] < 0:
            note = f"{note}; the variance's lower end is {ends[0]:.4g}"
            reached = (False, reached[1])
        return f"sd__{name}", (math.sqrt(max(ends[0], 0.0)), math.sqrt(max(ends[1], 0.0))), reached, "sd", note
    named = {"sd": "sd", "var": "variance", "cor": "correlation", "cov": "covariance"}
    return term, ends, reached, named.get(kind, "as is") if name else "as is", note
