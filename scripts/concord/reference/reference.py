"""The reference: the optimum that fits of a model are judged against, certified where ``make certify`` has been run.

``datasets/<id>/reference.json`` holds, for every model and method, the optimum to 30 digits with the checks that it
passed and what they do not show. A record is believed only as long as it is whole: its checksum, the formula and the
table that it was made from, and that a quick solve which starts at its theta stays there, with its estimates and its
log-likelihood.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import ValidationError

from concord import files
from concord.arrays import Matrix, Vector
from concord.data.datasets import first_mistake
from concord.engines.fit import Fit
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.likelihood.optimum import Optimum
from concord.likelihood.structured import StructuredLikelihood, likelihood_of
from concord.likelihood.wide_search import Leave, WideSearch
from concord.models.design import Design
from concord.models.model import Model
from concord.models.parameters import ESTIMATES, KEY, ZERO, Estimated, Parameters, keys
from concord.reference.factors import factored, factors
from concord.reference.record import Record, ReferenceError, checksum, path, unknown

# Log-likelihoods closer than this, found in double precision, are one optimum.
SAME = 1e-6
# The criterion is flat where its second derivative is less than this: rounding. A whitened coordinate beyond 1 is taken
# relative to itself: at a large ratio of standard deviations nothing else is a change.
FLAT = 1e-6
# How far a record may be from the quick solve that starts at it, in units of standard errors and of variances.
HELD = 1e-9


@dataclass(frozen=True, eq=False)
class Reference(Estimated):
    """The optimum of a model, with how it is known.

    Attributes
    ----------
    likelihood : the independent likelihood that it maximises
    loglik : log-likelihood there
    level : the same as the independent likelihood evaluates it in double precision, for gaps free of its rounding
    parameters : the values of all parameters there
    std_error : standard errors of the fixed effects conditional on theta, shape (p,)
    kind : how it is known, in words
    optima : all distinct local optima that the search found, best first
    radius : proved radius of theta; NaN where nothing is proved
    boundary : whether a variance is zero, or a covariance matrix singular, at the optimum
    proved : what is proved of it: ``global``, that there is no better one; ``reference``, that it is a strict local
        optimum; or nothing
    boxes : number of boxes that the proof over all covariances took
    searched : whether the wide search for it is through
    """

    likelihood: Likelihood
    loglik: float
    level: float
    parameters: Parameters
    std_error: Vector
    kind: str
    optima: tuple[Optimum, ...] = ()
    radius: float = float("nan")
    boundary: bool = False
    proved: Literal["global", "reference", ""] = ""
    boxes: int = 0
    searched: bool = True

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """One row per parameter: ``effect, group, term, estimate, std_error``."""
        return self.parameters.table(self.likelihood.design, self.std_error)

    @property
    def certified(self) -> bool:
        """Whether it is proved to be an optimum."""
        return math.isfinite(self.radius)

    def surpassed(self, level: float, fit: Fit | Reference, by: str) -> Reference:
        """The reference in its place where a fit is better; `by` says the best of what that is."""
        return replace(
            self,
            loglik=level,
            level=level,
            parameters=fit.parameters,
            std_error=fit.std_error,
            kind=f"not certified: the best of {by}",
            radius=float("nan"),
            proved="",
            boxes=0,
        )

    def searched_from(self, fits: Sequence[Fit]) -> Reference:
        """The reference after searches from where fits of its very model stopped too.

        One that is proved to be global stays. Where a search ends at an optimum that was not known, that joins the
        others; where it is better, it is the reference from there on, certified or not; and where a fit lies above
        every optimum, the fit is.
        """
        if self.proved == "global":
            return self
        optima, best = list(self.optima), self
        for start in _starts(self.likelihood, fits):
            with contextlib.suppress(LikelihoodError, np.linalg.LinAlgError):
                optima = self.likelihood.merged([*optima, *self.likelihood.optima([start])])
        kind = _kind(len(optima), self.searched)
        if optima and optima[0].loglik > self.loglik + SAME:
            best = replace(_uncertified(self.likelihood, optima), kind=kind, searched=self.searched)
        elif len(optima) > len(self.optima):
            best = replace(self, optima=tuple(optima), kind=self.kind if self.certified else kind)
        for fit in fits:
            level = self.likelihood.loglik(fit.parameters)
            if level > best.level + SAME:
                best = best.surpassed(level, fit, "the fits compared")
        return best

    @property
    def noun(self) -> str:
        """What to call it in a sentence."""
        if self.proved == "global":
            return "global optimum (proved)"
        if self.certified:
            return "certified optimum"
        several = f"best of {len(self.optima)} optima" if len(self.optima) > 1 else "best optimum"
        return f"{several} found{'' if self.searched else ' so far'} (not certified)"


class _Known:
    """What is known of one model's optimum: its certified reference, or all that the wide search has found so far.

    Parameters
    ----------
    model : the very model; two tables may go by one name
    stamp : of the file of its references, as it is now

    Raises
    ------
    ReferenceError, LikelihoodError : as of `of`
    """

    def __init__(self, model: Model, stamp: tuple[int, int] | None) -> None:
        self.model, self.stamp = model, stamp
        self.left = False  # on purpose: an interrupted search goes on to the end
        self._reference = _certified(model)
        self.search: WideSearch | None = None
        if self._reference is None:
            self._likelihood = likelihood_of(model.design, model.reml)
            self.search = WideSearch(self._likelihood)

    @property
    def complete(self) -> bool:
        return self.search is None or self.search.complete

    def go_on(self, leave: Leave | None = None) -> None:
        if self.search is not None and not self.search.complete:
            self._reference, self.left = None, False
            self.search.go_on(leave)
            self.left = not self.search.complete

    def reference(self, fits: Sequence[Fit]) -> Reference:
        search = self.search
        if self._reference is None and search is not None:
            found = self._found(search, fits)
            self._reference = replace(found, searched=search.complete, kind=_kind(len(found.optima), search.complete))
        assert self._reference is not None
        return self._reference

    def _found(self, search: WideSearch, fits: Sequence[Fit]) -> Reference:
        if not search.minima and not search.complete:
            starts = list(_starts(self._likelihood, fits))
            if starts:
                return _uncertified(self._likelihood, self._likelihood.optima(starts))
            search.go_on(lambda: bool(search.minima))
        return _uncertified(self._likelihood, self._likelihood.optima_of(search))


# What has been read or found before. A search takes seconds, and every comparison of a model asks for its reference;
# what is kept is never anything but what would be found anew.
_kept: dict[tuple[str, str], _Known] = {}


def of(model: Model, fits: Sequence[Fit] = ()) -> Reference:
    """The reference of a model: the certified one, or else the best optimum that the independent likelihood finds.

    Parameters
    ----------
    fits : where the search was left (`search`) before it had found an optimum, where these stopped it looks for one

    Raises
    ------
    ReferenceError : there is a record, and it is corrupt, edited or out of date
    LikelihoodError : the model's likelihood is not defined, or no optimum was found, or there is no single one
    """
    known = _known(model)
    if not known.left:
        known.go_on()
    return known.reference(fits)


def search(model: Model, leave: Leave) -> bool:
    """Search for the optimum of a model, or go on with that, until `leave` says so; whether the search is through.

    What `of` gives from then on is the best that is known so far.

    Raises
    ------
    ReferenceError, LikelihoodError : as of `of`
    """
    known = _known(model)
    known.go_on(leave)
    return known.complete


def _known(model: Model) -> _Known:
    kept, stamp = _kept.get((model.id, model.method)), _stamp(model)
    # Two tables may go by one name: what is kept serves only the very table that it was computed from.
    if (
        kept is None
        or kept.model.dataset is not model.dataset
        or kept.model.record is not model.record
        or kept.stamp != stamp
    ):
        kept = _kept[model.id, model.method] = _Known(model, stamp)
    return kept


def _stamp(model: Model) -> tuple[int, int] | None:
    """When the file of a model's references was written, and its size; None where there is none."""
    try:
        state = path(model.dataset).stat() if model.dataset.place else None
    except OSError:
        return None
    return (state.st_mtime_ns, state.st_size) if state else None


