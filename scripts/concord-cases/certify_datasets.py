"""Certify the tables that were made: every optimum that */*/reference.json lacks, small tables first.

python scripts/concord-cases/certify_datasets.py [DATASET ...]

No package is asked: the starts are those of the wide search and of a grid, and the proof says what it proves.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from concord.data import datasets
from concord.data.datasets import Dataset
from concord.errors import InputError
from concord.models.model import Model
from concord.reference import certification
from concord.reference.record import path, write
from concord.vocabulary import METHODS

PLACE = Path(__file__).resolve().parent
PROOF_SECONDS = 5.0


def certify(chosen: Sequence[str]) -> int:
    """Prove what is not proved yet, of the data sets named or of all; how many optima could not be."""
    made = [datasets.read(toml.parent) for toml in PLACE.glob("*/*/dataset.toml")]
    failed = 0
    for dataset in sorted(made, key=lambda dataset: (len(dataset.frame), dataset.id)):
        if not chosen or dataset.id in chosen:
            failed += sum(not _certified(model) for model in _open(dataset))
    return failed


def _open(dataset: Dataset) -> list[Model]:
    """The models of a data set without a certificate."""
    file = path(dataset)
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return [
        Model(dataset, name, record, method)
        for name, record in dataset.models.items()
        for method in METHODS
        if method not in known.get(name, {})
    ]


def _certified(model: Model) -> bool:
    """Whether the optimum could be proved; then it is in the file, and otherwise the reason is told."""
    try:
        made = certification.certify(model, PROOF_SECONDS, asked=False)
    except (InputError, ArithmeticError) as error:
        print(f"{model.id}, {model.method}: {error}", file=sys.stderr, flush=True)
        return False
    write(model.dataset, {(model.name, model.method): made})
    print(f"{model.id}, {model.method}: {made['loglik'][:20]}, {made['checks']['proved']}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(min(1, certify(sys.argv[1:])))
