"""Alternatives: which other packages, tried on the same table, reach the optimum that a party misses."""

from __future__ import annotations

import json
from pathlib import Path

from concord.agreement.comparison import Comparison
from concord.data import datasets
from concord.engines.engine import engines, title
from concord.errors import one_line
from concord.vocabulary import SHORT

HEADING = "Other packages, as they ship"


def alternatives(comparison: Comparison, source: str | None) -> list[str]:
    """What guests make of the table where a party is short or gives no fit, a sentence each; where none was asked, the
    command that asks them.

    Parameters
    ----------
    comparison : at default settings
    source : the file of the table; None for one in memory
    """
    if not comparison.missing and SHORT not in [comparison.grades[i] for i in comparison.parties]:
        return []
    guests = [i for i, fit in enumerate(comparison.fits) if engines()[fit.engine].role == "guest"]
    absent = [gone for gone in comparison.absent if engines()[gone.engine].role == "guest"]
    if not guests and not absent:
        return [f"Not tried; this tries those that are installed, on this table: {_command(comparison, source)}"]
    there = [i for i in guests if not comparison.grades[i]]
    arrived = [comparison.fits[i] for i in there]
    told = [f"At the optimum on this table: {', '.join(title(fit.engine) for fit in arrived)}."] if arrived else []
    for fit in arrived:
        told.append(f"{title(fit.engine)}: {'; '.join([*engines()[fit.engine].imports(fit.model), fit.call])}")
    told += [
        f"{comparison.grades[i]}, {comparison.judgements[i].gap:.3g} log-likelihood units below it: "
        f"{title(comparison.fits[i].engine)}."
        for i in guests
        if i not in there
    ]
    return [*told, *(f"No fit: {one_line(gone.reason)}." for gone in absent)]


def _command(comparison: Comparison, source: str | None) -> str:
    """The line that asks all guests."""
    record, model = comparison.model.record, comparison.model
    if source == f"{model.dataset.id}.csv" and datasets.has(model.dataset.id) and not Path(source).exists():
        source = model.dataset.id
    words = [
        "concord compare",
        json.dumps(source or "DATA", ensure_ascii=False),
        json.dumps(record.formula, ensure_ascii=False),
    ]
    words += [f"--weights {json.dumps(record.weights, ensure_ascii=False)}"] if record.weights else []
    words += [f"--method {model.method}"] if not model.reml else []
    return " ".join([*words, "--guests"])