def _starts(likelihood: Likelihood, fits: Sequence[Fit]) -> Iterator[Vector]:
    """The whitened thetas, shape (m,), at which fits stopped, where they are parameters of the model."""
    for fit in fits:
        with contextlib.suppress(LikelihoodError, np.linalg.LinAlgError):
            yield likelihood.theta_at(fit.parameters)


def _uncertified(likelihood: Likelihood, optima: Sequence[Optimum]) -> Reference:
    """The best of several optima as a reference.

    Raises
    ------
    LikelihoodError : the criterion is flat there
    """
    best = optima[0]
    at, model = best.theta, likelihood
    structured = isinstance(likelihood, StructuredLikelihood)
    if not structured and not all(map(_only_trailing, likelihood.factors(at))):
        # In the order in which only trailing columns of a factor vanish, an optimum is an isolated one.
        design, _, theta = factored(likelihood.design, best.parameters)
        model = Likelihood(design, likelihood.reml)
        relative = [factor @ factor.T for factor in factors(theta, [range(len(term.names)) for term in design.terms])]
        at = model.theta_of(relative)
    scale = np.maximum(1.0, np.abs(at))
    bends = np.linalg.eigvalsh(scale[:, None] * model.hessian(at) * scale)
    if bends.min(initial=np.inf) < FLAT:
        raise LikelihoodError(
            "the data do not tell the model's variances apart, so there is no single optimum: take a random term out"
        )
    level = likelihood.loglik(best.parameters)
    boundary, kind = best.parameters.singular(likelihood.design), _kind(len(optima), True)
    return Reference(
        likelihood, best.loglik, level, best.parameters, best.std_error, kind, tuple(optima), boundary=boundary
    )


