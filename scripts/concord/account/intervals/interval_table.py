"""The table of a comparison's confidence intervals: every parameter, by kind and source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from concord.account.intervals.sources import IntervalError, Intervals, wald
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
        (
            (each.parameter.effect, each.parameter.group, each.term),
            each.kind,
            each.source,
            each.method,
            each.ends,
            each.reached,
            each.note,
        )
        for each in _rows(known, which, with_profile_re=with_profile_re, with_profile=with_profile)
    ]
    if bootstrap is not None:
        for row in bootstrap.to_dict("records"):
            key = (row["effect"], row["group"], row["term"])
            ends = (float(row["lower"]), float(row["upper"]))
            rows.append((key, "bootstrap", row["source"], row.get("method", known.method), ends, (True, True), ""))
    order = {(each.group, each.term.partition("__")[2] or each.term): i for i, each in enumerate(known.parameters)}
    made = []
    for (effect, group, term), kind, source, method, ends, reached, note in rows:
        shown = _on_scale(term, ends, reached, note, scale)
        made.append((effect, group, shown[0], kind, source, method, *shown[1], *shown[2], shown[3], shown[4]))
    table = pd.DataFrame(made, columns=COLUMNS)
    place = [
        order.get((g, t.partition("__")[2] or t), len(order))
        for g, t in zip(table["group"], table["term"], strict=True)
    ]
    return table.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)


def _rows(
    known: Intervals, which: Sequence[str] | None = None, *, with_profile_re: bool = False, with_profile: bool = True
) -> list[_Row]:
    """Every interval but a bootstrap's."""
    found: list[_Row] = []
    if with_profile:
        known.ask_profiles([each.label for each in known.chosen(which)])
    for each in known.chosen(which):
        found += _wald_rows(known, each)
        if with_profile:
            found += _profile_rows(known, each, with_profile_re)
    return found


def _wald_rows(known: Intervals, each: Parameter) -> list[_Row]:
    own, width = known.information(), stats.norm.ppf((1 + known.level) / 2)
    if each.effect == "fixed":
        return _wald_of_fixed(known, each, own, width)
    found = []
    variance = each.term.replace("sd__", "var__").replace("cor__", "cov__")
    for engine, said in known.wald.items():
        for term in (variance, each.term):
            given, *others = said.components.get((each.group, term), (None,))
            if given is None:
                continue
            note = NOTES[given.definition] + _unheld(known, engine)
            for better in others:
                low, high = better.value
                note += f", lost in rounding: {low:.6g} to {high:.6g} with {better.quantity}"
            found.append(_wald(known, each, engine, given.value, note, term))
    if not isinstance(own, str):
        ends = wald(own, "variance", each, width)
        found.append(_wald(known, each, INDEPENDENT, ends, "of the variance", variance))
        found.append(_wald(known, each, INDEPENDENT, wald(own, "log-sd", each, width), "of the logarithm"))
    return found


def _wald_of_fixed(known: Intervals, each: Parameter, own: Information | str, width: float) -> list[_Row]:
    found = []
    for engine, said in known.wald.items():
        given = said.fixed.get(each.term)
        if given is not None and given.value is not None:
            found.append(_wald(known, each, engine, given.value, NOTES[given.definition]))
    _, optimum = known.optima[known.method]
    place = known.design.names.index(each.term)
    errors = [(optimum.std_error[place], "conditional on the variances")]
    if not isinstance(own, str):
        errors.append((own.joint[place], "joint Hessian"))
    b = optimum.fixed[place]
    return found + [_wald(known, each, INDEPENDENT, (b - width * se, b + width * se), note) for se, note in errors]


def _wald(
    known: Intervals, each: Parameter, source: str, ends: Sequence[float], note: str, term: str | None = None
) -> _Row:
    return _Row(each, term or each.term, "Wald", source, known.method, (float(ends[0]), float(ends[1])), note=note)


def _unheld(known: Intervals, engine: str) -> str:
    """Why an interval is held to nothing."""
    at = known.information(known.fits[engine])
    return f"; held to nothing, for its Hessian means nothing here: {at}" if isinstance(at, str) else ""


def _profile_rows(known: Intervals, each: Parameter, with_profile_re: bool) -> list[_Row]:
    found = []
    for engine in known.profiling:
        try:
            got = known.stated_profile(engine, each.label)
            note = got.note if known.method == "ML" else f"refitted by ML; {got.note}"
            low, high = map(float, got.ends)
            crossed = bool(got.crossed[0]), bool(got.crossed[1])
            found.append(_Row(each, each.term, "profile", engine, "ML", (low, high), crossed, note))
        except IntervalError as error:
            found.append(_Row(each, each.term, "profile", engine, "ML", (math.nan,) * 2, (False, False), str(error)))
    for method in METHODS:
        try:
            own = known.interval(each, method)
        except IntervalError:
            continue
        found.append(_Row(each, each.term, "profile", INDEPENDENT, method, (own.lower, own.upper), own.reached))
    for engine in known.profiling_ratios if with_profile_re else ():
        try:
            ratio = known.ratio_interval(engine, each)
            variance = each.term.replace("sd__", "var__")
            ends = (ratio.lower, ratio.upper)
            note = "profile_re: the ratio held, shown times the residual variance there"
            found.append(_Row(each, variance, "profile", engine, known.method, ends, ratio.reached, note))
        except IntervalError:
            pass
    return found


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
