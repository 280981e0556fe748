"""A trial: one certified case fitted by a package as it ships, held to the optimum by the reference data's checker."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

from concord import checkout
from concord.agreement.measures import doubted
from concord.engines.answers import Absence, Answer
from concord.engines.fit import Fit
from concord.engines.remote import Asked, table_digest
from concord.errors import InputError, one_line, shorten
from concord.models.model import Model
from concord.publication.folder import PACKAGE, certified, certified_case
from concord.referee import packages
from concord.reference import reference
from concord.reference.record import Record

OPTIMUM, IMPRECISE, SHORT, CLAIMED = "optimum", "imprecise", "short", "short, claims convergence"
CANNOT, FAILS, SLOW = "cannot express", "fails", "too slow"
OUTCOMES = (OPTIMUM, IMPRECISE, SHORT, CLAIMED, CANNOT, FAILS, SLOW)
_OF_VERDICT = {"at the optimum": OPTIMUM, "above": OPTIMUM, "imprecise": IMPRECISE, "no parameters": FAILS}
LIMIT = 120.0
"""Seconds that a package may take for one fit."""
QUICK = 1.0
"""A fit that takes fewer seconds is made twice, and the faster one counts: the first may load what it needs."""
_LENGTH = 200


@cache
def models() -> dict[tuple[str, str], Model]:
    """Every certified case by its id and method: those of the catalogue, then those of data that were made."""
    return {(model.id, model.method): model for pair in certified() for model in pair}


def certificate(model: Model) -> str:
    """The first figures of the checksum of what is certified: a case that is certified anew is another case.

    Raises
    ------
    InputError : it is not certified
    """
    return _record(model).checksum.removeprefix("sha256:")[:12]


def proved(model: Model) -> str:
    """What is proved of a case: ``reference`` or ``global``; see `certificate` for the error."""
    return str(_record(model).checks.proved)


def rows(id: str, method: str, wanted: Sequence[str], limit: float = LIMIT) -> list[dict[str, Any]]:
    """What came of one case by several packages, each in a process of its own, one after the other.

    The yardstick is fitted beside them whether it is wanted or not, so that all seconds are of one machine and hour.

    Parameters
    ----------
    wanted : the names of the engines
    limit : seconds for each fit
    """
    model, beside, here = models()[id, method], packages.yardstick(), packages.installed()
    answers: dict[str, Answer] = {}
    seconds = {}
    for name in dict.fromkeys([beside, *wanted]):
        answers[name], seconds[name] = _timed(model, name, limit)
    known = {"model": id, "method": method, "difficulty": _case(id)["difficulty"], "certificate": certificate(model)}
    known |= {"date": datetime.now(UTC).date().isoformat(), "beside": seconds[beside], "limit": limit}
    return [
        {**known, "package": name, "version": here[name], "seconds": seconds[name], **_outcome(answers[name])}
        for name in wanted
    ]


def live(ids: Sequence[str], method: str, limit: float = LIMIT) -> list[dict[str, Any]]:
    """The rows of some cases by every package that is here, fitted now."""
    return [row for id in ids for row in rows(id, method, list(packages.installed()), limit)]


def _timed(model: Model, engine: str, limit: float) -> tuple[Answer, float]:
    """The engine's answer, and the seconds of its faster fit; NaN without one."""
    table = table_digest(model.frame)
    first = Asked(model, engine, "default", table).answer(limit)
    if not isinstance(first, Fit):
        return first, math.nan
    again = Asked(model, engine, "default", table).answer(limit) if first.seconds < QUICK else first
    return first, min(first.seconds, again.seconds) if isinstance(again, Fit) else first.seconds


def _outcome(answer: Answer) -> dict[str, Any]:
    """Outcome, gap, digits, stated log-likelihood, claim, message and call of an answer."""
    if isinstance(answer, Absence):
        late = answer.kind == "stopped" and not math.isnan(answer.seconds)
        word = CANNOT if answer.kind == "cannot express" else SLOW if late else FAILS
        nothing = {"gap": math.nan, "digits": math.nan, "stated": "", "stated_error": math.nan, "claims": ""}
        return {"outcome": word, **nothing, "message": _short(answer.reason), "call": _call(answer)}
    record = held(answer)
    claims = claimed(answer)
    word = _OF_VERDICT.get(record["verdict"]) or (CLAIMED if claims else SHORT)
    stated = record.get("stated") or {"recognised": "", "error": math.nan}
    said = record["reason"] if word == FAILS else " / ".join(answer.messages)
    return {
        "outcome": word,
        "gap": record["gap"] if math.isfinite(record["gap"]) else math.nan,
        "digits": min(record["digits"].values(), default=math.nan),
        "stated": stated["recognised"],
        "stated_error": stated["error"],
        "claims": "yes" if claims else "no",
        "message": _short(said),
        "call": answer.call,
    }


def claimed(fit: Fit) -> bool:
    """Whether the package says that it has converged, and nothing that makes one doubt it.

    As in the parties' verdicts a note that the fit is singular is none; that the search ended at its limit is one.
    """
    said = [message for message in fit.messages if "singular fit" not in message.lower()]
    return not doubted(fit.converged, said) and not any("search limit" in message.lower() for message in said)


def held(fit: Fit) -> dict[str, Any]:
    """The record of the checker of a fit of a certified case, in arithmetic of fifty digits."""
    parameters = fit.parameters
    checked: dict[str, Any] = checker().check(
        _case(fit.model.id),
        list(parameters.fixed),
        [matrix.tolist() for matrix in parameters.covariances],
        parameters.residual_variance,
        fit.model.method,
        None if math.isnan(fit.loglik) else fit.loglik,
    )
    return checked


@cache
def checker() -> ModuleType:
    """The checker of the reference data: one file without dependencies, which stands in the checkout."""
    place = checkout.path(*PACKAGE, "concord_cases", "checker.py")
    spec = importlib.util.spec_from_file_location("concord_cases_checker", place)
    if spec is None or spec.loader is None:
        raise InputError(f"{place}: is not there")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache(maxsize=2)
def _case(id: str) -> Mapping[str, Any]:
    return certified_case([model for (one, _), model in models().items() if one == id])


def _record(model: Model) -> Record:
    record = reference.written(model)
    if record is None:
        raise InputError(f"{model.id}: not certified by {model.method}: run `make certify`")
    return record


def _call(absence: Absence) -> str:
    """The call that gave no fit, where it can be written."""
    try:
        return packages.contestants()[absence.engine].call(absence.model)
    except Exception:  # what cannot be expressed has no call, and a guest may raise anything
        return ""


def _short(text: str) -> str:
    return shorten(one_line(text), _LENGTH)


def sizes() -> Iterator[tuple[str, str]]:
    """All cases, the smallest tables first."""
    yield from sorted(models(), key=lambda key: (len(models()[key].frame), key))