def _only_trailing(factor: Matrix) -> bool:
    """Whether no column of a whitened factor with a diagonal of zero stands before one that is not zero."""
    sizes, diagonal = np.linalg.norm(factor, axis=0), np.abs(np.diag(factor))
    nothing = np.sqrt(ZERO)
    gone = diagonal <= nothing
    first = int(np.argmax(gone)) if gone.any() else len(factor)
    return bool((sizes[first:] <= nothing).all())


def _kind(count: int, searched: bool) -> str:
    among = "the only optimum" if count == 1 else f"the best of {count} optima"
    far = "" if searched else " so far; it was left before it was through"
    return f"not certified: {among} that a wide search found{far}, in double precision"


def record_of(model: Model) -> Record | None:
    """The record of a model's certified optimum, with all its digits, once `of` believes it; None where it has none.

    Raises
    ------
    ReferenceError, LikelihoodError : as of `of`
    """
    of(model)
    return next(map(Record.model_validate, _raw(model)), None)


def _certified(model: Model) -> Reference | None:
    """The committed reference, checked; None where there is no record for the model."""
    return next((_believed(model, raw, path(model.dataset)) for raw in _raw(model)), None)


def _raw(model: Model) -> list[Any]:
    """The record of a model as it stands in reference.json, if there is one."""
    if model.dataset.place is None:
        return []
    file = path(model.dataset)
    if not file.is_file():
        return []
    try:
        content = files.read_json(file, ReferenceError)
    except ReferenceError as error:
        raise ReferenceError(f"{error}: not a reference file: run `make certify`") from None
    problem = unknown(content, model.dataset)
    if problem:
        raise ReferenceError(f"{file}: {problem}: run `make certify`")
    methods = content.get(model.name, {})
    return [methods[model.method]] if model.method in methods else []


def from_record(model: Model, record: dict[str, Any]) -> Reference:
    """The reference that a record of `certify` holds, of a model that has no folder to keep it in."""
    return _believed(model, record, Path("the record just made"))


def written(model: Model) -> Record | None:
    """The record of a model's certified optimum as it was written, whole and of this formula and table; None where it
    has none.

    It is not solved anew: where a model is so ill-conditioned that double precision holds less than a record, a record
    that `record_of` cannot confirm is right nevertheless.

    Raises
    ------
    ReferenceError : it is corrupt, edited or out of date
    """
    return next((_whole(model, raw, path(model.dataset)) for raw in _raw(model)), None)


def _whole(model: Model, raw: Any, file: Path) -> Record:
    """A record that nobody changed, of this formula and table."""
    try:
        record = Record.model_validate(raw)
    except ValidationError as error:
        loc, what = first_mistake(error)
        key = ".".join(str(part) for part in (model.name, model.method, *loc))
        raise ReferenceError(f"{file}: {key}: {what}: run `make certify`") from None
    where = f"{file}: {model.name}.{model.method}"
    if record.checksum != checksum(raw):
        raise ReferenceError(f"{where}: the record was changed after it was certified: run `make certify`")
    if record.formula != model.record.formula:
        raise ReferenceError(f"{where}: certified for {record.formula!r}, not {model.record.formula!r}: certify anew")
    if record.data_sha256 != model.dataset.sha256:
        raise ReferenceError(f"{where}: certified on another table: run `make certify`")
    return record


def _believed(model: Model, raw: Any, file: Path) -> Reference:
    """What a record says, once everything in it has been checked."""
    record, where = _whole(model, raw, file), f"{file}: {model.name}.{model.method}"
    rows = [
        (estimate.effect, estimate.group, estimate.term, float(estimate.estimate), float(estimate.std_error or "nan"))
        for estimate in record.estimates
    ]
    estimates = pd.DataFrame(rows, columns=ESTIMATES)
    likelihood = Likelihood(model.design, model.reml)
    loglik = float(record.loglik)
    # A record that is whole and yet wrong: its entries must belong together.
    wrong = _wrong(record, estimates, likelihood)
    if wrong:
        raise ReferenceError(f"{where}.{wrong}: run `make certify`")
    at = Parameters.from_table(estimates, model.design)
    recomputed = likelihood.loglik(at)
    if not abs(recomputed - loglik) <= 1e-11 * max(1.0, abs(loglik)):
        raise ReferenceError(
            f"{where}.loglik: it is {loglik!r}, at the estimates it is {recomputed!r}: run `make certify`"
        )
    checks = record.checks
    kind = f"certified: proved to lie within {checks.radius:.0e}, from {checks.starts} starts"
    if checks.proved == "global":
        kind = f"certified: the global optimum, proved to lie within {checks.radius:.0e}, by {checks.boxes} boxes"
    return Reference(
        likelihood,
        loglik,
        recomputed,
        at,
        estimates["std_error"].to_numpy()[: likelihood.p],
        kind,
        _told_optima(likelihood, record),
        checks.radius,
        bool(checks.boundary),
        checks.proved,
        checks.boxes,
    )


