"""The words that records, tables and pages share: methods, settings, engines, and what a verdict can be."""

from __future__ import annotations

METHODS = ("REML", "ML")
SETTINGS = ("default", "tuned")
ROLES = ("party", "arbiter", "guest")
"""What an engine is in a comparison: a verdict is about its parties; arbiters and guests are shown beside them."""
LANGUAGES = ("Python", "R")
KEPT_IN = "CONCORD_UNFINISHED"
"""The environment variable that names the folder where engines' answers are kept in case a command is interrupted."""
INDEPENDENT = "independent"
"""In the place of an engine's name: the independent likelihood."""

SHORT, IMPRECISE = "short", "imprecise"
"""Grades of a fit below the reference: by so much that it could matter to a reader, or by less."""
WARNED, SILENT = "warned", "silent"
"""Whether an engine expressed doubt about its own fit."""

AGREE, DIFFER, NO_FIT, CANNOT_EXPRESS = "agree", "differ", "no fit", "cannot express"
SIDES = ("python", "r", "both")
SHORTS = tuple(f"{side} {SHORT}" for side in SIDES)
IMPRECISES = tuple(f"{side} {IMPRECISE}" for side in SIDES)
VERDICTS = (AGREE, *SHORTS, *IMPRECISES, DIFFER, NO_FIT, CANNOT_EXPRESS)
UNJUDGED = "unjudged"
"""In a study, in the place of a verdict where the independent likelihood has no optimum for a drawn response."""

LETTERS = dict(zip(VERDICTS, "APRBprbDNC", strict=True))
"""Every verdict with its letter, which says it where colour cannot; a small one is for what is imprecise."""


def side(word: str) -> tuple[str, ...]:
    """The languages that a verdict names: ``python``, ``r``, or both."""
    first = word.split()[0]
    named = word.endswith((f" {SHORT}", f" {IMPRECISE}"))
    return ("python", "r") if named and first == "both" else (first,) if named else ()


def passes(word: str, strict: bool = False) -> bool:
    """Whether a verdict is not a failure: agreement, or a want of precision where that is not asked for strictly."""
    return word == AGREE or (word in IMPRECISES and not strict)
