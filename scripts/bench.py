"""Times what Concord does beside the plain way of doing it, alternating, in one run: `make bench`.

A benchmark is a row of `BENCHMARKS`: two sides that do the same work, each a function of an empty folder. The ratio
is Concord's seconds over the plain way's, round by round, so that what slows the machine down slows both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Both sides compute in one thread, as `make reports` does
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
ENVIRONMENT = os.environ | THREADS
ENVIRONMENT.pop("SCHEDULER", None)


class SideFailed(Exception):
    """One side of a benchmark did not do its work, so there is nothing to compare."""


Side = Callable[[Path, Path | None], float | None]
"""Does the work in an empty folder, with the notebooks of another (None: the repository's); raises SideFailed.

Gives the seconds that it took, where it measures them itself, so that what goes before is not counted.
"""


@dataclass(frozen=True)
class Benchmark:
    """Two ways of doing the same work; `goal` is the largest good ratio, `rounds` how often each side goes."""

    title: str
    concord: Side
    plain: Side
    goal: float
    rounds: int = 1


def _command(words: list[str], folder: Path) -> None:
    log = folder / "log"
    with log.open("a") as file:
        done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise SideFailed(f"exit status {done.returncode}: {' '.join(words)}\n{tail}")


def reports_batch(folder: Path, notebooks: Path | None) -> None:
    """All reports, by `python -m concord reports`."""
    where = ["--folder", str(notebooks)] if notebooks else []
    _command([sys.executable, "-m", "concord", "reports", "--output", str(folder / "build"), *where], folder)


def reports_loop(folder: Path, notebooks: Path | None) -> None:
    """The same notebooks with the same methods, one after another, by the `papermill` command."""
    from concord.reports import plan

    papermill = str(Path(sys.executable).with_name("papermill"))
    for report in plan(folder=notebooks):
        given = [word for key, value in report.parameters.items() for word in ("-p", key, value)]
        _command([papermill, str(report.path), f"{report.id}.ipynb", *given], folder)


TABLE = ROOT / "datasets" / "sleepstudy" / "sleepstudy.csv"
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


def compare_to_verdict(folder: Path, notebooks: Path | None) -> float:
    """From the shell to the verdict on the terminal; what the command goes on to write is not counted."""
    words = [sys.executable, "-m", "concord", "compare", str(TABLE), FORMULA, "--output", str(folder / "out")]
    began = time.perf_counter()
    with subprocess.Popen(
        words, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        said = process.stdout.readline()
        seconds = time.perf_counter() - began
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    if "default settings: agree" not in said:
        raise SideFailed(f"no verdict: {said}{errors}")
    return seconds


def compare_bare(folder: Path, notebooks: Path | None) -> None:
    """A script that imports both packages and fits the model once in each, with defaults."""
    (folder / "bare.py").write_text(BARE)
    _command([sys.executable, "bare.py", str(TABLE), FORMULA], folder)


ROWS, GROUPS = 100_000, 10_000


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
    import pickle

    import numpy as np
    import pandas as pd

    from concord import inquiry
    from concord.agreement import compare
    from concord.answers import answer

    def asked(table: Path, formula: str) -> tuple[float, float]:
        began = time.perf_counter()
        model = pickle.loads(pickle.dumps(inquiry.Inquiry(table, formula).model))
        answers = [answer(model, engine, "default") for engine in ("mixedlm", "lme4", "nlme")]
        comparison = compare(*answers)
        repr(comparison)
        if comparison.absent:
            raise SideFailed("; ".join(each.reason for each in comparison.absent))
        inside = sum(fit.seconds for fit in comparison.fits)
        return time.perf_counter() - began - inside, inside

    random = np.random.default_rng(20261122)
    groups, x = random.integers(0, GROUPS, ROWS), random.normal(size=ROWS)
    effects = random.normal(size=(GROUPS, 2)) * [1.0, 0.5]
    y = 1 + 0.5 * x + effects[groups, 0] + effects[groups, 1] * x + random.normal(size=ROWS)
    with tempfile.TemporaryDirectory() as place:
        table = Path(place) / "large.csv"
        pd.DataFrame({"y": y, "x": x, "g": groups}).to_csv(table, index=False)
        asked(TABLE, FORMULA)
        return asked(table, "y ~ x + (1 + x | g)")


JUDGED = "dietox-random_slope"
EVALUATIONS = 2000
# Timed inside R, where nothing of rpy2 is counted. The formula is lme4's own, with the data in R.
DEVIANCE = """function(formula, data, reml, theta, times) {
  deviance <- lme4::lmer(formula, data, REML = reml, devFunOnly = TRUE)
  for (i in seq_len(times %/% 10)) deviance(theta)
  c(system.time(for (i in seq_len(times)) deviance(theta))[["elapsed"]] / times, deviance(theta))
}"""
FIT = """function(formula, data, reml) {
  suppressWarnings(suppressMessages(system.time(lme4::lmer(formula, data, REML = reml))[["elapsed"]]))
}"""


def judge_by_likelihood(folder: Path, notebooks: Path | None) -> float:
    """One evaluation of the log-likelihood at a fit's estimates, on a prepared likelihood."""
    likelihood, optimum = _judged()
    given = optimum.fixed, optimum.covariances, optimum.residual_variance
    for _ in range(EVALUATIONS // 10):
        likelihood.loglik(*given)
    began = time.perf_counter()
    for _ in range(EVALUATIONS):
        likelihood.loglik(*given)
    return (time.perf_counter() - began) / EVALUATIONS


def judge_by_deviance(folder: Path, notebooks: Path | None) -> float:
    """One evaluation of the deviance function that lmer makes of the same model, at the same estimates."""
    import numpy as np

    from concord import models

    _, optimum = _judged()
    relative = optimum.covariances[0] / optimum.residual_variance
    theta = np.linalg.cholesky(relative).T[np.triu_indices(len(relative))]
    model = models.get(JUDGED)
    seconds, value = _in_r(DEVIANCE, model.formula.expression, model.frame, model.reml, theta, EVALUATIONS)
    if not abs(value + 2 * optimum.loglik) < 1e-6:
        raise SideFailed(f"lme4's deviance is {value!r}, the likelihood's {-2 * optimum.loglik!r}: not the same work")
    return seconds


def optima_by_likelihood(folder: Path, notebooks: Path | None) -> float:
    """Every model's optimum by each method, from its numbers: cross-products, then a search from each start."""
    from concord import models
    from concord.likelihood import Likelihood

    given = [(model.design, model.reml) for model in models.every()]
    began = time.perf_counter()
    for design, reml in given:
        Likelihood(design, reml).optimum()
    return time.perf_counter() - began


def optima_by_lmer(folder: Path, notebooks: Path | None) -> float:
    """The same models' fits by lmer as it ships, however far they get."""
    from concord import models

    return sum(_in_r(FIT, model.formula.expression, model.frame, model.reml)[0] for model in models.every())


# The profile of the ML deviance, whatever the fit, as the reader asks for it; timed inside R.
PROFILE = """function(formula, data) {
  fit <- lme4::lmer(formula, data, REML = FALSE)
  seconds <- system.time(found <- suppressWarnings(stats::profile(fit)))[["elapsed"]]
  ends <- stats::confint(found)
  c(seconds, ends)
}"""


def profile_by_likelihood(folder: Path, notebooks: Path | None) -> float:
    """The profile of every parameter as far as lme4's goes, and all intervals, from the model's numbers on."""
    return _profiled()[0]


def profile_by_lme4(folder: Path, notebooks: Path | None) -> float:
    """The same by lme4's profile of a fit that it has: the fit and the intervals are not counted."""
    from concord import models

    model = models.get(JUDGED, "ML")
    seconds, *ends = _in_r(PROFILE, model.formula.expression, model.frame)
    ours = _profiled()[1]
    if len(ends) != len(ours) or any(abs(a - b) > 1e-4 * abs(b) for a, b in zip(ends, ours, strict=True)):
        raise SideFailed(f"lme4's intervals end at {ends}, the likelihood's at {ours}: not the same work")
    return seconds


def _profiled() -> tuple[float, list[float]]:
    """Seconds, and the ends of the intervals: the lower ones in lme4's order, then the upper ones."""
    from concord import models, profile
    from concord.likelihood import Likelihood

    design = models.get(JUDGED, "ML").design
    began = time.perf_counter()
    made = profile.profiles(Likelihood(design, False))
    for each in made:
        each.walk()
    found = [each.interval() for each in made]
    seconds = time.perf_counter() - began
    return seconds, [each.lower for each in found] + [each.upper for each in found]


@cache
def _judged():
    """The likelihood of the model that is judged, and its optimum for a fit."""
    from concord import models
    from concord.likelihood import Likelihood

    model = models.get(JUDGED)
    likelihood = Likelihood(model.design, model.reml)
    return likelihood, likelihood.optimum()


def _in_r(function: str, *given: object) -> list[float]:
    from rpy2 import robjects

    from concord import r

    try:
        r.package("lme4")
        return list(r.call(robjects.r(function), *given))
    except r.RError as error:
        raise SideFailed(str(error)) from error


BENCHMARKS = {
    "judge": Benchmark(
        "judge a fit of dietox's random slope: likelihood / one evaluation of lme4's deviance function",
        judge_by_likelihood, judge_by_deviance, goal=1.0, rounds=9,
    ),
    "optimum": Benchmark(
        "find the optimum of all models by REML and ML: likelihood / lmer",
        optima_by_likelihood, optima_by_lmer, goal=1.0, rounds=9,
    ),
    "profile": Benchmark(
        "profile every parameter of dietox's random slope by ML, with intervals: likelihood / lme4's profile",
        profile_by_likelihood, profile_by_lme4, goal=0.05, rounds=3,
    ),
    "compare": Benchmark(
        "from the shell to compare's verdict on sleepstudy, and a bare script that fits both once",
        compare_to_verdict, compare_bare, goal=1.5, rounds=5,
    ),
    "large": Benchmark(
        f"compare {ROWS} rows in {GROUPS} groups: seconds outside the engines, and inside",
        large_outside, large_inside, goal=0.1,
    ),
    "reports": Benchmark(
        "python -m concord reports, and a loop over the papermill command", reports_batch, reports_loop, goal=0.5
    ),
}  # fmt: skip


def measure(benchmark: Benchmark, rounds: int, notebooks: Path | None = None) -> dict[str, list[float]]:
    """Seconds of both sides in each round; which side goes first alternates."""
    seconds: dict[str, list[float]] = {"concord": [], "plain": []}
    for number in range(rounds):
        sides = ["concord", "plain"] if number % 2 == 0 else ["plain", "concord"]
        for side in sides:
            folder = Path(tempfile.mkdtemp(prefix="bench-"))
            began = time.perf_counter()
            try:
                own = getattr(benchmark, side)(folder, notebooks)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            seconds[side].append(time.perf_counter() - began if own is None else own)
            print(f"  round {number + 1} of {rounds}, {side}: {_time(seconds[side][-1:])}", file=sys.stderr, flush=True)
    return seconds


def _time(seconds: list[float]) -> str:
    """The median and the spread, in a unit that shows them."""
    size, unit, form = next(
        each for each in ((1, "s", ".1f"), (1e3, "ms", ".1f"), (1e6, "us", ".0f"))
        if statistics.median(seconds) * each[0] >= 0.5 or each[1] == "us"
    )  # fmt: skip
    return f"{_spread([value * size for value in seconds], form)} {unit}"


def _spread(values: list[float], form: str) -> str:
    text = format(statistics.median(values), form)
    return f"{text} ({format(min(values), form)} to {format(max(values), form)})" if len(values) > 1 else text


def main() -> int:
    """Measure the benchmarks asked for, print their ratios and write them to build/bench.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(BENCHMARKS)}")
    parser.add_argument(
        "--rounds", type=int, help=f"default: {', '.join(f'{b.rounds} of {name}' for name, b in BENCHMARKS.items())}"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build", metavar="FOLDER", help="default: build")
    parser.add_argument("--folder", type=Path, help="with the notebooks; default: notebooks")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is called {unknown[0]}: there are {', '.join(BENCHMARKS)}")
    if given.rounds is not None and given.rounds < 1:
        parser.error("--rounds must be 1 or more")
    notebooks = given.folder.absolute() if given.folder else None
    os.environ.update(THREADS)  # before numpy and R are loaded, by the benchmarks that run in this process
    results = {}
    for name in given.names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        print(f"{name}: {benchmark.title}", file=sys.stderr)
        try:
            seconds = measure(benchmark, given.rounds or benchmark.rounds, notebooks)
        except SideFailed as failure:
            print(f"bench: {name}: one side failed, so there is no ratio: {failure}", file=sys.stderr)
            return 1
        ratios = [ours / plain for ours, plain in zip(seconds["concord"], seconds["plain"], strict=True)]
        print(
            f"{name}: concord {_time(seconds['concord'])}, plain {_time(seconds['plain'])}, "
            f"ratio {_spread(ratios, '.2f')}, goal at most {benchmark.goal:g}",
            flush=True,
        )
        results[name] = {"title": benchmark.title, "goal": benchmark.goal, "seconds": seconds, "ratios": ratios}
    about = {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "benchmarks": results,
    }
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "bench.json").write_text(json.dumps(about, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