def _told_optima(likelihood: Likelihood, record: Record) -> tuple[Optimum, ...]:
    """All optima that a record tells of, best first, in double precision."""
    order = record.order or [list(range(len(term.names))) for term in likelihood.design.terms]
    relative = [factor @ factor.T for factor in factors([float(entry) for entry in record.theta], order)]
    starts = [likelihood.theta_of(relative), *(np.array(other.theta) for other in record.checks.other_optima)]
    return tuple(likelihood.optima(starts))


def _wrong_entry(record: Record, estimates: pd.DataFrame, likelihood: Likelihood) -> str | None:
    """Which entry of a record is not one of the model, or contradicts another in what it says."""
    design = likelihood.design
    sizes = [len(term.names) for term in design.terms]
    order = _order(record, design)
    if [tuple(row) for row in estimates[KEY].to_numpy()] != keys(design):
        return "estimates: they are not those of the model's parameters"
    if len(record.theta) != likelihood.m:
        return f"theta: {len(record.theta)} numbers, the model has {likelihood.m}"
    if [sorted(places) for places in order] != [list(range(q)) for q in sizes]:
        return "order: it is not an order of the terms' effects"
    if record.checks.boundary != [i for i, entry in enumerate(record.theta) if entry == "0"]:
        return "checks.boundary: it is not where theta is zero"
    checks = record.checks
    whole = checks.method != "" and (checks.stationary is not None) == (likelihood.m == 1)
    if checks.proved == "global" and (checks.not_proved is not None or not whole):
        return "checks.proved: a proof is not a proof without its method, or with something left open"
    if checks.proved == "reference" and (not checks.not_proved or checks.boxes or checks.stationary is not None):
        return "checks.proved: what is not proved is not said"
    if any(len(other.theta) != likelihood.m for other in checks.other_optima):
        return f"checks.other_optima: one has not the {likelihood.m} numbers of the model's theta"
    return None


def _order(record: Record, design: Design) -> list[list[int]]:
    """For every term the order of its effects in its factor, counted from 0."""
    return record.order or [list(range(len(term.names))) for term in design.terms]


def _wrong(record: Record, estimates: pd.DataFrame, likelihood: Likelihood) -> str | None:
    """Which entry of a record does not belong to the others, and how; None where they belong together."""
    if entry := _wrong_entry(record, estimates, likelihood):
        return entry
    design = likelihood.design
    order = _order(record, design)
    recorded = Parameters.from_table(estimates, design)
    variance = recorded.residual_variance
    relative = [factor @ factor.T for factor in factors([float(value) for value in record.theta], order)]
    try:
        optimum = likelihood.optimum([likelihood.theta_of(relative)])
    except LikelihoodError as error:
        return f"theta: {error}"
    if not np.all(np.abs(recorded.fixed - optimum.fixed) <= HELD * optimum.std_error):
        return "estimates: the fixed effects are not those at the optimum that theta leads to"
    errors = estimates["std_error"].to_numpy()[: likelihood.p]
    if not np.all(np.abs(errors - optimum.std_error) <= HELD * optimum.std_error):
        return "estimates: the standard errors are not those at the optimum that theta leads to"
    if not abs(variance - optimum.residual_variance) <= HELD * optimum.residual_variance:
        return "estimates: the residual variance is not the one at the optimum that theta leads to"
    for term, stated, wanted, own in zip(
        design.terms, recorded.covariances, optimum.covariances, relative, strict=True
    ):
        # A variance that is zero has no scale of its own: measure it on the effect's share in the response.
        unit = np.sqrt(np.maximum(np.diag(wanted), variance / np.mean(term.matrix**2, axis=0)))
        name = f"({', '.join(term.names)} | {term.group})"
        if not np.all(np.abs(variance * own - wanted) <= HELD * np.outer(unit, unit)):
            return f"theta: the criterion is not stationary there in {name}"
        if not np.all(np.abs(stated - wanted) <= HELD * np.outer(unit, unit)):
            return f"estimates: the covariance matrix of {name} is not the one that theta gives"
    return None
