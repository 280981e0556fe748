"""`python -m concord.bench`: measure, print the ratios beside their goals, and keep them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import concord.bench
from concord.bench import batches, comparisons, growth, judging, results, studies, verdicts
from concord.bench.sides import Benchmark, Side, SideFailed, measure, spread_text, time_text
from concord.errors import InputError

_TIMED = {
    "judge": "judge a fit of dietox's random slope: likelihood / one evaluation of lme4's deviance function",
    "optimum": "find the optimum of all models by REML and ML: likelihood / lmer",
    "profile": "profile every parameter of dietox's random slope by ML, with intervals: likelihood / lme4's profile",
    "compare": "from the shell to compare's verdict on sleepstudy, and a bare script that fits both once",
    "large": f"compare {comparisons.ROWS} rows in {comparisons.GROUPS} groups: seconds outside the engines, and inside",
    "crossed": "to the first verdict on lme4's InstEval, 2972 x 1128 levels crossed: seconds outside lmer, and inside",
    "slopes": f"to the first verdict on {comparisons.ROWS} rows in {comparisons.GROUPS} groups with a slope: seconds "
    "outside lmer, and inside",
    "simulate": f"simulate {studies.MODEL} on {studies.WORKERS} workers, and a bare serial loop over the same fits",
    "loops": f"{studies.WORKERS} bare loops side by side, and one: the least that {studies.WORKERS} workers can take "
    "here",
    "replicate": f"a replicate of {studies.MODEL}: seconds outside the engines, and inside",
    "reports": "python -m concord reports, and a loop over the papermill command",
}
# Both sides, the goal, and how many rounds.
_SIDES: dict[str, tuple[Side, Side, float, int]] = {
    "judge": (judging.judge_by_likelihood, judging.judge_by_deviance, 1.0, 9),
    "optimum": (judging.optima_by_likelihood, judging.optima_by_lmer, 1.0, 9),
    "profile": (judging.profile_by_likelihood, judging.profile_by_lme4, 0.05, 3),
    "compare": (comparisons.compare_to_verdict, comparisons.compare_bare, 1.5, 5),
    "large": (comparisons.large_outside, comparisons.large_inside, 0.1, 1),
    "crossed": (*verdicts.sides(verdicts.CROSSED), 1.0, 1),
    "slopes": (*verdicts.sides(verdicts.SLOPES), 0.5, 1),
    "simulate": (studies.study_on_workers, studies.bare_loop, 1 / 1.8, 1),
    "loops": (studies.bare_loops, studies.bare_loop, 1 / 1.8, 1),
    "replicate": (studies.study_outside, studies.study_inside, 0.05, 1),
    "reports": (batches.reports_batch, batches.reports_loop, 0.5, 1),
}
BENCHMARKS = {name: Benchmark(title, *_SIDES[name]) for name, title in _TIMED.items()}
GROWTHS = {
    "growth-likelihood": "how the independent likelihood's fit grows with the rows",
    "growth-outside": "how everything outside the engines grows with the rows: reading, preparing, judging, comparing",
}


def main() -> int:
    """Measure the benchmarks asked for, print their ratios, and keep them."""
    parser = argparse.ArgumentParser(
        prog="python -m concord.bench", description=concord.bench.__doc__.partition("\n")[0]
    )
    every = [*BENCHMARKS, *GROWTHS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(every)}")
    parser.add_argument(
        "--rounds", type=int, help=f"default: {', '.join(f'{b.rounds} of {name}' for name, b in BENCHMARKS.items())}"
    )
    parser.add_argument(
        "--rows", type=int, default=max(growth.SIZES), help="the largest table of the growth benchmarks"
    )
    parser.add_argument("--results", type=Path, metavar="FILE", help="default: notebooks/speed.jsonl")
    parser.add_argument("--folder", type=Path, help="with the notebooks; default: notebooks")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in every]:
        parser.error(f"no benchmark is called {unknown[0]}: there are {', '.join(every)}")
    if args.rounds is not None and args.rounds < 1:
        parser.error("--rounds must be 1 or more")
    sizes = [size for size in growth.SIZES if size <= args.rows]
    if len(sizes) < 2:
        parser.error(f"--rows must be {growth.SIZES[1]} or more: growth is between two sizes")
    try:
        place = args.results or results.place()  # asked first: what is measured has to go somewhere
        records = {}
        for name in args.names or every:
            if name in GROWTHS:
                records[name] = grown(name, sizes)
            else:
                records[name] = compared(name, args.rounds, args.folder.absolute() if args.folder else None)
    except SideFailed as failure:
        print(f"bench: {name}: one side failed, so there is no ratio: {failure}", file=sys.stderr)
        return 1
    except InputError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    results.keep(records, place)
    return 0


def compared(name: str, rounds: int | None, notebooks: Path | None) -> dict[str, Any]:
    """One benchmark of two sides: its ratios, which are printed beside the goal."""
    benchmark = BENCHMARKS[name]
    print(f"{name}: {benchmark.title}", file=sys.stderr)
    seconds = measure(benchmark, rounds or benchmark.rounds, notebooks)
    ratios = [ours / plain for ours, plain in zip(seconds["concord"], seconds["plain"], strict=True)]
    print(
        f"{name}: concord {time_text(seconds['concord'])}, plain {time_text(seconds['plain'])}, "
        f"ratio {spread_text(ratios, '.2f')}, goal at most {benchmark.goal:.2g}",
        flush=True,
    )
    return {"title": benchmark.title, "goal": benchmark.goal, "seconds": seconds, "ratios": ratios}


def grown(name: str, sizes: list[int]) -> dict[str, Any]:
    """How one thing grows with the rows: the power, and what the largest table took in time and memory."""
    print(f"{name}: {GROWTHS[name]}", file=sys.stderr)
    points = []
    for rows in sizes:
        points.append({"rows": rows, **growth.measured(name.partition("-")[2], rows)})
        print(f"  {rows} rows: {time_text([points[-1]['seconds']])}, {points[-1]['peak']:.0f} MiB", file=sys.stderr)
    power = growth.exponent(sizes, [point["seconds"] for point in points])
    print(
        f"{name}: rows to the power {power:.2f}, goal at most 1; "
        f"{sizes[-1]} rows {time_text([points[-1]['seconds']])}, {points[-1]['peak']:.0f} MiB",
        flush=True,
    )
    return {"title": GROWTHS[name], "goal": 1.0, "ratios": [power], "points": points}


if __name__ == "__main__":
    sys.exit(main())
