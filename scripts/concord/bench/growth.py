"""How time and memory grow with the rows: of the independent likelihood's fit, and of everything outside the engines.

Every size is measured in a process of its own, so that the peak of its memory is its own too. The engines stop after
one step: what they give is not a fit, but all that is done around a fit is done to it, and nobody waits for a million
rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

from concord import r, session
from concord.agreement.comparison import compare
from concord.bench.sides import ENVIRONMENT, SideFailed
from concord.engines.lme4 import engine as lme4
from concord.engines.statsmodels import engine as mixedlm
from concord.likelihood.likelihood import Likelihood
from concord.models.design import Design, DesignTerm
from concord.models.formula import expression

SIZES = (1_000, 10_000, 100_000, 1_000_000)
ROWS_A_GROUP = 10
FORMULA = "y ~ x + (1 + x | g)"
# lmer with one evaluation of its optimizer, in R's own workspace as a reader would call it.
LMER = """function(formula, data) {
  control <- lme4::lmerControl(optCtrl = list(maxeval = 1), calc.derivs = FALSE)
  suppressWarnings(suppressMessages(lme4::lmer(formula, data, control = control)))
}"""


def drawn_table(rows: int) -> pd.DataFrame:
    """A response with a random intercept and slope in groups of ten, the same in every run."""
    random = np.random.default_rng(20261122)
    groups = np.repeat(np.arange(rows // ROWS_A_GROUP), ROWS_A_GROUP)
    x = random.normal(size=rows)
    effects = random.normal(size=(rows // ROWS_A_GROUP, 2)) * [1.0, 0.5]
    y = 1 + 0.5 * x + effects[groups, 0] + effects[groups, 1] * x + random.normal(size=rows)
    return pd.DataFrame({"y": y, "x": x, "g": groups})


def likelihood(rows: int) -> dict[str, float]:
    """The independent likelihood's fit, from the model's numbers on: ``seconds``, ``peak`` in MiB above the start."""
    frame = drawn_table(rows)
    X = np.column_stack([np.ones(rows), frame["x"]])
    levels = tuple(map(str, range(rows // ROWS_A_GROUP)))
    term = DesignTerm("g", ("(Intercept)", "x"), X, frame["g"].to_numpy(), levels)
    design = Design(frame["y"].to_numpy(), X, ("(Intercept)", "x"), (term,), np.arange(rows))
    before, began = _held(), time.perf_counter()
    Likelihood(design, reml=True).optimum()
    return {"seconds": time.perf_counter() - began, "peak": _resident("VmHWM") - before}


def outside(rows: int) -> dict[str, float]:
    """Everything but the engines' own work: reading, preparing, taking over what they return, judging, comparing."""
    inside = [0.0]

    def engine(call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        answer = call()
        inside[0] += time.perf_counter() - began
        return answer

    def asked(path: Path) -> float:
        inside[0], began = 0.0, time.perf_counter()
        model = session.Inquiry(path, FORMULA).model
        frame = model.frame
        python = partial(smf.mixedlm, "y ~ x", frame, groups=frame["g"], re_formula="~x")
        by_python = engine(lambda: python().fit(method=["bfgs"], maxiter=1))
        frame_in_r = r.to_r(frame)
        by_r = engine(lambda: r.call(r.interface().evalr(LMER), expression(model.formula), frame_in_r))
        repr(compare(mixedlm.from_native(by_python, model), lme4.from_native(by_r, model)))
        return time.perf_counter() - began - inside[0]

    with tempfile.TemporaryDirectory() as place:
        small, path = Path(place) / "small.csv", Path(place) / "growth.csv"
        drawn_table(SIZES[0]).to_csv(small, index=False)
        drawn_table(rows).to_csv(path, index=False)
        asked(small)  # packages are loaded and R is started
        before = _held()
        return {"seconds": asked(path), "inside": inside[0], "peak": _resident("VmHWM") - before}


def measured(what: str, rows: int) -> dict[str, float]:
    """One of the two at one size, in a process of its own."""
    words = [sys.executable, "-P", "-m", "concord.bench.growth", what, str(rows)]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise SideFailed(f"{what}, {rows} rows, exit status {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
    measures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measures


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The power of the rows with which time grows, by least squares over all sizes; 1 is linear."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _resident(name: str) -> float:
    """What Linux says that this process holds, in MiB: ``VmRSS`` now, ``VmHWM`` at most since that was forgotten."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(float(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(f"{name}:"))


def _held() -> float:
    """What is held now; the peak begins anew, as what went before may have been higher."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _resident("VmRSS")


if __name__ == "__main__":
    print(json.dumps({"likelihood": likelihood, "outside": outside}[sys.argv[1]](int(sys.argv[2]))))
