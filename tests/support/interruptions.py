"""A program: questions that are interrupted at random moments, and what the next ones are answered in the same process.

    python -m support.interruptions TIMES SEED

Rounds go on until that many have been interrupted. Each begins a comparison, or asks after a fit that was made before;
a real SIGINT comes at a random moment of it. Then another question is asked, and every number of the answer is held to
what a fresh process, which fits by itself and asks no engine's process, has answered. Written to stdout, as JSON: how
many rounds there were, what came of them, and whatever was wrong.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import statsmodels.formula.api  # noqa: F401  imported once, and not by every engine's process anew

from concord import session
from concord.agreement.comparison import Comparison
from concord.engines.answers import Answer, answer
from concord.engines.engine import engines, load_r
from concord.engines.fit import Fit
from concord.likelihood.likelihood import LikelihoodError
from concord.processes.worker import WorkerStopped
from concord.session import Inquiry
from support.paths import CASES

# Table, formula, method, settings. Small ones, of which several have the same parameters; two are refused.
QUESTIONS = [
    ("stale.csv", "score ~ t + (1 + t | unit)", "REML", "default"),
    ("stale.csv", "score ~ t + (1 + t | unit)", "ML", "default"),
    ("stale.csv", "score ~ t + (1 | unit)", "REML", "default"),
    ("stale.csv", "score ~ t + (1 | unit)", "REML", "tuned"),
    ("stale.csv", "score ~ t + (1 + arm | unit)", "REML", "default"),
    ("peer-stale.csv", "y ~ x + (x | g)", "REML", "default"),
    ("peer-stale.csv", "y ~ x + (1 | g)", "REML", "default"),
    ("peer-stale.csv", "y ~ z + (1 | g)", "ML", "default"),
    ("peer-stale.csv", "y ~ z + (z | g)", "REML", "default"),
]


Question = tuple[str, str, str, str]


def compared(question: Question) -> Comparison:
    table, formula, method, settings = question
    return Inquiry(CASES / table, formula, method).compare(settings)


def numbers(question: Question) -> str:
    """Everything that a comparison says, verdict and random effects included, as text; or why there is none."""
    try:
        return text(compared(question))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def text(comparison: Comparison) -> str:
    record = comparison.record()
    for each in record["fits"]:
        del each["seconds"]
    effects = [predicted(fit) for fit in comparison.fits]
    return json.dumps([record, comparison.verdict.word, comparison.verdict.reason, effects], default=str)


def predicted(fit: Fit) -> str:
    """The random effects of a fit, asked anew."""
    return fit.predict().to_csv(index=False, float_format="%.17g")


def fits(inquiry: Inquiry, settings: str) -> tuple[Answer, ...]:
    """What every engine says, asked in this process."""
    return tuple(answer(inquiry.model, engine, settings) for engine in engines())


def fresh(question: Question) -> str:
    """What a process answers that has been asked nothing before."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            session.worker, Inquiry.answers = (lambda engine: None), fits
            os.write(writing, pickle.dumps(numbers(question)))
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pickle.loads(pipe.read())
    os.waitpid(child, 0)
    return answer


def interrupted(work: Callable[[], object], delay: float) -> tuple[str, float]:
    """Run it, and interrupt this process after so many seconds; what came of it, and the seconds that it ran."""

    def interrupt() -> None:
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    outcome, began, ran = "interrupted", time.perf_counter(), delay
    try:
        thread.start()
        try:
            work()
            outcome = "done before"
        except LikelihoodError:
            outcome = "refused before"
        except WorkerStopped:
            outcome = "gone before"
        except Exception as error:
            outcome = f"failed before: {type(error).__name__}: {error}"
        ran = time.perf_counter() - began
        thread.join()
        time.sleep(0.5)  # where the interruption comes at the latest
        return "interruption lost", ran
    except KeyboardInterrupt:
        return outcome, ran
    finally:
        thread.join()


def main(times: int, seed: int) -> None:
    rng = random.Random(seed)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    load_r()
    expected = {question: fresh(question) for question in QUESTIONS}
    seconds, wrong = {}, []
    for question in [QUESTIONS[0], *QUESTIONS]:  # the first one waits for the engines' processes too
        began = time.perf_counter()
        if numbers(question) != expected[question]:
            wrong.append(f"before any interruption: {question}")
        seconds[question] = time.perf_counter() - began
    outcomes: Counter[str] = Counter()
    kept: tuple[Question, list[Fit]] | None = None
    round = 0
    while outcomes["interrupted"] < times and round < 4 * times:
        round += 1
        doomed, after = rng.sample(QUESTIONS, 2)
        if kept and rng.random() < 0.25:
            fit = rng.choice(kept[1])
            outcome, _ = interrupted(lambda fit=fit: predicted(fit), 0.004 * rng.random())
        else:
            outcome, ran = interrupted(lambda doomed=doomed: compared(doomed), seconds[doomed] * rng.random())
            if outcome != "interrupted":  # it takes as long as it takes now
                seconds[doomed] = ran
        outcomes[outcome] += 1
        if outcome.startswith("failed"):
            wrong.append(f"round {round}: {doomed}: {outcome}")
        if kept:  # a fit made before is what it was, or gone
            question, fits = kept
            for fit in fits:
                try:
                    if json.dumps(predicted(fit)) not in expected[question]:
                        wrong.append(f"round {round}: random effects of {question} after {doomed}")
                except WorkerStopped:
                    outcomes["fit gone"] += 1
                except Exception as error:
                    wrong.append(f"round {round}: random effects of {question}: {type(error).__name__}: {error}")
        try:
            comparison = compared(after)
            kept, answer = (after, list(comparison.fits)), text(comparison)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        if answer != expected[after]:
            wrong.append(f"round {round}: {after} after {doomed}: {answer[-300:]}")
    found = {
        "rounds": round,
        "refused": sum("LikelihoodError" in each for each in expected.values()),
        "outcomes": outcomes,
        "wrong": wrong,
        "children": sum(len(each.read_text().split()) for each in Path("/proc/self/task").glob("*/children")),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
