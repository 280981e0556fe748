"""What the tests of the reference share."""

from __future__ import annotations

import json

from concord.data import datasets


def committed(id: str, method: str) -> dict:
    dataset, _, name = id.partition("-")
    content = json.loads((datasets.folder() / dataset / "reference.json").read_text(encoding="utf-8"))
    return content[name][method]
