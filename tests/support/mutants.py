"""Mutants: one number that a package states, or that is shown, moved just beyond or just within what is allowed.

Three kinds, each found in what there is and not listed by hand:

- of estimates: every row of a comparison's table, in the fits themselves (`of_estimates`);
- of lines: every source of every line of an account, every number of it (`of_lines`);
- of answers: every number in what a package's result says when it is asked, a tenth off (`of_answers`): what no line
  meets then is shown by nobody, or nobody looks at it.

One package alone is moved, and all of them together in one direction, so that they agree with each other.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from concord.account import anova, checks, criteria, effect_tests, standard_errors
from concord.account.intervals import intervals
from concord.account.line import Line
from concord.account.predictions import predictions
from concord.agreement.comparison import Comparison, compare
from concord.engines.fit import Fit
from support.estimates import changed

BEYOND, WITHIN = 1.1, 0.9
# Sections that ask packages, and that can be made again in a moment; of intervals those that need no profile.
ASKING: Mapping[str, Callable[[Comparison], Sequence[Line]]] = {
    "standard errors": standard_errors.lines,
    "tests": effect_tests.lines,
    "intervals": lambda comparison: intervals.lines(comparison, with_profile=False),
    "random effects": predictions.lines,
    "criteria": criteria.lines,
    "anova": lambda comparison: getattr(anova.anova(comparison), "lines", ()),
    "checks": checks.lines,
}


# ---- estimates -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OfEstimates:
    """One row of a comparison's table moved, in the fits of some engines.

    Attributes
    ----------
    row : ``effect, group, term``
    engines : whose
    share : of the tolerance, with its sign
    comparison : what comes of it
    """

    row: tuple[str, str, str]
    engines: tuple[str, ...]
    share: float
    comparison: Comparison

    @property
    def title(self) -> str:
        """In words, with what was said of it."""
        whose, said = " and ".join(self.engines), self.comparison.verdict
        return f"{' '.join(filter(None, self.row))} of {whose} by {self.share:g} of the tolerance: {said}"

    @property
    def possible(self) -> bool:
        """Whether all covariance matrices are still some: next to the boundary noise may leave the model."""
        fits = self.comparison.fits
        return all(np.linalg.eigvalsh(each).min() >= 0 for fit in fits for each in fit.covariances)


def of_estimates(comparison: Comparison, shares: Sequence[float]) -> Iterator[OfEstimates]:
    """Every row of the table, moved by shares of its tolerance in the fit of each party, and in all together."""
    parties = [comparison.fits[i] for i in comparison.parties]
    chosen = [*((each,) for each in parties), tuple(parties)]
    for row in comparison.table.to_dict("records"):
        key = row["effect"], row["group"], row["term"]
        for share in shares:
            for those in chosen:
                by = share * row["tolerance"]
                fits = [moved(fit, key, by) if fit in those else fit for fit in comparison.fits]
                again = compare(*fits, *comparison.absent)
                yield OfEstimates(key, tuple(fit.engine for fit in those), share, again)


def moved(fit: Fit, key: tuple[str, str, str], by: float) -> Fit:
    """A fit that states one number more, or less."""
    effect, group, term = key
    if effect == "loglik":
        return replace(fit, stated_loglik=fit.stated_loglik + by)
    if effect in ("fixed", "std_error"):
        step = by * (np.array(fit.model.design.names) == term)
        if effect == "fixed":
            return changed(fit, fixed=fit.fixed + step)
        joint = None if fit.joint_std_error is None else fit.joint_std_error + step
        return replace(fit, std_error=fit.std_error + step, joint_std_error=joint)
    if group == "Residual":
        return changed(fit, residual_variance=fit.residual_variance + by)
    kind, _, names = term.partition("__")
    covariances = []
    for each, covariance in zip(fit.model.design.terms, fit.covariances, strict=True):
        covariance = covariance.copy()
        for j, second in enumerate(each.names):
            for i, first in enumerate(each.names[: j + 1]):
                named = second if i == j else f"{first}.{second}"
                if (each.group, kind, names) == (group, "var" if i == j else "cov", named):
                    covariance[i, j] += by
                    covariance[j, i] = covariance[i, j]
        covariances.append(covariance)
    return changed(fit, covariances=tuple(covariances))


# ---- lines ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OfLine:
    """One line with a number of some sources moved, from what is expected, by a share of what is allowed.

    Attributes
    ----------
    line : as it is then
    number : its place in the account
    sources : whose number
    share : of what is allowed, with its sign
    """

    line: Line
    number: int
    sources: tuple[str, ...]
    share: float

    @property
    def title(self) -> str:
        """In words."""
        whose = " and ".join(self.sources)
        return f"{self.line.section}, {self.line.title} of {whose} by {self.share:g}: {self.line.verdict}"


def of_lines(lines: Sequence[Line], shares: Sequence[float], entries: int = 1) -> Iterator[OfLine]:
    """Every source of every line, and all sources of one together.

    A quantity that allows nothing is moved by one, and within that by nothing. What rounding may do is on top.

    Parameters
    ----------
    entries : of an array so many, spread evenly
    """
    for number, line in enumerate(lines):
        sources = tuple(line.values)
        for share in shares:
            for moved in [*((each,) for each in sources), *([sources] if len(sources) > 1 else [])]:
                size = max((np.size(line.values[source]) for source in moved), default=0)
                for place in np.unique(np.linspace(0, size - 1, entries).round().astype(int)):
                    values = dict(line.values)
                    for source in moved:
                        values[source] = _from_expected(line, source, int(place), share)
                    yield OfLine(replace(line, values=values), number, moved, share)


def _from_expected(line: Line, source: str, place: int, share: float) -> Any:
    """What its definition gives, moved at one place."""
    wanted = line.expected.get(source, line.values[source])
    allowed = line.limit(source) + (line.rounding.get(source, 0.0) if abs(share) > 1 else 0.0)
    by = share * allowed if allowed else np.sign(share) * (abs(share) > 1)
    moved = np.array(wanted, float)
    if np.isnan(moved.reshape(-1)[place]):
        # A definition may say that there is no number.
        moved.reshape(-1)[place] = 1.0 if abs(share) > 1 else np.nan
    else:
        moved.reshape(-1)[place] += by
    return float(moved) if np.ndim(wanted) == 0 else moved


# ---- answers -------------------------------------------------------------------------------------------------------


class Package:
    """A fit whose package is asked once, and one number of whose answers may be moved.

    Attributes
    ----------
    said : what it said, by the question's name; the fit's own random effects too
    section : which section is asking
    asked_by : the sections that ask a question, by its name
    """

    def __init__(self, fit: Fit) -> None:
        self.fit, self.section = fit, ""
        self.said: dict[str, Any] = {"random_effects": fit.random_effects}
        self.asked_by: dict[str, set[str]] = {"random_effects": {"random effects"}}
        self._names: dict[bytes, str] = {}

    def fit_that_says(self, name: str = "", change: Callable[[Any], Any] = lambda value: value) -> Fit:
        """The fit, with a change to what is said by that name."""

        def elsewhere(question: Callable[..., Any], *arguments: Any) -> Any:
            asked = self._ask(question, arguments)
            self.asked_by.setdefault(asked, set()).add(self.section)
            if isinstance(self.said[asked], Exception):
                raise self.said[asked]
            return change(self.said[asked]) if asked == name else self.said[asked]

        effects = self.said["random_effects"]
        effects = change(effects) if name == "random_effects" else effects
        return replace(self.fit, elsewhere=elsewhere, predict=lambda: effects)

    def _ask(self, question: Callable[..., Any], arguments: tuple[Any, ...]) -> str:
        """The name of what was asked; with other arguments it is another question."""
        key = pickle.dumps((question.__module__, question.__name__, arguments))
        if key not in self._names:
            name = question.__name__
            count = sum(each.partition(", ")[0] == name for each in self._names.values())
            self._names[key] = f"{name}, {count + 1}" if count else name
            try:
                self.said[self._names[key]] = self.fit.ask(question, *arguments)
            except Exception as error:  # it is raised wherever it is asked again
                self.said[self._names[key]] = error
        return self._names[key]


@dataclass(frozen=True)
class OfAnswer:
    """One number of an answer a tenth off.

    Attributes
    ----------
    engine : whose answer
    question : what was asked
    path : where in the answer
    differ : the lines that nothing explains then
    error : what the judge itself stopped with, or nothing
    """

    engine: str
    question: str
    path: tuple[Any, ...]
    differ: tuple[str, ...]
    error: str = ""

    @property
    def name(self) -> str:
        """Engine, question and the key in its answer, such as ``lme4 summary satterthwaite``."""
        keys = [str(each) for each in self.path if isinstance(each, str)]
        return " ".join([self.engine, self.question, *keys[:1]])

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.name} {self.path}: {', '.join(self.differ) or self.error or 'nothing'}"


def asked(comparison: Comparison, sections: Sequence[str] = tuple(ASKING)) -> list[Package]:
    """The packages of a comparison, asked what the sections ask."""
    packages = [Package(fit) for fit in comparison.fits]
    for section in sections:
        # Other fits each time, for what was asked of one is not asked again.
        again = compare(*(each.fit_that_says() for each in packages), *comparison.absent)
        for each in packages:
            each.section = section
        assert not [line.title for line in ASKING[section](again) if line.verdict == "differ"]
    return packages


def of_answers(
    comparison: Comparison, packages: Sequence[Package], entries: int = 1, every: int = 1
) -> Iterator[OfAnswer]:
    """Every number of every answer, a tenth off.

    Parameters
    ----------
    packages : as `asked`
    entries : of an array so many in every column, the largest first
    every : the second, third, ... of them only
    """
    for package in packages:
        for question, answer in package.said.items():
            for path in list(_numbers(answer, entries))[::every]:
                fits = [
                    each.fit_that_says(question, lambda value, path=path: _changed(value, path))
                    if each is package
                    else each.fit_that_says()
                    for each in packages
                ]
                again = compare(*fits, *comparison.absent)
                sections = sorted(package.asked_by[question])
                try:
                    lines = [line for section in sections for line in ASKING[section](again)]
                    found, error = [line.title for line in lines if line.verdict == "differ"], ""
                except Exception as stop:
                    found, error = [], f"{type(stop).__name__}: {stop}"
                yield OfAnswer(package.fit.engine, question, path, tuple(found), error)


def _numbers(answer: Any, entries: int, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all numbers in an answer."""
    if isinstance(answer, np.ndarray) and not answer.size:
        return
    if isinstance(answer, np.ndarray) and answer.dtype.kind in "fi":
        size = np.where(np.isfinite(answer), np.abs(answer), -1.0).reshape(len(answer), -1)
        for column in range(size.shape[1]):
            for row in np.argsort(-size[:, column], kind="stable")[:entries]:
                if size[row, column] >= 0:
                    place = np.unravel_index(row * size.shape[1] + column, answer.shape)
                    yield (*path, tuple(int(i) for i in place))
        return
    if isinstance(answer, bool | np.bool_ | str | type(None)):
        return
    if isinstance(answer, float | int | np.number):
        if np.isfinite(answer):
            yield path
        return
    for key, value in _parts(answer):
        yield from _numbers(value, entries, (*path, key))


