"""Results: what every run of `make bench` measured, with the machine and the versions, in a file that is kept.

A run is one line of JSON, added at the end, so that runs of years stand side by side in one file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from concord import checkout, versions


def place() -> Path:
    """Where the results are kept: beside speed.ipynb, which shows them."""
    return checkout.path("notebooks", "speed.jsonl")


def about() -> dict[str, Any]:
    """When and where: the time, the machine, its processors, and the versions of what was timed."""
    made_with = versions.collect((*versions.python_packages(), "papermill", "distributed"), ["lme4"])
    return {**versions.provenance(), "versions": made_with}


def keep(benchmarks: Mapping[str, Any], path: Path | None = None) -> None:
    """Add a run to the file, in one write, so that an interrupted one leaves no half line."""
    line = json.dumps({**about(), "benchmarks": benchmarks}) + "\n"
    path = path or place()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


def runs(path: Path | None = None) -> list[dict[str, Any]]:
    """All runs that were kept, the oldest first."""
    path = path or place()
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def ratios(kept: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a run and benchmark: ``finished, benchmark, title, ratio, lowest, highest, goal, processors``.

    The ratio is the median over the rounds; `lowest` and `highest` are their spread.
    """
    rows = []
    for run in kept:
        for name, record in run["benchmarks"].items():
            values = pd.Series(record["ratios"])
            spread = (float(values.median()), float(values.min()), float(values.max()))
            rows.append((run["finished"], name, record["title"], *spread, record["goal"], run["processors"]))
    names = ["finished", "benchmark", "title", "ratio", "lowest", "highest", "goal", "processors"]
    return pd.DataFrame(rows, columns=names).astype({"finished": "datetime64[s, UTC]"})


def growth(kept: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a run, benchmark and size: ``finished, benchmark, rows, seconds, peak`` (MiB)."""
    rows = [
        (run["finished"], name, *(point[key] for key in ("rows", "seconds", "peak")))
        for run in kept
        for name, record in run["benchmarks"].items()
        for point in record.get("points", ())
    ]
    return pd.DataFrame(rows, columns=["finished", "benchmark", "rows", "seconds", "peak"])
