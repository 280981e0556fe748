"""Results of made-up runs, of one model with one version of each package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from concord.releases.results import KEY, PROVENANCE, STATED, Results, joined


def run(statsmodels: str, lme4: str, **more: str) -> dict[str, str]:
    """A row of runs.csv; its name is its release of statsmodels, where none is given."""
    about = dict.fromkeys(PROVENANCE, "some") | {
        "finished": "2026-01-02T03:04:05+00:00",
        "system": "Debian GNU/Linux 12 (b)",
    }
    versions = {"Python": "3.11", "statsmodels": statsmodels, "R": "4.2", "lme4": lme4, "nlme": "3.1-1"}
    return {"run": statsmodels, **about, **versions, **more}


def fit(run: str, engine: str = "statsmodels", **more: Any) -> dict[str, Any]:
    """A row of fits.csv: at the optimum, by REML, at default settings."""
    name = {"run": run, "model": "pigs-slope", "method": "REML", "settings": "default", "engine": engine}
    stated = {
        "verdict": "agree",
        "grade": "",
        "gap": 0.0,
        "digits": 9.0,
        "loglik": -1.0,
        "converged": True,
        "said_so": "silent",
    }
    return {**name, **stated, "seconds": 1.0, "message": "", **more}


def results(runs: list[dict[str, str]], fits: list[dict[str, Any]]) -> Results:
    """Of these rows."""
    fits = fits or [fit(each["run"]) for each in runs]
    made = Results(
        pd.DataFrame(runs).set_index("run"),
        pd.DataFrame(fits, columns=["run", *KEY, *STATED]).astype({"gap": float, "digits": float}),
    )
    return joined([made])


def brought(folder: Path, name: str, lme4: str, gap: float = 0.0, system: str = "Debian GNU/Linux 12 (b)") -> None:
    """What `concord verdicts` writes, of one fit by each package of another machine."""
    about = run("0.15", lme4, system=system)
    del about["run"]
    provenance = {key: about.pop(key) for key in PROVENANCE}
    head = {"dataset": "pigs", "model": "slope", "method": "REML", "settings": "default", "converged": True}
    told = {
        "loglik": -1.0,
        "digits": 9.0,
        "seconds": 1.0,
        "said_so": "silent",
        "messages": [],
        "verdict": "r short" if gap else "agree",
    }
    below = {"gap": gap, "grade": "short" if gap else ""}
    fits = [
        {**head, **told, "engine": "statsmodels", "gap": 0.0, "grade": ""},
        {**head, **told, "engine": "lme4", **below},
    ]
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"provenance": provenance, "versions": about, "fits": fits}))