def _parts(answer: Any) -> list[tuple[Any, Any]]:
    if isinstance(answer, pd.DataFrame):
        return [(name, answer[name].to_numpy()) for name in answer.select_dtypes("number")]
    if isinstance(answer, Mapping):
        return list(answer.items())
    if isinstance(answer, list | tuple):
        return list(enumerate(answer))
    if is_dataclass(answer):
        return [(each.name, getattr(answer, each.name)) for each in fields(answer)]
    return []


def _changed(answer: Any, path: tuple[Any, ...]) -> Any:
    """An answer with one number a tenth more, or more by a tenth where it is next to nothing."""
    if not path:
        if isinstance(answer, int | np.integer):
            return answer + 1
        return answer * 1.1 if abs(answer) > 1e-3 else answer + 0.1
    first, *rest = path
    if isinstance(answer, pd.DataFrame):
        return answer.assign(**{first: _changed(answer[first].to_numpy(), tuple(rest))})
    if isinstance(first, tuple) and not isinstance(answer, Mapping):
        values = np.array(answer)
        values[first] = _changed(values[first], ())
        return values
    if isinstance(answer, Mapping):
        return {**answer, first: _changed(answer[first], tuple(rest))}
    if is_dataclass(answer):
        return replace(answer, **{first: _changed(getattr(answer, first), tuple(rest))})
    return type(answer)(_changed(each, tuple(rest)) if i == first else each for i, each in enumerate(answer))
