"""A comparison beside a bare script that fits both, and beside the engines' own time in it."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from concord import checkout, session
from concord.agreement.comparison import compare
from concord.bench.sides import ENVIRONMENT, SideFailed, command
from concord.engines.answers import answer
from concord.engines.engine import engines

FORMULA = "Reaction ~ Days + (1 + Days | Subject)"
# What a reader would write to fit the model once in each package.
BARE = """
import sys
import pandas as pd
import statsmodels.formula.api as smf
from rpy2 import robjects
from rpy2.robjects import pandas2ri
from rpy2.robjects.conversion import localconverter
from rpy2.robjects.packages import importr
data = pd.read_csv(sys.argv[1])
result = smf.mixedlm("Reaction ~ Days", data, groups=data["Subject"], re_formula="~Days").fit()
importr("lme4")
with localconverter(robjects.default_converter + pandas2ri.converter):
    robjects.globalenv["data"] = data
fit = robjects.r("lmer(" + sys.argv[2] + ", data)")
print(result.llf, robjects.r("logLik")(fit)[0])
"""


def sleepstudy() -> Path:
    """The table that both sides take."""
    return checkout.path("datasets", "sleepstudy", "sleepstudy.csv")


def compare_to_verdict(folder: Path, notebooks: Path | None) -> float:
    """From the shell to the verdict on the terminal; what the command goes on to write is not counted."""
    words = [sys.executable, "-P", "-m", "concord", "compare", str(sleepstudy()), FORMULA]
    words += ["--output", str(folder / "out")]
    began = time.perf_counter()
    with subprocess.Popen(
        words, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        said = process.stdout.readline() if process.stdout else ""
        seconds = time.perf_counter() - began
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    if "default settings: agree" not in said:
        raise SideFailed(f"no verdict: {said}{errors}")
    return seconds


def compare_bare(folder: Path, notebooks: Path | None) -> None:
    """A script that imports both packages and fits the model once in each, with defaults."""
    (folder / "bare.py").write_text(BARE)
    command([sys.executable, "bare.py", str(sleepstudy()), FORMULA], folder)


ROWS, GROUPS = 100_000, 10_000


def drawn_slopes(rows: int, count: int) -> pd.DataFrame:
    """A response with a random intercept and slope in so many groups, the same in every run."""
    random = np.random.default_rng(20261122)
    groups, x = random.integers(0, count, rows), random.normal(size=rows)
    effects = random.normal(size=(count, 2)) * [1.0, 0.5]
    y = 1 + 0.5 * x + effects[groups, 0] + effects[groups, 1] * x + random.normal(size=rows)
    return pd.DataFrame({"y": y, "x": x, "g": groups})


def large_outside(folder: Path, notebooks: Path | None) -> float:
    """Seconds of a comparison on a large table that are spent anywhere but inside the engines' fits."""
    return _large()[0]


def large_inside(folder: Path, notebooks: Path | None) -> float:
    """Seconds that the engines' own fits of the same comparison take."""
    return _large()[1]


@cache
def _large() -> tuple[float, float]:
    """Outside and inside of one comparison, one step after the other in this process, packages loaded beforehand.

    Reading, preparing, judging, comparing, what each engine's module does around the fit, and the way to another
    process and back are outside.
    """

    def asked(table: Path, formula: str) -> tuple[float, float]:
        began = time.perf_counter()
        model = pickle.loads(pickle.dumps(session.Inquiry(table, formula).model))
        answers = [answer(model, engine, "default") for engine in engines()]
        comparison = compare(*answers)
        repr(comparison)
        if comparison.absent:
            raise SideFailed("; ".join(absence.reason for absence in comparison.absent))
        inside = sum(fit.seconds for fit in comparison.fits)
        return time.perf_counter() - began - inside, inside

    with tempfile.TemporaryDirectory() as place:
        table = Path(place) / "large.csv"
        drawn_slopes(ROWS, GROUPS).to_csv(table, index=False)
        asked(sleepstudy(), FORMULA)
        return asked(table, "y ~ x + (1 + x | g)")
