"""The verdict: one pure function of facts, for a comparison, a study's replicates, a bootstrap and a team's check.

A fact is a number or a sentence; where it comes from (`measures`) is nobody's business here. A fit below the reference
is graded by what the difference could do to a reader:

- *short*: by `GAP` log-likelihood units or more, or with an estimate that is off by more than `ERRORS` of its standard
  error; or its estimates are not parameters of the model;
- *imprecise*: by less, and yet by more than is allowed and than the engine's own arithmetic can resolve there.

Before it come what an engine cannot write down, and an engine that gave no fit; after it whatever is stated and does
not hold. The word names the worst of all; the reason names every engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from concord.likelihood.newton import STATIONARY
from concord.vocabulary import AGREE, CANNOT_EXPRESS, DIFFER, IMPRECISE, NO_FIT, SHORT, SILENT, UNJUDGED, WARNED

GAP = 0.01
ERRORS = 0.1
_COUNTS = ("no", "one", "two", "three", "four", "five", "six")


@dataclass(frozen=True)
class Verdict:
    """What came of a comparison.

    Attributes
    ----------
    word : one of `concord.vocabulary.VERDICTS`, or ``unjudged``
    reason : the evidence, in a sentence
    evidence : kinds of evidence: ``no fit``, ``stopped early``, ``another optimum``, ``constraint ignored``,
        ``no parameters``, ``broken``, ``boundary``, ``silent failure``, ``rounding``, ``false alarm``,
        ``other coding``, ``other definition``
    """

    word: str
    reason: str
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}"


@dataclass(frozen=True)
class Fact:
    """What is known of one fit.

    Attributes
    ----------
    name, engine : as it is said to people, and as it is called in records
    gap : log-likelihood units below the reference; inf where its estimates are not parameters of the model
    off : the largest distance of an estimate from the reference, in its standard errors; NaN where that has none
    digits : correct significant digits of its worst estimate
    rounding : how far below the reference it may be because its arithmetic resolves no more, and `cause`, the clause
    cost : the part of the gap that its fixed effects cost by not being the least-squares solution at its variances
    invalid : how its estimates leave the model; empty where they do not
    broken : what it states and does not hold at its own estimates, a clause each
    slope : the criterion's largest derivative where it stopped, in whitened coordinates
    gained : what a search that goes on from there gains; NaN where there was none
    language : in which the engine fits
    singular : whether a covariance matrix of its is singular
    converged, doubted : what it claims, and whether it expressed doubt
    recoded : that it was given X in another coding, in a clause
    """

    name: str
    engine: str
    gap: float
    language: str = "Python"
    off: float = math.nan
    digits: float = math.nan
    rounding: float = 0.0
    cause: str = ""
    cost: float = 0.0
    invalid: str = ""
    broken: tuple[str, ...] = ()
    slope: float = math.nan
    gained: float = math.nan
    singular: bool = False
    converged: bool = True
    doubted: bool = False
    recoded: str = ""

    @property
    def said(self) -> str:
        """``warned`` or ``silent``."""
        return WARNED if self.doubted else SILENT


@dataclass(frozen=True)
class Gone:
    """That an engine gave no fit: its name, engine, kind (as of `concord.engines.answers.Absence`) and the reason."""

    name: str
    engine: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Facts:
    """What is known of all fits together.

    Attributes
    ----------
    fits, gone : the parties to the verdict
    allowed : log-likelihood units that a fit of their settings may be below the reference
    noun : what the reference is called
    boundary : whether the reference lies on the boundary of the parameter space
    optima : log-likelihoods of all distinct optima that are known, the best first
    beyond : quantities in which the fits are apart by more than can be explained
    by_definition : clauses: why numbers that are apart are right; empty where none are
    judged : whether there is a reference at all
    """

    fits: Sequence[Fact]
    gone: Sequence[Gone] = ()
    allowed: float = 0.0
    noun: str = "reference"
    boundary: bool = False
    optima: Sequence[float] = ()
    beyond: Sequence[str] = ()
    by_definition: Sequence[str] = ()
    judged: bool = True


def grade(fact: Fact, allowed: float) -> str:
    """``short``, ``imprecise``, or empty for a fit at the reference."""
    if fact.invalid or not fact.gap < GAP:
        return SHORT
    if fact.gap <= allowed:
        return ""
    if fact.off > ERRORS:
        return SHORT
    return IMPRECISE if fact.gap > allowed + fact.rounding else ""


def decide(facts: Facts) -> Verdict:
    """The verdict on fits of one model, with its reason."""
    if not facts.judged:
        return Verdict(UNJUDGED, "the independent likelihood has no optimum")
    grades = [grade(fact, facts.allowed) for fact in facts.fits]
    below = [(fact, graded) for fact, graded in zip(facts.fits, grades, strict=True) if graded]
    told, kinds = _told_below(facts, below)
    gone = sorted(facts.gone, key=lambda absent: absent.kind != CANNOT_EXPRESS)
    if gone:
        reasons = [
            absent.reason if absent.kind == CANNOT_EXPRESS else f"{absent.name} gave no fit: {absent.reason}"
            for absent in gone
        ]
        held = [f"{fact.name} is at the {facts.noun}" for fact in facts.fits if not grade(fact, facts.allowed)]
        word = CANNOT_EXPRESS if gone[0].kind == CANNOT_EXPRESS else NO_FIT
        return Verdict(word, "; ".join([*reasons, *told, *held]), _once("no fit", *kinds))
    if SHORT in grades:
        return Verdict(_sided(below, SHORT), "; ".join(told), _once(*kinds))
    wrong, more = _wrong(facts, below)
    if wrong:
        return Verdict(DIFFER, "; ".join([*wrong, *told]), _once(*more, *kinds))
    if below:
        return Verdict(_sided(below, IMPRECISE), "; ".join(told), _once(*kinds))
    return _agreed(facts)


def _sided(below: Sequence[tuple[Fact, str]], worst: str) -> str:
    """``python short`` where every fit that is short is by a package of Python."""
    sides = sorted({fact.language.lower() for fact, graded in below if graded == worst})
    return f"{'both' if len(sides) > 1 else sides[0]} {worst}"


def _once(*kinds: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kinds))


def _wrong(facts: Facts, below: Sequence[tuple[Fact, str]]) -> tuple[list[str], list[str]]:
    """What does not hold although no fit is short, a clause each, and the kinds of evidence."""
    clauses: list[str] = []
    beaten = min((fact.gap for fact in facts.fits), default=0.0)
    if beaten < -facts.allowed:
        clauses.append(f"a fit is {-beaten:.3g} log-likelihood units above the reference: no optimum yet")
    # What is broken in a fit below the reference is told with it.
    lower = [fact.name for fact, _ in below]
    clauses += [f"{fact.name} {breach}" for fact in facts.fits if fact.name not in lower for breach in fact.broken]
    if facts.beyond:
        where = "" if below else f"all are at the {facts.noun}, and yet "
        clauses.append(f"{where}beyond tolerance in {', '.join(facts.beyond)}")
    if not clauses and any(fact.broken for fact, _ in below):
        return [f"{fact.name} states what does not hold" for fact, _ in below if fact.broken], ["broken"]
    causes = [f"{fact.name}: {fact.cause}" for fact in facts.fits if fact.cause] if clauses else []
    broken = ["broken"] if any(fact.broken for fact in facts.fits) else []
    return [*clauses, *causes], [*broken, *(["rounding"] if causes else [])]


def _told_below(facts: Facts, below: Sequence[tuple[Fact, str]]) -> tuple[list[str], list[str]]:
    """Of every fit below the reference why it is there, a clause each, and the kinds of evidence."""
    reasons, kinds = [], []
    together = _at_lower_optima(facts, [fact for fact, _ in below])
    if together:
        reasons.append(together)
    for fact, graded in below:
        fact_kinds, why = _shortfall(fact, graded, facts)
        kinds += fact_kinds
        reasons.append(f"{fact.name} {why}")
    return reasons, kinds


def _at_lower_optima(facts: Facts, fits: Sequence[Fact]) -> str:
    """That the likelihood has several optima, and at which of them fits stopped; empty where it has one."""
    places = {fact.name: place for fact in fits if (place := _place(fact, facts)) is not None}
    if not places:
        return ""
    count = len(facts.optima)
    parts = []
    for place in sorted(set(places.values())):
        names = [name for name, at in places.items() if at == place]
        which = "the lower one" if count == 2 else f"number {place + 1} of them"
        who = f"{names[0]} stopped" if len(names) == 1 else f"{' and '.join(names)} both stopped"
        parts.append(f"{who} at {which}, {facts.optima[0] - facts.optima[place]:.3g} below")
    number = _COUNTS[count] if count < len(_COUNTS) else str(count)
    return f"the likelihood has {number} optima; {'; '.join(parts)}"


def _counted(digits: int) -> str:
    """A number of digits in words."""
    return {0: "no digit", 1: "1 digit"}.get(digits, f"{digits} digits")


def _place(fact: Fact, facts: Facts) -> int | None:
    """Which of the known optima, counted from 0, a fit below the best one stopped at; None where at none."""
    if len(facts.optima) < 2 or fact.invalid or not math.isfinite(fact.gap):
        return None
    apart = [abs(facts.optima[0] - level - fact.gap) for level in facts.optima]
    place = min(range(len(apart)), key=apart.__getitem__)
    return place if place and apart[place] <= max(GAP, 1e-3 * fact.gap) else None


def _shortfall(fact: Fact, graded: str, facts: Facts) -> tuple[list[str], str]:
    """Why a fit is below the reference, from what is seen where it stopped: kinds of evidence, and a clause."""
    silent = [] if fact.doubted else ["silent failure"]
    broken = f"; it {'; it '.join(fact.broken)}" if fact.broken else ""
    kinds = ["broken"] if fact.broken else []
    if fact.invalid:
        ignored = "constraint" in fact.invalid
        return [
            *kinds,
            "constraint ignored" if ignored else "no parameters",
            *silent,
        ], f"is {SHORT}: {fact.invalid}{broken}"
    claim = "it claims to have converged all the same" if fact.converged else "it says that it has not converged"
    if fact.converged and fact.doubted:
        claim = "it claims to have converged, with a warning"
    digits = "" if math.isnan(fact.digits) else f", {_counted(math.floor(fact.digits))} of its worst estimate right"
    where = f"is {graded}: it stopped {fact.gap:.3g} log-likelihood units below the {facts.noun}{digits}{broken}"
    why = ""
    if _place(fact, facts) is not None:
        kinds.append("another optimum")
    elif fact.slope > STATIONARY or (not fact.singular and fact.gained > fact.gap / 2):
        kinds.append("stopped early")
        why = f": the criterion's largest derivative there is {fact.slope:.3g}"
        if not math.isnan(fact.gained):
            why += f", and a search that goes on from there gains {fact.gained:.3g}"
    elif fact.cost < fact.gap / 2:
        kinds.append("another optimum")
        why = ": the criterion is flat there: it is a stationary point, and not the best one"
    if fact.singular and not facts.boundary:
        kinds.append("boundary")
        why += "; its covariance matrix is singular, the optimum's is not"
    if fact.cause and fact.gap <= 10 * fact.rounding:
        kinds.append("rounding")
        why += f"; {fact.cause}"
    return [*kinds, *silent], f"{where}{why}; {claim}"


def _agreed(facts: Facts) -> Verdict:
    """That all agree, with what has to be said beside it."""
    kinds: list[str] = []
    reason = f"all quantities within tolerance, at the {facts.noun}"
    if facts.boundary:
        kinds.append("boundary")
        reason += ", which lies on the boundary: a covariance matrix is singular there"
    if facts.by_definition:
        kinds.append("other definition")
        reason += "".join(f"; {note}" for note in facts.by_definition)
    for cause in dict.fromkeys(fact.cause for fact in facts.fits if fact.cause):
        kinds.append("rounding")
        names = [fact.name for fact in facts.fits if fact.cause == cause]
        reason += f"; {' and '.join(names)}{', each' if len(names) > 1 else ''}: {cause}"
    for fact in facts.fits:
        if fact.recoded:
            kinds.append("other coding")
            reason += f"; {fact.name} {fact.recoded}"
    if any(fact.doubted for fact in facts.fits):
        kinds.append("false alarm")
    return Verdict(AGREE, reason, _once(*kinds))
