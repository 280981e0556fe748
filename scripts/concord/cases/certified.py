"""The certified optimum of a model in decimals: every quantity that a package states of it, and what is proved."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Context, Decimal
from typing import Any, NamedTuple

from concord.reference.record import Checks, Record

DIGITS = 20
"""So many digits of what follows from the certified decimals, which have 30."""
_EXACT = Context(prec=DIGITS + 20)


class Quantity(NamedTuple):
    """One certified number.

    Attributes
    ----------
    effect, group, term : as in a fit's estimates; ``loglik`` and ``std_error`` for what has no row of its own there,
        and the terms ``sd__...`` and ``cor__...`` for standard deviations and correlations
    value : in decimals; empty where it is not defined, as a correlation with an effect that does not vary
    """

    effect: str
    group: str
    term: str
    value: str


def quantities(record: Record) -> list[Quantity]:
    """All certified numbers of a record: the log-likelihood; every fixed effect with its standard error; for every
    group the variances and covariances, each with its standard deviation or correlation; the residual variance with
    its standard deviation.
    """
    rows = [Quantity("loglik", "", "logLik", record.loglik)]
    for estimate in record.estimates:
        rows.append(Quantity(estimate.effect, estimate.group, estimate.term, estimate.estimate))
        if estimate.effect == "fixed":
            rows.append(Quantity("std_error", "", estimate.term, estimate.std_error or ""))
    return [row for quantity in rows for row in (quantity, *_derived(quantity, record))]


def _derived(quantity: Quantity, record: Record) -> Iterator[Quantity]:
    """The standard deviation of a variance, and the correlation of a covariance."""
    kind, _, names = quantity.term.partition("__")
    if quantity.effect != "ran_pars":
        return
    if kind == "var":
        yield quantity._replace(term=f"sd__{names}", value=_decimal(_EXACT.sqrt(Decimal(quantity.value))))
        return
    variances = {
        row.term.removeprefix("var__"): Decimal(row.estimate)
        for row in record.estimates
        if row.group == quantity.group and row.term.startswith("var__")
    }
    # A name may have a dot in it: the two names are those of variances
    one, other = next((a, b) for a in variances for b in variances if f"{a}.{b}" == names)
    scale = _EXACT.sqrt(_EXACT.multiply(variances[one], variances[other]))
    value = _decimal(_EXACT.divide(Decimal(quantity.value), scale)) if scale else ""
    yield quantity._replace(term=f"cor__{names}", value=value)


def _decimal(number: Decimal) -> str:
    return str(Context(prec=DIGITS).plus(number)) if number else "0"


def rounded(value: str, digits: int = 15) -> str:
    """A certified decimal with so many significant digits, as a number is written; empty stays empty."""
    if not value:
        return ""
    number = Context(prec=digits).plus(Decimal(value))
    return f"{number:f}" if -5 <= number.adjusted() < digits else f"{number:E}".replace("E", "e")


def proved(record: Record) -> list[str]:
    """What is proved of an optimum and how, a sentence each; and what is not."""
    checks = record.checks
    within = f", which lies within {checks.radius:.1e} of its digits" if checks.radius else ""
    sentences = [
        f"Computed in ball arithmetic, whose intervals hold every rounding error: within {checks.krawczyk_box:.0e} of "
        "these values in every entry of theta, the variances' and covariances' factors relative to the residual "
        f"standard deviation, there is exactly one point where the log-likelihood is level{within}, and it bends down "
        f"from there in every direction. Solved with {checks.bits[0]} "
        f"and {checks.bits[1]} bits, it is the same to {checks.digits_agreed} digits.",
        _extent(checks),
    ]
    if checks.boundary:
        places = ", ".join(f"{place + 1}" for place in checks.boundary)
        sentences.append(f"It lies on the boundary: entry {places} of theta is zero, exactly.")
    others = ", ".join(f"{other.loglik:.10g}" for other in checks.other_optima)
    sentences.append(
        f"Lower optima are known, with log-likelihoods {others}." if others else "No lower optimum is known."
    )
    sentences.append(
        "The numbers are those of the table's decimals as they are printed, not of the doubles nearest to them."
        if record.data == "decimals"
        else "The numbers are those of the doubles nearest to what the table prints."
    )
    return sentences


def _extent(checks: Checks) -> str:
    if checks.proved != "global":
        return f"It is the best found from {checks.starts} starts. Not proved: {checks.not_proved}."
    boxes = f"; {checks.boxes} boxes" if checks.boxes else ""
    return f"No better optimum exists anywhere, and that is proved. How: {checks.method}{boxes}."


def as_record(record: Record) -> dict[str, Any]:
    """A certified optimum as JSON: ``loglik``, ``quantities`` in all their digits, what is ``proved``, ``date``,
    ``versions`` and ``checksum``.
    """
    return {
        "quantities": [{**row._asdict(), "shown": rounded(row.value)} for row in quantities(record)],
        "proved": proved(record),
        "global": record.checks.proved == "global",
        "starts": record.checks.starts,
        "date": record.provenance.date,
        "versions": record.provenance.versions,
        "checksum": record.checksum,
    }
