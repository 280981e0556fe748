"""What the front page's kernel runs before its first cell, under these tests: the gate's fits are the shelf's.

A fit that another test has made from the very same sources is taken, any other is made here and kept for them.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import support.sources  # noqa: E402, F401  # the digest of the sources is taken before they are imported

# isort: split
from concord.agreement import gate  # noqa: E402
from concord.engines.answers import Answer, answer  # noqa: E402
from concord.engines.engine import engines  # noqa: E402
from concord.models.model import Model  # noqa: E402
from support.shelf import Shelf  # noqa: E402

SHELF = Shelf.of_now()


def shelved(model: Model, engine: str, settings: str) -> Answer:
    """As `answer`: what there is no fit of is asked there."""
    name = "-".join((model.id, model.method, engine, settings))
    try:
        return SHELF.fit(model, name, lambda: engines()[engine].fit(model, settings))
    except (ValueError, RuntimeError):
        return answer(model, engine, settings)


gate.answer = shelved
